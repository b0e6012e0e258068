"""What became of the mutants: `python tools/mutants.py docs target/mutants.out/outcomes.json...`.

Writes docs/reliability/mutants.json and the table of docs/mutants.md. Fails for a mutant that no test saw and that
docs/mutants.md does not name, without its line, together with the reason why.
"""

import json
import re
import sys
from pathlib import Path

COUNTS = {"Unviable": "unviable", "CaughtMutant": "caught", "Timeout": "timeout"}


def tally(runs):
    """Of mutants that were tried in several runs, what became of them in the last."""
    outcomes = [outcome for run in runs for outcome in run["outcomes"] if outcome["scenario"] != "Baseline"]
    last = {outcome["scenario"]["Mutant"]["name"]: outcome for outcome in outcomes}
    files = {}
    for name, outcome in sorted(last.items()):
        none = {"mutants": 0, "unviable": 0, "caught": 0, "timeout": 0, "missed": []}
        file = files.setdefault(outcome["scenario"]["Mutant"]["file"], none)
        file["mutants"] += 1
        if outcome["summary"] == "MissedMutant":
            file["missed"].append(name)
        else:
            file[COUNTS[outcome["summary"]]] += 1
    return {"files": dict(sorted(files.items())), "date": max(run["end_time"] for run in runs)[:10]}


def table(files):
    lines = [
        "| file | mutants | do not compile | a test fails | never end | listed below |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    sums = [0] * 5
    for name, file in files.items():
        counts = [file["mutants"], file["unviable"], file["caught"], file["timeout"], len(file["missed"])]
        sums = [total + count for total, count in zip(sums, counts, strict=True)]
        lines.append(f"| `{name}` | {' | '.join(map(str, counts))} |")
    return "\n".join([*lines, f"| all | {' | '.join(map(str, sums))} |"])


def main():
    docs, *outcomes = map(Path, sys.argv[1:])
    report = tally([json.loads(path.read_text()) for path in outcomes])
    (docs / "reliability").mkdir(exist_ok=True)
    (docs / "reliability" / "mutants.json").write_text(json.dumps(report, indent=1) + "\n")
    page = docs / "mutants.md"
    text = re.sub(r"(?m)(^\|.*\n)+", table(report["files"]).replace("\\", r"\\") + "\n", page.read_text(), count=1)
    page.write_text(text)
    missed = [name for file in report["files"].values() for name in file["missed"]]
    unlisted = [name for name in missed if re.sub(r":\d+:\d+:", ":", name) not in text]
    if unlisted:
        sys.exit("\n".join(["neither seen by a test nor listed in docs/mutants.md:", *unlisted]))


if __name__ == "__main__":
    main()
