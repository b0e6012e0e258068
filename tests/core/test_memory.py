"""Where results lie, and how much memory a call takes."""

import sys

import numpy as np
import pytest
from oracle import assert_same_bits, values

import mixup_rs
from mixup_rs import Mixup, mix_batch

# 64 photographs in float32.
SHAPE = (64, 3, 224, 224)
MIB = 64 * 3 * 224 * 224 * 4 / 2**20

measures_memory = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

BATCHES = {
    "C order": "full((n, c, h, w))",
    "channels_last": "full((n, h, w, c)).transpose(0, 3, 1, 2)",
    "Fortran": "full((n, c, h, w), order='F')",
    "reversed batch": "full((n, c, h, w))[::-1]",
    "strided batch": "full((2 * n, c, h, w))[::2]",
    "batch axis inside": "full((c, n, h, w)).swapaxes(0, 1)",
    "mirrored": "full((n, c, h, w))[..., ::-1]",
    "cropped": "full((n, c, h + 2, w + 2))[:, :, 1:-1, 1:-1]",
}
NOT_WRITABLE = {
    "read-only": "read_only(full((n, c, h, w)))",
    "broadcast": "np.broadcast_to(full((1, c, h, w)), (n, c, h, w))",
}
PARTNERS = {"one cycle": "np.roll(np.arange(n), 1)", "repeated": "np.arange(n) // 2"}

PEAK = """
import numpy as np
import mixup_rs

def mib(what):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(what))

def full(shape, order="C"):
    return np.full(shape, 0.5, np.float32, order)

def read_only(array):
    array.flags.writeable = False
    return array

# What is started only once, such as the threads, is not what is measured.
mixup_rs.Mixup().plan(8).apply(full((8, 1 << 15)))
mixup_rs.clear_cache()

n, c, h, w = {shape}
x = {x}
plan = mixup_rs.MixPlan(np.full(n, 0.25), {partner})
before = mib("VmHWM")
assert before - mib("VmRSS") < 3, "the peak was higher before: nothing would be seen"
result = plan.apply(x, out={out})
print(mib("VmHWM") - before, result is x, np.shares_memory(result, x))
"""


def peak(run_python, x, out, partner):
    """By how many MiB the call raises the peak of a fresh process, whether it returns x, and whether a part of x."""
    grown, same, shares = run_python(PEAK.format(shape=SHAPE, x=x, out=out, partner=PARTNERS[partner])).split()
    return float(grown), same == "True", shares == "True"


@measures_memory
@pytest.mark.parametrize(
    ("batch", "partner"),
    [*((batch, "one cycle") for batch in BATCHES), ("C order", "repeated"), ("Fortran", "repeated")],
)
def test_in_place_takes_no_second_batch(run_python, batch, partner):
    grown, same, _ = peak(run_python, BATCHES[batch], "x", partner)
    assert same
    assert grown < 0.1 * MIB


@measures_memory
@pytest.mark.parametrize("batch", [*BATCHES, *NOT_WRITABLE])
def test_a_new_result_takes_its_own_memory_and_no_copy_of_the_input(run_python, batch):
    grown, _, shares = peak(run_python, (BATCHES | NOT_WRITABLE)[batch], "None", "one cycle")
    assert not shares
    assert 0.9 * MIB < grown < 1.2 * MIB


WAITING = """
import numpy as np
import mixup_rs

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))

x = np.full({shape}, 0.5, np.float32)
plan = mixup_rs.Mixup().plan(len(x), rng=0)
result = plan.apply(x)
held = resident()
del result
dropped = resident()
mixup_rs.clear_cache()
print(held - dropped, held - resident())
"""


@measures_memory
@pytest.mark.parametrize(("cache_mb", "waits"), [("", True), ("1024", True), ("20", False), ("0", False)])
def test_dropped_results_wait_within_the_bound_of_the_cache(run_python, cache_mb, waits):
    environment = {"MIXUP_RS_CACHE_MB": cache_mb} if cache_mb else {}
    freed_by_drop, freed_in_the_end = map(float, run_python(WAITING.format(shape=SHAPE), **environment).split())
    assert freed_in_the_end > 0.9 * MIB
    if waits:
        assert freed_by_drop < 0.1 * MIB
    else:
        assert freed_by_drop > 0.9 * MIB


def address(array):
    return np.lib.array_utils.byte_bounds(array)[0]


@pytest.fixture
def _cold_cache():
    mixup_rs.clear_cache()
    yield
    mixup_rs.clear_cache()


@pytest.mark.usefixtures("_cold_cache")
class TestRecycledBuffers:
    # Large enough to be recycled, and of more than one huge page.
    x = values((16, 3, 100, 301), np.float32)
    plan = Mixup().plan(16, rng=0)

    def test_a_dropped_result_gives_its_memory_to_the_next(self):
        result = self.plan.apply(self.x)
        before = address(result)
        for _ in range(10):
            del result
            result = self.plan.apply(self.x)
            assert address(result) == before

    def test_a_steady_loop_uses_two_buffers(self):
        """As a training loop does: the last batch is let go of when its successor has been made."""
        addresses = set()
        batch = None
        for _ in range(10):
            batch = self.plan.apply(self.x)
            addresses.add(address(batch))
        assert len(addresses) == 2

    def test_recycled_memory_carries_nothing_over(self):
        first = self.plan.apply(self.x)
        expected, before = first.copy(), address(first)
        first[...] = np.nan
        del first
        again = self.plan.apply(self.x)
        assert address(again) == before
        assert_same_bits(again, expected)

    def test_a_buffer_serves_other_types_and_layouts(self):
        before = address(self.plan.apply(self.x))
        halves = values((16, 3, 301, 200), np.float16).swapaxes(2, 3)
        result = self.plan.apply(halves)
        assert address(result) == before
        assert_same_bits(result, self.plan.apply(halves, out=np.empty_like(halves)))

    def test_held_results_stay_as_they_are(self):
        held = [self.plan.apply(self.x) for _ in range(4)]
        copies = [result.copy() for result in held]
        for _ in range(4):
            new = self.plan.apply(self.x[::-1])
            assert not any(np.shares_memory(new, result) for result in held)
            new[...] = 7
        for result, copy in zip(held, copies, strict=True):
            assert_same_bits(result, copy)

    @pytest.mark.parametrize(
        "view",
        [
            lambda result: result[3:5, ..., ::2],
            lambda result: result.reshape(-1)[-1:],
            lambda result: memoryview(result),
            lambda result: np.frombuffer(result, np.uint8),
            lambda result: mix_batch(result, out=result, rng=1).x,
        ],
        ids=["slice", "last element", "memoryview", "frombuffer", "mixed in place"],
    )
    def test_a_view_keeps_the_memory(self, view):
        result = self.plan.apply(self.x)
        kept = view(result)
        copy = np.array(kept)
        before = address(result)
        del result
        new = self.plan.apply(self.x)
        assert address(new) != before
        new[...] = 7
        assert_same_bits(np.asarray(kept), copy)
        del kept, new
        both = [self.plan.apply(self.x) for _ in range(2)]
        assert before in [address(result) for result in both]

    def test_mixed_labels_are_recycled_apart_from_the_images(self):
        x, y = self.x, values(self.x.shape, np.float32, seed=1)
        mixed = mix_batch(x, y, rng=0)
        assert not np.shares_memory(mixed.x, mixed.y)
        again = mix_batch(x, y, rng=0)
        arrays = [mixed.x, mixed.y, again.x, again.y]
        assert len({address(array) for array in arrays}) == 4

    def test_clear_cache_spares_what_is_held(self):
        held = self.plan.apply(self.x)
        copy = held.copy()
        mixup_rs.clear_cache()
        new = self.plan.apply(self.x[::-1])
        assert not np.shares_memory(new, held)
        assert_same_bits(held, copy)


def test_in_place_returns_the_very_array():
    x = values((4, 100), np.float32)
    before = address(x)
    assert mix_batch(x, out=x, rng=0).x is x
    assert address(x) == before


def test_a_result_owns_memory_that_outlives_everything_else(run_python):
    code = """
import numpy as np, mixup_rs
x = np.arange(300_000, dtype=np.float64).reshape(3, -1)
result = mixup_rs.MixPlan([1, 1, 1], [0, 1, 2]).apply(x)
expected = x.sum()
del x
mixup_rs.clear_cache()
print(result.sum() == expected)
"""
    assert run_python(code) == "True\n"
