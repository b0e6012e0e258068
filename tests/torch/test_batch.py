"""Batches that are tensors already: their inputs and targets under a plan, as the callbacks mix them."""

import dataclasses

import numpy as np
import pytest
import torch

from mixup_rs import CutMix, MixPlan
from mixup_rs.batches.targets import TargetOptions
from mixup_rs.torch import MixCollate, PairedTarget
from mixup_rs.torch.batch import batch_size, mix_inputs, mix_targets, spatial_shape
from mixup_rs.torch.nest import tree_leaves, tree_map

N, SIZE = 4, (6, 7)
PARTNER = [1, 2, 3, 0]
MIXUP = MixPlan([0.75, 0.5, 1.0, 0.25], PARTNER)
CUT = MixPlan.from_boxes([[1, 1, 4, 5]] * N, SIZE, PARTNER)  # 12 of 42
BOTH = MixPlan.from_boxes([[1, 1, 4, 5]] * N, SIZE, PARTNER, [0.5, 1.0, 0.0, 0.8])
each_plan = pytest.mark.parametrize("plan", [MIXUP, CUT, BOTH], ids=["mixup", "cutmix", "both"])
GENERATOR = torch.Generator().manual_seed(0)
IMAGES, OTHERS = torch.rand(N, 3, *SIZE, generator=GENERATOR), torch.rand(N, 3, 4, 4, generator=GENERATOR)
TABLE, TOKENS = torch.rand(N, 5, generator=GENERATOR), torch.randint(0, 99, (N, 3), generator=GENERATOR)
CLASSES = torch.tensor([2, 0, 1, 1])


def on(device):
    return torch.tensor(PARTNER, device=device)


def flat(values, plan):
    """Blended by what is left of each sample, as labels are."""
    lam = torch.from_numpy(plan.lam).view(-1, *[1] * (values.ndim - 1))
    return (lam * values.double() + (1 - lam) * values[PARTNER].double()).to(values.dtype)


@each_plan
@pytest.mark.parametrize("inplace", [False, True])
def test_images_are_cut_and_all_else_is_blended_by_what_is_left(plan, inplace):
    xb = {"image": IMAGES.clone(), "more": (OTHERS.clone(), [TABLE.clone(), TOKENS]), "text": "left"}
    mixed = mix_inputs(plan, xb, inplace)
    assert torch.equal(mixed["image"], torch.from_numpy(plan.apply(IMAGES.numpy())))
    torch.testing.assert_close(mixed["more"][0], flat(OTHERS, plan))
    torch.testing.assert_close(mixed["more"][1][0], flat(TABLE, plan))
    assert mixed["more"][1][1] is TOKENS
    assert mixed["text"] == "left"
    assert (mixed["image"] is xb["image"]) == inplace
    assert torch.equal(xb["image"], IMAGES) != inplace


def test_a_collate_gives_the_same_answer_for_images_of_another_size():
    samples = [(a, b, 0) for a, b in zip(IMAGES, OTHERS, strict=True)]
    (a, b, _), plan = MixCollate(CutMix(), inputs=[0, 1], rng=1, return_plan=True)(samples)
    same = mix_inputs(plan, (IMAGES, OTHERS))
    assert torch.equal(a, same[0])
    assert torch.equal(b, same[1])


@pytest.mark.parametrize(
    ("xb", "message"),
    [
        (TOKENS, "no input of this batch can be mixed.*embeddings"),
        ((TOKENS, torch.zeros(N, 0)), "no input of this batch can be mixed"),
        ((IMAGES, IMAGES > 0.5), "booleans is not blended"),
        ((IMAGES, torch.zeros(N, 2, dtype=torch.complex64)), r"complex inputs cannot be mixed.*view_as_real"),
    ],
)
def test_inputs_that_cannot_be_mixed(xb, message):
    with pytest.raises(TypeError, match=message):
        mix_inputs(MIXUP, xb)


def test_the_length_of_a_batch():
    assert batch_size(({"a": IMAGES}, TOKENS)) == N
    for wrong in (torch.zeros(()), torch.zeros(0, 3)):
        with pytest.raises(ValueError, match="at least one sample"):
            batch_size((wrong, IMAGES))
    with pytest.raises(TypeError, match="batch of tensors"):
        batch_size(("text", []))


def test_the_image_of_a_batch():
    assert spatial_shape((torch.zeros(N, 9, 16), TOKENS, IMAGES)) == SIZE
    assert spatial_shape((TABLE, torch.zeros(N, 9, 16))) == (9, 16)
    assert spatial_shape((TOKENS, TABLE)) is None


@each_plan
def test_class_indices_are_those_of_both(plan):
    mixed = mix_targets(plan, (CLASSES,), TargetOptions(), on)
    assert mixed.own[0] is CLASSES
    assert torch.equal(mixed.partner()[0], CLASSES[PARTNER])


@each_plan
def test_each_side_has_its_own_weights_of_samples(plan):
    weights = torch.rand(N)
    mixed = mix_targets(plan, (CLASSES, weights), TargetOptions(), on)
    assert torch.equal(mixed.own[1], weights)
    assert torch.equal(mixed.partner()[1], weights[PARTNER])


@each_plan
def test_floats_alone_are_blended(plan):
    hot = torch.eye(3)[CLASSES]
    mixed = mix_targets(plan, {"a": hot, "b": [TABLE]}, TargetOptions(), on)
    assert mixed.partner is None
    torch.testing.assert_close(mixed.own["a"], flat(hot, plan))
    torch.testing.assert_close(mixed.own["b"][0], flat(TABLE, plan))


def test_masks_that_are_cut_are_part_of_both():
    masks = torch.randint(0, 5, (N, *SIZE))
    cut = torch.from_numpy(CUT.apply(masks.double().numpy())).long()
    alone = mix_targets(CUT, (masks,), TargetOptions(), on)
    assert alone.partner is None
    assert torch.equal(alone.own[0], cut)
    beside = mix_targets(CUT, (masks, CLASSES), TargetOptions(), on)
    assert torch.equal(beside.own[0], cut)
    assert torch.equal(beside.partner()[0], cut)
    assert torch.equal(beside.partner()[1], CLASSES[PARTNER])
    blended = mix_targets(MIXUP, (masks,), TargetOptions(), on)
    assert torch.equal(blended.own[0], masks)
    assert torch.equal(blended.partner()[0], masks[PARTNER])


def test_several_labels_at_once_are_blended():
    tags = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
    mixed = mix_targets(MIXUP, (tags,), TargetOptions(multi_label=True), on)
    assert mixed.partner is None
    torch.testing.assert_close(mixed.own[0], flat(tags.float(), MIXUP))
    mixed = mix_targets(MIXUP, (tags.bool(),), TargetOptions(), on)
    torch.testing.assert_close(mixed.own[0], flat(tags.float(), MIXUP))


@dataclasses.dataclass(frozen=True)
class Sides:
    left: torch.Tensor
    right: list


class Output(dict):
    """Has an attribute beside its items."""

    source = None


def test_nests_keep_their_types():
    output = Output(a=torch.ones(2))
    output.source = "here"
    nest = (
        Sides(torch.ones(2), [torch.ones(3)]),
        output,
        [np.ones(2)],
        PairedTarget(torch.ones(2), torch.ones(2), 0.5),
    )
    doubled = tree_map(lambda tensor: tensor * 2, nest)
    assert [len(leaf) for leaf in tree_leaves(nest)] == [2, 3, 2, 2, 2]
    assert [type(item) for item in doubled] == [Sides, Output, list, PairedTarget]
    assert [leaf.sum().item() for leaf in tree_leaves(doubled)] == [4, 6, 4, 4, 4]
    assert [leaf.sum().item() for leaf in tree_leaves(nest)] == [2, 3, 2, 2, 2]
    assert doubled[1].source == "here"
    assert doubled[3].lam == 0.5
