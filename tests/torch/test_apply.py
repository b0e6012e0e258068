"""Plans applied to tensors: the CPU path against NumPy, the device path against the CPU path, and gradients."""

import numpy as np
import pytest
import torch

from mixup_rs import CutMix, MixPlan
from mixup_rs.torch import apply
from mixup_rs.torch.device import cut_on_device, mix_on_device

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16]
PLANS = {
    "mixup": MixPlan([0.3, 1.0, 0.75, 0.0, 0.5], [2, 0, 1, 4, 4]),
    "cutmix, one box": CutMix().plan(5, (6, 7), rng=3),
    "cutmix, a box each": CutMix(mode="elem").plan(5, (6, 7), rng=3),
}


def tensor(dtype=torch.float32, shape=(5, 3, 6, 7)):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_is_mixed_as_its_array_is(dtype, plan):
    x = tensor(dtype)
    before = x.clone()
    mixed = apply(plan, x)
    assert torch.equal(x, before)
    assert mixed.dtype == dtype
    if dtype != torch.bfloat16:
        assert torch.equal(mixed, torch.from_numpy(plan.apply(x.numpy())))
    assert apply(plan, x, inplace=True) is x
    assert torch.equal(x, mixed)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("inplace", [False, True])
def test_the_path_of_accelerators_agrees_with_the_kernel(dtype, plan, inplace):
    x = tensor(dtype)
    expected = apply(plan, x)
    on_device = mix_on_device if plan.boxes is None else cut_on_device
    got = on_device(plan, x, inplace)
    assert (got is x) == inplace
    # One unit in the last place: an accelerator fuses and rounds in its own way.
    unit = torch.finfo(dtype).eps * 128 if dtype.is_floating_point else 1
    torch.testing.assert_close(got.double(), expected.double(), atol=unit, rtol=0)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_no_batch_passes_the_host(plan):
    # A meta tensor has no memory: any copy to the host would raise.
    x = torch.empty(5, 3, 6, 7, device="meta")
    mixed = apply(plan, x)
    assert mixed.device.type == "meta"
    assert mixed.shape == x.shape


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_gradients_flow_back_to_both(plan):
    x = tensor(torch.float64, (5, 2, 6, 7)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: apply(plan, x), x)
    assert torch.autograd.gradgradcheck(lambda x: apply(plan, x), x)


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided", "expanded"])
def test_any_layout(layout):
    x = {
        "channels_last": lambda: tensor().to(memory_format=torch.channels_last),
        "transposed": lambda: tensor().transpose(1, 3),
        "strided": lambda: tensor(shape=(5, 3, 12, 7))[:, :, ::2],
        "expanded": lambda: tensor()[:, :1].expand(5, 3, 6, 7),
    }[layout]()
    plan = PLANS["mixup"]
    mixed = apply(plan, x)
    torch.testing.assert_close(mixed, torch.from_numpy(plan.apply(x.contiguous().numpy())))
    if layout == "channels_last":
        assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_subclasses_keep_type_and_attributes():
    class Image(torch.Tensor):
        pass

    x = tensor().as_subclass(Image)
    x.source = "here"
    mixed = apply(PLANS["mixup"], x)
    assert type(mixed) is Image
    assert mixed.source == "here"


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(5, dtype=torch.int64), TypeError, "embeddings"),
        (torch.zeros(()), TypeError, "shape"),
        (np.zeros(5), TypeError, "ndarray"),
        (torch.zeros(4, 2), ValueError, "5 samples"),
    ],
)
def test_what_cannot_be_mixed_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        apply(PLANS["mixup"], x)


def test_masks_are_cut_whatever_their_dtype():
    plan = PLANS["cutmix, a box each"]
    x = tensor(torch.int64)
    assert torch.equal(apply(plan, x).double(), apply(plan, x.double()))


def test_a_leaf_that_needs_a_gradient_is_not_overwritten():
    with pytest.raises(ValueError, match="in place"):
        apply(PLANS["mixup"], tensor().requires_grad_(), inplace=True)


def test_autograd_notices_a_write_in_place():
    x, weight = tensor(), torch.ones(5, 3, 6, 7, requires_grad=True)
    total = (x * weight).sum()
    apply(PLANS["mixup"], x, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_path_of_accelerators_copies_bit_for_bit(dtype):
    x = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")], [60000, -60000], [-60000, 60000]], dtype=dtype)
    plan = MixPlan([1.0, 0.7, 0.0, 0.5], [1, 1, 0, 2])
    mixed = mix_on_device(plan, x, inplace=False)
    assert torch.equal(mixed[0], x[0])
    assert torch.equal(mixed[1:2].view(torch.uint8), x[1:2].view(torch.uint8))
    assert torch.equal(mixed[2], x[0])
    assert torch.equal(mixed[3], torch.zeros(2, dtype=dtype))
