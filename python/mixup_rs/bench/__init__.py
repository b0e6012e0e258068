"""The benchmark: `mixup-rs bench`, which is `make bench`.

Cases (`cases`) × contenders (`lineup`, `peers`, `limits`, and for the DataLoader `loader`) are measured in alternation
(`measure`, `run`) into one JSON document (`results`), named after the `processor`. The table (`report`), the plots
(`plots`) and the ratios that are promised (`checks`) are computed from that document. `step` measures the share of
mixing in a training step.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from mixup_rs.bench import checks
from mixup_rs.bench.cases import CASES, Case
from mixup_rs.bench.plots import save_plots
from mixup_rs.bench.ray import RAY
from mixup_rs.bench.report import table
from mixup_rs.bench.results import Results
from mixup_rs.bench.run import run_cases

__all__ = ["main"]

#: Seconds of measuring for a case of weight 1.
_SECONDS, _SECONDS_QUICK = 8.0, 0.5


def main(args: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the results and the plots; or check results that were written.

    Parameters
    ----------
    args : sequence of str, optional
        The arguments, without the name of the program. By default those of the command line.

    Returns
    -------
    int
        The exit status: 1 where `--check` finds a ratio that is not reached.
    """
    parser = _parser()
    options = parser.parse_args(args)
    if options.check:
        try:
            return checks.check_all(Results.read_all(options.check))
        except ValueError as error:
            parser.error(str(error))
    if options.images and not any(options.images.glob("*.jpg")):
        parser.error(f"expected a folder of .jpg files, got {options.images}")
    if options.step:
        from mixup_rs.bench.step import step_report

        try:
            print(step_report())
        except ModuleNotFoundError as error:
            parser.error(f"--step trains a model and needs {error.name}, which is not installed")
        return 0
    cases = [case for case in [*CASES, *RAY] if _is_wanted(case, options)]
    if not cases:
        parser.error(f"no case is called {options.cases}; there are {', '.join(case.name for case in [*CASES, *RAY])}")
    seconds = options.seconds or (_SECONDS_QUICK if options.quick else _SECONDS)
    results = run_cases(
        cases, options.threads, seconds, command=_command(options), quick=options.quick, images=options.images
    )
    print(table(results))
    if options.add and (before := options.out / f"{results.slug}.json").exists():
        results = Results.read(before).added(results)
    print(f"\nresults: {results.write(options.out)}")
    _save_plots(results, options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixup-rs bench", description="Times mixup-rs beside its peers and the limits of the machine."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="measure the most important cases for a short time")
    add("--cases", metavar="PATTERN", help="measure the cases whose names match, such as 'f32*' or 'tiny,u8'")
    add("--threads", type=_threads, metavar="1,2", help="numbers of threads (default: 1 and all)")
    add("--seconds", type=float, help=f"seconds of a case (default: {_SECONDS:g}, quick: {_SECONDS_QUICK:g})")
    add("--images", type=Path, metavar="FOLDER", help="JPEG files for the DataLoader (default: generated files)")
    folder = "folder for the results and the plots, named after the processor (default: %(default)s)"
    add("--out", type=Path, default=Path("bench"), metavar="FOLDER", help=folder)
    add("--add", action="store_true", help="add the cases to the processor's results in that folder")
    promised = "measure nothing: hold all results of a folder against what is promised (default: %(const)s)"
    add("--check", type=Path, nargs="?", const=Path("docs/bench"), metavar="FOLDER", help=promised)
    add("--step", action="store_true", help="measure only the share of mixing in a training step of resnet34")
    return parser


def _threads(text: str) -> list[int]:
    counts = sorted({int(count) for count in text.split(",")})
    if counts[0] < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1, got {text}")
    return counts


def _is_wanted(case: Case, options: argparse.Namespace) -> bool:
    if options.cases:
        return any(fnmatch(case.name, pattern) for pattern in options.cases.split(","))
    return case.quick or not options.quick


def _command(options: argparse.Namespace) -> str:
    """The command line that repeats the run, without paths of this machine."""
    words = ["mixup-rs", "bench"] + ["--quick"] * options.quick
    if options.cases:
        words += ["--cases", options.cases]
    if options.threads:
        words += ["--threads", ",".join(map(str, options.threads))]
    if options.seconds:
        words += ["--seconds", f"{options.seconds:g}"]
    if options.images:
        words += ["--images", "FOLDER"]
    return shlex.join(words)


def _save_plots(results: Results, folder: Path) -> None:
    try:
        for path in save_plots(results, folder):
            print(f"plot: {path}")
    except ModuleNotFoundError as error:
        print(f"no plots: {error.name} is not installed; pip install 'mixup-rs[plot]'")
