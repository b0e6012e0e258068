"""Where `out` and `x` share memory: the result is as if they did not. Nothing but `out` is ever written."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from oracle import assert_same_bits, bits, name, values
from rules import plan_of

from mixup_rs import MixPlan, mix_batch

N, K = 8, 24
# Above 4 MiB the batch is shared out among threads.
SIZES = {"small": 1, "large": 11_000}


def shifted(samples, elements):
    """x and out of one buffer, out beginning so much later, or earlier."""

    def views(memory, k):
        distance = samples * k + elements
        size, start = N * k, 2 * k
        return tuple(memory[at : at + size].reshape(N, k) for at in (start, start + distance))

    return views


def same_buffer_twice(offset):
    """Two arrays with nothing in common but memory: NumPy knows no common base."""

    def views(memory, k):
        raw = memoryview(memory).cast("B")
        at = [k * memory.itemsize, (k + offset) * memory.itemsize]
        x, out = (np.frombuffer(raw, memory.dtype, N * k, start).reshape(N, k) for start in at)
        return x, out

    return views


def both(view):
    """x, and out as a view of it."""

    def views(memory, k):
        x = memory[: N * k].reshape(N, k)
        return x, view(x)

    return views


def halves(take):
    """x and out as the two halves of one array, both strided."""

    def views(memory, k):
        return take(memory[: 2 * N * k], k)

    return views


def square(memory, k):
    return memory[: N * N * k].reshape(N, N, k)


# (flat buffer of 2 N k + 4 k elements, k) -> x, out
OVERLAPS = {
    "x itself": both(lambda x: x),
    "another view of x": both(lambda x: x[:]),
    "one sample later": shifted(1, 0),
    "one sample earlier": shifted(-1, 0),
    "one element later": shifted(0, 1),
    "one element earlier": shifted(0, -1),
    "some samples and elements later": shifted(3, 5),
    "some samples and elements earlier": shifted(-2, 7),
    "only the last element shared": shifted(N, -1),
    "next to each other": shifted(N, 0),
    "interleaved samples": halves(lambda m, k: (m.reshape(-1, k)[::2], m.reshape(-1, k)[1::2])),
    "interleaved elements": halves(lambda m, k: (m.reshape(N, -1)[:, ::2], m.reshape(N, -1)[:, 1::2])),
    "reversed batch": both(lambda x: x[::-1]),
    "mirrored": both(lambda x: x[:, ::-1]),
    "both mirrored": lambda m, k: (m[: N * k].reshape(N, k)[:, ::-1],) * 2,
    "both reversed and mirrored": lambda m, k: (m[: N * k].reshape(N, k)[::-1, ::-1],) * 2,
    "transposed": lambda m, k: (square(m[k:], k // N), square(m[k:], k // N).swapaxes(0, 1)),
    "x broadcast from a sample of out": lambda m, k: (
        np.broadcast_to(m[3 * k : 4 * k], (N, k)),
        m[: N * k].reshape(N, k),
    ),
    "x windows over out": lambda m, k: (as_strided(m, (N, k), (m.itemsize, m.itemsize)), m[: N * k].reshape(N, k)),
    "another base, the same bytes": same_buffer_twice(0),
    "another base, later": same_buffer_twice(3),
    "another base, earlier": same_buffer_twice(-3),
}

PARTNERS = {
    "one cycle": np.roll(np.arange(N), 1),
    "fixed points": np.array([0, 3, 2, 1, 5, 4, 6, 7]),
    "repeated": np.array([3, 3, 0, 1, 4, 0, 0, 6]),
}
LAM = [0.3, 0.9, 1.0, 0.5, 0.2, 0.0, 0.6, 0.7]
PLANS = {case: MixPlan(LAM, partner) for case, partner in PARTNERS.items()} | {"several partners": plan_of(N)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("partner", PLANS)
@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8], ids=name)
def test_as_if_they_did_not_overlap(dtype, overlap, partner, size, set_num_threads):
    set_num_threads(2)
    k = K * SIZES[size] * (4 // np.dtype(dtype).itemsize)
    memory = values((2 * N * k + 4 * k,), dtype)
    x, out = OVERLAPS[overlap](memory, k)
    assert size == "small" or out.nbytes >= 8 << 20
    plan = PLANS[partner]
    expected = plan.apply(x.copy())

    around = memory.copy()
    view_like(out, memory, around)[...] = expected
    assert plan.apply(x, out=out) is out
    assert_same_bits(out, expected)
    assert bits(memory) == bits(around), "written outside out"


def view_like(view, memory, other):
    """The view of `other` that `view` is of `memory`."""
    start = (view.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // memory.itemsize
    low = sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=True) if stride < 0)
    assert start * memory.itemsize + low >= 0
    return as_strided(other[start:], view.shape, view.strides)


@pytest.mark.parametrize("overlap", [overlap for overlap in OVERLAPS if overlap != "next to each other"])
def test_these_cases_do_share_memory(overlap):
    """Else the test above would show nothing."""
    x, out = OVERLAPS[overlap](np.zeros(2 * N * K + 4 * K, np.float32), K)
    extents = [np.lib.array_utils.byte_bounds(array) for array in (x, out)]
    assert extents[0][0] < extents[1][1]
    assert extents[1][0] < extents[0][1]


@pytest.mark.parametrize("given", [False, True], ids=["out new", "out given"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("labels", ["float", "indices", "indices, no num_classes", "bool"])
def test_inputs_are_not_written_to(size, labels, given):
    k = K * SIZES[size]
    x, lam, partner = values((N, k), np.float32), np.array(LAM), PARTNERS["repeated"]
    y = {"float": values((N, k), np.float64), "bool": values((N, 5), np.int8) > 0}.get(labels, np.arange(N) % 3)
    classes = {"indices": 3}.get(labels)
    inputs = [x, y, lam, partner]
    before = [bits(array) for array in inputs]
    mixed = mix_batch(x, y, lam=lam, partner=partner, num_classes=classes, out=np.empty_like(x) if given else None)
    assert [bits(array) for array in inputs] == before
    results = [mixed.x, mixed.lam, mixed.partner] + [mixed.y] * (labels != "indices, no num_classes")
    assert not any(np.shares_memory(result, array) for result in results for array in inputs)


def test_labels_that_are_the_images_are_mixed_from_their_originals():
    x = values((N, K), np.float32)
    plan = MixPlan(LAM, PARTNERS["one cycle"])
    expected = plan.apply(x)
    mixed = mix_batch(x, x, lam=LAM, partner=PARTNERS["one cycle"], out=x)
    assert_same_bits(mixed.x, expected)
    assert_same_bits(mixed.y, expected)


def test_weights_and_partners_may_lie_in_out():
    x = np.random.default_rng(0).random((N, K))
    lam = x[:, 3]
    expected = MixPlan(lam.copy(), PARTNERS["repeated"]).apply(x)
    mixed = mix_batch(x, lam=lam, partner=PARTNERS["repeated"], out=x)
    assert_same_bits(mixed.x, expected)

    x = values((N, K), np.int16)
    x[:, 0] = PARTNERS["repeated"]
    expected = MixPlan(LAM, x[:, 0].copy()).apply(x)
    assert_same_bits(mix_batch(x, lam=LAM, partner=x[:, 0], out=x).x, expected)
