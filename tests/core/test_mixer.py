"""Mixer on NumPy alone: containers, roles, targets, and the keys that plans are drawn from."""

import collections
import dataclasses
import doctest
import importlib
import pickle
import pkgutil
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from oracle import DTYPES, assert_applied, assert_same_bits, inside, name, soft_targets, values
from rules import EXAMPLES

import mixup_rs.batches
from mixup_rs import CutMix, FMix, Mixer, MixPlan, Mixup, OneOf, PairedTarget

N, SIZE = 6, (8, 10)
X = values((N, 3, *SIZE), np.float32)
Y = np.array([0, 1, 2, 3, 0, 1])
each_rule = pytest.mark.parametrize("rule", EXAMPLES, ids=repr)


class Fixed:
    """A rule that always draws one plan, and keeps what it was asked for."""

    def __init__(self, plan):
        self.drawn, self.calls = plan, []

    def plan(self, n, shape=None, labels=None, rng=None):
        self.calls.append((n, shape, labels, rng))
        return self.drawn


LAM, NEXT = [0.461, 1.0, 0.75, 0.0, 0.5, 0.9], [1, 2, 3, 4, 5, 0]
PLAN = MixPlan(LAM, NEXT)
FIXED = Fixed(PLAN)


def plan_of(batch, rule=None, **options):
    """The partners' places and weights that a mixer of this seed draws for a batch."""
    target = Mixer(rule or Mixup(), **{"rng": 1, **options})(batch)
    while not isinstance(target, PairedTarget):
        target = target["label"] if isinstance(target, dict) else target[1]
    return target.lam.tolist(), target.y_partner.tolist()


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
    assert_same_bits(lam, both.weight.astype(np.float32))
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


# --- keys ---


def test_a_key_is_ints_or_a_generator():
    x = X[:, :, 0, 0]

    def lam(key, rng=5):
        rule = Fixed(PLAN)
        Mixer(rule, rng=rng)((x, Y), key=key)
        return rule.calls[0][3]

    assert lam(3) == lam((3,)) == lam([3]) == lam(np.array([3])) == lam(np.int32(3)) == (5, 3)
    assert lam((1, 2), rng=[8, 9]) == (8, 9, 1, 2)
    assert lam((1, 2), rng=None) == (1, 2)
    rng = np.random.default_rng(0)
    first, second = lam(rng), lam(rng)
    assert first != second
    assert first == lam(np.random.default_rng(0)) != lam(np.random.default_rng(0), rng=6)
    got = Mixer(Mixup())(x, key=np.random.default_rng(4))
    assert_same_bits(got, Mixup().plan(N, rng=np.random.default_rng(4)).apply(x))
    for key in (1.5, "a", {1}, (1, "a"), [[1]], np.random):
        with pytest.raises(TypeError, match="key must be an int or a sequence of ints"):
            lam(key)
    for key in (-1, (), (1, -1)):
        with pytest.raises(ValueError, match="key must be"):
            lam(key)


def test_without_seed_and_key_it_is_fresh():
    mix = Mixer(Mixup())
    assert len({mix((X, Y))[1].lam.tobytes() for _ in range(8)}) == 8


def layouts(x):
    """The same values in memory of every kind."""
    gap = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    gap[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    odd = np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape) if x.itemsize == 1 else x
    return [x.copy(), np.asfortranarray(x), gap, x[::-1].copy()[::-1], frozen, odd]


@pytest.mark.parametrize("shape", [(N, 3, *SIZE), (N, 3, 64, 70), (N, 70000), (300, 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16, ml_dtypes.bfloat16], ids=name)
def test_equal_values_have_one_plan(shape, dtype):
    x = values(shape, dtype)
    y = np.arange(shape[0])
    expected = plan_of((x, y))
    for same in layouts(x):
        assert plan_of((same, y)) == expected
    for same in (
        y.astype(np.int32),
        y.astype(">i8"),
        y.astype(np.uint16),
        y.tolist(),
        list(y),
        np.stack([y, y], 1)[:, 0],
    ):
        assert plan_of((x, same)) == expected
    if dtype != ml_dtypes.bfloat16:  # which widened exactly is another type, mixed otherwise but by the same plan
        wide = x.astype(np.float64 if dtype != np.uint8 else np.int16)
        assert plan_of((wide, y)) == expected
    entries = {"label": y, "image": x, "features": x.reshape(len(x), -1)[:, :2], "mask": y + 1}
    assert plan_of(entries) == plan_of(dict(reversed(entries.items())))


def test_floats_count_as_float32():
    """JAX narrows them; but what float32 cannot hold is told apart."""
    x = np.random.default_rng(0).random((N, 5))
    assert plan_of((x, Y)) == plan_of((x.astype(np.float32), Y))
    assert plan_of((x, Y)) != plan_of((x + 1e-6, Y))
    for scale in (1e-60, 1e60, 1e-310):
        assert plan_of((x * scale, Y)) != plan_of((x[::-1] * scale, Y))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16], ids=name)
def test_each_byte_of_a_small_batch_counts(dtype):
    x = np.ones((4, 8, 9), dtype)
    seen = {str(plan_of((x, [0, 0, 0, 0])))}
    for at in range(x.nbytes):
        other = x.copy()
        other.view(np.uint8).reshape(-1)[at] ^= 1
        seen.add(str(plan_of((other, [0, 0, 0, 0]))))
    assert len(seen) == 1 + x.nbytes
    big = np.ones((4, 64 << 10 >> 2), np.uint8)
    changed = big.copy()
    changed[2, 12345] = 0
    assert plan_of((big, Y[:4])) != plan_of((changed, Y[:4]))


@pytest.mark.parametrize("shape", [(N, 4), (N, 3, 100, 120), (2000, 30, 20)], ids=str)
def test_labels_order_and_samples_count(shape):
    x, y = np.random.default_rng(0).standard_normal(shape).astype(np.float32), np.arange(shape[0]) % 7
    first = plan_of((x, y))
    others = [(x[::-1], y[::-1]), (x[::-1], y), (x, y[::-1]), (x[:-1], y[:-1]), (-x, y), (x, y + 1)]
    for i in (0, 1, shape[0] - 1):
        label, sample = y.copy(), x.copy()
        label[i] += 1
        sample[i] += 1
        head, tail = x.copy(), x.copy()
        head.reshape(shape[0], -1)[i, 0] += 1
        tail.reshape(shape[0], -1)[i, -1] += 1
        others += [(x, label), (sample, y), (head, y), (tail, y)]
    seen = [str(plan_of(other)) for other in others]
    assert str(first) not in seen
    assert len({*seen}) == len(seen)


def test_every_element_of_large_targets_counts():
    mask = np.random.default_rng(0).integers(0, 5, (4, 200, 200))
    x = np.zeros((4, 3, 200, 200), np.float32)
    first = Mixer(Mixup(), rng=1)((x, mask))[1].lam.tobytes()
    assert Mixer(Mixup(), rng=1)((x, mask.astype(np.uint8)))[1].lam.tobytes() == first
    for at in ((0, 0, 0), (2, 117, 31), (3, 199, 199)):
        other = mask.copy()
        other[at] += 1
        assert Mixer(Mixup(), rng=1)((x, other))[1].lam.tobytes() != first


def test_integers_and_shapes_of_one_content_are_told_apart():
    small = Fixed(PLAN)
    keys = set()
    batches = [(X[:, 0], y) for y in (Y, Y - 3, Y + 2**40, Y - 2**40, Y.reshape(N, 1), Y / 1, np.stack([Y, Y], 1))]
    batches += [(X[:, 0].reshape(N, -1), Y), (X[:, 0], Y, Y), (X[:, 0], (Y, Y % 2)), (X[:, 0], (Y % 2, Y))]
    for batch in batches:
        Mixer(small, rng=1)(batch)
        keys.add(small.calls[-1][3])
    assert len(keys) == len(batches)


def test_another_process_draws_the_same(run_python):
    code = """
import pickle, sys, numpy as np
from mixup_rs import Mixer, Mixup
mix = pickle.loads(bytes.fromhex(sys.argv[1] if len(sys.argv) > 1 else {data!r}))
x = np.arange(60.0, dtype=np.float32).reshape(5, 12)
print(mix({{"label": np.arange(5), "image": x, "name": "a"}})["label"].lam.tobytes().hex())
"""
    mix = Mixer(Mixup(), rng=(3, 4))
    x = np.arange(60.0, dtype=np.float32).reshape(5, 12)
    expected = mix({"image": x, "label": np.arange(5)})["label"].lam.tobytes().hex()
    code = code.format(data=pickle.dumps(mix).hex())
    for seed in ("0", "1", "random"):
        assert run_python(code, PYTHONHASHSEED=seed).strip() == expected


def test_the_keys_of_contents_are_pinned():
    rule = Fixed(PLAN)
    Mixer(rule, rng=1)((np.arange(12.0).reshape(N, 2), Y))
    Mixer(rule, rng=1)((np.arange(N * 80000).astype(np.int16).reshape(N, -1), Y))
    assert [call[3] for call in rule.calls] == [
        (1, PINNED[0]),
        (1, PINNED[1]),
    ]


PINNED = (326310510395879507278079150978458292001, 247919022118582930696612486014770242090)


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
