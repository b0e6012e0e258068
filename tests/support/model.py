"""The formula as the README states it, step by step in the type that is computed in: results must have these very bits.

`mixed` and `applied` give them; `error` measures how far they are from the exact values of the oracle. Nothing here is
shared with the kernels, which know neither NumPy's rounding nor its infinities.
"""

import numpy as np
from oracle import DTYPES, FLOATS, inside, mix, patches, per_sample, shares, ulp

#: The largest error, for floats in units in the last place of max(|own|, |partner|), for integers from the exact value.
LIMITS = {
    "float64": 2.0,
    "float32": 2.0,
    "float16": 0.51,
    "bfloat16": 0.51,
    "uint8": 0.5 + 1 / 128,  # fixed point
    "int8": 0.5 + 2**-16,  # float32 holds their blends to so many places
    "uint16": 0.5 + 2**-7,
    "int16": 0.5 + 2**-8,
}


def words(array):
    """The bit patterns of the elements."""
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


def mixed(x, lam, partner):
    """near - (near - far) * weight, the weight at most 1/2 and rounded once; a copy where there is nothing to blend."""
    lam, partner = np.asarray(lam, float), np.asarray(partner, np.intp)
    other = x[partner]
    column = per_sample(lam, x)
    itself = per_sample(partner == np.arange(len(x)), x)
    own_is_near = column >= 0.5
    blend = _fixed_point if x.dtype == np.uint8 else _float
    with np.errstate(all="ignore"):
        result = blend(x, other, own_is_near, np.where(own_is_near, 1 - column, column))
    copied = np.where(itself | (column == 1), words(x), words(other))
    return np.where(itself | (column == 1) | (column == 0), copied, words(result)).view(x.dtype).reshape(x.shape)


def applied(x, plan, spatial_axes=None):
    """`mixed` by the plan's weights, then each box as the partner has it. Any dtype whose weights are 0 and 1 alone."""
    cut, other = inside(plan, x.shape, spatial_axes), x[plan.partner]
    weight = shares(plan, x.shape, spatial_axes)
    if x.dtype.type in DTYPES and x.dtype.isnative:
        result = np.where(cut, words(other), words(mixed(x, weight, plan.partner))).view(x.dtype).reshape(x.shape)
    else:
        result = x.copy()
        taken = cut | (per_sample(weight, x) == 0)
        result[taken] = other[taken]
    return _with_patches(result, x, plan, spatial_axes)


def _with_patches(result, x, plan, spatial_axes):
    """Partners that are resized into boxes: two rows blended, then two pixels of these, then rounded."""
    axes = [axis % x.ndim - 1 for axis in ((-2, -1) if spatial_axes is None else spatial_axes)]
    for at, values, _ in patches(x, plan, spatial_axes):
        height, width = (values.shape[axis] for axis in axes)
        partner = np.moveaxis(x[plan.partner[at[0]]], axes, (-2, -1))
        if values.dtype != x.dtype:
            is_all = partner.shape[-2:] == (height, width)
            patch = partner if is_all else _resized(partner, height, width)
            values = np.moveaxis(patch, (-2, -1), axes)
        result[at] = values
    return result


def _resized(image, height, width):
    dtype = image.dtype
    image = image.astype(np.float64 if dtype == np.float64 else np.float32)
    for axis, size in ((-2, height), (-1, width)):
        length = image.shape[axis]
        # (k + 1/2) * length / size - 1/2 in whole numbers, at least 0.
        low, rest = np.divmod(np.maximum((2 * np.arange(size) + 1) * length - size, 0), 2 * size)
        high = np.minimum(low + 1, length - 1)
        is_second = rest > size
        near, far = np.where(is_second, high, low), np.where(is_second, low, high)
        far = np.where(rest == 0, near, far)
        weight = np.where(is_second, 2 * size - rest, rest) / (2 * size)
        weight = weight.astype(image.dtype).reshape(-1, *[1] * (-1 - axis))
        a, b = image.take(near, axis), image.take(far, axis)
        with np.errstate(all="ignore"):
            blended = a - (a - b) * weight
            image = np.where(np.isnan(blended), np.where(a == b, a, np.nan), blended).astype(image.dtype)
    if dtype.type not in FLOATS:
        return np.rint(image).astype(dtype)
    canonical = words(np.array([np.nan], dtype))[0]
    with np.errstate(all="ignore"):
        return np.where(np.isnan(image), canonical, words(image.astype(dtype))).view(dtype).reshape(image.shape)


def _float(own, partner, own_is_near, weight):
    dtype = own.dtype
    computed_in = np.float64 if dtype == np.float64 else np.float32
    own, partner, weight = own.astype(computed_in), partner.astype(computed_in), weight.astype(computed_in)
    near, far = np.where(own_is_near, own, partner), np.where(own_is_near, partner, own)
    result = near - (near - far) * weight
    if dtype.type not in FLOATS:
        return np.rint(result).astype(dtype)
    result = np.where(np.isnan(result) & (own == partner), own, result)
    canonical = words(np.array([np.nan], dtype))[0]
    return np.where(np.isnan(result), canonical, words(result.astype(dtype))).view(dtype)


def _fixed_point(own, partner, own_is_near, weight):
    own, partner = own.astype(np.int32), partner.astype(np.int32)
    near, far = np.where(own_is_near, own, partner), np.where(own_is_near, partner, own)
    weight = np.floor(weight * 32768 + 0.5).astype(np.int32)
    return (near + (((far - near) * weight + (1 << 14)) >> 15)).astype(np.uint8)


def error(got, x, lam, partner, where=True):
    """The largest distance from the exact value, in the unit of `LIMITS`.

    What is infinite, or has a difference that overflows, has no exact value: there the formula alone counts.
    """
    if x.size == 0:
        return 0.0
    dtype, other = x.dtype.type, x[partner]
    computed_in = np.float64 if dtype == np.float64 else np.float32
    with np.errstate(all="ignore"):
        finite = np.isfinite(x.astype(computed_in) - other.astype(computed_in))
        finite &= np.isfinite(x.astype(computed_in)) & np.isfinite(other.astype(computed_in)) & where
        exact = mix(x, lam, partner)
        distance = np.abs(got.astype(exact.dtype) - exact)[finite]
        largest = np.maximum(np.abs(x.astype(exact.dtype)), np.abs(other.astype(exact.dtype)))[finite]
    units = distance / ulp(largest, dtype) if dtype in FLOATS else distance
    # A NaN must not hide: max gives it back, and it is above no limit and below none.
    return float(units.max(initial=0))
