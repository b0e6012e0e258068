"""Mixup for NumPy, PyTorch and fastai: free, exact and repeatable."""

from importlib import import_module
from typing import TYPE_CHECKING

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
from mixup_rs.batches.targets import PairedTarget
from mixup_rs.mixer import Mixer
from mixup_rs.partners import Across, Balanced, CMixup, Within
from mixup_rs.remix import Remix
from mixup_rs.rules import CutMix, FMix, GridMix, Mixup, OneOf, ResizeMix, Rule, SmoothMix
from mixup_rs.salient import saliency

if TYPE_CHECKING:
    from mixup_rs import fastai as fastai
    from mixup_rs import jax as jax
    from mixup_rs import lightning as lightning
    from mixup_rs import losses as losses
    from mixup_rs import plot as plot
    from mixup_rs import ray as ray
    from mixup_rs import timm as timm
    from mixup_rs import torch as torch
    from mixup_rs import torchvision as torchvision
    from mixup_rs.fastai import RustCutMix as RustCutMix
    from mixup_rs.fastai import RustManifoldMixUp as RustManifoldMixUp
    from mixup_rs.fastai import RustMix as RustMix
    from mixup_rs.fastai import RustMixUp as RustMixUp

#: Imported on first use, so that `import mixup_rs` imports NumPy and nothing heavier.
_CALLBACKS = ("RustCutMix", "RustManifoldMixUp", "RustMix", "RustMixUp")
_MODULES = ("fastai", "jax", "lightning", "losses", "plot", "ray", "timm", "torch", "torchvision")

#: Without the callbacks: `from mixup_rs import *` needs NumPy alone.
__all__ = [
    "STREAM_VERSION",
    "Across",
    "Balanced",
    "CMixup",
    "CutMix",
    "FMix",
    "GridMix",
    "MixPlan",
    "MixedBatch",
    "Mixer",
    "Mixup",
    "OneOf",
    "PairedTarget",
    "Remix",
    "ResizeMix",
    "Rule",
    "SmoothMix",
    "Within",
    "__version__",
    "clear_cache",
    "collate",
    "get_num_threads",
    "mix_batch",
    "saliency",
    "set_num_threads",
]

if not TYPE_CHECKING:  # with a __getattr__, tools would take a misspelt name for a valid one

    def __getattr__(name: str) -> object:
        module = "fastai" if name in _CALLBACKS else name
        if module not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = import_module(f"mixup_rs.{module}")
        return found if module == name else getattr(found, name)


def __dir__() -> list[str]:
    return [*__all__, *_CALLBACKS, *_MODULES]
