"""What the callbacks ask of an accelerator, operation by operation, on a device that has no memory to be read from."""

import pytest
import torch
from device import SHAPE, N, Operations
from fastai.vision.all import TensorCategory, TensorImage
from learners import EitherMix, learner

from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMixUp


def device_learner(callback, device="meta"):
    """A learner with a batch on the device, made before anything is recorded."""
    learn = learner(callback)
    learn.epoch, learn.iter, learn.training = 0, 0, True
    x, y = torch.empty(SHAPE, device=device), torch.empty(N, dtype=torch.int64, device=device)
    learn.xb, learn.yb = (x.as_subclass(TensorImage),), (y.as_subclass(TensorCategory),)
    return learn, next(cb for cb in learn.cbs if isinstance(cb, type(callback)))


@pytest.mark.parametrize(
    ("callback", "rng"),
    [(RustMixUp, None), (RustMixUp, 3), (RustMixUp, "torch"), (RustCutMix, None), (RustCutMix, 3), (EitherMix, 3)],
)
def test_a_callback_draws_on_the_host_and_sends_little(callback, rng):
    learn, mixing = device_learner(callback(rng=rng))
    with Operations() as seen:
        mixing("before_batch")
    assert learn.x.device.type == learn.y.device.type == "meta"
    assert type(learn.x) is TensorImage
    assert len(seen.sent) == 1
    assert all(non_blocking and size <= 5 * N for _, size, non_blocking in seen.sent)
    drawn = ("rand", "sample", "beta", "gamma", "dirichlet", "uniform")
    assert not any(word in op.name for op in seen.ops for word in drawn)


def test_weights_and_partners_go_to_the_loss_together_once_a_batch():
    _, mixing = device_learner(RustMixUp(rng=3))
    mixing("before_batch")
    with Operations() as seen:
        for _ in range(3):  # the loss, and two metrics
            assert mixing.lam.device.type == "meta"
            assert mixing.yb1[0].device.type == "meta"
    assert seen.sent == [("_to_copy", 2 * N, True)]
    mixing("before_batch")
    with Operations() as seen:
        assert mixing.lam.shape == (N,)
    assert len(seen.sent) == 1


def test_a_step_of_training_never_waits_for_the_device():
    """The whole of before_batch, the model, the loss and the backward pass, with no operation that reads a value."""
    learn, mixing = device_learner(RustMixUp(rng=3))
    model = learn.model.to("meta")
    with Operations() as seen:
        mixing("before_batch")
        learn.pred = model(learn.x.as_subclass(torch.Tensor))
        mixing("after_pred")
        mixing("after_loss")
        learn.loss_grad.backward()
    assert learn.loss.device.type == "meta"
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert sum(size for _, size, _ in seen.sent) <= 8 * N
    assert len(seen.sent) == 2


def test_a_hidden_layer_on_a_device():
    learn, mixing = device_learner(RustManifoldMixUp(rng=3))
    mixing.layer = learn.model.to("meta")[4]
    mixing("before_batch")
    with Operations() as seen:
        learn.model(learn.x.as_subclass(torch.Tensor))
    assert len(seen.sent) == 1
    assert seen.sent[0][2]
