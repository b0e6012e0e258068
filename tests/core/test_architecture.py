"""Imports go one way, without circles, and files stay short: read from the sources of both languages."""

import re
import sys
from statistics import median

import pytest
from imports import ROOT, Rust, circles, expanded, grouped, python_graph, python_others, without_comments_and_tests

SOURCE, PACKAGE = ROOT / "src", ROOT / "python" / "mixup_rs"

pytestmark = pytest.mark.skipif(not SOURCE.exists(), reason="the sources are not there")

#: What each folder of src may import. lib.rs hands on, and imports nothing.
RUST = {
    "lib": set(),
    "error": set(),
    "runtime": set(),
    "arithmetic": {"error"},
    "plan": {"error"},
    "simd": {"arithmetic"},
    "random": {"simd", "runtime", "error"},
    "rules": {"plan", "random", "error"},
    "apply": {"plan", "arithmetic", "simd", "runtime", "error"},
    "python": {"plan", "rules", "random", "arithmetic", "simd", "apply", "runtime", "error"},
}
CORE = {"_core", "rule", "rules"}
#: What each module or folder of the package may import of it, besides itself; "" is the package itself. Of a framework
#: that is not named here, those of any other.
PYTHON = {
    "_core": set(),
    "partners": set(),
    "salient": set(),
    "rule": {"_core"},
    "rules": {"_core", "partners", "rule", "salient"},
    "remix": {"_core", "partners", "rule", "rules"},
    "batches": {"_core"},
    "plot": CORE,
    "torch": CORE | {"batches"},
    # Imports how torch's tensors are mixed when the first one comes.
    "mixer": CORE | {"batches", "torch"},
    # The compiled class of plans calls it.
    "detection": CORE | {"batches", "mixer"},
    "jax": CORE | {"batches"},
    "fastai": CORE | {"batches", "mixer", "plot", "torch"},
    "losses": {"batches", "torch"},
    "lightning": CORE | {"mixer", "torch"},
    "timm": CORE | {"torch"},
    "torchvision": CORE | {"batches", "mixer", "torch"},
    "": CORE | {"batches", "mixer", "partners", "remix", "salient"},
    "__main__": {"cli"},
    "cli": CORE | {"", "plot", "bench"},
    "bench": CORE | {"", "mixer", "plot", "torch", "fastai", "timm", "torchvision"},
}
ANOTHER_FRAMEWORK = CORE | {"batches", "mixer", "torch"}
#: What of other packages stays where it is needed.
FRAMEWORKS = {"torch", "torchvision", "fastai", "fastcore", "timm", "jax", "lightning"}
OTHERS = {
    "_core": set(),
    "partners": {"numpy"},
    "rule": set(),
    "rules": set(),
    "salient": {"numpy"},
    "remix": {"numpy"},
    "batches": {"numpy"},
    "detection": {"numpy"},
    "mixer": {"numpy"},
    "jax": {"numpy", "jax"},
    "": set(),
    "__main__": set(),
    "plot": {"numpy", "matplotlib"},
    "cli": {"numpy", "PIL", "sklearn"},
    "torch": {"numpy", "torch", "ml_dtypes"},
    "fastai": {"numpy", "torch", "fastai", "fastcore"},
    "timm": {"numpy", "torch", "timm"},
    "torchvision": {"numpy", "torch", "torchvision"},
    "losses": {"torch"},
    "lightning": {"torch", "lightning", "pytorch_lightning"},
}


def top_of(module):
    """The folder of src that a module of Rust is in."""
    return module.split("::")[0]


def part_of(module):
    """The module or folder of the package that a module of Python is in."""
    return module.removeprefix("mixup_rs").removeprefix(".").split(".")[0]


def going_up(graph, allowed, otherwise=None):
    return sorted(
        f"{name} imports {other}"
        for name, imported in graph.items()
        for other in imported - allowed.get(name, otherwise or set())
    )


class TestRust:
    graph = Rust(SOURCE).graph() if SOURCE.exists() else {}

    def test_imports_go_one_way(self):
        folders = grouped(self.graph, top_of)
        assert set(folders) == set(RUST), "a new folder says here what it may import"
        assert not going_up(folders, RUST)

    def test_no_circle_of_folders(self):
        assert not circles(grouped(self.graph, top_of))

    def test_no_circle_of_files(self):
        assert not circles(self.graph)

    @pytest.mark.parametrize(
        ("library", "folder"), [("rayon", "runtime"), ("pyo3", "python"), ("numpy", "python"), ("rand", "random")]
    )
    def test_a_library_is_named_in_one_folder(self, library, folder):
        naming = {
            "::".join(name) or "lib"
            for name, code in Rust(SOURCE).code.items()
            if re.search(rf"(?<![:\w]){library}(_\w+)?(::|;)", code)
        }
        assert naming, f"{library} is named nowhere: nothing was shown"
        assert {name for name in naming if top_of(name) != folder} == set()


class TestPython:
    graph = python_graph(PACKAGE)

    def test_imports_go_one_way(self):
        assert not going_up(grouped(self.graph, part_of), PYTHON, ANOTHER_FRAMEWORK)

    def test_no_circle_of_folders(self):
        assert not circles(grouped(self.graph, part_of))

    def test_no_circle_of_files(self):
        assert not circles(self.graph)

    def test_what_is_not_installed_with_it_is_imported_where_it_is_needed(self):
        wrong = []
        for module, names in python_others(PACKAGE).items():
            part = part_of(module)
            if part in OTHERS:
                allowed = OTHERS[part]
                wrong += [f"{module} imports {name}" for name in names - allowed - sys.stdlib_module_names]
        assert not wrong

    def test_nothing_but_the_command_imports_the_benchmarks(self):
        users = {name for name, imported in self.graph.items() if "bench" in map(part_of, imported)}
        assert {part_of(name) for name in users} == {"bench", "cli"}
        users = {name for name, imported in self.graph.items() if "cli" in map(part_of, imported)}
        assert {part_of(name) for name in users} == {"cli", "__main__"}


def lines(path):
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".pyi":  # `tools/stubs.py` repeats docstrings there
        source = re.sub(r'^ *""".*?"""\n', "", source, flags=re.DOTALL | re.MULTILINE)
    return len(source.splitlines())


def test_files_are_short():
    files = [*SOURCE.rglob("*.rs"), *PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]
    assert not {str(path.relative_to(ROOT)): lines(path) for path in files if lines(path) > 500}
    assert median(map(lines, files)) <= 150


class TestTheReader:
    """That it sees what it should: each import, and no other text."""

    def crate(self, tmp_path, **files):
        for name, text in ({"lib": "mod a; mod b; mod c;", "a/mod": "", "b/mod": "", "c/mod": ""} | files).items():
            path = tmp_path / f"{name}.rs"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return Rust(tmp_path).graph()

    @pytest.mark.parametrize(
        "code",
        [
            "use crate::b::B;",
            "pub fn f() { let x = crate::b::new(); }",
            "use crate::{b};",
            "use crate::{\n    // all of them\n    b::{self, B as C},\n};",
            "use super::b::B;",
            "use crate::B;",  # which lib.rs hands on
            "fn f(x: &crate::b::B) {}",
            "mod inner { use super::super::b::B; }",
            'const TEXT: &str = "// no comment"; use crate::b::B;',
            '#[cfg(feature = "python")]\nuse crate::b::B;',
            "#[cfg(test)] mod tests { use crate::c::C; } use crate::b::B;",
        ],
    )
    def test_an_import_of_rust(self, tmp_path, code):
        lib = "mod a; mod b; mod c; pub use b::B;"
        files = {"lib": lib, "a/mod": code, "b/mod": "pub struct B;", "c/mod": ""}
        assert self.crate(tmp_path, **files)["a"] == {"b"}

    @pytest.mark.parametrize(
        "code",
        [
            "// use crate::b::B;",
            "/// See [`crate::b::B`].\nfn f() {}",
            "//! use crate::b::B;",
            "/* use crate::b::B; */",
            'const TEXT: &str = "crate::b::B";',
            'const TEXT: &str = r#"use "crate::b" now"#;',
            "#[cfg(test)]\nmod tests { use crate::b::B; fn f() { if true { crate::b::f() } } }",
            "#[cfg(test)]\nuse crate::b::B;",
            "#[cfg(test)]\n#[allow(unused)]\nfn f() { crate::b::f() }",
            "const QUOTE: char = '\"'; // crate::b::f()",
            "pub use crate::b::B;",
        ],
    )
    def test_what_is_no_import_of_rust(self, tmp_path, code):
        assert self.crate(tmp_path, **{"a/mod": code})["a"] == set()

    def test_a_path_leads_to_the_file_that_a_folder_hands_on(self, tmp_path):
        files = {
            "a/mod": "mod inner; mod other; pub use inner::Inner; pub(crate) use other::{Old as New};",
            "a/inner": "",
            "a/other": "use super::Inner;",
            "b/mod": "use crate::a::New;",
            "c/mod": "use crate::a::Missing;",
        }
        graph = self.crate(tmp_path, **files)
        assert (graph["a"], graph["a::other"], graph["b"], graph["c"]) == (set(), {"a::inner"}, {"a::other"}, {"a"})

    def test_files_for_tests_alone_are_left_out(self, tmp_path):
        graph = self.crate(tmp_path, **{"a/mod": "#[cfg(test)]\nmod tests;", "a/tests": "use crate::b::B;"})
        assert "a::tests" not in graph

    def test_a_circle_and_a_step_up_go_red(self, tmp_path):
        files = {"a/mod": "use crate::b::B;", "b/mod": "use crate::c::C;", "c/mod": "use crate::a::A;"}
        graph = self.crate(tmp_path, **files)
        assert circles(graph) == [["a", "b", "c"]]
        assert going_up(graph, {"a": {"b"}, "b": {"c"}}) == ["c imports a"]

    def test_uses_are_expanded(self):
        paths = dict.fromkeys(["a::b", "a::c::d", "a::c", "a::e", "a::g::*"])
        assert [path for path, _ in expanded("a::{b, c::{d, self}, e as f, g::*}")] == list(paths)
        assert without_comments_and_tests("a /* b */ c // d\n").split() == ["a", "c"]

    @pytest.mark.parametrize(
        "code",
        [
            "import mixup_rs.b",
            "import mixup_rs.b as b",
            "from mixup_rs import b",
            "from mixup_rs.b import B",
            "def f():\n    from mixup_rs.b import B",
            "try:\n    import mixup_rs.b\nexcept ImportError:\n    pass",
            "if TYPE_CHECKING:\n    import mixup_rs.c\nelse:\n    import mixup_rs.b",
            "import importlib\nimportlib.import_module('mixup_rs.b')",
        ],
    )
    def test_an_import_of_python(self, tmp_path, code):
        assert self.package(tmp_path, code)["mixup_rs.a"] == {"mixup_rs.b"}

    @pytest.mark.parametrize(
        "code",
        [
            "# import mixup_rs.b",
            '"""\n>>> from mixup_rs.b import B\n"""',
            "if TYPE_CHECKING:\n    from mixup_rs.b import B",
            "from mixup_rs_b import b",
            "import os",
        ],
    )
    def test_what_is_no_import_of_python(self, tmp_path, code):
        assert self.package(tmp_path, code)["mixup_rs.a"] == set()

    def package(self, tmp_path, code):
        package = tmp_path / "mixup_rs"
        package.mkdir()
        for name, text in {"__init__": "", "a": code, "b": "B = 1", "c": ""}.items():
            (package / f"{name}.py").write_text(text)
        return python_graph(package)
