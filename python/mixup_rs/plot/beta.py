"""The distribution of lam."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from mixup_rs.plot.figure import new_figure, save
from mixup_rs.rules import Mixup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Draws for the histogram of `plot_beta`: the bars are then within a few per cent of the exact density.
_DRAWS = 100_000


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
    if not alphas or not all(0 < a < math.inf for a in alphas):
        raise ValueError(f"expected an alpha above 0 and finite, or several, got {alpha!r}")
    figure = new_figure((6, 3.4), path)
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
    return save(figure, path)


def _beta_density(lam: np.ndarray, alpha: float) -> np.ndarray:
    """The density of Beta(alpha, alpha)."""
    log_norm = 2 * math.lgamma(alpha) - math.lgamma(2 * alpha)
    return np.exp((alpha - 1) * (np.log(lam) + np.log1p(-lam)) - log_norm)
