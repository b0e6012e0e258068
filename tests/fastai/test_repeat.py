"""A seed repeats a run: consecutive fits differ, and a fit that starts later continues one that was interrupted."""

import numpy as np
import pytest
import torch
from fastai.vision.all import SGD, Callback, CrossEntropyLossFlat, L
from learners import EitherMix, fit, learner, loaders

from mixup_rs import Mixup
from mixup_rs.fastai import MixCollateEpoch, RustCutMix, RustManifoldMixUp, RustMixUp
from mixup_rs.torch import MixCollate

CALLBACKS = [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp]
each_callback = pytest.mark.parametrize("callback", CALLBACKS)


class Seen(Callback):
    """The weights and the inputs of every training batch of all fits."""

    order = 95

    def __init__(self):
        self.lams, self.inputs, self.losses = [], [], []

    def after_batch(self):
        if self.training:
            mixing = next(cb for cb in self.learn.cbs if hasattr(cb, "is_mixed"))
            self.lams.append(mixing.lam.numpy().tobytes())
            self.inputs.append(torch.Tensor(self.learn.xb[0]).numpy().tobytes())
            self.losses.append(self.learn.loss.item())


def in_order(**options):
    """The same batches in each epoch, so that only the mixing tells them apart."""
    dls = loaders(n=64, **options)
    dls.train.shuffle = False
    return dls


def in_the_loader(rng=4):
    dls = in_order()
    dls.train.create_batch = MixCollate(Mixup(1.0), rng=rng)
    return dls


def made(callback=None, rng=4, dls=None):
    """A new learner, as in a new process."""
    if callback is None:
        return learner([RustMixUp(), Seen()], dls or (lambda: in_the_loader(rng)))
    return learner([callback(rng=rng), Seen()], dls or in_order)


def fits(learn, *runs):
    """Fits of (epochs, start_epoch)."""
    with learn.no_bar(), learn.no_logging():
        for epochs, start in runs:
            learn.fit(epochs, 1e-2, start_epoch=start)
    return learn.seen


each_way = pytest.mark.parametrize("callback", [*CALLBACKS, None], ids=lambda cb: cb.__name__ if cb else "MixCollate")


@each_way
def test_consecutive_fits_differ_and_are_those_of_the_next_time(callback):
    seen = fits(made(callback), (1, 0), (1, 0), (2, 0))
    assert len(seen.lams) == 8
    assert len(set(seen.lams)) == 8
    again = fits(made(callback), (1, 0), (1, 0), (2, 0))
    assert again.lams == seen.lams
    assert again.losses == seen.losses
    other = fits(made(callback, rng=5), (1, 0), (1, 0), (2, 0))
    assert not {*other.lams} & {*seen.lams}


@each_way
def test_the_epochs_of_consecutive_fits_are_those_of_one(callback):
    """fit(1); fit(1) has the mixes of fit(2)."""
    assert fits(made(callback), (1, 0), (1, 0)).lams == fits(made(callback), (2, 0)).lams


@each_way
def test_both_halves_of_fine_tune_differ(callback):
    learn = made(callback)
    learn.splitter = lambda model: L(list(model[:2].parameters()), list(model[2:].parameters()))
    learn.create_opt()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(1)
    lams = learn.seen.lams
    assert len(lams) == len(set(lams)) == 4


def state(learn):
    return {name: value.clone() for name, value in learn.model.state_dict().items()}


class StopAfter(Callback):
    """Interrupts a fit when an epoch begins."""

    order = -100

    def __init__(self, epoch):
        self.at = epoch

    def before_epoch(self):
        if self.epoch == self.at:
            raise KeyboardInterrupt


@each_way
@pytest.mark.parametrize("same_learner", [True, False], ids=["the same learner", "a new one"])
def test_a_fit_that_starts_later_continues_the_one_that_was_interrupted(callback, same_learner):
    """Bit for bit: the mixes, the losses and the weights. SGD has no state that would have to be saved."""

    def make():
        learn = made(callback)
        learn.opt_func = SGD
        return learn

    whole = make()
    seen = fits(whole, (4, 0))
    assert len(set(seen.lams)) == 8
    learn = make()
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging():
        learn.fit(4, 1e-2, cbs=StopAfter(2))
    begun, weights = learn.seen, state(learn)
    resumed = learn if same_learner else make()
    if not same_learner:
        begun = None
    resumed.model.load_state_dict(weights)
    after = fits(resumed, (4, 2))
    lams, losses = (after.lams[-4:], after.losses[-4:])
    assert lams == seen.lams[4:]
    assert losses == seen.losses[4:]
    assert begun is None or begun.lams == seen.lams
    for name, value in state(resumed).items():
        assert torch.equal(value, state(whole)[name])


@each_way
def test_an_interrupted_second_fit_is_continued_in_its_own_epochs(callback):
    whole = fits(made(callback), (1, 0), (3, 0)).lams
    learn = made(callback)
    fits(learn, (1, 0))
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging():
        learn.fit(3, 1e-2, cbs=StopAfter(1))
    assert fits(learn, (3, 1)).lams == whole


@pytest.mark.parametrize("rng", [4, (4, 9), np.int64(4)], ids=repr)
def test_keys_are_seed_epoch_batch_rank(rng):
    learn = made(RustMixUp, rng=rng)
    lams = fits(learn, (1, 0), (1, 0)).lams
    seed = [int(part) for part in np.atleast_1d(rng)]
    plans = [Mixup(0.4).plan(32, rng=(*seed, epoch, batch, 0)) for epoch in (0, 1) for batch in (0, 1)]
    assert lams == [plan.lam.astype(np.float32).tobytes() for plan in plans]


def test_the_loader_has_the_keys_of_the_callback():
    lams = fits(made(None), (1, 0), (1, 0)).lams
    plans = [Mixup(1.0).plan(32, rng=(4, epoch, batch, 0)) for epoch in (0, 1) for batch in (0, 1)]
    assert lams == [plan.lam.astype(np.float32).tobytes() for plan in plans]


def test_the_callback_for_epochs_alone_counts_on_as_well():
    plans = []

    class Noted(MixCollate):
        def __call__(self, samples):
            batch, plan = super().__call__(samples)
            if (plan.lam < 1).any():
                plans.append(plan)
            return batch

    def dls():
        made = in_order()
        made.train.create_batch = Noted(Mixup(1.0), num_classes=10, rng=4, return_plan=True)
        return made

    learn = learner(MixCollateEpoch(), dls, loss_func=torch.nn.CrossEntropyLoss())
    fit(learn, 1)
    learn.validate(ds_idx=0)
    fit(learn, 1)
    assert plans == [Mixup(1.0).plan(32, rng=(4, epoch, batch, 0)) for epoch in (0, 1) for batch in (0, 1)]


def test_a_generator_is_drawn_from_and_moves_on():
    generator = np.random.default_rng(3)
    lams = fits(made(RustMixUp, rng=generator), (1, 0), (1, 0)).lams
    same = np.random.default_rng(3)
    expected = [Mixup(0.4).plan(32, rng=same).lam.astype(np.float32).tobytes() for _ in range(4)]
    assert lams == expected


def test_looking_at_a_batch_before_the_fit_changes_nothing():
    def lams(looks):
        learn = learner([RustMixUp(), Seen()], in_the_loader, loss_func=CrossEntropyLossFlat())
        for _ in range(looks):
            learn.dls.one_batch()
            learn.dls.train.one_batch()
        return fits(learn, (2, 0)).lams

    assert lams(0) == lams(2)


@each_callback
def test_without_a_seed_set_seed_repeats_and_fits_differ(callback):
    def lams():
        learn = learner([callback(), Seen()], in_order)
        return fits(learn, (1, 0), (1, 0)).lams

    first, second = lams(), lams()
    assert first == second
    assert len(set(first)) == 4


def test_which_of_two_callbacks_mixes_follows_from_the_seed():
    """Not from torch's generator, which a resumed run finds in another state."""

    def plans(disturbed):
        callbacks = [RustMixUp(rng=4), RustCutMix(rng=4)]
        learn, drawn = learner(callbacks, in_order), []

        class Look(Callback):
            def after_pred(self):
                if self.training:
                    drawn.append([cb.plan for cb in callbacks])
                    torch.rand(disturbed)

        learn.add_cb(Look())
        fits_of(learn, 5)
        return drawn

    first, second = plans(0), plans(3)
    assert first == second
    assert all(sum(plan is not None for plan in pair) == 1 for pair in first)
    assert {pair[0] is None for pair in first} == {True, False}


def fits_of(learn, epochs):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs)
