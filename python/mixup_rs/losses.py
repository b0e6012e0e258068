"""The loss of a mixed batch whose targets are class indices: a weighted pair of losses (arXiv 1710.09412)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixup_rs.nest import tree_map

__all__ = ["mixed_loss"]

#: Losses of class indices whose mean is over the weights of the classes, without those to ignore.
_MEAN_OVER_WEIGHTS = (nn.CrossEntropyLoss, nn.NLLLoss, functional.cross_entropy, functional.nll_loss)

#: The class that torch's losses ignore unless told otherwise.
_IGNORED = -100


def mixed_loss(
    loss_func: Callable[..., Any], pred: Any, own: Sequence[Any], partner: Sequence[Any], lam: Tensor
) -> Tensor:
    """lam * loss(pred, own) + (1 - lam) * loss(pred, partner), per sample, then reduced as `loss_func` reduces.

    loss_func: called as `loss_func(pred, *targets)`. It may have an attribute `reduction`, as torch's modules and
        fastai's losses do, or take one as an argument, as torch.nn.functional does; else it is called once a sample and
        averaged. Class weights and `ignore_index` are reduced over the weights, not over the samples.
    pred: what the model returned, batch first. own, partner: the targets of each sample and of its partner.
    lam: (n,) weights of the own targets.

    Returns a scalar, or the loss's own shape where it does not reduce.

    >>> pred, y = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    >>> loss = mixed_loss(torch.nn.functional.cross_entropy, pred, [y], [y.flip(0)], torch.tensor([1.0, 0.5]))
    >>> round(loss.item(), 4)
    0.6269
    """
    with _unreduced(loss_func) as (unreduced, reduction):
        losses = [_per_element(unreduced, pred, targets, len(lam)) for targets in (own, partner)]
    own_loss, partner_loss = losses
    share = _spread(lam, own_loss)
    total = torch.lerp(partner_loss, own_loss, share)
    if reduction == "none":
        return total
    if reduction == "sum":
        return total.sum()
    own_weight, partner_weight = (_element_weights(loss_func, targets, own_loss) for targets in (own, partner))
    if own_weight is None or partner_weight is None:
        return total.mean()
    weights = torch.lerp(partner_weight, own_weight, share).sum()
    if not _is_fastais_smoothing(loss_func):
        return total.sum() / weights
    # Its smoothing, which is all that a target to ignore leaves of it, is averaged over the samples.
    with _unreduced(loss_func) as (unreduced, _):
        smoothing = unreduced(pred, torch.full_like(own[0], _IGNORED))
    return smoothing.mean() + (total - smoothing).sum() / weights


@contextmanager
def _unreduced(loss_func: Callable[..., Any]) -> Iterator[tuple[Callable[..., Any], str]]:
    """The loss as it is before its reduction, and the name of that. A loss that has none averages."""
    reduction = getattr(loss_func, "reduction", None)
    if isinstance(reduction, str):
        loss_func.reduction = "none"
        try:
            yield loss_func, reduction
        finally:
            loss_func.reduction = reduction
    elif (argument := _parameters(loss_func).get("reduction")) is not None:
        yield partial(loss_func, reduction="none"), argument.default
    else:
        yield loss_func, "mean"


def _parameters(loss_func: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(loss_func).parameters)
    except (TypeError, ValueError):  # a builtin
        return {}


def _per_element(loss_func: Callable[..., Any], pred: Any, targets: Sequence[Any], n: int) -> Tensor:
    """The loss of each element, batch first; of each sample, by a call for each, if the function gives one number."""
    loss = loss_func(pred, *targets)
    if loss.ndim > 0 and loss.numel() % n == 0:
        return loss

    def sample(i: int) -> Tensor:
        one = tree_map(lambda tensor: tensor[i : i + 1], (pred, *targets))
        return loss_func(*one).mean()

    return torch.stack([sample(i) for i in range(n)])


def _spread(weight: Tensor, loss: Tensor) -> Tensor:
    """A weight per sample to one per element of the loss, which may have been flattened."""
    weight = weight.to(loss.device, loss.dtype)
    return weight.repeat_interleave(loss.numel() // len(weight)).view(loss.shape)


def _element_weights(loss_func: Callable[..., Any], targets: Sequence[Any], loss: Tensor) -> Tensor | None:
    """What each element of the loss counts in the mean, or None where all count alike."""
    settings = _settings(loss_func)
    if settings is None or len(targets) != 1 or targets[0].is_floating_point():
        return None
    target, weight = targets[0].as_subclass(Tensor).long().reshape(loss.shape), settings["weight"]
    counted = target != settings["ignore_index"]
    weights = counted if weight is None else weight[target * counted] * counted
    return weights.to(loss.dtype)


def _settings(loss_func: Any) -> dict[str, Any] | None:
    """The class weights and the index to ignore of a loss whose mean heeds them; fastai's losses wrap others."""
    if isinstance(loss_func, partial):
        inner = _settings(loss_func.func)
        return None if inner is None else {**inner, **loss_func.keywords}
    if loss_func in _MEAN_OVER_WEIGHTS:
        return {"weight": None, "ignore_index": _IGNORED}
    if isinstance(loss_func, _MEAN_OVER_WEIGHTS[:2]):
        return {"weight": loss_func.weight, "ignore_index": loss_func.ignore_index}
    if (inner := getattr(loss_func, "func", None)) is not None:
        return _settings(inner)
    return {"weight": loss_func.weight, "ignore_index": _IGNORED} if _is_fastais_smoothing(loss_func) else None


def _is_fastais_smoothing(loss_func: Any) -> bool:
    """Whether the loss is fastai's cross-entropy with label smoothing, which it may have wrapped to flatten."""
    module = sys.modules.get("fastai.losses")  # where it is not loaded, nothing is of it
    inner = getattr(loss_func, "func", loss_func)
    return module is not None and isinstance(inner, module.LabelSmoothingCrossEntropy)
