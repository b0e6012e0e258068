"""The base of the callbacks for fastai: a plan for each batch, and the loss of targets that cannot be blended.

Class indices cannot be blended. The callback hides such targets after the prediction (`after_pred`), so that fastai
computes no loss, and supplies the weighted pair of losses (`after_loss`). The learner's loss function is never
replaced, so there is nothing to restore, however training ends.

Other callbacks must see the targets in `after_pred` and the loss in `after_loss`. Therefore within a batch the callback
is the last in the first event and the first in the second (`mixup_rs.fastai.order`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from fastai.callback.mixup import MixHandler

from mixup_rs._core import MixPlan
from mixup_rs.batches.targets import TargetOptions, labels_among
from mixup_rs.fastai._compat import set_attributes
from mixup_rs.fastai.chosen import chosen, positions, put_back
from mixup_rs.fastai.elsewhere import Batch, elsewhere
from mixup_rs.fastai.keys import BANK, Keys
from mixup_rs.fastai.loaded import are_soft, refuse_several, warn_of_unused
from mixup_rs.fastai.loader import TrainingLoader, collate_of
from mixup_rs.fastai.one_lam import DrawnRule, with_one_lam
from mixup_rs.fastai.order import FIRST, LAST, Order
from mixup_rs.fastai.other_callbacks import is_its_turn, refuse_changed, refuse_fastais
from mixup_rs.rule import Rule, check_rule_of_all, draw_by
from mixup_rs.torch._compat import no_torch_function
from mixup_rs.torch.batch import (
    MixedTargets,
    batch_size,
    mix_inputs,
    mix_targets,
    refuse_labels,
    share_memory,
    spatial_shape,
)
from mixup_rs.torch.device import send_pairs
from mixup_rs.torch.loading import Epochs, mixing_collate, pause
from mixup_rs.torch.losses import pair_of_losses, refuse_rounding, soft_cross_entropy, unpaired
from mixup_rs.torch.nest import tree_leaves, tree_map
from mixup_rs.torch.separable import parts_of
from mixup_rs.torch.shared import rank

__all__ = ["Mixing"]

#: The attributes that describe the current batch, as they are without one.
_NO_BATCH: dict[str, Any] = {"_yb": ()} | dict.fromkeys(
    ("plan", "_partners", "_partner_targets", "_hidden", "_place", "_batch_loss", "_loaded", "_loss_lam", "_own")
)


class Mixing(Keys):
    """A callback that mixes training batches by a rule.

    Parameters
    ----------
    rule : Rule
        Draws the plan of each batch.
    rng : None, int, sequence of int, numpy.random.Generator or "torch"
        What to draw from, as in `RustMixUp`.
    inplace : bool
        Overwrite the batch.
    off_epoch : int, optional
        The first epoch that is not mixed.
    inputs, targets : int or sequence of int, optional
        The positions of those that are mixed, as in `RustMixUp`.
    pair : bool
        Call the loss with both targets and one lam.
    bank, other : optional
        Where partners come from, as in `RustMixUp`.
    """

    run_valid = False
    order, _order = Order(), MixHandler.order
    learn: Any
    run: bool
    training: bool
    plan: MixPlan | None
    #: Whether the targets of the current batch could not be blended, as in fastai.
    stack_y: bool
    _yb: tuple[Any, ...]
    _place: float | None = None
    _hidden: tuple[Any, ...] | None
    _partners: Batch | None  # the batch that partners come from, if not the current one
    _own: Any  # the targets of the current batch as this callback gives them to the loss
    #: Returns the partners' targets of the current batch; None if all are blended.
    _partner_targets: Callable[[], Any] | None
    #: Computes the loss of the current batch from the prediction; None if fastai's own is right.
    _batch_loss: Callable[..., torch.Tensor] | None
    _default_rule: Rule | None = None  # the rule that the callback has if none is asked for
    _warned_of_unused = False
    #: Whether the loss is unknown and has not been tried on blended targets.
    _is_untried = False
    #: lam of a batch that a MixCollate mixed.
    _loaded: torch.Tensor | None
    _loss_lam: np.ndarray | None  # the weights in its loss, where these are not lam
    #: Partners and weights by device.
    _on_device: dict[torch.device, tuple[torch.Tensor, torch.Tensor]]

    def __init_subclass__(cls) -> None:
        """Take the order that a subclass sets as a class attribute, as fastai's callbacks do."""
        if isinstance(order := cls.__dict__.get("order"), int | float):
            cls._order = order
            del cls.order

    def __init__(
        self,
        rule: Rule,
        rng: Any = None,
        inplace: bool = False,
        off_epoch: int | None = None,
        inputs: Any = None,
        pair: bool = False,
        bank: int | None = None,
        other: Any = None,
        targets: Any = None,
    ):
        check_rule_of_all(rule, type(self).__name__)
        if isinstance(rng, str):
            if rng != "torch":
                raise ValueError(f"rng must be None, ints, a numpy Generator or 'torch', got {rng!r}")
            if bank is not None or other is not None:
                raise ValueError("rng='torch' repeats fastai's callback, whose partners are of the batch itself")
            if inputs is not None or targets is not None or pair:
                raise ValueError("rng='torch' repeats fastai's callback, which has no inputs=, targets= and pair=")
            self._check_replay(rule)
        with torch.device("cpu"):  # draw on the host, whatever torch's default device is
            # fastai's attribute `distrib` needs an alpha above 0, where 0 means that nothing is mixed.
            super().__init__(float(getattr(rule, "alpha", 0.0)) or 1.0)  # type: ignore[call-arg]
            self._int64 = torch.empty((), dtype=torch.int64)
        self._check_rng(rng)
        self.rule, self.rng, self.inplace, self.off_epoch = rule, rng, inplace, off_epoch
        if pair and with_one_lam(rule) != rule:
            raise ValueError(f"pair=True gives the loss one lam for the batch: use mode='batch', got {rule}")
        self.inputs, self.targets = positions(inputs), positions(targets)
        self._options = TargetOptions(pair=pair)
        self._elsewhere = elsewhere(bank, other)
        self._turn, self._loader, self._rank, self._drawn = 0, TrainingLoader(), rank(), DrawnRule(rule)
        self._epochs, self._epoch = Epochs(), 0
        self._last_lam: torch.Tensor | None = None
        self._last_yb1: tuple[Any, ...] = ()
        self._forget()

    def _check_replay(self, rule: Rule) -> None:
        """Refuses rng="torch" for what fastai has no callback for."""
        raise ValueError(f"rng='torch' repeats fastai's MixUp and CutMix, not {type(self).__name__}")

    def show_batch(self, dls: Any, max_n: int = 9) -> Any:
        """Draw images of a training batch, their partners and the mix, with both labels and their weights.

        Parameters
        ----------
        dls : fastai.data.core.DataLoaders
            A batch of its training loader is drawn.
        max_n : int, default 9
            The number of samples.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.

        Raises
        ------
        ValueError
            If the loader mixes its batches, by a `MixCollate`, or partners come from another loader.
        """
        from mixup_rs.fastai.picture import picture_of

        return picture_of(self, dls, max_n)

    def after_create(self) -> None:
        """Refuse a second callback that mixes."""
        refuse_fastais(self, Mixing)

    def before_fit(self) -> None:
        """Forget a batch that was interrupted in an earlier fit; refuse a second callback that mixes."""
        refuse_fastais(self, Mixing)
        self._forget()
        self._epochs.begin_fit()
        self._loader.end()

    def before_train(self) -> None:
        """Read what is constant during an epoch."""
        self._forget()
        learn, collate = self.learn, mixing_collate(getattr(self.learn, "dl", None))
        epoch = getattr(learn, "epoch", 0) or 0
        set_attributes(
            self,
            stack_y=getattr(learn.loss_func, "y_int", False),
            _rank=rank(),  # once an epoch: it takes longer than a draw
            _epoch=self._epochs.begin(epoch),
            _is_untried=parts_of(learn.loss_func) is None,
        )
        self._drawn.forget()
        if self._elsewhere is not None:
            if collate is not None:
                raise ValueError(
                    "the MixCollate of the loader mixes its batches: give other=... to it, not the callback"
                )
            self._elsewhere.begin()
        self._loader.begin(learn, collate, epoch, self._epochs.offset)
        if collate is not None:
            warn_of_unused(self, collate)
            if self._is_off(epoch):
                pause(collate)

    def _is_off(self, epoch: int) -> bool:
        return self.off_epoch is not None and epoch >= self.off_epoch

    def before_validate(self) -> None:
        """Leave batches as they are, the training set's as well."""
        self._loader.before_validate(mixing_collate(getattr(self.learn, "dl", None)))

    def after_validate(self) -> None:
        """Go on with the epoch of training that it was in."""
        self._loader.after_validate()

    def before_batch(self) -> None:
        """Mix the inputs, and the targets that can be blended or cut."""
        learn = self.learn
        xb, yb = learn.xb, learn.yb
        if not is_its_turn(self, Mixing) or self._is_off(learn.epoch):
            return self._forget()
        if self._loader.collate is not None:
            return self._take_over(yb)
        # Without this, fastai's tensors run Python code at each access to an attribute.
        with no_torch_function():
            partners = self._partners_for(xb, yb)
            plan = self._plan(xb, yb, None if partners is None else batch_size(partners[0]))
            set_attributes(self, plan=plan, _partners=partners, _on_device={})
            learn.xb = self._mix_inputs(plan, xb)
            targets = self._mix_targets(plan, yb)
            learn.yb = targets.own
        is_pair = targets.partner is not None
        set_attributes(
            self,
            _yb=yb,
            _own=targets.own,
            _loaded=None,
            _loss_lam=targets.lam,
            _partner_targets=targets.partner,
            stack_y=is_pair,
            _batch_loss=self._pair_loss if is_pair else None,
            _place=LAST if is_pair else None,
        )

    def _partners_for(self, xb: Any, yb: Any) -> Batch | None:
        """The batch that partners come from; None for the batch itself."""
        if self._elsewhere is None:
            return None
        partners = self._elsewhere.partners((xb, yb), len(xb), lambda count: self._draw_below(count, BANK))
        self._elsewhere.remember((xb, yb), self.inplace)
        return partners

    def _plan(self, xb: Any, yb: Any, other: int | None) -> MixPlan:
        """Draw the plan of a batch, with partners among `other` samples elsewhere if given."""
        n, shape = batch_size(xb), spatial_shape(chosen("inputs", self.inputs, xb))
        if self.rng == "torch":
            return self._replayed_plan(n, shape)
        if self.inputs is None:
            refuse_labels(xb, yb)
        labels = labels_among(chosen("targets", self.targets, yb))
        rule = self._drawn.of(self, yb)
        if self._elsewhere is not None and other is None:  # a rule that cannot is refused before the first step
            draw_by(rule, n, shape, labels, (0,), n)
        plan = draw_by(rule, n, shape, labels, self._key(), other)
        if self._options.pair:
            refuse_several(plan.lam, self.rule)
        return plan

    _replayed_plan: Callable[..., MixPlan]

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        at = self.inputs
        partners = None if self._partners is None else chosen("inputs", at, self._partners[0])
        return put_back(at, xb, mix_inputs(plan, chosen("inputs", at, xb), self._overwrites(xb), partners))

    def _overwrites(self, xb: tuple[Any, ...]) -> bool:
        return self.inplace and not share_memory(xb, self.learn.yb, self._partners)

    def _mix_targets(self, plan: MixPlan, yb: tuple[Any, ...]) -> MixedTargets:
        at = self.targets
        partners = None if self._partners is None else chosen("targets", at, self._partners[1])
        named = chosen("targets", at, yb)
        mixed = mix_targets(plan, named, self._options, lambda device: self._sent(device)[0], partners, at is not None)
        own = put_back(at, yb, mixed.own)
        theirs = mixed.partner
        return MixedTargets(own, theirs and (lambda: put_back(at, own, theirs())), mixed.lam)

    def _take_over(self, yb: tuple[Any, ...]) -> None:
        """Prepare the loss of a batch that a `MixCollate` mixed."""
        self._forget()
        self.learn.yb, partners, loaded = unpaired(yb)
        if loaded is not None:
            if self._options.pair:
                refuse_several(loaded, "the MixCollate")
            set_attributes(
                self, _loaded=loaded, _partner_targets=lambda: partners, _batch_loss=self._pair_loss, stack_y=True
            )
        elif are_soft(self.old_lf, yb):
            set_attributes(self, _batch_loss=self._soft_loss)
        if self._batch_loss is not None:
            set_attributes(self, _yb=yb, _own=self.learn.yb, _place=LAST)

    @property
    def alpha(self) -> float:
        """The alpha of the rule. To set it replaces the rule."""
        return self.rule.alpha  # type: ignore[attr-defined]

    @alpha.setter
    def alpha(self, alpha: float) -> None:
        self._replace(alpha=alpha)

    @property
    def prob(self) -> float:
        """The probability of the rule. To set it replaces the rule."""
        return self.rule.prob  # type: ignore[attr-defined]

    @prob.setter
    def prob(self, prob: float) -> None:
        self._replace(prob=prob)

    def _replace(self, **options: Any) -> None:
        set_attributes(self, rule=replace(self.rule, **options))  # type: ignore[type-var]

    @property
    def is_mixed(self) -> bool:
        """Whether the current batch is mixed, by this callback or by the loader."""
        return self.plan is not None or self._loaded is not None

    def after_pred(self) -> None:
        """Hide targets whose loss fastai cannot compute.

        As the last callback of this event: the others see the targets. In the next event it is the first.
        """
        if self._batch_loss is not None:
            if self._partner_targets is not None:
                refuse_changed(self)
            set_attributes(self, _hidden=self.learn.yb, _place=FIRST)
            self.learn.yb = ()

    def after_loss(self) -> None:
        """Restore the targets and supply their loss."""
        if self._hidden is not None and self._batch_loss is not None:
            learn = self.learn
            self._restore_targets()
            learn.loss_grad = self._batch_loss(learn.pred, *learn.yb)
            learn.loss = learn.loss_grad.clone()
        elif self._is_untried and self.plan is not None:
            set_attributes(self, _is_untried=not refuse_rounding(self.old_lf, self.learn.pred, self.learn.yb))

    def after_cancel_batch(self) -> None:
        """Restore targets that are hidden."""
        self._stop()

    after_cancel_train = after_cancel_fit = after_cancel_batch

    def after_train(self) -> None:
        """Restore targets that are hidden, and keep what fastai's callbacks keep of the last batch."""
        self._stop()
        self._keep_last()
        self._let_go()
        self._loader.end()

    def after_cancel_epoch(self) -> None:
        """Restore targets that are hidden, and leave batches as they are."""
        self._stop()
        self._loader.end()

    def after_fit(self) -> None:
        """Forget the last batch."""
        self._keep_last()
        self._let_go()
        self._loader.end()
        self._forget()

    def lf(self, pred: Any, *yb: Any) -> torch.Tensor:
        """The loss of the current batch: the weighted pair against `yb` and the partners' targets, if it is mixed."""
        if not self.training or not self.is_mixed or self._partner_targets is None:
            return self.old_lf(pred, *yb)
        return self._pair_loss(pred, *yb)

    def _pair_loss(self, pred: Any, *yb: Any) -> torch.Tensor:
        partners = self.partners_of(yb)
        if self._options.pair:
            return self.old_lf(pred, *yb, *partners, self.lam.reshape(-1)[0])
        if self.plan is None:
            return pair_of_losses(self.old_lf, pred, yb, partners, self.lam)
        lam = self.plan.lam if self._loss_lam is None else self._loss_lam
        if (lam == lam[0]).all():
            return pair_of_losses(self.old_lf, pred, yb, partners, self.lam, float(lam[0]))
        parts = parts_of(self.old_lf) if len(yb) == 1 else None
        found = self._drawn.parts
        if parts is None and found is not None and found.loss_func is self.old_lf:
            parts = found
        return pair_of_losses(self.old_lf, pred, yb, partners, self.loss_lam, parts=parts)

    def _soft_loss(self, pred: Any, *yb: Any) -> torch.Tensor:
        return soft_cross_entropy(self.old_lf, pred, yb[0])

    def partners_of(self, yb: tuple[Any, ...]) -> tuple[Any, ...]:
        """The partners' targets beside the targets `yb` of the current batch."""
        return yb if self._partner_targets is None else self._partner_targets()

    @property
    def old_lf(self) -> Callable[..., Any]:
        """The learner's loss function, which is never replaced."""
        return self.learn.loss_func

    @property
    def lam(self) -> torch.Tensor:
        """What remains of each sample, float32, shape (n,), of the last batch that was mixed."""
        if self._loaded is not None:
            return self._loaded
        if self.plan is not None:
            return self._sent(tree_leaves(self.learn.xb)[0].device)[1]
        if self._last_lam is None:
            raise AttributeError("there is no lam before the first batch")
        return self._last_lam

    @property
    def loss_lam(self) -> torch.Tensor:
        """`lam`, or the weights of masks in the loss where these are others."""
        lam = self.lam
        return lam if self._loss_lam is None else torch.from_numpy(self._loss_lam).float().to(lam.device)

    @property
    def yb1(self) -> tuple[Any, ...]:
        """The partners' targets of the last batch that was mixed, as they were; () where samples have several."""
        if self._loaded is not None:
            return self.partners_of(self._yb)
        if self.plan is not None:
            if self.plan.k > 2:
                return ()
            theirs = chosen("targets", self.targets, self._yb if self._partners is None else self._partners[1])
            theirs = tree_map(lambda y: y.index_select(0, self._sent(y.device)[0]), theirs)
            return put_back(self.targets, self._yb, theirs)
        return self._last_yb1

    def _sent(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Partners and weights on a device, copied there once a batch."""
        if device not in self._on_device and self.plan is not None:
            self._on_device[device] = send_pairs(self.plan, device)
        return self._on_device[device]

    def _stop(self) -> None:
        """Leave a batch, however it ends."""
        self._restore_targets()

    def _restore_targets(self) -> None:
        if self._hidden is not None:
            self.learn.yb = self._hidden
        set_attributes(self, _hidden=None, _place=None)

    def _keep_last(self) -> None:
        """Keep lam and yb1 as plain values, which outlast the fit."""
        if self.is_mixed:
            set_attributes(self, _last_lam=self.lam, _last_yb1=self.yb1)

    def _let_go(self) -> None:
        """Forget the batches that partners come from."""
        if self._elsewhere is not None:
            self._elsewhere.end()

    def _forget(self) -> None:
        set_attributes(self, **_NO_BATCH, _on_device={}, stack_y=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "learn":
            self._loader.move(collate_of(self.__dict__.get("learn")), collate_of(value))
        elif name == "rule":
            check_rule_of_all(value, type(self).__name__)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Excludes the last batch from pickles."""
        state = {**super().__getstate__(), **_NO_BATCH}  # type: ignore[dict-item]
        return {**state, "_on_device": {}, "_last_lam": None, "_last_yb1": ()}
