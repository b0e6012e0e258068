"""The keys that Mixer draws plans from: given ones, and hashes of what batches hold."""

import pickle

import ml_dtypes
import numpy as np
import pytest
from oracle import assert_same_bits, name, values
from rules import Fixed

from mixup_rs import Mixer, MixPlan, Mixup, PairedTarget

N, SIZE = 6, (8, 10)
X = values((N, 3, *SIZE), np.float32)
Y = np.array([0, 1, 2, 3, 0, 1])
PLAN = MixPlan([0.461, 1.0, 0.75, 0.0, 0.5, 0.9], [1, 2, 3, 4, 5, 0])


def plan_of(batch, rule=None, **options):
    """The partners' places and weights that a mixer of this seed draws for a batch."""
    target = Mixer(rule or Mixup(), **{"rng": 1, **options})(batch)
    while not isinstance(target, PairedTarget):
        target = target["label"] if isinstance(target, dict) else target[1]
    return target.lam.tolist(), target.y_partner.tolist()


def test_labels_are_no_key():
    x, y = np.zeros((8, 3)), np.arange(8)
    with pytest.raises(TypeError, match=r"key.*array of 8.*mix\(\(x, y\)\)"):
        Mixer(Mixup(), num_classes=8)(x, y)


def test_a_key_is_ints_or_a_generator():
    x = X[:, :, 0, 0]

    def lam(key, rng=5):
        rule = Fixed(PLAN)
        Mixer(rule, rng=rng)((x, Y), key=key)
        return rule.calls[0][3]

    assert lam(3) == lam((3,)) == lam([3]) == lam(np.array([3])) == lam(np.int32(3)) == (5, 3)
    assert lam((1, 2), rng=[8, 9]) == (8, 9, 1, 2)
    assert lam((1, 2), rng=None) == (1, 2)
    rng = np.random.default_rng(0)
    first, second = lam(rng), lam(rng)
    assert first != second
    assert first == lam(np.random.default_rng(0)) != lam(np.random.default_rng(0), rng=6)
    got = Mixer(Mixup())(x, key=np.random.default_rng(4))
    assert_same_bits(got, Mixup().plan(N, rng=np.random.default_rng(4)).apply(x))
    for key in (1.5, "a", {1}, (1, "a"), [[1]], np.random):
        with pytest.raises(TypeError, match="key must be an int or a sequence of ints"):
            lam(key)
    for key in (-1, (), (1, -1)):
        with pytest.raises(ValueError, match="key must be"):
            lam(key)


def test_without_seed_and_key_it_is_fresh():
    mix = Mixer(Mixup())
    assert len({mix((X, Y))[1].lam.tobytes() for _ in range(8)}) == 8


def layouts(x):
    """The same values in memory of every kind."""
    gap = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    gap[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    odd = np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape) if x.itemsize == 1 else x
    return [x.copy(), np.asfortranarray(x), gap, x[::-1].copy()[::-1], frozen, odd]


@pytest.mark.parametrize("shape", [(N, 3, *SIZE), (N, 3, 64, 70), (N, 70000), (300, 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16, ml_dtypes.bfloat16], ids=name)
def test_equal_values_have_one_plan(shape, dtype):
    x = values(shape, dtype)
    y = np.arange(shape[0])
    expected = plan_of((x, y))
    for same in layouts(x):
        assert plan_of((same, y)) == expected
    for same in (
        y.astype(np.int32),
        y.astype(">i8"),
        y.astype(np.uint16),
        y.tolist(),
        list(y),
        np.stack([y, y], 1)[:, 0],
    ):
        assert plan_of((x, same)) == expected
    if dtype != ml_dtypes.bfloat16:  # which widened exactly is another type, mixed otherwise but by the same plan
        wide = x.astype(np.float64 if dtype != np.uint8 else np.int16)
        assert plan_of((wide, y)) == expected
    entries = {"label": y, "image": x, "features": x.reshape(len(x), -1)[:, :2], "mask": y + 1}
    assert plan_of(entries) == plan_of(dict(reversed(entries.items())))


def test_floats_count_as_float32():
    """JAX narrows them; but what float32 cannot hold is told apart."""
    x = np.random.default_rng(0).random((N, 5))
    assert plan_of((x, Y)) == plan_of((x.astype(np.float32), Y))
    assert plan_of((x, Y)) != plan_of((x + 1e-6, Y))
    for scale in (1e-60, 1e60, 1e-310):
        assert plan_of((x * scale, Y)) != plan_of((x[::-1] * scale, Y))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16], ids=name)
def test_each_byte_of_a_small_batch_counts(dtype):
    x = np.ones((4, 8, 9), dtype)
    seen = {str(plan_of((x, [0, 0, 0, 0])))}
    for at in range(x.nbytes):
        other = x.copy()
        other.view(np.uint8).reshape(-1)[at] ^= 1
        seen.add(str(plan_of((other, [0, 0, 0, 0]))))
    assert len(seen) == 1 + x.nbytes
    big = np.ones((4, 64 << 10 >> 2), np.uint8)
    changed = big.copy()
    changed[2, 12345] = 0
    assert plan_of((big, Y[:4])) != plan_of((changed, Y[:4]))


@pytest.mark.parametrize("shape", [(N, 4), (N, 3, 100, 120), (2000, 30, 20)], ids=str)
def test_labels_order_and_samples_count(shape):
    x, y = np.random.default_rng(0).standard_normal(shape).astype(np.float32), np.arange(shape[0]) % 7
    first = plan_of((x, y))
    others = [(x[::-1], y[::-1]), (x[::-1], y), (x, y[::-1]), (x[:-1], y[:-1]), (-x, y), (x, y + 1)]
    for i in (0, 1, shape[0] - 1):
        label, sample = y.copy(), x.copy()
        label[i] += 1
        sample[i] += 1
        head, tail = x.copy(), x.copy()
        head.reshape(shape[0], -1)[i, 0] += 1
        tail.reshape(shape[0], -1)[i, -1] += 1
        others += [(x, label), (sample, y), (head, y), (tail, y)]
    seen = [str(plan_of(other)) for other in others]
    assert str(first) not in seen
    assert len({*seen}) == len(seen)


@pytest.mark.parametrize("n", [16, 64, 256, 1000])
def test_what_all_images_have_alike_does_not_hide_the_others(n):
    """Images with a wide black border and without labels, as of digits: of each sample a few elements are read."""
    drawn, seen = np.random.default_rng(0), set()
    for _ in range(10):
        x = np.zeros((n, 1, 48, 48), np.float32)
        x[:, :, 12:36, 12:36] = drawn.random((n, 1, 24, 24), np.float32)
        seen.add(Mixer(Mixup(1.0), rng=1)((x, np.zeros(n, int)))[1].lam.tobytes())
    assert len(seen) == 10


def test_every_element_of_large_targets_counts():
    mask = np.random.default_rng(0).integers(0, 5, (4, 200, 200))
    x = np.zeros((4, 3, 200, 200), np.float32)
    first = Mixer(Mixup(), rng=1)((x, mask))[1].lam.tobytes()
    assert Mixer(Mixup(), rng=1)((x, mask.astype(np.uint8)))[1].lam.tobytes() == first
    for at in ((0, 0, 0), (2, 117, 31), (3, 199, 199)):
        other = mask.copy()
        other[at] += 1
        assert Mixer(Mixup(), rng=1)((x, other))[1].lam.tobytes() != first


def test_integers_and_shapes_of_one_content_are_told_apart():
    small = Fixed(PLAN)
    keys = set()
    batches = [(X[:, 0], y) for y in (Y, Y - 3, Y + 2**40, Y - 2**40, Y.reshape(N, 1), Y / 1, np.stack([Y, Y], 1))]
    batches += [(X[:, 0].reshape(N, -1), Y), (X[:, 0], Y, Y), (X[:, 0], (Y, Y % 2)), (X[:, 0], (Y % 2, Y))]
    for batch in batches:
        Mixer(small, rng=1)(batch)
        keys.add(small.calls[-1][3])
    assert len(keys) == len(batches)


def test_another_process_draws_the_same(run_python):
    code = """
import pickle, sys, numpy as np
from mixup_rs import Mixer, Mixup
mix = pickle.loads(bytes.fromhex(sys.argv[1] if len(sys.argv) > 1 else {data!r}))
x = np.arange(60.0, dtype=np.float32).reshape(5, 12)
print(mix({{"label": np.arange(5), "image": x, "name": "a"}})["label"].lam.tobytes().hex())
"""
    mix = Mixer(Mixup(), rng=(3, 4))
    x = np.arange(60.0, dtype=np.float32).reshape(5, 12)
    expected = mix({"image": x, "label": np.arange(5)})["label"].lam.tobytes().hex()
    code = code.format(data=pickle.dumps(mix).hex())
    for seed in ("0", "1", "random"):
        assert run_python(code, PYTHONHASHSEED=seed).strip() == expected


def test_the_keys_of_contents_are_pinned():
    rule = Fixed(PLAN)
    Mixer(rule, rng=1)((np.arange(12.0).reshape(N, 2), Y))
    Mixer(rule, rng=1)((np.arange(N * 80000).astype(np.int16).reshape(N, -1), Y))
    assert [call[3] for call in rule.calls] == [
        (1, PINNED[0]),
        (1, PINNED[1]),
    ]


PINNED = (326310510395879507278079150978458292001, 99964076437089745169079455587408024033)
