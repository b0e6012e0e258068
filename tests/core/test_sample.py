"""Drawing a plan: what depends on the key and on nothing else, and how it is distributed."""

import hashlib
import itertools

import numpy as np
import pytest
from oracle import assert_same_bits, name, values
from scipy import stats

from mixup_rs import Mixup, mix_batch

EQUAL_KEYS = [1, (1,), [1], np.int64(1), np.uint8(1), np.array(1), np.array([1]), range(1, 2)]


@pytest.mark.parametrize("key", EQUAL_KEYS, ids=repr)
def test_a_key_is_its_numbers_whatever_holds_them(key):
    assert Mixup().plan(20, rng=key) == Mixup().plan(20, rng=1)


def test_keys_that_differ_anywhere_give_other_plans():
    numbers = [0, 1, 2, 255, 256, 2**32, 2**32 + 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 2**65, 2**128, 2**128 + 1]
    small = [0, 1, 2, 3, 2**64]
    keys = [(a,) for a in numbers]
    keys += itertools.product(small, repeat=2)
    keys += itertools.product(small, repeat=3)
    plans = {Mixup().plan(1, rng=key).lam.tobytes() for key in keys}
    assert len(plans) == len(keys)
    partners = {Mixup().plan(40, rng=key).partner.tobytes() for key in keys}
    assert len(partners) == len(keys)


def test_neighbouring_keys_are_independent():
    """As many weights under as many keys are as uniform as under one key, and not correlated with the key before."""
    lam = np.array([Mixup(alpha=1, fold=False).plan(1, rng=(7, step)).lam[0] for step in range(4000)])
    assert stats.kstest(lam, "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(lam[1:], lam[:-1]).statistic) < 0.05
    transposed = np.array([Mixup(alpha=1, fold=False).plan(1, rng=(step, 7)).lam[0] for step in range(4000)])
    assert abs(stats.pearsonr(lam, transposed).statistic) < 0.05


def test_no_key_is_fresh_entropy():
    assert Mixup().plan(50) != Mixup().plan(50)
    assert Mixup().plan(50, rng=None) != Mixup().plan(50, rng=0)


def test_numpys_global_state_is_neither_read_nor_moved():
    np.random.seed(0)  # noqa: NPY002
    plan, state = Mixup().plan(50, rng=5), np.random.get_state()  # noqa: NPY002
    assert np.random.get_state()[1].tobytes() == state[1].tobytes()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert Mixup().plan(50, rng=5) == plan


def test_a_generator_moves_on_and_a_seed_sequence_does_not():
    generator, same = np.random.default_rng(3), np.random.default_rng(3)
    first, second = (Mixup().plan(50, rng=generator) for _ in range(2))
    assert first != second
    assert [Mixup().plan(50, rng=same) for _ in range(2)] == [first, second]

    sequence = np.random.SeedSequence(3)
    child, other = sequence.spawn(2)
    assert Mixup().plan(50, rng=sequence) == Mixup().plan(50, rng=sequence)
    assert Mixup().plan(50, rng=child) == Mixup().plan(50, rng=child)
    assert Mixup().plan(50, rng=child) != Mixup().plan(50, rng=other)
    assert Mixup().plan(50, rng=child) != Mixup().plan(50, rng=sequence)


def test_what_is_given_does_not_change_what_is_drawn():
    drawn = Mixup().plan(9, rng=2)
    batch = np.zeros(9)
    np.testing.assert_array_equal(mix_batch(batch, lam=0.25, rng=2).partner, drawn.partner)
    np.testing.assert_array_equal(mix_batch(batch, partner=np.arange(9), rng=2).lam, drawn.lam)
    np.testing.assert_array_equal(Mixup(alpha=2, fold=False).plan(9, rng=2).partner, drawn.partner)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8], ids=name)
@pytest.mark.parametrize("samples", [24, 100_000, 600_000])
def test_any_number_of_threads_gives_the_same_bits(samples, dtype, set_num_threads):
    x = values((samples, 2_400_000 // np.dtype(dtype).itemsize // samples), dtype)
    assert x.nbytes >= 1 << 20
    arguments = {"alpha": 1.0, "fold": False, "rng": (8, 1)}
    results = {}
    for threads in [1, 2, 8]:
        set_num_threads(threads)
        results[threads] = [mix_batch(x, **arguments), mix_batch(x, out=x.copy(), **arguments)]
    for mixed in results[2] + results[8] + results[1]:
        assert_same_bits(mixed.lam, results[1][0].lam)
        assert_same_bits(mixed.partner, results[1][0].partner)
        assert_same_bits(mixed.x, results[1][0].x)


@pytest.mark.parametrize("threads", ["1", "2", "8"])
def test_another_process_with_other_threads_gives_the_same_bits(run_python, threads):
    code = """
import hashlib, numpy as np, mixup_rs
x = np.arange(3_000_000, dtype=np.float32).reshape(30, -1) % 251
mixed = mixup_rs.mix_batch(x, rng=(1, 2**70))
print(hashlib.sha256(mixed.x.tobytes() + mixed.lam.tobytes() + mixed.partner.tobytes()).hexdigest())
"""
    x = np.arange(3_000_000, dtype=np.float32).reshape(30, -1) % 251
    mixed = mix_batch(x, rng=(1, 2**70))
    expected = hashlib.sha256(mixed.x.tobytes() + mixed.lam.tobytes() + mixed.partner.tobytes()).hexdigest()
    assert run_python(code, MIXUP_RS_NUM_THREADS=threads).strip() == expected
