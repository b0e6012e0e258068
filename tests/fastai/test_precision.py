"""Mixed precision: every callback trains within autocast, and the loss is computed where fastai computes it."""

import warnings

import numpy as np
import pytest
import torch
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.callback.mixup import MixUp
from fastai.vision.all import Callback, CrossEntropyLossFlat, F, L
from learners import EitherMix, fit, learner, loaders
from torch.amp import GradScaler

from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMixUp
from mixup_rs.torch import apply

CALLBACKS = [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp]
DTYPES = {AMPMode.FP16: torch.float16, AMPMode.BF16: torch.bfloat16}
each_mode = pytest.mark.parametrize("mode", DTYPES, ids=["fp16", "bf16"])


class CpuMixedPrecision(MixedPrecision):
    """fastai's own, which names the device "cuda" and is switched off where there is none, on a CPU."""

    def before_fit(self):
        dtype = DTYPES[self.amp_mode]
        self.autocast = torch.autocast("cpu", dtype=dtype)
        self.learn.scaler = GradScaler("cpu", enabled=dtype == torch.float16, init_scale=256.0)
        self.scales = L()


class Seen(Callback):
    """What a training batch's model gave, before fastai makes float32 of it."""

    order = -1

    def before_fit(self):
        self.dtypes = []

    def after_pred(self):
        if self.training:
            self.dtypes.append(self.learn.pred.dtype)


class SpyLoss:
    """Records, call by call, whether autocast is on, and the element type of the predictions."""

    y_int = True
    reduction = "mean"

    def __init__(self):
        self.calls = []

    def __call__(self, pred, y):
        self.calls.append((torch.is_autocast_enabled("cpu"), pred.dtype))
        return F.cross_entropy(pred, y, reduction=self.reduction)


@each_mode
@pytest.mark.parametrize("callback", CALLBACKS)
def test_training_learns_within_autocast(callback, mode):
    learn = learner([callback(rng=1), CpuMixedPrecision(mode), Seen()])
    loss_func = learn.loss_func
    losses = fit(learn, 4)
    assert np.isfinite(losses).all()
    assert losses[-5:].mean() < losses[:5].mean()
    assert set(learn.seen.dtypes) == {DTYPES[mode]}
    assert learn.loss_func is loss_func
    assert loss_func.reduction == "mean"
    assert not torch.is_autocast_enabled("cpu")


@each_mode
@pytest.mark.parametrize("callback", [MixUp, *CALLBACKS])
def test_the_loss_sees_what_it_sees_with_fastais_own(callback, mode):
    spy = SpyLoss()
    learn = learner([callback(), CpuMixedPrecision(mode)], lambda: loaders(n=64), loss_func=spy)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    in_training = spy.calls[:4]
    assert in_training == [(True, torch.float32)] * 4


@each_mode
def test_the_losses_are_those_of_fastais_own(mode):
    def losses(callback):
        return fit(learner([callback, CpuMixedPrecision(mode)]))

    ours, theirs = losses(RustMixUp(rng="torch")), losses(MixUp())
    assert len(ours) == 10
    # A last bit of the input may round another way in 8 bits of mantissa.
    np.testing.assert_allclose(ours, theirs, atol=2e-2 if mode == AMPMode.BF16 else 2e-3)


@each_mode
def test_a_hidden_layer_is_mixed_in_its_own_precision(mode):
    learn = learner([RustManifoldMixUp(rng=1), CpuMixedPrecision(mode)], lambda: loaders(n=64))
    callback, layer, seen = learn.manifold_mix_up, learn.model[4], []
    callback.layer = layer
    learn.model[3].register_forward_hook(lambda _, __, output: seen.append(output))
    layer.register_forward_hook(lambda _, inputs, __: seen.append((callback.plan, inputs[0])))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    before, (plan, after) = seen[:2]
    assert after.dtype == before.dtype == DTYPES[mode]
    assert torch.equal(after, apply(plan, before.detach()))
    assert not torch.equal(after, before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="fastai's own then autocasts on CUDA alone")
@pytest.mark.parametrize("switch", ["to_fp16", "to_bf16"])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_fastais_own_switches(callback, switch):
    learn = learner(callback, lambda: loaders(n=64), loss_func=CrossEntropyLossFlat())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CUDA is not available")
        losses = fit(getattr(learn, switch)())
    assert np.isfinite(losses).all()
    assert np.isfinite(fit(learn.to_fp32())).all()
