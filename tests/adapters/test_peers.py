"""tools/peers.py asks each peer anew: what docs/peers.json says of the installed versions is what they do."""

import json
from pathlib import Path

import peers
import pytest
import torch
from lineup import PEERS, Ours
from peer import Mixed, No, Refused, asked
from probes import FEATURES, agrees, control, images, lam_per_sample, soft

FOUND = json.loads(peers.PATH.read_text(encoding="utf-8"))
ASKED = [peer for peer in PEERS if peers._version(peer.package) == FOUND["versions"][peer.name]]


def test_ours_is_among_those_that_are_asked():
    assert "mixup-rs" in {peer.name for peer in ASKED}
    assert [one.key for one in FEATURES] == [row["key"] for row in FOUND["features"]]


@pytest.mark.parametrize("peer", ASKED, ids=[peer.name for peer in ASKED])
@pytest.mark.parametrize("feature", FEATURES, ids=[one.key for one in FEATURES])
def test_a_peer_does_what_the_table_says(peer, feature):
    row = next(row for row in FOUND["features"] if row["key"] == feature.key)
    assert peers.answer(feature.probe, peer)["mark"] == row["answers"][peer.name]["mark"]


class Wrong(Ours):
    """Labels that are not mixed with the images."""

    def mixup(self, x, y, classes, alpha=1.0):
        return Mixed(super().mixup(x, y, classes, alpha).x, torch.eye(classes))


class Still(Ours):
    """Mixes nothing."""

    def mixup(self, x, y, classes, alpha=1.0):
        return Mixed(x, torch.eye(classes))


def test_a_probe_sees_what_is_wrong():
    assert peers.answer(soft, Ours()) == {"mark": peers.YES}
    assert peers.answer(soft, Wrong()) == {"mark": peers.NO, "why": "labels do not weigh what the images show"}
    x, y = images()
    assert agrees(Ours().cutmix(x, y, len(x)))


def test_a_probe_that_fails_is_no_answer():
    def broken(peer):
        raise KeyError("a mistake of the probe")

    def refused(peer):
        with asked():
            raise RuntimeError("first\nlast line")

    def none(peer):
        raise No("none")

    assert peers.answer(broken, Ours())["mark"] == peers.UNKNOWN
    assert peers.answer(refused, Ours()) == {"mark": peers.NO, "why": "RuntimeError: last line"}
    assert peers.answer(none, Ours()) == {"mark": peers.NO, "why": "none"}
    # A peer that is called wrongly mixes nothing: no row may say that it cannot.
    assert peers.answer(lam_per_sample, Still())["mark"] == peers.UNKNOWN
    with pytest.raises(AssertionError, match="none of which can be judged"):
        control(Still())


def test_the_table_and_the_notes_have_one_line_each():
    assert Path(peers.PATH).name == "peers.json"
    table, notes = peers.features_table(FOUND).splitlines(), peers.notes(FOUND)
    assert len(table) == 2 + len(FEATURES)
    ours = [line.split("|")[2].strip() for line in table[2:]]
    assert ours == sorted(ours, key="✗✓".index)
    marks = [answer["mark"] for row in FOUND["features"] for answer in row["answers"].values()]
    assert len(notes) == sum(mark != peers.YES for mark in marks)
    assert issubclass(Refused, No)
