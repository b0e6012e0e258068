"""Dicts of boxes and keypoints, one a sample, in MixCollate and Mixer: held against `plan.apply_boxes`."""

from collections import UserDict

import numpy as np
import pytest
import torch
from rules import Fixed
from torchvision import tv_tensors

from mixup_rs import CutMix, FMix, Mixer, Mixup, OneOf
from mixup_rs.torch import MixCollate

N, SIZE, KEY = 6, (16, 20), (3, 0, 0, 0)
RULES = [Mixup(1.0), CutMix(1.0, mode="elem"), OneOf([Mixup(1.0), CutMix(1.0)], mode="elem"), FMix()]


def drawn_by(rule):
    """A rule that always draws the plan of this one."""
    return Fixed(rule.plan(N, SIZE, rng=KEY))


def target(i, library=torch):
    """The objects of a sample: some have none."""
    drawn = np.random.default_rng(i)
    k = i % 3
    low = drawn.integers(0, 10, (k, 2))
    boxes = np.concatenate([low, low + drawn.integers(1, 6, (k, 2))], axis=1).astype(np.float32)
    made = library.as_tensor if library is torch else np.asarray
    return {
        "boxes": made(boxes),
        "labels": made(drawn.integers(0, 5, k)),
        "area": made((boxes[:, 2:] - boxes[:, :2]).prod(1)),
        "iscrowd": made(np.zeros(k, bool)),
        "image_id": i,
        "size": made(np.array(SIZE)),
    }


IMAGES = torch.rand(N, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def check(rule, images, targets, given):
    plan = rule.plan(N, SIZE, rng=KEY)
    np.testing.assert_array_equal(np.asarray(images), plan.apply(IMAGES.numpy()))
    boxes, labels, weights = plan.apply_boxes([one["boxes"] for one in given], [one["labels"] for one in given])
    assert len(targets) == N
    for i, one in enumerate(targets):
        assert list(one) == [*given[i], "weights"]
        for name, expected in (("boxes", boxes), ("labels", labels), ("weights", weights)):
            assert type(one[name]) is type(expected[i])
            np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(expected[i]))
        k = len(one["boxes"])
        assert len(one["iscrowd"]) == len(one["area"]) == k
        assert one["image_id"] == i
        assert one["size"].tolist() == list(SIZE)
        if plan.partner[i] == i:
            np.testing.assert_array_equal(np.asarray(one["area"]), np.asarray(given[i]["area"]))
    return plan


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("library", [torch, np])
class TestFronts:
    def test_collate(self, rule, library):
        given = [target(i, library) for i in range(N)]
        images, targets = MixCollate(drawn_by(rule))(list(zip(IMAGES, given, strict=True)))
        assert type(targets) is list
        check(rule, images, targets, given)

    def test_mixer(self, rule, library):
        given = [target(i, library) for i in range(N)]
        images = IMAGES if library is torch else IMAGES.numpy()
        mixed, targets = Mixer(drawn_by(rule))((images, given))
        check(rule, mixed, targets, given)

    def test_by_name_in_a_mapping(self, rule, library):
        given = [target(i, library) for i in range(N)]
        samples = [UserDict(image=image, target=one) for image, one in zip(IMAGES, given, strict=True)]
        batch = MixCollate(drawn_by(rule))(samples)
        assert type(batch) is UserDict
        check(rule, batch["image"], batch["target"], given)


def test_the_area_shrinks_with_the_box():
    plan = CutMix(1.0).plan(N, SIZE, rng=KEY)
    given = [target(i) for i in range(N)]
    targets = MixCollate(drawn_by(CutMix(1.0)))(list(zip(IMAGES, given, strict=True)))[1]
    parts = 0
    for i, one in enumerate(targets):
        sources = [given[i], given[plan.partner[i]]] if plan.partner[i] != i else [given[i]]
        whole = torch.cat([source["area"] for source in sources])
        assert (one["area"][:, None] <= whole + 1e-4).any(1).all()
        # A box that is cut along one axis is as large as its part: exactly then the two agree.
        sides = one["boxes"][:, 2:] - one["boxes"][:, :2]
        assert (one["area"] <= sides.prod(1) + 1e-4).all()
        parts += int((~torch.isin(one["area"], whole)).sum())
    assert parts


def test_without_mixing_the_objects_stay():
    given = [target(i) for i in range(N)]
    collate = MixCollate(Mixup(), off_epoch=0)
    collate.set_epoch(0)
    targets = collate(list(zip(IMAGES, given, strict=True)))[1]
    for one, own in zip(targets, given, strict=True):
        assert torch.equal(one["boxes"], own["boxes"])
        assert one["weights"].tolist() == [1.0] * len(own["boxes"])


def test_the_same_batch_gets_the_same_mix_and_another_box_another():
    mix = Mixer(Mixup(1.0), rng=1)
    given = [target(i) for i in range(N)]
    first, again = (mix((IMAGES, [dict(one) for one in given]))[0] for _ in range(2))
    assert torch.equal(first, again)
    given[1]["boxes"] = given[1]["boxes"] + 1
    assert not torch.equal(mix((IMAGES, given))[0], first)


def test_tv_tensors_stay():
    boxes = [tv_tensors.BoundingBoxes(target(i)["boxes"], format="XYXY", canvas_size=SIZE) for i in range(N)]
    samples = [
        (image, {"boxes": one, "labels": torch.zeros(len(one))}) for image, one in zip(IMAGES, boxes, strict=True)
    ]
    targets = MixCollate(CutMix(1.0), rng=0)(samples)[1]
    assert {type(one["boxes"]) for one in targets} == {tv_tensors.BoundingBoxes}
    assert {one["boxes"].canvas_size for one in targets} == {SIZE}


def test_keypoints_alone_and_beside_boxes():
    points = torch.tensor([[[1.0, 1.0, 2.0], [15.0, 12.0, 2.0]]])
    boxes = torch.tensor([[0.0, 0.0, 16.0, 13.0]])
    plan = CutMix(1.0).plan(N, SIZE, rng=KEY)
    alone = MixCollate(drawn_by(CutMix(1.0)))([(image, {"keypoints": points}) for image in IMAGES])[1]
    expected, _, weights = plan.apply_keypoints([points] * N)
    for one, where, weight in zip(alone, expected, weights, strict=True):
        assert torch.equal(one["keypoints"], where)
        assert torch.equal(one["weights"], weight)
    both = MixCollate(drawn_by(CutMix(1.0)))([(image, {"boxes": boxes, "keypoints": points}) for image in IMAGES])[1]
    assert all(len(one["boxes"]) == len(one["keypoints"]) == len(one["weights"]) for one in both)
    hidden = torch.cat([one["keypoints"][..., 2] for one in both])
    assert set(hidden.ravel().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"masks": torch.zeros(1, *SIZE)}, TypeError, r"entry 1 has instance masks, which cannot be mixed"),
        ({"weights": torch.ones(1)}, TypeError, "has weights already"),
        ({"bboxes": torch.zeros(1, 4)}, TypeError, "has boxes twice: 'boxes' and 'bboxes'"),
        ({"boxes": torch.rand(1, 4).sort()[0]}, ValueError, "are all within 1, as shares of the image are"),
        ({"boxes": torch.tensor([[5.0, 5.0, 2.0, 8.0]])}, ValueError, "must have x0 <= x1 and y0 <= y1"),
        ({"boxes": [[0, 0, 4, 4]]}, TypeError, "must be an array, got list"),
    ],
)
def test_bad_objects(changed, error, message):
    given = [target(1) | {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]])} | changed for _ in range(2)]
    with pytest.raises(error, match=message):
        MixCollate(Mixup())(list(zip(IMAGES[:2], given, strict=True)))
    with pytest.raises(error, match=message):
        Mixer(Mixup())((IMAGES[:2], given))


def test_samples_with_other_entries():
    given = [target(1), {"boxes": torch.zeros(0, 4)}]
    with pytest.raises(ValueError, match=r"of sample 1 has the entries \['boxes'\], expected"):
        MixCollate(Mixup())(list(zip(IMAGES[:2], given, strict=True)))
    with pytest.raises(ValueError, match="has the boxes of 2 samples, the batch has 6"):
        Mixer(Mixup())((IMAGES, [target(0), target(1)]))


@pytest.mark.parametrize("rule", RULES)
def test_boxes_beside_the_image(rule):
    """Of what belongs to the boxes the batch has lists, and the rest is stacked."""
    given = [target(i) for i in range(N)]
    samples = [{"image": image, **one, "label": i} for i, (image, one) in enumerate(zip(IMAGES, given, strict=True))]
    batch = MixCollate(drawn_by(rule), num_classes=N)(samples)
    assert list(batch) == [*samples[0], "weights"]
    columns = ["boxes", "labels", "area", "iscrowd"]
    of_batch = {name: [one[name] for one in given] for name in columns}
    mixed = Mixer(drawn_by(rule), num_classes=N)({"image": IMAGES, **of_batch, "label": torch.arange(N), "id": "run 3"})
    assert list(mixed) == ["image", *columns, "label", "id", "weights"]
    assert mixed["id"] == "run 3"
    plan = rule.plan(N, SIZE, rng=KEY)
    for found in (batch, mixed):
        assert torch.equal(found["label"], torch.from_numpy(plan.apply_labels(np.arange(N), N)[0]))
        in_dicts = [
            {**{name: found[name][i] for name in columns}, "image_id": i, "size": given[i]["size"],
             "weights": found["weights"][i]}
            for i in range(N)
        ]  # fmt: skip
        check(rule, found["image"], in_dicts, given)


def test_lists_of_other_lengths_are_refused():
    with pytest.raises((TypeError, ValueError), match="boxes"):
        Mixer(Mixup())({"image": IMAGES, "boxes": [target(1)["boxes"]], "labels": [target(1)["labels"]]})
