"""Writes the docstrings of the compiled module, but for examples, into its stubs, where editors show them:
`python tools/stubs.py`.

With --check it writes nothing and fails if they differ.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixup_rs import _core

STUBS = Path(__file__).parents[1] / "python" / "mixup_rs" / "_core.pyi"


def documented(source: str) -> str:
    """The stubs with the docstrings of the module."""
    lines, tree = source.splitlines(), ast.parse(source)
    seen: set[str] = set()
    edits: list[tuple[int, int, list[str]]] = []
    for name, node in _definitions(tree):
        # The stubs name what is passed and returned; `help` shows examples.
        doc = (inspect.getdoc(_found(name)) or "").split("\n\nExamples\n---")[0]
        if name.startswith("_") or name.rsplit(".")[-1].startswith("_") or not doc:
            continue
        if name in seen:  # an overload
            continue
        seen.add(name)
        indent = " " * (node.col_offset + 4)
        text = textwrap.indent(f'"""{doc}\n"""' if "\n" in doc else f'"""{doc}"""', indent).splitlines()
        text = [line.rstrip() for line in text]
        first = node.body[0]
        has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        if has_doc and isinstance(first.value.value, str):  # type: ignore[attr-defined]
            edits.append((first.lineno - 1, first.end_lineno or first.lineno, text))
        elif has_doc:  # an ellipsis on the line of the signature
            line = lines[first.lineno - 1]
            edits.append((first.lineno - 1, first.lineno, [line[: first.col_offset].rstrip(), *text]))
        else:
            edits.append((first.lineno - 1, first.lineno - 1, text))
    for start, end, text in sorted(edits, reverse=True):
        lines[start:end] = text
    return "\n".join(lines) + "\n"


def _definitions(tree: ast.Module) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append((node.name, node))
        if isinstance(node, ast.ClassDef):
            found += [(f"{node.name}.{item.name}", item) for item in node.body if isinstance(item, ast.FunctionDef)]
    return found


def _found(name: str) -> Any:
    value: Any = _core
    for part in name.split("."):
        value = inspect.getattr_static(value, part, None) if inspect.isclass(value) else getattr(value, part, None)
    return value.__func__ if isinstance(value, staticmethod) else value


def main(args: Sequence[str] | None = None) -> int:
    """Writes or checks the stubs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if they differ")
    source = STUBS.read_text(encoding="utf-8")
    expected = documented(source)
    if not parser.parse_args(args).check:
        STUBS.write_text(expected, encoding="utf-8")
    elif source != expected:
        print("the stubs have other docstrings than the module: python tools/stubs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
