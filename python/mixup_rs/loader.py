"""Mixing in the DataLoader: a collate function that blends while it stacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate, get_worker_info

from mixup_rs._core import MixPlan, collate
from mixup_rs.torch import as_numpy, from_numpy, is_mixable

__all__ = ["MixCollate"]


class _Settings(NamedTuple):
    """What may change while training, as it lies in shared memory: float64 one after the other."""

    enabled: float
    alpha: float
    cutmix_alpha: float
    prob: float
    switch_prob: float
    epoch: float
    off_epoch: float


_MAX_WORKERS = 1024
_NEVER = float("inf")


class MixCollate:
    """A `collate_fn` for torch's and fastai's DataLoader that stacks and mixes samples in one pass.

    alpha: lam ~ Beta(alpha, alpha) of mixup; 0 for no mixup.
    cutmix_alpha: the same for CutMix; 0 for no CutMix. With both, `switch_prob` is how often CutMix is taken.
    mode: "elem", a lam (or box) per sample; "pair", i and its partner share one; "batch", one for all.
    prob: how often a batch is mixed at all.
    fold: lam := max(lam, 1 - lam), for mixup.
    num_classes: class indices become float32 soft targets of shape (n, num_classes). Without, they become
        (y, y_partner, lam), the paper's; `mixup_rs.losses.mixed_loss` and `RustMixUp` know what to do with them.
        fastai's callbacks of this package never mix a batch of a loader with a MixCollate, whatever its targets.
    label_smoothing: in [0, 1], for soft targets.
    normalize: (mean, std), numbers or one per channel: images of uint8 (or float32) become normalised floats in the
        same pass; a uint8 of 255 counts as 1.
    dtype: of normalised images: torch.float32, torch.float16 or torch.bfloat16.
    rng: None draws from torch's seed, an int (or ints) from (rng, epoch, rank, worker, step).
    keys: which entries of a sample (indices of a tuple, names of a dict) are mixed; None for all that can be. The
        rest goes through torch's `default_collate`.
    off_epoch: the first epoch that is not mixed any more, or a function of the epoch that says whether to mix.
    return_plan: the batch is (batch, {"lam": ..., "partner": ...}).

    Samples are tensors, arrays or numbers in tuples, lists and dicts. Images (CHW or HWC) and other arrays of floats or
    of integers of at most 16 bits are blended; class indices are integers of no dimension. Nothing is written to a
    sample.

    `enabled`, `alpha`, `cutmix_alpha`, `prob`, `switch_prob` and `epoch` may be set while training: they lie in shared
    memory, and reach workers that live on. Set `epoch` before each epoch (or `set_epoch`, as a DistributedSampler's):
    otherwise batches are counted on from one to the next.

    In a worker all is done by one thread, unless MIXUP_RS_NUM_THREADS says otherwise.

    Mixing commutes with normalising, but not with geometric augmentation of whole batches: do that before, sample by
    sample, or mix in the training loop.

    >>> samples = [(torch.full((3, 2, 2), 100 * i, dtype=torch.uint8), i) for i in range(3)]
    >>> images, targets = MixCollate(alpha=0.4, num_classes=3, rng=42)(samples)
    >>> images.shape, images.dtype, targets.sum(1)
    (torch.Size([3, 3, 2, 2]), torch.uint8, tensor([1., 1., 1.]))
    """

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
        # All of it is the host's, whatever torch's default device.
        self._shared = torch.zeros(len(_Settings._fields), dtype=torch.float64, device="cpu").share_memory_()
        self._steps, self._epochs = (
            torch.zeros(_MAX_WORKERS + 1, dtype=torch.int64, device="cpu").share_memory_() for _ in range(2)
        )
        self.alpha, self.cutmix_alpha = alpha, cutmix_alpha
        self.prob, self.switch_prob = prob, switch_prob
        self.mode, self.fold = mode, fold
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.normalize, self.dtype = normalize, dtype
        self.rng, self.keys, self.return_plan = rng, keys, return_plan
        self._schedule = off_epoch if callable(off_epoch) else None
        self._set("off_epoch", _NEVER if off_epoch is None or callable(off_epoch) else off_epoch)
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
                raise ValueError("dtype is that of normalised images, and needs normalize=(mean, std)")
            return
        if self.dtype not in (None, torch.float32, torch.float16, torch.bfloat16):
            raise TypeError(f"dtype must be torch.float32, torch.float16 or torch.bfloat16, got {self.dtype}")
        mean, std = (np.asarray(terms, dtype=np.float64).ravel() for terms in self.normalize)
        collate([np.zeros((len(mean), 1, 1), dtype=np.uint8)], plan, normalize=(mean, std))
        self.normalize = (mean, std)

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch of a list of samples."""
        if not samples:
            raise ValueError("expected at least one sample, got none")
        plan = self._draw(samples)
        batch = self._stack(samples, plan, top=True)
        if not self.return_plan:
            return batch
        return batch, {"lam": torch.from_numpy(plan.lam), "partner": torch.from_numpy(plan.partner)}

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch comes next, to the workers too."""
        self.epoch = epoch

    def mixes(self) -> bool:
        """Whether batches are mixed in this epoch."""
        return self._mixes(self._now())

    def _mixes(self, now: _Settings) -> bool:
        wanted = self._schedule is None or self._schedule(int(now.epoch))
        return bool(wanted and now.enabled and now.epoch < now.off_epoch)

    def _draw(self, samples: Sequence[Any]) -> MixPlan:
        """What becomes of this batch; a plan that keeps every sample where it is not to be mixed."""
        return self._drawn(samples) or MixPlan(np.ones(len(samples)), np.arange(len(samples)))

    def _drawn(self, samples: Sequence[Any]) -> MixPlan | None:
        n, now = len(samples), self._now()
        key = self._key(int(now.epoch))
        if not self._mixes(now):
            return None
        # Two uniform numbers of a key of their own.
        whether, which = MixPlan.mixup(2, alpha=1.0, fold=False, rng=(*key, 1)).lam.tolist()
        if whether >= now.prob or not (now.alpha or now.cutmix_alpha):
            return None
        key = (*key, 0)
        if not now.cutmix_alpha or (now.alpha and which >= now.switch_prob):
            return MixPlan.mixup(n, alpha=now.alpha, mode=self.mode, fold=self.fold, rng=key)
        height, width = self._size(samples[0])
        return MixPlan.cutmix(n, height, width, alpha=now.cutmix_alpha, mode=self.mode, rng=key)

    def _key(self, epoch: int) -> tuple[int, ...]:
        worker = get_worker_info()
        slot = 0 if worker is None else worker.id + 1
        if slot > _MAX_WORKERS:
            raise ValueError(f"expected at most {_MAX_WORKERS} workers, got number {slot - 1}")
        # Through NumPy: an element of a tensor takes ten times as long to read.
        epochs, steps = self._epochs.numpy(), self._steps.numpy()
        if epochs[slot] != epoch:
            epochs[slot], steps[slot] = epoch, 0
        step = int(steps[slot])
        steps[slot] += 1
        place = (epoch, self._rank, slot, step)
        if self.rng is None:
            # Each worker has a seed of torch's, new in each epoch.
            return (torch.empty((), dtype=torch.int64, device="cpu").random_().item(), *place)
        return (*((self.rng,) if np.ndim(self.rng) == 0 else self.rng), *place)

    def _stack(self, values: Sequence[Any], plan: MixPlan, top: bool = False) -> Any:
        """Stacks what is at one place in every sample."""
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
        if isinstance(first, int | np.integer) or (_is_array(first) and first.ndim == 0 and not _is_float(first)):
            return self._classes(np.array([int(value) for value in values], dtype=np.int64), plan)
        if isinstance(first, float | np.floating) or (_is_array(first) and first.ndim == 0):
            scalars = torch.tensor([float(value) for value in values], dtype=_float_dtype(first), device="cpu")
            return torch.from_numpy(_blend(plan).apply(scalars.numpy()))
        if not _is_array(first):
            return default_collate(list(values))
        if _is_bool(first):
            return torch.from_numpy(_blend(plan).apply(np.stack([np.asarray(v, dtype=np.float32) for v in values])))
        if not is_mixable(torch.from_numpy(first) if isinstance(first, np.ndarray) else first):
            return default_collate(list(values))
        return self._array(values, plan)

    def _array(self, values: Sequence[Any], plan: MixPlan) -> torch.Tensor:
        """Samples blended straight into a new tensor; in a worker it lies in shared memory, as default_collate's."""
        arrays = _as_arrays(values)
        first = values[0]
        is_image = arrays[0].ndim == 3
        dtype = first.dtype if isinstance(first, torch.Tensor) else torch.from_numpy(first[:0]).dtype
        normalize = self.normalize if is_image and dtype in (torch.uint8, torch.float32) else None
        if normalize is not None:
            dtype = self.dtype or torch.float32
        spatial_axes = _spatial_axes(arrays[0].shape, plan)
        if plan.boxes is not None and spatial_axes is None:
            plan = _blend(plan)
        spatial_axes = spatial_axes or (-2, -1)
        if get_worker_info() is None and (normalize is None or dtype == torch.float32):
            # In recycled memory: the pages of a new tensor would take longer than mixing.
            return from_numpy(collate(arrays, plan, normalize=normalize, spatial_axes=spatial_axes), dtype)
        out = _new((len(values), *arrays[0].shape), dtype)
        view = as_numpy(out)
        if view is None:
            raise TypeError("dtype=torch.bfloat16 needs the package ml_dtypes")
        collate(arrays, plan, out=view, normalize=normalize, spatial_axes=spatial_axes)
        return out

    def _classes(self, classes: np.ndarray, plan: MixPlan) -> Any:
        if self.num_classes is not None:
            return torch.from_numpy(plan.apply_labels(classes, self.num_classes, self.label_smoothing)[0])
        y, partner = plan.apply_labels(classes)
        return torch.from_numpy(y), torch.from_numpy(partner), torch.from_numpy(plan.lam).float()

    def _size(self, sample: Any) -> tuple[int, int]:
        """The height and width of the image in a sample."""
        entries = sample.items() if isinstance(sample, Mapping) else enumerate(sample)
        for key, entry in entries:
            if _is_array(entry) and entry.ndim >= 2 and (self.keys is None or key in self.keys):
                shape = tuple(entry.shape)
                return shape[:2] if _is_hwc(shape) else shape[-2:]
        raise TypeError("CutMix needs an image of shape (C, H, W), (H, W, C) or (H, W) in each sample")

    def _now(self) -> _Settings:
        return _Settings(*self._shared.numpy().tolist())

    def _set(self, name: str, value: float) -> None:
        self._shared[_Settings._fields.index(name)] = value

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in ("_shared", "_steps", "_epochs"):
            # A plain pickle, as of a saved learner, holds values and no memory that others share.
            if not state[name].is_shared():
                self.__dict__[name] = state[name].share_memory_()

    def __repr__(self) -> str:
        now = self._now()
        settings = ", ".join(
            f"{name}={getattr(now, name):g}" for name in ("alpha", "cutmix_alpha", "prob", "switch_prob")
        )
        return f"MixCollate({settings}, mode={self.mode!r}, num_classes={self.num_classes})"


def _setting(name: str, valid: Callable[[float], bool], expected: str) -> property:
    def read(self: MixCollate) -> float:
        return getattr(self._now(), name)

    def write(self: MixCollate, value: float) -> None:
        if not valid(value):
            raise ValueError(f"{name} must be {expected}, got {value}")
        self._set(name, value)

    return property(read, write)


for _name, _valid, _expected in (
    ("enabled", lambda value: value in (0, 1), "True or False"),
    ("alpha", lambda value: 0 <= value < _NEVER, "a finite number >= 0"),
    ("cutmix_alpha", lambda value: 0 <= value < _NEVER, "a finite number >= 0"),
    ("prob", lambda value: 0 <= value <= 1, "in [0, 1]"),
    ("switch_prob", lambda value: 0 <= value <= 1, "in [0, 1]"),
    ("epoch", lambda value: value >= 0 and int(value) == value, "a whole number >= 0"),
):
    setattr(MixCollate, _name, _setting(_name, _valid, _expected))


def _as_arrays(values: Sequence[Any]) -> list[np.ndarray]:
    if {*map(type, values)} == {torch.Tensor}:
        try:
            # Without a look at each: with 64 tiny samples that took 50 us of 142.
            return list(map(torch.Tensor.numpy, values))
        except (RuntimeError, TypeError):  # one that needs a gradient, is bfloat16, or lies elsewhere
            pass
    return [_as_array(value) for value in values]


def _as_array(value: Any) -> np.ndarray:
    array = as_numpy(value.detach()) if isinstance(value, torch.Tensor) else value
    if array is None:
        raise TypeError("expected samples in the memory of the CPU; bfloat16 needs the package ml_dtypes")
    return array


def _new(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if get_worker_info() is not None:
        size = int(np.prod(shape)) * dtype.itemsize
        storage = torch.UntypedStorage._new_shared(max(size, 1), device="cpu")
        return torch.empty(0, dtype=dtype, device="cpu").set_(storage, 0, shape)
    return torch.empty(shape, dtype=dtype, device="cpu")


def _rank() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return int(os.environ.get("RANK", 0))


def _blend(plan: MixPlan) -> MixPlan:
    """The plan by which what has no height and width is blended."""
    return plan if plan.boxes is None else MixPlan(plan.lam, plan.partner)


def _spatial_axes(shape: tuple[int, ...], plan: MixPlan) -> tuple[int, int] | None:
    if plan.boxes is None or len(shape) < 2:
        return None
    if shape[-2:] == plan.spatial_shape:
        return (-2, -1)
    return (1, 2) if shape[:2] == plan.spatial_shape else None


def _is_hwc(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def _is_float(value: Any) -> bool:
    return value.is_floating_point() if isinstance(value, torch.Tensor) else value.dtype.kind == "f"


def _is_bool(value: Any) -> bool:
    return value.dtype in (torch.bool, np.dtype(bool))


def _float_dtype(value: Any) -> torch.dtype:
    if isinstance(value, torch.Tensor):
        return value.dtype
    return torch.float64 if isinstance(value, float | np.float64) else torch.float32
