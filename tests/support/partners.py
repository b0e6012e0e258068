"""The laws by which partners are chosen, by definition: of each sample the probability of every partner, in float64."""

import numpy as np

from mixup_rs import Across, Balanced, CMixup, Within


def classes_of(labels):
    labels = np.asarray(labels)
    return labels if labels.ndim == 1 else labels.argmax(axis=1)


def law(partners, labels):
    """An (n, n) array: row i has the probability of each partner of sample i."""
    n = len(labels)
    probabilities = np.zeros((n, n))
    for i in range(n):
        if isinstance(partners, CMixup):
            near = [float(np.sum((np.float64(labels[i]) - np.float64(labels[j])) ** 2)) for j in range(n)]
            row = np.exp(-np.array(near) / (2 * partners.bandwidth**2))
        else:
            classes = classes_of(labels)
            same = classes == classes[i]
            if isinstance(partners, Within):
                row = same & (np.arange(n) != i)
            elif isinstance(partners, Across):
                row = ~same
            else:
                assert isinstance(partners, Balanced)
                row = np.array([1 / np.sum(classes == one) for one in classes])
        # Without an eligible partner it is its own.
        row = np.arange(n) == i if not np.any(row) else row
        probabilities[i] = row / np.sum(row)
    return probabilities
