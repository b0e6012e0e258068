"""Plans, labels and boxes drawn from anything; and nonsense, which may raise nothing but ValueError and TypeError."""

import copy
import pickle
from fractions import Fraction

import model
import numpy as np
import pytest
import strategies as some
import tally
from applying import applied, assert_drawn, drawing
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle import (
    DTYPES,
    FLOATS,
    assert_mixed,
    assert_normalized,
    assert_same_bits,
    bits,
    inside,
    lam_of,
    shares,
    soft_targets,
    ulp,
    values,
)
from rules import EXAMPLES, KINDS, Drawn, made, options, takes

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, OneOf, ResizeMix, SmoothMix, mix_batch
from mixup_rs.batches.axes import Axes

COUNTS = st.integers(0, 40)


def near_enough(got, x, plan, axes):
    """What is outside of the boxes is near the exact value."""
    weight = shares(plan, x.shape, axes)
    error = model.error(got, x, weight, plan.partner, where=~inside(plan, x.shape, axes))
    assert error <= model.LIMITS[x.dtype.name]
    tally.error(x.dtype, error)


def assert_is_matching(partner):
    np.testing.assert_array_equal(partner[partner], np.arange(len(partner)))
    assert np.count_nonzero(partner == np.arange(len(partner))) == len(partner) % 2


def test_every_option_is_drawn():
    drawn = {*some.OPTIONS, *some.NOT_DRAWN}
    lacks = {name for kind in KINDS for name in options(kind)} - drawn
    assert not lacks, f"add a strategy of {lacks} to OPTIONS in tests/support/strategies.py"


@given(n=COUNTS, rng=some.KEYS, data=st.data())
def test_plans_keep_their_laws(n, rng, data):
    options, instead = data.draw(drawing(n))
    rule = Mixup(**options, prob=data.draw(some.PROBS))
    plan = rule.plan(n, rng=rng())
    assert plan == rule.plan(n, rng=rng()) == pickle.loads(pickle.dumps(plan))
    assert hash(plan) == hash(pickle.loads(pickle.dumps(plan)))
    assert plan == MixPlan(plan.lam, plan.partner) == plan.without_region()
    assert (len(plan), plan.boxes, plan.spatial_shape) == (n, None, None)
    assert (plan.lam.dtype, plan.weight.dtype, plan.partner.dtype) == (np.float64, np.float64, np.intp)
    assert_same_bits(plan.weight, plan.lam)
    assert (plan == MixPlan.identity(n)) or rule.alpha > 0
    least = 0.5 if rule.fold else 0
    assert ((least <= plan.lam) & (plan.lam <= 1)).all()
    np.testing.assert_array_equal(np.sort(plan.partner), np.arange(n))
    if rule.mode == "batch":
        assert len(set(plan.lam)) <= 1
    if rule.mode == "pair" and rule.alpha > 0:
        np.testing.assert_array_equal(plan.lam, plan.lam[plan.partner])
        assert_is_matching(plan.partner)
    always = Mixup(**options).plan(n, rng=rng())
    np.testing.assert_array_equal(plan.partner, always.partner)
    assert ((plan.lam == always.lam) | (plan.lam == 1)).all()
    assert_drawn(mix_batch(np.zeros(n), rng=rng(), **options, **instead), n, options, instead, rng)
    tally.case("Mixup")


@given(
    n=st.integers(4, 40), keys=st.lists(st.lists(st.integers(0, 2**66), min_size=1, max_size=3), min_size=2, max_size=2)
)
def test_keys_that_differ_give_other_plans(n, keys):
    same = Mixup(alpha=1.0).plan(n, rng=keys[0]) == Mixup(alpha=1.0).plan(n, rng=keys[1])
    assert same == (keys[0] == keys[1])
    tally.case("keys")


CUTTABLE = [*DTYPES, np.bool_, np.int32, np.int64, np.complex64, np.complex128, "U1", "M8[s]", ">f4"]


@given(batch=some.batches(dtypes=CUTTABLE, shapes=some.shapes(least=2, most=5)), data=st.data())
def test_regions_are_taken_bit_for_bit_and_the_rest_is_blended(batch, data):
    """Along any axes of an array anywhere in memory, by weights of 0, 1 and between: no other byte is written."""
    shape, dtype = batch.x.shape, batch.x.dtype
    blended = dtype.type in DTYPES and dtype.isnative
    plan, axes = data.draw(some.regions(shape, blended))
    assert_keeps_its_laws(plan, shape[0])
    original, result = applied(
        batch, lambda x, out: plan.apply(x, out=out, spatial_axes=axes), lambda x: model.applied(x, plan, axes)
    )
    if result is not None and blended:
        near_enough(result, original, plan, axes)
    tally.case("MixPlan.apply, boxes")


@given(
    shape=some.shapes(least=2, most=5),
    dtype=st.sampled_from(DTYPES),
    fortran=st.booleans(),
    rounded=st.sampled_from([None, np.float32, np.float16]),
    data=st.data(),
)
def test_collate_stacks_applies_and_normalises(shape, dtype, fortran, rounded, data):
    plan, axes = data.draw(some.regions(shape))
    x = values(shape, dtype, data.draw(some.SEEDS))
    samples = [np.asfortranarray(one) if fortran else one for one in x]
    if not samples:
        with pytest.raises(ValueError, match="at least one sample"):
            mixup_rs.collate(samples, plan, spatial_axes=axes)
        return
    assert_same_bits(mixup_rs.collate(samples, plan, spatial_axes=axes), model.applied(x, plan, axes))
    if rounded and dtype == np.uint8:
        out = np.empty(shape, rounded)
        mixup_rs.collate(samples, plan, out=out, normalize=(0.45, 0.22), spatial_axes=axes)
        assert_normalized(out, x, plan, 0.45, 0.22, axes)
    tally.case("collate")


def assert_keeps_its_laws(plan, n):
    """What holds for a plan with boxes or masks."""
    shape, d = plan.spatial_shape, len(plan.spatial_shape)
    assert plan == pickle.loads(pickle.dumps(plan))
    assert plan.without_region() == MixPlan(plan.lam, plan.partner)
    assert (plan.weight.dtype, plan.lam.dtype) == (np.float64, np.float64)
    if plan.masks is not None:
        assert plan.boxes is None
        assert (plan.masks.shape, plan.masks.dtype) == ((n, *shape), np.float64)
        assert ((plan.masks >= 0) & (plan.masks <= 1)).all()
        same = MixPlan.from_masks(plan.masks, plan.partner, shape)
        assert_same_bits(same.masks, plan.masks)
        np.testing.assert_allclose(same.lam, plan.lam, atol=1e-15)
    else:
        resized = plan.patches is not None and plan.patches.any(axis=1)
        assert plan == MixPlan.from_boxes(plan.boxes, shape, plan.partner, plan.weight, resized)
        starts, ends = plan.boxes[:, :d], plan.boxes[:, d:]
        assert ((0 <= starts) & (starts <= ends) & (ends <= shape)).all()
        assert plan.boxes.dtype == np.intp
    for lam, share in zip(plan.lam.tolist(), lam_of(plan), strict=True):
        assert abs(Fraction(lam) - share) <= 1e-12
        assert lam == share or 0 < share < 1
    assert len(plan) == n


@given(
    n=COUNTS,
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple),
    rule=some.rules(depth=2),
    rng=some.KEYS,
    data=st.data(),
)
def test_rules_keep_their_laws(n, shape, rule, rng, data):
    assume(takes(rule, shape))
    plan = rule.plan(n, shape, rng=rng())
    assert plan == rule.plan(n, shape, labels=np.arange(n), rng=rng()) == pickle.loads(pickle.dumps(plan))
    assert hash(plan) == hash(pickle.loads(pickle.dumps(plan)))
    assert rule == pickle.loads(pickle.dumps(rule)) == copy.deepcopy(rule)
    assert hash(rule) == hash(pickle.loads(pickle.dumps(rule)))
    assert eval(repr(rule), {**vars(mixup_rs), "Drawn": Drawn}) == rule
    if plan.spatial_shape is not None:
        assert plan.spatial_shape == shape
        assert_keeps_its_laws(plan, n)
    assert ((plan.lam >= 0) & (plan.lam <= 1) & (plan.lam <= plan.weight)).all()
    if isinstance(rule, CutMix):
        assert (plan.weight == 1).all()
        assert_couples(rule, plan, plan.boxes)
    if isinstance(rule, ResizeMix):
        assert (plan.weight == 1).all()
        assert_couples(rule, plan, plan.boxes)
        sides = plan.boxes[:, 2:] - plan.boxes[:, :2]
        least, most = (np.floor(np.array(shape) * fraction + 0.5) for fraction in rule.scale)
        assert ((sides == 0).all(axis=1) | ((least <= sides) & (sides <= most)).all(axis=1)).all()
    if not isinstance(rule, OneOf) and plan.masks is not None:
        assert_couples(rule, plan, plan.masks)
        if not getattr(rule, "soft", isinstance(rule, SmoothMix)):
            assert plan.only_copies
    if isinstance(rule, Mixup):
        assert plan.boxes is None
        assert_couples(rule, plan, plan.weight)
    if isinstance(rule, CutMix) and rule.minmax and rule.alpha and rule.prob == 1:
        sides = plan.boxes[:, len(shape) :] - plan.boxes[:, : len(shape)]
        least, most = (np.floor(np.array(shape) * fraction) for fraction in rule.minmax)
        # A box of zeros stands for none, so that one of zeros that was drawn reads the same.
        assert ((least <= sides) & (sides <= most)).all()
    # The same through mix_batch, whose array has these axes anywhere.
    x = np.zeros((n, *data.draw(st.permutations(shape))), np.uint8)
    axes = data.draw(st.none() | st.just(tuple(range(1, x.ndim))))
    seen = Axes(x.shape[1:])
    if axes is None and seen.is_certain and seen.channel == x.ndim - 2:
        axes = (x.ndim - 2, x.ndim - 1)  # the channels seem to be last, so that they must be given
    given_shape = tuple(x.shape[axis] for axis in axes) if axes else x.shape[-2:] if x.ndim > 2 else None
    if given_shape is None and plan.spatial_shape is not None:
        return
    mixed = mix_batch(x, rule=rule, spatial_axes=axes, rng=rng())
    expected = rule.plan(n, given_shape, rng=rng())
    assert_same_bits(mixed.lam, expected.lam)
    assert_same_bits(mixed.partner, expected.partner)
    tally.case("rules")


def assert_couples(rule, plan, shared):
    """What samples share as the mode says."""
    if rule.partners is None:
        np.testing.assert_array_equal(np.sort(plan.partner), np.arange(len(plan)))
    if getattr(rule, "alpha", 1) == 0:
        assert plan == MixPlan.identity(len(plan))
    elif rule.mode == "pair":
        assert_is_matching(plan.partner)
        np.testing.assert_array_equal(shared, shared[plan.partner])
    elif rule.mode == "batch":
        assert len(np.unique(shared, axis=0)) <= 1


@st.composite
def labels(draw, n):
    """y, num_classes and label_smoothing that go together."""
    rng = np.random.default_rng(draw(some.SEEDS))
    kind, classes = draw(st.sampled_from(["indices", "pairs", "float", "multi-hot"])), draw(st.integers(1, 12))
    if kind in ("indices", "pairs"):
        y = rng.integers(0, classes, n).astype(
            draw(st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4"]))
        )
        y = y.tolist() if n and draw(st.booleans()) else y
        smoothing = draw(st.one_of(st.just(0.0), st.floats(0, 1)))
        return kind, y, {"num_classes": classes, "label_smoothing": smoothing} if kind == "indices" else {}
    arguments = {"num_classes": classes} if draw(st.booleans()) else {}
    if kind == "multi-hot":
        return kind, rng.random((n, classes)) < 0.4, arguments
    return kind, values((n, classes), draw(st.sampled_from(FLOATS)), draw(some.SEEDS)), arguments


@given(n=COUNTS, data=st.data(), rng=some.KEYS)
def test_labels_of_every_kind(n, data, rng):
    kind, y, arguments = data.draw(labels(n))
    batch = np.zeros((n, 2), np.float32)
    plan = Mixup(alpha=1.0, fold=False).plan(n, rng=rng())
    before = bits(np.asarray(y))
    got, other = plan.apply_labels(y, **arguments)
    mixed = mix_batch(batch, y, alpha=1.0, fold=False, rng=rng(), **arguments)
    assert_same_bits(np.asarray(mixed.y), np.asarray(got))
    if kind == "pairs":
        assert_same_bits(got, np.asarray(y))
        assert_same_bits(other, np.asarray(y)[plan.partner])
        assert_same_bits(mixed.y_partner, other)
    else:
        assert other is None
    if kind == "indices":
        exact = soft_targets(y, plan.lam, plan.partner, **arguments)
        assert got.dtype == np.float32
        # Rounded from float64, in which a class that is both own and partner's is the sum of two.
        assert (np.abs(got - exact) <= ulp(exact, np.float32) * (0.5 + 1e-6) + 1e-15).all()
    elif kind != "pairs":
        blended = np.asarray(y).astype(np.float32) if kind == "multi-hot" else y
        assert_mixed(got, blended, plan.lam, plan.partner)
    assert bits(np.asarray(y)) == before
    tally.case("MixPlan.apply_labels")


NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64, 2**70, -(2**63), -(2**70), 10**400, -1, 0]),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.lists(st.one_of(st.integers(-3, 9), st.floats(), st.booleans(), st.none(), st.text(max_size=1)), max_size=5),
    st.lists(st.lists(st.integers(-1, 5), max_size=4), max_size=4),
    st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    st.sampled_from([object(), object, len, {}, {1}, range(4), range(2**70), float("nan"), np.datetime64("NaT")]),
    st.sampled_from(["f4", "f8", "f2", "u1", "i8", "?", "c8", "O", "U2", "V3", ">f4", "f4,i4"]).flatmap(
        lambda dtype: st.sampled_from([(), (0,), (4,), (4, 4), (4, 2, 3)]).map(lambda shape: np.zeros(shape, dtype))
    ),
)
SMALL = st.one_of(st.integers(-2, 9), st.sampled_from([0.5, None, "elem", "pair", True, 1.0]), NONSENSE)
LABELS = ["num_classes", "label_smoothing"]
NAMES = {
    "mix_batch": ["y", "alpha", "mode", "fold", "lam", "partner", *LABELS, "out", "rng"],
    "mix_batch, rule": ["y", "rule", *LABELS, "out", "spatial_axes", "rng"],
    **{kind.__name__: options(kind) for kind in KINDS},
    "plan": ["n", "shape", "labels", "rng"],
    "from_boxes": ["boxes", "shape", "partner", "weight", "resized"],
    "from_masks": ["masks", "partner", "shape"],
    "collate": ["out", "normalize", "spatial_axes"],
    "apply": ["out", "spatial_axes"],
    "apply_labels": ["num_classes", "label_smoothing"],
}
ARRAY = np.linspace(0, 1, 96, dtype=np.float32).reshape(4, 2, 3, 4)
PLANS = [
    MixPlan([0.3, 1.0, 0.0, 0.5], [1, 2, 3, 0]),
    CutMix().plan(4, (3, 4), rng=0),
    MixPlan.from_boxes([[0, 2]] * 4, (3,), [1, 2, 3, 0], [0.3, 1.0, 0.0, 0.5]),
    SmoothMix().plan(4, (3, 4), rng=0),
    ResizeMix((0.5, 0.9)).plan(4, (3, 4), rng=0),
]
# How many samples, pixels or classes: nonsense that fits into memory would be allocated.
SIZES = st.one_of(st.integers(-1, 9), NONSENSE.filter(lambda size: not isinstance(size, int) or not 9 < size < 2**62))


#: What may be taken for a rule: a rule, its class, a method of it, and anything else.
RULE = st.one_of(st.sampled_from([*EXAMPLES, *KINDS, Mixup().plan, MixPlan]), SMALL)


def used(rule):
    return rule.plan(4, (3, 4)), hash(rule), repr(rule)


@st.composite
def nonsense(draw):
    """A call of a public function, most of whose arguments are not what they should be."""
    name = draw(st.sampled_from([*NAMES, "MixPlan", "identity", "set_num_threads", "compare"]))
    kinds = {"num_classes": SIZES, "n": SIZES, "rule": RULE, "rules": st.one_of(st.lists(RULE, max_size=3), SMALL)}
    named = (
        {key: draw(kinds.get(key, SMALL)) for key in draw(st.sets(st.sampled_from(NAMES[name])))}
        if name in NAMES
        else {}
    )
    plan, first = draw(st.sampled_from(PLANS)), draw(st.one_of(st.just(ARRAY), SMALL))
    rule, size = draw(st.sampled_from(EXAMPLES)), draw(SIZES)
    right = {"boxes": [[0, 2]] * 4, "shape": (3,), "partner": [1, 2, 3, 0]}
    call = {
        "mix_batch": lambda: mix_batch(first, **named),
        "mix_batch, rule": lambda: mix_batch(first, **{"rule": rule} | named),
        **{kind.__name__: lambda kind=kind: used(made(kind, **named)) for kind in KINDS},
        "plan": lambda: rule.plan(**{"n": 4} | named),
        "from_boxes": lambda: MixPlan.from_boxes(**right | named),
        "from_masks": lambda: MixPlan.from_masks(**{"masks": np.ones((4, 3), bool), "partner": [1, 2, 3, 0]} | named),
        "collate": lambda: mixup_rs.collate([*ARRAY] if first is ARRAY else first, plan, **named),
        "apply": lambda: plan.apply(first, **named),
        "apply_labels": lambda: plan.apply_labels(first, **named),
        "MixPlan": lambda: MixPlan(first, [1, 0]),
        "identity": lambda: MixPlan.identity(size),
        "set_num_threads": lambda: mixup_rs.set_num_threads(first),
        "compare": lambda: [plan == first, plan != first, repr(plan)],
    }[name]
    return name, call


@given(nonsense())
def test_nonsense_raises_what_it_should_or_nothing(case):
    kind, call = case
    before = ARRAY.tobytes(), mixup_rs.get_num_threads()
    try:
        call()
    except (ValueError, TypeError, MemoryError) as error:
        raised = error
    else:
        raised = None
    finally:
        mixup_rs.set_num_threads(before[1])
    assert raised is None or str(raised)
    assert ARRAY.tobytes() == before[0]
    tally.case(f"nonsense: {kind}")
