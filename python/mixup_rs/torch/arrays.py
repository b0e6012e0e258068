"""torch's answers to what mixing asks of a library."""

from __future__ import annotations

import functools

import numpy as np
import torch

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays, Elements, Kind
from mixup_rs.torch.apply import MIXABLE_DTYPES, apply_labels, as_numpy, from_numpy, mix_tensor, refuse_layout
from mixup_rs.torch.apply import like as as_class_of
from mixup_rs.torch.device import send_pairs

__all__ = ["TORCH", "TorchArrays"]


class TorchArrays(Arrays):
    """Tensors on any device; each method is documented in `Arrays`."""

    to_indices = "y.long()"
    instead_of_complex = "torch.view_as_real(x)"

    def kind(self, x: torch.Tensor) -> Kind:
        return _kind(x.dtype)

    def is_mixable(self, x: torch.Tensor) -> bool:
        return x.dtype in MIXABLE_DTYPES

    def check(self, x: torch.Tensor, name: str) -> None:
        refuse_layout(x, name)

    def host(self, x: torch.Tensor) -> np.ndarray:
        x = x.detach().as_subclass(torch.Tensor).cpu()
        x = x.resolve_neg()
        values = as_numpy(x)
        return as_numpy(x.float()) if values is None else values  # pyright: ignore[reportReturnType]

    def asarray(self, array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(array).to(like.device)

    def copy(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    def blend(self, plan: MixPlan, x: torch.Tensor, spatial_axes: list[int] | None = None) -> torch.Tensor:
        return mix_tensor(plan, x, spatial_axes=spatial_axes)

    def soft(self, plan: MixPlan, y: torch.Tensor, num_classes: int, label_smoothing: float) -> torch.Tensor:
        return apply_labels(plan, y, num_classes, label_smoothing)[0]

    def take(self, x: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        return x.index_select(0, torch.from_numpy(rows).to(x.device))

    def pick(self, x: torch.Tensor, elements: Elements) -> np.ndarray:
        if (seen := as_numpy(x.detach().as_subclass(torch.Tensor))) is not None:
            return super().pick(seen, elements)
        return self.host(x[tuple(torch.from_numpy(index).to(x.device) for index in elements.along)])

    def join(self, parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.as_subclass(torch.Tensor) for part in parts])

    def as_like(self, array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
        if array.dtype.name == "bfloat16":
            return from_numpy(array, torch.bfloat16).to(like.device)
        return torch.from_numpy(np.ascontiguousarray(array)).to(like.device, like.dtype)

    def like(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return as_class_of(x, like)

    def where(self, rows: np.ndarray, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        rows_there = torch.from_numpy(rows).to(x.device).view(-1, *[1] * (x.ndim - 1))
        return as_class_of(torch.where(rows_there, x, other), x)

    def larger(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.maximum(x, other)

    def smaller(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.minimum(x, other)

    def weights(self, lam: np.ndarray, like: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(lam).float().to(like.device)

    def pair(self, plan: MixPlan, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        partner, lam = send_pairs(plan, y.device)
        return as_class_of(y.index_select(0, partner), y), lam

    def floats(self, x: torch.Tensor) -> torch.Tensor:
        return x.float()

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        return x.long()

    def floor(self, x: torch.Tensor) -> torch.Tensor:
        return x.floor()


TORCH = TorchArrays()


@functools.cache
def _kind(dtype: torch.dtype) -> Kind:
    if dtype.is_floating_point:
        return "float"
    if dtype.is_complex:
        return "complex"
    if dtype == torch.bool:
        return "bool"
    return "integer" if str(dtype).startswith(("torch.int", "torch.uint")) else "other"
