"""Every element type, memory layout, mode and destination against the oracle."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from oracle import DTYPES, FLOATS, assert_mixed, assert_same_bits, bits, equal_values, name, values

from mixup_rs import MixPlan, Mixup, mix_batch

N, C, H, W = 7, 3, 5, 6


def channels_last(array):
    """The memory (n, h, w, c) seen as (n, c, h, w)."""
    return array.transpose(0, 3, 1, 2)


def read_only(array):
    array.flags.writeable = False
    return array


def misaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    moved = as_strided(memory[1:].view(f"V{array.itemsize}").view(array.dtype), array.shape, array.strides)
    moved[...] = array
    return moved


# Each makes its array from a function (shape) -> elements.
LAYOUTS = {
    "C order": lambda of: of((N, C, H, W)),
    "channels_last": lambda of: channels_last(of((N, H, W, C))),
    "Fortran": lambda of: np.asfortranarray(of((N, C, H, W))),
    "strided batch": lambda of: of((3 * N, C, H, W))[::3],
    "reversed batch": lambda of: of((N, C, H, W))[::-1],
    "reversed channels_last": lambda of: channels_last(of((N, H, W, C)))[::-1],
    "mirrored": lambda of: of((N, C, H, W))[..., ::-1],
    "all axes reversed": lambda of: of((N, C, H, W))[::-1, ::-1, ::-1, ::-1],
    "every other pixel": lambda of: of((N, C, H, 2 * W))[..., ::2],
    "cropped": lambda of: of((N, C, H + 3, W + 4))[:, :, 1 : H + 1, 2 : W + 2],
    "batch axis inside": lambda of: of((C, N, H, W)).swapaxes(0, 1),
    "batch axis last": lambda of: np.moveaxis(of((C, H, W, N)), -1, 0),
    "no samples": lambda of: of((0, C, H, W)),
    "one sample": lambda of: of((1, C, H, W)),
    "empty rows": lambda of: of((N, 0, W)),
    "axes of length 1": lambda of: of((N, 1, H, 1)),
    "1-D": lambda of: of((50,)),
    "1-D reversed": lambda of: of((50,))[::-1],
    "6-D": lambda of: of((4, 2, 3, 2, 3, 2)),
    "6-D transposed": lambda of: of((4, 2, 3, 2, 3, 2)).transpose(3, 5, 0, 4, 2, 1),
    "read-only": lambda of: read_only(of((N, C, H, W))),
    "broadcast pixels": lambda of: np.broadcast_to(of((N, 1, H, 1)), (N, C, H, W)),
    "broadcast batch": lambda of: np.broadcast_to(of((C, H, W)), (N, C, H, W)),
    "misaligned": lambda of: misaligned(of((N, C, H, W))),
}
NOT_WRITABLE = ["read-only", "broadcast pixels", "broadcast batch", "misaligned"]
DENSE = ["C order", "channels_last", "Fortran", "batch axis inside", "batch axis last", "1-D", "6-D", "6-D transposed"]

OUTS = {
    "new": lambda x: None,
    "given": lambda x: np.empty_like(x),
    "given in C order": lambda x: np.empty(x.shape, x.dtype),
    "given in Fortran order": lambda x: np.empty(x.shape, x.dtype, order="F"),
    "given, strided": lambda x: np.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2],
    "given, reversed": lambda x: np.empty(x.shape, x.dtype)[::-1],
    "x itself": lambda x: x,
}

PARTNERS = {
    "identity": lambda n: np.arange(n),
    "one cycle": lambda n: np.roll(np.arange(n), -1),
    "pairs": lambda n: np.arange(n) ^ 1,
    "fixed points": lambda n: np.where(np.arange(n) % 3 == 0, np.arange(n), _permute_the_others(n)),
    "random permutation": lambda n: np.random.default_rng(1).permutation(n),
    "repeated": lambda n: np.random.default_rng(2).integers(0, n, n),
    "all with one": lambda n: np.full(n, n // 2),
}

# Above 4 MiB a batch is cut up for the threads: across its pixels, or, where samples are small, across samples.
SHAPES = {
    "few": lambda itemsize: (12, 3, 17),
    "large samples": lambda itemsize: (6, 3, 480_000 // itemsize),
    "many samples": lambda itemsize: (2_160_000 // itemsize, 4),
    "many scalars": lambda itemsize: (8_400_000 // itemsize,),
}


def _permute_the_others(n):
    others = np.flatnonzero(np.arange(n) % 3)
    partner = np.arange(n)
    partner[others] = np.random.default_rng(0).permutation(others)
    return partner


def weights(n, seed=3):
    """Random weights with both ends and the middle among them."""
    lam = np.random.default_rng(seed).random(n)
    lam[1::6], lam[3::6], lam[5::6] = 1, 0, 0.5
    return lam


def layouts_and_outs():
    return [(layout, out) for layout in LAYOUTS for out in OUTS if out != "x itself" or layout not in NOT_WRITABLE]


@pytest.mark.parametrize(("layout", "out"), layouts_and_outs())
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_equals_the_oracle_in_every_mode(dtype, layout, out):
    x = LAYOUTS[layout](lambda shape: values(shape, dtype))
    target = OUTS[out](x)
    for mode in ["elem", "pair", "batch"]:
        original = x.copy()
        mixed = mix_batch(x, mode=mode, alpha=1.0, fold=False, out=target, rng=5)
        assert mixed.x is target or target is None
        assert_mixed(mixed.x, original, mixed.lam, mixed.partner)
        assert out == "x itself" or bits(x) == bits(original), "the input was written to"


@pytest.mark.parametrize("layout", ["C order", "channels_last", "Fortran", "reversed batch", "mirrored", "cropped"])
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_large_batches_equal_the_oracle(dtype, layout, set_num_threads):
    set_num_threads(2)
    across = -(-(8 << 20) // (6 * 3 * 70 * np.dtype(dtype).itemsize)) + 1
    axes = (0, 2, 3, 1) if layout == "channels_last" else (0, 1, 2, 3)
    x = values(tuple(np.array([6, 3, 70, across])[list(axes)]), dtype)
    views = {
        "C order": lambda: x,
        "channels_last": lambda: channels_last(x),
        "Fortran": lambda: np.asfortranarray(x),
        "reversed batch": lambda: x[::-1],
        "mirrored": lambda: x[..., ::-1],
        "cropped": lambda: np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 2)])[:, :, 1:-1, 1:-2],
    }
    x = views[layout]()
    assert x.nbytes >= 8 << 20
    plan = MixPlan(lam=[0.3, 1, 0.5, 0.9, 0, 0.7], partner=[2, 4, 0, 3, 5, 1])
    mixed = plan.apply(x)
    assert_mixed(mixed, x, plan.lam, plan.partner)
    assert_same_bits(plan.apply(x, out=x), mixed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8], ids=name)
def test_any_partners_equal_the_oracle_and_in_place_equals_apart(dtype, partner, shape, set_num_threads):
    set_num_threads(2)
    x = values(SHAPES[shape](np.dtype(dtype).itemsize), dtype)
    assert shape == "few" or x.nbytes >= 8 << 20
    partner = PARTNERS[partner](len(x))
    plan = MixPlan(weights(len(x)), partner)
    apart = plan.apply(x)
    assert_mixed(apart, x, plan.lam, partner)
    assert plan.apply(x, out=x) is x
    assert_same_bits(x, apart)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in NOT_WRITABLE])
@pytest.mark.parametrize("partner", ["one cycle", "fixed points", "random permutation", "repeated"])
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_in_place_equals_apart_in_any_layout(dtype, partner, layout):
    x = LAYOUTS[layout](lambda shape: values(shape, dtype))
    plan = MixPlan(weights(len(x)), PARTNERS[partner](len(x)) if len(x) else [])
    apart = plan.apply(x)
    assert plan.apply(x, out=x) is x
    assert_same_bits(x, apart)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_result_lies_in_memory_as_numpy_would_lay_it(layout):
    x = LAYOUTS[layout](lambda shape: values(shape, np.float32))
    result = Mixup().plan(len(x), rng=0).apply(x)
    expected = np.empty_like(x, order="K")
    assert type(result) is np.ndarray
    assert result.flags.writeable
    assert result.flags.aligned
    assert not np.shares_memory(result, x)
    # The stride of an axis of length 1 means nothing.
    strides = [(a, b) for a, b, n in zip(result.strides, expected.strides, x.shape, strict=True) if n > 1]
    assert x.size == 0 or all(a == b for a, b in strides)
    if layout in DENSE:
        assert result.strides == x.strides


SPECIAL = [0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan, -np.nan, 1e-7, 6e4]


@pytest.mark.parametrize("in_place", [False, True], ids=["apart", "in place"])
@pytest.mark.parametrize("dtype", FLOATS, ids=name)
class TestBitForBit:
    def mixed(self, lam, own, partner, dtype, in_place):
        """Own values mixed with a partner's."""
        x = np.array([own, partner], dtype)
        return MixPlan([lam, 1.0], [1, 0]).apply(x, out=x if in_place else None)[0]

    def mixed_bits(self, lam, own, partner, dtype, in_place):
        """As `mixed`, of bit patterns: converting a signalling NaN would already change it."""
        x = np.array([own, partner]).view(dtype)
        return MixPlan([lam, 1.0], [1, 0]).apply(x, out=x if in_place else None)[0]

    def all_pairs(self, dtype):
        own, partner = np.meshgrid(np.array(SPECIAL), np.array(SPECIAL))
        return own.ravel().astype(dtype), partner.ravel().astype(dtype)

    def test_a_weight_of_one_keeps_own_bits(self, dtype, in_place):
        own, partner = self.all_pairs(dtype)
        assert_same_bits(self.mixed(1.0, own, partner, dtype, in_place), own)

    def test_a_weight_of_zero_takes_the_partners_bits(self, dtype, in_place):
        own, partner = self.all_pairs(dtype)
        assert_same_bits(self.mixed(0.0, own, partner, dtype, in_place), partner)

    @pytest.mark.parametrize("lam", [1.0, 0.0], ids=["own", "partner's"])
    def test_nan_payloads_survive_a_copy(self, dtype, in_place, lam):
        words = f"u{np.dtype(dtype).itemsize}"
        signalling = np.array(np.inf, dtype).view(words) + np.array([1, 2, 3], words)
        x = np.array([signalling, np.array([1, 2, 3], dtype).view(words)])
        own, partner = (x[0], x[1]) if lam else (x[1], x[0])
        mixed = self.mixed_bits(lam, own, partner, dtype, in_place)
        assert mixed.tobytes() == signalling.tobytes()

    @pytest.mark.parametrize("lam", [0.001, 0.3, 0.5, 0.9])
    def test_equal_values_stay(self, dtype, in_place, lam):
        own, partner = self.all_pairs(dtype)
        equal = own == partner
        assert equal.sum() > len(SPECIAL) - 2  # 0 and -0 are equal, too; NaN is not
        own, partner = own[equal], partner[equal]
        assert_same_bits(self.mixed(lam, own, partner, dtype, in_place), equal_values(own, partner))

    @pytest.mark.parametrize("lam", [0.3, 0.5, 0.9])
    def test_a_sample_that_is_its_own_partner_stays(self, dtype, in_place, lam):
        x = np.array([SPECIAL], dtype)
        original = x.copy()
        assert_same_bits(MixPlan([lam], [0]).apply(x, out=x if in_place else None), original)

    @pytest.mark.parametrize("lam", [0.3, 0.5, 0.9])
    def test_infinities_and_nan_follow_the_formula(self, dtype, in_place, lam):
        own, partner = self.all_pairs(dtype)
        a, b = own.astype(float), partner.astype(float)
        with np.errstate(invalid="ignore"):
            expected = a + (b - a) * (1 - lam) if lam >= 0.5 else b + (a - b) * lam
        expected[a == b] = a[a == b]
        mixed = self.mixed(lam, own, partner, dtype, in_place).astype(float)
        special = ~np.isfinite(expected)
        np.testing.assert_array_equal(mixed[special], expected[special])
        assert np.isfinite(mixed[~special]).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_a_nan_in_the_partner_of_a_kept_sample_does_not_leak(dtype):
    x = values((4, 3, 9), dtype)
    if dtype in FLOATS:
        x[3] = np.nan
    original = x.copy()
    mixed = MixPlan([1, 1, 1, 0], [3, 3, 3, 0]).apply(x)
    assert_same_bits(mixed[:3], original[:3])
    assert_same_bits(mixed[3], original[0])


@pytest.mark.parametrize("lam", [0.5 - 2**-30, 0.25, 2**-20, 0.75, 1 - 2**-20])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8], ids=name)
def test_every_pair_of_bytes_is_within_reach_of_the_nearest(dtype, lam):
    info = np.iinfo(dtype)
    every = np.arange(info.min, info.max + 1).astype(dtype)
    x = np.stack([np.repeat(every, 256), np.tile(every, 256)])
    assert_mixed(MixPlan([lam, lam], [1, 0]).apply(x), x, [lam, lam], [1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8], ids=name)
def test_the_worked_example(dtype):
    """A leonberger at 0.6 and a Ragdoll at 0.4, of 37 breeds, as the method is taught."""
    im1, im2 = values((2, 3, 64, 64), dtype)
    y1, y2 = np.zeros(37), np.zeros(37)
    y1[25] = y2[8] = 1
    mixed = mix_batch(np.stack([im1, im2]), np.stack([y1, y2]), lam=0.6, partner=[1, 0])
    assert_mixed(mixed.x, np.stack([im1, im2]), [0.6, 0.6], [1, 0])
    if dtype == np.float64:
        np.testing.assert_allclose(mixed.x[0], im1 * 0.6 + im2 * 0.4, rtol=1e-12, atol=1e-15 * np.abs(im1).max())
    assert mixed.y[0, 25] == pytest.approx(0.6, abs=1e-15)
    assert mixed.y[0, 8] == pytest.approx(0.4, abs=1e-15)
    assert np.count_nonzero(mixed.y) == 4
    assert mixed.y_partner is None
    np.testing.assert_array_equal(mixed.lam, [0.6, 0.6])
    np.testing.assert_array_equal(mixed.partner, [1, 0])


def test_mix_batch_is_draw_and_apply():
    x, y = values((9, 4), np.float32), np.arange(9) % 3
    mixed = mix_batch(x, y, alpha=0.3, mode="pair", fold=False, num_classes=3, label_smoothing=0.1, rng=(1, 2))
    plan = Mixup(alpha=0.3, mode="pair", fold=False).plan(9, rng=(1, 2))
    assert_same_bits(mixed.x, plan.apply(x))
    assert_same_bits(mixed.y, plan.apply_labels(y, num_classes=3, label_smoothing=0.1)[0])
    assert_same_bits(mixed.lam, plan.lam)
    assert_same_bits(mixed.partner, plan.partner)
    assert (mixed.lam.dtype, mixed.partner.dtype) == (np.float64, np.intp)


def test_a_plan_hands_out_copies():
    plan = MixPlan([0.25, 0.75], [1, 0])
    plan.lam[:] = 7
    plan.partner[:] = 7
    np.testing.assert_array_equal(plan.lam, [0.25, 0.75])
    np.testing.assert_array_equal(plan.partner, [1, 0])
