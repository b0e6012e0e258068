"""A MixCollate mixes training batches alone: evaluation on whichever data sees them as they are."""

from contextlib import suppress

import matplotlib
import numpy as np
import pytest
import torch
from fastai.vision.all import (
    Callback,
    CancelEpochException,
    CancelFitException,
    CancelTrainException,
    CategoryBlock,
    ClassificationInterpretation,
    CrossEntropyLossFlat,
    DataBlock,
    F,
    ImageBlock,
    IndexSplitter,
    Interpretation,
    PILImage,
    accuracy,
    nn,
)
from fastai_trials import data_sets
from learners import Constant, EitherMix, Fixed, digits, fit, learner, one_batch_of, tiny_model

from mixup_rs import Mixup
from mixup_rs.fastai import MixCollateEpoch, RustMixUp
from mixup_rs.torch import MixCollate

matplotlib.use("Agg")
IMAGES, CLASSES = digits()


def mixing(**options):
    dls = data_sets()
    dls.train.create_batch = MixCollate(Mixup(1.0, fold=False), rng=7, **options)
    return dls


class Epochs(MixCollateEpoch):
    """`MixCollateEpoch`, with a loss that takes the pairs it leaves."""


def loss_of_pairs(pred, target):
    if isinstance(target, tuple):
        return (target[2] * F.cross_entropy(pred, target[0], reduction="none")).mean()
    return F.cross_entropy(pred, target)


@pytest.mark.parametrize("num_classes", [None, 10])
@pytest.mark.parametrize("callback", [RustMixUp, EitherMix, Epochs])
def test_evaluation_on_the_training_set_is_not_mixed(callback, num_classes):
    loss_func = CrossEntropyLossFlat()
    if callback is Epochs:
        loss_func = loss_of_pairs if num_classes is None else nn.CrossEntropyLoss()
    learn = learner(callback(), lambda: mixing(num_classes=num_classes), loss_func=loss_func, metrics=accuracy)
    for _ in range(2):
        losses = fit(learn, 1)
        assert np.isfinite(losses).all()
        with torch.no_grad():
            logits = learn.model.eval()(IMAGES[:192])
        value = F.cross_entropy(logits[:160], CLASSES[:160])
        hits = (logits[:160].argmax(1) == CLASSES[:160]).float().mean()
        with learn.no_bar(), learn.no_logging():
            for dl in (None, learn.dls.train.new(shuffle=False, drop_last=False)):
                got = learn.validate(ds_idx=0, dl=dl) if dl is None else learn.validate(dl=dl)
                assert list(got) == pytest.approx([value.item(), hits.item()], rel=1e-4)
            predictions, targets = learn.get_preds(ds_idx=0, reorder=True, act=nn.Identity())
            torch.testing.assert_close(torch.Tensor(predictions), logits[:160])
            assert torch.equal(torch.Tensor(targets).long(), CLASSES[:160])
            again, _ = learn.get_preds(dl=learn.dls.train, act=nn.Identity())
            assert torch.Tensor(again).shape[1] == 10
            _, _, each = learn.get_preds(ds_idx=0, with_loss=True) if callback is not Epochs else (0, 0, value)
            assert each.mean().item() == pytest.approx(value.item(), rel=1e-4)


def test_interpretation_and_pictures_of_the_training_set():
    def with_names():
        block = DataBlock(
            blocks=(ImageBlock, CategoryBlock(vocab=list(range(10)))),
            get_x=lambda i: PILImage.create((IMAGES[i].permute(1, 2, 0) * 255).byte().numpy()),
            get_y=lambda i: int(CLASSES[i]),
            splitter=IndexSplitter(range(160, 192)),
        )
        dls = block.dataloaders(list(range(192)), bs=32, num_workers=0, device="cpu")
        dls.train.create_batch = MixCollate(Mixup(1.0, fold=False), rng=7)
        return dls

    learn = learner(RustMixUp(), with_names, metrics=accuracy)
    fit(learn, 1)
    with learn.no_bar(), learn.no_logging():
        interpretation = ClassificationInterpretation.from_learner(learn, ds_idx=0)
        counts = interpretation.confusion_matrix()
        worst, rows = Interpretation.from_learner(learn, ds_idx=0).top_losses(5)
        learn.show_results(ds_idx=0, max_n=2, shuffle=False)
    with torch.no_grad():
        logits = learn.model.eval()((IMAGES[:160] * 255).byte().float() / 255)
    guess, each = logits.argmax(1), F.cross_entropy(logits, CLASSES[:160], reduction="none")
    expected = np.zeros((10, 10), dtype=int)
    np.add.at(expected, (CLASSES[:160].numpy(), guess.numpy()), 1)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_allclose(worst, each.topk(5).values, rtol=1e-4)
    assert set(np.asarray(rows).tolist()) == set(each.topk(5).indices.tolist())


@pytest.mark.parametrize("make", [RustMixUp, MixCollateEpoch])
def test_a_batch_taken_by_hand_is_not_mixed_while_the_callback_is_there(make):
    """dls.one_batch() before the fit changes nothing, and shows the data."""
    learn = learner(make(), mixing, loss_func=loss_of_pairs if make is MixCollateEpoch else None)
    fit(learn, 1)
    _, target = learn.dls.train.one_batch()
    assert not isinstance(target, tuple)

    def losses(looks):
        learn = learner(RustMixUp(), mixing)
        state = torch.random.get_rng_state()
        for _ in range(looks):
            learn.dls.train.one_batch()
        torch.random.set_rng_state(state)
        learn.dls.train.rng.seed(0)
        return fit(learn, 1)

    np.testing.assert_array_equal(losses(0), losses(3))


class Stop(Callback):
    """Raises in the second training batch."""

    order = -5

    def __init__(self, exception):
        self.exception = exception

    def after_pred(self):
        if self.training and self.learn.iter == 1:
            raise self.exception


@pytest.mark.parametrize("make", [RustMixUp, MixCollateEpoch])
@pytest.mark.parametrize(
    "exception", [KeyboardInterrupt, ValueError, CancelTrainException, CancelEpochException, CancelFitException]
)
def test_nor_after_a_fit_that_was_stopped(make, exception):
    """Whether or not fastai calls an event on the way out."""
    learn = learner(make(), mixing, loss_func=loss_of_pairs if make is MixCollateEpoch else None)
    with suppress(KeyboardInterrupt, ValueError), learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=[Stop(exception("stop"))])
    assert not learn.dls.train.create_batch.mixes()
    assert not isinstance(learn.dls.train.one_batch()[1], tuple)
    mixed = []
    learn.add_cb(Callback(before_batch=lambda: None))
    learn.cbs[-1].before_batch = lambda: mixed.append(learn.dls.train.create_batch.mixes())
    fit(learn, 1)
    assert mixed == [True] * 5 + [False]
    learn.remove_cb(make)
    assert isinstance(learn.dls.train.one_batch()[1], tuple)


def test_lr_find_leaves_the_loader_as_it_was(tmp_path):
    learn = learner(RustMixUp(), mixing)
    learn.path = tmp_path
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=5, show_plot=False)
    assert not isinstance(learn.dls.train.one_batch()[1], tuple)


@pytest.mark.parametrize("workers", [0, 2])
def test_predictions_of_the_training_set_within_an_epoch_leave_the_rest_of_it_mixed(workers):
    class Predict(Callback):
        order = 90

        def __init__(self):
            self.own, self.kinds = [], []

        def before_batch(self):
            if self.training:
                self.kinds.append(self.learn.mix_up._loaded is not None)

        def after_batch(self):
            if self.training and self.learn.iter == 1:
                learn = self.learn
                kept = {name: getattr(learn, name) for name in ("dl", "xb", "yb", "pred", "loss", "iter")}
                self.own.append(learn.get_preds(ds_idx=0, inner=True)[1])
                vars(learn).update(kept, training=True)
                learn.model.train()

    def dls():
        made = mixing()
        made.train = made.train.new(num_workers=workers)
        return made

    learn = learner([RustMixUp(), Predict()], dls)
    fit(learn, 1)
    assert learn.predict.kinds == [True] * 5
    assert [own.shape for own in learn.predict.own] == [(160,)]


@pytest.mark.parametrize("make", [RustMixUp, MixCollateEpoch])
def test_it_mixes_while_the_callback_is_away(make):
    learn = learner([], mixing)
    for _ in range(2):
        assert isinstance(learn.dls.train.one_batch()[1], tuple)
        learn.add_cb(callback := make())
        assert not isinstance(learn.dls.train.one_batch()[1], tuple)
        with learn.removed_cbs(callback):
            assert isinstance(learn.dls.train.one_batch()[1], tuple)
        assert not isinstance(learn.dls.train.one_batch()[1], tuple)
        learn.remove_cb(callback)


@pytest.mark.parametrize("make", [RustMixUp, MixCollateEpoch])
def test_without_the_callback_the_loader_mixes_again(make):
    """It is not left switched off."""
    learn = learner(make(), mixing, loss_func=loss_of_pairs if make is MixCollateEpoch else None)
    fit(learn, 1)
    learn.remove_cb(make)
    _, target = learn.dls.train.one_batch()
    assert isinstance(target, tuple)


@pytest.mark.parametrize("make", [RustMixUp, MixCollateEpoch])
@pytest.mark.parametrize("fits", [0, 1])
def test_a_loader_that_the_learner_has_no_more_mixes_again(make, fits):
    learn = learner(make(), mixing, loss_func=loss_of_pairs if make is MixCollateEpoch else None)
    first = learn.dls
    for _ in range(fits):
        fit(learn, 1)
    learn.dls = mixing()
    fit(learn, 1)
    assert isinstance(first.train.one_batch()[1], tuple)
    assert not isinstance(learn.dls.train.one_batch()[1], tuple)
    with learn.no_bar(), learn.no_logging():
        learn.validate(dl=first.train)
    learn.dls = first
    fit(learn, 1)
    assert not isinstance(first.train.one_batch()[1], tuple)


@pytest.mark.parametrize("make", [RustMixUp, MixCollateEpoch])
def test_evaluation_on_a_mixing_loader_of_no_learner_is_not_mixed(make):
    learn, other = learner(make(), mixing, loss_func=lambda pred, y: F.cross_entropy(pred, y)), mixing().train
    with learn.no_bar(), learn.no_logging():
        _, targets = learn.get_preds(dl=other)
        learn.validate(dl=other)
    assert targets.dtype == torch.int64


class Fed(Callback):
    """The targets and predictions of each training batch, before the loss, and the loss."""

    order = -10

    def before_fit(self):
        self.seen = []

    def after_batch(self):
        if self.training:
            self.seen.append((torch.Tensor(self.learn.pred.detach()), self.learn.yb, self.learn.loss.item()))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (CrossEntropyLossFlat, {}),
        (CrossEntropyLossFlat, {"weight": torch.linspace(0.5, 2, 10)}),
        (CrossEntropyLossFlat, {"label_smoothing": 0.1}),
        (nn.CrossEntropyLoss, {}),
    ],
)
def test_soft_targets_with_fastais_loss_have_the_soft_loss(make, options):
    learn = learner([RustMixUp(), Fed()], lambda: mixing(num_classes=10), loss_func=make(**options))
    losses = fit(learn, 4)
    assert losses[-5:].mean() < losses[:5].mean()
    for pred, (target,), loss in learn.fed.seen:
        soft = torch.Tensor(target)
        assert soft.shape == (32, 10)
        torch.testing.assert_close(soft.sum(1), torch.ones(32))
        soft = soft * (1 - options.get("label_smoothing", 0)) + options.get("label_smoothing", 0) / 10
        expected = -(soft * options.get("weight", torch.ones(10)) * pred.log_softmax(1)).sum(1).mean()
        assert loss == pytest.approx(expected.item(), rel=1e-4)
    with learn.no_bar(), learn.no_logging():
        assert np.isfinite(learn.validate()[0])


A, B = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 0, 0, 1, 0])
FIRST, SECOND = (torch.randn(6, n, generator=torch.Generator().manual_seed(n)) for n in (4, 2))


def of_two_heads(pred, *targets):
    a, b = targets if len(targets) == 2 else (targets[0].values() if isinstance(targets[0], dict) else targets[0])
    return F.cross_entropy(pred[0], a) + 2 * F.cross_entropy(pred[1], b)


@pytest.mark.parametrize(
    ("shape", "num_classes"),
    [
        *((shape, None) for shape in ("entries", "tuple", "dict")),
        *((shape, [4, 2]) for shape in ("entries", "tuple")),
        ("dict", {"a": 4, "b": 2}),
    ],
    ids=str,
)
def test_heads_in_tuples_and_dicts(shape, num_classes):
    """Each head's loss of its own soft targets, or of both pairs."""
    image = torch.rand(3, 8, 8)
    samples = {
        "entries": [(image, int(a), int(b)) for a, b in zip(A, B, strict=True)],
        "tuple": [(image, (int(a), int(b))) for a, b in zip(A, B, strict=True)],
        "dict": [(image, {"a": int(a), "b": int(b)}) for a, b in zip(A, B, strict=True)],
    }[shape]

    def dls():
        made = one_batch_of(A, A)()
        for dl in made:
            dl.dataset = samples
        made.train.create_batch = MixCollate(Fixed(0.7), num_classes=num_classes)
        return made

    learn = learner(RustMixUp(), dls, lambda: Constant((FIRST, SECOND)), of_two_heads)
    pair = [0.7 * of_two_heads((FIRST, SECOND), A, B), 0.3 * of_two_heads((FIRST, SECOND), A.roll(-1), B.roll(-1))]
    # Cross-entropy is linear in its target: the soft loss is the pair's.
    assert fit(learn, 1, 0.0).item() == pytest.approx(sum(pair).item(), rel=1e-5)
    with learn.no_bar(), learn.no_logging():
        assert learn.validate()[0] == pytest.approx(of_two_heads((FIRST, SECOND), A, B).item(), rel=1e-5)


def test_off_epoch_and_the_epochs_reach_the_loader_without_another_callback():
    learn = learner([RustMixUp(), Fed()], lambda: mixing(num_classes=10, off_epoch=1), model=tiny_model)
    fit(learn, 2)
    is_soft = [bool(((0 < torch.Tensor(y)) & (torch.Tensor(y) < 1)).any()) for _, (y,), _ in learn.fed.seen]
    assert is_soft == [True] * 5 + [False] * 5
