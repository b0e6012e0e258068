"""examples/loader.py does what it says."""

import importlib
import re
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    """Imported by its name, so that workers that are not forked find it."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "loader", raising=False)
    yield importlib.import_module("loader")
    sys.modules.pop("loader")


def test_the_loader_example(example, capsys):
    example.main()
    printed = capsys.readouterr().out
    differ = {name: float(most) for name, most in re.findall(r"^(\w+).* differ by up to (\S+)$", printed, re.MULTILINE)}
    assert differ["normalising"] < 1e-5
    assert differ["turning"] > 0.1
    soft = [int(share) for share in re.findall(r"(\d+)% of the targets", printed)]
    assert len(soft) == example.EPOCHS
    assert all(share > 20 for share in soft[: example.OFF_EPOCH])
    assert not any(soft[example.OFF_EPOCH :])
    right = dict(re.findall(r"^(\w+, in the \w+) +(\d+)% of the validation set", printed, re.MULTILINE))
    assert set(right) == {"torch, in the loader", "fastai, in the loader", "fastai, in the callback"}
    assert all(int(share) >= 80 for share in right.values())
