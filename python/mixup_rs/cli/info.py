"""`mixup-rs info`: what a bug report needs. Nothing is imported for it but the benchmark's names of processors."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import mixup_rs

#: Libraries that a batch comes from or goes to.
PACKAGES = (
    "numpy", "ml_dtypes", "torch", "fastai", "timm", "torchvision", "lightning", "pytorch-lightning", "transformers",
    "accelerate", "jax", "keras", "grain", "ray", "kornia", "matplotlib", "pillow",
)  # fmt: skip
#: What changes how the package runs: threads, memory, the instruction set, the rank in a key.
VARIABLES = (
    "MIXUP_RS_NUM_THREADS", "MIXUP_RS_CACHE_MB", "MIXUP_RS_SIMD", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "RANK",
    "PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "LOCAL_RANK", "WORLD_SIZE",
)  # fmt: skip
_WIDTH = 17


def run(options: Namespace) -> int:
    """Print a line for each fact: its name and its value."""
    for name, value in facts():
        print(f"{name:{_WIDTH}} {value}")
    return 0


def facts() -> Iterator[tuple[str, str]]:
    """Names and values. They hold no path, and no name of the host or of the user."""
    from mixup_rs.bench.machine import machine

    where = machine()
    yield "mixup-rs", f"{mixup_rs.__version__}, stream version {mixup_rs.STREAM_VERSION}"
    yield "python", f"{platform.python_version()}, {platform.python_implementation()}, {_lock()}"
    yield "platform", platform.platform()
    yield "processor", f"{where['processor']} ({where['cpu']})"
    yield "simd", where["simd"] or "none"
    yield "caches", ", ".join(f"{size >> 10} KiB" for size in where["caches"])
    yield "memory", f"{where['memory_gib']:g} GiB" if where["memory_gib"] else "unknown"
    yield "threads", f"{mixup_rs.get_num_threads()} of {where['cores']} processors"
    yield "workers", _start_method()
    given = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    yield "environment", ", ".join(given) or f"none of {', '.join(VARIABLES)}"
    missing = []
    for package in PACKAGES:
        if (found := _installed(package)) is None:
            missing.append(package)
        else:
            yield package, found
    if missing:
        yield "absent", ", ".join(missing)


def _lock() -> str:
    is_enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return "with the GIL" if is_enabled else "free-threaded"


def _start_method() -> str:
    """How multiprocessing, and so a DataLoader, starts its workers. Asking does not fix it."""
    methods = multiprocessing.get_all_start_methods()
    return f"started by {multiprocessing.get_start_method(allow_none=True) or methods[0]}, of {', '.join(methods)}"


def _installed(package: str) -> str | None:
    """The version of a package, read without importing it: importing torch takes seconds."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
