"""A device that has no memory to be read from, on which every operation is recorded."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

N, SHAPE = 16, (16, 3, 20, 24)

# Ops that look at a tensor in another way and touch none of its memory.
VIEWS = "view slice select unsqueeze expand as_strided detach alias split split_with_sizes unbind t".split()


class Operation(NamedTuple):
    name: str
    touched: int  # elements of its largest tensor
    made: int  # elements of its result


class Operations(TorchDispatchMode):
    """Records every operation that a device is given, and refuses those by which a tensor comes back to the host."""

    def __init__(self, device="meta"):
        super().__init__()
        self.device, self.ops, self.sent = device, [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        came = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        result = func(*args, **kwargs)
        gone = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        here, there = (any(t.device.type == self.device for t in side) for side in (came, gone))
        if here and name != "device":  # which fake tensors are asked for
            assert there, f"{name} brought a tensor of {[tuple(t.shape) for t in came]} back to the host"
        if here and there and name not in VIEWS:
            self.ops.append(Operation(name, max(t.numel() for t in came + gone), gone[0].numel()))
        if there and not here and came:
            self.sent.append((name, came[0].numel(), kwargs.get("non_blocking", False)))
        if there and not came:
            self.ops.append(Operation(name, gone[0].numel(), gone[0].numel()))
        return result

    def of_batch(self, shape=SHAPE):
        """The names of the operations on tensors as large as the batch, in order."""
        return [op.name for op in self.ops if op.touched >= np.prod(shape)]
