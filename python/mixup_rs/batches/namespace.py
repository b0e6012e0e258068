"""Arrays of the array API standard and of DLPack: JAX, CuPy, and whatever else.

Those in the memory of the CPU are mixed by the Rust kernel in their own memory, others by the operations of their own
library on their device: one gather and one blend.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mixup_rs._core import DTYPES, MixPlan
from mixup_rs.batches.arrays import Arrays, Elements, Kind
from mixup_rs.batches.patches import Taps, taps_of
from mixup_rs.batches.several import steps_of

__all__ = ["Drawn", "NamespaceArrays", "blend", "is_traced", "is_tracer", "mean", "namespace_of", "sent", "view"]

#: The type of device by which DLPack means the memory of the CPU.
_CPU = 1


def namespace_of(x: Any) -> Any:
    """The namespace of an array: the standard's, or the module it comes from if that speaks DLPack; else None."""
    if (ask := getattr(x, "__array_namespace__", None)) is not None:
        return ask()
    module = sys.modules.get(type(x).__module__.partition(".")[0])
    speaks_dlpack = hasattr(x, "__dlpack__") and hasattr(x, "shape") and hasattr(module, "from_dlpack")
    return module if speaks_dlpack else None


def view(x: Any) -> np.ndarray | None:
    """The memory of an array as NumPy sees it, without a copy and not to be written to; None where it cannot."""
    try:
        if x.__dlpack_device__()[0] != _CPU:
            return None
        try:
            seen = np.from_dlpack(x)
        except (RuntimeError, BufferError, TypeError):
            seen = np.asarray(x)  # bfloat16 does not pass
    except Exception:
        return None
    return seen if seen.dtype.kind != "O" else None


def is_tracer(x: Any) -> bool:
    """Whether an array is one that JAX transforms, as under grad, vmap and jit."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def is_traced(x: Any) -> bool:
    """Whether an array is one of JAX whose values are not known, while a function is compiled."""
    jax, inner = sys.modules.get("jax"), x
    if jax is None or not is_tracer(x):
        return False
    while isinstance(inner, jax.core.Tracer):  # those of grad and of vmap have another within
        inner = getattr(inner, "primal", getattr(inner, "val", None))
    return not isinstance(inner, jax.Array | np.ndarray)


class NamespaceArrays(Arrays):
    """The arrays of one namespace; each method is documented in `Arrays`."""

    to_indices = "y.astype(int64)"

    def __init__(self, namespace: Any):
        self.xp = namespace

    def kind(self, x: Any) -> Kind:
        name = _name(x)
        if name.startswith(("float", "bfloat")):
            return "float"
        if name.startswith(("int", "uint")):
            return "integer"
        return "bool" if name == "bool" else "complex" if name.startswith("complex") else "other"

    def is_mixable(self, x: Any) -> bool:
        return _name(x) in DTYPES

    def check(self, x: Any, name: str) -> None:
        pass

    def view(self, x: Any) -> np.ndarray | None:
        return view(x)

    def host(self, x: Any) -> np.ndarray:
        seen = view(x)
        return np.asarray(x) if seen is None else seen

    def asarray(self, array: np.ndarray, like: Any) -> Any:
        return sent(self.xp, array, like)

    def copy(self, x: Any) -> Any:
        seen = view(x)
        return self.xp.asarray(x, copy=True) if seen is None else self.asarray(seen.copy(), x)

    def blend(self, plan: MixPlan, x: Any, spatial_axes: list[int] | None = None) -> Any:
        seen = view(x)
        if seen is None:
            return blend(self.xp, Drawn.of(plan), x, spatial_axes) if plan.k == 2 else mean(self.xp, plan, x)
        return self.asarray(plan.apply(seen, spatial_axes=spatial_axes), x)

    def soft(self, plan: MixPlan, y: Any, num_classes: int, label_smoothing: float) -> Any:
        if is_traced(y):
            return self.soft_by(Drawn.of(plan.for_labels()), y, num_classes, label_smoothing)
        return self.asarray(plan.apply_labels(self.host(y), num_classes, label_smoothing)[0], y)

    def soft_by(self, drawn: Drawn, y: Any, num_classes: int, label_smoothing: float) -> Any:
        """Soft targets of class indices (n,), mixed by the operations of the library."""
        hot = self.floats(y[:, None] == self.xp.arange(num_classes))
        return blend(self.xp, drawn, hot * (1 - label_smoothing) + label_smoothing / num_classes)

    def take(self, x: Any, rows: np.ndarray) -> Any:
        return self.xp.take(x, self.asarray(rows, x), axis=0)

    def pick(self, x: Any, elements: Elements) -> np.ndarray:
        if (seen := view(x)) is not None:
            return super().pick(seen, elements)
        return self.host(self.xp.take(self.xp.reshape(x, (-1,)), self.asarray(elements.flat, x)))

    def join(self, parts: list[Any]) -> Any:
        return self.xp.concat(parts, axis=0)

    def as_like(self, array: np.ndarray, like: Any) -> Any:
        return self.xp.astype(self.asarray(array, like), like.dtype)

    def where(self, rows: np.ndarray, x: Any, other: Any) -> Any:
        return self.xp.where(self.asarray(rows.reshape(-1, *[1] * (x.ndim - 1)), x), x, other)

    def larger(self, x: Any, other: Any) -> Any:
        return x | other if self.kind(x) == "bool" else self.xp.maximum(x, other)

    def smaller(self, x: Any, other: Any) -> Any:
        return x & other if self.kind(x) == "bool" else self.xp.minimum(x, other)

    def weights(self, lam: np.ndarray, like: Any) -> Any:
        return self.asarray(lam.astype(np.float32), like)

    def floats(self, x: Any) -> Any:
        return self.xp.astype(x, self.xp.float32)

    def integers(self, x: Any) -> Any:
        return self.xp.astype(x, self.xp.int64)

    def flat(self, x: Any) -> Any:
        return self.xp.reshape(x, (-1,))

    def all(self, x: Any) -> bool:
        return bool(self.xp.all(x))

    def floor(self, x: Any) -> Any:
        return self.xp.floor(x)

    def extremes(self, x: Any) -> tuple[int, int]:
        return int(self.xp.min(x)), int(self.xp.max(x))


class Drawn(NamedTuple):
    """What a plan says of each sample, in the arrays of any library."""

    partner: Any
    #: The weight of the sample itself outside of its box, and that of its partner: (n,), or with masks that in each
    #: pixel: (n, ...), or (1, ...) for all samples.
    weight: Any
    share: Any
    #: (n, 2 * d), or None for a plan without boxes.
    boxes: Any
    spatial_shape: tuple[int, ...] | None
    #: Whether every weight is 0 or 1: then elements of any type are moved.
    only_copies: bool
    #: The boxes that partners are resized into, and the sources of their pixels along height and width: bilinear ones,
    #: then the nearest; or None.
    patches: Any = None
    taps: tuple[tuple[Taps, Taps], tuple[Taps, Taps]] | None = None
    takes_nearest: bool = False

    @classmethod
    def of(cls, plan: MixPlan) -> Drawn:
        """That of a plan, in arrays of NumPy."""
        if plan.other is not None:
            raise ValueError(
                "a plan of partners from another batch can be no argument of a function that is transformed; close "
                "over it, and give the batch: apply(plan, x, other=...)"
            )
        if plan.k > 2:
            raise ValueError(
                f"a plan of more than two samples (k={plan.k}) can be no argument of a function that is transformed, "
                "nor mix labels in one; close over it, and mix one-hot floats by apply"
            )
        weight = plan.weight if plan.masks is None else plan.masks
        if weight.ndim > 1 and weight.strides[0] == 0:
            weight = weight[:1]
        is_copy = bool(np.isin(weight, (0, 1)).all())
        bilinear, nearest = (taps_of(plan, nearest, shared=False) for nearest in (False, True))
        taps = None if bilinear is None or nearest is None else (bilinear, nearest)
        drawn = cls(plan.partner, weight, 1 - weight, plan.boxes, plan.spatial_shape, is_copy)
        return drawn._replace(patches=plan.patches, taps=taps, takes_nearest=plan.takes_nearest)


def blend(xp: Any, drawn: Drawn, x: Any, spatial_axes: Sequence[int] | None = None) -> Any:
    """Mix an array by the operations of its own library: for JAX, also under its transformations.

    Parameters
    ----------
    xp : module
        The namespace of `x`.
    drawn : Drawn
        What is to be mixed.
    x : array
        (n, ...), of a dtype that can be blended, or any if nothing is blended.
    spatial_axes : sequence of int, optional
        The axes that regions are along; by default the last ones.

    Returns
    -------
    array
        The mixed batch: within rounding what the kernel gives, with a fused multiply and add or without.
    """
    if x.shape[0] == 0:
        return x
    name, axes = _name(x), _spatial_axes(drawn, x, spatial_axes)
    other = xp.take(x, sent(xp, drawn.partner, x), axis=0)
    if drawn.taps is not None:
        is_other = xp.asarray(sent(xp, drawn.partner, x) != sent(xp, np.arange(x.shape[0]), x))
        other = _resized(xp, drawn.taps[name not in DTYPES], other, axes, _along(xp, is_other, x, axes))
    wide = xp.float64 if name == "float64" else xp.float32
    own, share = (_along(xp, xp.astype(sent(xp, weight, x), wide), x, axes) for weight in (drawn.weight, drawn.share))
    if drawn.only_copies:
        mixed = xp.where(own == 0, other, x)
    else:
        a, b = xp.astype(x, wide), xp.astype(other, wide)
        mixed = xp.where(own >= 0.5, a + (b - a) * share, b + (a - b) * own)
        is_float = name.startswith(("float", "bfloat"))
        mixed = xp.astype(mixed if is_float else xp.round(mixed), x.dtype)
        if is_float:
            # Infinities and NaNs of what has no weight do not leak, and two equal infinities are one.
            mixed = xp.where((share == 0) | ((a == b) & xp.isinf(a)), x, xp.where(own == 0, other, mixed))
    if drawn.boxes is None:
        return mixed
    return xp.where(_inside(xp, drawn, x, axes), other, mixed)


def mean(xp: Any, plan: MixPlan, x: Any) -> Any:
    """Mix more than two samples at a time, by the operations of the library of `x`."""
    name = _name(x)
    wide = xp.float64 if name == "float64" else xp.float32
    mixed = xp.astype(x, wide)
    for partner, shares in steps_of(plan):
        other = xp.astype(xp.take(x, sent(xp, partner, x), axis=0), wide)
        share = xp.reshape(xp.astype(sent(xp, shares, x), wide), (-1, *[1] * (x.ndim - 1)))
        blended = xp.where(share <= 0.5, mixed + (other - mixed) * share, other + (mixed - other) * (1 - share))
        # As in `blend`.
        kept = (share == 0) | ((mixed == other) & xp.isinf(mixed))
        mixed = xp.where(kept, mixed, xp.where(share == 1, other, blended))
    return xp.astype(mixed if name.startswith(("float", "bfloat")) else xp.round(mixed), x.dtype)


def _resized(xp: Any, taps: tuple[Taps, Taps], other: Any, axes: list[int], inside: Any) -> Any:
    """Partners that fill their boxes, resized, in the samples that `inside` names."""
    name, resized = _name(other), other
    wide = xp.float64 if name == "float64" else xp.float32
    for axis, along in zip(axes, taps, strict=True):
        near, far, weight, within = (_along(xp, sent(xp, part, other), other, [axis]) for part in along)
        inside = inside & within
        near, far = (xp.broadcast_to(index, other.shape) for index in (near, far))
        if name not in DTYPES:
            resized = xp.take_along_axis(resized, near, axis=axis)
            continue
        resized = xp.astype(resized, wide)
        a, b = (xp.take_along_axis(resized, index, axis=axis) for index in (near, far))
        weight = xp.astype(weight, wide)
        resized = xp.where((weight == 0) | ((a == b) & xp.isinf(a)), a, a + (b - a) * weight)
    is_rounded = name in DTYPES and not name.startswith(("float", "bfloat"))
    resized = xp.astype(xp.round(resized) if is_rounded else resized, other.dtype)
    return xp.where(inside, resized, other)


def _spatial_axes(drawn: Drawn, x: Any, given: Sequence[int] | None) -> list[int]:
    """The axes that regions are along. Raises ValueError if the regions do not fit."""
    shape = drawn.spatial_shape or ()
    axes = list(range(x.ndim - len(shape), x.ndim)) if given is None else [axis % x.ndim for axis in given]
    got = tuple(x.shape[axis] for axis in axes)
    if shape and (got != tuple(shape) or x.ndim <= len(shape)):
        raise ValueError(f"the plan's regions are along axes of {tuple(shape)}, got an array of shape {tuple(x.shape)}")
    return axes


def _along(xp: Any, weight: Any, x: Any, axes: list[int]) -> Any:
    """Weights of samples, or of their pixels, with the axes of a batch: of length 1 along those that they have not."""
    order = sorted(range(weight.ndim - 1), key=lambda place: axes[place])
    weight = xp.permute_dims(weight, (0, *(1 + place for place in order)))
    shape = [x.shape[axis] if weight.ndim > 1 and axis in axes else 1 for axis in range(1, x.ndim)]
    return xp.reshape(weight, (weight.shape[0], *shape))


def _inside(xp: Any, drawn: Drawn, x: Any, axes: list[int]) -> Any:
    """Whether an element is in the box of its sample: of length 1 along the axes that are not spatial."""
    bounds, inside = sent(xp, drawn.boxes, x), None
    for place, axis in enumerate(axes):
        at = xp.reshape(sent(xp, np.arange(x.shape[axis]), x), tuple(-1 if k == axis else 1 for k in range(x.ndim)))
        start, end = _along(xp, bounds[:, place], x, axes), _along(xp, bounds[:, place + len(axes)], x, axes)
        along = (at >= start) & (at < end)
        inside = along if inside is None else inside & along
    return inside


def sent(xp: Any, array: Any, like: Any) -> Any:
    """An array of NumPy as one of the library, on the device of `like`, without a copy where the library can."""
    if not isinstance(array, np.ndarray):
        return array
    try:
        device = like.device
    except Exception:
        device = None
    if device is None and hasattr(xp, "asarray"):
        return xp.asarray(array)
    try:
        made = xp.from_dlpack(array)
        if device is None or made.device == device:
            return made
    except (RuntimeError, BufferError, TypeError, ValueError, AttributeError):  # bfloat16 does not pass
        pass
    return xp.asarray(array, device=device)


def _name(x: Any) -> str:
    """The name of a dtype in the standard: libraries put their own before it."""
    return str(x.dtype).rpartition(".")[2]
