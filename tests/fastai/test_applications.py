"""fastai's applications, each trained, and the loss of one batch of each computed by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    BCEWithLogitsLossFlat,
    Callback,
    CrossEntropyLossFlat,
    DataBlock,
    F,
    ImageBlock,
    IndexSplitter,
    MaskBlock,
    MSELossFlat,
    MultiCategoryBlock,
    PILImage,
    PILMask,
    RegressionBlock,
    nn,
    resnet18,
    set_seed,
    unet_learner,
)
from learners import BatchLosses, digits, fit, learner, loaders, pair, tiny_model, trained

from mixup_rs import CutMix, Mixup
from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMixUp

IMAGES, CLASSES = digits()


def image_of(i):
    return PILImage.create((IMAGES[i].permute(1, 2, 0) * 255).byte().numpy())


def block(target, get_y, splits=(32, 48)):
    made = DataBlock(blocks=(ImageBlock, target), get_x=image_of, get_y=get_y, splitter=IndexSplitter(range(*splits)))
    return made.dataloaders(list(range(splits[1])), bs=16, num_workers=0, device="cpu")


@pytest.mark.parametrize("make", [RustMixUp, RustCutMix], ids=["RustMixUp", "RustCutMix"])
def test_unet_learner_with_masks(make):
    def mask_of(i):
        return PILMask.create((IMAGES[i, 0] > 0.5).byte().numpy())

    set_seed(1, reproducible=True)
    mixing = make(rng=2)
    dls = block(MaskBlock(codes=["paper", "ink"]), mask_of, (32, 36))
    learn = unet_learner(dls, resnet18, pretrained=False, n_out=2, cbs=[BatchLosses(), mixing])
    assert isinstance(learn.loss_func, CrossEntropyLossFlat)
    for pred, (own,), (partner,), lam, loss in trained(learn, mixing, lr=1e-3):
        if make is RustMixUp:
            assert loss == pytest.approx(pair(pred, own, partner, lam), rel=1e-4)
        else:  # the mask is cut with the image: one target
            assert loss == pytest.approx(F.cross_entropy(pred, own.long()).item(), rel=1e-4)


def test_unet_masks_are_cut_where_the_images_are():
    """With a convolution, to the pixel."""
    masks = (IMAGES[:, 0] > 0.5).long()
    mixing = RustCutMix(rng=2)
    model = lambda: nn.Conv2d(3, 2, 3, padding=1)  # noqa: E731
    dls = lambda: loaders(n=64, targets=masks, typed=False)  # noqa: E731
    learn = learner(mixing, dls, model, CrossEntropyLossFlat(axis=1))
    seen = []

    class Look(Callback):
        order = 80

        def after_pred(self):
            if self.training:
                seen.append((self.x.clone(), self.learn.yb[0].clone()))

    learn.add_cb(Look())
    fit(learn, 2)
    assert len(seen) == 4
    for x, mask in seen:
        assert torch.equal((x[:, 0] > 0.5).long(), mask)


def test_multi_label():
    """Each label's own cross-entropy, against the blended labels."""
    names = ["even", "large", "third"]

    def labels_of(i):
        y = int(CLASSES[i])
        return [name for name, is_so in zip(names, (y % 2 == 0, y > 4, y % 3 == 0), strict=True) if is_so]

    mixing = RustMixUp(rng=2)
    dls = lambda: block(MultiCategoryBlock(vocab=names), labels_of)  # noqa: E731
    learn = learner(mixing, dls, partial(tiny_model, 3), BCEWithLogitsLossFlat())
    for pred, (target,), (partner,), lam, loss in trained(learn, mixing):
        p, y = pred.sigmoid(), target.double()
        expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        assert ((target > 0) & (target < 1)).any()
        # Where own and partner agree, so does the blend.
        assert torch.equal(partner, partner.round())
        assert ((target - (1 - lam[:, None]) * partner) / lam[:, None]).round().sub(
            (target - (1 - lam[:, None]) * partner) / lam[:, None]
        ).abs().max() < 1e-5


def test_regression():
    mixing = RustMixUp(rng=2)
    dls = lambda: block(RegressionBlock(), lambda i: float(CLASSES[i]))  # noqa: E731
    learn = learner(mixing, dls, partial(tiny_model, 1), MSELossFlat())
    for pred, (target,), (partner,), lam, loss in trained(learn, mixing, lr=1e-3):
        assert loss == pytest.approx((pred.flatten() - target.double()).square().mean().item(), rel=1e-4)
        own = (target.double() - (1 - lam) * partner) / lam
        torch.testing.assert_close(own, own.round(), atol=1e-4, rtol=0)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = tiny_model(8), nn.Linear(16, 2)

    def forward(self, a, b):
        return self.head(torch.cat([self.encoder(a), self.encoder(b)], 1))


@pytest.mark.parametrize("make", [RustMixUp, RustCutMix], ids=["RustMixUp", "RustCutMix"])
def test_siamese(make):
    """Both images of a pair are mixed by one plan with both of the partner."""
    mixing, seen = make(rng=2), []

    def pairs():
        dls = loaders(n=64)
        for dl, part in zip(dls, (range(64), range(64, 96)), strict=True):
            dl.dataset = [(IMAGES[i], IMAGES[-1 - i], (CLASSES[i] == CLASSES[-1 - i]).long()) for i in part]
        dls.n_inp = 2
        return dls

    class Look(Callback):
        order = -10

        def before_batch(self):
            if self.training:
                seen.append([torch.Tensor(x).clone() for x in self.learn.xb])

        def after_pred(self):
            if self.training:
                for own, mixed in zip(seen[-1], self.learn.xb, strict=True):
                    expected = mixing.plan.apply(own.numpy())
                    np.testing.assert_allclose(torch.Tensor(mixed).numpy(), expected, atol=1e-6)

    learn = learner([mixing, Look()], pairs, Siamese)
    for pred, (own,), (partner,), lam, loss in trained(learn, mixing):
        assert loss == pytest.approx(pair(pred, own, partner, lam), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"prob": 0.5, "mode": "batch"}, lambda lams: 2 <= sum(lam[0] == 1 for lam in lams) <= 10),
        ({"prob": 0.5}, lambda lams: all(4 <= (lam == 1).sum() <= 28 for lam in lams)),
        ({"mode": "batch"}, lambda lams: all((lam == lam[0]).all() for lam in lams)),
        ({"mode": "elem"}, lambda lams: all(len(set(lam)) > 24 for lam in lams)),
        ({"fold": False}, lambda lams: min(lam.min() for lam in lams) < 0.2),
        ({"fold": True}, lambda lams: min(lam.min() for lam in lams) >= 0.5),
        ({"off_epoch": 2}, lambda lams: [lam.min() < 1 for lam in lams] == [True] * 8 + [False] * 4),
        ({"off_epoch": 0}, lambda lams: all((lam == 1).all() for lam in lams)),
        ({"alpha": 0}, lambda lams: all((lam == 1).all() for lam in lams)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_options_of_mixup(options, check):
    mixing, lams = RustMixUp(rng=2, **options), []

    class Look(Callback):
        def after_pred(self):
            if self.training:
                lams.append(mixing.plan.lam.copy() if mixing.plan is not None else np.ones(32))

    fit(learner([mixing, Look()], lambda: loaders(n=128)), 3)
    assert len(lams) == 12
    assert check(lams)


def test_the_default_alphas_are_those_of_the_rules():
    assert RustMixUp().rule == Mixup()
    assert RustCutMix().rule == CutMix()
    assert RustManifoldMixUp().rule == Mixup()
    assert (RustMixUp().rule.alpha, RustCutMix().rule.alpha) == (0.4, 1.0)
