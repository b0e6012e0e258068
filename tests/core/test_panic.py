"""A panic in the midst of mixing, of the kind a bug would cause: a RuntimeError, and everything goes on.

Needs the library with a function that panics: `make test-panic` builds it and says where it is.
"""

import os
from pathlib import Path

import pytest

LIBRARY = os.environ.get("MIXUP_RS_PANICS")

pytestmark = pytest.mark.skipif(not LIBRARY, reason="make test-panic runs it: it needs a library that panics")

PRELUDE = f"""
import importlib.machinery, importlib.util, sys
name = "mixup_rs._core"
loader = importlib.machinery.ExtensionFileLoader(name, {str(Path(LIBRARY or ".").resolve())!r})
core = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, loader.path, loader=loader))
loader.exec_module(core)
sys.modules[name] = core
import numpy as np
import mixup_rs

assert mixup_rs.mix_batch is core.mix_batch
mixup_rs.set_num_threads(2)
x = np.random.default_rng(0).random((8, 300_000), dtype=np.float32)
expected = mixup_rs.mix_batch(x, rng=0).x
"""


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_panic_becomes_an_error_and_the_pool_survives(run_python, threads):
    code = f"""
for _ in range(20):
    try:
        core._panic({threads})
    except Exception as error:
        assert type(error) is RuntimeError
        message = str(error)
    assert (mixup_rs.mix_batch(x, rng=0).x == expected).all()
    assert (mixup_rs.mix_batch(x[:, :100], rng=0).x == expected[:, :100]).all()
print(message)
"""
    assert run_python(PRELUDE + code) == "internal error in mixup_rs, please report it: a deliberate panic\n"


def test_a_panic_in_a_thread_or_a_forked_child_is_told_to_python(run_python):
    code = """
import os, threading
caught = []

def run():
    try:
        core._panic(2)
    except RuntimeError as error:
        caught.append(error)

threads = [threading.Thread(target=run) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
pid = os.fork()
if pid == 0:
    run()
    os._exit(len(caught))
print(len(caught), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), (mixup_rs.mix_batch(x, rng=0).x == expected).all())
"""
    assert run_python(PRELUDE + code) == "8 9 True\n"
