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

from mixup_rs import CutMix, Mixup, OneOf
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
