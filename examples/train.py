"""Trains a resnet34 on real images, mixed up by Rust.

    python examples/train.py                                # handwritten digits, nothing to download
    python examples/train.py --pets PATH                    # a folder of Oxford-IIIT Pet photographs
    python examples/train.py --pets download --pretrained

The line that matters is `cnn_learner(dls, resnet34, cbs=RustMixUp)`. When it has learned, this prints the accuracy on
the validation set and the time that mixing takes beside what fastai's own MixUp takes, and draws a mixed batch.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import islice
from pathlib import Path
from statistics import median
from urllib.error import URLError

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fastai still uses torch.jit.script
    from fastai.callback.mixup import MixUp
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        DataLoaders,
        ImageBlock,
        Learner,
        Normalize,
        RandomSplitter,
        RegexLabeller,
        Resize,
        Transform,
        URLs,
        accuracy,
        aug_transforms,
        cnn_learner,
        get_image_files,
        imagenet_stats,
        resnet34,
        set_seed,
        untar_data,
        using_attr,
    )

from mixup_rs import RustMixUp
from mixup_rs.plot import plot_mixed_batch, varied_samples

DIGIT_NAMES = "zero one two three four five six seven eight nine".split()


def main() -> None:
    options = parse_options()
    started = time.perf_counter()
    set_seed(42, reproducible=True)
    dls = make_dls(options)
    print(f"{len(dls.train_ds)} images to learn from, {len(dls.valid_ds)} to validate, {dls.c} classes")

    warnings.filterwarnings("ignore", message=".*cnn_learner.*renamed")  # the name that is known best
    learn = make_learner(dls, options)
    train(learn, options)

    loss, share = learn.validate()
    print(f"\nvalidation  accuracy {share:.1%}, loss {loss:.3f}; a guess is right once in {dls.c}")
    if share < 3 / dls.c:
        print("            so it has not learned: from scratch that takes more photographs or epochs; try --pretrained")
    report_mixing_time(learn)
    print(f"picture     {draw_mixed_batch(learn, options.out / 'mixed_batch.png')}")
    print(f"all of it   {time.perf_counter() - started:.0f} s")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train cnn_learner(dls, resnet34, cbs=RustMixUp); on handwritten digits unless told otherwise."
    )
    parser.add_argument("--pets", metavar="PATH", help="pet photographs: a folder of them, or 'download'")
    parser.add_argument("--pretrained", action="store_true", help="start from ImageNet weights, which are downloaded")
    parser.add_argument("--epochs", type=int, help="default: 3 for digits, 4 for pets")
    parser.add_argument("--size", type=int, help="pixels a side (default: 32 for digits, 128 for pets)")
    parser.add_argument("--bs", type=int, default=64, help="batch size (default: 64)")
    parser.add_argument("--lr", type=float, default=3e-3, help="greatest learning rate (default: 0.003)")
    parser.add_argument("--subset", type=int, metavar="N", help="only N of the images")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where files are written (default: ./demo)")
    options = parser.parse_args()
    options.epochs = options.epochs or (4 if options.pets else 3)
    options.size = options.size or (128 if options.pets else 32)
    return options


def make_dls(options: argparse.Namespace) -> DataLoaders:
    """Images labelled by their names: `seven_0012.png`, `Siamese_47.jpg`, `Bengal_3.jpg`."""
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda path: get_images(path, options.subset),
        get_y=using_attr(RegexLabeller(r"^(.+)_\d+\.\w+$"), "name"),
        splitter=RandomSplitter(seed=42),
        item_tfms=Resize(options.size),
        batch_tfms=[*augmentations(pets=bool(options.pets)), Normalize.from_stats(*imagenet_stats)],
    )
    return block.dataloaders(images_folder(options), bs=options.bs, num_workers=options.workers)


def augmentations(pets: bool) -> list[Transform]:
    """fastai's usual ones for photographs; for digits none that would make another digit of one."""
    return aug_transforms() if pets else aug_transforms(do_flip=False, max_zoom=1.0, max_warp=0.1, pad_mode="zeros")


def get_images(path: Path, subset: int | None) -> list[Path]:
    """The images under `path`, in an order that does not depend on the file system; an even share of them if asked."""
    images = sorted(get_image_files(path))
    if not images:
        raise SystemExit(f"no images in {path}")
    if subset and subset < len(images):
        images = [images[i] for i in np.linspace(0, len(images) - 1, subset).astype(int)]
    return images


def images_folder(options: argparse.Namespace) -> Path:
    if options.pets is None:
        return write_digits(options.out / "digits")
    if options.pets != "download":
        return Path(options.pets)
    try:
        return untar_data(URLs.PETS) / "images"
    except (OSError, URLError) as error:
        raise SystemExit(f"the photographs could not be downloaded: {error}") from error


def write_digits(folder: Path) -> Path:
    """scikit-learn's 1797 handwritten digits as images of 32 x 32: `seven_0012.png` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / f"{DIGIT_NAMES[label]}_{i:04d}.png"
        if not path.exists():
            # 8 x 8 pixels of 0 to 16. The margin leaves room to turn a digit without losing its ends.
            pixels = Image.fromarray((image * (255 / 16)).round().astype(np.uint8))
            canvas = Image.new("L", (32, 32))
            canvas.paste(pixels.resize((24, 24), Image.Resampling.BICUBIC), (4, 4))
            canvas.save(path)
    return folder


def make_learner(dls: DataLoaders, options: argparse.Namespace) -> Learner:
    try:
        return cnn_learner(dls, resnet34, pretrained=options.pretrained, metrics=accuracy, cbs=RustMixUp)
    except URLError as error:
        raise SystemExit(
            f"the pretrained weights could not be downloaded: {error}; try without --pretrained"
        ) from error


def train(learn: Learner, options: argparse.Namespace) -> None:
    if options.pretrained:
        learn.fine_tune(options.epochs, base_lr=options.lr)
    else:
        learn.fit_one_cycle(options.epochs, lr_max=options.lr)


def report_mixing_time(learn: Learner, batches: int = 16, rounds: int = 5) -> None:
    """Times both callbacks on the same real batches, turn by turn, so that a busy moment hits both alike."""
    callbacks = {"RustMixUp": RustMixUp(), "fastai's MixUp": MixUp()}
    times: dict[str, list[float]] = {name: [] for name in callbacks}
    real = list(islice(learn.dls.train, batches))
    for _ in range(rounds):
        for batch in real:
            for name, callback in callbacks.items():
                times[name].append(time_mixing(learn, callback, batch))
    ours, theirs = (median(seconds) * 1e3 for seconds in times.values())
    shape = " x ".join(map(str, real[0][0].shape))
    print(f"mixing      {ours:.3f} ms a batch of {shape}; {theirs:.3f} ms by fastai's MixUp")


def time_mixing(learn: Learner, callback: MixUp, batch: tuple[torch.Tensor, ...]) -> float:
    """The seconds of one `before_batch`, called as the training loop calls it."""
    callback.learn, learn.training = learn, True
    learn._split(batch)
    callback.before_train()
    synchronize(batch[0].device)
    start = time.perf_counter()
    callback.before_batch()
    synchronize(batch[0].device)
    seconds = time.perf_counter() - start
    callback.after_train()
    return seconds


def synchronize(device: torch.device) -> None:
    """Waits for what an accelerator was told to do."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def draw_mixed_batch(learn: Learner, path: Path) -> Path:
    x, y = learn.dls.train.one_batch()
    mixup = RustMixUp()
    mixup.learn, learn.training = learn, True
    learn._split((x, y))
    mixup.before_train()
    mixup.before_batch()
    denormalise = learn.dls.train.after_batch.normalize.decode
    plot_mixed_batch(
        denormalise(x),
        denormalise(learn.xb[0]),
        mixup.plan,
        y,
        learn.dls.vocab,
        samples=varied_samples(mixup.plan),
        path=path,
    )
    mixup.after_train()
    return path


if __name__ == "__main__":
    main()
