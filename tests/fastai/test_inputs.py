"""What a batch may be made of: subclasses, gradients, bytes, one sample; and how a batch of none is refused."""

import numpy as np
import pytest
import torch
from fastai.vision.all import TensorBBox, TensorCategory, TensorImage, TensorMask
from learners import EitherMix, digits, learner
from torch import nn
from torchvision import tv_tensors

from mixup_rs import CutMix, MixPlan, Mixup
from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMixUp
from mixup_rs.torch import apply

CALLBACKS = [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp]
OF_INPUTS = [RustMixUp, RustCutMix, EitherMix]
PLAN = MixPlan([0.7, 0.9, 0.6], [1, 2, 0])
BOX = CutMix().plan(3, (4, 5), rng=1)


def plain(x):
    return x.as_subclass(torch.Tensor)


def mixed_batch(callback, x, y=None):
    """The callback, and the learner once a batch has gone through `before_batch`."""
    learn = learner(callback)
    learn.epoch, learn.iter, learn.training = 0, 0, True
    learn.xb, learn.yb = (x,), (torch.zeros(len(x), dtype=torch.int64) if y is None else y,)
    callback("before_batch")
    return learn


@pytest.mark.parametrize("kind", [TensorImage, tv_tensors.Image, tv_tensors.Video])
@pytest.mark.parametrize("plan", [PLAN, BOX], ids=["mixup", "cutmix"])
def test_image_types_stay(kind, plan):
    x = torch.rand(3, 2, 4, 5)
    mixed = apply(plan, x.as_subclass(kind))
    assert type(mixed) is kind
    assert torch.equal(plain(mixed), apply(plan, x))


@pytest.mark.parametrize("kind", [TensorMask, tv_tensors.Mask])
def test_mask_types_stay(kind):
    x = torch.arange(60).view(3, 4, 5)
    mixed = apply(BOX, x.as_subclass(kind))
    assert type(mixed) is kind
    assert torch.equal(plain(mixed), apply(BOX, x))


@pytest.mark.parametrize("inplace", [False, True])
def test_metadata_stays(inplace):
    x = torch.rand(3, 4).as_subclass(TensorImage)
    x.img_size, x.files = (4, 5), ["a", "b", "c"]
    boxes = tv_tensors.BoundingBoxes(torch.rand(3, 4), format="XYXY", canvas_size=(9, 9))
    mixed, mixed_boxes = apply(PLAN, x, inplace=inplace), apply(PLAN, boxes, inplace=inplace)
    assert (mixed.img_size, mixed.files) == ((4, 5), ["a", "b", "c"])
    assert (mixed_boxes.format, mixed_boxes.canvas_size) == (tv_tensors.BoundingBoxFormat.XYXY, (9, 9))
    assert mixed.__dict__ is not x.__dict__ or inplace


@pytest.mark.parametrize("callback", OF_INPUTS)
def test_both_types_of_a_batch_stay(callback):
    images, classes = digits()
    mixing = callback(rng=1)
    learn = mixed_batch(mixing, images[:8].as_subclass(TensorImage), classes[:8].as_subclass(TensorCategory))
    assert (type(learn.x), type(learn.y), type(mixing.yb1[0])) == (TensorImage, TensorCategory, TensorCategory)


@pytest.mark.parametrize("callback", OF_INPUTS)
def test_gradients_reach_the_inputs(callback):
    x = digits()[0][:8].clone().requires_grad_()
    mixing = callback(rng=1)
    learn = mixed_batch(mixing, x)
    assert learn.x.requires_grad
    weight = torch.rand_like(x)
    (learn.x * weight).sum().backward()
    (expected,) = torch.autograd.grad((apply(mixing.plan, x.double()) * weight.double()).sum(), x)
    torch.testing.assert_close(x.grad, expected)


def test_an_input_that_needs_a_gradient_is_not_overwritten():
    x = digits()[0][:8].clone().requires_grad_()
    with pytest.raises(ValueError, match="in place"):
        mixed_batch(RustMixUp(inplace=True), x)


def test_a_parameter_is_mixed_to_a_tensor_with_its_gradient():
    weight = nn.Parameter(torch.rand(3, 4))
    mixed = apply(PLAN, weight)
    assert type(mixed) is torch.Tensor
    mixed.sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("callback", OF_INPUTS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16])
def test_integers_are_mixed_to_the_nearest(callback, dtype):
    x = (digits()[0][:8] * 100).to(dtype)
    mixing = callback(rng=2)
    learn = mixed_batch(mixing, x)
    assert learn.x.dtype == dtype
    assert not torch.equal(learn.x, x)
    # A CutMix copies, so that this is exact then.
    assert (learn.x.double() - apply(mixing.plan, x.double())).abs().max() <= 0.5 + 1 / 128


@pytest.mark.parametrize("callback", OF_INPUTS)
def test_one_sample_is_its_own_partner(callback):
    x = digits()[0][:1]
    mixing = callback(rng=1)
    learn = mixed_batch(mixing, x)
    assert torch.equal(learn.x, x)
    assert mixing.yb1[0].tolist() == learn.y.tolist() == [0]
    learn.pred = torch.rand(1, 10)
    torch.testing.assert_close(mixing.lf(learn.pred, learn.y), learn.loss_func(learn.pred, learn.y))


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("x", [torch.zeros(0, 3, 8, 8), torch.tensor(1.0)], ids=["no sample", "no batch axis"])
def test_a_batch_of_none_is_refused(callback, x):
    with pytest.raises(ValueError, match=r"at least one sample, got an input of shape \("):
        mixed_batch(callback(), x, torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_batch_without_tensors_is_refused(callback):
    mixing = callback()
    learn = learner(mixing)
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, ("text",), ()
    with pytest.raises(TypeError, match=r"batch of tensors, got \('text',\)"):
        mixing("before_batch")


def test_a_plan_of_no_samples_mixes_a_tensor_of_none():
    for dtype in (torch.float32, torch.bfloat16, torch.uint8):
        assert apply(Mixup().plan(0), torch.zeros(0, 3, dtype=dtype)).shape == (0, 3)
        assert apply(Mixup().plan(0), torch.zeros(0, 3, dtype=dtype, device="meta")).shape == (0, 3)
    apply(Mixup().plan(0), x := torch.zeros(0, 3, requires_grad=True)).sum().backward()
    assert x.grad.shape == (0, 3)


def test_a_nest_is_mixed_where_it_can_be():
    """Inputs and targets of tuples in lists and dicts: floats are blended, indices stay, the shape of the nest too."""
    n = 8
    images, classes = digits()
    tokens, columns = torch.arange(n * 3).view(n, 3), torch.rand(n, 2).half()
    tags, number = torch.rand(n, 4) > 0.5, torch.rand(n, dtype=torch.float64)
    mixing = RustMixUp(rng=1)
    learn = learner(mixing)
    learn.epoch, learn.iter, learn.training = 0, 0, True
    learn.xb = ({"image": images[:n], "rest": [tokens, (columns, "name")]}, tokens)
    learn.yb = (classes[:n], (tags, [number, tokens]))
    mixing("before_batch")
    plan, (x, second) = mixing.plan, learn.xb
    assert torch.equal(x["image"], apply(plan, images[:n]))
    assert x["rest"][0] is tokens
    assert second is tokens
    assert torch.equal(x["rest"][1][0], apply(plan, columns))
    assert x["rest"][1][1] == "name"
    # One that cannot be blended keeps the others: each of the two losses has its own targets.
    own, (own_tags, [own_number, kept]) = learn.yb
    assert own.equal(classes[:n])
    assert kept is tokens
    assert own_tags is tags
    assert own_number is number
    for others in (mixing.yb1, mixing.partners_of(learn.yb)):
        other, (other_tags, [other_number, other_tokens]) = others
        assert torch.equal(other, classes[:n][plan.partner])
        assert torch.equal(other_tags, tags[plan.partner])
        assert torch.equal(other_number, number[plan.partner])
        assert torch.equal(other_tokens, tokens[plan.partner])
    assert mixing.stack_y


def test_a_batch_without_targets_is_mixed():
    mixing = RustMixUp(rng=1)
    learn = learner(mixing)
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (digits()[0][:8],), ()
    mixing("before_batch")
    mixing("after_pred")
    assert torch.equal(learn.x, apply(mixing.plan, digits()[0][:8]))
    assert learn.yb == ()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.arange(16), r"row for each of the 8 samples, got the shape \(16,\)"),  # CTC's, one after the other
        (torch.arange(4), r"\(4,\)"),
        (torch.rand(16), r"\(16,\)"),
        (torch.tensor(3), r"\(\)"),
        ([torch.arange(3) for _ in range(8)], r"\(3,\)"),  # one tensor a sample
        (list(range(8)), "must be a tensor with a row for each sample, got int: 0"),
        (tuple("abcdefgh"), "got str: 'a'"),
        (np.arange(8), r"got ndarray: array\(\["),
        ({"weight": 0.5}, "got float: 0.5"),
    ],
    ids=["longer", "shorter", "floats", "a number", "of each sample", "ints", "strings", "NumPy's", "one number"],
)
@pytest.mark.parametrize("make", [*CALLBACKS, lambda: RustMixUp(rng="torch")])
def test_targets_that_are_not_those_of_the_samples_are_refused(make, target, message):
    """They would stay as they are beside images that are mixed."""
    for yb in ((target,), (None, target), (digits()[1][:8], {"more": target})):
        mixing = make()
        learn = learner(mixing)
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (digits()[0][:8],), yb
        with pytest.raises((TypeError, ValueError), match=message):
            mixing("before_batch")


@pytest.mark.parametrize("kind", [torch.Tensor, TensorBBox])
def test_boxes_as_targets_are_refused(kind):
    boxes = torch.rand(8, 3, 4).as_subclass(kind)
    for callback in (RustMixUp, RustCutMix):
        with pytest.raises(TypeError, match="cannot be averaged"):
            mixed_batch(callback(rng=1), digits()[0][:8], boxes)
    mixed_batch(RustMixUp(rng=1), digits()[0][:8], torch.rand(8, 3, 4, 1))


@pytest.mark.parametrize("make", CALLBACKS)
def test_floats_in_the_shape_of_boxes_are_blended_where_they_are_named(make):
    points = torch.rand(8, 5, 4)
    with pytest.raises(TypeError, match=r"if it is none, name its position: targets=\[0\]"):
        mixed_batch(make(), digits()[0][:8], points)
    mixing = RustManifoldMixUp(targets=0) if make is RustManifoldMixUp else make(targets=0)
    learn = mixed_batch(mixing, digits()[0][:8], points)
    assert torch.equal(learn.yb[0], apply(mixing.plan.for_labels(), points))
    with pytest.raises(TypeError, match="boxes"):  # which say so themselves
        mixed_batch(mixing, digits()[0][:8], points.as_subclass(TensorBBox))


def test_targets_that_are_not_named_are_the_same_in_both_losses():
    images, classes = digits()
    names, number, length = list("abcdefgh"), torch.rand(8), torch.arange(3)
    given = []

    def loss_func(pred, *targets):
        given.append(targets)
        return nn.functional.cross_entropy(pred, targets[2])

    for at, bank in ((2, None), ([-2], 1)):
        mixing = RustMixUp(mode="batch", rng=1, targets=at, bank=bank)
        learn = learner(mixing, loss_func=loss_func)
        learn.epoch, learn.iter, learn.training = 0, 0, True
        for _ in range(2):
            learn.xb, learn.yb = (images[:8],), (names, number, classes[:8], length)
            mixing("before_batch")
        own, partner = learn.yb, mixing.yb1
        assert torch.equal(partner[2], classes[:8][mixing.plan.partner])
        for kept in (own, partner):
            assert all(a is b for a, b in zip((kept[0], kept[1], kept[3]), (names, number, length), strict=True))
        pred = learn.model(learn.x)
        loss = mixing.lf(pred, *learn.yb)
        lam = mixing.lam[0]
        expected = [nn.functional.cross_entropy(pred, y[2]) for y in (own, partner)]
        torch.testing.assert_close(loss, lam * expected[0] + (1 - lam) * expected[1])
        assert [targets[0] for targets in given[-2:]] == [names, names]
    with pytest.raises(ValueError, match=r"targets=\[4\] names targets of a batch that has 1"):
        mixed_batch(RustMixUp(targets=4), images[:8], classes[:8])


@pytest.mark.parametrize(
    "make", [RustMixUp, RustCutMix, EitherMix, lambda **options: RustCutMix(**{**options, "rng": "torch"})]
)
def test_tensors_that_share_memory_are_each_mixed_once_in_place(make):
    """An image that is its own target, as an autoencoder's, and one that is given twice."""
    images = digits()[0][:8].clone()
    for xb, yb in (((images,), (images,)), ((images, images), ()), ((images, images[:, :1]), (images[:, 0],))):
        own = images.clone()
        mixing = make(rng=1, inplace=True)
        learn = learner(mixing, loss_func=nn.MSELoss())
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, xb, yb
        mixing("before_batch")
        assert torch.equal(images, own)
        expected = apply(mixing.plan, own)
        assert torch.equal(learn.xb[0], expected)
        if mixing.rng != "torch":  # fastai's cuts the first input alone, and blends targets
            for mixed, given in zip((*learn.xb[1:], *learn.yb), (*xb[1:], *yb), strict=True):
                assert torch.equal(mixed, apply(mixing.plan, given))


@pytest.mark.parametrize("options", [{"inputs": [0]}, {"targets": [0]}, {"pair": True}])
def test_fastais_callbacks_repeated_have_no_such_options(options):
    with pytest.raises(ValueError, match="has no inputs=, targets= and pair="):
        RustCutMix(rng="torch", **options)
