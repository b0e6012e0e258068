"""Pictures of mixed batches and of the distribution of lam.

The functions return a matplotlib `Figure`. Without `path` it is pyplot's current figure, as that of fastai's
`show_batch` is: a notebook shows it below the cell, once, and `plt.show()` and `plt.savefig` find it. With `path` it is
saved and pyplot does not know it, so that it need not be closed. No display is needed. matplotlib is imported when a
picture is drawn: `pip install 'mixup-rs[plot]'`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixup_rs.rules import Mixup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["label_text", "plot_beta", "plot_mixed_batch", "varied_samples"]

#: Draws for the histogram of `plot_beta`: the bars are then within a few per cent of the exact density.
_DRAWS = 100_000
_PICTURE_INCHES = 2.2
#: The height of a figure of many samples, whose pictures are made smaller.
_TALLEST_INCHES = 12.0
_FONT_POINTS = 9
#: Characters of that size that fit under a picture.
_LINE_CHARACTERS = 30
_OWN, _PARTNER, _MUTED = "#1f6feb", "#d9480f", "#57606a"


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
        The plan that was applied, or the result of `mix_batch`; any object with `lam` and `partner`, of shape (n,).
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
    x, mixed = _as_numpy(x), _as_numpy(mixed)
    lam, partner = _as_numpy(plan.lam), _as_numpy(plan.partner)
    if x.shape != mixed.shape or len(x) != len(lam):
        raise ValueError(
            f"x, mixed and plan must be of one batch, got shapes {x.shape} and {mixed.shape} and {len(lam)} weights"
        )
    rows = [int(i) for i in (range(min(max_n, len(x))) if samples is None else samples)]
    if not rows:
        raise ValueError("expected at least one sample to show, got none")
    names = _label_weights(labels, class_names, len(x))
    images, mixes = _displayable(x, mixed)

    height, width = images.shape[1:3]
    inches = min(_PICTURE_INCHES, (_TALLEST_INCHES / len(rows) - 0.25) * width / height)
    size = (3 * max(inches, _PICTURE_INCHES / 2), len(rows) * (inches * height / width + 0.25) + 0.25)
    figure = _new_figure(size, path)
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for axes, title in zip(grid[0], ("image", "partner", "mix"), strict=True):
        axes.set_title(title, fontsize=11, color=_MUTED)
    for row, i in zip(grid, rows, strict=True):
        j, weight = int(partner[i]), float(lam[i])
        _show(row[0], images[i], _weighted(names, (i, weight)), _OWN)
        _show(row[1], images[j], _weighted(names, (j, 1 - weight)), _PARTNER)
        _show(row[2], mixes[i], _weighted(names, (i, weight), (j, 1 - weight)), "black")
    return _save(figure, path)


def plot_beta(
    alpha: float | Sequence[float] = Mixup.alpha, *, fold: bool = True, path: str | PathLike[str] | None = None
) -> Figure:
    """Draw the distribution of lam: drawn weights as bars, the exact density of Beta(alpha, alpha) as a line.

    Parameters
    ----------
    alpha : float or sequence of float, default 0.4
        The parameter, > 0, or several to compare.
    fold : bool, default True
        Replace lam by max(lam, 1 - lam), as fastai does. False is the paper's distribution.
    path : str or PathLike, optional
        Save the picture there. The extension selects the format.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    ValueError
        If an alpha is not > 0 and finite.

    Examples
    --------
    >>> from mixup_rs.plot import plot_beta
    >>> figure = plot_beta([0.1, 0.4, 1.0])
    >>> figure.axes[0].get_xlabel()
    'λ, the weight of the sample itself'
    """
    alphas = [float(a) for a in np.atleast_1d(alpha)]
    figure = _new_figure((6, 3.4), path)
    axes = figure.subplots()
    low = 0.5 if fold else 0.0
    # The density is infinite at the ends when alpha < 1: the line stops half a bar short of them.
    bins = np.linspace(low, 1, 26 if fold else 51)
    half = (bins[1] - bins[0]) / 2
    curve = np.linspace(low if fold else half, 1 - half, 400)
    top = 0.0
    for i, a in enumerate(alphas):
        lam = Mixup(alpha=a, fold=fold).plan(_DRAWS, rng=0).lam
        density = _beta_density(curve, a) * (2 if fold else 1)
        top = max(top, 1.1 * density.max())
        axes.hist(lam, bins.tolist(), density=True, color=f"C{i}", alpha=0.3, edgecolor="white", linewidth=0.3)
        axes.plot(curve, density, color=f"C{i}", linewidth=1.8, label=rf"$\alpha$ = {a:g}, mean λ = {lam.mean():.2f}")
    axes.set(xlim=(low, 1), ylim=(0, top), xlabel="λ, the weight of the sample itself", ylabel="density")
    folded = r", folded to $\max(\lambda,\ 1 - \lambda)$" if fold else ""
    axes.set_title(r"$\lambda \sim \mathrm{Beta}(\alpha, \alpha)$" + folded, fontsize=11)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


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
    lam = _as_numpy(plan.lam)
    lam = np.maximum(lam, 1 - lam)
    chosen: list[int] = []
    for target in np.linspace(0.9, 0.5, min(max_n, len(lam))):
        by_distance = np.argsort(np.abs(lam - target), kind="stable")
        chosen.append(next(int(i) for i in by_distance if i not in chosen))
    return chosen


def label_text(label: dict[str, float], max_n: int = 3) -> str:
    """Format a soft target as a line, the greatest weight first.

    Parameters
    ----------
    label : dict of str to float
        Weights by class name.
    max_n : int, default 3
        The number of classes.

    Returns
    -------
    str
        The line.

    Examples
    --------
    >>> label_text({"two": 0.29, "seven": 0.71})
    '0.71 seven + 0.29 two'
    """
    heaviest = sorted(label.items(), key=lambda item: -item[1])[:max_n]
    return " + ".join(f"{weight:.2f} {name}".rstrip() for name, weight in heaviest)


def _as_numpy(value: Any) -> np.ndarray:
    """Convert an array or a torch tensor on any device to an array; half precision to float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array if array.dtype.kind in "biufUSO" else array.astype(np.float32)  # ml_dtypes' bfloat16


def _displayable(x: np.ndarray, mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert both batches to (n, h, w[, c]) in [0, 1], on one scale so that they can be compared."""
    low, high = _display_range(x)

    def scaled(batch: np.ndarray) -> np.ndarray:
        batch = _channels_last(batch).astype(np.float32)
        return np.nan_to_num(np.clip((batch - low) / (high - low), 0, 1))

    return scaled(x), scaled(mixed)


def _display_range(x: np.ndarray) -> tuple[float, float]:
    if x.dtype.kind in "iu":
        bounds = np.iinfo(x.dtype)
        return float(bounds.min), float(bounds.max)
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < -0.01:  # rounding overshoots by less
        return low, high
    return 0.0, next((top for top in (1.0, 255.0) if high <= 1.01 * top), high)


def _channels_last(batch: np.ndarray) -> np.ndarray:
    """Convert images to the shapes of matplotlib: (n, h, w) or (n, h, w, 3 or 4)."""
    if batch.ndim == 4 and batch.shape[1] in (1, 3, 4):
        batch = np.moveaxis(batch, 1, -1)
    if batch.ndim == 4 and batch.shape[-1] == 1:
        batch = batch[..., 0]
    if batch.ndim == 3 or (batch.ndim == 4 and batch.shape[-1] in (3, 4)):
        return batch
    raise ValueError(
        f"expected images of shape (n, c, h, w) or (n, h, w, c) with c in 1, 3, 4, or (n, h, w), got {batch.shape}"
    )


def _label_weights(labels: Any, class_names: Sequence[str] | None, n: int) -> list[dict[str, float]]:
    """The weight of each class in the own label of each sample, without classes of weight 0."""
    if labels is None:
        return [{} for _ in range(n)]
    array = _as_numpy(labels)
    if len(array) != n or array.ndim > 2:
        raise ValueError(f"expected labels of shape ({n},) or ({n}, k), got {array.shape}")

    def name(index: Any) -> str:
        if isinstance(index, str):
            return index
        return str(class_names[int(index)] if class_names is not None else int(index))

    if array.ndim == 1:
        return [{name(index): 1.0} for index in array.tolist()]
    return [{name(k): float(row[k]) for k in np.flatnonzero(row)} for row in array]


def _weighted(names: list[dict[str, float]], *parts: tuple[int, float]) -> str:
    """The blended label of weighted samples; only the weights if there are no labels."""
    if not any(names):
        return " + ".join(f"{weight:.2f}" for _, weight in parts)
    blend: dict[str, float] = {}
    for i, weight in parts:
        for name, share in names[i].items():
            blend[name] = blend.get(name, 0.0) + weight * share
    return label_text(blend)


def _show(axes: Axes, image: np.ndarray, text: str, color: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    if len(text) > _LINE_CHARACTERS:
        text = text.replace(" + ", " +\n")
    longest = max(map(len, text.split("\n")))
    axes.set_xlabel(text, fontsize=_FONT_POINTS * min(1, _LINE_CHARACTERS / max(longest, 1)), color=color)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _beta_density(lam: np.ndarray, alpha: float) -> np.ndarray:
    """The density of Beta(alpha, alpha)."""
    log_norm = 2 * math.lgamma(alpha) - math.lgamma(2 * alpha)
    return np.exp((alpha - 1) * (np.log(lam) + np.log1p(-lam)) - log_norm)


def _new_figure(size: tuple[float, float], path: str | PathLike[str] | None) -> Figure:
    """A figure of pyplot's; one of its own if it is to be saved."""
    options: dict[str, Any] = {"figsize": size, "dpi": 100 if path is None else 150, "layout": "constrained"}
    if path is not None:
        from matplotlib.figure import Figure

        return Figure(**options)
    from matplotlib import pyplot

    figure = pyplot.figure(**options)
    # IPython shows pyplot's figures at the end of a cell, and the value of its last line: this one would come twice.
    figure._ipython_display_ = partial(_display, figure)  # type: ignore[attr-defined]
    return figure


def _display(figure: Figure) -> None:
    """Show nothing if pyplot is going to show the figure, otherwise leave it to IPython's own way with figures."""
    from matplotlib import pyplot

    if figure.number not in pyplot.get_fignums():  # type: ignore[attr-defined]
        raise NotImplementedError  # by which IPython goes on to the next way


def _save(figure: Figure, path: str | PathLike[str] | None) -> Figure:
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return figure
