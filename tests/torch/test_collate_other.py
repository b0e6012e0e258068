"""MixCollate with partners from a second data set: what stacking both and mixing by `other` would give."""

import re

import numpy as np
import pytest
import torch
from oracle import mix_plan
from other import mixed as mixed_with
from rules import EXAMPLES
from torch.utils.data import ChainDataset, DataLoader
from torchvision import tv_tensors

from mixup_rs import CutMix, FMix, Mixup, OneOf, ResizeMix, Within
from mixup_rs.torch import MixCollate, PairedTarget

RNG = np.random.default_rng(0)
N, M = 6, 11
IMAGES = torch.from_numpy(RNG.random((N, 3, 8, 10), np.float32))
OTHERS = torch.from_numpy(RNG.random((M, 3, 8, 10), np.float32))
CLASSES, THEIRS = torch.arange(N) % 5, torch.arange(M) % 5
SAMPLES = [*zip(IMAGES, CLASSES.tolist(), strict=True)]
DATA = [*zip(OTHERS, THEIRS.tolist(), strict=True)]
each_rule = pytest.mark.parametrize(
    "rule",
    [
        rule
        for rule in EXAMPLES
        if "mode='pair'" not in repr(rule) and set(re.findall(r"partners=(\w+)", repr(rule))) <= {"None"}
    ],
    ids=repr,
)


def expected(plan, x=IMAGES, z=OTHERS):
    x, z = (one.numpy().astype(np.float64) for one in (x, z))
    return mixed_with(plan, x, z, lambda both, batch: mix_plan(batch, both))


@each_rule
def test_partners_come_from_the_other_data(rule):
    (images, (y, y_partner, lam)), plan = MixCollate(rule, rng=1, other=DATA, return_plan=True)(SAMPLES)
    assert plan == rule.plan(N, (8, 10), rng=(1, 0, 0, 0), other=M)
    assert images.shape == IMAGES.shape
    assert np.allclose(images.numpy(), expected(plan), atol=1e-6)
    assert torch.equal(y, CLASSES)
    assert torch.equal(y_partner, THEIRS[plan.partner])
    assert np.array_equal(lam.numpy(), plan.lam.astype(np.float32))


@each_rule
def test_soft_targets(rule):
    (_, soft), plan = MixCollate(rule, num_classes=5, rng=1, other=DATA, return_plan=True)(SAMPLES)
    eye, lam = np.eye(5), plan.lam[:, None]
    assert np.allclose(soft.numpy(), lam * eye[CLASSES] + (1 - lam) * eye[THEIRS[plan.partner]], atol=1e-6)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_with_any_number_of_workers(workers):
    collate = MixCollate(OneOf([Mixup(), CutMix()]), rng=1, other=DATA)
    batches = {}
    for count in (0, workers):
        loader = DataLoader(SAMPLES, batch_size=2, collate_fn=collate, num_workers=count)
        for epoch in range(2):
            collate.set_epoch(epoch)
            batches.setdefault(count, []).extend(loader)
    for (x, (y, partner, lam)), (x2, (y2, partner2, lam2)) in zip(batches[0], batches[workers], strict=True):
        for one, other in ((x, x2), (y, y2), (partner, partner2), (lam, lam2)):
            assert torch.equal(one, other)


def test_samples_are_read_at_once_where_they_can():
    class Data:
        def __len__(self):
            return M

        def __getitem__(self, index):
            raise AssertionError

        def __getitems__(self, indices):
            return [DATA[i] for i in indices]

    class OneByOne(list):
        __getitems__ = None

    assert len(MixCollate(Mixup(), rng=1, other=OneByOne(DATA))(SAMPLES)) == 2
    x, _ = MixCollate(Mixup(), rng=1, other=Data())(SAMPLES)
    assert torch.equal(x, MixCollate(Mixup(), rng=1, other=DATA)(SAMPLES)[0])


def test_nothing_is_read_where_nothing_is_mixed():
    class Data(list):
        def __getitem__(self, index):
            raise AssertionError

    collate = MixCollate(Mixup(), rng=1, other=Data(DATA))
    collate.enabled = False
    x, (y, partner, lam) = collate(SAMPLES)
    assert torch.equal(x, IMAGES)
    assert torch.equal(y, partner)
    assert (lam == 1).all()


def test_images_of_bytes_are_normalised():
    own, theirs = (torch.from_numpy(RNG.integers(0, 256, (n, 3, 8, 10), dtype=np.uint8)) for n in (N, M))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    collate = MixCollate(Mixup(), normalize=(mean, std), rng=1, return_plan=True, other=[(z, 0) for z in theirs])
    (images, _), plan = collate([(x, 0) for x in own])
    exact = (expected(plan, own, theirs) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert images.dtype == torch.float32
    assert np.allclose(images.numpy(), exact, atol=1e-5)


def test_masks_are_cut_and_keep_their_type():
    masks = [tv_tensors.Mask(torch.from_numpy(RNG.integers(0, 4, (8, 10)))) for _ in range(N + M)]
    own, theirs = ([*zip(x, part, strict=True)] for x, part in ((IMAGES, masks[:N]), (OTHERS, masks[N:])))
    (_, mixed), plan = MixCollate(CutMix(mode="elem"), rng=1, other=theirs, return_plan=True)(own)
    assert type(mixed) is tv_tensors.Mask
    stacked = (torch.stack([torch.Tensor(mask) for mask in part]) for part in (masks[:N], masks[N:]))
    assert np.array_equal(mixed.numpy(), expected(plan, *stacked))
    (_, pair), plan = MixCollate(Mixup(), rng=1, other=theirs, return_plan=True)(own)
    assert type(pair.y_partner) is tv_tensors.Mask
    assert all(torch.equal(pair.y_partner[i], masks[N + at]) for i, at in enumerate(plan.partner))


def test_labels_have_the_weights_that_a_rule_gives_them():
    class Apart:
        def plan(self, n, shape=None, labels=None, rng=None, other=None):
            return Mixup(1.0).plan(n, rng=rng, other=other).with_label_lam(0.25)

    (images, pair), plan = MixCollate(Apart(), rng=1, other=DATA, return_plan=True)(SAMPLES)
    assert (pair.lam == 0.25).all()
    assert np.allclose(images.numpy(), expected(plan), atol=1e-6)


def test_one_lam_for_both_targets():
    (_, pair), plan = MixCollate(Mixup(mode="batch"), rng=1, pair=True, other=DATA, return_plan=True)(SAMPLES)
    assert isinstance(pair, PairedTarget)
    assert pair.lam.ndim == 0
    assert pair.lam == np.float32(plan.lam[0])
    assert torch.equal(pair.y_partner, THEIRS[plan.partner])


def test_entries_of_neither_role_are_those_of_the_batch():
    own, theirs = (
        [
            {"image": x, "label": i % 5, "index": 100 * part + i, "input_ids": torch.tensor([part, i])}
            for i, x in enumerate(images)
        ]
        for part, images in enumerate((IMAGES, OTHERS))
    )
    batch = MixCollate(Mixup(), rng=1, other=theirs)(own)
    assert batch["index"].tolist() == [*range(N)]
    assert batch["input_ids"].tolist() == [[0, i] for i in range(N)]


def test_boxes_are_those_of_both():
    own, theirs = (
        [(x, {"boxes": torch.tensor([[1.0, 1.0, 5.0, 5.0]]), "labels": torch.tensor([10 * part + i])})
         for i, x in enumerate(images)]
        for part, images in enumerate((IMAGES, OTHERS), start=1)
    )  # fmt: skip
    (_, objects), plan = MixCollate(Mixup(), rng=1, other=theirs, return_plan=True)(own)
    assert len(objects) == N
    for i, (one, partner, lam) in enumerate(zip(objects, plan.partner, plan.lam, strict=True)):
        assert one["labels"].tolist() == [10 + i, 20 + partner]
        assert np.allclose(one["weights"].numpy(), [lam, 1 - lam], atol=1e-6)


@pytest.mark.parametrize("rule", [FMix(), ResizeMix()], ids=repr)
def test_one_sample_has_a_partner(rule):
    (images, _), plan = MixCollate(rule, rng=3, other=DATA, return_plan=True)(SAMPLES[:1])
    assert np.allclose(images.numpy(), expected(plan, IMAGES[:1]), atol=1e-5)
    assert plan.lam[0] < 1


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"other": 3}, TypeError, "map-style data set.*got int"),
        ({"other": iter(DATA)}, TypeError, "map-style"),
        ({"other": ChainDataset([])}, TypeError, "got ChainDataset"),
        ({"other": DataLoader(DATA)}, TypeError, "got DataLoader"),
        ({"other": {"image": IMAGES}}, TypeError, "got dict"),
        ({"other": []}, ValueError, "at least one sample"),
        ({"other": DATA, "pad": 0.0}, ValueError, "without pad"),
    ],
)
def test_wrong_arguments(options, error, match):
    with pytest.raises(error, match=match):
        MixCollate(Mixup(), **options)


@pytest.mark.parametrize(
    ("rule", "other", "match"),
    [
        (Mixup(mode="pair"), DATA, "pair"),
        (Mixup(partners=Within()), DATA, "partners"),
        (Mixup(), [(torch.zeros(3, 9, 9), 1)], "shape"),
        (Mixup(), [(torch.zeros(3, 8, 10, dtype=torch.float64), 1)], "float64"),
        (Mixup(), [(torch.zeros(3, 8, 10), 1, 2)], "entries|length|3"),
        (Mixup(), [{"image": torch.zeros(3, 8, 10)}], "tuple|dict"),
        (Mixup(), [(torch.zeros(3, 8, 10), 0.5)], "of other is a target of torch.float64, in the batch"),
        (OneOf([ResizeMix(), FMix()], mode="elem"), DATA, "draw one kind for the batch"),
    ],
    ids=str,
)
def test_what_does_not_fit(rule, other, match):
    with pytest.raises((ValueError, TypeError), match=match):
        MixCollate(rule, rng=1, other=other)(SAMPLES)
