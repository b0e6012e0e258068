"""Which losses come apart into samples, and how their parts are reduced.

A weight per sample needs the loss of each sample. Only some losses have one: cross-entropy is a mean over samples, a
triplet loss over a batch is not. A loss is taken apart if it is known (torch's and fastai's own), or if it is found to:
its parts, reduced again, must give its own value, and the parts of half a batch must be those of the whole. Values that
were tried are not all values: a target may be one to ignore, a class may have a weight. Therefore the value of a loss
that was found to come apart is compared with its parts in each batch.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixup_rs.torch.nest import tree_leaves, tree_map

__all__ = [
    "Parts",
    "come_apart",
    "copy_of",
    "is_fastais_smoothing",
    "parts_of",
    "said_parts_of",
    "same_random",
    "tried_parts_of",
    "wide_sum",
]

#: Losses of class indices whose mean is over the weights of the classes, without the index to ignore.
_MEAN_OVER_WEIGHTS = (nn.CrossEntropyLoss, nn.NLLLoss, functional.cross_entropy, functional.nll_loss)

#: Other losses of torch whose elements depend on one sample each, and whose mean is over all elements.
_MEAN_OVER_ELEMENTS = (
    *(nn.BCELoss, nn.BCEWithLogitsLoss, nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss),
    *(nn.MultiMarginLoss, nn.MultiLabelMarginLoss, nn.MultiLabelSoftMarginLoss, nn.SoftMarginLoss),
    *(functional.binary_cross_entropy, functional.binary_cross_entropy_with_logits, functional.mse_loss),
    *(functional.l1_loss, functional.smooth_l1_loss, functional.huber_loss, functional.multi_margin_loss),
)

#: The class that torch's losses ignore unless told otherwise.
IGNORED = -100

#: How far the value of a loss may be from its parts, reduced again, as a share of the largest part: they are summed in
#: another order.
_TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}

#: What a loss raises that is tried on what it does not take.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError)


class Parts:
    """A loss taken apart.

    Parameters
    ----------
    loss_func : callable
        Called as ``loss_func(pred, *targets)``.
    reduction : {"mean", "sum", "batchmean", "none"}
        How it reduces its elements.
    settings : dict, optional
        The class weights and the index to ignore, of a loss whose mean is over them.
    is_known : bool
        Whether it comes apart whatever its values are.
    """

    def __init__(
        self,
        loss_func: Callable[..., Any],
        reduction: str,
        settings: dict[str, Any] | None = None,
        is_known: bool = True,
    ):
        self.loss_func, self.reduction, self.settings, self.is_known = loss_func, reduction, settings, is_known

    def elements(self, pred: Any, targets: Sequence[Any]) -> Tensor:
        """The loss before its reduction, batch first."""
        with _unreduced(self.loss_func) as (unreduced, _):
            return unreduced(pred, *targets)

    def element_weights(self, targets: Sequence[Any], loss: Tensor) -> Tensor | None:
        """What each element counts in the mean, or None if all count alike."""
        if self.settings is None or len(targets) != 1 or targets[0].is_floating_point():
            return None
        target, weight = targets[0].as_subclass(Tensor).long().reshape(loss.shape), self.settings["weight"]
        counted = target != self.settings["ignore_index"]
        weights = counted if weight is None else weight[target * counted] * counted
        return weights.to(loss.dtype)

    def reduced(self, loss: Tensor, n: int) -> Tensor:
        """Elements reduced without weights."""
        if self.reduction == "none":
            return loss
        total = wide_sum(loss)
        if self.reduction != "sum":
            total = total / (n if self.reduction == "batchmean" else loss.numel())
        return total.to(loss.dtype)


def parts_of(loss_func: Any) -> Parts | None:
    """Take a known loss apart: torch's, fastai's, or a partial of one. None for any other."""
    inner: Any = loss_func
    while isinstance(inner, partial):
        if not {"size_average", "reduce"}.isdisjoint(inner.keywords):  # these override `reduction`
            return None
        inner = inner.func
    inner = getattr(inner, "func", inner) if _is_fastais(inner) else inner
    if isinstance(inner, nn.Module) and _is_changed(inner):
        return None
    known = type(inner) if isinstance(inner, nn.Module) else inner
    if known not in (*_MEAN_OVER_WEIGHTS, *_MEAN_OVER_ELEMENTS) and not _is_fastais(inner):
        return None
    with _unreduced(loss_func) as (_, reduction):
        pass
    return Parts(loss_func, reduction, _settings(loss_func)) if reduction in ("mean", "sum", "none") else None


def said_parts_of(loss_func: Any) -> Parts | None:
    """Take a loss apart that says how it reduces, by an attribute or an argument `reduction`. None for any other.

    Whether it comes apart is not known: see `come_apart`.
    """
    if not isinstance(getattr(loss_func, "reduction", None), str) and "reduction" not in _parameters(loss_func):
        return None
    with _unreduced(loss_func) as (_, reduction):
        return Parts(loss_func, reduction, is_known=False)


def tried_parts_of(loss_func: Any, pred: Any, targets: Sequence[Any], halves: bool = True) -> Parts | None:
    """Take a loss apart that says how it reduces, if these values show that it comes apart. None otherwise.

    Parameters
    ----------
    loss_func : callable
        A loss with an attribute or an argument `reduction`.
    pred : nest of torch.Tensor
        Predictions, batch first.
    targets : sequence
        Nests of targets, batch first.
    halves : bool, default True
        Look at the halves as well.

    Returns
    -------
    Parts or None
        None if it does not `come_apart`.
    """
    if (parts := said_parts_of(loss_func)) is None:
        return None
    tried = Parts(copy_of(loss_func), parts.reduction)
    try:
        with torch.no_grad(), same_random(pred):
            whole = tried.elements(pred, targets)
    except _FAILURES:
        return None
    return parts if isinstance(whole, Tensor) and come_apart(parts, pred, targets, whole, halves) else None


def come_apart(parts: Parts, pred: Any, targets: Sequence[Any], whole: Tensor, halves: bool = True) -> bool:
    """Whether the elements of a loss, reduced, are its value, and those of half the batch those of the whole.

    Parameters
    ----------
    parts : Parts
        How the loss says that it comes apart. A copy of the loss is tried.
    pred : nest of torch.Tensor
        Predictions, batch first.
    targets : sequence
        Nests of targets, batch first.
    whole : torch.Tensor
        The elements for these.
    halves : bool, default True
        Look at the halves as well.
    """
    first = next(iter(tree_leaves(pred)), None)
    if first is None or first.ndim == 0:
        return False
    n, loss_func, whole = len(first), copy_of(parts.loss_func), whole.detach()
    if whole.ndim == 0 or whole.numel() % n or whole.dtype not in _TOLERANCE:
        return False
    finite = whole[whole.isfinite()].abs()
    tolerance = _TOLERANCE[whole.dtype] * (finite.max().item() if finite.numel() else 0.0)
    try:
        with torch.no_grad(), same_random(pred):
            if halves and not _close(_of_halves(loss_func, pred, targets, n), whole.reshape(-1), tolerance):
                return False
            value = loss_func(pred, *targets)
    except _FAILURES:
        return False
    count = {"sum": whole.numel(), "batchmean": whole.numel() // n}.get(parts.reduction, 1)
    return isinstance(value, Tensor) and _close(parts.reduced(whole, n), value, tolerance * count)


def _of_halves(loss_func: Any, pred: Any, targets: Sequence[Any], n: int) -> Tensor:
    """The elements of the two halves of a batch, one after the other."""
    # Not a multiple of 2 or 3: losses of pairs or triples of neighbours do not come apart there.
    half = next(k for k in range(max(n // 2, 1), 0, -1) if k % 6 in (1, 5))
    sides = [_rows(slice(0, half), (pred, *targets)), _rows(slice(half, n), (pred, *targets))]
    with _unreduced(loss_func) as (unreduced, _):
        return torch.cat([unreduced(*side).reshape(-1) for side in sides if len(tree_leaves(side[0])[0])])


@contextmanager
def same_random(pred: Any) -> Iterator[None]:
    """Torch's generators of the host and of a prediction's device are afterwards as they were."""
    devices = {x.device for x in tree_leaves(pred) if x.is_cuda}
    with torch.random.fork_rng(devices=devices):
        yield


def wide_sum(loss: Tensor) -> Tensor:
    """The sum, in single precision at least: that of many elements is more than half precision holds."""
    return loss.sum(dtype=torch.promote_types(loss.dtype, torch.float32))


def copy_of(loss_func: Any) -> Any:
    """A copy of a loss, to be tried: a loss that keeps something of its calls must not see these.

    Functions, and what cannot be copied, are returned as they are.
    """
    if inspect.isroutine(loss_func):
        return loss_func
    try:
        return copy.deepcopy(loss_func)
    except (TypeError, RuntimeError, NotImplementedError, pickle.PickleError):
        return loss_func


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two losses agree. A network that diverges has a loss of NaN in both."""
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.shape == b.shape and torch.allclose(a.to(wide), b.to(wide), rtol=0, atol=tolerance, equal_nan=True)


def _rows(rows: slice, values: Any) -> Any:
    return tree_map(lambda tensor: tensor[rows], values)


@contextmanager
def _unreduced(loss_func: Callable[..., Any]) -> Iterator[tuple[Callable[..., Any], str]]:
    """The loss without its reduction, and the name of the reduction; "" for a loss that names none."""
    reduction = getattr(loss_func, "reduction", None)
    if isinstance(reduction, str):
        loss_func.reduction = "none"  # type: ignore[attr-defined]
        try:
            yield loss_func, reduction
        finally:
            loss_func.reduction = reduction  # type: ignore[attr-defined]
    elif (argument := _parameters(loss_func).get("reduction")) is not None:
        yield partial(loss_func, reduction="none"), argument.default
    else:
        yield loss_func, ""


def _parameters(loss_func: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(loss_func).parameters)
    except (TypeError, ValueError):  # a builtin
        return {}


def _settings(loss_func: Any) -> dict[str, Any] | None:
    """The class weights and the `ignore_index` of a loss whose mean is over weights, or None for another loss.

    fastai's losses wrap torch's as their attribute `func`.
    """
    if isinstance(loss_func, partial):
        inner = _settings(loss_func.func)
        return None if inner is None else {**inner, **loss_func.keywords}
    if loss_func in _MEAN_OVER_WEIGHTS:
        return {"weight": None, "ignore_index": IGNORED}
    if isinstance(loss_func, _MEAN_OVER_WEIGHTS[:2]):
        return {"weight": loss_func.weight, "ignore_index": loss_func.ignore_index}
    if (inner := getattr(loss_func, "func", None)) is not None:
        return _settings(inner)
    return {"weight": loss_func.weight, "ignore_index": IGNORED} if is_fastais_smoothing(loss_func) else None


def _is_changed(module: nn.Module) -> bool:
    """Whether a module computes something else than its class does."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return "forward" in vars(module) or any(hooks)


def _is_fastais(loss_func: Any) -> bool:
    """Whether a loss is one of fastai's own, whose elements depend on one sample each."""
    module = sys.modules.get("fastai.losses")  # a loss of fastai exists only if its module is loaded
    names = ("BaseLoss", "LabelSmoothingCrossEntropy", "FocalLoss")
    if module is None or not isinstance(loss_func, tuple(getattr(module, name) for name in names)):
        return False
    inner = getattr(loss_func, "func", None)
    is_known = inner is None or type(inner) in (*_MEAN_OVER_WEIGHTS, *_MEAN_OVER_ELEMENTS) or _is_fastais(inner)
    return is_known and type(loss_func).__module__ == module.__name__


def is_fastais_smoothing(loss_func: Any) -> bool:
    """Whether the loss is fastai's cross-entropy with label smoothing, or its flattening wrapper of that."""
    module = sys.modules.get("fastai.losses")
    inner = getattr(loss_func, "func", loss_func)
    return module is not None and isinstance(inner, module.LabelSmoothingCrossEntropy)
