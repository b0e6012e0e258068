"""Batches large enough for the threads, before and after a fork: none hangs, none is wrong."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")

# Runs in an interpreter of its own, where nothing else has started threads.
PRELUDE = """
import os, signal, sys, threading, time, warnings
import numpy as np
import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, mix_batch

# Python 3.12 and later warn of any fork beside a thread.
warnings.simplefilter("ignore", DeprecationWarning)

N, K = 8, 300_000
x = np.random.default_rng(0).random((N, K), dtype=np.float32)
images, fortran = x.reshape(N, 3, 100, -1), np.asfortranarray(x)
bytes_ = (x.reshape(N, -1) * 255).astype(np.uint8).repeat(4, axis=1)
plan = Mixup().plan(N, rng=1)
repeated = MixPlan(plan.lam, [0] * N)
cut = CutMix(mode="elem").plan(N, (100, K // 300), rng=1)

def shifted():
    memory = np.empty(x.size + K, np.float32)
    memory[: x.size] = x.ravel()
    return plan.apply(memory[: x.size].reshape(N, K), out=memory[K:].reshape(N, K))

def in_place(plan, x):
    x = x.copy(order="K")
    return plan.apply(x, out=x)

CALLS = {
    "apply": lambda: plan.apply(x),
    "apply, bytes": lambda: plan.apply(bytes_),
    "apply, Fortran": lambda: plan.apply(fortran),
    "apply, in place": lambda: in_place(plan, x),
    "apply, in place, Fortran": lambda: in_place(plan, fortran),
    "apply, in place, repeated": lambda: in_place(repeated, x),
    "apply, out overlaps": shifted,
    "boxes": lambda: cut.apply(images),
    "boxes, in place": lambda: in_place(cut, images),
    "labels": lambda: plan.apply_labels(x)[0],
    "soft targets": lambda: plan.apply_labels(np.arange(N), num_classes=300_000)[0],
    "mix_batch": lambda: mix_batch(x, x, rng=2).y,
    "draws": lambda: np.r_[Mixup().plan(9, rng=3).lam, CutMix().plan(9, (5, 5), rng=3).lam],
}
SERIAL = {"boxes, in place", "soft targets", "draws"}
mixup_rs.set_num_threads(1)
EXPECTED = {name: call() for name, call in CALLS.items()}
mixup_rs.set_num_threads(2)
FIRST = os.getpid()
PARALLEL = mixup_rs.get_num_threads() > 1 and os.path.isdir("/proc/self/task")

def wrong(names):
    return [name for name in names if CALLS[name]().tobytes() != EXPECTED[name].tobytes()]

def has_pool():
    names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
    return any(name.startswith("mixup-rs") for name in names)

def child(names, nested):
    # A setting speaks for the process that made it.
    mixup_rs.set_num_threads(2)
    assert not PARALLEL or not has_pool()
    bad = wrong(names)
    mixup_rs.clear_cache()
    assert not PARALLEL or set(names) <= SERIAL or has_pool(), names
    return bad or (nested and forked(names, nested - 1))

def forked(names, nested=0, seconds=60):
    '''Calls these in a forked process; what went wrong there.'''
    pid = os.fork()
    if pid == 0:
        # A group with its own children, so that all of them are ended where one hangs.
        if os.getppid() == FIRST:
            os.setpgid(0, 0)
        status = 1
        try:
            status = 2 if child(names, nested) else 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return f"{names}: status {status}" if status else ""
        time.sleep(0.001)
    (os.killpg if os.getpid() == FIRST else os.kill)(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return f"{names}: hung"
"""


@pytest.mark.parametrize("used_before", [True, False])
def test_every_function_works_in_nested_forks(run_python, used_before):
    code = f"""
if {used_before}:
    assert not wrong(CALLS)
    assert not PARALLEL or has_pool()
else:
    assert not has_pool()
print(forked(list(CALLS), nested=2), wrong(CALLS))
"""
    assert run_python(PRELUDE + code) == " []\n"


def test_200_forks_while_other_threads_mix(run_python):
    code = """
stop, mixed = threading.Event(), [0, 0]

def mix(number):
    while not stop.is_set():
        mixed[number] += not wrong([list(CALLS)[mixed[number] % len(CALLS)]])

threads = [threading.Thread(target=mix, args=[number]) for number in range(2)]
[thread.start() for thread in threads]
problems = []
for fork in range(200):
    problems.append(forked([list(CALLS)[fork % len(CALLS)]], nested=int(fork % 10 == 0)))
    if "hung" in problems[-1]:
        break
stop.set()
[thread.join() for thread in threads]
print([problem for problem in problems if problem], min(mixed) > 0, wrong(CALLS))
"""
    assert run_python(PRELUDE + code) == "[] True []\n"


def test_a_process_that_mixed_small_batches_forks_without_a_warning(run_python):
    """It has started no threads: Python 3.12 and later would warn of them."""
    code = """
import os, sys
import numpy as np
import mixup_rs
x = np.ones((8, 1000), np.float32)
mixup_rs.mix_batch(x, np.arange(8), num_classes=9, rng=0)
if os.fork() == 0:
    mixup_rs.mix_batch(x, rng=0)
    os._exit(0)
print(os.wait()[1])
"""
    assert run_python(code, PYTHONWARNINGS="error") == "0\n"


def test_keys_drawn_from_entropy_differ_in_parent_and_child(run_python):
    code = """
import os
from mixup_rs import Mixup
Mixup().plan(9)
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, Mixup().plan(9).lam.tobytes())
    os._exit(0)
print(os.read(read, 999) != Mixup().plan(9).lam.tobytes())
"""
    assert run_python(code) == "True\n"
