"""Partners from another batch for tensors, and for whole batches of any library."""

import numpy as np
import other as joined
import pytest
import torch
from oracle import assert_same_bits, values

import mixup_rs.torch as mt
from mixup_rs import CutMix, FMix, Mixer, MixPlan, Mixup, ResizeMix


def plans(n, m):
    shape = (8, 6)
    rules = [Mixup(1.0), CutMix(mode="elem"), CutMix(), FMix(soft=0.2), ResizeMix(mode="elem")]
    return [rule.plan(n, shape, rng=(1, n), other=m) for rule in rules]


@pytest.mark.parametrize("m", [3, 5, 9])
def test_tensors_are_mixed_with_others(m):
    x, z = values((5, 3, 8, 6), np.float32), values((m, 3, 8, 6), np.float32, seed=1)
    for plan in plans(5, m):
        expected = plan.apply(x, other=z)
        got = mt.apply(plan, torch.from_numpy(x.copy()), other=torch.from_numpy(z))
        assert_same_bits(got.numpy(), expected)
        own = torch.from_numpy(x.copy())
        assert mt.apply(plan, own, inplace=True, other=torch.from_numpy(z)) is own
        assert_same_bits(own.numpy(), expected)


def test_gradients_flow_to_both():
    for plan in plans(5, 3):
        x, z = (torch.from_numpy(values((n, 2, 8, 6), np.float64, seed=n)).requires_grad_() for n in (5, 3))
        mixed = mt.apply(plan, x, other=z)
        weight = torch.from_numpy(values((5, 2, 8, 6), np.float64, seed=9))
        (mixed * weight).sum().backward()
        both = torch.cat([x, z]).detach().requires_grad_()
        (mt.apply(joined.joined(plan), both)[:5] * weight).sum().backward()
        torch.testing.assert_close(torch.cat([x.grad, z.grad]), both.grad)


def test_wrong_others():
    plan, x = MixPlan(0.5, [2, 0], other=3), torch.zeros(2, 4)
    for other, message in [
        (None, "another batch of 3 samples, which must be given"),
        (torch.zeros(2, 4), "another batch of 3 samples, got one of 2"),
        (torch.zeros(3, 5), r"samples like those of the tensor, torch.float32 \(4,\) on cpu, got torch.float32 \(5,\)"),
        (torch.zeros(3, 4).double(), "got torch.float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            mt.apply(plan, x, other=other)
    with pytest.raises(TypeError, match="other must be a tensor, got ndarray"):
        mt.apply(plan, x, other=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="the batch itself, got another batch of 2"):
        mt.apply(MixPlan(0.5, [1, 0]), x, other=x)


@pytest.mark.parametrize("of", [lambda x: x, torch.from_numpy], ids=["numpy", "torch"])
def test_a_mixer_takes_another_batch(of):
    x, z = values((5, 3, 8, 6), np.float32), values((7, 3, 8, 6), np.float32, seed=1)
    y, yz = np.array([0, 1, 2, 1, 0]), np.array([2, 2, 1, 0, 0, 1, 2])
    for rule in [Mixup(1.0), CutMix(mode="elem"), FMix(), ResizeMix()]:
        plan = rule.plan(5, (8, 6), rng=(4, 1, 2), other=7)
        batch, batch2 = {"image": of(x), "label": of(y)}, {"image": of(z), "label": of(yz)}
        mixed = Mixer(rule, num_classes=3, rng=4)(batch, key=(1, 2), other=batch2)
        assert type(mixed["image"]) is type(batch["image"])
        assert_same_bits(np.asarray(mixed["image"]), plan.apply(x, other=z))
        np.testing.assert_allclose(np.asarray(mixed["label"]), plan.apply_labels(y, 3, other=yz)[0], atol=1e-7)
        image, (own, partner, lam) = Mixer(rule, rng=4)((of(x), of(y)), key=(1, 2), other=(of(z), of(yz)))
        assert_same_bits(np.asarray(image), plan.apply(x, other=z))
        np.testing.assert_array_equal(np.asarray(own), y)
        np.testing.assert_array_equal(np.asarray(partner), yz[plan.partner])
        np.testing.assert_array_equal(np.asarray(lam), plan.lam.astype(np.float32))


def test_other_batches_that_do_not_fit():
    mix = Mixer(Mixup(), rng=1)
    batch = {"image": np.zeros((2, 4)), "label": np.zeros(2, int)}
    with pytest.raises(ValueError, match=r"label.* of batch is in one of the two batches alone"):
        mix(batch, other={"image": np.zeros((3, 4))})
    with pytest.raises(ValueError, match=r"image.* of other is a ndarray of float64, samples of \(5,\)"):
        mix(batch, other={"image": np.zeros((3, 5)), "label": np.zeros(3, int)})
    with pytest.raises(ValueError, match=r"image.* of other is a ndarray of float32"):
        mix(batch, other={"image": np.zeros((3, 4), np.float32), "label": np.zeros(3, int)})
    with pytest.raises(ValueError, match="pair"):
        Mixer(Mixup(mode="pair"), rng=1)(batch, other=batch)


@pytest.mark.parametrize("m", [1, 4, 30])
def test_labels_are_mixed_with_those_of_the_other_batch(m):
    for plan in (Mixup().plan(6, rng=1, other=m), CutMix(mode="elem").plan(6, (4, 4), rng=1, other=m)):
        y, z = torch.arange(6) % 3, torch.arange(m) % 3
        lam, eye = torch.from_numpy(plan.lam)[:, None], torch.eye(3)
        expected = (lam * eye[y] + (1 - lam) * eye[z][plan.partner]).float()
        assert torch.allclose(mt.apply_labels(plan, y, 3, other=z)[0], expected)
        own, partner = mt.apply_labels(plan, y, other=z)
        assert torch.equal(own, y)
        assert torch.equal(partner, z[plan.partner])
        for of in (eye, eye.bool(), eye.long()):
            classes = 3 if of.dtype == torch.int64 else None
            assert torch.allclose(mt.apply_labels(plan, of[y], classes, other=of[z])[0], expected)
        for bad in (None, z.float(), torch.zeros(m + 1, dtype=torch.int64), z[:, None]):
            with pytest.raises(ValueError, match=r"from another batch of|must have samples like"):
                mt.apply_labels(plan, y, 3, other=bad)
        with pytest.raises(ValueError, match="label_smoothing"):
            mt.apply_labels(plan, eye[y], label_smoothing=0.1, other=eye[z])
