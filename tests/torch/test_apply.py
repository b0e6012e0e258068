"""Plans applied to tensors: the CPU path against NumPy, the device path against the CPU path, and gradients."""

import numpy as np
import pytest
import torch
from oracle import inside, mix_plan

from mixup_rs import CutMix, MixPlan
from mixup_rs.torch import apply
from mixup_rs.torch.device import mix_on_device

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16]
PLANS = {
    "mixup": MixPlan([0.3, 1.0, 0.75, 0.0, 0.5], [2, 0, 1, 4, 4]),
    "cutmix, one box": CutMix().plan(5, (6, 7), rng=3),
    "cutmix, a box each": CutMix(mode="elem").plan(5, (6, 7), rng=3),
    "weights and boxes": MixPlan.from_boxes(
        [[0, 0, 6, 7], [0, 0, 0, 0], [1, 2, 4, 7], [2, 2, 3, 3], [0, 3, 5, 4]],
        (6, 7),
        [2, 0, 1, 4, 4],
        [0.3, 1.0, 0.75, 0.0, 0.5],
    ),
}
#: Plans of weights and boxes along one to three axes, given by their numbers.
ALONG = [((6, 7, 5), (1,)), ((6, 7, 5), (-1,)), ((6, 7, 5), (1, 2)), ((6, 7, 5), (-1, -3)), ((6, 7, 5), (2, 3, 1)),
         ((2, 6, 7, 5), None)]  # fmt: skip


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
    got = mix_on_device(plan, x, inplace)
    assert (got is x) == inplace
    # One unit in the last place: an accelerator fuses and rounds in its own way.
    unit = torch.finfo(dtype).eps * 128 if dtype.is_floating_point else 1
    torch.testing.assert_close(got.double(), expected.double(), atol=unit, rtol=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("sample", "axes"), ALONG)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.uint8], ids=str)
@pytest.mark.parametrize("inplace", [False, True])
def test_weights_and_boxes_along_any_axes(dtype, sample, axes, inplace, seed):
    rng, shape = np.random.default_rng(seed), (5, *sample)
    spatial = np.array(shape[-3:] if axes is None else [shape[axis] for axis in axes])
    ends = np.sort(rng.integers(0, spatial + 1, (5, 2, len(spatial))), axis=1)
    weights = rng.choice([0, 1, 0.25, 0.8], 5)
    plan = MixPlan.from_boxes(ends.reshape(5, -1), tuple(spatial), rng.permutation(5), weights)
    x = tensor(dtype, shape)
    expected = torch.from_numpy(plan.apply(x.numpy(), spatial_axes=axes))
    exact = mix_plan(x.numpy().astype(np.float64), plan, axes)
    assert torch.equal(apply(plan, x, spatial_axes=axes), expected)
    on_device = mix_on_device(plan, x.clone(), inplace, axes)
    unit = 100 * torch.finfo(dtype).eps if dtype.is_floating_point else 0.51
    for got in (expected, on_device):
        np.testing.assert_allclose(got.double().numpy(), exact.astype(np.float64), atol=unit, rtol=0)
    cut = inside(plan, shape, axes)
    assert torch.equal(on_device[cut], x[plan.partner][cut])
    kept = torch.from_numpy((weights == 1)[:, None] & ~cut.reshape(5, -1)).view(shape)
    assert torch.equal(on_device[kept], x[kept])


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_no_batch_passes_the_host(plan):
    # A meta tensor has no memory: any copy to the host would raise.
    x = torch.empty(5, 3, 6, 7, device="meta")
    mixed = apply(plan, x)
    assert mixed.device.type == "meta"
    assert mixed.shape == x.shape


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
        (torch.ones(5, 2).to_sparse(), TypeError, r"layout torch.sparse_coo, which cannot be mixed; x.to_dense\(\)"),
        (torch.ones(5, 2).to_sparse_csr(), TypeError, "layout torch.sparse_csr"),
        (torch.nested.nested_tensor([torch.ones(2)] * 5), TypeError, "the tensor is nested.*to_padded_tensor"),
        (torch.nested.nested_tensor([torch.ones(2)] * 5, layout=torch.jagged), TypeError, "the tensor is nested"),
        # Not as floats, which would drop the imaginary part.
        (torch.zeros(5, 2, dtype=torch.complex64), TypeError, r"complex64 .*; mix torch.view_as_real\(x\)$"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
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
