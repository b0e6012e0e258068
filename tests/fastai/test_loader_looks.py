"""A fit beside others: looks at a batch by hand, loaders of other learners, options and targets that others change."""

import warnings
from functools import partial

import pytest
import torch
from fastai.vision.all import Callback, DataLoaders, F, nn
from fastai_trials import data_sets
from learners import EitherMix, digits, fit, learner, tiny_model
from torch.utils.data import DataLoader as TorchLoader

from mixup_rs import CutMix, Mixup
from mixup_rs.fastai import MixCollateEpoch, RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.torch import MixCollate


def mixing(workers=0, **options):
    dls = data_sets()
    dls.train = dls.train.new(num_workers=workers)
    dls.train.create_batch = MixCollate(Mixup(1.0, fold=False), rng=7, **options)
    return dls


class Look(Callback):
    """Takes batches by hand at an event of the training batches, and keeps their targets and those of the fit."""

    def __init__(self, event, look):
        self.look, self.taken = look, []
        setattr(self, event, self.take)

    def take(self):
        if self.training and self.look is not None:
            self.taken.append(self.look(self.learn.dls)[1])


class Kept(Callback):
    order = -100

    def before_fit(self):
        self.batches = []

    def before_batch(self):
        if self.training:
            self.batches.append((self.learn.xb[0].clone(), self.learn.yb[0]))


def loss_of_pairs(pred, target):
    if isinstance(target, tuple):
        return (target[2] * F.cross_entropy(pred, target[0], reduction="none")).mean()
    return F.cross_entropy(pred, target)


LOOKS = {"one_batch": lambda dls: dls.one_batch(), "iter": lambda dls: next(iter(dls.train))}


@pytest.mark.parametrize("make", [RustMixUp, EitherMix, MixCollateEpoch])
@pytest.mark.parametrize("event", ["before_train", "before_batch", "after_step", "after_batch"])
@pytest.mark.parametrize(("name", "workers"), [("one_batch", 0), ("one_batch", 1), ("iter", 0)])
def test_a_batch_taken_by_hand_within_an_epoch_is_not_mixed_and_counts_for_nothing(make, event, name, workers):
    def batches(look):
        loss_func = loss_of_pairs if make is MixCollateEpoch else None
        learn = learner([make(), Look(event, look), Kept()], partial(mixing, workers), loss_func=loss_func)
        fit(learn, 1)
        return learn.kept.batches, learn.look.taken

    (expected, _), (got, taken) = batches(None), batches(LOOKS[name])
    assert len(taken) == (1 if event == "before_train" else 5)
    assert not any(isinstance(target, tuple) for target in taken)
    assert len(got) == len(expected) == 5
    for (x, y), (other_x, other_y) in zip(got, expected, strict=True):
        assert isinstance(y, tuple)
        if event != "before_train":  # there a look shuffles the epoch anew, as fastai has it
            assert torch.equal(torch.Tensor(x), torch.Tensor(other_x))
        assert torch.equal(torch.as_tensor(y[2]), torch.as_tensor(other_y[2]))


def test_nor_one_that_workers_load():
    def look(dls):
        return next(iter(dls.train.new(num_workers=1)))

    learn = learner([RustMixUp(), Look("before_batch", look), Kept()], mixing)
    fit(learn, 1)
    assert not any(isinstance(target, tuple) for target in learn.look.taken)
    assert all(isinstance(target, tuple) for _, target in learn.kept.batches)


def test_workers_that_live_on_mix_whatever_they_were_started_for():
    """By a look at a batch, before the first one of the fit."""
    images, classes = digits()
    samples = [(images[i], int(classes[i])) for i in range(64)]

    def dls():
        options = {"batch_size": 16, "num_workers": 1, "persistent_workers": True}
        train = TorchLoader(samples, collate_fn=MixCollate(Mixup(1.0), rng=7), **options)
        return DataLoaders(train, TorchLoader(samples[:16], batch_size=16), device="cpu")

    for event in ("before_fit", "before_train"):
        learn = learner([RustMixUp(), Kept(), Look(event, lambda dls: next(iter(dls.train)))], dls)
        fit(learn, 2)
        assert len(learn.kept.batches) == 8
        assert all(isinstance(target, tuple) for _, target in learn.kept.batches)


@pytest.mark.parametrize("make", [RustMixUp, MixCollateEpoch])
@pytest.mark.parametrize("fits", [0, 1])
def test_a_learner_without_the_callback_does_not_train_unmixed_with_the_loader_of_one_that_has_it(make, fits):
    first = learner(make(), lambda: mixing(num_classes=10), loss_func=nn.CrossEntropyLoss())
    for _ in range(fits):
        fit(first, 1)
    other = learner([], lambda: first.dls, loss_func=nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match=r"callback of another learner.*MixCollateEpoch\(\).*remove_cb"):
        fit(other, 1)
    with other.no_bar(), other.no_logging():
        other.validate(ds_idx=0)
        other.get_preds(ds_idx=0)
    other.add_cb(Kept())
    other.add_cb(MixCollateEpoch())
    fit(other, 1)
    other.remove_cb(MixCollateEpoch)
    first.remove_cb(make)
    fit(other, 1)
    assert all(is_mixed(y) for _, y in other.kept.batches)
    fit(learner(make(), lambda: first.dls, loss_func=nn.CrossEntropyLoss()), 1)


def is_mixed(target):
    return bool(((torch.Tensor(target) > 0) & (torch.Tensor(target) < 1)).any())


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (lambda: RustMixUp(0.8), r"Mixup\(alpha=0.8,"),
        (lambda: RustCutMix(mode="elem", rng=7), r"CutMix\(alpha=1.0, mode='elem'.*, rng=7 of RustCutMix"),
        (lambda: RustMix(CutMix()), r"CutMix\(.* of RustMix is not used"),
        (lambda: RustManifoldMixUp(), r"Mixup\(.* of RustManifoldMixUp is not used; give it to the MixCollate"),
        (lambda: RustMixUp(inputs=0), r": inputs=\(0,\) of RustMixUp"),
    ],
)
def test_what_a_callback_does_not_use_beside_the_collate_is_said_once(callback, said):
    learn = learner(callback(), partial(mixing, num_classes=10), loss_func=nn.CrossEntropyLoss())
    with pytest.warns(UserWarning, match=said) as warned:
        fit(learn, 2)
    assert len([one for one in warned if "MixCollate" in str(one.message)]) == 1


@pytest.mark.parametrize("callback", [RustMixUp, RustCutMix, lambda: RustMix(Mixup(1.0, fold=False)), MixCollateEpoch])
def test_what_it_uses_is_not_said(callback):
    learn = learner(callback(), partial(mixing, num_classes=10), loss_func=nn.CrossEntropyLoss())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the MixCollate")
        fit(learn, 1)


@pytest.mark.parametrize("num_classes", [None, 10])
def test_the_off_epoch_of_a_callback_is_that_of_the_loader(num_classes):
    learn = learner([RustMixUp(off_epoch=1), Kept()], partial(mixing, num_classes=num_classes))
    fit(learn, 2)
    images = {torch.Tensor(x).numpy().tobytes() for x in digits()[0][:160]}
    is_own = [all(torch.Tensor(image).numpy().tobytes() in images for image in x) for x, _ in learn.kept.batches]
    assert is_own == [False] * 5 + [True] * 5


def test_a_pair_for_the_loss_needs_one_lam_from_the_collate():
    def of_both(pred, y, y_partner=None, lam=1.0):
        partner = y if y_partner is None else y_partner
        return lam * F.cross_entropy(pred, y) + (1 - lam) * F.cross_entropy(pred, partner)

    learn = learner(RustMixUp(mode="batch", pair=True), mixing, loss_func=of_both)
    with pytest.raises(ValueError, match=r"one lam for the batch, but the MixCollate drew several.*mode='batch'"):
        fit(learn, 1)
    learn = learner([RustMixUp(mode="batch", pair=True), Kept()], mixing, loss_func=of_both)
    learn.dls.train.create_batch.rule = Mixup(1.0, mode="batch")
    losses = fit(learn, 1, 0.0)
    learn.model.eval()
    for loss, (x, (y, y_partner, lam)) in zip(losses, learn.kept.batches, strict=True):
        expected = of_both(learn.model(torch.Tensor(x)), *map(torch.Tensor, (y.long(), y_partner.long(), lam[0])))
        assert loss == pytest.approx(expected.item(), rel=1e-4)


class Changes(Callback):
    """Changes the targets of a training batch."""

    def __init__(self, change, order, event="before_batch"):
        self.change, self.order = change, order
        setattr(self, event, self.go)

    def go(self):
        if self.training:
            self.learn.yb = tuple(map(self.change, self.learn.yb))


CHANGES = {
    "other classes": lambda y: (y + 1) % 10,
    "other rows": lambda y: y.flip(0),
    "another dtype": lambda y: y.float(),
}


@pytest.mark.parametrize("mixed_by", ["callback", "loader"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("event", ["before_batch", "after_pred"])
def test_targets_that_are_changed_after_the_mix_are_refused(mixed_by, change, event):
    """The partners' would stay as they were."""
    dls = mixing if mixed_by == "loader" else data_sets
    learn = learner([RustMixUp(1.0), Changes(CHANGES[change], 90, event)], dls)
    with pytest.raises(ValueError, match=r"another callback changed the targets after RustMixUp .* an order below 0"):
        fit(learn, 1)


@pytest.mark.parametrize("change", [lambda y: y.clone(), lambda y: y.as_subclass(torch.Tensor)])
def test_targets_of_the_same_values_are_not(change):
    losses = [fit(learner([RustMixUp(1.0), Changes(how, 90)], data_sets), 1) for how in (change, lambda y: y)]
    assert (losses[0] == losses[1]).all()


def test_those_that_are_changed_before_are_mixed():
    class Check(Callback):
        order, count = 99, 0

        def after_loss(self):
            if self.training:
                mix_up, log = self.learn.mix_up, torch.Tensor(self.learn.pred.detach()).log_softmax(1)
                y, partner = torch.Tensor(self.learn.y).long(), torch.Tensor(mix_up.yb1[0]).long()
                assert torch.equal(partner, y[torch.from_numpy(mix_up.plan.partner)])
                losses = [-log.gather(1, one[:, None])[:, 0] for one in (y, partner)]
                expected = (mix_up.lam * losses[0] + (1 - mix_up.lam) * losses[1]).mean()
                assert self.learn.loss.item() == pytest.approx(expected.item(), rel=1e-4)
                self.count += 1

    learn = learner([RustMixUp(1.0), Changes(lambda y: (y + 1) % 10, -1), Check()], data_sets)
    fit(learn, 1)
    assert learn.check.count == 5


def test_labels_given_to_the_model_after_the_mix_are_refused():
    """As for a model that is taught by what it should have said; before the mix they are refused as well."""

    class Teach(Callback):
        def before_batch(self):
            self.learn.xb = (*self.learn.xb, *self.learn.yb)

    class Taught(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = tiny_model()

        def forward(self, x, y):
            return self.model(x) + F.one_hot(y, 10)

    for order in (-1, 10):
        learn = learner([RustMixUp(1.0), teach := Teach()], data_sets, Taught)
        teach.order = order
        with pytest.raises(TypeError, match=r"give labels to the loss alone, with pair=True if it needs both"):
            fit(learn, 1)
