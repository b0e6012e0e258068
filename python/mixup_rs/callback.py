"""What the callbacks for fastai have in common: a plan for each batch, and a loss that nobody has to restore."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fastai.callback.mixup import MixHandler
from fastai.torch_core import rank_distrib

from mixup_rs._core import MixPlan
from mixup_rs.batch import batch_size, is_paired, mix_inputs, mix_targets, partner_targets
from mixup_rs.loader import MixCollate
from mixup_rs.losses import mixed_loss
from mixup_rs.nest import tree_leaves, tree_map
from mixup_rs.torch import mix_tensor, send_pairs

__all__ = ["Mixing"]

#: Places in fastai's order of callbacks, which it sorts anew at every event.
_FIRST, _LAST = float("-inf"), float("inf")

#: What a callback knows of the batch it mixed, and of none.
_NO_BATCH: dict[str, Any] = {"plan": None, "_yb": (), "_hidden": None, "_loaded": None, "_place": None}


class _Order:
    """A callback's order, which while it owes a batch the loss is the last, to hide the targets, or the first.

    An interrupt leaves the batch without an event that could say so: therefore the batch is looked for where it is,
    among the functions that are running. Whoever asks from elsewhere is told the order that was set.
    """

    def __get__(self, callback: Mixing | None, owner: type[Mixing]) -> float:
        if callback is None:
            return owner._order
        if callback._place is not None and _is_running(getattr(callback.learn, "_do_one_batch", None)):
            return callback._place
        return callback._order

    def __set__(self, callback: Mixing, order: float) -> None:
        callback.__dict__["_order"] = order


def _is_running(function: Any) -> bool:
    code, frame = getattr(function, "__code__", None), sys._getframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


class Mixing:
    """A callback that mixes training batches; a subclass says how they are drawn."""

    run_valid = False
    order, _order = _Order(), MixHandler.order
    _place: float | None = None

    def __init_subclass__(cls) -> None:
        """A subclass says its order as those of fastai's callbacks do."""
        if isinstance(order := cls.__dict__.get("order"), int | float):
            cls._order = order
            del cls.order

    def __init__(self, alpha: float, rng: Any, inplace: bool):
        with torch.device("cpu"):  # draws are the host's, whatever torch's default device
            super().__init__(float(alpha))
            self._word = torch.empty((), dtype=torch.int64)
        self.rng, self.inplace = rng, inplace
        self._turn, self._collate, self._rank = 0, None, rank_distrib()
        self._forget()

    def show_batch(self, dls: Any, max_n: int = 9) -> Any:
        """Draws images of a training batch, their partners and the mix, with both labels and their weights.

        Returns a matplotlib Figure.
        """
        from mixup_rs.plot import plot_mixed_batch

        if _mixing_collate(dls.train) is not None:
            raise ValueError("the batches of this DataLoader are mixed already, by its MixCollate")
        batch, names = dls.train.one_batch(), getattr(dls, "vocab", None)
        x, y = (next(tree_leaves(part)).as_subclass(torch.Tensor) for part in (batch[0], batch[-1]))
        plan = self._plan((x,), len(x), (self._word.random_().item(),)) or MixPlan(np.ones(len(x)), np.arange(len(x)))
        one_hot = y.ndim == 2 and names is not None and y.shape[1] == len(names)
        labels = y if one_hot or (y.ndim == 1 and not y.is_floating_point()) else None
        return plot_mixed_batch(x, mix_tensor(plan, x), plan, labels=labels, class_names=names, max_n=max_n)

    def _plan(self, xb: Any, n: int, key: Any) -> MixPlan | None:
        """The plan of a batch of `n` with inputs `xb`, drawn from `key`; None to leave the batch as it is."""
        raise NotImplementedError

    def _draw(self, xb: Any, n: int) -> MixPlan | None:
        return self._plan(xb, n, self._key())

    def before_fit(self) -> None:
        # Predicting is a fit to fastai's events: nothing of a batch that was interrupted may reach it.
        self._forget()

    def before_train(self) -> None:
        self._forget()
        self.__dict__.update(
            stack_y=getattr(self.learn.loss_func, "y_int", False),
            _collate=_mixing_collate(getattr(self.learn, "dl", None)),
            _rank=rank_distrib(),  # looked up once, as it takes longer than to draw a number
        )

    def before_batch(self) -> None:
        learn = self.learn
        xb, yb = learn.xb, learn.yb
        if not self._is_its_turn():
            return self._forget()
        for y in yb:
            if is_paired(y):
                return self._take_over(yb)
        if self._collate is not None:  # soft targets, for which any loss is right as it is
            return self._forget()
        # fastai's tensors run Python code for every attribute; what is asked of them here needs none of it.
        with torch._C.DisableTorchFunctionSubclass():
            plan = self._draw(xb, batch_size(xb))
            if plan is None:
                return self._forget()
            learn.xb = self._mix_inputs(plan, xb)
            learn.yb, has_index = mix_targets(plan, yb)
        # Not by fastai's __setattr__, which searches the learner and its model for every name.
        state = self.__dict__
        state["plan"], state["_yb"], state["_loaded"], state["_on_device"] = plan, yb, None, {}
        state["stack_y"], state["_place"] = has_index, _LAST if has_index else None

    def _take_over(self, yb: tuple[Any, ...]) -> None:
        """Of a batch that `MixCollate` mixed, only the loss is left to do."""
        pairs = [y if is_paired(y) else (y, y, None) for y in yb]
        self.learn.yb = tuple(y for y, _, _ in pairs)
        lam = next(lam for _, _, lam in pairs if lam is not None)
        loaded = tuple(y1 for _, y1, _ in pairs), lam
        self.__dict__.update(plan=None, _yb=yb, _loaded=loaded, stack_y=True, _place=_LAST)

    @property
    def is_mixed(self) -> bool:
        """Whether there is a batch that is mixed, here or in the loader."""
        return self.plan is not None or self._loaded is not None

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        return mix_inputs(plan, xb, self.inplace)

    def _is_its_turn(self) -> bool:
        """Of several mixing callbacks in one learner, one at random mixes a batch."""
        mixers = [cb for cb in self.learn.cbs if isinstance(cb, Mixing) and cb.run]
        if len(mixers) < 2 or self not in mixers:
            return True
        if self is mixers[0]:
            self.__dict__["_turn"] = self._word.random_().item() % len(mixers)
        return self is mixers[mixers[0]._turn]

    def after_pred(self) -> None:
        """Hides targets that could not be blended, so that fastai computes no loss from them.

        As the last callback, for all others to see the targets; the next event finds this one the first, for all others
        to see the loss.
        """
        if self.stack_y and self.is_mixed:
            self.__dict__.update(_hidden=self.learn.yb, _place=_FIRST)
            self.learn.yb = ()

    def after_loss(self) -> None:
        """Supplies the loss that fastai could not know of."""
        if self._hidden is not None:
            learn = self.learn
            self._show()
            learn.loss_grad = self.lf(learn.pred, *learn.yb)
            learn.loss = learn.loss_grad.clone()

    def after_cancel_batch(self) -> None:
        self._show()

    def after_train(self) -> None:
        self._show()

    def after_cancel_train(self) -> None:
        self._show()

    def after_cancel_fit(self) -> None:
        self._show()

    def after_fit(self) -> None:
        self._forget()

    def lf(self, pred: Any, *yb: Any) -> torch.Tensor:
        """The lam-weighted pair of losses against `yb` and the partners' targets, reduced as the loss function does."""
        if not self.training or not self.is_mixed:
            return self.old_lf(pred, *yb)
        return mixed_loss(self.old_lf, pred, yb, self.partners_of(yb), self.lam)

    def partners_of(self, yb: tuple[Any, ...]) -> tuple[Any, ...]:
        """What stands beside the mixed targets `yb`: the partners' class indices; what was blended or cut, itself."""
        if self._loaded is not None:
            return self._loaded[0]
        return partner_targets(self.plan, yb, lambda device: self._sent(device)[0])

    @property
    def old_lf(self) -> Callable[..., Any]:
        """The learner's own loss function, which is never replaced."""
        return self.learn.loss_func

    @property
    def lam(self) -> torch.Tensor:
        """(n,) float32, the weight of each sample itself."""
        if self._loaded is not None:
            return self._loaded[1]
        return self._sent(next(iter(tree_leaves(self.learn.xb))).device)[1]

    @property
    def yb1(self) -> tuple[Any, ...]:
        """The partners' targets, as they were."""
        if self._loaded is not None:
            return self._loaded[0]
        return tree_map(lambda y: y.index_select(0, self._sent(y.device)[0]), self._yb)

    def _sent(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Partners and weights on a device, where they go once a batch."""
        if device not in self._on_device:
            self._on_device[device] = send_pairs(self.plan, device)
        return self._on_device[device]

    def _key(self) -> Any:
        """What this batch is drawn from, as `rng` says."""
        rng = self.rng
        if rng is None:
            return (self._word.random_().item(), self._rank)
        if isinstance(rng, np.random.Generator):
            return rng
        if isinstance(rng, str):
            raise ValueError(f"rng must be None, ints or a numpy Generator, or 'torch' for RustMixUp, got {rng!r}")
        seed = (rng,) if isinstance(rng, int) or np.ndim(rng) == 0 else tuple(rng)
        return (*seed, self.learn.epoch, getattr(self.learn, "iter", 0), self._rank)

    def _show(self) -> None:
        hidden = self._hidden
        if hidden is not None:
            self.learn.yb = hidden
        self.__dict__.update(_hidden=None, _place=None)

    def _forget(self) -> None:
        self.__dict__.update(_NO_BATCH, _on_device={}, stack_y=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the last batch, which is nobody's business in an exported learner."""
        return {**super().__getstate__(), **_NO_BATCH, "_on_device": {}, "_collate": None}


def _mixing_collate(loader: Any) -> MixCollate | None:
    """The MixCollate by which a DataLoader, fastai's or torch's, makes its batches; None if by something else."""
    collates = (getattr(loader, name, None) for name in ("create_batch", "collate_fn"))
    return next((collate for collate in collates if isinstance(collate, MixCollate)), None)
