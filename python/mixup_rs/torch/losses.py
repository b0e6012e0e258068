"""The loss of a mixed batch whose targets could not be blended: a weighted pair of losses (arXiv 1710.09412)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mixup_rs.batches.targets import ONE_LAM, PairedTarget
from mixup_rs.torch.nest import tree_leaves, tree_map
from mixup_rs.torch.separable import (
    IGNORED,
    Parts,
    come_apart,
    copy_of,
    is_fastais_smoothing,
    parts_of,
    said_parts_of,
    same_random,
    wide_sum,
)

__all__ = ["as_pair", "common_lam", "mixed_loss", "pair_of_losses", "refuse_rounding", "soft_cross_entropy", "unpaired"]


def mixed_loss(loss_func: Callable[..., Any], pred: Any, *targets: Any) -> Tensor:
    """The loss of a batch against mixed targets.

    For a `PairedTarget` (y, y_partner, lam) with one lam it is lam * loss(pred, y) + (1 - lam) * loss(pred, y_partner),
    for any loss. With a lam per sample the losses of the samples are weighted and then reduced as `loss_func` reduces:
    over class weights and without `ignore_index` where it does so. The usual ``lam * loss(pred, y) + (1 - lam) *
    loss(pred, y_partner)`` with a lam per sample and a reduced loss is wrong even where it runs: each lam then weights
    the loss of the whole batch.

    Parameters
    ----------
    loss_func : callable
        Called as ``loss_func(pred, *targets)``.
    pred : Any
        What the model returned, batch first.
    *targets : PairedTarget, (y, y_partner, lam) or torch.Tensor
        The targets as `MixCollate` makes them, or lists and dicts of them. Tensors, which are mixed already, are part
        of both losses.

    Returns
    -------
    torch.Tensor
        A scalar, or the loss's own shape where it does not reduce.

    Raises
    ------
    ValueError
        If lam is one per sample and the loss does not come apart into samples. Draw one lam for the batch then:
        ``Mixup(mode="batch")``.
    TypeError
        If `loss_func` is no function: a class that was not called, or the prediction.

    References
    ----------
    Zhang et al., https://arxiv.org/abs/1710.09412

    Examples
    --------
    >>> pred, y = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    >>> target = PairedTarget(y, y.flip(0), torch.tensor([1.0, 0.5]))
    >>> round(mixed_loss(torch.nn.functional.cross_entropy, pred, target).item(), 4)
    0.6269
    """
    if isinstance(loss_func, type) or not callable(loss_func):
        got = f"the class {loss_func.__name__}" if isinstance(loss_func, type) else type(loss_func).__name__
        raise TypeError(f"loss_func must be a function or a module, such as nn.CrossEntropyLoss(), got {got}")
    pairs = map(as_pair, targets)
    given = tuple(target if pair is None else pair for target, pair in zip(targets, pairs, strict=True))
    own, partner, lam = unpaired(given)
    if lam is None:
        return loss_func(pred, *targets)
    return pair_of_losses(loss_func, pred, own, partner, lam)


def unpaired(targets: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...], Tensor | None]:
    """The own targets, those of the partners, and lam; None where no target is a pair.

    Examples
    --------
    >>> pair = PairedTarget(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    >>> unpaired(({"label": pair},))
    (({'label': tensor([0, 1])},), ({'label': tensor([1, 0])},), tensor([0.7500, 1.0000]))
    """
    lams: list[Tensor] = []

    def side(target: Any, at: int) -> Any:
        if isinstance(target, PairedTarget):
            lams.append(torch.as_tensor(target.lam))
            return target[at]
        if isinstance(target, tuple | list):
            items = [side(item, at) for item in target]
            return type(target)(*items) if hasattr(target, "_fields") else type(target)(items)
        return {key: side(item, at) for key, item in target.items()} if isinstance(target, dict) else target

    own, partners = (tuple(side(target, at) for target in targets) for at in (0, 1))
    return own, partners, common_lam(lams) if lams else None


def common_lam(lams: Sequence[Tensor]) -> Tensor:
    """The lam of the targets of one loss. Raises ValueError if they have several."""
    if any(not torch.equal(lam, lams[0]) for lam in lams[1:]):
        raise ValueError("the targets of a loss must have one lam, got several: compute a loss for each target")
    return lams[0]


def as_pair(target: Any) -> PairedTarget | None:
    """The pair that a target is: a `PairedTarget`, or a tuple or a list of the same three. None for any other."""
    is_triple = isinstance(target, tuple | list) and len(target) == 3
    if isinstance(target, PairedTarget) or (
        is_triple
        and all(isinstance(part, Tensor) for part in target[:2])
        and target[0].shape == target[1].shape
        and _is_lam(target[2])
    ):
        own, partner, lam = target
        return PairedTarget(own, partner, torch.as_tensor(lam))
    return None


def _is_lam(value: Any) -> bool:
    """Whether a value may be weights. Integers are the classes of a third head."""
    if isinstance(value, Tensor):
        return value.is_floating_point()
    return value.dtype.kind == "f" if isinstance(value, np.ndarray) else isinstance(value, np.floating | float | int)


def pair_of_losses(
    loss_func: Callable[..., Any],
    pred: Any,
    own: Sequence[Any],
    partner: Sequence[Any],
    lam: Tensor,
    one_lam: float | None = None,
    parts: Parts | None = None,
) -> Tensor:
    """The weighted pair of losses against the own targets and those of the partners.

    Parameters
    ----------
    loss_func : callable
        Called as ``loss_func(pred, *own)`` and ``loss_func(pred, *partner)``.
    pred : Any
        What the model returned, batch first.
    own, partner : sequence
        The targets of each sample and of its partner.
    lam : torch.Tensor
        (n,), or a single number.
    one_lam : float, optional
        The weight of all samples, if it is known to be one. By default `lam` is asked.
    parts : Parts, optional
        How the loss comes apart, if that is known or was found; lam is then taken to be one per sample. No device is
        waited for if it is known.

    Returns
    -------
    torch.Tensor
        A scalar, or the loss's own shape where it does not reduce.

    Raises
    ------
    ValueError
        If lam is one per sample and the loss does not come apart into samples.
    """
    if not lam.numel():
        return loss_func(pred, *own)
    if one_lam is None and parts is None and (lam.numel() == 1 or bool((lam == lam.reshape(-1)[0]).all())):
        one_lam = lam.reshape(-1)[0].item()
    if one_lam is not None:
        if not 0 <= one_lam <= 1:
            raise ValueError(f"lam must lie in [0, 1], got {one_lam:.4g}")
        # A loss that does not count must not be computed: it may be NaN.
        if one_lam == 1:
            return loss_func(pred, *own)
        if one_lam == 0:
            return loss_func(pred, *partner)
        # A loss that writes to what it is given must not be given that twice.
        again = (pred, *partner) if parts_of(loss_func) else _copied((pred, *partner))
        return _weighted_mean(one_lam, loss_func(pred, *own), loss_func(*again))
    was_tried = parts is not None
    parts = parts or parts_of(loss_func) or said_parts_of(loss_func)
    if parts is None:
        raise _needs_one_lam(loss_func)
    _check_lam(lam, own)
    return _weighted(parts, pred, own, partner, lam, was_tried)


def _copied(values: Any) -> Any:
    try:
        return tree_map(torch.clone, values)
    except TypeError:  # a mapping that cannot be made from its items
        return values


def _needs_one_lam(loss_func: Any) -> ValueError:
    return ValueError(
        f"{_name(loss_func)} does not come apart into the losses of samples, so it needs one lam for the batch: "
        f"{ONE_LAM}"
    )


def _weighted_mean(lam: float, own: Any, partner: Any) -> Any:
    """The mean of two losses, entry by entry if they are dicts, tuples or lists."""
    if isinstance(own, dict):
        return {key: _weighted_mean(lam, own[key], partner[key]) for key in own}
    if isinstance(own, tuple | list):
        entries = [_weighted_mean(lam, *both) for both in zip(own, partner, strict=True)]
        return type(own)(*entries) if hasattr(own, "_fields") else type(own)(entries)
    return lam * own + (1 - lam) * partner


def _check_lam(lam: Tensor, own: Sequence[Any]) -> None:
    """Refuse weights that are not one per sample; a batch may be flattened to one axis."""
    for target in own:
        n = len(target) if isinstance(target, Tensor) and target.ndim else len(lam)
        if n != len(lam) and (target.ndim > 1 or n % len(lam)):
            raise ValueError(f"lam must be one per sample, got {len(lam)} for targets of shape {tuple(target.shape)}")
    if lam.is_cpu and not bool(((lam >= 0) & (lam <= 1)).all()):
        raise ValueError(f"lam must lie in [0, 1], got {lam.min().item():.4g} to {lam.max().item():.4g}")


def soft_cross_entropy(loss_func: Any, pred: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy of soft targets by a loss that flattens class indices, as fastai's does.

    Parameters
    ----------
    loss_func : callable
        torch's cross-entropy, or fastai's wrapper of it.
    pred : torch.Tensor
        (n, C).
    target : torch.Tensor
        (n, C), floats.

    Raises
    ------
    TypeError
        If the loss takes class indices alone.
    """
    inner = getattr(loss_func, "func", loss_func)
    if not isinstance(inner, nn.CrossEntropyLoss):
        raise TypeError(
            f"{_name(inner)} takes class indices, got soft targets: MixCollate without num_classes gives pairs, for "
            "any loss"
        )
    return inner(pred, target.to(pred.dtype))


def refuse_rounding(loss_func: Callable[..., Any], pred: Any, targets: Any) -> bool:
    """Refuse a loss that rounds blended targets back to whole numbers, such as one that calls ``y.long()``.

    Parameters
    ----------
    loss_func : callable
        Called as ``loss_func(pred, *targets)``.
    pred : Any
        What the model returned.
    targets : tuple
        Nests of blended targets.

    Returns
    -------
    bool
        Whether the targets could show it: whether any is between whole numbers, and the loss depends on them.

    Raises
    ------
    TypeError
        If the loss of rounded targets is the very same.
    """
    between = any(y.is_floating_point() and bool((y != y.round()).any()) for y in tree_leaves(targets))
    if not between:
        return False

    tried = copy_of(loss_func)

    def changed(change: Callable[[Tensor], Tensor]) -> Any:
        new = tree_map(lambda y: change(y) if y.is_floating_point() else y.clone(), targets)
        with same_random(pred):
            return tried(_copied(pred), *new)

    with torch.no_grad():
        value = changed(torch.clone)
        is_read = isinstance(value, Tensor) and not torch.equal(value, changed(lambda y: y.roll(1, 0)))
        if not is_read or not value.isfinite().all():
            return False
        if any(torch.equal(value, changed(rounded)) for rounded in (torch.trunc, torch.round, torch.ceil)):
            raise TypeError(
                f"{_name(loss_func)} rounds its targets, which are floats and were blended; give it class indices as "
                "integers, which are paired instead"
            )
    return True


def _weighted(
    parts: Parts, pred: Any, own: Sequence[Any], partner: Sequence[Any], lam: Tensor, was_tried: bool
) -> Tensor:
    own_loss, partner_loss = (parts.elements(pred, targets) for targets in (own, partner))
    if not isinstance(own_loss, Tensor):
        raise _needs_one_lam(parts.loss_func)
    _refuse_broadcast(pred, own, own_loss)
    if not own_loss.ndim or own_loss.numel() % len(lam):
        raise ValueError(
            f"{_name(parts.loss_func)} does not come apart into the losses of samples: without its reduction it has "
            f"shape {tuple(own_loss.shape)} for {len(lam)} samples; {ONE_LAM}"
        )
    if not parts.is_known and not (
        come_apart(parts, pred, own, own_loss, halves=not was_tried)
        and come_apart(parts, pred, partner, partner_loss, halves=False)
    ):
        raise _needs_one_lam(parts.loss_func)
    share = _spread(lam, own_loss)
    # The side that does not count may be infinite or NaN, and must not be multiplied by 0.
    blended = torch.lerp(partner_loss, own_loss, share)
    total = torch.where(share == 1, own_loss, torch.where(share == 0, partner_loss, blended))
    own_weight, partner_weight = (parts.element_weights(targets, own_loss) for targets in (own, partner))
    if own_weight is None or partner_weight is None or parts.reduction != "mean":
        return parts.reduced(total, len(lam))
    weights = wide_sum(torch.lerp(partner_weight, own_weight, share))
    if not is_fastais_smoothing(parts.loss_func):
        return (wide_sum(total) / weights).to(total.dtype)
    # The smoothing term is averaged over the samples. For an ignored target the loss is that term alone.
    smoothing = parts.elements(pred, [torch.full_like(own[0], IGNORED)])
    return (wide_sum(smoothing) / smoothing.numel() + wide_sum(total - smoothing) / weights).to(total.dtype)


def _refuse_broadcast(pred: Any, own: Sequence[Any], loss: Tensor) -> None:
    """Refuse a loss of each prediction against each target, which torch makes of shapes (n, 1) and (n,)."""
    target = own[0]
    if isinstance(pred, Tensor) and isinstance(target, Tensor) and loss.numel() > max(pred.numel(), target.numel()):
        raise ValueError(
            f"predictions of shape {tuple(pred.shape)} and targets of shape {tuple(target.shape)} are broadcast to "
            f"losses of shape {tuple(loss.shape)}: give them one shape"
        )


def _spread(weight: Tensor, loss: Tensor) -> Tensor:
    """Repeat a weight per sample to one per element of the loss, which may be flattened."""
    weight = weight.to(loss.device, loss.dtype)
    return weight.repeat_interleave(loss.numel() // len(weight)).view(loss.shape)


def _name(loss_func: Any) -> str:
    return getattr(loss_func, "__name__", None) or type(loss_func).__name__
