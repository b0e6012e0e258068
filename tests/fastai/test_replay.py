"""With rng="torch" the batches and the losses are those of fastai's callbacks, to the bit, over whole fits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastai.callback.mixup import CutMix, MixUp
from fastai.vision.all import (
    BCEWithLogitsLossFlat,
    Callback,
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    LabelSmoothingCrossEntropy,
    MSELossFlat,
    Normalize,
    PILImage,
    aug_transforms,
    imagenet_stats,
    nn,
    resnet18,
    set_seed,
    vision_learner,
)
from learners import BatchLosses, digits, fit, learner, loaders, tiny_model

from mixup_rs.fastai import RustCutMix, RustMix, RustMixUp, replay

IMAGES, CLASSES = digits()
PAIRS = {"MixUp": (RustMixUp, MixUp), "CutMix": (RustCutMix, CutMix)}


class Batches(Callback):
    """What the model and the loss of every training batch are given, and the loss."""

    order = 90

    def before_fit(self):
        self.seen = getattr(self, "seen", [])

    def before_batch(self):
        if self.training:
            tensors = [*self.learn.xb, *self.learn.yb]
            self.types = [type(t).__name__ for t in tensors]
            self.seen.append([torch.Tensor(t).clone() for t in tensors])

    def after_batch(self):
        if self.training:
            self.seen[-1].append(self.learn.loss.detach().clone())


class Typed(Batches):
    """Before fastai takes the types away."""

    order = 5


def run_of(make, callback, train):
    learn = make(callback)
    learn.add_cb(Batches())
    with learn.no_bar(), learn.no_logging():
        train(learn)
    return learn.batches.seen, [p.detach().clone() for p in learn.model.parameters()]


def assert_same(make, pair, train=lambda learn: learn.fit(2, 1e-2), at_least=6):
    ours, theirs = pair
    (seen, weights), (expected, expected_weights) = (run_of(make, cb, train) for cb in (ours(rng="torch"), theirs()))
    assert len(seen) == len(expected) >= at_least
    for number, (batch, other) in enumerate(zip(seen, expected, strict=True)):
        for own, fastais in zip(batch, other, strict=True):
            assert own.dtype == fastais.dtype
            assert torch.equal(torch.Tensor(own), torch.Tensor(fastais)), f"batch {number}"
    for own, fastais in zip(weights, expected_weights, strict=True):
        assert torch.equal(own, fastais)
    return seen


def image_block(size=24, bs=32):
    """Files' path through fastai: items, images, augmented batches, normalised."""

    def image_of(i):
        return PILImage.create((IMAGES[i].permute(1, 2, 0) * 255).byte().numpy())

    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(10)))),
        get_x=image_of,
        get_y=lambda i: int(CLASSES[i]),
        splitter=IndexSplitter(range(96, 112)),
        batch_tfms=[*aug_transforms(size=size), Normalize.from_stats(*imagenet_stats, cuda=False)],
    )
    return block.dataloaders(list(range(112)), bs=bs, num_workers=0, device="cpu")


def convnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_convolutional_network_with_batch_transforms(pair):
    make = lambda callback: learner(callback, lambda: image_block(), convnet)  # noqa: E731
    seen = assert_same(make, pair, lambda learn: learn.fit_one_cycle(3, 1e-2), 9)
    images = {batch[0].numpy().tobytes() for batch in seen}
    assert len(images) == 9


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_resnet18_with_augmentation(pair):
    def make(callback):
        set_seed(3, reproducible=True)
        dls = image_block(size=32, bs=16)
        learn = vision_learner(dls, resnet18, pretrained=False, loss_func=CrossEntropyLossFlat(), cbs=[BatchLosses()])
        learn.add_cb(callback)
        return learn

    assert_same(make, pair, lambda learn: learn.fit(1, 1e-3), 6)


ONE_HOT = nn.functional.one_hot(CLASSES, 10).float()
TASKS = {
    "label smoothing": (loaders, tiny_model, LabelSmoothingCrossEntropy()),
    "weights": (loaders, tiny_model, CrossEntropyLossFlat(weight=torch.arange(1.0, 11))),
    "sum": (loaders, tiny_model, CrossEntropyLossFlat(reduction="sum")),
    "BCE, multi-hot": (lambda: loaders(targets=ONE_HOT), tiny_model, BCEWithLogitsLossFlat()),
    "MSE": (lambda: loaders(targets=CLASSES[:, None].float()), lambda: tiny_model(1), MSELossFlat()),
}


@pytest.mark.parametrize(("dls", "model", "loss_func"), TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_losses_of_every_kind(pair, dls, model, loss_func):
    assert_same(lambda callback: learner(callback, dls, model, loss_func), pair)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_attributes_are_fastais(pair):
    def kept(callback):
        learn = learner(callback, lambda: loaders(n=96))
        fit(learn, 1)
        return callback.lam, callback.yb1, callback.distrib.concentration1

    (lam, yb1, alpha), (their_lam, their_yb1, their_alpha) = (kept(cb) for cb in (pair[0](rng="torch"), pair[1]()))
    # fastai's CutMix has one lam of shape (1,).
    np.testing.assert_array_equal(lam, np.broadcast_to(their_lam, lam.shape))
    assert torch.equal(torch.Tensor(yb1[0]), torch.Tensor(their_yb1[0]))
    assert alpha == their_alpha


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_types_of_a_batch_are_fastais(pair):
    types = []
    for callback in (pair[0](rng="torch"), pair[1]()):
        learn = learner([callback, Typed()], lambda: loaders(n=32))
        fit(learn, 1)
        types.append(learn.typed.types)
    assert types[0] == types[1] == ["TensorImage", "TensorCategory"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: RustMixUp(rng="torch", mode="batch"),
        lambda: RustMixUp(rng="torch", fold=False),
        lambda: RustMixUp(rng="torch", prob=0.5),
        lambda: RustCutMix(rng="torch", mode="elem"),
        lambda: RustCutMix(rng="torch", minmax=(0.2, 0.8)),
        lambda: RustMix(RustMixUp().rule, rng="torch"),
        lambda: RustMixUp(rng="foo"),
        lambda: RustCutMix(rng="numpy"),
    ],
)
def test_what_fastai_has_no_word_for_is_refused_at_once(make):
    with pytest.raises(ValueError, match="rng"):
        make()


@pytest.mark.parametrize("size", [(16, 16), (7, 31), (224, 160), (1, 5)])
def test_many_boxes_and_their_shares(size):
    """One last bit of lam would show in the weights after some steps."""
    theirs = CutMix()
    for seed in range(100):
        torch.manual_seed(seed)
        plan = replay.draw_cut(torch.distributions.Beta(torch.tensor(1.0), torch.tensor(1.0)), 4, *size)
        torch.manual_seed(seed)
        theirs.learn = SimpleNamespace(x=(x := torch.rand(0, 1, *size)), device=x.device)
        share = theirs.distrib.sample((1,))
        partner = torch.randperm(4)
        x0, y0, x1, y1 = theirs.rand_bbox(size[1], size[0], share)
        assert plan.boxes[0].tolist() == [int(y0), int(x0), int(y1), int(x1)]
        assert plan.partner.tolist() == partner.tolist()
        assert replay.share_left(plan) == (1 - ((x1 - x0) * (y1 - y0)) / float(size[0] * size[1])).item()
