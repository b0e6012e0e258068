"""Remix in a callback: labels by their own weights, and images by those of the rule."""

import pytest
import torch
from fastai.vision.all import Callback
from learners import fit, learner

from mixup_rs import CutMix, Mixup, Remix
from mixup_rs.fastai import RustMix


class Plans(Callback):
    """Compares every training batch with the plan of the labels."""

    order = 95

    def __init__(self):
        self.checked = 0

    def before_batch(self):
        if self.training:
            mixing = next(cb for cb in self.learn.cbs if isinstance(cb, RustMix))
            plan, y = mixing.plan, torch.Tensor(mixing._yb[0]).long()
            assert torch.equal(mixing.lam.flatten(), torch.from_numpy(plan.lam).float())
            lam = plan.without_region().weight
            apart = lam != plan.lam
            assert (y[plan.partner] != y).numpy()[apart].all()
            self.checked += int(apart.sum())


@pytest.mark.parametrize("rule", [Mixup(1.0, fold=False), CutMix(mode="elem")], ids=repr)
def test_the_callback_gives_the_targets(rule):
    learn = learner([RustMix(Remix(rule, kappa=1.0), rng=1), Plans()])
    fit(learn, 1)
    assert learn.plans.checked
