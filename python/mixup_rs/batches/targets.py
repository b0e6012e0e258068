"""What becomes of the targets of a batch: the one place that tells their kinds apart, for every library.

Floats are blended. Booleans of one axis a sample are several labels at once. Integers are classes: without an axis they
become soft targets or pairs, with the spatial shape of the plan they are masks, which are cut with it. Integers are
never averaged as numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays, blended_by, has_region_shape, refuse_boxes

__all__ = ["ONE_LAM", "PairedTarget", "TargetOptions", "labels_among", "mix_target"]


_NOT_GIVEN: Any = object()
#: What an error says where labels need one lam.
ONE_LAM = (
    "use a rule of mode='batch', and not Remix, whose labels have several in any mode; soft targets need no lam: "
    "num_classes=... makes them"
)
#: What an error says where a tensor is needed.
_NO_TENSOR = (
    "a PairedTarget (y, y_partner, lam): its loss is mixed_loss(loss_func, pred, target), of mixup_rs.torch; an entry "
    "that is no target stays as it is if targets=... names those that are"
)


class PairedTarget(tuple):
    """A target that cannot be blended: the own one, the partner's, and the weight of the own one.

    It is a tuple ``(y, y_partner, lam)``. The loss of it is lam * loss(pred, y) + (1 - lam) * loss(pred, y_partner), by
    `mixup_rs.torch.mixed_loss`, which reduces as the loss does. It passes through pinned memory, `to_device` and worker
    processes, and it is a pytree.

    Parameters
    ----------
    y : array or torch.Tensor
        The own targets, (n, ...); or all three in a list.
    y_partner : array or torch.Tensor
        Those of the partners, of the same shape.
    lam : array or torch.Tensor
        The weight of the own targets: float32, (n,); or a single number for the batch.

    Examples
    --------
    >>> from mixup_rs import PairedTarget
    >>> y, y_partner, lam = PairedTarget([0, 1], [1, 0], [0.7, 1.0])
    >>> lam
    [0.7, 1.0]
    """

    __slots__ = ()
    #: torch, JAX, accelerate and Lightning rebuild what has this from its items one by one, fastai from a list of them.
    _fields = ("y", "y_partner", "lam")

    def __new__(cls, y: Any, y_partner: Any = _NOT_GIVEN, lam: Any = _NOT_GIVEN) -> PairedTarget:
        return super().__new__(cls, y if y_partner is _NOT_GIVEN else (y, y_partner, lam))

    def to(self, *args: Any, **options: Any) -> PairedTarget:
        """Move all three, as `torch.Tensor.to` does.

        Parameters
        ----------
        *args, **options
            Such as the device.

        Returns
        -------
        PairedTarget
            The moved target; a number stays as it is.

        Raises
        ------
        RuntimeError, TypeError
            As `torch.Tensor.to`.

        Examples
        --------
        >>> from mixup_rs import PairedTarget
        >>> PairedTarget([0, 1], [1, 0], 0.7).to("cpu").lam
        0.7
        """
        return PairedTarget(*(item.to(*args, **options) if hasattr(item, "to") else item for item in self))

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse to be taken for a tensor, as by a loss."""
        raise TypeError(f"{getattr(func, '__name__', func)} takes a tensor, got {_NO_TENSOR}")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no attribute {name!r} of {_NO_TENSOR}")

    @property
    def y(self) -> Any:
        """The own targets."""
        return self[0]

    @property
    def y_partner(self) -> Any:
        """The targets of the partners."""
        return self[1]

    @property
    def lam(self) -> Any:
        """The weight of the own targets."""
        return self[2]

    def ne(self, value: float) -> Any:
        """Where the targets are not `value`, as shares of the two: of (y, y_partner, lam) what counts in the loss.

        The Trainer of transformers counts labels by ``labels.ne(-100).sum()``, to weight the batches whose gradients
        it accumulates.

        Parameters
        ----------
        value : int or float
            The value.

        Returns
        -------
        array or torch.Tensor
            Floats of the shape of the targets.

        Raises
        ------
        AttributeError
            If the parts are not arrays.

        Examples
        --------
        >>> import numpy as np
        >>> from mixup_rs import PairedTarget
        >>> PairedTarget(np.array([0, -100]), np.array([-100, 0]), np.array([0.75, 0.75])).ne(-100)
        array([0.75, 0.25])
        """
        lam = self.lam.reshape(-1, *[1] * (self.y.ndim - 1)) if self.lam.ndim else self.lam
        return lam * (self.y != value) + (1 - lam) * (self.y_partner != value)


def labels_among(targets: Iterable[Any]) -> Any:
    """The labels that a rule may look at: the first target with a row for each sample, of one axis or none."""
    return next((target for target in targets if getattr(target, "ndim", 0) in (1, 2)), None)


@dataclass(frozen=True)
class TargetOptions:
    """How targets are mixed; `MixCollate` documents the options."""

    num_classes: int | None = None
    label_smoothing: float = 0.0
    multi_label: bool = False
    pair: bool = False


def mix_target(arrays: Arrays, plan: MixPlan, y: Any, options: TargetOptions, name: str = "the target") -> Any:
    """Mix a target of a batch.

    Parameters
    ----------
    arrays : Arrays
        The library that it is of.
    plan : MixPlan
        The plan of the batch.
    y : array
        (n, ...), on any device.
    options : TargetOptions
        How.
    name : str
        The target, for messages.

    Returns
    -------
    array or PairedTarget
        The mixed target, or the own one, the partner's and lam where it cannot be mixed into one array.

    Raises
    ------
    TypeError, ValueError
        If it cannot be mixed rightly. The message names what would settle it.

    Examples
    --------
    >>> from mixup_rs.batches.arrays import NUMPY
    >>> plan = MixPlan([0.5, 1.0], [1, 0])
    >>> mix_target(NUMPY, plan, np.array([2.0, 4.0]), TargetOptions())
    array([3., 4.])
    >>> mix_target(NUMPY, plan, np.array([0, 2]), TargetOptions()).y_partner
    array([2, 0])
    """
    kind, ndim = arrays.kind(y), y.ndim
    if ndim == 1 and kind == "integer" and options.num_classes is not None and not options.pair:
        return _soft(arrays, plan, y, options, name)  # most often
    refuse_boxes(y, name)
    if kind not in ("float", "integer", "bool"):
        raise TypeError(f"{name} is of {y.dtype}, which cannot be mixed; name other targets: targets=...")
    if options.pair:
        return _pair(arrays, plan, y, one_lam=True, name=name)
    is_mask = ndim > 2 or has_region_shape(plan, y)
    if kind == "float":
        _refuse_class_numbers(arrays, y, options, name, plan)
        if ndim == 2 and y.shape[1] == options.num_classes:
            _refuse_smoothing(options, name)
        # What is blended outside of the regions is blended by `weight`, as the image is.
        return blended_by(arrays, plan if has_region_shape(plan, y) else plan.for_labels(), y, name)
    if kind == "bool" and not is_mask:
        if options.num_classes is None or ndim > 1:
            _refuse_smoothing(options, name)
            return arrays.blend(plan.for_labels(), arrays.floats(y))
        y = arrays.integers(y)
    if is_mask:
        return _mask(arrays, plan, y, name)
    if _is_indicator(arrays, y, options, name):
        _refuse_smoothing(options, name)
        return arrays.blend(plan.for_labels(), arrays.floats(y))
    is_index = ndim == 1 or (ndim == 2 and y.shape[1] == 1)
    if options.num_classes is not None and is_index:
        return _soft(arrays, plan, arrays.flat(y), options, name)
    if options.num_classes is not None:
        raise ValueError(
            f"{name} has shape {tuple(y.shape)} and integers, which with num_classes={options.num_classes} must be "
            f"class indices of shape (n,) or columns of 0 and 1 of shape (n, {options.num_classes}); "
            "multi_label=True blends it, num_classes=None pairs it"
        )
    return _pair(arrays, plan, y, name=name)


def _soft(arrays: Arrays, plan: MixPlan, y: Any, options: TargetOptions, name: str) -> Any:
    classes: Any = options.num_classes
    try:
        return arrays.soft(plan, y, classes, options.label_smoothing)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; if it is no target, name those that are: targets=...") from None


def _is_indicator(arrays: Arrays, y: Any, options: TargetOptions, name: str) -> bool:
    """Whether integers are a column of 0 and 1 for each class."""
    if y.ndim != 2 or not (options.multi_label or (y.shape[1] > 1 and y.shape[1] == options.num_classes)):
        return False
    is_binary = arrays.all((y == 0) | (y == 1))
    if options.multi_label and not is_binary:
        least, largest = arrays.extremes(y)
        raise ValueError(
            f"{name} has integers of {least} to {largest}, which multi_label=True expects to be columns of 0 and 1"
        )
    return is_binary


def _refuse_smoothing(options: TargetOptions, name: str) -> None:
    if options.label_smoothing:
        raise ValueError(f"label_smoothing needs class indices, but {name} has a column for each class")


def _refuse_class_numbers(arrays: Arrays, y: Any, options: TargetOptions, name: str, plan: MixPlan) -> None:
    """Refuses floats that are class numbers: they would be blended as the numbers they look like."""
    if options.num_classes is None:
        return
    if y.ndim > 2 or has_region_shape(plan, y):
        # A mask that is cut keeps its classes, and one of 0 and 1 becomes the share of a class.
        if (plan.only_copies and has_region_shape(plan, y)) or arrays.all(y < 2):
            return
    elif y.ndim == 2 and y.shape[1] > 1:
        return
    # A missing label is NaN, one that is ignored -100.
    if arrays.all(((y == arrays.floor(y)) & (y >= 0) & (y < options.num_classes)) | (y != y) | (y == -100)):
        raise TypeError(
            f"{name} has floats that look like class numbers, with num_classes={options.num_classes}; "
            f"class indices must be integers: {arrays.to_indices}"
        )


def _mask(arrays: Arrays, plan: MixPlan, y: Any, name: str) -> Any:
    """Masks of classes: cut where the plan has regions, and paired where it blends."""
    if plan.spatial_shape is None:
        pair = _pair(arrays, plan, y, name=name)
        return PairedTarget(pair.y, pair.y_partner, arrays.weights(plan.weight, y))
    if not has_region_shape(plan, y):
        raise ValueError(
            f"{name} is a mask of shape {tuple(y.shape)}, which cannot be cut with images of {plan.spatial_shape}: "
            "masks must have the images' height and width"
        )
    if plan.only_copies:
        return arrays.blend(plan if plan.patches is None else plan.for_classes(), y)
    _refuse_soft_masks(plan, name)
    cut = arrays.blend(plan.for_classes(), y)
    # A sample that is only cut has no other side: there the two are equal, and any lam is right. That of the labels
    # lets one loss take both.
    partner = arrays.where(plan.weight < 1, arrays.take(y, plan.partner), cut)
    return PairedTarget(cut, partner, arrays.weights(np.where(plan.weight < 1, plan.weight, plan.lam), y))


def _refuse_soft_masks(plan: MixPlan, name: str) -> None:
    if plan.masks is None:
        return
    soft = ((plan.masks > 0) & (plan.masks < 1)).reshape(len(plan), -1).any(axis=1)
    if (soft & (plan.weight == 1) & (plan.partner != np.arange(len(plan)))).any():
        raise TypeError(
            f"{name} is a mask of classes, which cannot be blended by soft masks; a rule of hard ones cuts it, such as "
            "FMix(soft=0.0)"
        )


def _pair(arrays: Arrays, plan: MixPlan, y: Any, one_lam: bool = False, name: str = "the target") -> PairedTarget:
    if plan.k > 2:
        raise ValueError(
            f"{name} would become a pair, which holds two targets, but {plan.k} samples are mixed (k={plan.k}): of "
            "class indices num_classes=... makes soft targets, as MixCollate does; one-hot floats are blended"
        )
    partner, lam = arrays.pair(plan, y)
    if one_lam:
        if len(plan) and not np.all(plan.lam == plan.lam[0]):
            raise ValueError(f"pair=True needs one lam for the batch, but {name} has several: {ONE_LAM}")
        lam = lam[0] if len(plan) else arrays.weights(np.ones(()), y)
    return PairedTarget(y, partner, lam)
