"""Rules: values that draw plans, whose options mean the same wherever they are given."""

import copy
import dataclasses
import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
from oracle import assert_applied, assert_same_bits, values
from rules import EXAMPLES, KINDS, SEVERAL, Drawn, examples, having, made, options, takes
from scipy import stats

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, OneOf, Rule, mix_batch

SHAPE = (24, 32)
each_rule = pytest.mark.parametrize("rule", EXAMPLES, ids=repr)
each_kind = pytest.mark.parametrize("kind", KINDS)


def images(n):
    return values((n, 3, *SHAPE), np.float32)


@each_kind
def test_every_rule_has_examples_of_each_of_its_options(kind):
    found = [*examples(kind), *(rule for rule in SEVERAL if type(rule) is kind)]
    # What is given of a batch alone has tests of its own.
    given = {"saliency"}
    same = [
        option
        for option in options(kind)
        if option not in given and len({getattr(rule, option) for rule in found}) == 1
    ]
    assert not same, f"add examples of {kind.__name__} with another {', '.join(same)} to tests/support/rules.py"


@each_kind
def test_the_core_reads_each_option(kind):
    """One that the dataclass has and the core does not know would be ignored without a word."""
    read = set()

    class Watched(kind):
        def __getattribute__(self, name):
            read.add(name)
            return super().__getattribute__(name)

    rule = Watched(**{name: getattr(examples(kind)[0], name) for name in options(kind)})
    read.clear()
    rule.plan(2, SHAPE, rng=1)
    lacks = {*options(kind)} - read
    assert not lacks, f"the core does not read {lacks} of {kind.__name__}: name it in its `options`, in src/rules"


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
        assert eval(repr(rule), {**vars(mixup_rs), "Drawn": Drawn}) == rule

    def test_rules_are_equal_by_value(self):
        assert len({*EXAMPLES, *(copy.copy(rule) for rule in EXAMPLES)}) == len(EXAMPLES)
        for rule in EXAMPLES:
            assert [rule == other for other in EXAMPLES].count(True) == 1
        assert Mixup() == Mixup(0.4, "elem", True, 1.0) != Mixup(0.5)
        assert Mixup() != CutMix()
        assert CutMix() == CutMix(1.0, "batch", None, 1.0)

    @pytest.mark.parametrize("sequence", [list, tuple, np.array], ids=["list", "tuple", "array"])
    def test_sequences_that_hold_the_same_make_equal_rules(self, sequence):
        given = [OneOf([Mixup(), CutMix()], probs=sequence([0.25, 0.5])), CutMix(minmax=sequence([0.25, 0.5]))]
        expected = [OneOf((Mixup(), CutMix()), probs=(0.25, 0.5)), CutMix(minmax=(0.25, 0.5))]
        assert given == expected
        assert [hash(rule) for rule in given] == [hash(rule) for rule in expected]

    def test_a_list_that_changes_later_changes_no_rule(self):
        rules, probs = [Mixup(), CutMix()], [0.5, 0.5]
        rule = OneOf(rules, probs)
        rules.append(Mixup()), probs.clear()
        assert rule == OneOf([Mixup(), CutMix()], [0.5, 0.5])

    @each_rule
    def test_rules_are_rules(self, rule):
        assert isinstance(rule, Rule)


def drawn(plan):
    """Of each sample what makes its mix: a row of its weight and its box or mask."""
    regions = [found.reshape(len(plan), -1) for found in (plan.boxes, plan.masks) if found is not None]
    return np.column_stack([plan.weight, *regions])


class TestEveryRule:
    @each_rule
    def test_a_plan_is_a_pure_function_of_its_key(self, rule, set_num_threads):
        plans = []
        for threads in (1, 2, 8):
            set_num_threads(threads)
            plans.append([rule.plan(3000, SHAPE, rng=(key, 1)) for key in range(8)])
            rule.plan(50, SHAPE)
        assert plans[0] == plans[1] == plans[2]
        assert all(plan != other for plan, other in itertools.combinations(plans[0], 2))

    @each_rule
    @pytest.mark.parametrize("n", [0, 1, 9])
    @pytest.mark.parametrize("shape", [(40,), (5, 6), (3, 4, 5)], ids=str)
    def test_what_it_draws_is_applied_alone_and_in_one_of(self, rule, shape, n):
        x = values((n, 2, *shape), np.float32)
        axes = tuple(range(2, x.ndim))
        if not takes(rule, shape):
            with pytest.raises(ValueError, match="along two spatial axes"):
                [rule.plan(3, shape, rng=key) for key in range(9)]
            return
        for each in (rule, *(OneOf([rule, Mixup()], [0.6, 0.3], mode) for mode in ("batch", "elem"))):
            for key in range(5):
                mixed = mix_batch(x, rule=each, spatial_axes=axes, rng=key)
                assert_applied(mixed.x, x, each.plan(n, shape, rng=key))
                inplace = x.copy()
                mix_batch(inplace, rule=each, spatial_axes=axes, rng=key, out=inplace)
                assert_same_bits(inplace, mixed.x)


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
        rules = [dataclasses.replace(rule, alpha=alpha) for kind in having("alpha") for rule in examples(kind)]
        rules += [dataclasses.replace(rule, mode="batch") for rule in rules if hasattr(rule, "mode")]
        rules += [OneOf(rules, mode=mode) for mode in ("elem", "batch")]
        for rule in rules:
            assert rule.plan(n, SHAPE, rng=1) == rule.plan(n, rng=1) == MixPlan.identity(n)
            assert rule.plan(0) == MixPlan.identity(0)
            mixed = mix_batch(x, y, rule=rule, rng=1)
            assert_same_bits(mixed.x, x)
            assert mixed.partner.tolist() == mixed.y_partner.tolist() == list(range(n))
        mixed = mix_batch(x, y, alpha=alpha, rng=1)
        assert_same_bits(mixed.x, x)
        assert (mixed.lam.tolist(), mixed.partner.tolist()) == ([1.0] * n, list(range(n)))

    @pytest.mark.parametrize("kind", having("prob"))
    def test_a_prob_of_1_is_the_default_and_of_0_mixes_nothing(self, kind):
        assert made(kind) == made(kind, prob=1)
        for rule, key in itertools.product(examples(kind), range(5)):
            always, never = (dataclasses.replace(rule, prob=prob).plan(9, SHAPE, rng=key) for prob in (1, 0))
            assert never.lam.tolist() == never.weight.tolist() == [1.0] * 9
            assert never.boxes is None or not never.boxes.any()
            assert_same_bits(never.partner, always.partner)
            assert_same_bits(never.apply(images(9)), images(9))

    @pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("kind", having("prob"))
    def test_prob_is_how_often_what_was_drawn_is_used(self, kind, prob):
        n = 4000
        chosen = {name: value for name, value in {"alpha": 1.0, "mode": "elem"}.items() if name in options(kind)}
        plan, always = (made(kind, **chosen, prob=p).plan(n, (40, 56), rng=(5, 1)) for p in (prob, 1.0))
        used = (drawn(plan) == drawn(always)).all(axis=1)
        unused = plan.lam == 1
        assert (used | unused).all()
        # A box that was drawn empty, whether it is used or not.
        undecided = int((used & unused).sum())
        assert undecided < 20
        assert stats.binomtest(int(used.sum()) - undecided, n - undecided, prob).pvalue > 0.01
        # Which are used does not depend on what was drawn.
        assert stats.ks_2samp(always.lam[used], always.lam[~used]).pvalue > 0.01

    @pytest.mark.parametrize("kind", having("mode", "prob"))
    def test_prob_is_of_each_lam_that_is_drawn(self, kind):
        batches = [made(kind, mode="batch", prob=0.3).plan(5, (224, 224), rng=(1, key)).lam for key in range(1000)]
        assert all(len(set(lam)) == 1 for lam in batches)
        assert stats.binomtest(sum(lam[0] != 1 for lam in batches), 1000, 0.3).pvalue > 0.01
        plan = made(kind, mode="pair", prob=0.5).plan(2000, (224, 224), rng=2)
        np.testing.assert_array_equal(drawn(plan), drawn(plan)[plan.partner])
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


def is_permuting(rule):
    """Whether a rule draws the permutation of most: neither couples nor partners of its own."""
    if isinstance(rule, OneOf):
        return all(map(is_permuting, rule.rules))
    return rule.mode != "pair" and rule.partners is None


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
        rules = [rule for rule in EXAMPLES if is_permuting(rule)]
        alone = Mixup().plan(64, rng=(9, 9))
        for probs in (None, [0.9 / len(rules)] * len(rules), [0, *[0.5 / len(rules)] * (len(rules) - 1)]):
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

    def test_a_shape_is_needed_only_where_a_box_is_drawn(self):
        assert OneOf(SEEN, [1, 0]).plan(5, rng=1).boxes is None
        with pytest.raises(ValueError, match="a box needs the shape"):
            OneOf(SEEN, [0, 1]).plan(5, rng=1)
