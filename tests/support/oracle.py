"""What mixing means, written for reading: NumPy, float64, no cleverness.

`mix`, `mix_plan` and `soft_targets` give the exact values; `assert_mixed` and `assert_applied` say how far a result may
be from them.
"""

from fractions import Fraction

import ml_dtypes
import numpy as np

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.uint8, np.int8, np.uint16, np.int16]
FLOATS, INTEGERS = DTYPES[:4], DTYPES[4:]


def name(dtype):
    """For readable test ids."""
    return np.dtype(dtype).name


def values(shape, dtype, seed=0):
    """Random elements in C order: integers over their whole range, floats of every sign and many magnitudes."""
    rng = np.random.default_rng(seed)
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    # Most are pixels. Some are subnormal; none is so large that the difference of two could overflow.
    largest = {2: 1e4}.get(np.dtype(dtype).itemsize, 1e30)
    pixels = rng.standard_normal(shape)
    extreme = pixels * np.exp(rng.uniform(np.log(1e-45), np.log(largest), shape))
    return np.where(rng.random(shape) < 0.8, pixels, extreme).astype(dtype)


def wide(dtype):
    """In which to compute what `dtype` is compared with: the oracle must not round more than the kernel."""
    return np.longdouble if dtype == np.float64 else np.float64


def per_sample(weights, like):
    """Weights of samples, or of elements already, that broadcast to `like`."""
    if np.ndim(weights) == np.ndim(like):
        return np.asarray(weights)
    return np.reshape(weights, (-1,) + (1,) * (np.ndim(like) - 1))


def mix(x, lam, partner):
    """lam[i] * x[i] + (1 - lam[i]) * x[partner[i]]"""
    x = np.asarray(x, dtype=wide(x.dtype))
    lam = per_sample(lam, x).astype(x.dtype)
    return lam * x + (1 - lam) * x[partner]


def inside(plan, shape, spatial_axes=None):
    """Of each element of a batch of this shape, whether it lies in the box of its sample, or is all its partner's."""
    result = np.zeros(shape, bool)
    if plan.masks is not None:
        return np.broadcast_to(shares(plan, shape, spatial_axes) == 0, shape)
    if plan.boxes is None:
        return result
    d = len(plan.spatial_shape)
    axes = range(len(shape) - d, len(shape)) if spatial_axes is None else spatial_axes
    for i, box in enumerate(plan.boxes):
        where = [slice(None)] * len(shape)
        where[0] = i
        for axis, start, end in zip(axes, box[:d], box[d:], strict=True):
            where[axis] = slice(start, end)
        result[tuple(where)] = True
    return result


def shares(plan, shape, spatial_axes=None):
    """The weight of each sample itself, in each pixel of a plan with masks: broadcasts to a batch of this shape."""
    if plan.masks is None:
        return plan.weight.reshape(-1, *[1] * (len(shape) - 1))
    d = len(plan.spatial_shape)
    axes = [axis % len(shape) for axis in (range(-d, 0) if spatial_axes is None else spatial_axes)]
    masks = plan.masks.reshape(len(plan), *plan.spatial_shape, *[1] * (len(shape) - 1 - d))
    return np.moveaxis(masks, range(1, d + 1), axes)


def mix_plan(x, plan, spatial_axes=None):
    """weight[i] * x[i] + (1 - weight[i]) * x[partner[i]], then the box of each sample from its partner.

    With masks, the weight is that of each pixel. Partners may be resized into boxes.
    """
    blended = mix(x, shares(plan, x.shape, spatial_axes), plan.partner)
    mixed = np.where(inside(plan, x.shape, spatial_axes), x[plan.partner].astype(blended.dtype), blended)
    for at, exact, _ in patches(x, plan, spatial_axes):
        mixed[at] = exact
    return mixed


def resized(image, height, width):
    """The last two axes resized: between the four nearest pixels, by distance. Also the largest of these four.

    Pixel k of an axis lies at (k + 1/2) * length / size - 1/2 of the image, not before its first or behind its last.
    """
    image = image.astype(wide(image.dtype))
    largest = np.abs(image)
    for axis, size in ((-2, height), (-1, width)):
        length = image.shape[axis]
        at = np.clip((np.arange(size, dtype=np.longdouble) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, length - 1), (at - low).reshape(-1, *[1] * (-1 - axis))
        a, b = (image.take(index, axis) for index in (low, high))
        image = np.where(share == 0, a, a * (1 - share) + b * share)
        largest = np.maximum(largest.take(low, axis), np.where(share == 0, 0, largest.take(high, axis)))
    return image, largest


def nearest(image, height, width):
    """The last two axes resized: of each pixel the one of the image that its middle lies in."""
    for axis, size in ((-2, height), (-1, width)):
        length = image.shape[axis]
        image = image.take(np.minimum((2 * np.arange(size) + 1) * length // (2 * size), length - 1), axis)
    return image


def patches(x, plan, spatial_axes=None):
    """Of each box that the whole partner is resized into: where it is in a batch like `x`, its values, the largest."""
    if plan.patches is None:
        return
    axes = [axis % x.ndim - 1 for axis in ((-2, -1) if spatial_axes is None else spatial_axes)]
    for i, (y0, x0, y1, x1) in enumerate(plan.patches.tolist()):
        if y0 == y1 or x0 == x1 or plan.partner[i] == i:
            continue
        at = [i, *[slice(None)] * (x.ndim - 1)]
        at[1 + axes[0]], at[1 + axes[1]] = slice(y0, y1), slice(x0, x1)
        partner = np.moveaxis(x[plan.partner[i]], axes, (-2, -1))
        if plan.takes_nearest or x.dtype.type not in DTYPES or not x.dtype.isnative:
            exact = largest = nearest(partner, y1 - y0, x1 - x0)
        else:
            with np.errstate(invalid="ignore"):
                exact, largest = resized(partner, y1 - y0, x1 - x0)
        yield tuple(at), np.moveaxis(exact, (-2, -1), axes), np.moveaxis(largest, (-2, -1), axes)


def lam_of(plan):
    """What is left of each sample, as fractions: its weight times the share outside of its box, or its mask's mean."""
    weights = [Fraction(weight) for weight in plan.weight.tolist()]
    if plan.masks is not None:
        return [sum(map(Fraction, mask.ravel().tolist())) / mask.size for mask in plan.masks]
    if plan.boxes is None:
        return weights
    d, size = len(plan.spatial_shape), int(np.prod(plan.spatial_shape))
    sides = (plan.boxes[:, d:] - plan.boxes[:, :d]).tolist()
    return [weight * (1 - Fraction(int(np.prod(side)), size)) for weight, side in zip(weights, sides, strict=True)]


def ulp(magnitude, dtype):
    """The distance between neighbouring numbers of a float type around `magnitude`."""
    info = ml_dtypes.finfo(dtype)
    # frexp gives 0 the exponent 0.
    exponent = np.where(magnitude == 0, info.minexp, np.frexp(magnitude)[1] - 1)
    return np.ldexp(np.asarray(1, magnitude.dtype), np.maximum(exponent, info.minexp) - info.nmant)


def tolerance(dtype, exact, largest):
    """How far a blend may be from the exact value; `largest` is max(|a|, |b|)."""
    if dtype in (np.float32, np.float64):
        return 2 * ulp(largest, dtype)
    if dtype in FLOATS:
        computed = 2 * ulp(largest, np.float32)
        return computed + ulp(np.abs(exact) + computed, dtype) / 2
    # The nearest integer; on either side of a tie only as near to it as the arithmetic can tell.
    return 0.5 + (1 / 128 if dtype == np.uint8 else 2 * ulp(largest, np.float32))


def bits(array):
    """The bytes of the elements, in C order: what "bit for bit" compares."""
    return np.ascontiguousarray(array).tobytes()


def assert_same_bits(got, expected):
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert bits(got) == bits(expected)


def equal_values(own, partner):
    """What equal values blend to: themselves, but +0 where two zeros have different signs, as in the formula."""
    if own.dtype not in FLOATS:
        return own
    return np.where((own == partner) & (np.signbit(own) != np.signbit(partner)), own.dtype.type(0), own)


def assert_mixed(got, x, lam, partner, where=True):
    """`got` is `x` mixed: the exact bits where there is nothing to compute, near the exact value elsewhere."""
    assert got.shape == x.shape
    assert got.dtype == x.dtype
    if x.size == 0:
        return
    other = x[partner]
    column = per_sample(lam, x)
    copied = np.where((column > 0) & (column < 1), equal_values(x, other), np.where(column == 0, other, x))
    certain = (column == 1) | (column == 0) | (x == other)
    as_words = f"u{x.itemsize}"
    wrong = where & certain & (np.ascontiguousarray(got).view(as_words) != np.ascontiguousarray(copied).view(as_words))
    assert not wrong.any(), f"not bit for bit at {np.argwhere(wrong)[:3]}"

    exact = mix(x, lam, partner)
    largest = np.maximum(np.abs(x.astype(exact.dtype)), np.abs(other.astype(exact.dtype)))
    error = np.abs(got.astype(exact.dtype) - exact)
    # Not `error > ...`, which a NaN passes.
    wrong = where & ~(error <= tolerance(x.dtype.type, exact, largest))
    assert not wrong.any(), f"{got[wrong][:3]} instead of {exact[wrong][:3]} at {np.argwhere(wrong)[:3]}"


def assert_applied(got, x, plan, spatial_axes=None):
    """`got` is the plan applied to `x`: boxes bit for bit the partner's, and what is around them mixed.

    Boxes that hold the whole partner are near the exact values.
    """
    cut = inside(plan, x.shape, spatial_axes).copy()
    around = ~cut
    for at, exact, largest in patches(x, plan, spatial_axes):
        cut[at] = False
        error = np.abs(got[at].astype(exact.dtype) - exact)
        near = 4 * ulp(largest, np.float64 if x.dtype == np.float64 else np.float32)
        if x.dtype.type in FLOATS[2:]:
            near += ulp(np.abs(exact) + near, x.dtype.type) / 2
        near = near if x.dtype.type in FLOATS else 0.5 + near
        assert not (wrong := ~(error <= near)).any(), f"{got[at][wrong][:3]} instead of {exact[wrong][:3]}"
    other = x[plan.partner]
    assert bits(got[cut]) == bits(other[cut])
    assert_mixed(got, x, shares(plan, x.shape, spatial_axes), plan.partner, where=around)


def assert_normalized(got, x, plan, mean, std, spatial_axes=None):
    """`got` is the plan applied to `x` and normalised, rounded once; `mean` and `std` are broadcast to a sample."""
    unit = np.iinfo(x.dtype).max if x.dtype.kind == "u" else 1
    exact = (mix_plan(x, plan, spatial_axes) / unit - mean) / std
    assert got.shape == x.shape
    error = np.abs(got.astype(np.float64) - exact)
    wrong = ~(error <= 0.51 * ulp(np.abs(exact), got.dtype.type))
    assert not wrong.any(), f"{got[wrong][:3]} instead of {exact[wrong][:3]} at {np.argwhere(wrong)[:3]}"


def terms(x, plan):
    """What is mixed into each sample, in the wide type: (k, n, ...), the sample itself first; and the weights alike."""
    partner = plan.partner.reshape(len(plan), -1).T
    rows = np.concatenate([np.arange(len(plan))[None], partner])
    weights = plan.weights.T.reshape(len(rows), len(plan), *[1] * (x.ndim - 1))
    return x[rows], weights.astype(wide(x.dtype))


def mean(x, plan):
    """weights[i, 0] * x[i] + weights[i, 1] * x[partner[i, 0]] + ..., without what has no weight."""
    of, weights = terms(x, plan)
    return np.where(weights == 0, 0, of.astype(weights.dtype) * weights).sum(axis=0)


def assert_means(got, x, plan):
    """`got` is `x` mixed by a plan of several partners: the exact bits where a weight is 1, else near the exact value.

    And never outside of what it is a mean of.
    """
    assert got.shape == x.shape
    assert got.dtype == x.dtype
    if x.size == 0:
        return
    of, weights = terms(x, plan)
    for i, whole in zip(*np.nonzero(plan.weights == 1), strict=True):
        assert bits(got[i]) == bits(of[whole, i])
    of, values = of.astype(weights.dtype), got.astype(weights.dtype)
    least, most = (np.where(weights > 0, of, edge * np.inf) for edge in (1, -1))
    assert (least.min(axis=0) <= values).all()
    assert (values <= most.max(axis=0)).all()
    # Each term but the first is blended with a mean, whose error has its share.
    exact, largest = mean(x, plan), np.where(weights > 0, np.abs(of), 0).max(axis=0)
    near = 2 * (plan.k - 1) * ulp(largest, np.float64 if x.dtype == np.float64 else np.float32)
    if x.dtype.type in FLOATS[2:]:
        near += ulp(np.abs(exact) + near, x.dtype.type) / 2
    near = near if x.dtype.type in FLOATS else 0.5 + near
    wrong = ~(np.abs(values - exact) <= near)
    assert not wrong.any(), f"{got[wrong][:3]} instead of {exact[wrong][:3]} at {np.argwhere(wrong)[:3]}"


def soft_targets(y, lam, partner, num_classes, label_smoothing=0.0):
    """(n, num_classes) float64: each class 1 - s + s/C, the others s/C, then mixed."""
    hot = np.eye(num_classes)[np.asarray(y, dtype=np.intp)]
    hot = hot * (1 - label_smoothing) + label_smoothing / num_classes
    return mix(hot, lam, partner)
