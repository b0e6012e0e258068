"""Settings from outside: read where they mean something, warned of where they do not, and never a crash."""

import os

import pytest

import mixup_rs

OURS = ["MIXUP_RS_NUM_THREADS", "MIXUP_RS_CACHE_MB", "MIXUP_RS_SIMD"]

# Imports, uses a buffer, threads and a kernel, and says what was warned of.
USE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import mixup_rs
import numpy as np
x = np.random.default_rng(0).random((8, 300_000), dtype=np.float32)
mixed = mixup_rs.mix_batch(x, rng=0).x
assert (mixup_rs.mix_batch(x, rng=0, out=x).x == mixed).all()
print(mixup_rs.get_num_threads(), *(f"{w.category.__name__}: {w.message}" for w in caught), sep="|")
"""

ABSURD = ["-1", "1.5", "four", "0x2", "1e3", "None", "nan", "1 2", "\N{SNOWMAN}", "2" * 400 + "!", "-" + "9" * 40]


@pytest.fixture
def most(set_num_threads):
    set_num_threads(10_000)
    return mixup_rs.get_num_threads()


@pytest.mark.parametrize("value", ABSURD, ids=ascii)
@pytest.mark.parametrize("name", OURS)
def test_what_means_nothing_is_warned_of_and_ignored(run_python, most, name, value):
    threads, *warned = run_python(USE, **{name: value, "OMP_NUM_THREADS": "1"}).strip().split("|")
    assert int(threads) == 1
    assert len(warned) == 1
    assert warned[0].startswith(f"RuntimeWarning: {name} must be ")
    assert "it is ignored" in warned[0]
    if value.isascii():
        assert repr(value).replace("'", '"') in warned[0]


def test_no_thread_is_too_few(run_python):
    warned = run_python(USE, MIXUP_RS_NUM_THREADS="0")
    assert 'MIXUP_RS_NUM_THREADS must be a whole number >= 1, got "0"' in warned


@pytest.mark.parametrize("name", ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", [*ABSURD, "", " ", "0"], ids=ascii)
def test_the_settings_of_others_are_ignored_in_silence(run_python, most, name, value):
    assert run_python(USE, **{name: value}) == f"{most}\n"


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("value", ["", " "])
def test_empty_is_not_set(run_python, most, name, value):
    assert run_python(USE, **{name: value}) == f"{most}\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MIXUP_RS_NUM_THREADS": " 1 "}, 1),
        ({"MIXUP_RS_NUM_THREADS": "9" * 40}, None),
        ({"MIXUP_RS_NUM_THREADS": "9" * 40, "OMP_NUM_THREADS": "1"}, None),
        ({"MIXUP_RS_NUM_THREADS": "four", "RAYON_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
        ({"MIXUP_RS_CACHE_MB": "9" * 40}, None),
        ({"MIXUP_RS_CACHE_MB": "0"}, None),
        ({"MIXUP_RS_SIMD": "baseline"}, None),
    ],
    ids=str,
)
def test_numbers_of_any_size_are_read(run_python, most, environment, expected):
    assert run_python(USE, **environment).split("|")[0].strip() == str(expected or most)


def test_a_warning_made_an_error_is_one(run_python):
    code = """
try:
    import mixup_rs
except RuntimeWarning as warning:
    print(warning)
"""
    assert "MIXUP_RS_CACHE_MB" in run_python(code, MIXUP_RS_CACHE_MB="much", PYTHONWARNINGS="error")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system without affinity")
@pytest.mark.parametrize("asked", [{}, {"MIXUP_RS_NUM_THREADS": "64"}, {"OMP_NUM_THREADS": "64"}], ids=str)
def test_no_more_threads_than_processors_it_may_run_on(run_python, asked):
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import mixup_rs
print(mixup_rs.get_num_threads())
mixup_rs.set_num_threads(64)
print(mixup_rs.get_num_threads())
"""
    assert run_python(code, **asked) == "1\n1\n"


def test_a_plan_beyond_all_memory_is_an_error_and_not_the_end(run_python):
    code = """
import resource
import numpy as np
import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, mix_batch

n = 20_000_000
large, y = np.zeros(n, np.uint8), np.zeros(n, np.int8)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
calls = [
    lambda: Mixup().plan(n), lambda: mix_batch(large, lam=0.5), lambda: CutMix().plan(n, (4, 4)),
    lambda: MixPlan(0.5, y), lambda: mix_batch(large, rng=0), lambda: MixPlan.from_boxes([[0] * 4], (4, 4), y),
    lambda: MixPlan.identity(n),
]
for call in calls:
    try:
        call()
    except MemoryError as error:
        assert str(error), "it should say what for"
        print("refused")
print(len(Mixup().plan(100)))
"""
    assert run_python(code) == "refused\n" * 7 + "100\n"
