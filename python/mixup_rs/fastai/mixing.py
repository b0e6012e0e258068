"""The base of the callbacks for fastai: a plan for each batch, and the loss of class indices.

Class indices cannot be blended. The callback hides such targets after the prediction (`after_pred`), so that fastai
computes no loss, and supplies the weighted pair of losses (`after_loss`). The learner's loss function is never
replaced, so there is nothing to restore, however training ends.

Other callbacks must see the targets in `after_pred` and the loss in `after_loss`. Therefore within a batch the callback
is the last in the first event and the first in the second (`mixup_rs.fastai.order`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fastai.callback.mixup import MixHandler
from fastai.torch_core import rank_distrib

from mixup_rs._core import MixPlan
from mixup_rs.fastai._compat import set_attributes
from mixup_rs.fastai.order import FIRST, LAST, Order
from mixup_rs.torch._compat import no_torch_function
from mixup_rs.torch.apply import mix_tensor
from mixup_rs.torch.batch import batch_size, identity_plan, is_paired, mix_inputs, mix_targets, partner_targets
from mixup_rs.torch.collate import MixCollate
from mixup_rs.torch.device import send_pairs
from mixup_rs.torch.losses import mixed_loss
from mixup_rs.torch.nest import tree_leaves, tree_map

__all__ = ["Mixing"]

#: The attributes that describe the last batch, as they are without one.
_NO_BATCH: dict[str, Any] = {"plan": None, "_yb": (), "_hidden": None, "_loaded": None, "_place": None}


class Mixing:
    """A callback that mixes training batches. A subclass defines `_plan`, which draws the plan of a batch.

    Parameters
    ----------
    alpha : float
        The alpha of fastai's `MixHandler`.
    rng : None, int, sequence of int, numpy.random.Generator or "torch"
        The source of the draws, as in `RustMixUp`.
    inplace : bool
        Overwrite the batch.
    """

    run_valid = False
    order, _order = Order(), MixHandler.order
    learn: Any
    run: bool
    training: bool
    plan: MixPlan | None
    stack_y: bool
    _yb: tuple[Any, ...]
    _place: float | None = None
    _hidden: tuple[Any, ...] | None
    #: The partners' targets and lam of a batch that a MixCollate mixed.
    _loaded: tuple[tuple[Any, ...], torch.Tensor] | None
    #: Partners and weights by device.
    _on_device: dict[torch.device, tuple[torch.Tensor, torch.Tensor]]

    def __init_subclass__(cls) -> None:
        """Take the order that a subclass sets as a class attribute, as fastai's callbacks do."""
        if isinstance(order := cls.__dict__.get("order"), int | float):
            cls._order = order
            del cls.order

    def __init__(self, alpha: float, rng: Any, inplace: bool):
        with torch.device("cpu"):  # draw on the host, whatever torch's default device is
            super().__init__(float(alpha))
            self._int64 = torch.empty((), dtype=torch.int64)
        self.rng, self.inplace = rng, inplace
        self._turn, self._collate, self._rank = 0, None, rank_distrib()
        self._forget()

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
            If the loader mixes its batches, by a `MixCollate`.
        """
        from mixup_rs.plot import plot_mixed_batch

        if _mixing_collate(dls.train) is not None:
            raise ValueError("the batches of this DataLoader are mixed already by its MixCollate")
        batch, names = dls.train.one_batch(), getattr(dls, "vocab", None)
        x, y = (next(tree_leaves(part)).as_subclass(torch.Tensor) for part in (batch[0], batch[-1]))
        plan = self._plan((x,), len(x), (self._random_int(),)) or identity_plan(len(x))
        one_hot = y.ndim == 2 and names is not None and y.shape[1] == len(names)
        labels = y if one_hot or (y.ndim == 1 and not y.is_floating_point()) else None
        return plot_mixed_batch(x, mix_tensor(plan, x), plan, labels=labels, class_names=names, max_n=max_n)

    def _plan(self, xb: Any, n: int, key: Any) -> MixPlan | None:
        """Draw the plan of a batch of `n` samples with inputs `xb` from `key`; None leaves the batch as it is."""
        raise NotImplementedError

    def _draw(self, xb: Any, n: int) -> MixPlan | None:
        return self._plan(xb, n, self._key())

    def before_fit(self) -> None:
        """Forget a batch that was interrupted in an earlier fit."""
        self._forget()

    def before_train(self) -> None:
        """Read what is constant during an epoch."""
        self._forget()
        set_attributes(
            self,
            stack_y=getattr(self.learn.loss_func, "y_int", False),
            _collate=_mixing_collate(getattr(self.learn, "dl", None)),
            _rank=rank_distrib(),  # once an epoch: it takes longer than a draw
        )

    def before_batch(self) -> None:
        """Mix the inputs, and the targets that can be blended or cut."""
        learn = self.learn
        xb, yb = learn.xb, learn.yb
        if not self._is_its_turn():
            return self._forget()
        for y in yb:
            if is_paired(y):
                return self._take_over(yb)
        if self._collate is not None:  # mixed soft targets need no other loss
            return self._forget()
        # Without this, fastai's tensors run Python code at each access to an attribute.
        with no_torch_function():
            plan = self._draw(xb, batch_size(xb))
            if plan is None:
                return self._forget()
            learn.xb = self._mix_inputs(plan, xb)
            learn.yb, has_index = mix_targets(plan, yb)
        place = LAST if has_index else None
        set_attributes(self, plan=plan, _yb=yb, _loaded=None, _on_device={}, stack_y=has_index, _place=place)

    def _take_over(self, yb: tuple[Any, ...]) -> None:
        """Prepare the loss of a batch that a `MixCollate` mixed."""
        pairs = [y if is_paired(y) else (y, y, None) for y in yb]
        self.learn.yb = tuple(y for y, _, _ in pairs)
        lam = next(lam for _, _, lam in pairs if lam is not None)
        loaded = tuple(y1 for _, y1, _ in pairs), lam
        set_attributes(self, plan=None, _yb=yb, _loaded=loaded, stack_y=True, _place=LAST)

    @property
    def is_mixed(self) -> bool:
        """Whether the current batch is mixed, by this callback or by the loader."""
        return self.plan is not None or self._loaded is not None

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        return mix_inputs(plan, xb, self.inplace)

    def _is_its_turn(self) -> bool:
        """Whether this callback mixes the batch: of several in one learner, one is drawn for each batch."""
        mixers = [cb for cb in self.learn.cbs if isinstance(cb, Mixing) and cb.run]
        if len(mixers) < 2 or self not in mixers:
            return True
        if self is mixers[0]:
            set_attributes(self, _turn=self._random_int() % len(mixers))
        return self is mixers[mixers[0]._turn]

    def after_pred(self) -> None:
        """Hide targets that could not be blended, so that fastai computes no loss from them.

        As the last callback of this event: the others see the targets. In the next event it is the first.
        """
        if self.stack_y and self.is_mixed:
            set_attributes(self, _hidden=self.learn.yb, _place=FIRST)
            self.learn.yb = ()

    def after_loss(self) -> None:
        """Restore the targets and supply their loss."""
        if self._hidden is not None:
            learn = self.learn
            self._restore_targets()
            learn.loss_grad = self.lf(learn.pred, *learn.yb)
            learn.loss = learn.loss_grad.clone()

    def after_cancel_batch(self) -> None:
        """Restore targets that are hidden."""
        self._restore_targets()

    def after_train(self) -> None:
        """Restore targets that are hidden."""
        self._restore_targets()

    def after_cancel_train(self) -> None:
        """Restore targets that are hidden."""
        self._restore_targets()

    def after_cancel_fit(self) -> None:
        """Restore targets that are hidden."""
        self._restore_targets()

    def after_fit(self) -> None:
        """Forget the last batch."""
        self._forget()

    def lf(self, pred: Any, *yb: Any) -> torch.Tensor:
        """The weighted pair of losses against `yb` and the partners' targets, reduced as the loss function reduces."""
        if not self.training or not self.is_mixed:
            return self.old_lf(pred, *yb)
        return mixed_loss(self.old_lf, pred, yb, self.partners_of(yb), self.lam)

    def partners_of(self, yb: tuple[Any, ...]) -> tuple[Any, ...]:
        """The partners' class indices beside the mixed targets `yb`. Targets that are blended or cut are returned."""
        if self._loaded is not None:
            return self._loaded[0]
        return partner_targets(self.plan, yb, lambda device: self._sent(device)[0])

    @property
    def old_lf(self) -> Callable[..., Any]:
        """The learner's loss function, which is never replaced."""
        return self.learn.loss_func

    @property
    def lam(self) -> torch.Tensor:
        """The weights of the samples themselves, float32, shape (n,)."""
        if self._loaded is not None:
            return self._loaded[1]
        return self._sent(next(iter(tree_leaves(self.learn.xb))).device)[1]

    @property
    def yb1(self) -> tuple[Any, ...]:
        """The partners' targets, before mixing."""
        if self._loaded is not None:
            return self._loaded[0]
        return tree_map(lambda y: y.index_select(0, self._sent(y.device)[0]), self._yb)

    def _sent(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Partners and weights on a device, copied there once a batch."""
        if device not in self._on_device:
            self._on_device[device] = send_pairs(self.plan, device)
        return self._on_device[device]

    def _key(self) -> Any:
        """The key or Generator from which this batch is drawn."""
        rng = self.rng
        if rng is None:
            return (self._random_int(), self._rank)
        if isinstance(rng, np.random.Generator):
            return rng
        if isinstance(rng, str):
            raise ValueError(f"rng must be None, ints or a numpy Generator, or 'torch' for RustMixUp, got {rng!r}")
        seed = (rng,) if isinstance(rng, int) or np.ndim(rng) == 0 else tuple(rng)
        return (*seed, self.learn.epoch, getattr(self.learn, "iter", 0), self._rank)

    def _random_int(self) -> int:
        """An int drawn from torch's generator of the host."""
        return self._int64.random_().item()

    def _restore_targets(self) -> None:
        hidden = self._hidden
        if hidden is not None:
            self.learn.yb = hidden
        set_attributes(self, _hidden=None, _place=None)

    def _forget(self) -> None:
        set_attributes(self, **_NO_BATCH, _on_device={}, stack_y=False)

    def __getstate__(self) -> dict[str, Any]:
        """Excludes the last batch from pickles."""
        return {**super().__getstate__(), **_NO_BATCH, "_on_device": {}, "_collate": None}


def _mixing_collate(loader: Any) -> MixCollate | None:
    """The MixCollate that a DataLoader of fastai or torch makes its batches with, or None."""
    collates = (getattr(loader, name, None) for name in ("create_batch", "collate_fn"))
    return next((collate for collate in collates if isinstance(collate, MixCollate)), None)
