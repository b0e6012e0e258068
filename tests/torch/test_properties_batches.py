"""The rules that never bend, over generated losses, targets and batches."""

import numpy as np
import pytest
import strategies as some
import tally
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from mixup_rs import CutMix, MixPlan, Mixup
from mixup_rs.torch import MixCollate, PairedTarget, mixed_loss

#: A rule draws a box per sample, or none: the shape of images here.
SIZE = (4, 5)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.uint8, torch.int16]


class Loss(nn.Module):
    """A loss of generated parts: class weights, an index to ignore, a term of the batch, a reduction, shown or not."""

    def __init__(self, kind, weight, ignored, of_batch, reduction):
        super().__init__()
        self.kind, self.weight, self.ignored, self.of_batch = kind, weight, ignored, of_batch
        self.reduction = reduction

    def forward(self, pred, target):
        if self.kind == "cross-entropy":
            loss = F.cross_entropy(
                pred, target, weight=self.weight, ignore_index=self.ignored, reduction=self.reduction
            )
        else:
            hot = F.one_hot(target, pred.shape[1]).to(pred.dtype)
            distance = F.mse_loss if self.kind == "squares" else F.smooth_l1_loss
            loss = distance(pred, hot, reduction=self.reduction)
        return loss + pred.std() * target.double().std(correction=0) if self.of_batch else loss


@st.composite
def losses(draw):
    kind = draw(st.sampled_from(["cross-entropy", "cross-entropy", "squares", "smooth"]))
    weight = draw(st.none() | st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    ignored, of_batch = draw(st.sampled_from([-100, 0, 1])), draw(st.integers(0, 3)) == 0
    loss = Loss(kind, weight, ignored, of_batch, draw(st.sampled_from(["mean", "sum"])))
    if draw(st.booleans()):
        return loss
    return lambda pred, target: loss(pred, target)  # which says nothing of its reduction


@st.composite
def batches(draw):
    """Predictions, classes and partners."""
    n = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(some.SEEDS))
    pred = torch.from_numpy(rng.standard_normal((n, 3)) * draw(st.sampled_from([1e-3, 1, 10])))
    return pred, torch.from_numpy(rng.integers(0, 3, n)), torch.from_numpy(draw(some.partners(n)).astype(np.int64))


def agree(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)


@given(loss=losses(), batch=batches(), is_number=st.booleans())
def test_with_lam_1_a_mixed_loss_is_the_loss(loss, batch, is_number):
    pred, y, partner = batch
    lam = torch.tensor(1.0) if is_number else torch.ones(len(y))
    agree(mixed_loss(loss, pred, PairedTarget(y, y[partner], lam)), loss(pred, y))
    tally.case("losses")


@given(loss=losses(), batch=batches(), lam=st.floats(2**-7, 1 - 2**-7, width=32), is_number=st.booleans())
def test_with_one_lam_it_is_the_weighted_pair(loss, batch, lam, is_number):
    pred, y, partner = batch
    given = torch.tensor(lam) if is_number else torch.full((len(y),), lam)
    own, partners = loss(pred, y), loss(pred, y[partner])
    agree(mixed_loss(loss, pred, PairedTarget(y, y[partner], given)), lam * own + (1 - lam) * partners)
    tally.case("losses")


@given(loss=losses(), batch=batches(), data=st.data())
def test_a_lam_per_sample_is_exact_or_refused(loss, batch, data):
    """Where all samples but one keep their own, the loss must be that of a batch with one target blended."""
    pred, y, partner = batch
    lam = torch.from_numpy(data.draw(some.weights(len(y)))).float()
    target = PairedTarget(y, y[partner], lam)
    try:
        got = mixed_loss(loss, pred, target)
    except ValueError as error:
        assert "mode='batch'" in str(error)  # noqa: PT017 (it may also be taken)
        return
    if bool((lam == lam[0]).all()):
        return  # see above
    assert isinstance(loss, Loss)
    if loss.of_batch:  # where the term of the batch is nothing
        assert (y == y[0]).all()
        loss.of_batch = False
    each = [torch.stack([loss(pred[i : i + 1], t[i : i + 1]) for i in range(len(t))]) for t in (y, y[partner])]
    weights = lam.double()
    mixed = torch.where(
        weights == 1, each[0], torch.where(weights == 0, each[1], weights * each[0] + (1 - weights) * each[1])
    )
    agree(got, mixed.sum() if loss.reduction == "sum" else mixed.mean())
    tally.case("losses")


@st.composite
def samples(draw):
    """Samples of inputs and targets of every kind, and what is expected of them: names, and what fills them."""
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(some.SEEDS))
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.sampled_from([(3, *SIZE), SIZE, (2, 3, *SIZE)]))
    columns = {
        "image": torch.from_numpy(rng.integers(0, 100, (n, *shape))).to(dtype),
        "label": rng.integers(0, 4, n).tolist(),
        "index": rng.integers(0, 4, n).tolist(),
    }
    for name, make in {
        "x": lambda: torch.from_numpy(rng.random((n, 3))),
        "tokens": lambda: torch.from_numpy(rng.integers(0, 99, (n, 4))),
        "target": lambda: torch.from_numpy(rng.random((n, 3))),
        "mask": lambda: torch.from_numpy(rng.integers(0, 4, (n, *SIZE))),
        "y": lambda: rng.random(n).tolist(),
    }.items():
        if draw(st.booleans()):
            columns[name] = make()
    kind = draw(st.sampled_from(["dict", "tuple"]))
    return n, columns, kind


def made(n, columns, kind):
    """The samples, and how their roles are named in a tuple."""
    if kind == "dict":
        return [{name: values[i] for name, values in columns.items()} for i in range(n)], {}
    places = {name: at for at, name in enumerate(columns)}
    roles = {"inputs": ["image", "x"], "targets": ["label", "target", "mask", "y"]}
    named = {role: [places[name] for name in names if name in places] for role, names in roles.items()}
    return [tuple(values[i] for values in columns.values()) for i in range(n)], named


def by_name(batch, columns):
    return batch if isinstance(batch, dict) else dict(zip(columns, batch, strict=True))


def blended(values, lam, partner):
    values = torch.as_tensor(values).double()
    lam = torch.from_numpy(lam).view(-1, *[1] * (values.ndim - 1))
    return lam * values + (1 - lam) * values[torch.from_numpy(partner)]


def is_soft(plan):
    """Whether a pixel is blended by a mask, and not with all of its sample."""
    is_mixed = (plan.weight == 1) & (plan.partner != np.arange(len(plan)))
    return plan.masks is not None and bool(((plan.masks > 0) & (plan.masks < 1))[is_mixed].any())


@given(case=samples(), rule=some.rules(), seed=some.SEEDS, num_classes=st.sampled_from([None, 4]))
def test_every_entry_is_mixed_by_the_plan_of_the_key(case, rule, seed, num_classes):
    n, columns, kind = case
    made_samples, roles = made(n, columns, kind)
    counts = None
    if num_classes is not None:
        counts = {"label" if kind == "dict" else list(columns).index("label"): num_classes}
    collate = MixCollate(rule, rng=seed, num_classes=counts, return_plan=True, channels_last=False, **roles)
    expected = rule.plan(n, SIZE, rng=(seed, 0, 0, 0))
    if "mask" in columns and is_soft(expected):
        with pytest.raises(TypeError, match="mask of classes, which cannot be blended by soft masks"):
            collate(made_samples)
        return
    batch, plan = collate(made_samples)
    assert plan == rule.plan(n, SIZE, rng=(seed, 0, 0, 0))
    batch, partner = by_name(batch, columns), plan.partner
    flat = plan.without_region()
    assert np.array_equal(flat.lam, plan.lam)
    image = torch.from_numpy(plan.apply(columns["image"].numpy()))
    assert torch.equal(batch["image"], image)
    if "x" in columns:
        torch.testing.assert_close(batch["x"], blended(columns["x"], plan.lam, partner))
    for name in ("index", "tokens"):
        if name in columns:
            assert torch.equal(batch[name], torch.as_tensor(columns[name]))
    for name in ("target", "y"):
        if name in columns:
            torch.testing.assert_close(batch[name].double(), blended(columns[name], plan.lam, partner))
    label = torch.tensor(columns["label"])
    if num_classes is None:
        assert torch.equal(batch["label"].y, label)
        assert torch.equal(batch["label"].y_partner, label[partner])
        assert np.array_equal(batch["label"].lam, plan.lam.astype(np.float32))
    else:
        expected = blended(F.one_hot(label, 4), plan.lam, partner)
        torch.testing.assert_close(batch["label"].double(), expected, atol=1e-6, rtol=1e-6)
    if "mask" in columns and plan.spatial_shape is None:
        assert torch.equal(batch["mask"].y_partner, columns["mask"][partner])
    # Labels mixed: an input mixed. What has a partner's label has a partner's pixels.
    if not bool((plan.lam == 1).all()):
        sources = torch.from_numpy(plan.apply(np.arange(n, dtype=np.float64).repeat(20).reshape(n, *SIZE)))
        own = torch.arange(n, dtype=torch.float64).view(n, 1, 1)
        alone = torch.from_numpy((plan.lam < 1) & (partner != np.arange(n)))
        assert ((sources != own).flatten(1).any(1) | ~alone | torch.from_numpy(plan.lam > 1 - 1e-9)).all()
    tally.case("collate")


@given(case=samples(), rule=some.rules(), off=st.sampled_from(["paused", "enabled", "off_epoch", "prob", "alpha"]))
def test_a_collate_that_is_off_stacks_as_torch_does(case, rule, off):
    n, columns, kind = case
    made_samples, roles = made(n, columns, kind)
    if off in ("prob", "alpha"):
        rule = (Mixup if isinstance(rule, Mixup) else CutMix)(**{off: 0})
    collate = MixCollate(rule, rng=1, off_epoch=0 if off == "off_epoch" else None, channels_last=False, **roles)
    collate.set_epoch(0)
    if off == "enabled":
        collate.enabled = False
    elif off == "paused":
        collate._set_everywhere("paused", 1)
    batch, plain = (by_name(make(made_samples), columns) for make in (collate, default_collate))
    for name in columns:
        got = batch[name]
        if isinstance(got, PairedTarget):
            assert off != "paused"
            assert (got.lam == 1).all()
            got = got.y
        assert torch.equal(got, plain[name])
        assert got.dtype == plain[name].dtype
    tally.case("collate")


@given(n=st.integers(1, 5), seed=some.SEEDS, data=st.data())
def test_labels_are_never_mixed_where_no_input_is(n, seed, data):
    """Inputs that cannot be mixed are an error, unless the plan mixes nothing."""
    inputs = data.draw(st.sampled_from(["tokens", "text", "number", "empty"]))
    entry = {"tokens": torch.arange(3), "text": "a", "number": 7, "empty": torch.zeros(0, 3)}[inputs]
    plan = MixPlan(data.draw(some.weights(n)), data.draw(some.partners(n)))

    class Fixed:
        def plan(self, n, shape=None, labels=None, rng=None):
            return plan

    try:
        _, target = MixCollate(Fixed(), rng=seed)([(entry, i) for i in range(n)])
    except TypeError as error:
        assert "no input of these samples can be mixed" in str(error)  # noqa: PT017 (it may also be taken)
        assert (plan.lam < 1).any()
    else:
        assert (target.lam == 1).all()
    tally.case("collate")
