"""Callbacks for fastai: drop-ins for its MixUp and CutMix.

    learn = vision_learner(dls, resnet34, cbs=RustMixUp)

The loss function is never replaced. Where a target cannot be blended (class indices), fastai is shown no target, so
that it computes no loss, and the callback supplies the weighted pair of losses instead. Nothing is left to restore,
whichever way training ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixHandler, MixUp
from fastai.learner import AvgMetric
from fastai.torch_core import find_bs

from mixup_rs._core import MixPlan
from mixup_rs.batch import draw_cut
from mixup_rs.callback import Mixing
from mixup_rs.manifold import RustManifoldMixUp

__all__ = ["MixCollateEpoch", "MixedAccuracy", "RustCutMix", "RustManifoldMixUp", "RustMix", "RustMixUp"]


class RustMixUp(Mixing, MixUp):
    """Mixup (arXiv 1710.09412) as fastai's `MixUp` does it, by the Rust kernel.

    alpha: lam ~ Beta(alpha, alpha), folded to max(lam, 1 - lam); a number > 0.
    rng: None follows `set_seed`; an int (or a sequence of ints) keys each batch by (rng, epoch, step, rank), so that a
        resumed run repeats; a numpy.random.Generator is drawn from; "torch" draws from torch's generator in fastai's
        own order: the same training run as with MixUp.
    inplace: overwrite the batch instead of making a second one.

    Inputs of floats or of integers up to 16 bits are mixed; wider integers (token ids, categories) stay. Float and
    boolean targets are blended; integer targets (class indices) are kept, and the loss is the weighted sum of those
    against both targets, whatever the loss function.

    Batches of a DataLoader whose collate function is a `MixCollate` are the loader's to mix, or to leave: of those with
    (y, y_partner, lam) for targets this supplies the loss, others it leaves alone.

    `lam` and `yb1` are those of the last batch, as in fastai; `plan` is the MixPlan they come from.

    >>> from fastai.test_utils import synth_learner
    >>> learn = synth_learner(cbs=RustMixUp(alpha=0.4, rng=42))
    >>> learn.mix_up
    RustMixUp
    """

    name = "mix_up"

    def __init__(self, alpha: float = 0.4, rng: Any = None, inplace: bool = False):
        MixPlan.mixup(0, alpha=alpha)  # refuses an alpha that cannot be drawn from
        super().__init__(alpha, rng, inplace)
        self.alpha = float(alpha)

    def _plan(self, xb: Any, n: int, key: Any) -> MixPlan:
        return MixPlan.mixup(n, alpha=self.alpha, rng=key)

    def _draw(self, xb: Any, n: int) -> MixPlan:
        if isinstance(self.rng, str) and self.rng == "torch":
            lam = self.distrib.sample((n,))
            return MixPlan(torch.max(lam, 1 - lam).numpy(), torch.randperm(n, device="cpu").numpy())
        return self._plan(xb, n, self._key())


class RustCutMix(Mixing, CutMix):
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
        super().__init__(alpha, rng, inplace)
        self.alpha, self.mode, self.minmax = float(alpha), mode, minmax

    def _plan(self, xb: Any, n: int, key: Any) -> MixPlan:
        return draw_cut(xb, n, alpha=self.alpha, mode=self.mode, minmax=self.minmax, rng=key)


class RustMix(Mixing, MixHandler):
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
        super().__init__(mixup, rng, inplace)
        self.mixup, self.cutmix, self.prob, self.switch = float(mixup), float(cutmix), prob, switch

    def _plan(self, xb: Any, n: int, key: Any) -> MixPlan | None:
        # Two uniform numbers of the same key, by a child of it.
        whether, which = MixPlan.mixup(2, alpha=1.0, fold=False, rng=key if _moves(key) else (*key, 1)).lam
        if whether >= self.prob:
            return None
        key = key if _moves(key) else (*key, 0)
        if which < self.switch:
            return draw_cut(xb, n, alpha=self.cutmix, rng=key)
        return MixPlan.mixup(n, alpha=self.mixup, rng=key)


def _moves(key: Any) -> bool:
    return isinstance(key, np.random.Generator)


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


class MixedAccuracy(AvgMetric):
    """Accuracy that knows mixup: a hit on a sample's own class counts lam, one on its partner's 1 - lam.

    For training metrics (`Recorder(train_metrics=True)`), of batches mixed by a callback or by a `MixCollate`; a hit on
    a class of a soft target counts what that says. Where nothing is mixed it is plain accuracy.

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
        pred, own = learn.pred.as_subclass(torch.Tensor), learn.yb[0].as_subclass(torch.Tensor)
        guess = pred.argmax(self.axis)
        if own.is_floating_point() and own.shape == pred.shape:  # soft targets, as blended ones are
            return own.gather(self.axis, guess.unsqueeze(self.axis)).mean()
        hits = (guess == own).float()
        mixer = next((cb for cb in learn.cbs if isinstance(cb, Mixing) and cb.is_mixed and cb.stack_y), None)
        if learn.training and mixer is not None:
            partner = mixer.partners_of(learn.yb)[0].as_subclass(torch.Tensor)
            lam = mixer.lam.view(-1, *[1] * (hits.ndim - 1))
            hits = lam * hits + (1 - lam) * (guess == partner).float()
        return hits.mean()

    @property
    def name(self) -> str:
        return "mixed_accuracy"
