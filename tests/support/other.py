"""What partners from another batch mean, by what is known already: the plan of both batches, one after the other."""

import numpy as np

from mixup_rs import MixPlan


def joined(plan):
    """The plan that mixes [x, z] as `plan` mixes x with samples of z, and leaves z as it is."""
    n, m = len(plan), plan.other
    partner = np.concatenate([n + plan.partner, n + np.arange(m)])
    if plan.masks is not None:
        masks = np.concatenate([plan.masks, np.ones((m, *plan.spatial_shape))])
        return MixPlan.from_masks(masks, partner, plan.spatial_shape)
    weight = np.concatenate([plan.weight, np.ones(m)])
    if plan.boxes is None:
        return MixPlan(weight, partner)
    boxes = np.concatenate([plan.boxes, np.zeros((m, plan.boxes.shape[1]), int)])
    resized = False if plan.patches is None else np.append(plan.patches.any(axis=1), np.zeros(m, bool))
    return MixPlan.from_boxes(boxes, plan.spatial_shape, partner, weight, resized)


def mixed(plan, x, z, apply):
    """`apply(plan, x)` of both batches, of which only the first counts."""
    return apply(joined(plan), np.concatenate([x, z]))[: len(x)]
