"""The loss of mixed batches, as Hugging Face's `Trainer` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mixup_rs.losses needs torch: pip install 'mixup-rs[torch]'", name="torch") from error

from mixup_rs.batches.targets import PairedTarget
from mixup_rs.torch.losses import as_pair, mixed_loss

__all__ = ["soft_target_loss"]

#: How far the sum of a soft target may be from 1. In bfloat16 each share is rounded to 8 bits.
_TOLERANCE = 0.01


def soft_target_loss(outputs: Any, labels: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """The cross-entropy of soft targets, paired targets or class indices: a `compute_loss_func` of `Trainer`.

    `Trainer` takes the labels out of the batch when it has a `compute_loss_func`, so that the model computes no loss
    of its own. A classifier of transformers that is given float labels takes them for several labels at once: it
    computes a binary cross-entropy, and keeps ``problem_type="multi_label_classification"`` in its config. In a loop
    of your own call the model without the labels.

    Parameters
    ----------
    outputs : ModelOutput, dict, tuple or torch.Tensor
        What the model returned: the logits, or the entry ``"logits"``, or the first entry of a tuple that is not a
        single number. Classes are along axis 1, of logits with three axes along the last, as transformers has them.
    labels : torch.Tensor or (y, y_partner, lam)
        Soft targets of the shape of the logits, class indices, or a pair of either. The index -100 is ignored.
        Labels are not shifted, as those of causal language models would have to be.
    num_items_in_batch : int or torch.Tensor, optional
        The number of labels that are not -100, in all batches whose gradients are accumulated, as `Trainer` counts
        them: of soft targets (8, 10) it is 80. The losses of all items are then added and divided by their number.
        By default the loss is the mean over this batch.

    Returns
    -------
    torch.Tensor
        A scalar.

    Raises
    ------
    TypeError
        If there are no labels or no logits, or they are of a type that has no cross-entropy.
    ValueError
        If the shapes of logits and labels do not fit, soft targets do not sum to 1, or logits have a single class.

    See Also
    --------
    mixup_rs.torch.mixed_loss : The same for any loss.

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> soft = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    >>> round(soft_target_loss({"logits": logits}, soft).item(), 4)
    0.6269
    >>> two_such_batches = 8
    >>> round(soft_target_loss({"logits": logits}, soft, two_such_batches).item(), 4)
    0.3135
    """
    logits = _logits_of(outputs)
    if logits.shape[-1 if logits.ndim == 3 else 1] == 1:
        raise ValueError(
            f"cross-entropy of a single class is always 0, got logits of shape {tuple(logits.shape)}; a regression or "
            "a binary classifier needs another loss"
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    pair = as_pair(labels)
    targets = [_as_targets(logits, target) for target in (pair[:2] if pair is not None else [labels])]
    if logits.ndim == 3:
        logits = logits.movedim(-1, 1)
        targets = [target.movedim(-1, 1) if target.is_floating_point() else target for target in targets]
    target = targets[0] if pair is None else PairedTarget([*targets, pair.lam])
    if num_items_in_batch is None:
        return mixed_loss(nn.CrossEntropyLoss(), logits, target)
    total = mixed_loss(nn.CrossEntropyLoss(reduction="sum"), logits, target)
    counted = logits.shape[1] if targets[0].is_floating_point() else 1
    if isinstance(num_items_in_batch, Tensor):
        num_items_in_batch = num_items_in_batch.to(total.device).reshape(())
    return total * counted / num_items_in_batch


def _logits_of(outputs: Any) -> Tensor:
    if isinstance(outputs, Mapping):
        if "logits" not in outputs:
            raise TypeError(f"expected outputs with an entry 'logits', got {', '.join(map(repr, outputs))}")
        outputs = outputs["logits"]
    elif isinstance(outputs, tuple | list):
        # A model that was given labels returns its own loss first.
        outputs = next((entry for entry in outputs if not (isinstance(entry, Tensor) and entry.ndim == 0)), None)
    if not (isinstance(outputs, Tensor) and outputs.is_floating_point()):
        raise TypeError(f"expected logits, a tensor of floats, got {_described(outputs)}")
    if outputs.ndim < 2:
        raise ValueError(f"expected logits of shape (n, classes, ...), got {_described(outputs)}")
    return outputs


def _as_targets(logits: Tensor, labels: Any) -> Tensor:
    """Checked, and of the dtype that the loss takes."""
    if labels is None:
        raise TypeError("expected labels, got None: the batch that the collate makes needs an entry 'labels'")
    if not isinstance(labels, Tensor):
        raise TypeError(f"expected labels that are a tensor or (y, y_partner, lam), got {_described(labels)}")
    if labels.dtype == torch.bool or labels.is_complex():
        raise TypeError(f"cross-entropy takes class indices or soft targets, got {_described(labels)}")
    shape = tuple(logits.shape)
    if not labels.is_floating_point():
        expected = shape[:-1] if logits.ndim == 3 else (shape[0], *shape[2:])
        if tuple(labels.shape) != expected:
            raise ValueError(f"class indices of logits {shape} have the shape {expected}, got {tuple(labels.shape)}")
        return labels.long()
    if tuple(labels.shape) != shape:
        raise ValueError(f"soft targets have the shape of the logits, {shape}, got {tuple(labels.shape)}")
    sums = labels.float().sum(-1 if logits.ndim == 3 else 1)
    if not bool(((sums - 1).abs() <= _TOLERANCE).all()):
        raise ValueError(
            f"soft targets sum to 1, got sums of {sums.min().item():.4g} to {sums.max().item():.4g}; "
            "several labels at once need a binary cross-entropy"
        )
    return labels.to(logits.dtype)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
