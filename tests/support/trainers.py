"""What tests of trainers have in common: data that shows how it was mixed, and the mixes that a key gives."""

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from mixup_rs import Mixup

N, BATCH, CLASSES, SEED = 12, 4, 3, 3
SAMPLES = [(torch.full((3,), float(i)), i % CLASSES) for i in range(N)]
RULE = Mixup(1.0)


class Stream(IterableDataset):
    """The samples, without a length. Workers read whole batches in turn."""

    def __iter__(self):
        worker = get_worker_info()
        count, number = (1, 0) if worker is None else (worker.num_workers, worker.id)
        for batch in range(number, N // BATCH, count):
            yield from SAMPLES[BATCH * batch : BATCH * (batch + 1)]


def mixed(batch, epoch, rank=0, key_batch=None):
    """x and soft targets of a batch of the samples in order, by NumPy."""
    numbers = np.arange(N)[BATCH * batch : BATCH * (batch + 1)]
    plan = RULE.plan(BATCH, rng=(SEED, epoch, batch if key_batch is None else key_batch, rank))
    lam = plan.lam[:, None]
    x, y = np.repeat(numbers[:, None], 3, 1).astype(np.float64), np.eye(CLASSES)[numbers % CLASSES]
    return [lam * value + (1 - lam) * value[plan.partner] for value in (x, y)]


def assert_are(batches, expected):
    """Batches of x and soft targets."""
    assert len(batches) == len(expected) > 0
    for (x, y), (expected_x, expected_y) in zip(batches, expected, strict=True):
        np.testing.assert_allclose(x, expected_x, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(y, expected_y, rtol=1e-6, atol=1e-6)
