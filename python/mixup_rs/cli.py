"""The command `mixup-rs demo | bench | info`. Libraries other than NumPy are imported when a command needs them."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np

import mixup_rs
from mixup_rs import _core

#: The batch that `demo` times: a common size in training on photographs.
_TIMED_SHAPE = (64, 3, 224, 224)
#: The side of the demo's images, in pixels.
_SIDE = 256


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    args : sequence of str, optional
        The arguments, without the name of the program. By default those of the command line.

    Returns
    -------
    int
        The exit status, 0 for success.

    Examples
    --------
    >>> main(["info"])  # doctest: +ELLIPSIS
    mixup-rs ...
    0
    """
    parser = argparse.ArgumentParser(prog="mixup-rs", description="Mixup for NumPy, PyTorch and fastai.")
    parser.add_argument("--version", action="version", version=f"mixup-rs {mixup_rs.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo | bench | info")
    demo = commands.add_parser("demo", help="mix a few images, save the picture, time it")
    demo.add_argument("--path", type=Path, default=Path("demo/mixup.png"), help="the picture (default: %(default)s)")
    demo.add_argument("--alpha", type=float, default=1.0, help="lam ~ Beta(alpha, alpha) (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=35, help="the same seed, the same picture (default: %(default)s)")
    # The benchmark parses its options itself, --help included.
    commands.add_parser("bench", help="time mixup-rs beside its peers; see bench --help", add_help=False)
    commands.add_parser("info", help="versions, threads and instruction set, for bug reports")

    options, rest = parser.parse_known_args(args)
    if options.command == "bench":
        return _bench(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.command == "demo":
        return _demo(options.path, options.alpha, options.seed)
    return _info()


def _demo(path: Path, alpha: float, seed: int) -> int:
    x, names = _images()
    labels = np.arange(len(names))
    mixed = mixup_rs.mix_batch(x, labels, alpha=alpha, num_classes=len(names), rng=seed)
    for name, lam, partner, target in zip(names, mixed.lam, mixed.partner, mixed.y, strict=True):
        print(f"{name:8} lam {lam:.2f}, partner {names[partner]:8} soft target {target.round(2)} of {', '.join(names)}")
    try:
        from mixup_rs.plot import plot_mixed_batch

        plot_mixed_batch(x, mixed.x, mixed, labels, names, path=path)
        print(f"picture: {path}")
    except ModuleNotFoundError as error:
        print(f"no picture: {error.name} is not installed; pip install 'mixup-rs[plot]'")
    ours, numpys = _times(np.resize(x.astype(np.float32) / 255, _TIMED_SHAPE))
    shape = " x ".join(map(str, _TIMED_SHAPE))
    print(f"mixing a batch of {shape} float32: {ours:.1f} ms; lam*x + (1-lam)*x[partner] in NumPy: {numpys:.1f} ms")
    return 0


def _images() -> tuple[np.ndarray, list[str]]:
    """Three images, uint8 (3, 3, h, w), each of a class of its own, and the names of the classes."""
    try:
        from sklearn.datasets import load_sample_images

        china, flower = load_sample_images().images  # photographs of 427 x 640
    except ImportError:
        print("the images are generated: scikit-learn, which brings photographs, is not installed")
        return _patterns(), ["stripes", "rings", "checks"]
    squares = [_square(china, top=60, left=60), _square(china, top=100, left=340), _square(flower, top=70, left=180)]
    return np.stack(squares).transpose(0, 3, 1, 2), ["temple", "lake", "flower"]


def _square(photograph: np.ndarray, top: int, left: int) -> np.ndarray:
    return photograph[top : top + _SIDE, left : left + _SIDE]


def _patterns() -> np.ndarray:
    """Stripes, rings and checks, each in another colour: uint8 (3, 3, h, w)."""
    v, u = np.mgrid[0 : 1 : _SIDE * 1j, 0 : 1 : _SIDE * 1j]
    rings = np.cos(60 * np.hypot(u - 0.5, v - 0.5))
    checks = (np.floor(u * 8) + np.floor(v * 8)) % 2
    greys = np.stack([0.5 + 0.5 * np.sin(40 * u), 0.5 + 0.5 * rings, checks])
    colours = np.array([[1.0, 0.6, 0.2], [0.3, 0.7, 1.0], [0.5, 0.9, 0.4]])
    return (greys[:, None] * colours[:, :, None, None] * 255).astype(np.uint8)


def _times(x: np.ndarray, repeats: int = 15) -> tuple[float, float]:
    """Milliseconds of mix_batch and of NumPy, with drawing: medians of alternating runs."""
    rng = np.random.default_rng(0)

    def numpys() -> np.ndarray:
        lam = rng.beta(0.4, 0.4, len(x)).astype(x.dtype)[:, None, None, None]
        return lam * x + (1 - lam) * x[rng.permutation(len(x))]

    def ours() -> np.ndarray:
        return mixup_rs.mix_batch(x, rng=rng).x

    times: dict[Callable[[], np.ndarray], list[float]] = {ours: [], numpys: []}
    for _ in range(repeats):
        for function, seconds in times.items():
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
    return median(times[ours]) * 1e3, median(times[numpys]) * 1e3


def _bench(args: Sequence[str]) -> int:
    try:
        bench = importlib.import_module("mixup_rs.bench")
    except ImportError as error:
        print(f"the benchmark cannot be imported: {error}", file=sys.stderr)
        return 1
    return bench.main(args) or 0


def _info() -> int:
    print(f"mixup-rs {mixup_rs.__version__}")
    print(f"python   {platform.python_version()}, {platform.system()} {platform.machine()}")
    print(f"threads  {mixup_rs.get_num_threads()}")
    print(f"stream   version {mixup_rs.STREAM_VERSION}")
    print(f"simd     {_core.SIMD_LEVEL}")
    print(f"caches   {', '.join(f'{size >> 10} KiB' for size in _core.CACHES)}")
    for package in ("numpy", "torch", "fastai"):
        print(f"{package:8} {_installed(package)}")
    return 0


def _installed(package: str) -> str:
    """The version of a package, read without importing it: importing torch takes seconds."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
