"""RustMixUp is fastai's MixUp: the same training run, draw for draw."""

from functools import partial

import numpy as np
import pytest
import torch
from fastai.callback.mixup import MixUp
from fastai.vision.all import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    Learner,
    MSELossFlat,
    TensorBase,
    TensorImage,
)
from learners import digits, fit, learner, loaders, tiny_model

import mixup_rs
from mixup_rs import Mixup
from mixup_rs.fastai import RustMixUp

ONE_HOT = torch.nn.functional.one_hot(digits()[1]).float()


@pytest.mark.parametrize(
    ("loss_func", "dls", "model"),
    [
        (CrossEntropyLossFlat(), loaders, tiny_model),
        (BCEWithLogitsLossFlat(), partial(loaders, targets=ONE_HOT), tiny_model),
        (MSELossFlat(), partial(loaders, targets=digits()[1][:, None].float()), partial(tiny_model, 1)),
    ],
    ids=["cross-entropy", "BCE, multi-hot", "MSE"],
)
def test_the_same_network_is_trained_to_the_same_losses(loss_func, dls, model):
    # No batch norm: in a deep network with it, one last bit of one pixel grows to 1e-2 of the loss within five steps,
    # for fastai's callback as well.
    def losses(callback):
        return fit(learner(callback, dls, model, loss_func))

    ours, theirs = losses(RustMixUp(rng="torch")), losses(MixUp())
    assert len(ours) == 10
    assert ours[-1] < ours[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_checks_of_fastais_own_notebook_pass():
    mixup = RustMixUp(0.5)
    dls = loaders()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 10))
    with Learner(dls, model, loss_func=CrossEntropyLossFlat(), cbs=mixup) as learn:
        learn.epoch, learn.training = 0, True
        learn.dl = dls.train
        b = dls.one_batch()
        learn._split(b)
        learn("before_train")
        learn("before_batch")
    assert not torch.equal(TensorBase(b[0]), TensorBase(mixup.x))
    assert torch.equal(TensorBase(b[1]), TensorBase(mixup.y))


def test_set_seed_repeats_the_default():
    assert (fit(learner(RustMixUp, seed=1)) == fit(learner(RustMixUp, seed=1))).all()
    assert (fit(learner(RustMixUp, seed=1)) != fit(learner(RustMixUp, seed=2))).all()


def test_it_is_a_mixup():
    learn = learner(RustMixUp)
    assert isinstance(learn.mix_up, MixUp)
    assert learn.mix_up.name == "mix_up"
    assert learn.mix_up.order == MixUp.order
    assert mixup_rs.RustMixUp is RustMixUp
    learn.remove_cb(MixUp)
    assert not hasattr(learn, "mix_up")


@pytest.mark.parametrize("alpha", [-1, float("nan"), float("inf")])
def test_a_bad_alpha_is_refused_at_once(alpha):
    with pytest.raises(ValueError, match="alpha"):
        RustMixUp(alpha)


def test_an_alpha_of_0_mixes_nothing():
    losses = [fit(learner(callbacks, lambda: loaders(n=64))) for callbacks in ([], [RustMixUp(0, rng=3)])]
    assert (losses[0] == losses[1]).all()


def one_batch(callback, x, y, **options):
    """Puts a batch through `before_batch` and returns the learner."""
    learn = learner(callback, **options)
    learn.epoch, learn.iter, learn.training = 0, 0, True
    learn.xb, learn.yb = (x,), (y,)
    learn.mix_up("before_train")
    learn.mix_up("before_batch")
    return learn


def test_inputs_are_mixed_as_the_plan_says_and_nothing_is_written():
    images, classes = digits()
    x, y = TensorImage(images[:8].clone()), classes[:8]
    x.source = "kept"
    before = x.clone()
    learn = one_batch(RustMixUp(rng=3), x, y)
    mix = learn.mix_up
    assert torch.equal(x, before)
    lam = torch.from_numpy(mix.plan.lam).view(-1, 1, 1, 1)
    expected = lam * images[:8] + (1 - lam) * images[:8][mix.plan.partner]
    torch.testing.assert_close(TensorBase(learn.x), TensorBase(expected.float()), atol=1e-6, rtol=0)
    assert type(learn.x) is TensorImage
    assert learn.x.source == "kept"
    assert torch.equal(learn.y, y)
    assert torch.equal(mix.yb1[0], y[mix.plan.partner])
    torch.testing.assert_close(mix.lam, torch.from_numpy(mix.plan.lam).float())
    assert (mix.lam >= 0.5).all()


def test_inplace_writes_to_the_batch_itself():
    images, classes = digits()
    x = TensorImage(images[:8].clone())
    address, expected = x.data_ptr(), one_batch(RustMixUp(rng=3), x.clone(), classes[:8]).x
    learn = one_batch(RustMixUp(rng=3, inplace=True), x, classes[:8])
    assert learn.x.data_ptr() == address
    assert torch.equal(learn.x, expected)


def test_float_targets_are_blended():
    images, classes = digits()
    y = torch.nn.functional.one_hot(classes[:8]).float()
    learn = one_batch(RustMixUp(rng=3), images[:8], y)
    mix = learn.mix_up
    lam = mix.lam.view(-1, 1)
    torch.testing.assert_close(learn.y, lam * y + (1 - lam) * y[mix.plan.partner])
    assert not mix.stack_y


def test_an_int_keys_each_batch_by_epoch_and_step():
    images, classes = digits()
    learn = one_batch(RustMixUp(rng=3), images[:8], classes[:8])
    first = learn.mix_up.plan
    assert first == Mixup(0.4).plan(8, rng=(3, 0, 0, 0))
    learn.epoch, learn.iter = 2, 5
    learn.mix_up("before_train")
    learn.mix_up("before_batch")
    assert learn.mix_up.plan == Mixup(0.4).plan(8, rng=(3, 2, 5, 0))


def test_the_loss_function_is_never_replaced():
    learn = learner(RustMixUp)
    seen = set()
    learn.mix_up.after_pred, after_pred = lambda: (seen.add(learn.loss_func), after_pred()), learn.mix_up.after_pred
    loss_func = learn.loss_func
    fit(learn)
    assert seen == {loss_func}
    assert learn.loss_func is loss_func
