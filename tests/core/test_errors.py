"""Wrong arguments: what is raised, what it says, and that nothing has been written."""

import re
from typing import NamedTuple

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from oracle import bits, values

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, OneOf, mix_batch

N = 4
NAN, INF = float("nan"), float("inf")


def x():
    return np.linspace(0, 1, 3 * N, dtype=np.float32).reshape(N, 3)


class Refusal(NamedTuple):
    error: type
    message: str


def raises(error, *fragments):
    """`error` or nothing else, whose message has all these in it, in this order: what was expected and what came."""
    return Refusal(error, ".*".join(map(re.escape, fragments)))


def case(value):
    """For readable test ids."""
    return value.error.__name__ if isinstance(value, Refusal) else " ".join(repr(value).split())[:50]


def refused(call, arrays, expected):
    before = [bits(array) for array in arrays]
    with pytest.raises((ValueError, TypeError), match=expected.message) as raised:
        call()
    assert raised.type is expected.error
    assert [bits(array) for array in arrays] == before


def is_array(value):
    return isinstance(value, np.ndarray) and value.dtype != object


RANGE = ["lam must lie in [0, 1]", "got"]
ALPHA = ["alpha must be a finite number >= 0", "got"]
RNG = ["rng must be None, an int, a sequence of ints, numpy.random.Generator or numpy.random.SeedSequence", "got"]

# Of what is drawn: these hold for mix_batch and Mixup alike, but for what mix_batch alone can be given.
DRAWING = [
    ({"alpha": -5e-324}, raises(ValueError, *ALPHA, "-0.000")),
    ({"alpha": -0.4}, raises(ValueError, *ALPHA, "-0.4")),
    ({"alpha": NAN}, raises(ValueError, *ALPHA, "NaN")),
    ({"alpha": INF}, raises(ValueError, *ALPHA, "inf")),
    ({"alpha": -INF}, raises(ValueError, *ALPHA, "-inf")),
    ({"alpha": NAN, "lam": 0.5}, raises(ValueError, *ALPHA, "NaN")),
    ({"alpha": 10**400}, raises(ValueError, "alpha must lie in the range of a float", "larger")),
    ({"alpha": "0.4"}, raises(TypeError, "real number", "str")),
    ({"alpha": None}, raises(TypeError, "real number", "NoneType")),
    ({"mode": "element"}, raises(ValueError, "'elem', 'pair' or 'batch'", "'element'")),
    ({"mode": 1}, Refusal(TypeError, "(?=.*int).*str")),
    ({"fold": "yes"}, raises(TypeError, "fold must be True or False", "str")),
    ({"lam": -1e-9}, raises(ValueError, *RANGE, "-0.000000001")),
    ({"lam": 1.0000001}, raises(ValueError, *RANGE, "1.0000001")),
    ({"lam": NAN}, raises(ValueError, *RANGE, "NaN")),
    ({"lam": INF}, raises(ValueError, *RANGE, "inf")),
    ({"lam": 2}, raises(ValueError, *RANGE, "2")),
    ({"lam": [0.5, 0.5, 1.5, 0.5]}, raises(ValueError, *RANGE, "1.5 at index 2")),
    ({"lam": [0.5, NAN, 0.5, 0.5]}, raises(ValueError, *RANGE, "NaN at index 1")),
    ({"lam": [0.5] * 3}, raises(ValueError, "lam", "expected 4", "got 3")),
    ({"lam": [0.5] * 5}, raises(ValueError, "lam", "expected 4", "got 5")),
    ({"lam": [0.5]}, raises(ValueError, "lam", "expected 4", "got 1")),
    ({"lam": np.array([0.5])}, raises(ValueError, "lam", "expected 4", "got 1")),
    ({"lam": []}, raises(ValueError, "lam", "expected 4", "got 0")),
    ({"lam": [[0.5]] * 4}, raises(ValueError, "lam must be a float or one float per sample", "shape [4, 1]")),
    ({"lam": "half"}, raises(TypeError, "lam must be a float or one float per sample", "<U4")),
    ({"lam": True}, raises(TypeError, "lam must be a float or one float per sample", "bool")),
    ({"lam": 0.5j}, raises(TypeError, "lam must be a float or one float per sample", "complex128")),
    ({"lam": [None] * 4}, raises(TypeError, "lam must be a float or one float per sample", "object")),
    ({"partner": [0, 1, 2, 4]}, raises(ValueError, "partner must lie in [0, 4)", "got 4 at index 3")),
    ({"partner": [0, -1, 2, 3]}, raises(ValueError, "partner must lie in [0, 4)", "got -1 at index 1")),
    ({"partner": np.array([2**64 - 1] * 4, np.uint64)}, raises(ValueError, "[0, 4)", f"got {2**64 - 1} at index 0")),
    ({"partner": [0, 1, 2]}, raises(ValueError, "partner", "expected 4", "got 3")),
    ({"partner": [0, 1, 2, 3, 0]}, raises(ValueError, "partner", "expected 4", "got 5")),
    ({"partner": []}, raises(ValueError, "partner", "expected 4", "got 0")),
    ({"partner": [0.0, 1.0, 2.0, 3.0]}, raises(TypeError, "partner must be integers", "float64")),
    ({"partner": [True] * 4}, raises(TypeError, "partner must be integers", "bool")),
    ({"partner": ["0"] * 4}, raises(TypeError, "partner must be integers", "<U1")),
    ({"partner": 1}, raises(ValueError, "partner must have 1 dimension", "0")),
    ({"partner": [[0]] * 4}, raises(ValueError, "partner must have 1 dimension", "2")),
    ({"partner": [1, 2, 3, 0], "mode": "pair"}, raises(ValueError, "name each other", "partner[1] is 2")),
    ({"rng": 1.5}, raises(TypeError, *RNG, "float")),
    ({"rng": "torch"}, raises(TypeError, *RNG, "str")),
    ({"rng": b"key"}, raises(TypeError, *RNG, "bytes")),
    ({"rng": True}, raises(TypeError, *RNG, "bool")),
    ({"rng": np.True_}, raises(TypeError, *RNG, "bool")),
    ({"rng": {1, 2}}, raises(TypeError, *RNG, "set")),
    ({"rng": {1: 2}}, raises(TypeError, *RNG, "dict")),
    ({"rng": object()}, raises(TypeError, *RNG, "object")),
    ({"rng": np.random.RandomState(0)}, raises(TypeError, *RNG, "RandomState")),
    ({"rng": np.random.default_rng}, raises(TypeError, *RNG, "function")),
    ({"rng": (1, 2.0)}, raises(TypeError, "rng must be a sequence of ints", "float")),
    ({"rng": (1, (2, 3))}, raises(TypeError, "rng must be a sequence of ints", "tuple")),
    ({"rng": [True]}, raises(TypeError, "rng must be a sequence of ints", "bool")),
    ({"rng": np.array([[1]])}, raises(TypeError, "rng must be a sequence of ints", "ndarray")),
    ({"rng": ()}, raises(ValueError, "one int or more", "empty")),
    ({"rng": -1}, raises(ValueError, ">= 0", "-1")),
    ({"rng": (0, -(2**70))}, raises(ValueError, ">= 0", str(-(2**70)))),
]


@pytest.mark.parametrize(("arguments", "expected"), DRAWING, ids=case)
def test_drawing_refuses(arguments, expected):
    batch, out = x(), x()
    given = [value for value in arguments.values() if is_array(value)]
    options = {name: value for name, value in arguments.items() if name != "rng"}
    if not {"lam", "partner"} & set(options):
        refused(lambda: Mixup(**options).plan(N, rng=arguments.get("rng")), given, expected)
    refused(lambda: mix_batch(batch, out=out, **arguments), [batch, out, *given], expected)
    refused(lambda: mix_batch(batch, out=batch, **arguments), [batch, *given], expected)


MIXABLE = "float64, float32, float16, bfloat16, uint8, int8, uint16 or int16"
INPUTS = [
    (np.array(0.5, np.float32), raises(ValueError, "axis 0", "0 dimensions")),
    (np.float32(0.5), raises(TypeError, "x must be a numpy.ndarray", "float32")),
    ([[0.5], [0.25]], raises(TypeError, "x must be a numpy.ndarray", "list")),
    (None, raises(TypeError, "x must be a numpy.ndarray", "NoneType")),
    (x().astype(object), raises(TypeError, MIXABLE, "object")),
    (x().astype(np.complex64), raises(TypeError, MIXABLE, "complex64")),
    (x().astype(bool), raises(TypeError, MIXABLE, "bool")),
    (x().astype(np.int32), raises(TypeError, MIXABLE, "int32")),
    (x().astype(np.int64), raises(TypeError, MIXABLE, "int64")),
    (np.ones((N, 3), np.uint32), raises(TypeError, MIXABLE, "uint32")),
    (x().astype(">f4"), raises(TypeError, MIXABLE, ">f4")),
    (x().astype(">i2"), raises(TypeError, MIXABLE, ">i2")),
    (x().astype("datetime64[s]"), raises(TypeError, MIXABLE, "datetime64")),
    (x().astype("U3"), raises(TypeError, MIXABLE, "<U3")),
    (np.zeros(N, "V2"), raises(TypeError, MIXABLE, "V2")),
    (np.zeros(N, [("a", np.float16)]), raises(TypeError, MIXABLE, "a")),
    (np.ma.array(x()), raises(TypeError, "x must not be a masked array")),
]


@pytest.mark.parametrize(("batch", "expected"), INPUTS, ids=case)
def test_x_is_refused(batch, expected):
    out = x()
    arrays = [array for array in [batch, out] if is_array(array)]
    refused(lambda: mix_batch(batch, rng=0), arrays, expected)
    refused(lambda: Mixup().plan(N, rng=0).apply(batch), arrays, expected)
    refused(lambda: mix_batch(batch, out=out, rng=0), arrays, expected)
    if is_array(batch):
        refused(lambda: mix_batch(batch, out=batch, rng=0), arrays, expected)


@pytest.mark.parametrize("length", [0, 3, 5])
def test_a_plan_refuses_a_batch_of_another_length(length):
    plan, batch, y = Mixup().plan(N, rng=0), values((length, 3), np.float32), np.zeros(length, int)
    expected = raises(ValueError, "4 samples", f"got an array of {length}")
    refused(lambda: plan.apply(batch), [batch], expected)
    refused(lambda: plan.apply(batch, out=batch), [batch], expected)
    refused(lambda: plan.apply_labels(y), [y], expected)


CLASSES = {"num_classes": 3}
BLENDABLE = "y must be floats, integers or booleans"
LABELS = [
    ([0, 1, 2], {}, raises(ValueError, "y", "4 samples", "3")),
    ([0, 1, 2, 0, 1], CLASSES, raises(ValueError, "y", "4 samples", "5")),
    (np.zeros((5, 3)), {}, raises(ValueError, "y", "4 samples", "5")),
    ([], CLASSES, raises(ValueError, "y", "4 samples", "0")),
    (1, CLASSES, raises(ValueError, "y", "axis 0", "0 dimensions")),
    ([0, 1, 3, 2], CLASSES, raises(ValueError, "[0, 3)", "got 3 at index 2")),
    ([0, -1, 2, 2], CLASSES, raises(ValueError, "[0, 3)", "got -1 at index 1")),
    (np.full(N, 2**64 - 1, np.uint64), CLASSES, raises(ValueError, "[0, 3)", f"got {2**64 - 1} at index 0")),
    (np.zeros((N, 1), int), CLASSES, raises(ValueError, "(n,)", "4, 1")),
    (np.zeros(N), CLASSES, raises(ValueError, "num_classes=3", "float64", "4")),
    (np.zeros((N, 4)), CLASSES, raises(ValueError, "(n, 3)", "float64", "4, 4")),
    (np.zeros((N, 4), bool), CLASSES, raises(ValueError, "(n, 3)", "bool", "4, 4")),
    (["cat"] * N, {}, raises(TypeError, BLENDABLE, "<U3")),
    ([1j] * N, {}, raises(TypeError, BLENDABLE, "complex128")),
    ([None] * N, {}, raises(TypeError, BLENDABLE, "object")),
    (np.zeros(N, "m8[s]"), {}, raises(TypeError, BLENDABLE, "timedelta64")),
    ([[1], [2, 3], [4], [5]], {}, raises(TypeError, "y must be something numpy.asarray takes")),
    (np.zeros(N, ">f4"), {}, raises(TypeError, "y must have dtype", ">f4")),
    (np.ma.array(np.zeros(N)), {}, raises(TypeError, "y must not be a masked array")),
    ([0] * N, CLASSES | {"label_smoothing": -0.1}, raises(ValueError, "label_smoothing must lie in [0, 1]", "-0.1")),
    ([0] * N, CLASSES | {"label_smoothing": 1.1}, raises(ValueError, "label_smoothing must lie in [0, 1]", "1.1")),
    ([0] * N, CLASSES | {"label_smoothing": NAN}, raises(ValueError, "label_smoothing must lie in [0, 1]", "NaN")),
    ([0] * N, CLASSES | {"label_smoothing": 10**400}, raises(ValueError, "label_smoothing must lie in", "float")),
    ([0] * N, CLASSES | {"label_smoothing": "a"}, raises(TypeError, "real number", "str")),
    (np.zeros(N), {"label_smoothing": 1.1}, raises(ValueError, "label_smoothing must lie in [0, 1]", "1.1")),
    ([0] * N, {"label_smoothing": 0.1}, raises(ValueError, "label_smoothing needs", "num_classes", "int64")),
    (np.zeros((N, 3)), CLASSES | {"label_smoothing": 0.1}, raises(ValueError, "label_smoothing needs", "float64")),
    ([0] * N, {"num_classes": 0}, raises(ValueError, "num_classes must be at least 1", "0")),
    ([0] * N, {"num_classes": -3}, raises(ValueError, "num_classes must be at least 1", "-3")),
    ([0] * N, {"num_classes": 3.0}, raises(TypeError, "int", "float")),
]


@pytest.mark.parametrize(("y", "arguments", "expected"), LABELS, ids=case)
def test_labels_are_refused(y, arguments, expected):
    batch, out = x(), x()
    arrays = [array for array in [batch, out, y] if is_array(array)]
    refused(lambda: Mixup().plan(N, rng=0).apply_labels(y, **arguments), arrays, expected)
    refused(lambda: mix_batch(batch, y, out=out, rng=0, **arguments), arrays, expected)
    refused(lambda: mix_batch(batch, y, out=batch, rng=0, **arguments), arrays, expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"label_smoothing": 1.5}, raises(ValueError, "label_smoothing must lie in [0, 1]", "1.5")),
        ({"label_smoothing": NAN}, raises(ValueError, "label_smoothing must lie in [0, 1]", "NaN")),
        ({"num_classes": 0}, raises(ValueError, "num_classes must be at least 1", "0")),
    ],
    ids=case,
)
def test_arguments_for_labels_are_checked_without_labels(arguments, expected):
    batch = x()
    refused(lambda: mix_batch(batch, out=batch, rng=0, **arguments), [batch], expected)


def read_only(array):
    array.flags.writeable = False
    return array


OUTS = [
    ([0.0], raises(TypeError, "out must be a numpy.ndarray", "list")),
    (np.zeros((N, 4), np.float32), raises(ValueError, "out must have shape", "4, 3", "4, 4")),
    (np.zeros((N, 3, 1), np.float32), raises(ValueError, "out must have shape", "4, 3", "4, 3, 1")),
    (np.zeros(3 * N, np.float32), raises(ValueError, "out must have shape", "4, 3", "12")),
    (np.zeros((1, 3), np.float32), raises(ValueError, "out must have shape", "4, 3", "1, 3")),
    (np.zeros((N, 3), np.float64), raises(TypeError, "out must have dtype float32", "float64")),
    (np.zeros((N, 3), np.int32), raises(TypeError, "out must have dtype float32", "int32")),
    (np.zeros((N, 3), ">f4"), raises(TypeError, "out must have dtype float32", ">f4")),
    (read_only(x()), raises(ValueError, "out must be writeable", "read-only")),
    (np.broadcast_to(x()[:1], (N, 3)), raises(ValueError, "out must be writeable", "read-only")),
    (as_strided(x(), (N, 3), (0, 4)), raises(ValueError, "out overlaps itself", "4, 3", "0, 1")),
    (as_strided(x(), (N, 3), (12, 0)), raises(ValueError, "out overlaps itself", "4, 3", "3, 0")),
    (as_strided(x(), (N, 3), (8, 4)), raises(ValueError, "out overlaps itself", "4, 3", "2, 1")),
    (np.ndarray((N, 3), np.float32, bytearray(49), 1), raises(ValueError, "out must be aligned")),
    (np.ndarray((N, 3), np.float32, bytearray(64), 0, (14, 4)), raises(ValueError, "out must be aligned")),
    (np.ma.array(x()), raises(TypeError, "out must not be a masked array")),
]


@pytest.mark.parametrize(("out", "expected"), OUTS, ids=case)
def test_out_is_refused(out, expected):
    batch, y = x(), np.arange(N)
    arrays = [array for array in [batch, y, out] if is_array(array)]
    refused(lambda: Mixup().plan(N, rng=0).apply(batch, out=out), arrays, expected)
    refused(lambda: mix_batch(batch, y, num_classes=N, out=out, rng=0), arrays, expected)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (read_only(x()), raises(ValueError, "writeable", "read-only")),
        (as_strided(x(), (N, 3), (0, 4)), raises(ValueError, "overlaps itself")),
        (np.ndarray((N, 3), np.float32, bytearray(49), 1), raises(ValueError, "aligned")),
    ],
    ids=["read-only", "overlapping itself", "misaligned"],
)
def test_what_cannot_be_written_to_cannot_be_mixed_in_place(array, expected):
    refused(lambda: mix_batch(array, out=array, rng=0), [array], expected)


@pytest.mark.parametrize(
    ("lam", "partner", "expected"),
    [
        ([0.5, 2.0], [1, 0], raises(ValueError, *RANGE, "2 at index 1")),
        ([0.5, 0.5], [1, 2], raises(ValueError, "partner must lie in [0, 2)", "got 2 at index 1")),
        ([0.5, 0.5], [1], raises(ValueError, "partner", "expected 2", "got 1")),
        ([0.5, 0.5], [1.0, 0.0], raises(TypeError, "partner must be integers", "float64")),
        ("ab", [1, 0], raises(TypeError, "lam must be a float or one float per sample", "<U2")),
    ],
    ids=case,
)
def test_a_plan_cannot_be_made_of(lam, partner, expected):
    refused(lambda: MixPlan(lam, partner), [], expected)


HUGE = 2**70  # more than a machine word holds
AXES = "spatial_axes must be None or a sequence of ints"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: Mixup().plan(-1), raises(ValueError, "n must be at least 0", "-1")),
        (lambda: Mixup().plan(2.5), raises(TypeError, "int", "float")),
        (lambda: Mixup().plan(HUGE), raises(ValueError, "n must be", str(HUGE))),
        (lambda: mixup_rs.set_num_threads(0), raises(ValueError, "num_threads must be at least 1", "0")),
        (lambda: mixup_rs.set_num_threads(-2), raises(ValueError, "num_threads must be at least 1", "-2")),
        (lambda: mixup_rs.set_num_threads(1.5), raises(TypeError, "int", "float")),
        (lambda: mix_batch(x(), [0] * N, num_classes=HUGE), raises(ValueError, "num_classes must be", str(HUGE))),
    ],
    ids=["n=-1", "n=2.5", "n=2**70", "threads=0", "threads=-2", "threads=1.5", "num_classes=2**70"],
)
def test_numbers_are_refused(call, expected):
    refused(call, [], expected)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ((HUGE, 1), raises(ValueError, "spatial_axes must be axes of the array", str(HUGE))),
        ((1, -HUGE), raises(ValueError, "spatial_axes must be axes of the array", str(-HUGE))),
        ((1, 1), raises(ValueError, "spatial_axes must be 2 different axes behind the batch", "[1, 1]")),
        ((0, 1), raises(ValueError, "spatial_axes must be 2 different axes behind the batch", "[0, 1]")),
        ((1, 2, 3), raises(ValueError, "spatial_axes must be 2 different axes behind the batch", "[1, 2, 3]")),
        ((), raises(ValueError, "spatial_axes must be 2 different axes behind the batch", "[]")),
        ((1, 3), raises(ValueError, "spatial_axes must be 2 different axes behind the batch", "[1, 3]", "3 dim")),
        ((1.0, 2), raises(TypeError, "spatial_axes must be ints", "float")),
        (1, raises(TypeError, AXES, "int")),
        ("12", raises(TypeError, AXES, "str")),
        ({1: 2, 2: 1}, raises(TypeError, AXES, "dict")),
    ],
    ids=case,
)
def test_axes_are_refused(axes, expected):
    images = values((N, 3, 3), np.float32)
    plan = CutMix().plan(N, (3, 3), rng=0)
    refused(lambda: plan.apply(images, out=images, spatial_axes=axes), [images], expected)


@pytest.mark.parametrize(
    ("minmax", "expected"),
    [
        ((0.5, 0.25), raises(ValueError, "minmax must be two fractions", "0.5, 0.25")),
        ((0, 10**400), raises(ValueError, "minmax must lie in the range of a float")),
        ((0.5,), raises(ValueError, "minmax must be two fractions", "1")),
        (0.5, raises(TypeError, "minmax must be two fractions", "float")),
        (("a", 1), raises(TypeError, "minmax must be a real number", "str")),
    ],
    ids=case,
)
def test_minmax_is_refused(minmax, expected):
    refused(lambda: CutMix(minmax=minmax).plan(N, (3, 3)), [], expected)


@pytest.mark.parametrize("sequence", [tuple, list, np.array])
def test_any_sequence_of_two_will_do(sequence):
    images = values((N, 5, 3, 2), np.float32)
    plan = CutMix(minmax=sequence([0.25, 0.75])).plan(N, (5, 3), rng=0)
    assert plan == CutMix(minmax=(0.25, 0.75)).plan(N, (5, 3), rng=0)
    assert bits(plan.apply(images, spatial_axes=sequence([1, -2]))) == bits(plan.apply(images, spatial_axes=(1, 2)))


@pytest.mark.parametrize("rng", [np.array(2.7), [np.array(2.7)], np.array(True), np.bool_(True)])
def test_a_number_that_is_not_whole_is_no_key(rng):
    with pytest.raises(TypeError, match="rng must be"):
        Mixup().plan(3, rng=rng)


def test_a_subclass_that_copies_itself_into_something_else_is_harmless():
    class Odd(np.ndarray):
        def copy(self, order="C"):
            return np.zeros((2, 4000))

    misaligned = np.arange(65, dtype=np.uint8)[1:17].view(np.float16).reshape(2, 4)
    plan = MixPlan([0.7, 1.0], [1, 0])
    mixed = plan.apply(misaligned.view(Odd))
    assert mixed.tobytes() == plan.apply(misaligned.copy()).tobytes()


BESIDE = ["a rule draws the plan", "alpha, mode, fold, lam and partner cannot be given beside it"]
SPATIAL = "a box needs the shape of a sample's one to three spatial axes"


class Nonsense:
    """A rule whose plan is `returns`."""

    def __init__(self, returns):
        self.returns = returns

    def plan(self, n, shape=None, labels=None, rng=None):
        return self.returns


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"rule": 3}, raises(TypeError, "method plan", "int")),
        ({"rule": "mixup"}, raises(TypeError, "method plan", "str")),
        ({"rule": [Mixup()]}, raises(TypeError, "method plan", "list")),
        ({"rule": Mixup().plan}, raises(TypeError, "method plan", "got method")),
        ({"rule": MixPlan.identity(N)}, raises(TypeError, "method plan", "MixPlan")),
        # The parentheses were forgotten.
        ({"rule": Mixup}, raises(TypeError, "rule", "Mixup")),
        ({"rule": CutMix}, raises(TypeError, "rule", "CutMix")),
        ({"rule": Nonsense(None)}, raises(TypeError, "Nonsense.plan must return a MixPlan", "NoneType")),
        ({"rule": Nonsense("a plan")}, raises(TypeError, "Nonsense.plan must return a MixPlan", "str")),
        ({"rule": Nonsense(MixPlan.identity(3))}, raises(ValueError, "3", "4")),
        ({"rule": Nonsense(MixPlan.from_boxes([[0, 0]] * N, (9,), range(N)))}, raises(ValueError, "[9]", "[6]")),
        ({"rule": Mixup(), "alpha": 0.5}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "mode": "pair"}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "fold": False}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "lam": 0.5}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "partner": [1, 0, 3, 2]}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "alpha": -1}, raises(ValueError, *BESIDE)),
        ({"rule": CutMix(), "spatial_axes": 1}, raises(TypeError, AXES, "int")),
        ({"rule": CutMix(), "spatial_axes": "12"}, raises(TypeError, AXES, "str")),
        ({"rule": CutMix(), "spatial_axes": {1, 2}}, raises(TypeError, AXES, "set")),
        ({"rule": CutMix(), "spatial_axes": (1.0, 2)}, raises(TypeError, "spatial_axes must be ints", "float")),
        ({"rule": CutMix(), "spatial_axes": (None,)}, raises(TypeError, "spatial_axes must be ints", "NoneType")),
        (
            {"rule": CutMix(), "spatial_axes": (HUGE, 1)},
            raises(ValueError, "spatial_axes", "axes of the array", str(HUGE)),
        ),
        ({"rule": CutMix(), "spatial_axes": ()}, raises(ValueError, SPATIAL, "0")),
        ({"rule": CutMix(), "spatial_axes": (1, 2, 3, 4)}, raises(ValueError, "spatial_axes", "[1, 2, 3, 4]")),
        ({"rule": CutMix(), "spatial_axes": (0, 1)}, raises(ValueError, "spatial_axes must be 2 different", "[0, 1]")),
        ({"rule": CutMix(), "spatial_axes": (2, 2)}, raises(ValueError, "spatial_axes must be 2 different", "[2, 2]")),
        (
            {"rule": CutMix(), "spatial_axes": (2, -2)},
            raises(ValueError, "spatial_axes must be 2 different", "[2, -2]"),
        ),
        (
            {"rule": CutMix(), "spatial_axes": (2, 9)},
            raises(ValueError, "spatial_axes must be 2 different", "[2, 9]", "4"),
        ),
        (
            {"rule": CutMix(), "spatial_axes": (-9,)},
            raises(ValueError, "spatial_axes must be 1 different", "[-9]", "4"),
        ),
        ({"rule": CutMix(), "rng": "key"}, raises(TypeError, *RNG, "str")),
        ({"rule": CutMix(), "num_classes": 2, "y": [0, 1, 2, 0]}, raises(ValueError, "[0, 2)", "got 2 at index 2")),
        ({"rule": CutMix(), "y": [0, 1, 2]}, raises(ValueError, "4 samples", "3")),
        ({"rule": CutMix(), "label_smoothing": 2}, raises(ValueError, "label_smoothing must lie in [0, 1]", "2")),
    ],
    ids=case,
)
def test_a_rule_or_its_axes_are_refused(arguments, expected):
    images, out = values((N, 3, 5, 6), np.float32), values((N, 3, 5, 6), np.float32, seed=1)
    refused(lambda: mix_batch(images, **arguments), [images], expected)
    refused(lambda: mix_batch(images, out=images, **arguments), [images], expected)
    refused(lambda: mix_batch(images, out=out, **arguments), [images, out], expected)


def test_a_rule_with_regions_says_what_it_needs_where_there_are_no_spatial_axes():
    refused(lambda: mix_batch(x(), rule=CutMix()), [], raises(ValueError, SPATIAL, "0"))
    # What would settle it is named.
    refused(lambda: mix_batch(x(), rule=CutMix()), [], raises(ValueError, "spatial_axes"))


SHAPES = [
    (None, raises(ValueError, SPATIAL, "0")),
    ((), raises(ValueError, SPATIAL, "0")),
    ((1, 2, 3, 4), raises(ValueError, SPATIAL, "4")),
    (3, raises(TypeError, "shape must be None or one to three lengths", "int")),
    ("ab", raises(TypeError, "shape must be None or one to three lengths", "str")),
    ({3, 4}, raises(TypeError, "shape must be None or one to three lengths", "set")),
    ({3: 4}, raises(TypeError, "shape must be None or one to three lengths", "dict")),
    ((3, 0), raises(ValueError, "shape must be at least 1", "0")),
    ((-3, 4), raises(ValueError, "shape must be at least 1", "-3")),
    ((3.0, 4), raises(TypeError, "shape must be an int", "float")),
    (("3", 4), raises(TypeError, "shape must be an int", "str")),
    ((HUGE, 4), raises(ValueError, "shape must be", "below 2**63", str(HUGE))),
    ([[3, 4]], raises(TypeError, "shape must be an int", "list")),
]


@pytest.mark.parametrize(("shape", "expected"), SHAPES, ids=case)
def test_a_shape_is_refused(shape, expected):
    refused(lambda: CutMix().plan(N, shape), [], expected)
    refused(lambda: OneOf([CutMix()]).plan(N, shape), [], expected)
    refused(lambda: MixPlan.from_boxes(np.zeros((0, 4), int), shape, []), [], expected)
    if expected.error is TypeError:
        refused(lambda: Mixup().plan(N, shape), [], expected)


WEIGHT = "weight must be a float or one float per sample"
BOXES = [
    ({"weight": 1.5}, raises(ValueError, "weight must lie in [0, 1]", "got 1.5")),
    ({"weight": -1e-9}, raises(ValueError, "weight must lie in [0, 1]", "got -0.000000001")),
    ({"weight": NAN}, raises(ValueError, "weight must lie in [0, 1]", "NaN")),
    ({"weight": [0.5, 2.0]}, raises(ValueError, "weight must lie in [0, 1]", "got 2 at index 1")),
    ({"weight": [0.5]}, raises(ValueError, "weight must be a number or one per sample", "expected 2", "got 1")),
    ({"weight": [0.5] * 3}, raises(ValueError, "weight must be a number or one per sample", "expected 2", "got 3")),
    ({"weight": [[0.5], [0.5]]}, raises(ValueError, WEIGHT, "shape [2, 1]")),
    ({"weight": "half"}, raises(TypeError, WEIGHT, "<U4")),
    ({"weight": True}, raises(TypeError, WEIGHT, "bool")),
    ({"weight": 0.5j}, raises(TypeError, WEIGHT, "complex128")),
    ({"boxes": [[0, 0, 1, 1]] * 2}, raises(ValueError, "boxes must have shape (n, 2)", "[2, 4]")),
    ({"boxes": [0, 1]}, raises(ValueError, "boxes must have shape (n, 2)", "[2]")),
    ({"boxes": [[0.0, 1.0]] * 2}, raises(TypeError, "boxes must be integers", "float64")),
    ({"boxes": [["0", "1"]] * 2}, raises(TypeError, "boxes must be integers", "<U1")),
    ({"boxes": [[0, 1], [0]]}, raises(TypeError, "boxes must be something numpy.asarray takes")),
    ({"boxes": [[0, 1], [-1, 1]]}, raises(ValueError, "bounds of a box must be at least 0", "-1", "index 1")),
    ({"boxes": [[0, 1], [0, 9]]}, raises(ValueError, "starts <= ends within [8]", "[0, 9] at index 1")),
    ({"boxes": [[0, 1], [3, 2]]}, raises(ValueError, "starts <= ends within [8]", "[3, 2] at index 1")),
    ({"boxes": np.full((2, 2), 2**64 - 1, np.uint64)}, raises(ValueError, "starts <= ends within [8]", "index 0")),
    ({"partner": [0, 2]}, raises(ValueError, "partner must lie in [0, 2)", "got 2 at index 1")),
    ({"partner": [0]}, raises(ValueError, "partner", "expected 2", "got 1")),
    ({"partner": [0.0, 1.0]}, raises(TypeError, "partner must be integers", "float64")),
]


@pytest.mark.parametrize(("arguments", "expected"), BOXES, ids=case)
def test_a_plan_of_boxes_cannot_be_made_of(arguments, expected):
    right = {"boxes": [[0, 4], [0, 0]], "shape": (8,), "partner": [1, 0]}
    MixPlan.from_boxes(**right)
    given = [value for value in arguments.values() if is_array(value)]
    refused(lambda: MixPlan.from_boxes(**right | arguments), given, expected)


PROB, PROBS = "prob must lie in [0, 1]", "each >= 0 and together at most 1"
OPTIONS = [
    *[
        (kind, {"prob": prob}, expected)
        for kind in (Mixup, CutMix)
        for prob, expected in [
            (1.0000001, raises(ValueError, PROB, "1.0000001")),
            (-1e-9, raises(ValueError, PROB, "-0.000000001")),
            (NAN, raises(ValueError, PROB, "NaN")),
            (INF, raises(ValueError, PROB, "inf")),
            (10**400, raises(ValueError, "prob must lie in the range of a float")),
            ("0.5", raises(TypeError, "prob must be a real number", "str")),
            (None, raises(TypeError, "prob must be a real number", "NoneType")),
            ([0.5], raises(TypeError, "prob must be a real number", "list")),
        ]
    ],
    (CutMix, {"alpha": -1}, raises(ValueError, *ALPHA, "-1")),
    (CutMix, {"alpha": NAN}, raises(ValueError, *ALPHA, "NaN")),
    (CutMix, {"alpha": "1"}, raises(TypeError, "alpha must be a real number", "str")),
    (CutMix, {"mode": "sample"}, raises(ValueError, "'elem', 'pair' or 'batch'", "'sample'")),
    (CutMix, {"mode": None}, raises(TypeError, "mode must be a str", "NoneType")),
    (CutMix, {"minmax": (0, 0.5, 1)}, raises(ValueError, "minmax must be two fractions", "3")),
    (CutMix, {"minmax": (NAN, 1)}, raises(ValueError, "minmax must be two fractions", "NaN, 1")),
    (CutMix, {"minmax": "01"}, raises(TypeError, "minmax must be two fractions", "str")),
    (Mixup, {"fold": 2}, raises(TypeError, "fold", "int")),
    (Mixup, {"fold": None}, raises(TypeError, "fold", "NoneType")),
    (OneOf, {"probs": [0.5, 0.6]}, raises(ValueError, "expected 2 probs", PROBS, "[0.5, 0.6]")),
    (OneOf, {"probs": [0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[0.5]")),
    (OneOf, {"probs": [0.2] * 3}, raises(ValueError, "expected 2 probs", PROBS, "[0.2, 0.2, 0.2]")),
    (OneOf, {"probs": []}, raises(ValueError, "expected 2 probs", PROBS, "[]")),
    (OneOf, {"probs": [1.5, -0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[1.5, -0.5]")),
    (OneOf, {"probs": [NAN, 0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[NaN, 0.5]")),
    (OneOf, {"probs": [INF, 0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[inf, 0.5]")),
    (OneOf, {"probs": [10**400, 0]}, raises(ValueError, "probs must lie in the range of a float")),
    (OneOf, {"probs": 0.5}, raises(TypeError, "probs must be a number for each rule", "float")),
    (OneOf, {"probs": "ab"}, raises(TypeError, "probs must be a number for each rule", "str")),
    (OneOf, {"probs": ["0.5", 0.5]}, raises(TypeError, "probs must be a real number", "str")),
    (OneOf, {"probs": [None, 0.5]}, raises(TypeError, "probs must be a real number", "NoneType")),
    # By its keys alone, the numbers would be lost.
    (OneOf, {"probs": {0.5: Mixup(), 0.25: CutMix()}}, raises(TypeError, "probs", "dict")),
    (OneOf, {"rules": {Mixup(): 0.9, CutMix(): 0.1}}, raises(TypeError, "rules must be a sequence of rules", "dict")),
    (OneOf, {"rules": []}, raises(ValueError, "at least one rule", "none")),
    (OneOf, {"rules": Mixup()}, raises(TypeError, "rules must be a sequence of rules", "Mixup")),
    (OneOf, {"rules": None}, raises(TypeError, "rules must be a sequence of rules", "NoneType")),
    (OneOf, {"rules": "ab"}, raises(TypeError, "rules must be a sequence of rules", "str")),
    (OneOf, {"rules": [Mixup(), 3]}, raises(TypeError, "rules must have a method plan", "int")),
    (OneOf, {"rules": [MixPlan.identity(N)]}, raises(TypeError, "rules must have a method plan", "MixPlan")),
    (OneOf, {"rules": [Mixup(), CutMix]}, raises(TypeError, "rules", "CutMix")),
    (OneOf, {"mode": "pair"}, raises(ValueError, "for each batch or for each sample, not for pairs")),
    (OneOf, {"mode": "sample"}, raises(ValueError, "mode must be", "'elem'", "'batch'", "'sample'")),
    (OneOf, {"mode": 1}, raises(TypeError, "mode must be a str", "int")),
]


@pytest.mark.parametrize(
    ("kind", "options", "expected"), OPTIONS, ids=[f"{kind.__name__}-{case(options)}" for kind, options, _ in OPTIONS]
)
def test_options_are_refused_when_the_rule_is_made(kind, options, expected):
    right = {"rules": [Mixup(), CutMix()]} if kind is OneOf else {}
    refused(lambda: kind(**right | options), [], expected)


@pytest.mark.parametrize("rule", [Mixup(), CutMix(), OneOf([Mixup(), CutMix()])], ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"n": -1}, raises(ValueError, "n must be at least 0", "-1")),
        ({"n": 2.5}, raises(TypeError, "n must be an int", "float")),
        ({"n": HUGE}, raises(ValueError, "n must be at least 0 and below 2**63", str(HUGE))),
        ({"n": None}, raises(TypeError, "n must be an int", "NoneType")),
        ({"rng": "key"}, raises(TypeError, *RNG, "str")),
        ({"rng": -1}, raises(ValueError, ">= 0", "-1")),
    ],
    ids=case,
)
def test_what_a_rule_draws_by_is_refused(rule, arguments, expected):
    refused(lambda: rule.plan(**{"n": N, "shape": (5, 6)} | arguments), [], expected)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (-1, raises(ValueError, "n must be at least 0", "-1")),
        (1.0, raises(TypeError, "n must be an int", "float")),
        (HUGE, raises(ValueError, "n must be at least 0 and below 2**63", str(HUGE))),
        ("4", raises(TypeError, "n must be an int", "str")),
    ],
    ids=case,
)
def test_an_identity_of_no_number_is_refused(n, expected):
    refused(lambda: MixPlan.identity(n), [], expected)
