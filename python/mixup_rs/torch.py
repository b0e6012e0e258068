"""Plans applied to torch tensors.

A tensor on the CPU is mixed by the Rust kernel in its own memory, without a copy. One on an accelerator is mixed there:
weights and partners travel to it, the batch does not travel at all.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import torch

from mixup_rs._core import MixPlan

__all__ = ["MixCollate", "apply"]  # noqa: F822 (MixCollate: see __getattr__)

#: What NumPy knows, and the Rust kernel mixes.
_NUMPY_DTYPES = {torch.float64, torch.float32, torch.float16, torch.uint8, torch.int8, torch.int16, torch.uint16}
#: What blends are computed in; narrower types are cast.
_WIDE_DTYPES = {torch.float64, torch.float32}

_MIXABLE_DTYPES = _NUMPY_DTYPES | {torch.bfloat16}


def is_mixable(value: Any) -> bool:
    """Whether `value` is a tensor of values that can be blended: floats, or integers of at most 16 bits.

    Wider integers are indices (classes, tokens, categories), whose blend would mean nothing.

    >>> is_mixable(torch.zeros(2, 3)), is_mixable(torch.tensor([1, 2]))
    (True, False)
    """
    return isinstance(value, torch.Tensor) and value.ndim > 0 and value.dtype in _MIXABLE_DTYPES


#: torch's own, where a subclass may have one that does more.
_as_subclass = torch.Tensor.as_subclass


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
    # A subclass would run Python code for every operation; the result is one again.
    with torch._C.DisableTorchFunctionSubclass():
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
            partner, inside = _send_boxes(ctx.plan, grad)
            from_partner = grad * inside
            return (grad - from_partner).index_add(0, partner, from_partner), None
        sent = _send(ctx.plan, grad)
        return (grad * (1 - sent.share)).index_add(0, sent.partner, grad * sent.share), None


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
    if (boxes == boxes[:1]).all():
        # One box for all: only what lies in it is read and written.
        y0, x0, y1, x1 = boxes[0] if len(boxes) else (0, 0, 0, 0)
        partner = _travel(plan.partner, x.device)
        out = x if inplace else x.clone()
        out[..., y0:y1, x0:x1] = x[..., y0:y1, x0:x1].index_select(0, partner)
        return out
    partner, inside = _send_boxes(plan, x)
    mixed = torch.where(inside, x.index_select(0, partner), x)
    return x.copy_(mixed) if inplace else mixed


def _mix_on_device(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    """One gather and one blend, between casts where the type is narrower than what is computed in."""
    sent = _send(plan, x)
    others = x.index_select(0, sent.partner)
    copies = x.index_select(0, sent.sources) if sent.rows is not None else None
    if x.dtype in _WIDE_DTYPES:
        mixed = x.lerp_(others, sent.share) if inplace else torch.lerp(x, others, sent.share)
    else:
        mixed = torch.lerp(x.float(), others.float(), sent.share)
        mixed = mixed if x.is_floating_point() else mixed.round_()
        mixed = x.copy_(mixed) if inplace else mixed.to(x.dtype)
    return mixed if copies is None else mixed.index_copy_(0, sent.rows, copies)


class _Sent(NamedTuple):
    """A mixup plan on a device."""

    partner: torch.Tensor  # (n,)
    share: torch.Tensor  # (n, 1, ...), the weight of the partner
    rows: torch.Tensor | None  # which samples are copied bit for bit, if any
    sources: torch.Tensor | None  # and from where


def _send(plan: MixPlan, x: torch.Tensor) -> _Sent:
    """The plan on the device of `x`, in one transfer that nothing waits for."""
    rows, sources = _copied(plan) if x.is_floating_point() else (np.empty(0, np.intp),) * 2
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    sizes = (len(plan), len(plan), len(rows), len(rows))
    table = np.concatenate([plan.partner, _bits(1 - plan.lam, dtype), rows, sources])
    partner, share, *copies = _travel(table, x.device).split(sizes)
    share = _weights(share, dtype).view(-1, *[1] * (x.ndim - 1))
    return _Sent(partner, share, *(copies if len(rows) else (None, None)))


def _bits(weights: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Weights, rounded to a dtype, as integers that travel with the partners."""
    table = np.zeros(len(weights), np.int64)
    _weights(torch.from_numpy(table), dtype).copy_(torch.from_numpy(weights))
    return table


def _weights(bits: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not bits.numel():  # has no strides that torch would view
        return bits.to(dtype)
    return bits.view(dtype)[:: bits.itemsize // dtype.itemsize]


def _copied(plan: MixPlan) -> tuple[np.ndarray, np.ndarray]:
    """The samples that no arithmetic may touch, for the sake of their infinities and NaNs, and what each becomes.

    Integers have neither: a blend by 0 or 1, or of equal values, is exact.
    """
    own = np.arange(len(plan))
    kept = (plan.lam == 1) | (plan.partner == own)
    rows = np.flatnonzero(kept | (plan.lam == 0))
    return rows, np.where(kept, own, plan.partner)[rows]


def _send_boxes(plan: MixPlan, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Partners, and which elements of (n, ..., height, width) lie in their sample's box; in one transfer as well."""
    partner, *bounds = _travel(np.concatenate([plan.partner[None], plan.boxes.T]), x.device)
    y0, x0, y1, x1 = (bound.view(-1, *[1] * (x.ndim - 1)) for bound in bounds)
    rows = torch.arange(x.shape[-2], device=x.device).view(-1, 1)
    columns = torch.arange(x.shape[-1], device=x.device)
    return partner, (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)


def send_pairs(plan: MixPlan, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Partners (n,) int64 and the weights of the samples themselves, (n,) float32, in one transfer."""
    partner, lam = _travel(np.stack([plan.partner, _bits(plan.lam, torch.float32)]), device)
    return partner, _weights(lam, torch.float32)


def _travel(table: np.ndarray, device: torch.device) -> torch.Tensor:
    """The table on the device; neither the host nor the device waits for it."""
    sent = torch.from_numpy(table)
    # Only from pinned memory does CUDA copy beside the host's own work.
    return (sent.pin_memory() if device.type == "cuda" else sent).to(device, non_blocking=True)


def as_numpy(x: torch.Tensor) -> np.ndarray | None:
    """The memory of a tensor as an array, or None where NumPy cannot see it."""
    if not x.is_cpu:
        return None
    try:
        if x.dtype != torch.bfloat16:
            return x.numpy()
        return None if _bfloat16() is None else x.view(torch.uint16).numpy().view(_bfloat16())
    except (RuntimeError, TypeError):  # its memory holds something else: lazily negated, sparse, a fake tensor's
        return None


def from_numpy(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


@functools.cache
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
    mixed = _as_subclass(mixed, type(tensor))
    mixed.__dict__.update(tensor.__dict__)
    return mixed


def __getattr__(name: str) -> Any:
    if name == "MixCollate":
        from mixup_rs.loader import MixCollate

        return MixCollate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
