"""Samples of different lengths, and the masks and lengths that say where they have data."""

import numpy as np
import pytest
import torch
from rules import Fixed
from torch.utils import _pytree as pytree

from mixup_rs import CutMix, Mixer, Mixup
from mixup_rs.torch import MixCollate
from mixup_rs.torch.batch import mix_inputs

LENGTHS = [3, 7, 5, 1]
N, LONGEST, WIDTH = len(LENGTHS), max(LENGTHS), 2
PLAN = Mixup(1.0, prob=0.7).plan(N, rng=(4, 0, 0, 0))
assert 0 < (PLAN.lam < 1).sum() < N


def sample(i, of=torch.tensor):
    drawn = np.random.default_rng(i).random((WIDTH, LENGTHS[i])).astype(np.float32)
    return {
        "input_values": of(drawn),
        "attention_mask": of(np.ones(LENGTHS[i], np.int64)),
        "padding_mask": of(np.zeros(LENGTHS[i], bool)),
        "length": LENGTHS[i],
        "labels": i,
        "index": i,
    }


def expected():
    """By NumPy, from arrays that are padded one by one."""
    padded = np.full((N, WIDTH, LONGEST), -2.0, np.float32)
    present = np.zeros((N, LONGEST), bool)
    for i, length in enumerate(LENGTHS):
        padded[i, :, :length] = np.asarray(sample(i)["input_values"])
        present[i, :length] = True
    is_mixed, partner = (PLAN.lam < 1), PLAN.partner
    union = np.where(is_mixed[:, None], present | present[partner], present)
    longer = np.where(is_mixed, np.maximum(LENGTHS, np.take(LENGTHS, partner)), LENGTHS)
    return PLAN.apply(padded), union, longer


@pytest.mark.parametrize("of", [torch.tensor, np.asarray])
def test_a_batch_is_as_long_as_its_longest_sample(of):
    samples = [sample(i, of) for i in range(N)]
    batch = MixCollate(Fixed(PLAN), num_classes=N, pad=-2.0)(samples)
    mixed, union, longer = expected()
    np.testing.assert_array_equal(batch["input_values"], mixed)
    np.testing.assert_array_equal(batch["attention_mask"], union.astype(np.int64))
    np.testing.assert_array_equal(batch["padding_mask"], ~union)
    np.testing.assert_array_equal(batch["length"], longer)
    np.testing.assert_array_equal(batch["labels"], PLAN.apply_labels(np.arange(N), N)[0])
    assert batch["index"].tolist() == [0, 1, 2, 3]
    assert batch["attention_mask"].dtype == torch.int64
    assert [tuple(one["input_values"].shape) for one in samples] == [(WIDTH, length) for length in LENGTHS]


def test_tuples_and_images():
    """Along any axis, each at its end; what has the shape of the longest is not copied."""
    images = [torch.rand(3, 4, 6), torch.rand(3, 5, 6), torch.rand(3, 5, 2)]
    mixed, _ = MixCollate(CutMix(), pad=0, num_classes=3, rng=1)([(image, i) for i, image in enumerate(images)])
    stacked = torch.zeros(3, 3, 5, 6)
    for one, image in zip(stacked, images, strict=True):
        one[:, : image.shape[1], : image.shape[2]] = image
    plan = CutMix().plan(3, (5, 6), rng=(1, 0, 0, 0))
    np.testing.assert_array_equal(mixed, plan.apply(stacked.numpy()))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_masks_of_a_batch_are_those_of_both(library):
    _, union, _ = expected()
    own = np.arange(LONGEST) < np.array(LENGTHS)[:, None]
    x = np.ones((N, LONGEST, WIDTH), np.float32)
    of = np.asarray if library == "numpy" else torch.from_numpy
    batch = {"inputs_embeds": of(x), "attention_mask": of(own.astype(np.int32)), "padding_mask": of(~own)}
    mixed = Mixer(Fixed(PLAN))(batch | {"length": of(np.array(LENGTHS)), "label": of(np.arange(N))})
    assert type(mixed["attention_mask"]) is type(batch["attention_mask"])
    np.testing.assert_array_equal(np.asarray(mixed["attention_mask"]), union.astype(np.int32))
    np.testing.assert_array_equal(np.asarray(mixed["padding_mask"]), ~union)
    np.testing.assert_array_equal(np.asarray(mixed["length"]), LENGTHS)  # nothing says that it is of padded samples


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("front", ["MixCollate", "Mixer", "callbacks"])
def test_masks_within_an_input_are_those_of_both(front, library):
    _, union, _ = expected()
    own = np.arange(LONGEST) < np.array(LENGTHS)[:, None]
    x = np.random.default_rng(0).random((N, LONGEST, WIDTH)).astype(np.float32)
    of = np.asarray if library == "numpy" else torch.from_numpy
    inputs = {"values": of(x), "more": [{"attention_mask": of(own.astype(np.int64)), "padding_mask": of(~own)}]}
    if front == "callbacks":
        inputs = pytree.tree_map(torch.as_tensor, inputs)
        (mixed,) = mix_inputs(PLAN, (inputs,))
    elif front == "Mixer":
        mixed, _ = Mixer(Fixed(PLAN))((inputs, of(np.arange(N))))
    else:
        samples = [(pytree.tree_map(lambda values: values[i], inputs), i) for i in range(N)]  # noqa: B023
        mixed, _ = MixCollate(Fixed(PLAN))(samples)
    np.testing.assert_array_equal(np.asarray(mixed["values"]), PLAN.apply(x))
    np.testing.assert_array_equal(np.asarray(mixed["more"][0]["attention_mask"]), union.astype(np.int64))
    np.testing.assert_array_equal(np.asarray(mixed["more"][0]["padding_mask"]), ~union)


def test_masks_of_one_length_need_no_padding():
    samples = [sample(1) | {"attention_mask": torch.arange(LONGEST) < length} for length in LENGTHS]
    _, union, _ = expected()
    np.testing.assert_array_equal(MixCollate(Fixed(PLAN))(samples)["attention_mask"], union)


def test_nothing_is_joined_without_mixing():
    samples = [sample(i) for i in range(N)]
    batch = MixCollate(Mixup(0), pad=0.0)(samples)
    assert batch["length"].tolist() == LENGTHS
    assert batch["attention_mask"].sum(1).tolist() == LENGTHS


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0, 3, 2]])
def test_lists_of_numbers_are_padded(order):
    def listed(i):
        return {"input_values": [0.5 + i] * LENGTHS[i], "attention_mask": [1] * LENGTHS[i], "label": i}

    batch = MixCollate(Mixup(0), pad=-1.0)([listed(i) for i in order])
    for row, mask, i in zip(batch["input_values"].tolist(), batch["attention_mask"].tolist(), order, strict=True):
        missing = LONGEST - LENGTHS[i]
        assert (row, mask) == ([0.5 + i] * LENGTHS[i] + [-1.0] * missing, [1] * LENGTHS[i] + [0] * missing)


def test_entries_may_come_in_another_order():
    samples = [{"x": torch.zeros(2), "label": 3}, {"label": 4, "x": torch.ones(3)}]
    batch = MixCollate(Mixup(0), pad=0.0, num_classes=5)(samples)
    assert batch["x"].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert batch["label"].argmax(1).tolist() == [3, 4]


@pytest.mark.parametrize("pad", [None, 0.0])
@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([{"x": torch.ones(2), "y": 1}, {"x": torch.ones(2)}], ValueError, "sample 1 has no entry 'y'"),
        ([(torch.ones(2), 1), None], TypeError, "sample 1 is of NoneType, expected tuple"),
        ([(torch.ones(2), 1), (torch.ones(2),)], ValueError, "must have one length: the first has 2, sample 1 1"),
        ([((torch.ones(2),), 1), (torch.ones(2), 1)], TypeError, "entry 0 of sample 1 is of Tensor, expected tuple"),
    ],
)
def test_samples_are_alike(samples, error, message, pad):
    with pytest.raises(error, match=message):
        MixCollate(Mixup(), pad=pad)(samples)


def test_errors():
    with pytest.raises(TypeError, match="entry 0: expected an array or a tensor in each sample, got NoneType"):
        MixCollate(Mixup())([(torch.ones(2), 0), (None, 1)])
    samples = [sample(i) for i in range(N)]
    with pytest.raises((ValueError, RuntimeError), match=r"shape|size"):
        MixCollate(Mixup())(samples)
    with pytest.raises(TypeError, match="pad must be a number, got str"):
        MixCollate(Mixup(), pad="0")
    with pytest.raises(ValueError, match="must have one number of axes"):
        MixCollate(Mixup(), pad=0.0)([(torch.ones(3), 0), (torch.ones(3, 3), 1)])
    with pytest.raises(TypeError, match="'attention_mask' must be of booleans or numbers"):
        Mixer(Mixup())({"image": np.ones((2, 3)), "attention_mask": np.array(["a", "b"])})
    with pytest.raises(ValueError, match=r"attention_mask has shape \(1, 3\), expected 4 samples"):
        mix_inputs(PLAN, ({"x": torch.ones(N, 3), "attention_mask": torch.ones(1, 3)},))
