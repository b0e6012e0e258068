"""Mixup for NumPy, PyTorch and fastai: free, exact and repeatable."""

from importlib import import_module
from typing import Any

from mixup_rs._core import (
    STREAM_VERSION,
    MixedBatch,
    MixPlan,
    __version__,
    clear_cache,
    collate,
    get_num_threads,
    mix_batch,
    set_num_threads,
)

#: Found in their modules when first asked for, so that importing mixup_rs imports NumPy and nothing heavier.
_LAZY = dict.fromkeys(["RustCutMix", "RustManifoldMixUp", "RustMix", "RustMixUp"], "mixup_rs.fastai")

__all__ = [
    "STREAM_VERSION",
    "MixPlan",
    "MixedBatch",
    "RustCutMix",
    "RustManifoldMixUp",
    "RustMix",
    "RustMixUp",
    "__version__",
    "clear_cache",
    "collate",
    "get_num_threads",
    "mix_batch",
    "set_num_threads",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
