"""Drawing a plan: what depends on the key and on nothing else, and how it is distributed."""

import hashlib
import itertools

import numpy as np
import pytest
from oracle import assert_same_bits, bits, name, values
from rules import KINDS
from scipy import stats

import mixup_rs
from mixup_rs import CutMix, FMix, GridMix, Mixup, OneOf, ResizeMix, SmoothMix, mix_batch

# Version 1 of the streams. A change here breaks every experiment that relies on its keys: it needs a new version.
# n, arguments, lam, partner
GOLDEN = {
    "an int": (
        4,
        {"rng": 0},
        ["0x1.c1d5137d18f4bp-1", "0x1.fb7f9ad932065p-1", "0x1.ff73639c4a431p-1", "0x1.60677288ab3a9p-1"],
        [2, 0, 3, 1],
    ),
    "ints": (
        5,
        {"rng": (42, 0)},
        [
            "0x1.e3a2aa2f7bd3fp-1",
            "0x1.c4ede20a1a205p-1",
            "0x1.968b0b6c6f110p-1",
            "0x1.b65eac0a064b7p-1",
            "0x1.fd6318935f3dap-1",
        ],
        [4, 1, 2, 0, 3],
    ),
    "an int of two words": (
        4,
        {"rng": 2**64 + 5},
        ["0x1.274627bef4277p-1", "0x1.ffde1c232ac21p-1", "0x1.fed682a892cc1p-1", "0x1.3cbea21cec05ap-1"],
        [0, 2, 1, 3],
    ),
    "the paper's": (
        4,
        {"rng": 7, "alpha": 1.0, "fold": False},
        ["0x1.a1ac4c7cc6637p-1", "0x1.a5457514d94eep-3", "0x1.5ceea7cd60d62p-1", "0x1.9854720c7fa9cp-2"],
        [2, 3, 0, 1],
    ),
    "alpha below 1": (
        4,
        {"rng": (1, 2, 3), "alpha": 0.1, "fold": False},
        ["0x1.2722e5a815b3cp-7", "0x1.6de0a0a7fe722p-6", "0x1.3a34e44dddb94p-2", "0x1.fffff80edbb0fp-1"],
        [2, 1, 3, 0],
    ),
    "alpha above 1": (
        4,
        {"rng": (1, 2, 3), "alpha": 4.0, "fold": False},
        ["0x1.21ac2c2867798p-1", "0x1.29c69c1261145p-1", "0x1.41df749c08fabp-2", "0x1.145a04e328d9ap-1"],
        [2, 1, 3, 0],
    ),
    "pairs": (
        5,
        {"rng": (42, 0), "mode": "pair"},
        [
            "0x1.e3a2aa2f7bd3fp-1",
            "0x1.c4ede20a1a205p-1",
            "0x1.c4ede20a1a205p-1",
            "0x1.b65eac0a064b7p-1",
            "0x1.b65eac0a064b7p-1",
        ],
        [0, 2, 1, 4, 3],
    ),
    "one weight": (4, {"rng": (42, 0), "mode": "batch"}, ["0x1.e3a2aa2f7bd3fp-1"] * 4, [2, 1, 0, 3]),
    "a SeedSequence": (
        4,
        {"rng": np.random.SeedSequence(7)},
        ["0x1.4cf0275140c7dp-1", "0x1.6d0aefe669aadp-1", "0x1.5bcaa60749ab9p-1", "0x1.d84bcbe56a80fp-1"],
        [0, 3, 2, 1],
    ),
    "a Generator": (
        4,
        {"rng": lambda: np.random.Generator(np.random.PCG64(7))},
        ["0x1.ed33282ddb05dp-1", "0x1.81f2fecc484efp-1", "0x1.f7aedd6db484ap-1", "0x1.4370e64535617p-1"],
        [2, 0, 3, 1],
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_a_key_always_gives_these_bits(case):
    n, arguments, lam, partner = GOLDEN[case]
    rng = arguments["rng"]
    options = {option: value for option, value in arguments.items() if option != "rng"}
    plan = Mixup(**options).plan(n, rng=rng() if callable(rng) else rng)
    assert [weight.hex() for weight in plan.lam.tolist()] == lam
    assert plan.partner.tolist() == partner
    assert mixup_rs.STREAM_VERSION == 1


def test_weights_of_several_samples_always_have_these_bits():
    plan = Mixup(k=3).plan(3, rng=(42, 0))
    assert [weight.hex() for weight in plan.weights.ravel().tolist()] == [
        "0x1.5b527593e4819p-1",
        "0x1.cc1d34add7c7ep-3",
        "0x1.8d31ea052c636p-4",
        "0x1.b0d1c3881af1bp-1",
        "0x1.07b883c567e2fp-5",
        "0x1.f595a1dc74809p-4",
        "0x1.f3d884dce5a00p-1",
        "0x1.439c6664f6ac7p-7",
        "0x1.c6426261a151bp-7",
    ]
    assert plan.partner.tolist() == [[1, 2], [2, 0], [0, 1]]


ONE = (1.0).hex()
ONES = [ONE] * 9
# rule, n, shape, key, weights, partner, boxes
GOLDEN_RULES = {
    "cutmix, a rectangle": (
        CutMix(),
        3,
        (32, 48),
        0,
        ONES[:3],
        [2, 0, 1],
        [[3, 5, 21, 32], [3, 5, 21, 32], [3, 5, 21, 32]],
    ),
    "cutmix, a rectangle each": (
        CutMix(mode="elem"),
        4,
        (32, 48),
        (42, 0),
        ONES[:4],
        [2, 1, 0, 3],
        [[0, 2, 24, 41], [0, 0, 15, 24], [16, 22, 32, 48], [19, 0, 32, 25]],
    ),
    "cutmix, couples": (
        CutMix(mode="pair"),
        5,
        (224, 224),
        (42, 0),
        ONES[:5],
        [0, 2, 1, 4, 3],
        [[0, 9, 175, 193], [0, 0, 107, 114], [0, 0, 107, 114], [136, 0, 224, 120], [136, 0, 224, 120]],
    ),
    "cutmix, alpha below 1": (
        CutMix(alpha=0.3, mode="elem"),
        4,
        (224, 224),
        (1, 2, 3),
        ONES[:4],
        [2, 1, 3, 0],
        [[0, 20, 147, 224], [0, 0, 140, 103], [198, 34, 216, 52], [34, 21, 224, 224]],
    ),
    "resizemix": (ResizeMix(), 3, (32, 48), 0, ONES[:3], [2, 0, 1], [[7, 27, 19, 45]] * 3),
    "resizemix, a box each": (
        ResizeMix(mode="elem"),
        4,
        (224, 160),
        (42, 0),
        ONES[:4],
        [2, 1, 0, 3],
        [[64, 0, 145, 58], [178, 121, 206, 141], [9, 22, 182, 146], [132, 126, 178, 159]],
    ),
    "resizemix, couples": (
        ResizeMix(scale=(0.5, 1.0), mode="pair", prob=0.75),
        5,
        (32, 48),
        (42, 1),
        ONES[:5],
        [4, 2, 1, 3, 0],
        [[0, 0, 0, 0], [0, 1, 30, 47], [0, 1, 30, 47], [0, 0, 0, 0], [0, 0, 0, 0]],
    ),
    "cutmix, spans": (
        CutMix(mode="elem"),
        4,
        (1000,),
        (42, 0),
        ONES[:4],
        [2, 1, 0, 3],
        [[35, 706], [5, 897], [0, 328], [0, 286]],
    ),
    "cutmix, cuboids": (
        CutMix(mode="elem"),
        4,
        (16, 32, 48),
        (42, 0),
        ONES[:4],
        [2, 1, 0, 3],
        [[0, 0, 0, 12, 28, 21], [0, 14, 18, 8, 32, 48], [8, 0, 8, 16, 19, 48], [0, 11, 28, 9, 32, 48]],
    ),
    "cutmix, minmax": (
        CutMix(mode="elem", minmax=(0.25, 0.75)),
        4,
        (32, 48),
        (42, 0),
        ONES[:4],
        [2, 1, 0, 3],
        [[8, 1, 22, 13], [8, 2, 31, 38], [2, 18, 20, 48], [13, 13, 30, 45]],
    ),
    "cutmix, minmax of a span": (
        CutMix(mode="elem", minmax=(0.25, 0.75)),
        4,
        (1000,),
        (42, 0),
        ONES[:4],
        [2, 1, 0, 3],
        [[255, 690], [28, 280], [256, 960], [50, 781]],
    ),
    "cutmix, prob": (
        CutMix(mode="elem", prob=0.5),
        5,
        (32, 48),
        (42, 0),
        ONES[:5],
        [4, 1, 2, 0, 3],
        [[0, 2, 24, 41], [0, 0, 0, 0], [16, 22, 32, 48], [19, 0, 32, 25], [6, 0, 32, 27]],
    ),
    "mixup, prob": (
        Mixup(prob=0.5),
        5,
        None,
        (42, 0),
        ["0x1.e3a2aa2f7bd3fp-1", ONE, "0x1.968b0b6c6f110p-1", "0x1.b65eac0a064b7p-1", "0x1.fd6318935f3dap-1"],
        [4, 1, 2, 0, 3],
        None,
    ),
    "mixup, prob, couples": (
        Mixup(mode="pair", prob=0.5),
        5,
        None,
        (42, 0),
        ["0x1.e3a2aa2f7bd3fp-1", ONE, ONE, "0x1.b65eac0a064b7p-1", "0x1.b65eac0a064b7p-1"],
        [0, 2, 1, 4, 3],
        None,
    ),
    "one of, a batch": (
        OneOf([Mixup(alpha=0.8), CutMix(mode="elem")]),
        4,
        (32, 48),
        (42, 0),
        ["0x1.7df0c5e4321f3p-1", "0x1.afde2e1921946p-1", "0x1.65378cc5c95dap-1", "0x1.b1dcbc5477520p-1"],
        [2, 1, 0, 3],
        None,
    ),
    "one of, another batch": (
        OneOf([Mixup(alpha=0.8), CutMix(mode="elem")]),
        4,
        (32, 48),
        (42, 1),
        ONES[:4],
        [0, 3, 1, 2],
        [[13, 7, 28, 30], [12, 13, 32, 44], [14, 22, 28, 43], [0, 0, 18, 36]],
    ),
    "one of, samples": (
        OneOf([Mixup(alpha=0.8), CutMix(mode="elem")], mode="elem"),
        6,
        (32, 48),
        (42, 0),
        [
            "0x1.7df0c5e4321f3p-1",
            ONE,
            "0x1.65378cc5c95dap-1",
            "0x1.b1dcbc5477520p-1",
            "0x1.1d08f7b2f3a8cp-1",
            "0x1.b1aada167e237p-1",
        ],
        [2, 1, 5, 0, 3, 4],
        [[0, 0, 0, 0], [8, 0, 32, 34], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ),
    "one of, the rest": (
        OneOf([Mixup(alpha=0.8), CutMix(mode="elem")], probs=(0.3, 0.4), mode="elem"),
        6,
        (32, 48),
        (42, 1),
        [ONE, ONE, "0x1.03b650e0bf25fp-1", ONE, ONE, "0x1.e129893dcea01p-1"],
        [0, 3, 1, 4, 2, 5],
        [[0, 0, 0, 0], [12, 13, 32, 44], [0, 0, 0, 0], [0, 0, 0, 0], [16, 0, 32, 23], [0, 0, 0, 0]],
    ),
    "one of, nested": (
        OneOf([OneOf([Mixup(), CutMix()], probs=(0, 1)), Mixup(alpha=1.0, fold=False)], mode="elem"),
        6,
        (32, 48),
        (42, 0),
        [ONE, "0x1.46de23a6b4bdfp-2", ONE, ONE, ONE, ONE],
        [2, 1, 5, 0, 3, 4],
        [[21, 34, 32, 48], [0, 0, 0, 0], [21, 34, 32, 48], [21, 34, 32, 48], [21, 34, 32, 48], [21, 34, 32, 48]],
    ),
    "cutmix, prob, a span": (
        CutMix(mode="elem", prob=0.5),
        5,
        (1000,),
        (42, 0),
        ONES[:5],
        [4, 1, 2, 0, 3],
        [[35, 706], [0, 0], [0, 328], [0, 286], [580, 1000]],
    ),
}


@pytest.mark.parametrize("case", GOLDEN_RULES)
def test_a_key_always_gives_a_rule_these_boxes_and_weights(case):
    rule, n, shape, rng, weight, partner, boxes = GOLDEN_RULES[case]
    plan = rule.plan(n, shape, rng=rng)
    assert [weight.hex() for weight in plan.weight.tolist()] == weight
    assert plan.partner.tolist() == partner
    assert (None if plan.boxes is None else plan.boxes.tolist()) == boxes


#: Rules of masks: their options, n, shape and key, then the lam and a hash of the shares of all pixels as float64.
GOLDEN_MASKS = {
    "fmix": (FMix(), 2, (32, 48), (42, 0), ["0x1.50aaaaaaaaaabp-2", "0x1.50aaaaaaaaaabp-2"], "e7188b1a80b7cc86"),
    "fmix, soft, a prime length": (
        FMix(decay=1.5, soft=0.1, mode="elem"),
        3,
        (31, 20),
        (42, 1),
        ["0x1.c13d1c1578915p-2", "0x1.b4da034e739cep-1", "0x1.7b0b8fb18c632p-1"],
        "674ca48f76c85f4d",
    ),
    "fmix, a span": (
        FMix(mode="elem"),
        3,
        (1000,),
        (42, 1),
        ["0x1.c189374bc6a7fp-2", "0x1.b53f7ced91687p-1", "0x1.7b645a1cac083p-1"],
        "72a207c28f710838",
    ),
    "fmix, a volume": (
        FMix(mode="pair"),
        3,
        (6, 8, 10),
        (42, 2),
        ["0x1.0000000000000p-1", "0x1.7bbbbbbbbbbbcp-2", "0x1.0000000000000p-1"],
        "5a5d77d94720673c",
    ),
    "gridmix": (
        GridMix(mode="elem"),
        4,
        (32, 48),
        (42, 0),
        ["0x1.4955555555555p-2", "0x1.aaaaaaaaaaaabp-4", "0x1.6d55555555555p-2", "0x1.0c00000000000p-1"],
        "96716ae59ffeefb8",
    ),
    "gridmix, a volume": (
        GridMix(cells=(3, 9)),
        2,
        (6, 8, 10),
        (42, 1),
        ["0x1.b777777777777p-2", "0x1.b777777777777p-2"],
        "5a54f4c44ecbebe3",
    ),
    "smoothmix": (
        SmoothMix(mode="elem"),
        3,
        (32, 48),
        (42, 0),
        ["0x1.748434221eeabp-1", "0x1.08d6e42b3d755p-1", "0x1.3ff01dfa72000p-1"],
        "f742dc7960f7fd00",
    ),
    "smoothmix, a span": (
        SmoothMix(alpha=0.5),
        2,
        (1000,),
        (42, 1),
        ["0x1.f35fccd24c702p-2", "0x1.f35fccd24c702p-2"],
        "dc1e96a118ebc56e",
    ),
}


@pytest.mark.parametrize("case", GOLDEN_MASKS)
def test_a_key_always_gives_a_rule_these_masks(case):
    rule, n, shape, rng, lam, digest = GOLDEN_MASKS[case]
    plan = rule.plan(n, shape, rng=rng)
    assert [lam.hex() for lam in plan.lam.tolist()] == lam
    assert hashlib.sha256(bits(plan.masks)).hexdigest()[:16] == digest


@pytest.mark.parametrize("kind", KINDS)
def test_the_draws_of_each_rule_are_pinned(kind):
    pinned = {type(rule) for rule, *_ in [*GOLDEN_RULES.values(), *GOLDEN_MASKS.values()]}
    assert kind in pinned, f"add what {kind.__name__} draws by a key to GOLDEN_RULES in tests/core/test_sample.py"


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
