"""What becomes of the targets of a batch: labels of every kind, each against its value computed by hand."""

import numpy as np
import pytest
import torch

from mixup_rs import CutMix, MixPlan, Mixup, OneOf
from mixup_rs.torch import MixCollate, PairedTarget

CLASSES = [2, 0, 1, 1, 3, 0]
N = len(CLASSES)
IMAGES = torch.rand(N, 3, 4, 5, generator=torch.Generator().manual_seed(0))
#: Everyone gets the next one's image and label.
LAM, NEXT = [0.461, 1.0, 0.75, 0.0, 0.5, 0.9], [1, 2, 3, 4, 5, 0]
HOT = np.eye(4)[CLASSES]


class Fixed:
    """A rule that always draws one plan."""

    def __init__(self, plan):
        self.drawn = plan

    def plan(self, n, shape=None, labels=None, rng=None):
        return self.drawn


MIXUP = Fixed(MixPlan(LAM, NEXT))
ONE_LAM = Fixed(MixPlan([0.7] * N, NEXT))
BOX = [[1, 1, 3, 4]] * N  # 6 of 20 pixels
CUT = Fixed(MixPlan.from_boxes(BOX, (4, 5), NEXT))
EACH_RULE = pytest.mark.parametrize("rule", [MIXUP, CUT], ids=["mixup", "cutmix"])


def lam_of(rule):
    return np.array(LAM if rule is MIXUP else [0.7] * N)


def collated(targets, rule=MIXUP, **options):
    samples = list(zip(IMAGES, targets, strict=True))
    images, target = MixCollate(rule, **options)(samples)
    assert torch.equal(images, torch.from_numpy(rule.drawn.apply(IMAGES.numpy())))
    return target


def blended(values, rule=MIXUP):
    lam = lam_of(rule).reshape(-1, *[1] * (np.ndim(values) - 1))
    return lam * np.asarray(values, float) + (1 - lam) * np.asarray(values, float)[NEXT]


def assert_blended(got, values, rule=MIXUP, dtype=torch.float32):
    assert got.dtype == dtype
    assert got.shape == np.shape(values)
    np.testing.assert_allclose(got.numpy(), blended(values, rule), rtol=1e-6, atol=1e-6)


def assert_pair(got, own, rule=MIXUP):
    assert isinstance(got, PairedTarget)
    own = torch.as_tensor(own)
    assert torch.equal(got.y, own)
    assert torch.equal(got.y_partner, own[NEXT])
    np.testing.assert_array_equal(got.lam.numpy(), lam_of(rule).astype(np.float32))


@EACH_RULE
@pytest.mark.parametrize(
    "kind", [int, np.int64, np.int32, np.uint8, np.uint16, np.uint32, torch.tensor, lambda y: np.array(y, np.int16)]
)
def test_class_indices_are_pairs_or_soft(kind, rule):
    targets = [kind(y) for y in CLASSES]
    got = collated(targets, rule)
    assert torch.equal(got.y.long(), torch.tensor(CLASSES))
    assert torch.equal(got.y_partner, got.y[NEXT])
    np.testing.assert_array_equal(got.lam, lam_of(rule).astype(np.float32))
    assert_blended(collated(targets, rule, num_classes=4), HOT, rule)


@EACH_RULE
@pytest.mark.parametrize("kind", [lambda y: torch.tensor([y]), lambda y: np.array([y]), lambda y: [y]])
def test_classes_of_shape_one(kind, rule):
    targets = [kind(y) for y in CLASSES]
    assert_blended(collated(targets, rule, num_classes=4), HOT, rule)
    assert_pair(collated(targets, rule), torch.tensor(CLASSES)[:, None], rule)


@EACH_RULE
def test_label_smoothing(rule):
    got = collated(CLASSES, rule, num_classes=4, label_smoothing=0.1)
    assert_blended(got, 0.9 * HOT + 0.1 / 4, rule)


@EACH_RULE
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_one_hot_columns_of_integers(dtype, rule):
    """`F.one_hot` is of int64."""
    assert_blended(collated(torch.tensor(HOT).to(dtype), rule, num_classes=4), HOT, rule)
    if dtype != torch.bool:
        assert_pair(collated(torch.tensor(HOT).to(dtype), rule), torch.tensor(HOT).to(dtype), rule)


@EACH_RULE
@pytest.mark.parametrize("dtype", [torch.int64, torch.int16, torch.uint8, torch.bool, torch.float32])
def test_several_labels_at_once(dtype, rule):
    tags = [[1, 0, 0, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 1], [0] * 5, [1] * 5, [0, 1, 0, 1, 0]]
    targets = torch.tensor(tags).to(dtype)
    for given in (targets, list(targets.numpy()), targets.tolist() if dtype != torch.bool else targets):
        # Lists of whole floats are floats of 64 bits.
        wide = isinstance(given, list) and isinstance(given[0], list) and dtype.is_floating_point
        got = collated(given, rule, multi_label=True)
        assert_blended(got, tags, rule, torch.float64 if wide else torch.float32)
    if rule is MIXUP:
        np.testing.assert_allclose(collated(targets, multi_label=True)[0], [1, 0, 0.539, 0, 0.539], atol=1e-6)


@EACH_RULE
@pytest.mark.parametrize("kind", [bool, np.bool_, torch.tensor])
def test_single_booleans(kind, rule):
    flags = [True, False, False, True, True, False]
    assert_blended(collated([kind(flag) for flag in flags], rule), np.array(flags, float), rule)
    got = collated([kind(flag) for flag in flags], rule, num_classes=2)
    assert_blended(got, np.eye(2)[np.array(flags, int)], rule)


@EACH_RULE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)])
def test_floats_are_blended(dtype, shape, rule):
    values = torch.randn(N, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    got = collated(values, rule)
    assert got.dtype == dtype
    np.testing.assert_allclose(
        got.double(), blended(values.double(), rule), atol=2e-3 if dtype == torch.float16 else 1e-6
    )


def test_python_floats_are_double_as_default_collate_has_them():
    assert_blended(collated([0.5 * i for i in range(N)]), np.arange(N) / 2, dtype=torch.float64)


@pytest.mark.parametrize("targets", [[0.0, 1.0, 2.0, 3.0, 0.0, 1.0], [torch.tensor([float(y)]) for y in CLASSES]])
def test_class_numbers_of_floats_are_refused(targets):
    with pytest.raises(TypeError, match=r"entry 1 has floats that look like class numbers.*y.long\(\)"):
        collated(targets, num_classes=4)


def test_one_column_of_soft_values_is_no_class_number():
    assert_blended(collated([0.25, 0.5, 1.0, 0.0, 0.75, 0.1], num_classes=4), [0.25, 0.5, 1.0, 0.0, 0.75, 0.1],
                   dtype=torch.float64)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "what"),
    [("cat", "str"), (None, "NoneType"), ({1, 2}, "set"), (b"cat", "bytes"), (1j, "complex"), (object(), "object")],
)
@pytest.mark.parametrize("options", [{}, {"num_classes": 4}, {"multi_label": True}])
def test_what_is_no_label_is_refused_by_name(target, what, options):
    with pytest.raises(TypeError, match=rf"entry 1 is a target of type {what}.*targets="):
        collated([target] * N, **options)
    samples = [{"image": x, "label": target} for x in IMAGES]
    with pytest.raises(TypeError, match=rf"entry 'label' is a target of type {what}"):
        MixCollate(MIXUP, **options)(samples)


@pytest.mark.parametrize("label", ["cat", ["a", "b"], np.array(["a"]), np.array([None])], ids=str)
def test_strings_in_any_container_are_refused(label):
    with pytest.raises(TypeError, match=r"entry ('label'|\('label', 0\))"):
        MixCollate(MIXUP)([{"image": x, "label": label} for x in IMAGES])


def test_numbers_of_two_types():
    """A float among integers is not truncated; what is no number is not read as one."""
    values = [1, 0.5, 2, 0.25, 3, 0]
    assert_blended(collated(values), values, dtype=torch.float64)
    assert_blended(collated(values[::-1]), values[::-1], dtype=torch.float64)
    for wide in (np.uint8, np.uint64):
        classes = [2, np.int64(0), 1, wide(1), 3, 0]
        assert_pair(collated(classes), torch.tensor(CLASSES))
    for other in ("2", None, True, 1j, [1], object()):
        for at in (1, 5):
            mixture = list(CLASSES)
            mixture[at] = other
            with pytest.raises(TypeError, match=r"entry 1 is a target of different types: .*int"):
                collated(mixture)


@pytest.mark.parametrize("y", [4, -1, -100, 10**6])
def test_classes_out_of_range_are_refused(y):
    with pytest.raises(ValueError, match=str(y)):
        collated([y, *CLASSES[1:]], num_classes=4)


@pytest.mark.parametrize("label", [2**63, 2**70, -(2**63) - 1, np.uint64(2**63)])
@pytest.mark.parametrize("rest", [[*CLASSES[1:]], [np.int64(y) for y in CLASSES[1:]]])
def test_classes_that_no_integer_holds_are_refused(label, rest):
    with pytest.raises(ValueError, match="entry 1 has integers that int64 does not hold"):
        collated([label, *rest])
    with pytest.raises(ValueError, match="entry 1 has integers that int64 does not hold"):
        collated([np.array([2**63, 1], np.uint64)] * N)


@pytest.mark.parametrize("missing", [np.nan, -100.0])
def test_class_numbers_of_floats_are_refused_though_some_are_missing(missing):
    """As pandas reads a column of labels with gaps."""
    with pytest.raises(TypeError, match="entry 1 has floats that look like class numbers"):
        collated([missing, *map(float, CLASSES[1:])], num_classes=4)


def test_targets_that_cannot_be_stacked_are_refused_by_name():
    for ragged in ([torch.ones(1 + i % 2) for i in range(N)], [[1] * (1 + i % 2) for i in range(N)]):
        with pytest.raises(ValueError, match=r"entry 1: .*equal size"):
            collated(ragged)
    with pytest.raises(TypeError, match=r"entry 1 is of the layout torch.sparse_coo"):
        collated([torch.eye(4).to_sparse()] * N)


def test_integers_of_several_columns_that_are_no_columns_of_classes():
    with pytest.raises(ValueError, match=r"entry 1 has shape \(6, 3\).*multi_label=True.*num_classes=None pairs it"):
        collated(torch.ones(N, 3, dtype=torch.int64), num_classes=4)
    with pytest.raises(ValueError, match="entry 1 has shape"):
        collated(torch.full((N, 4), 2), num_classes=4)
    with pytest.raises(ValueError, match="label_smoothing needs class indices"):
        collated(torch.tensor(HOT).long(), num_classes=4, label_smoothing=0.1)
    tokens = torch.arange(3 * N).view(N, 3)
    assert_pair(collated(tokens), tokens)


@pytest.mark.parametrize("options", [{}, {"multi_label": True}])
def test_pair_gives_both_targets_and_one_number(options):
    """What models that compute the loss themselves need."""
    for targets in (CLASSES, list(torch.tensor(HOT)), [float(y) for y in CLASSES]):
        for rule in (ONE_LAM, CUT):
            y, y_partner, lam = collated(targets, rule, pair=True, **options)
            own = torch.stack([torch.as_tensor(y) for y in targets])
            assert torch.equal(y.double(), own.double())
            assert torch.equal(y_partner.double(), own[NEXT].double())
            assert lam.ndim == 0
            assert lam.item() == np.float32(0.7)
    with pytest.raises(ValueError, match="mode='batch'"):
        collated(CLASSES, MIXUP, pair=True)


def test_several_heads():
    a, b = CLASSES, [1, 0, 1, 1, 0, 2]
    tuples = [(x, *heads) for x, *heads in zip(IMAGES, a, b, strict=True)]
    nested = [(x, tuple(heads)) for x, *heads in zip(IMAGES, a, b, strict=True)]
    dicts = [{"image": x, "label": i, "mask": k} for x, i, k in zip(IMAGES, a, b, strict=True)]
    inner = [(x, {"kind": i, "size": k}) for x, i, k in zip(IMAGES, a, b, strict=True)]
    cases = [
        (tuples, [4, 3], lambda batch: batch[1:]),
        (tuples, {1: 4, 2: 3}, lambda batch: batch[1:]),
        (nested, [4, 3], lambda batch: batch[1]),
        (dicts, {"label": 4, "mask": 3}, lambda batch: (batch["label"], batch["mask"])),
        (dicts, [4, 3], lambda batch: (batch["label"], batch["mask"])),
        (inner, {"kind": 4, "size": 3}, lambda batch: (batch[1]["kind"], batch[1]["size"])),
        (inner, {(1, "kind"): 4, (1, "size"): 3}, lambda batch: (batch[1]["kind"], batch[1]["size"])),
    ]
    for samples, num_classes, heads in cases:
        first, second = heads(MixCollate(MIXUP, num_classes=num_classes)(samples))
        assert_blended(first, HOT)
        assert_blended(second, np.eye(3)[b])
    soft, pair = MixCollate(MIXUP, num_classes={1: 4})(tuples)[1:]
    assert_blended(soft, HOT)
    assert_pair(pair, torch.tensor(b))


def test_numbers_of_classes_for_targets_that_are_not_there():
    samples = [(x, y, y) for x, y in zip(IMAGES, CLASSES, strict=True)]
    with pytest.raises(ValueError, match="num_classes has 1 numbers"):
        MixCollate(MIXUP, num_classes=[4])(samples)
    with pytest.raises(ValueError, match="num_classes has 3 numbers, but there are 2 targets"):
        MixCollate(MIXUP, num_classes=[4, 4, 4])(samples)
    with pytest.raises(ValueError, match=r"num_classes names 'lable'"):
        MixCollate(MIXUP, num_classes={"lable": 4})([{"image": x, "label": y} for x, y, _ in samples])


@pytest.mark.parametrize("rule", [OneOf([Mixup(), CutMix()], mode="elem"), OneOf([Mixup(), CutMix()])], ids=repr)
def test_labels_of_mixup_and_cutmix_in_one_batch(rule):
    plan = rule.plan(N, (4, 5), rng=(3, 0, 0, 0))
    target = MixCollate(rule, rng=3, num_classes=4)(list(zip(IMAGES, CLASSES, strict=True)))[1]
    lam = plan.lam[:, None]
    np.testing.assert_allclose(target, lam * HOT + (1 - lam) * HOT[plan.partner], atol=1e-6)


def test_several_labels_are_0_and_1():
    samples = [(torch.rand(3, 4, 4), torch.tensor([0, 1, -1])) for _ in range(4)]
    with pytest.raises(ValueError, match=r"entry 1 has integers of -1 to 1.*multi_label=True.*0 and 1"):
        MixCollate(Mixup(), multi_label=True)(samples)


@pytest.mark.parametrize("target", [torch.eye(4)[1], torch.eye(4, dtype=torch.long)[1], torch.eye(4)[1] > 0])
def test_columns_are_not_smoothed(target):
    samples = [(torch.rand(3, 4, 4), target) for _ in range(4)]
    with pytest.raises(ValueError, match="label_smoothing needs class indices, but entry 1 has a column"):
        MixCollate(Mixup(), num_classes=4, label_smoothing=0.1)(samples)


def test_an_index_that_is_taken_for_a_target_is_named():
    samples = [(x, y, 50 + i) for i, (x, y) in enumerate(zip(IMAGES, CLASSES, strict=True))]
    with pytest.raises(ValueError, match=r"entry 2: class indices must lie in \[0, 4\), got 50.*targets=\.\.\."):
        MixCollate(MIXUP, num_classes=4)(samples)
    _, target, index = MixCollate(MIXUP, num_classes=4, targets=[1])(samples)
    assert target.shape == (N, 4)
    assert index.tolist() == [*range(50, 50 + N)]
