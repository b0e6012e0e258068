"""RustManifoldMixUp mixes what goes into one layer of one batch, once, and nothing else."""

import copy

import pytest
import torch
from fastai.vision.all import nn
from learners import digits, fit, learner, loaders, tiny_model

from mixup_rs.fastai import RustManifoldMixUp
from mixup_rs.torch import apply


class Interrupting(nn.Module):
    """The tiny model behind a first layer that can be interrupted."""

    def __init__(self):
        super().__init__()
        self.layers, self.interrupt = tiny_model(), False

    def forward(self, x):
        if self.interrupt:
            raise KeyboardInterrupt
        return self.layers(x)


def test_what_is_predicted_after_an_interrupt_is_not_mixed():
    learn = learner(RustManifoldMixUp(rng=1), lambda: loaders(n=64), Interrupting)
    images, _ = digits()
    learn.model.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        fit(learn, 1)
    learn.model.interrupt = False
    with learn.no_bar():
        predictions, _ = learn.get_preds(act=nn.Identity())
    plain = Interrupting().eval()
    plain.load_state_dict(learn.model.state_dict())
    with torch.no_grad():
        expected = plain(images[64:96])
    torch.testing.assert_close(predictions, expected)


class Twice(nn.Module):
    """One layer, used for two steps of the same forward pass."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.inner(self.inner(x)))


def test_a_layer_that_is_used_twice_is_mixed_once():
    torch.manual_seed(0)
    x, y = torch.rand(8, 6), torch.arange(8) % 3
    learn = learner(RustManifoldMixUp(rng=1), model=Twice)
    callback, model = learn.manifold_mix_up, learn.model
    callback.layer = model.inner
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (x,), (y,)
    callback("before_batch")
    mixed = model(x)
    expected = model.head(model.inner(model.inner(apply(callback.plan, x))))
    torch.testing.assert_close(mixed, expected)


def test_what_an_interrupt_left_in_a_layer_is_not_for_a_model_that_is_evaluated_or_copied():
    learn = learner(RustManifoldMixUp(rng=1), lambda: loaders(n=64), Interrupting)
    images, _ = digits()
    learn.manifold_mix_up.layer = learn.model.layers[4]
    learn.model.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        fit(learn, 1)
    learn.model.interrupt = False
    (hook,) = learn.model.layers[4]._forward_pre_hooks.values()
    copied = copy.deepcopy(learn.model)
    (inert,) = copied.layers[4]._forward_pre_hooks.values()
    assert hook.callback is not None
    assert inert.callback is None
    plain = Interrupting()
    plain.load_state_dict(learn.model.state_dict())
    with torch.no_grad():
        expected = plain(images[:32])
        assert torch.equal(copied.train()(images[:32]), expected)
        assert torch.equal(learn.model.eval()(images[:32]), expected)
    assert not learn.model.layers[4]._forward_pre_hooks
