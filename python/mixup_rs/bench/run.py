"""A run: the cases one after the other, with lines of progress on stderr."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import mixup_rs
from mixup_rs.bench.cases import MAIN, Batch, Case, LoaderCase, fits_in_memory
from mixup_rs.bench.contender import INPLACE, MIX_COLLATE
from mixup_rs.bench.lineup import lineup
from mixup_rs.bench.loader import Feed
from mixup_rs.bench.machine import extra_mib, machine, versions
from mixup_rs.bench.measure import measure, most_threads, set_threads
from mixup_rs.bench.ray import MIXER, Blocks, RayCase
from mixup_rs.bench.results import FORMAT, Results, case_record, threads_text

__all__ = ["run_cases"]

#: The greatest load average of a machine that counts as idle.
_QUIET = 0.5


def run_cases(
    cases: list[Case],
    threads: list[int] | None,
    seconds: float,
    command: str = "mixup-rs bench",
    quick: bool = False,
    images: Path | None = None,
) -> Results:
    """Measure cases.

    Parameters
    ----------
    cases : list of Case
        The cases.
    threads : list of int or None
        Numbers of threads; None for one and all.
    seconds : float
        The duration of a case of weight 1.
    command : str
        The command line, for the document.
    quick : bool, default False
        Leave out contenders that are slow to start, and shorten epochs.
    images : Path, optional
        A folder of JPEG files for the DataLoader. Without it files are generated.

    Returns
    -------
    Results
        The results.
    """
    start, before, most = time.perf_counter(), mixup_rs.get_num_threads(), most_threads()
    threads = sorted({min(count, most) for count in threads or [1, most]})
    progress = _Progress(len(cases))
    progress.warn_of_load()
    document: dict[str, Any] = {"cases": [], "results": [], "skipped": []}
    try:
        for case in cases:
            progress.begin(case)
            _run_case(case, threads, seconds * case.weight, quick, images, progress, document)
    finally:
        set_threads(before)
    progress.end()
    memory = [] if MAIN not in cases else [{"threads": count, "extra_mib": extra_mib(count)} for count in threads]
    header = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "command": command,
        "seconds": round(time.perf_counter() - start),
        "machine": machine(),
        "versions": versions(),
        "threads": threads,
        "memory": [entry for entry in memory if entry["extra_mib"] is not None],
    }
    return Results(header | document)


def _run_case(
    case: Case,
    threads: list[int],
    seconds: float,
    quick: bool,
    images: Path | None,
    progress: _Progress,
    document: dict[str, Any],
) -> None:
    def skip(contender: str, why: str, where: str = "") -> None:
        entry = {"case": where, "contender": contender, "why": why}
        if entry not in document["skipped"]:
            document["skipped"].append(entry)

    try:
        if not fits_in_memory(case):
            skip(case.title, "there is not enough free memory")
            return
        batch = _batch(case, quick, images)
    except ImportError as error:
        skip(case.name, str(error))
        return
    if isinstance(case, LoaderCase) and case.workers is not None:
        threads = threads[-1:]  # a worker has one thread, whatever the number of the main process is
    contenders, missing = lineup(batch, quick)
    timings, failed = measure(batch, contenders, threads, seconds, progress.rounds)
    for contender, why in missing.items():
        skip(contender, why)
    for contender, why in failed.items():
        skip(contender, why, batch.case.title)
    if not timings:
        return
    document["cases"].append(case_record(batch.case))
    document["results"] += [timing.as_record(case.name) for timing in timings]
    name = MIX_COLLATE if isinstance(case, LoaderCase) else MIXER if isinstance(case, RayCase) else INPLACE
    ours = [timing.as_record(case.name)["median_ms"] for timing in timings if timing.contender.name == name]
    counts = " / ".join(map(threads_text, threads))
    progress.done(f"{name} {' / '.join(f'{ms:.4g}' for ms in ours)} ms ({counts})")


def _batch(case: Case, quick: bool, images: Path | None) -> Batch | Feed | Blocks:
    """What a case measures with."""
    if isinstance(case, RayCase):
        return Blocks(case)
    return Feed(case, quick, images) if isinstance(case, LoaderCase) else Batch(case)


class _Progress:
    """A line per case. On a terminal it also shows the number of rounds."""

    def __init__(self, cases: int, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._cases, self._case, self._title, self._start = cases, 0, "", time.perf_counter()

    def warn_of_load(self) -> None:
        """Warn of a busy machine: a loop of OpenMP waits for a displaced thread, up to 1000 times as long."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
        if load > _QUIET:
            self._stream.write(f"the machine is busy (load {load:.1f}): the figures for several threads will mislead\n")

    def begin(self, case: Case) -> None:
        self._case, self._title = self._case + 1, case.title
        self._show("warming up")

    def rounds(self, rounds: int) -> None:
        self._show(f"round {rounds}")

    def done(self, text: str) -> None:
        self._write(text, "\n")

    def end(self) -> None:
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")

    def _show(self, text: str) -> None:
        if self._stream.isatty():
            self._write(text, "")

    def _write(self, text: str, end: str) -> None:
        seconds = time.perf_counter() - self._start
        clear = "\r\x1b[K" if self._stream.isatty() else ""
        line = f"[{self._case}/{self._cases}, {seconds:.0f} s] {self._title}: {text}"
        self._stream.write(f"{clear}{line}{end}")
        self._stream.flush()
