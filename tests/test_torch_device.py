"""What is asked of an accelerator, operation by operation, on a device that has no memory to be read from."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from fastai.vision.all import TensorCategory, TensorImage
from learners import learner
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mixup_rs import MixPlan
from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.torch import _Mix, _mix_on_device, apply

N, SHAPE = 16, (16, 3, 20, 24)
# Nobody is his own partner and no weight is 0 or 1.
PLAIN = MixPlan(np.linspace(0.55, 0.95, N), np.roll(np.arange(N), 1))
# The first keeps to himself, the second has a weight of 1, the third of 0.
SPECIAL = MixPlan([0.7, 1.0, 0.0, *[0.6] * (N - 3)], [0, 2, 1, *range(4, N), 3])
ONE_BOX = MixPlan.cutmix(N, *SHAPE[2:], rng=3)
BOXES = MixPlan.cutmix(N, *SHAPE[2:], mode="elem", rng=3)
PLANS = {"plain": PLAIN, "special weights": SPECIAL, "one box": ONE_BOX, "boxes": BOXES}
each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8], ids=str)

# Ops that look at a tensor in another way and touch none of its memory.
VIEWS = "view slice select unsqueeze expand as_strided detach alias split split_with_sizes unbind t".split()


class Operation(NamedTuple):
    name: str
    touched: int  # elements of its largest tensor
    made: int  # elements of its result


class Operations(TorchDispatchMode):
    """Records every operation that a device is given, and refuses those by which a tensor comes back to the host."""

    def __init__(self, device="meta"):
        super().__init__()
        self.device, self.ops, self.sent = device, [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        came = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        result = func(*args, **kwargs)
        gone = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        here, there = (any(t.device.type == self.device for t in side) for side in (came, gone))
        if here and name != "device":  # which fake tensors are asked for
            assert there, f"{name} brought a tensor of {[tuple(t.shape) for t in came]} back to the host"
        if here and there and name not in VIEWS:
            self.ops.append(Operation(name, max(t.numel() for t in came + gone), gone[0].numel()))
        if there and not here and came:
            self.sent.append((name, came[0].numel(), kwargs.get("non_blocking", False)))
        if there and not came:
            self.ops.append(Operation(name, gone[0].numel(), gone[0].numel()))
        return result

    def of_batch(self, shape=SHAPE):
        """The names of the operations on tensors as large as the batch, in order."""
        return [op.name for op in self.ops if op.touched >= np.prod(shape)]


def recorded(plan, dtype=torch.float32, inplace=False):
    x = torch.empty(SHAPE, dtype=dtype, device="meta")
    with Operations() as seen:
        mixed = apply(plan, x, inplace=inplace)
    assert mixed.device.type == "meta"
    assert (mixed is x) == inplace
    return seen


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
    assert sent[0][1] <= 5 * N


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
        _mix_on_device(PLAIN, x, inplace)
    assert seen.of_batch() == ["index_select", "_to_copy", "_to_copy", "lerp", *rounds, last]


def test_samples_that_are_copied_cost_no_more_than_themselves():
    batch = np.prod(SHAPE)
    made = [(op.name, op.made) for op in recorded(SPECIAL).ops if op.touched >= batch]
    three = ("index_select", 3 * np.prod(SHAPE[1:]))
    # index_copy_ answers with the batch, of which it writes the three samples.
    assert made == [("index_select", batch), three, ("lerp", batch), ("index_copy_", batch)]


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
        _Mix.apply(x, plan).backward(grad)
    assert x.grad.device.type == "meta"
    assert len(seen.sent) == 2
    assert all(non_blocking and size <= 5 * N for _, size, non_blocking in seen.sent)


def device_learner(callback, device="meta"):
    """A learner with a batch on the device, made before anything is recorded."""
    learn = learner(callback)
    learn.epoch, learn.iter, learn.training = 0, 0, True
    x, y = torch.empty(SHAPE, device=device), torch.empty(N, dtype=torch.int64, device=device)
    learn.xb, learn.yb = (x.as_subclass(TensorImage),), (y.as_subclass(TensorCategory),)
    return learn, next(cb for cb in learn.cbs if isinstance(cb, type(callback)))


@pytest.mark.parametrize(
    ("callback", "rng"),
    [(RustMixUp, None), (RustMixUp, 3), (RustMixUp, "torch"), (RustCutMix, None), (RustCutMix, 3), (RustMix, 3)],
)
def test_a_callback_draws_on_the_host_and_sends_little(callback, rng):
    learn, mixing = device_learner(callback(rng=rng))
    with Operations() as seen:
        mixing("before_batch")
    assert learn.x.device.type == learn.y.device.type == "meta"
    assert type(learn.x) is TensorImage
    assert len(seen.sent) == 1
    assert all(non_blocking and size <= 5 * N for _, size, non_blocking in seen.sent)
    drawn = ("rand", "sample", "beta", "gamma", "dirichlet", "uniform")
    assert not any(word in op.name for op in seen.ops for word in drawn)


def test_weights_and_partners_go_to_the_loss_together_once_a_batch():
    _, mixing = device_learner(RustMixUp(rng=3))
    mixing("before_batch")
    with Operations() as seen:
        for _ in range(3):  # the loss, and two metrics
            assert mixing.lam.device.type == "meta"
            assert mixing.yb1[0].device.type == "meta"
    assert seen.sent == [("_to_copy", 2 * N, True)]
    mixing("before_batch")
    with Operations() as seen:
        assert mixing.lam.shape == (N,)
    assert len(seen.sent) == 1


def test_a_step_of_training_never_waits_for_the_device():
    """The whole of before_batch, the model, the loss and the backward pass, with no operation that reads a value."""
    learn, mixing = device_learner(RustMixUp(rng=3))
    model = learn.model.to("meta")
    with Operations() as seen:
        mixing("before_batch")
        learn.pred = model(learn.x.as_subclass(torch.Tensor))
        mixing("after_pred")
        mixing("after_loss")
        learn.loss_grad.backward()
    assert learn.loss.device.type == "meta"
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert sum(size for _, size, _ in seen.sent) <= 8 * N
    assert len(seen.sent) == 2


def test_a_hidden_layer_on_a_device():
    learn, mixing = device_learner(RustManifoldMixUp(rng=3))
    mixing.layer = learn.model.to("meta")[4]
    mixing("before_batch")
    with Operations() as seen:
        learn.model(learn.x.as_subclass(torch.Tensor))
    assert len(seen.sent) == 1
    assert seen.sent[0][2]


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
