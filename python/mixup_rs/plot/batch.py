"""Samples of a mixed batch beside their partners."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from mixup_rs.plot.figure import MUTED, OWN, PARTNER, PICTURE_INCHES, TALLEST_INCHES, new_figure, save, show
from mixup_rs.plot.images import as_numpy, displayable
from mixup_rs.plot.labels import label_weights, weighted_parts, weighted_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_mixed_batch(
    x: Any,
    mixed: Any,
    plan: Any,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    *,
    max_n: int = 4,
    samples: Sequence[int] | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw a row per sample: the image, its partner and their mix, with the label weights under each.

    Parameters
    ----------
    x, mixed : numpy.ndarray or torch.Tensor
        The batch before and after mixing, of one shape: (n, c, h, w) or (n, h, w, c) with c in 1, 3, 4, or (n, h, w).
        Integers are shown in the range of their dtype. Floats in [0, 1] are shown as they are, floats in [0, 255]
        divided by 255, and others (normalised images) between their least and greatest value.
    plan : MixPlan or MixedBatch
        The plan that was applied, or the result of `mix_batch`; any object with `lam` and `partner`, of shape (n,). Of
        several partners a MixPlan.
    labels : array_like, optional
        The labels before mixing: class indices or names (n,), or soft targets or multi-hot labels (n, k).
    class_names : sequence of str, optional
        The names of the classes, by index.
    max_n : int, default 4
        Show the first `max_n` samples.
    samples : sequence of int, optional
        Show the samples of these indices instead.
    path : str or PathLike, optional
        Save the picture there. The extension selects the format.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    ValueError
        If the arrays are not a batch of images, or do not fit the plan or the labels.

    Examples
    --------
    >>> import numpy as np, mixup_rs
    >>> from mixup_rs.plot import plot_mixed_batch
    >>> x = np.random.default_rng(0).random((8, 3, 32, 32), dtype=np.float32)
    >>> mixed = mixup_rs.mix_batch(x, rng=0)
    >>> figure = plot_mixed_batch(x, mixed.x, mixed, labels=[0, 1] * 4, class_names=["cat", "dog"])
    >>> len(figure.axes)  # 4 samples: image, partner, mix
    12
    """
    x, mixed = as_numpy(x), as_numpy(mixed)
    lam = as_numpy(plan.lam)
    if x.shape != mixed.shape or len(x) != len(lam):
        raise ValueError(
            f"x, mixed and plan must be of one batch, got shapes {x.shape} and {mixed.shape} and {len(lam)} weights"
        )
    rows = [int(i) for i in (range(min(max_n, len(x))) if samples is None else samples)]
    if not rows:
        raise ValueError("expected at least one sample to show, got none")
    if wrong := [i for i in rows if not 0 <= i < len(x)]:
        raise ValueError(f"samples must lie in [0, {len(x)}), got {wrong[0]}")
    names = label_weights(labels, class_names, len(x))
    parts = [weighted_parts(plan, i) for i in rows]
    images, mixes = displayable(x, mixed)

    height, width = images.shape[1:3]
    inches = min(PICTURE_INCHES, (TALLEST_INCHES / len(rows) - 0.25) * width / height)
    columns = len(parts[0]) + 1
    size = (columns * max(inches, PICTURE_INCHES / 2), len(rows) * (inches * height / width + 0.25) + 0.25)
    figure = new_figure(size, path)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, title in zip(grid[0], ("image", *["partner"] * (columns - 2), "mix"), strict=True):
        axes.set_title(title, fontsize=11, color=MUTED)
    for row, i, mixed_of in zip(grid, rows, parts, strict=True):
        for axes, part, color in zip(row, mixed_of, [OWN, *[PARTNER] * (columns - 2)], strict=False):
            show(axes, images[part[0]], weighted_text(names, part), color)
        show(row[-1], mixes[i], weighted_text(names, *mixed_of), "black")
    return save(figure, path)


def varied_samples(plan: Any, max_n: int = 4) -> list[int]:
    """Choose samples that show the mixing well: their weights are spread over [0.5, 0.9].

    With a small alpha most samples are almost unmixed, so that the first samples of a batch often show nothing.

    Parameters
    ----------
    plan : MixPlan or MixedBatch
        Any object with `lam`, floats of shape (n,).
    max_n : int, default 4
        The number of samples.

    Returns
    -------
    list of int
        Indices of samples, each at most once.

    Examples
    --------
    >>> from mixup_rs import MixPlan
    >>> varied_samples(MixPlan(lam=[1.0, 0.52, 0.99, 0.88], partner=[1, 0, 3, 2]), max_n=2)
    [3, 1]
    """
    lam = as_numpy(plan.lam)
    lam = np.maximum(lam, 1 - lam)
    chosen: list[int] = []
    for target in np.linspace(0.9, 0.5, min(max_n, len(lam))):
        by_distance = np.argsort(np.abs(lam - target), kind="stable")
        chosen.append(next(int(i) for i in by_distance if i not in chosen))
    return chosen
