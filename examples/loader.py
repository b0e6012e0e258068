"""Mixes in the DataLoader, and in a callback where that would be wrong.

    python examples/loader.py

Mixing in the loader costs next to nothing where workers load: samples are blended while they are stacked, in uint8,
before the batch travels. Whether it is right depends on what comes after:

    normalising          commutes with mixing: mix in the loader
    augmenting samples   comes before, in the data set: mix in the loader
    augmenting batches   does not commute: turned after mixing, both images of a pair turn by one angle, and CutMix's
                         boxes turn too. Mix in the callback, which comes after the batch transforms.

This measures that, and trains a small network in three ways on images made up here: bars that lie or stand.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.utils.data import DataLoader

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fastai still uses torch.jit.script
    from fastai.vision.all import (
        Callback,
        CrossEntropyLossFlat,
        DataLoaders,
        IntToFloatTensor,
        Learner,
        Normalize,
        Rotate,
        TensorCategory,
        TensorImage,
        Transform,
        accuracy,
        imagenet_stats,
        set_seed,
    )

from mixup_rs import Mixup
from mixup_rs.fastai import RustMixUp
from mixup_rs.torch import MixCollate, apply

SIDE, EPOCHS, BATCH = 32, 4, 64
MEAN, STD = imagenet_stats
#: The last epoch is not mixed, as is often done.
OFF_EPOCH = EPOCHS - 1


def main() -> None:
    set_seed(42)
    show_what_commutes()
    train, valid = Bars(512, seed=0), Bars(128, seed=1)
    in_a_torch_loop(train, valid)
    in_fastais_loader(train, valid)
    in_fastais_callback(train, valid)


def show_what_commutes() -> None:
    x = torch.rand(BATCH, 3, SIDE, SIDE)
    plan = Mixup(alpha=0.4).plan(BATCH, rng=42)
    mean, std = (torch.tensor(terms).view(3, 1, 1) for terms in (MEAN, STD))
    quarters = torch.randint(4, (BATCH,)).tolist()

    def normalise(x: torch.Tensor) -> torch.Tensor:
        return (x - mean) / std

    def turn(x: torch.Tensor) -> torch.Tensor:
        """Each image of a batch by an angle of its own."""
        return torch.stack([image.rot90(k, (1, 2)) for image, k in zip(x, quarters, strict=True)])

    for name, step in {"normalising": normalise, "turning batches": turn}.items():
        difference = (apply(plan, step(x)) - step(apply(plan, x))).abs().max()
        print(f"{name:24} before or after mixing: pixels differ by up to {difference:.7f}")


def in_a_torch_loop(train: Bars, valid: Bars) -> None:
    """Two workers stack, mix and normalise in one pass, and give soft targets."""
    collate = MixCollate(Mixup(0.4), num_classes=2, normalize=(MEAN, STD), off_epoch=OFF_EPOCH, rng=42)
    loader = DataLoader(train, BATCH, shuffle=True, collate_fn=collate, num_workers=2, persistent_workers=True)
    # Labels stay class indices, the images are only normalised.
    plain = DataLoader(valid, BATCH, collate_fn=MixCollate(Mixup(0), normalize=(MEAN, STD)))
    model = small_network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(EPOCHS):
        collate.set_epoch(epoch)  # reaches workers that live on
        mixed = []
        for images, targets in loader:
            loss = nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            mixed.append((targets.max(1).values < 1).float())
        print(f"torch, epoch {epoch + 1:11} {torch.cat(mixed).mean():4.0%} of the targets are soft")
    model.eval()
    with torch.no_grad():
        right = torch.cat([model(images).argmax(1) == y for images, (y, _, _) in plain])
    report("torch, in the loader", right.float().mean())


def in_fastais_loader(train: Bars, valid: Bars) -> None:
    """Batches of bytes, mixed; fastai normalises. RustMixUp tells the epochs and supplies the loss."""
    dls = make_dls(train, valid, batch_tfms=[])
    dls.train.create_batch = MixCollate(Mixup(0.4), off_epoch=OFF_EPOCH, rng=42)
    fit("fastai, in the loader", dls, [RustMixUp()])


def in_fastais_callback(train: Bars, valid: Bars) -> None:
    """Whole batches are turned, each image by its own angle: only then are they mixed."""
    fit("fastai, in the callback", make_dls(train, valid, batch_tfms=[Rotate(max_deg=30, p=1)]), [RustMixUp()])


def make_dls(train: Bars, valid: Bars, batch_tfms: list[Transform]) -> DataLoaders:
    sets = ([(TensorImage(x), TensorCategory(y)) for x, y in shapes] for shapes in (train, valid))
    after_batch = [IntToFloatTensor, *batch_tfms, Normalize.from_stats(*imagenet_stats, cuda=False)]
    return DataLoaders.from_dsets(*sets, bs=BATCH, after_batch=after_batch, num_workers=0, device="cpu")


def fit(name: str, dls: DataLoaders, callbacks: list[Callback]) -> None:
    learn = Learner(dls, small_network(), loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=callbacks)
    with learn.no_bar(), learn.no_logging():
        learn.fit(EPOCHS, 1e-2)
        report(name, learn.validate()[1])


def report(name: str, share: float) -> None:
    print(f"{name:24} {share:4.0%} of the validation set are right")


def small_network() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, 2))


class Bars:
    """`n` images of uint8 (3, SIDE, SIDE), a bar that lies (0) or stands (1), of any colour at any place."""

    def __init__(self, n: int, seed: int):
        self.seeds = torch.arange(n) + 10_000 * seed

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        random = torch.Generator().manual_seed(int(self.seeds[i]))
        noise = torch.randint(90, (3, SIDE, SIDE), generator=random)
        colour = torch.randint(60, 166, (3, 1, 1), generator=random)
        y0, x0 = torch.randint(9, SIDE - 9, (2,), generator=random)
        dy, dx = (torch.arange(SIDE) - y0).abs()[:, None], (torch.arange(SIDE) - x0).abs()[None]
        bar = (dy <= 8) & (dx <= 3) if i % 2 else (dy <= 3) & (dx <= 8)
        return (noise + colour * bar).to(torch.uint8), i % 2


if __name__ == "__main__":
    main()
