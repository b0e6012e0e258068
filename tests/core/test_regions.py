"""Regions along one, two or three axes, anywhere in an array: inside the partner's bits, outside the blend's."""

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
    inside,
    lam_of,
    mix_plan,
    name,
    values,
)

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, OneOf, mix_batch


def plan_along(axes, shape=SHAPE, partner="permutation", seed=0, d=2):
    """Weights of 1, 0 and between; a box of any kind, a whole sample, an empty one, and none."""
    axes = range(len(shape) - d, len(shape)) if axes is None else axes
    n, spatial = shape[0], [shape[axis] for axis in axes]
    ends = np.sort(np.random.default_rng(seed).integers(0, np.array(spatial) + 1, (n, 2, len(spatial))), axis=1)
    ends[0], ends[3], ends[4, 1] = 0, [[0] * len(spatial), spatial], ends[4, 0]
    weight = np.resize([0.3, 1, 0, 0.5, 0.9, 0.25], n)
    return MixPlan.from_boxes(ends.reshape(n, -1), spatial, np.resize(PARTNERS[partner], n), weight)


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_along_any_axes_it_equals_the_oracle_and_the_model(dtype, partner, axes):
    for d in (1, 2, 3) if axes is None else (len(axes),):
        plan = plan_along(axes, partner=partner, d=d)
        x = values(SHAPE, dtype)
        original = x.copy()
        apart = plan.apply(x, spatial_axes=axes)
        assert_same_bits(x, original)
        assert_applied(apart, x, plan, axes)
        assert_same_bits(apart, model.applied(x, plan, axes))
        assert plan.apply(x, out=x, spatial_axes=axes) is x
        assert_same_bits(x, apart)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axes", [None, (1,), (1, 2), (4, 2), (1, 2, 3), (4, 1, 3)], ids=str)
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_in_any_layout(dtype, partner, axes, layout):
    plan, x = plan_along(axes, partner=partner), LAYOUTS[layout](values(SHAPE, dtype))
    expected = model.applied(x, plan, axes)
    result = plan.apply(x, spatial_axes=axes)
    assert_same_bits(result, expected)
    assert np.argsort(np.abs(result.strides)).tolist() == np.argsort(np.abs(np.empty_like(x).strides)).tolist()
    for out in (np.empty_like(x), np.empty(SHAPE, dtype, order="F"), np.empty((*SHAPE, 2), dtype)[::-1, ..., 1]):
        assert plan.apply(x, out=out, spatial_axes=axes) is out
        assert_same_bits(out, expected)
    assert plan.apply(x, out=x, spatial_axes=axes) is x
    assert_same_bits(x, expected)


@pytest.mark.parametrize("shift", [1, -1, 105, -105, 421, -421, 3 * 420])
@pytest.mark.parametrize("axes", [None, (1,), (4, 2), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8], ids=name)
def test_an_overlapping_out_is_as_if_it_did_not(dtype, axes, shift):
    memory = values((2_000 + int(np.prod(SHAPE)) + 2_000,), dtype)
    size = int(np.prod(SHAPE))
    x = memory[2_000 : 2_000 + size].reshape(SHAPE)
    out = memory[2_000 + shift : 2_000 + shift + size].reshape(SHAPE)
    plan, expected = plan_along(axes), memory.copy()
    expected[2_000 + shift : 2_000 + shift + size] = model.applied(x, plan, axes).ravel()
    plan.apply(x, out=out, spatial_axes=axes)
    assert_same_bits(memory, expected)


LARGE = {(-1,): (6, 3, 480_001), (2, 3): (6, 3, 400, 401), (1, 2, 3): (6, 20, 90, 91, 3), (3,): (6, 500, 320, 3)}


@pytest.mark.parametrize("axes", LARGE, ids=str)
@pytest.mark.parametrize("layout", ["C order", "Fortran", "mirrored"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16], ids=name)
def test_large_batches_on_any_number_of_threads(dtype, layout, axes, set_num_threads):
    views = {"C order": lambda x: x, "Fortran": np.asfortranarray, "mirrored": lambda x: x[..., ::-1]}
    x, plan = values(LARGE[axes], np.uint8, seed=1).astype(dtype), plan_along(axes, LARGE[axes])
    x = views[layout](x)
    expected = model.applied(x, plan, axes)
    for threads in (1, 2, 8):
        set_num_threads(threads)
        assert_same_bits(plan.apply(x, spatial_axes=axes), expected)
        own = x.copy(order="K")
        assert_same_bits(plan.apply(own, out=own, spatial_axes=axes), expected)
        assert_same_bits(mixup_rs.collate(list(x), plan, spatial_axes=axes), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.complex128, np.int64, "U2", ">f4", "M8[s]"], ids=str)
@pytest.mark.parametrize("axes", [None, (1,), (4, 2), (1, 2, 3)], ids=str)
def test_elements_that_cannot_be_blended_are_taken(dtype, axes):
    x = values(SHAPE, np.uint8).astype(np.uint16).astype(dtype)
    plan = plan_along(axes)
    whole = MixPlan.from_boxes(plan.boxes, plan.spatial_shape, plan.partner, np.round(plan.weight))
    expected = model.applied(x, whole, axes)
    assert_same_bits(whole.apply(x, spatial_axes=axes), expected)
    assert_same_bits(whole.apply(x, out=x, spatial_axes=axes), expected)
    with pytest.raises(TypeError, match="x must have dtype"):
        plan.apply(x, spatial_axes=axes)
    assert_same_bits(x, expected)


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_collate_stacks_and_applies(dtype, partner, axes):
    x, plan = values(SHAPE, dtype), plan_along(axes, partner=partner)
    expected = model.applied(x, plan, axes)
    assert_same_bits(mixup_rs.collate(list(x), plan, spatial_axes=axes), expected)
    assert_same_bits(mixup_rs.collate([np.asfortranarray(one) for one in x], plan, spatial_axes=axes), expected)
    out = np.empty_like(x)
    assert mixup_rs.collate(list(x), plan, out=out, spatial_axes=axes) is out
    assert_same_bits(out, expected)


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("channels", ["first", "last", "one"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64], ids=name)
@pytest.mark.parametrize("rounded", [np.float32, np.float16], ids=name)
def test_collate_normalises_what_it_applied(rounded, dtype, channels, axes, set_num_threads):
    x = values(SHAPE, np.uint8).astype(dtype)
    plan = plan_along(axes)
    count = {"first": 4, "last": 3, "one": 1}[channels]
    mean, std = np.array([0.485, 0.456, 0.406, 0.5])[:count], np.array([0.229, 0.224, 0.225, 0.25])[:count]
    like_sample = (count, 1, 1, 1) if channels == "first" else (count,)
    results = []
    for threads in (1, 2, 8):
        set_num_threads(threads)
        out = np.empty(SHAPE, rounded)
        mixup_rs.collate(list(x), plan, out=out, normalize=(mean, std), spatial_axes=axes)
        results.append(out)
    assert_normalized(results[0], x, plan, mean.reshape(like_sample), std.reshape(like_sample), axes)
    for other in results[1:]:
        assert_same_bits(other, results[0])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_lam_is_the_exact_share(d):
    rng = np.random.default_rng(d)
    for _ in range(200):
        shape = rng.integers(1, [100_000, 3_000, 300][d - 1], d)
        ends = np.sort(rng.integers(0, shape + 1, (20, 2, d)), axis=1)
        plan = MixPlan.from_boxes(ends.reshape(20, -1), shape, rng.integers(0, 20, 20), rng.random(20))
        assert max(abs(lam - exact) for lam, exact in zip(plan.lam.tolist(), lam_of(plan), strict=True)) <= 1e-12
        assert_same_bits(plan.without_region().lam, plan.lam)


@pytest.mark.parametrize("axes", [None, (1,), (4, 2), (1, 2, 3)], ids=str)
def test_lam_is_the_share_of_the_sample_that_the_array_shows(axes):
    """By counting: a batch of ones in a batch of zeros."""
    plan = plan_along(axes, partner="permutation")
    for i in range(SHAPE[0]):
        x = np.zeros(SHAPE)
        x[i] = 1
        assert plan.apply(x, spatial_axes=axes)[i].mean() == pytest.approx(plan.lam[i], abs=1e-12)
    np.testing.assert_allclose(mix_plan(np.ones(SHAPE), plan, axes).astype(float), 1, rtol=1e-15)


def test_labels_and_whatever_lacks_the_axes_get_lam():
    plan, y = plan_along((1, 2)), np.arange(6)
    flat = plan.without_region()
    assert (flat.boxes, flat.spatial_shape) == (None, None)
    assert flat == MixPlan(plan.lam, plan.partner)
    assert flat.without_region() is flat
    targets = plan.apply_labels(y, num_classes=6)[0]
    np.testing.assert_allclose(targets[y, y], plan.lam, rtol=1e-7)
    assert_same_bits(targets, flat.apply_labels(y, num_classes=6)[0])
    soft = np.eye(6)
    assert_same_bits(plan.apply_labels(soft)[0], flat.apply(soft))


def test_a_nan_of_the_partner_stays_in_its_box():
    x = np.zeros((2, 4, 6), np.float32)
    x[1] = np.nan
    plan = MixPlan.from_boxes([[1, 2, 3, 5], [0, 0, 0, 0]], (4, 6), [1, 1])
    mixed = plan.apply(x)
    assert_same_bits(np.isnan(mixed[0]), inside(plan, x.shape)[0])


def test_the_identity_leaves_every_bit():
    for n in (0, 1, 5):
        x = np.random.default_rng(0).integers(0, 2**32, (n, 3, 4), np.uint32).view(np.float32)
        before, plan = x.copy(), MixPlan.identity(n)
        assert (plan.lam.tolist(), plan.partner.tolist(), plan.boxes) == ([1.0] * n, list(range(n)), None)
        assert plan == MixPlan(np.ones(n), range(n)) == plan.without_region()
        assert bits(plan.apply(x)) == bits(plan.apply(x, out=x)) == bits(before)
        assert plan.apply_labels(np.arange(n))[0].tolist() == list(range(n))


@pytest.mark.parametrize("shape", [(50,), (12, 17), (7, 9, 11)], ids=str)
@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_mix_batch_draws_regions_along_the_axes_it_is_told(shape, mode):
    rule = OneOf([Mixup(alpha=1.0, fold=False), CutMix(mode="elem")], mode=mode)
    axes = tuple(range(1, len(shape) + 1))
    x, y = values((9, *shape, 2), np.float32), np.arange(9)
    for key in range(10):
        plan = rule.plan(9, shape, rng=key)
        mixed = mix_batch(x, y, rule=rule, spatial_axes=axes, num_classes=9, rng=key)
        assert_same_bits(mixed.x, model.applied(x, plan, axes))
        assert_same_bits(mixed.y, plan.apply_labels(y, num_classes=9)[0])
        assert_same_bits(mixed.lam, plan.lam)
        own = x.copy()
        assert mix_batch(own, rule=rule, spatial_axes=axes, rng=key, out=own).x is own
        assert_same_bits(own, mixed.x)


def test_regions_are_along_the_last_two_of_three_or_more_axes_where_none_is_named():
    x, rule = values((5, 3, 8, 9), np.uint8), CutMix(mode="elem")
    for batch in (x, x[:, 0]):
        assert_same_bits(mix_batch(batch, rule=rule, rng=1).x, rule.plan(5, (8, 9), rng=1).apply(batch))
    with pytest.raises(ValueError, match="a box needs the shape"):
        mix_batch(x[:, 0, 0], rule=rule, rng=1)
    assert_same_bits(
        mix_batch(x[:, 0, 0], rule=rule, spatial_axes=(1,), rng=1).x, rule.plan(5, (9,), rng=1).apply(x[:, 0, 0])
    )
