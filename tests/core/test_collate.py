"""mixup_rs.collate: stacking and then mixing, in one pass."""

import numpy as np
import pytest
from oracle import DTYPES, assert_mixed, assert_normalized, assert_same_bits, name, values

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup

SHAPES = [(), (1,), (5,), (3, 7, 9), (2, 3, 4, 5), (0, 4)]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def plan_of(n):
    """Every kind of weight, and partners that repeat."""
    return MixPlan(np.resize([0.3, 0.9, 1.0, 0.0, 0.5], n), [i * i // 3 % n for i in range(n)])


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_batch_is_that_of_stacking_and_mixing(dtype, shape, n):
    stack, plan = values((n, *shape), dtype), plan_of(n)
    before = stack.copy()
    batch = mixup_rs.collate([stack[i, ...] for i in range(n)], plan)
    assert_same_bits(batch, plan.apply(stack))
    assert_mixed(batch, stack, plan.lam, plan.partner)
    assert_same_bits(stack, before)


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_that_are_split(threads, set_num_threads):
    set_num_threads(threads)
    stack = values((6, 3, 500, 301), np.float32)
    for plan in (plan_of(6), Mixup().plan(6, rng=1), CutMix(mode="elem").plan(6, (500, 301), rng=1)):
        assert_same_bits(mixup_rs.collate(list(stack), plan), plan.apply(stack))


@pytest.mark.parametrize("axes", [(-2, -1), (2, 3), (1, 2)])
def test_boxes_are_cut(axes):
    stack = values((5, 6, 6, 6), np.uint8)
    for mode in ("elem", "batch"):
        plan = CutMix(mode=mode).plan(5, (6, 6), rng=3)
        assert_same_bits(mixup_rs.collate(list(stack), plan, spatial_axes=axes), plan.apply(stack, spatial_axes=axes))


def test_samples_of_any_layout_and_out():
    stack = values((4, 6, 8), np.float32)
    plan = plan_of(4)
    samples = [np.asfortranarray(stack[0]), stack[1][::-1][::-1], np.ascontiguousarray(stack[2]), stack[3]]
    out = np.empty_like(stack)
    assert mixup_rs.collate(samples, plan, out=out) is out
    assert_same_bits(out, plan.apply(stack))


VIEWS = {
    "channels first": lambda image: image.transpose(2, 0, 1),
    "mirrored": lambda image: image[::-1, :, ::-1],
    "with gaps": lambda image: image[1::2, ::3],
    "repeated": lambda image: np.broadcast_to(image[0, 0], (7, 9, 3)),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64], ids=name)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("every", [1, 2])
def test_views_are_read_as_they_are(dtype, view, every):
    samples = [view(image) for image in values((5, 6, 8, 3), dtype)]
    samples = [sample if i % every == 0 else np.ascontiguousarray(sample) for i, sample in enumerate(samples)]
    assert_same_bits(mixup_rs.collate(samples, plan_of(5)), plan_of(5).apply(np.stack(samples)))


def test_one_number_serves_all_channels():
    stack, plan = values((5, 3, 6, 7), np.uint8), plan_of(5)
    for one, each in [((MEAN, 0.25), (MEAN, [0.25] * 3)), ((0.5, STD), ([0.5] * 3, STD))]:
        mixed = [mixup_rs.collate(list(stack), plan, normalize=normalize) for normalize in (one, each)]
        assert_same_bits(*mixed)
    for wrong in [([], []), (MEAN, []), (MEAN, STD[:2])]:
        with pytest.raises(ValueError, match="each a number or one per channel"):
            mixup_rs.collate(list(stack), plan, normalize=wrong)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", ["first", "last", "one"])
def test_normalised_to_one_rounding(dtype, channels):
    shape = (33, 35, 3) if channels == "last" else (3, 33, 35)
    stack = np.random.default_rng(0).integers(0, 256, (7, *shape)).astype(dtype)
    mean, std = (0.45, 0.22) if channels == "one" else (MEAN, STD)
    plan = plan_of(7)
    got = mixup_rs.collate(list(stack), plan, normalize=(mean, std))
    as_shape = {"first": (3, 1, 1), "last": (3,), "one": ()}[channels]
    lam = plan.lam[:, None, None, None]
    mixed = lam * stack.astype(np.float64) + (1 - lam) * stack[plan.partner]
    unit = 255 if dtype == np.uint8 else 1
    exact = (mixed / unit - np.reshape(mean, as_shape)) / np.reshape(std, as_shape)
    assert got.dtype == np.float32
    assert (np.abs(got - exact) <= 0.51 * np.spacing(np.abs(exact).astype(np.float32))).all()


def test_normalised_boxes_and_halves():
    stack = values((5, 3, 6, 8), np.uint8)
    plan = CutMix(mode="elem").plan(5, (6, 8), rng=3)
    exact = (plan.apply(stack) / 255 - MEAN[:, None, None]) / STD[:, None, None]
    out = np.empty(stack.shape, np.float16)
    mixup_rs.collate(list(stack), plan, out=out, normalize=(MEAN, STD))
    assert (np.abs(out - exact) <= 0.51 * np.spacing(np.abs(exact).astype(np.float16)).astype(float)).all()


X = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("error", "message", "samples", "options"),
    [
        (ValueError, "plan is for 2 samples, got an array of 1", [X[0]], {}),
        (ValueError, r"one shape: samples\[0\] has \[3, 4\], samples\[1\] \[3\]", [X[0], X[1, :, 0]], {}),
        (TypeError, "one dtype: samples.* float32, .* float64", [X[0], X[1].astype("f8")], {}),
        (TypeError, r"samples\[0\] must be a numpy.ndarray", [[1, 2], [3, 4]], {}),
        (TypeError, "samples must have dtype", list(X.astype("i8")), {}),
        (ValueError, r"out must have shape \[2, 3, 4\], got \[2, 4, 3\]", list(X), {"out": np.empty((2, 4, 3), "f4")}),
        (TypeError, "out must have dtype float32", list(X), {"out": np.empty((2, 3, 4))}),
        (ValueError, "out must not overlap a sample", list(X), {"out": X}),
        (ValueError, "out must be in C order", list(X), {"out": np.empty((4, 3, 2), "f4").T}),
        (ValueError, "std > 0", list(X), {"normalize": (0, 0)}),
        (ValueError, "has 2 channels", list(X), {"normalize": ((0, 0), (1, 1))}),
        (TypeError, r"must be \(mean, std\)", list(X), {"normalize": 3}),
        (
            TypeError,
            "normalize takes uint8, uint16, float16, float32 or float64 samples to .*, got int16",
            list(X.astype("i2")),
            {"normalize": (0, 1)},
        ),
        (
            TypeError,
            "to float32, float16 or bfloat16, got float32 to float64",
            list(X),
            {"normalize": (0, 1), "out": np.empty(X.shape)},
        ),
    ],
)
def test_what_is_wrong_is_said(error, message, samples, options):
    before = X.copy()
    with pytest.raises(error, match=message):
        mixup_rs.collate(samples, plan_of(2), **options)
    assert_same_bits(X, before)


@pytest.mark.parametrize("axes", [(1, 3), (3, 1), (2, 1), (-1, -3)])
def test_boxes_are_along_any_axes(axes):
    stack = values((5, 4, 3, 4), np.uint8)
    shape = [stack.shape[axis] for axis in axes]
    plan = CutMix(mode="elem").plan(5, shape, rng=1)
    expected = plan.apply(stack, spatial_axes=axes)
    assert_same_bits(mixup_rs.collate(list(stack), plan, spatial_axes=axes), expected)
    normalised = mixup_rs.collate(list(stack), plan, spatial_axes=axes, normalize=(0, 1))
    assert_same_bits(normalised, mixup_rs.collate(list(expected), MixPlan.identity(5), normalize=(0, 1)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64], ids=name)
@pytest.mark.parametrize("axis", [None, 1, 2, 3, -1, -2, -3])
def test_channels_are_along_the_axis_that_is_named(dtype, axis):
    """All of one length: by default they are those of the first."""
    stack = (np.random.default_rng(0).integers(0, 256, (7, 3, 3, 3))).astype(dtype)
    plan, like_sample = plan_of(7), [1, 1, 1]
    like_sample[0 if axis is None else (axis - 1 if axis > 0 else axis)] = 3
    got = mixup_rs.collate(list(stack), plan, normalize=(MEAN, STD), channel_axis=axis)
    assert got.dtype == np.float32
    assert_normalized(got, stack, plan, MEAN.reshape(like_sample), STD.reshape(like_sample))


@pytest.mark.parametrize(
    ("axis", "error", "message"),
    [
        (0, ValueError, "channel_axis must be an axis behind the batch, got 0 for 4 dimensions"),
        (4, ValueError, "channel_axis must be an axis behind the batch, got 4 for 4 dimensions"),
        (-4, ValueError, "channel_axis must be an axis behind the batch, got -4 for 4 dimensions"),
        (2**70, ValueError, str(2**70)),
        (2, ValueError, r"normalize has 3 channels, but .* named axis of a sample has not: \[3, 4, 3\]"),
        (1.0, TypeError, "channel_axis must be an int, got float"),
        ("first", TypeError, "channel_axis must be an int, got str"),
        ((1,), TypeError, "channel_axis must be an int, got tuple"),
    ],
)
def test_an_axis_without_the_channels_is_refused(axis, error, message):
    stack, out = values((2, 3, 4, 3), np.uint8), np.zeros((2, 3, 4, 3), np.float32)
    with pytest.raises(error, match=message):
        mixup_rs.collate(list(stack), plan_of(2), out=out, normalize=(MEAN, STD), channel_axis=axis)
    assert not out.any()
