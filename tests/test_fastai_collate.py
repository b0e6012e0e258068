"""MixCollate in fastai's own DataLoader, with RustMixUp for the loss."""

import numpy as np
import pytest
import torch
from fastai.vision.all import Callback, CrossEntropyLossFlat, DataLoaders
from learners import digits, fit, learner, loaders

from mixup_rs.fastai import MixCollateEpoch, RustMixUp
from mixup_rs.torch import MixCollate


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
    collate = MixCollate(alpha=1.0, rng=7)
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
    learn = learner([RustMixUp(), Seen()], dls=lambda: mixing_in_the_loader(MixCollate(alpha=1.0, rng=7)))
    fit(learn, epochs=1)
    known = {image.numpy().tobytes() for image in images[:160]}
    for x, _, _, _, lam, _ in learn.seen.batches:
        kept = [bytes(torch.Tensor(image).numpy().tobytes()) in known for image in x]
        assert not all(kept)
        assert all(kept[i] for i in np.flatnonzero(np.asarray(lam) == 1))


def test_validation_is_not_mixed_and_epochs_reach_the_collate():
    collate = MixCollate(alpha=1.0, rng=7, off_epoch=1)
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
                                 create_batch=MixCollate(rng=1))  # fmt: skip
    x, (y, y_partner, lam) = dls.train.one_batch()
    assert x.shape == (16, 3, 16, 16)
    assert y.shape == y_partner.shape == lam.shape == (16,)
