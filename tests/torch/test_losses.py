"""The loss of a mixed batch, for any callable: with lam = 1 the loss itself, with one lam the weighted pair."""

import dataclasses
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mixup_rs import Mixup
from mixup_rs.torch import PairedTarget, mixed_loss

P = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
Y = torch.tensor([0, 1])
W = torch.tensor([1.0, 9.0])
#: log(1 + e^-2), log(1 + e^2): what class 0 and class 1 cost where the scores are 2 and 0.
LOW, HIGH = 0.1269280110429725, 2.1269280110429727
N = 6
GENERATOR = torch.Generator().manual_seed(0)
LOGITS, CLASSES = torch.randn(N, 4, generator=GENERATOR), torch.tensor([3, 0, 1, 1, 2, 0])
PARTNER = torch.tensor([1, 2, 3, 4, 5, 0])
LAM = torch.tensor([0.5, 1.0, 0.75, 0.0, 0.9, 0.25])


class Weighted(nn.Module):
    """Holds weighted cross-entropy."""

    def __init__(self):
        super().__init__()
        self.inner = nn.CrossEntropyLoss(weight=W)

    def forward(self, pred, target):
        return self.inner(pred, target)


class PassesOn(nn.Module):
    """Has an attribute `reduction`, and a mean over weights that it does not show."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, pred, target):
        return F.cross_entropy(pred, target, weight=W, reduction=self.reduction)


def by_lambda(pred, target):
    return F.cross_entropy(pred, target, weight=W)


def ignores(pred, target):
    return F.cross_entropy(pred, target, ignore_index=-100)


def triplet(embedding, label, margin=0.3):
    """Batch-hard: the furthest of the same class, the nearest of another."""
    distance = torch.cdist(embedding, embedding)
    same = label[:, None] == label[None]
    furthest = distance.masked_fill(~same, -1).amax(1)
    nearest = distance.masked_fill(same, 1e9).amin(1)
    return F.relu(furthest - nearest + margin).mean()


def dice(pred, target):
    p, t = pred.softmax(1), F.one_hot(target, pred.shape[1]).float()
    return 1 - 2 * (p * t).sum() / (p.sum() + t.sum())


def contrastive(embedding, label):
    similarity = F.normalize(embedding) @ F.normalize(embedding).T
    return F.cross_entropy(similarity, (label[:, None] == label[None]).float().softmax(1))


class Divergence(nn.KLDivLoss):
    def __init__(self, reduction="batchmean"):
        super().__init__(reduction=reduction)

    def forward(self, pred, target):
        return super().forward(pred.log_softmax(1), F.one_hot(target, 4).float() * 0.8 + 0.05)


class Ctc(nn.CTCLoss):
    """Of four steps and targets of two labels."""

    def forward(self, pred, target):
        n = len(pred)
        steps = pred[None].expand(5, -1, -1).log_softmax(2) * torch.linspace(1, 2, 5)[:, None, None]
        labels = torch.stack([target % 3 + 1, (target + 1) % 3 + 1], 1)
        return super().forward(steps, labels, torch.full((n,), 5), torch.full((n,), 2))


#: Losses that do not come apart into samples, or do not say how.
WHOLE = {
    "weighted, a lambda": lambda pred, target: F.cross_entropy(pred, target, weight=torch.tensor([1.0, 9, 2, 3])),
    "ignoring, a lambda": lambda pred, target: F.cross_entropy(pred, target, ignore_index=1),
    "triplet": triplet,
    "dice": dice,
    "contrastive": contrastive,
    "mean of the worst": lambda pred, target: F.cross_entropy(pred, target, reduction="none").topk(3)[0].mean(),
}
#: Those whose reduction is known or found, and what each does to the losses of samples.
APART = {
    "cross-entropy": (nn.CrossEntropyLoss(), "mean"),
    "cross-entropy, a function": (F.cross_entropy, "mean"),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), "sum"),
    "none": (nn.CrossEntropyLoss(reduction="none"), "none"),
    "smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), "mean"),
    "partial": (partial(F.cross_entropy, label_smoothing=0.1), "mean"),
    "batchmean": (Divergence(), "batchmean"),
    "nll": (nn.NLLLoss(), "mean"),
    "margin": (nn.MultiMarginLoss(), "mean"),
}


def pair(lam=LAM, own=CLASSES, partner=PARTNER):
    return PairedTarget(own, own[partner], lam)


TABLE = {
    "a lambda, weighted": (by_lambda, Y, 1.9269),
    "a module that holds a weighted loss": (Weighted(), Y, 1.9269),
    "a module with a reduction that passes weights on": (PassesOn(), Y, 1.9269),
    "a lambda that ignores": (ignores, torch.tensor([0, -100]), 0.1269),
    "known, weighted": (nn.CrossEntropyLoss(weight=W), Y, 1.9269),
    "known, ignoring": (nn.CrossEntropyLoss(), torch.tensor([0, -100]), 0.1269),
    "known, summed": (nn.CrossEntropyLoss(reduction="sum"), Y, 2.2539),
}


@pytest.mark.parametrize("lam", [torch.ones(2), torch.tensor(1.0), torch.ones(1)], ids=["samples", "number", "one"])
@pytest.mark.parametrize(("loss", "target", "value"), TABLE.values(), ids=TABLE)
def test_with_lam_1_it_is_the_loss_itself(loss, target, value, lam):
    got = mixed_loss(loss, P, PairedTarget(target, target.flip(0), lam))
    assert got.item() == pytest.approx(value, abs=5e-5)
    assert torch.equal(got, loss(P, target))


def test_the_values_of_the_table_by_hand():
    assert (LOW + 9 * HIGH) / 10 == pytest.approx(1.9269, abs=5e-5)
    assert pytest.approx(2.2539, abs=5e-5) == LOW + HIGH


ALL = WHOLE | {name: loss for name, (loss, _) in APART.items()} | {"ctc": Ctc(), "ctc, mean": Ctc(reduction="sum")}


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL)
@pytest.mark.parametrize("value", [1.0, 0.0, 0.7, 0.5])
@pytest.mark.parametrize("per_sample", [False, True])
def test_one_lam_gives_the_weighted_pair(loss, value, per_sample):
    lam = torch.full((N,), value) if per_sample else torch.tensor(value)
    pred = LOGITS.log_softmax(1)
    own, partner = loss(pred, CLASSES), loss(pred, CLASSES[PARTNER])
    torch.testing.assert_close(mixed_loss(loss, pred, pair(lam)), value * own + (1 - value) * partner)


@pytest.mark.parametrize("loss", WHOLE.values(), ids=WHOLE)
def test_a_lam_per_sample_is_refused_where_the_loss_does_not_come_apart(loss):
    with pytest.raises(ValueError, match=r"needs one lam for the batch: use a rule of mode='batch'"):
        mixed_loss(loss, LOGITS, pair())


@pytest.mark.parametrize(
    "loss",
    [PassesOn(), Ctc(), Weighted(), by_lambda, ignores],
    ids=["passes on", "ctc", "weighted", "lambda", "ignores"],
)
def test_what_a_loss_says_of_its_reduction_is_not_believed(loss):
    pred = LOGITS if isinstance(loss, Ctc) else LOGITS[:, :2]
    target = CLASSES if isinstance(loss, Ctc) else CLASSES % 2
    with pytest.raises(ValueError, match="does not come apart"):
        mixed_loss(loss, pred, PairedTarget(target, target[PARTNER], LAM))


@pytest.mark.parametrize(("loss", "reduction"), APART.values(), ids=APART)
def test_a_lam_per_sample_weights_the_losses_of_samples(loss, reduction):
    """Each sample's loss is what the loss of a batch of it alone is."""
    pred = LOGITS.log_softmax(1)
    each = [[loss(pred[i : i + 1], y[i : i + 1]).reshape(()) for i in range(N)] for y in (CLASSES, CLASSES[PARTNER])]
    own, partner = (torch.stack(losses) for losses in each)
    mixed = LAM * own + (1 - LAM) * partner
    expected = {"mean": mixed.mean(), "batchmean": mixed.mean(), "sum": mixed.sum(), "none": mixed}[reduction]
    torch.testing.assert_close(mixed_loss(loss, pred, pair()), expected)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_loss_of_any_size_is_told_apart(size):
    """What does not come apart is not taken for it because its values are small, nor refused because they are large."""

    class Scaled(PassesOn):
        def forward(self, pred, target):
            return super().forward(pred, target) * size

    class Plain(Scaled):
        def forward(self, pred, target):
            return F.cross_entropy(pred, target, reduction=self.reduction) * size

    target = PairedTarget(CLASSES % 2, CLASSES[PARTNER] % 2, LAM)
    with pytest.raises(ValueError, match="does not come apart"):
        mixed_loss(Scaled(), LOGITS[:, :2], target)
    known = mixed_loss(F.cross_entropy, LOGITS[:, :2], target)
    torch.testing.assert_close(mixed_loss(Plain(), LOGITS[:, :2], target), known * size)
    for reduction in ("sum", "none"):
        known = mixed_loss(partial(F.cross_entropy, reduction=reduction), LOGITS[:, :2], target)
        torch.testing.assert_close(mixed_loss(Plain(reduction), LOGITS[:, :2], target), known * size)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_other_precisions(dtype, seed):
    pred = torch.randn(64, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)
    target = PairedTarget(torch.arange(64) % 4, torch.arange(64).flip(0) % 4, torch.linspace(0, 1, 64))
    known = mixed_loss(F.cross_entropy, pred.double(), target)
    got = mixed_loss(Unknown(), pred, target)
    torch.testing.assert_close(got.double(), known, rtol=4 * torch.finfo(dtype).eps + 1e-7, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_diverges_has_its_own_loss(value):
    pred = LOGITS.clone()
    pred[1] = value
    assert mixed_loss(Unknown(), pred, pair()).isnan()


class Unknown(nn.Module):
    """Comes apart."""

    reduction = "mean"

    def forward(self, pred, target):
        return F.cross_entropy(pred, target, reduction=self.reduction)


def test_class_weights_are_part_of_the_mean():
    """By hand: 0.75 of class 0 and 0.25 of class 1, then class 1 alone."""
    target = PairedTarget(Y, Y.flip(0), torch.tensor([0.75, 1.0]))
    total = 0.75 * LOW + 0.25 * 9 * HIGH + 9 * HIGH
    weights = 0.75 * 1 + 0.25 * 9 + 9
    for loss in (nn.CrossEntropyLoss(weight=W), partial(F.cross_entropy, weight=W)):
        assert mixed_loss(loss, P, target).item() == pytest.approx(total / weights, rel=1e-6)


def test_ignored_targets_are_no_part_of_the_mean():
    target = PairedTarget(torch.tensor([0, -100]), torch.tensor([-100, 0]), torch.tensor([0.75, 0.5]))
    # A quarter of the first and a half of the second do not count.
    value = (0.75 * LOW + 0.5 * LOW) / 1.25
    assert mixed_loss(nn.CrossEntropyLoss(), P, target).item() == pytest.approx(value, rel=1e-6)


def weighted_samples(pred, target, weight):
    """The mean of cross-entropy weighted sample by sample."""
    return (F.cross_entropy(pred, target, reduction="none") * weight).mean()


class WeightedSamples(nn.Module):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, pred, target, weight):
        loss = F.cross_entropy(pred, target, reduction="none") * weight
        return loss if self.reduction == "none" else loss.mean()


def test_each_of_the_two_losses_has_its_own_weights_of_samples():
    """By hand: scores 2 and 0 for both, classes 0 and 1, weights 1 and 4, one lam of 0.7."""
    weight = torch.tensor([1.0, 4.0])
    own = (1 * LOW + 4 * HIGH) / 2
    partner = (4 * HIGH + 1 * LOW) / 2  # the partner's class costs what it costs there, with the partner's weight
    lam = torch.tensor(0.7)
    targets = PairedTarget(Y, Y.flip(0), lam), PairedTarget(weight, weight.flip(0), lam)
    value = 0.7 * own + 0.3 * partner
    assert mixed_loss(weighted_samples, P, *targets).item() == pytest.approx(value, rel=1e-6)
    # Scores that differ: own and partner no longer cost the same.
    pred = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    own, partner = (1 * LOW + 4 * LOW) / 2, (4 * HIGH + 1 * HIGH) / 2
    assert mixed_loss(weighted_samples, pred, *targets).item() == pytest.approx(0.7 * own + 0.3 * partner, rel=1e-6)
    # A lam per sample: 0.75 of the first and 0.5 of the second.
    lam = torch.tensor([0.75, 0.5])
    targets = PairedTarget(Y, Y.flip(0), lam), PairedTarget(weight, weight.flip(0), lam)
    value = (0.75 * 1 * LOW + 0.25 * 4 * HIGH + 0.5 * 4 * LOW + 0.5 * 1 * HIGH) / 2
    assert mixed_loss(WeightedSamples(), pred, *targets).item() == pytest.approx(value, rel=1e-6)


def test_targets_that_are_tensors_are_part_of_both_losses():
    weight = torch.tensor([1.0, 4.0])
    pred = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    target = PairedTarget(Y, Y.flip(0), torch.tensor(0.7))
    value = 0.7 * (1 * LOW + 4 * LOW) / 2 + 0.3 * (1 * HIGH + 4 * HIGH) / 2
    assert mixed_loss(weighted_samples, pred, target, weight).item() == pytest.approx(value, rel=1e-6)
    assert torch.equal(mixed_loss(F.cross_entropy, pred, Y), F.cross_entropy(pred, Y))
    with pytest.raises(ValueError, match="one lam, got several"):
        mixed_loss(weighted_samples, pred, target, PairedTarget(weight, weight, torch.tensor(0.6)))


class Output(NamedTuple):
    logits: torch.Tensor
    hidden: torch.Tensor


@dataclasses.dataclass
class Record:
    logits: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Frozen:
    logits: torch.Tensor
    name: str = "frozen"


class ModelOutput(dict):
    """As transformers has it."""

    __getattr__ = dict.__getitem__


PREDICTIONS = {
    "dict": lambda logits: {"logits": logits, "hidden": torch.zeros(N, 2)},
    "frozen dataclass": lambda logits: Frozen(logits),
    "tuple": lambda logits: (logits, torch.zeros(N, 2)),
    "list": lambda logits: [logits],
    "named tuple": lambda logits: Output(logits, torch.zeros(N, 2)),
    "dataclass": Record,
    "model output": lambda logits: ModelOutput(logits=logits),
}


def logits_of(pred):
    return pred[0] if isinstance(pred, (tuple, list)) else pred["logits"] if type(pred) is dict else pred.logits


class OfPredictions(nn.Module):
    def __init__(self):
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred, target):
        return F.cross_entropy(logits_of(pred), target, reduction=self.reduction)


@pytest.mark.parametrize("make", PREDICTIONS.values(), ids=PREDICTIONS)
def test_predictions_of_any_kind(make):
    def loss(pred, target):
        return F.cross_entropy(logits_of(pred), target)

    own, partner = F.cross_entropy(LOGITS, CLASSES), F.cross_entropy(LOGITS, CLASSES[PARTNER])
    torch.testing.assert_close(mixed_loss(loss, make(LOGITS), pair(torch.tensor(0.7))), 0.7 * own + 0.3 * partner)
    each = [F.cross_entropy(LOGITS, y, reduction="none") for y in (CLASSES, CLASSES[PARTNER])]
    expected = (LAM * each[0] + (1 - LAM) * each[1]).mean()
    torch.testing.assert_close(mixed_loss(OfPredictions(), make(LOGITS), pair()), expected)
    with pytest.raises(ValueError, match="mode='batch'"):
        mixed_loss(loss, make(LOGITS), pair())


@pytest.mark.parametrize("pred", [None, object(), torch.tensor(1.0), [], "text"], ids=lambda pred: type(pred).__name__)
def test_predictions_without_a_batch_need_one_lam(pred):
    class Loss:
        reduction = "mean"

        def __call__(self, pred, target):
            return target.float().mean()

    with pytest.raises(ValueError, match="mode='batch'"):
        mixed_loss(Loss(), pred, pair())
    value = 0.7 * CLASSES.float().mean() + 0.3 * CLASSES[PARTNER].float().mean()
    torch.testing.assert_close(mixed_loss(Loss(), pred, pair(torch.tensor(0.7))), value)


@pytest.mark.parametrize(("loss", "most"), [(OfPredictions(), 6), (lambda p, t: F.cross_entropy(logits_of(p), t), 2)])
@pytest.mark.parametrize("n", [4, 64, 256])
def test_nothing_is_evaluated_sample_by_sample(loss, most, n):
    calls = []
    counted = Counted(loss, calls) if isinstance(loss, nn.Module) else lambda *args: (calls.append(1), loss(*args))[1]
    pred, y = torch.randn(n, 3), torch.randint(0, 3, (n,))
    lam = torch.rand(n) if isinstance(loss, nn.Module) else torch.tensor(0.7)
    mixed_loss(counted, [pred], PairedTarget(y, y.roll(1), lam))
    assert 2 <= len(calls) <= most


class Counted(nn.Module):
    def __init__(self, inner, calls):
        super().__init__()
        self.inner, self.calls, self.reduction = inner, calls, "mean"

    def forward(self, *args):
        self.calls.append(1)
        self.inner.reduction = self.reduction
        return self.inner(*args)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_loss_that_does_not_count_is_not_computed(value):
    """It may be NaN."""
    calls = []

    def loss(pred, target):
        calls.append(target)
        return F.cross_entropy(pred, target)

    mixed_loss(loss, LOGITS, pair(torch.full((N,), value)))
    assert len(calls) == 1
    assert torch.equal(calls[0], CLASSES if value else CLASSES[PARTNER])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ZeroDivisionError])
def test_the_reduction_is_restored_after_an_exception(error):
    class Fails(nn.CrossEntropyLoss):
        def forward(self, pred, target):
            if self.reduction == "none":
                raise error
            return super().forward(pred, target)

    loss = Fails(reduction="sum")
    with pytest.raises((error, ValueError)):
        mixed_loss(loss, LOGITS, pair())
    assert loss.reduction == "sum"
    known = nn.CrossEntropyLoss(reduction="sum")
    with pytest.raises(IndexError):
        mixed_loss(known, LOGITS, PairedTarget(CLASSES + 10, CLASSES, LAM))
    assert known.reduction == "sum"


def test_gradients_are_those_of_the_weighted_losses():
    pred = LOGITS.clone().requires_grad_()
    (got,) = torch.autograd.grad(mixed_loss(nn.CrossEntropyLoss(), pred, pair()), pred)
    soft = LAM[:, None] * F.one_hot(CLASSES, 4) + (1 - LAM[:, None]) * F.one_hot(CLASSES[PARTNER], 4)
    torch.testing.assert_close(got, (LOGITS.softmax(1) - soft) / N)


def test_what_a_loader_gives_is_taken_as_it_comes():
    """Also where a transfer has made a plain tuple or list of it."""
    target = pair()
    expected = mixed_loss(F.cross_entropy, LOGITS, target)
    for plain in (tuple(target), list(target)):
        assert torch.equal(mixed_loss(F.cross_entropy, LOGITS, plain), expected)
    plan = Mixup(1.0).plan(N, rng=3)
    paired = PairedTarget(CLASSES, CLASSES[plan.partner], torch.from_numpy(plan.lam))
    soft = torch.from_numpy(plan.apply_labels(CLASSES.numpy(), 4)[0])
    torch.testing.assert_close(mixed_loss(F.cross_entropy, LOGITS, paired), F.cross_entropy(LOGITS, soft))


def test_the_usual_formula_is_wrong_with_a_lam_per_sample():
    """What the docstring warns of: each lam weights the loss of the whole batch."""
    y, y_partner, lam = pair()
    usual = (lam * F.cross_entropy(LOGITS, y) + (1 - lam) * F.cross_entropy(LOGITS, y_partner)).mean()
    assert abs(usual - mixed_loss(F.cross_entropy, LOGITS, pair())) > 0.01
    np.testing.assert_allclose(
        mixed_loss(F.cross_entropy, LOGITS, pair(torch.tensor(0.6))),
        0.6 * F.cross_entropy(LOGITS, y) + 0.4 * F.cross_entropy(LOGITS, y_partner), rtol=1e-6
    )  # fmt: skip
