"""Callbacks that mix a training batch: drop-ins for fastai's MixUp and CutMix, and the epochs of a `MixCollate`.

    learn = vision_learner(dls, resnet34, cbs=RustMixUp)

The loss function of the learner is never replaced (`mixup_rs.fastai.mixing`), so there is nothing to restore, however
training ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixHandler, MixUp

from mixup_rs._core import MixPlan
from mixup_rs.fastai.mixing import Mixing
from mixup_rs.torch.batch import draw_cut

__all__ = ["MixCollateEpoch", "RustCutMix", "RustMix", "RustMixUp"]


class RustMixUp(Mixing, MixUp):
    """Mixup, as fastai's `MixUp` applies it, computed by the Rust kernel.

    Inputs of floats or of integers of at most 16 bits are blended. Wider integers (token ids, categories) are left as
    they are. Float and boolean targets are blended. Integer targets (class indices) are kept, and the loss is the
    weighted sum of the losses against both targets, for any loss function.

    The batches of a DataLoader whose collate function is a `MixCollate` are not mixed again. If their targets are
    (y, y_partner, lam), the callback supplies the loss.

    Parameters
    ----------
    alpha : float, default 0.4
        lam ~ Beta(alpha, alpha), folded to max(lam, 1 - lam); > 0.
    rng : None, int, sequence of int, numpy.random.Generator or "torch", default None
        None draws from torch's generator, so that it follows `set_seed`. An int, or a sequence of ints, keys each batch
        by (rng, epoch, step, rank), so that a resumed run repeats. A Generator is drawn from. "torch" draws from
        torch's generator in the order of fastai's MixUp: the training run is the same as with MixUp.
    inplace : bool, default False
        Overwrite the batch instead of allocating a new one.

    Attributes
    ----------
    plan : MixPlan or None
        The plan of the last batch.
    lam : torch.Tensor
        The own weights of the last batch, float32, shape (n,), as in fastai.
    yb1 : tuple of torch.Tensor
        The partners' targets of the last batch, as in fastai.

    Raises
    ------
    ValueError
        If alpha is not > 0 and finite; in training, if `rng` is another string.
    TypeError
        In training, if no input of a batch can be mixed.

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

    name = "mix_up"

    def __init__(self, alpha: float = 0.4, rng: Any = None, inplace: bool = False):
        MixPlan.mixup(0, alpha=alpha)  # checks alpha
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
    """CutMix, as fastai's `CutMix` applies it: a box of each image is copied from its partner.

    Inputs and targets of the image's height and width (masks) are cut alike. Other float targets are blended, and class
    indices weighted in the loss, as in `RustMixUp`. `lam` is the share of the image's pixels outside the box.

    Parameters
    ----------
    alpha : float, default 1.0
        The share that is kept ~ Beta(alpha, alpha), before the box is clipped to the image; > 0.
    rng : None, int, sequence of int or numpy.random.Generator, default None
        As for `RustMixUp`, without "torch".
    inplace : bool, default False
        Overwrite the batch instead of allocating a new one.
    mode : {"batch", "elem", "pair"}, default "batch"
        "batch": one box for all images, as in fastai. "elem": a box per image. "pair": partners share a box.
    minmax : (float, float), optional
        Draw each side of the box between these fractions of the image's side, without clipping, as timm does.

    Attributes
    ----------
    plan, lam, yb1
        As of `RustMixUp`.

    Raises
    ------
    ValueError
        If alpha, mode or minmax is out of its range; in training, if `rng` is a string.
    TypeError
        In training, if no input of a batch has the shape (n, ..., height, width).

    References
    ----------
    https://arxiv.org/abs/1905.04899

    Examples
    --------
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
        MixPlan.cutmix(0, 1, 1, alpha=alpha, mode=mode, minmax=minmax)  # checks the arguments
        super().__init__(alpha, rng, inplace)
        self.alpha, self.mode, self.minmax = float(alpha), mode, minmax

    def _plan(self, xb: Any, n: int, key: Any) -> MixPlan:
        return draw_cut(xb, n, alpha=self.alpha, mode=self.mode, minmax=self.minmax, rng=key)


class RustMix(Mixing, MixHandler):
    """Mixup or CutMix, chosen at random for each batch.

    Parameters
    ----------
    mixup : float, default 0.4
        alpha of mixup, > 0.
    cutmix : float, default 1.0
        alpha of CutMix, > 0.
    prob : float, default 1.0
        Probability, in [0, 1], that a batch is mixed.
    switch : float, default 0.5
        Probability, in [0, 1], that CutMix is chosen for a batch that is mixed.
    rng : None, int, sequence of int or numpy.random.Generator, default None
        As for `RustMixUp`, without "torch".
    inplace : bool, default False
        Overwrite the batch instead of allocating a new one.

    Attributes
    ----------
    plan, lam, yb1
        As of `RustMixUp`.

    Raises
    ------
    ValueError
        If an argument is out of its range; in training, if `rng` is a string.
    TypeError
        In training, if no input of a batch can be mixed, or none has a height and width for CutMix.

    References
    ----------
    mixup: https://arxiv.org/abs/1710.09412, CutMix: https://arxiv.org/abs/1905.04899

    Examples
    --------
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
        # A Generator advances with each draw. From a key, each draw takes a child key.
        advances = isinstance(key, np.random.Generator)
        whether, which = MixPlan.mixup(2, alpha=1.0, fold=False, rng=key if advances else (*key, 1)).lam
        if whether >= self.prob:
            return None
        key = key if advances else (*key, 0)
        if which < self.switch:
            return draw_cut(xb, n, alpha=self.cutmix, rng=key)
        return MixPlan.mixup(n, alpha=self.mixup, rng=key)


class MixCollateEpoch(Callback):
    """Sets the epoch of a `MixCollate` at the start of each epoch, for its `off_epoch` and its keys.

    Parameters
    ----------
    collate : MixCollate
        The collate function of the training DataLoader.

    Examples
    --------
    >>> from mixup_rs.torch import MixCollate
    >>> MixCollateEpoch(MixCollate(off_epoch=10))
    MixCollateEpoch
    """

    def __init__(self, collate: Any):
        self.collate = collate

    def before_epoch(self) -> None:
        """Set the epoch, in workers as well."""
        self.collate.set_epoch(self.epoch)
