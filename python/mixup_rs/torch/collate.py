"""Mixing in the DataLoader: a collate function that blends while it stacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mixup_rs._core import MixPlan, collate
from mixup_rs.batches.heads import Heads
from mixup_rs.batches.roles import Roles
from mixup_rs.rule import Rule, check_rule_of_all, draw_by
from mixup_rs.rules import Mixup
from mixup_rs.torch.shared import NEVER, RuleOption, Setting, Settings, SharedSettings
from mixup_rs.torch.stacking import Stacking

__all__ = ["MixCollate"]


class MixCollate(SharedSettings):
    """A `collate_fn` for torch's and fastai's DataLoader that stacks and mixes samples in one pass.

    Samples are tuples, lists or dicts of tensors, arrays and numbers. Inputs of floats or of integers of at most 16
    bits are blended and cut; wider integers (tokens) are stacked as they are. Targets of floats are blended, class
    indices become soft targets or pairs, masks are cut with the images. A target that is a dict with `boxes` or
    `keypoints` gives a list with a dict for each mixed sample: its own, its partner's, and their `weights`. The samples
    are not written to.

    Mixing commutes with normalising. It does not commute with geometric augmentation of whole batches: augment sample
    by sample before the collate, or mix in the training loop.

    In a worker the collate runs on one thread, unless the environment variable MIXUP_RS_NUM_THREADS sets another
    number.

    Parameters
    ----------
    rule : Rule
        Draws the plan of each batch, so without the labels or maps of one batch. With more than two samples at a time
        (`Mixup` with a `k`) class indices need `num_classes`.
    inputs, targets : int, str or sequence, optional
        The entries of a sample that are inputs, and those that are targets: positions, names, or paths, which are
        tuples of these. By default the first entry of a tuple is the input and the others are targets; of a dict the
        entries with usual names (image, pixel_values, x, ...; label, labels, target, mask, y, ...). Entries of neither
        role go through torch's `default_collate`, but numbers with a name like that of a target (fine_label) must be
        named.
    num_classes : int, sequence or dict, optional
        Class indices become float32 soft targets of shape (n, num_classes). Several targets may have numbers of their
        own: one each, in order, or by name. Without it class indices become a `PairedTarget`
        (y, y_partner, lam), which `mixed_loss` and the fastai callbacks take.
    label_smoothing : float, default 0.0
        In [0, 1]; for soft targets of class indices.
    normalize : (mean, std), optional
        Numbers, or one per channel. Images of uint8, uint16 or floats become normalised floats in the same pass; the
        largest integer counts as 1.
    dtype : torch.dtype, optional
        The dtype of normalised images: torch.float32 (default), torch.float16 or torch.bfloat16.
    off_epoch : int or callable, optional
        The first epoch that is not mixed, or a function from the epoch to whether it is mixed.
    rng : int or sequence of int, optional
        The seed: a batch is drawn from the key (seed, epoch, batch, rank), the batch's number in the epoch, whatever
        the number of workers. None takes torch's seed.
    return_plan : bool, default False
        Return (batch, plan), the plan being a `MixPlan`.
    multi_label : bool, default False
        Integer targets of shape (k,) are 0 and 1: several labels at once, blended as float32. Masks stay masks.
    pair : bool, default False
        Every target becomes a `PairedTarget` whose lam is a single number, for models that need both targets. The rule
        must draw one lam for the batch.
    channels_last : bool, optional
        Whether images are (height, width, channels). By default their shapes tell.
    pad : float, optional
        Inputs of different lengths along any axis are padded with this number, at the end, to the longest one of the
        batch. A mixed sample is as long as the longer of the two: so are entries called `length`, `lengths`,
        `input_length` or `input_lengths`, and `attention_mask`, `pixel_mask` and `padding_mask` become those of both.
    other : map-style data set, optional
        Take partners from the samples of this data set, which are like those of the first: unlabelled images, another
        domain. Those of a batch are drawn by its key, whatever the number of workers, and read by the worker that
        stacks it. Not with `pad`, nor with a rule that has partners of its own.

    Attributes
    ----------
    rule, enabled, alpha, prob, epoch
        May be set while training, and reach workers that live on. `alpha` and `prob` are those of the rule.

    Raises
    ------
    ValueError
        If an argument is out of its range; if `label_smoothing` is given without `num_classes`, or `dtype` without
        `normalize`. When called: if there are no samples, their shapes differ, or an entry cannot be mixed rightly.
    TypeError
        If an argument has another type. When called: if an entry has a type that cannot be mixed.

    See Also
    --------
    mixed_loss : The loss of a `PairedTarget`.

    References
    ----------
    mixup: https://arxiv.org/abs/1710.09412, CutMix: https://arxiv.org/abs/1905.04899

    Examples
    --------
    >>> from mixup_rs import Mixup
    >>> samples = [(torch.full((3, 2, 2), 100 * i, dtype=torch.uint8), i) for i in range(3)]
    >>> images, targets = MixCollate(Mixup(0.4), num_classes=3, rng=42)(samples)
    >>> images.shape, images.dtype, targets.sum(1)
    (torch.Size([3, 3, 2, 2]), torch.uint8, tensor([1., 1., 1.]))
    """

    enabled = Setting("True or False", lambda value: value in (0, 1))
    off_epoch = Setting("a number >= 0 or a function of the epoch", lambda value: value >= 0)
    alpha = RuleOption()
    prob = RuleOption()

    def __init__(
        self,
        rule: Rule,
        *,
        inputs: Any = None,
        targets: Any = None,
        num_classes: int | Sequence[int] | Mapping[Any, int] | None = None,
        label_smoothing: float = 0.0,
        normalize: tuple[Any, Any] | None = None,
        dtype: torch.dtype | None = None,
        off_epoch: int | Callable[[int], bool] | None = None,
        rng: int | Sequence[int] | None = None,
        return_plan: bool = False,
        multi_label: bool = False,
        pair: bool = False,
        channels_last: bool | None = None,
        pad: float | None = None,
        other: Any = None,
    ):
        check_rule_of_all(rule, "MixCollate")
        super().__init__(rule)
        if pad is not None and (isinstance(pad, bool) or not isinstance(pad, int | float)):
            raise TypeError(f"pad must be a number, got {type(pad).__name__}")
        self._roles, self.pad = Roles(inputs, targets, lengths=pad is not None), pad
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.normalize, self.dtype = normalize, dtype
        self.rng, self.return_plan = rng, return_plan
        self.multi_label, self.pair, self.channels_last = multi_label, pair, channels_last
        if other is not None:
            _check_data(other, pad)
        self.other = other
        self._schedule = off_epoch if callable(off_epoch) else None
        self.off_epoch = NEVER if off_epoch is None or callable(off_epoch) else off_epoch
        self.enabled = True
        self._warned = False
        self._check()

    def _check(self) -> None:
        plan = MixPlan.identity(1)
        for name in ("return_plan", "multi_label", "pair", "channels_last"):
            value, expected = getattr(self, name), (True, False, None) if name == "channels_last" else (True, False)
            if value not in expected:
                raise TypeError(f"{name} must be one of {expected}, got {value!r}")
        Heads.check(self.num_classes, self.label_smoothing)
        if self.rng is not None:
            Mixup().plan(0, rng=(*self._seed(), 0))
        if self.normalize is None:
            if self.dtype is not None:
                raise ValueError("dtype is the dtype of normalised images: it needs normalize=(mean, std)")
            return
        if self.dtype not in (None, torch.float32, torch.float16, torch.bfloat16):
            raise TypeError(f"dtype must be torch.float32, torch.float16 or torch.bfloat16, got {self.dtype}")
        if not isinstance(self.normalize, Sequence) or len(self.normalize) != 2:
            raise TypeError(f"normalize must be (mean, std), each a number or one per channel, got {self.normalize!r}")
        mean, std = (np.asarray(terms, dtype=np.float64).ravel() for terms in self.normalize)
        collate([np.zeros((max(len(mean), len(std)), 1, 1), dtype=np.uint8)], plan, normalize=(mean, std))
        mean, std = np.broadcast_arrays(mean, std)
        self.normalize = (mean, std)

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Stack and mix a list of samples."""
        if isinstance(samples, Mapping | tuple | str | torch.Tensor | np.ndarray) or not isinstance(samples, Sequence):
            raise TypeError(
                f"expected a list of samples, got {type(samples).__name__}; a DataLoader with batch_size=None gives "
                "single samples, which have no partners; for the batches of Ray Data there is mixup_rs.ray.MixCollate"
            )
        if not samples:
            raise ValueError("expected at least one sample, got none")
        return Stacking(self, samples).stacked()

    def mixes(self) -> bool:
        """Whether batches are mixed in the current epoch."""
        now = self._now()
        return self._mixes(now, int(now.epoch))

    def _mixes(self, now: Settings, epoch: int) -> bool:
        wanted = self._schedule is None or self._schedule(epoch)
        return bool(wanted and now.enabled and not self._is_paused(now) and epoch < now.off_epoch)

    def _draw(self, n: int, shape: tuple[int, ...] | None, labels: Any = None) -> tuple[MixPlan, bool]:
        """Draw the plan of a batch, the identity if the batch is not to be mixed; and whether that is of training."""
        rank = self._rank()
        now = self._now(rank)
        epoch, batch = self._place(now, rank)
        self._warn_of_epochs(now)
        if not self._is_of_fit:
            return MixPlan.identity(n), False
        if not self._mixes(now, epoch):
            return MixPlan.identity(n), not self._is_paused(now)
        key = (*self._seed(), epoch + int(now.offset), batch, rank)
        try:
            return draw_by(
                self._rule_at(now), n, shape, labels, key, None if self.other is None else len(self.other)
            ), True
        except ValueError as error:
            if shape is not None:
                raise
            raise ValueError(
                f"no input of these samples has a height and a width, which {self.rule} may need; for series draw a "
                f"plan with shape=(length,) and give it to mixup_rs.collate ({error})"
            ) from error

    def _seed(self) -> tuple[int, ...]:
        if self.rng is not None:
            rng: Any = self.rng
            return tuple(rng) if np.ndim(rng) else (rng,)
        worker = get_worker_info()
        if worker is not None:
            return (worker.seed - worker.id,)  # torch's, one for all workers, another in each epoch
        return (int(torch.empty((), dtype=torch.int64, device="cpu").random_()),)

    def _warn_of_epochs(self, now: Settings) -> None:
        if self._warned or now.generation or (self._schedule is None and now.off_epoch == NEVER):
            return
        self._warned = True
        warnings.warn(
            "off_epoch needs the epoch: call collate.set_epoch(epoch) before each epoch; "
            "without it each pass through a DataLoader counts as an epoch, a look at the first batch too",
            stacklevel=2,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "learn":  # fastai sets it of callbacks
            raise TypeError(
                "a MixCollate is no callback: it makes the batches of a loader, dls.train.create_batch = "
                "MixCollate(...); its callback is RustMixUp(), or MixCollateEpoch() if the loss takes what it makes"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"MixCollate({self.rule!r}, num_classes={self.num_classes})"


def _check_data(other: Any, pad: float | None) -> None:
    """Refuse what is no data set of samples to take partners from."""
    is_data = hasattr(other, "__getitem__") and hasattr(other, "__len__")
    if not is_data or isinstance(other, Mapping | str | DataLoader | IterableDataset):
        raise TypeError(
            f"other must be a map-style data set, with a length and samples by their index, got {type(other).__name__}"
        )
    if not len(other):
        raise ValueError("other must have at least one sample, got none")
    if pad is not None:
        raise ValueError("samples from other are not padded: give samples of one shape, without pad")
