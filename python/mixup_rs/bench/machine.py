"""The machine and the versions of a run, and the peak memory of a call."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mixup_rs
from mixup_rs import _core
from mixup_rs.bench.measure import most_threads
from mixup_rs.bench.processor import processor

__all__ = ["extra_mib", "machine", "versions"]

_PACKAGES = [
    "numpy", "torch", "fastai", "torchvision", "timm", "kornia", "mixup", "numba", "jax", "opencv-python-headless",
    "opencv-python",
]  # fmt: skip


def machine() -> dict[str, Any]:
    """The name, model and number of processors, the memory and the system, without the name of the host."""
    return {
        "processor": processor(),
        "cpu": _proc("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": most_threads(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "simd": _core.SIMD_LEVEL,
        "caches": list(_core.CACHES),
    }


def versions() -> dict[str, str]:
    """The versions of the libraries that are installed and measured."""
    found = {"mixup-rs": mixup_rs.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _proc(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


# In a separate process, so that an earlier peak does not hide what the call adds. The first, small call starts the
# threads and loads code. Writing 5 resets the peak to the memory that is resident.
_PEAK = """
import sys
import numpy as np
import mixup_rs

def kib(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

mixup_rs.set_num_threads(int(sys.argv[1]))
small = np.ones((64, 16384), np.float32)
mixup_rs.mix_batch(small, out=small)
x = np.ones((64, 3, 224, 224), np.float32)
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = kib("VmHWM")
mixup_rs.mix_batch(x, out=x)
print((kib("VmHWM") - before) / 1024)
"""


def extra_mib(threads: int) -> float | None:
    """The MiB by which mixing 38 MB in place raises the peak of a process; None if the system does not report it."""
    run = subprocess.run([sys.executable, "-c", _PEAK, str(threads)], capture_output=True, text=True, check=False)
    return float(run.stdout) if run.returncode == 0 else None
