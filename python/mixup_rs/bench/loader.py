"""The DataLoader: collates alone, and whole epochs of images in memory and of JPEG files.

Some contenders return bytes, mixed or not, which a training loop normalises on an accelerator. The others return
normalised float32, for training on a CPU: of bytes, or of samples that are normalised floats already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mixup_rs import Mixup
from mixup_rs.bench.cases import Batch, LoaderCase
from mixup_rs.bench.contender import (
    MIX_COLLATE,
    NORMALISED,
    TIMM_COLLATE,
    TORCH_RECIPE,
    UNMIXED,
    UNMIXED_FLOATS,
    Contender,
    drop_in,
)
from mixup_rs.bench.peers import about_to_train, need
from mixup_rs.bench.results import size_text

__all__ = ["COLLATES", "EPOCHS", "Feed"]

#: The number of distinct images. Longer epochs repeat them.
_IMAGES = 256
#: Calls of a collate in a row: after the first calls, pages are recycled.
_STEADY = 8
_ALPHA, _CLASSES = Batch.alpha, Batch.classes
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Feed:
    """The samples of a case, in the place of a `Batch`. They are never written to.

    Parameters
    ----------
    case : LoaderCase
        The case.
    quick : bool, default False
        Shorten the epochs.
    images : Path, optional
        A folder of JPEG files. Without it files are generated.
    """

    def __init__(self, case: LoaderCase, quick: bool = False, images: Path | None = None):
        if quick:
            case = replace(case, samples=max(case.samples // 4, 2 * case.shape[0]))
        if case.jpeg:
            self._files = _Files(images, case.shape)
            case = replace(case, files=str(self._files))
        self.case = case

    def refill(self) -> None:
        """Do nothing: samples are not written to."""

    @cached_property
    def data(self) -> Repeated:
        """The data set: (image, class)."""
        images = (
            JpegImages(self._files.paths, self.case.shape[2:]) if self.case.jpeg else _memory_images(self.case.shape)
        )
        return Repeated(images, self.case.samples)

    @cached_property
    def floats(self) -> Repeated:
        """The data set with normalised float32 images: images in memory are so already, files are converted."""
        images = Normalised(self.data.images)
        if not self.case.jpeg:
            images = [images[i] for i in range(len(images))]
        return Repeated(images, self.case.samples)

    def contender(
        self,
        name: str,
        collate: Callable[..., Any],
        kind: str = "peer",
        rival: str = "",
        then: Any = None,
        data: Repeated | None = None,
    ) -> Contender:
        """Make a contender: one batch, or for a case with workers an epoch of a DataLoader.

        Parameters
        ----------
        name, kind, rival : str
            As of `Contender`.
        collate : callable
            The collate function.
        then : callable, optional
            Called with each batch of an epoch in the main process.
        data : Repeated, optional
            The data set, by default `self.data`.
        """
        from torch.utils.data import DataLoader

        n, workers = self.case.shape[0], self.case.workers
        dataset: Any = data or self.data  # a data set by its methods
        if workers is None:
            samples = [(_laid_out(image, self.case.layout), y) for image, y in map(dataset.__getitem__, range(n))]
            return _alone(name, collate, samples, kind, rival)
        # Workers persist, so that an epoch does not include the start of processes.
        loader = DataLoader(dataset, n, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0)

        def run() -> None:
            for batch in loader:
                if then:
                    then(*batch)

        return Contender(name, run, kind, rival)


def _alone(name: str, collate: Callable[..., Any], samples: list[Any], kind: str, rival: str) -> Contender:
    """As in `for batch in loader`, a batch is freed when the next one exists, so that its pages can be recycled."""

    def run() -> None:
        for _ in range(_STEADY):
            batch = collate(samples)  # noqa: F841

    return Contender(name, run, kind, rival, repeats=_STEADY)


def _laid_out(image: Any, layout: str) -> Any:
    return image.permute(1, 2, 0).contiguous().permute(2, 0, 1) if layout == "channels_last" else image


# Classes that workers use are at the top level of the module, so that they can be pickled for spawned workers.


class Repeated:
    """A data set of `samples` samples: images with a class, repeated when they end.

    Parameters
    ----------
    images : sequence of torch.Tensor
        The images.
    samples : int
        The length of the data set.
    """

    def __init__(self, images: Any, samples: int):
        self.images, self._samples = images, samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, i: int) -> tuple[Any, int]:
        if i >= self._samples:
            raise IndexError(i)  # ends an iteration
        return self.images[i % len(self.images)], i % _CLASSES


class Normalised:
    """Images as the usual ToTensor and Normalize make them: contiguous float32 (C, H, W).

    Parameters
    ----------
    images : sequence of torch.Tensor
        The images, uint8 (C, H, W).
    """

    def __init__(self, images: Any):
        import torch

        self._images = images
        self._mean, self._std = (torch.tensor(terms).view(-1, 1, 1) for terms in (_MEAN, _STD))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> Any:
        return self._images[i].contiguous().float().div_(255).sub_(self._mean).div_(self._std)


class JpegImages:
    """Decoded and resized files: CHW views of HWC pixels, the layout of torchvision's and fastai's conversions.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    size : tuple of int
        (height, width).
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, ...]):
        self._paths, self._size = paths, size

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> Any:
        import torch
        from PIL import Image

        with Image.open(self._paths[i]) as image:
            pixels = image.convert("RGB").resize((self._size[1], self._size[0]), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


class _Files:
    """The JPEG files of a folder, or generated files in a temporary folder that is removed with this object."""

    def __init__(self, images: Path | None, shape: tuple[int, ...]):
        if images is not None:
            self.paths = sorted(images.glob("*.jpg"))[:_IMAGES]
            if not self.paths:
                raise ValueError(f"expected a folder of .jpg files, got {images}")
        else:
            self._folder = TemporaryDirectory(prefix="mixup-rs-")
            self.paths = list(_write_jpegs(Path(self._folder.name), shape))

    def __str__(self) -> str:
        mean = sum(path.stat().st_size for path in self.paths) // len(self.paths)
        return f"{len(self.paths)} JPEG files of {size_text(mean)}"


def _write_jpegs(folder: Path, shape: tuple[int, ...]) -> Iterator[Path]:
    """Write smooth noise, an eighth larger than the batch's images: about as many bytes as photographs of that size."""
    from PIL import Image

    height, width = (side * 9 // 8 for side in shape[2:])
    rng = np.random.default_rng(35)
    for i in range(shape[0]):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8))
        path = folder / f"{i}.jpg"
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
        yield path


def _memory_images(shape: tuple[int, ...]) -> Any:
    import torch

    return torch.from_numpy(np.random.default_rng(35).integers(0, 256, (_IMAGES, *shape[1:]), dtype=np.uint8))


def torch_collates(feed: Feed) -> Iterator[Contender]:
    """MixCollate and torch's default_collate."""
    from torch.utils.data import default_collate

    from mixup_rs.torch import MixCollate

    yield feed.contender(UNMIXED, default_collate, "limit", MIX_COLLATE)
    yield feed.contender(MIX_COLLATE, MixCollate(Mixup(_ALPHA), num_classes=_CLASSES), "ours")
    normalised = MixCollate(Mixup(_ALPHA), num_classes=_CLASSES, normalize=(_MEAN, _STD))
    yield feed.contender(UNMIXED_FLOATS, default_collate, "limit", NORMALISED, data=feed.floats)
    yield feed.contender(NORMALISED, normalised, "ours")


def timm_collate(feed: Feed) -> Iterator[Contender]:
    """timm's FastCollateMixup."""
    need("timm.data.mixup")
    from timm.data.mixup import FastCollateMixup

    from mixup_rs import timm as ours

    theirs, collate = (
        of(_ALPHA, mode="elem", label_smoothing=0, num_classes=_CLASSES)
        for of in (FastCollateMixup, ours.FastCollateMixup)
    )
    yield feed.contender(drop_in(TIMM_COLLATE), collate, "ours")
    yield feed.contender(TIMM_COLLATE, theirs, rival=drop_in(TIMM_COLLATE))


def torch_recipes(feed: Feed) -> Iterator[Contender]:
    """torch's operations."""
    need("torch")
    yield feed.contender(TORCH_RECIPE, TorchRecipe(inplace=False), rival=NORMALISED)
    yield feed.contender(f"{TORCH_RECIPE}, in place", TorchRecipe(inplace=True), rival=NORMALISED)


def fastai_on_the_batch(feed: Feed) -> Iterator[Contender]:
    """fastai's MixUp on the batch."""
    need("fastai.callback.mixup")
    from fastai.callback.mixup import MixUp
    from fastai.torch_core import TensorCategory, TensorImage
    from torch.utils.data import default_collate

    callback, normalise = MixUp(_ALPHA), TorchRecipe(inplace=True).normalise
    learn = about_to_train(callback)
    callback.before_train()

    def mix(x: Any, y: Any) -> None:
        learn.xb, learn.yb = (normalise(x).as_subclass(TensorImage),), (y.as_subclass(TensorCategory),)
        callback.before_batch()

    yield feed.contender("stack, fastai MixUp", default_collate, rival=NORMALISED, then=mix)


def torchvision_in_the_collate(feed: Feed) -> Iterator[Contender]:
    """torchvision's v2.MixUp in the collate."""
    need("torchvision.transforms.v2")
    yield feed.contender("stack, torchvision MixUp", TorchvisionRecipe(), rival=NORMALISED)


class TorchRecipe:
    """A collate as users write it: stack, convert to float, normalise and mix.

    Parameters
    ----------
    inplace : bool
        Work in place where torch can.
    """

    def __init__(self, inplace: bool):
        import torch

        self._inplace = inplace
        self._mean, self._std = (torch.tensor(terms).view(1, -1, 1, 1) for terms in (_MEAN, _STD))
        self._beta = torch.distributions.Beta(_ALPHA, _ALPHA)

    def __call__(self, samples: Sequence[Any]) -> tuple[Any, ...]:
        import torch
        from torch.utils.data import default_collate

        x, y = default_collate(list(samples))
        x = self.normalise(x)
        lam, partner = self._beta.sample((len(x),)), torch.randperm(len(x))
        return torch.lerp(x[partner], x, lam.view(-1, 1, 1, 1)), y, y[partner], lam

    def normalise(self, x: Any) -> Any:
        """Convert bytes to normalised float32."""
        if self._inplace:
            return x.float().div_(255).sub_(self._mean).div_(self._std)
        return (x.float() / 255 - self._mean) / self._std


class TorchvisionRecipe:
    """default_collate, then torchvision's classes. Its MixUp does not accept bytes, so normalising comes first."""

    def __init__(self) -> None:
        import torch
        from torchvision.transforms import v2

        self._normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD)])
        self._mix = v2.MixUp(alpha=_ALPHA, num_classes=_CLASSES)

    def __call__(self, samples: Sequence[Any]) -> tuple[Any, ...]:
        from torch.utils.data import default_collate

        x, y = default_collate(list(samples))
        return self._mix(self._normalise(x), y)


COLLATES = [torch_collates, timm_collate, torch_recipes]
EPOCHS = [torch_collates, timm_collate, fastai_on_the_batch, torchvision_in_the_collate]
