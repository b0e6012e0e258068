"""The ratios that this library promises to reach: `mixup-rs bench --check`.

Each is computed from the results of one processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

from mixup_rs.bench.contender import (
    COLD,
    FASTAI,
    INPLACE,
    MIX_COLLATE,
    NEW,
    NORMALISED,
    NUMPY,
    RUST_MIXUP,
    TIMM_COLLATE,
    TORCH_RECIPE,
    UNMIXED,
    UNMIXED_FLOATS,
    WARM,
    drop_in,
)
from mixup_rs.bench.regions import RECIPE
from mixup_rs.bench.results import Results, size_text, threads_text

__all__ = ["Check", "all_checks", "check_all"]

#: Below the size that wakes a second thread, one and two threads run the same code: what differs is noise.
_NOISE = 1.05
#: The number of figures of a check that are printed, the worst first.
_FIGURES_SHOWN = 4


@dataclass
class Check:
    """A target: every figure is at most `bound`, or at least `bound`.

    Parameters
    ----------
    item : int or str
        The number of the target: 1, 2, ... for batches, "L1", "L2", ... for the DataLoader.
    text : str
        The ratio in words.
    bound : float
        The bound.
    figures : dict of str to float or None
        The figures by place; None where it was not measured.
    at_least : bool
        Whether `bound` is a lower bound.
    """

    item: int | str
    text: str
    bound: float
    figures: dict[str, float | None]
    at_least: bool = False

    @property
    def measured(self) -> dict[str, float]:
        """The figures that were measured."""
        return {where: figure for where, figure in self.figures.items() if figure is not None}

    @property
    def reached(self) -> bool | None:
        """Whether all figures keep the bound; None if there are none."""
        if not self.measured:
            return None
        return all(figure >= self.bound if self.at_least else figure <= self.bound for figure in self.measured.values())

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = {True: "reached", False: "NOT REACHED", None: "not measured"}[self.reached]
        shown = sorted(self.measured.items(), key=lambda item: item[1], reverse=not self.at_least)
        figures = ", ".join(f"{figure:.2f} ({where})" for where, figure in shown[:_FIGURES_SHOWN])
        more = f", and {len(shown) - _FIGURES_SHOWN} better" if len(shown) > _FIGURES_SHOWN else ""
        return f"{self.item:>2}. {verdict:12} {self.text} {sign} {self.bound:g}: {figures}{more}".rstrip(": ")


def check_all(every: Sequence[Results]) -> int:
    """Print every check of the results of each processor.

    Parameters
    ----------
    every : sequence of Results
        The results, one a processor.

    Returns
    -------
    int
        The exit status: 1 if a ratio is not reached.
    """
    reached = True
    for results in every:
        checks = list(all_checks(results))
        print(f"{results.processor}:", *checks, "", sep="\n")
        reached &= all(check.reached is not False for check in checks)
    return int(not reached)


#: Batches that no cache holds, and those that a third-level cache holds, of float32; and those of smaller elements.
_MEMORY, _CACHE, _SMALL = ["f32", "f32-512"], ["f32-8", "sweep-1048576", "sweep-16777216"], ["f16", "bf16", "u8"]


def all_checks(results: Results) -> Iterator[Check]:
    """All targets, in the order of their numbers."""
    every = results.threads
    for cases, where, bound in ((_MEMORY, "memory", 1.1), (_CACHE, "cache", 1.4), (_SMALL, "f16, bf16, u8", 1.5)):
        yield Check(1, f"{where}: in place / scaling", bound, _to_limit(results, cases, INPLACE, "scale"))
    yield from _against_peers(results)
    yield Check(3, "NumPy / first result, cold", 2, _ratios(results, "f32", NUMPY, COLD, every), at_least=True)
    for threads, bound in _first_and_last(results, 6, 10):
        figures = _ratios(results, "u8", TIMM_COLLATE, INPLACE, threads)
        yield Check(4, "u8: timm's FastCollateMixup / in place", bound, figures, at_least=True)
    for dtype, bound in (("f16", 1), ("bf16", 1), ("f64", 2.1)):
        yield Check(5, f"{dtype} / f32", bound, _between_cases(results, dtype, "f32"))
    yield Check(6, "tiny: NumPy / new result", 3, _ratios(results, "tiny", NUMPY, NEW, every), at_least=True)
    figures = _ratios(results, "tiny", FASTAI, RUST_MIXUP, every)
    yield Check(6, "tiny: fastai's before_batch / RustMixUp's", 6, figures, at_least=True)
    for call in (NEW, WARM):
        for cases, where, bound in ((_MEMORY, "memory", 1.15), (_CACHE, "cache", 1.5)):
            yield Check(7, f"{where}: {call} / copying", bound, _to_limit(results, cases, call, "copy"))
    figures = {
        f"{case['name']}, {where}": figure
        for case in results.cases()
        for where, figure in _ratios(results, case["name"], NEW, WARM, every).items()
    }
    yield Check(7, "new result / warm out", 1.05, figures)
    for threads, bound in _first_and_last(results, 2.0, 2.2):
        figures = _to_limit(results, ["rows"], INPLACE, "scale", threads)
        yield Check(7, "(16384, 256) in place / scaling", bound, figures)
    figures = {
        f"{peer}, {threads_text(threads)}": results.ratio("rows", peer, threads)
        for peer in results.contenders("rows", "peer")
        for threads in every
    }
    yield Check(7, "(16384, 256): every peer / ours", 1.5, figures, at_least=True)
    for layout, bound in (("channels-last", 1.05), ("fortran", 4)):
        figures = {
            f"{call}, {where}": figure
            for call in (INPLACE, NEW)
            for where, figure in _ratios(results, layout, call, f"{call}, C order", every).items()
        }
        yield Check(8, f"{layout} / C order", bound, figures)
    memory = {threads_text(m["threads"]): m["extra_mib"] / m["threads"] for m in results.document["memory"]}
    yield Check(9, "peak extra MiB of a call in place, a thread", 1, memory)
    yield Check(10, "most threads / one, any case", _NOISE, _threads_gain(results))
    yield Check(11, "any size / what its neighbours predict", 1.15, _steps(results))
    yield from _of_the_loader(results)
    yield from _of_drop_ins(results)
    yield from _of_regions(results)


def _of_the_loader(results: Results) -> Iterator[Check]:
    every, case = results.threads, "loader-collate"
    yield Check("L1", "MixCollate / default_collate", 1.3, _ratios(results, case, MIX_COLLATE, UNMIXED, every))
    figures = _ratios(results, case, TIMM_COLLATE, MIX_COLLATE, [1] if 1 in every else [])
    yield Check("L1", "timm's FastCollateMixup / MixCollate", 7, figures, at_least=True)
    figures = _ratios(results, case, TORCH_RECIPE, NORMALISED, every)
    yield Check("L2", "torch recipe / MixCollate, normalised", 15, figures, at_least=True)
    for ours, limit, workers, bound in (
        (MIX_COLLATE, UNMIXED, [0, 1, 2], 0.97),
        (NORMALISED, UNMIXED_FLOATS, [1, 2], 0.95),
    ):
        figures = {
            case["title"].removeprefix("DataLoader of "): _speed(results, case["name"], ours, limit)
            for case in results.epochs()
            if case["workers"] in workers
        }
        yield Check("L3", f"images a second: {ours} / {limit}", bound, figures, at_least=True)


def _of_drop_ins(results: Results) -> Iterator[Check]:
    """The classes of timm and torchvision, and our subclasses of them."""
    for number, (case, peer, bound) in enumerate(
        [
            ("f32", "timm Mixup (batch)", 12),
            ("f32", "timm Mixup (elem)", 12),
            ("f32", "timm Mixup (elem, both kinds)", 8),
            ("loader-collate", TIMM_COLLATE, 6),
            ("f32", "torchvision MixUp", 8),
            ("f32", "torchvision CutMix", 8),
        ],
        start=1,
    ):
        figures = _ratios(results, case, peer, drop_in(peer), results.threads)
        yield Check(f"D{number}", f"{peer} / {drop_in(peer)}", bound, figures, at_least=True)


def _of_regions(results: Results) -> Iterator[Check]:
    """Rules with regions, and what others mix by them."""
    for number, (peer, bound) in enumerate(
        [(RECIPE, 5), ("mixup CutMix", 8), ("mixup FMix", 8), ("mixup ResizeMix", 8)], start=1
    ):
        figures = _ratios(results, "f32", peer, drop_in(peer), results.threads)
        yield Check(f"R{number}", f"{peer} / {drop_in(peer)}", bound, figures, at_least=True)
    figures = _ratios(results, "f32", "mixup VanillaMixUp", NEW, results.threads)
    yield Check("R5", "mixup VanillaMixUp / new result", 8, figures, at_least=True)


def _against_peers(results: Results) -> Iterator[Check]:
    every = results.threads
    yield Check(2, "fastai / in place", 14, _ratios(results, "f32", FASTAI, INPLACE, every), at_least=True)
    yield Check(2, "fastai / new result", 8, _ratios(results, "f32", FASTAI, NEW, every), at_least=True)
    for threads, bound in _first_and_last(results, 5, 6.5):
        figures = _ratios(results, "f32", NUMPY, NEW, threads)
        yield Check(2, "NumPy / new result", bound, figures, at_least=True)
    for library in ("numba", "torch.compile", "jax.jit", "cv2"):
        figures = {
            f"{case['name']}, {peer.removeprefix(library).lstrip(' ,.')}, {threads_text(threads)}": results.ratio(
                case["name"], peer, threads
            )
            for case in results.cases()
            for peer in results.contenders(case["name"], "peer")
            if peer.startswith(library)
            for threads in every
        }
        yield Check(2, f"{library} / new result, in every case", 1, figures, at_least=True)


def _first_and_last(results: Results, one: float, more: float) -> list[tuple[list[int], float]]:
    """The bounds for one thread, and for the greatest number of threads that was measured."""
    most = max(results.threads)
    return [([1] if 1 in results.threads else [], one), ([most] if most > 1 else [], more)]


def _ratios(results: Results, case: str, contender: str, to: str, threads: list[int]) -> dict[str, float | None]:
    return {threads_text(count): results.ratio(case, contender, count, to) for count in threads}


def _to_limit(
    results: Results, cases: list[str], call: str, limit: str, threads: list[int] | None = None
) -> dict[str, float | None]:
    figures = {}
    for case in cases:
        for count in results.threads if threads is None else threads:
            own, least = results.ms(case, call, count), results.limit(case, count, limit)
            figures[f"{case}, {threads_text(count)}"] = own / least if own and least else None
    return figures


def _speed(results: Results, case: str, contender: str, to: str) -> float | None:
    own, other = (results.images_per_second(case, name) for name in (contender, to))
    return own / other if own and other else None


def _between_cases(results: Results, case: str, other: str) -> dict[str, float | None]:
    figures = {}
    for call in (INPLACE, NEW):
        for threads in results.threads:
            own, base = results.ms(case, call, threads), results.ms(other, call, threads)
            figures[f"{call}, {threads_text(threads)}"] = own / base if own and base else None
    return figures


def _threads_gain(results: Results) -> dict[str, float | None]:
    most = max(results.threads)
    figures = {}
    for case in [*results.cases(), *results.cases(sweep=True)] if most > 1 else []:
        for call in (INPLACE, NEW):
            one, more = results.ms(case["name"], call, 1), results.ms(case["name"], call, most)
            figures[f"{call}, {size_text(case['bytes'])}"] = more / one if one and more else None
    return figures


def _steps(results: Results) -> dict[str, float | None]:
    """The time of each size of the sweep, divided by what the sizes beside it predict: a line between logarithms."""
    sweep = sorted(results.cases(sweep=True), key=lambda case: case["bytes"])
    figures = {}
    for call in (INPLACE, NEW):
        for threads in results.threads:
            for cases in zip(sweep, sweep[1:], sweep[2:], strict=False):
                below, here, above = (results.ms(case["name"], call, threads) for case in cases)
                low, size, high = (log(case["bytes"]) for case in cases)
                part = (size - low) / (high - low)
                where = f"{call}, {size_text(cases[1]['bytes'])}, {threads_text(threads)}"
                figures[where] = here / (below ** (1 - part) * above**part) if below and here and above else None
    return figures
