"""The command: what it prints, saves and refuses."""

import dataclasses
import multiprocessing
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mixup_rs
from mixup_rs import CMixup, CutMix, FMix, Mixup, OneOf, Remix, cli
from mixup_rs.cli import info as cli_info
from mixup_rs.cli.progress import progress
from mixup_rs.cli.rule import rule_of


def info(capsys):
    assert cli.main(["info"]) == 0
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


def test_info_names_what_a_bug_report_needs(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MIXUP_RS_CACHE_MB", raising=False)
    lines = info(capsys)
    assert lines["mixup-rs"] == f"{mixup_rs.__version__}, stream version {mixup_rs.STREAM_VERSION}"
    assert {"platform", "processor", "simd", "memory", "numpy"} <= lines.keys()
    assert platform.python_version() in lines["python"]
    assert lines["threads"].startswith(f"{mixup_rs.get_num_threads()} of ")
    first, second, third = (int(size.removesuffix("KiB")) for size in lines["caches"].split(","))
    assert 8 <= first <= second <= third
    assert multiprocessing.get_all_start_methods()[0] in lines["workers"]
    assert "OMP_NUM_THREADS=3" in lines["environment"]
    assert "MIXUP_RS_CACHE_MB" not in lines["environment"]


def test_info_names_variables_that_could_be_set(capsys, monkeypatch):
    for name in cli_info.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert "MIXUP_RS_NUM_THREADS" in info(capsys)["environment"]


def test_info_names_every_library_once(capsys, monkeypatch):
    def found(package):
        if package == "ray":
            return "2.60.0"
        raise cli_info.PackageNotFoundError(package)

    monkeypatch.setattr(cli_info, "version", found)
    lines = info(capsys)
    assert lines["ray"] == "2.60.0"
    assert lines["absent"].split(", ") == [name for name in cli_info.PACKAGES if name != "ray"]


def test_info_does_not_fix_the_start_method():
    code = (
        "import multiprocessing, mixup_rs.cli as cli; cli.main(['info']); multiprocessing.set_start_method('spawn')\n"
        "assert cli.main(['info']) == 0"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("started by spawn") == 1 + (multiprocessing.get_all_start_methods()[0] == "spawn")


def test_demo_without_matplotlib_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("mixup_rs.cli.demo._TIMED_SHAPE", (4, 3, 8, 8))
    for rule in ([], ["--rule", "mixup"]):
        assert cli.main(["demo", *rule, "--out", str(tmp_path / "none.png")]) == 0
        assert "pip install 'mixup-rs[plot]'" in capsys.readouterr().out
    assert not (tmp_path / "none.png").exists()


def test_reading_pictures_without_pillow_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        path.touch()
    for args in (["demo", str(tmp_path / "a.png"), str(tmp_path / "b.png")], ["preview", str(tmp_path)]):
        assert cli.main(args) == 1
        assert "needs Pillow: pip install 'mixup-rs[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("fmix", FMix()),
        (" FMix() ", FMix()),
        ("fmix(decay=2, soft=.1)", FMix(decay=2, soft=0.1)),
        ("CutMix(0.5, mode='elem', minmax=(0.2, 0.8))", CutMix(0.5, mode="elem", minmax=(0.2, 0.8))),
        ("OneOf([Mixup(0.8), CutMix()], probs=[0.5, 0.25])", OneOf([Mixup(0.8), CutMix()], probs=[0.5, 0.25])),
        ("Mixup(partners=CMixup(bandwidth=2))", Mixup(partners=CMixup(bandwidth=2))),
        ("Remix(CutMix(), counts=[9, 1])", Remix(CutMix(), counts=[9, 1])),
    ],
)
def test_a_rule_is_typed_as_in_python(text, rule):
    assert rule_of(text) == rule
    if hasattr(rule, "alpha"):
        assert rule_of(text, alpha=3) == dataclasses.replace(rule, alpha=3)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["demo", "--rule", "mixcut"], "unknown rule 'mixcut', expected one of mixup, cutmix"),
        (
            ["demo", "--rule", "oneof"],
            "OneOf: missing a required argument: 'rules'; its options are rules, probs, mode",
        ),
        (["demo", "--rule", "FMix(decay"], r"expected a rule such as fmix or 'FMix\(decay=2\)', got 'FMix\(decay'"),
        (["demo", "--rule", "2"], "unknown rule '2'"),
        (
            ["demo", "--rule", "fmix(cells=2)"],
            "FMix: got an unexpected keyword argument 'cells'; its options are alpha",
        ),
        (["demo", "--rule", "fmix(soft=2)"], r"FMix: soft must lie in \[0, 0.5\], got 2"),
        (["demo", "--rule", "fmix(soft='2')"], "FMix: soft must be a real number, got str"),
        (["demo", "--rule", "fmix(**{'soft': 0.1})"], r"FMix: got an unexpected keyword argument .\*\*{'soft': 0.1}"),
        (["demo", "--rule", "fmix(soft=x)"], "expected the value of an option, got x"),
        (["demo", "--rule", "OneOf([Blur()])"], "unknown rule 'Blur'"),
        (["demo", "--rule", "mixup", "--alpha", "-1"], "alpha must be .* got -1"),
        (["demo", "--alpha", "1"], "needs --rule"),
        (["demo", "one.png"], "expected two pictures or more, got 1"),
        (["preview", "no-such-folder"], "no-such-folder is not there"),
        (["preview", __file__], "test_cli.py is no folder"),
        (["preview", ".", "--rule", "nomix"], "unknown rule 'nomix'"),
        (["demo", "--rule", "within"], r"within chooses partners; expected a rule .* 'Mixup\(partners=Within\(\)\)'"),
    ],
)
def test_what_cannot_be_done_is_a_message(args, words, capsys):
    assert cli.main(args) == 1
    said = capsys.readouterr().err
    assert re.search(words, said)
    assert said.startswith(f"mixup-rs {args[0]}: ")


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.skipif(not PAGES[0].exists(), reason="the pages are not there")
def test_commands_on_the_pages_are_ones_that_there_are():
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    commands = {*re.findall(r"`mixup-rs ([^`]+)`", text), *re.findall(r"^    mixup-rs (.+?)(?:  +#.*)?$", text, re.M)}
    found = [shlex.split(command.split(" && ")[0]) for command in commands if "COMMAND" not in command]
    assert {args[0] for args in found} >= {"demo", "preview", "bench", "info"}
    for args in found:
        if "|" not in args:
            cli._parser().parse_known_args(args)


class TestProgress:
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    def said(self, capsys, seconds, n=100):
        clock = self.Clock()

        def slow():
            for i in range(n):
                clock.now += seconds / n
                yield i

        assert list(progress(slow(), "images read", n, clock)) == list(range(n))
        return capsys.readouterr().err

    def test_what_takes_less_than_two_seconds_is_silent(self, capsys):
        assert self.said(capsys, 1.9) == ""

    def test_what_takes_longer_is_counted_now_and_then(self, capsys):
        lines = self.said(capsys, 64, n=128).splitlines()  # steps of half a second, which add up exactly
        assert lines == [f"images read: {4 + 20 * i} of 128, {2 + 10 * i} s" for i in range(7)]

    def test_in_a_terminal_a_line_is_replaced_and_removed(self, capsys, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        text = self.said(capsys, 4)
        assert "\n" not in text
        assert 5 <= text.count("images read") <= 12
        assert text.endswith("\r\x1b[K")


def test_bench_hands_its_options_on(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mixup_rs.bench", SimpleNamespace(main=calls.append))
    assert cli.main(["bench", "--help", "--quick", "cases"]) == 0
    assert calls == [["--help", "--quick", "cases"]]


def test_bench_that_cannot_be_imported_is_a_message(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mixup_rs.bench", None)
    assert cli.main(["bench"]) == 1
    assert "cannot be imported" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        [], ["mix"], ["info", "--loud"], ["demo", "--seed", "1"], ["demo", "--path", "x.png"], ["demo", "--rng", "x"],
        ["demo", "--rng", "1,-2"], ["demo", "--rng", ""], ["preview"], ["preview", ".", "--samples", "0"],
        ["preview", ".", "--batch", "many"],
        ["preview", ".", "--out", "."],
        ["demo", "--out", "picture"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_refused(args):
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 2


def test_python_dash_m_runs_it_without_heavy_imports():
    code = (
        "import runpy, sys; sys.argv = ['mixup-rs', 'info']\n"
        "try: runpy.run_module('mixup_rs', run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'torch', 'fastai', 'matplotlib', 'sklearn', 'PIL', 'jax', 'ray'} & sys.modules.keys()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert mixup_rs.__version__ in run.stdout
