"""Which file of the package imports which, read from the source: of Rust and of Python."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def circles(graph):
    """Sets of names that all lead to each other: none in a graph {name: names} without circles."""

    def reached(name):
        found, new = set(), {name}
        while new:
            new = {other for one in new for other in graph.get(one, ())} - found
            found |= new
        return found

    reach = {name: reached(name) for name in graph}
    together = {
        frozenset(other for other in graph if name in reach[other] and other in reach[name])
        for name in graph
        if name in reach[name]
    }
    return sorted(map(sorted, together))


def grouped(graph, group):
    """The graph of the groups that names are in, without what is within one."""
    result = {}
    for name, imported in graph.items():
        result.setdefault(group(name), set()).update(group(other) for other in imported)
    return {name: imported - {name} for name, imported in result.items()}


# --- Rust ---

_TOKENS = re.compile(
    r"""(?P<comment> //[^\n]* | /\*.*?\*/ )
      | (?P<text> b?"(?:\\.|[^"\\])*" | r(\#*)".*?"\3 | b?'(?:\\.[^']*|[^'\\])' )""",
    re.VERBOSE | re.DOTALL,
)
_TEST = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]\s*(?:#\[[^\]]*\]\s*)*")
_USE = re.compile(
    r"(?P<export>\#\[pymodule_export\]\s*)?(?P<attributes>(?:\#\[[^\]]*\]\s*)*)"
    r"(?P<public>pub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);"
)
_MOD = re.compile(r"\bmod\s+(\w+)\s*;")
_PATH = re.compile(r"(?<![\w:])(?:crate|self|(?:super::)*super)(?:::\w+)+")


def without_comments_and_tests(text):
    """The code that is compiled into the library: no comments, no string contents, nothing under #[cfg(test)]."""
    text = _TOKENS.sub(lambda match: " " if match["comment"] else '""', text)
    while match := _TEST.search(text):
        end, depth = match.end(), 0
        while True:
            depth += (text[end] in "{([") - (text[end] in "})]")
            end += 1
            if depth == 0 and text[end - 1] in ";}":
                break
        text = text[: match.start()] + text[end:]
    return text


def expanded(tree):
    """The paths of a use tree, and names: of a::{b, c::{d, self}, e as f} a::b, a::c::d, a::c, and a::e, named f."""
    before, brace, rest = tree.strip().partition("{")
    if not brace:
        path, _, alias = re.sub(r"\s+as\s+", "=", tree.strip()).partition("=")
        return [(path, alias or path.split("::")[-1])]
    parts, depth, start, inner = [], 0, 0, rest.rstrip().removesuffix("}")
    for at, sign in enumerate(inner):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth == 0:
            parts.append(inner[start:at])
            start = at + 1
    parts.append(inner[start:])
    paths = [path for part in parts if part.strip() for path in expanded(part)]
    prefix = re.sub(r"\s+", "", before)
    named_self = prefix.removesuffix("::")
    return [
        (named_self, named_self.split("::")[-1]) if path == "self" else (prefix + path, alias) for path, alias in paths
    ]


class Rust:
    """The modules of a crate, a file each: `crate::plan::region` is plan/region.rs."""

    def __init__(self, source):
        self.files = {}
        for path in sorted(source.rglob("*.rs")):
            parts = path.relative_to(source).with_suffix("").parts
            name = parts if parts[-1] not in ("mod", "lib") else parts[:-1]
            self.files[name] = path
        raw = {name: path.read_text(encoding="utf-8") for name, path in self.files.items()}
        self.code = {name: without_comments_and_tests(text) for name, text in raw.items()}
        # A file that is declared for tests alone.
        declared = {()} | {(*name, child) for name, code in self.code.items() for child in _MOD.findall(code)}
        for name in set(self.files) - declared:
            del self.files[name], self.code[name]
        self.exports = {name: self._exports(name) for name in self.files}

    def _uses(self, name):
        """(path from the crate's root, its name here, whether it is handed on alone), of each use."""
        for use in _USE.finditer(self.code[name]):
            handed_on = bool(use["public"] or use["export"] or "pymodule_export" in use["attributes"])
            for path, alias in expanded(use["tree"]):
                if absolute := self._absolute(name, path, self._within_inline_module(name, use.start())):
                    yield absolute, alias, handed_on

    def _within_inline_module(self, name, at):
        """How many `mod x { … }` of the file itself this place is in: there `super` is one of them."""
        depth = 0
        for module in re.finditer(r"\bmod\s+\w+\s*\{", self.code[name]):
            opened, end = 1, module.end()
            while opened:
                opened += (self.code[name][end] == "{") - (self.code[name][end] == "}")
                end += 1
            depth += module.end() <= at < end
        return depth

    def _absolute(self, name, path, inline=0):
        first, *rest = path.split("::")
        if first == "crate":
            return tuple(rest)
        if first == "self":
            return (*name, *rest)
        if first == "super":
            base = name
            parts = [first, *rest]
            while parts and parts[0] == "super":
                inline, base = (inline - 1, base) if inline else (0, base[:-1])
                parts = parts[1:]
            return (*base, *parts)
        return (*name, first, *rest) if (*name, first) in self.files else None

    def _exports(self, name):
        return {alias: path for path, alias, handed_on in self._uses(name) if handed_on}

    def module(self, path):
        """The file that a path leads to, through what modules hand on."""
        name = next(path[:length] for length in range(len(path), -1, -1) if path[:length] in self.files)
        rest = path[len(name) :]
        if rest and rest[0] in self.exports[name]:
            target = self.module(self.exports[name][rest[0]])
            return target if target != name else name
        return name

    def graph(self):
        """{module: modules that it imports}; what a module only hands on it does not import."""
        result = {}
        for name, code in self.code.items():
            paths = [path for path, _, handed_on in self._uses(name) if not handed_on]
            spent = _USE.sub("", code)
            for found in _PATH.finditer(spent):
                if absolute := self._absolute(name, found.group(), self._within_inline_module(name, 0)):
                    paths.append(absolute)
            children = "|".join(other[-1] for other in self.files if other and other[:-1] == name)
            if children:
                calls = re.finditer(rf"(?<![\w:.])({children})::\w+", spent)
                paths += [(*name, *call.group().split("::")) for call in calls]
            imported = {self.module(path) for path in paths}
            result["::".join(name) or "lib"] = {"::".join(other) or "lib" for other in imported - {name}}
        return result


# --- Python ---


def python_modules(source):
    """{module: file} of a package."""
    result = {}
    for path in sorted(source.rglob("*.py")):
        parts = (source.name, *path.relative_to(source).with_suffix("").parts)
        result[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return result


class _Imports(ast.NodeVisitor):
    """The modules that a file names in import statements, but for those for type checkers alone."""

    def __init__(self):
        self.found = []

    def visit_If(self, node):
        if ast.unparse(node.test) not in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return self.generic_visit(node)
        for statement in node.orelse:
            self.visit(statement)
        return None

    def visit_Import(self, node):
        self.found += [name.name for name in node.names]

    def visit_ImportFrom(self, node):
        assert not node.level, "relative imports are not read"
        self.found += [f"{node.module}.{name.name}" for name in node.names]

    def visit_Call(self, node):
        if ast.unparse(node.func) in ("import_module", "importlib.import_module", "__import__"):
            self.found += [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        self.generic_visit(node)


def python_imports(path):
    visitor = _Imports()
    visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
    return visitor.found


def python_graph(source, compiled=("_core",)):
    """{module: modules of the package that it imports}, wherever in the file."""
    modules = python_modules(source)
    known = set(modules) | {f"{source.name}.{name}" for name in compiled}
    result = {f"{source.name}.{name}": set() for name in compiled}
    for module, path in modules.items():
        imported = set()
        for name in python_imports(path):
            parts = name.split(".")
            longest = next(
                (".".join(parts[:k]) for k in range(len(parts), 0, -1) if ".".join(parts[:k]) in known), None
            )
            imported |= {longest} if longest else set()
        result[module] = imported - {module}
    return result


def python_others(source):
    """{module: top-level names of other packages that it imports}."""
    names = {
        module: {name.split(".")[0] for name in python_imports(path)} for module, path in python_modules(source).items()
    }
    return {module: found - {source.name} for module, found in names.items()}
