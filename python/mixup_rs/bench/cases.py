"""The cases: batches of one dtype, shape and memory layout, and their arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixup_rs.rules import Mixup

__all__ = ["CASES", "LOADER", "MAIN", "SWEEP", "Batch", "Case", "LoaderCase", "dtype_of", "fits_in_memory"]

#: Arrays of the batch's size that exist at once: the batch, the values that it is refilled from, a warm output, the
#: recycled buffer of mixup-rs, and the gathered, blended and last results of a peer.
_COPIES = 8


@dataclass(frozen=True)
class Case:
    """A batch to measure.

    Parameters
    ----------
    name : str
        The name, for `--cases`.
    shape : tuple of int
        The shape, batch first.
    dtype : str
        A NumPy dtype, or "bfloat16".
    layout : {"C", "channels_last", "F"}
        The memory layout.
    peers : bool
        Whether peers are measured.
    quick : bool
        Whether a quick run has the case.
    weight : float
        Factor of the seconds of measuring.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: str = "C"
    peers: bool = True
    quick: bool = False
    weight: float = 1.0

    @property
    def title(self) -> str:
        """The case in words."""
        layout = {"C": "", "F": ", Fortran order"}.get(self.layout, f", {self.layout}")
        return f"{self.dtype} {'x'.join(map(str, self.shape))}{layout}"

    @property
    def bytes(self) -> int:
        """The size of the batch."""
        return math.prod(self.shape) * dtype_of(self.dtype).itemsize


_IMAGES = (64, 3, 224, 224)

#: The case of the README's main table.
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
    """A case of `size` bytes: 64 samples, or fewer, so that a sample has at least 64 bytes."""
    samples = min(64, size // 64)
    shape = (samples, size // (4 * samples))
    return Case(f"sweep-{size}", shape, peers=False, quick=size.bit_length() % 4 == 3)


#: From 1 KB to 300 MB by factors of two: the number of threads changes in this range, and the cache that holds a batch.
SWEEP = [_sweep_case(size) for size in [*(1 << k for k in range(10, 29)), 300 << 20]]


@dataclass(frozen=True)
class LoaderCase(Case):
    """Samples that are stacked to batches of `shape`, by a collate alone or in a DataLoader.

    Parameters
    ----------
    name, shape, dtype, layout, peers, quick, weight
        As of `Case`.
    workers : int or None
        The number of worker processes; None for the collate alone, without a DataLoader.
    samples : int
        The samples of an epoch.
    jpeg : bool
        Whether the samples are decoded from files; otherwise they are in memory.
    files : str
        The number and size of the files, in words; empty until they are known.
    """

    workers: int | None = None
    samples: int = 64
    jpeg: bool = False
    files: str = ""

    @property
    def title(self) -> str:
        if self.workers is None:
            return f"collate of {super().title}"  # decoded images are channels_last
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"DataLoader of {self.source}, {workers}"

    @property
    def source(self) -> str:
        """Where the samples come from, in words."""
        return self.files or ("JPEG files" if self.jpeg else "images in memory")


def _loader_case(source: str, workers: int) -> LoaderCase:
    """A case of a DataLoader. From memory a batch takes a millisecond, from files a tenth of a second.

    Files are measured longest, with epochs in which the start of the workers does not matter: checks ask for a few per
    cent there, and with 256 samples the figures varied by ten.
    """
    jpeg, name = source == "jpeg", f"loader-{source}-{workers}"
    weight, quick = 3.0 if jpeg else 1.0, jpeg and workers == 2
    return LoaderCase(name, _IMAGES, "uint8", quick=quick, weight=weight, workers=workers, samples=1024, jpeg=jpeg)


LOADER = [
    LoaderCase("loader-collate", _IMAGES, "uint8", quick=True),
    LoaderCase("loader-collate-views", _IMAGES, "uint8", layout="channels_last"),
    *(_loader_case(source, workers) for source in ("memory", "jpeg") for workers in (0, 1, 2)),
]

#: The DataLoader comes first: its workers are forked, before jax has started threads.
CASES = [*LOADER, *_BATCHES, *SWEEP]


def dtype_of(name: str) -> np.dtype:
    """The dtype of a name. Raises ImportError for "bfloat16" if ml_dtypes is not installed."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


class Batch:
    """The arrays of a case, shared by all contenders.

    Parameters
    ----------
    case : Case
        The case.

    Attributes
    ----------
    x, flat : numpy.ndarray
        The batch in the case's layout, and the same memory as one row of elements.
    c_order : numpy.ndarray
        The same values in C order, in other memory; `x` itself if the case is in C order.
    y : numpy.ndarray
        Class indices, int64 (n,).
    rng : numpy.random.Generator
        For peers that draw with NumPy.
    """

    classes = 37
    alpha = Mixup.alpha

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
        """An output in C order whose pages are mapped."""
        return np.ones(self.shape, self.dtype)

    @property
    def words(self) -> np.ndarray:
        """The batch's memory as one row of elements that processors scale at full speed.

        Halves and small integers are viewed as 64-bit integers, and a pass flips their bits: one read and one write,
        without conversions and without denormal floats.
        """
        return self.flat if self.dtype.name in ("float32", "float64") else self.flat.view(np.int64)

    def refill(self) -> None:
        """Restore the values: repeated mixing in place would move all samples towards their mean."""
        np.copyto(self.flat, self._values)
        if self.c_order is not self.x:
            np.copyto(self.c_order.reshape(-1), self._values)

    def _random(self, size: int) -> np.ndarray:
        """Random pixels: bytes, or floats in [0.5, 1): some processors are slow with zeros and denormals."""
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
    """Whether the available memory holds all arrays of the case; True if the system does not report it."""
    try:
        with open("/proc/meminfo") as lines:
            available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return True
    return case.bytes * _COPIES <= available
