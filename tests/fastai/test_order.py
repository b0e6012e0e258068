"""Other callbacks, whatever their order, meet the targets and the loss where they would without mixing."""

import pytest
import torch
from fastai.callback.mixup import MixUp
from fastai.vision.all import Callback
from learners import EitherMix, fit, learner, loaders

from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMixUp

CALLBACKS = [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp]


class Witness(Callback):
    """Notes what there is to see of each training batch, and doubles the loss as a regulariser might add to it."""

    def __init__(self, order):
        self.order = order

    def before_fit(self):
        self.targets, self.losses, self.grads = [], [], []

    def after_pred(self):
        if self.training:
            self.targets.append(len(self.learn.yb))

    def after_loss(self):
        if self.training:
            self.losses.append(self.learn.loss.item())
            self.targets.append(len(self.learn.yb))
            self.learn.loss_grad = self.learn.loss_grad * 2

    def after_backward(self):
        self.grads.append(self.learn.loss_grad.item())


@pytest.mark.parametrize("order", [-200, -1, 0, 1, 200])
@pytest.mark.parametrize("callback", [MixUp, *CALLBACKS])
@pytest.mark.parametrize("first", [True, False], ids=["added first", "added last"])
def test_another_callback_sees_the_targets_and_the_loss(callback, order, first):
    witness, mixing = Witness(order), callback()
    learn = learner([witness, mixing] if first else [mixing, witness], lambda: loaders(n=64))
    losses = fit(learn, 1)
    assert witness.targets == [1, 1] * 2
    # The loss of this very batch, and what was added to it is kept.
    assert witness.losses == pytest.approx(losses)
    assert witness.grads == pytest.approx(2 * losses)


@pytest.mark.parametrize("callback", CALLBACKS)
def test_its_order_is_that_of_fastais_own_again(callback):
    learn = learner(callback)
    fit(learn, 1)
    assert [cb.order for cb in learn.cbs if isinstance(cb, callback)] == [MixUp.order]
    assert callback.order == MixUp.order


def test_a_model_that_changes_its_prediction_late_gets_the_loss_of_that():
    class Halve(Callback):
        order = 5

        def after_pred(self):
            self.learn.pred = self.learn.pred * 0

    losses = fit(learner([RustMixUp(), Halve()], lambda: loaders(n=64)), 1)
    assert losses == pytest.approx([torch.log(torch.tensor(10.0)).item()] * 2)
