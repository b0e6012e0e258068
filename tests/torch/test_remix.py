"""Weights of labels apart from those of pixels, on tensors and in `MixCollate`."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from mixup_rs import CutMix, FMix, Mixup, OneOf, Remix
from mixup_rs.batches.targets import TargetOptions
from mixup_rs.torch import MixCollate, apply, apply_labels, mixed_loss
from mixup_rs.torch.batch import mix_targets
from mixup_rs.torch.device import mix_on_device

N, COUNTS = 12, (900, 90, 10)
IMAGES = torch.rand(N, 3, 8, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % 3
RULES = [Mixup(1.0), CutMix(mode="elem"), FMix(mode="elem"), OneOf([Mixup(1.0), CutMix()], mode="elem")]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


@each_rule
def test_tensors(rule):
    plan, plain = (one.plan(N, (8, 10), LABELS, rng=3) for one in (Remix(rule, counts=COUNTS), rule))
    assert plan != plain
    assert torch.equal(apply(plan, IMAGES), apply(plain, IMAGES))
    assert torch.equal(mix_on_device(plan, IMAGES, False), mix_on_device(plain, IMAGES, False))
    hot, lam = torch.eye(3, dtype=torch.float64)[LABELS], torch.from_numpy(plan.lam)[:, None]
    expected = lam * hot + (1 - lam) * hot[plan.partner]
    assert torch.allclose(apply_labels(plan, hot)[0], expected)
    assert torch.allclose(apply_labels(plan, LABELS, 3)[0].double(), expected)
    with_gradients = IMAGES.clone().requires_grad_()
    apply(plan, with_gradients).sum().backward()
    other = IMAGES.clone().requires_grad_()
    apply(plain, other).sum().backward()
    assert torch.equal(with_gradients.grad, other.grad)


@each_rule
def test_the_collate(rule):
    rule = Remix(rule, counts=COUNTS)
    samples = [{"image": x, "x": x[0, 0], "label": int(y)} for x, y in zip(IMAGES, LABELS, strict=True)]
    options = {"inputs": ["image", "x"], "rng": 1, "return_plan": True}
    batch, plan = MixCollate(rule, num_classes=3, **options)(samples)
    assert plan == rule.plan(N, (8, 10), LABELS, rng=(1, 0, 0, 0))
    assert torch.equal(batch["image"], apply(plan, IMAGES))
    assert torch.equal(batch["x"], apply(plan.without_region(), IMAGES[:, 0, 0]))
    assert torch.equal(batch["label"], apply_labels(plan, LABELS, 3)[0])
    pair = MixCollate(rule, **options)(samples)[0]["label"]
    pred = torch.randn(N, 3, generator=torch.Generator().manual_seed(1))
    soft = cross_entropy(pred, batch["label"])
    assert torch.allclose(mixed_loss(cross_entropy, pred, pair), soft, rtol=1e-5)
    assert np.array_equal(pair.lam, plan.lam.astype(np.float32))


def test_masks_follow_the_pixels_without_a_region_as_well():
    masks = torch.randint(3, (N, 8, 10), generator=torch.Generator().manual_seed(2))
    floats = torch.rand(N, 1, 8, 10, generator=torch.Generator().manual_seed(3))
    rule = Remix(Mixup(1.0), counts=COUNTS)
    samples = [
        {"image": x, "label": int(y), "mask": mask, "target": map_}
        for x, y, mask, map_ in zip(IMAGES, LABELS, masks, floats, strict=True)
    ]
    batch, plan = MixCollate(rule, rng=1, return_plan=True)(samples)
    assert (plan.weight != plan.lam).any()
    weight = plan.weight.astype(np.float32)
    assert np.array_equal(batch["mask"].lam.numpy(), weight)
    assert np.array_equal(batch["label"].lam.numpy(), plan.lam.astype(np.float32))
    # Floats are labels, as for `plan.apply_labels`: without a region nothing tells them from those.
    share = torch.from_numpy(plan.lam)[:, None, None, None]
    assert torch.allclose(batch["target"].double(), share * floats + (1 - share) * floats[plan.partner], atol=1e-6)
    mixed = mix_targets(plan, (masks,), TargetOptions(), lambda _: torch.from_numpy(plan.partner))
    assert np.array_equal(mixed.lam, plan.weight)
