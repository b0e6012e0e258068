"""Documents such as `mixup-rs bench` writes, with times of one's choice."""

from mixup_rs.bench import cases
from mixup_rs.bench.contender import COLD, FASTAI, INPLACE, NEW, NUMPY, RUST_MIXUP
from mixup_rs.bench.ray import RAY
from mixup_rs.bench.results import FORMAT, case_record


def document_of(times=(), threads=(1, 2), memory=(), skipped=(), processor="A Processor 5"):
    """A document with `times`: (case, contender, kind, rival, milliseconds at each number of threads)."""
    known = {case.name: case for case in [*cases.CASES, *RAY]}
    records = [
        {
            "case": case,
            "contender": contender,
            "kind": kind,
            "rival": rival,
            "threads": count,
            "median_ms": ms,
            "min_ms": ms / 2,
            "max_ms": ms * 2,
            "rounds": 9,
        }
        for case, contender, kind, rival, milliseconds in times
        for count, ms in zip(threads, milliseconds, strict=True)
        if ms is not None
    ]
    return {
        "format": FORMAT,
        "date": "2025-01-31",
        "command": "mixup-rs bench",
        "seconds": 1,
        "machine": {
            "processor": processor,
            "cpu": "A CPU",
            "cores": 2,
            "memory_gib": 7.5,
            "system": "Linux x86_64",
            "simd": "avx2",
        },
        "versions": {"mixup-rs": "1.2.3", "python": "3.11.7", "numpy": "2.4.6"},
        "threads": list(threads),
        "memory": list(memory),
        "cases": [case_record(known[name]) for name in dict.fromkeys(record["case"] for record in records)],
        "results": records,
        "skipped": list(skipped),
    }


MAIN_TIMES = [
    ("f32", INPLACE, "ours", "", (4, 2)),
    ("f32", NEW, "ours", "", (6, 4)),
    ("f32", COLD, "ours", "", (10, 8)),
    ("f32", "scale (numpy)", "limit", INPLACE, (4, 4)),
    ("f32", "scale (torch)", "limit", INPLACE, (5, 1.6)),
    ("f32", NUMPY, "peer", NEW, (36, 30)),
    ("f32", FASTAI, "peer", RUST_MIXUP, (64, 36)),
    ("f32", RUST_MIXUP, "ours", "", (6, 4)),
    ("f32", "numba loop, warm out", "peer", NEW, (9, 3.2)),
]
