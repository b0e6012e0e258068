"""Small fastai learners on real images: scikit-learn's handwritten digits."""

import functools

import numpy as np
import torch
from fastai.vision.all import (
    Callback,
    CrossEntropyLossFlat,
    DataLoaders,
    Learner,
    TensorCategory,
    TensorImage,
    nn,
    set_seed,
)
from sklearn.datasets import load_digits

from mixup_rs import CutMix, MixPlan, Mixup, OneOf
from mixup_rs.fastai import RustMix


@functools.cache
def digits(size=16):
    """(images, classes): float32 in [0, 1] of shape (1797, 3, size, size), and int64."""
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 16
    images = nn.functional.interpolate(images, size=size).expand(-1, 3, -1, -1).contiguous()
    return images, torch.from_numpy(data.target).long()


class EitherMix(RustMix):
    """`RustMix` by a rule of its own, so that it is made like the other callbacks."""

    def __init__(self, **options):
        super().__init__(OneOf([Mixup(0.4), CutMix(1.0)]), **options)


class BatchLosses(Callback):
    """Records the loss of every training batch."""

    order = 70

    def before_fit(self):
        self.values = []

    def after_batch(self):
        if self.training:
            self.values.append(self.learn.loss.item())


def tiny_model(outputs=10):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, outputs))


def loaders(n=160, bs=32, size=16, images=None, targets=None, typed=True, **options):
    """DataLoaders of the first `n` digits for training and the next 32 for validation."""
    pixels, classes = digits(size)
    images = pixels if images is None else images
    targets = classes if targets is None else targets
    target_type = TensorCategory if targets is classes else torch.Tensor
    samples = [(images[i], targets[i]) for i in range(n + 32)]
    if typed:
        samples = [(TensorImage(x), target_type(y) if isinstance(y, torch.Tensor) else y) for x, y in samples]
    dls = DataLoaders.from_dsets(samples[:n], samples[n:], bs=bs, num_workers=0, device="cpu", **options)
    dls.n_inp = 1
    return dls


def learner(cbs, dls=loaders, model=tiny_model, loss_func=None, seed=42, **options):
    """A learner whose weights, batches and draws follow from `seed`, with a `batch_losses` callback.

    `dls` and `model` are functions that make them, once the seed is set.
    """
    set_seed(seed, reproducible=True)
    dls, model = dls(), model()
    loss_func = CrossEntropyLossFlat() if loss_func is None else loss_func
    learn = Learner(dls, model, loss_func=loss_func, cbs=[BatchLosses()], **options)
    learn.add_cbs(cbs)
    return learn


def fit(learn, epochs=2, lr=1e-2):
    """Trains quietly and returns the loss of every batch."""
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, lr)
    return np.array(learn.batch_losses.values)


class Fixed:
    """A rule: these weights, and the next sample as the partner."""

    def __init__(self, lam):
        self.lam = lam

    def plan(self, n, shape=None, labels=None, rng=None):
        return MixPlan(np.resize(np.asarray(self.lam, dtype=float), n), [*range(1, n), 0])


def one_batch_of(*entries, n_inp=1):
    """DataLoaders whose only batch has these tensors, in order: a fit of one epoch is one step."""

    def make():
        samples = list(zip(*entries, strict=True))
        dls = DataLoaders.from_dsets(samples, samples, bs=len(samples), num_workers=0, device="cpu", shuffle=False)
        dls.n_inp = n_inp
        return dls

    return make


class Constant(nn.Module):
    """Predicts what it was made with, whatever its inputs; a parameter of 0 is added so that it can be trained."""

    def __init__(self, pred):
        super().__init__()
        self.pred, self.zero = pred, nn.Parameter(torch.zeros(()))

    def forward(self, *inputs):
        add = lambda value: value + self.zero  # noqa: E731
        if isinstance(self.pred, dict):
            return {name: add(value) for name, value in self.pred.items()}
        return tuple(map(add, self.pred)) if isinstance(self.pred, tuple) else add(self.pred)


def loss_of(callback, loss_func, pred, *targets, images=None):
    """The loss of one training step with given predictions and targets."""
    n = len(targets[0])
    images = torch.rand(n, 3, 8, 8) if images is None else images
    learn = learner(callback, one_batch_of(images, *targets), lambda: Constant(pred), loss_func)
    return fit(learn, 1, 0.0).item()


class Step(Callback):
    """Keeps one training step: the batch before and after mixing, the prediction, the plan and the loss."""

    order = 90

    def __init__(self, mixing):
        self.mixing, self.steps = mixing, []

    def after_batch(self):
        if self.training:
            pred = self.learn.pred[0] if isinstance(self.learn.pred, tuple) else self.learn.pred
            yb = tuple(torch.Tensor(y).clone() for y in self.learn.yb)
            partners = tuple(torch.Tensor(y).clone() for y in self.mixing.yb1)
            lam = torch.from_numpy(self.mixing.plan.lam).double()
            self.steps.append((torch.Tensor(pred.detach()).double(), yb, partners, lam, self.learn.loss.item()))


def trained(learn, mixing, epochs=1, lr=1e-2):
    learn.add_cb(step := Step(mixing))
    losses = fit(learn, epochs, lr)
    assert len(step.steps) == len(losses) >= 2
    assert np.isfinite(losses).all()
    with learn.no_bar(), learn.no_logging():
        assert np.isfinite(learn.validate()[0])
    return step.steps


def pair(pred, own, partner, lam):
    """-lam log p[own] - (1 - lam) log p[partner], the mean over all pixels of all samples."""
    log = pred.log_softmax(1)
    losses = [-log.gather(1, y.long().unsqueeze(1)).squeeze(1) for y in (own, partner)]
    share = lam.view(-1, *[1] * (losses[0].ndim - 1))
    return (share * losses[0] + (1 - share) * losses[1]).mean().item()
