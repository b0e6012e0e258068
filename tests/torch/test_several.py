"""Weighted means of several samples: tensors on the CPU, under autograd and on a device, and the collate."""

import numpy as np
import pytest
import torch
from device import SHAPE, N, Operations
from torch.utils.data import DataLoader

from mixup_rs import MixPlan, Mixup
from mixup_rs.torch import MixCollate, apply
from mixup_rs.torch.apply import apply_labels, as_numpy
from mixup_rs.torch.device import mix_on_device, send_pairs

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16]
PLAN = Mixup(1.0, k=4, fold=False).plan(N, rng=1)
# A weight of 1 for each place, none, and between.
EDGES = MixPlan.from_weights(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    [[1, 2], [2, 3], [3, 4], [4, 5], [5, 0], [1, 1]],
)


def batch(dtype, shape=(N, 3, 5, 7)):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return (x * 40).to(dtype) if dtype.is_floating_point else (x * 40).abs().clamp(0, 127).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_is_mixed_as_its_array_is(dtype):
    x = batch(dtype)
    mixed = apply(PLAN, x)
    assert mixed.dtype == dtype
    assert (
        torch.equal(mixed, torch.from_numpy(PLAN.apply(x.float().numpy())).to(dtype))
        or dtype == torch.float64
        or (not dtype.is_floating_point)
    )
    assert as_numpy(mixed).tobytes() == PLAN.apply(as_numpy(x)).tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("plan", [PLAN, EDGES], ids=["drawn", "edges"])
def test_the_operations_of_a_device_give_nearly_the_same(dtype, plan):
    x = batch(dtype, (len(plan), 3, 5))
    there, here = mix_on_device(plan, x, False).double(), apply(plan, x).double()
    ulp = {torch.float64: 1e-14, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
    assert (there - here).abs().max() <= ulp.get(dtype, 0.02) * 200


def test_what_has_no_weight_does_not_leak_on_a_device():
    x = torch.tensor([torch.nan, 1.0, 2.0, torch.inf, torch.inf, torch.nan])
    expected = [torch.nan, 2.0, torch.inf, torch.nan, torch.nan, torch.nan]
    for mixed in (mix_on_device(EDGES, x, False), apply(EDGES, x)):
        torch.testing.assert_close(mixed, torch.tensor(expected), equal_nan=True)
    y = x.clone()[[1, 0, 2, 3, 4, 5]]  # the NaN has no weight in the first
    assert mix_on_device(EDGES, y, False)[0] == apply(EDGES, y)[0] == 1


def test_a_device_gets_one_transfer_and_gives_nothing_back():
    with Operations() as seen:
        mixed = apply(PLAN, torch.empty(SHAPE, device="meta"))
    assert (mixed.device.type, mixed.shape) == ("meta", SHAPE)
    assert len(seen.sent) == 1


def test_gradients_are_the_transpose_of_the_mix():
    weights = np.zeros((N, N))
    for i, (row, partner) in enumerate(zip(PLAN.weights, PLAN.partner, strict=True)):
        np.add.at(weights[i], [i, *partner], row)
    x = batch(torch.float64).requires_grad_()
    grad = batch(torch.float64, tuple(x.shape)) + 1
    apply(PLAN, x).backward(grad)
    expected = np.tensordot(weights.T, grad.numpy(), 1)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(lambda x: apply(PLAN, x), batch(torch.float64, (N, 2)).requires_grad_())
    tangent = torch.func.jvp(lambda x: apply(PLAN, x), (x.detach(),), (grad,))[1]
    torch.testing.assert_close(tangent, apply(PLAN, grad))


def test_in_place():
    for dtype in (torch.float32, torch.float16, torch.uint8):
        x = batch(dtype)
        for mix in (apply, mix_on_device):
            mixed = x.clone()
            assert mix(PLAN, mixed, inplace=True) is mixed
            assert torch.equal(mixed, mix(PLAN, x, inplace=False))
    x = torch.empty(SHAPE, device="meta")
    assert apply(PLAN, x, inplace=True) is x


def test_labels():
    y = torch.arange(N) % 5
    soft, nothing = apply_labels(PLAN, y, 5)
    assert nothing is None
    np.testing.assert_array_equal(soft.numpy(), PLAN.apply_labels(y.numpy(), 5)[0])
    with pytest.raises(ValueError, match=r"pair.*4 samples.*num_classes"):
        apply_labels(PLAN, y)
    partner, lam = send_pairs(PLAN, torch.device("meta"))
    assert (partner.shape, lam.shape) == ((N, 3), (N,))


SAMPLES = [(torch.from_numpy(np.random.default_rng(i).random((3, 8, 8), np.float32)), i % 3) for i in range(12)]
IMAGES, CLASSES = torch.stack([x for x, _ in SAMPLES]), np.array([y for _, y in SAMPLES])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_gives_mixed_batches(workers):
    loader = DataLoader(
        SAMPLES,
        batch_size=12,
        collate_fn=MixCollate(Mixup(1.0, k=3), num_classes=3, rng=1, return_plan=True),
        num_workers=workers,
    )
    (images, targets), plan = next(iter(loader))
    assert plan.k == 3
    assert torch.equal(images, apply(plan, IMAGES))
    np.testing.assert_array_equal(targets.numpy(), plan.apply_labels(CLASSES, num_classes=3)[0])


def test_bytes_are_normalised_in_the_collate():
    samples = [((x * 255).to(torch.uint8), y) for x, y in SAMPLES]
    normalize = ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    for dtype in (torch.float32, torch.float16):
        collate = MixCollate(Mixup(1.0, k=3), num_classes=3, rng=1, normalize=normalize, dtype=dtype, return_plan=True)
        (images, _), plan = collate(samples)
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in normalize)
        expected = apply(plan, (torch.stack([x for x, _ in samples]) / 255 - mean) / std)
        assert images.dtype == dtype
        torch.testing.assert_close(images.float(), expected, atol=1e-5 if dtype == torch.float32 else 4e-3, rtol=0)


def test_class_indices_need_num_classes():
    with pytest.raises(ValueError, match=r"entry 1 .*pair.*3 samples.*num_classes"):
        MixCollate(Mixup(k=3), rng=1)(SAMPLES)
    with pytest.raises(ValueError, match=r"pair.*3 samples"):
        MixCollate(Mixup(k=3, mode="batch"), rng=1, num_classes=3, pair=True)(SAMPLES)


def test_a_batch_of_none_stays_one():
    x = torch.zeros(0, 3, requires_grad=True)
    assert apply(Mixup(k=3).plan(0, rng=1), x).shape == (0, 3)
