"""What a run has tried and found: the number of cases and the largest errors. `tools/fuzz.py` writes it down."""

import time
from collections import Counter

cases = Counter()
errors = {}
leaks = {}
#: Where to tell of progress, every so many cases.
progress, every = None, 5_000
_started = time.monotonic()


def case(subject):
    cases[subject] += 1
    total = cases.total()
    if progress and total % every == 0:
        seconds = time.monotonic() - _started
        print(f"{total} cases in {seconds:.0f} s; {subject}: {cases[subject]}", file=progress, flush=True)


def error(dtype, units):
    name = dtype.name
    errors[name] = max(errors.get(name, 0.0), units)


def report():
    return {"cases": cases.total(), "cases_by_subject": dict(cases), "largest_error": errors, "leaks": leaks}
