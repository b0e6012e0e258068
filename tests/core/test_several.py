"""More than one partner: weighted means of several samples, and what refuses them."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
from layouts import LAYOUTS, SHAPE
from oracle import DTYPES, assert_means, assert_same_bits, mean, name, soft_targets, values
from refusals import INF, NAN, case, raises, refused
from rules import SEVERAL, Fixed, plan_of
from scipy import stats

from mixup_rs import Mixer, MixPlan, Mixup, OneOf, Remix, collate, get_num_threads, mix_batch, set_num_threads

THIRDS = MixPlan.from_weights(np.full((4, 3), 1 / 3), [[1, 2], [2, 3], [3, 0], [0, 1]])


class TestApply:
    @pytest.mark.parametrize("k", [3, 5, 16])
    @pytest.mark.parametrize("dtype", DTYPES, ids=name)
    def test_samples_become_weighted_means(self, dtype, k):
        for n, seed in [(1, 0), (5, 1), (40, 2)]:
            x, plan = values((n, 3, 67), dtype, seed), plan_of(n, k, seed)
            assert_means(plan.apply(x), x, plan)
            drawn = Mixup(1.0, k=k, fold=False).plan(n, rng=seed)
            assert_means(drawn.apply(x), x, drawn)

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16], ids=name)
    def test_the_layout_changes_no_bit(self, dtype, layout):
        x, plan = LAYOUTS[layout](values(SHAPE, dtype)), plan_of(SHAPE[0], 4)
        expected = plan.apply(np.array(x, order="C"))
        result = plan.apply(x)
        assert_same_bits(result, expected)
        for out in (np.zeros(SHAPE, dtype), LAYOUTS[layout](np.zeros(SHAPE, dtype)), np.zeros(SHAPE, dtype, order="F")):
            assert plan.apply(x, out=out) is out
            assert_same_bits(out, expected)

    def test_a_new_result_has_the_layout_of_its_input(self):
        x = LAYOUTS["channels last"](values(SHAPE, np.float32))
        assert plan_of(SHAPE[0]).apply(x).strides == x.strides

    @pytest.mark.parametrize("shape", [(6, 5000), (6, 3, 700_000)])
    def test_the_number_of_threads_changes_no_bit(self, shape):
        x, plan, before = values(shape, np.float32), plan_of(6), get_num_threads()
        try:
            results = [plan.apply(x) for count in (1, 2, 3) if set_num_threads(count) is None]
        finally:
            set_num_threads(before)
        assert all(np.array_equal(result, results[0]) for result in results)
        assert_means(results[0], x, plan)

    def test_what_has_no_weight_does_not_leak(self):
        x = np.array([np.nan, 4.0, 8.0, np.inf], np.float32)
        plan = MixPlan.from_weights(
            [[0, 0.5, 0.5], [0.5, 0, 0.5], [1, 0, 0], [0.5, 0.25, 0.25]], [[1, 2], [0, 2], [0, 3], [3, 3]]
        )
        assert plan.apply(x).tolist() == [6.0, 6.0, 8.0, np.inf]
        plan = MixPlan.from_weights([[1 / 3] * 3] * 2, [[0, 1], [1, 1]])
        assert np.isnan(plan.apply(x[:2])).tolist() == [True, False]

    def test_equal_samples_stay_as_they_are(self):
        for dtype in DTYPES:
            x = np.broadcast_to(values((1, 50), dtype), (8, 50))
            plan = Mixup(1.0, k=7).plan(8, rng=1)
            assert_same_bits(plan.apply(x), x.copy())

    def test_with_one_partner_it_is_the_plan_of_two(self):
        plan = Mixup(1.0).plan(9, rng=1)
        same = MixPlan.from_weights(np.stack([plan.lam, 1 - plan.lam], axis=1), plan.partner[:, None])
        assert same == plan == MixPlan.from_weights(plan.weights, plan.partner)
        assert (same.k, same.partner.shape) == (2, (9,))
        # Floats are blended by the formula of two: a third sample without a weight changes no bit.
        x = values((9, 100), np.float32)
        weights = np.insert(plan.weights, [0, 1, 2][1], 0, axis=1)
        third = MixPlan.from_weights(weights, np.stack([(plan.partner + 1) % 9, plan.partner], axis=1))
        assert_same_bits(third.apply(x), plan.apply(x))

    def test_no_samples(self):
        plan = Mixup(k=3).plan(0, rng=1)
        assert (plan.k, len(plan), plan.weights.shape, plan.partner.shape) == (3, 0, (0, 3), (0, 2))
        assert plan.apply(np.zeros((0, 4))).shape == (0, 4)


class TestCollate:
    @pytest.mark.parametrize("dtype", DTYPES, ids=name)
    def test_it_is_as_stacked_and_mixed(self, dtype):
        for n, k in [(1, 3), (5, 3), (40, 16)]:
            x, plan = values((n, 3, 9, 131), dtype, n), plan_of(n, k)
            assert_same_bits(collate(list(x), plan), plan.apply(x))
            transposed = np.moveaxis(x, 1, 3).copy(order="C")
            assert_same_bits(collate(list(np.moveaxis(transposed, 3, 1)), plan), plan.apply(x))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64], ids=name)
    @pytest.mark.parametrize("to", [np.float32, np.float16, ml_dtypes.bfloat16], ids=name)
    def test_means_are_normalised_in_float64_and_rounded_once(self, dtype, to):
        x, plan = values((6, 3, 20, 31), dtype), plan_of(6, 4)
        mean_of, std = np.array([0.5, 0.25, 0.4]), np.array([0.25, 0.5, 0.125])
        unit = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
        exact = mean(x.astype(np.float64) / unit, plan).astype(np.float64)
        exact = (exact - mean_of[:, None, None]) / std[:, None, None]
        got = collate(list(x), plan, normalize=(mean_of, std), out=np.empty(x.shape, to)).astype(np.float64)
        with np.errstate(over="ignore"):
            nearest = exact.astype(np.float32).astype(to).astype(np.float64)
        assert (np.abs(got - exact) <= np.abs(nearest - exact) + 1e-9 * (1 + np.abs(exact))).all()


class TestPlan:
    def test_it_says_what_is_mixed(self):
        weights = [[0.5, 0.25, 0.25], [1, 0, 0]]
        plan = MixPlan.from_weights(weights, [[1, 0], [0, 0]])
        assert (plan.k, len(plan), plan.lam.tolist()) == (3, 2, [0.5, 1.0])
        np.testing.assert_array_equal(plan.weights, weights)
        assert plan.partner.dtype == np.intp
        np.testing.assert_array_equal(plan.partner, [[1, 0], [0, 0]])
        assert (plan.boxes, plan.masks, plan.spatial_shape, plan.other, plan.only_copies) == (None,) * 4 + (False,)
        assert plan.without_region() == plan.for_labels() == plan
        assert plan != MixPlan.from_weights(weights, [[1, 1], [0, 0]])
        assert plan != MixPlan.from_weights([[0.5, 0.3, 0.2], [1, 0, 0]], [[1, 0], [0, 0]])
        assert plan != MixPlan(plan.lam, [1, 0])
        plan.weights[:] = 9
        assert plan.weights.max() == 1

    @pytest.mark.parametrize("rule", SEVERAL, ids=repr)
    def test_copies_are_equal(self, rule):
        plan = rule.plan(20, rng=1)
        for same in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
            assert same == plan
            assert_same_bits(same.weights, plan.weights)
        array, intp = np.array, np.intp
        with np.printoptions(threshold=10**6, floatmode="unique"):
            assert eval(repr(plan), {"MixPlan": MixPlan, "array": array, "intp": intp}) == plan

    def test_weights_of_two_are_those_of_labels(self):
        plan = MixPlan.from_boxes([[0, 4], [0, 0]], (8,), [1, 0], weight=0.5).with_label_lam([0.25, 1.0])
        np.testing.assert_array_equal(plan.weights, [[0.25, 0.75], [1, 0]])

    def test_weights_of_float32_are_divided_by_their_sum(self):
        weights = np.random.default_rng(0).dirichlet([1] * 5, 100).astype(np.float32)
        plan = MixPlan.from_weights(weights, np.zeros((100, 4), int))
        np.testing.assert_allclose(plan.weights, weights, atol=1e-6)
        assert np.abs(plan.weights.sum(axis=1) - 1).max() < 1e-15
        assert MixPlan.from_weights(plan.weights, plan.partner) == plan

    @pytest.mark.parametrize(
        ("weights", "partner", "expected"),
        [
            ([1.0, 0.0], [0], raises(ValueError, "weights must have shape (n, k)", "[2]")),
            (1.0, [0], raises(ValueError, "weights must have shape (n, k)", "[]")),
            ([[1.0]], [[]], raises(ValueError, "k, the number of samples", "[2, 16]", "1")),
            (np.full((1, 17), 1 / 17), np.zeros((1, 16), int), raises(ValueError, "[2, 16]", "17")),
            ([["1", "0", "0"]], [[0, 0]], raises(TypeError, "weights must be floats", "<U1")),
            ([[1.0, 0, 0]], [0, 0], raises(ValueError, "partner must have shape (1, 2)", "[2]")),
            ([[1.0, 0, 0]], [[0]], raises(ValueError, "partner must have shape (1, 2)", "[1, 1]")),
            ([[1.0, 0, 0]], [[0, 1]], raises(ValueError, "partner must lie in [0, 1)", "1 at index 0")),
            ([[1.0, 0, 0]], [[0, -1]], raises(ValueError, "partner must lie in [0, 1)", "-1 at index 0")),
            ([[1.0, 0, 0]], [[0, 0.0]], raises(TypeError, "partner must be integers", "float64")),
            ([[0.5, 0.5, 0.1]], [[0, 0]], raises(ValueError, "weights must sum to 1", "1.1", "index 0")),
            ([[1, 0, 0], [0, 0, 0]], [[0, 0]] * 2, raises(ValueError, "weights must sum to 1", "0 at index 1")),
            ([[1.5, -0.5, 0]], [[0, 0]], raises(ValueError, "weights must lie in [0, 1]", "1.5 at index 0")),
            ([[NAN, 0.5, 0.5]], [[0, 0]], raises(ValueError, "weights must lie in [0, 1]", "NaN")),
            ([[INF, 0, 0]], [[0, 0]], raises(ValueError, "weights must lie in [0, 1]", "inf")),
        ],
        ids=case,
    )
    def test_wrong_ones_are_refused(self, weights, partner, expected):
        refused(lambda: MixPlan.from_weights(weights, partner), [], expected)


class TestRule:
    @pytest.mark.parametrize("alpha", [0.05, 0.4, 1.0, 3.0])
    @pytest.mark.parametrize("k", [3, 5, 16])
    def test_weights_follow_dirichlet(self, alpha, k):
        draws = 20_000
        weights = Mixup(alpha, fold=False, k=k).plan(draws, rng=(1, 2)).weights
        assert np.abs(weights.sum(axis=1) - 1).max() < 1e-15
        variance = (1 / k) * (1 - 1 / k) / (k * alpha + 1)
        np.testing.assert_allclose(weights.mean(axis=0), 1 / k, atol=4 * np.sqrt(variance / draws))
        np.testing.assert_allclose(weights.var(axis=0), variance, rtol=0.1)
        # Two of them are correlated by -1 / (k - 1), and each is of Beta(alpha, (k - 1) alpha).
        np.testing.assert_allclose(np.corrcoef(weights[:, 0], weights[:, 1])[0, 1], -1 / (k - 1), atol=0.03)
        below = weights[:, 1] < (middle := stats.beta(alpha, (k - 1) * alpha).median())
        assert abs(below.mean() - 0.5) < 4 * 0.5 / np.sqrt(draws), middle

    def test_the_own_weight_is_the_largest_where_folded(self):
        folded, plain = (Mixup(1.0, fold=fold, k=4).plan(500, rng=3).weights for fold in (True, False))
        np.testing.assert_array_equal(folded[:, 0], plain.max(axis=1))
        np.testing.assert_array_equal(np.sort(folded, axis=1), np.sort(plain, axis=1))

    @pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-10, 1e10, 1e308])
    def test_any_alpha(self, alpha):
        weights = Mixup(alpha, fold=False, k=3).plan(3000, rng=1).weights
        assert np.abs(weights.sum(axis=1) - 1).max() < 1e-15
        if alpha < 1e-9:
            np.testing.assert_allclose((weights > 0.999).mean(axis=0), 1 / 3, atol=0.04)
        else:
            np.testing.assert_allclose(weights, 1 / 3, atol=1e-4)

    @pytest.mark.parametrize(("n", "k"), [(9, 3), (3, 3), (16, 16), (2, 3), (1, 4)])
    def test_partners_differ_where_there_are_enough_samples(self, n, k):
        partner = Mixup(k=k).plan(n, rng=1).partner
        for column in partner.T:
            assert sorted(column) == list(range(n))
        for i, row in enumerate(partner):
            assert len({i, *row}) == min(n, k)

    def test_modes_and_prob(self):
        batch = Mixup(1.0, mode="batch", k=3).plan(50, rng=1).weights
        assert (batch == batch[0]).all()
        assert batch[0].max() < 1
        some = Mixup(1.0, prob=0.25, k=3).plan(2000, rng=1).weights
        assert abs((some[:, 0] < 1).mean() - 0.25) < 0.04
        for nothing in (Mixup(0.0, k=3), Mixup(1.0, prob=0.0, k=3)):
            x = values((8, 5), np.float32)
            assert_same_bits(nothing.plan(8, rng=1).apply(x), x)
        assert Mixup(0.0, k=3).plan(8, rng=1) == MixPlan.identity(8)

    def test_what_another_rule_calls_k_is_its_own_affair(self):
        class Neighbours(Fixed):
            k = 5

        plan = MixPlan(0.5, [1, 0])
        assert OneOf([Neighbours(plan)]).plan(2, rng=1) == plan
        assert Remix(Neighbours(plan)).plan(2, labels=[0, 1], rng=1) == plan

    def test_a_key_gives_one_plan(self):
        assert Mixup(k=3).plan(30, rng=(1, 2)) == Mixup(k=3).plan(30, rng=(1, 2))
        assert Mixup(k=3).plan(30, rng=(1, 2)) != Mixup(k=3).plan(30, rng=(1, 3))
        assert Mixup(k=2).plan(30, rng=1) == Mixup().plan(30, rng=1)


class TestLabels:
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_class_indices_become_soft_targets_of_all(self, label_smoothing):
        for seed in range(5):
            plan, y = plan_of(30, 4, seed), np.random.default_rng(seed).integers(0, 6, 30)
            soft, nothing = plan.apply_labels(y, num_classes=6, label_smoothing=label_smoothing)
            hot = soft_targets(y, np.ones(30), np.arange(30), 6, label_smoothing)
            assert (nothing, soft.dtype) == (None, np.float32)
            np.testing.assert_allclose(soft, mean(hot, plan), atol=1e-7)

    def test_others_are_blended(self):
        plan, y = plan_of(30), np.random.default_rng(0).random((30, 5))
        np.testing.assert_allclose(plan.apply_labels(y)[0], mean(y, plan).astype(float), rtol=1e-12)
        for hot in ((y > 0.5), (y > 0.5).astype(int)):
            got = plan.apply_labels(hot, num_classes=None if hot.dtype == bool else 5)[0]
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, mean(hot.astype(float), plan).astype(float), atol=1e-6)

    def test_a_pair_is_refused(self):
        refused(lambda: THIRDS.apply_labels([0, 1, 2, 0]), [], raises(ValueError, "pair", "3 samples", "num_classes"))


X = values((4, 3, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: THIRDS.apply(X, other=X), raises(ValueError, "partners are samples of the batch itself")),
        (lambda: THIRDS.apply(X[:3]), raises(ValueError, "4 samples", "3")),
        (lambda: THIRDS.apply(np.ones((4, 2), int)), raises(TypeError, "x must have dtype", "int64")),
        (lambda: THIRDS.with_label_lam(0.5), raises(ValueError, "a weight of labels", "k=3")),
        (lambda: THIRDS.apply_boxes([np.zeros((1, 4))] * 4, [[0]] * 4), raises(ValueError, "two samples", "k=2")),
        (lambda: THIRDS.apply_keypoints([np.zeros((1, 2))] * 4), raises(ValueError, "two samples", "k=2")),
        (lambda: mix_batch(X, other=X, rule=Mixup(k=3)), raises(ValueError, "other needs one partner", "k=3")),
        (lambda: mix_batch(X, [0, 1, 2, 0], rule=Mixup(k=3)), raises(ValueError, "pair", "num_classes")),
        (lambda: mix_batch(X, [0, 1, 2, 0], rule=Mixup(k=3), out=X), raises(ValueError, "pair", "num_classes")),
        (lambda: Mixer(Mixup(k=3))((X, np.arange(4))), raises(ValueError, "entry 1", "pair", "num_classes")),
        (lambda: Mixer(Mixup(k=3))((X,), other=(X,)), raises(ValueError, "other needs one partner")),
        (
            lambda: OneOf([Fixed(THIRDS)], mode="elem").plan(4, rng=1),
            raises(ValueError, "a choice of rules", "k=3"),
        ),
        (lambda: Remix(Fixed(THIRDS)).plan(4, labels=[0, 1, 2, 0]), raises(ValueError, "Remix", "k=3")),
    ],
)
def test_what_needs_one_partner_refuses_several(call, expected):
    refused(call, [X], expected)


class TestFronts:
    def test_mix_batch(self):
        x, y = values((8, 3, 6), np.float32), np.arange(8) % 3
        mixed, plan = mix_batch(x, y, rule=Mixup(k=3), num_classes=3, rng=1), Mixup(k=3).plan(8, rng=1)
        assert_same_bits(mixed.x, plan.apply(x))
        assert_same_bits(mixed.y, plan.apply_labels(y, num_classes=3)[0])
        assert (mixed.y_partner, mixed.partner.shape) == (None, (8, 2))
        np.testing.assert_array_equal(mixed.lam, plan.lam)

    def test_mixer(self):
        batch = {"image": values((8, 3, 6), ml_dtypes.bfloat16), "label": np.arange(8) % 3}
        mixed, plan = Mixer(Mixup(k=3), num_classes=3)(batch, key=1), Mixup(k=3).plan(8, rng=1)
        assert_same_bits(mixed["image"], plan.apply(batch["image"]))
        assert_same_bits(mixed["label"], plan.apply_labels(batch["label"], num_classes=3)[0])

    def test_masks_of_where_there_is_data_are_of_all(self):
        batch = {"inputs_embeds": values((4, 3, 2), np.float32), "attention_mask": np.tri(4, 3, dtype=int)[::-1].copy()}
        plan = MixPlan.from_weights(
            [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [[1, 0], [2, 0], [1, 3], [2, 1]]
        )
        mixed = Mixer(Fixed(plan), inputs="inputs_embeds")(batch)["attention_mask"]
        mask = batch["attention_mask"]
        expected = [mask[0], mask[1] | mask[2], mask[2] | mask[3], mask[2] | mask[1]]
        np.testing.assert_array_equal(mixed, expected)
