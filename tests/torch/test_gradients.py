"""Derivatives of plans, of weights and regions both, against the dense matrix of each."""

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from mixup_rs import CutMix, MixPlan, Mixup, OneOf
from mixup_rs.torch import apply
from mixup_rs.torch.batch import mix_inputs

N = 4
WEIGHTS, PARTNERS = [0.3, 1.0, 0.75, 0.0], [2, 0, 1, 1]
# One box of each kind: within, none, the whole, empty.
SPAN = MixPlan.from_boxes([[1, 3], [0, 0], [0, 5], [2, 2]], (5,), PARTNERS, WEIGHTS)
RECTANGLE = MixPlan.from_boxes([[0, 1, 2, 3], [1, 1, 3, 2], [0] * 4, [0, 0, 3, 4]], (3, 4), PARTNERS, WEIGHTS)
CUBOID = MixPlan.from_boxes([[0, 1, 0, 2, 2, 2], [1, 0, 0, 2, 3, 1], [0] * 6, [0] * 6], (2, 3, 2), PARTNERS, WEIGHTS)
CASES = {
    "weights": (MixPlan(WEIGHTS, PARTNERS), (N, 3), None),
    "mixup": (Mixup(mode="elem").plan(N, rng=1), (N, 2, 2), None),
    "cutmix": (CutMix(mode="elem").plan(N, (3, 4), rng=3), (N, 2, 3, 4), None),
    "one of": (OneOf([Mixup(), CutMix()], mode="elem").plan(N, (3, 4), rng=5), (N, 2, 3, 4), None),
    "span": (SPAN, (N, 2, 5), None),
    "span, along the first axis": (SPAN, (N, 5, 2), (1,)),
    "rectangle": (RECTANGLE, (N, 2, 3, 4), None),
    "rectangle, channels last": (RECTANGLE, (N, 3, 4, 2), (1, 2)),
    "rectangle, axes exchanged": (RECTANGLE, (N, 4, 3), (-1, -2)),
    "cuboid": (CUBOID, (N, 2, 3, 2), None),
    "cuboid, channels last": (CUBOID, (N, 2, 3, 2, 2), (1, 2, 3)),
}
each_case = pytest.mark.parametrize(("plan", "shape", "axes"), CASES.values(), ids=CASES)


def matrix(plan, shape, axes):
    """The matrix of the mix: a row for each element of the result, written from the definition, element by element."""
    size, boxes = int(np.prod(shape)), plan.boxes
    d = len(plan.spatial_shape or ())
    axes = range(len(shape) - d, len(shape)) if axes is None else axes
    result = np.zeros((size, size))
    for row, at in enumerate(np.ndindex(*shape)):
        i, rest = at[0], at[1:]
        partner = np.ravel_multi_index((plan.partner[i], *rest), shape)
        along = [] if boxes is None else zip(boxes[i, :d], boxes[i, d:], axes, strict=True)
        if boxes is not None and all(start <= at[axis] < end for start, end, axis in along):
            result[row, partner] = 1
        else:
            result[row, row] += plan.weight[i]
            result[row, partner] += 1 - plan.weight[i]
    return torch.from_numpy(result)


def values(shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@each_case
def test_the_mix_and_its_gradient_are_those_of_the_matrix(plan, shape, axes):
    dense, x, grad = matrix(plan, shape, axes), values(shape).requires_grad_(), values(shape, 1)
    mixed = apply(plan, x, spatial_axes=axes)
    torch.testing.assert_close(mixed.detach().reshape(-1), dense @ x.detach().reshape(-1))
    (got,) = torch.autograd.grad(mixed, x, grad)
    torch.testing.assert_close(got.reshape(-1), dense.T @ grad.reshape(-1))


@each_case
def test_forward_mode_and_torch_func(plan, shape, axes):
    dense, x, other = matrix(plan, shape, axes), values(shape), values(shape, 1)
    along, back = (dense @ other.reshape(-1)).view(shape), (dense.T @ other.reshape(-1)).view(shape)

    def mix(x):
        return apply(plan, x, spatial_axes=axes)

    value, tangent = torch.func.jvp(mix, (x,), (other,))
    torch.testing.assert_close(value, mix(x))
    torch.testing.assert_close(tangent, along)
    with forward_ad.dual_level():
        mixed = forward_ad.unpack_dual(mix(forward_ad.make_dual(x, other)))
    torch.testing.assert_close(mixed.tangent, along)
    torch.testing.assert_close(torch.func.grad(lambda x: (mix(x) * other).sum())(x), back)
    torch.testing.assert_close(torch.func.vjp(mix, x)[1](other)[0], back)
    torch.testing.assert_close(torch.func.jacrev(mix)(x).view(dense.shape), dense)
    torch.testing.assert_close(torch.func.jacfwd(mix)(x).view(dense.shape), dense)
    batches = torch.stack([x, other])
    torch.testing.assert_close(torch.func.vmap(mix)(batches), torch.stack([mix(x), mix(other)]))


def test_second_derivatives():
    plan, shape, axes = CASES["rectangle"]
    dense, x = matrix(plan, shape, axes), values(shape)
    hessian = torch.func.hessian(lambda x: (apply(plan, x) ** 3).sum())(x).view(dense.shape)
    torch.testing.assert_close(hessian, dense.T @ torch.diag(6 * (dense @ x.view(-1))) @ dense)


SMALL = {
    "weights": CASES["weights"],
    "span": (SPAN, (N, 5), None),
    "one box": (CutMix().plan(N, (2, 3), rng=3), (N, 2, 3), None),
    "a box each": (CutMix(mode="elem").plan(N, (2, 3), rng=3), (N, 2, 3), None),
}


@pytest.mark.parametrize(("plan", "shape", "axes"), SMALL.values(), ids=SMALL)
def test_gradients_as_torch_checks_them(plan, shape, axes):
    x = values(shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: apply(plan, x, spatial_axes=axes), x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: apply(plan, x, spatial_axes=axes), x)


def test_functionalize():
    plan, shape, _ = CASES["weights"]
    x = values(shape)
    torch.testing.assert_close(torch.func.functionalize(lambda x: apply(plan, x))(x), apply(plan, x))


def test_what_is_differentiated_is_not_overwritten():
    plan, shape, _ = CASES["weights"]
    x = values(shape)
    before = x.clone()
    with pytest.raises(ValueError, match="in place"):
        torch.func.grad(lambda x: apply(plan, x, inplace=True).sum())(x)
    with forward_ad.dual_level(), pytest.raises(ValueError, match="in place"):
        apply(plan, forward_ad.make_dual(x, x.clone()), inplace=True)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["weights", "rectangle"])
def test_compiled_code_mixes_between_its_graphs(name):
    plan, shape, _ = CASES[name]
    graphs = []

    def backend(module, _):
        graphs.append(module)
        return module

    @torch.compile(backend=backend)
    def compiled(plan, x):
        return apply(plan, x * 3) * 2

    other = MixPlan.identity(N)
    for seed, drawn in enumerate([plan, plan, other]):
        x = values(shape, seed).requires_grad_()
        result = compiled(drawn, x)
        dense = matrix(drawn, shape, None)
        torch.testing.assert_close(result.detach().view(-1), 6 * dense @ x.detach().view(-1))
        result.sum().backward()
        torch.testing.assert_close(x.grad.view(-1), 6 * dense.sum(0))
    assert len(graphs) >= 2


@pytest.mark.parametrize("call", [apply, mix_inputs])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_one_graph_is_refused_with_a_sentence(call, dtype, requires_grad):
    plan = CutMix().plan(N, (3, 4), rng=3)
    x = torch.zeros(N, 2, 3, 4, dtype=dtype)
    if requires_grad and dtype == torch.float32:
        x.requires_grad_()
    compiled = torch.compile(lambda x: call(plan, (x, x.float()) if call is mix_inputs else x), fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="compile without fullgraph=True, or mix before"):
        compiled(x)
