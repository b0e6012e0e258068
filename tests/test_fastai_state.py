"""However training ends, the learner is as it was, and the next fit runs. The same keys give the same mixes again."""

import os

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    Callback,
    CancelBatchException,
    CancelTrainException,
    CrossEntropyLossFlat,
    F,
    Learner,
    Recorder,
    nn,
)
from learners import digits, fit, learner, loaders

from mixup_rs.fastai import MixedAccuracy, RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.torch import apply

EVENTS = (
    "before_fit before_epoch before_train before_batch after_pred after_loss before_backward after_backward "
    "before_step after_step after_batch after_train before_validate after_validate after_epoch after_fit"
).split()
CALLBACKS = [RustMixUp, RustCutMix, RustMix, RustManifoldMixUp]


class Stop(Callback):
    """Raises the second time an event comes, or the first where it comes once."""

    def __init__(self, event, exception, order):
        self.order, self.exception, self.seen = order, exception, 0
        self.rare = event in ("before_fit", "after_fit")
        setattr(self, event, self.fire)

    def fire(self):
        self.seen += 1
        if self.seen == (1 if self.rare else 2):
            raise self.exception


def state(learn):
    hooks = sum(len(module._forward_pre_hooks) for module in learn.model.modules())
    return learn.loss_func, learn.loss_func.reduction, hooks, sorted(type(cb).__name__ for cb in learn.cbs)


@pytest.mark.parametrize("order", [-1, 1], ids=["before ours", "after ours"])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("callback", [RustMixUp, RustManifoldMixUp])
def test_an_interrupt_leaves_nothing_behind(callback, event, order):
    learn = learner(callback, lambda: loaders(n=64))
    before = state(learn)
    stop = Stop(event, KeyboardInterrupt(), order)
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging():
        learn.fit(2, cbs=[stop])
    learn.remove_cb(stop)
    fit(learn, 1)
    assert state(learn) == before


@pytest.mark.parametrize("exception", [CancelBatchException, CancelTrainException])
@pytest.mark.parametrize("event", ["before_batch", "after_pred", "after_loss", "before_step"])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_cancelled_batch_or_epoch_is_gone(callback, event, exception):
    learn = learner([callback, Stop(event, exception(), 1)], lambda: loaders(n=64))
    before = state(learn)
    assert np.isfinite(fit(learn)).all()
    assert state(learn) == before


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_fit_repeats_from_its_key(callback):
    runs = [fit(learner(callback(rng=7))) for _ in range(2)]
    assert (runs[0] == runs[1]).all()


def test_a_resumed_run_sees_the_mixes_of_one_that_was_not_interrupted():
    class Plans(Callback):
        def before_fit(self):
            self.all = []

        def after_pred(self):
            if self.training:
                self.all.append(self.learn.mix_up.plan)

    def plans(**options):
        learn = learner([RustMixUp(rng=7), Plans()], lambda: loaders(n=64))
        with learn.no_bar(), learn.no_logging():
            learn.fit(2, **options)
        return learn.plans.all

    whole, resumed = plans(), plans(start_epoch=1)
    assert len(whole) == 4
    assert resumed == whole[2:]
    assert len({plan.lam.tobytes() for plan in whole}) == 4


def test_ranks_mix_differently(monkeypatch):
    def first_plan(rank):
        monkeypatch.setitem(os.environ, "RANK", str(rank))
        learn = learner(RustMixUp(rng=7))
        learn.epoch, learn.iter, learn.training = 0, 0, True
        learn.xb, learn.yb = (digits()[0][:8],), (digits()[1][:8],)
        learn.mix_up("before_batch")
        return learn.mix_up.plan

    assert first_plan(0) == first_plan(0)
    assert first_plan(0) != first_plan(1)


def test_removed_callbacks_mix_nothing():
    learn = learner(RustMixUp)
    with learn.removed_cbs(learn.mix_up):
        fit(learn, 1)
    fit(learn, 1)
    assert learn.mix_up.plan is None


def test_token_ids_are_mixed_as_embeddings():
    ids = torch.randint(0, 50, (192, 12), generator=torch.Generator().manual_seed(0))
    labels = (ids.float().mean(1) > 25).long()
    model = lambda: nn.Sequential(nn.EmbeddingBag(50, 16), nn.ReLU(), nn.Linear(16, 2))  # noqa: E731
    dls = lambda: loaders(images=ids, targets=labels, typed=False)  # noqa: E731
    with pytest.raises(TypeError, match="RustManifoldMixUp"):
        fit(learner(RustMixUp, dls, model))
    losses = fit(learner(RustManifoldMixUp, dls, model), 8)
    assert losses[-5:].mean() < losses[:5].mean()


def test_a_named_layer_is_mixed():
    learn = learner(RustManifoldMixUp(rng=1))
    callback, layer = learn.manifold_mix_up, learn.model[4]
    callback.layer = layer
    seen = []
    # A hook behind the layer is given what went into it, after every hook before it.
    layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    images, classes = digits()
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (images[:8],), (classes[:8],)
    callback("before_batch")
    assert torch.equal(learn.xb[0], images[:8])
    learn.model(images[:8])
    callback("after_pred")
    learn.model(images[:8])
    mixed, unmixed = seen
    assert not torch.equal(mixed, unmixed)
    assert torch.equal(mixed, apply(callback.plan, unmixed))


def test_mixed_accuracy_weights_both_classes():
    learn = learner(RustMixUp(rng=1), metrics=MixedAccuracy())
    learn.recorder.train_metrics = True
    images, classes = digits()
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (images[:8],), (classes[:8],)
    learn.mix_up("before_batch")
    lam, other = learn.mix_up.lam, learn.mix_up.yb1[0]
    metric = learn.metrics[0]
    metric.reset()
    learn.pred = F.one_hot(other, 10).float()
    metric.accumulate(learn)
    expected = ((1 - lam) + lam * (other == classes[:8])).mean()
    assert metric.value.item() == pytest.approx(expected.item(), abs=1e-6)
    fit(learn, 1)


def test_cutmix_paints_the_pixels_that_lam_says():
    _, classes = digits()
    x = torch.arange(8.0).view(-1, 1, 1, 1).expand(8, 3, 15, 17).contiguous()
    before = x.clone()
    learn = learner(RustCutMix(rng=5))
    for step in range(20):
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, step, True, (x,), (classes[:8],)
        learn.cut_mix("before_batch")
        plan = learn.cut_mix.plan
        own = (learn.xb[0] == before).float().mean((1, 2, 3)).double()
        moved = plan.partner != np.arange(8)
        np.testing.assert_allclose(own[moved], plan.lam[moved], atol=1e-6)
        assert torch.equal(x, before)


def test_mix_chooses_and_leaves_out():
    images, classes = digits()
    learn = learner(RustMix(prob=0.5, switch=0.5, rng=3))
    kinds = []
    for step in range(60):
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, step, True, (images[:8],), (classes[:8],)
        learn.mix("before_batch")
        plan = learn.mix.plan
        kinds.append("none" if plan is None else "mixup" if plan.boxes is None else "cutmix")
    counts = {kind: kinds.count(kind) for kind in ("none", "mixup", "cutmix")}
    assert counts["none"] in range(18, 43)
    assert min(counts.values()) >= 6


def test_show_batch_draws():
    learn = learner(RustMixUp)
    figure = learn.mix_up.show_batch(learn.dls, max_n=3)
    assert len(figure.axes) >= 9


def test_show_training_loop_and_pickling_leave_no_batch(tmp_path, capsys):
    learn = learner(RustMixUp)
    learn.show_training_loop()
    fit(learn, 1)
    assert "lam" not in vars(learn.mix_up)
    assert vars(learn.mix_up)["_yb"] == ()
    assert isinstance(learn, Learner)
    assert isinstance(learn.recorder, Recorder)
    assert isinstance(learn.loss_func, CrossEntropyLossFlat)
