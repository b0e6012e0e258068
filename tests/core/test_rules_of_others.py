"""Rules of others: any object with a method `plan`, and subclasses of the package's."""

import numpy as np
import pytest
from oracle import assert_same_bits, values
from rules import KINDS, made

from mixup_rs import CutMix, MixPlan, Mixup, OneOf, Rule, mix_batch

SHAPE = (24, 32)


def images(n):
    return values((n, 3, *SHAPE), np.float32)


class Shift:
    """A rule from outside of the package: each sample is blended with the next by one weight."""

    def __init__(self, lam=0.75, n=None, returns=MixPlan):
        self.lam, self.n, self.returns, self.calls = lam, n, returns, []

    def plan(self, n, shape=None, labels=None, rng=None):
        self.calls.append((n, shape, labels, rng))
        n = n if self.n is None else self.n
        return self.returns(self.lam, np.roll(np.arange(n), -1))


def test_whatever_has_a_plan_is_a_rule():
    assert isinstance(Shift(), Rule)
    assert not isinstance(MixPlan.identity(1), Rule)


@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_in_one_of(mode):
    rule = Shift()
    plan = OneOf([rule], mode=mode).plan(6, SHAPE, labels=[0, 1, 2, 0, 1, 2], rng=(1, 2))
    assert plan == MixPlan(0.75 * np.ones(6), [1, 2, 3, 4, 5, 0])
    ((n, shape, labels, rng),) = rule.calls
    assert (n, shape, labels) == (6, SHAPE, [0, 1, 2, 0, 1, 2])
    assert isinstance(rng, tuple)
    assert all(isinstance(word, int) for word in rng)


def test_in_mix_batch():
    rule, x, y = Shift(), images(6), np.arange(6)
    mixed = mix_batch(x, y, rule=rule, num_classes=6, rng=(1, 2))
    plan = MixPlan(0.75, np.roll(np.arange(6), -1))
    assert_same_bits(mixed.x, plan.apply(x))
    assert_same_bits(mixed.y, plan.apply_labels(y, num_classes=6)[0])
    ((n, shape, labels, rng),) = rule.calls
    assert (n, shape) == (6, SHAPE)
    assert labels is y
    assert all(isinstance(word, int) for word in rng)
    rule = Shift()
    mix_batch(x[:, 0, 0], rule=rule, rng=(1, 2))
    assert rule.calls == [(6, None, None, rng)]


def test_its_key_depends_on_the_key_of_the_batch_alone():
    def keys(draw, rng):
        rule = Shift()
        draw(rule, rng)
        return tuple(call[3] for call in rule.calls)

    draws = [
        lambda rule, rng: mix_batch(images(5), rule=rule, rng=rng),
        lambda rule, rng: OneOf([rule, rule]).plan(9, rng=rng),
        lambda rule, rng: OneOf([rule, rule], mode="elem").plan(9, rng=rng),
    ]
    for draw in draws:
        given = [7, (7,), (7, 0), (0, 7), 2**70, np.random.SeedSequence(3), None, None]
        got = [keys(draw, rng) for rng in given]
        assert got[0] == got[1] == keys(draw, 7)
        assert got[5] == keys(draw, np.random.SeedSequence(3))
        assert len(set(got)) == len(given) - 1
    (first, second), (alone,) = keys(draws[2], 7), keys(draws[0], 7)
    assert len({first, second, alone}) == 3, "rules of one batch have keys of their own"


def test_what_it_draws_by_its_key_is_a_pure_function_of_the_batchs():
    class Own:
        def plan(self, n, shape=None, labels=None, rng=None):
            return Mixup().plan(n, rng=rng)

    for rule in (Own(), OneOf([Own(), Own()]), OneOf([Own(), CutMix()], mode="elem")):
        plans = [mix_batch(images(9), rule=rule, rng=key).lam.tobytes() for key in (1, 1, 2)]
        assert plans[0] == plans[1] != plans[2]


def test_rules_with_their_own_partners_are_chosen_by_samples():
    rules = [Shift(0.25), CutMix(mode="elem", minmax=(0.25, 0.5))]
    plan, x = OneOf(rules, mode="elem").plan(40, SHAPE, rng=2), images(40)
    shifted = plan.weight != 1
    assert 5 < shifted.sum() < 35
    np.testing.assert_array_equal(plan.partner[shifted], ((np.arange(40) + 1) % 40)[shifted])
    np.testing.assert_array_equal(plan.partner[~shifted], Mixup().plan(40, rng=2).partner[~shifted])
    apart = plan.apply(x)
    assert_same_bits(plan.apply(x, out=x), apart)


@pytest.mark.parametrize("kind", KINDS)
def test_a_subclass_that_overrides_plan_is_called(kind):
    class Mine(kind):
        def plan(self, n, shape=None, labels=None, rng=None):
            return MixPlan(0.125, [0] * n)

    rule = Mine(**vars(made(kind)))
    expected = MixPlan(0.125, [0] * 4)
    assert rule.plan(4) == expected
    for mode in ("batch", "elem"):
        assert OneOf([rule], mode=mode).plan(4, SHAPE) == expected
    assert_same_bits(mix_batch(images(4), rule=rule).x, expected.apply(images(4)))


def test_a_subclass_that_only_extends_plan_draws_as_it_says():
    class Cold(Mixup):
        def plan(self, n, shape=None, labels=None, rng=None):
            return super().plan(n, shape, labels, rng) if n > 2 else MixPlan.identity(n)

    assert OneOf([Cold()]).plan(2) == MixPlan.identity(2)
    assert Cold().plan(9, rng=1) == Mixup().plan(9, rng=1)
    drawn = OneOf([Cold()]).plan(9, rng=1)
    assert drawn == OneOf([Cold()]).plan(9, rng=1)
    assert ((drawn.lam >= 0.5) & (drawn.lam < 1)).all()


def test_a_subclass_that_overrides_nothing_draws_as_its_class():
    class Same(Mixup):
        pass

    mixed = mix_batch(images(9), rule=Same(), rng=1)
    assert Same().plan(9, rng=1) == Mixup().plan(9, rng=1) == MixPlan(mixed.lam, mixed.partner)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (lambda lam, partner: None, "Shift.plan must return a MixPlan, got NoneType"),
        (lambda lam, partner: (lam, partner), "Shift.plan must return a MixPlan, got tuple"),
        (lambda lam, partner: 3, "Shift.plan must return a MixPlan, got int"),
        (lambda lam, partner: MixPlan, "Shift.plan must return a MixPlan, got type"),
    ],
)
def test_what_returns_nonsense_is_named(returns, message):
    rule, x = Shift(returns=returns), images(4)
    before = x.copy()
    for call in (
        lambda: mix_batch(x, rule=rule, out=x),
        lambda: mix_batch(x, rule=OneOf([rule]), out=x),
        lambda: OneOf([rule]).plan(4),
        lambda: OneOf([OneOf([rule])], mode="elem").plan(4),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    assert_same_bits(x, before)


@pytest.mark.parametrize("n", [0, 3, 5])
def test_a_plan_of_another_length_is_refused(n):
    rule, x = Shift(n=n), images(4)
    before = x.copy()
    for call in (
        lambda: mix_batch(x, rule=rule, out=x),
        lambda: OneOf([rule]).plan(4),
        lambda: OneOf([rule, rule], mode="elem").plan(4),
    ):
        with pytest.raises(ValueError, match=rf"\b{n}\b.*\b4\b|\b4\b.*\b{n}\b"):
            call()
    assert_same_bits(x, before)


def test_plans_for_other_spatial_shapes_are_refused():
    class Fixed:
        def __init__(self, shape):
            self.shape = shape

        def plan(self, n, shape=None, labels=None, rng=None):
            return CutMix().plan(n, self.shape, rng=rng)

    rule = OneOf([Fixed((4, 4)), Fixed((8, 8))], mode="elem")
    with pytest.raises(ValueError, match=r"of one spatial shape, got \[8, 8\] beside \[4, 4\]"):
        rule.plan(20, rng=1)
    x = images(4)
    before = x.copy()
    with pytest.raises(ValueError, match=r"the boxes are for samples of \[4, 4\]"):
        mix_batch(x, rule=Fixed((4, 4)), out=x)
    assert_same_bits(x, before)


def test_what_a_rule_raises_comes_through():
    class Failing:
        def plan(self, *_, **__):
            raise KeyError("no such label")

    x = images(4)
    before = x.copy()
    for call in (lambda: mix_batch(x, rule=Failing(), out=x), lambda: OneOf([Failing()]).plan(4)):
        with pytest.raises(KeyError, match="no such label"):
            call()
    assert_same_bits(x, before)


def test_what_a_rule_keeps_is_not_the_plan_that_is_applied():
    """The plan is copied: a rule may hand out the same one each time."""
    plan = MixPlan(0.5, [1, 0])

    class Always:
        def plan(self, *_, **__):
            return plan

    drawn = OneOf([Always()]).plan(2)
    assert drawn == plan
    assert (plan.lam.tolist(), plan.partner.tolist()) == ([0.5, 0.5], [1, 0])
