"""Plans applied to torch tensors.

The Rust kernel mixes a tensor on the CPU in its own memory, without a copy. A tensor on an accelerator is mixed on that
device (`mixup_rs.torch.device`).
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
import torch

from mixup_rs._core import MixPlan
from mixup_rs.torch._compat import no_torch_function
from mixup_rs.torch.device import cut_on_device, mix_on_device, send_boxes, send_plan

__all__ = ["apply", "as_numpy", "from_numpy", "is_mixable", "mix_tensor"]

#: Types that NumPy has and the Rust kernel mixes.
_NUMPY_DTYPES = {torch.float64, torch.float32, torch.float16, torch.uint8, torch.int8, torch.int16, torch.uint16}
_MIXABLE_DTYPES = _NUMPY_DTYPES | {torch.bfloat16}

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
    return isinstance(value, torch.Tensor) and value.ndim > 0 and value.dtype in _MIXABLE_DTYPES


def apply(plan: MixPlan, tensor: torch.Tensor, *, inplace: bool = False) -> torch.Tensor:
    """Mix a tensor by a plan, on the tensor's device.

    Without boxes the result is ``lam[i] * tensor[i] + (1 - lam[i]) * tensor[partner[i]]``. With boxes (CutMix), the box
    of each sample is copied from its partner.

    Gradients flow: the backward of a mix is a mix along the inverse partners.

    Parameters
    ----------
    plan : MixPlan
        The plan, of n samples.
    tensor : torch.Tensor
        Shape (n, ...), any strides, any device; float64, float32, float16, bfloat16 or an integer of at most 16 bits.
        For a plan with boxes any dtype, of shape (n, ..., height, width).
    inplace : bool, default False
        Overwrite the tensor instead of allocating a new one. The tensor must not require a gradient.

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
        If the tensor is a batch of another length, if its last two axes are not those of the boxes, or if `inplace` is
        set for a tensor that requires a gradient.

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
    if not (is_mixable(tensor) or (plan.boxes is not None and isinstance(tensor, torch.Tensor) and tensor.ndim > 2)):
        got = f"{tensor.dtype} of shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor)
        raise TypeError(
            f"expected a tensor of shape (n, ...), of floats or of integers of at most 16 bits, got {got}; "
            "indices are not blended: mix their embeddings"
        )
    return mix_tensor(plan, tensor, inplace)


def mix_tensor(plan: MixPlan, tensor: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Mix a tensor as `apply` does, without its check that the dtype can be mixed."""
    # Without this, a subclass runs Python code at each operation. `_like` restores the class.
    with no_torch_function():
        if tensor.shape[0] != len(plan):
            raise ValueError(f"the plan is for {len(plan)} samples, got a tensor of {len(tensor)}")
        plain = tensor if type(tensor) is torch.Tensor else _as_subclass(tensor, torch.Tensor)
        if not tensor.requires_grad:
            mixed = _mix(plan, plain, inplace)
        elif not torch.is_grad_enabled():
            mixed = _mix(plan, plain.detach(), inplace)
        elif inplace:
            raise ValueError("a tensor that requires a gradient cannot be mixed in place")
        else:
            mixed = _Mix.apply(plain, plan)
        return tensor if inplace else _like(mixed, tensor)


class _Mix(torch.autograd.Function):
    """The mix as a differentiable function."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, plan: MixPlan) -> torch.Tensor:
        ctx.plan = plan
        return _mix(plan, x.detach(), inplace=False)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        if ctx.plan.boxes is not None:
            partner, inside = send_boxes(ctx.plan, grad)
            from_partner = grad * inside
            return (grad - from_partner).index_add(0, partner, from_partner), None
        sent = send_plan(ctx.plan, grad)
        return (grad * (1 - sent.share)).index_add(0, sent.partner, grad * sent.share), None


def _mix(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    array = as_numpy(x)
    if array is None:
        on_device = mix_on_device if plan.boxes is None else cut_on_device
        return on_device(plan, x, inplace)
    mixed = plan.apply(array, out=array if inplace else None)
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
        return None if _bfloat16() is None else x.view(torch.uint16).numpy().view(_bfloat16())
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


def _like(mixed: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Give `mixed` the subclass and the attributes of `tensor`."""
    if type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter:
        return mixed
    mixed = _as_subclass(mixed, type(tensor))
    mixed.__dict__.update(tensor.__dict__)
    return mixed
