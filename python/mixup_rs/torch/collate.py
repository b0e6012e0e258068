"""Mixing in the DataLoader: a collate function that blends while it stacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate, get_worker_info

from mixup_rs._core import MixPlan, collate
from mixup_rs.torch.apply import as_numpy, from_numpy, is_mixable
from mixup_rs.torch.batch import identity_plan, without_region
from mixup_rs.torch.samples import (
    as_arrays,
    empty_batch,
    float_dtype,
    is_array,
    is_bool,
    is_channels_last,
    is_float,
    spatial_axes,
)
from mixup_rs.torch.shared import NEVER, Setting, Settings, SharedSettings

__all__ = ["MixCollate"]


class MixCollate(SharedSettings):
    """A `collate_fn` for torch's and fastai's DataLoader that stacks and mixes samples in one pass.

    Samples are tensors, arrays or numbers in tuples, lists and dicts. Images (CHW or HWC) and other arrays of floats or
    of integers of at most 16 bits are blended. Integers without axes are class indices. Boolean arrays are
    blended as float32. The samples are not written to.

    Mixing commutes with normalising. It does not commute with geometric augmentation of whole batches: augment sample
    by sample before the collate, or mix in the training loop.

    In a worker the collate runs on one thread, unless the environment variable MIXUP_RS_NUM_THREADS sets another
    number.

    Parameters
    ----------
    alpha : float, default 0.4
        Parameter of mixup's lam ~ Beta(alpha, alpha), >= 0. With 0 there is no mixup.
    cutmix_alpha : float, default 0.0
        The same for CutMix. With 0 there is no CutMix.
    mode : {"elem", "pair", "batch"}, default "elem"
        "elem": a lam (or box) per sample. "pair": sample i and its partner share one. "batch": one for all samples.
    prob : float, default 1.0
        Probability, in [0, 1], that a batch is mixed.
    switch_prob : float, default 0.5
        Probability, in [0, 1], that CutMix is chosen, if `alpha` and `cutmix_alpha` are both above 0.
    fold : bool, default True
        Replace lam of mixup by max(lam, 1 - lam).
    num_classes : int, optional
        Convert class indices to float32 soft targets of shape (n, num_classes). Without it they become the tuple
        (y, y_partner, lam): int64 (n,), int64 (n,) and float32 (n,), which `mixup_rs.torch.mixed_loss` and the fastai
        callbacks take. Those callbacks do not mix the batches of a loader that has a MixCollate, whatever its targets
        are.
    label_smoothing : float, default 0.0
        In [0, 1]; for soft targets.
    normalize : (mean, std), optional
        Numbers, or one per channel. Images of uint8 or float32 become normalised floats in the same pass; 255 of uint8
        counts as 1.
    dtype : torch.dtype, optional
        The dtype of normalised images: torch.float32 (default), torch.float16 or torch.bfloat16.
    rng : int or sequence of int, optional
        The seed: a batch is drawn from the key (rng, epoch, rank, worker, step). None draws a seed for each batch from
        torch's generator.
    keys : sequence of int or str, optional
        The entries of a sample that are mixed: indices of a tuple or names of a dict. None: all that can be mixed. The
        other entries go through torch's `default_collate`.
    off_epoch : int or callable, optional
        The first epoch that is not mixed, or a function from the epoch to whether it is mixed.
    return_plan : bool, default False
        Return (batch, {"lam": ..., "partner": ...}) instead of the batch: float64 (n,) and int64 (n,).

    Attributes
    ----------
    enabled, alpha, cutmix_alpha, prob, switch_prob, epoch : float
        Settings in shared memory. They may be set while training, and reach workers that live on. Set `epoch` (or call
        `set_epoch`, as of a DistributedSampler) before each epoch; otherwise batches are counted on from one epoch to
        the next.

    Raises
    ------
    ValueError
        If an argument is out of its range; if `label_smoothing` is given without `num_classes`, or `dtype` without
        `normalize`. When called: if there are no samples, or their shapes or lengths differ.
    TypeError
        If `dtype` is another one. When called: if samples are not in host memory, or CutMix finds no image.

    References
    ----------
    mixup: https://arxiv.org/abs/1710.09412, CutMix: https://arxiv.org/abs/1905.04899

    Examples
    --------
    >>> samples = [(torch.full((3, 2, 2), 100 * i, dtype=torch.uint8), i) for i in range(3)]
    >>> images, targets = MixCollate(alpha=0.4, num_classes=3, rng=42)(samples)
    >>> images.shape, images.dtype, targets.sum(1)
    (torch.Size([3, 3, 2, 2]), torch.uint8, tensor([1., 1., 1.]))
    """

    enabled = Setting("True or False", lambda value: value in (0, 1))
    alpha = Setting("a finite number >= 0", lambda value: 0 <= value < NEVER)
    cutmix_alpha = Setting("a finite number >= 0", lambda value: 0 <= value < NEVER)
    prob = Setting("in [0, 1]", lambda value: 0 <= value <= 1)
    switch_prob = Setting("in [0, 1]", lambda value: 0 <= value <= 1)
    epoch = Setting("a whole number >= 0", lambda value: value >= 0 and int(value) == value)

    def __init__(
        self,
        alpha: float = 0.4,
        cutmix_alpha: float = 0.0,
        mode: str = "elem",
        prob: float = 1.0,
        switch_prob: float = 0.5,
        fold: bool = True,
        num_classes: int | None = None,
        label_smoothing: float = 0.0,
        normalize: tuple[Any, Any] | None = None,
        dtype: torch.dtype | None = None,
        rng: int | Sequence[int] | None = None,
        keys: Sequence[int | str] | None = None,
        off_epoch: int | Callable[[int], bool] | None = None,
        return_plan: bool = False,
    ):
        super().__init__()
        self.alpha, self.cutmix_alpha = alpha, cutmix_alpha
        self.prob, self.switch_prob = prob, switch_prob
        self.mode, self.fold = mode, fold
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.normalize, self.dtype = normalize, dtype
        self.rng, self.keys, self.return_plan = rng, keys, return_plan
        self._schedule = off_epoch if callable(off_epoch) else None
        self._set("off_epoch", NEVER if off_epoch is None or callable(off_epoch) else off_epoch)
        self.enabled = True
        self._rank = _rank()
        self._check()

    def _check(self) -> None:
        plan = MixPlan.mixup(1, mode=self.mode, rng=0)
        plan.apply_labels(np.zeros(1, dtype=np.int64), self.num_classes or 1, self.label_smoothing)
        if self.label_smoothing and self.num_classes is None:
            raise ValueError("label_smoothing needs num_classes")
        if self.normalize is None:
            if self.dtype is not None:
                raise ValueError("dtype is the dtype of normalised images: it needs normalize=(mean, std)")
            return
        if self.dtype not in (None, torch.float32, torch.float16, torch.bfloat16):
            raise TypeError(f"dtype must be torch.float32, torch.float16 or torch.bfloat16, got {self.dtype}")
        mean, std = (np.asarray(terms, dtype=np.float64).ravel() for terms in self.normalize)
        collate([np.zeros((len(mean), 1, 1), dtype=np.uint8)], plan, normalize=(mean, std))
        self.normalize = (mean, std)

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Stack and mix a list of samples."""
        if not samples:
            raise ValueError("expected at least one sample, got none")
        plan = self._draw(samples)
        batch = self._stack(samples, plan, top=True)
        if not self.return_plan:
            return batch
        return batch, {"lam": torch.from_numpy(plan.lam), "partner": torch.from_numpy(plan.partner)}

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that begins, in workers as well."""
        self.epoch = epoch

    def mixes(self) -> bool:
        """Whether batches are mixed in the current epoch."""
        return self._mixes(self._now())

    def _mixes(self, now: Settings) -> bool:
        wanted = self._schedule is None or self._schedule(int(now.epoch))
        return bool(wanted and now.enabled and now.epoch < now.off_epoch)

    def _draw(self, samples: Sequence[Any]) -> MixPlan:
        """Draw the plan of a batch; the identity if the batch is not to be mixed."""
        return self._drawn(samples) or identity_plan(len(samples))

    def _drawn(self, samples: Sequence[Any]) -> MixPlan | None:
        n, now = len(samples), self._now()
        key = self._key(int(now.epoch))
        if not self._mixes(now):
            return None
        # Two uniform numbers from a key of their own.
        whether, which = MixPlan.mixup(2, alpha=1.0, fold=False, rng=(*key, 1)).lam.tolist()
        if whether >= now.prob or not (now.alpha or now.cutmix_alpha):
            return None
        key = (*key, 0)
        if not now.cutmix_alpha or (now.alpha and which >= now.switch_prob):
            return MixPlan.mixup(n, alpha=now.alpha, mode=self.mode, fold=self.fold, rng=key)
        height, width = self._size(samples[0])
        return MixPlan.cutmix(n, height, width, alpha=now.cutmix_alpha, mode=self.mode, rng=key)

    def _key(self, epoch: int) -> tuple[int, ...]:
        slot, step = self._next_step(epoch)
        place = (epoch, self._rank, slot, step)
        if self.rng is None:
            # torch seeds each worker anew in each epoch.
            return (torch.empty((), dtype=torch.int64, device="cpu").random_().item(), *place)
        return (*((self.rng,) if np.ndim(self.rng) == 0 else self.rng), *place)

    def _stack(self, values: Sequence[Any], plan: MixPlan, top: bool = False) -> Any:
        """Stack the values at one place of every sample."""
        first = values[0]
        if isinstance(first, Mapping):
            return {name: self._entry([value[name] for value in values], plan, name, top) for name in first}
        if isinstance(first, tuple | list) and not isinstance(first, str):
            lengths = {*map(len, values)}
            if len(lengths) > 1:
                raise ValueError(f"samples must have one length, got {sorted(lengths)}")
            entries = [self._entry(entry, plan, i, top) for i, entry in enumerate(zip(*values, strict=True))]
            named = isinstance(first, tuple) and hasattr(first, "_fields")
            return type(first)(*entries) if named else tuple(entries) if isinstance(first, tuple) else entries
        return self._leaf(values, plan)

    def _entry(self, values: Sequence[Any], plan: MixPlan, key: int | str, top: bool) -> Any:
        if top and self.keys is not None and key not in self.keys:
            return default_collate(list(values))
        return self._stack(values, plan)

    def _leaf(self, values: Sequence[Any], plan: MixPlan) -> Any:
        first = values[0]
        if isinstance(first, bool | np.bool_):
            return default_collate(list(values))
        if isinstance(first, int | np.integer) or (is_array(first) and first.ndim == 0 and not is_float(first)):
            return self._classes(np.array([int(value) for value in values], dtype=np.int64), plan)
        if isinstance(first, float | np.floating) or (is_array(first) and first.ndim == 0):
            scalars = torch.tensor([float(value) for value in values], dtype=float_dtype(first), device="cpu")
            return torch.from_numpy(without_region(plan).apply(scalars.numpy()))
        if not is_array(first):
            return default_collate(list(values))
        if is_bool(first):
            return torch.from_numpy(
                without_region(plan).apply(np.stack([np.asarray(v, dtype=np.float32) for v in values]))
            )
        if not is_mixable(torch.from_numpy(first) if isinstance(first, np.ndarray) else first):
            return default_collate(list(values))
        return self._array(values, plan)

    def _array(self, values: Sequence[Any], plan: MixPlan) -> torch.Tensor:
        """Blend samples into a new tensor; in a worker into shared memory, as `default_collate` does."""
        arrays = as_arrays(values)
        first = values[0]
        is_image = arrays[0].ndim == 3
        dtype = first.dtype if isinstance(first, torch.Tensor) else torch.from_numpy(first[:0]).dtype
        normalize = self.normalize if is_image and dtype in (torch.uint8, torch.float32) else None
        if normalize is not None:
            dtype = self.dtype or torch.float32
        axes = spatial_axes(arrays[0].shape, plan)
        if plan.boxes is not None and axes is None:
            plan = without_region(plan)
        axes = axes or (-2, -1)
        if get_worker_info() is None and (normalize is None or dtype == torch.float32):
            # In recycled memory: mapping the pages of a new tensor takes longer than mixing.
            return from_numpy(collate(arrays, plan, normalize=normalize, spatial_axes=axes), dtype)
        out = empty_batch((len(values), *arrays[0].shape), dtype)
        view = as_numpy(out)
        if view is None:
            raise TypeError("dtype=torch.bfloat16 needs the package ml_dtypes")
        collate(arrays, plan, out=view, normalize=normalize, spatial_axes=axes)
        return out

    def _classes(self, classes: np.ndarray, plan: MixPlan) -> Any:
        if self.num_classes is not None:
            return torch.from_numpy(plan.apply_labels(classes, self.num_classes, self.label_smoothing)[0])
        y, partner = plan.apply_labels(classes)
        return torch.from_numpy(y), torch.from_numpy(partner), torch.from_numpy(plan.lam).float()

    def _size(self, sample: Any) -> tuple[int, int]:
        """The height and width of the first image of a sample."""
        entries = sample.items() if isinstance(sample, Mapping) else enumerate(sample)
        for key, entry in entries:
            if is_array(entry) and entry.ndim >= 2 and (self.keys is None or key in self.keys):
                shape = tuple(entry.shape)
                return shape[:2] if is_channels_last(shape) else shape[-2:]
        raise TypeError("CutMix needs an image of shape (C, H, W), (H, W, C) or (H, W) in each sample")

    def __repr__(self) -> str:
        now = self._now()
        settings = ", ".join(
            f"{name}={getattr(now, name):g}" for name in ("alpha", "cutmix_alpha", "prob", "switch_prob")
        )
        return f"MixCollate({settings}, mode={self.mode!r}, num_classes={self.num_classes})"


def _rank() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return int(os.environ.get("RANK", 0))
