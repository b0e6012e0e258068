"""Partners from another batch: which are drawn, and what a plan of them does to arrays and labels."""

import itertools
import pickle

import ml_dtypes
import model
import numpy as np
import other
import pytest
from layouts import LAYOUTS, SHAPE
from oracle import DTYPES, assert_applied, assert_same_bits, name, soft_targets, values
from rules import EXAMPLES

from mixup_rs import CutMix, FMix, MixPlan, Mixup, OneOf, mix_batch

COUNTS = [(6, 1), (6, 4), (6, 6), (6, 13), (0, 3), (0, 0)]
LAM = [0.3, 0.9, 1.0, 0.0, 0.5, 0.75]


def plans(n, m, shape):
    """A plan of each kind: weights, boxes, boxes and weights, hard masks and soft ones."""
    rng = np.random.default_rng(n + 7 * m)
    partner = rng.integers(0, max(m, 1), n)
    boxes = np.sort(rng.integers(0, np.array(shape) + 1, (n, 2, len(shape))), axis=1).reshape(n, 2 * len(shape))
    share = rng.random((n, *shape))
    return [
        MixPlan(LAM[:n], partner, other=m),
        MixPlan.from_boxes(boxes, shape, partner, other=m),
        MixPlan.from_boxes(boxes, shape, partner, LAM[:n], other=m),
        MixPlan.from_masks(share > 0.5, partner, shape, other=m),
        MixPlan.from_masks(share, partner, shape, m),
        MixPlan.from_masks(share[0] if n else np.ones(shape), partner, shape, other=m),
    ]


@pytest.mark.parametrize(("n", "m"), COUNTS)
def test_plans_say_so(n, m):
    for plan in plans(n, m, (5, 7)):
        assert plan.other == m
        assert plan == pickle.loads(pickle.dumps(plan))
        assert plan.without_region().other == m
        assert f"other={m})" in repr(plan)
        same = MixPlan(plan.lam, plan.partner, m)
        assert plan.without_region() == same != MixPlan(plan.lam, plan.partner, m + 1)
    assert MixPlan.identity(n).other is None


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
@pytest.mark.parametrize(("n", "m"), COUNTS)
def test_a_batch_is_mixed_with_another(n, m, dtype):
    """The oracle's values, and the formula's bits: as the first part of both batches mixed as one."""
    x, z = values((n, 3, 5, 7), dtype), values((m, 3, 5, 7), dtype, seed=1)
    for plan in plans(n, m, (5, 7)):
        got = plan.apply(x, other=z)
        both = np.concatenate([x, z])
        assert_applied(np.concatenate([got, z]), both, other.joined(plan))
        assert_same_bits(got, other.mixed(plan, x, z, lambda plan, x: model.applied(x, plan)))
        assert_same_bits(plan.apply(x.copy(), other=z, out=np.empty_like(x)), got)
        assert plan.apply(x, out=x, other=z) is x
        assert_same_bits(x, got)
        x = values((n, 3, 5, 7), dtype)


@pytest.mark.parametrize("of_z", LAYOUTS)
@pytest.mark.parametrize("of_x", ["C order", "Fortran", "channels last"])
def test_resized_partners(of_x, of_z):
    z = LAYOUTS[of_z](values((9, *SHAPE[1:]), np.float32, seed=1))
    boxes = [[0, 0, 2, 3], [1, 1, 5, 6], [0, 0, 5, 7], [0, 0, 0, 0], [2, 2, 3, 7], [0, 1, 5, 2]]
    plan = MixPlan.from_boxes(boxes, (5, 7), [8, 1, 0, 3, 3, 6], LAM, resized=[True] * 5 + [False], other=9)
    assert plan == pickle.loads(pickle.dumps(plan))
    x = LAYOUTS[of_x](values(SHAPE, np.float32))
    expected = other.mixed(plan, x, z, lambda plan, x: plan.apply(x, spatial_axes=(2, 3)))
    assert_same_bits(plan.apply(x, other=z, spatial_axes=(2, 3)), expected)
    assert_same_bits(plan.apply(x, out=x, other=z, spatial_axes=(2, 3)), expected)


@pytest.mark.parametrize("of_x", LAYOUTS)
@pytest.mark.parametrize("of_z", LAYOUTS)
def test_any_two_layouts(of_x, of_z):
    z = LAYOUTS[of_z](values((9, *SHAPE[1:]), np.float32, seed=1))
    before = z.copy()
    for plan in plans(6, 9, SHAPE[2:4]):
        x = LAYOUTS[of_x](values(SHAPE, np.float32))
        expected = other.mixed(plan, x, z, lambda plan, x: plan.apply(x, spatial_axes=(2, 3)))
        assert_same_bits(plan.apply(x, other=z, spatial_axes=(2, 3)), expected)
        assert_same_bits(plan.apply(x, out=x, other=z, spatial_axes=(2, 3)), expected)
    assert_same_bits(z, before)


@pytest.mark.parametrize("of_z", ["C order", "Fortran", "mirrored"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8], ids=name)
def test_large_batches_are_shared_out_among_threads(dtype, of_z):
    x, z = values((40, 3, 4, 20, 700), dtype), values((13, 3, 4, 20, 700), dtype, seed=1)
    z = LAYOUTS[of_z](z)
    plan = CutMix(mode="elem").plan(40, (20, 700), rng=1, other=13)
    blend = MixPlan(Mixup(1.0).plan(40, rng=1).lam, plan.partner, other=13)
    for plan in (plan, blend):  # noqa: B020 - the two of them
        expected = other.mixed(plan, x, z, lambda plan, x: plan.apply(x))
        out = x.copy()
        assert_same_bits(plan.apply(out, out=out, other=z), expected)
        assert_same_bits(plan.apply(x, other=z), expected)


def test_many_samples_of_few_elements():
    for shape in [(3000,), (3000, 1), (5000, 3)]:
        x, z = values(shape, np.float32), values((700, *shape[1:]), np.float32, seed=1)
        plan = Mixup(1.0, fold=False).plan(len(x), rng=1, other=700)
        expected = other.mixed(plan, x, z, lambda plan, x: plan.apply(x))
        assert_same_bits(plan.apply(x, other=z), expected)
        assert_same_bits(plan.apply(np.asfortranarray(x), other=np.asfortranarray(z)), expected)


def test_overlap_does_not_change_the_result():
    """x, the other batch and out at any three places of one buffer."""
    k, n, m = 3, 2, 3
    memory = values(8 * k, np.float32)
    plan = MixPlan([0.3, 0.75], [2, 0], other=m)
    for at in itertools.product(range(0, 5 * k, 2), repeat=3):
        buffer = memory.copy()
        x, z, out = (
            buffer[start : start + size * k].reshape(size, k) for start, size in zip(at, (n, m, n), strict=True)
        )
        expected = memory.copy()
        expected[at[2] : at[2] + n * k] = plan.apply(x.copy(), other=z.copy()).ravel()
        plan.apply(x, out=out, other=z)
        assert_same_bits(buffer, expected)


def test_a_batch_may_be_its_own_other():
    x = values((6, 4), np.float32)
    plan = MixPlan(LAM, [1, 2, 0, 3, 5, 5])
    other = MixPlan(LAM, plan.partner, other=6)
    expected = plan.apply(x)
    # But there a sample is no partner of itself: a zero with a sign would tell.
    assert_same_bits(other.apply(x, other=x), expected)
    assert_same_bits(other.apply(x, out=x, other=x), expected)


def test_what_is_only_copied_may_have_any_dtype():
    plan = CutMix(mode="elem").plan(4, (6,), rng=3, other=2)
    assert plan.only_copies
    for dtype in ("U1", "M8[s]", np.complex128, bool, np.int64):
        x, z = np.arange(24).reshape(4, 6).astype(dtype), np.arange(12).reshape(2, 6).astype(dtype)
        assert (plan.apply(x, other=z) == other.mixed(plan, x, z, lambda plan, x: model.applied(x, plan))).all()


def draws_anywhere(rule):
    """Whether a rule neither pairs nor chooses its partners."""
    rules = getattr(rule, "rules", ())
    return all(map(draws_anywhere, rules)) if rules else rule.mode != "pair" and rule.partners is None


@pytest.mark.parametrize("rule", [*filter(draws_anywhere, EXAMPLES)], ids=repr)
def test_all_but_partners_is_drawn_as_without(rule):
    for n, m in [(8, 3), (8, 8), (8, 20), (1, 1)]:
        plan, own = rule.plan(n, (16, 24), rng=(1, n)), rule.plan(n, (16, 24), rng=(1, n), other=m)
        assert own == rule.plan(n, (16, 24), rng=(1, n), other=m)
        assert own.other == m
        assert_same_bits(own.weight, plan.weight)
        for one, two in ((own.boxes, plan.boxes), (own.masks, plan.masks)):
            assert (one is None and two is None) or (one == two).all()
        # None is a partner again before all are.
        count = np.bincount(own.partner, minlength=m)
        assert count.min() >= n // m
        assert count.max() <= -(-n // m)
    assert len(rule.plan(0, (16, 24), rng=1, other=0)) == 0


def test_saliency_is_that_of_the_others():
    maps = values((4, 16, 24), np.float32, seed=3)
    plan = CutMix(mode="elem", saliency=maps).plan(6, (16, 24), rng=1, other=4)
    plain = CutMix(mode="elem").plan(6, (16, 24), rng=1, other=4)
    assert_same_bits(plan.partner, plain.partner)
    for partner, before, box in zip(plan.partner, plain.boxes, plan.boxes, strict=True):
        peak = np.unravel_index(maps[partner].argmax(), (16, 24))
        assert ((box[:2] <= peak) & (peak < box[2:])).all() or not before.any()
    with pytest.raises(ValueError, match="saliency must have a map for each of 6 samples, got 4"):
        CutMix(saliency=maps).plan(6, (16, 24), rng=1)


def test_all_partners_are_as_likely():
    drawn = np.stack([Mixup().plan(3, rng=(9, i), other=5).partner for i in range(3000)])
    counts = np.stack([np.bincount(column, minlength=5) for column in drawn.T])
    # Each 600 times, with a standard deviation of 22.
    assert (np.abs(counts - 600) < 110).all()


def test_drawn_partners_are_pinned():
    """Version 1 of the streams: see test_goldens."""
    partner = {other: Mixup().plan(6, rng=(42, 0), other=other).partner.tolist() for other in (1, 4, 6, 9)}
    assert partner == PINNED
    rule = OneOf([Mixup(0.8), CutMix()], mode="elem")
    assert rule.plan(6, (8, 8), rng=(42, 0), other=4).partner.tolist() == PINNED[4]
    assert OneOf([Mixup()], probs=[0.0]).plan(6, rng=(42, 0), other=4).partner.tolist() == PINNED[4]
    assert FMix(alpha=0).plan(6, rng=(42, 0), other=4).partner.tolist() == PINNED[4]


PINNED = {1: [0, 0, 0, 0, 0, 0], 4: [0, 3, 1, 2, 3, 2], 6: [0, 3, 1, 2, 5, 4], 9: [5, 4, 2, 3, 8, 6]}


Y, YZ = np.array([0, 2, 1, 1, 0, 2]), np.array([2, 2, 0, 1])
PLAN = MixPlan(LAM, [3, 0, 1, 2, 2, 0], other=4)


def test_labels_are_mixed_with_the_others():
    expected = soft_targets(np.concatenate([Y, YZ]), *_both(PLAN), 3, 0.1)[:6]
    got, none = PLAN.apply_labels(Y, 3, 0.1, other=YZ)
    np.testing.assert_allclose(got, expected, atol=1e-7)
    assert none is None
    assert_same_bits(PLAN.apply_labels(Y.astype(np.uint8), 3, 0.1, other=YZ.tolist())[0], got)
    own, partner = PLAN.apply_labels(Y, other=YZ)
    assert own is Y
    assert_same_bits(partner, YZ[PLAN.partner])
    for dtype in (np.float64, np.float16, ml_dtypes.bfloat16):
        y, z = values((6, 3), dtype), values((4, 3), dtype, seed=1)
        assert_same_bits(PLAN.apply_labels(y, other=z)[0], PLAN.apply(y, other=z))
    several, others = np.eye(3, dtype=bool)[Y], np.eye(3, dtype=bool)[YZ]
    blended = PLAN.apply(several.astype(np.float32), other=others.astype(np.float32))
    assert_same_bits(PLAN.apply_labels(several, other=others)[0], blended)
    assert_same_bits(PLAN.apply_labels(several.astype(int), 3, other=others.astype(int))[0], blended)


def _both(plan):
    both = other.joined(plan)
    return both.lam, both.partner


def test_mix_batch_takes_another_batch():
    x, z = values((6, 3, 8, 8), np.float32), values((4, 3, 8, 8), np.float32, seed=1)
    for rule in (None, CutMix(mode="elem"), OneOf([Mixup(), FMix()])):
        plan = (rule or Mixup()).plan(6, (8, 8), rng=(1, 2), other=4)
        mixed = mix_batch(x, Y, rule=rule, other=(z, YZ), num_classes=3, rng=(1, 2))
        assert_same_bits(mixed.x, plan.apply(x, other=z))
        assert_same_bits(mixed.y, plan.apply_labels(Y, 3, other=YZ)[0])
        assert_same_bits(mixed.partner, plan.partner)
        assert_same_bits(mix_batch(x, rule=rule, other=z, rng=(1, 2)).x, mixed.x)
        assert_same_bits(mix_batch(x, Y, rule=rule, other=(z, YZ), rng=(1, 2)).y_partner, YZ[plan.partner])
    mixed = mix_batch(x, lam=LAM, partner=PLAN.partner, other=z, out=x)
    assert mixed.x is x
    assert_same_bits(x, PLAN.apply(values((6, 3, 8, 8), np.float32), other=z))


def test_a_rule_of_others_needs_the_argument():
    class Last:
        def plan(self, n, shape=None, labels=None, rng=None, *, other=None):
            return MixPlan(0.5, [(other or n) - 1] * n, other=other)

    assert OneOf([Last()]).plan(3, rng=1, other=8) == MixPlan(0.5, [7] * 3, other=8)
    assert OneOf([Last()]).plan(3, rng=1) == MixPlan(0.5, [2] * 3)

    class Own:
        def plan(self, n, shape=None, labels=None, rng=None):
            return MixPlan(0.5, [n - 1] * n)

    with pytest.raises(
        TypeError, match="Own cannot draw partners from another batch: its method plan has no argument other"
    ):
        OneOf([Own()]).plan(3, rng=1, other=8)

    class Wrong(Own):
        def plan(self, n, shape=None, labels=None, rng=None, **_):
            return MixPlan(0.5, [n - 1] * n)

    with pytest.raises(ValueError, match=r"Wrong\.plan gave a plan with other=None, expected other=8"):
        mix_batch(np.zeros((3, 2)), rule=Wrong(), other=np.zeros((8, 2)), rng=1)
