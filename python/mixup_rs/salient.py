"""What is salient in images, and where most: NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Peaks", "saliency"]

#: The longest side that is looked at; larger images are thinned out.
_SIDE = 64


class Peaks(NamedTuple):
    """Where the saliency of each sample is greatest: what `CutMix` keeps of its maps.

    Parameters
    ----------
    shape : tuple of int
        The lengths of a sample's spatial axes.
    at : tuple of tuple of int
        For each sample an index along each of these axes.

    Examples
    --------
    >>> from mixup_rs import CutMix
    >>> CutMix(saliency=[[[0, 1], [0, 0]]]).saliency
    Peaks(shape=(2, 2), at=((0, 1),))
    """

    shape: tuple[int, ...]
    at: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, maps: ArrayLike | Peaks) -> Peaks:
        """The peaks of maps (n, ...): of equal values the first.

        Raises
        ------
        TypeError, ValueError
            If these are no finite numbers along one to three axes.
        """
        if isinstance(maps, Peaks):
            return maps
        array = np.asarray(maps)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"saliency must be maps of numbers, (n, height, width), got {array.dtype}")
        if not 2 <= array.ndim <= 4 or 0 in array.shape[1:]:
            raise ValueError(f"saliency must be a map for each sample, (n, height, width), got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError("saliency must be finite")
        shape = array.shape[1:]
        at = np.unravel_index(array.reshape(len(array), -1).argmax(axis=1), shape) if len(array) else ()
        return cls(shape, tuple(zip(*(axis.tolist() for axis in at), strict=True)))


def saliency(x: Any, spatial_axes: Sequence[int] | None = None) -> np.ndarray:
    """Return a map of what stands out from its surroundings in each image, for `CutMix`.

    In a grey and thinned out image, a pixel counts by how far it is from the mean of the square around it, for squares
    of several sizes [1]_. The result is blurred, so that its peak is in the middle of what stands out. It is computed
    in whole numbers: the same on every machine.

    Parameters
    ----------
    x : array_like
        (n, ...) images of real numbers, in the memory of the CPU.
    spatial_axes : sequence of int, optional
        The axes of height and width; by default the last two.

    Returns
    -------
    numpy.ndarray
        (n, height, width) float32.

    Raises
    ------
    TypeError, ValueError
        If `x` is not as described.

    See Also
    --------
    CutMix : Cuts at the peaks of such maps.

    References
    ----------
    .. [1] Montabone and Soto, "Human detection using a mobile platform and novel features derived from a visual
       saliency mechanism", Image and Vision Computing 28, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from mixup_rs import CutMix, saliency
    >>> x = np.zeros((2, 3, 32, 32), np.float32)
    >>> x[0, :, 4:8, 20:24], x[1, :, 25:29, 9:13] = 1, 1
    >>> maps = saliency(x)
    >>> np.unravel_index(maps[0].argmax(), (32, 32))
    (np.int64(5), np.int64(22))
    >>> plan = CutMix(saliency=maps).plan(2, (32, 32), rng=1)
    """
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"x must be images of real numbers, got {array.dtype}")
    axes = (-2, -1) if spatial_axes is None else tuple(spatial_axes)
    found = {axis % array.ndim for axis in axes} if array.ndim else set()
    if array.ndim < 3 or len(axes) != 2 or len(found - {0}) != 2:
        raise ValueError(f"x must have a batch and two spatial axes, got shape {array.shape} and spatial_axes {axes}")
    images = np.moveaxis(array, axes, (1, 2))
    n, height, width = images.shape[:3]
    if images.size == 0:
        return np.zeros((n, height, width), np.float32)
    step = -(-max(height, width) // _SIDE)
    thin = images[:, step // 2 :: step, step // 2 :: step] if min(height, width) > step else images[:, ::step, ::step]
    grey = _grey(thin)
    side = max(grey.shape[1:])
    apart = np.sum([np.abs(grey - _mean(grey, max(side * part // 16, 1))) for part in (1, 2, 4)], axis=0)
    blurred = _mean(apart, max(side // 16, 1)).astype(np.float32)
    rows, columns = (
        np.minimum(np.arange(length) // step, count - 1)
        for length, count in zip((height, width), grey.shape[1:], strict=True)
    )
    return blurred[:, rows[:, None], columns]


def _grey(images: np.ndarray) -> np.ndarray:
    """The sum of the channels (n, height, width), in thousands of the range of all values: whole numbers."""
    values = images.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("x must be finite")
    low, high = values.min(), values.max()
    whole = np.rint((values - low) * (1000 / (high - low) if high > low else 0.0)).astype(np.int64)
    return whole.reshape(*whole.shape[:3], -1).sum(axis=3) * 256


def _mean(of: np.ndarray, radius: int) -> np.ndarray:
    """The mean of the square around each pixel, of what lies in the image."""
    sums, count = of, 1
    for axis in (1, 2):
        length = of.shape[axis]
        ends = np.minimum(np.arange(length) + radius + 1, length)
        starts = np.maximum(np.arange(length) - radius, 0)
        total = np.insert(np.cumsum(sums, axis=axis), 0, 0, axis=axis)
        sums = total.take(ends, axis) - total.take(starts, axis)
        count = count * (ends - starts).reshape([-1 if k == axis else 1 for k in range(3)])
    return sums // count
