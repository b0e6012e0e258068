"""The benchmark: `mixup-rs bench`, which is `make bench`.

Cases (`cases`) × contenders (`lineup`, `peers`, `limits`, and for the DataLoader `loader`) are measured by turns
(`measure`, `run`) into one JSON document (`results`), from which everything else is made: the tables (`report`), the
pictures (`plots`), and the list of ratios aimed at (`checks`). Apart from these, `step` measures what mixing takes of a
step of training.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from mixup_rs.bench.cases import CASES, Case
from mixup_rs.bench.checks import all_checks, checks_text
from mixup_rs.bench.plots import save_plots
from mixup_rs.bench.report import readme_section, table, update_readme
from mixup_rs.bench.results import Results
from mixup_rs.bench.run import run_cases

__all__ = ["main"]

#: Seconds that a case of weight 1 is measured for.
_SECONDS, _SECONDS_QUICK = 8.0, 0.5


def main(args: Sequence[str] | None = None) -> int:
    """Measures, or reads what was measured; returns the exit status: 1 where `--check` finds a ratio not reached."""
    parser = _parser()
    options = parser.parse_args(args)
    if options.step:
        from mixup_rs.bench.step import step_report

        print(step_report())
        return 0
    if options.report:
        _report(options.report, options.readme)
        return 0
    if isinstance(options.check, Path):
        return _check(Results.read(options.check))
    cases = [case for case in CASES if _is_wanted(case, options)]
    if not cases:
        parser.error(f"no case is called {options.cases}; there are {', '.join(case.name for case in CASES)}")
    seconds = options.seconds or (_SECONDS_QUICK if options.quick else _SECONDS)
    results = run_cases(cases, options.threads, seconds, command=_command(options), quick=options.quick)
    print(table(results))
    results.write(options.json)
    print(f"\nresults: {options.json}")
    _save_plots(results, options.plots)
    return _check(results) if options.check else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixup-rs bench", description="Times mixup-rs beside its peers and the limits of the machine."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="the most important cases, briefly")
    add("--cases", metavar="PATTERN", help="those whose names match, such as 'f32*' or 'tiny,u8'")
    add("--threads", type=_threads, metavar="1,2", help="numbers of threads (default: 1 and all)")
    add("--seconds", type=float, help=f"for a case (default: {_SECONDS:g}, quick: {_SECONDS_QUICK:g})")
    add("--json", type=Path, default=Path("bench/results.json"), help="where the figures go (default: %(default)s)")
    add("--plots", type=Path, default=Path("bench"), metavar="DIR", help="where pictures go (default: %(default)s)")
    add(
        "--check",
        type=Path,
        nargs="?",
        const=True,
        metavar="JSON",
        help="list the ratios aimed at and whether they are reached, in this run or in results given",
    )
    add("--report", type=Path, metavar="JSON", help="measure nothing; write the README's table and the plots in docs")
    add(
        "--step", action="store_true", help="measure what mixing takes of a training step of resnet34, and nothing else"
    )
    add("--readme", type=Path, default=Path("README.md"), help="for --report (default: %(default)s)")
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
    """The command again, without the places where its results go, which are nobody else's."""
    words = ["mixup-rs", "bench"] + ["--quick"] * options.quick
    if options.cases:
        words += ["--cases", options.cases]
    if options.threads:
        words += ["--threads", ",".join(map(str, options.threads))]
    if options.seconds:
        words += ["--seconds", f"{options.seconds:g}"]
    return shlex.join(words)


def _report(path: Path, readme: Path) -> None:
    results = Results.read(path)
    plots = _save_plots(results, readme.parent / "docs")
    update_readme(readme, readme_section(results, [f"docs/{plot.name}" for plot in plots]))
    print(f"written: {readme}")


def _check(results: Results) -> int:
    print(f"\n{checks_text(results)}")
    return int(any(check.reached is False for check in all_checks(results)))


def _save_plots(results: Results, folder: Path) -> list[Path]:
    try:
        saved = save_plots(results, folder)
    except ModuleNotFoundError as error:
        print(f"no plots: {error.name} is not installed; pip install 'mixup-rs[plot]'")
        return []
    for path in saved:
        print(f"plot: {path}")
    return saved
