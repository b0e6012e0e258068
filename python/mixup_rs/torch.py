"""Plans applied to torch tensors.

A tensor on the CPU is mixed by the Rust kernel in its own memory, without a copy. One on an accelerator is mixed there:
weights and partners travel to it, the batch does not travel at all.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch

from mixup_rs._core import MixPlan

__all__ = ["MixCollate", "apply"]  # noqa: F822 (MixCollate: see __getattr__)

#: What NumPy knows, and the Rust kernel mixes.
_NUMPY_DTYPES = {torch.float64, torch.float32, torch.float16, torch.uint8, torch.int8, torch.int16, torch.uint16}


_MIXABLE_DTYPES = _NUMPY_DTYPES | {torch.bfloat16}


def is_mixable(value: Any) -> bool:
    """Whether `value` is a tensor of values that can be blended: floats, or integers of at most 16 bits.

    Wider integers are indices (classes, tokens, categories), whose blend would mean nothing.

    >>> is_mixable(torch.zeros(2, 3)), is_mixable(torch.tensor([1, 2]))
    (True, False)
    """
    return isinstance(value, torch.Tensor) and value.ndim > 0 and value.dtype in _MIXABLE_DTYPES


def apply(plan: MixPlan, tensor: torch.Tensor, *, inplace: bool = False) -> torch.Tensor:
    """The mixed tensor, `lam[i] * tensor[i] + (1 - lam[i]) * tensor[partner[i]]`, on the tensor's device.

    tensor: shape (n, ...), any layout; float64, float32, float16, bfloat16 or an integer of at most 16 bits; for a
        CutMix plan any dtype, of shape (n, ..., height, width). The result keeps its type (a subclass with its
        attributes), dtype, device and memory format. Gradients flow: the backward of a mix is a mix along the inverse
        partners.
    inplace: overwrite the tensor, which must not need a gradient, instead of making a new one.

    Raises TypeError for other dtypes, ValueError for a batch of another length.

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
    """As `apply`, for a tensor that is known to be mixable."""
    if tensor.shape[0] != len(plan):
        raise ValueError(f"the plan is for {len(plan)} samples, got a tensor of {len(tensor)}")
    needs_grad = tensor.requires_grad and torch.is_grad_enabled()
    if needs_grad and inplace:
        raise ValueError("a tensor that requires a gradient cannot be mixed in place")
    # A subclass would run Python code for every operation; the result is one again.
    with torch._C.DisableTorchFunctionSubclass():
        plain = tensor if type(tensor) is torch.Tensor else tensor.as_subclass(torch.Tensor)
        mixed = _Mix.apply(plain, plan) if needs_grad else _mix(plan, plain.detach(), inplace)
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
            partner = torch.from_numpy(ctx.plan.partner).to(grad.device)
            from_partner = grad * _inside(ctx.plan, grad)
            return (grad - from_partner).index_add(0, partner, from_partner), None
        partner, lam = _send(ctx.plan, grad)
        return (grad * lam).index_add(0, partner, grad * (1 - lam)), None


def _mix(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    array = as_numpy(x)
    if array is None:
        on_device = _mix_on_device if plan.boxes is None else _cut_on_device
        return on_device(plan, x, inplace)
    mixed = plan.apply(array, out=array if inplace else None)
    if not inplace:
        return from_numpy(mixed, x.dtype)
    if not x.is_inference():
        # Written behind autograd's back: a backward pass that needs the old values must notice.
        torch.autograd.graph.increment_version(x)
    return x


def _cut_on_device(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    boxes = plan.boxes
    if tuple(x.shape[-2:]) != plan.spatial_shape:
        raise ValueError(f"the boxes are for samples of {plan.spatial_shape}, got a tensor of shape {tuple(x.shape)}")
    partner = torch.from_numpy(plan.partner).to(x.device, non_blocking=True)
    if (boxes == boxes[:1]).all():
        # One box for all: only what lies in it is read and written.
        y0, x0, y1, x1 = boxes[0] if len(boxes) else (0, 0, 0, 0)
        out = x if inplace else x.clone()
        out[..., y0:y1, x0:x1] = x[..., y0:y1, x0:x1].index_select(0, partner)
        return out
    mixed = torch.where(_inside(plan, x), x.index_select(0, partner), x)
    return x.copy_(mixed) if inplace else mixed


def _inside(plan: MixPlan, x: torch.Tensor) -> torch.Tensor:
    """Which elements of (n, ..., height, width) lie in their sample's box."""
    bounds = torch.from_numpy(plan.boxes).to(x.device, non_blocking=True).view(-1, 4, *[1] * (x.ndim - 1))
    y0, x0, y1, x1 = bounds.unbind(1)
    rows = torch.arange(x.shape[-2], device=x.device).view(-1, 1)
    columns = torch.arange(x.shape[-1], device=x.device)
    return (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)


def _mix_on_device(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    """One gather and one blend; two more passes where a weight is 0 or 1, to keep every bit of what is copied."""
    partner, lam = _send(plan, x)
    others = x.index_select(0, partner)
    wide = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    mixed = torch.lerp(others.to(wide), x.to(wide), lam)
    mixed = (mixed if x.is_floating_point() else mixed.round_()).to(x.dtype)
    # Known without asking the device.
    kept = (plan.lam == 1) | (plan.partner == np.arange(len(plan)))
    for copied, source in ((kept, x), ((plan.lam == 0) & ~kept, others)):
        if copied.any():
            where = torch.from_numpy(copied).to(x.device, non_blocking=True).view(lam.shape)
            mixed = torch.where(where, source, mixed)
    return x.copy_(mixed) if inplace else mixed


def _send(plan: MixPlan, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Partners (n,) and weights (n, 1, ...) on the device of `x`, in one transfer that nothing waits for."""
    double = x.dtype == torch.float64
    table = torch.empty((2, len(plan)), dtype=torch.int64 if double else torch.int32)
    table[0] = torch.from_numpy(plan.partner)
    table[1].view(torch.float64 if double else torch.float32).copy_(torch.from_numpy(plan.lam))
    if x.device.type == "cuda":
        table = table.pin_memory()
    partner, lam = table.to(x.device, non_blocking=True)
    lam = lam.view(torch.float64 if double else torch.float32)
    return partner, lam.view(-1, *[1] * (x.ndim - 1))


def as_numpy(x: torch.Tensor) -> np.ndarray | None:
    """The memory of a tensor as an array, or None where NumPy cannot see it."""
    if x.device.type != "cpu" or x.layout != torch.strided or x.is_conj() or x.is_neg():
        return None
    if x.dtype != torch.bfloat16:
        return x.numpy()
    return None if _bfloat16() is None else x.view(torch.uint16).numpy().view(_bfloat16())


def from_numpy(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _bfloat16() -> np.dtype | None:
    """NumPy's bfloat16, where the package that has it is there."""
    if importlib.util.find_spec("ml_dtypes") is None:
        return None
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def _like(mixed: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """`mixed` with the subclass and the attributes of `tensor`."""
    if type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter:
        return mixed
    mixed = mixed.as_subclass(type(tensor))
    mixed.__dict__.update(tensor.__dict__)
    return mixed


def __getattr__(name: str) -> Any:
    if name == "MixCollate":
        from mixup_rs.loader import MixCollate

        return MixCollate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
