"""What mixing asks of the library that an array is of; and NumPy's answers."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from mixup_rs._core import DTYPES, MixPlan

__all__ = [
    "NUMPY",
    "Arrays",
    "Elements",
    "Kind",
    "blended_by",
    "has_region_shape",
    "is_blended",
    "joined",
    "parts_of",
    "refuse_boxes",
]

#: Floats, integers of any width, booleans, complex numbers, text, and whatever else.
Kind: TypeAlias = Literal["float", "integer", "bool", "complex", "text", "other"]

_KINDS: dict[str, Kind] = {
    "f": "float", "i": "integer", "u": "integer", "b": "bool", "c": "complex", "U": "text", "S": "text",
}  # fmt: skip
#: Of this machine's byte order. That of bfloat16 is known where ml_dtypes is installed.
_MIXABLE = {np.dtype(name) for name in DTYPES if name != "bfloat16"}


class Elements(NamedTuple):
    """Elements of an array of a known shape."""

    #: Their numbers in C order.
    flat: np.ndarray
    #: Their indices along each axis.
    along: tuple[np.ndarray, ...]


class Arrays:
    """The arrays of a library: this class is NumPy's, others override what their library does otherwise.

    Every method returns new arrays of the library, on the device of what it is given.
    """

    #: How an array of floats is made class indices, for messages.
    to_indices = "y.astype(numpy.int64)"
    #: What is mixed instead of complex numbers.
    instead_of_complex = "their real and imaginary parts"

    def kind(self, x: Any) -> Kind:
        """The kind of the elements."""
        dtype = x.dtype
        if dtype.kind == "V" and "float" in dtype.name:  # those of ml_dtypes
            return "float"
        return _KINDS.get(dtype.kind, "other")

    def is_mixable(self, x: Any) -> bool:
        """Whether the elements are of a dtype that can be blended."""
        return x.dtype in _MIXABLE or x.dtype.name == "bfloat16"

    def check(self, x: Any, name: str) -> None:
        """Refuses what is not dense: its elements alone are not its values."""
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(
                f"{name}: it must not be a masked array: its mask would be lost; fill it first: x.filled(0)"
            )

    def view(self, x: Any) -> np.ndarray | None:
        """The memory as NumPy sees it, where mixing by NumPy takes less than by the library itself; or None."""
        return None

    def host(self, x: Any) -> np.ndarray:
        """The values, as NumPy has them."""
        return x

    def asarray(self, array: np.ndarray, like: Any) -> Any:
        """An array of NumPy as one of the library, where `like` is."""
        return array

    def copy(self, x: Any) -> Any:
        """The same values in memory of their own."""
        return x.copy()

    def blend(self, plan: MixPlan, x: Any, spatial_axes: list[int] | None = None) -> Any:
        """The array mixed by a plan, of any dtype if the plan only copies."""
        return plan.apply(x, spatial_axes=spatial_axes)

    def soft(self, plan: MixPlan, y: Any, num_classes: int, label_smoothing: float) -> Any:
        """Soft targets of class indices (n,), mixed: float32."""
        return plan.apply_labels(y, num_classes, label_smoothing)[0]

    def take(self, x: Any, rows: np.ndarray) -> Any:
        """The samples of the given numbers."""
        return x[rows]

    def pick(self, x: Any, elements: Elements) -> np.ndarray:
        """Some elements, as NumPy has them."""
        return x.reshape(-1).take(elements.flat) if x.flags.c_contiguous else x[elements.along]

    def join(self, parts: list[Any]) -> Any:
        """The rows of arrays, one after the other, of at least one array: a plain one, of no subclass."""
        return np.concatenate(parts)

    def as_like(self, array: np.ndarray, like: Any) -> Any:
        """An array of NumPy as one of the library, of the dtype of `like` and where that is."""
        return array.astype(like.dtype, copy=False)

    def like(self, x: Any, like: Any) -> Any:
        """The array as one of the class of `like`, with what that has besides."""
        return x

    def where(self, rows: np.ndarray, x: Any, other: Any) -> Any:
        """The samples of `x` where `rows` is True, and those of `other` elsewhere."""
        return np.where(rows.reshape(-1, *[1] * (x.ndim - 1)), x, other)

    def larger(self, x: Any, other: Any) -> Any:
        """The larger of two values, and True where one is True."""
        return np.maximum(x, other)

    def smaller(self, x: Any, other: Any) -> Any:
        """The smaller of two values, and True where both are True."""
        return np.minimum(x, other)

    def weights(self, lam: np.ndarray, like: Any) -> Any:
        """Weights (n,) as float32."""
        return lam.astype(np.float32)

    def pair(self, plan: MixPlan, y: Any) -> tuple[Any, Any]:
        """The partners' targets, and the weight of the own ones as float32."""
        return self.take(y, plan.partner), self.weights(plan.lam, y)

    def floats(self, x: Any) -> Any:
        """The values as float32."""
        return x.astype(np.float32)

    def integers(self, x: Any) -> Any:
        """The values as int64."""
        return x.astype(np.int64)

    def flat(self, x: Any) -> Any:
        """The values of (n, 1) as (n,)."""
        return x.reshape(-1)

    def all(self, x: Any) -> bool:
        """Whether all booleans are True."""
        return bool(x.all())

    def floor(self, x: Any) -> Any:
        """The whole numbers below floats."""
        return np.floor(x)

    def extremes(self, x: Any) -> tuple[int, int]:
        """The least integer and the largest."""
        return int(x.min()), int(x.max())


NUMPY = Arrays()


def has_region_shape(plan: MixPlan, x: Any) -> bool:
    """Whether the last axes of a batch are the spatial axes that the plan's regions are along."""
    shape = plan.spatial_shape
    return shape is not None and x.ndim > len(shape) and tuple(x.shape[-len(shape) :]) == shape


def joined(arrays: Arrays, plan: MixPlan, x: Any, role: str, name: str) -> Any:
    """Where mixed samples have data: a mask of either sample, or the greater length, for the role "present".

    Examples
    --------
    >>> joined(NUMPY, MixPlan([0.5, 1.0], [1, 0]), np.array([[1, 1, 0], [1, 1, 1]]), "present", "attention_mask")
    array([[1, 1, 1],
           [1, 1, 1]])
    """
    if arrays.kind(x) not in ("float", "integer", "bool"):
        raise TypeError(f"{name} must be of booleans or numbers, got {x.dtype}")
    if not x.ndim or x.shape[0] != len(plan):
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {len(plan)} samples")
    join = arrays.larger if role == "present" else arrays.smaller
    whole = x
    for partner, share in parts_of(plan):
        whole = arrays.where(share > 0, join(whole, arrays.take(x, partner)), whole)
    return whole


def parts_of(plan: MixPlan) -> list[tuple[np.ndarray, np.ndarray]]:
    """The partners that samples are mixed with, one after the other, and the share that each has.

    Examples
    --------
    >>> parts_of(MixPlan([0.75, 1.0], [1, 0]))
    [(array([1, 0]), array([0.25, 0.  ]))]
    >>> [partner for partner, _ in parts_of(MixPlan.from_weights([[0.5, 0.25, 0.25]] * 3, [[1, 2], [0, 2], [0, 1]]))]
    [array([1, 0, 0]), array([2, 2, 1])]
    """
    if plan.k == 2:
        return [(plan.partner, 1 - plan.without_region().weight)]
    return list(zip(plan.partner.T.copy(), plan.weights[:, 1:].T, strict=True))


def blended_by(
    arrays: Arrays, plan: MixPlan, x: Any, name: str, spatial_axes: list[int] | None = None, other: Any = None
) -> Any:
    """An array mixed by a plan, with partners from another of NumPy if given.

    Raises TypeError or ValueError that names it, if the core refuses it.
    """
    try:
        return arrays.blend(plan, x, spatial_axes) if other is None else plan.apply(x, None, spatial_axes, other)
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{name}: {error}") from error


def is_blended(arrays: Arrays, x: Any, name: str) -> bool:
    """Whether an input is blended. Integers of 32 bits and more (tokens, categories) and text are not.

    Raises
    ------
    TypeError
        If the input can neither be blended nor left as it is.

    Examples
    --------
    >>> is_blended(NUMPY, np.zeros(2), "x"), is_blended(NUMPY, np.arange(2), "tokens")
    (True, False)
    """
    refuse_boxes(x, name)
    if arrays.is_mixable(x):
        return True
    kind = arrays.kind(x)
    if kind == "bool":
        raise TypeError(
            f"{name} is an input of booleans, which are not blended: a mask must be of both samples; "
            "convert it to floats, or name other inputs: inputs=..."
        )
    if kind == "complex":
        raise TypeError(f"{name} is complex, which cannot be mixed; give {arrays.instead_of_complex} instead")
    if kind in ("float", "other"):
        raise TypeError(
            f"{name} is an input of {x.dtype}, which cannot be mixed; convert it to float32, or name other inputs: "
            "inputs=..."
        )
    return False


def refuse_boxes(value: Any, name: str) -> None:
    """Refuses tensors of boxes and keypoints, torchvision's and fastai's: their averages mean nothing."""
    if type(value).__name__ in ("BoundingBoxes", "KeyPoints", "TensorBBox"):
        raise TypeError(
            f"{name} is of bounding boxes or keypoints, which cannot be averaged; each sample has them in a dict that "
            "is a target: {'boxes': boxes, 'labels': labels}"
        )
