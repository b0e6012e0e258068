"""Private names of torch that this package uses, each with the reason why no public name serves."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.utils.data._utils import fetch, worker

__all__ = [
    "compile_in_this_process",
    "find_pass",
    "is_in_backward",
    "is_lasting_worker",
    "is_transformed",
    "leave_graph",
    "new_shared_storage",
    "no_torch_function",
]

NO_GRAPH = "mixup_rs mixes outside of compiled graphs: compile without fullgraph=True, or mix before the compiled part"

#: A context in which operations skip the `__torch_function__` of subclasses. torch's guide to extending it names this
#: class and no public one; `torch.DisableTorchFunction` also skips modes, such as a default device.
no_torch_function = torch._C.DisableTorchFunctionSubclass


def new_shared_storage(size: int) -> torch.UntypedStorage:
    """Allocate `size` bytes in shared memory. torch's own `default_collate` calls this; no public function does it."""
    return torch.UntypedStorage._new_shared(size, device="cpu")


_FETCHES = {kind.fetch.__code__ for kind in (fetch._MapDatasetFetcher, fetch._IterableDatasetFetcher)}


def find_pass() -> tuple[Any, int | None]:
    """What a DataLoader or its worker reads by, and the number of a worker's batch, found among the callers.

    Each pass through the data has another object that reads, also in a worker that lives on, and nothing else tells the
    passes apart. The number is that in the pass; a worker alone has it. Both are None where there is no DataLoader.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in _FETCHES:
            number = None if frame.f_back is None else frame.f_back.f_locals.get("idx")
            return frame.f_locals["self"], number if type(number) is int else None
        frame = frame.f_back
    return None, None


def is_lasting_worker(frame: FrameType) -> bool:
    """Whether a running call is that of a DataLoader's worker which lives on after a pass through the data.

    A worker that was forked has the calls below it in which it was started.
    """
    return frame.f_code is worker._worker_loop.__code__ and bool(frame.f_locals.get("persistent_workers"))


def is_transformed(x: torch.Tensor) -> bool:
    """Whether `torch.func` transforms what is computed, or a tensor carries a forward-mode tangent.

    The memory of the tensor does not hold all of its value then. No public function tells of `torch.func`, and
    `unpack_dual` alone takes as long as a tenth of a small mix, where there are no tangents.
    """
    if torch._C._are_functorch_transforms_active():  # as autograd.Function asks
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def is_in_backward() -> bool:
    """Whether this thread computes a backward pass. torch's checkpointing asks this, and no public function does."""
    return torch._C._current_graph_task_id() != -1


def leave_graph() -> None:
    """Make torch.compile end its graph here. Its public names are decorators, which import all of the compiler."""
    if torch.compiler.is_dynamo_compiling():
        try:
            torch._dynamo.graph_break(msg=NO_GRAPH)  # type: ignore[attr-defined]
        except TypeError:  # an older torch takes no message
            torch._dynamo.graph_break()  # type: ignore[attr-defined]


def compile_in_this_process() -> None:
    """Make torch.compile start no worker processes. The number of them is a setting of the private inductor."""
    import torch._inductor.config

    torch._inductor.config.compile_threads = 1
