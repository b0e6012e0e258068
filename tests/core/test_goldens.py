"""What rules draw by a key is what it always was: tests/goldens/drawn.txt."""

import numpy as np
import pytest
from goldens import PATH, Golden, goldens, written
from rules import KINDS, examples

import mixup_rs
from mixup_rs import Mixup, OneOf

pytestmark = pytest.mark.skipif(not PATH.exists(), reason="the values are not there")
GOLDENS = goldens() if PATH.exists() else []


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: str(golden).partition("\n")[0])
def test_a_key_always_draws_this(golden):
    drawn = golden.drawn()
    assert str(drawn) == str(golden), f"tests/goldens/drawn.txt says otherwise; now is drawn:\n{drawn}"


def test_it_is_the_stream_of_this_version():
    assert f"\nSTREAM_VERSION {mixup_rs.STREAM_VERSION}\n" in PATH.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_the_draws_of_each_rule_are_pinned(kind):
    """Among them those of the defaults, which so are the same in Rust and Python."""
    texts = [text for text in map(written, examples(kind)) if "partners=" not in text]
    missing = [Golden(text, 3, (24, 32), (42, step)) for step, text in enumerate(texts)]
    to_paste = "\n\n".join(str(golden.drawn()) for golden in missing)
    needed = kind.__name__ + ("(" if kind is OneOf else "()")
    pinned = any(golden.rule.startswith(needed) for golden in GOLDENS)
    assert pinned, f"add to tests/goldens/drawn.txt:\n\n{to_paste}"


@pytest.mark.parametrize(
    ("rng", "lam", "partner"),
    [
        (
            lambda: np.random.SeedSequence(7),
            ["0x1.4cf0275140c7dp-1", "0x1.6d0aefe669aadp-1", "0x1.5bcaa60749ab9p-1", "0x1.d84bcbe56a80fp-1"],
            [0, 3, 2, 1],
        ),
        (
            lambda: np.random.Generator(np.random.PCG64(7)),
            ["0x1.ed33282ddb05dp-1", "0x1.81f2fecc484efp-1", "0x1.f7aedd6db484ap-1", "0x1.4370e64535617p-1"],
            [2, 0, 3, 1],
        ),
    ],
    ids=["a SeedSequence", "a Generator"],
)
def test_what_numpy_seeds_always_draws_this(rng, lam, partner):
    plan = Mixup().plan(4, rng=rng())
    assert [weight.hex() for weight in plan.lam.tolist()] == lam
    assert plan.partner.tolist() == partner
