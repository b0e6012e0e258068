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
from mixup_rs.rules import CutMix, Mixup, OneOf, Rule

#: Found when first asked for, so that importing mixup_rs imports NumPy and nothing heavier.
_CALLBACKS = ("RustCutMix", "RustManifoldMixUp", "RustMix", "RustMixUp")
_MODULES = ("fastai", "losses", "plot", "torch")
#: What brings the libraries that they need.
_EXTRAS = {"fastai": "fastai", "matplotlib": "plot", "torch": "torch"}

__all__ = [
    "STREAM_VERSION",
    "CutMix",
    "MixPlan",
    "MixedBatch",
    "Mixup",
    "OneOf",
    "Rule",
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
    module = "fastai" if name in _CALLBACKS else name
    if module not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = import_module(f"mixup_rs.{module}")
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        extra = "fastai" if module == "fastai" else _EXTRAS[error.name]
        message = f"mixup_rs.{name} needs {error.name}: pip install 'mixup-rs[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from error
    return found if module == name else getattr(found, name)


def __dir__() -> list[str]:
    return __all__
