"""Writes the README's tables, and its pictures in docs: `python tools/report.py docs/bench.json`.

The figures are those of `mixup-rs bench --json docs/bench.json`. The README's tables are never edited by hand.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from mixup_rs.bench.cases import MAIN
from mixup_rs.bench.contender import (
    COLD,
    FASTAI,
    INPLACE,
    MIX_COLLATE,
    NEW,
    NORMALISED,
    NUMPY,
    TIMM_COLLATE,
    UNMIXED,
    drop_in,
)
from mixup_rs.bench.plots import save_plots
from mixup_rs.bench.report import number
from mixup_rs.bench.results import Results, threads_text

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

#: What the README calls them.
_ROLES = {
    INPLACE: "**mixup-rs, in place**",
    NEW: "**mixup-rs, new result**",
    COLD: "**mixup-rs, very first result**",
    "scale": "*limit: scaling the batch in place*",
    "copy": "*limit: copying it into warm memory*",
    MIX_COLLATE: "**MixCollate**",
    NORMALISED: "**MixCollate, normalised**",
    drop_in(TIMM_COLLATE): f"**{drop_in(TIMM_COLLATE)}**",
    UNMIXED: "*limit: default_collate, unmixed*",
}


def repository() -> str:
    """The address of the project. Package indices show the README too, where relative links would lead nowhere."""
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"]


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="what `mixup-rs bench` measured, as JSON")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="(default: %(default)s)")
    options = parser.parse_args(args)
    results = Results.read(options.results)
    plots = save_plots(results, options.readme.parent / "docs")
    update_readme(
        options.readme, readme_section(results, [f"{repository()}/raw/main/docs/{plot.name}" for plot in plots])
    )
    print(*plots, options.readme, sep="\n")


def update_readme(path: Path, section: str) -> None:
    """Writes a section between the markers. Raises ValueError where they are not found."""
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the markers {BEGIN} and {END} in {path.name}")
    path.write_text(f"{head}{BEGIN}\n{section}\n{END}{tail}", encoding="utf-8")


def readme_section(results: Results, plots: list[str]) -> str:
    """Markdown: where it was measured, the main case, the others, where we lose, and the pictures."""
    parts = [_measured(results), _main_table(results), _other_table(results)]
    parts += [_of_the_loader(results), _collate_table(results), _loader_table(results), _losses(results)]
    parts += [
        f"Left out: {'; '.join(_left_out(results))}." if results.document["skipped"] else "",
        *(f"![{Path(plot).stem.replace('-', ' ')}]({plot})" for plot in plots),
    ]
    return "\n\n".join(part for part in parts if part)


def _measured(results: Results) -> str:
    where, versions = results.document["machine"], dict(results.document["versions"])
    ours = versions.pop("mixup-rs")
    memory = f", {where['memory_gib']:g} GiB" if where["memory_gib"] else ""
    simd = f" ({where['simd']})" if where["simd"] else ""
    others = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"`{results.document['command']}` of {results.document['date']} on {where['cpu']}, {where['cores']} processors"
        f"{memory}, {where['system']}: mixup-rs {ours}{simd}; {others}. Milliseconds, the median of rounds in which "
        "all took turns, and how many times mixup-rs' own time that is, for the same job. timm's and torchvision's "
        "include soft targets, which they always make; the others' include drawing λ and partners."
    )


def _main_table(results: Results) -> str:
    threads = results.threads
    headings = [MAIN.title, *map(threads_text, threads), "times ours"]
    rows = [headings, ["---", *["--:"] * (len(threads) + 1)]]
    for name in results.contenders(MAIN.name, "ours"):
        rows.append([_ROLES.get(name, f"**{name}**"), *_times(results, MAIN.name, name), ""])
    for which, ours in (("scale", INPLACE), ("copy", NEW)):
        limits = [results.limit(MAIN.name, count, which) for count in threads]
        own = [results.ms(MAIN.name, ours, count) for count in threads]
        ratios = [a / b if a and b else None for a, b in zip(limits, own, strict=True)]
        rows.append([_ROLES[which], *map(number, limits), _factors(ratios)])
    for name in results.contenders(MAIN.name, "peer"):
        ratios = [results.ratio(MAIN.name, name, count) for count in threads]
        rows.append([name, *_times(results, MAIN.name, name), _factors(ratios)])
    return _markdown(rows) if results.contenders(MAIN.name) else ""


def _other_table(results: Results) -> str:
    """A row a case, cells with a figure for each number of threads."""
    cases = [case for case in results.cases() if case["name"] != MAIN.name]
    heading = f"others ({' / '.join(map(threads_text, results.threads))})"
    rows = [[heading, "in place", "new result", "*scaling*", NUMPY, FASTAI, "fastest peer"], ["---", *["--:"] * 6]]
    for case in cases:
        name = case["name"]
        cells = [" / ".join(_times(results, name, contender)) for contender in (INPLACE, NEW)]
        cells.append(" / ".join(number(results.limit(name, threads)) for threads in results.threads))
        cells += [
            " / ".join(_times(results, name, peer)) if peer in results.contenders(name) else ""
            for peer in (NUMPY, FASTAI)
        ]
        rows.append([case["title"], *cells, _fastest_peer(results, name)])
    return _markdown(rows) if cases else ""


def _of_the_loader(results: Results) -> str:
    if not (results.collates() or results.epochs()):
        return ""
    return (
        "In the DataLoader: collates that give bytes, and collates that give normalised float32. The torch recipe "
        "stacks, converts to float, normalises and mixes, out of place as it is mostly written, or in place where it "
        "can; fastai's MixUp does its part in the main process, torchvision's in the collate."
    )


def _collate_table(results: Results) -> str:
    """Milliseconds: a table a layout of the samples."""
    tables = []
    for case in results.collates():
        rows = [[case["title"], *map(threads_text, results.threads), "times ours"]]
        rows.append(["---", *["--:"] * (len(results.threads) + 1)])
        for name in results.contenders(case["name"]):
            ratios = [results.ratio(case["name"], name, threads) for threads in results.threads]
            rows.append(
                [_ROLES.get(name, name), *_times(results, case["name"], name), _factors(ratios) if any(ratios) else ""]
            )
        tables.append(_markdown(rows))
    return "\n\n".join(tables)


def _loader_table(results: Results) -> str:
    """Images a second: a row a contender, a column a source, a figure for each number of workers."""
    sources = {source: list(cases) for source, cases in groupby(results.epochs(), key=lambda case: case["source"])}
    if not sources:
        return ""
    headings = [f"{source} ({' / '.join(str(case['workers']) for case in cases)})" for source, cases in sources.items()]
    rows = [["images a second of a DataLoader (workers)", *headings], ["---", *["--:"] * len(sources)]]
    names = (name for case in results.epochs() for name in results.contenders(case["name"]))
    for name in dict.fromkeys(names):
        cells = [
            " / ".join(number(results.images_per_second(case["name"], name)) for case in cases)
            for cases in sources.values()
        ]
        rows.append([_ROLES.get(name, name), *cells])
    return _markdown(rows)


def _fastest_peer(results: Results, case: str) -> str:
    """The peer with the least time at the most threads, named."""
    peers = [name for name in results.contenders(case, "peer") if results.ms(case, name, max(results.threads))]
    if not peers:
        return ""
    best = min(peers, key=lambda name: results.ms(case, name, max(results.threads)))
    return f"{' / '.join(_times(results, case, best))} ({best})"


def _losses(results: Results) -> str:
    """The sentence that says where we lose."""
    losses = list(results.losses())
    if not losses:
        return "Where we lose: in none of these cases is a peer faster than mixup-rs doing the same job."
    places = []
    for title, group in groupby(losses, key=lambda loss: loss[0]["title"]):
        # Epochs are measured with one number of threads, and their titles name the workers.
        peers = [
            f"{peer} is {times:.2f} times as fast" + ("" if "workers" in case else f" at {threads_text(threads)}")
            for case, peer, threads, times in group
        ]
        places.append(f"{title}: {', '.join(peers)}")
    return f"Where we lose: {'; '.join(places)}."


def _left_out(results: Results) -> Iterator[str]:
    """Without the reasons, which the JSON has."""
    for case, entries in groupby(results.document["skipped"], key=lambda entry: entry["case"]):
        names = ", ".join(entry["contender"] for entry in entries)
        yield f"{names} ({f'cannot mix {case}' if case else 'not available'})"


def _times(results: Results, case: str, contender: str) -> list[str]:
    return [number(results.ms(case, contender, threads)) for threads in results.threads]


def _factors(ratios: list[float | None]) -> str:
    return " / ".join("-" if ratio is None else f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}" for ratio in ratios)


def _markdown(rows: list[list[Any]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
