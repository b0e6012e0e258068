"""Partners chosen by labels: what the callbacks give a rule as the labels of a batch."""

import pytest
import torch
from fastai.vision.all import Callback
from learners import fit, learner

from mixup_rs import CutMix, Mixup, OneOf, Within
from mixup_rs.fastai import RustMix


class Partners(Callback):
    """Whether each sample and its partner have one class, of every training batch."""

    order = 95

    def __init__(self):
        self.same = []

    def before_batch(self):
        if self.training:
            mixing = next(cb for cb in self.learn.cbs if isinstance(cb, RustMix))
            plan, y = mixing.plan, torch.Tensor(mixing._yb[0])
            self.same.append(bool((y[plan.partner] == y).all()))


@pytest.mark.parametrize(
    ("rule", "same"),
    [
        (Mixup(partners=Within()), True),
        (OneOf([Mixup(partners=Within()), CutMix(partners=Within())], mode="elem"), True),
        (Mixup(), False),
    ],
    ids=repr,
)
def test_the_callback_gives_the_targets(rule, same):
    learn = learner([RustMix(rule, rng=1), Partners()])
    fit(learn, 1)
    assert learn.partners.same
    assert all(learn.partners.same) == same


def test_pictures_have_such_partners():
    learn = learner([callback := RustMix(CutMix(partners=Within()))])
    assert callback.show_batch(learn.dls, max_n=4).axes
