"""The long run of the property and leak tests: `python tools/fuzz.py docs/reliability/fuzz.json`.

Prints progress and, of a failure, what reproduces it. Writes the number of cases, the largest error of each element
type and the bytes that calls left behind; nothing where a test failed.
"""

import argparse
import json
import os
import platform
import secrets
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--cases", type=int, default=13_000, help="for each property")
    parser.add_argument("--calls", type=int, default=100_000, help="of each function, to see what they leave behind")
    return parser.parse_args()


def main():
    given = arguments()
    # Read when the tests are imported.
    os.environ |= {"MIXUP_RS_FUZZ_CASES": str(given.cases), "MIXUP_RS_LEAK_CALLS": str(given.calls)}
    sys.path.insert(0, str(TESTS / "support"))
    import pytest
    import tally

    # pytest keeps what tests print.
    tally.progress = os.fdopen(os.dup(2), "w")
    print(f"seed {given.seed}", flush=True)
    profile = ["--hypothesis-profile=fuzz", f"--hypothesis-seed={given.seed}", "-p", "no:cacheprovider", "-q"]
    tests = [*TESTS.glob("*/test_properties*.py"), TESTS / "core" / "test_leaks.py"]
    status = pytest.main([*map(str, sorted(tests)), *profile])
    if status:
        sys.exit(f"failed; reproduce with: make fuzz FUZZ='--seed {given.seed} --cases {given.cases}'")

    import model
    import numpy

    import mixup_rs

    report = tally.report()
    limits = {name: {"largest": report["largest_error"][name], "limit": limit} for name, limit in model.LIMITS.items()}
    report |= {
        "largest_error": limits,
        "unit": "floats: units in the last place of max(|own|, |partner|); integers: 1",
        "seed": given.seed,
        "machine": {"processor": platform.machine(), "system": platform.system(), "simd": mixup_rs._core.SIMD_LEVEL},
        "versions": {"mixup-rs": mixup_rs.__version__, "numpy": numpy.__version__, "python": platform.python_version()},
    }
    given.report.parent.mkdir(parents=True, exist_ok=True)
    given.report.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report["largest_error"], indent=2), f"{report['cases']} cases: {given.report}", sep="\n")


if __name__ == "__main__":
    main()
