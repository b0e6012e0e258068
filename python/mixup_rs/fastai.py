"""Callbacks for fastai: drop-ins for its MixUp and CutMix.

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
from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixHandler, MixUp
from fastai.learner import AvgMetric
from fastai.torch_core import find_bs, rank_distrib
from torch import nn

from mixup_rs._core import MixPlan
from mixup_rs.losses import mixed_loss
from mixup_rs.nest import tree_leaves, tree_map
from mixup_rs.torch import is_mixable, mix_tensor, send_pairs

__all__ = ["MixCollateEpoch", "MixedAccuracy", "RustCutMix", "RustManifoldMixUp", "RustMix", "RustMixUp"]

#: Places in fastai's order of callbacks, which it sorts anew at every event.
_FIRST, _LAST = float("-inf"), float("inf")


class _Mixing:
    """What the callbacks have in common: a plan per batch, and a loss that nobody has to restore."""

    run_valid = False

    def _set_up(self, rng: Any, inplace: bool) -> None:
        self.rng, self.inplace = rng, inplace
        self._word, self._turn = torch.empty((), dtype=torch.int64), 0
        self._forget()

    def show_batch(self, dls: Any, max_n: int = 9) -> Any:
        """Draws images of a training batch, their partners and the mix, with both labels and their weights.

        Returns a matplotlib Figure.
        """
        from mixup_rs.plot import plot_mixed_batch

        batch = dls.train.one_batch()
        x, y = batch[0], batch[-1]
        with torch._C.DisableTorchFunctionSubclass():
            plan = MixPlan.mixup(len(x), alpha=self.alpha, rng=(self._word.random_().item(),))
            mixed = mix_tensor(plan, x)
        names = getattr(dls, "vocab", None)
        labels = y if not y.is_floating_point() and y.ndim == 1 else None
        return plot_mixed_batch(x, mixed, plan, labels=labels, class_names=names, max_n=max_n)

    def _draw(self, xb: Any, n: int) -> MixPlan | None:
        """The plan of a batch of `n` with inputs `xb`; None to leave the batch as it is."""
        raise NotImplementedError

    def before_fit(self) -> None:
        # Predicting is a fit to fastai's events: nothing of a batch that was interrupted may reach it.
        self._forget()

    def before_train(self) -> None:
        self._forget()
        self.__dict__["stack_y"] = getattr(self.learn.loss_func, "y_int", False)

    def before_batch(self) -> None:
        learn = self.learn
        xb, yb = learn.xb, learn.yb
        if not self._is_its_turn():
            return self._forget()
        if any(_is_paired(y) for y in yb):
            return self._take_over(yb)
        # fastai's tensors run Python code for every attribute; what is asked of them here needs none of it.
        with torch._C.DisableTorchFunctionSubclass():
            plan = self._draw(xb, _batch_size(xb))
            if plan is None:
                return self._forget()
            learn.xb = self._mix_inputs(plan, xb)
            has_index = any(_keeps(plan, y) for y in tree_leaves(yb))
            learn.yb = tree_map(lambda y: _mix_target(plan, y), yb)
        # Not by fastai's __setattr__, which searches the learner and its model for every name.
        self.__dict__.update(plan=plan, _yb=yb, _loaded=None, _on_device={}, stack_y=has_index)
        if has_index:
            self.__dict__["order"] = _LAST

    def _take_over(self, yb: tuple[Any, ...]) -> None:
        """Of a batch that `MixCollate` mixed, only the loss is left to do."""
        pairs = [y if _is_paired(y) else (y, y, None) for y in yb]
        self.learn.yb = tuple(y for y, _, _ in pairs)
        lam = next(lam for _, _, lam in pairs if lam is not None)
        self.__dict__.update(plan=None, _yb=yb, _loaded=(tuple(y1 for _, y1, _ in pairs), lam), stack_y=True)
        self.__dict__["order"] = _LAST

    @property
    def _is_mixed(self) -> bool:
        return self.plan is not None or self._loaded is not None

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        return mix_inputs(plan, xb, self.inplace)

    def _is_its_turn(self) -> bool:
        """Of several mixing callbacks in one learner, one at random mixes a batch."""
        mixers = [cb for cb in self.learn.cbs if isinstance(cb, _Mixing) and cb.run]
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
        if self.stack_y and self._is_mixed:
            self.__dict__.update(_hidden=self.learn.yb, order=_FIRST)
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
        if not self.training or not self._is_mixed:
            return self.old_lf(pred, *yb)
        return mixed_loss(self.old_lf, pred, yb, self.yb1, self.lam)

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
        """The partners' targets; blended ones where targets were blended beside indices."""
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
            return (self._word.random_().item(), rank_distrib())
        if isinstance(rng, np.random.Generator):
            return rng
        if isinstance(rng, str):
            raise ValueError(f"rng must be None, ints or a numpy Generator, or 'torch' for RustMixUp, got {rng!r}")
        seed = (rng,) if np.ndim(rng) == 0 else tuple(rng)
        return (*seed, self.learn.epoch, getattr(self.learn, "iter", 0), rank_distrib())

    def _show(self) -> None:
        self.__dict__.pop("order", None)
        if self._hidden is not None:
            self.learn.yb = self._hidden
            self.__dict__["_hidden"] = None

    def _forget(self) -> None:
        self.__dict__.pop("order", None)
        self.__dict__.update(plan=None, _yb=(), _on_device={}, _hidden=None, _loaded=None, stack_y=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the last batch, which is nobody's business in an exported learner."""
        batch = {"plan": None, "_yb": (), "_on_device": {}, "_hidden": None, "_loaded": None}
        state = {**super().__getstate__(), **batch}
        state.pop("order", None)
        return state


class RustMixUp(_Mixing, MixUp):
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

    >>> from fastai.test_utils import synth_learner
    >>> learn = synth_learner(cbs=RustMixUp(alpha=0.4, rng=42))
    >>> learn.mix_up
    RustMixUp
    """

    name = "mix_up"

    def __init__(self, alpha: float = 0.4, rng: Any = None, inplace: bool = False):
        MixPlan.mixup(0, alpha=alpha)  # refuses an alpha that cannot be drawn from
        super().__init__(float(alpha))
        self.alpha = float(alpha)
        self._set_up(rng, inplace)

    def _draw(self, xb: Any, n: int) -> MixPlan:
        if isinstance(self.rng, str) and self.rng == "torch":
            lam = self.distrib.sample((n,))
            return MixPlan(torch.max(lam, 1 - lam).numpy(), torch.randperm(n).numpy())
        return MixPlan.mixup(n, alpha=self.alpha, rng=self._key())


class RustManifoldMixUp(_Mixing, MixHandler):
    """Manifold mixup (Verma et al., arXiv 1806.05236): what goes into a layer is mixed instead of the model's input.

    This is the way to mix token ids and categories: as embeddings.

    alpha: lam ~ Beta(alpha, alpha), folded; a number > 0.
    layer: the module whose inputs are mixed; None draws one for each batch from the model's stages: the modules of its
        sequential parts, but for the first of a sequential model, whose input is the model's own. In fastai's text
        classifiers `learn.model[1].layers` is given whole sentences, however long each is.
    rng: as for RustMixUp.

    >>> RustManifoldMixUp(alpha=0.4)
    RustManifoldMixUp
    """

    name = "manifold_mix_up"

    def __init__(self, alpha: float = 0.4, layer: nn.Module | None = None, rng: Any = None):
        MixPlan.mixup(0, alpha=alpha)
        super().__init__(float(alpha))
        self.alpha, self.layer, self._hook = float(alpha), layer, None
        self._set_up(rng, inplace=False)

    def _draw(self, xb: Any, n: int) -> MixPlan:
        return MixPlan.mixup(n, alpha=self.alpha, rng=self._key())

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        layer = self.layer
        if layer is None:
            stages = _stages(self.learn.model)
            if not stages:
                raise ValueError("the model has no sequential part to draw a layer from; name one: layer=...")
            layer = stages[self._word.random_().item() % len(stages)]

        def mix(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            self._unhook()  # a layer that a model uses twice is mixed once
            return mix_inputs(plan, inputs, inplace=False)

        self._unhook()
        self.__dict__["_hook"] = layer.register_forward_pre_hook(mix)
        return xb

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self.__dict__["_hook"] = None

    def after_pred(self) -> None:
        self._unhook()
        super().after_pred()

    def _forget(self) -> None:
        self._unhook()
        super()._forget()

    def _show(self) -> None:
        self._unhook()
        super()._show()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_hook": None}


def _stages(model: nn.Module) -> list[nn.Module]:
    stages: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.Sequential):
            stages.extend(child.children())
        elif isinstance(model, nn.Sequential):
            stages.append(child)
    return stages[1:] if isinstance(model, nn.Sequential) else stages


class MixedAccuracy(AvgMetric):
    """Accuracy that knows mixup: a hit on a sample's own class counts lam, one on its partner's 1 - lam.

    For training metrics (`Recorder(train_metrics=True)`); where nothing is mixed it is plain accuracy.

    >>> MixedAccuracy().name
    'mixed_accuracy'
    """

    def __init__(self, axis: int = -1):
        super().__init__(self._hits)
        self.axis = axis

    def accumulate(self, learn: Any) -> None:
        n = find_bs(learn.yb)
        self.total += learn.to_detach(self._hits(learn)) * n
        self.count += n

    def _hits(self, learn: Any) -> torch.Tensor:
        guess, own = learn.pred.argmax(self.axis), learn.yb[0]
        mixers = [cb for cb in learn.cbs if isinstance(cb, _Mixing) and cb.plan is not None and cb.stack_y]
        hits = (guess == own).float()
        if learn.training and mixers:
            lam = mixers[0].lam.view(-1, *[1] * (hits.ndim - 1))
            hits = lam * hits + (1 - lam) * (guess == mixers[0].yb1[0]).float()
        return hits.mean()

    @property
    def name(self) -> str:
        return "mixed_accuracy"


class RustCutMix(_Mixing, CutMix):
    """CutMix (arXiv 1905.04899) as fastai's `CutMix` does it: a box of each image comes from its partner.

    alpha: the kept area ~ Beta(alpha, alpha), before the box is clipped; a number > 0. `lam` is what is left of the
        image, to the pixel.
    mode: "batch", one box for all, as fastai; "elem", a box per image; "pair", partners share theirs.
    minmax: draw each side between these fractions of the image's instead, and clip nothing, as timm.
    rng, inplace: as for RustMixUp. The batch is not written to unless `inplace`.

    Inputs and targets of the image's height and width (masks) are cut alike. Other float targets are blended, class
    indices weighted in the loss, as in RustMixUp.

    >>> RustCutMix(alpha=1.0, rng=42)
    RustCutMix
    """

    name = "cut_mix"

    def __init__(
        self,
        alpha: float = 1.0,
        rng: Any = None,
        inplace: bool = False,
        mode: str = "batch",
        minmax: tuple[float, float] | None = None,
    ):
        MixPlan.cutmix(0, 1, 1, alpha=alpha, mode=mode, minmax=minmax)  # refuses what cannot be drawn from
        super().__init__(float(alpha))
        self.alpha, self.mode, self.minmax = float(alpha), mode, minmax
        self._set_up(rng, inplace)

    def _draw(self, xb: Any, n: int) -> MixPlan:
        return _draw_cut(xb, n, alpha=self.alpha, mode=self.mode, minmax=self.minmax, rng=self._key())


class RustMix(_Mixing, MixHandler):
    """Mixup or CutMix, chosen anew for each batch.

    mixup, cutmix: the alpha of each; prob: how often a batch is mixed at all; switch: how often by CutMix then.
    rng, inplace: as for RustMixUp.

    >>> RustMix(mixup=0.4, cutmix=1.0, switch=0.5)
    RustMix
    """

    name = "mix"

    def __init__(
        self,
        mixup: float = 0.4,
        cutmix: float = 1.0,
        prob: float = 1.0,
        switch: float = 0.5,
        rng: Any = None,
        inplace: bool = False,
    ):
        for given, probability in {"prob": prob, "switch": switch}.items():
            if not 0 <= probability <= 1:
                raise ValueError(f"{given} must lie in [0, 1], got {probability}")
        MixPlan.mixup(0, alpha=mixup)
        MixPlan.cutmix(0, 1, 1, alpha=cutmix)
        super().__init__(float(mixup))
        self.mixup, self.cutmix, self.prob, self.switch = float(mixup), float(cutmix), prob, switch
        self._set_up(rng, inplace)

    def _draw(self, xb: Any, n: int) -> MixPlan | None:
        key = self._key()
        # Two uniform numbers of the same key, by a child of it.
        whether, which = MixPlan.mixup(2, alpha=1.0, fold=False, rng=key if _moves(key) else (*key, 1)).lam
        if whether >= self.prob:
            return None
        key = key if _moves(key) else (*key, 0)
        if which < self.switch:
            return _draw_cut(xb, n, alpha=self.cutmix, rng=key)
        return MixPlan.mixup(n, alpha=self.mixup, rng=key)


def _moves(key: Any) -> bool:
    return isinstance(key, np.random.Generator)


def _draw_cut(xb: Any, n: int, **how: Any) -> MixPlan:
    for x in tree_leaves(xb):
        if is_mixable(x) and x.ndim > 2:
            return MixPlan.cutmix(n, x.shape[-2], x.shape[-1], **how)
    got = ", ".join(f"{x.dtype} of shape {tuple(x.shape)}" for x in tree_leaves(xb))
    raise TypeError(f"CutMix needs an image of shape (n, ..., height, width), got {got}")


def _is_paired(y: Any) -> bool:
    """Whether a target is (y, y_partner, lam), as `MixCollate` makes it."""
    if not (isinstance(y, tuple | list) and len(y) == 3 and all(isinstance(part, torch.Tensor) for part in y)):
        return False
    own, partner, lam = y
    return own.dtype == partner.dtype == torch.int64 and lam.is_floating_point() and own.shape == partner.shape


class MixCollateEpoch(Callback):
    """Tells a `MixCollate` which epoch begins, for its `off_epoch` and its keys.

    >>> from mixup_rs.torch import MixCollate
    >>> MixCollateEpoch(MixCollate(off_epoch=10))
    MixCollateEpoch
    """

    def __init__(self, collate: Any):
        self.collate = collate

    def before_epoch(self) -> None:
        self.collate.set_epoch(self.epoch)


def _is_cut(plan: MixPlan, tensor: torch.Tensor) -> bool:
    """Whether a tensor has the height and width that a CutMix plan cuts."""
    return plan.boxes is not None and tensor.ndim > 2 and tuple(tensor.shape[-2:]) == plan.spatial_shape


def _keeps(plan: MixPlan, y: torch.Tensor) -> bool:
    """Whether a target can be neither cut nor blended: class indices."""
    return not (_is_cut(plan, y) or y.is_floating_point() or y.dtype == torch.bool)


def _mix_target(plan: MixPlan, y: torch.Tensor) -> torch.Tensor:
    if _is_cut(plan, y):
        return mix_tensor(plan, y)
    if _keeps(plan, y):
        return y
    blend = plan if plan.boxes is None else MixPlan(plan.lam, plan.partner)
    return mix_tensor(blend, _as_float(y))


def mix_inputs(plan: MixPlan, xb: tuple[Any, ...], inplace: bool) -> tuple[Any, ...]:
    mixed = 0

    def mix(x: torch.Tensor) -> torch.Tensor:
        nonlocal mixed
        if not (is_mixable(x) if plan.boxes is None else _is_cut(plan, x)):
            return x
        mixed += 1
        return mix_tensor(plan, x, inplace)

    inputs = tree_map(mix, xb)
    if not mixed:
        got = ", ".join(f"{x.dtype} of shape {tuple(x.shape)}" for x in tree_leaves(xb))
        raise TypeError(
            f"no input of this batch can be mixed, got {got}; indices are not blended: "
            "mix their embeddings with RustManifoldMixUp, or with mixup_rs.torch.apply inside the model"
        )
    return inputs


def _batch_size(xb: tuple[Any, ...]) -> int:
    for x in tree_leaves(xb):
        if x.ndim == 0 or x.shape[0] == 0:
            raise ValueError(f"expected a batch of at least one sample, got an input of shape {tuple(x.shape)}")
        return x.shape[0]
    raise TypeError(f"expected a batch of tensors, got {xb!r}")


def _as_float(y: torch.Tensor) -> torch.Tensor:
    return y.float().as_subclass(type(y)) if y.dtype == torch.bool else y
