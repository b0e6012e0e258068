"""What is promised, and the latest figures: `python tools/reliability.py docs`, which writes docs/reliability.md.

The figures are those that `make fuzz` and `make mutants` left in docs/reliability. A test holds the page against them.
"""

import json
import sys
from pathlib import Path

#: Promise, the tests that hold it, and the command that runs them.
PROMISES = [
    (
        "Results have the very bits of the formula, for every shape, dtype, stride, alignment, mode and `out`",
        "`tests/*/test_properties*.py`, `tests/core/test_mix.py`, `tests/core/test_overlap.py`, `tests/properties.rs`",
        "`make test`; `make fuzz`",
    ),
    (
        "Every instruction set, thread count and way through a batch gives the same bits",
        "`src/simd/mod.rs`, `src/apply/tests.rs`, `tests/properties.rs`",
        "`make test`; `make fuzz-rust`",
    ),
    ("Values drawn from a key never change", "`tests/core/test_goldens.py`", "`make test`"),
    (
        "A wrong argument is a ValueError or TypeError, and nothing is written",
        "`tests/core/test_errors.py`, `tests/core/test_properties_plans.py`",
        "`make test`; `make fuzz`",
    ),
    (
        "Used before and after fork, nested, and while other threads mix, nothing hangs: 200 forks in each run",
        "`tests/core/test_fork.py`, `tests/torch/test_collate.py`",
        "`make test`",
    ),
    ("rayon's global pool is never touched", "`tests/global_pool.rs`", "`make test`"),
    (
        "Threads that share an input or one `out`, a busy thread beside small batches, Ctrl-C, daemon threads at exit",
        "`tests/core/test_concurrency.py`",
        "`make test`",
    ),
    ("Calls leave no memory, thread or descriptor behind", "`tests/core/test_leaks.py`", "`make test`; `make fuzz`"),
    ("In place needs no second batch; inputs are not copied", "`tests/core/test_memory.py`", "`make test`"),
    ("A panic becomes a RuntimeError, and the pool survives it", "`tests/core/test_panic.py`", "`make test-panic`"),
    (
        "Absurd settings in the environment are answered with a warning",
        "`tests/core/test_environment.py`",
        "`make test`",
    ),
    (
        "No invalid access, no leak in the core",
        "the Rust tests under valgrind, ASan, Miri",
        "`make valgrind asan miri`",
    ),
    ("A change of the core makes a test fail", "[mutants.md](mutants.md)", "`make mutants`"),
    ("A Learner is left as it was found, whatever ends a fit", "`tests/fastai/test_state.py`", "`make test`"),
    ("Dependencies: licences, sources, versions, advisories", "`deny.toml`", "`make audit audit-advisories`"),
    ("The wheel works alone, with the oldest and the newest NumPy", "`tools/check_dist.py`", "`make dist`"),
]


def page(docs):
    fuzz, mutants = (json.loads((docs / "reliability" / f"{name}.json").read_text()) for name in ("fuzz", "mutants"))
    return "\n".join(
        [
            "# Reliability",
            "",
            "What is promised, which tests hold it, and the command that shows it.",
            "",
            *table(["promise", "tests", "command"], PROMISES),
            "",
            "Miri, advisories and wheels of other systems are for the hosted workflows alone (`.github/workflows`).",
            "",
            "## Latest figures",
            "",
            *errors(fuzz),
            "",
            *leaks(fuzz),
            "",
            *killed(mutants),
            "",
        ]
    )


def errors(fuzz):
    versions = ", ".join(f"{name} {version}" for name, version in fuzz["versions"].items())
    run = f"`make fuzz`, seed {fuzz['seed']}, {fuzz['machine']['simd']}, {versions}"
    yield f"{run}: {fuzz['cases']:,} cases, no failure."
    yield f"The largest error found, in {fuzz['unit'].replace('|', chr(92) + '|')}:"
    yield ""
    rows = [(name, f"{e['largest']:.6f}", f"{e['limit']:g}") for name, e in fuzz["largest_error"].items()]
    yield from table(["dtype", "largest error", "limit"], rows)


def leaks(fuzz):
    most = max(fuzz["leaks"].values(), key=lambda leak: leak["bytes_per_call"])
    calls = sum(leak["calls"] for leak in fuzz["leaks"].values())
    yield (
        f"{calls:,} calls of {len(fuzz['leaks'])} kinds, failing ones among them: {most['bytes_per_call']} bytes a "
        "call at the most (the pages an allocator takes now and then), no thread and no descriptor."
    )


def killed(mutants):
    files = mutants["files"].values()
    viable = sum(file["mutants"] - file["unviable"] for file in files)
    found = sum(file["caught"] + file["timeout"] for file in files)
    yield (
        f"`make mutants`, {mutants['date']}: {found} of {viable} changes that compile make a test fail, "
        f"{found / viable:.1%}; the others are in [mutants.md](mutants.md), with the reason."
    )


def table(headings, rows):
    return [f"| {' | '.join(row)} |" for row in [headings, ["---"] * len(headings), *rows]]


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    (docs / "reliability.md").write_text(page(docs), encoding="utf-8")
