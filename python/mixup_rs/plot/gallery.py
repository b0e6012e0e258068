"""Every rule on one pair of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from os import PathLike
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from mixup_rs.plot.figure import MUTED, OWN, PARTNER, PICTURE_INCHES, new_figure, save, show
from mixup_rs.plot.images import as_numpy, displayable
from mixup_rs.plot.labels import label_weights, weighted_parts, weighted_text
from mixup_rs.rule import check_rule, draw_by
from mixup_rs.rules import OneOf, kinds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixup_rs import MixPlan

_COLUMNS = 4
#: Plans tried for each rule, and the weight that the one shown comes nearest to: both images are then to be seen.
_TRIES, _LAM = 64, 0.6
#: Regions that are narrower than this have a thinner outline, which leaves them visible.
_BROAD_POINTS = 12
#: The size of titles, and the characters of it that fit above a picture.
_TITLE_POINTS, _TITLE_CHARACTERS = 10, 26


def gallery(
    x: Any,
    rules: Any = None,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    *,
    rng: int | Sequence[int] = 0,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw every rule on the same pair of images, with the region that comes from the partner outlined.

    Of the plans of several keys the one is shown that mixes the first image with the second and whose `lam` is nearest
    to 0.6, so that both images can be seen. A rule that never does so is shown without mixing.

    Parameters
    ----------
    x : numpy.ndarray or torch.Tensor
        Two images or more; the first two are mixed: (n, c, h, w) or (n, h, w, c) with c in 1, 3, 4, or
        (n, h, w). Values are shown as `plot_mixed_batch` shows them.
    rules : sequence of Rule or mapping of str to Rule, optional
        The rules; of a mapping the keys are the titles. By default every rule of the package but `OneOf`, with its
        default options.
    labels : array_like, optional
        The labels of the images: class indices or names (n,), or soft targets or multi-hot labels (n, k). By default
        "first" and "second".
    class_names : sequence of str, optional
        The names of the classes, by index.
    rng : int or sequence of int, default 0
        The key: the same key, the same picture.
    path : str or PathLike, optional
        Save the picture there. The extension selects the format.

    Returns
    -------
    matplotlib.figure.Figure
        The picture: the two images, then their mix by each rule.

    Raises
    ------
    ValueError, TypeError
        If `x` is not a batch of two images or more, or a rule is none.

    Examples
    --------
    >>> import numpy as np
    >>> from mixup_rs import CutMix, Mixup
    >>> from mixup_rs.plot import gallery
    >>> x = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    >>> figure = gallery(x, [Mixup(), CutMix(mode="elem")], labels=["cat", "dog"])
    >>> [axes.get_title() for axes in figure.axes]
    ['image', 'partner', 'Mixup', "CutMix\\nmode='elem'"]
    """
    x = as_numpy(x)
    if x.ndim == 0 or len(x) < 2:
        raise ValueError(f"expected two images or more, got {len(x) if x.ndim else 'a single value'}")
    if labels is None:
        labels, class_names = ["first", "second"], None
    elif len(labels) != len(x):
        raise ValueError(f"expected a label for each of {len(x)} images, got {len(labels)}")
    names = label_weights(labels[:2], class_names, 2)
    pair, _ = displayable(x[:2], x[:2])
    key = (rng,) if isinstance(rng, int) else tuple(rng)
    drawn = [(title, _clearest(rule, pair.shape[1:3], labels[:2], key)) for title, rule in _titled(rules)]

    height, width = pair.shape[1:3]
    columns = min(_COLUMNS, len(drawn) + 2)
    rows = -(-(len(drawn) + 2) // columns)
    lines = 1 + max(title.count("\n") for title, _ in drawn) if drawn else 1
    high = PICTURE_INCHES * height / width + 0.35 + 0.2 * lines
    figure = new_figure((columns * PICTURE_INCHES, rows * high), path)
    grid: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for i, (title, color) in enumerate((("image", OWN), ("partner", PARTNER))):
        _panel(grid[i], title, pair[i], weighted_text(names, (i, 1.0)), color)
    for axes, (title, plan) in zip(grid[2:], drawn, strict=False):
        mix = plan.apply(pair, spatial_axes=(1, 2))[0] if plan.spatial_shape else plan.apply(pair)[0]
        _panel(axes, title, mix, weighted_text(names, *weighted_parts(plan, 0)), "black")
        _outline(axes, plan)
    for axes in grid[2 + len(drawn) :]:
        axes.remove()
    return save(figure, path)


def _titled(rules: Any) -> Iterator[tuple[str, Any]]:
    """Each rule under a title: its name, and below it the options that are not the defaults."""
    if rules is None:
        rules = [kind() for kind in kinds().values() if kind is not OneOf]
    elif hasattr(rules, "items"):
        yield from rules.items()
        return
    for rule in rules:
        check_rule(rule, "an entry of rules")
        name = type(rule).__name__
        if not dataclasses.is_dataclass(rule) or isinstance(rule, OneOf):
            yield name, rule
            continue
        fields = ((field, getattr(rule, field.name)) for field in dataclasses.fields(rule))
        chosen = [f"{field.name}={value!r}" for field, value in fields if not _same(value, field.default)]
        yield "\n".join([name, *wrap(", ".join(chosen), _TITLE_CHARACTERS)]), rule


def _same(value: Any, default: Any) -> bool:
    return value is default or bool(np.array_equal(value, default))


def _clearest(rule: Any, shape: tuple[int, ...], labels: Any, key: tuple[int, ...]) -> MixPlan:
    """Of the plans of several keys the one that shows the most of both images."""
    plans = (draw_by(rule, 2, shape, labels, (*key, i)) for i in range(_TRIES))
    return min(plans, key=lambda plan: (plan.partner.flat[0] != 1, abs(plan.lam[0] - _LAM)))


def _panel(axes: Axes, title: str, image: np.ndarray, text: str, color: str) -> None:
    show(axes, image, text, color)
    axes.set_title(title, fontsize=_TITLE_POINTS, color=MUTED if color != "black" else "black")


def _outline(axes: Axes, plan: MixPlan) -> None:
    """Outline what comes from the partner: its box, or where its share in a mask is one half."""
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    def line(inside: np.ndarray) -> tuple[float, list[patheffects.AbstractPathEffect]]:
        thin = min(1.0, _breadth(inside) * PICTURE_INCHES * 72 / inside.shape[1] / _BROAD_POINTS)
        return 1.4 * thin, [patheffects.withStroke(linewidth=3 * thin, foreground="white")]

    if plan.boxes is not None:
        top, left, bottom, right = (int(edge) for edge in plan.boxes[0])
        if bottom > top and right > left:
            inside = np.zeros(plan.spatial_shape or (), bool)
            inside[top:bottom, left:right] = True
            wide, halo = line(inside)
            corner, sides = (left - 0.5, top - 0.5), (right - left, bottom - top)
            box = Rectangle(corner, *sides, fill=False, edgecolor=PARTNER, linewidth=wide, path_effects=halo)
            box.set_clip_on(False)
            axes.add_patch(box)
    elif plan.masks is not None:
        mask = plan.masks[0]
        if mask.min() < 0.5 < mask.max():
            wide, halo = line(mask < 0.5)
            lines = axes.contour(mask, levels=[0.5], colors=PARTNER, linewidths=wide)
            lines.set_path_effects(halo)


def _breadth(inside: np.ndarray) -> float:
    """How broad a region or the rest is, in pixels: of stripes the narrower ones, of a square half its side."""
    edges = sum(np.count_nonzero(np.diff(inside, axis=axis)) for axis in (0, 1))
    return 2 * min(np.count_nonzero(inside), np.count_nonzero(~inside)) / max(edges, 1)
