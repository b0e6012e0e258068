"""Masks: cut with the images, or paired where images are blended; and what has a place in the image but is no mask."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mixup_rs import CutMix, MixPlan, Mixup, OneOf
from mixup_rs.torch import MixCollate, PairedTarget, mixed_loss

N, SIZE = 8, (6, 7)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(N, 3, *SIZE, generator=GENERATOR)
CLASSES = torch.randint(0, 4, (N, *SIZE), generator=GENERATOR)
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
KEY = (1, 0, 0, 0)
BOTH = OneOf([Mixup(1.0), CutMix(mode="elem")], mode="elem")


def collated(masks, rule, images=IMAGES, **options):
    mixed, mask = MixCollate(rule, rng=1, **options)(list(zip(images, masks, strict=True)))
    return mixed, mask


def inside(plan):
    """(n, h, w): whether a pixel is in its sample's box."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    y0, x0, y1, x1 = (plan.boxes[:, k, None, None] for k in range(4))
    return torch.from_numpy((y >= y0) & (y < y1) & (x >= x0) & (x < x1))


def cut(plan, masks):
    where = inside(plan).view(N, *[1] * (masks.ndim - 3), *SIZE)
    return torch.where(where, masks[plan.partner], masks)


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("dtype", [*INTEGERS, torch.bool, torch.float32])
@pytest.mark.parametrize("rule", [CutMix(), CutMix(mode="elem"), CutMix(minmax=(0.3, 0.6))], ids=repr)
def test_cutmix_cuts_the_mask_with_the_image(rule, dtype, channel):
    masks = CLASSES.to(dtype)[:, None] if channel else CLASSES.to(dtype)
    plan = rule.plan(N, SIZE, rng=KEY)
    mixed, got = collated(masks, rule)
    assert torch.equal(got, cut(plan, masks))
    assert got.dtype == dtype
    assert torch.equal(mixed, cut(plan, IMAGES))
    assert not torch.equal(got, masks)


def test_numpy_masks_are_cut():
    plan = CutMix().plan(N, SIZE, rng=KEY)
    for dtype in (np.uint8, np.int64, np.uint16, bool):
        _, got = collated(list(CLASSES.numpy().astype(dtype)), CutMix())
        assert torch.equal(got.long(), cut(plan, torch.from_numpy(CLASSES.numpy().astype(dtype).astype(np.int64))))


@pytest.mark.parametrize("dtype", [*INTEGERS, torch.bool])
@pytest.mark.parametrize("rule", [Mixup(1.0), Mixup(1.0, mode="batch")], ids=repr)
def test_mixup_pairs_masks_of_classes(rule, dtype):
    """Classes 1 and 4 are not class 2."""
    masks = CLASSES.to(dtype)
    plan = rule.plan(N, SIZE, rng=KEY)
    got = collated(masks, rule)[1]
    assert isinstance(got, PairedTarget)
    assert got.y.dtype == got.y_partner.dtype == dtype
    assert torch.equal(got.y, masks)
    assert torch.equal(got.y_partner, masks[plan.partner])
    np.testing.assert_array_equal(got.lam, plan.lam.astype(np.float32))


def test_masks_of_floats_are_blended_as_the_image_is():
    masks = torch.rand(N, *SIZE, generator=torch.Generator().manual_seed(2))
    for rule in (Mixup(1.0), BOTH):
        plan = rule.plan(N, SIZE, rng=KEY)
        assert torch.equal(collated(masks, rule)[1], torch.from_numpy(plan.apply(masks.numpy())))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_the_loss_of_each_pixel_under_both_rules(dtype):
    """Of each pixel: lam * L(own) + (1 - lam) * L(partner) outside of the box, L(partner) within."""
    blended = [pixels_under_both_rules(seed, dtype) for seed in range(8)]
    assert sum(blended) > 4


def pixels_under_both_rules(seed, dtype):
    """Asserts the losses of one batch, and tells whether it was cut and blended."""
    masks = (CLASSES % 2).bool() if dtype == torch.bool else CLASSES.to(dtype)
    pred = torch.randn(N, 4, *SIZE, generator=torch.Generator().manual_seed(seed))
    target = MixCollate(BOTH, rng=seed)(list(zip(IMAGES, masks, strict=True)))[1]
    plan = BOTH.plan(N, SIZE, rng=(seed, 0, 0, 0))
    weight = torch.from_numpy(plan.weight).float()[:, None, None]
    each = [F.cross_entropy(pred, y.long(), reduction="none") for y in (masks, masks[plan.partner])]
    expected = torch.where(inside(plan), each[1], weight * each[0] + (1 - weight) * each[1])
    if isinstance(target, PairedTarget):
        target = PairedTarget(target.y.long(), target.y_partner.long(), target.lam)
    else:  # all were cut
        target = target.long()
    got = mixed_loss(torch.nn.CrossEntropyLoss(reduction="none"), pred, target)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(mixed_loss(F.cross_entropy, pred, target), expected.mean())
    return bool(inside(plan).any() and (weight < 1).any())


def test_masks_of_another_size_are_an_error_under_cutmix():
    with pytest.raises(ValueError, match=r"entry 1 is a mask of shape .*, which cannot be cut with images of \(6, 7\)"):
        collated(CLASSES[:, ::2], CutMix())
    # Under mixup it is a pair like any other.
    assert torch.equal(collated(CLASSES[:, ::2], Mixup())[1].y, CLASSES[:, ::2])


def test_masks_with_channels_last_are_an_error_under_cutmix():
    with pytest.raises(ValueError, match="must have the images' height and width"):
        collated(CLASSES[..., None].expand(-1, -1, -1, 2), CutMix())


def test_masks_and_labels_together():
    labels = torch.arange(N) % 3
    samples = [{"image": x, "mask": m, "label": int(y)} for x, m, y in zip(IMAGES, CLASSES, labels, strict=True)]
    batch = MixCollate(CutMix(), rng=1, num_classes={"label": 3})(samples)
    plan = CutMix().plan(N, SIZE, rng=KEY)
    assert torch.equal(batch["mask"], cut(plan, CLASSES))
    hot, lam = F.one_hot(labels, 3).double(), torch.from_numpy(plan.lam)[:, None]
    torch.testing.assert_close(batch["label"].double(), lam * hot + (1 - lam) * hot[plan.partner])


def test_a_mask_of_the_height_and_width_beside_images_whose_channels_are_last():
    images = IMAGES.permute(0, 2, 3, 1).contiguous()
    plan = CutMix().plan(N, SIZE, rng=KEY)
    mixed, mask = collated(CLASSES, CutMix(), images)
    assert torch.equal(mask, cut(plan, CLASSES))
    assert torch.equal(mixed.permute(0, 3, 1, 2), cut(plan, IMAGES))


@pytest.mark.parametrize("rule", [Mixup(1.0), CutMix()], ids=repr)
def test_a_mask_is_one_beside_several_labels_as_well(rule):
    got, alone = (collated(CLASSES, rule, multi_label=multi_label)[1] for multi_label in (True, False))
    for one, other in zip(got, alone, strict=True):
        assert torch.equal(one, other)
    assert got[0].dtype == CLASSES.dtype


@pytest.mark.parametrize("rule", [Mixup(), CutMix(), BOTH], ids=repr)
@pytest.mark.parametrize("name", ["boxes", "bboxes", "bbox", "keypoints"])
def test_boxes_are_never_averaged(rule, name):
    boxes = torch.rand(N, 5, 4) * 3
    boxes[..., 2:] += boxes[..., :2]
    samples = [{"image": x, name: b if name != "keypoints" else b[:, :2]} for x, b in zip(IMAGES, boxes, strict=True)]
    plan = rule.plan(N, SIZE, rng=KEY)
    for named in ({}, {"targets": [name]}):
        got = MixCollate(rule, rng=KEY[0], **named)(samples)[name]
        given = [sample[name] for sample in samples]
        expected = plan.apply_keypoints(given)[0] if name == "keypoints" else plan.apply_boxes(given, given)[0]
        assert all(map(torch.equal, got, expected))
    with pytest.raises(TypeError, match="entry 1 has the shape of bounding boxes"):
        MixCollate(rule)(list(zip(IMAGES, boxes, strict=True)))


def test_what_only_looks_like_boxes_is_blended_when_named():
    values = torch.rand(N, 5, 4)
    plan = Mixup().plan(N, SIZE, rng=KEY)
    got = collated(values, Mixup(), targets=[1])[1]
    np.testing.assert_allclose(got, plan.apply(values.numpy()), atol=1e-6)


def test_tv_tensors_keep_their_types():
    tv = pytest.importorskip("torchvision.tv_tensors")
    images, masks = [tv.Image(x) for x in IMAGES], [tv.Mask(m) for m in CLASSES]
    for rule in (CutMix(), Mixup(), BOTH):
        mixed, mask = collated(masks, rule, images)
        assert type(mixed) is tv.Image
        plan = rule.plan(N, SIZE, rng=KEY)
        assert torch.equal(mixed.as_subclass(torch.Tensor), torch.from_numpy(plan.apply(IMAGES.numpy())))
        if rule == CutMix():
            assert type(mask) is tv.Mask
            assert torch.equal(mask.as_subclass(torch.Tensor), cut(plan, CLASSES))
        else:
            assert type(mask.y) is type(mask.y_partner) is tv.Mask
            assert type(mask.lam) is torch.Tensor
    boxes = [tv.BoundingBoxes(torch.rand(5, 4), format="XYXY", canvas_size=SIZE) for _ in range(N)]
    for rule in (CutMix(), Mixup()):
        for named in ({}, {"targets": [1]}):
            with pytest.raises(TypeError, match=r"entry 1 is of bounding boxes"):
                collated(boxes, rule, **named)
        with pytest.raises(TypeError, match="bounding boxes"):
            MixCollate(rule, inputs=[0, 1])(list(zip(IMAGES, boxes, strict=True)))


def test_a_plan_of_weights_and_boxes_of_a_rule_of_ones_own():
    """Samples that are only cut have no other side: there the two masks of a pair are equal."""
    plan = MixPlan.from_boxes([[1, 1, 4, 4]] * N, SIZE, np.roll(np.arange(N), 1), [1.0, 0.6] * (N // 2))

    class Fixed:
        def plan(self, n, shape=None, labels=None, rng=None):
            return plan

    target = collated(CLASSES, Fixed())[1]
    only_cut = torch.tensor([True, False] * (N // 2))
    assert torch.equal(target.y, cut(plan, CLASSES))
    assert torch.equal(target.y_partner[only_cut], target.y[only_cut])
    assert torch.equal(target.y_partner[~only_cut], CLASSES.roll(1, 0)[~only_cut])
    np.testing.assert_array_equal(target.lam, np.where(only_cut, plan.lam, plan.weight).astype(np.float32))


@pytest.mark.parametrize("shape", [(1, *SIZE), SIZE])
def test_float_masks_of_classes_are_not_averaged_as_numbers(shape):
    """As MONAI and others keep them. With the number of classes they are known from what is a picture."""
    masks = [mask.float().view(shape) for mask in CLASSES]
    for rule in (Mixup(1.0), BOTH):
        with pytest.raises(TypeError, match=r"floats that look like class numbers, with num_classes=4.*y.long\(\)"):
            collated(masks, rule, num_classes=4)
    plan = CutMix().plan(N, SIZE, rng=KEY)
    assert torch.equal(collated(masks, CutMix(), num_classes=4)[1], cut(plan, torch.stack(masks)))
    shares = [(mask > 1).float() for mask in masks]  # of one class
    plan, both = Mixup(1.0).plan(N, rng=KEY), torch.stack(shares)
    lam = torch.from_numpy(plan.lam).float().view(N, *[1] * len(shape))
    torch.testing.assert_close(
        collated(shares, Mixup(1.0), num_classes=4)[1], lam * both + (1 - lam) * both[plan.partner]
    )
