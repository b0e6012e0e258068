"""Rules with regions beside the package `mixup`, and beside the recipe for resizing that is most often written.

Each mixes images and labels into new tensors, and one box or mask is drawn for the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mixup_rs import CutMix, FMix, MixPlan, ResizeMix
from mixup_rs.bench.cases import MAIN, Batch
from mixup_rs.bench.contender import Contender, drop_in

__all__ = ["mixup_package_regions", "resize_recipe"]

#: What the recipe does.
RECIPE = "F.interpolate recipe, ResizeMix"


def resize_recipe(batch: Batch) -> Iterator[Contender]:
    """F.interpolate."""
    if batch.case is not MAIN:
        return
    import torch
    from torch.nn.functional import interpolate

    x, y, hot = _tensors(batch)
    rule = ResizeMix()

    def recipe() -> Any:
        plan = rule.plan(len(x), x.shape[2:])
        assert plan.boxes is not None
        y0, x0, y1, x1 = plan.boxes[0].tolist()
        perm, mixed = torch.from_numpy(plan.partner), x.clone()
        if y1 > y0 and x1 > x0:
            mixed[:, :, y0:y1, x0:x1] = interpolate(x[perm], size=(y1 - y0, x1 - x0), mode="bilinear")
        lam = float(plan.lam[0])
        return mixed, lam * hot + (1 - lam) * hot[perm]

    yield Contender(drop_in(RECIPE), lambda: _mixed(rule.plan(len(x), x.shape[2:]), x, y, batch.classes), "ours")
    yield Contender(RECIPE, recipe, rival=drop_in(RECIPE))


def mixup_package_regions(batch: Batch) -> Iterator[Contender]:
    """the package mixup, with regions."""
    if batch.case is not MAIN:
        return
    import mixup

    x, y, hot = _tensors(batch)
    shape = tuple(x.shape[2:])

    def resized() -> MixPlan:
        """By the law of the package: a share of the image that is uniform."""
        sides = np.maximum(np.sqrt(1 - batch.rng.beta(1, 1)) * np.array(shape), 1).astype(int)
        start = batch.rng.integers(0, np.array(shape) - sides + 1)
        boxes = np.tile([*start, *(start + sides)], (len(x), 1))
        return MixPlan.from_boxes(boxes, shape, batch.rng.permutation(len(x)), resized=True)

    plans: dict[str, Callable[[], MixPlan]] = {
        "CutMix": lambda: CutMix().plan(len(x), shape),
        "FMix": lambda: FMix().plan(len(x), shape),
        "ResizeMix": resized,
    }
    for kind, draw in plans.items():
        name, theirs = f"mixup {kind}", getattr(mixup, kind)(alpha=1.0)
        yield Contender(drop_in(name), lambda draw=draw: _mixed(draw(), x, y, batch.classes), "ours")
        yield Contender(name, lambda theirs=theirs: theirs(x, hot), rival=drop_in(name))


def _tensors(batch: Batch) -> tuple[Any, Any, Any]:
    """The images, their classes, and these as one-hot rows."""
    import torch

    x, y = torch.from_numpy(batch.x), torch.from_numpy(batch.y)
    return x, y, torch.nn.functional.one_hot(y, batch.classes).to(x.dtype)


def _mixed(plan: MixPlan, x: Any, y: Any, classes: int) -> Any:
    from mixup_rs.torch import apply, apply_labels

    return apply(plan, x), apply_labels(plan, y, classes)[0]
