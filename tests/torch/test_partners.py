"""Partners chosen by labels: what `MixCollate` and `Mixer` give a rule as the labels of a batch."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mixup_rs import CMixup, CutMix, Mixer, MixPlan, Mixup, OneOf, Within
from mixup_rs.torch import MixCollate, mixed_loss

N, CLASSES = 12, 3
IMAGES = torch.rand(N, 3, 8, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % CLASSES
HOT = torch.eye(CLASSES)[LABELS]
RULES = [CutMix(partners=Within()), OneOf([Mixup(partners=Within())])]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)

#: Of each sample the entries beside its image, from its label.
BESIDE = {
    "an int": lambda i: (int(LABELS[i]),),
    "a tensor": lambda i: (LABELS[i],),
    "an array": lambda i: (np.int64(LABELS[i]),),
    "one-hot": lambda i: (HOT[i],),
    "a list": lambda i: (HOT[i].int().tolist(),),
    "bfloat16": lambda i: (HOT[i].bfloat16(),),
    "in a dict": lambda i: ({"label": int(LABELS[i]), "other": 9 - i},),
    "behind a mask": lambda i: (torch.zeros(8, 10, dtype=torch.int64), int(LABELS[i])),
    "behind boxes": lambda i: (
        {"boxes": torch.tensor([[0.0, 0, 4, 5]] * i).reshape(i, 4), "labels": torch.full((i,), i)},
        int(LABELS[i]),
    ),
}


@each_rule
@pytest.mark.parametrize("beside", BESIDE)
def test_the_collate_gives_the_first_target_of_one_axis(rule, beside):
    samples = [(IMAGES[i], *BESIDE[beside](i)) for i in range(N)]
    _, plan = MixCollate(rule, rng=1, return_plan=True)(samples)
    assert plan == rule.plan(N, (8, 10), LABELS, rng=(1, 0, 0, 0))
    assert plan != rule.plan(N, (8, 10), torch.arange(N) // 4, rng=(1, 0, 0, 0))


def test_workers_choose_the_same_partners():
    samples = [(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)]
    collates = [MixCollate(RULES[0], num_classes=CLASSES, rng=1, return_plan=True) for _ in range(2)]
    plans = [
        [plan for _, plan in DataLoader(samples, batch_size=6, collate_fn=collate, num_workers=workers)]
        for collate, workers in zip(collates, (0, 2), strict=True)
    ]
    assert plans[0] == plans[1]
    assert all((LABELS[:6][plan.partner] == LABELS[:6]).all() for plan in plans[0])


@each_rule
@pytest.mark.parametrize(
    "labels", [LABELS, HOT, HOT.bfloat16(), HOT.requires_grad_()], ids=["classes", "hot", "bf", "g"]
)
def test_the_mixer_gives_the_first_target(rule, labels):
    mixed = Mixer(rule, rng=1)((IMAGES, labels), key=2)
    plan = rule.plan(N, (8, 10), LABELS, rng=(1, 2))
    assert torch.equal(mixed[0], torch.from_numpy(plan.apply(IMAGES.numpy())))


def test_regression_mixes_what_is_near():
    rule, y = Mixup(1.0, partners=CMixup(bandwidth=0.1)), torch.linspace(0, 1, N)
    samples = [(image, float(number)) for image, number in zip(IMAGES, y, strict=True)]
    (_, mixed), plan = MixCollate(rule, rng=3, return_plan=True)(samples)
    assert plan == rule.plan(N, (8, 10), y.double(), rng=(3, 0, 0, 0))
    assert (y[plan.partner] - y).abs().max() < 0.5
    assert torch.allclose(mixed, torch.from_numpy(plan.apply_labels(y.double().numpy())[0]))


def test_a_sample_without_a_partner_has_the_loss_of_its_label():
    _, target = MixCollate(Mixup(1.0, partners=Within()), rng=1)([(image, i) for i, image in enumerate(IMAGES)])
    pred = torch.randn(N, N, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.cross_entropy(pred, torch.arange(N))
    assert torch.allclose(mixed_loss(torch.nn.functional.cross_entropy, pred, target), expected)


def test_samples_without_labels_are_refused():
    with pytest.raises(ValueError, match="Within needs the labels of the batch"):
        MixCollate(RULES[0])([(image,) for image in IMAGES])
    # Not asked for when nothing is mixed.
    assert len(MixCollate(Mixup(0, partners=Within()))([(image,) for image in IMAGES])[0]) == N


class Asking:
    """A rule of others."""

    def plan(self, n, shape=None, labels=None, rng=None):
        self.labels = labels
        return MixPlan.identity(n)


def test_rules_of_others_get_the_labels():
    rule = Asking()
    MixCollate(rule)([(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)])
    assert torch.equal(rule.labels, LABELS)
    Mixer(rule)((IMAGES, LABELS))
    assert rule.labels is LABELS
