"""Asks each peer for each feature of the README's table: `python tools/peers.py`, which is `make peers`.

Writes docs/peers.json: what was seen, and the versions. Tables are written from it by `make readme`. A probe that fails
to run is no ✗: its cell says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

YES, NO, UNKNOWN = "✓", "✗", "?"
PATH = Path(__file__).parents[1] / "docs" / "peers.json"


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PATH, help="(default: docs/peers.json)")
    options = parser.parse_args(args)
    found = document()
    options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(features_table(found), *notes(found), sep="\n")


def document() -> dict[str, Any]:
    """The answers of all peers that are installed."""
    from lineup import PEERS
    from probes import FEATURES

    peers = {peer.name: peer for peer in PEERS if _version(peer.package)}
    rows = [
        {"key": one.key, "title": one.title, "answers": {name: answer(one.probe, peer) for name, peer in peers.items()}}
        for one in FEATURES
    ]
    versions = {name: _version(peer.package) for name, peer in peers.items()}
    where = {"python": platform.python_version(), "torch": _version("torch"), "numpy": _version("numpy")}
    return {"versions": versions | where, "peers": list(peers), "features": rows}


def answer(probe: Any, peer: Any) -> dict[str, str]:
    """What a probe found: a mark, and why where it is no ✓."""
    import numpy as np
    import torch
    from peer import No
    from probes import control

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (which timm draws from)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            control(peer)
            holds, why = probe(peer)
    except No as reason:
        return {"mark": NO, "why": str(reason)}
    except Exception as error:
        return {"mark": UNKNOWN, "why": f"the probe failed: {type(error).__name__}: {error}"}
    return {"mark": YES} if holds else {"mark": NO, "why": why}


def features_table(found: dict[str, Any]) -> str:
    """Markdown: a row a feature, a column a peer with its version; ours ✗ first, then ours ✓."""
    names = found["peers"]
    heads = [f"{name} {found['versions'][name]}" for name in names]
    lines = ["|".join(["", "", *heads, ""]), "|".join(["", "---", *[":-:"] * len(names), ""])]
    for row in sorted(found["features"], key=lambda row: row["answers"][names[0]]["mark"] == YES):
        lines.append("|".join(["", row["title"], *(row["answers"][name]["mark"] for name in names), ""]))
    return "\n".join(line.replace("|", " | ").strip() for line in lines)


def notes(found: dict[str, Any]) -> list[str]:
    """Markdown: what was seen where a mark is no ✓, a line for each."""
    return [
        f"- {row['title']}, {name}: {one['why'].replace('|', '/')}"
        for row in found["features"]
        for name, one in row["answers"].items()
        if one["mark"] != YES
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
