"""Tensors anywhere in one storage, mixed through their NumPy views: torch's views have no common base in NumPy."""

import model
import numpy as np
import strategies as some
import tally
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixup_rs import MixPlan
from mixup_rs.torch import apply

DTYPES = [torch.float64, torch.float32, torch.float16, torch.uint8, torch.int8, torch.int16]


@st.composite
def tensors(draw):
    """A storage, and two views of it that have one shape: the places of `some`, of positive strides."""
    dtype = draw(st.sampled_from(DTYPES))
    like = torch.empty(0, dtype=dtype).numpy().dtype
    shape = draw(some.shapes(most=4))
    steps = (1, 1, 1, 2)
    strides = [draw(some.strides(shape, 1, steps)) for _ in range(2)]
    if draw(st.booleans()):
        strides[1] = strides[0]
    offsets = draw(st.tuples(st.integers(0, 60), st.integers(0, 60)))
    places = [some.Place(like, shape, tuple(s * like.itemsize for s in strides_), offset * like.itemsize)
              for strides_, offset in zip(strides, offsets, strict=True)]  # fmt: skip
    size = max(place.extent()[1] for place in places) // like.itemsize
    contents = np.random.default_rng(draw(some.SEEDS)).integers(0, 100, size).astype(like)
    storage = torch.from_numpy(contents)
    views = [torch.as_strided(storage, shape, s, offset) for s, offset in zip(strides, offsets, strict=True)]
    return storage, views, places


@given(case=tensors(), data=st.data())
def test_views_of_one_storage_are_mixed_as_if_they_did_not_overlap(case, data):
    storage, (x, out), places = case
    n = x.shape[0]
    lam, partner = data.draw(some.weights(n)), data.draw(some.partners(n))
    plan, before = MixPlan(lam, partner), storage.numpy().copy()
    expected = model.mixed(x.numpy().copy(), lam, partner)
    assert apply(plan, x).numpy().tobytes() == expected.tobytes()
    assert storage.numpy().tobytes() == before.tobytes()
    if data.draw(st.booleans()):
        plan.apply(x.numpy(), out=out.numpy())
        places[1].of(before)[...] = expected
    else:
        assert apply(plan, x, inplace=True) is x
        places[0].of(before)[...] = expected
    assert storage.numpy().tobytes() == before.tobytes()
    tally.case("torch")
