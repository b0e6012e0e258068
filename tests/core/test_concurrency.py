"""Python threads that mix at the same time: shared inputs, a shared `out`, the interpreter lock, the way out."""

import sys
import threading
import time

import numpy as np
import pytest
from oracle import assert_same_bits, bits, values

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, mix_batch

SMALL, LARGE = (8, 1000), (8, 300_000)  # 32 kB, and 9.6 MB, which is shared out


def at_once(calls):
    """Calls all of them at the same moment, each in a thread of its own; their results, or what one raised."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number):
        barrier.wait()
        try:
            results[number] = calls[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive(), "hung"
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_eight_threads_share_an_input_and_a_plan(shape, dtype, set_num_threads):
    set_num_threads(2)
    x = values((shape[0], shape[1] * 4 // np.dtype(dtype).itemsize), dtype)
    before = bits(x)
    for seed in range(5):
        expected = Mixup().plan(8, rng=seed).apply(x)
        # A plan that was not drawn finds the visiting order of its samples when it is first applied.
        drawn_plan = Mixup().plan(8, rng=seed)
        plan = MixPlan(drawn_plan.lam, drawn_plan.partner)

        def in_place(plan=plan):
            own = x.copy()
            return plan.apply(own, out=own)

        def drawn(seed=seed):
            return mix_batch(x, rng=seed).x

        for result in at_once([lambda plan=plan: plan.apply(x), in_place, drawn] * 2 + [in_place, drawn]):
            assert_same_bits(result, expected)
    assert bits(x) == before


def test_the_number_of_threads_may_change_meanwhile(set_num_threads):
    x = values(LARGE, np.float32)
    plan = Mixup().plan(8, rng=0)
    expected = plan.apply(x)

    def change():
        for number in range(2000):
            set_num_threads(1 + number % 3)
            mixup_rs.clear_cache()

    for result in at_once([change, *[lambda: [plan.apply(x) for _ in range(10)]] * 3])[1:]:
        for mixed in result:
            assert_same_bits(mixed, expected)


@pytest.mark.parametrize("layout", ["C", "F"])
def test_of_two_writers_each_element_is_from_one(layout, set_num_threads):
    set_num_threads(2)
    x = values(LARGE, np.float32)
    out = np.empty_like(x, order=layout)
    plans = [Mixup(alpha=1.0, fold=False).plan(8, rng=seed) for seed in range(2)]
    expected = [plan.apply(x).view(np.uint32) for plan in plans]
    for _ in range(10):
        out[...] = np.nan
        at_once([lambda plan=plan: plan.apply(x, out=out) for plan in plans])
        words = out.view(np.uint32)
        assert ((words == expected[0]) | (words == expected[1])).all()


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("partner", [None, [3] * 8])
def test_two_that_mix_one_array_in_place_blend_but_invent_nothing(layout, partner, set_num_threads):
    """Which blends come out is anybody's guess; every one lies between the smallest and the largest number."""
    set_num_threads(2)
    x = np.asarray(1 + np.random.default_rng(0).random(LARGE, dtype=np.float32), order=layout)
    for seed in range(10):
        plans = [Mixup().plan(8, rng=(seed, number)) for number in range(2)]
        plans = [MixPlan(plan.lam, partner) if partner else plan for plan in plans]
        at_once([lambda plan=plan: plan.apply(x, out=x) for plan in plans])
        assert x.min() >= 1
        assert x.max() <= 2


@pytest.fixture
def beside():
    """Counts how often another thread came to run while `call` ran."""
    count, stop = [0], threading.Event()

    def busy():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0)  # lets go of the interpreter lock, and asks for it again

    def measured(call):
        before = count[0]
        call()
        return count[0] - before

    thread, interval = threading.Thread(target=busy), sys.getswitchinterval()
    thread.start()
    # Python takes the lock from no thread: the running one keeps it until it releases it itself.
    sys.setswitchinterval(1000)
    yield measured
    sys.setswitchinterval(interval)
    stop.set()
    thread.join()


has_lock = pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="no interpreter lock")


@has_lock
@pytest.mark.parametrize("bytes_", [1000, (1 << 20) - 64])
def test_small_batches_keep_the_interpreter_lock(beside, bytes_):
    """Beside a busy thread, to give it up costs a thousand times what mixing does."""
    x, plan = values((8, bytes_ // 32), np.float32), Mixup().plan(8, rng=0)
    cut = CutMix().plan(8, (1, x.shape[1]), rng=0)
    y, out = np.arange(8), np.empty_like(x)

    def calls():
        for _ in range(20):
            plan.apply(x)
            plan.apply(out, out=out)
            plan.apply(x, out=out)
            cut.apply(x[:, None])
            plan.apply_labels(y, num_classes=10)
            mix_batch(x, y)
            Mixup().plan(8)
            mixup_rs.get_num_threads()
            mixup_rs.clear_cache()

    assert beside(calls) == 0


@has_lock
def test_large_batches_let_others_run(beside):
    x, plan = values(LARGE, np.float32), Mixup().plan(8, rng=0)
    assert beside(lambda: [plan.apply(x) for _ in range(20)]) > 0


LEAVING = """
import threading, time
import numpy as np
import mixup_rs

mixup_rs.set_num_threads(2)
x = np.ones({shape}, np.float32)

def mix():
    while True:
        mixup_rs.mix_batch(x)
        mixup_rs.mix_batch(x, out=x)

for _ in range(2):
    threading.Thread(target=mix, daemon=True).start()
time.sleep(0.2)
print("leaving")
"""


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
def test_the_interpreter_exits_while_daemon_threads_mix(run_python, shape):
    for _ in range(3):
        assert run_python(LEAVING.format(shape=shape)) == "leaving\n"


INTERRUPTED = """
import os, signal, threading
import numpy as np
import mixup_rs

# What a shell starts in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
mixup_rs.set_num_threads(2)
x = np.random.default_rng(0).random({shape}, dtype=np.float32)
expected, plan = mixup_rs.mix_batch(x, rng=1).x, mixup_rs.Mixup().plan(8, rng=2)
for _ in range(5):
    out = x.copy()
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
    try:
        while True:
            plan.apply(out, out=out)
    except KeyboardInterrupt:
        print("interrupted", 0 <= out.min() <= out.max() <= 1, (mixup_rs.mix_batch(x, rng=1).x == expected).all())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
def test_control_c_interrupts_a_loop_and_leaves_all_in_order(run_python, shape):
    assert run_python(INTERRUPTED.format(shape=shape)) == "interrupted True True\n" * 5
