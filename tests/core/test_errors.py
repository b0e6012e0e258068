"""Wrong arguments: what is raised, what it says, and that nothing has been written."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from oracle import bits, values
from refusals import ALPHA, AXES, HUGE, INF, NAN, RNG, Refusal, case, raises, refused
from rules import having, made

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup, mix_batch

N = 4


def x():
    return np.linspace(0, 1, 3 * N, dtype=np.float32).reshape(N, 3)


def is_array(value):
    return isinstance(value, np.ndarray) and value.dtype != object


RANGE = ["lam must lie in [0, 1]", "got"]

# Of what is drawn: these hold for mix_batch and for each rule that has such options.
DRAWING = [
    ({"alpha": -5e-324}, raises(ValueError, *ALPHA, "-0.000")),
    ({"alpha": -0.4}, raises(ValueError, *ALPHA, "-0.4")),
    ({"alpha": NAN}, raises(ValueError, *ALPHA, "NaN")),
    ({"alpha": INF}, raises(ValueError, *ALPHA, "inf")),
    ({"alpha": -INF}, raises(ValueError, *ALPHA, "-inf")),
    *[
        ({"lam": 0.5} | other, raises(ValueError, "lam is given: alpha, mode and fold"))
        for other in ({"alpha": 0.3}, {"mode": "batch"}, {"mode": "pair"}, {"fold": False})
    ],
    ({"alpha": NAN, "lam": 0.5}, raises(ValueError, *ALPHA, "NaN")),
    ({"alpha": 10**400}, raises(ValueError, "alpha must lie in the range of a float", "larger")),
    ({"alpha": "0.4"}, raises(TypeError, "real number", "str")),
    ({"alpha": None}, raises(TypeError, "real number", "NoneType")),
    ({"mode": "element"}, raises(ValueError, "mode must be 'elem', 'pair' or 'batch'", "'element'")),
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
    options, rng = {name: value for name, value in arguments.items() if name != "rng"}, arguments.get("rng")
    for kind in having(*options):
        # Options when the rule is made, and not only when it draws.
        refused(lambda kind=kind: (made(kind, **options), made(kind).plan(N, (5, 6), rng=rng)), given, expected)
    refused(lambda: mix_batch(batch, out=out, **arguments), [batch, out, *given], expected)
    refused(lambda: mix_batch(batch, out=batch, **arguments), [batch, *given], expected)


MIXABLE = "float64, float32, float16, bfloat16, uint8, int8, uint16 or int16"
INPUTS = [
    (np.array(0.5, np.float32), raises(ValueError, "axis 0", "0 dimensions")),
    (np.float32(0.5), raises(TypeError, "x must be a numpy.ndarray", "float32")),
    ([[0.5], [0.25]], raises(TypeError, "x must be a numpy.ndarray", "list")),
    (None, raises(TypeError, "x must be a numpy.ndarray", "NoneType")),
    (x().astype(object), Refusal(TypeError, f"{MIXABLE}, got object$")),
    (x().astype(np.complex64), raises(TypeError, MIXABLE, "complex64; mix x.real and x.imag by one MixPlan")),
    (x().astype(bool), raises(TypeError, MIXABLE, "bool")),
    (x().astype(np.int32), raises(TypeError, MIXABLE, "int32; x.astype(numpy.float32) would do")),
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
    (np.eye(N, dtype=int), {}, raises(ValueError, "one-hot rows", "num_classes=4", "y.astype(numpy.float32)")),
    (np.eye(N, 3, dtype=np.uint8), CLASSES | {"label_smoothing": 0.1}, raises(ValueError, "label_smoothing", "column")),
    (np.full((N, 3), 2), CLASSES, raises(ValueError, "(n,)", "0 and 1 of shape (n, 3)", "[4, 3]")),
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


@pytest.mark.parametrize("shape", [(N, 0), (N, 3, 0, 5)], ids=str)
def test_labels_are_not_mixed_where_there_is_nothing_else(shape):
    empty, labels = np.zeros(shape), np.arange(N)
    refused(lambda: mix_batch(empty, labels, rng=0), [labels], raises(ValueError, "samples of x have no element"))
    assert mix_batch(empty, rng=0).x.shape == shape
    assert np.array_equal(mix_batch(empty, labels, lam=1.0).y, labels)
    assert mix_batch(empty[:0], labels[:0]).y.shape == (0,)


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


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: mixup_rs.set_num_threads(0), raises(ValueError, "num_threads must be at least 1", "0")),
        (lambda: mixup_rs.set_num_threads(-2), raises(ValueError, "num_threads must be at least 1", "-2")),
        (lambda: mixup_rs.set_num_threads(1.5), raises(TypeError, "int", "float")),
        (lambda: mix_batch(x(), [0] * N, num_classes=HUGE), raises(ValueError, "num_classes must be", str(HUGE))),
    ],
    ids=["threads=0", "threads=-2", "threads=1.5", "num_classes=2**70"],
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


@pytest.mark.parametrize("sequence", [tuple, list, np.array])
def test_any_sequence_of_two_will_do(sequence):
    images = values((N, 5, 3, 2), np.float32)
    plan = CutMix(minmax=(0.25, 0.75)).plan(N, (5, 3), rng=0)
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
