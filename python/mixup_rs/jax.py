"""Plans applied to JAX arrays, also under jit, grad and vmap; importing it makes `MixPlan` a pytree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    import jax
    import jax.numpy as jnp
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mixup_rs.jax needs jax: pip install 'mixup-rs[jax]'", name="jax") from error

from mixup_rs._core import MixPlan
from mixup_rs.batches.namespace import Drawn, NamespaceArrays, blend, view
from mixup_rs.batches.others import both_batches
from mixup_rs.batches.traced import Plan, TracedPlan, flatten, unflatten

__all__ = ["TracedPlan", "apply", "apply_labels"]

_ARRAYS = NamespaceArrays(jnp)


def apply(plan: Plan, x: Any, *, spatial_axes: Sequence[int] | None = None, other: Any = None) -> jax.Array:
    """Mix an array by a plan.

    Without boxes the result is ``lam[i] * x[i] + (1 - lam[i]) * x[partner[i]]``. With boxes, each sample is blended by
    `plan.weight`, and then its box is copied from its partner. With masks, each pixel is blended by its share.

    In the memory of the CPU the Rust kernel mixes, without a copy of `x`. Under jit, grad and vmap and on accelerators
    it is one gather and one blend, within rounding of the kernel's result: there pass the plan as an argument. One that
    is a static argument, or that a jitted function closes over, is compiled into it, anew for each plan.

    Parameters
    ----------
    plan : MixPlan
        The plan, of n samples; under a transformation what it arrives as.
    x : jax.Array
        Shape (n, ...); float64, float32, float16, bfloat16 or an integer of at most 16 bits. For a plan that only
        copies (CutMix) any dtype.
    spatial_axes : sequence of int, optional
        The axes of `x` that boxes or masks are along; by default the last ones.
    other : jax.Array, optional
        The batch that partners come from, if the plan has an `other`. Close over such a plan to transform a function.

    Returns
    -------
    jax.Array
        The mixed batch, of the dtype of `x` and on its device.

    Raises
    ------
    TypeError, ValueError
        If the dtype cannot be mixed, `x` is a batch of another length, or its spatial axes are not those of regions.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mixup_rs import MixPlan
    >>> from mixup_rs.jax import apply
    >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
    >>> x = jnp.array([[8.0, 0.0], [0.0, 4.0]])
    >>> apply(plan, x)
    Array([[6., 1.],
           [0., 4.]], dtype=float32)
    >>> bool((jax.jit(apply)(plan, x) == apply(plan, x)).all())
    True
    """
    x = x if isinstance(x, jax.Array) else jnp.asarray(x)
    if (both := both_batches(_ARRAYS, plan, x, other)) is not None:
        return apply(*both, spatial_axes=spatial_axes)[: len(plan)]
    drawn = plan.image if isinstance(plan, TracedPlan) else None if plan.k > 2 else Drawn.of(plan)
    is_moved = drawn is not None and drawn.spatial_shape is not None and drawn.only_copies
    if x.ndim == 0 or not (_ARRAYS.is_mixable(x) or is_moved):
        raise TypeError(
            f"expected an array of shape (n, ...), of floats or of integers of at most 16 bits, got {x.dtype} of shape "
            f"{x.shape}; indices are not blended: mix their embeddings"
        )
    if x.shape[0] != len(plan):
        raise ValueError(f"the plan is for {len(plan)} samples, got an array of {x.shape[0]}")
    if isinstance(plan, TracedPlan):
        return blend(jnp, plan.image, x, spatial_axes)
    return _ARRAYS.blend(plan, x, None if spatial_axes is None else list(spatial_axes))


def apply_labels(
    plan: Plan, labels: Any, num_classes: int | None = None, label_smoothing: float = 0.0, other: Any = None
) -> tuple[jax.Array, jax.Array | None]:
    """Mix labels by a plan.

    Parameters
    ----------
    plan : MixPlan
        The plan, of n samples; under a transformation what it arrives as.
    labels : jax.Array
        As for `MixPlan.apply_labels`: floats are blended; class indices (n,) become float32 soft targets with
        `num_classes`, else they are returned beside those of the partners; booleans (n, k) are blended as float32.
    num_classes : int, optional
        At least 1. Under a transformation a class index that is not below it is not refused, but has a row of zeros.
    label_smoothing : float, default 0.0
        s in [0, 1], for class indices: 1 - s + s/C for the class, s/C for the others.
    other : jax.Array, optional
        The labels of the batch that partners come from, if the plan has an `other`.

    Returns
    -------
    tuple of (jax.Array, jax.Array or None)
        The mixed labels and None, or class indices and those of the partners.

    Raises
    ------
    ValueError, TypeError
        As `MixPlan.apply_labels`; and if integers of several axes are given under a transformation.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mixup_rs import MixPlan
    >>> from mixup_rs.jax import apply_labels
    >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
    >>> apply_labels(plan, jnp.array([0, 2]), num_classes=3)[0]
    Array([[0.75, 0.  , 0.25],
           [0.  , 0.  , 1.  ]], dtype=float32)
    """
    y = labels if isinstance(labels, jax.Array) else jnp.asarray(labels)
    if (both := both_batches(_ARRAYS, plan, y, other)) is not None:
        own, partner = apply_labels(*both, num_classes, label_smoothing)
        return own[: len(plan)], None if partner is None else partner[: len(plan)]
    if isinstance(plan, MixPlan) and (seen := view(y)) is not None:
        own, partner = plan.apply_labels(seen, num_classes, label_smoothing)
        return (_ARRAYS.asarray(own, y), None) if partner is None else (y, _ARRAYS.asarray(partner, y))
    if y.ndim == 0 or y.shape[0] != len(plan):
        raise ValueError(f"the plan is for {len(plan)} samples, got labels of shape {y.shape}")
    drawn = plan.labels if isinstance(plan, TracedPlan) else Drawn.of(plan.for_labels())
    kind = _ARRAYS.kind(y)
    # The checks of the core, on nothing.
    of_kind = np.zeros(y.shape, np.int64 if kind == "integer" else np.float32)
    _, pair = MixPlan.identity(len(plan)).apply_labels(of_kind, num_classes, label_smoothing)
    if pair is not None:
        return y, jnp.take(y, jnp.asarray(drawn.partner), axis=0)
    if kind != "integer" or y.ndim > 1:
        return blend(jnp, drawn, y if kind == "float" else y.astype(jnp.float32)), None
    assert num_classes is not None
    return _ARRAYS.soft_by(drawn, y, num_classes, label_smoothing), None


for kind in (MixPlan, TracedPlan):
    jax.tree_util.register_pytree_node(kind, flatten, unflatten)
