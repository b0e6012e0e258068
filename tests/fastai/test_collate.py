"""MixCollate in fastai's own DataLoader, with RustMixUp for the loss."""

import numpy as np
import pytest
import torch
from fastai.data.load import fa_collate
from fastai.vision.all import Callback, CrossEntropyLossFlat, DataLoaders, F
from learners import EitherMix, digits, fit, learner, loaders
from torch.utils.data import DataLoader as TorchLoader

from mixup_rs import Mixup
from mixup_rs.fastai import MixCollateEpoch, MixedAccuracy, RustCutMix, RustManifoldMixUp, RustMixUp
from mixup_rs.torch import MixCollate
from mixup_rs.torch.nest import tree_leaves


class Seen(Callback):
    """Keeps what the model and the loss are given."""

    def before_fit(self):
        self.batches = []

    def after_loss(self):
        if self.training:
            mix_up = self.learn.mix_up
            self.batches.append(
                (self.x.clone(), self.pred.detach(), self.y, mix_up.yb1[0], mix_up.lam, self.loss.item())
            )


def mixing_in_the_loader(collate, **options):
    dls = loaders(**options)
    dls.train.create_batch = collate
    return dls


def test_a_batch_mixed_in_the_loader_only_needs_its_loss():
    collate = MixCollate(Mixup(1.0), rng=7)
    learn = learner([RustMixUp(), Seen()], dls=lambda: mixing_in_the_loader(collate))
    losses = fit(learn)
    assert np.isfinite(losses).all()
    assert isinstance(learn.loss_func, CrossEntropyLossFlat)
    assert len(learn.seen.batches) == 10
    for _, pred, y, y_partner, lam, loss in learn.seen.batches:
        log = torch.log_softmax(torch.Tensor(pred), 1)
        rows = torch.arange(len(log))
        expected = -(lam * log[rows, torch.Tensor(y).long()] + (1 - lam) * log[rows, torch.Tensor(y_partner).long()])
        assert loss == pytest.approx(expected.mean().item(), rel=1e-4)
        assert (lam < 1).any()


def test_the_model_sees_the_mixed_images():
    images, _ = digits()
    learn = learner([RustMixUp(), Seen()], dls=lambda: mixing_in_the_loader(MixCollate(Mixup(1.0), rng=7)))
    fit(learn, epochs=1)
    known = {image.numpy().tobytes() for image in images[:160]}
    for x, _, _, _, lam, _ in learn.seen.batches:
        kept = [bytes(torch.Tensor(image).numpy().tobytes()) in known for image in x]
        assert not all(kept)
        assert all(kept[i] for i in np.flatnonzero(np.asarray(lam) == 1))


def test_validation_is_not_mixed_and_epochs_reach_the_collate():
    collate = MixCollate(Mixup(1.0), rng=7, off_epoch=1)
    callbacks = [RustMixUp(), Seen(), MixCollateEpoch(collate)]
    learn = learner(callbacks, dls=lambda: mixing_in_the_loader(collate))
    fit(learn, epochs=2)
    lams = [(lam < 1).any().item() for *_, lam, _ in learn.seen.batches]
    assert lams == [True] * 5 + [False] * 5
    assert len(learn.dls.valid.one_batch()[1]) == 32


def test_by_the_argument_of_dataloaders():
    images, classes = digits()
    samples = [(images[i], classes[i]) for i in range(64)]
    dls = DataLoaders.from_dsets(samples[:48], samples[48:], bs=16, num_workers=0, device="cpu",
                                 create_batch=MixCollate(Mixup(), rng=1))  # fmt: skip
    x, (y, y_partner, lam) = dls.train.one_batch()
    assert x.shape == (16, 3, 16, 16)
    assert y.shape == y_partner.shape == lam.shape == (16,)


class Fed(Callback):
    """What the model and the loss of each training batch are given, and the loss that came of it."""

    order = 50

    def before_fit(self):
        self.batches = []

    def after_loss(self):
        if self.training:
            plain = [torch.Tensor(value.detach()) for value in (self.x, self.pred, self.learn.yb[0])]
            self.batches.append((*plain, self.learn.loss.item()))


def by_attribute(collate):
    return mixing_in_the_loader(collate)


def by_argument(collate):
    images, classes = digits()
    samples = [(images[i], classes[i]) for i in range(160)]
    dls = DataLoaders.from_dsets(samples, samples[:32], bs=32, num_workers=0, device="cpu", create_batch=collate)
    dls.valid.create_batch = fa_collate  # the argument is for both
    return dls


def by_torch(collate):
    images, classes = digits()
    samples = [(images[i], int(classes[i])) for i in range(160)]
    train = TorchLoader(samples, batch_size=32, shuffle=True, collate_fn=collate, drop_last=True)
    return DataLoaders(train, TorchLoader(samples[:32], batch_size=32), device="cpu")


each_loader = pytest.mark.parametrize("make", [by_attribute, by_argument, by_torch])


def soft_loss(pred, target):
    """As torch's cross-entropy, for class indices, as in validation, and for soft targets."""
    return F.cross_entropy(pred, target if target.ndim == 2 else target.long())


@each_loader
@pytest.mark.parametrize("callback", [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp])
def test_soft_targets_of_the_loader_are_not_mixed_again(make, callback):
    """Nothing in a soft target tells that it is mixed: the loader does."""
    given = []

    class Noted(MixCollate):
        def __call__(self, samples):
            batch = super().__call__(samples)
            given.append((batch[0].clone(), batch[1].clone()))
            return batch

    collate = Noted(Mixup(1.0), num_classes=10, rng=7)
    learn = learner([callback(), Fed()], dls=lambda: make(collate), loss_func=soft_loss)
    fit(learn, epochs=1)
    given = [batch for batch in given if any(torch.equal(batch[0], x) for x, *_ in learn.fed.batches)]
    assert len(learn.fed.batches) == len(given) == 5
    for x, pred, y, loss in learn.fed.batches:
        target = next(target for image, target in given if torch.equal(image, x))
        assert torch.equal(y, target)
        assert ((y > 0) & (y < 1)).any()
        assert loss == pytest.approx(F.cross_entropy(pred, target).item(), rel=1e-5)


@each_loader
def test_what_the_collate_leaves_alone_stays_so(make):
    """Mixing is the loader's business there, and so is when to stop it."""
    collate = MixCollate(Mixup(1.0), num_classes=10, off_epoch=0)
    learn = learner([RustMixUp(), Fed()], dls=lambda: make(collate), loss_func=soft_loss)
    fit(learn, epochs=1)
    assert all(((y == 0) | (y == 1)).all() for _, _, y, _ in learn.fed.batches)


def test_soft_targets_of_any_other_loader_are_mixed():
    targets = F.one_hot(digits()[1], 10).float()
    learn = learner([RustMixUp(), Fed()], dls=lambda: loaders(targets=targets, typed=False), loss_func=soft_loss)
    fit(learn, epochs=1)
    assert all(((y > 0) & (y < 1)).any() for _, _, y, _ in learn.fed.batches)


@pytest.mark.parametrize("num_classes", [None, 10])
@each_loader
def test_accuracy_of_a_batch_mixed_in_the_loader_weights_both_classes(make, num_classes):
    class Hits(Callback):
        def before_fit(self):
            self.values = []

        def after_loss(self):
            if not self.training:
                return
            mix_up, guess = self.learn.mix_up, torch.Tensor(self.pred.detach()).argmax(1)
            if num_classes is None:
                y, other, lam = (torch.Tensor(v) for v in (self.y, mix_up.yb1[0], mix_up.lam))
                expected = (lam * (guess == y) + (1 - lam) * (guess == other)).mean()
            else:
                expected = self.y[torch.arange(len(guess)), guess].mean()
            metric.reset()
            metric.accumulate(self.learn)
            self.values.append((metric.value.item(), expected.item(), (guess == self.y).float().mean().item()
                                if num_classes is None else None))  # fmt: skip

    metric = MixedAccuracy()
    collate = MixCollate(Mixup(1.0), num_classes=num_classes, rng=7)
    loss_func = CrossEntropyLossFlat() if num_classes is None else soft_loss
    learn = learner([RustMixUp(), Hits()], lambda: make(collate), loss_func=loss_func, metrics=MixedAccuracy())
    learn.recorder.train_metrics = True
    fit(learn, epochs=2, lr=0.1)
    assert len(learn.hits.values) == 10
    for got, expected, _ in learn.hits.values:
        assert got == pytest.approx(expected, abs=1e-6)
    assert num_classes or any(got != plain for got, _, plain in learn.hits.values)


def test_draws_are_the_hosts_whatever_torchs_default_device():
    images, classes = digits()
    samples = [(images[i], classes[i], i + 0.5) for i in range(8)]
    with torch.device("meta"):
        for options in ({}, {"rng": 3, "num_classes": 10}, {"normalize": (0.5, 0.5)}):
            batch = MixCollate(Mixup(), **options)(samples)
            assert all(leaf.device.type == "cpu" for leaf in tree_leaves(batch))
        for callback in (RustMixUp(), RustMixUp(rng="torch"), RustMixUp(rng=3), RustCutMix(), EitherMix()):
            learn = learner([], lambda: loaders(n=64))
            learn.add_cb(callback)
            learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (images[:8],), (classes[:8],)
            callback("before_batch")
            assert learn.xb[0].device.type == "cpu"
