"""`mixup-rs demo` where matplotlib is installed."""

import sys

import pytest

from mixup_rs import cli


@pytest.mark.parametrize("with_photographs", [True, False])
def test_demo_saves_a_picture_and_repeats(tmp_path, capsys, monkeypatch, with_photographs):
    if with_photographs:
        pytest.importorskip("sklearn")
    else:
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(cli, "_TIMED_SHAPE", (4, 3, 8, 8))
    pictures = [tmp_path / name for name in ("one.png", "two.png")]
    for path in pictures:
        assert cli.main(["demo", "--path", str(path), "--seed", "1"]) == 0
    out = capsys.readouterr().out
    assert f"picture: {pictures[0]}" in out
    assert "soft target" in out
    assert ("lake" in out) == with_photographs
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
