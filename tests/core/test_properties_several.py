"""Means of several samples of arrays anywhere in memory, and what is drawn for them."""

import pickle

import numpy as np
import pytest
import strategies as some
import tally
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_means, assert_same_bits
from rules import plan_of

from mixup_rs import MixPlan, Mixup


@given(
    batch=some.batches(shapes=some.shapes(), relations=["new", "apart", "anywhere"]),
    k=st.integers(3, 16),
    seed=some.SEEDS,
)
def test_arrays_anywhere_in_memory_are_mixed(batch, k, seed):
    """With the bits of arrays in C order, in place or not, and no other byte is written."""
    block = batch.block()
    (x, out), before = batch.arrays(block), block.copy()
    plan, original = plan_of(len(x), k, seed), x.copy()
    if x.size and (batch.refused()):
        with pytest.raises(ValueError, match=r"out must|out overlaps itself"):
            plan.apply(x, out=out)
        assert block.tobytes() == before.tobytes()
    elif x.size:
        result, expected = plan.apply(x, out=out), plan.apply(original)
        assert_same_bits(result, expected)
        if out is not None:
            batch.out.of(before)[...] = expected
        assert block.tobytes() == before.tobytes()
        if batch.fill[0] == "pixels":
            assert_means(expected, original, plan)
    tally.case("MixPlan.apply, several")


@given(
    n=st.integers(0, 40),
    k=st.integers(3, 16),
    alpha=some.ALPHAS,
    fold=st.booleans(),
    prob=some.PROBS,
    mode=st.sampled_from(["elem", "batch"]),
    rng=some.KEYS,
)
def test_plans_keep_their_laws(n, k, alpha, fold, prob, mode, rng):
    rule = Mixup(alpha, mode, fold, prob, k=k)
    plan = rule.plan(n, rng=rng())
    assert plan == rule.plan(n, rng=rng()) == pickle.loads(pickle.dumps(plan)) == plan.without_region()
    assert plan == MixPlan.from_weights(plan.weights, plan.partner)
    if alpha == 0:
        assert plan == MixPlan.identity(n)
        return
    assert (plan.k, plan.weights.shape, plan.partner.shape) == (k, (n, k), (n, k - 1))
    assert ((plan.weights >= 0) & (plan.weights <= 1)).all()
    assert np.abs(plan.weights.sum(axis=1) - 1).max(initial=0) < 2e-15
    assert not fold or (plan.weights.max(axis=1) == plan.lam).all()
    assert mode != "batch" or (plan.weights == plan.weights[:1]).all()
    for column in plan.partner.T:
        np.testing.assert_array_equal(np.sort(column), np.arange(n))
    for i, row in enumerate(plan.partner.tolist()):
        assert len({i, *row}) == min(n, k)
    tally.case("Mixup of several")
