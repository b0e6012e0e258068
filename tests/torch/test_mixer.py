"""Mixer on tensors, and the rule that one plan gives one result: of NumPy, of torch and of MixCollate."""

import pickle
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import strategies as some
import torch
from device import Operations
from hypothesis import given
from hypothesis import strategies as st
from rules import EXAMPLES

from mixup_rs import CutMix, Mixer, MixPlan, Mixup, PairedTarget
from mixup_rs.torch import MixCollate, apply

N, SIZE = 6, (4, 5)
X = torch.rand(N, 3, *SIZE, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3, 0, 1])


@dataclass
class Holder:
    image: Any
    label: Any
    mask: Any


#: Entries that are an input or a target by their names: the dtypes of each, and the shape of a sample.
INPUTS = {
    "image": (["float32", "uint8", "float16", "float64", "int16", "bfloat16"], [(3, *SIZE), SIZE, (2, 3, *SIZE)]),
    "features": (["float32", "float64"], [(3,), ()]),
    "input": (["int64", "int32"], [(4,)]),
}
TARGETS = {
    "label": (["int64", "int32", "uint8", "bool"], [(), (1,)]),
    "target": (["float32", "float64"], [(), (3,)]),
    "labels": (["bool"], [(3,)]),
    "mask": (["int64", "uint8"], [SIZE]),
    "y": (["int64"], [(3,)]),
}


@st.composite
def batches(draw):
    """Columns of every kind, and a way to put them into containers."""
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(some.SEEDS))
    names = ["image", *(name for name in (*INPUTS, *TARGETS) if name != "image" and draw(st.booleans()))]
    columns = {}
    for name in names:
        dtypes, shapes = (INPUTS | TARGETS)[name]
        dtype = draw(st.sampled_from(dtypes))
        values = rng.integers(0, 2 if dtype == "bool" else 4, (n, *draw(st.sampled_from(shapes))))
        if "float" in dtype:
            values = values + rng.random(values.shape)
        columns[name] = values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return n, columns, draw(st.sampled_from(["dict", "tuple", "list", "nested", "dataclass"]))


def held(columns, kind):
    """The columns in containers, and how their roles are named."""
    names = list(columns)
    inputs, targets = ([name for name in names if name in known] for known in (INPUTS, TARGETS))
    if kind == "dict":
        return dict(columns), {} if targets else {"targets": []}
    if kind in ("tuple", "list"):
        made = list(columns.values())
        roles = {"inputs": [*map(names.index, inputs)], "targets": [*map(names.index, targets)]}
        return (tuple(made) if kind == "tuple" else made), roles
    if kind == "nested":
        return ({name: columns[name] for name in inputs}, [tuple(columns[name] for name in targets)]), {}
    rest = {name: values for name, values in columns.items() if name not in ("image", "label", "mask")}
    return {"more": rest, "data": Holder(*(columns.get(name) for name in ("image", "label", "mask")))}, {
        "inputs": [("data", "image"), *(("more", name) for name in inputs if name in rest)],
        "targets": [
            *(("data", name) for name in targets if name not in rest),
            *(("more", name) for name in targets if name in rest),
        ],
    }


def leaves(value):
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, Holder):
        value = [value.image, value.label, value.mask]
    if isinstance(value, tuple | list):
        return [type(value).__name__, *(leaf for item in value for leaf in leaves(item))]
    return [value]


def as_tensor(array):
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_tensors(columns):
    return {name: as_tensor(values) for name, values in columns.items()}


def assert_same(a, b):
    """Leaf by leaf the same containers, dtypes and bits, of NumPy and torch."""
    a, b = leaves(a), leaves(b)
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        one, other = (as_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in (one, other))
        if not isinstance(one, torch.Tensor):
            assert one == other
            continue
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        as_bits = [tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor for tensor in (one, other)]
        assert as_bits[0].numpy().tobytes() == as_bits[1].numpy().tobytes()


@given(case=batches(), rule=some.rules(), seed=some.SEEDS, num_classes=st.sampled_from([None, 4]))
def test_numpy_torch_and_the_collate_give_the_same(case, rule, seed, num_classes):
    n, columns, kind = case
    if num_classes:
        columns.pop("y", None)  # three columns of integers are not for four classes
    arrays, roles = held(columns, kind)
    tensors, _ = held(as_tensors(columns), kind)
    mix = Mixer(rule, rng=seed, num_classes=num_classes, channels_last=False, **roles)
    by_torch = outcome(mix, tensors, key=(0, 0, 0))
    assert_same(outcome(mix, arrays, key=(0, 0, 0)), by_torch)
    assert_same(outcome(mix, arrays), outcome(mix, tensors))
    if kind == "dataclass":
        return  # which a collate refuses
    collate = MixCollate(rule, rng=seed, num_classes=num_classes, channels_last=False, **roles)
    samples = [held({name: as_tensor(values)[i] for name, values in columns.items()}, kind)[0] for i in range(n)]
    assert_same(by_torch, outcome(collate, samples))


def outcome(mix, *args, **options):
    """What is returned, or None where soft masks would have to blend a mask of classes."""
    try:
        return mix(*args, **options)
    except TypeError as error:
        if "mask of classes, which cannot be blended by soft masks" not in str(error):
            raise
        return None


@given(case=batches(), seed=some.SEEDS)
def test_a_batch_of_either_library_has_one_plan(case, seed):
    _, columns, kind = case
    arrays, roles = held(columns, kind)
    tensors, _ = held(as_tensors(columns), kind)
    drawn = []

    class Rule:
        def plan(self, n, shape=None, labels=None, rng=None):
            drawn.append(rng)
            return MixPlan.identity(n)

    mix = Mixer(Rule(), rng=seed, channels_last=False, **roles)
    mix(arrays)
    mix(tensors)
    backwards = {name: np.ascontiguousarray(values[::-1])[::-1] for name, values in columns.items()}
    mix(held(backwards, kind)[0])
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("rule", EXAMPLES, ids=repr)
def test_tensors_are_mixed_where_they_are(rule):
    plan = rule.plan(N, SIZE, rng=(1, 2))
    for device in ("cpu", *["cuda"] * torch.cuda.is_available()):
        x, y = X.to(device), Y.to(device)
        mixed = Mixer(rule, rng=1, num_classes=4)({"image": x, "label": y, "soft": y, "id": 7}, key=2)
        assert mixed["image"].device == mixed["label"].device == x.device
        assert torch.equal(mixed["image"], apply(plan, x))
        assert np.array_equal(mixed["label"].cpu(), plan.apply_labels(Y.numpy(), 4)[0])
        assert mixed["soft"] is y
        torch.testing.assert_close(Mixer(rule, rng=1)(x).cpu(), Mixer(rule, rng=1)(X))
    with Operations() as seen:
        batch = {"image": torch.empty(64, 3, *SIZE, device="meta"), "label": torch.arange(64)}
        mixed = Mixer(rule, rng=1)(batch, key=2)
    assert mixed["image"].is_meta
    assert seen.of_batch((64, 3, *SIZE))


def test_numbers_become_tensors_beside_tensors():
    _, pair = Mixer(Mixup(), rng=1)((X, Y.tolist()))
    assert torch.equal(pair.y, Y)
    assert isinstance(pair.lam, torch.Tensor)
    assert isinstance(Mixer(Mixup(), rng=1, num_classes=4)((X, Y.numpy()))[1], np.ndarray)


def test_subclasses_gradients_and_layouts():
    class Named(torch.Tensor):
        pass

    x = X.as_subclass(Named)
    x.source = "here"
    mixed, _ = Mixer(CutMix(), rng=1)((x, Y))
    assert type(mixed) is Named
    assert mixed.source == "here"
    leaf = X.clone().requires_grad_()
    Mixer(Mixup(), rng=1)((leaf, Y))[0].sum().backward()
    assert leaf.grad is not None
    last = X.contiguous(memory_format=torch.channels_last)
    assert Mixer(Mixup(), rng=1)((last, Y))[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(Mixer(Mixup(), rng=1)((last, Y))[0], Mixer(Mixup(), rng=1)((X, Y))[0])


def test_what_was_given_stays():
    before = pickle.dumps((X, Y))
    mixed, (own, partner, lam) = Mixer(Mixup(), rng=1)((X, Y))
    for tensor in (mixed, own, partner, lam):
        tensor.zero_()
    assert pickle.dumps((X, Y)) == before


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((X > 0.5, Y), "input of booleans"),
        ((X * 1j, Y), "view_as_real"),
        ((Y, Y), "no input of this batch can be mixed"),
        ((X, Y[:2]), "entry 1 has shape"),
        ((X, PairedTarget(Y, Y, Y / 9)), "mixed already"),
        ((X.to_sparse(), Y), "entry 0 is of the layout torch.sparse_coo"),
        ((X, torch.eye(len(Y)).to_sparse()), "entry 1 is of the layout torch.sparse_coo"),
        ((torch.nested.nested_tensor([torch.ones(2)] * 2, layout=torch.jagged), Y[:2]), "entry 0 is nested"),
        ((X.to(torch.float8_e4m3fn), Y), "entry 0 is an input of torch.float8_e4m3fn.*float32"),
    ],
)
def test_what_cannot_be_mixed(batch, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Mixer(Mixup())(batch)


def test_floats_that_are_class_numbers():
    with pytest.raises(TypeError, match=r"y.long\(\)"):
        Mixer(Mixup(), num_classes=4)((X, Y.float()))
