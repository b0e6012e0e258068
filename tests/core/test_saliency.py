"""CutMix at peaks of saliency, and the maps of it."""

import pickle

import numpy as np
import pytest
from oracle import assert_same_bits, values
from refusals import INF, NAN, case, raises, refused

from mixup_rs import CutMix, MixPlan, Mixup, OneOf, mix_batch, saliency
from mixup_rs.salient import Peaks

N, SIZE = 40, (24, 36)
MAPS = np.random.default_rng(0).random((N, *SIZE))
PEAKS = np.stack(np.unravel_index(MAPS.reshape(N, -1).argmax(axis=1), SIZE), axis=1)


def around(centre, lengths, whole):
    """The box of these lengths around a point, clipped to the sample."""
    end = centre + -(-lengths // 2)
    return np.concatenate([np.maximum(end - lengths, 0), np.minimum(end, whole)], axis=1)


@pytest.mark.parametrize("mode", ["batch", "elem", "pair"])
@pytest.mark.parametrize("minmax", [None, (0.2, 0.5)])
def test_boxes_are_centred_at_the_peak_of_the_partner(mode, minmax):
    rule = CutMix(mode=mode, minmax=minmax, saliency=MAPS)
    for key in range(5):
        plan = rule.plan(N, SIZE, rng=key)
        if minmax:
            whole = CutMix(mode=mode, minmax=minmax).plan(N, SIZE, rng=key).boxes
            lengths = whole[:, 2:] - whole[:, :2]
        else:
            lam = Mixup(alpha=1.0, mode=mode, fold=False).plan(N, rng=key).lam
            lengths = np.floor(np.sqrt(1 - lam)[:, None] * SIZE + 0.5).astype(int)
        np.testing.assert_array_equal(plan.boxes, around(PEAKS[plan.partner], lengths, SIZE))
        np.testing.assert_array_equal(plan.partner, CutMix(mode=mode).plan(N, SIZE, rng=key).partner)
        cover = (plan.boxes[:, 2:] - plan.boxes[:, :2]).prod(axis=1) / np.prod(SIZE)
        np.testing.assert_allclose(plan.lam, 1 - cover, atol=1e-15)


@pytest.mark.parametrize("shape", [(50,), (5, 6, 7)], ids=str)
def test_along_one_and_three_axes(shape):
    maps = np.random.default_rng(1).integers(0, 255, (N, *shape))
    plan = CutMix(mode="elem", saliency=maps).plan(N, shape, rng=3)
    peak = np.stack(np.unravel_index(maps.reshape(N, -1).argmax(axis=1), shape), axis=1)[plan.partner]
    starts, ends = np.split(plan.boxes, 2, axis=1)
    inside = (starts <= peak) & ((peak < ends) | (starts == ends))
    assert inside.all()


def test_prob_and_alpha_of_0_cut_nothing():
    some = CutMix(mode="elem", prob=0.5, saliency=MAPS).plan(N, SIZE, rng=1)
    always = CutMix(mode="elem", saliency=MAPS).plan(N, SIZE, rng=1)
    kept = ~some.boxes.any(axis=1)
    assert 5 < kept.sum() < 35
    np.testing.assert_array_equal(some.boxes[~kept], always.boxes[~kept])
    assert CutMix(alpha=0, saliency=MAPS).plan(N, SIZE, rng=1) == MixPlan.identity(N)


def test_a_rule_keeps_the_peaks_alone():
    maps = MAPS.copy()
    rule = CutMix(saliency=maps)
    assert rule.saliency == Peaks(SIZE, tuple(map(tuple, PEAKS.tolist())))
    maps[...] = 0
    assert rule == CutMix(saliency=rule.saliency) == pickle.loads(pickle.dumps(rule)) == eval(repr(rule), globals())
    assert len({rule, CutMix(saliency=MAPS), CutMix(saliency=MAPS[::-1])}) == 2


def test_in_one_of_and_in_mix_batch():
    rule = OneOf([Mixup(1.0), CutMix(mode="elem", saliency=MAPS)], mode="elem")
    plan = rule.plan(N, SIZE, rng=2)
    cut = np.flatnonzero(plan.boxes.any(axis=1))
    assert len(cut) > 5
    peak = PEAKS[plan.partner]
    assert ((plan.boxes[:, :2] <= peak) & (peak < plan.boxes[:, 2:]))[cut].all()
    x = values((N, 3, *SIZE), np.float32)
    assert_same_bits(mix_batch(x, rule=rule, rng=2).x, plan.apply(x))


class TestMaps:
    def test_the_peak_is_in_what_stands_out(self):
        rng = np.random.default_rng(0)
        for shape, dtype in [
            ((40, 60), np.uint8),
            ((224, 224), np.float32),
            ((17, 9), np.float64),
            ((300, 70), np.int16),
        ]:
            n, side = 12, min(shape) // 5
            x = (20 * rng.random((n, 3, *shape))).astype(dtype)
            place = rng.integers(0, np.array(shape) - side + 1, (n, 2))
            for image, (y, left) in zip(x, place, strict=True):
                image[:, y : y + side, left : left + side] += 100
            maps = saliency(x)
            assert (maps.shape, maps.dtype) == ((n, *shape), np.float32)
            peak = np.stack(np.unravel_index(maps.reshape(n, -1).argmax(axis=1), shape), axis=1)
            margin = 1 + 2 * (max(shape) // 64)  # images are thinned out
            assert ((place - margin <= peak) & (peak < place + side + margin)).all()

    def test_axes_and_channels(self):
        x = values((3, 20, 30, 2), np.uint8)
        first = saliency(np.moveaxis(x, -1, 1))
        assert_same_bits(saliency(x, spatial_axes=(1, 2)), first)
        assert_same_bits(saliency(x, spatial_axes=(-3, -2)), first)
        assert saliency(x[..., 0]).shape == (3, 20, 30)
        assert saliency(x[:0], spatial_axes=(1, 2)).shape == (0, 20, 30)
        assert not saliency(np.ones((2, 3, 8, 8))).any()

    def test_these_are_the_maps_of_every_machine(self):
        x = np.arange(2 * 3 * 90 * 70).reshape(2, 3, 90, 70) * 2654435761 % 251
        maps = saliency(x.astype(np.float32))
        assert_same_bits(maps, saliency(x.astype(np.uint8)))
        assert maps.astype(np.int64).sum() == 6486193300
        assert (maps == np.rint(maps)).all()


REFUSED = [
    (lambda: CutMix(saliency="abc"), raises(TypeError, "saliency must be maps of numbers", "<U3")),
    (lambda: CutMix(saliency=[["a"]]), raises(TypeError, "saliency must be maps of numbers", "<U1")),
    (lambda: CutMix(saliency=3), raises(ValueError, "saliency must be a map for each sample", "()")),
    (
        lambda: CutMix(saliency=np.zeros((2, 1, 1, 4, 4))),
        raises(ValueError, "a map for each sample", "(2, 1, 1, 4, 4)"),
    ),
    (lambda: CutMix(saliency=np.zeros((2, 0, 4))), raises(ValueError, "a map for each sample", "(2, 0, 4)")),
    (lambda: CutMix(saliency=[[[NAN]]]), raises(ValueError, "saliency must be finite")),
    (lambda: CutMix(saliency=[[[INF]]]), raises(ValueError, "saliency must be finite")),
    (lambda: CutMix(saliency=MAPS).plan(3, SIZE), raises(ValueError, "a map for each of 3 samples, got 40")),
    (lambda: CutMix(saliency=MAPS).plan(N, (24, 24)), raises(ValueError, "maps of [24, 24], got maps of [24, 36]")),
    (lambda: CutMix(saliency=MAPS).plan(N), raises(ValueError, "a box needs the shape")),
    (lambda: saliency("x"), raises(TypeError, "x must be images of real numbers", "<U1")),
    (lambda: saliency(np.zeros((2, 3, 4), complex)), raises(TypeError, "images of real numbers", "complex128")),
    (lambda: saliency(np.zeros((2, 3))), raises(ValueError, "a batch and two spatial axes", "(2, 3)")),
    (lambda: saliency(np.zeros((2, 3, 4)), (0, 1)), raises(ValueError, "two spatial axes", "(0, 1)")),
    (lambda: saliency(np.zeros((2, 3, 4)), (1, -2)), raises(ValueError, "two spatial axes", "(1, -2)")),
    (lambda: saliency(np.zeros((2, 3, 4)), (1,)), raises(ValueError, "two spatial axes", "(1,)")),
    (lambda: saliency(np.full((2, 3, 4), NAN)), raises(ValueError, "x must be finite")),
]


@pytest.mark.parametrize(("call", "expected"), REFUSED, ids=case)
def test_what_is_refused(call, expected):
    refused(call, [MAPS], expected)
