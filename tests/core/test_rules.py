"""Rules: values that draw plans, whose options mean the same wherever they are given."""

import copy
import dataclasses
import pickle
from collections import Counter

import numpy as np
import pytest
from oracle import assert_same_bits, values
from scipy import stats

from mixup_rs import CutMix, MixPlan, Mixup, OneOf, Rule, mix_batch

SHAPE = (24, 32)
RULES = [
    Mixup(),
    Mixup(alpha=1, mode="pair", fold=False, prob=0.5),
    CutMix(),
    CutMix(alpha=0.5, mode="elem", minmax=(0.25, 0.5), prob=0.25),
    OneOf([Mixup(0.8), CutMix(1.0)]),
    OneOf([Mixup(), OneOf([CutMix(), Mixup(mode="batch")], mode="elem")], probs=[0.25, 0.5], mode="elem"),
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def images(n, dtype=np.float32):
    return values((n, 3, *SHAPE), dtype)


class Shift:
    """A rule of somebody else: everyone is blended with the next by one weight."""

    def __init__(self, lam=0.75, n=None, returns=MixPlan):
        self.lam, self.n, self.returns, self.calls = lam, n, returns, []

    def plan(self, n, shape=None, labels=None, rng=None):
        self.calls.append((n, shape, labels, rng))
        n = n if self.n is None else self.n
        return self.returns(self.lam, np.roll(np.arange(n), -1))


class TestValues:
    @each_rule
    def test_rules_are_frozen(self, rule):
        for field in dataclasses.fields(rule):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(rule, field.name, getattr(rule, field.name))

    @each_rule
    @pytest.mark.parametrize("copied", [lambda rule: pickle.loads(pickle.dumps(rule)), copy.copy, copy.deepcopy])
    def test_copies_are_equal_and_draw_the_same(self, rule, copied):
        other = copied(rule)
        assert type(other) is type(rule)
        assert other == rule
        assert hash(other) == hash(rule)
        assert other.plan(9, SHAPE, rng=1) == rule.plan(9, SHAPE, rng=1)

    @each_rule
    def test_the_repr_makes_the_rule_again(self, rule):
        assert eval(repr(rule)) == rule

    def test_rules_are_equal_by_value(self):
        assert len({*RULES, *(copy.copy(rule) for rule in RULES)}) == len(RULES)
        for rule in RULES:
            assert [rule == other for other in RULES].count(True) == 1
        assert Mixup() == Mixup(0.4, "elem", True, 1.0) != Mixup(0.5)
        assert Mixup() != CutMix()
        assert CutMix() == CutMix(1.0, "batch", None, 1.0)

    @pytest.mark.parametrize("sequence", [list, tuple, np.array], ids=["list", "tuple", "array"])
    def test_sequences_that_hold_the_same_make_equal_rules(self, sequence):
        given = OneOf([Mixup(), CutMix()], probs=sequence([0.25, 0.5]))
        assert given == OneOf((Mixup(), CutMix()), probs=(0.25, 0.5))
        assert hash(given) == hash(OneOf((Mixup(), CutMix()), probs=(0.25, 0.5)))

    @pytest.mark.parametrize("sequence", [list, tuple, np.array], ids=["list", "tuple", "array"])
    def test_minmax_may_be_any_sequence(self, sequence):
        given = CutMix(minmax=sequence([0.25, 0.5]))
        assert given == CutMix(minmax=(0.25, 0.5))
        assert hash(given) == hash(CutMix(minmax=(0.25, 0.5)))

    def test_a_list_that_changes_later_changes_no_rule(self):
        rules, probs = [Mixup(), CutMix()], [0.5, 0.5]
        rule = OneOf(rules, probs)
        rules.append(Mixup()), probs.clear()
        assert rule == OneOf([Mixup(), CutMix()], [0.5, 0.5])

    @each_rule
    def test_rules_are_rules(self, rule):
        assert isinstance(rule, Rule)
        assert isinstance(Shift(), Rule)
        assert not isinstance(MixPlan.identity(1), Rule)


def through_mix_batch(rule, n, key):
    """The plan's lam and partner as `mix_batch` draws them."""
    mixed = mix_batch(images(n), rule=rule, rng=key)
    return mixed.lam, mixed.partner


class TestOptionsMeanTheSameEverywhere:
    @each_rule
    def test_mix_batch_draws_the_plan_of_the_rule(self, rule):
        x, y = images(9), np.arange(9)
        for key in range(8):
            plan = rule.plan(9, SHAPE, labels=y, rng=key)
            mixed = mix_batch(x, y, rule=rule, num_classes=9, rng=key)
            assert_same_bits(mixed.x, plan.apply(x))
            assert_same_bits(mixed.y, plan.apply_labels(y, num_classes=9)[0])
            assert_same_bits(mixed.lam, plan.lam)
            assert_same_bits(mixed.partner, plan.partner)

    @pytest.mark.parametrize("mode", ["elem", "pair", "batch"])
    @pytest.mark.parametrize("fold", [True, False])
    @pytest.mark.parametrize("alpha", [0, 0.4, 1.0])
    def test_mix_batch_by_options_is_mix_batch_by_the_rule(self, alpha, fold, mode):
        x, y, options = images(7), np.arange(7), {"alpha": alpha, "fold": fold, "mode": mode}
        by_options, by_rule = mix_batch(x, y, rng=3, **options), mix_batch(x, y, rule=Mixup(**options), rng=3)
        for got, expected in zip(by_rule, by_options, strict=True):
            assert_same_bits(got, expected)

    @pytest.mark.parametrize("alpha", [0, 0.0, -0.0, np.float32(0), False])
    def test_an_alpha_of_0_mixes_nothing_anywhere(self, alpha):
        n, x, y = 6, images(6), np.arange(6)
        rules = [Mixup(alpha, mode=mode) for mode in ("elem", "pair", "batch")]
        rules += [CutMix(alpha, mode=mode, minmax=bounds) for mode in ("elem", "batch") for bounds in (None, (0.5, 1))]
        rules += [OneOf([Mixup(alpha), CutMix(alpha)], mode=mode) for mode in ("elem", "batch")]
        for rule in rules:
            assert rule.plan(n, SHAPE, rng=1) == rule.plan(n, rng=1) == MixPlan.identity(n)
            assert rule.plan(0) == MixPlan.identity(0)
            mixed = mix_batch(x, y, rule=rule, rng=1)
            assert_same_bits(mixed.x, x)
            assert mixed.partner.tolist() == mixed.y_partner.tolist() == list(range(n))
        mixed = mix_batch(x, y, alpha=alpha, rng=1)
        assert_same_bits(mixed.x, x)
        assert (mixed.lam.tolist(), mixed.partner.tolist()) == ([1.0] * n, list(range(n)))

    @pytest.mark.parametrize("mode", ["elem", "pair", "batch"])
    @pytest.mark.parametrize("kind", [Mixup, CutMix])
    def test_a_prob_of_1_is_the_default_and_of_0_mixes_nothing(self, kind, mode):
        for key in range(5):
            always = kind(mode=mode).plan(9, SHAPE, rng=key)
            assert kind(mode=mode, prob=1).plan(9, SHAPE, rng=key) == always
            never = kind(mode=mode, prob=0).plan(9, SHAPE, rng=key)
            assert never.lam.tolist() == never.weight.tolist() == [1.0] * 9
            assert never.boxes is None or not never.boxes.any()
            assert_same_bits(never.partner, always.partner)
            assert_same_bits(never.apply(images(9)), images(9))

    @pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("kind", [Mixup, CutMix])
    def test_prob_is_how_often_what_was_drawn_is_used(self, kind, prob):
        n = 4000
        plan, always = (kind(alpha=1.0, mode="elem", prob=p).plan(n, (224, 224), rng=(5, 1)) for p in (prob, 1.0))
        drawn, every = (plan.weight, always.weight) if kind is Mixup else (plan.boxes, always.boxes)
        used = (drawn == every).reshape(n, -1).all(axis=1)
        unused = plan.lam == 1
        assert (used | unused).all()
        # A box that was drawn empty, whether it is used or not.
        undecided = int((used & unused).sum())
        assert undecided < 20
        assert stats.binomtest(int(used.sum()) - undecided, n - undecided, prob).pvalue > 0.01
        # Which are used does not depend on what was drawn.
        assert stats.ks_2samp(always.lam[used], always.lam[~used]).pvalue > 0.01

    @pytest.mark.parametrize("kind", [Mixup, CutMix])
    def test_prob_is_of_each_lam_that_is_drawn(self, kind):
        batches = [kind(mode="batch", prob=0.3).plan(5, (224, 224), rng=(1, key)).lam for key in range(1000)]
        assert all(len(set(lam)) == 1 for lam in batches)
        assert stats.binomtest(sum(lam[0] != 1 for lam in batches), 1000, 0.3).pvalue > 0.01
        plan = kind(mode="pair", prob=0.5).plan(2000, (224, 224), rng=2)
        shared = plan.weight if kind is Mixup else plan.boxes
        np.testing.assert_array_equal(shared, shared[plan.partner])
        couples = plan.lam[np.arange(2000) < plan.partner]
        assert stats.binomtest(int((couples != 1).sum()), 1000, 0.5).pvalue > 0.01

    def test_fold_keeps_the_greater_share(self):
        folded, raw = (Mixup(alpha=1, fold=fold).plan(999, rng=4) for fold in (True, False))
        np.testing.assert_array_equal(folded.lam, np.maximum(raw.lam, 1 - raw.lam))
        assert raw.lam.min() < 0.5

    @pytest.mark.parametrize("shape", [(1000,), (224, 160), (40, 50, 60)], ids=str)
    def test_minmax_bounds_every_side_and_any_place_is_as_likely(self, shape):
        plan = CutMix(mode="elem", minmax=(0.25, 0.75)).plan(3000, shape, rng=7)
        d = len(shape)
        starts, sides = plan.boxes[:, :d], plan.boxes[:, d:] - plan.boxes[:, :d]
        # Whole numbers to real ones, which are uniform where they are.
        rng = np.random.default_rng(0)
        for axis, whole in enumerate(shape):
            assert (sides[:, axis].min(), sides[:, axis].max()) == (whole // 4, 3 * whole // 4)
            lengths = (sides[:, axis] - whole // 4 + rng.random(3000)) / (whole // 2 + 1)
            assert stats.kstest(lengths, "uniform").pvalue > 0.001
            places = (starts[:, axis] + rng.random(3000)) / (whole - sides[:, axis] + 1)
            assert stats.kstest(places, "uniform").pvalue > 0.001
        volume = np.prod(sides / np.array(shape), axis=1)
        np.testing.assert_allclose(plan.lam, 1 - volume, atol=1e-12)

    @pytest.mark.parametrize("shape", [(3000,), (500, 600), (200, 250, 300)], ids=str)
    def test_a_box_has_the_share_and_the_shape_that_were_drawn(self, shape):
        """Of those that were not clipped: 1 - a ~ Beta, and the sides are in the proportion of the sample's."""
        plan, d = CutMix(alpha=0.8, mode="elem").plan(20_000, shape, rng=3), len(shape)
        starts, ends = plan.boxes[:, :d], plan.boxes[:, d:]
        whole = ((starts > 0) & (ends < shape)).all(axis=1)
        fractions = (ends - starts)[whole] / np.array(shape)
        assert np.ptp(fractions, axis=1).max() <= 2 / min(shape)
        centres = (starts + ends)[whole] / 2 / np.array(shape)
        small = fractions[:, 0] < 0.05
        for axis in range(d):
            inner = centres[small, axis][np.abs(centres[small, axis] - 0.5) < 0.4]
            assert stats.kstest((inner - 0.1) / 0.8, "uniform").pvalue > 0.001
        # Clipping only takes away: lam is at least what was drawn.
        drawn = Mixup(alpha=0.8, fold=False).plan(20_000, rng=3).lam
        assert (plan.lam >= drawn - 2 * d / min(shape)).all()
        np.testing.assert_allclose(plan.lam[whole], drawn[whole], atol=2 * d / min(shape))


def which(plan):
    """Of each sample, whether it is blended, cut, both or neither."""
    blended = plan.weight != 1
    cut = np.zeros(len(plan), bool) if plan.boxes is None else plan.boxes.any(axis=1)
    return [("blended" if b else "") + ("cut" if c else "") for b, c in zip(blended, cut, strict=True)]


#: Of which each sample is surely seen to be blended or cut.
SEEN = [Mixup(alpha=4, fold=False), CutMix(mode="elem", minmax=(0.25, 0.5))]


class TestOneOf:
    @pytest.mark.parametrize("mode", ["batch", "elem"])
    @pytest.mark.parametrize(
        ("probs", "expected"),
        [
            (None, (0.5, 0.5)),
            ([0.2, 0.8], (0.2, 0.8)),
            ([0.3, 0.25], (0.3, 0.25)),
            ([0, 0.5], (0, 0.5)),
            ([1, 0], (1, 0)),
        ],
        ids=str,
    )
    def test_rules_are_chosen_as_often_as_their_probs_say(self, probs, expected, mode):
        rule = OneOf(SEEN, probs, mode)
        if mode == "elem":
            seen = which(rule.plan(4000, SHAPE, rng=(1, 2)))
        else:
            batches = [which(rule.plan(4, SHAPE, rng=(1, key))) for key in range(2000)]
            assert all(len(set(batch)) == 1 for batch in batches), "a batch is of one rule"
            seen = [batch[0] for batch in batches]
        counts = Counter(seen)
        shares = {"blended": expected[0], "cut": expected[1], "": 1 - sum(expected)}
        assert set(counts) == {kind for kind, share in shares.items() if share > 1e-9}
        if len(counts) > 1:
            kinds = list(counts)
            observed = np.array([counts[kind] for kind in kinds])
            share = np.array([shares[kind] for kind in kinds])
            assert stats.chisquare(observed, observed.sum() * share / share.sum()).pvalue > 0.01

    def test_thirds_and_tenths_need_not_add_up_exactly(self):
        OneOf(SEEN[:1] * 3, probs=[1 / 3] * 3)
        plan = OneOf(SEEN[:1] * 10, probs=[0.1] * 10, mode="elem").plan(2000, rng=1)
        assert (plan.weight != 1).all()

    @pytest.mark.parametrize("mode", ["batch", "elem"])
    def test_the_rules_of_the_package_share_one_permutation(self, mode):
        rules = [Mixup(), CutMix(mode="elem"), OneOf([Mixup(mode="batch"), CutMix()], mode="elem")]
        alone = Mixup().plan(64, rng=(9, 9))
        for probs in (None, [0.2, 0.3, 0.4], [0.1, 0, 0.2]):
            for key in range(5):
                plan = OneOf(rules, probs, mode).plan(64, SHAPE, rng=(9, key))
                if mode == "elem" or (plan.lam != 1).any():
                    assert_same_bits(plan.partner, Mixup().plan(64, rng=(9, key)).partner)
                assert sorted(plan.partner) == list(range(64))
        assert_same_bits(OneOf(rules, mode="elem").plan(64, SHAPE, rng=(9, 9)).partner, alone.partner)

    def test_each_sample_has_the_plan_of_its_rule(self):
        """Chosen samples are those of the plan that the rule draws when it is chosen for all."""
        n, key = 200, (4, 4)
        rule = OneOf(SEEN, [0.4, 0.4], "elem")
        plan = rule.plan(n, SHAPE, rng=key)
        first, second = (OneOf(SEEN, probs, "elem").plan(n, SHAPE, rng=key) for probs in ([1, 0], [0, 1]))
        for i, kind in enumerate(which(plan)):
            expected = {"blended": first, "cut": second}.get(kind)
            assert plan.weight[i] == (expected.weight[i] if expected else 1)
            np.testing.assert_array_equal(plan.boxes[i], second.boxes[i] if kind == "cut" else [0] * 4)

    def test_rules_in_rules(self):
        inner = OneOf(SEEN, probs=[0.5, 0.25], mode="elem")
        counts = Counter(which(OneOf([inner, SEEN[0]], probs=[0.5, 0.25], mode="elem").plan(4000, SHAPE, rng=3)))
        shares = {"blended": 0.5, "cut": 0.125, "": 0.375}
        observed = [counts[kind] for kind in shares]
        assert stats.chisquare(observed, [4000 * share for share in shares.values()]).pvalue > 0.01
        # As deep as anybody likes.
        rule = Mixup()
        for _ in range(50):
            rule = OneOf([rule])
        assert (rule.plan(5, rng=1).lam < 1).any()

    def test_rules_alike_draw_apart(self):
        plan = OneOf([Mixup(mode="batch"), Mixup(mode="batch")], mode="elem").plan(100, rng=1)
        assert len(set(plan.lam)) == 2

    @pytest.mark.parametrize("mode", ["batch", "elem"])
    def test_an_empty_batch_and_one_sample(self, mode):
        for n in (0, 1):
            assert len(OneOf(SEEN, mode=mode).plan(n, SHAPE, rng=1)) == n

    def test_a_shape_is_needed_only_where_a_box_is_drawn(self):
        assert OneOf(SEEN, [1, 0]).plan(5, rng=1).boxes is None
        with pytest.raises(ValueError, match="a box needs the shape"):
            OneOf(SEEN, [0, 1]).plan(5, rng=1)


class TestRulesOfOthers:
    @pytest.mark.parametrize("mode", ["batch", "elem"])
    def test_in_one_of(self, mode):
        rule = Shift()
        plan = OneOf([rule], mode=mode).plan(6, SHAPE, labels=[0, 1, 2, 0, 1, 2], rng=(1, 2))
        assert plan == MixPlan(0.75 * np.ones(6), [1, 2, 3, 4, 5, 0])
        ((n, shape, labels, rng),) = rule.calls
        assert (n, shape, labels) == (6, SHAPE, [0, 1, 2, 0, 1, 2])
        assert isinstance(rng, tuple)
        assert all(isinstance(word, int) for word in rng)

    def test_in_mix_batch(self):
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

    def test_its_key_depends_on_the_key_of_the_batch_alone(self):
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

    def test_what_it_draws_by_its_key_is_a_pure_function_of_the_batchs(self):
        class Own:
            def plan(self, n, shape=None, labels=None, rng=None):
                return Mixup().plan(n, rng=rng)

        for rule in (Own(), OneOf([Own(), Own()]), OneOf([Own(), CutMix()], mode="elem")):
            plans = [mix_batch(images(9), rule=rule, rng=key).lam.tobytes() for key in (1, 1, 2)]
            assert plans[0] == plans[1] != plans[2]

    def test_rules_with_their_own_partners_are_chosen_by_samples(self):
        rules = [Shift(0.25), CutMix(mode="elem", minmax=(0.25, 0.5))]
        plan, x = OneOf(rules, mode="elem").plan(40, SHAPE, rng=2), images(40)
        shifted = plan.weight != 1
        assert 5 < shifted.sum() < 35
        np.testing.assert_array_equal(plan.partner[shifted], ((np.arange(40) + 1) % 40)[shifted])
        np.testing.assert_array_equal(plan.partner[~shifted], Mixup().plan(40, rng=2).partner[~shifted])
        apart = plan.apply(x)
        assert_same_bits(plan.apply(x, out=x), apart)

    @pytest.mark.parametrize("kind", [Mixup, CutMix, OneOf])
    def test_a_subclass_that_overrides_plan_is_called(self, kind):
        class Mine(kind):
            def plan(self, n, shape=None, labels=None, rng=None):
                return MixPlan(0.125, [0] * n)

        rule = Mine([Mixup()]) if kind is OneOf else Mine()
        expected = MixPlan(0.125, [0] * 4)
        assert rule.plan(4) == expected
        for mode in ("batch", "elem"):
            assert OneOf([rule], mode=mode).plan(4, SHAPE) == expected
        assert_same_bits(mix_batch(images(4), rule=rule).x, expected.apply(images(4)))

    def test_a_subclass_that_only_extends_plan_draws_as_it_says(self):
        class Cold(Mixup):
            def plan(self, n, shape=None, labels=None, rng=None):
                return super().plan(n, shape, labels, rng) if n > 2 else MixPlan.identity(n)

        assert OneOf([Cold()]).plan(2) == MixPlan.identity(2)
        assert Cold().plan(9, rng=1) == Mixup().plan(9, rng=1)
        drawn = OneOf([Cold()]).plan(9, rng=1)
        assert drawn == OneOf([Cold()]).plan(9, rng=1)
        assert ((drawn.lam >= 0.5) & (drawn.lam < 1)).all()

    def test_a_subclass_that_overrides_nothing_draws_as_its_class(self):
        class Same(Mixup):
            pass

        assert Same().plan(9, rng=1) == Mixup().plan(9, rng=1) == MixPlan(*through_mix_batch(Same(), 9, 1))

    @pytest.mark.parametrize(
        ("returns", "message"),
        [
            (lambda lam, partner: None, "Shift.plan must return a MixPlan, got NoneType"),
            (lambda lam, partner: (lam, partner), "Shift.plan must return a MixPlan, got tuple"),
            (lambda lam, partner: 3, "Shift.plan must return a MixPlan, got int"),
            (lambda lam, partner: MixPlan, "Shift.plan must return a MixPlan, got type"),
        ],
    )
    def test_what_returns_nonsense_is_named(self, returns, message):
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
    def test_a_plan_of_another_length_is_refused(self, n):
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

    def test_plans_for_other_spatial_shapes_are_refused(self):
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

    def test_what_a_rule_raises_comes_through(self):
        class Failing:
            def plan(self, *_, **__):
                raise KeyError("no such label")

        x = images(4)
        before = x.copy()
        for call in (lambda: mix_batch(x, rule=Failing(), out=x), lambda: OneOf([Failing()]).plan(4)):
            with pytest.raises(KeyError, match="no such label"):
                call()
        assert_same_bits(x, before)

    def test_what_a_rule_keeps_is_not_the_plan_that_is_applied(self):
        """The plan is copied: a rule may hand out the same one each time."""
        plan = MixPlan(0.5, [1, 0])

        class Always:
            def plan(self, *_, **__):
                return plan

        drawn = OneOf([Always()]).plan(2)
        assert drawn == plan
        assert (plan.lam.tolist(), plan.partner.tolist()) == ([0.5, 0.5], [1, 0])
