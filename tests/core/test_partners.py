"""Partners chosen by labels or by a function: their laws, what else of a plan stays, and what is refused."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from oracle import assert_applied, assert_means, assert_same_bits, values
from partners import classes_of, law
from refusals import INF, NAN, case, raises, refused
from rules import having, made
from scipy import stats

import mixup_rs
from mixup_rs import Across, Balanced, CMixup, Mixer, MixPlan, Mixup, OneOf, Within, mix_batch

SHAPE = (12, 16)
CLASSES = [0, 1, 0, 2, 0, 1, 0, 0]
NUMBERS = [0.0, 0.1, 0.9, 1.0, 1.05, 3.0, -0.2, 0.1]
POINTS = np.stack([NUMBERS, np.roll(NUMBERS, 3)], axis=1)
KINDS = [Within(), Across(), Balanced(), CMixup(bandwidth=0.3)]
each_kind = pytest.mark.parametrize("partners", KINDS, ids=repr)
each_rule = pytest.mark.parametrize("kind", having("partners"))


def labels_for(partners):
    return NUMBERS if isinstance(partners, CMixup) else CLASSES


def drawn(partners, labels, draws, **options):
    rule = Mixup(partners=partners, **options)
    return np.array([rule.plan(len(labels), labels=labels, rng=(7, key)).partner for key in range(draws)])


class TestLaw:
    @pytest.mark.parametrize(
        ("partners", "labels"),
        [
            *[(partners, labels_for(partners)) for partners in KINDS],
            (CMixup(bandwidth=1.0), POINTS),
            (CMixup(bandwidth=2), CLASSES),
            (Within(), [0, 1, 2, 3]),
            (Across(), [5, 5, 5]),
            (Across(), [1]),
            (Balanced(), np.eye(3)[[0, 0, 0, 0, 2]]),
        ],
        ids=case,
    )
    def test_each_partner_is_as_likely_as_the_law_says(self, partners, labels):
        draws = 4000
        partner, expected = drawn(partners, labels, draws), law(partners, labels) * draws
        for i in range(len(labels)):
            counts = np.bincount(partner[:, i], minlength=len(labels))
            possible = expected[i] > 0
            assert not counts[~possible].any()
            rare = possible & (expected[i] < 5)
            # Rare ones count together.
            observed = [*counts[possible & ~rare], counts[rare].sum()]
            share = [*expected[i][possible & ~rare], expected[i][rare].sum()]
            if rare.any() and share[-1] < 5:
                assert observed[-1] < 20
                observed, share = observed[:-1], [each * sum(observed[:-1]) / sum(share[:-1]) for each in share[:-1]]
            if not rare.any():
                observed, share = observed[:-1], share[:-1]
            assert len(share) < 2 or stats.chisquare(observed, share).pvalue > 1e-4

    @each_kind
    @pytest.mark.parametrize("k", [3, 5])
    def test_several_are_drawn_as_one_is_and_independently(self, partners, k):
        labels, draws = labels_for(partners), 1500
        partner = drawn(partners, labels, draws, k=k)
        assert partner.shape == (draws, 8, k - 1)
        for i, row in enumerate(law(partners, labels)):
            # Of two partners of a sample each pair of samples is as likely as the law says of both.
            expected = np.outer(row, row) * draws
            seen = np.zeros((8, 8))
            np.add.at(seen, (partner[:, i, 0], partner[:, i, k - 2]), 1)
            assert not seen[expected == 0].any()
            often = expected >= 5
            assert (
                often.sum() < 2
                or stats.chisquare(
                    [*seen[often], seen[~often].sum() + 1], [*expected[often], expected[~often].sum() + 1]
                ).pvalue
                > 1e-4
            )

    @each_kind
    def test_samples_draw_independently(self, partners):
        partner = drawn(partners, labels_for(partners), 3000)
        table = np.zeros((8, 8))
        np.add.at(table, (partner[:, 0], partner[:, 4]), 1)
        table = table[table.sum(axis=1) > 50][:, table.sum(axis=0) > 50]
        assert stats.chi2_contingency(table).pvalue > 1e-3

    def test_large_batches_are_drawn_in_parts(self):
        """More weights than are computed at once: the parts continue each other."""
        labels = np.random.default_rng(0).random(2500)
        partner = CMixup(bandwidth=0.01)(2500, labels, np.random.default_rng(1))
        uniform = np.random.default_rng(1).random(2500)
        for i in (0, 418, 419, 420, 2499):
            ends = np.exp(-0.5 * ((labels - labels[i]) / 0.01) ** 2).cumsum()
            assert partner[i] == np.searchsorted(ends, uniform[i] * ends[-1], "right")
        distance = (labels[partner] - labels) / 0.01
        # Far from the ends the difference is normal.
        inner = distance[np.abs(labels - 0.5) < 0.4]
        assert stats.kstest(inner, "norm").pvalue > 0.001

    @pytest.mark.parametrize("bandwidth", [1e-300, 1e-9, 1e300])
    @pytest.mark.parametrize("labels", [[1e308, -1e308, 0.0], [1e-300, 0, 1]], ids=str)
    def test_the_widest_labels_have_partners(self, labels, bandwidth):
        partner = drawn(CMixup(bandwidth=bandwidth), labels, 200)
        with np.errstate(over="ignore", under="ignore"):
            expected = [np.exp(-0.5 * np.square(np.subtract(a, labels) / bandwidth)) > 0 for a in labels]
        for i, possible in enumerate(expected):
            assert {*partner[:, i]} == {*np.flatnonzero(possible)}


#: By key (42, 0): the partners of CLASSES and NUMBERS. A change breaks every experiment that relies on its keys.
PINNED = {
    "Within()": [7, 5, 7, 3, 0, 1, 0, 6],
    "Across()": [3, 4, 3, 0, 1, 0, 1, 3],
    "Balanced()": [3, 1, 3, 4, 0, 6, 7, 3],
    "CMixup(bandwidth=0.3)": [7, 1, 4, 2, 2, 5, 0, 7],
}


class TestPlan:
    @each_kind
    def test_a_key_always_gives_these_partners(self, partners):
        plan = Mixup(partners=partners).plan(8, labels=labels_for(partners), rng=(42, 0))
        assert plan.partner.tolist() == PINNED[repr(partners)]
        assert mixup_rs.STREAM_VERSION == 1

    @each_rule
    @each_kind
    def test_all_else_is_what_the_rule_draws_without(self, kind, partners):
        labels = labels_for(partners)
        for key in range(5):
            plan = made(kind, partners=partners).plan(8, SHAPE, labels, rng=key)
            plain = made(kind).plan(8, SHAPE, rng=key)
            assert_same_bits(plan.lam, plain.lam)
            assert_same_bits(plan.weight, plain.weight)
            for got, expected in ((plan.boxes, plain.boxes), (plan.masks, plain.masks)):
                assert (got is None) == (expected is None)
                assert got is None or (got == expected).all()
            assert_same_bits(plan.partner, made(Mixup, partners=partners).plan(8, labels=labels, rng=key).partner)

    @each_rule
    def test_it_is_applied_in_place_and_out_of_it(self, kind):
        x, rule = values((8, 3, *SHAPE), np.float32), made(kind, partners=Balanced())
        for key in range(4):
            mixed = mix_batch(x, CLASSES, rule=rule, num_classes=3, rng=key)
            plan = rule.plan(8, SHAPE, CLASSES, rng=key)
            assert_same_bits(mixed.partner, plan.partner)
            assert_applied(mixed.x, x, plan)
            assert_same_bits(mixed.y, plan.apply_labels(CLASSES, num_classes=3)[0])
            inplace = x.copy()
            mix_batch(inplace, CLASSES, rule=rule, num_classes=3, rng=key, out=inplace)
            assert_same_bits(inplace, mixed.x)

    def test_a_sample_without_an_eligible_partner_stays_as_it_is(self):
        x = values((4, 5), np.float32)
        mixed = mix_batch(x, [0, 1, 1, 2], rule=Mixup(1.0, partners=Within()), num_classes=3, rng=1)
        assert_same_bits(mixed.x[[0, 3]], x[[0, 3]])
        np.testing.assert_array_equal(mixed.y, np.eye(3, dtype=np.float32)[[0, 1, 1, 2]])
        assert not (mixed.x[1:3] == x[1:3]).any()

    @each_kind
    def test_labels_of_the_rule_come_before_those_of_the_batch(self, partners):
        labels = labels_for(partners)
        own = dataclasses.replace(partners, labels=labels)
        expected = Mixup(partners=partners).plan(8, labels=labels, rng=3)
        assert Mixup(partners=own).plan(8, rng=3) == expected
        assert Mixup(partners=own).plan(8, labels=[9] * 8, rng=3) == expected

    @each_rule
    def test_an_alpha_of_0_asks_for_no_labels(self, kind):
        if "alpha" in kind.__dataclass_fields__:
            assert made(kind, alpha=0, partners=Within()).plan(8) == MixPlan.identity(8)

    @each_kind
    @pytest.mark.parametrize("mode", ["elem", "batch"])
    def test_weights_of_several_are_what_the_rule_draws_without(self, mode, partners):
        options = {"alpha": 1.0, "k": 4, "mode": mode, "prob": 0.5}
        for key in range(5):
            plan = Mixup(**options, partners=partners).plan(8, labels=labels_for(partners), rng=key)
            assert_same_bits(plan.weights, Mixup(**options).plan(8, rng=key).weights)
            # The first is the one of two.
            one = Mixup(partners=partners).plan(8, labels=labels_for(partners), rng=key)
            assert_same_bits(plan.partner[:, 0], one.partner)
            for x in (values((8, 3, 7), np.float32), values((8, 3, 7), np.uint8)):
                assert_means(plan.apply(x), x, plan)

    def test_who_has_no_partner_stays(self):
        x = values((4, 5), np.float32)
        plan = Mixup(1.0, k=3, fold=False, partners=Within()).plan(4, labels=[0, 1, 2, 3], rng=1)
        assert_same_bits(plan.apply(x), x)
        assert Mixup(0.0, k=3, partners=Within()).plan(4) == MixPlan.identity(4)

    @each_kind
    def test_no_samples_have_no_partners(self, partners):
        assert len(Mixup(k=3, partners=partners).plan(0, labels=[])) == 0
        assert len(Mixup(partners=partners).plan(0, labels=[])) == 0
        assert len(Mixup(partners=partners).plan(0, labels=np.empty((0, 3)))) == 0


class TestOneOf:
    @pytest.mark.parametrize("mode", ["batch", "elem"])
    def test_rules_with_the_same_partners_share_them(self, mode):
        rule = OneOf([made(kind, partners=Within()) for kind in having("partners")], mode=mode)
        for key in range(4):
            plan = rule.plan(8, SHAPE, CLASSES, rng=key)
            assert_same_bits(plan.partner, Mixup(partners=Within()).plan(8, labels=CLASSES, rng=key).partner)

    def test_each_rule_has_its_own(self):
        labels = np.arange(40) % 4
        rule = OneOf([Mixup(partners=Within()), made(mixup_rs.CutMix, mode="elem", partners=Across())], mode="elem")
        plan = rule.plan(40, SHAPE, labels, rng=1)
        blended, same = plan.weight != 1, labels[plan.partner] == labels
        cut = (plan.lam != 1) & ~blended
        assert blended.any()
        assert cut.any()
        assert same[blended].all()
        assert not same[cut].any()


class TestLabels:
    soft = np.full((8, 3), 0.05) + 0.85 * np.eye(3)[CLASSES]

    @pytest.mark.parametrize("partners", KINDS[:3], ids=repr)
    @pytest.mark.parametrize(
        "labels",
        [
            tuple(CLASSES),
            np.array(CLASSES, np.uint8),
            np.array(CLASSES) * 7 - 3,
            np.array(["b", "d", "f"])[CLASSES],
            np.eye(3)[CLASSES],
            np.eye(3, dtype=int)[CLASSES],
            np.eye(3, dtype=bool)[CLASSES],
            np.eye(3)[CLASSES].tolist(),
            soft,
            soft.astype(np.float16),
        ],
        ids=lambda labels: type(labels).__name__ + str(getattr(labels, "dtype", "")),
    )
    def test_classes_come_in_many_forms(self, labels, partners):
        expected = Mixup(partners=partners).plan(8, labels=CLASSES, rng=3)
        assert Mixup(partners=partners).plan(8, labels=labels, rng=3) == expected

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_numbers_come_in_many_forms(self, dtype):
        rule = Mixup(partners=CMixup(bandwidth=0.3))
        labels = np.array(NUMBERS, dtype)
        expected = rule.plan(8, labels=labels, rng=3)
        for same in (labels.tolist(), labels[:, None], np.repeat(labels, 2)[::2]):
            assert rule.plan(8, labels=same, rng=3) == expected

    def test_a_function_gets_the_number_the_labels_and_a_generator(self):
        calls = []

        def following(n, labels, rng):
            calls.append((n, labels, rng.integers(1 << 62)))
            return np.roll(np.arange(n), -1)

        rule = Mixup(partners=following)
        plans = [rule.plan(3, labels=labels, rng=key) for labels, key in ((None, 1), ([4, 5, 6], 1), (None, 2))]
        assert all(plan.partner.tolist() == [1, 2, 0] for plan in plans)
        (n, none, first), (_, labels, again), (_, _, other) = calls
        assert (n, none, first) == (3, None, again)
        assert other != first
        np.testing.assert_array_equal(labels, [4, 5, 6])


class TestFronts:
    """Every front gives the rule the labels of the batch."""

    @pytest.mark.parametrize("rule", [Mixup(partners=Within()), OneOf([Mixup(partners=Within())])], ids=repr)
    @pytest.mark.parametrize("labels", [np.array(CLASSES), np.eye(3, dtype=np.float32)[CLASSES], CLASSES], ids=type)
    def test_mixer(self, rule, labels):
        x = values((8, 3, *SHAPE), np.float32)
        mask = np.zeros((8, *SHAPE), np.int64)
        plan = rule.plan(8, SHAPE, labels, rng=(1, 2))
        for batch in ((x, labels), (x, mask, labels)):
            mixed = Mixer(rule, rng=1)(batch, key=2)
            assert_same_bits(mixed[0], plan.apply(x))
        mixed = Mixer(rule, rng=1)({"image": x, "id": np.arange(8), "label": labels}, key=2)
        assert_same_bits(mixed["image"], plan.apply(x))

    def test_a_batch_without_labels_is_refused(self):
        with pytest.raises(ValueError, match="Within needs the labels of the batch"):
            Mixer(Mixup(partners=Within()))((values((8, 3, *SHAPE), np.float32),), key=1)


class TestValues:
    both = pytest.mark.parametrize(
        "partners",
        [
            *KINDS,
            Within(CLASSES),
            Balanced(np.eye(3)[[0, 2]]),
            CMixup(NUMBERS, bandwidth=2),
            CMixup(POINTS, bandwidth=1),
        ],
        ids=repr,
    )

    @both
    @pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
    def test_copies_are_equal(self, partners, copied):
        other = copied(partners)
        assert other == partners
        assert hash(other) == hash(partners)
        assert other.labels is None or not other.labels.flags.writeable
        assert Mixup(partners=other) == Mixup(partners=partners) != Mixup()

    @both
    def test_the_repr_makes_it_again(self, partners):
        assert eval(repr(partners), {**vars(mixup_rs)}) == partners

    def test_many_labels_are_not_all_shown(self):
        assert len(repr(Within(np.arange(10_000)))) < 100

    def test_they_are_equal_by_value(self):
        all_ = [*KINDS, *(kind(CLASSES) for kind in (Within, Across, Balanced)), CMixup(bandwidth=0.25)]
        all_ += [Within([0, 1]), CMixup(NUMBERS, bandwidth=0.3), CMixup(POINTS, bandwidth=0.3)]
        assert len({*all_, *(copy.copy(one) for one in all_)}) == len(all_)
        assert Within() != "Within()"

    def test_labels_that_change_later_change_nothing(self):
        labels = np.array(CLASSES)
        partners = Within(labels)
        labels[:] = 0
        assert partners == Within(CLASSES)
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(partners.labels)[0] = 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            partners.labels = None


CLASSES_OR = "class indices (n,), or shares (n, classes) which sum to 1"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: CMixup(bandwidth=0), raises(ValueError, "bandwidth must be a finite number above 0", "0.0")),
        (lambda: CMixup(bandwidth=-1.5), raises(ValueError, "bandwidth must be a finite number above 0", "-1.5")),
        (lambda: CMixup(bandwidth=NAN), raises(ValueError, "bandwidth must be a finite number above 0", "nan")),
        (lambda: CMixup(bandwidth=INF), raises(ValueError, "bandwidth must be a finite number above 0", "inf")),
        (lambda: CMixup(bandwidth="wide"), raises(TypeError, "bandwidth must be a finite number above 0", "'wide'")),
        (lambda: CMixup(bandwidth=None), raises(TypeError, "bandwidth must be a finite number above 0", "None")),
        (lambda: CMixup(NUMBERS), raises(TypeError, "bandwidth")),
        (lambda: CMixup([0.0, NAN], bandwidth=1), raises(ValueError, "labels that are finite", "nan at index 1")),
        (lambda: CMixup([[0, 1], [INF, 0]], bandwidth=1), raises(ValueError, "finite", "[inf, 0.0] at index 1")),
        (lambda: CMixup(["a"], bandwidth=1), raises(TypeError, "labels that are numbers", "<U1")),
        (lambda: CMixup([True], bandwidth=1), raises(TypeError, "labels that are numbers", "bool")),
        *[
            (lambda kind=kind, wrong=wrong: kind(wrong), expected)
            for kind in (Within, Across, Balanced)
            for wrong, expected in [
                (3, raises(ValueError, kind.__name__, "(n,) or (n, k)", "()")),
                (np.zeros((2, 3, 4)), raises(ValueError, "(n,) or (n, k)", "(2, 3, 4)")),
                (np.zeros((2, 0)), raises(ValueError, "(n,) or (n, k)", "(2, 0)")),
                (NUMBERS, raises(TypeError, kind.__name__, CLASSES_OR, "float64 of shape (8,)", "CMixup")),
                ([None, 1], raises(TypeError, CLASSES_OR, "object")),
                ([["a", "b"]], raises(TypeError, CLASSES_OR, "<U1 of shape (1, 2)")),
                ([[0, 1], [1, 1]], raises(ValueError, CLASSES_OR, "[1, 1] at index 1")),
                ([[False, False]], raises(ValueError, CLASSES_OR, "[False, False] at index 0")),
                ([[0.5, 0.25]], raises(ValueError, CLASSES_OR, "[0.5, 0.25] at index 0")),
                ([[0.5, NAN]], raises(ValueError, CLASSES_OR, "nan")),
            ]
        ],
    ],
)
def test_labels_and_options_are_refused_when_partners_are_made(make, expected):
    refused(make, [], expected)


NOT_PARTNERS = "partners must be None or a function of (n, labels, rng), such as Within()"


@each_rule
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"partners": 3}, raises(TypeError, NOT_PARTNERS, "int")),
        ({"partners": "within"}, raises(TypeError, NOT_PARTNERS, "str")),
        ({"partners": [1, 0]}, raises(TypeError, NOT_PARTNERS, "list")),
        ({"partners": np.array([1, 0])}, raises(TypeError, NOT_PARTNERS, "ndarray")),
        # The parentheses were forgotten.
        ({"partners": Within}, raises(TypeError, NOT_PARTNERS, "the class mixup_rs.partners.Within")),
        ({"partners": Within(), "mode": "pair"}, raises(ValueError, "partners", "mode='pair'")),
    ],
    ids=case,
)
def test_partners_are_refused_when_the_rule_is_made(kind, options, expected):
    refused(lambda: made(kind, **options), [], expected)


def returning(what):
    def chosen(n, labels, rng):
        return what

    return chosen


@pytest.mark.parametrize(
    ("partners", "labels", "expected"),
    [
        (Within(), None, raises(ValueError, "Within needs the labels of the batch", "rule.plan(n, labels=...)")),
        (CMixup(bandwidth=1), None, raises(ValueError, "CMixup needs the labels of the batch")),
        (Within(), [0, 1, 2], raises(ValueError, "Within has labels of 3 samples, the batch has 4")),
        (Within([0, 1, 2]), [0, 1, 2, 3], raises(ValueError, "Within has labels of 3 samples, the batch has 4")),
        (Within(), [0.5, 1, 2, 3], raises(TypeError, CLASSES_OR, "float64")),
        (CMixup(bandwidth=1), [0, 1, NAN, 3], raises(ValueError, "finite", "index 2")),
        (returning([0, 1, 2]), None, raises(ValueError, "chosen must return 4 integers", "(3,)")),
        (returning([[0, 1, 2, 3]]), None, raises(ValueError, "chosen must return 4 integers", "(1, 4)")),
        (returning(2), None, raises(ValueError, "chosen must return 4 integers", "()")),
        (returning(None), None, raises(ValueError, "chosen must return 4 integers", "object")),
        (returning([0.0, 1, 2, 3]), None, raises(ValueError, "chosen must return 4 integers", "float64")),
        (returning([True] * 4), None, raises(ValueError, "chosen must return 4 integers", "bool")),
        (returning([0, 1, 2, 4]), None, raises(ValueError, "integers in [0, 4)", "4 at index 3")),
        (returning([0, -1, 2, 0]), None, raises(ValueError, "integers in [0, 4)", "-1 at index 1")),
        (lambda n, labels: None, None, raises(TypeError, "argument")),
    ],
)
def test_what_partners_cannot_be_drawn_by_is_refused(partners, labels, expected):
    x, rule = values((4, 3), np.float32), Mixup(partners=partners)
    refused(lambda: rule.plan(4, labels=labels), [], expected)
    refused(lambda: Mixup(k=3, partners=partners).plan(4, labels=labels), [], expected)
    refused(lambda: OneOf([rule]).plan(4, labels=labels), [], expected)
    refused(lambda: mix_batch(x, labels, rule=rule), [x], expected)
    refused(lambda: mix_batch(x, labels, rule=rule, out=x), [x], expected)


def test_the_oracle_sees_classes_in_shares():
    assert classes_of(TestLabels.soft).tolist() == CLASSES
