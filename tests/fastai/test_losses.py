"""The loss of a mixed batch against formulas written out in NumPy, in float64."""

from functools import partial

import numpy as np
import pytest
import torch
from fastai.callback import progress  # noqa: F401, which gives learners no_bar
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import (
    CrossEntropyLossFlat,
    FocalLoss,
    FocalLossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
)
from torch import nn
from torch.nn import functional as F

from mixup_rs.fastai import RustMixUp
from mixup_rs.torch import mixed_loss

N, CLASSES, SMOOTHING, GAMMA = 6, 5, 0.2, 1.5
WEIGHT = np.array([0.5, 1.0, 2.0, 4.0, 0.25])
EVEN = np.ones(CLASSES)
REDUCTIONS = ["mean", "sum", "none"]
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(N, CLASSES))
OWN, PARTNER = RNG.integers(0, CLASSES, (2, N))
LAM = np.array([1.0, 0.9, 0.75, 0.5, 0.6, 0.0])


def surprise(logits):
    """-log p of each class, over the last axis."""
    return np.log(np.exp(logits).sum(-1, keepdims=True)) - logits


def of_class(values, y):
    return np.take_along_axis(values, y[..., None], -1)[..., 0]


def cross_entropy(y, weight=EVEN, smoothing=0.0):
    """(1 - s) w[y] nll[y] + s/C sum of w[c] nll[c], divided in the mean by the sum of w[y]: torch's definition."""
    nll = surprise(LOGITS)
    spread = smoothing / CLASSES * (weight * nll).sum(-1)
    return (1 - smoothing) * weight[y] * of_class(nll, y) + spread


def reduced(own, partner, reduction, own_weight=None, partner_weight=None):
    total = LAM * own + (1 - LAM) * partner
    if reduction == "none":
        return total
    if reduction == "sum":
        return total.sum()
    if own_weight is None:
        return total.mean()
    return total.sum() / (LAM * own_weight + (1 - LAM) * partner_weight).sum()


def expected_cross_entropy(reduction, weight=EVEN, smoothing=0.0):
    losses = [cross_entropy(y, weight, smoothing) for y in (OWN, PARTNER)]
    return reduced(*losses, reduction, weight[OWN], weight[PARTNER])


def expected_fastai_smoothing(reduction, weight=EVEN):
    """fastai's: the spread part knows no weights, and its mean is over the samples."""
    nll = surprise(LOGITS)
    spread = SMOOTHING / CLASSES * nll.sum(-1)
    sharp = [(1 - SMOOTHING) * weight[y] * of_class(nll, y) for y in (OWN, PARTNER)]
    if reduction == "mean":
        return spread.mean() + reduced(*sharp, reduction, weight[OWN], weight[PARTNER])
    return reduced(sharp[0] + spread, sharp[1] + spread, reduction)


def expected_focal(reduction, weight=EVEN):
    """fastai's: the mean is over the samples, whatever their weights."""
    losses = [cross_entropy(y, weight) for y in (OWN, PARTNER)]
    return reduced(*((1 - np.exp(-loss)) ** GAMMA * loss for loss in losses), reduction)


def tensor(values):
    return torch.from_numpy(np.asarray(values))


def tolerance(loss):
    return 1e-12 if loss.dtype == torch.float64 else 1e-6


weights = tensor(WEIGHT)
# fastai's flat losses make float32 of what they are given.
weights32 = weights.float()
LOSSES = {
    "CrossEntropyLoss": (nn.CrossEntropyLoss, expected_cross_entropy),
    "CrossEntropyLoss, weights": (
        partial(nn.CrossEntropyLoss, weight=weights),
        partial(expected_cross_entropy, weight=WEIGHT),
    ),
    "CrossEntropyLoss, smoothing": (
        partial(nn.CrossEntropyLoss, label_smoothing=SMOOTHING),
        partial(expected_cross_entropy, smoothing=SMOOTHING),
    ),
    "CrossEntropyLoss, weights and smoothing": (
        partial(nn.CrossEntropyLoss, weight=weights, label_smoothing=SMOOTHING),
        partial(expected_cross_entropy, weight=WEIGHT, smoothing=SMOOTHING),
    ),
    "CrossEntropyLossFlat, weights and smoothing": (
        partial(CrossEntropyLossFlat, weight=weights32, label_smoothing=SMOOTHING),
        partial(expected_cross_entropy, weight=WEIGHT, smoothing=SMOOTHING),
    ),
    "F.cross_entropy, weights": (
        partial(partial, F.cross_entropy, weight=weights),
        partial(expected_cross_entropy, weight=WEIGHT),
    ),
    "LabelSmoothingCrossEntropy": (partial(LabelSmoothingCrossEntropy, SMOOTHING), expected_fastai_smoothing),
    "LabelSmoothingCrossEntropy, weights": (
        partial(LabelSmoothingCrossEntropy, SMOOTHING, weights),
        partial(expected_fastai_smoothing, weight=WEIGHT),
    ),
    "LabelSmoothingCrossEntropyFlat": (
        partial(LabelSmoothingCrossEntropyFlat, eps=SMOOTHING),
        expected_fastai_smoothing,
    ),
    "LabelSmoothingCrossEntropyFlat, weights": (
        partial(LabelSmoothingCrossEntropyFlat, eps=SMOOTHING, weight=weights32),
        partial(expected_fastai_smoothing, weight=WEIGHT),
    ),
    "FocalLoss": (partial(FocalLoss, gamma=GAMMA), expected_focal),
    "FocalLoss, weights": (partial(FocalLoss, GAMMA, weights), partial(expected_focal, weight=WEIGHT)),
    "FocalLossFlat, weights": (
        partial(FocalLossFlat, gamma=GAMMA, weight=weights32),
        partial(expected_focal, weight=WEIGHT),
    ),
}
each_loss = pytest.mark.parametrize(("make", "expected"), LOSSES.values(), ids=LOSSES)
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


@each_reduction
@each_loss
def test_the_pair_is_reduced_as_the_loss_reduces(make, expected, reduction):
    got = mixed_loss(make(reduction=reduction), tensor(LOGITS), (tensor(OWN), tensor(PARTNER), tensor(LAM)))
    np.testing.assert_allclose(got.numpy(), expected(reduction), rtol=tolerance(got))


@each_reduction
@each_loss
def test_weights_of_one_leave_the_loss_itself(make, expected, reduction):
    loss_func = make(reduction=reduction)
    got = mixed_loss(loss_func, tensor(LOGITS), (tensor(OWN), tensor(PARTNER), torch.ones(N)))
    np.testing.assert_allclose(got.numpy(), loss_func(tensor(LOGITS), tensor(OWN)).numpy(), rtol=tolerance(got))
    assert getattr(loss_func, "reduction", reduction) == reduction


@pytest.mark.parametrize("ignored", [-100, 2])
@pytest.mark.parametrize("smoothing", [0.0, SMOOTHING])
def test_targets_to_ignore_take_no_part_in_the_mean(ignored, smoothing):
    own, partner = OWN.copy(), PARTNER.copy()
    own[1], partner[2] = ignored, ignored
    losses = [np.where(y == ignored, 0, cross_entropy(np.maximum(y, 0), WEIGHT, smoothing)) for y in (own, partner)]
    counts = [np.where(y == ignored, 0, WEIGHT[np.maximum(y, 0)]) for y in (own, partner)]
    loss_func = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing, ignore_index=ignored)
    got = mixed_loss(loss_func, tensor(LOGITS), (tensor(own), tensor(partner), tensor(LAM)))
    np.testing.assert_allclose(got.numpy(), reduced(*losses, "mean", *counts), rtol=1e-12)


def test_fastais_smoothing_spreads_over_targets_to_ignore_as_well():
    own, partner = OWN.copy(), PARTNER.copy()
    own[1], partner[2] = -100, -100
    nll, pairs = surprise(LOGITS), (own, partner)
    sharp = [np.where(y < 0, 0, WEIGHT[y % CLASSES] * of_class(nll, np.maximum(y, 0))) for y in pairs]
    counts = [np.where(y < 0, 0, WEIGHT[y % CLASSES]) for y in pairs]
    expected = SMOOTHING / CLASSES * nll.sum(-1).mean() + (1 - SMOOTHING) * reduced(*sharp, "mean", *counts)
    loss_func = LabelSmoothingCrossEntropy(SMOOTHING, weights)
    got = mixed_loss(loss_func, tensor(LOGITS), (tensor(own), tensor(partner), tensor(LAM)))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


def test_masks_are_reduced_over_the_weights_of_their_pixels():
    """fastai's flat loss walks the pixels in an order of its own."""
    logits, masks = RNG.normal(size=(N, CLASSES, 3, 4)), RNG.integers(0, CLASSES, (2, N, 3, 4))
    nll = surprise(np.moveaxis(logits, 1, -1))
    share = LAM[:, None, None]
    own, partner = (WEIGHT[mask] * of_class(nll, mask) for mask in masks)
    of_weights = (share * WEIGHT[masks[0]] + (1 - share) * WEIGHT[masks[1]]).sum()
    expected = (share * own + (1 - share) * partner).sum() / of_weights
    for loss_func in (CrossEntropyLossFlat(axis=1, weight=weights32), nn.CrossEntropyLoss(weight=weights)):
        got = mixed_loss(loss_func, tensor(logits), (tensor(masks[0]), tensor(masks[1]), tensor(LAM)))
        np.testing.assert_allclose(got.numpy(), expected, rtol=tolerance(got))


def test_a_loss_that_raises_keeps_its_reduction():
    loss_func = nn.CrossEntropyLoss(reduction="sum")
    with pytest.raises(IndexError):
        mixed_loss(loss_func, tensor(LOGITS), (tensor(OWN + CLASSES), tensor(PARTNER), tensor(LAM)))
    assert loss_func.reduction == "sum"


@each_reduction
@pytest.mark.parametrize("name", [name for name in LOSSES if "Flat" not in name])
def test_gradients_flow(name, reduction):
    loss_func = LOSSES[name][0](reduction=reduction)
    pair = tensor(OWN), tensor(PARTNER), tensor(LAM)
    assert torch.autograd.gradcheck(lambda x: mixed_loss(loss_func, x, pair), tensor(LOGITS).requires_grad_())


class TestRounding:
    """A loss that rounds float targets would compute the loss of unmixed labels."""

    @staticmethod
    def fit(loss_func, y=None):
        x = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
        y = (torch.arange(24) % 3).float() if y is None else y
        dls = DataLoaders.from_dsets(list(zip(x, y, strict=True)), [], bs=8, device="cpu")
        learn = Learner(dls, nn.Linear(4, 3), loss_func=loss_func, cbs=RustMixUp(1.0, rng=1))
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)

    @pytest.mark.parametrize(
        "loss_func",
        [
            lambda pred, y: F.cross_entropy(pred, y.long()),
            lambda pred, y: F.cross_entropy(pred, y.round().long()),
            lambda pred, y: F.binary_cross_entropy_with_logits(pred[:, 0], (y > 0.5).float()),
            lambda pred, y: F.binary_cross_entropy_with_logits(pred[:, 0], (y / 3).ceil()),
        ],
    )
    def test_it_is_refused(self, loss_func):
        with pytest.raises(TypeError, match="rounds its targets"):
            self.fit(loss_func)

    @pytest.mark.parametrize(
        "loss_func",
        [
            lambda pred, y: F.mse_loss(pred[:, 0], y),
            lambda pred, y: (pred[:, 0] - y).abs().mean(),
            lambda pred, y: pred.square().mean(),  # reads no target
        ],
    )
    def test_others_train(self, loss_func):
        self.fit(loss_func)

    def test_booleans_that_are_made_classes(self):
        with pytest.raises(TypeError, match="rounds its targets"):
            self.fit(lambda pred, y: F.cross_entropy(pred[:, :2], y.long()), torch.arange(24) % 2 == 0)
