"""Ray Data: a data set of images in the object store, which tasks mix batch by batch.

As many executions run at once as CPUs are measured, each with one task at a time and its share of the data. A single
execution with `concurrency=2` starts the second task only when the first has ended (Ray 2.60, 2 CPUs).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import mixup_rs
from mixup_rs.bench.cases import Batch, Case
from mixup_rs.bench.contender import NUMPY, Contender

__all__ = ["IDENTITY", "MIXER", "RAY", "Blocks", "RayCase", "tasks"]

IDENTITY, MIXER = "map_batches of the identity", "map_batches of Mixer"
#: For the object store: the images, and what tasks make of them.
_STORE_BYTES = 1 << 30
#: Blocks are of 4 batches: a task of one batch takes less than Ray takes to start it. An epoch has all images 4 times.
_BATCHES, _TIMES = 4, 4


@dataclass(frozen=True)
class RayCase(Case):
    """A data set of `samples` images, mixed in batches of `shape` by as many CPUs as there are threads.

    Parameters
    ----------
    name, shape, dtype, layout, peers, quick, weight
        As of `Case`.
    samples : int
        The images of the data set.
    """

    samples: int = 4096

    @property
    def title(self) -> str:
        try:
            of = f"Ray Data {version('ray')}"
        except PackageNotFoundError:
            of = "Ray Data"
        return f"{of}, {self.samples} images, {super().title}"


RAY = [RayCase("ray", (64, 3, 224, 224), "uint8", weight=4.0)]


class Blocks:
    """The data set of a case, in the place of a `Batch`. Raises ImportError without Ray."""

    def __init__(self, case: RayCase):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray.data

        if not ray.is_initialized():
            ray.init(
                address="local",
                num_cpus=os.cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_STORE_BYTES,
            )
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        self.case = case
        n, *shape = case.shape
        images: Any = _images
        numbers = ray.data.range(case.samples // _TIMES, override_num_blocks=case.samples // (n * _BATCHES * _TIMES))
        self._data: Any = numbers.map_batches(images, batch_size=None, fn_kwargs={"shape": shape}).materialize()
        self._shares: dict[int, list[Any]] = {}

    def shares(self, count: int) -> list[Any]:
        """An epoch, in as many equal parts."""
        if count not in self._shares:
            self._shares[count] = [part.union(*[part] * (_TIMES - 1)) for part in self._data.split(count, equal=True)]
        return self._shares[count]

    def refill(self) -> None:
        """Do nothing: blocks cannot be written to."""


def _images(batch: dict[str, np.ndarray], shape: list[int]) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(int(batch["id"][0]))
    images = drawn.integers(0, 256, (len(batch["id"]), *shape), np.uint8)
    return {"image": images, "label": batch["id"] % Batch.classes}


def _identity(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return batch


def _one_liner(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The recipe that is copied: one weight, one permutation, one-hot labels."""
    x, y = batch["image"], np.eye(Batch.classes, dtype=np.float32)[batch["label"]]
    drawn = np.random.default_rng()
    lam, order = np.float32(drawn.beta(Batch.alpha, Batch.alpha)), drawn.permutation(len(x))
    return {
        "image": (lam * x + (1 - lam) * x[order]).astype(np.uint8),
        "label": lam * y + (1 - lam) * y[order],
    }


def tasks(blocks: Blocks) -> Iterator[Contender]:
    """Ray Data."""
    mix = mixup_rs.Mixer(mixup_rs.Mixup(Batch.alpha), num_classes=Batch.classes, rng=0)
    made: list[tuple[str, Callable[..., Any], str]] = [
        (MIXER, mix, "ours"),
        (IDENTITY, _identity, "limit"),
        (NUMPY, _one_liner, "peer"),
    ]
    for name, function, kind in made:
        yield Contender(name, _epoch(blocks, function), kind, MIXER if kind == "peer" else "", single=True)


def _epoch(blocks: Blocks, function: Callable[..., Any]) -> Callable[[], Any]:
    def mix(share: Any) -> None:

        mixed = share.map_batches(function, batch_size=blocks.case.shape[0], concurrency=1)
        for _ in mixed.iter_internal_ref_bundles():
            pass

    def run() -> None:
        shares = blocks.shares(mixup_rs.get_num_threads())
        with ThreadPoolExecutor(len(shares)) as pool:
            list(pool.map(mix, shares))

    return run
