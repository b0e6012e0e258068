"""Everyday uses of a learner: the same training run as with fastai's callback, and predictions that nothing mixes."""

import numpy as np
import pytest
import torch
from fastai.callback.mixup import MixUp
from fastai.vision.all import (
    Callback,
    CSVLogger,
    EarlyStoppingCallback,
    GradientAccumulation,
    GradientClip,
    Interpretation,
    ReduceLROnPlateau,
    SaveModelCallback,
    TerminateOnNaNCallback,
    accuracy,
    nn,
)
from fastai_trials import data_sets
from fastcore.foundation import L
from learners import BatchLosses, EitherMix, digits, fit, learner, loaders

from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMixUp

CALLBACKS = [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp]


class AllLosses(BatchLosses):
    """Those of every fit there was."""

    order = 71

    def before_fit(self):
        self.values = getattr(self, "values", [])


def of_run(callback, run, tmp_path):
    learn = learner([callback, AllLosses()], metrics=accuracy)
    learn.path = tmp_path
    with learn.no_bar(), learn.no_logging():
        run(learn)
    return np.array(learn.all_losses.values), [p.detach().clone() for p in learn.model.parameters()]


def fine_tune(learn):
    learn.splitter = lambda model: L(list(model[:2].parameters()), list(model[2:].parameters()))
    learn.create_opt()
    learn.fine_tune(2)


def gradually_larger(learn):
    for size in (8, 16, 24):
        learn.dls = loaders(n=64, size=size)
        learn.fit_one_cycle(1, 1e-2)


def stop_early(learn):
    learn.fit(6, 0.5, cbs=[EarlyStoppingCallback(patience=1), SaveModelCallback(), ReduceLROnPlateau(patience=1)])


def validate_in_between(learn):
    for _ in range(2):
        learn.fit(1, 1e-2)
        learn.validate()
        learn.get_preds(ds_idx=0)


RUNS = {
    "fit_one_cycle": lambda learn: learn.fit_one_cycle(2, 1e-2),
    "fit_flat_cos": lambda learn: learn.fit_flat_cos(2, 1e-2),
    "fit_sgdr": lambda learn: learn.fit_sgdr(2, 1, lr_max=1e-2),
    "fine_tune": fine_tune,
    "gradient accumulation": lambda learn: learn.fit(2, 1e-2, cbs=[GradientAccumulation(64), GradientClip(0.1)]),
    "gradually larger": gradually_larger,
    "stopped early, best model saved": stop_early,
    "logged": lambda learn: learn.fit(2, 1e-2, cbs=[CSVLogger(), TerminateOnNaNCallback()]),
    "validated in between": validate_in_between,
    "channels last": lambda learn: learn.to_channelslast(use_amp=False).fit(2, 1e-2),
    "fit after fit": lambda learn: (learn.fit(1), learn.fit(1, 1e-2)),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_run_is_that_of_fastais_own(run, tmp_path):
    (ours, weights), (theirs, their_weights) = (of_run(cb, run, tmp_path) for cb in (RustMixUp(rng="torch"), MixUp()))
    assert len(ours) >= 6
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    for own, other in zip(weights, their_weights, strict=True):
        torch.testing.assert_close(own, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("callback", CALLBACKS)
def test_nothing_is_mixed_but_training_batches(callback):
    images, classes = digits()
    learn = learner(callback, data_sets, metrics=accuracy)
    fit(learn, 1)
    with torch.no_grad():
        logits = learn.model.eval()(images[:192])
    own = logits.softmax(1)
    loss = nn.functional.cross_entropy(logits[160:], classes[160:192])
    hits = (logits[160:].argmax(1) == classes[160:192]).float().mean()
    with learn.no_bar(), learn.no_logging():
        assert list(learn.validate()) == pytest.approx([loss.item(), hits.item()], rel=1e-5)
        for part, rows in ((0, slice(0, 160)), (1, slice(160, 192))):
            predictions, targets = learn.get_preds(ds_idx=part, reorder=True)
            torch.testing.assert_close(torch.Tensor(predictions), own[rows])
            assert torch.equal(torch.Tensor(targets).long(), classes[rows])
        _, _, losses = learn.get_preds(with_loss=True)
        assert losses.mean().item() == pytest.approx(loss.item(), rel=1e-5)
        predictions, _ = learn.tta(n=1, use_max=False, beta=0)
        torch.testing.assert_close(torch.Tensor(predictions), own[160:])
        worst, _ = Interpretation.from_learner(learn).top_losses(3)
    assert worst.max().item() == pytest.approx(torch.as_tensor(losses).max().item(), rel=1e-5)
    assert learn.loss_func.reduction == "mean"


@pytest.mark.parametrize("callback", CALLBACKS)
def test_predictions_between_the_batches_of_an_epoch(callback):
    """A callback that predicts while the network is trained meets no mix, and training goes on as it would have."""

    class Predict(Callback):
        order = 90

        def __init__(self, wanted):
            self.wanted, self.predictions = wanted, []

        def after_batch(self):
            if not (self.training and self.wanted):
                return
            learn, state = self.learn, {name: getattr(self.learn, name) for name in KEPT}
            with torch.random.fork_rng(), torch.no_grad(), learn.removed_cbs(self):
                predictions, _ = learn.get_preds(inner=True, act=nn.Identity())
            vars(learn).update(state)
            learn.model.train()
            expected = learn.model(digits()[0][64:96])
            self.predictions.append((torch.Tensor(predictions), expected.detach()))

    losses = {}
    for wanted in (False, True):
        learn = learner(callback(rng=3), lambda: loaders(n=64))
        learn.add_cb(predict := Predict(wanted))
        losses[wanted] = fit(learn)
        for predictions, expected in predict.predictions:
            torch.testing.assert_close(predictions, expected)
    assert len(predict.predictions) == 4
    np.testing.assert_allclose(losses[True], losses[False])


KEPT = "dl xb yb pred loss loss_grad training iter n_iter pct_train train_iter epoch".split()
