"""Where and with what was measured, and the peak memory of a call."""

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

__all__ = ["extra_mib", "machine", "versions"]

_PACKAGES = ["numpy", "torch", "fastai", "torchvision", "timm", "numba"]


def machine() -> dict[str, Any]:
    """The processor, how many of them, the memory and the system; never a name of the host."""
    return {
        "cpu": _proc("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": most_threads(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "simd": getattr(_core, "SIMD_LEVEL", None),
    }


def versions() -> dict[str, str]:
    """Of everything that is installed and competes."""
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


# A process of its own, for its peak so far must not hide what the call adds. The first, small call starts the threads
# and brings in code that is not the batch's; writing 5 sets the peak back to what is resident now.
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
    """By how many MiB mixing 38 MB in place raises the peak of a process; None where the system does not say."""
    run = subprocess.run([sys.executable, "-c", _PEAK, str(threads)], capture_output=True, text=True, check=False)
    return float(run.stdout) if run.returncode == 0 else None
