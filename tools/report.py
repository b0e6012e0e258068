"""The page docs/benchmarks.md, from what `mixup-rs bench --out docs/bench` measured on each processor.

`tools/readme.py` writes it. No figure is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    UNMIXED_FLOATS,
    WARM,
    drop_in,
)
from mixup_rs.bench.report import number
from mixup_rs.bench.results import Results, threads_text

__all__ = ["losses", "main_rows", "markdown", "page"]

#: What the tables call them.
_ROLES = {
    INPLACE: "**mixup-rs, in place**",
    WARM: "**mixup-rs, warm out**",
    NEW: "**mixup-rs, new result**",
    COLD: "**mixup-rs, very first result**",
    "scale": "*limit: scaling the batch in place*",
    "copy": "*limit: copying it into warm memory*",
    MIX_COLLATE: "**MixCollate**",
    NORMALISED: "**MixCollate, normalised**",
    drop_in(TIMM_COLLATE): f"**{drop_in(TIMM_COLLATE)}**",
    UNMIXED: "*limit: default_collate, unmixed*",
    UNMIXED_FLOATS: "*limit: default_collate of normalised float32, unmixed*",
}
#: What each limit is the limit of.
_LIMITED = {"scale": INPLACE, "copy": NEW}


def page(every: Sequence[Results], plots: Mapping[str, Sequence[str]]) -> str:
    """The page of all figures: Markdown, a section a processor."""
    names = ", ".join(results.processor for results in every)
    parts = [
        "# Benchmarks",
        f"Measured on {names}. `mixup-rs bench` measures a machine, and writes the results under the name of its "
        "processor; in a clone, `make bench` adds them here, `make readme` writes this page, and `mixup-rs bench "
        "--check` holds them against what is promised.",
        "Times are in milliseconds, medians of rounds in which all took turns, with how many times mixup-rs' own time "
        "that is, for the same job. timm's, torchvision's, kornia's and the package mixup's include targets, which "
        "they always make; the others' include drawing λ and partners. A *warm out* is an array that exists already.",
        losses(every),
    ]
    for results in every:
        parts += [f"## {results.processor}", *_section(results, plots.get(results.processor, []))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(results: Results, plots: Sequence[str]) -> Iterator[str]:
    """Where it was measured, the main case, the others, the DataLoader, and the pictures."""
    yield _measured(results)
    yield _main_table(results)
    yield _other_table(results)
    yield _of_the_loader(results)
    yield _collate_table(results)
    yield _loader_table(results)
    yield _ray_table(results)
    if results.document["skipped"]:
        yield f"Left out: {'; '.join(_left_out(results))}."
    for plot in plots:
        yield f"![{Path(plot).stem.replace('-', ' ')}]({plot})"


def _measured(results: Results) -> str:
    where, versions = results.document["machine"], dict(results.document["versions"])
    ours = versions.pop("mixup-rs")
    memory = f", {where['memory_gib']:g} GiB" if where["memory_gib"] else ""
    simd = f" ({where['simd']})" if where["simd"] else ""
    others = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"`{results.document['command']}` of {results.document['date']} on {results.processor} ({where['cpu']}), "
        f"{where['cores']} processors{memory}, {where['system']}: mixup-rs {ours}{simd}; {others}."
    )


def _main_table(results: Results) -> str:
    ours, peers = (results.contenders(MAIN.name, kind) for kind in ("ours", "peer"))
    rows = main_rows(results, ours, ["scale", "copy"], peers)
    return markdown(rows) if len(rows) > 2 else ""


def main_rows(results: Results, ours: list[str], limits: list[str], peers: list[str]) -> list[list[str]]:
    """A heading and a row each, of those that were measured."""
    threads = results.threads
    rows = [[MAIN.title, *map(threads_text, threads), "times ours"], ["---", *["--:"] * (len(threads) + 1)]]
    for name in ours:
        if name in results.contenders(MAIN.name):
            rows.append([_ROLES.get(name, f"**{name}**"), *_times(results, MAIN.name, name), ""])
    for which in limits:
        times = [results.limit(MAIN.name, count, which) for count in threads]
        own = [results.ms(MAIN.name, _LIMITED[which], count) for count in threads]
        if any(times):
            ratios = [a / b if a and b else None for a, b in zip(times, own, strict=True)]
            rows.append([_ROLES[which], *map(number, times), _factors(ratios)])
    for name in peers:
        if name in results.contenders(MAIN.name):
            ratios = [results.ratio(MAIN.name, name, count) for count in threads]
            rows.append([name, *_times(results, MAIN.name, name), _factors(ratios)])
    return rows


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
    return markdown(rows) if cases else ""


def _of_the_loader(results: Results) -> str:
    if not (results.collates() or results.epochs()):
        return ""
    return (
        "In the DataLoader: collates that give bytes, and collates that give normalised float32, of bytes or, by "
        "default_collate, of samples that are so already (JPEG files: by ToTensor and Normalize). The torch recipe "
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
        tables.append(markdown(rows))
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
    return markdown(rows)


def ray_tables(every: Sequence[Results]) -> str:
    """The table of Ray Data of each processor that has one, for the guide."""
    return "\n\n".join(f"{results.processor}:\n\n{table}" for results in every if (table := _ray_table(results)))


def _ray_table(results: Results) -> str:
    """Images a second: a row a contender, a column a number of CPUs."""
    tables = []
    for case in results.of_ray():
        counts = ["1 CPU" if count == 1 else f"{count} CPUs" for count in results.threads]
        rows = [[f"{case['title']}: images a second", *counts], ["---", *["--:"] * len(counts)]]
        for name in results.contenders(case["name"]):
            speeds = (results.images_per_second(case["name"], name, threads=count) for count in results.threads)
            rows.append([name, *map(number, speeds)])
        tables.append(markdown(rows))
    return "\n\n".join(tables)


def _fastest_peer(results: Results, case: str) -> str:
    """The peer with the least time at the most threads, named."""
    peers = [name for name in results.contenders(case, "peer") if results.ms(case, name, max(results.threads))]
    if not peers:
        return ""
    best = min(peers, key=lambda name: results.ms(case, name, max(results.threads)))
    return f"{' / '.join(_times(results, case, best))} ({best})"


def losses(every: Sequence[Results]) -> str:
    """Where we lose, on any of the processors."""
    found = [(results.processor, *loss) for results in every for loss in results.losses()]
    if not found:
        names = ", ".join(results.processor for results in every)
        return f"Where we lose: in no case on {names} is a peer faster than mixup-rs doing the same job."
    rows = [["where we lose", "processor", "threads", "faster peer", "factor"], ["---", "---", "--:", "---", "--:"]]
    for processor, case, peer, threads, times in found:
        rows.append([case["title"], processor, str(threads), peer, f"{times:.2f}"])
    return markdown(rows)


def _left_out(results: Results) -> Iterator[str]:
    """Without the reasons, which the JSON has."""
    for case, entries in groupby(results.document["skipped"], key=lambda entry: entry["case"]):
        names = ", ".join(entry["contender"] for entry in entries)
        yield f"{names} ({f'cannot mix {case}' if case else 'not available'})"


def _times(results: Results, case: str, contender: str) -> list[str]:
    return [number(results.ms(case, contender, threads)) for threads in results.threads]


def _factors(ratios: list[float | None]) -> str:
    return " / ".join("-" if ratio is None else f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}" for ratio in ratios)


def markdown(rows: list[list[Any]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
