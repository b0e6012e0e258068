"""Partners resized into boxes, in every front of torch, against torch's own interpolation."""

import numpy as np
import pytest
import torch
from device import SHAPE, N, Operations
from oracle import FLOATS, assert_applied, mix_plan, name, nearest, values
from torch.nn.functional import interpolate

from mixup_rs import CutMix, FMix, Mixer, MixPlan, Mixup, OneOf, ResizeMix
from mixup_rs.batches.targets import TargetOptions, mix_target
from mixup_rs.torch import MixCollate, apply
from mixup_rs.torch.arrays import TORCH
from mixup_rs.torch.device import mix_on_device

SIZE = SHAPE[2:]
RULES = {
    "one box": ResizeMix(),
    "a box each": ResizeMix(mode="elem", prob=0.8),
    "of all kinds": OneOf([Mixup(1.0), CutMix(mode="elem"), ResizeMix(mode="elem"), FMix()], mode="elem"),
    "whole": ResizeMix(scale=(1, 1)),
}
PLANS = {key: rule.plan(N, SIZE, rng=4) for key, rule in RULES.items()}
WEIGHT = np.resize([1, 0, 0.4], N)
PLANS["blended"] = MixPlan.from_boxes(PLANS["a box each"].boxes, SIZE, PLANS["one box"].partner, WEIGHT, True)
each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def recipe(x, plan, mode):
    """As it is most often written."""
    mixed = x.clone()
    for i, (y0, x0, y1, x1) in enumerate(plan.boxes.tolist()):
        if y1 > y0 and x1 > x0 and plan.partner[i] != i:
            partner = x[plan.partner[i]][None].double()
            mixed[i, :, y0:y1, x0:x1] = interpolate(partner, size=(y1 - y0, x1 - x0), mode=mode)[0].to(x.dtype)
    return mixed


@pytest.mark.parametrize("key", ["one box", "a box each", "whole"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pixels_are_those_of_bilinear_interpolation(key, dtype):
    plan, x = PLANS[key], torch.rand(SHAPE, dtype=dtype)
    for batch in (x, x.to(memory_format=torch.channels_last)):
        expected = recipe(batch, plan, "bilinear")
        torch.testing.assert_close(apply(plan, batch), expected, atol=1e-5 if dtype == torch.float32 else 1e-14, rtol=0)
        assert apply(plan, batch.clone(), inplace=True).equal(apply(plan, batch))


@pytest.mark.parametrize("key", ["one box", "a box each"])
def test_classes_are_those_of_the_nearest_pixel(key):
    plan, y = PLANS[key], torch.randint(0, 2**40, SHAPE)
    assert torch.equal(apply(plan, y), recipe(y, plan, "nearest-exact"))


def test_many_sizes():
    """Each size of an image into each size of a box."""
    for length in (1, 2, 3, 7, 16):
        boxes = [[0, 0, height, width] for height in range(1, length + 1) for width in range(1, length + 1)]
        n = len(boxes)
        x = torch.rand(n, 1, length, length)
        plan = MixPlan.from_boxes(boxes, (length, length), np.roll(np.arange(n), 1), resized=True)
        torch.testing.assert_close(apply(plan, x), recipe(x, plan, "bilinear"), atol=1e-5, rtol=0)
        labels = (x * 1000).long()
        assert torch.equal(apply(plan, labels), recipe(labels, plan, "nearest-exact"))


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
    tolerance = {2: 1e-3, 4: 1e-6, 8: 1e-14}.get(x.itemsize, 0) * 256 if dtype in FLOATS else 1
    np.testing.assert_allclose(mixed.numpy().astype(float), kernel.numpy().astype(float), atol=tolerance)
    assert_applied(kernel.numpy(), x, plan, axes)


@each_plan
def test_a_device_takes_what_the_kernel_takes(plan):
    y, classes = torch.randint(0, 2**60, SHAPE), plan.for_classes()
    assert torch.equal(mix_on_device(classes, y, False), apply(classes, y))
    narrow = (y % 200).to(torch.uint8)
    assert torch.equal(mix_on_device(classes, narrow, False), apply(classes, narrow))
    x = torch.ones(SHAPE)
    x[1::2], x[0] = torch.nan, torch.inf
    if not (plan.weight < 1).any():
        np.testing.assert_array_equal(mix_on_device(plan, x, False).numpy(), apply(plan, x).numpy())


@each_plan
def test_nothing_waits_for_the_plan(plan):
    with Operations() as seen:
        apply(plan, torch.empty(SHAPE, device="meta"))
    sent = [(non_blocking, key) for key, _, non_blocking in seen.sent]
    assert all(non_blocking for non_blocking, key in sent)


@each_plan
def test_gradients_are_those_of_the_formula(plan):
    x = torch.zeros(N, 2, *SIZE, dtype=torch.float64, requires_grad=True)
    direction, weight = torch.randn_like(x), torch.randn_like(x)
    (grad,) = torch.autograd.grad((apply(plan, x) * weight).sum(), x)
    # Mixing is linear.
    change = (apply(plan, direction) * weight).sum()
    torch.testing.assert_close((grad * direction).sum(), change)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("key", RULES)
def test_a_collate_mixes_images_masks_and_labels(key, channels_last):
    rule, shape = RULES[key], (12, 16, 3) if channels_last else (3, 12, 16)
    images = torch.from_numpy(values((8, *shape), np.uint8))
    masks = torch.from_numpy(values((8, 12, 16), np.uint8, seed=1) % 5)
    samples = [
        {"image": image, "mask": mask, "label": i % 5}
        for i, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]
    collate = MixCollate(rule, num_classes={"label": 5}, rng=1, return_plan=True)
    batch, plan = collate(samples)
    axes = (1, 2) if channels_last else (2, 3)
    assert plan == rule.plan(8, (12, 16), rng=(1, 0, 0, 0))
    assert_applied(batch["image"].numpy(), images.numpy(), plan, axes)
    np.testing.assert_allclose(
        batch["label"].numpy(), mix_plan(np.eye(5)[np.arange(8) % 5], plan.without_region()), atol=1e-6
    )
    mask = batch["mask"] if plan.only_copies else batch["mask"].y
    expected = masks.numpy().copy()
    for i, (y0, x0, y1, x1) in enumerate(plan.patches.tolist() if plan.patches is not None else []):
        if y1 > y0 and x1 > x0 and plan.partner[i] != i:
            patch = nearest(masks.numpy()[plan.partner[i]], y1 - y0, x1 - x0)
            assert (mask[i, y0:y1, x0:x1].numpy() == patch).all()
            expected[i, y0:y1, x0:x1] = patch
            assert (mask[i].numpy() == expected[i]).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.int16], ids=str)
def test_masks_of_classes_are_never_averaged(dtype):
    plan, y = PLANS["of all kinds"], torch.randint(0, 100, (N, *SIZE)).to(dtype)
    own, partner, lam = mix_target(TORCH, plan, y, TargetOptions())
    assert torch.equal(own, apply(plan.for_classes(), y))
    blended = torch.from_numpy(plan.weight < 1)[:, None, None]
    assert torch.equal(partner, torch.where(blended, y[plan.partner], own))
    # Where the two are equal any lam is right: it is that of the labels.
    np.testing.assert_allclose(lam.numpy(), np.where(plan.weight < 1, plan.weight, plan.lam), rtol=1e-6)
    depth = torch.rand(N, *SIZE)
    assert_applied(
        mix_target(TORCH, PLANS["a box each"], depth, TargetOptions()).numpy(), depth.numpy(), PLANS["a box each"]
    )


def test_a_mixer_mixes_as_the_plan():
    x, y = torch.rand(SHAPE), torch.arange(N)
    mixed, targets = Mixer(ResizeMix(mode="elem"), num_classes=N, rng=1)((x, y), key=3)
    plan = ResizeMix(mode="elem").plan(N, SIZE, rng=(1, 3))
    assert torch.equal(mixed, apply(plan, x))
    np.testing.assert_allclose(
        targets[y, y].numpy(), plan.lam + (1 - plan.lam) * (plan.partner == y.numpy()), rtol=1e-6
    )
