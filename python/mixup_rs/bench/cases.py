"""What is measured: batches of one dtype, shape and memory layout, and the arrays made for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["CASES", "LOADER", "MAIN", "SWEEP", "Batch", "Case", "LoaderCase", "dtype_of", "fits_in_memory"]

#: Arrays of the batch's size that exist at once: the batch, what it is refilled from, a warm output, our recycled
#: buffer, and a peer's gathered, blended and kept ones.
_COPIES = 8


@dataclass(frozen=True)
class Case:
    """A batch to be measured. `layout` is "C", "channels_last" or "F"; `weight` scales the seconds it is given."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: str = "C"
    peers: bool = True
    quick: bool = False
    weight: float = 1.0

    @property
    def title(self) -> str:
        layout = {"C": "", "F": ", Fortran order"}.get(self.layout, f", {self.layout}")
        return f"{self.dtype} {'x'.join(map(str, self.shape))}{layout}"

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * dtype_of(self.dtype).itemsize


_IMAGES = (64, 3, 224, 224)

#: The one that most figures are given for.
MAIN = Case("f32", _IMAGES, quick=True, weight=2)

_BATCHES = [
    MAIN,
    Case("f64", _IMAGES, "float64"),
    Case("f16", _IMAGES, "float16"),
    Case("bf16", _IMAGES, "bfloat16"),
    Case("u8", _IMAGES, "uint8", quick=True),
    Case("f32-8", (8, 3, 224, 224)),
    Case("f32-512", (512, 3, 224, 224), weight=2),
    Case("rows", (16384, 256)),
    Case("tiny", (4, 3, 8, 8), quick=True),
    Case("channels-last", _IMAGES, layout="channels_last", peers=False),
    Case("fortran", _IMAGES, layout="F", peers=False),
]


def _sweep_case(size: int) -> Case:
    """`size` bytes: 64 samples, or fewer where each would have less than 64 bytes."""
    samples = min(64, size // 64)
    shape = (samples, size // (4 * samples))
    return Case(f"sweep-{size}", shape, peers=False, quick=size.bit_length() % 4 == 3, weight=0.5)


#: From 1 KB to 100 MB, a factor of two apart: the number of threads changes somewhere among them.
SWEEP = [_sweep_case(size) for size in [*(1 << k for k in range(10, 27)), 100 << 20]]


@dataclass(frozen=True)
class LoaderCase(Case):
    """Samples that become batches of `shape`, by a collate alone or in a DataLoader.

    workers: processes that load; None for the collate alone, without a DataLoader.
    samples: in an epoch. jpeg: they are files that are decoded, else they lie in memory.
    files: what is known of the files once they were looked at.
    """

    workers: int | None = None
    samples: int = 64
    jpeg: bool = False
    files: str = ""

    @property
    def title(self) -> str:
        if self.workers is None:
            return f"collate of {super().title}"  # as decoded images are, where it is channels_last
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"DataLoader of {self.source}, {workers}"

    @property
    def source(self) -> str:
        return self.files or ("JPEG files" if self.jpeg else "images in memory")


def _loader_case(source: str, workers: int) -> LoaderCase:
    """From memory a batch takes a millisecond, from files a tenth of a second.

    Two workers and files get the most seconds, and epochs long enough for the workers to fall into step: there a few
    per cent matter, and with 256 samples figures strayed by seven.
    """
    jpeg, matters = source == "jpeg", source == "jpeg" and workers == 2
    samples, weight = 256 if jpeg and not matters else 1024, 3.0 if matters else 1.0
    name = f"loader-{source}-{workers}"
    return LoaderCase(name, _IMAGES, "uint8", quick=matters, weight=weight, workers=workers, samples=samples, jpeg=jpeg)


LOADER = [
    LoaderCase("loader-collate", _IMAGES, "uint8", quick=True),
    LoaderCase("loader-collate-views", _IMAGES, "uint8", layout="channels_last"),
    *(_loader_case(source, workers) for source in ("memory", "jpeg") for workers in (0, 1, 2)),
]

CASES = [*_BATCHES, *SWEEP, *LOADER]


def dtype_of(name: str) -> np.dtype:
    """Raises ImportError for bfloat16 where the package that has it is not installed."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


class Batch:
    """The arrays of a case, shared by all contenders.

    x: the batch, in the case's layout; `flat` is the same memory as one row of elements.
    c_order: the same values in C order, in memory of their own; x itself where the case is in C order.
    y: (n,) int64 class indices. rng: for peers that draw with NumPy.
    """

    classes = 37
    alpha = 0.4

    def __init__(self, case: Case):
        self.case, self.shape, self.dtype = case, case.shape, dtype_of(case.dtype)
        self.rng = np.random.default_rng(35)
        self._values = self._random(math.prod(case.shape))
        self.flat = self._values.copy()
        self.x = _view(self.flat, case.shape, case.layout)
        self.c_order = self.x if case.layout == "C" else self._values.copy().reshape(case.shape)
        self.y = np.arange(case.shape[0], dtype=np.int64) % self.classes

    @cached_property
    def warm(self) -> np.ndarray:
        """A C-ordered output whose pages have been touched."""
        return np.ones(self.shape, self.dtype)

    @property
    def words(self) -> np.ndarray:
        """The batch's memory as one row of what processors pass through at full speed.

        Halves and small integers are seen as 64-bit words, of which a pass can flip bits: one read, one write, no slow
        conversions, and no denormal floats in bytes that were never floats.
        """
        return self.flat if self.dtype.name in ("float32", "float64") else self.flat.view(np.int64)

    def refill(self) -> None:
        """Undoes what was mixed in place: repeated mixing would draw all samples towards their mean."""
        np.copyto(self.flat, self._values)
        if self.c_order is not self.x:
            np.copyto(self.c_order.reshape(-1), self._values)

    def _random(self, size: int) -> np.ndarray:
        """Pixels: in [0.5, 1) or all bytes. No zeros nor denormals, which some processors handle slowly."""
        if self.dtype.kind == "u":
            values = self.rng.integers(0, 256, 1 << 20).astype(self.dtype)
        else:
            values = (self.rng.random(1 << 20) / 2 + 0.5).astype(self.dtype)
        return np.resize(values, size)


def _view(flat: np.ndarray, shape: tuple[int, ...], layout: str) -> np.ndarray:
    if layout == "F":
        return flat.reshape(shape, order="F")
    if layout == "channels_last":
        n, channels, height, width = shape
        return flat.reshape(n, height, width, channels).transpose(0, 3, 1, 2)
    return flat.reshape(shape)


def fits_in_memory(case: Case) -> bool:
    """Whether the system has room for all arrays of the case; True where it does not say."""
    try:
        with open("/proc/meminfo") as lines:
            available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return True
    return case.bytes * _COPIES <= available
