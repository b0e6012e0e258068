"""The table of a run for the terminal: every figure, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator

from mixup_rs.bench.results import Results, size_text, threads_text

__all__ = ["number", "table"]


def table(results: Results) -> str:
    """All figures as text: the median, least and greatest time of each contender."""
    lines = []
    for case in [*results.cases(), *results.cases(sweep=True), *results.collates()]:
        lines.append(f"\n{case['title']} ({size_text(case['bytes'])}), ms: median [least to greatest], times our own")
        for contender in results.contenders(case["name"]):
            cells = [_cell(results, case["name"], contender, threads) for threads in results.threads]
            lines.append(f"  {contender:26}" + "".join(f"{cell:46}" for cell in cells).rstrip())
    for case in results.epochs():
        lines.append(f"\n{case['title']}, images a second: median [least to greatest]")
        for contender in results.contenders(case["name"]):
            speeds = (results.images_per_second(case["name"], contender, f"{of}_ms") for of in ("median", "max", "min"))
            lines.append("  {:26}{:>10} [{} to {}]".format(contender, *map(number, speeds)))
    for case in results.of_ray():
        lines.append(f"\n{case['title']}, images a second, median, on {_cpus(results.threads)}")
        for contender in results.contenders(case["name"]):
            speeds = (results.images_per_second(case["name"], contender, threads=count) for count in results.threads)
            lines.append(f"  {contender:26}" + "".join(f"{number(speed):>10}" for speed in speeds))
    left_out = [f"left out: {entry}" for entry in _skipped(results)]
    return "\n".join([*lines, "", *left_out]).rstrip()


def _cpus(counts: list[int]) -> str:
    return " and ".join(map(str, counts)) + (" CPU" if counts == [1] else " CPUs")


def _cell(results: Results, case: str, contender: str, threads: int) -> str:
    record = results.record(case, contender, threads)
    if record is None:
        return "-"
    low, high = number(record["min_ms"]), number(record["max_ms"])
    ratio = results.ratio(case, contender, threads)
    times = f" {ratio:.2f}x" if ratio else ""
    return f"{threads_text(threads):>10}: {number(record['median_ms'])} [{low} to {high}]{times}"


def _skipped(results: Results) -> Iterator[str]:
    for entry in results.document["skipped"]:
        where = f" in {entry['case']}" if entry["case"] else ""
        yield f"{entry['contender']}{where}: {entry['why']}"


def number(value: float | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return "-"
    digits = next((digits for digits, least in ((0, 100), (1, 10), (2, 1), (3, 0.1)) if value >= least), 5)
    return f"{value:.{digits}f}"
