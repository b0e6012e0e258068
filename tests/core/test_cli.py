"""The command: what it prints, saves and refuses."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import mixup_rs
from mixup_rs import cli


def test_info_names_the_versions(capsys):
    assert cli.main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["mixup-rs"] == mixup_rs.__version__
    assert int(lines["threads"]) >= 1
    assert {"python", "simd", "numpy", "torch", "fastai"} <= lines.keys()
    first, second, third = (int(size.removesuffix("KiB")) for size in lines["caches"].split(","))
    assert 8 <= first <= second <= third


def test_info_says_what_is_not_installed(capsys, monkeypatch):
    def missing(package):
        raise cli.PackageNotFoundError(package)

    monkeypatch.setattr(cli, "version", missing)
    cli.main(["info"])
    assert "torch    not installed" in capsys.readouterr().out


def test_demo_without_matplotlib_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(cli, "_TIMED_SHAPE", (4, 3, 8, 8))
    assert cli.main(["demo", "--path", str(tmp_path / "none.png")]) == 0
    assert "pip install 'mixup-rs[plot]'" in capsys.readouterr().out
    assert not (tmp_path / "none.png").exists()


def test_bench_hands_its_options_on(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mixup_rs.bench", SimpleNamespace(main=calls.append))
    assert cli.main(["bench", "--help", "--quick", "cases"]) == 0
    assert calls == [["--help", "--quick", "cases"]]


def test_bench_that_cannot_be_imported_is_a_message(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mixup_rs.bench", None)
    assert cli.main(["bench"]) == 1
    assert "cannot be imported" in capsys.readouterr().err


@pytest.mark.parametrize("args", [[], ["mix"], ["info", "--loud"], ["demo", "--seed", "x"]])
def test_a_wrong_command_line_is_refused(args):
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 2


def test_python_dash_m_runs_it_without_heavy_imports():
    code = (
        "import runpy, sys; sys.argv = ['mixup-rs', 'info']\n"
        "try: runpy.run_module('mixup_rs', run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'torch', 'fastai', 'matplotlib', 'sklearn'} & sys.modules.keys()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert mixup_rs.__version__ in run.stdout
