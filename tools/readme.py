"""Writes the README's tables, docs/numbers.md, docs/benchmarks.md and the table of docs/guides/scaling.md.

`python tools/readme.py docs/bench`

Speeds are those of `mixup-rs bench` in docs/bench, features those that `make peers` found, in docs/peers.json. None is
written by hand.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import report
from peers import YES, features_table, notes

from mixup_rs.bench.cases import MAIN
from mixup_rs.bench.contender import FASTAI, INPLACE, NEW, NUMPY
from mixup_rs.bench.plots import save_plots
from mixup_rs.bench.report import number
from mixup_rs.bench.results import Results, threads_text

#: The rows of the README's table of speed.
WELL_KNOWN = [NUMPY, FASTAI, "timm Mixup (batch)", "torchvision MixUp"]
#: The rows of the README's table of features; those that we lack come besides.
FEATURES = (
    "workers", "lam_per_sample", "both", "rules", "masks", "boxes", "several", "arrays", "series", "bytes_", "in_place",
    "nan", "odd",
)  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="a folder with what `mixup-rs bench` measured, a file a processor")
    parser.add_argument("--peers", type=Path, default=Path("docs/peers.json"), help="(default: %(default)s)")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="(default: %(default)s)")
    parser.add_argument("--numbers", type=Path, default=Path("docs/numbers.md"), help="(default: %(default)s)")
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"), help="(default: %(default)s)")
    scaling = Path("docs/guides/scaling.md")
    parser.add_argument(
        "--scaling", type=Path, default=scaling, help="the guide with Ray's table (default: %(default)s)"
    )
    options = parser.parse_args(args)
    every = Results.read_all(options.results)
    plots = {results.processor: save_plots(results, options.results) for results in every}
    here = options.page.parent
    links = {name: [path.relative_to(here).as_posix() for path in paths] for name, paths in plots.items()}
    options.page.write_text(report.page(every, links), encoding="utf-8")
    write(options.readme, options.numbers, every, json.loads(options.peers.read_text(encoding="utf-8")))
    update(options.scaling, "ray", report.ray_tables(every))
    written = (options.page, options.numbers, options.readme, options.scaling)
    print(*(path for paths in plots.values() for path in paths), *written, sep="\n")


def repository() -> str:
    """The address of the project. Package indices show the README too, where relative links would lead nowhere."""
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"]


def write(readme: Path, page: Path, every: Sequence[Results], found: dict[str, Any]) -> None:
    """Write the page, and the sections of the README between their markers."""
    page.write_text(numbers(every, found), encoding="utf-8")
    for name, section in sections(every, found).items():
        update(readme, name, section)


def sections(every: Sequence[Results], found: dict[str, Any]) -> dict[str, str]:
    """The sections of the README by the names of their markers."""
    return {"speed": speed(every), "features": features(found)}


def update(path: Path, name: str, section: str) -> None:
    """Write a section between its markers. Raises ValueError where they are not found."""
    marks = [f"<!-- {name}: {edge} -->" for edge in ("begin", "end")]
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(marks[0])
    _, end, tail = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"expected the markers {marks[0]} and {marks[1]} in {path.name}")
    path.write_text(f"{head}{begin}\n{section}\n{end}{tail}", encoding="utf-8")


def speed(every: Sequence[Results]) -> str:
    """Markdown: a row for each well-known peer, a column a processor: its time and ours for the same job."""
    rows = [[f"ms, {MAIN.title}, 1 thread", *(results.processor for results in every)], ["---", *["--:"] * len(every)]]
    for peer in WELL_KNOWN:
        rows.append([peer, *(_against(results, peer) for results in every)])
    return "\n\n".join([report.markdown(rows), _where(every)])


def _against(results: Results, peer: str) -> str:
    ms, ratio = results.ms(MAIN.name, peer, 1), results.ratio(MAIN.name, peer, 1)
    return f"{number(ms)} → **{number(ms / ratio)}**" if ms and ratio else "-"


def _where(every: Sequence[Results]) -> str:
    """Where we lose, in a sentence."""
    found = [(results.processor, *loss) for results in every for loss in results.losses()]
    link = f"[docs/numbers.md]({repository()}/blob/main/docs/numbers.md)"
    if not found:
        return f"No peer is faster in any case that was measured: {link}."
    processor, case, peer, _, times = max(found, key=lambda loss: loss[-1])
    return (
        f"A peer is faster in {len(found)} measurements, at most {times:.2f} times "
        f"({peer}, {case['title']}, {processor}): {link}."
    )


def features(found: dict[str, Any]) -> str:
    """Markdown: the README's table, ours ✗ first."""
    ours = found["peers"][0]
    kept = [row for row in found["features"] if row["key"] in FEATURES or row["answers"][ours]["mark"] != YES]
    return features_table({**found, "features": kept})


def numbers(every: Sequence[Results], found: dict[str, Any]) -> str:
    """The page: Markdown."""
    named = ", ".join(results.processor for results in every)
    parts = [
        "# Numbers",
        f"Times of `mixup-rs bench` on {named}, in milliseconds, and features as `make peers` found them by running "
        "each library. `make readme` writes this page. [All cases, with versions and plots](benchmarks.md).",
        "## Mixing a batch",
        f"{MAIN.title}, and how many times mixup-rs' own time that is, for the same job.",
        *(_small_table(results) for results in every),
        "## Where we lose",
        report.losses(every),
        memory(every),
        "## Features",
        "A ✓ is a probe that ran and looked at what came back (`tools/probes.py`); a ? is one that could not be run.",
        features_table(found),
        f"With {_versions(found)}. Why a mark is no ✓:",
        "\n".join(notes(found)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def memory(every: Sequence[Results]) -> str:
    """Markdown: what a call in place adds to the peak of a process, a row a processor."""
    most = max((len(results.document["memory"]) for results in every), default=0)
    if not most:
        return ""
    named = max(every, key=lambda results: len(results.document["memory"]))
    rows = [["MiB", *(threads_text(one["threads"]) for one in named.document["memory"])], ["---", *["--:"] * most]]
    for results in every:
        found = {one["threads"]: f"{one['extra_mib']:.2f}" for one in results.document["memory"]}
        rows.append([results.processor, *(found.get(one["threads"], "-") for one in named.document["memory"])])
    size = f"{MAIN.title}, {MAIN.bytes / 2**20:.0f} MiB"
    text = f"By what a call in place raises the peak of a process ({size}). A new result takes what the result takes."
    return "\n\n".join(["## Memory", text, report.markdown(rows)])


def _versions(found: dict[str, Any]) -> str:
    others: Iterable[str] = (name for name in found["versions"] if name not in found["peers"])
    return ", ".join(f"{name} {found['versions'][name]}" for name in others)


def _small_table(results: Results) -> str:
    rows = report.main_rows(results, [INPLACE, NEW], ["scale"], WELL_KNOWN)
    rows[0] = [results.processor, *map(threads_text, results.threads), "times ours"]
    return report.markdown(rows) if len(rows) > 2 else ""


if __name__ == "__main__":
    main()
