"""The results of a run: one JSON document, and queries of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mixup_rs.bench.cases import CASES, Case, LoaderCase
from mixup_rs.bench.processor import slug
from mixup_rs.bench.ray import RayCase

__all__ = ["FORMAT", "Results", "case_record", "size_text", "threads_text"]

#: The version of the document's format, raised when older documents cannot be read any more.
FORMAT = 2


def case_record(case: Case) -> dict[str, Any]:
    """The entry of a case in the JSON document."""
    fields = asdict(case)
    record = {name: fields[name] for name in ("name", "dtype", "layout")}
    if isinstance(case, RayCase):
        record["samples"] = case.samples
    if isinstance(case, LoaderCase) and case.workers is not None:
        record |= {"workers": case.workers, "samples": case.samples, "source": case.source}
    return record | {"title": case.title, "shape": list(case.shape), "bytes": case.bytes}


def threads_text(threads: int) -> str:
    """A number of threads in words."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def size_text(size: int) -> str:
    """A number of bytes with its unit."""
    unit, name = next(pair for pair in ((10**6, "MB"), (10**3, "KB"), (1, "bytes")) if size >= pair[0])
    return f"{size / unit:.3g} {name}"


class Results:
    """The results of a run.

    Parameters
    ----------
    document : dict
        The JSON document: format, date, command, seconds, machine, versions, threads, cases, results, skipped, memory.

    Raises
    ------
    ValueError
        If the document has another format.
    """

    def __init__(self, document: dict[str, Any]):
        if document.get("format") != FORMAT:
            raise ValueError(f"expected results of format {FORMAT}, got {document.get('format')!r}")
        self.document = document
        self.threads: list[int] = document["threads"]
        self._records = {(r["case"], r["contender"], r["threads"]): r for r in document["results"]}
        self._cases = {case["name"]: case for case in document["cases"]}

    @property
    def processor(self) -> str:
        """The name of the processor."""
        return self.document["machine"]["processor"]

    @property
    def slug(self) -> str:
        """The name of the processor, for files."""
        return slug(self.processor)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a document from a file."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def read_all(cls, folder: Path) -> list[Results]:
        """Read the documents of a folder, one a processor. Raises ValueError if there are none."""
        found = [cls.read(path) for path in sorted(folder.glob("*.json"))]
        if not found:
            raise ValueError(f"expected a folder with results of mixup-rs bench, got {folder}")
        return found

    def write(self, folder: Path) -> Path:
        """Write the document to the processor's file in a folder, which is made; return the path of the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.slug}.json"
        path.write_text(json.dumps(self.document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def added(self, more: Results) -> Results:
        """These results with the cases of another run, which replace those of the same names.

        Raises
        ------
        ValueError
            If the other run was on another machine, with other versions or other numbers of threads.
        """
        old, new = self.document, more.document
        for key in ("machine", "versions", "threads"):
            if old[key] != new[key]:
                raise ValueError(f"expected results of the same {key}, got {new[key]} beside {old[key]}")
        replaced = {case[name] for case in new["cases"] for name in ("name", "title")}
        together = {
            key: [entry for entry in old[key] if entry[name] not in replaced] + new[key]
            for key, name in (("cases", "name"), ("results", "case"), ("skipped", "case"))
        }
        order = [case.name for case in CASES]
        together["cases"].sort(key=lambda case: order.index(case["name"]) if case["name"] in order else len(order))
        skipped = together["skipped"]
        together["skipped"] = [entry for k, entry in enumerate(skipped) if entry not in skipped[:k]]
        command = " && ".join(dict.fromkeys([*old["command"].split(" && "), new["command"]]))
        seconds, memory = old["seconds"] + new["seconds"], new["memory"] or old["memory"]
        return Results(new | together | {"command": command, "seconds": seconds, "memory": memory})

    def cases(self, sweep: bool = False) -> list[dict[str, Any]]:
        """The measured cases of batches: those of the sweep over sizes, or the others."""
        batches = [case for case in self._cases.values() if not case["name"].startswith(("loader-", "ray"))]
        return [case for case in batches if case["name"].startswith("sweep-") == sweep]

    def collates(self) -> list[dict[str, Any]]:
        """The measured cases of collates alone, measured at every number of threads."""
        loader = [case for case in self._cases.values() if case["name"].startswith("loader-")]
        return [case for case in loader if "workers" not in case]

    def epochs(self) -> list[dict[str, Any]]:
        """The measured cases of a DataLoader, measured at the greatest number of threads, in milliseconds an epoch."""
        return [case for case in self._cases.values() if "workers" in case]

    def of_ray(self) -> list[dict[str, Any]]:
        """The measured cases of Ray Data, measured with as many tasks as threads, in milliseconds an epoch."""
        return [case for case in self._cases.values() if case["name"] == "ray"]

    def images_per_second(
        self, case: str, contender: str, which: str = "median_ms", threads: int | None = None
    ) -> float | None:
        """Images a second, from "median_ms", "min_ms" (the greatest speed) or "max_ms" of an epoch.

        Without `threads` it is that of the greatest number of them.
        """
        record = self.record(case, contender, threads or max(self.threads))
        return None if record is None else self._cases[case]["samples"] / record[which] * 1000

    def contenders(self, case: str, kind: str | None = None) -> list[str]:
        """The names of the contenders of a case, in the order in which they were measured."""
        names = (r["contender"] for r in self._records.values() if r["case"] == case and kind in (None, r["kind"]))
        return list(dict.fromkeys(names))

    def record(self, case: str, contender: str, threads: int) -> dict[str, Any] | None:
        """The record of a contender, or None if it was not measured."""
        return self._records.get((case, contender, threads))

    def ms(self, case: str, contender: str, threads: int) -> float | None:
        """The median time in milliseconds, or None."""
        record = self.record(case, contender, threads)
        return None if record is None else record["median_ms"]

    def limit(self, case: str, threads: int, which: str = "scale") -> float | None:
        """The least median of all libraries for a pass, "scale" or "copy"."""
        names = [name for name in self.contenders(case, "limit") if name.startswith(which)]
        return min((ms for name in names if (ms := self.ms(case, name, threads)) is not None), default=None)

    def ratio(self, case: str, contender: str, threads: int, to: str | None = None) -> float | None:
        """The contender's time divided by that of `to`, by default its rival of mixup-rs."""
        record = self.record(case, contender, threads)
        rival: str = record["rival"] if record else ""
        own, other = self.ms(case, contender, threads), self.ms(case, to or rival, threads)
        return None if own is None or not other else own / other

    def losses(self) -> Iterator[tuple[dict[str, Any], str, int, float]]:
        """Yield (case, peer, threads, speed-up of the peer) where a peer is faster than its rival of mixup-rs."""
        for case in self._cases.values():
            for peer in self.contenders(case["name"], "peer"):
                for threads in self.threads:
                    ratio = self.ratio(case["name"], peer, threads)
                    if ratio is not None and ratio < 1:
                        yield case, peer, threads, 1 / ratio
