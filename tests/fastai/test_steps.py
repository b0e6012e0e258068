"""Everyday training, step by step, against a step written out by hand: the same loss and the same gradients."""

import copy
from functools import partial

import pytest
import torch
from fastai.vision.all import (
    BCEWithLogitsLossFlat,
    Callback,
    CrossEntropyLossFlat,
    DiceLoss,
    F,
    FocalLossFlat,
    L1LossFlat,
    MSELossFlat,
    nn,
)
from learners import EitherMix, digits, fit, learner, loaders, tiny_model

from mixup_rs.fastai import RustCutMix, RustMixUp

IMAGES, CLASSES = digits()
WEIGHT = torch.linspace(0.5, 2, 10)
MASKS = (IMAGES[:, 0] * 2.99).long()
HOLED = torch.where(IMAGES[:, 1] > 0.9, 255, MASKS)
TAGS = torch.stack([CLASSES % 2 == 0, CLASSES > 4, CLASSES % 3 == 0], 1)
MASK_WEIGHT = torch.tensor([0.2, 1.0, 3.0])


class Reference(Callback):
    """Repeats each training step by hand: formulas for the mix, `expected` for the loss, autograd for the gradients."""

    order = -50

    def __init__(self, expected):
        self.expected, self.steps = expected, 0

    def before_batch(self):
        self.inputs = [x.as_subclass(torch.Tensor).clone() for x in self.learn.xb]
        self.targets = [y.as_subclass(torch.Tensor).clone() for y in self.learn.yb]
        self.model_before = copy.deepcopy(self.learn.model)

    def after_backward(self):
        mixing = next(cb for cb in self.learn.cbs if isinstance(cb, (RustMixUp, RustCutMix, EitherMix)))
        plan = mixing.plan
        partner, lam = torch.from_numpy(plan.partner), torch.from_numpy(plan.lam).float()

        def mix(value):
            if plan.boxes is None or value.shape[-2:] != plan.spatial_shape:
                share = lam.view(-1, *[1] * (value.ndim - 1))
                return share * value.float() + (1 - share) * value[partner].float()
            cut = value.clone()
            for i, (y0, x0, y1, x1) in enumerate(plan.boxes.tolist()):
                cut[i, ..., y0:y1, x0:x1] = value[partner[i], ..., y0:y1, x0:x1]
            return cut

        pred = self.model_before(*[mix(x) if x.is_floating_point() else x for x in self.inputs])
        loss = self.expected(pred, self.targets, partner, lam, mix)
        torch.testing.assert_close(self.learn.loss.as_subclass(torch.Tensor), loss.detach(), rtol=1e-4, atol=1e-6)
        loss.backward()
        for ours, theirs in zip(self.learn.model.parameters(), self.model_before.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)
        self.steps += 1


def pair(per_sample, weight_of=None):
    """The weighted pair of a loss per sample or pixel; reduced over `weight_of` the targets, if that is given."""

    def expected(pred, targets, partner, lam, mix):
        own, other = [*targets], [y[partner] for y in targets]
        losses = per_sample(pred, *own), per_sample(pred, *other)
        share = lam.view(-1, *[1] * (losses[0].ndim - 1))
        total = share * losses[0] + (1 - share) * losses[1]
        if weight_of is None:
            return total.mean()
        return total.sum() / (share * weight_of(*own) + (1 - share) * weight_of(*other)).sum()

    return expected


def blended(loss):
    return lambda pred, targets, partner, lam, mix: loss(pred, *[mix(y) for y in targets])


def convolution(classes=3):
    return nn.Conv2d(3, classes, 3, padding=1)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = tiny_model(12)

    def forward(self, x):
        out = self.model(x)
        return out[:, :10], out[:, 10:]


def of_both(pred, y, point):
    return F.cross_entropy(pred[0], y) + F.mse_loss(pred[1], point)


def expected_of_both(pred, targets, partner, lam, mix):
    """One lam for the batch: the loss of the own class and point, and that of the partner's."""
    assert (lam == lam[0]).all()
    return lam[0] * of_both(pred, *targets) + (1 - lam[0]) * of_both(pred, *[y[partner] for y in targets])


def with_points():
    dls = loaders()
    for dl, part in zip(dls, (range(160), range(160, 192)), strict=True):
        dl.dataset = [(IMAGES[i], CLASSES[i], IMAGES[i].mean((1, 2))[:2]) for i in part]
    return dls


def dice_of(pred, y):
    return DiceLoss(axis=1, reduction="none")(pred, y)


class Combined:
    """Of fastai's documentation: two losses in a class of one's own, without a reduction to speak of."""

    def __init__(self):
        self.focal, self.dice = FocalLossFlat(axis=1), DiceLoss(axis=1, reduction="mean")

    def __call__(self, pred, y):
        return self.focal(pred, y) + self.dice(pred, y)


def combined_of(pred, y):
    focal = FocalLossFlat(axis=1, reduction="none")(pred, y).view(len(y), -1).mean(1)
    return focal + dice_of(pred, y).mean(1)


def of(targets, images=None):
    return partial(loaders, images=images, targets=targets, typed=False)


weighted_masks = nn.CrossEntropyLoss(weight=MASK_WEIGHT, ignore_index=255)
TASKS = {
    "classes": (loaders, tiny_model, CrossEntropyLossFlat(), pair(partial(F.cross_entropy, reduction="none"))),
    "weights and smoothing": (
        of(CLASSES),
        tiny_model,
        nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1),
        pair(partial(F.cross_entropy, weight=WEIGHT, label_smoothing=0.1, reduction="none"), lambda y: WEIGHT[y]),
    ),
    "masks with holes, weights": (
        of(HOLED),
        convolution,
        weighted_masks,
        pair(
            partial(F.cross_entropy, weight=MASK_WEIGHT, ignore_index=255, reduction="none"),
            lambda y: MASK_WEIGHT[y % 255] * (y != 255),
        ),
    ),
    "masks, flat": (
        of(MASKS),
        convolution,
        CrossEntropyLossFlat(axis=1),
        pair(partial(F.cross_entropy, reduction="none")),
    ),
    "masks, dice": (of(MASKS), convolution, DiceLoss(axis=1, reduction="mean"), pair(dice_of)),
    "masks, focal and dice": (of(MASKS), convolution, Combined(), pair(combined_of)),
    "log-probabilities": (
        of(CLASSES),
        lambda: nn.Sequential(tiny_model(), nn.LogSoftmax(1)),
        nn.NLLLoss(),
        pair(partial(F.nll_loss, reduction="none")),
    ),
    "margins": (of(CLASSES), tiny_model, nn.MultiMarginLoss(), pair(partial(F.multi_margin_loss, reduction="none"))),
    "tags, boolean": (
        of(TAGS),
        partial(tiny_model, 3),
        # As everybody's, for the booleans of validation.
        lambda pred, y: F.binary_cross_entropy_with_logits(pred, y.float(), pos_weight=MASK_WEIGHT),
        blended(partial(F.binary_cross_entropy_with_logits, pos_weight=MASK_WEIGHT)),
    ),
    "tags, float": (
        of(TAGS.float()),
        partial(tiny_model, 3),
        BCEWithLogitsLossFlat(),
        blended(F.binary_cross_entropy_with_logits),
    ),
    "numbers": (
        of(CLASSES.float()),
        lambda: nn.Sequential(tiny_model(1), nn.Flatten(0)),
        MSELossFlat(),
        blended(F.mse_loss),
    ),
    "images": (of(IMAGES.flip(3)), convolution, L1LossFlat(), blended(F.l1_loss)),
    "class and point": (with_points, TwoHeads, of_both, expected_of_both),
}


@pytest.mark.parametrize(("dls", "model", "loss_func", "expected"), TASKS.values(), ids=TASKS)
def test_a_mixup_step(dls, model, loss_func, expected):
    learn = learner([RustMixUp(rng=1, alpha=1.0), Reference(expected)], dls, model, loss_func)
    fit(learn, 1)
    assert learn.reference.steps == 5


def cut_pair(per_sample):
    """Masks are cut with the images: an everyday loss, of the cut target."""
    return lambda pred, targets, partner, lam, mix: per_sample(pred, *[mix(y) for y in targets])


CUT_TASKS = {
    **{name: TASKS[name] for name in ("classes", "weights and smoothing", "tags, boolean", "numbers", "images")},
    "masks with holes, weights": (*TASKS["masks with holes, weights"][:3], cut_pair(weighted_masks)),
    "masks, flat": (*TASKS["masks, flat"][:3], cut_pair(F.cross_entropy)),
    "masks, dice": (*TASKS["masks, dice"][:3], cut_pair(DiceLoss(axis=1, reduction="mean"))),
}


@pytest.mark.parametrize("mode", ["batch", "elem"])
@pytest.mark.parametrize(("dls", "model", "loss_func", "expected"), CUT_TASKS.values(), ids=CUT_TASKS)
def test_a_cutmix_step(dls, model, loss_func, expected, mode):
    learn = learner([RustCutMix(rng=1, mode=mode), Reference(expected)], dls, model, loss_func)
    fit(learn, 1)
    assert learn.reference.steps == 5


def test_a_step_of_either():
    learn = learner([EitherMix(rng=1), Reference(TASKS["classes"][3])])
    fit(learn, 2)
    assert learn.reference.steps == 10


def test_a_step_of_channels_last():
    images = IMAGES.to(memory_format=torch.channels_last)
    learn = learner([RustMixUp(rng=1), Reference(TASKS["classes"][3])], of(CLASSES, images))
    fit(learn, 1)
    assert learn.reference.steps == 5
