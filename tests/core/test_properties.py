"""A plan applied to any array, anywhere in memory, by any number of threads: the formula's bits, and no other byte.

`make test` tries a few hundred cases, the same each time; `make fuzz` more than 100,000, and writes down what it found.
"""

import model
import numpy as np
import strategies as some
import tally
from applying import applied, assert_drawn, drawing
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import DTYPES, assert_same_bits

import mixup_rs
from mixup_rs import MixPlan, mix_batch


@st.composite
def mixing(draw, **options):
    """A batch, weights and partners."""
    batch = draw(some.batches(**options))
    n = batch.x.shape[0]
    return batch, draw(some.weights(n)), draw(some.partners(n))


def near_enough(got, x, lam, partner):
    error = model.error(got, x, lam, partner)
    assert error <= model.LIMITS[x.dtype.name]
    tally.error(x.dtype, error)


@given(mixing())
def test_a_plan_gives_the_bits_of_the_formula_and_writes_nothing_else(case):
    batch, lam, partner = case
    plan = MixPlan(lam, partner)
    original, result = applied(batch, plan.apply, lambda x: model.mixed(x, lam, partner))
    if result is not None:
        near_enough(result, original, lam, partner)
    tally.case("MixPlan.apply")


@given(mixing(shapes=some.shapes(least=1, most=3), relations=["new", "itself"]))
def test_new_and_in_place_and_any_number_of_threads_agree(case):
    batch, lam, partner = case
    x = batch.x.of(batch.block()).copy()
    plan = MixPlan(lam, partner)
    results = []
    before = mixup_rs.get_num_threads()
    try:
        for threads in (1, 2):
            mixup_rs.set_num_threads(threads)
            in_place = x.copy()
            plan.apply(in_place, out=in_place)
            results += [plan.apply(x), in_place, plan.apply(np.asfortranarray(x))]
    finally:
        mixup_rs.set_num_threads(before)
    for result in results[1:]:
        assert_same_bits(result, results[0])
    tally.case("agreement")


def large_shape(kind, itemsize):
    """Above 4 MiB, which is cut up for the threads: in few large samples, in many small ones, in scalars."""
    elements = (8 << 20) // itemsize
    return {
        "few": (3, 2, elements // 6 + 1001),
        "many": (elements // 150 + 7, 150),
        "scalars": (elements + 13,),
    }[kind]


@settings(max_examples=max(settings.default.max_examples // 100, 3))
@given(
    kind=st.sampled_from(["few", "many", "scalars"]),
    dtype=st.sampled_from(DTYPES),
    fortran=st.booleans(),
    shift=st.sampled_from([None, 0, 1, -1, 17, -4099]),
    seed=some.SEEDS,
)
def test_large_batches_on_two_threads(kind, dtype, fortran, shift, seed):
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    shape = large_shape(kind, dtype.itemsize)
    axes = range(len(shape))
    inner = np.cumprod([dtype.itemsize, *(shape[axis] for axis in (axes if fortran else axes[::-1]))])[:-1]
    strides = tuple(map(int, inner if fortran else inner[::-1]))
    x = some.Place(dtype, shape, strides, 1 << 16)
    out = None if shift is None else x.moved(shift * dtype.itemsize)
    batch = some.Batch(x, out, shift == 0, False, True, x.extent()[1] + (1 << 16), ("bits", seed))
    lam = np.where(rng.random(shape[0]) < 0.2, rng.choice([0, 1, 0.5]), rng.random(shape[0]))
    partner = rng.integers(0, shape[0], shape[0]) if seed % 3 == 0 else rng.permutation(shape[0])
    before = mixup_rs.get_num_threads()
    try:
        mixup_rs.set_num_threads(2)
        applied(batch, MixPlan(lam, partner).apply, lambda x: model.mixed(x, lam, partner))
    finally:
        mixup_rs.set_num_threads(before)
    tally.case("MixPlan.apply, above 4 MiB")


@given(batch=some.batches(), data=st.data(), rng=some.KEYS)
def test_mix_batch_mixes_what_it_says_it_drew(batch, data, rng):
    n, drawn = batch.x.shape[0], []
    options, instead = data.draw(drawing(n))

    def call(x, out):
        drawn.append(mix_batch(x, out=out, rng=rng(), **options, **instead))
        return drawn[0].x

    original, result = applied(batch, call, lambda x: model.mixed(x, drawn[0].lam, drawn[0].partner))
    if result is not None:
        near_enough(result, original, drawn[0].lam, drawn[0].partner)
        assert (drawn[0].y, drawn[0].y_partner) == (None, None)
        assert_drawn(drawn[0], n, options, instead, rng)
    tally.case("mix_batch")
