"""What `mixed_loss` is given: weights that are none, shapes that do not fit, losses of several values."""

import copy
import math
import pickle
from collections import namedtuple
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mixup_rs import Mixup, Remix
from mixup_rs.torch import MixCollate, PairedTarget, mixed_loss
from mixup_rs.torch.losses import refuse_rounding

Y, LAM = torch.arange(6) % 3, torch.tensor([1.0, 0.5, 0.9, 0.6, 0.7, 0.8])


def pair(lam, y=Y):
    return PairedTarget(y, y.flip(0), lam)


@pytest.mark.parametrize("lam", [LAM[:4], torch.cat([LAM, LAM]), LAM + 1, LAM - 1, torch.tensor(1.5)])
def test_lam_is_one_per_sample_in_0_1(lam):
    with pytest.raises(ValueError, match="lam must"):
        mixed_loss(F.cross_entropy, torch.zeros(6, 3), pair(lam))


@pytest.mark.parametrize(
    ("loss_func", "got"),
    [(nn.CrossEntropyLoss, "the class CrossEntropyLoss"), (torch.zeros(6, 3), "Tensor"), ("cross_entropy", "str")],
)
def test_what_is_no_loss_is_refused(loss_func, got):
    with pytest.raises(TypeError, match=f"loss_func must be a function or a module.*got {got}"):
        mixed_loss(loss_func, torch.zeros(6, 3), pair(LAM))


def test_time_before_batch_is_refused():
    y = torch.zeros(7, 6, dtype=torch.long)
    with pytest.raises(ValueError, match=r"lam must be one per sample, got 6 for targets of shape \(7, 6\)"):
        mixed_loss(F.cross_entropy, torch.zeros(7, 3, 6), pair(LAM, y))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(reduction="sum")])
def test_predictions_against_all_targets_are_refused(loss):
    with pytest.raises(ValueError, match=r"shape \(6, 1\) and targets of shape \(6,\).*give them one shape"):
        mixed_loss(loss, torch.zeros(6, 1), pair(LAM, torch.rand(6)))


def test_what_does_not_count_may_be_infinite():
    pred = torch.zeros(4, 3, requires_grad=True)
    masked = pred + torch.tensor([[0, 0, -torch.inf]] + [[0.0, 0, 0]] * 3)
    own, partner, lam = torch.tensor([0, 1, 0, 1]), torch.tensor([2, 0, 1, 0]), torch.tensor([1.0, 0.5, 1.0, 0.0])
    loss = mixed_loss(F.cross_entropy, masked, PairedTarget(own, partner, lam))
    torch.testing.assert_close(loss, torch.tensor((np.log(2) + 3 * np.log(3)) / 4, dtype=torch.float32))
    loss.backward()
    assert pred.grad.isfinite().all()


@pytest.mark.parametrize("lam", [0.7, np.float32(0.7), np.full(6, 0.7), torch.tensor(0.7)])
@pytest.mark.parametrize("kind", [tuple, list, lambda parts: PairedTarget(*parts)])
def test_lam_is_any_number_or_array(lam, kind):
    pred, partner = torch.eye(6)[:, :3], Y.flip(0)
    expected = 0.7 * F.cross_entropy(pred, Y) + 0.3 * F.cross_entropy(pred, partner)
    torch.testing.assert_close(mixed_loss(F.cross_entropy, pred, kind([Y, partner, lam])).float(), expected)


def test_a_loss_of_several_values_is_mixed_entry_by_entry():
    def loss(pred, y):
        return {"ce": F.cross_entropy(pred, y), "both": (y.float().sum(), [1.0])}

    y = torch.arange(3)
    got = mixed_loss(loss, torch.eye(3), PairedTarget(y, y * 0, torch.tensor(0.75)))
    one, other = F.cross_entropy(torch.eye(3), y), F.cross_entropy(torch.eye(3), y * 0)
    torch.testing.assert_close(got, {"ce": 0.75 * one + 0.25 * other, "both": (torch.tensor(2.25), [1.0])})


class Counting(nn.Module):
    """Keeps how many samples it has seen."""

    reduction = "mean"

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, pred, target):
        self.seen += len(pred)
        return F.cross_entropy(pred, target, reduction=self.reduction)


def test_a_loss_that_keeps_what_it_sees_is_tried_on_a_copy():
    loss, logits = Counting(), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    y = pair(LAM)
    own, partner = (F.cross_entropy(logits, one, reduction="none") for one in (y.y, y.y_partner))
    torch.testing.assert_close(mixed_loss(loss, logits, y), (LAM * own + (1 - LAM) * partner).mean())
    assert loss.seen == 12  # the own targets and the partners', once each
    seen = loss.seen.clone()
    with pytest.raises(TypeError, match="rounds its targets"):
        refuse_rounding(lambda pred, target: F.cross_entropy(pred, target.long()), logits, (Y + 0.5,))
    refuse_rounding(loss, logits, (F.one_hot(Y, 3) * 0.7 + 0.1,))
    assert loss.seen == seen


class Neighbours(nn.Module):
    """Each sample's loss depends on its neighbour's."""

    reduction = "mean"

    def forward(self, pred, target):
        each = F.cross_entropy(pred, target, reduction="none").view(-1, 2)
        each = (each + each.flip(1) * each).flatten()
        return each.mean() if self.reduction == "mean" else each


@pytest.mark.parametrize("n", [2, 4, 8, 12, 32])
def test_losses_of_neighbours_do_not_come_apart(n):
    generator = torch.Generator().manual_seed(0)
    y, lam = torch.arange(n) % 3, torch.rand(n, generator=generator)
    with pytest.raises(ValueError, match="Neighbours does not come apart"):
        mixed_loss(Neighbours(), torch.randn(n, 3, generator=generator), PairedTarget(y, y.roll(1), lam))


@pytest.mark.parametrize("old", [{"size_average": False}, {"reduce": False}])
def test_torchs_old_names_of_the_reduction_are_refused(old):
    loss = partial(F.cross_entropy, **old)
    with pytest.raises(ValueError, match="does not come apart"), pytest.warns(UserWarning, match="deprecated"):
        mixed_loss(loss, torch.zeros(6, 3), pair(LAM))


def test_a_loss_of_one_value_is_refused():
    loss = nn.CrossEntropyLoss()
    loss.forward = lambda pred, target: F.cross_entropy(pred, target)
    with pytest.raises(ValueError, match=r"without its reduction it has shape \(\) for 6 samples"):
        mixed_loss(loss, torch.zeros(6, 3), pair(LAM))


def test_a_known_loss_that_was_changed_is_not_known():
    """By hooks, or by another forward: what it computes is looked at."""
    pred = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    squared, doubled = nn.CrossEntropyLoss(), nn.CrossEntropyLoss()
    squared.forward = lambda p, y: F.cross_entropy(p, y, reduction=squared.reduction) ** 2
    doubled.register_forward_hook(lambda _, inputs, loss: 2 * loss)
    with pytest.raises(ValueError, match="does not come apart"):
        mixed_loss(squared, pred, pair(LAM))
    torch.testing.assert_close(
        mixed_loss(doubled, pred, pair(LAM)), 2 * mixed_loss(nn.CrossEntropyLoss(), pred, pair(LAM))
    )


def test_the_partners_targets_show_as_well_that_a_loss_does_not_come_apart():
    pred, y = torch.zeros(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    target = PairedTarget(y, y.masked_fill(y == 2, -100), LAM)  # of another loader
    with pytest.raises(ValueError, match="does not come apart"):
        mixed_loss(Counting(), pred, target)


def overwriting(pred, target):
    """A temperature, and classes that are counted from 1: both in place."""
    pred["logits"].div_(2.0)
    return F.cross_entropy(pred.pop("logits"), target.sub_(1))


def test_a_loss_that_overwrites_what_it_is_given_is_given_it_once():
    logits, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2, 3, 3, 2, 1])
    own, partner = (F.cross_entropy(logits / 2, one - 1) for one in (y, y.roll(1)))
    masks = y.clone()  # masks that were cut are both the own ones and the partners'
    for target, expected in (
        (PairedTarget(y.clone(), y.roll(1), torch.tensor(0.7)), 0.7 * own + 0.3 * partner),
        (PairedTarget(masks, masks, torch.tensor(0.7)), own),
    ):
        torch.testing.assert_close(mixed_loss(overwriting, {"logits": logits.clone()}, target), expected)


def test_predictions_may_be_a_mapping_that_cannot_be_made_from_its_items():
    class Logits(Mapping):
        def __init__(self, x, again):
            self.x = x

        def __getitem__(self, key):
            return self.x

        def __iter__(self):
            return iter(["logits"])

        def __len__(self):
            return 1

    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    got = mixed_loss(lambda p, y: F.cross_entropy(p["logits"], y), Logits(logits, 1), pair(torch.tensor(0.5)))
    torch.testing.assert_close(got, mixed_loss(F.cross_entropy, logits, pair(torch.tensor(0.5))))


def test_a_loss_that_is_tried_changes_no_prediction_and_draws_nothing():
    class Noisy(nn.Module):
        reduction = "mean"

        def forward(self, pred, target):
            return F.mse_loss(F.dropout(pred.mul_(2.0), 0.5), target, reduction=self.reduction)

    torch.manual_seed(0)
    own, target = torch.randn(6, 3), torch.linspace(0, 1, 18).view(6, 3)
    pred = own.clone()
    state = torch.get_rng_state()
    refuse_rounding(Noisy(), pred, (target,))
    assert torch.equal(pred, own)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(TypeError, match="rounds its targets"):
        refuse_rounding(lambda p, y: F.mse_loss(F.dropout(p, 0.5), y.round()), pred, (target,))


def test_many_losses_in_half_precision_have_a_mean():
    """Their sum is more than it holds."""
    pred, y = torch.full((2, 2, 256, 256), 2.0, dtype=torch.float16), torch.zeros(2, 256, 256, dtype=torch.int64)
    got = mixed_loss(nn.CrossEntropyLoss(), pred, PairedTarget(y, 1 - y, torch.tensor([0.75, 1.0])))
    assert got.dtype == torch.float16
    assert got.item() == pytest.approx(math.log(2), rel=1e-3)


def test_an_empty_batch_has_the_loss_of_one():
    y = torch.zeros(0, dtype=torch.long)
    assert mixed_loss(nn.CrossEntropyLoss(reduction="sum"), torch.zeros(0, 3), PairedTarget(y, y, torch.zeros(0))) == 0


@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss(), F.cross_entropy, nn.MSELoss(), nn.BCEWithLogitsLoss(), nn.NLLLoss(), F.one_hot, torch.sub],
    ids=lambda loss: getattr(loss, "__name__", str(loss)),
)
def test_a_pair_given_to_a_loss_itself_says_what_to_write(loss):
    given = (torch.zeros(6, 3), pair(LAM))
    with pytest.raises(TypeError, match=r"takes a tensor, got a PairedTarget .*mixed_loss\(loss_func, pred, target\)"):
        loss(*given[loss is F.one_hot :])


def test_a_pair_is_no_tensor_and_stays_a_tuple():
    target = pair(LAM)
    for name in ("dtype", "size", "long", "shape"):
        assert not hasattr(target, name)
        with pytest.raises(AttributeError, match=f"no attribute '{name}' of a PairedTarget.*mixed_loss"):
            getattr(target, name)
    for other in (copy.deepcopy(target), pickle.loads(pickle.dumps(target)), target.to("cpu"), pin(target)):
        assert type(other) is PairedTarget
        assert all(map(torch.equal, other, target))


def pin(target):
    return torch.utils._pytree.tree_map(lambda x: x, target)


class Triplet:
    """A loss over the batch."""

    def __call__(self, pred, target):
        same = target[:, None] == target[None]
        distance = torch.cdist(pred, pred)
        return F.relu((distance * same).max(1).values - (distance + 9 * same).min(1).values + 1).mean()


def test_what_is_said_of_several_lams_leads_to_a_loss():
    """Remix has no mode of which its labels have one lam, so that the advice names soft targets."""
    samples = [(torch.rand(3, 4, 4), i % 3 // 2) for i in range(12)]
    rule = Remix(Mixup(1.0, mode="batch"), counts=[9, 1])

    def loss_of(loss, rule=rule, **options):
        pred = torch.rand(12, 2, generator=torch.Generator().manual_seed(0))
        target = MixCollate(rule, rng=5, **options)(samples)[1]
        return mixed_loss(loss, pred, target) if isinstance(target, tuple) else loss(pred, target)

    with pytest.raises(ValueError, match=r"Triplet .* mode='batch', and not Remix.*num_classes=\.\.\. makes them"):
        loss_of(Triplet())
    assert loss_of(Triplet(), Mixup(1.0, mode="batch")).isfinite()
    soft = loss_of(lambda pred, y: F.cross_entropy(pred, y), num_classes=2)
    torch.testing.assert_close(soft, loss_of(nn.CrossEntropyLoss()))


Heads = namedtuple("Heads", ["a", "b"])


@pytest.mark.parametrize(
    "make",
    [lambda *pairs: dict(zip("ab", pairs, strict=True)), lambda *pairs: list(pairs), Heads],
    ids=["dict", "list", "namedtuple"],
)
def test_pairs_within_a_target(make):
    """As MixCollate makes them of several heads."""

    def loss(pred, heads):
        a, b = heads.values() if isinstance(heads, dict) else heads
        return F.cross_entropy(pred, a) + 2 * F.cross_entropy(pred, b)

    pred, lam = torch.eye(6)[:, :3], torch.tensor(0.75)
    a, b = Y, (Y + 1) % 3
    expected = 0.75 * loss(pred, [a, b]) + 0.25 * loss(pred, [a.flip(0), b.flip(0)])
    torch.testing.assert_close(mixed_loss(loss, pred, make(pair(lam, a), pair(lam, b))), expected)
    with pytest.raises(ValueError, match="one lam, got several"):
        mixed_loss(loss, pred, make(pair(lam, a), pair(lam / 2, b)))
    plain = make(a, b)
    torch.testing.assert_close(mixed_loss(loss, pred, plain), loss(pred, plain))


@pytest.mark.parametrize("third", [Y % 2, Y.numpy() % 2, torch.rand(6) > 0.5], ids=["int64", "array", "bool"])
def test_three_heads_are_no_pair(third):
    """Outside of training, where nothing is mixed."""

    def loss(pred, heads):
        return sum(F.cross_entropy(pred, torch.as_tensor(head).long()) for head in heads)

    pred, heads = torch.eye(6)[:, :3], [Y, (Y + 1) % 3, third]
    torch.testing.assert_close(mixed_loss(loss, pred, heads), loss(pred, heads))
