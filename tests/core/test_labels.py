"""Labels of every kind, mixed by the plan that mixes the images."""

import ml_dtypes
import numpy as np
import pytest
from oracle import FLOATS, assert_mixed, assert_same_bits, bits, name, soft_targets, ulp, values

from mixup_rs import MixPlan, mix_batch

N, CLASSES = 9, 6
LAM = [0.3, 0.9, 1.0, 0.5, 0.2, 0.0, 0.6, 0.7, 0.1]
PARTNER = [1, 2, 0, 3, 8, 4, 4, 6, 7]
PLAN = MixPlan(LAM, PARTNER)
# 0 and 1, 4 and 8 are partners of the same class; sample 3 is its own.
Y = np.array([2, 2, 0, 1, 5, 3, 4, 0, 5])
X = values((N, 4), np.float32)

INDEX_DTYPES = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, ">i8", ">u2"]


def mix_labels(y, **arguments):
    """The same from both ways in."""
    mixed = mix_batch(X, y, lam=LAM, partner=PARTNER, **arguments)
    again, partner = PLAN.apply_labels(y, **arguments)
    assert_same_bits(np.asarray(mixed.y), np.asarray(again))
    assert (mixed.y_partner is None) == (partner is None)
    if partner is not None:
        assert_same_bits(mixed.y_partner, partner)
    return mixed


def assert_rounded_once(got, exact):
    """float32, and each the nearest to what float64 gives."""
    assert got.dtype == np.float32
    assert got.shape == exact.shape
    assert (np.abs(got - exact) <= ulp(exact, np.float32) * (0.5 + 1e-6)).all()


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, CLASSES), (N, 2, 3)], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=name)
def test_floats_are_blended_like_images(dtype, shape):
    y = values(shape, dtype)
    mixed = mix_labels(y)
    assert_mixed(mixed.y, y, LAM, PARTNER)
    assert_same_bits(mixed.y, PLAN.apply(y))
    assert mixed.y_partner is None


def test_floats_of_the_right_width_may_come_with_num_classes():
    y = values((N, CLASSES), np.float64)
    assert_same_bits(mix_labels(y, num_classes=CLASSES).y, PLAN.apply(y))


def test_lists_are_labels_too():
    assert_same_bits(mix_labels(Y.tolist(), num_classes=CLASSES).y, mix_labels(Y, num_classes=CLASSES).y)
    regression = (Y / 4).tolist()
    assert_same_bits(mix_labels(regression).y, PLAN.apply(np.array(regression)))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", INDEX_DTYPES, ids=lambda dtype: np.dtype(dtype).str)
def test_class_indices_become_soft_targets(dtype, label_smoothing):
    arguments = {"num_classes": CLASSES, "label_smoothing": label_smoothing}
    mixed = mix_labels(Y.astype(dtype), **arguments)
    assert_rounded_once(mixed.y, soft_targets(Y, LAM, PARTNER, **arguments))
    np.testing.assert_allclose(mixed.y.sum(axis=1), 1, rtol=1e-6)
    assert mixed.y_partner is None


def test_partners_of_one_class_keep_all_of_it():
    soft = mix_labels(Y, num_classes=CLASSES).y
    for i in [0, 3, 4]:
        assert Y[i] == Y[PARTNER[i]]
        np.testing.assert_array_equal(soft[i], np.eye(CLASSES)[Y[i]])


def test_soft_targets_are_one_hot_where_nothing_is_mixed():
    soft, _ = MixPlan(np.ones(N), PARTNER).apply_labels(Y, num_classes=CLASSES)
    assert_same_bits(soft, np.eye(CLASSES, dtype=np.float32)[Y])
    soft, _ = MixPlan(np.zeros(N), PARTNER).apply_labels(Y, num_classes=CLASSES)
    assert_same_bits(soft, np.eye(CLASSES, dtype=np.float32)[Y[PARTNER]])


@pytest.mark.parametrize("num_classes", [1, 2, 37, 1000])
def test_any_number_of_classes(num_classes):
    y = np.random.default_rng(0).integers(0, num_classes, N)
    exact = soft_targets(y, LAM, PARTNER, num_classes, 0.1)
    assert_rounded_once(mix_labels(y, num_classes=num_classes, label_smoothing=0.1).y, exact)


@pytest.mark.parametrize("dtype", INDEX_DTYPES, ids=lambda dtype: np.dtype(dtype).str)
def test_class_indices_without_num_classes_are_paired_with_their_partners(dtype):
    y = Y.astype(dtype)
    mixed = mix_labels(y)
    assert mixed.y is y
    assert_same_bits(mixed.y_partner, y[PARTNER])
    assert not np.shares_memory(mixed.y_partner, y)
    # The largest index a type can hold needs no class to exist.
    y[0] = np.iinfo(dtype).max
    assert_same_bits(mix_labels(y).y_partner, y[PARTNER])


def test_the_paired_labels_are_what_the_soft_targets_blend():
    """lam * loss(y) + (1 - lam) * loss(y_partner) is the loss of the soft targets."""
    mixed = mix_labels(Y)
    hot = np.eye(CLASSES)
    blended = mixed.lam[:, None] * hot[mixed.y] + (1 - mixed.lam[:, None]) * hot[mixed.y_partner]
    np.testing.assert_allclose(mix_labels(Y, num_classes=CLASSES).y, blended, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_columns_of_0_and_1_are_blended_with_num_classes(dtype):
    for y in (np.eye(CLASSES, dtype=dtype)[Y], (values((N, CLASSES), np.int8) > 0).astype(dtype)):
        mixed = mix_labels(y, num_classes=CLASSES)
        assert_mixed(mixed.y, y.astype(np.float32), LAM, PARTNER)
        assert mixed.y_partner is None


def test_columns_of_several_heads_are_paired():
    y = np.arange(2 * N).reshape(N, 2) % 5
    mixed = mix_labels(y)
    np.testing.assert_array_equal(mixed.y, y)
    np.testing.assert_array_equal(mixed.y_partner, y[PARTNER])


@pytest.mark.parametrize("arguments", [{}, {"num_classes": CLASSES}], ids=str)
def test_booleans_are_several_labels_at_once(arguments):
    y = values((N, CLASSES), np.int8) > 0
    before = bits(y)
    mixed = mix_labels(y, **arguments)
    assert_mixed(mixed.y, y.astype(np.float32), LAM, PARTNER)
    assert mixed.y_partner is None
    assert bits(y) == before


@pytest.mark.parametrize(
    "y",
    [
        values((CLASSES, N), np.float32).T,
        values((2 * N, CLASSES), np.float64)[::-2],
        np.broadcast_to(values((N, 1), np.float32), (N, CLASSES)),
        values((N, 2 * CLASSES), ml_dtypes.bfloat16)[:, ::2],
    ],
    ids=["transposed", "strided, reversed", "broadcast", "every other column"],
)
def test_float_labels_in_any_layout(y):
    assert_mixed(mix_labels(y).y, y, LAM, PARTNER)


def test_class_indices_in_any_layout():
    column = np.repeat(Y[:, None], 3, axis=1)[::-1][::-1, 1]
    assert not column.flags.contiguous
    assert_same_bits(mix_labels(column, num_classes=CLASSES).y, mix_labels(Y, num_classes=CLASSES).y)
    assert_same_bits(mix_labels(column).y_partner, Y[PARTNER])


def test_no_labels_give_none():
    mixed = mix_batch(X, rng=0)
    assert mixed.y is None
    assert mixed.y_partner is None


@pytest.mark.parametrize("y", [np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 4), bool)], ids=lambda y: str(y.dtype))
def test_labels_of_no_samples(y):
    mixed = mix_batch(np.zeros((0, 3), np.float32), y, num_classes=4)
    assert mixed.y.shape == (0, 4)


def test_a_masked_label_is_never_taken_for_a_class():
    """Its mask would be lost."""
    y = np.ma.masked_equal(Y, 0)
    with pytest.raises(TypeError, match="masked"):
        mix_batch(X, y, num_classes=CLASSES)
