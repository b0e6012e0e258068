"""The code that the pages of docs/ show, block after block, as a reader would run it.

A page is tested beside the framework that its code imports: `test_pages.py` of each folder runs `pages(folder)`.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: What a folder of tests may import, which those before it may not; a page belongs to the first that has all it needs.
HAS = {
    "core": {"numpy", "mixup_rs"},
    "plot": {"matplotlib", "sklearn", "scipy"},
    "torch": {"torch", "mixup_rs.torch"},
    "fastai": {"fastai", "mixup_rs.fastai", "mixup_rs.plot"},
    "adapters": None,
}
#: The callbacks, which the package itself hands on, and the module of each.
CALLBACKS = re.compile(r"\bRust\w+")


def blocks(path):
    """The blocks of Python on a page, those in comments, which prepare what the reader has already, among them."""
    text = path.read_text(encoding="utf-8")
    return re.findall(r"^(?:```python|<!-- python)\n(.*?)^(?:```|-->)$", text, re.M | re.S)


#: An expression on a line, and the value that its comment says it has.
RESULT = re.compile(r"^(\S.*?)  # (.+)$", re.M)


def results(code):
    """The expressions of code that say what they give, each with that value."""
    for expression, said in RESULT.findall(code):
        try:
            value = ast.literal_eval(said)
            compile(expression, "", "eval")
        except (ValueError, SyntaxError):
            continue
        yield expression, value


def check(code, names):
    """The results that code says it gives are those that it gives."""
    for expression, value in results(code):
        got = eval(expression, names)
        assert got == value, f"{expression} gives {got}, the page says {value}"


def imported(code):
    """What code imports: a library, or a module of the package."""
    names = re.findall(r"^\s*(?:from|import) ([\w.]+)", code, re.M)
    found = {".".join(name.split(".")[: 1 + name.startswith("mixup_rs")]) for name in names}
    return found | ({"mixup_rs.fastai"} if CALLBACKS.search(code) else set())


def folder_of(path):
    """The folder of tests that has what a page imports; None for a page without code."""
    code = blocks(path)
    needed = set().union(*map(imported, code)) - sys.stdlib_module_names
    for folder, has in HAS.items():
        needed -= has or needed
        if code and not needed:
            return folder
    return None


def pages(folder):
    """The pages whose code is tested in this folder."""
    return [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md")) if folder_of(path) == folder]


def run(page):
    """Runs what a page shows, and returns its names."""
    path = DOCS / page
    names = {"__name__": "__main__"}
    for code in blocks(path):
        # The lines of the page, so that a traceback leads there.
        start = path.read_text(encoding="utf-8").split(code)[0].count("\n")
        exec(compile("\n" * start + code, str(path), "exec"), names)
        check(code, names)
    return names
