"""Callbacks for fastai: a drop-in for its MixUp.

    learn = vision_learner(dls, resnet34, cbs=RustMixUp)

The loss function is never replaced. Where a target cannot be blended (class indices), fastai is shown no target, so
that it computes no loss, and the callback supplies the weighted pair of losses instead. Nothing is left to restore,
whichever way training ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fastai.callback.mixup import MixUp
from fastai.torch_core import rank_distrib

from mixup_rs._core import MixPlan
from mixup_rs.losses import mixed_loss
from mixup_rs.nest import tree_leaves, tree_map
from mixup_rs.torch import is_mixable, mix_tensor

__all__ = ["RustMixUp"]


class RustMixUp(MixUp):
    """Mixup (arXiv 1710.09412) as fastai's `MixUp` does it, by the Rust kernel.

    alpha: lam ~ Beta(alpha, alpha), folded to max(lam, 1 - lam); a number > 0.
    rng: None follows `set_seed`; an int (or a sequence of ints) keys each batch by (rng, epoch, step, rank), so that a
        resumed run repeats; a numpy.random.Generator is drawn from; "torch" draws from torch's generator in fastai's
        own order: the same training run as with MixUp.
    inplace: overwrite the batch instead of making a second one.

    Inputs of floats or of integers up to 16 bits are mixed; wider integers (token ids, categories) stay. Float and
    boolean targets are blended; integer targets (class indices) are kept, and the loss is the weighted sum of those
    against both targets, whatever the loss function.

    `lam` and `yb1` are those of the last batch, as in fastai; `plan` is the MixPlan they come from.

    >>> from fastai.vision.all import RandomSplitter, synth_learner
    >>> learn = synth_learner(cbs=RustMixUp(alpha=0.4, rng=42))
    >>> learn.mix_up
    RustMixUp
    """

    name = "mix_up"

    def __init__(self, alpha: float = 0.4, rng: Any = None, inplace: bool = False):
        MixPlan.mixup(0, alpha=alpha)  # refuses an alpha that cannot be drawn from
        super().__init__(float(alpha))
        self.alpha, self.rng, self.inplace = float(alpha), rng, inplace
        self._forget()

    def before_train(self) -> None:
        self._forget()
        self.__dict__["stack_y"] = getattr(self.learn.loss_func, "y_int", False)

    def before_batch(self) -> None:
        learn = self.learn
        xb, yb = learn.xb, learn.yb
        # fastai's tensors run Python code for every attribute; what is asked of them here needs none of it.
        with torch._C.DisableTorchFunctionSubclass():
            plan = self._draw(_batch_size(xb))
            learn.xb = _mix_inputs(plan, xb, self.inplace)
            has_index = any(_is_index(y) for y in tree_leaves(yb))
            learn.yb = tree_map(lambda y: y if _is_index(y) else mix_tensor(plan, _as_float(y)), yb)
        # Not by fastai's __setattr__, which searches the learner and its model for every name.
        self.__dict__.update(plan=plan, _yb=yb, stack_y=has_index)

    def after_pred(self) -> None:
        """Hides targets that could not be blended, so that fastai computes no loss from them."""
        if self.stack_y and self.plan is not None:
            self.__dict__["_hidden"] = self.learn.yb
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
        """The λ-weighted pair of losses against `yb` and the partners' targets, reduced as the loss function does."""
        if not self.training or self.plan is None:
            return self.old_lf(pred, *yb)
        return mixed_loss(self.old_lf, pred, yb, self.yb1, self.lam)

    @property
    def old_lf(self) -> Callable[..., Any]:
        """The learner's own loss function, which is never replaced."""
        return self.learn.loss_func

    @property
    def lam(self) -> torch.Tensor:
        """(n,) float32, the weight of each sample itself."""
        device = next(iter(tree_leaves(self.learn.xb))).device
        return torch.from_numpy(self.plan.lam).to(device, torch.float32, non_blocking=True)

    @property
    def yb1(self) -> tuple[Any, ...]:
        """The partners' targets; blended ones where targets were blended beside indices."""
        partner = torch.from_numpy(self.plan.partner)

        def of_partner(y: torch.Tensor) -> torch.Tensor:
            return y[partner.to(y.device, non_blocking=True)]

        return tree_map(of_partner, self._yb)

    def _draw(self, n: int) -> MixPlan:
        rng = self.rng
        if isinstance(rng, str):
            if rng != "torch":
                raise ValueError(f"rng must be None, ints, a numpy Generator or 'torch', got {rng!r}")
            lam = self.distrib.sample((n,))
            return MixPlan(torch.max(lam, 1 - lam).numpy(), torch.randperm(n).numpy())
        if rng is None:
            rng = (self._word.random_().item(), rank_distrib())
        elif not isinstance(rng, np.random.Generator):
            seed = (rng,) if np.ndim(rng) == 0 else tuple(rng)
            rng = (*seed, self.learn.epoch, getattr(self.learn, "iter", 0), rank_distrib())
        return MixPlan.mixup(n, alpha=self.alpha, rng=rng)

    def _show(self) -> None:
        if self._hidden is not None:
            self.learn.yb = self._hidden
            self.__dict__["_hidden"] = None

    def _forget(self) -> None:
        self.__dict__.update(plan=None, _yb=(), _hidden=None, stack_y=False, _word=torch.empty((), dtype=torch.int64))

    def __getstate__(self) -> dict[str, Any]:
        """Without the last batch, which is nobody's business in an exported learner."""
        return {**super().__getstate__(), "plan": None, "_yb": (), "_hidden": None}


def _mix_inputs(plan: MixPlan, xb: tuple[Any, ...], inplace: bool) -> tuple[Any, ...]:
    mixed = 0

    def mix(x: torch.Tensor) -> torch.Tensor:
        nonlocal mixed
        if not is_mixable(x):
            return x
        mixed += 1
        return mix_tensor(plan, x, inplace)

    inputs = tree_map(mix, xb)
    if not mixed:
        got = ", ".join(f"{x.dtype} of shape {tuple(x.shape)}" for x in tree_leaves(xb))
        raise TypeError(
            f"no input of this batch can be mixed, got {got}; indices are not blended: "
            "mix their embeddings with mixup_rs.torch.apply inside the model"
        )
    return inputs


def _batch_size(xb: tuple[Any, ...]) -> int:
    for x in tree_leaves(xb):
        if x.ndim == 0 or x.shape[0] == 0:
            raise ValueError(f"expected a batch of at least one sample, got an input of shape {tuple(x.shape)}")
        return x.shape[0]
    raise TypeError(f"expected a batch of tensors, got {xb!r}")


def _is_index(y: torch.Tensor) -> bool:
    return not (y.is_floating_point() or y.dtype == torch.bool)


def _as_float(y: torch.Tensor) -> torch.Tensor:
    return y.float().as_subclass(type(y)) if y.dtype == torch.bool else y
