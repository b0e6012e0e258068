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

from mixup_rs.torch.nest import tree_map

__all__ = ["mixed_loss"]

#: Losses of class indices whose mean is over the class weights of the targets, without ignored ones.
_MEAN_OVER_WEIGHTS = (nn.CrossEntropyLoss, nn.NLLLoss, functional.cross_entropy, functional.nll_loss)

#: The default `ignore_index` of torch's losses.
_IGNORED = -100


def mixed_loss(
    loss_func: Callable[..., Any], pred: Any, own: Sequence[Any], partner: Sequence[Any], lam: Tensor
) -> Tensor:
    """The loss of a mixed batch: lam * loss(pred, own) + (1 - lam) * loss(pred, partner), per sample, then reduced.

    The reduction is that of `loss_func`. A mean with class weights or `ignore_index` is over the weights of the
    targets, not over the samples.

    Parameters
    ----------
    loss_func : callable
        Called as ``loss_func(pred, *targets)``. Its reduction is its attribute `reduction`, as of torch's modules and
        fastai's losses, or its argument `reduction`, as in torch.nn.functional. A function with neither is called once
        a sample if it returns one number, and its values are averaged.
    pred : torch.Tensor or nest of torch.Tensor
        The output of the model, batch first.
    own, partner : sequence of torch.Tensor
        The targets of the samples and of their partners, each a tuple of arguments of `loss_func`.
    lam : torch.Tensor
        Weights of the own targets, shape (n,), floats in [0, 1].

    Returns
    -------
    torch.Tensor
        A scalar; for the reduction "none" the shape of the loss.

    References
    ----------
    https://arxiv.org/abs/1710.09412

    Examples
    --------
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
    # The smoothing term is averaged over the samples. For an ignored target the loss is that term alone.
    with _unreduced(loss_func) as (unreduced, _):
        smoothing = unreduced(pred, torch.full_like(own[0], _IGNORED))
    return smoothing.mean() + (total - smoothing).sum() / weights


@contextmanager
def _unreduced(loss_func: Callable[..., Any]) -> Iterator[tuple[Callable[..., Any], str]]:
    """The loss without its reduction, and the name of the reduction; "mean" for a loss that names none."""
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
    """The loss of each element, batch first; if the function returns one number, of each sample, by a call for each."""
    loss = loss_func(pred, *targets)
    if loss.ndim > 0 and loss.numel() % n == 0:
        return loss

    def sample(i: int) -> Tensor:
        one = tree_map(lambda tensor: tensor[i : i + 1], (pred, *targets))
        return loss_func(*one).mean()

    return torch.stack([sample(i) for i in range(n)])


def _spread(weight: Tensor, loss: Tensor) -> Tensor:
    """Repeat a weight per sample to one per element of the loss, which may be flattened."""
    weight = weight.to(loss.device, loss.dtype)
    return weight.repeat_interleave(loss.numel() // len(weight)).view(loss.shape)


def _element_weights(loss_func: Callable[..., Any], targets: Sequence[Any], loss: Tensor) -> Tensor | None:
    """The weight of each element of the loss in the mean, or None if all weights are equal."""
    settings = _settings(loss_func)
    if settings is None or len(targets) != 1 or targets[0].is_floating_point():
        return None
    target, weight = targets[0].as_subclass(Tensor).long().reshape(loss.shape), settings["weight"]
    counted = target != settings["ignore_index"]
    weights = counted if weight is None else weight[target * counted] * counted
    return weights.to(loss.dtype)


def _settings(loss_func: Any) -> dict[str, Any] | None:
    """The class weights and the `ignore_index` of a loss whose mean is over weights, or None for another loss.

    fastai's losses wrap torch's as their attribute `func`.
    """
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
    """Whether the loss is fastai's cross-entropy with label smoothing, or its flattening wrapper of that."""
    module = sys.modules.get("fastai.losses")  # a loss of fastai exists only if its module is loaded
    inner = getattr(loss_func, "func", loss_func)
    return module is not None and isinstance(inner, module.LabelSmoothingCrossEntropy)
