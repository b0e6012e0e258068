"""What is asked of an accelerator, operation by operation, on a device that has no memory to be read from."""

import numpy as np
import pytest
import torch
from device import SHAPE, N, Operations
from torch._subclasses.fake_tensor import FakeTensorMode

from mixup_rs import CutMix, MixPlan
from mixup_rs.torch.apply import _Mix, apply
from mixup_rs.torch.device import mix_on_device

# No sample is its own partner, and no weight is 0 or 1.
PLAIN = MixPlan(np.linspace(0.55, 0.95, N), np.roll(np.arange(N), 1))
# The first keeps to himself, the second has a weight of 1, the third of 0.
SPECIAL = MixPlan([0.7, 1.0, 0.0, *[0.6] * (N - 3)], [0, 2, 1, *range(4, N), 3])
ONE_BOX = CutMix().plan(N, SHAPE[2:], rng=3)
BOXES = CutMix(mode="elem").plan(N, SHAPE[2:], rng=3)
WEIGHTS_AND_BOXES = MixPlan.from_boxes(BOXES.boxes, SHAPE[2:], SPECIAL.partner, SPECIAL.lam)
PLANS = {
    "plain": PLAIN,
    "special weights": SPECIAL,
    "one box": ONE_BOX,
    "boxes": BOXES,
    "weights and boxes": WEIGHTS_AND_BOXES,
}
each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8], ids=str)


def recorded(plan, dtype=torch.float32, inplace=False):
    x = torch.empty(SHAPE, dtype=dtype, device="meta")
    with Operations() as seen:
        mixed = apply(plan, x, inplace=inplace)
    assert mixed.device.type == "meta"
    assert (mixed is x) == inplace
    return seen


def most_sent(plan):
    """A number per sample for partners, weights and each bound of a box, and two for what is copied bit for bit."""
    blends, copied = (plan.weight < 1).any(), np.isin(plan.weight, (0, 1)) | (plan.partner == np.arange(N))
    return N * (1 + blends + 4 * (plan.boxes is not None)) + 2 * copied.sum() * blends


@pytest.mark.parametrize("read", [torch.Tensor.cpu, torch.Tensor.tolist, lambda x: x.sum().item()])
def test_the_recorder_refuses_what_comes_back(read):
    """The proof of the proof: each way to read a tensor is noticed."""
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)), Operations():
        read(torch.empty(SHAPE, device="meta"))


@each_dtype
@each_plan
@pytest.mark.parametrize("inplace", [False, True])
def test_the_plan_is_sent_once_and_nothing_waits_for_it(plan, dtype, inplace):
    sent = recorded(plan, dtype, inplace).sent
    assert [(name, non_blocking) for name, _, non_blocking in sent] == [("_to_copy", True)]
    assert sent[0][1] <= most_sent(plan)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_gather_and_one_blend(dtype, inplace):
    assert recorded(PLAIN, dtype, inplace).of_batch() == ["index_select", "lerp_" if inplace else "lerp"]


@pytest.mark.parametrize(("dtype", "rounds"), [(torch.float16, []), (torch.bfloat16, []), (torch.uint8, ["round_"])])
@pytest.mark.parametrize("inplace", [False, True])
def test_narrow_types_are_cast_to_be_blended_and_back(dtype, rounds, inplace):
    last = "copy_" if inplace else "_to_copy"
    x = torch.empty(SHAPE, dtype=dtype, device="meta")
    with Operations() as seen:
        mix_on_device(PLAIN, x, inplace)
    assert seen.of_batch() == ["index_select", "_to_copy", "_to_copy", "lerp", *rounds, last]


def test_samples_that_are_copied_cost_no_more_than_themselves():
    batch = np.prod(SHAPE)
    made = [(op.name, op.made) for op in recorded(SPECIAL).ops if op.touched >= batch]
    three = ("index_select", 3 * np.prod(SHAPE[1:]))
    # index_copy_ returns the batch, but writes only three samples.
    assert made == [("index_select", batch), three, ("lerp", batch), ("index_copy_", batch)]


def test_a_blend_and_boxes_take_one_gather():
    names = recorded(WEIGHTS_AND_BOXES).of_batch()
    assert (names.count("index_select"), names.count("lerp"), names.count("where")) == (
        2,
        1,
        1,
    )  # one is of three samples
    copied = [op.made for op in recorded(WEIGHTS_AND_BOXES).ops if op.name == "index_select"]
    assert copied == [np.prod(SHAPE), 3 * np.prod(SHAPE[1:])]


def test_integers_need_no_copies():
    assert "index_copy_" not in recorded(SPECIAL, torch.uint8).of_batch()


def test_one_box_reads_and_writes_no_more_than_itself():
    """The batch is copied once where it must be kept; in place only the box is touched."""
    y0, x0, y1, x1 = ONE_BOX.boxes[0]
    box = N * 3 * (y1 - y0) * (x1 - x0)
    assert box < np.prod(SHAPE)
    assert recorded(ONE_BOX).of_batch() == ["clone"]
    seen = recorded(ONE_BOX, inplace=True)
    assert seen.of_batch() == []
    assert [op.name for op in seen.ops if op.made == box] == ["index_select", "copy_"]


@each_plan
def test_the_backward_pass_stays_on_the_device(plan):
    grad = torch.empty(SHAPE, device="meta")
    x = torch.empty(SHAPE, device="meta", requires_grad=True)
    with Operations() as seen:
        _Mix.apply(x, plan, None).backward(grad)
    assert x.grad.device.type == "meta"
    assert len(seen.sent) == 2
    assert all(non_blocking and size <= most_sent(plan) for _, size, non_blocking in seen.sent)


@each_dtype
@each_plan
def test_cuda_as_torch_imitates_it(plan, dtype, monkeypatch):
    """Fake tensors say "cuda" where there is none: what travels is pinned first, and all results lie there."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (pinned.append(self.numel()), self)[1])
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(SHAPE, dtype=dtype, device="cuda")
        with Operations("cuda") as seen:
            mixed = apply(plan, x)
    assert mixed.device.type == "cuda"
    assert (mixed.dtype, mixed.shape) == (dtype, x.shape)
    assert [(name, non_blocking) for name, _, non_blocking in seen.sent] == [("_to_copy", True)]
    assert pinned == [seen.sent[0][1]]
