"""Mixer on NumPy alone: containers, roles and targets."""

import collections
import dataclasses
import doctest
import importlib
import pickle
import pkgutil
from typing import Any, NamedTuple

import numpy as np
import pytest
from oracle import DTYPES, assert_applied, assert_same_bits, inside, name, soft_targets, values
from rules import EXAMPLES, Fixed

import mixup_rs.batches
from mixup_rs import CutMix, FMix, Mixer, MixPlan, Mixup, OneOf, PairedTarget, Within

N, SIZE = 6, (8, 10)
X = values((N, 3, *SIZE), np.float32)
Y = np.array([0, 1, 2, 3, 0, 1])
each_rule = pytest.mark.parametrize("rule", EXAMPLES, ids=repr)


LAM, NEXT = [0.461, 1.0, 0.75, 0.0, 0.5, 0.9], [1, 2, 3, 4, 5, 0]
PLAN = MixPlan(LAM, NEXT)
FIXED = Fixed(PLAN)


@pytest.mark.parametrize("module", [found.name for found in pkgutil.iter_modules(mixup_rs.batches.__path__)])
def test_the_examples_of_its_parts_run(module):
    assert doctest.testmod(importlib.import_module(f"mixup_rs.batches.{module}")).failed == 0


# --- what is mixed ---


@each_rule
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_inputs_are_mixed_by_the_plan_of_the_key(rule, dtype):
    x = values((N, 3, *SIZE), dtype)
    mixed, (y, y_partner, lam) = Mixer(rule, rng=7)((x, Y), key=(3, 5))
    plan = rule.plan(N, SIZE, rng=(7, 3, 5))
    assert_applied(mixed, x, plan)
    assert_same_bits(y, Y)
    assert_same_bits(y_partner, Y[plan.partner])
    assert_same_bits(lam, plan.lam.astype(np.float32))


@each_rule
def test_channels_last(rule):
    x = np.ascontiguousarray(np.moveaxis(X, 1, -1))
    plan = rule.plan(N, SIZE, rng=(7, 3))
    assert_same_bits(Mixer(rule, rng=7)(x, key=3), plan.apply(x, spatial_axes=(1, 2)))
    cube = values((N, 12, 12, 12), np.uint8)
    for channels_last, axes in ((True, (1, 2)), (False, (2, 3))):
        plan = CutMix().plan(N, (12, 12), rng=(7, 3))
        got = Mixer(CutMix(), rng=7, channels_last=channels_last)(cube, key=3)
        assert_same_bits(got, plan.apply(cube, spatial_axes=axes))
    with pytest.raises(ValueError, match="does not tell its height and width; say channels_last="):
        Mixer(CutMix())(cube)


def test_a_mask_tells_the_order_of_the_axes():
    x, mask = values((N, 32, 48, 40), np.uint8), np.zeros((N, 32, 48), np.int64)
    mixed = Mixer(CutMix(), rng=7)({"image": x, "mask": mask}, key=3)
    assert_same_bits(mixed["image"], CutMix().plan(N, (32, 48), rng=(7, 3)).apply(x, spatial_axes=(1, 2)))


def test_an_input_of_another_size_is_blended_by_the_share_that_is_left():
    batch = {"image": X, "features": values((N, 5), np.float64), "label": Y}
    mixed = Mixer(CutMix(), rng=7)(batch, key=3)
    plan = CutMix().plan(N, SIZE, rng=(7, 3))
    assert_same_bits(mixed["image"], plan.apply(X))
    assert_same_bits(mixed["features"], plan.without_region().apply(batch["features"]))


def test_soft_targets():
    for y in (Y, Y.tolist(), tuple(Y.tolist()), list(Y), Y.astype(np.uint8), Y[:, None], Y.astype(">i4")):
        got = Mixer(FIXED, num_classes=4, label_smoothing=0.1)((X, y))[1]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, soft_targets(Y, PLAN.lam, PLAN.partner, 4, 0.1), atol=1e-6)


@pytest.mark.parametrize(
    ("y", "options"),
    [
        (np.linspace(0, 1, N), {}),
        (np.random.default_rng(0).random((N, 3)).astype(np.float32), {"num_classes": 3}),
        (np.eye(4)[Y].astype(bool), {}),
        (np.eye(4)[Y].astype(np.int64), {"num_classes": 4}),
        (np.array([[1, 0, 1]] * N), {"multi_label": True}),
        ([[1, 0, 1]] * N, {"multi_label": True}),
        ([0.5, 1, 2, 3, 4, 5], {}),
        ([True, False] * 3, {}),
    ],
)
def test_targets_that_are_blended(y, options):
    got = Mixer(FIXED, **options)((X, y))[1]
    y = np.asarray(y)
    expected = y.dtype if y.dtype.kind == "f" else np.float32
    assert got.dtype == expected
    lam = PLAN.lam.reshape(-1, *[1] * (y.ndim - 1))
    np.testing.assert_allclose(got, lam * y + (1 - lam) * y[PLAN.partner], atol=1e-6)


def test_masks():
    boxes = [[1, 1, 5, 6]] * N
    mask = np.random.default_rng(0).integers(0, 5, (N, *SIZE))
    cut = MixPlan.from_boxes(boxes, SIZE, NEXT)
    expected = np.where(inside(cut, mask.shape), mask[NEXT], mask)
    for dtype in (np.uint8, np.int64, np.uint16, np.int32):
        assert_same_bits(Mixer(Fixed(cut))((X, mask.astype(dtype)))[1], expected.astype(dtype))
        assert_same_bits(Mixer(FIXED)((X, mask.astype(dtype)))[1].y_partner, mask.astype(dtype)[NEXT])
    both = MixPlan.from_boxes(boxes, SIZE, NEXT, weight=LAM)
    own, partner, lam = Mixer(Fixed(both))((X, mask))[1]
    # Of what is all the partner's, both sides are.
    expected = np.where((both.weight == 0)[:, None, None], mask[NEXT], expected)
    assert_same_bits(own, expected)
    blended = both.weight < 1
    assert_same_bits(partner, np.where(blended[:, None, None], mask[NEXT], own))
    # Where the two sides are equal any lam is right: it is that of the labels.
    assert_same_bits(lam, np.where(blended, both.weight, both.lam).astype(np.float32))
    with pytest.raises(ValueError, match=r"entry 1 is a mask of shape .* height and width"):
        Mixer(Fixed(cut))((X, mask[:, 1:]))


def test_heads_of_their_own():
    batch = {"image": X, "label": Y, "class": Y % 2}
    for counts in ({"label": 4, "class": 2}, [4, 2]):
        mixed = Mixer(FIXED, num_classes=counts)(batch)
        assert (mixed["label"].shape, mixed["class"].shape) == ((N, 4), (N, 2))
    with pytest.raises(ValueError, match="num_classes names 'lable'"):
        Mixer(FIXED, num_classes={"lable": 4})(batch)
    with pytest.raises(ValueError, match="num_classes has 1 numbers"):
        Mixer(FIXED, num_classes=[4])(batch)


def test_numbers_of_classes_are_in_the_order_of_the_targets():
    batch = {"image": X, "class": Y % 2, "label": Y}
    mixed = Mixer(FIXED, targets=["class", "label"], num_classes=[2, 4])(batch)
    assert (mixed["class"].shape, mixed["label"].shape) == ((N, 2), (N, 4))
    with pytest.raises(
        ValueError, match=r"num_classes=\(4, 9\) counts targets as they are in the batch.*'label' before"
    ):
        Mixer(FIXED, targets=["label", "class"], num_classes=[4, 9])(batch)
    mixed = Mixer(FIXED, targets=["label", "class"], num_classes={"label": 4, "class": 9})(batch)
    assert (mixed["class"].shape, mixed["label"].shape) == ((N, 9), (N, 4))


# --- containers ---


class Pair(NamedTuple):
    image: Any
    label: Any
    extra: Any = None


class Record(dict):
    """A dict with an attribute."""


@dataclasses.dataclass(frozen=True)
class Sample:
    label: Any
    image: Any
    extra: Any = "here"


@pytest.mark.parametrize(
    "batch",
    [
        (X, Y),
        [X, Y],
        {"image": X, "label": Y},
        {"label": Y, "image": X},
        collections.OrderedDict(image=X, label=Y),
        collections.UserDict(image=X, label=Y),
        collections.defaultdict(list, image=X, label=Y),
        Record(image=X, label=Y),
        Pair(X, Y, "extra"),
        Sample(Y, X),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_containers_come_back(batch):
    mixed = Mixer(FIXED, num_classes=4)(batch)
    assert type(mixed) is type(batch)

    def entry(value, key, place):
        if isinstance(value, tuple | list):
            return value[place]
        return getattr(value, key) if dataclasses.is_dataclass(value) else value[key]

    assert_same_bits(entry(mixed, "image", 0), PLAN.apply(X))
    assert entry(mixed, "label", 1).shape == (N, 4)
    assert entry(batch, "image", 0) is X
    if isinstance(batch, Pair | Sample):
        assert mixed.extra is batch.extra


def test_nests():
    deep = {
        "data": ({"image": X, "ids": np.arange(N)}, [X[:, 0]]),
        "labels": {"a": Y, "b": (Y / 7,)},
        "meta": {"k": [1]},
    }
    mixed = Mixer(FIXED)(deep)
    (inner, (second,)), labels = mixed["data"], mixed["labels"]
    assert_same_bits(inner["image"], PLAN.apply(X))
    assert_same_bits(second, PLAN.apply(X[:, 0]))
    assert inner["ids"] is deep["data"][0]["ids"]
    assert isinstance(labels["a"], PairedTarget)
    np.testing.assert_allclose(labels["b"][0], PLAN.apply(Y / 7))
    assert mixed["meta"] is deep["meta"]
    named = Mixer(FIXED, inputs=[("data", 0, "image")], targets=("labels", "b"), num_classes=None)
    with pytest.raises(ValueError, match="targets names 'b'"):
        named(deep)
    mixed = Mixer(FIXED, inputs=[("data", 0, "image")], targets=[("labels", "b")])(deep)
    assert mixed["data"][1] is deep["data"][1]
    assert mixed["labels"]["a"] is Y
    np.testing.assert_allclose(mixed["labels"]["b"][0], PLAN.apply(Y / 7))


def test_a_batch_as_ray_gives_it():
    image = np.random.default_rng(0).integers(0, 256, (N, *SIZE, 3), np.uint8)
    image.flags.writeable = Y.flags.writeable = False
    batch = {
        "image": image,
        "label": Y,
        "path": np.array(["a"] * N, object),
        "ragged": np.array([[1], [2, 3]] * 3, object),
    }
    try:
        for rule in (Mixup(), CutMix(), FMix(soft=0.2), OneOf([Mixup(), CutMix()], mode="elem")):
            mixed = Mixer(rule, num_classes=4, rng=0)(batch, key=1)
            plan = rule.plan(N, SIZE, rng=(0, 1))
            assert_same_bits(mixed["image"], plan.apply(image, spatial_axes=(1, 2)))
            assert_same_bits(mixed["label"], plan.apply_labels(Y, 4)[0])
            assert mixed["path"] is batch["path"]
            assert mixed["ragged"] is batch["ragged"]
    finally:
        Y.flags.writeable = True


def test_what_comes_back_is_new_and_what_was_given_stays():
    batch = (X.copy(), Y.copy(), np.arange(2.0 * N).reshape(N, 2))
    before = pickle.dumps(batch)
    for rule in (Fixed(MixPlan.identity(N)), FIXED):
        mixed = Mixer(rule)(batch)
        new = [mixed[0], *mixed[1], mixed[2]]
        assert not any(np.shares_memory(a, b) for a in new for b in batch)
        for array in new:
            array[...] = 0
        assert pickle.dumps(batch) == before


@pytest.mark.parametrize("n", [0, 1, 2])
@each_rule
def test_small_batches(n, rule):
    x, y = Mixer(rule, num_classes=4, rng=0)((X[:n], Y[:n]))
    assert (x.shape, y.shape) == ((n, 3, *SIZE), (n, 4))


# --- the object ---


def test_it_is_plain():
    mix = Mixer(CutMix(0.5), inputs=["a"], num_classes={"b": 3}, rng=np.array([1, 2]), targets="b")
    copy = pickle.loads(pickle.dumps(mix))
    assert copy == mix
    assert hash(copy) == hash(mix)
    assert mix != Mixer(CutMix(0.5), inputs=["a"], num_classes={"b": 4}, rng=(1, 2), targets="b")
    assert repr(Mixer(Mixup(), rng=3, num_classes=5)) == f"Mixer({Mixup()!r}, num_classes=5, rng=3)"
    assert eval(repr(mix), {"Mixer": Mixer, "CutMix": CutMix}) == mix
    with pytest.raises(dataclasses.FrozenInstanceError):
        mix.rng = 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rule": 0.4}, TypeError, "rule must be a rule, such as Mixup"),
        ({"rule": [Mixup(), CutMix()]}, TypeError, r"got list; OneOf\(\[...\]\) makes one of several"),
        ({"rule": Mixup}, TypeError, "got the class Mixup"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1"),
        ({"num_classes": "ten"}, TypeError, "num_classes must be an int"),
        ({"num_classes": [2, 0]}, ValueError, "num_classes must be at least 1"),
        ({"num_classes": {"y": -1}}, ValueError, "num_classes must be at least 1"),
        ({"label_smoothing": 0.1}, ValueError, "label_smoothing needs num_classes"),
        ({"label_smoothing": 2, "num_classes": 2}, ValueError, r"label_smoothing must lie in \[0, 1\]"),
        ({"rng": "a"}, TypeError, "rng must be an int or a sequence of ints"),
        ({"rng": 1.5}, TypeError, "rng must be an int or a sequence of ints"),
        ({"rng": np.random.default_rng(0)}, TypeError, "rng must be an int or a sequence of ints"),
        ({"rng": -1}, ValueError, "rng must be"),
        ({"rng": []}, ValueError, "rng must be"),
        ({"inputs": 1.5}, TypeError, "inputs must be positions, names or paths"),
        ({"inputs": "a", "targets": "a"}, ValueError, "inputs and targets both name 'a'"),
        ({"multi_label": 3}, TypeError, "multi_label must be one of"),
        ({"channels_last": "x"}, TypeError, "channels_last must be one of"),
        ({"rule": CutMix(saliency=np.ones((4, 8, 8)))}, ValueError, "has the maps of one batch, but Mixer mixes many"),
        ({"rule": Mixup(partners=Within(Y))}, ValueError, "has the labels of one batch, but Mixer mixes many"),
    ],
)
def test_wrong_arguments_are_refused_when_it_is_made(options, error, message):
    with pytest.raises(error, match=message):
        Mixer(**{"rule": Mixup(), **options})


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ("text", TypeError, "no input of this batch is an array, got str"),
        (None, TypeError, "no input of this batch is an array, got NoneType"),
        (np.float32(3), TypeError, "no input of this batch is an array"),
        (np.array(3.0), ValueError, r"the input has shape \(\), expected an axis of samples"),
        ({"foo": X, "label": Y}, ValueError, "no entry is known to be an input; name it: inputs="),
        ((X, Y[:3]), ValueError, r"entry 1 has shape \(3,\), expected 6 samples, as entry 0 has"),
        ((X, np.array(3)), ValueError, r"entry 1 has shape \(\)"),
        ((X, 3), TypeError, "entry 1 is a single int, expected one for each sample"),
        ((X, None), TypeError, "entry 1 is a target of type NoneType.*targets="),
        ((X, ["a"] * N), TypeError, r"entry \(1, 0\) is a target of type str.*targets="),
        ((X, np.array(["a"] * N)), TypeError, "entry 1 is a target of <U1.*targets="),
        ((X, np.array(["a", 2] * 3, object)), TypeError, "entry 1 is a target of object.*targets="),
        ((X, np.zeros(N, "M8[D]")), TypeError, "entry 1 is a target of datetime64.*targets="),
        ((X, 1j * Y), TypeError, "entry 1 is a target of complex128"),
        ((X, [[0, 1], [1]] * 3), ValueError, "entry 1 has lists of different lengths"),
        ((X, [True, 2] * 3), TypeError, "entry 1 is a target of different types: bool, int"),
        ({"image": np.array([None] * N), "label": Y}, TypeError, "entry 'image' is an input of object.*inputs="),
        ((X > 0, Y), TypeError, "entry 0 is an input of booleans"),
        ((X * 1j, Y), TypeError, "entry 0 is complex, .* real and imaginary parts"),
        ((X.astype(np.longdouble), Y), TypeError, "entry 0 is an input of .*convert it to float32"),
        ((X.astype(">f4"), Y), TypeError, "entry 0 is an input of >f4.*convert it to float32"),
        ((np.ma.array(X), Y), TypeError, "entry 0: .* masked array"),
        ((X, np.ma.array(Y)), TypeError, "entry 1: .* masked array"),
        ({"image": X, "attention_mask": np.ma.array(X > 0)}, TypeError, "entry 'attention_mask': .* masked array"),
        ((X, [2**63] * N), ValueError, "entry 1 has integers that int64 does not hold"),
        ([(X[0], 1), (X[1], 2)], TypeError, r"entries 0 and 1 are alike.*inputs=\[\(0, 0\)"),
        (({"x": X, "y": Y}, Y), TypeError, r"entry \(0, 'y'\) of a dict is of labels within an input"),
        ((Y, Y), TypeError, "no input of this batch can be mixed; indices are not blended"),
        ((np.zeros((N, 0)), Y), TypeError, "no input of this batch can be mixed"),
        ({"image": X, "label": {"boxes": np.zeros((N, 2, 4))}}, ValueError, "are all within 1, as shares of the image"),
        ((X, np.zeros((N, 2, 4))), TypeError, "has the shape of bounding boxes.*targets="),
        ((X, PairedTarget(Y, Y, Y / 9)), TypeError, "entry 1 is a PairedTarget, which is mixed already"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(batch, error, message):
    with pytest.raises(error, match=message):
        Mixer(FIXED)(batch)


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        (Y / 1, {"num_classes": 4}, TypeError, "entry 1 has floats that look like class numbers.*y.astype"),
        (Y + 4, {"num_classes": 4}, ValueError, "4"),
        (np.ones((N, 3), int), {"num_classes": 4}, ValueError, "multi_label=True blends it, num_classes=None pairs it"),
        (np.full((N, 2), 3), {"multi_label": True}, ValueError, "integers of 3 to 3"),
        (np.eye(4)[Y], {"num_classes": 4, "label_smoothing": 0.1}, ValueError, "label_smoothing needs class indices"),
    ],
)
def test_targets_that_the_options_do_not_fit(y, options, error, message):
    with pytest.raises(error, match=message):
        Mixer(FIXED, **options)((X, y))


class Table:
    """A data frame, as pandas, pyarrow and Ray have them, or a column of one."""

    def to_numpy(self):
        raise AssertionError


def test_tables_are_refused_with_what_to_give_instead():
    mix = Mixer(Mixup())
    for batch in (Table(), (Table(), [0, 1])):
        with pytest.raises(TypeError, match=r"is an array, got Table; of a table give a dict of arrays.*batch_format="):
            mix(batch)
    with pytest.raises(TypeError, match=r"a target of type Table, which cannot be mixed; .to_numpy\(\) makes it"):
        mix((np.zeros((2, 3)), Table()))
    with pytest.raises(TypeError, match=r"is an array, got memoryview; name it: inputs="):
        mix((memoryview(b"ab"), [0, 1]))


def test_regions_need_a_height_and_a_width():
    with pytest.raises(ValueError, match=r"no input of this batch has a height and a width, which CutMix.* may need"):
        Mixer(CutMix())((X[:, 0, 0], Y))


def test_it_imports_no_framework(run_python):
    code = """
import sys
import numpy as np
from mixup_rs import Mixer, Mixup
Mixer(Mixup(), num_classes=3, rng=1)({"image": np.ones((3, 4), np.float32), "label": [0, 1, 2]})
print(*sorted({"torch", "jax", "fastai", "ml_dtypes"} & set(sys.modules)))
"""
    assert run_python(code) == "\n"
