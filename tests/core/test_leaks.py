"""What a hundred thousand calls leave behind: no memory, no thread, no descriptor; and the cache keeps its bound.

`make test` makes fewer calls than `make fuzz`, which sets MIXUP_RS_LEAK_CALLS and writes the bytes per call down.
"""

import json
import os
import sys

import pytest
import tally

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")

CALLS = int(os.environ.get("MIXUP_RS_LEAK_CALLS", 5_000))

PRELUDE = """
import gc, json, os, pickle
import numpy as np
import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, OneOf, mix_batch

def used():
    gc.collect()
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

def failing(call):
    def tried():
        try:
            call()
        except (ValueError, TypeError):
            return
        raise AssertionError("nothing was raised")
    return tried

x = np.random.default_rng(0).random((8, 40), dtype=np.float32)
y, out, odd = np.arange(8), np.empty_like(x), np.zeros((8, 4), np.int64)
fortran, frozen = np.asfortranarray(x), np.broadcast_to(x[:1], x.shape)
images = x.reshape(8, 4, 10)
plan, cut = Mixup().plan(8, rng=0), CutMix().plan(8, (4, 10), rng=0)
any_of = OneOf([Mixup(), CutMix(), OneOf([Mixup(alpha=1.0)])], probs=[0.3, 0.3, 0.3], mode='elem')
rng, sequence = np.random.default_rng(0), np.random.SeedSequence(0)
# Above 64 kB results are recycled, above 1 MiB the lock is let go of, above 4 MiB threads help.
recycled, unlocked, shared = (np.ones((8, k), np.float32) for k in (4_000, 40_000, 300_000))
"""

# name -> (code, how many times fewer)
STEADY = {
    "mix_batch": ("mix_batch(x)", 1),
    "mix_batch, class indices": ("mix_batch(x, y, num_classes=9, label_smoothing=0.1, rng=(1, 2))", 1),
    "mix_batch, pairs": ("mix_batch(x, y, rng=rng)", 1),
    "mix_batch, list of labels": ("mix_batch(x, [0.5] * 8, lam=[0.5] * 8, partner=[0] * 8, out=out)", 1),
    "MixPlan": ("MixPlan([0.5] * 8, y)", 1),
    "Mixup": ("Mixup(mode='pair').plan(8, rng=sequence)", 1),
    "CutMix": ("CutMix(minmax=(0.2, 0.5)).plan(8, (4, 10), rng=2**70)", 1),
    "OneOf": ("any_of.plan(8, (4, 10), rng=rng)", 1),
    "mix_batch, rule": ("mix_batch(images, y, rule=any_of, rng=rng, num_classes=9)", 1),
    "MixPlan.identity": ("MixPlan.identity(8)", 1),
    "MixPlan.from_boxes": ("MixPlan.from_boxes([[0, 0, 1, 2]] * 8, (4, 10), y, [0.5] * 8)", 1),
    "the plan's arrays": (
        "plan.lam, plan.partner, cut.boxes, cut.weight, cut.spatial_shape, len(plan), plan == cut",
        1,
    ),
    "repr": ("repr(cut)", 5),
    "without_region": ("cut.without_region(), plan.without_region()", 1),
    "pickling": ("pickle.loads(pickle.dumps(cut))", 1),
    "apply": ("plan.apply(x)", 1),
    "apply, into out": ("plan.apply(x, out=out)", 1),
    "apply, in place": ("plan.apply(out, out=out)", 1),
    "apply, packed": ("plan.apply(fortran, out=fortran), plan.apply(frozen)", 1),
    "apply, boxes": ("cut.apply(images), cut.apply(images, out=images, spatial_axes=[1, 2])", 1),
    "apply, recycled": ("plan.apply(recycled)", 1),
    "apply, unlocked": ("plan.apply(unlocked)", 10),
    "apply, on threads": ("plan.apply(shared)", 100),
    "apply_labels": ("plan.apply_labels(y), plan.apply_labels(y, num_classes=9), plan.apply_labels(y > 3)", 1),
    "number of threads": ("mixup_rs.set_num_threads(2), mixup_rs.get_num_threads()", 1),
    "clear_cache": ("plan.apply(recycled), mixup_rs.clear_cache()", 1),
}
FAILING = {
    "x of another type": "mix_batch(odd)",
    "no array": "mix_batch([1, 2])",
    "another length": "plan.apply(x[:3])",
    "out of another shape": "plan.apply(x, out=x[:, :3])",
    "out read-only": "plan.apply(x, out=frozen)",
    "labels of another length": "mix_batch(x, y[:3], out=out)",
    "class out of range": "plan.apply_labels(y, num_classes=3)",
    "weights out of range": "MixPlan([2.0] * 8, y)",
    "partners out of range": "MixPlan([0.5] * 8, y + 1)",
    "ragged labels": "plan.apply_labels([[1], [2, 3]])",
    "alpha": "Mixup(alpha=10**400)",
    "mode": "Mixup(mode='none')",
    "key": "Mixup().plan(8, rng=(1, 'a'))",
    "rules": "OneOf([Mixup(), len])",
    "a rule of nonsense": "mix_batch(x, rule=type('Nonsense', (), {'plan': lambda *_: None})())",
    "boxes": "MixPlan.from_boxes([[0, 0, 9, 9]] * 8, (4, 10), y)",
    "axes": "cut.apply(images, spatial_axes=(2**70, 1))",
    "number of threads": "mixup_rs.set_num_threads(0)",
}

MEASURED = """
def call():
    {code}

{wrapped}
for _ in range({calls} // 5 + 50):
    call()
before = used()
for _ in range({calls}):
    call()
print(json.dumps([after - was for after, was in zip(used(), before)]))
"""


def measure(run_python, name, code, calls, wrapped=""):
    grown, threads, descriptors = json.loads(
        run_python(PRELUDE + MEASURED.format(code=code, calls=calls, wrapped=wrapped), MIXUP_RS_NUM_THREADS="2")
    )
    tally.leaks[name] = {"calls": calls, "bytes_per_call": round(max(grown, 0) / calls, 3)}
    assert (threads, descriptors) == (0, 0)
    # An allocator may take a few pages more at any time; the smallest Python object has 16 bytes.
    assert grown < 200_000 + 4 * calls, f"{grown / calls} bytes per call"


@pytest.mark.parametrize("name", STEADY)
def test_calls_leave_nothing_behind(run_python, name):
    code, fewer = STEADY[name]
    measure(run_python, name, code, max(CALLS // fewer, 50))


@pytest.mark.parametrize("name", FAILING)
def test_calls_that_fail_leave_nothing_behind(run_python, name):
    measure(run_python, f"fails: {name}", FAILING[name], CALLS, "call = failing(call)")


CACHE = """
mixup_rs.set_num_threads(2)
sizes = np.random.default_rng(1).integers(1 << 13, 300_000, 500)
plan.apply(shared)
mixup_rs.clear_cache()
before, held = used()[0], []
for size in sizes:
    held = [*held[-3:], plan.apply(shared[:, :size])]
del held
print((used()[0] - before) / 2**20)
mixup_rs.clear_cache()
print((used()[0] - before) / 2**20)
"""


@pytest.mark.parametrize("bound", [0, 8, 64])
def test_the_cache_keeps_its_bound_whatever_the_sizes(run_python, bound):
    waiting, cleared = map(float, run_python(PRELUDE + CACHE, MIXUP_RS_CACHE_MB=str(bound)).split())
    # What the allocator keeps between others, of arrays below 2 MiB.
    kept = 20
    assert waiting < bound + kept
    assert cleared < kept
    assert bound < 64 or waiting > kept, "nothing waited: nothing was shown"
