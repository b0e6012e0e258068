"""Plans, labels and boxes drawn from anything; and nonsense, which may raise nothing but ValueError and TypeError."""

import pickle

import numpy as np
import pytest
import strategies as some
import tally
from applying import applied, assert_drawn, drawing
from hypothesis import given
from hypothesis import strategies as st
from oracle import DTYPES, FLOATS, assert_mixed, assert_same_bits, bits, soft_targets, ulp, values

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, mix_batch

COUNTS = st.integers(0, 40)


def assert_is_matching(partner):
    np.testing.assert_array_equal(partner[partner], np.arange(len(partner)))
    assert np.count_nonzero(partner == np.arange(len(partner))) == len(partner) % 2


@given(n=COUNTS, rng=some.KEYS, data=st.data())
def test_plans_keep_their_laws(n, rng, data):
    options, instead = data.draw(drawing(n))
    rule = Mixup(**options, prob=data.draw(some.PROBS))
    plan = rule.plan(n, rng=rng())
    assert plan == rule.plan(n, rng=rng()) == pickle.loads(pickle.dumps(plan))
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
    assert_drawn(mix_batch(np.zeros(n), rng=rng(), **options, **instead), n, options, instead, rng())
    tally.case("Mixup")


@given(
    n=st.integers(4, 40), keys=st.lists(st.lists(st.integers(0, 2**66), min_size=1, max_size=3), min_size=2, max_size=2)
)
def test_keys_that_differ_give_other_plans(n, keys):
    same = Mixup(alpha=1.0).plan(n, rng=keys[0]) == Mixup(alpha=1.0).plan(n, rng=keys[1])
    assert same == (keys[0] == keys[1])
    tally.case("keys")


CUTTABLE = [*DTYPES, np.bool_, np.int32, np.int64, np.complex64, np.complex128, "U1", "M8[s]", ">f4"]


def cut(x, plan, axes):
    """Each box copied from the partner."""
    result = x.copy()
    for i, (y0, x0, y1, x1) in enumerate(plan.boxes):
        box = [slice(None)] * (x.ndim - 1)
        for axis, bounds in zip(axes, (slice(y0, y1), slice(x0, x1)), strict=True):
            box[axis % x.ndim - 1] = bounds
        result[i][tuple(box)] = x[plan.partner[i]][tuple(box)]
    return result


@given(batch=some.batches(dtypes=CUTTABLE, shapes=some.shapes(least=3, most=5)), data=st.data(), rng=some.KEYS)
def test_boxes_are_copied_and_counted(batch, data, rng):
    shape = batch.x.shape
    axes = tuple(data.draw(st.permutations(range(1, len(shape))))[:2])
    n, height, width = shape[0], *(shape[axis] for axis in axes)
    if 0 in (height, width):
        with pytest.raises(ValueError, match="must be at least 1"):
            CutMix().plan(n, (height, width), rng=rng())
        return
    axes = tuple(axis - len(shape) * data.draw(st.booleans()) for axis in axes)
    minmax = data.draw(st.none() | st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted).map(tuple))
    arguments = {"alpha": data.draw(some.ALPHAS), "mode": data.draw(some.MODES), "minmax": minmax}
    plan = MixPlan.cutmix(n, height, width, rng=rng(), **arguments)
    assert plan == MixPlan.cutmix(n, height, width, rng=rng(), **arguments) == pickle.loads(pickle.dumps(plan))
    assert plan == MixPlan.from_boxes(plan.boxes, (height, width), plan.partner)
    y0, x0, y1, x1 = plan.boxes.T
    assert ((0 <= y0) & (y0 <= y1) & (y1 <= height) & (0 <= x0) & (x0 <= x1) & (x1 <= width)).all()
    np.testing.assert_array_equal(plan.lam, 1 - (y1 - y0) * (x1 - x0) / (height * width))
    if arguments["mode"] == "pair":
        assert_is_matching(plan.partner)
        np.testing.assert_array_equal(plan.boxes, plan.boxes[plan.partner])
    applied(batch, lambda x, out: plan.apply(x, out=out, spatial_axes=axes), lambda x: cut(x, plan, axes))
    tally.case("MixPlan.cutmix")


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
NAMES = {
    "mix_batch": ["y", "alpha", "mode", "fold", "lam", "partner", "num_classes", "label_smoothing", "out", "rng"],
    "mixup": ["alpha", "mode", "fold", "lam", "partner", "rng"],
    "cutmix": ["alpha", "mode", "minmax", "partner", "rng"],
    "apply": ["out", "spatial_axes"],
    "apply_labels": ["num_classes", "label_smoothing"],
}
ARRAY = np.linspace(0, 1, 96, dtype=np.float32).reshape(4, 2, 3, 4)
PLANS = [MixPlan([0.3, 1.0, 0.0, 0.5], [1, 2, 3, 0]), CutMix().plan(4, (3, 4), rng=0)]
# How many samples, pixels or classes: nonsense that fits into memory would be allocated.
SIZES = st.one_of(st.integers(-1, 9), NONSENSE.filter(lambda size: not isinstance(size, int) or not 9 < size < 2**62))


@st.composite
def nonsense(draw):
    """A call of a public function, most of whose arguments are not what they should be."""
    name = draw(st.sampled_from([*NAMES, "MixPlan", "from_boxes", "set_num_threads", "compare"]))
    named = (
        {key: draw(SIZES if key == "num_classes" else SMALL) for key in draw(st.sets(st.sampled_from(NAMES[name])))}
        if name in NAMES
        else {}
    )
    plan, first = draw(st.sampled_from(PLANS)), draw(st.one_of(st.just(ARRAY), SMALL))
    sizes = draw(st.tuples(SIZES, SIZES, SIZES)) if name in ("mixup", "cutmix", "from_boxes") else ()
    call = {
        "mix_batch": lambda: mix_batch(first, **named),
        "mixup": lambda: MixPlan.mixup(sizes[0], **named),
        "cutmix": lambda: MixPlan.cutmix(*sizes, **named),
        "apply": lambda: plan.apply(first, **named),
        "apply_labels": lambda: plan.apply_labels(first, **named),
        "MixPlan": lambda: MixPlan(first, [1, 0]),
        "from_boxes": lambda: MixPlan.from_boxes(first, *sizes),
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
