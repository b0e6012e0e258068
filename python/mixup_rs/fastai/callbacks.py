"""Callbacks that mix a training batch: drop-ins for fastai's MixUp and CutMix, and the epochs of a `MixCollate`.

    learn = vision_learner(dls, resnet34, cbs=RustMixUp)

The loss function of the learner is never replaced (`mixup_rs.fastai.mixing`), so there is nothing to restore, however
training ends.
"""

from __future__ import annotations

from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix as FastaiCutMix
from fastai.callback.mixup import MixHandler, MixUp

from mixup_rs._core import MixPlan
from mixup_rs.fastai import replay
from mixup_rs.fastai.loader import TrainingLoader, collate_of
from mixup_rs.fastai.mixing import Mixing
from mixup_rs.rule import Mode, Rule
from mixup_rs.rules import CutMix, Mixup
from mixup_rs.torch.apply import mix_tensor
from mixup_rs.torch.batch import MixedTargets, refuse_targets
from mixup_rs.torch.loading import Epochs, mixing_collate, pause

__all__ = ["MixCollateEpoch", "RustCutMix", "RustMix", "RustMixUp"]


class _Replaying(Mixing):
    """A callback that repeats one of fastai's with rng="torch"."""

    _replayed_mode: Mode

    def _check_replay(self, rule: Rule) -> None:
        options = {"mode": self._replayed_mode, "fold": True, "prob": 1.0, "minmax": None, "k": 2}
        if any(getattr(rule, name, value) != value for name, value in options.items()):
            raise ValueError(f"rng='torch' repeats fastai's callback, which knows no such options: {rule}")

    def _mix_targets(self, plan: MixPlan, yb: tuple[Any, ...]) -> Any:
        """As fastai does: blended by torch unless the loss takes class indices."""
        if self.rng != "torch":
            return super()._mix_targets(plan, yb)
        refuse_targets(len(plan), yb)
        if not getattr(self.learn.loss_func, "y_int", False):
            return MixedTargets(tuple(replay.blend(y, *self._sent(y.device)) for y in yb), None)
        partner = self._sent(yb[0].device)[0]
        partners = tuple(y.index_select(0, partner) for y in yb)
        return MixedTargets(yb, lambda: partners)

    def _pair_loss(self, pred: Any, *yb: Any) -> torch.Tensor:
        if self.rng != "torch" or self.plan is None:
            return super()._pair_loss(pred, *yb)
        return replay.loss(self.old_lf, pred, yb, self.partners_of(yb), self._replayed_lam())

    def _replayed_lam(self) -> torch.Tensor:
        return self.lam


class RustMixUp(_Replaying, MixUp):
    """Mixup, as fastai's `MixUp` applies it, computed by the Rust kernel.

    Inputs of floats or of integers of at most 16 bits are blended. Wider integers (token ids, categories) are left as
    they are. Float and boolean targets are blended. Integer targets (class indices) are kept, and the loss is the
    weighted sum of the losses against both targets. A lam per sample needs a loss that comes apart into the losses of
    samples, as torch's and fastai's do; with any other one lam is drawn for each batch, and a warning says so.

    The batches of a DataLoader whose collate function is a `MixCollate` are not mixed again: the callback tells it the
    epochs and its `off_epoch`, pauses it outside of training and supplies the loss. A rule, a key or positions of its
    own count for nothing there, which a warning says.

    Parameters
    ----------
    alpha : float, default 0.4
        lam ~ Beta(alpha, alpha); finite, 0 for no mixing.
    mode : {"elem", "pair", "batch"}, default "elem"
        A lam per sample; one that i and its partner share; one for the batch.
    fold : bool, default True
        lam := max(lam, 1 - lam), as fastai.
    prob : float, default 1.0
        The probability with which each lam that is drawn is used.
    off_epoch : int, optional
        The first epoch of a fit that is not mixed.
    rng : None, int, sequence of int, numpy.random.Generator or "torch", default None
        None draws from torch's generator, so that it follows `set_seed`. An int, or a sequence of ints, keys each batch
        by (rng, epoch, batch, rank); epochs are counted on from one fit to the next, and a fit with `start_epoch`
        continues the one before. A Generator is drawn from. "torch" repeats fastai's MixUp: its draws, its arithmetic
        and its loss, to the bit.
    inplace : bool, default False
        Overwrite the batch instead of allocating a new one, unless its tensors share memory.
    inputs : sequence of int, optional
        The positions of the inputs that are mixed; by default all that can be.
    pair : bool, default False
        Call the loss as ``loss_func(pred, *targets, *partner_targets, lam)`` in training, lam being one number: for
        models and losses that need both targets. Needs mode="batch".
    bank : int, optional
        Take the partners of a batch from one of so many batches before it, which are kept in memory, as small batches
        offer few. The first batch of an epoch has its own. Not with mode="pair".
    other : iterable of batches, optional
        A second loader, such as one of unlabelled images: each batch has its partners in the next one of it. It
        begins again with each epoch, and when it ends. Its batches have the inputs and targets of the first, more
        samples or fewer.
    targets : int or sequence of int, optional
        The positions of the targets that are mixed, by default all; others are the same in both losses. Floats (n, k,
        4) that are named are no boxes.

    Attributes
    ----------
    rule : Mixup
        What draws the plans; it may be replaced while training.
    plan : MixPlan or None
        The plan of the current batch.
    lam : torch.Tensor
        The own weights of the last batch, float32, shape (n,), as in fastai.
    yb1 : tuple of torch.Tensor
        The partners' targets of the last batch, as in fastai.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; in training, if no input of a batch can be mixed.

    References
    ----------
    https://arxiv.org/abs/1710.09412

    Examples
    --------
    >>> from fastai.test_utils import synth_learner
    >>> learn = synth_learner(cbs=RustMixUp(alpha=0.4, rng=42))
    >>> learn.mix_up
    RustMixUp
    """

    name: Any = "mix_up"
    _replayed_mode, _default_rule = "elem", Mixup()

    def __init__(
        self,
        alpha: float = Mixup.alpha,
        mode: Mode = "elem",
        fold: bool = True,
        prob: float = 1.0,
        off_epoch: int | None = None,
        rng: Any = None,
        inplace: bool = False,
        inputs: Any = None,
        pair: bool = False,
        bank: int | None = None,
        other: Any = None,
        targets: Any = None,
    ):
        super().__init__(Mixup(alpha, mode, fold, prob), rng, inplace, off_epoch, inputs, pair, bank, other, targets)

    def _replayed_plan(self, n: int, shape: tuple[int, ...] | None) -> MixPlan:
        return replay.draw_mix(self.distrib, n)

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.rng == "torch":
            return tuple(replay.blend(x, *self._sent(x.device)) for x in xb)
        return super()._mix_inputs(plan, xb)


class RustCutMix(_Replaying, FastaiCutMix):
    """CutMix, as fastai's `CutMix` applies it: a box of each image is copied from its partner.

    Inputs and targets of the image's height and width (masks) are cut alike; other inputs and float targets are
    blended, and class indices weighted in the loss, as in `RustMixUp`. `lam` is the share of the image outside the box.

    Parameters
    ----------
    alpha : float, default 1.0
        The share that is kept ~ Beta(alpha, alpha), before the box is clipped to the image; finite, 0 for no mixing.
    mode : {"batch", "elem", "pair"}, default "batch"
        One box for all images, as in fastai; a box per image; one that partners share.
    minmax : (float, float), optional
        Draw each side of the box between these fractions of the image's side, without clipping, as timm does.
    prob : float, default 1.0
        The probability with which each box that is drawn is used.
    off_epoch, rng, inplace, inputs, pair, bank, other, targets
        As for `RustMixUp`. rng="torch" repeats fastai's CutMix.

    Attributes
    ----------
    rule, plan, lam, yb1
        As of `RustMixUp`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; in training, if no input of a batch has the shape (n, ..., height, width).

    References
    ----------
    https://arxiv.org/abs/1905.04899

    Examples
    --------
    >>> RustCutMix(alpha=1.0, rng=42)
    RustCutMix
    """

    name: Any = "cut_mix"
    _replayed_mode, _default_rule = "batch", CutMix()

    def __init__(
        self,
        alpha: float = CutMix.alpha,
        mode: Mode = "batch",
        minmax: tuple[float, float] | None = None,
        prob: float = 1.0,
        off_epoch: int | None = None,
        rng: Any = None,
        inplace: bool = False,
        inputs: Any = None,
        pair: bool = False,
        bank: int | None = None,
        other: Any = None,
        targets: Any = None,
    ):
        super().__init__(CutMix(alpha, mode, minmax, prob), rng, inplace, off_epoch, inputs, pair, bank, other, targets)

    def _replayed_plan(self, n: int, shape: tuple[int, ...] | None) -> MixPlan:
        if shape is None:
            raise TypeError("CutMix needs an image of shape (n, ..., height, width)")
        return replay.draw_cut(self.distrib, n, *shape)

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.rng == "torch":  # fastai cuts the first input alone
            return (mix_tensor(plan, xb[0], self._overwrites(xb)), *xb[1:])
        return super()._mix_inputs(plan, xb)

    def _replayed_lam(self) -> torch.Tensor:
        return self.lam[:1]

    def _sent(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        if self.rng == "torch" and device not in self._on_device and self.plan is not None:
            partner, lam = super()._sent(device)
            self._on_device[device] = partner, torch.full_like(lam, replay.share_left(self.plan))
        return super()._sent(device)


class RustMix(Mixing, MixHandler):
    """Mixing by any rule.

    Parameters
    ----------
    rule : Rule
        Draws the plan of each batch, so without the labels or maps of one batch. More than two samples at a time
        (`Mixup` with a `k`) need targets that can be blended, such as one-hot floats.
    off_epoch, rng, inplace, inputs, pair, bank, other, targets
        As for `RustMixUp`, without rng="torch".

    Attributes
    ----------
    rule, plan, lam, yb1
        As of `RustMixUp`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; in training, if no input of a batch can be mixed.

    References
    ----------
    mixup: https://arxiv.org/abs/1710.09412, CutMix: https://arxiv.org/abs/1905.04899

    Examples
    --------
    >>> from mixup_rs import CutMix, Mixup, OneOf
    >>> RustMix(OneOf([Mixup(0.4), CutMix(1.0)]))
    RustMix
    """

    name: Any = "mix"

    def __init__(
        self,
        rule: Rule,
        *,
        off_epoch: int | None = None,
        rng: Any = None,
        inplace: bool = False,
        inputs: Any = None,
        pair: bool = False,
        bank: int | None = None,
        other: Any = None,
        targets: Any = None,
    ):
        super().__init__(rule, rng, inplace, off_epoch, inputs, pair, bank, other, targets)


class MixCollateEpoch(Callback):
    """Tells the `MixCollate` of the training loader the epochs, for its `off_epoch` and its keys.

    It is paused outside of training: validation and prediction on the training set see unmixed data. `RustMixUp` and
    the other callbacks of this package do the same.

    Parameters
    ----------
    collate : MixCollate, optional
        By default that of the learner's training DataLoader.

    Examples
    --------
    >>> MixCollateEpoch()
    MixCollateEpoch
    """

    def __init__(self, collate: Any = None):
        self.collate = collate
        self._epochs, self._loader = Epochs(), TrainingLoader()

    def _of(self, learn: Any) -> Any:
        return None if learn is None else self.collate or collate_of(learn)

    def _found(self) -> Any:
        return self._of(self.learn)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "learn":
            self._loader.move(*(self._of(learn) for learn in (self.__dict__.get("learn"), value)))
        super().__setattr__(name, value)

    def before_fit(self) -> None:
        """Begin a fit."""
        self._epochs.begin_fit()
        pause(self._found())

    def before_train(self) -> None:
        """Set the epoch, in workers as well, and mix."""
        learn: Any = self.learn
        epoch = learn.epoch
        self._epochs.begin(epoch)
        self._loader.begin(learn, self._found(), epoch, self._epochs.offset)

    def after_train(self) -> None:
        """Leave batches as they are until the next epoch."""
        self._loader.end()

    def before_validate(self) -> None:
        """Leave batches as they are, the training set's as well."""
        self._loader.before_validate(mixing_collate(getattr(self.learn, "dl", None)) or self._found())

    def after_validate(self) -> None:
        """Go on with the epoch of training that it was in."""
        self._loader.after_validate()

    def after_cancel_epoch(self) -> None:
        """Leave batches as they are until the next epoch."""
        self._loader.end()

    def after_fit(self) -> None:
        """Leave batches as they are."""
        self._loader.end()
