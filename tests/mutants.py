"""Counts what became of the mutants, file by file: python tests/mutants.py TALLY OUTCOMES..."""

import collections
import json
import pathlib
import sys

SUMMARIES = {"Unviable": "unviable", "CaughtMutant": "caught", "Timeout": "timeout", "MissedMutant": "missed"}


def tally(runs: list[dict]) -> dict:
    """Of mutants that were tried in several runs, what became of them in the last."""
    became = {
        outcome["scenario"]["Mutant"]["name"]: (outcome["scenario"]["Mutant"]["file"], SUMMARIES[outcome["summary"]])
        for run in runs
        for outcome in run["outcomes"]
        if outcome["scenario"] != "Baseline"
    }
    files: dict[str, dict] = collections.defaultdict(
        lambda: {"mutants": 0, "unviable": 0, "caught": 0, "timeout": 0, "missed": []}
    )
    for name, (file, summary) in sorted(became.items()):
        files[file]["mutants"] += 1
        if summary == "missed":
            files[file]["missed"].append(name)
        else:
            files[file][summary] += 1
    return {"files": dict(sorted(files.items())), "date": max(run["start_time"] for run in runs)[:10]}


if __name__ == "__main__":
    tally_path, *outcomes = map(pathlib.Path, sys.argv[1:])
    runs = [json.loads(path.read_text()) for path in outcomes]
    tally_path.write_text(json.dumps(tally(runs), indent=1) + "\n")
