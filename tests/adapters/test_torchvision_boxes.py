"""`boxes=True` of torchvision's classes: boxes follow the images."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from tv import K, images_of, labels_of, masks_of

from mixup_rs import MixPlan
from mixup_rs.torchvision import CutMix, MixUp

each_class = pytest.mark.parametrize("cls", [MixUp, CutMix])


def objects_of(n=4):
    """A dict of boxes for each sample: 0, 1, 2, 0 of them."""
    low = torch.arange(3)[:, None] * torch.tensor([1, 2])
    boxes = torch.cat([low, low + 6], dim=1)
    typed = [tv_tensors.BoundingBoxes(boxes[: i % 3], format="XYXY", canvas_size=(9, 14)) for i in range(n)]
    return [{"boxes": one, "labels": torch.full((len(one),), i)} for i, one in enumerate(typed)]


class TestBoxes:
    """`boxes=True`."""

    @each_class
    @pytest.mark.parametrize("mode", ["batch", "elem"])
    def test_follow_the_images(self, cls, mode):
        given, images = objects_of(), images_of()
        torch.manual_seed(0)
        mixed, targets = cls(boxes=True, labels_getter=None, mode=mode)(images, given)
        torch.manual_seed(0)
        alone, _ = cls(mode=mode, num_classes=K)(images, labels_of())
        assert torch.equal(mixed, alone)
        for i, one in enumerate(targets):
            partner = given[i - 1]
            assert type(one["boxes"]) is tv_tensors.BoundingBoxes
            assert set(one["labels"].tolist()) <= {*given[i]["labels"].tolist(), *partner["labels"].tolist()}
            assert len(one["boxes"]) == len(one["labels"]) == len(one["weights"])
            if cls is MixUp:
                rows = torch.cat([given[i]["boxes"], partner["boxes"]])
                assert torch.equal(one["boxes"].as_subclass(torch.Tensor), rows.as_subclass(torch.Tensor))

    def test_of_a_known_box(self):
        plan = MixPlan.from_boxes([[1, 0, 3, 5]] * 4, (9, 14), np.roll(np.arange(4), 1))
        given = objects_of()
        expected = plan.apply_boxes([one["boxes"] for one in given], [one["labels"] for one in given])

        class Corner(CutMix):
            def make_params(self, flat_inputs):
                return {"box": (0, 1, 5, 3), "lam_adjusted": 0.25}

        _, targets = Corner(boxes=True, labels_getter=None)(images_of(), given)
        for one, *columns in zip(targets, *expected, strict=True):
            for name, column in zip(("boxes", "labels", "weights"), columns, strict=True):
                assert torch.equal(torch.Tensor(one[name]), torch.Tensor(column))

    @each_class
    def test_in_a_batch_that_is_one_dict(self, cls):
        mixed = cls(boxes=True, labels_getter=None)({"image": images_of(), "boxes": objects_of()})
        assert mixed["image"].shape == images_of().shape
        assert [sorted(one) for one in mixed["boxes"]] == [["boxes", "labels", "weights"]] * 4

    @each_class
    def test_padded_boxes_are_refused(self, cls):
        """They would stay as they are, beside mixed images."""
        batch = {"image": tv_tensors.Image(images_of()), "boxes": torch.rand(4, 2, 4), "labels": labels_of()}
        with pytest.raises(ValueError, match="a list with a dict of boxes or keypoints for each sample, found none"):
            cls(num_classes=K, boxes=True)(batch)

    def test_beside_labels_of_the_images(self):
        batch = {"image": images_of(), "labels": labels_of(), "objects": objects_of()}
        mixed = MixUp(num_classes=K, boxes=True)(batch)
        assert mixed["labels"].shape == (4, K)
        assert [sorted(one) for one in mixed["objects"]] == [["boxes", "labels", "weights"]] * 4

    @each_class
    def test_masks_are_refused_unless_they_are_wanted_too(self, cls):
        batch = (images_of(), objects_of(), tv_tensors.Mask(masks_of()))
        with pytest.raises(ValueError, match="masks"):
            cls(boxes=True, labels_getter=None)(*batch)
        assert len(cls(boxes=True, masks=True, labels_getter=None)(*batch)) == 3

    def test_tiny_boxes_of_torchvision_are_in_pixels(self):
        one = tv_tensors.BoundingBoxes(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), format="XYXY", canvas_size=(9, 14))
        _, targets = MixUp(boxes=True, labels_getter=None)(images_of(), [{"boxes": one}] * 4)
        assert len(targets[0]["boxes"]) == 2

    @each_class
    def test_another_length(self, cls):
        with pytest.raises(ValueError, match="has the boxes of 3 samples, the batch has 4"):
            cls(boxes=True, labels_getter=None)(images_of(), objects_of(3))
