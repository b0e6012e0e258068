"""The checks of fastai's own mixup notebook, on photographs.

They are pets of ../shared/pets where that folder is, else squares of the two photographs that come with scikit-learn.
"""

from pathlib import Path

import matplotlib
import pytest
import torch
from fastai.vision.all import (
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    ImageBlock,
    Learner,
    Normalize,
    RegexLabeller,
    Resize,
    TensorBase,
    TensorImage,
    get_image_files,
    imagenet_stats,
    nn,
    set_seed,
    using_attr,
)
from PIL import Image
from sklearn.datasets import load_sample_images

from mixup_rs.fastai import RustMixUp
from mixup_rs.torch import apply

matplotlib.use("Agg")
PETS = Path(__file__).parents[2].parent / "shared" / "pets" / "images"
SIZE, BATCH = 64, 16


def write_squares(folder):
    """Squares of scikit-learn's two photographs, named as the pets are."""
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        for i in range(20):
            top, left = 12 * (i % 5), 60 * (i // 5)
            Image.fromarray(pixels[top : top + 256, left : left + 256]).save(folder / f"{name}_{i}.jpg")
    return folder


@pytest.fixture(params=["pets", "squares"])
def dls(request, tmp_path):
    if request.param == "pets" and not PETS.is_dir():
        pytest.skip("the pets are not here")
    set_seed(0, reproducible=True)
    folder = PETS if request.param == "pets" else write_squares(tmp_path)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda path: sorted(get_image_files(path))[:80],
        get_y=using_attr(RegexLabeller(r"^(.+)_\d+\.jpg$"), "name"),
        splitter=lambda items: (list(range(0, len(items), 2)), list(range(1, len(items), 2))),
        item_tfms=Resize(SIZE),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
    )
    return block.dataloaders(folder, bs=BATCH, num_workers=0, device="cpu")


def linear_model(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(3 * 8 * 8, classes))


def test_the_notebooks_batch(dls):
    """Cell by cell: a learner made for one batch, which is then mixed, shown and compared."""
    mixup = RustMixUp(0.5)
    with Learner(dls, linear_model(dls.c), loss_func=CrossEntropyLossFlat(), cbs=mixup) as learn:
        learn.epoch, learn.training = 0, True
        learn.dl = dls.train
        b = dls.one_batch()
        before = b[0].clone()
        learn._split(b)
        learn("before_train")
        learn("before_batch")
        plan = mixup.plan
    dls.show_batch(b=(mixup.x, mixup.y), max_n=4)
    assert not torch.equal(TensorBase(b[0]), TensorBase(mixup.x))
    assert torch.equal(TensorBase(b[1]), TensorBase(mixup.y))
    # And beyond the notebook: the batch is whole, the mix is the plan's.
    assert torch.equal(TensorBase(b[0]), TensorBase(before))
    assert torch.equal(TensorBase(apply(plan, before)), TensorBase(mixup.x))


def test_the_notebooks_training(dls):
    learn = Learner(dls, linear_model(dls.c), loss_func=CrossEntropyLossFlat(), cbs=RustMixUp(0.5))
    with learn.no_bar(), learn.no_logging():
        learn.fit(3, 1e-3)
    losses = [loss.item() for loss in learn.recorder.losses]
    steps = len(dls.train)
    assert sum(losses[-steps:]) < sum(losses[:steps])
    assert isinstance(learn.loss_func, CrossEntropyLossFlat)


def test_photographs_of_bytes_are_mixed_to_the_nearest(dls):
    """The mix of bytes is that of floats, rounded to the nearest."""
    raw = dls.train.new(after_batch=[])
    x, _ = raw.one_batch()
    assert x.dtype == torch.uint8
    learn = Learner(dls, linear_model(dls.c), loss_func=CrossEntropyLossFlat(), cbs=RustMixUp(rng=4))
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (x,), (torch.zeros(len(x)).long(),)
    learn.mix_up("before_batch")
    exact = apply(learn.mix_up.plan, x.as_subclass(torch.Tensor).double())
    assert (type(learn.x), learn.x.dtype) == (TensorImage, torch.uint8)
    assert (learn.x.as_subclass(torch.Tensor).double() - exact).abs().max() <= 0.5 + 1 / 128
