"""Which axes of images are spatial, and which is the channels'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

from mixup_rs._core import MixPlan
from mixup_rs.batches.roles import Path, named

__all__ = ["Axes", "Images", "refuse_channels_last"]

Shape = tuple[int, ...]


class Axes:
    """Which axes of a sample are spatial, and which is the channels'.

    Parameters
    ----------
    shape : tuple of int
        The shape of a sample: (H, W), (C, H, W), (H, W, C), (C, T, H, W) or (T, H, W, C).
    sizes : set of (int, int)
        The heights and widths of other images of the sample, which tell the order of the axes.
    channels_last : bool, optional
        Whether the channels are the last axis.

    Attributes
    ----------
    spatial : tuple of int
        The axes of height and width.
    channel : int or None
        The axis of the channels; None if there is none.
    is_certain : bool
        Whether the shapes tell the order of the axes.

    Examples
    --------
    >>> Axes((224, 224, 3)).spatial, Axes((6, 32, 48)).spatial, Axes((32, 48, 40), {(32, 48)}).spatial
    ((0, 1), (1, 2), (0, 1))
    """

    def __init__(self, shape: tuple[int, ...], sizes: Set[tuple[int, int]] = frozenset(), channels_last: Any = None):
        ndim = len(shape)
        self.is_certain = True
        if ndim < 3:
            self.spatial, self.channel = tuple(range(ndim)), None
            return
        if channels_last is None:
            is_last, self.is_certain = _is_channels_last(shape, sizes)
        else:
            is_last = bool(channels_last)
        self.spatial = (ndim - 3, ndim - 2) if is_last else (ndim - 2, ndim - 1)
        self.channel = ndim - 1 if is_last else 0


def _is_channels_last(shape: tuple[int, ...], sizes: Set[tuple[int, int]]) -> tuple[bool, bool]:
    """Whether the channels are the last axis, and whether that is certain."""
    first, last = shape[-2:] in sizes, shape[-3:-1] in sizes
    if first != last:
        return last, True
    first, last = shape[0] in (1, 3, 4), shape[-1] in (1, 3, 4)
    if first != last:
        return last, True
    # Images are large and have few channels.
    few = max(1, min(shape[-3:]) * 4)
    first, last = few <= min(shape[-2:]), few <= min(shape[-3:-1])
    return last and not first, first != last


def refuse_channels_last(shape: Shape) -> None:
    """Refuse a batch whose last two axes are to be cut, if its channels seem to be the last one. The core calls it."""
    axes, ndim = Axes(shape[1:]), len(shape)
    if axes.is_certain and axes.channel == ndim - 2:
        raise ValueError(
            f"x of shape {shape} looks as if channels were its last axis: say spatial_axes={(ndim - 3, ndim - 2)}, or "
            f"spatial_axes={(ndim - 2, ndim - 1)} if they are not"
        )


class Images:
    """The inputs of a batch that have a height and a width.

    Parameters
    ----------
    shapes : dict
        The shape of a sample of each input, by its path.
    masks : callable
        Returns the shapes of the samples of two axes, inputs or not: they tell the order of the axes of images.
    channels_last : bool, optional
        Whether the channels are the last axis. By default the shapes tell.

    Attributes
    ----------
    axes : dict
        The axes of each input that has a height and a width.

    Examples
    --------
    >>> images = Images({("x",): (8,), ("image",): (224, 200, 3)}, set)
    >>> images.shape, images.axes["image",].spatial
    ((224, 200), (0, 1))
    """

    def __init__(
        self, shapes: Mapping[Path, Shape], masks: Callable[[], Set[tuple[int, int]]], channels_last: Any = None
    ):
        self.axes: dict[Path, Axes]
        self.shapes, self.axes = shapes, {}
        sizes, are_certain = None, True
        for path, shape in shapes.items():
            if len(shape) >= 2 and shape[0]:
                if sizes is None and len(shape) > 2 and channels_last is None:
                    sizes = masks()
                self.axes[path] = axes = Axes(shape, sizes or frozenset(), channels_last)
                are_certain &= axes.is_certain
        if not are_certain:
            self._tell_by_others()

    def _tell_by_others(self) -> None:
        """Images whose shapes do not tell their height and width have those of images whose shapes do, if any."""
        sizes: Any = {self._size(path) for path, axes in self.axes.items() if axes.is_certain}
        for path, axes in self.axes.items():
            if not axes.is_certain:
                self.axes[path] = Axes(self.shapes[path], sizes)

    def _size(self, path: Path) -> Shape:
        spatial = self.axes[path].spatial
        return tuple(self.shapes[path][spatial[0] : spatial[-1] + 1])

    @property
    def shape(self) -> Shape | None:
        """The height and width of the first image: of one with channels, if there is one."""
        first = None
        for path, axes in self.axes.items():
            if axes.channel is not None:
                return self._size(path)
            first = path if first is None else first
        return None if first is None else self._size(first)

    def refuse_uncertain(self, plan: MixPlan) -> None:
        """Refuses images whose regions could be along either order of their axes."""
        if (cut := plan.spatial_shape) is None:
            return
        for path, axes in self.axes.items():
            shape = self.shapes[path]
            if not axes.is_certain and cut in (shape[-2:], shape[-3:-1]):
                raise ValueError(
                    f"the shape of {named(path)} does not tell its height and width; say channels_last=..."
                )

    def axes_to_cut(self, plan: MixPlan, path: Path) -> list[int] | None:
        """The axes of a batch that the plan's regions are along; None if it has none, or another size.

        An input of another size is blended by the share that is left, as the labels are.
        """
        if path not in self.axes or self._size(path) != plan.spatial_shape:
            return None
        return [axis + 1 for axis in self.axes[path].spatial]
