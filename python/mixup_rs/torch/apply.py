"""Plans applied to torch tensors.

The Rust kernel mixes a tensor on the CPU in its own memory, without a copy. A tensor on an accelerator is mixed on that
device (`mixup_rs.torch.device`).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch

from mixup_rs._core import DTYPES, MixPlan
from mixup_rs.batches.others import plan_of_both, refuse_other
from mixup_rs.torch._compat import is_transformed, leave_graph, no_torch_function
from mixup_rs.torch.device import mix_on_device, send_plan

__all__ = [
    "MIXABLE_DTYPES",
    "apply",
    "apply_labels",
    "as_numpy",
    "from_numpy",
    "is_mixable",
    "like",
    "mix_tensor",
    "only_copies",
    "refuse_layout",
]

#: The dtypes that the Rust kernel blends.
MIXABLE_DTYPES = {getattr(torch, name) for name in DTYPES}

#: torch's own method: a subclass may override it.
_as_subclass = torch.Tensor.as_subclass


def is_mixable(value: Any) -> bool:
    """Whether a value is a tensor whose elements can be blended.

    Wider integers are indices (classes, tokens, categories), and their blend has no meaning.

    Parameters
    ----------
    value : Any
        A tensor, or anything else.

    Returns
    -------
    bool
        True for a tensor of at least one axis, of floats or of integers of at most 16 bits.

    Examples
    --------
    >>> is_mixable(torch.zeros(2, 3)), is_mixable(torch.tensor([1, 2]))
    (True, False)
    """
    return isinstance(value, torch.Tensor) and value.ndim > 0 and value.dtype in MIXABLE_DTYPES


def refuse_layout(x: torch.Tensor, name: str) -> None:
    """Refuses tensors that are sparse or nested: their memory is not that of their elements."""
    if x.layout is torch.strided and not x.is_nested:
        return
    if x.is_nested:
        raise TypeError(f"{name} is nested, which cannot be mixed; torch.nested.to_padded_tensor(x, 0) would do")
    raise TypeError(f"{name} is of the layout {x.layout}, which cannot be mixed; x.to_dense() would do")


def only_copies(plan: MixPlan) -> bool:
    """Whether a plan has regions and blends nothing: then it moves elements of any type."""
    leave_graph()
    return plan.only_copies


def apply(
    plan: MixPlan,
    tensor: torch.Tensor,
    *,
    inplace: bool = False,
    spatial_axes: Sequence[int] | None = None,
    other: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mix a tensor by a plan, on the tensor's device.

    Without regions the result is ``lam[i] * tensor[i] + (1 - lam[i]) * tensor[partner[i]]``. With boxes, each sample is
    blended by `plan.weight`, and then its box is copied from its partner. With masks, each pixel is blended by its
    share. A plan of several partners gives weighted means.

    Gradients flow, in reverse and in forward mode and under `torch.func`: the backward of a mix is a mix along the
    inverse partners. `torch.compile` ends its graph here, so ``fullgraph=True`` is refused.

    Parameters
    ----------
    plan : MixPlan
        The plan, of n samples.
    tensor : torch.Tensor
        Shape (n, ...), any strides, any device; float64, float32, float16, bfloat16 or an integer of at most 16 bits.
        For a plan that only copies (CutMix) any dtype.
    inplace : bool, default False
        Overwrite the tensor instead of allocating a new one. The tensor must not require a gradient, and each
        sample must have one partner.
    spatial_axes : sequence of int, optional
        The axes of the tensor that boxes or masks are along; by default the last ones.
    other : torch.Tensor, optional
        The batch that partners come from, if the plan has an `other`: so many samples like those of `tensor`, on its
        device. On the CPU it is not copied.

    Returns
    -------
    torch.Tensor
        The mixed batch, with the tensor's class (a subclass keeps its attributes), dtype, device and memory format;
        `tensor` itself if `inplace`.

    Raises
    ------
    TypeError
        If the dtype cannot be mixed.
    ValueError
        If the tensor is a batch of another length, if its spatial axes are not those of the boxes, or if `inplace` is
        set for a tensor that requires a gradient, or under `torch.func` or forward-mode differentiation.

    See Also
    --------
    apply_labels : Mix the labels of the batch.

    References
    ----------
    mixup: https://arxiv.org/abs/1710.09412, CutMix: https://arxiv.org/abs/1905.04899

    Examples
    --------
    >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
    >>> apply(plan, torch.tensor([[8.0, 0.0], [0.0, 4.0]]))
    tensor([[6., 1.],
            [0., 4.]])
    """
    if not (is_mixable(tensor) or (isinstance(tensor, torch.Tensor) and tensor.ndim > 1 and only_copies(plan))):
        got = f"{tensor.dtype} of shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor)
        is_complex = isinstance(tensor, torch.Tensor) and tensor.is_complex()
        hint = "mix torch.view_as_real(x)" if is_complex else "indices are not blended: mix their embeddings"
        raise TypeError(
            f"expected a tensor of shape (n, ...), of floats or of integers of at most 16 bits, got {got}; {hint}"
        )
    return mix_tensor(plan, tensor, inplace, spatial_axes, other)


def _check_other(plan: MixPlan, x: torch.Tensor, other: Any) -> None:
    """Refuses another batch that the plan is not for, or whose samples are not like those of the tensor."""
    if other is not None and not isinstance(other, torch.Tensor):
        raise TypeError(f"other must be a tensor, got {type(other).__name__}")
    refuse_other(plan, None if other is None else len(other))
    theirs = cast("torch.Tensor", other)
    if (theirs.shape[1:], theirs.dtype, theirs.device) != (x.shape[1:], x.dtype, x.device):
        got, expected = (f"{one.dtype} {tuple(one.shape[1:])} on {one.device}" for one in (theirs, x))
        raise ValueError(f"other must have samples like those of the tensor, {expected}, got {got}")
    if x.shape[0] != len(plan):
        raise ValueError(f"the plan is for {len(plan)} samples, got a tensor of {len(x)}")


def _mix_with(
    plan: MixPlan, x: torch.Tensor, other: Any, inplace: bool, spatial_axes: Sequence[int] | None
) -> torch.Tensor:
    _check_other(plan, x, other)
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or other.requires_grad)
    if inplace and needs_grad:
        raise ValueError("a tensor that requires a gradient cannot be mixed in place")
    with no_torch_function():
        plain, partners = (_as_subclass(one.detach() if not needs_grad else one, torch.Tensor) for one in (x, other))
        is_plain = not (needs_grad or is_transformed(plain) or is_transformed(partners))
        own, theirs = (as_numpy(plain), as_numpy(partners)) if is_plain else (None, None)
        if own is not None and theirs is not None:
            mixed = plan.apply(own, own if inplace else None, spatial_axes, theirs)
            if not inplace:
                return like(from_numpy(mixed, x.dtype), x)
            if not x.is_inference():
                torch.autograd.graph.increment_version(x)
            return x
        indices = torch.from_numpy(plan.partner).to(x.device)
        both = torch.cat([plain, partners.index_select(0, indices)])
        mixed = mix_tensor(plan_of_both(plan), both, False, spatial_axes)[: len(plan)]
        return x.copy_(mixed) if inplace else like(mixed, x)


def apply_labels(
    plan: MixPlan,
    labels: torch.Tensor,
    num_classes: int | None = None,
    label_smoothing: float = 0.0,
    other: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mix labels by a plan, on their device.

    Parameters
    ----------
    plan : MixPlan
        The plan, of n samples.
    labels : torch.Tensor
        Floats of shape (n, ...) are blended by `plan.lam`. Integers of shape (n,) are class indices: float32 soft
        targets of shape (n, num_classes) with `num_classes`, else returned as they are, beside those of the partners.
        Integers 0 and 1 of shape (n, num_classes) and booleans of shape (n, k) are several labels at once, blended as
        float32.
    num_classes : int, optional
        At least 1; class indices must be in [0, num_classes).
    label_smoothing : float, default 0.0
        s in [0, 1], for class indices: 1 - s + s/C for the class, s/C for the others.
    other : torch.Tensor, optional
        The labels of the batch that partners come from, if the plan has an `other`: like `labels`, one for each sample.

    Returns
    -------
    tuple of (torch.Tensor, torch.Tensor or None)
        The mixed labels and None, or class indices and those of the partners.

    Raises
    ------
    ValueError, TypeError
        As `MixPlan.apply_labels`.

    See Also
    --------
    mixed_loss : The loss against class indices and those of the partners.

    Examples
    --------
    >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
    >>> apply_labels(plan, torch.tensor([0, 2]), num_classes=3)[0]
    tensor([[0.7500, 0.0000, 0.2500],
            [0.0000, 0.0000, 1.0000]])
    """
    if other is not None or plan.other is not None:
        _check_other(plan, labels, other)
    if labels.dtype == torch.bool or labels.is_floating_point():
        if num_classes is not None or label_smoothing:  # the checks of the core, on nothing
            nothing = np.zeros(tuple(labels.shape), np.float32)
            MixPlan.identity(len(plan)).apply_labels(nothing, num_classes, label_smoothing)
        if labels.dtype == torch.bool:
            labels, other = labels.float(), None if other is None else other.float()
        return mix_tensor(plan.for_labels(), labels, other=other), None
    device = labels.device
    theirs = None if other is None else other.cpu().numpy()
    own, partner = plan.apply_labels(labels.cpu().numpy(), num_classes, label_smoothing, theirs)
    if partner is None:
        return torch.from_numpy(own).to(device), None
    return labels, torch.from_numpy(partner).to(device)


def mix_tensor(
    plan: MixPlan,
    tensor: torch.Tensor,
    inplace: bool = False,
    spatial_axes: Sequence[int] | None = None,
    other: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mix a tensor as `apply` does, without its check that the dtype can be mixed."""
    if other is not None or plan.other is not None:
        return _mix_with(plan, tensor, other, inplace, spatial_axes)
    # Without this, a subclass runs Python code at each operation. `like` restores the class.
    with no_torch_function():
        leave_graph()
        refuse_layout(tensor, "the tensor")
        if tensor.shape[0] != len(plan):
            raise ValueError(f"the plan is for {len(plan)} samples, got a tensor of {len(tensor)}")
        plain = tensor if type(tensor) is torch.Tensor else _as_subclass(tensor, torch.Tensor)
        if is_transformed(plain):
            if inplace:
                raise ValueError(
                    "a tensor that is differentiated by torch.func or in forward mode cannot be mixed in place"
                )
            mixed = mix_on_device(plan, plain, False, spatial_axes)
        elif not tensor.requires_grad:
            mixed = _mix(plan, plain, inplace, spatial_axes)
        elif not torch.is_grad_enabled():
            mixed = _mix(plan, plain.detach(), inplace, spatial_axes)
        elif inplace:
            raise ValueError("a tensor that requires a gradient cannot be mixed in place")
        elif plan.patches is not None or plan.k > 2:
            mixed = mix_on_device(plan, plain, False, spatial_axes)  # autograd finds the backward
        else:
            mixed = _Mix.apply(plain, plan, spatial_axes)
        return tensor if inplace else like(mixed, tensor)


class _Mix(torch.autograd.Function):
    """The mix as a differentiable function."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, plan: MixPlan, spatial_axes: Sequence[int] | None) -> torch.Tensor:
        ctx.plan, ctx.spatial_axes = plan, spatial_axes
        return _mix(plan, x.detach(), False, spatial_axes)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (grad,) = grads
        sent = send_plan(ctx.plan, grad, ctx.spatial_axes)
        share = sent.share if sent.inside is None else torch.where(sent.inside, 1, sent.share)
        return (grad * (1 - share)).index_add(0, sent.partner, grad * share), None, None


def _mix(plan: MixPlan, x: torch.Tensor, inplace: bool, spatial_axes: Sequence[int] | None) -> torch.Tensor:
    array = as_numpy(x)
    if array is None:
        return mix_on_device(plan, x, inplace, spatial_axes)
    mixed = plan.apply(array, out=array if inplace else None, spatial_axes=spatial_axes)
    if not inplace:
        return from_numpy(mixed, x.dtype)
    if not x.is_inference():
        # autograd does not see this write. The version tells a backward pass that needs the old values.
        torch.autograd.graph.increment_version(x)
    return x


def as_numpy(x: torch.Tensor) -> np.ndarray | None:
    """View the memory of a tensor as an array, or return None where NumPy cannot.

    bfloat16 needs the package ml_dtypes.
    """
    if not x.is_cpu:
        return None
    try:
        if x.dtype != torch.bfloat16:
            return x.numpy()
        bfloat16 = _bfloat16()
        return None if bfloat16 is None else x.view(torch.uint16).numpy().view(bfloat16)
    except (RuntimeError, TypeError):  # lazily negated, sparse or fake: the memory does not hold the values
        return None


def from_numpy(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """View the memory of an array as a tensor of `dtype`, the dtype of the array in torch."""
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


@functools.cache
def _bfloat16() -> np.dtype | None:
    """The bfloat16 of NumPy, or None if the package ml_dtypes is not installed."""
    if importlib.util.find_spec("ml_dtypes") is None:
        return None
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def like(mixed: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Give `mixed` the subclass and the attributes of `tensor`."""
    if type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter:
        return mixed
    mixed = _as_subclass(mixed, type(tensor))
    vars(mixed).update(vars(tensor))
    return mixed
