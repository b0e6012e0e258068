"""Mixer on whatever speaks the array API standard: in the memory of the CPU by the kernel, elsewhere by its own."""

import sys

import array_api_strict as xp
import numpy as np
import pytest
from oracle import assert_same_bits, values
from rules import EXAMPLES, draws_soft_masks

from mixup_rs import CutMix, Mixer, Mixup, PairedTarget

N, SIZE = 6, (8, 10)
Y = np.arange(N) % 4
CPU, FAR = xp.Device("CPU_DEVICE"), xp.Device("device1")
each_rule = pytest.mark.parametrize("rule", EXAMPLES, ids=repr)


def host(array):
    return np.from_dlpack(xp.asarray(array, device=CPU))


@each_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16])
def test_in_the_memory_of_the_cpu(rule, dtype):
    x = values((N, 3, *SIZE), dtype)
    given = {"image": xp.asarray(x), "label": xp.asarray(Y)}
    for options in ({}, {"num_classes": 4}):
        ours = Mixer(rule, rng=1, **options)({"image": x, "label": Y})
        theirs = Mixer(rule, rng=1, **options)(given)
        assert type(theirs["image"]) is type(given["image"])
        assert_same_bits(host(theirs["image"]), ours["image"])
        pairs = zip(ours["label"], theirs["label"], strict=True) if not options else [(ours["label"], theirs["label"])]
        for one, other in pairs:
            assert_same_bits(host(other), one)
    assert_same_bits(host(given["image"]), x)


@each_rule
def test_on_another_device(rule):
    x = np.random.default_rng(0).random((N, 3, *SIZE), np.float32)
    mask, soft = (Y[:, None, None] + np.zeros(SIZE, int)) % 3, np.eye(4, dtype=np.float32)[Y] * 0.9
    batch = {"image": x, "label": Y, "y": soft, "class": np.eye(4)[Y] > 0}
    if not draws_soft_masks(rule, N, SIZE):
        batch["mask"] = mask
    there = {key: xp.asarray(value, device=FAR) for key, value in batch.items()}
    for key in (None, 3):
        ours, theirs = Mixer(rule, rng=1)(batch, key=key), Mixer(rule, rng=1)(there, key=key)
        for entry in batch:
            pairs = [(ours[entry], theirs[entry])]
            if isinstance(ours[entry], PairedTarget):
                assert isinstance(theirs[entry], PairedTarget)
                pairs = list(zip(ours[entry], theirs[entry], strict=True))
            for one, other in pairs:
                assert other.device == FAR
                np.testing.assert_allclose(host(other), one, atol=2e-7)
    got = Mixer(rule, rng=1, num_classes=4)({"image": there["image"], "label": there["label"]}, key=3)["label"]
    assert got.device == FAR
    assert_same_bits(host(got), rule.plan(N, SIZE, rng=(1, 3)).apply_labels(Y, 4)[0])


def test_a_large_batch_on_another_device_has_the_key_of_its_values():
    x = np.random.default_rng(0).random((4, 3, 100, 120), np.float32)
    there = xp.asarray(x, device=FAR)
    np.testing.assert_allclose(host(Mixer(Mixup(), rng=1)(there)), Mixer(Mixup(), rng=1)(x), atol=2e-7)


def test_what_comes_back_is_new():
    x, y = xp.asarray(np.ones((N, 4))), xp.asarray(Y)
    mixed, pair = Mixer(Mixup(), rng=1)((x, y))
    for array in (mixed, pair.y, pair.y_partner):
        array[...] = 0
    assert (host(x) == 1).all()
    assert (host(y) == Y).all()


def test_what_cannot_be_mixed():
    x = xp.asarray(np.ones((N, 4)), device=FAR)
    for batch, options, message in [
        ((x > 0, Y), {}, "input of booleans"),
        ((x, xp.asarray(Y / 1, device=FAR)), {"num_classes": 4}, "look like class numbers"),
        ((x, xp.asarray(np.full((N, 2), 3), device=FAR)), {"multi_label": True}, "integers of 3 to 3"),
        ((xp.asarray(Y, device=FAR), Y), {}, "no input of this batch can be mixed"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            Mixer(Mixup(), **options)(batch)


class Bare:
    """An array that speaks DLPack and nothing else; its module makes arrays from that."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_alone(monkeypatch):
    class Module:
        from_dlpack = staticmethod(lambda other: Bare(np.from_dlpack(other)))

    monkeypatch.setitem(sys.modules, "bare", Module)
    monkeypatch.setattr(Bare, "__module__", "bare")
    x = np.random.default_rng(0).random((N, 3, *SIZE))
    plan = CutMix().plan(N, SIZE, rng=(1, 2))
    mixed, label = Mixer(CutMix(), rng=1)((Bare(x), Bare(Y)), key=2)
    assert isinstance(mixed, Bare)
    assert_same_bits(mixed.array, plan.apply(x))
    assert_same_bits(label.y.array, Y)
    assert_same_bits(label.y_partner.array, Y[plan.partner])
    assert not np.shares_memory(label.y.array, Y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_several_samples_on_another_device(dtype):
    rule, x = Mixup(1.0, fold=False, k=4), values((N, 3, *SIZE), dtype)
    x = np.abs(x) % 100
    there = {"image": xp.asarray(x, device=FAR), "label": xp.asarray(Y, device=FAR)}
    mixed, plan = Mixer(rule, num_classes=4)(there, key=1), rule.plan(N, rng=1)
    assert mixed["image"].device == mixed["label"].device == FAR
    near = {"atol": 1e-4} if dtype != np.uint8 else {"atol": 1}
    np.testing.assert_allclose(host(mixed["image"]).astype(float), plan.apply(x).astype(float), **near)
    assert_same_bits(host(mixed["label"]), plan.apply_labels(Y, 4)[0])
