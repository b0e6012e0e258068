"""Timing: the contenders of a case in alternation, at every number of threads, until the time is over.

What keeps the figures comparable:

1. Contenders and numbers of threads alternate within one process, so that drift of the machine affects all of them.
2. Before each turn the batch is refilled, and there is a pause for idle threads of other libraries: OpenMP's threads
   spin for some milliseconds after a parallel loop and occupy a processor.
3. A turn begins with calls that are not counted, so that each contender is measured as in a loop, independent of the
   previous contender: after one that read 300 MB, scaling a batch of 38 MB took 2.0, 1.9, 1.4 and 1.3 ms.
4. Short calls are timed in groups. The garbage collector is disabled. Outputs are freed outside the timed region, or
   before the next call of a group.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import mixup_rs
from mixup_rs.bench.contender import Contender

if TYPE_CHECKING:
    from mixup_rs.bench.cases import Batch
    from mixup_rs.bench.loader import Feed
    from mixup_rs.bench.ray import Blocks

__all__ = ["Timing", "measure", "most_threads", "set_threads"]

#: The duration of a group of calls, long enough that the first call, with cold caches, is a small part.
_GROUP_NS = 2_000_000
#: Idle threads of libgomp spin for 4 to 8 ms, as measured.
_SETTLE_S = 0.01
#: The duration of the uncounted calls of a turn. Much longer calls have none: waking threads and filling caches is a
#: small part of them.
_WARM_NS, _LONG_NS = 8_000_000, 100_000_000
_ROUNDS_MIN, _ROUNDS_MAX = 3, 51


@dataclass
class Timing:
    """The times of a contender.

    Parameters
    ----------
    contender : Contender
        The contender.
    threads : int
        The number of threads.
    calls : int
        The calls of a group.
    nanoseconds : list of float
        The time of a call, one figure a round.
    """

    contender: Contender
    threads: int
    calls: int = 1
    nanoseconds: list[float] = field(default_factory=list)

    def as_record(self, case: str) -> dict[str, Any]:
        """The median, least and greatest time as a record of the JSON document."""
        once = [nanoseconds / self.contender.repeats for nanoseconds in self.nanoseconds]
        low, middle, high = min(once), median(once), max(once)
        milliseconds = {"median_ms": middle / 1e6, "min_ms": low / 1e6, "max_ms": high / 1e6}
        return {
            "case": case,
            "contender": self.contender.name,
            "kind": self.contender.kind,
            "rival": self.contender.rival,
            "threads": self.threads,
            **{name: float(f"{value:.4g}") for name, value in milliseconds.items()},
            "rounds": len(self.nanoseconds),
        }


def measure(
    batch: Batch | Feed | Blocks,
    contenders: Iterable[Contender],
    threads: list[int],
    seconds: float,
    progress: Callable[[int], Any] = lambda rounds: None,
) -> tuple[list[Timing], dict[str, str]]:
    """Time all contenders at all numbers of threads.

    Parameters
    ----------
    batch : Batch, Feed or Blocks
        The batch, refilled before each turn.
    contenders : iterable of Contender
        The contenders.
    threads : list of int
        Numbers of threads.
    seconds : float
        The duration, exceeded where it is too short for the least number of rounds.
    progress : callable
        Called with the number of rounds after each round.

    Returns
    -------
    timings : list of Timing
        The timings.
    skipped : dict of str to str
        The reason for each contender that cannot mix this batch.
    """
    timings, skipped = _first_calls(batch, list(contenders), threads)
    if not timings:
        return [], skipped
    with _no_garbage_collection():
        end = time.perf_counter() + seconds
        for rounds in range(1, _ROUNDS_MAX + 1):
            for previous, timing in zip([timings[-1], *timings], timings, strict=False):
                _settle(previous)
                timing.nanoseconds.append(_turn(batch, timing))
            progress(rounds)
            if rounds >= _ROUNDS_MIN and time.perf_counter() > end:
                break
    return timings, skipped


def _first_calls(
    batch: Batch | Feed | Blocks, contenders: list[Contender], threads: list[int]
) -> tuple[list[Timing], dict[str, str]]:
    """Compile, choose the calls of each group, and find the contenders that cannot mix this batch."""
    timings: list[Timing] = []
    skipped: dict[str, str] = {}
    for count in threads:
        set_threads(count)
        for contender in contenders:
            if contender.name in skipped:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # warnings of compilers
                    timings.append(Timing(contender, count, _calls_in_a_group(batch, contender)))
            except Exception as error:
                if contender.kind == "ours":
                    raise
                skipped[contender.name] = _reason(error)
    return [timing for timing in timings if timing.contender.name not in skipped], skipped


def _calls_in_a_group(batch: Batch | Feed | Blocks, contender: Contender) -> int:
    batch.refill()
    for _ in range(2):
        contender.prepare()
        nanoseconds = _timed(contender.run, 1)
    contender.prepare()
    return 1 if contender.single else int(max(1, _GROUP_NS // max(nanoseconds, 1)))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:120]


def _settle(previous: Timing) -> None:
    if previous.threads > 1 and previous.contender.kind != "ours":
        time.sleep(_SETTLE_S)


def _turn(batch: Batch | Feed | Blocks, timing: Timing) -> float:
    contender = timing.contender
    set_threads(timing.threads)
    batch.refill()
    is_long = timing.nanoseconds and timing.nanoseconds[-1] > _LONG_NS
    start = time.perf_counter_ns()
    while not is_long and time.perf_counter_ns() < start + _WARM_NS:
        contender.prepare()
        _timed(contender.run, timing.calls)
    contender.prepare()
    nanoseconds = _timed(contender.run, timing.calls)
    contender.prepare()  # frees the memory of the last call
    return nanoseconds


def _timed(run: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in itertools.repeat(None, calls - 1):
        run()
    last = run()
    end = time.perf_counter_ns()
    del last  # freeing the result is not part of the time
    return (end - start) / calls


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def set_threads(count: int) -> None:
    """Set the number of threads of mixup-rs, and of torch, numba and OpenCV if they are loaded."""
    mixup_rs.set_num_threads(count)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    for library in ("torch", "numba"):
        module = sys.modules.get(library)
        if module is not None and module.get_num_threads() != count:
            module.set_num_threads(count)


def most_threads() -> int:
    """The number of processors that this process may use."""
    before = mixup_rs.get_num_threads()
    mixup_rs.set_num_threads(10_000)
    most = mixup_rs.get_num_threads()
    mixup_rs.set_num_threads(before)
    return most
