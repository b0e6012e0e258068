"""The losses that people bring, each computed by hand: with lam = 1 the loss itself, with one lam the weighted pair."""

import math
import warnings

import pytest
import torch
from fastai.vision.all import Callback, CrossEntropyLossFlat, DiceLoss, F, TerminateOnNaNCallback, nn
from learners import Constant, Fixed, digits, fit, learner, loaders, loss_of, one_batch_of, tiny_model

from mixup_rs import CutMix, Mixup
from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMix, RustMixUp

PRED, CLASSES, WEIGHT = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]), torch.tensor([1.0, 9.0])
# -log softmax of (2, 0): log(1 + e^-2) for class 0, 2 more for class 1.
FIRST = math.log(1 + math.exp(-2))
SECOND = FIRST + 2
WEIGHTED = (1 * FIRST + 9 * SECOND) / 10


class Holding(nn.Module):
    """A module with a weighted loss within, without an attribute `reduction`."""

    def __init__(self):
        super().__init__()
        self.inner = nn.CrossEntropyLoss(weight=WEIGHT)

    def forward(self, pred, target):
        return self.inner(pred, target)


class Passing(nn.Module):
    """A module that hands its `reduction` on, beside weights that its attributes do not show."""

    def __init__(self):
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred, target):
        return F.cross_entropy(pred, target, weight=WEIGHT, reduction=self.reduction)


def weighted(pred, target, reduction="mean"):
    return F.cross_entropy(pred, target, weight=WEIGHT, reduction=reduction)


TABLE = {
    "lambda, weights": (lambda p, t: F.cross_entropy(p, t, weight=WEIGHT), CLASSES, WEIGHTED),
    "a module that holds weights": (Holding(), CLASSES, WEIGHTED),
    "a module with a reduction": (Passing(), CLASSES, WEIGHTED),
    "a function with a reduction": (weighted, CLASSES, WEIGHTED),
    "nn.CrossEntropyLoss, weights": (nn.CrossEntropyLoss(weight=WEIGHT), CLASSES, WEIGHTED),
    "CrossEntropyLossFlat, weights": (CrossEntropyLossFlat(weight=WEIGHT), CLASSES, WEIGHTED),
    "lambda, one to ignore": (lambda p, t: F.cross_entropy(p, t), torch.tensor([0, -100]), FIRST),
    "one to ignore": (CrossEntropyLossFlat(), torch.tensor([0, -100]), FIRST),
    "batchmean": (
        lambda p, t: F.kl_div(p.log_softmax(1), t, reduction="batchmean"),
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        (FIRST + SECOND) / 2,
    ),
    "nn.KLDivLoss": (
        nn.KLDivLoss(reduction="batchmean"),
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        # of the predictions as they are, (2, 0): 1 log 1 - 1 * 2, and 1 log 1 - 1 * 0
        -1.0,
    ),
}
UNMIXED = {
    "RustMixUp": lambda: RustMixUp(0),
    "RustCutMix": lambda: RustCutMix(0),
    "RustMix": lambda: RustMix(Fixed(1)),
    "RustManifoldMixUp": lambda: RustManifoldMixUp(0),
    "prob=0": lambda: RustMixUp(prob=0.0),
}


@pytest.mark.parametrize(("loss_func", "target", "value"), TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("make", UNMIXED.values(), ids=UNMIXED)
@pytest.mark.filterwarnings("ignore:.*not known to come apart")
def test_with_a_lam_of_1_it_is_the_loss_itself(make, loss_func, target, value):
    callback = make()
    pred = PRED
    if isinstance(callback, RustManifoldMixUp):
        learn = learner(callback, one_batch_of(torch.rand(2, 3, 8, 8), target), lambda: Constant(pred), loss_func)
        callback.layer = learn.model
        assert fit(learn, 1, 0.0).item() == pytest.approx(value, rel=1e-5)
        return
    assert loss_of(callback, loss_func, pred, target) == pytest.approx(value, rel=1e-5)


def test_a_lam_per_sample_is_weighted_as_the_loss_weights():
    """By a known loss, and by one that shows that its elements are not its mean: that needs one lam."""
    lam = (0.8, 0.6)
    own, partner = (FIRST, 9 * SECOND), (9 * SECOND, FIRST)
    total = sum(a * x + (1 - a) * y for a, x, y in zip(lam, own, partner, strict=True))
    over = sum(a * x + (1 - a) * y for a, x, y in zip(lam, (1, 9), (9, 1), strict=True))
    for loss_func in (nn.CrossEntropyLoss(weight=WEIGHT), CrossEntropyLossFlat(weight=WEIGHT)):
        assert loss_of(RustMix(Fixed(lam)), loss_func, PRED, CLASSES) == pytest.approx(total / over, rel=1e-5)
    for loss_func in (Holding(), Passing(), lambda p, t: F.cross_entropy(p, t)):
        with pytest.raises(ValueError, match="one lam for the batch"):
            loss_of(RustMix(Fixed(lam)), loss_func, PRED, CLASSES)


def triplet(pred, target):
    """Batch-hard: the farthest of the own class, the nearest of another, for each sample."""
    distance = (pred[:, None] - pred[None]).abs().sum(2)
    same = target[:, None] == target[None]
    farthest = (distance * same).max(1).values
    nearest = (distance + 1e6 * same).min(1).values
    return F.relu(farthest - nearest + 1).mean()


def contrastive(pred, target):
    """The mean distance within classes less that between them."""
    distance = (pred[:, None] - pred[None]).square().sum(2)
    same = (target[:, None] == target[None]).float()
    return (distance * same).sum() / same.sum() - (distance * (1 - same)).sum() / (1 - same).sum().clamp(min=1)


POINTS, KINDS = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
# Own kinds: farthest (1, 1, 4, 4), nearest other (3, 2, 2, 6): 0, 0, 3, 0. Partners' kinds, 0 1 1 0:
# farthest (7, 2, 2, 7), nearest other (1, 1, 3, 4): 7, 2, 0, 4.
TRIPLET = 0.7 * 3 / 4 + 0.3 * 13 / 4


def test_a_loss_over_the_batch_is_the_pair_of_two_calls():
    assert loss_of(RustMix(Fixed(0.7)), triplet, POINTS, KINDS) == pytest.approx(TRIPLET, rel=1e-5)


@pytest.mark.parametrize("lam", [0.7, 0.25])
@pytest.mark.parametrize(
    ("loss_func", "pred", "target"),
    [
        (triplet, POINTS, KINDS),
        (contrastive, POINTS, KINDS),
        (DiceLoss(axis=1), torch.randn(4, 3, 8, 8), torch.randint(0, 3, (4, 8, 8))),
        (lambda p, t: F.cross_entropy(p, t), torch.randn(4, 3), torch.tensor([0, 2, 1, 1])),
        (Passing(), torch.randn(4, 2), torch.tensor([0, 1, 1, 1])),
        (CrossEntropyLossFlat(), torch.randn(4, 3), torch.tensor([0, -100, 1, 1])),
    ],
    ids=["triplet", "contrastive", "dice", "lambda", "module", "ignored"],
)
def test_one_lam_weights_the_two_losses_of_any_loss(loss_func, pred, target, lam):
    expected = lam * loss_func(pred, target) + (1 - lam) * loss_func(pred, target.roll(-1, 0))
    assert loss_of(RustMix(Fixed(lam)), loss_func, pred, target) == pytest.approx(expected.item(), rel=1e-5)


def test_ctc():
    """Four targets, among them lengths, which are no classes, and predictions whose axis 0 is time."""
    torch.manual_seed(0)
    pred, text = torch.randn(6, 2, 5).log_softmax(2), torch.tensor([[1, 2, 2], [3, 4, 0]])
    times, lengths = torch.tensor([6, 5]), torch.tensor([3, 2])
    ctc = nn.CTCLoss()
    own = ctc(pred, text, times, lengths)
    partner = ctc(pred, text.flip(0), times.flip(0), lengths.flip(0))
    for lam in (1.0, 0.7):
        expected = (lam * own + (1 - lam) * partner).item()
        assert loss_of(RustMix(Fixed(lam)), ctc, pred, text, times, lengths) == pytest.approx(expected, rel=1e-5)


def test_weights_of_samples_go_with_their_own_targets():
    """In the first loss those of the samples, in the second those of the partners: neither is blended."""

    def loss_func(pred, target, weight):
        return (F.cross_entropy(pred, target, reduction="none") * weight).mean()

    own = (1 * FIRST + 5 * SECOND) / 2
    partner = (5 * SECOND + 1 * FIRST) / 2  # at the same predictions
    crossed = (5 * FIRST + 1 * SECOND) / 2
    got = loss_of(RustMix(Fixed(0.7)), loss_func, PRED, CLASSES, torch.tensor([1.0, 5.0]))
    assert got == pytest.approx(0.7 * own + 0.3 * partner, rel=1e-5)
    assert abs(got - (0.7 * own + 0.3 * crossed)) > 0.1
    # Where the predictions differ the two sides do.
    pred = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    own = (1 * FIRST + 5 * math.log(2)) / 2
    partner = (5 * SECOND + 1 * math.log(2)) / 2
    got = loss_of(RustMix(Fixed(0.7)), loss_func, pred, CLASSES, torch.tensor([1.0, 5.0]))
    assert got == pytest.approx(0.7 * own + 0.3 * partner, rel=1e-5)


@pytest.mark.parametrize(
    "loss_func",
    [CrossEntropyLossFlat(), nn.CrossEntropyLoss(), F.cross_entropy, lambda p, t: F.cross_entropy(p, t), Passing],
    ids=["flat", "module", "function", "lambda", "with a reduction"],
)
@pytest.mark.filterwarnings("ignore:.*not known to come apart")
@pytest.mark.parametrize("callback", [RustMixUp, RustCutMix])
def test_one_target_to_ignore_ends_no_fit(callback, loss_func):
    images, classes = digits()
    targets = classes.clone()
    targets[3] = -100
    if loss_func is Passing:
        loss_func = type(
            "Ignoring", (Passing,), {"forward": lambda _, p, t: F.cross_entropy(p, t, ignore_index=-100)}
        )()
    learn = learner(
        [callback(rng=1), TerminateOnNaNCallback()],
        lambda: loaders(n=64, images=images, targets=targets, typed=False),
        loss_func=loss_func,
    )
    losses = fit(learn, 2)
    assert len(losses) == 4
    assert torch.isfinite(torch.tensor(losses)).all()


def warned(callback, loss_func, dls=None):
    learn = learner(callback, dls or (lambda: loaders(n=96)), loss_func=loss_func)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(learn, 2)
    return [str(w.message) for w in caught if "come apart" in str(w.message)], learn


class Lams(RustMixUp):
    """Keeps every plan's weights."""

    def before_fit(self):
        super().before_fit()
        self.lams = []

    def after_pred(self):
        super().after_pred()
        self.lams.append(self.plan.lam.copy())


def test_another_loss_gets_one_lam_for_the_batch_and_one_warning():
    messages, learn = warned(Lams(rng=1), lambda p, t: F.cross_entropy(p, t))
    assert len(messages) == 1
    assert "one lam" in messages[0]
    assert all((lam == lam[0]).all() for lam in learn.mix_up.lams)
    assert len({float(lam[0]) for lam in learn.mix_up.lams}) == len(learn.mix_up.lams) == 6


@pytest.mark.parametrize("loss_func", [CrossEntropyLossFlat(), nn.CrossEntropyLoss(), F.cross_entropy])
def test_a_known_loss_gets_one_per_sample(loss_func):
    messages, learn = warned(Lams(rng=1), loss_func)
    assert messages == []
    assert all((lam != lam[0]).any() for lam in learn.mix_up.lams)


def test_a_loss_that_is_found_to_come_apart_gets_one_per_sample():
    """It has a `reduction`, its parts reduced are its value, and the loader says how many classes there are."""

    class Own(nn.Module):
        reduction = "mean"
        calls = 0

        def forward(self, pred, target):
            Own.calls += 1
            return F.cross_entropy(pred, target, reduction=self.reduction)

    def with_classes():
        dls = loaders(n=96)
        dls.c = 10
        return dls

    messages, learn = warned(Lams(rng=1), Own(), with_classes)
    assert messages == []
    assert all((lam != lam[0]).any() for lam in learn.mix_up.lams)
    # In a batch two to try it on its targets, two calls, and two for the values that these must give; one a batch of
    # validation; four to try it on made targets at each of the two epochs.
    assert Own.calls == 6 * 6 + 2 + 2 * 4


def test_a_loss_that_only_says_so_gets_one_for_the_batch():
    """Its elements, reduced, are not its value: the attribute is not believed."""

    class Lying(nn.Module):
        reduction = "mean"

        def forward(self, pred, target):
            losses = F.cross_entropy(pred, target, reduction="none")
            return losses if self.reduction == "none" else losses.square().mean()

    def with_classes():
        dls = loaders(n=96)
        dls.c = 10
        return dls

    messages, learn = warned(Lams(rng=1), Lying(), with_classes)
    assert len(messages) == 1
    assert all((lam == lam[0]).all() for lam in learn.mix_up.lams)


class Reduced(nn.Module):
    """A loss of one's own with a reduction, which shows nothing else of itself."""

    def __init__(self, of):
        super().__init__()
        self.of, self.reduction = of, "mean"

    def forward(self, pred, target):
        return self.of(pred, target, self.reduction)


def hard(pred, target, reduction):
    """The mean of the 16 largest."""
    losses = F.cross_entropy(pred, target, reduction="none")
    return losses if reduction == "none" else losses.topk(min(16, len(losses))).values.mean()


RARE = torch.ones(100).index_fill(0, torch.tensor([57]), 50.0)
SEEMING = {
    "to ignore": (lambda p, y, reduction: F.cross_entropy(p, y, reduction=reduction), 10, -100),
    "to ignore, another": (lambda p, y, reduction: F.cross_entropy(p, y, None, None, 255, None, reduction), 10, 255),
    "the hardest": (hard, 10, 3),
    "a rare class of weight": (lambda p, y, reduction: F.cross_entropy(p, y, RARE, reduction=reduction), 100, 57),
}


@pytest.mark.parametrize(("of", "classes", "some"), SEEMING.values(), ids=SEEMING)
@pytest.mark.filterwarnings("ignore:.*not known to come apart")
def test_a_loss_that_comes_apart_for_other_targets_gets_one_for_the_batch(of, classes, some):
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.randn(40, classes, generator=generator), torch.randint(0, 10, (40,), generator=generator)
    target[::3] = some

    def dls():
        made = one_batch_of(torch.rand(40, 3, 8, 8), target)()
        made.c = classes
        return made

    mixing = RustMixUp(1.0, rng=1)
    loss = fit(learner(mixing, dls, lambda: Constant(pred), Reduced(of)), 1, 0.0).item()
    assert (mixing.lam == mixing.lam[0]).all()
    own, partner = (of(pred, torch.Tensor(y).long(), "mean") for y in (target, mixing.yb1[0]))
    assert loss == pytest.approx((mixing.lam[0] * own + (1 - mixing.lam[0]) * partner).item(), rel=1e-5)


def some_ignored(shuffle=False):
    """The second of three batches has a target to ignore."""
    targets = digits()[1].clone()
    targets[40] = -100
    made = loaders(n=96, targets=targets, typed=False)
    made.train.shuffle, made.c = shuffle, 10
    return made


def test_batches_whose_targets_show_it_get_one_lam_each():
    mixing = Lams(rng=1)
    with pytest.warns(UserWarning, match="not known to come apart") as caught:
        fit(learner(mixing, some_ignored, loss_func=Reduced(SEEMING["to ignore"][0])), 2)
    assert len([w for w in caught if "come apart" in str(w.message)]) == 1
    assert [len(set(lam.tolist())) == 1 for lam in mixing.lams] == [False, True, False] * 2


def test_partners_that_show_it_alone_are_an_error():
    """The inputs of that batch are mixed already."""

    def dls():
        made = loaders(n=64, typed=False)
        made.c = 10
        return made

    learn = learner(RustMixUp(rng=1, other=some_ignored().train), dls, loss_func=Reduced(SEEMING["to ignore"][0]))
    with pytest.raises(ValueError, match="one lam for the batch"):
        fit(learn, 1)
    assert len(learn.batch_losses.values) == 1


def test_a_rule_and_a_loss_may_be_replaced_within_an_epoch():
    class Replace(Callback):
        def after_batch(self):
            if self.training and self.learn.iter == 0:
                self.learn.mix_up.rule = Mixup(mode="pair")
            if self.training and self.learn.iter == 1:
                self.learn.loss_func = lambda p, t: F.cross_entropy(p, t)

    with pytest.warns(UserWarning, match="not known to come apart"):
        fit(learn := learner([mixing := Lams(mode="batch", rng=1), Replace()], lambda: loaders(n=96)), 1)
    assert [len(set(lam.tolist())) > 1 for lam in mixing.lams] == [False, True, False]
    assert len(learn.batch_losses.values) == 3


def test_cutmix_says_nothing_and_calls_any_loss_twice():
    calls = []

    def loss_func(pred, target):
        calls.append(len(target))
        return F.cross_entropy(pred, target)

    messages, _ = warned(RustCutMix(rng=1), loss_func)
    assert messages == []
    assert calls == [32, 32] * 3 + [32] + [32, 32] * 3 + [32]


@pytest.mark.parametrize("kind", ["dict", "tuple", "ModelOutput"])
@pytest.mark.parametrize(
    "callback", [lambda: RustMix(Fixed(0.7)), lambda: RustMixUp(rng=1)], ids=["one lam", "RustMixUp"]
)
@pytest.mark.filterwarnings("ignore:.*not known to come apart")
def test_predictions_may_be_dicts_and_tuples(kind, callback):
    class Output(dict):
        """As a ModelOutput of transformers: a dict whose entries are attributes too."""

        __getattr__ = dict.__getitem__

    class Model(Constant):
        def forward(self, *inputs):
            logits = super().forward(*inputs)
            return {"dict": {"logits": logits}, "tuple": (logits, logits.sum()), "ModelOutput": Output(logits=logits)}[
                kind
            ]

    def loss_func(pred, target):
        return F.cross_entropy(pred[0] if kind == "tuple" else pred["logits"], target)

    mixing = callback()
    learn = learner(mixing, one_batch_of(torch.rand(2, 3, 8, 8), CLASSES), lambda: Model(PRED), loss_func)
    loss = fit(learn, 1, 0.0).item()
    lam = float(mixing.lam[0])
    partner = F.cross_entropy(PRED, mixing.yb1[0])
    assert loss == pytest.approx((lam * (FIRST + SECOND) / 2 + (1 - lam) * partner).item(), rel=1e-5)


class ArcFace(nn.Module):
    """The worked example of `pair=True`: a head whose margin depends on the label takes both labels and one lam.

    In training `RustMixUp(mode="batch", pair=True)` calls it as (embeddings, y, y_partner, lam), in validation fastai
    calls it as (embeddings, y).
    """

    def __init__(self, size, classes, margin=0.5, scale=8.0):
        super().__init__()
        self.margin, self.scale = margin, scale
        self.centres = nn.Parameter(F.normalize(torch.randn(classes, size)))

    def forward(self, embeddings, y, y_partner=None, lam=1.0):
        cosine = F.normalize(embeddings) @ F.normalize(self.centres).T
        loss = F.cross_entropy(self.logits(cosine, y), y)
        if y_partner is None:
            return loss
        return lam * loss + (1 - lam) * F.cross_entropy(self.logits(cosine, y_partner), y_partner)

    def logits(self, cosine, y):
        angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        own = F.one_hot(y, cosine.shape[1]).bool()
        return self.scale * torch.where(own, torch.cos(angle + self.margin), cosine)


@pytest.mark.parametrize("callback", [RustMixUp, RustCutMix])
def test_a_head_that_needs_labels_is_given_both_and_one_lam(callback):
    torch.manual_seed(0)
    head = ArcFace(8, 10)
    given = []
    head.register_forward_pre_hook(lambda _, args: given.append(args))
    learn = learner(
        callback(mode="batch", pair=True, rng=1), lambda: loaders(n=96, typed=False), lambda: tiny_model(8), head
    )
    losses = fit(learn, 2, 1e-2)
    in_training = [args for args in given if len(args) == 4]
    assert len(in_training) == len(losses) == 6
    assert [len(args) for args in given if len(args) != 4] == [2, 2]  # in validation
    for (pred, y, y_partner, lam), loss in zip(in_training[-1:], losses[-1:], strict=True):
        assert lam.ndim == 0
        mixing = next(cb for cb in learn.cbs if isinstance(cb, callback))
        assert lam == mixing.lam[0]
        assert (mixing.lam == lam).all()
        assert torch.equal(torch.Tensor(y_partner), torch.Tensor(mixing.yb1[0]))
        cosine = F.normalize(pred) @ F.normalize(head.centres).T
        both = [F.cross_entropy(head.logits(cosine, t), t) for t in (y, y_partner)]
        # The centres took no step: they are no parameters of the learner.
        assert loss == pytest.approx((lam * both[0] + (1 - lam) * both[1]).item(), rel=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RustMixUp(pair=True),
        lambda: RustCutMix(mode="elem", pair=True),
        lambda: RustMixUp(mode="pair", pair=True),
        lambda: RustMix(Mixup(0.4), pair=True),
        lambda: RustMix(CutMix(mode="elem"), pair=True),
    ],
)
def test_a_pair_with_a_lam_per_sample_is_an_error_at_once(make):
    with pytest.raises(ValueError, match="mode='batch'"):
        make()


@pytest.mark.parametrize("targets", [CLASSES, torch.tensor([0.5, 1.5])], ids=["classes", "floats"])
def test_a_pair_with_a_rule_that_draws_several_is_an_error_in_training(targets):
    with pytest.raises(ValueError, match="pair=True"):
        loss_of(RustMix(Fixed((0.8, 0.6)), pair=True), lambda p, a, b, lam: p.mean(), PRED, targets)
