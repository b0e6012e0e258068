"""However training ends, the learner is as it was, and the next fit runs. The same keys give the same mixes again."""

import copy
import os
import pickle
from contextlib import suppress

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    CrossEntropyLossFlat,
    F,
    Learner,
    Recorder,
    nn,
)
from learners import EitherMix, digits, fit, learner, loaders

from mixup_rs import CutMix, MixPlan, Mixup, OneOf, plot
from mixup_rs.fastai import MixedAccuracy, RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.torch import MixCollate, apply, mixed_loss

#: A rule that leaves every batch as it is.
UNMIXED = OneOf([Mixup()], probs=[0.0])
EVENTS = (
    "before_fit before_epoch before_train before_batch after_pred after_loss before_backward after_backward "
    "before_step after_step after_batch after_train before_validate after_validate after_epoch after_fit"
).split()
CALLBACKS = [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp]
CANCELS = [
    CancelBatchException,
    CancelBackwardException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    CancelEpochException,
    CancelFitException,
]


class Stop(Callback):
    """Raises the second time an event comes, or the first where it comes once."""

    def __init__(self, event, exception, order=1):
        self.order, self.exception, self.seen = order, exception, 0
        self.rare = event in ("before_fit", "after_fit")
        setattr(self, event, self.fire)

    def fire(self):
        self.seen += 1
        if self.seen == (1 if self.rare else 2):
            raise self.exception


def state(learn):
    """What training may not change, of the learner and of its callbacks; a method's cells and addresses apart."""
    callbacks = sorted((type(cb).__name__, cb.order, cb.run) for cb in learn.cbs)
    return learn.loss_func, dict(vars(learn.loss_func)), learn.opt_func, learn.splitter, callbacks, list(vars(learn))


def stopped(learn, event, exception, order=1):
    """Fits with a callback that raises at an event, whether or not the exception is one that fastai catches there."""
    stop = Stop(event, exception, order)
    with suppress(type(exception)), learn.no_bar(), learn.no_logging():
        learn.fit(2, cbs=[stop])
    assert stop.seen == (1 if stop.rare else 2) or not isinstance(exception, KeyboardInterrupt)
    assert stop not in learn.cbs


def trained_once(callback):
    learn = learner(callback, lambda: loaders(n=64))
    fit(learn, 1)
    return learn


each_callback = pytest.mark.parametrize("callback", CALLBACKS)


def hooks(learn):
    return [hook for module in learn.model.modules() for hook in module._forward_pre_hooks]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError, *CANCELS])
@pytest.mark.parametrize("order", [-1, 1], ids=["before ours", "after ours"])
@each_callback
def test_whatever_stops_a_fit_leaves_nothing_behind(callback, order, exception):
    """At each event in turn, whether or not fastai catches it there."""
    learn = trained_once(callback)
    before = state(learn)
    for event in EVENTS:
        stopped(learn, event, exception("stop"), order)
        assert state(learn) == before, event
        assert np.isfinite(fit(learn, 1)).all(), event
        assert state(learn) == before, event
        assert not hooks(learn), event


@each_callback
def test_what_follows_a_cancelled_batch_is_mixed_and_its_loss_is_right(callback):
    """The targets that were hidden are not those of the next batch."""

    class Witness(Callback):
        order = 200

        def before_fit(self):
            self.pairs = []

        def after_loss(self):
            if self.training:
                mixing, learn = next(cb for cb in self.learn.cbs if isinstance(cb, callback)), self.learn
                expected = mixed_loss(F.cross_entropy, learn.pred, (*learn.yb, *mixing.yb1, mixing.lam))
                self.pairs.append((learn.loss.item(), expected.item(), len(mixing.plan)))

    for event in ("after_pred", "after_loss", "before_backward"):
        learn = learner([callback(), Witness(), Stop(event, CancelBatchException(), 100)])
        fit(learn, 1)
        assert len(learn.witness.pairs) >= 4
        for loss, expected, n in learn.witness.pairs:
            assert n == 32
            assert loss == pytest.approx(expected, rel=1e-5)


def test_its_order_is_its_own_outside_of_a_batch():
    """The place that it takes within a batch does not outlast one that is interrupted, and is not in the way of a
    class or an instance that says another order."""

    class Later(RustMixUp):
        order = 5

    for mixing, order in ((RustMixUp(), 0), (Later(), 5), (RustMixUp(), 3)):
        mixing.order = order
        learn = learner(mixing, lambda: loaders(n=64))
        for event in ("after_pred", "after_loss"):
            stopped(learn, event, KeyboardInterrupt(), order=-1)
            assert mixing.order == order
            assert [cb.order for cb in learn.ordered_cbs("after_pred") if cb is mixing] == [order]
        fit(learn, 1)
        assert mixing.order == order
    assert (Later.order, RustMixUp.order) == (5, 0)


def test_a_callback_for_one_fit_is_gone_with_it():
    learn = learner([], lambda: loaders(n=64))
    names = set(vars(learn))
    mixing, stop = RustMixUp(), Stop("after_pred", KeyboardInterrupt(), -1)
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=[mixing, stop])
    assert set(vars(learn)) >= names
    assert not hasattr(learn, "mix_up")
    assert mixing.order == 0
    assert mixing not in learn.cbs


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


@pytest.mark.parametrize("rng", [7, None])
def test_ranks_mix_differently(monkeypatch, rng):
    def first_plan(rank):
        learn = learner(RustMixUp(rng=rng))
        # After the callback is made, as in a notebook that launches its processes.
        monkeypatch.setitem(os.environ, "RANK", str(rank))
        learn.mix_up("before_train")
        learn.epoch, learn.iter, learn.training = 0, 0, True
        learn.xb, learn.yb = (digits()[0][:8],), (digits()[1][:8],)
        learn.mix_up("before_batch")
        return learn.mix_up.plan

    assert first_plan(0) == first_plan(0)
    assert first_plan(0) != first_plan(1)


@each_callback
def test_a_removed_callback_mixes_nothing(callback):
    plain = fit(learner([], lambda: loaders(n=64)))
    learn = learner(callback(rng=3), lambda: loaders(n=64))
    mixing = next(cb for cb in learn.cbs if isinstance(cb, callback))
    with learn.removed_cbs(mixing):
        removed = fit(learn)
    np.testing.assert_array_equal(removed, plain)
    assert mixing in learn.cbs
    mixed, again = fit(learn), fit(learner([], lambda: loaders(n=64)), 4)[4:]
    assert np.isfinite(mixed).all()
    assert (mixed != again).any()


@each_callback
def test_lr_find_leaves_the_learner_as_it_was(callback, tmp_path):
    learn = trained_once(callback)
    learn.path = tmp_path
    before, weights = state(learn), [p.clone() for p in learn.model.parameters()]
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=4, show_plot=False)
    assert state(learn) == before
    assert all(torch.equal(p, q) for p, q in zip(learn.model.parameters(), weights, strict=True))
    assert np.isfinite(fit(learn, 1)).all()


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


def test_mixed_accuracy_of_a_column_of_classes():
    learn = learner(mixing := RustMixUp(rng=1), metrics=MixedAccuracy())
    images, classes = digits()
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (images[:8],), (classes[:8, None],)
    mixing("before_batch")
    other = classes[:8][mixing.plan.partner]
    learn.pred = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    learn.pred[:6] = F.one_hot(torch.cat([other[:3], classes[3:6]]), 10) * 9.0
    guess, lam = learn.pred.argmax(1), mixing.lam
    learn.metrics[0].reset()
    learn.metrics[0].accumulate(learn)
    expected = (lam * (guess == classes[:8]) + (1 - lam) * (guess == other)).mean()
    assert learn.metrics[0].value.item() == pytest.approx(expected.item(), abs=1e-6)


def test_mixed_accuracy_of_masks_that_were_cut_is_plain():
    """Beside classes, for which the callback supplies the loss."""
    images, classes = digits()
    masks = (images[:8, 0] > 0.5).long()
    learn = learner(RustCutMix(rng=2), metrics=MixedAccuracy(axis=1))
    learn.epoch, learn.iter, learn.training = 0, 0, True
    learn.xb, learn.yb = (images[:8],), (masks, classes[:8])
    learn.cut_mix("before_batch")
    learn.pred = torch.randn(8, 2, 16, 16)
    learn.metrics[0].reset()
    learn.metrics[0].accumulate(learn)
    expected = (learn.pred.argmax(1) == learn.yb[0]).float().mean()
    assert not torch.equal(learn.yb[0], masks)
    assert learn.metrics[0].value.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("size", [(15, 17), (1, 7), (16, 16)], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "elem"}, {"mode": "pair"}, {"minmax": (0.3, 0.7)}, {"mode": "elem", "minmax": (0.3, 0.7)}],
    ids=str,
)
@pytest.mark.parametrize("inplace", [False, True])
def test_cutmix_paints_the_pixels_that_lam_says(options, size, inplace):
    """Of images and masks alike, to the pixel, and the batch is not written to but in place."""
    classes = digits()[1][:8]
    image = torch.arange(8.0).view(-1, 1, 1, 1).expand(8, 3, *size)
    learn = learner(RustCutMix(rng=5, inplace=inplace, **options))
    callback, boxes = learn.cut_mix, set()
    for step in range(20):
        x, mask = image.contiguous(), image[:, 0].long()
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, step, True, (x,), (classes, mask)
        callback("before_batch")
        plan = callback.plan
        own = (learn.xb[0] == image).float().mean((1, 2, 3)).double()
        moved = plan.partner != np.arange(8)
        np.testing.assert_allclose(own[moved], plan.lam[moved], atol=1e-6)
        np.testing.assert_allclose(callback.lam, plan.lam, atol=1e-6)
        assert torch.equal(learn.yb[1], learn.xb[0][:, 0].long())
        assert torch.equal(learn.yb[0], classes)
        assert (learn.xb[0] is x) if inplace else torch.equal(x, image)
        boxes.add(len({tuple(box) for box in plan.boxes.tolist()}))
        sides = (plan.boxes[:, 2:] - plan.boxes[:, :2]) / size
        assert size[0] == 1 or "minmax" not in options or ((sides > 0.2) & (sides < 0.75)).all()
    assert (boxes == {1}) == ("mode" not in options)


def test_a_batch_that_is_left_out_has_the_loss_of_training_without():
    losses = [fit(learner(callbacks, lambda: loaders(n=64))) for callbacks in ([], [RustMix(UNMIXED, rng=3)])]
    assert (losses[0] == losses[1]).all()


def test_mix_chooses_and_leaves_out():
    images, classes = digits()
    learn = learner(RustMix(OneOf([Mixup(0.4), CutMix(1.0)], probs=[0.25, 0.25]), rng=3))
    kinds = []
    for step in range(60):
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, step, True, (images[:8],), (classes[:8],)
        learn.mix("before_batch")
        plan = learn.mix.plan
        kinds.append("none" if plan == MixPlan.identity(8) else "mixup" if plan.boxes is None else "cutmix")
    counts = {kind: kinds.count(kind) for kind in ("none", "mixup", "cutmix")}
    assert counts["none"] in range(18, 43)
    assert min(counts.values()) >= 6


@pytest.mark.parametrize("callback", [RustMixUp(), RustMixUp(rng="torch"), RustCutMix(), RustMix(UNMIXED), EitherMix()])
@pytest.mark.parametrize("one_hot", [False, True])
def test_show_batch_draws_what_the_callback_would(callback, one_hot, monkeypatch):
    shown = []
    monkeypatch.setattr(plot, "plot_mixed_batch", lambda *given, **options: shown.append((given, options)))
    targets = F.one_hot(digits()[1], 10).float() if one_hot else None
    dls = loaders(targets=targets)
    dls.vocab = list("0123456789")
    learner(callback).cbs[-1].show_batch(dls, max_n=3)
    ((x, mixed, plan), options) = shown[0]
    assert torch.equal(mixed, apply(plan, x))
    assert (plan.boxes is not None) == isinstance(callback, RustCutMix) or isinstance(callback, RustMix)
    assert isinstance(callback, RustMix) or not torch.equal(mixed, x)
    assert options["labels"].shape == ((32, 10) if one_hot else (32,))
    assert options["class_names"] == dls.vocab


def test_show_batch_is_a_figure():
    figure = learner(RustMixUp).mix_up.show_batch(loaders(), max_n=3)
    assert len(figure.axes) == 9


def test_show_batch_refuses_what_is_no_picture_of_a_mix():
    with pytest.raises(TypeError, match="no picture"):
        RustManifoldMixUp().show_batch(loaders())
    dls = loaders()
    dls.train.create_batch = MixCollate(Mixup())
    with pytest.raises(ValueError, match="mixed already"):
        RustMixUp().show_batch(dls)


@each_callback
def test_show_training_loop_says_where_it_stands(callback, capsys):
    learn = learner(callback, lambda: loaders(n=64))
    before = state(learn)
    learn.show_training_loop()
    printed = capsys.readouterr().out
    stopped(learn, "after_pred", KeyboardInterrupt(), -1)
    learn.show_training_loop()
    assert capsys.readouterr().out == printed
    line = next(line for line in printed.splitlines() if line.lstrip().startswith("- before_batch"))
    assert line.index(callback.__name__) < line.index("CastToTensor")
    fit(learn, 1)
    assert state(learn)[:5] == before[:5]


def held_sizes(value):
    """The sizes of all tensors, arrays and plans in what a callback pickles, but what the learner holds."""
    if isinstance(value, torch.Tensor):
        yield value.numel()
    elif isinstance(value, np.ndarray | MixPlan):
        yield len(value)
    elif isinstance(value, dict | tuple | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from held_sizes(item)


@pytest.mark.parametrize("event", ["after_pred", "after_loss", "after_batch", "after_epoch", "after_fit"])
@each_callback
def test_a_pickle_holds_nothing_of_a_batch(callback, event):
    """Also one that is made while a batch is trained on, or after an interrupt."""
    learn = trained_once(callback)
    mixing = next(cb for cb in learn.cbs if isinstance(cb, callback))
    states = []

    class Save(Callback):
        def fire(self):
            states.append(mixing.__getstate__())
            copied = pickle.loads(pickle.dumps(learn.model))
            assert not any(hook.callback for m in copied.modules() for hook in m._forward_pre_hooks.values())
            loss_func = pickle.loads(pickle.dumps(copy.deepcopy(learn.loss_func)))
            assert loss_func.reduction == "mean"

    save = Save()
    setattr(save, event, save.fire)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=[save])
    stopped(learn, "after_pred", KeyboardInterrupt(), -1)
    states.append(mixing.__getstate__())
    for held in states:
        assert all(size <= 1 for size in held_sizes(held))
    assert any(size > 1 for size in held_sizes(vars(mixing)))  # which is there to be found


def test_a_learner_is_what_it_was():
    learn = trained_once(RustMixUp)
    assert isinstance(learn, Learner)
    assert isinstance(learn.recorder, Recorder)
    assert isinstance(learn.loss_func, CrossEntropyLossFlat)
