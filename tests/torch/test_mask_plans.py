"""Plans with masks, in every front of torch: tensors, devices, gradients, collates, targets."""

import numpy as np
import pytest
import torch
from device import SHAPE, N, Operations
from oracle import FLOATS, assert_applied, mix_plan, name, shares, values
from rules import OF_MASKS

from mixup_rs import CutMix, FMix, GridMix, MixPlan, Mixup, OneOf, SmoothMix
from mixup_rs.batches.targets import TargetOptions, mix_target
from mixup_rs.torch import MixCollate, apply
from mixup_rs.torch.arrays import TORCH
from mixup_rs.torch.device import mix_on_device

SIZE = SHAPE[2:]
PARTNER = [1, 0, 2, *range(4, N), 3]
SOFT = np.random.default_rng(0).random((N, *SIZE))
PLANS = {
    "one hard": MixPlan.from_masks(SOFT[0] > 0.5, PARTNER),
    "hard": MixPlan.from_masks(SOFT > 0.5, PARTNER),
    "one soft": MixPlan.from_masks(SOFT[0].astype(np.float32), PARTNER),
    "soft and hard": MixPlan.from_masks(np.clip(2 * SOFT - 0.5, 0, 1), PARTNER),
    "one of": OneOf([Mixup(), CutMix(mode="elem"), FMix(), SmoothMix()], mode="elem").plan(N, SIZE, rng=4),
}
each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


@each_plan
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8], ids=str)
def test_the_plan_is_sent_once_and_nothing_waits_for_it(plan, dtype, inplace):
    x = torch.empty(SHAPE, dtype=dtype, device="meta")
    with Operations() as seen:
        mixed = apply(plan, x, inplace=inplace)
    assert (mixed is x) == inplace
    assert [(name, non_blocking) for name, _, non_blocking in seen.sent] == [("_to_copy", True)]


@each_plan
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("axes", [None, (2, 3), (3, 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8, np.int16], ids=name)
def test_a_device_mixes_what_the_kernel_mixes(dtype, axes, inplace, plan):
    shape = SHAPE if axes != (3, 2) else (N, 3, *SIZE[::-1])
    x = values(shape, np.uint8).astype(dtype)
    tensor = torch.from_numpy(x.copy())
    mixed = mix_on_device(plan, tensor, inplace, axes)
    assert (mixed is tensor) or not inplace
    kernel = apply(plan, torch.from_numpy(x), spatial_axes=axes)
    kept, taken = ((shares(plan, shape, axes) == share) for share in (1, 0))
    for where, expected in [(kept, x), (taken, x[plan.partner])]:
        where = np.broadcast_to(where, shape)
        assert (mixed.numpy()[where] == expected[where]).all()
    tolerance = {2: 1e-3, 4: 1e-6, 8: 1e-14}.get(x.itemsize, 0) * 256 if dtype in FLOATS else 1
    np.testing.assert_allclose(mixed.numpy().astype(float), kernel.numpy().astype(float), atol=tolerance)
    assert_applied(kernel.numpy(), x, plan, axes)


@each_plan
def test_nothing_leaks_on_a_device(plan):
    x = np.ones(SHAPE, np.float32)
    x[1::2] = np.nan
    x[0] = np.inf
    with np.errstate(invalid="ignore"):
        kernel = plan.apply(x)
    np.testing.assert_array_equal(mix_on_device(plan, torch.from_numpy(x), False).numpy(), kernel)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.int32], ids=str)
def test_hard_masks_take_elements_that_cannot_be_blended(dtype):
    x = torch.from_numpy(values(SHAPE, np.uint8)).to(dtype)
    for plan in (PLANS["hard"], PLANS["one hard"]):
        expected = np.where(shares(plan, SHAPE) == 1, x.numpy(), x.numpy()[plan.partner])
        assert (apply(plan, x).numpy() == expected).all()
        assert (mix_on_device(plan, x, False).numpy() == expected).all()
    with pytest.raises(TypeError, match="expected a tensor"):
        apply(PLANS["one soft"], x)


@each_plan
@pytest.mark.parametrize("mix", [apply, lambda plan, x: mix_on_device(plan, x, False)], ids=["kernel", "device"])
def test_gradients_are_those_of_the_formula(mix, plan):
    x = torch.randn(N, 2, *SIZE, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    (mix(plan, x) * weight).sum().backward()
    own = torch.from_numpy(shares(plan, x.shape).copy())
    expected = own * weight + torch.zeros_like(weight).index_add(0, torch.from_numpy(plan.partner), (1 - own) * weight)
    # A sample that is its own partner keeps all of itself.
    torch.testing.assert_close(x.grad, expected)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match=r"the masks are for samples of \(20, 24\)"):
        mix_on_device(PLANS["hard"], torch.zeros(N, 3, 24, 20), False)


@pytest.mark.parametrize("rule", OF_MASKS, ids=repr)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_collate_mixes_images_and_labels(rule, channels_last):
    shape = (12, 16, 3) if channels_last else (3, 12, 16)
    images = torch.from_numpy(values((8, *shape), np.uint8))
    samples = [(image, label % 5) for label, image in enumerate(images)]
    collate = MixCollate(rule, num_classes=5, rng=1, return_plan=True, normalize=(0.5, 0.25))
    (mixed, targets), plan = collate(samples)
    axes = (1, 2) if channels_last else (2, 3)
    assert plan == rule.plan(8, (12, 16), rng=(1, 0, 0, 0))
    exact = (mix_plan(images.numpy(), plan, axes) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(mixed.numpy(), exact, atol=1e-6)
    hot = np.eye(5)[np.arange(8) % 5]
    np.testing.assert_allclose(targets.numpy(), mix_plan(hot, plan.without_region()), atol=1e-6)


class TestTargets:
    CLASSES = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (N, *SIZE)))

    @pytest.mark.parametrize("plan", ["hard", "one hard"])
    def test_hard_masks_cut_masks_of_classes(self, plan):
        plan, y = PLANS[plan], self.CLASSES
        expected = np.where(plan.masks == 1, y.numpy(), y.numpy()[plan.partner])
        assert (mix_target(TORCH, plan, y, TargetOptions()).numpy() == expected).all()

    def test_soft_masks_cut_no_classes(self):
        for plan in ("one soft", "soft and hard", "one of"):
            with pytest.raises(TypeError, match=r"the target is a mask of classes.*soft masks.*FMix\(soft=0.0\)"):
                mix_target(TORCH, PLANS[plan], self.CLASSES, TargetOptions())

    def test_a_sample_that_is_its_own_partner_keeps_its_classes(self):
        plan = MixPlan.from_masks(np.full(SIZE, 0.5), [0])
        own, partner, _ = mix_target(TORCH, plan, self.CLASSES[:1], TargetOptions())
        assert torch.equal(own, self.CLASSES[:1])
        assert torch.equal(partner, self.CLASSES[:1])

    def test_blends_are_paired_and_masks_cut_in_one_plan(self):
        plan = OneOf([Mixup(1.0), CutMix(mode="elem"), GridMix()], mode="elem").plan(N, SIZE, rng=2)
        own, partner, lam = mix_target(TORCH, plan, self.CLASSES, TargetOptions())
        y, blended = self.CLASSES.numpy(), plan.weight < 1
        assert blended.any()
        assert not blended.all()
        cut = np.where(plan.masks == 0, y[plan.partner], y)
        assert (own.numpy() == np.where(blended[:, None, None], y, cut)).all()
        assert (partner.numpy() == np.where(blended[:, None, None], y[plan.partner], cut)).all()
        # Where the two are equal any lam is right: it is that of the labels.
        np.testing.assert_allclose(lam.numpy(), np.where(blended, plan.weight, plan.lam), rtol=1e-6)

    def test_floats_of_the_images_size_are_blended_as_they_are(self):
        y, plan = torch.rand(N, *SIZE), PLANS["soft and hard"]
        np.testing.assert_allclose(
            mix_target(TORCH, plan, y, TargetOptions()).numpy(), mix_plan(y.numpy(), plan).astype(float), atol=1e-6
        )
