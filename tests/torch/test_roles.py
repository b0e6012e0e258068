"""Which entries of a sample are mixed as inputs, which as targets, and which are left: by place, name and path."""

import array
import collections
import collections.abc
import dataclasses
import pathlib
import pickle
import re
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import default_collate

from mixup_rs import Mixer, MixPlan, Mixup
from mixup_rs.batches.objects import BOX_NAMES, POINTS
from mixup_rs.batches.roles import INPUT_NAMES, TARGET_NAMES
from mixup_rs.torch import MixCollate, PairedTarget

N = 4
PLAN = MixPlan([0.75, 0.5, 1.0, 0.9], [1, 2, 3, 0])


class Fixed:
    def plan(self, n, shape=None, labels=None, rng=None):
        return PLAN


def images(i):
    return torch.full((3, 4, 4), float(i))


def mixed(values):
    """The blend of numbers, or of tensors full of them."""
    values = torch.as_tensor(values, dtype=torch.float64)
    lam = torch.from_numpy(PLAN.lam)
    return lam * values + (1 - lam) * values[PLAN.partner]


OWN = torch.arange(N, dtype=torch.float64)
BLEND = mixed(OWN)


def collated(sample, **options):
    """A batch of samples, each made of its number."""
    return MixCollate(Fixed(), **options)([sample(i) for i in range(N)])


def role_of(value):
    """What was done to an entry that is, of sample i, full of i."""
    if isinstance(value, PairedTarget):
        assert torch.equal(value.y.double().view(N, -1)[:, 0], OWN)
        return "pair"
    first = value.double().view(N, -1)[:, 0]
    if torch.equal(first, OWN):
        return "left"
    torch.testing.assert_close(first, BLEND, atol=1e-6, rtol=0)
    return "blended"


@pytest.mark.parametrize("name", sorted(INPUT_NAMES))
def test_usual_names_of_inputs(name):
    batch = collated(lambda i: {name: images(i), "label": i, "index": i, "length": torch.tensor(i)})
    assert {key: role_of(value) for key, value in batch.items()} == {
        name: "blended", "label": "pair", "index": "left", "length": "left"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TARGET_NAMES - {*BOX_NAMES, POINTS}))
def test_usual_names_of_targets(name):
    batch = collated(lambda i: {"image": images(i), name: i, "index": i})
    assert {key: role_of(value) for key, value in batch.items()} == {"image": "blended", name: "pair", "index": "left"}


def test_of_a_tuple_the_first_is_the_input():
    image, label, score = collated(lambda i: (images(i), i, float(i)))
    assert [role_of(value) for value in (image, label, score)] == ["blended", "pair", "blended"]
    as_list = collated(lambda i: [images(i), i])
    assert isinstance(as_list, list)
    assert [role_of(value) for value in as_list] == ["blended", "pair"]
    assert role_of(collated(images)) == "blended"


def test_roles_by_place():
    a, b, label, index = collated(lambda i: (images(i), images(i), i, i), inputs=[0, 1], targets=2)
    assert [role_of(value) for value in (a, b, label, index)] == ["blended", "blended", "pair", "left"]
    index, image, label = collated(lambda i: (i, images(i), i), inputs=1, targets=-1)
    assert [role_of(value) for value in (index, image, label)] == ["left", "blended", "pair"]


def test_roles_by_name():
    batch = collated(lambda i: {"left": images(i), "right": images(i), "kind": i, "label": i},
                     inputs=["left", "right"], targets="kind")  # fmt: skip
    roles = {"left": "blended", "right": "blended", "kind": "pair", "label": "left"}
    assert {key: role_of(value) for key, value in batch.items()} == roles


def test_roles_by_path():
    def sample(i):
        return {"views": {"a": images(i), "b": (images(i), i)}, "meta": {"kind": i, "id": i}}

    batch = collated(sample, inputs=[("views", "a"), ("views", "b", 0)], targets=[("meta", "kind")])
    assert role_of(batch["views"]["a"]) == role_of(batch["views"]["b"][0]) == "blended"
    assert role_of(batch["views"]["b"][1]) == "left"
    assert (role_of(batch["meta"]["kind"]), role_of(batch["meta"]["id"])) == ("pair", "left")


def test_what_is_within_an_entry_has_its_role():
    batch = collated(lambda i: ({"a": images(i), "b": [images(i)]}, {"kind": i, "more": (i, float(i))}))
    assert role_of(batch[0]["a"]) == role_of(batch[0]["b"][0]) == "blended"
    assert role_of(batch[1]["kind"]) == role_of(batch[1]["more"][0]) == "pair"
    assert role_of(batch[1]["more"][1]) == "blended"


def test_an_empty_list_leaves_all_targets():
    image, label = collated(lambda i: (images(i), i), targets=[])
    assert (role_of(image), role_of(label)) == ("blended", "left")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "imagee"}, r"inputs names 'imagee', but the entries are 'image', 'label'"),
        ({"targets": "lable"}, r"targets names 'lable', but the entries are 'image', 'label'"),
        ({"targets": ["label", "lable"]}, "targets names 'lable'"),
        ({"targets": 1}, "targets names 1"),
        ({"inputs": ("image", "deep")}, "inputs names 'deep'"),
        ({"inputs": [("image", "deep")]}, r"inputs names \('image', 'deep'\)"),
    ],
)
def test_misspelt_names_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        collated(lambda i: {"image": images(i), "label": i}, **options)


@pytest.mark.parametrize("options", [{"inputs": 2}, {"targets": [1, 5]}, {"targets": -3}, {"targets": "label"}])
def test_places_that_are_not_there_are_errors(options):
    with pytest.raises(ValueError, match="but the entries are 0, 1"):
        collated(lambda i: (images(i), i), **options)
    with pytest.raises(ValueError, match="a sample is a single Tensor"):
        collated(images, **options)


def test_names_that_cannot_be():
    for options in (
        {"inputs": 1.5},
        {"targets": [None]},
        {"inputs": {"image": 1}},
        {"targets": True},
        {"inputs": [()]},
    ):
        with pytest.raises(TypeError, match="must be positions, names or paths"):
            MixCollate(Mixup(), **options)
    with pytest.raises(ValueError, match="inputs and targets both name 'a'"):
        MixCollate(Mixup(), inputs=["a", "b"], targets="a")


def test_a_dict_without_a_known_input_is_an_error():
    with pytest.raises(ValueError, match=r"inputs=\.\.\. \(the entries are 'scan', 'label'\)"):
        collated(lambda i: {"scan": images(i), "label": i})


@pytest.mark.parametrize(
    "mixes", [lambda: MixCollate, lambda: lambda *a, **b: lambda x: Mixer(*a, **b)(default_collate(x))]
)
def test_classes_without_a_target_are_an_error(mixes):
    samples = [{"image": images(i), "digit": i} for i in range(4)]
    with pytest.raises(ValueError, match=r"num_classes=10.*targets=\.\.\., or targets=\[\]"):
        mixes()(Mixup(), num_classes=10)(samples)
    mixed = mixes()(Mixup(), num_classes=10, targets="digit")(samples)
    assert mixed["digit"].shape == (4, 10)
    assert mixes()(Mixup(), num_classes=10, targets=[])(samples)["digit"].tolist() == [0, 1, 2, 3]
    with pytest.warns(UserWarning, match=r"no target with them: if one of \['digit'\] .*targets=\[\] if there is none"):
        assert mixes()(Mixup())(samples)["digit"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["fine_label", "label2", "Label", "class_id", "seg_mask", "target_lengths"])
@pytest.mark.parametrize("with_label", [True, False])
@pytest.mark.parametrize("mixes", [MixCollate, lambda *a, **b: lambda x: Mixer(*a, **b)(default_collate(x))])
def test_what_has_the_name_of_a_target_is_not_left_as_it_is(mixes, with_label, name):
    samples = [{"img": images(i), "label": i, name: 3 - i} for i in range(4)]
    if not with_label:
        samples = [{key: value for key, value in sample.items() if key != "label"} for sample in samples]
    targets = ["label", name] if with_label else [name]
    with pytest.raises(ValueError, match=rf"entry '{name}' may be a target.*targets={re.escape(str(targets))}"):
        mixes(Mixup(1.0))(samples)
    mixed = mixes(Mixup(1.0), targets=targets)(samples)
    assert mixed[name].y.tolist() == [3, 2, 1, 0]
    assert mixes(Mixup(1.0), targets=targets[:-1])(samples)[name].tolist() == [3, 2, 1, 0]


def test_names_of_what_is_no_target():
    sample = {"image_id": 1, "index": 2, "class_name": "cat", "label_weight": 0.5, "decoder_attention_mask": [1, 0]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = MixCollate(Mixup(1.0))([{"image": images(i), "label": i, **sample} for i in range(4)])
        MixCollate(Mixup(1.0))([{"image": images(i), "idx": i, "path": "p"} for i in range(4)])
    assert mixed["image_id"].tolist() == [1] * 4
    assert mixed["label_weight"].tolist() == [0.5] * 4


def test_the_pixel_mask_of_a_mixed_image_is_that_of_both():
    """As of DETR: 1 where there is an image, which is padded."""
    masks = [(torch.arange(4) <= i).long().expand(4, 4) for i in range(4)]
    samples = [{"pixel_values": images(i), "pixel_mask": masks[i], "labels": i} for i in range(4)]
    mixed, plan = MixCollate(Mixup(1.0), rng=1, return_plan=True)(samples)
    both = [torch.maximum(masks[i], masks[j]) if plan.lam[i] < 1 else masks[i] for i, j in enumerate(plan.partner)]
    assert torch.equal(mixed["pixel_mask"], torch.stack(both))


def test_labels_alone_are_never_mixed():
    for sample in (lambda i: (torch.tensor([i, i]), i), lambda i: {"x": i, "y": i}, lambda i: ("text", i),
                   lambda i: (torch.zeros(0), i)):  # fmt: skip
        with pytest.raises(TypeError, match="no input of these samples can be mixed"):
            collated(sample)
    with pytest.raises(TypeError, match="input of booleans"):
        collated(lambda i: (images(i) > 1, i))


@pytest.mark.parametrize("sample", [
    lambda i: ((images(i), i), (images(i), i)),  # a StackDataset
    lambda i: [[images(i), torch.tensor(i)], [images(i), torch.tensor(i)]],
    lambda i: ({"image": images(i), "label": i}, {"image": images(i), "label": i}),
    lambda i: ({"image": images(i), "label": torch.tensor(i)}, i),
    lambda i: {"data": {"image": images(i), "target": np.int64(i)}, "y": i},
])  # fmt: skip
def test_labels_within_an_input_never_stay(sample):
    with pytest.raises(TypeError, match=r"labels.*inputs=.*targets="):
        collated(sample)
    with pytest.raises(TypeError, match=r"labels.*inputs=.*targets="):
        Mixer(Fixed())(default_collate([sample(i) for i in range(N)]))


def test_labels_within_an_input_that_are_named():
    batch = collated(lambda i: ((images(i), i), (images(i), i)), inputs=[(0, 0), (1, 0)], targets=[(0, 1), (1, 1)])
    assert all(isinstance(y, PairedTarget) for _, y in batch)
    inner, y = collated(lambda i: ({"image": images(i), "label": i}, i), inputs=[(0, "image")], targets=[1])
    assert inner["label"].tolist() == [0, 1, 2, 3]
    assert isinstance(y, PairedTarget)


@pytest.mark.parametrize("value", [None, pathlib.Path("a.png"), array.array("f", [1]), memoryview(b"a"), range(3)])
def test_inputs_that_are_no_arrays_are_refused_by_name(value):
    for sample, name in (
        ((value, 1), "entry 0"),
        ({"image": value, "label": 1}, "entry 'image'"),
        (value, "the input"),
    ):
        with pytest.raises(TypeError, match=f"{name} is of type {type(value).__name__}, which cannot be mixed"):
            collated(lambda i, sample=sample: sample)


@pytest.mark.parametrize(("values", "error"), [
    ([None] * N, TypeError), ([pathlib.Path("a")] * N, TypeError), ([np.datetime64("2020-01-01")] * N, TypeError),
    ([torch.ones(i + 1) for i in range(N)], ValueError), ([2**70] * N, ValueError),
])  # fmt: skip
def test_entries_of_neither_role_that_torch_does_not_stack_are_named(values, error):
    with pytest.raises(error, match="entry 'more': "):
        collated(lambda i: {"image": images(i), "label": i, "more": values[i]})


def test_entries_of_neither_role_are_as_torch_stacks_them():
    def sample(i):
        return {"image": images(i), "label": i, "path": f"{i}.jpg", "index": i, "weight": float(i),
                "box": torch.ones(4), "nested": {"a": i, "b": "b"}, "flag": True}  # fmt: skip

    batch, plain = collated(sample), default_collate([sample(i) for i in range(N)])
    assert list(batch) == list(plain)
    for name in ("path", "nested"):
        assert str(batch[name]) == str(plain[name])
    for name in ("index", "weight", "box", "flag"):
        assert torch.equal(batch[name], plain[name])
        assert batch[name].dtype == plain[name].dtype


class Pair(NamedTuple):
    image: torch.Tensor
    label: int


class Odd(NamedTuple):
    first: torch.Tensor
    second: int


class Record(dict):
    """A subclass that can be made from a dict."""


class Strict(dict):
    """One that cannot, with an attribute."""

    def __init__(self):
        super().__init__()
        self.source = "here"


class Frozen(collections.abc.Mapping):
    """A mapping that cannot be changed, nor made from a dict."""

    def __init__(self, *pairs):
        self.pairs = dict(pairs)

    def __getitem__(self, key):
        return self.pairs[key]

    def __iter__(self):
        return iter(self.pairs)

    def __len__(self):
        return len(self.pairs)


@dataclasses.dataclass
class Sample:
    image: torch.Tensor
    label: int


@pytest.mark.parametrize("kind", [Pair, Odd])
def test_named_tuples(kind):
    batch = collated(lambda i: kind(images(i), i))
    assert type(batch) is kind
    assert [role_of(value) for value in batch] == ["blended", "pair"]


def test_named_tuples_by_their_names():
    batch = collated(lambda i: Odd(images(i), i), inputs="first", targets=[])
    assert [role_of(value) for value in batch] == ["blended", "left"]
    batch = collated(lambda i: Pair(images(i), i), inputs=["image"], targets=["label"])
    assert [role_of(value) for value in batch] == ["blended", "pair"]


@pytest.mark.parametrize("kind", [dict, Record, collections.UserDict, collections.OrderedDict])
def test_mappings_of_every_type(kind):
    batch = collated(lambda i: kind({"image": images(i), "label": i, "index": i}))
    assert type(batch) is kind
    assert [role_of(value) for value in batch.values()] == ["blended", "pair", "left"]


def test_mappings_that_are_copied():
    """As `default_collate` does: they keep what else they have."""

    def strict(i):
        result = Strict()
        result.update(image=images(i), label=i)
        return result

    def default(i):
        return collections.defaultdict(list, image=images(i), label=i)

    for sample in (strict, default):
        batch = collated(sample)
        assert type(batch) is type(sample(0))
        assert [role_of(value) for value in batch.values()] == ["blended", "pair"]
    assert collated(strict).source == "here"
    assert collated(default).default_factory is list


def test_mappings_that_cannot_be_made_again_are_an_error():
    with pytest.raises(TypeError, match="a sample is a Frozen, which cannot be made from a dict"):
        collated(lambda i: Frozen(("image", images(i)), ("label", i)))


def test_dataclasses_are_an_error_that_says_what_is_expected():
    with pytest.raises(TypeError, match=r"Sample; expected tuples, lists and dicts of arrays"):
        collated(lambda i: Sample(images(i), i))
    with pytest.raises(TypeError, match="Sample"):
        collated(lambda i: (Sample(images(i), i), i))
    with pytest.raises(TypeError, match="Sample"):
        collated(lambda i: {"image": images(i), "label": i, "more": Sample(images(i), i)})


def test_samples_that_differ():
    with pytest.raises(ValueError, match="one length: the first has 2, sample 1 3"):
        MixCollate(Fixed())([(images(0), 0), (images(1), 1, 1), (images(2), 2), (images(3), 3)])
    for missing in range(1, N):
        samples = [{"image": images(i), "label": i} for i in range(N)]
        del samples[missing]["label"]
        with pytest.raises((KeyError, ValueError), match="label"):
            MixCollate(Fixed())(samples)


def test_a_paired_target_travels():
    target = PairedTarget(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.5, 1.0]))
    for copy in (pickle.loads(pickle.dumps(target)), type(target)(list(target)), type(target)(*target)):
        assert type(copy) is PairedTarget
        assert torch.equal(copy.y, target.y)
        assert torch.equal(copy.y_partner, target.y_partner)
        assert torch.equal(copy.lam, target.lam)


@st.composite
def nests(draw, depth=2):
    """A nest: leaves are None, which stand for an entry."""
    kind = draw(st.sampled_from(["leaf", "tuple", "list", "dict"] if depth else ["leaf"]))
    if kind == "leaf":
        return None
    if kind == "dict":
        keys = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True))
        return {key: draw(nests(depth=depth - 1)) for key in keys}
    items = draw(st.lists(nests(depth=depth - 1), min_size=1, max_size=3))
    return tuple(items) if kind == "tuple" else items


def paths_of(nest, path=()):
    if nest is None:
        yield path
    else:
        for key, item in nest.items() if isinstance(nest, dict) else enumerate(nest):
            yield from paths_of(item, (*path, key))


def filled(nest, leaf, path=()):
    if nest is None:
        return leaf(path)
    if isinstance(nest, dict):
        return {key: filled(item, leaf, (*path, key)) for key, item in nest.items()}
    return type(nest)(filled(item, leaf, (*path, at)) for at, item in enumerate(nest))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@given(nest=nests().filter(lambda nest: nest is not None), data=st.data())
def test_every_entry_of_a_nest_has_the_role_that_it_was_given(nest, data):
    paths = list(paths_of(nest))
    roles = {path: data.draw(st.sampled_from(["input", "target", "neither"])) for path in paths}
    roles[data.draw(st.sampled_from(paths))] = "input"
    inputs, targets = ([path for path in paths if roles[path] == role] for role in ("input", "target"))

    def sample(i):
        return filled(nest, lambda path: images(i) if roles[path] == "input" else i)

    batch = collated(sample, inputs=inputs, targets=targets)
    done = {"input": "blended", "target": "pair", "neither": "left"}
    assert {path: role_of(at(batch, path)) for path in paths} == {path: done[role] for path, role in roles.items()}
    plain = default_collate([sample(i) for i in range(N)])
    assert str(filled(nest, lambda _: 0)) == str(filled_like(batch, nest))
    assert type(batch) is type(nest) or isinstance(plain, list)


def filled_like(batch, nest):
    """The structure of a batch, with 0 for its entries: types and keys."""
    if nest is None:
        return 0
    if isinstance(nest, dict):
        return {key: filled_like(batch[key], item) for key, item in nest.items()}
    return type(batch)(filled_like(value, item) for value, item in zip(batch, nest, strict=True))


def test_numpy_samples():
    image, label = collated(lambda i: (np.full((3, 4, 4), float(i)), np.int64(i)))
    assert (role_of(image), role_of(label)) == ("blended", "pair")


def test_inputs_that_are_whole_numbers_by_chance_are_blended():
    samples = [{"x": torch.ones(2), "age": age, "y": i} for i, age in enumerate([1, 2.5, 4])]
    mixed, plan = MixCollate(Mixup(1.0), inputs=["x", "age"], rng=0, return_plan=True)(samples)
    np.testing.assert_array_equal(mixed["age"].numpy(), plan.apply(np.array([1, 2.5, 4])))
    with pytest.raises(TypeError, match="entry 'age' is an input of booleans"):
        MixCollate(Mixup(), inputs=["x", "age"])([one | {"age": True} for one in samples])
