"""Two plots of a run: time against batch size, with the limit, and the speed-up over each peer.

matplotlib is imported when a plot is drawn, without pyplot, so that no global state changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mixup_rs.bench.cases import MAIN
from mixup_rs.bench.contender import INPLACE, NEW, NUMPY
from mixup_rs.bench.results import Results, threads_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SIZES", "SPEEDUP", "save_plots"]

SIZES, SPEEDUP = "time-by-size.png", "speed-up.png"

_OURS = {INPLACE: "#d9480f", NEW: "#f08c00"}
_MUTED = "#57606a"
_BARS = ["#ffc078", "#d9480f", "#862e9c", "#1f6feb"]


def save_plots(results: Results, folder: Path) -> list[Path]:
    """Save the plots for which there are figures, named after the processor, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    if len(results.cases(sweep=True)) > 1:
        saved.append(_plot_sizes(results, folder / f"{results.slug}-{SIZES}"))
    if results.contenders(MAIN.name, "peer"):
        saved.append(_plot_speedup(results, folder / f"{results.slug}-{SPEEDUP}"))
    return saved


def _plot_sizes(results: Results, path: Path) -> Path:
    from matplotlib.figure import Figure

    threads = results.threads
    figure = Figure(figsize=(5.2 * len(threads), 4), layout="constrained")
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for axes, count in zip(panels, threads, strict=True):
        _draw_sizes(axes, results, count)
    panels[0].set_ylabel("milliseconds")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    return path


def _draw_sizes(axes: Axes, results: Results, threads: int) -> None:
    cases = sorted(results.cases(sweep=True), key=lambda case: case["bytes"])
    sizes = [case["bytes"] for case in cases]
    nan = float("nan")
    limit = [results.limit(case["name"], threads) or nan for case in cases]
    axes.plot(sizes, limit, color="black", linestyle="--", label="limit: scaling the batch in place")
    for contender, color in {**_OURS, NUMPY: _MUTED}.items():
        label = f"mixup-rs, {contender}" if contender in _OURS else contender
        times = [results.ms(case["name"], contender, threads) or nan for case in cases]
        axes.plot(sizes, times, color=color, marker=".", label=label)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="bytes of the batch, float32",
        title=f"{results.processor}, {threads_text(threads)}",
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _plot_speedup(results: Results, path: Path) -> Path:
    from matplotlib.figure import Figure

    rows = _speedups(results)
    figure = Figure(figsize=(8, 0.55 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(results.threads)
    for k, threads in enumerate(results.threads):
        places = [row + (k - (len(results.threads) - 1) / 2) * height for row in range(len(rows))]
        values = [ratios[k] or 0 for _, ratios in rows]
        bars = axes.barh(places, values, height, color=_BARS[k % len(_BARS)], label=threads_text(threads))
        axes.bar_label(bars, [f"{value:.1f}" if value else "" for value in values], padding=3, color=_MUTED)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    axes.set(xlabel="times the time of mixup-rs for the same job", title=f"{MAIN.title}, {results.processor}")
    axes.margins(x=0.08)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    return path


def _speedups(results: Results) -> list[tuple[str, list[float | None]]]:
    """(peer and the contender it is compared with, the ratio at each number of threads), the greatest ratio first."""
    rows = []
    for case in results.cases():
        for peer in results.contenders(case["name"], "peer"):
            # The collate makes bytes only; every other peer is shown for the main case.
            if case["name"] == MAIN.name or peer not in results.contenders(MAIN.name):
                ratios = [results.ratio(case["name"], peer, threads) for threads in results.threads]
                record = results.record(case["name"], peer, results.threads[0])
                place = "" if case["name"] == MAIN.name else f", {case['dtype']}"
                rival = record["rival"] if record else ""
                rows.append((f"{peer}{place}\n({rival})", ratios))
    rows = list(dict(rows).items())
    return sorted(rows, key=lambda row: -(row[1][-1] or 0))
