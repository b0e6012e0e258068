"""A PairedTarget on its way from the collate to the loss: pinned, pickled, moved, and labels mixed on their device."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from mixup_rs import CutMix, MixPlan, Mixup
from mixup_rs.batches.targets import TargetOptions, mix_target
from mixup_rs.torch import MixCollate, PairedTarget, apply_labels, mixed_loss
from mixup_rs.torch.arrays import TORCH

SAMPLES = [(torch.full((3, 5, 5), float(i)), i % 3) for i in range(8)]
PLAN = MixPlan([0.75, 0.5, 1.0], [1, 2, 0])


def pair(**options):
    return PairedTarget(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.5, 1.0]))


def assert_same(got, expected):
    assert type(got) is PairedTarget
    assert len(got) == 3
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)
    assert got.y is got[0]
    assert got.y_partner is got[1]
    assert got.lam is got[2]


def to_device(target, move=lambda tensor: tensor.clone()):
    """As fastai rebuilds what is listy."""
    return type(target)([move(item) for item in target])


TRAVELS = {
    "fastai": to_device,
    "accelerate": lambda target: type(target)(*[item.clone() for item in target]),
    "pickle": lambda target: pickle.loads(pickle.dumps(target)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "itself": lambda target: PairedTarget(target),
}


@pytest.mark.parametrize("travel", TRAVELS.values(), ids=TRAVELS)
def test_it_stays_what_it_is(travel):
    assert_same(travel(pair()), pair())


def test_it_moves():
    target = PairedTarget(torch.tensor([0, 1]), torch.tensor([1, 0]), 0.5)
    moved = target.to("meta")
    assert isinstance(moved, PairedTarget)
    assert moved.y.is_meta
    assert moved.y_partner.is_meta
    assert moved.lam == 0.5
    assert target.to(torch.int32).y_partner.tolist() == [1, 0]


def test_it_unpacks():
    assert PairedTarget._fields == ("y", "y_partner", "lam")  # by which it is known as a named tuple
    y, y_partner, lam = pair()
    assert (y.tolist(), y_partner.tolist(), lam.tolist()) == ([0, 1], [1, 0], [0.5, 1.0])


def test_both_sides_have_the_class_of_the_target():
    class Unit(torch.Tensor):
        pass

    given = torch.tensor([5, 6, 7]).as_subclass(Unit)
    given.unit = "cells"
    with (
        torch._C.DisableTorchFunctionSubclass()
    ):  # as for the tensors of torchvision, whose operations return plain ones
        own, partner, _ = mix_target(TORCH, PLAN, given, TargetOptions())
    assert type(own) is type(partner) is Unit
    assert own.unit == partner.unit == "cells"
    assert partner.tolist() == [6, 7, 5]


def test_pinned_memory(monkeypatch):
    """By torch's own code, for which there is no accelerator here."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: (pinned.append(self.shape), self.clone())[1])
    images, target = pin_memory((torch.zeros(2, 3), pair()))
    assert images.shape == (2, 3)
    assert_same(target, pair())
    assert len(pinned) == 4


def test_workers_send_it():
    loader = DataLoader(SAMPLES, 4, collate_fn=MixCollate(Mixup(), rng=1), num_workers=1)
    for step, (_, target) in enumerate(loader):
        plan = Mixup().plan(4, rng=(1, 0, step, 0))
        y = torch.arange(4 * step, 4 * step + 4) % 3
        assert_same(target, (y, y[plan.partner], torch.from_numpy(plan.lam).float()))


def test_the_model_that_needs_both_targets():
    """The paper's form, by a head with a margin, which takes labels as an input: two calls, one lam."""

    class Margin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.centres = torch.nn.Parameter(torch.eye(3, 75))

        def forward(self, features, labels):
            cosine = torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(self.centres).T
            margin = 0.2 * torch.nn.functional.one_hot(labels, 3)
            return torch.nn.functional.cross_entropy(8 * (cosine - margin), labels)

    head, rule = Margin(), Mixup(1.0, mode="batch")
    images, target = MixCollate(rule, pair=True, rng=1)(SAMPLES)
    assert target.lam.ndim == 0
    features = images.flatten(1)
    loss = mixed_loss(head, features, target)
    plan = rule.plan(8, rng=(1, 0, 0, 0))
    y = torch.arange(8) % 3
    lam = plan.lam[0]
    expected = lam * head(features, y) + (1 - lam) * head(features, y[plan.partner])
    torch.testing.assert_close(loss, expected)
    for rule in (Mixup(1.0), CutMix(mode="elem")):
        with pytest.raises(ValueError, match=r"pair=True needs one lam for the batch.*mode='batch'"):
            MixCollate(rule, pair=True, rng=1)(SAMPLES)


LABELS = torch.tensor([0, 2, 1])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_class_indices_become_soft_or_a_pair(dtype):
    soft, none = apply_labels(PLAN, LABELS.to(dtype), 3, 0.1)
    hot = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
    lam = PLAN.lam[:, None]
    assert none is None
    assert soft.dtype == torch.float32
    np.testing.assert_allclose(soft, lam * hot + (1 - lam) * hot[PLAN.partner], rtol=1e-6)
    own, partner = apply_labels(PLAN, LABELS.to(dtype))
    assert torch.equal(own.long(), LABELS)
    assert torch.equal(partner.long(), LABELS[PLAN.partner])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool])
def test_soft_labels_are_blended(dtype):
    values = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 0]]).to(dtype)
    mixed, none = apply_labels(PLAN, values)
    assert none is None
    assert mixed.dtype == (torch.float32 if dtype == torch.bool else dtype)
    lam = torch.from_numpy(PLAN.lam)[:, None]
    torch.testing.assert_close(mixed.double(), lam * values.double() + (1 - lam) * values[PLAN.partner].double())


def test_labels_of_a_plan_with_boxes_are_mixed_by_what_is_left():
    plan = MixPlan.from_boxes([[0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 4, 5]], (4, 5), [1, 2, 0], [0.5, 1.0, 1.0])
    hot = torch.eye(3)[LABELS]
    lam = torch.tensor([0.5 * 0.8, 1.0, 0.0])[:, None]
    expected = lam * hot + (1 - lam) * hot[[1, 2, 0]]
    for labels, num_classes in ((LABELS, 3), (hot, None)):
        torch.testing.assert_close(apply_labels(plan, labels, num_classes)[0], expected)


def test_labels_stay_on_their_device():
    """A meta tensor cannot be brought to the host."""
    mixed, _ = apply_labels(PLAN, torch.empty(3, 5, device="meta"))
    assert mixed.device.type == "meta"
    assert mixed.shape == (3, 5)
    mixed, _ = apply_labels(PLAN, torch.empty(3, 5, device="meta", dtype=torch.bool))
    assert (mixed.device.type, mixed.dtype) == ("meta", torch.float32)


def test_gradients_flow_through_soft_labels():
    values = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    apply_labels(PLAN, values)[0].sum().backward()
    # By hand: sample 0 counts 0.75 of its own and nothing of sample 2, whose lam is 1.
    torch.testing.assert_close(values.grad, torch.tensor([[0.75] * 2, [0.75] * 2, [1.5] * 2], dtype=torch.float64))


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (torch.tensor([0, 1, 3]), {"num_classes": 3}, ValueError, "3"),
        (torch.tensor([0, 1]), {"num_classes": 3}, ValueError, "3 samples|of 2"),
        (torch.rand(2, 3), {}, ValueError, "3 samples"),
        (torch.rand(3, 3), {"num_classes": 4}, (TypeError, ValueError), "num_classes"),
        (torch.rand(3, 3), {"label_smoothing": 0.1}, (TypeError, ValueError), "label_smoothing"),
        (torch.zeros(3, 2, dtype=torch.complex64), {}, TypeError, "floats, integers or booleans, got complex64$"),
    ],
)
def test_labels_that_cannot_be_mixed(labels, options, error, message):
    with pytest.raises(error, match=message):
        apply_labels(PLAN, labels, **options)
