"""Masks: the share of each pixel, given or drawn, against the oracle; what they are made of and how they are kept."""

import pickle

import model
import numpy as np
import pytest
from layouts import AXES, LAYOUTS, PARTNERS, SHAPE
from oracle import (
    DTYPES,
    assert_applied,
    assert_normalized,
    assert_same_bits,
    bits,
    lam_of,
    name,
    shares,
    values,
)
from refusals import HUGE, INF, NAN, case, raises, refused
from rules import OF_MASKS
from scipy import stats

import mixup_rs
from mixup_rs import CutMix, FMix, GridMix, MixPlan, Mixup, OneOf, SmoothMix, mix_batch

KINDS = {
    "bool": lambda drawn: drawn > 0.4,
    "uint8": lambda drawn: (drawn * 256).astype(np.uint8),
    "float16": lambda drawn: drawn.astype(np.float16),
    "float32": lambda drawn: drawn.astype(np.float32),
    "float64": lambda drawn: drawn,
}


def masks_along(axes, kind, each=True, seed=0, d=2):
    """Shares of 0, 1, ½ and between, along these axes of SHAPE."""
    axes = range(len(SHAPE) - d, len(SHAPE)) if axes is None else axes
    spatial = tuple(SHAPE[axis] for axis in axes)
    rng = np.random.default_rng(seed)
    drawn = rng.random((SHAPE[0], *spatial) if each else spatial)
    drawn = np.where(rng.random(drawn.shape) < 0.4, rng.choice([0, 1, 0.5, 1e-9], drawn.shape), drawn)
    return KINDS[kind](drawn), spatial


def exact(masks):
    """As shares."""
    return masks / 255 if masks.dtype == np.uint8 else masks.astype(np.float64)


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_along_any_axes_it_equals_the_oracle_and_the_model(dtype, kind, axes):
    for each, partner in [(True, "permutation"), (False, "permutation"), (True, "repeated")]:
        masks, spatial = masks_along(axes, kind, each)
        plan, x = MixPlan.from_masks(masks, PARTNERS[partner], spatial), values(SHAPE, dtype)
        original, expected = x.copy(), model.applied(x, plan, axes)
        apart = plan.apply(x, spatial_axes=axes)
        assert_same_bits(x, original)
        assert_applied(apart, x, plan, axes)
        assert_same_bits(apart, expected)
        assert_same_bits(mixup_rs.collate(list(x), plan, spatial_axes=axes), expected)
        assert plan.apply(x, out=x, spatial_axes=axes) is x
        assert_same_bits(x, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axes", [None, (1,), (1, 2), (4, 2), (1, 2, 3), (4, 1, 3)], ids=str)
@pytest.mark.parametrize("kind", ["bool", "float32"])
def test_in_any_layout(kind, axes, layout):
    masks, spatial = masks_along(axes, kind)
    plan, x = MixPlan.from_masks(masks, PARTNERS["permutation"], spatial), LAYOUTS[layout](values(SHAPE, np.float32))
    expected = model.applied(x, plan, axes)
    assert_same_bits(plan.apply(x, spatial_axes=axes), expected)
    for out in (np.empty_like(x), np.empty(SHAPE, np.float32, order="F"), np.empty((*SHAPE, 2), "f4")[::-1, ..., 1]):
        assert_same_bits(plan.apply(x, out=out, spatial_axes=axes), expected)
    plan.apply(x, out=x, spatial_axes=axes)
    assert_same_bits(x, expected)


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("kind", ["bool", "float32", "uint8"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16], ids=name)
def test_large_batches_on_any_number_of_threads(dtype, kind, each, set_num_threads):
    rng = np.random.default_rng(1)
    masks = KINDS[kind](rng.random((6, 400, 401) if each else (400, 401)))
    plan = MixPlan.from_masks(masks, PARTNERS["permutation"])
    for axes, shape in [((2, 3), (6, 3, 400, 401)), ((1, 2), (6, 400, 401, 3))]:
        x = values(shape, np.uint8, seed=2).astype(dtype)
        expected = model.applied(x, plan, axes)
        for threads in (1, 2, 8):
            set_num_threads(threads)
            assert_same_bits(plan.apply(x, spatial_axes=axes), expected)
            own = x.copy()
            assert_same_bits(plan.apply(own, out=own, spatial_axes=axes), expected)
            assert_same_bits(mixup_rs.collate(list(x), plan, spatial_axes=axes), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.complex128, np.int64, "U2", ">f4", "M8[s]"], ids=str)
def test_hard_masks_take_elements_that_cannot_be_blended(dtype):
    masks, spatial = masks_along(None, "bool")
    x = values(SHAPE, np.uint8).astype(np.uint16).astype(dtype)
    plan = MixPlan.from_masks(masks, PARTNERS["permutation"], spatial)
    assert plan.only_copies
    expected = model.applied(x, plan)
    assert_same_bits(plan.apply(x), expected)
    assert_same_bits(plan.apply(x, out=x), expected)
    soft = MixPlan.from_masks(masks * 0.5, PARTNERS["permutation"], spatial)
    assert not soft.only_copies
    with pytest.raises(TypeError, match="x must have dtype"):
        soft.apply(x)


@pytest.mark.parametrize("axes", [None, (1,), (1, 2), (4, 2), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("channels", ["first", "last", "one"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounded", [np.float32, np.float16], ids=name)
def test_collate_normalises_what_it_applied(rounded, kind, channels, axes, set_num_threads):
    masks, spatial = masks_along(axes, kind)
    plan, x = MixPlan.from_masks(masks, PARTNERS["repeated"], spatial), values(SHAPE, np.uint8)
    count = {"first": 4, "last": 3, "one": 1}[channels]
    mean, std = np.array([0.485, 0.456, 0.406, 0.5])[:count], np.array([0.229, 0.224, 0.225, 0.25])[:count]
    like_sample = (count, 1, 1, 1) if channels == "first" else (count,)
    results = []
    for threads in (1, 8):
        set_num_threads(threads)
        out = np.empty(SHAPE, rounded)
        mixup_rs.collate(list(x), plan, out=out, normalize=(mean, std), spatial_axes=axes)
        results.append(out)
    assert_normalized(results[0], x, plan, mean.reshape(like_sample), std.reshape(like_sample), axes)
    assert_same_bits(results[1], results[0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16], ids=name)
def test_nothing_leaks_where_the_share_is_0_or_1(dtype):
    masks = np.array([[1, 0, 0.5, 1, 0], [1, 1, 1, 1, 1]])
    x = np.array([[1, np.nan, 3, np.inf, -0.0], [np.nan, 7, np.nan, np.nan, -np.inf]], dtype)
    plan = MixPlan.from_masks(masks, [1, 0], (5,))
    expected = np.array([[1, 7, np.nan, np.inf, -np.inf], x[1]], dtype)
    assert_same_bits(plan.apply(x), expected)
    # Its own partner: its own bits, whatever the share.
    payload = x[:1].view(f"u{x.itemsize}") + 1
    own = payload.view(dtype)
    assert bits(MixPlan.from_masks([0.5, 0, 0.5, 0.5, 0.3], [0], (5,)).apply(own)) == bits(payload)


class TestPlans:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("spatial", [(500,), (31, 47), (9, 11, 13)], ids=str)
    def test_lam_is_the_exact_mean(self, kind, spatial):
        masks = KINDS[kind](np.random.default_rng(0).random((4, *spatial)))
        plan = MixPlan.from_masks(masks, [1, 2, 3, 0], spatial)
        assert_same_bits(np.asarray(plan.masks), exact(masks))
        assert max(abs(lam - share) for lam, share in zip(plan.lam.tolist(), lam_of(plan), strict=True)) <= 1e-15
        assert (plan.boxes, plan.spatial_shape, plan.weight.tolist()) == (None, spatial, [1.0] * 4)
        for i in range(4):
            x = np.zeros((4, *spatial))
            x[i] = 1
            assert plan.apply(x)[i].mean() == pytest.approx(plan.lam[i], abs=1e-12)

    def test_long_masks_have_exact_means(self):
        plan = MixPlan.from_masks(np.full(3_000_000, 0.1), [0])
        assert abs(plan.lam[0] - 0.1) <= 1e-15
        assert MixPlan.from_masks(np.ones((300, 300)), [0]).lam[0] == 1
        assert MixPlan.from_masks(np.full((300, 300), 51, np.uint8), [0]).lam[0] == 0.2

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("each", [True, False])
    def test_plans_are_values(self, kind, each):
        masks, spatial = masks_along(None, kind, each)
        plan = MixPlan.from_masks(masks, PARTNERS["permutation"], spatial)
        assert plan == pickle.loads(pickle.dumps(plan)) == MixPlan.from_masks(plan.masks, plan.partner, spatial)
        assert plan != MixPlan.from_masks(1 - exact(masks), plan.partner, spatial)
        assert plan != plan.without_region() == MixPlan(plan.lam, plan.partner)
        assert f"masks of {spatial}" in repr(plan)
        before = plan.masks.copy()
        masks[...] = 0
        assert_same_bits(np.asarray(plan.masks), before)

    def test_one_mask_for_all_is_kept_once(self):
        plan = MixPlan.from_masks(np.ones((500, 500), bool), np.zeros(1000, int))
        assert plan.masks.strides[0] == 0
        assert len(pickle.dumps(plan)) < 600_000
        assert MixPlan.from_masks(plan.masks, plan.partner).masks.strides[0] == 0

    def test_the_number_of_axes_says_what_they_are(self):
        for shape, n, spatial in [
            ((7,), 3, (7,)),
            ((6, 7), 3, (6, 7)),
            ((3, 6, 7), 3, (6, 7)),
            ((3, 5, 6, 7), 3, (5, 6, 7)),
        ]:
            plan = MixPlan.from_masks(np.ones(shape), range(n))
            assert (len(plan), plan.spatial_shape) == (n, spatial)
        for shape, spatial in [((3, 7), (7,)), ((5, 6, 7), (5, 6, 7)), ((3, 7), (3, 7))]:
            assert MixPlan.from_masks(np.ones(shape), range(3), spatial).spatial_shape == spatial
        assert MixPlan.from_masks([[1.0, 0.25]], [0]).masks.tolist() == [[[1.0, 0.25]]]
        assert len(MixPlan.from_masks(np.ones((0, 4, 4)), [])) == 0
        assert MixPlan.from_masks(np.ones((4, 4)), []) == MixPlan.from_masks(np.ones((0, 4, 4)), [])

    def test_labels_follow(self):
        masks, spatial = masks_along(None, "float32")
        plan = MixPlan.from_masks(masks, PARTNERS["permutation"], spatial)
        targets, y = plan.apply_labels(np.arange(6), num_classes=6)[0], np.arange(6)
        np.testing.assert_allclose(targets[y, y], plan.lam, rtol=1e-7)


class TestOneOf:
    RULE = OneOf([Mixup(1.0), CutMix(mode="elem"), FMix(mode="elem"), SmoothMix(mode="elem")], mode="elem")

    def test_one_plan_holds_blends_boxes_and_masks(self):
        plan, x = self.RULE.plan(60, (12, 14), rng=1), values((60, 3, 12, 14), np.float32)
        shares_of = plan.masks.reshape(60, -1)
        blended = plan.weight < 1
        assert_same_bits(shares_of[blended], np.repeat(plan.weight[blended, None], 12 * 14, axis=1))
        soft = ((shares_of > 0) & (shares_of < 1)).any(axis=1) & ~blended
        assert min(blended.sum(), soft.sum(), (~blended & ~soft).sum()) > 5
        assert plan == pickle.loads(pickle.dumps(plan))
        assert_applied(plan.apply(x), x, plan)
        assert_same_bits(mixup_rs.collate(list(x), plan), plan.apply(x))
        np.testing.assert_allclose(plan.masks.mean(axis=(1, 2)), plan.lam, atol=1e-12)

    def test_without_masks_it_has_boxes(self):
        plan = OneOf([Mixup(), CutMix()], mode="elem").plan(9, (8, 8), rng=1)
        assert plan.masks is None
        assert plan.boxes is not None


SPATIAL = "a box needs the shape of a sample's one to three spatial axes"
REFUSED = [
    ({"masks": np.full((4, 4), 1.5)}, raises(ValueError, "a mask must lie in [0, 1]", "1.5 at pixel 0")),
    ({"masks": [[0.5, -1e-9]]}, raises(ValueError, "a mask must lie in [0, 1]", "-0.000000001 at pixel 1")),
    ({"masks": [[0.5, NAN]]}, raises(ValueError, "a mask must lie in [0, 1]", "NaN at pixel 1")),
    ({"masks": [[0.5, INF]]}, raises(ValueError, "a mask must lie in [0, 1]", "inf at pixel 1")),
    ({"masks": [[[1.0]], [[2.0]]]}, raises(ValueError, "a mask must lie in [0, 1]", "2 at pixel 0", "at index 1")),
    ({"masks": np.ones((4, 4), int)}, raises(TypeError, "booleans, uint8", "floats in [0, 1]", "int64")),
    ({"masks": np.ones((4, 4), np.int8)}, raises(TypeError, "booleans, uint8", "int8")),
    ({"masks": np.ones((4, 4), np.uint16)}, raises(TypeError, "booleans, uint8", "uint16")),
    ({"masks": np.ones((4, 4), complex)}, raises(TypeError, "booleans, uint8", "complex128")),
    ({"masks": [["a"]]}, raises(TypeError, "booleans, uint8", "<U1")),
    ({"masks": np.eye(4, dtype=np.uint8)}, raises(ValueError, "255", "none above 1", "masks.astype(bool)")),
    ({"masks": None}, raises(ValueError, "masks must have shape", "[]")),
    ({"masks": np.ma.ones((4, 4))}, raises(TypeError, "masks must not be a masked array")),
    ({"masks": np.ones((3, 4, 4))}, raises(ValueError, "one for each of 2", "got 3 of [4, 4]", "shape=")),
    ({"masks": np.ones((2, 1, 1, 4, 4))}, raises(ValueError, "masks must have shape", "[2, 1, 1, 4, 4]")),
    ({"masks": 1.0}, raises(ValueError, "masks must have shape", "[]")),
    ({"masks": np.ones((4, 0))}, raises(ValueError, "a mask must have at least one pixel")),
    ({"masks": np.ones((2, 4, 0))}, raises(ValueError, "a mask must have at least one pixel")),
    ({"masks": np.ones((4, 4)), "shape": (4, 5)}, raises(ValueError, "[4, 5] or [2, 4, 5]", "got [4, 4]")),
    ({"masks": np.ones((4, 4)), "shape": (4,)}, raises(ValueError, "[4] or [2, 4]", "got [4, 4]")),
    ({"masks": np.ones((4, 4)), "shape": (1, 1, 4, 4)}, raises(ValueError, SPATIAL, "got 4")),
    ({"masks": np.ones((4, 4)), "shape": ()}, raises(ValueError, SPATIAL, "got 0")),
    ({"masks": np.ones((4, 4)), "shape": 4}, raises(TypeError, "shape must be", "int")),
    ({"masks": np.ones((4, 4)), "shape": (4, 0)}, raises(ValueError, "shape must be at least 1", "0")),
    ({"masks": np.ones((4, 4)), "partner": [0, 2]}, raises(ValueError, "partner must lie in [0, 2)", "2 at index 1")),
    ({"masks": np.ones((4, 4)), "partner": [0.0, 1.0]}, raises(TypeError, "partner must be integers", "float64")),
]


@pytest.mark.parametrize(("arguments", "expected"), REFUSED, ids=case)
def test_masks_are_refused(arguments, expected):
    refused(lambda: MixPlan.from_masks(**{"partner": [1, 0]} | arguments), [], expected)


RULES = [
    (lambda: FMix(decay=-1), raises(ValueError, "decay must be a finite number >= 0", "-1")),
    (lambda: FMix(decay=NAN), raises(ValueError, "decay must be a finite number >= 0", "NaN")),
    (lambda: FMix(decay=INF), raises(ValueError, "decay must be a finite number >= 0", "inf")),
    (lambda: FMix(decay="3"), raises(TypeError, "decay must be a real number", "str")),
    (lambda: FMix(soft=0.6), raises(ValueError, "soft must lie in [0, 0.5]", "0.6")),
    (lambda: FMix(soft=-0.1), raises(ValueError, "soft must lie in [0, 0.5]", "-0.1")),
    (lambda: FMix(soft=NAN), raises(ValueError, "soft must lie in [0, 0.5]", "NaN")),
    (lambda: FMix(soft=None), raises(TypeError, "soft must be a real number", "NoneType")),
    (lambda: GridMix(cells=(0, 2)), raises(ValueError, "cells must be at least 1", "0")),
    (lambda: GridMix(cells=(3, 2)), raises(ValueError, "1 <= min <= max <= 100", "(3, 2)")),
    (lambda: GridMix(cells=(3, 101)), raises(ValueError, "1 <= min <= max <= 100", "(3, 101)")),
    (lambda: GridMix(cells=(3, HUGE)), raises(ValueError, "cells must be at least 1 and below 2**63", str(HUGE))),
    (lambda: GridMix(cells=(2, 3, 4)), raises(ValueError, "cells must be two ints", "3")),
    (lambda: GridMix(cells=4), raises(TypeError, "cells must be two ints", "int")),
    (lambda: GridMix(cells=(2.0, 3)), raises(TypeError, "cells must be an int", "float")),
    (lambda: FMix().plan(2), raises(ValueError, SPATIAL, "shape=...")),
    (lambda: SmoothMix().plan(2, (1, 2, 3, 4)), raises(ValueError, SPATIAL, "got 4")),
]


@pytest.mark.parametrize(("call", "expected"), RULES, ids=case)
def test_rules_of_masks_refuse(call, expected):
    refused(call, [], expected)


def test_a_batch_of_another_shape_is_refused():
    plan, x = MixPlan.from_masks(np.ones((4, 5)), [1, 0]), np.zeros((2, 3, 5, 4), np.float32)
    expected = raises(ValueError, "the masks are for samples of [4, 5]", "[5, 4]", "[-2, -1]")
    refused(lambda: plan.apply(x), [x], expected)
    refused(lambda: plan.apply(x, out=x), [x], expected)
    refused(lambda: mixup_rs.collate(list(x), plan), [x], expected)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)], ids=str)
@pytest.mark.parametrize("kind", sorted({type(rule) for rule in OF_MASKS}, key=str))
def test_samples_without_a_pixel_are_not_mixed(kind, shape):
    x = np.zeros((4, 3, *shape))
    for mode in ("batch", "elem", "pair"):
        mixed = mix_batch(x, np.arange(4), rule=kind(mode=mode), num_classes=4)
        assert mixed.x.shape == x.shape
        np.testing.assert_array_equal(mixed.y, np.eye(4))


class TestLaws:
    @pytest.mark.parametrize("alpha", [0.3, 1.0, 3.0])
    @pytest.mark.parametrize("make", [lambda a: FMix(a, mode="elem"), lambda a: GridMix(a, (30, 30), mode="elem")])
    def test_the_share_that_stays_is_beta(self, make, alpha):
        lam = np.sort(make(alpha).plan(3000, (30, 30), rng=(3, 1)).lam)
        # Between whole pixels or cells, but for the first and the last; GridMix leaves one of them.
        between = (np.arange(1, 899) + 0.5) / 900
        share = np.searchsorted(lam, between) / 3000
        assert np.abs(share - stats.beta(alpha, alpha).cdf(between)).max() < 0.035

    def test_masks_of_fmix_are_the_brightest_of_noise_with_the_spectrum_of_the_paper(self):
        """As masks that NumPy makes as the paper says: how often two pixels at some distance are alike."""
        n, h, w = 1500, 16, 20
        lam = FMix(alpha=1000, mode="elem", decay=1.5).plan(n, (h, w), rng=5)
        rng = np.random.default_rng(1)
        ky, kx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)
        frequency = np.maximum(np.sqrt(ky**2 + kx**2), 1 / max(h, w))
        noise = rng.standard_normal((n, h, w)) + 1j * rng.standard_normal((n, h, w))
        field = np.fft.ifft2(noise / frequency**1.5).real.reshape(n, -1)
        kept = np.round(lam.lam * h * w).astype(int)
        order = np.argsort(np.argsort(-field, axis=1), axis=1)
        expected = (order < kept[:, None]).reshape(n, h, w)
        got = lam.masks == 1
        for dy, dx in [(0, 1), (1, 0), (0, 3), (3, 0), (2, 2), (0, 10), (8, 0), (8, 10)]:
            alike = [(m == np.roll(m, (dy, dx), (1, 2))).mean(axis=(1, 2)) for m in (got, expected)]
            deviation = np.sqrt(alike[0].var() / n + alike[1].var() / n)
            assert abs(alike[0].mean() - alike[1].mean()) < 4 * deviation, (dy, dx)

    def test_the_band_of_a_soft_mask_has_its_share_and_the_mean_of_a_hard_one(self):
        hard, soft = (FMix(alpha=2, soft=soft, mode="elem").plan(200, (40, 40), rng=2) for soft in (0.0, 0.1))
        np.testing.assert_allclose(hard.lam, soft.lam, atol=1e-6)
        assert soft.masks is not None
        between = ((soft.masks > 0) & (soft.masks < 1)).reshape(200, -1).sum(axis=1)
        wide = np.minimum(160, np.minimum(hard.lam, 1 - hard.lam) * 1600).round()
        np.testing.assert_allclose(between, np.maximum(2 * wide - 2, 0), atol=1)

    def test_cells_are_as_likely_and_as_many_as_asked(self):
        plan = GridMix(cells=(2, 4), mode="elem").plan(6000, (12, 12), rng=4)
        stays = plan.masks == 1
        counts = [0, 0, 0]
        for mask in stays:
            borders = {*(np.flatnonzero(np.diff(mask.astype(int), axis=0).any(axis=1)) + 1)}
            borders |= {*(np.flatnonzero(np.diff(mask.astype(int), axis=1).any(axis=0)) + 1)}
            counts[0] += borders <= {6} and bool(borders)
            counts[1] += borders <= {4, 8} and bool(borders)
            counts[2] += borders <= {3, 6, 9} and bool(borders - {6})
        # Every mask is of one of the three grids, and mixes.
        assert sum(counts) == 6000
        assert abs(counts[1] / 6000 - 1 / 3) < 0.02
        np.testing.assert_allclose(stays.mean(axis=0), 0.5, atol=0.04)


def test_mix_batch_takes_rules_of_masks_along_any_axes():
    x, y = values((6, 12, 10, 3), np.uint8), np.arange(6)
    for rule in OF_MASKS:
        mixed, plan = mix_batch(x, y, rule=rule, spatial_axes=(1, 2), rng=3), rule.plan(6, (12, 10), rng=3)
        assert_same_bits(mixed.x, plan.apply(x, spatial_axes=(1, 2)))
        assert_same_bits(mixed.lam, plan.lam)
        assert shares(plan, x.shape, (1, 2)).shape == (6, 12, 10, 1)
