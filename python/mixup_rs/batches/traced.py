"""Plans as trees of arrays, as libraries that transform functions take them apart and trace them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.namespace import Drawn

__all__ = ["Plan", "TracedPlan", "flatten", "unflatten"]


@dataclass(frozen=True)
class TracedPlan:
    """A plan as a function under a transformation gets it: its arrays are traced.

    A `MixPlan` that is an argument of a jitted function arrives as this. One compiled function serves all plans of a
    batch size, with one more for each kind of region, and one for plans that blend nothing.

    Parameters
    ----------
    image, whole, labels : Drawn
        What is done to what has the spatial axes of the plan's regions, to what has none, and to labels.

    Attributes
    ----------
    lam, partner : jax.Array
        As those of `MixPlan`, in the types that JAX has.
    """

    image: Drawn
    whole: Drawn
    labels: Drawn

    @property
    def lam(self) -> Any:
        """The weight of each sample's own label."""
        return self.labels.weight

    @property
    def partner(self) -> Any:
        """The index of the sample that each is mixed with."""
        return self.image.partner

    @property
    def spatial_shape(self) -> tuple[int, ...] | None:
        """The lengths of a sample's spatial axes; None for a plan without regions."""
        return self.image.spatial_shape

    def without_region(self) -> TracedPlan:
        """Return the plan for what has no such spatial axes."""
        return TracedPlan(self.whole, self.whole, self.labels)

    def __len__(self) -> int:
        return self.image.partner.shape[0]


Plan: TypeAlias = MixPlan | TracedPlan


def flatten(plan: Plan) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arrays of a plan, and what else tells it from others."""
    if isinstance(plan, MixPlan):
        traced = TracedPlan(*map(Drawn.of, (plan, plan.without_region(), plan.for_labels())))
    else:
        traced = plan
    image, whole, labels = traced.image, traced.whole, traced.labels
    weights = tuple((drawn.weight, drawn.share) for drawn in (image, whole, labels))
    copies = tuple(drawn.only_copies for drawn in (image, whole, labels))
    known = (image.spatial_shape, copies, image.takes_nearest)
    return (image.partner, weights, image.boxes, image.patches, image.taps), known


def unflatten(known: tuple[Any, ...], arrays: tuple[Any, ...]) -> Plan:
    """The plan of such arrays: an equal one if nothing is traced, but that boxes beside masks come back as masks."""
    partner, weights, boxes, patches, taps = arrays
    shape, copies, takes_nearest = known
    parts = (partner, *(part for pair in weights for part in pair))
    if all(isinstance(part, np.ndarray) for part in parts) and weights[0][0].dtype == np.float64:
        # As it was: nothing is traced.
        plan = _plan(partner, weights[0][0], boxes, shape, patches, takes_nearest)
        if plan is not None:
            is_apart = not np.array_equal(weights[1][0], weights[2][0])
            return plan.with_label_lam(weights[2][0]) if is_apart else plan
    (weight, share), *rest = weights
    image = Drawn(partner, weight, share, boxes, shape, copies[0], patches, taps, takes_nearest)
    whole, labels = (
        Drawn(partner, weight, share, None, None, copy) for (weight, share), copy in zip(rest, copies[1:], strict=True)
    )
    return TracedPlan(image, whole, labels)


def _plan(partner: Any, weight: Any, boxes: Any, shape: Any, patches: Any, takes_nearest: bool) -> MixPlan | None:
    """The plan of these arrays; None for masks beside boxes that hold the whole partner, and for several plans."""
    if partner.ndim != 1:
        return None
    if boxes is not None:
        resized = False if patches is None else patches.any(axis=1)
        plan = MixPlan.from_boxes(boxes, shape, partner, weight, resized)
        return plan.for_classes() if takes_nearest else plan
    if shape is None:
        return MixPlan(weight, partner)
    if patches is None:
        return MixPlan.from_masks(weight if len(weight) == len(partner) else weight[0], partner, shape)
    return None
