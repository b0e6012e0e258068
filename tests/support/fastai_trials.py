"""What tries a callback of fastai's or ours, in a learner of digits."""

from functools import partial

import torch
from fastai.vision.all import Datasets, F, TensorCategory, TensorImage
from learners import digits, fit, learner, loaders

IMAGES, CLASSES = digits()


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def trains(callback, **options):
    learn = learner(callback, **options)
    loss_func = learn.loss_func
    losses = fit(learn)
    check(all(torch.isfinite(torch.tensor(losses))), f"losses {losses}")
    check(learn.loss_func is loss_func, "the loss function stayed replaced")
    return learn


def of(images=None, targets=None, **options):
    return partial(loaders, images=images, targets=targets, typed=False, **options)


def image_of(index):
    return TensorImage(IMAGES[index])


def class_of(index):
    return TensorCategory(CLASSES[index])


def data_sets():
    sets = Datasets(list(range(192)), [[image_of], [class_of]], splits=[list(range(160)), list(range(160, 192))])
    return sets.dataloaders(bs=32, device="cpu")


def through(callback, loss_func, xb, yb):
    """The learner once a batch has gone through `before_batch`, and the targets that were."""
    learn = learner(callback, loss_func=loss_func)
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, xb, yb
    callback("before_train")
    callback("before_batch")
    return learn


def weighted_samples(pred, target, weight):
    return (F.cross_entropy(pred, target, reduction="none") * weight).mean()
