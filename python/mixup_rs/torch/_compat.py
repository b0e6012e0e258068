"""Private names of torch that this package uses, each with the reason why no public name serves."""

from __future__ import annotations

import torch

__all__ = ["compile_in_this_process", "new_shared_storage", "no_torch_function"]

#: A context in which operations skip the `__torch_function__` of subclasses. torch's guide to extending it names this
#: class and no public one; `torch.DisableTorchFunction` also skips modes, such as a default device.
no_torch_function = torch._C.DisableTorchFunctionSubclass


def new_shared_storage(size: int) -> torch.UntypedStorage:
    """Allocate `size` bytes in shared memory. torch's own `default_collate` calls this; no public function does it."""
    return torch.UntypedStorage._new_shared(size, device="cpu")


def compile_in_this_process() -> None:
    """Make torch.compile start no worker processes. The number of them is a setting of the private inductor."""
    import torch._inductor.config

    torch._inductor.config.compile_threads = 1
