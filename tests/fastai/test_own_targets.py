"""A user's own targets are what they are, whatever they look like; and what a callback keeps of the last batch."""

import pickle

import numpy as np
import pytest
import torch
from fastai.vision.all import CrossEntropyLossFlat, F, Learner, nn
from learners import Constant, EitherMix, Fixed, digits, fit, learner, loaders, one_batch_of

from mixup_rs import Mixup
from mixup_rs.fastai import MixCollateEpoch, RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.torch import MixCollate

IMAGES, CLASSES = digits()
PRED = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
A, B = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([3, 3, 1, 0, 2, 2])
SHARE = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 1.0])


def of_three(pred, a, b, share):
    """A user's own loss of two classes of a sample and a share of each, as if they were mixed already."""
    first, second = (F.cross_entropy(pred, t, reduction="none") for t in (a, b))
    return (share * first + (1 - share) * second).mean()


@pytest.mark.parametrize("nested", [False, True], ids=["three entries", "one tuple"])
def test_two_classes_and_a_share_are_three_targets(nested):
    """They are not taken for (y, y_partner, lam)."""
    loss_func = (lambda pred, three: of_three(pred, *three)) if nested else of_three
    dls = one_batch_of(torch.rand(6, 3, 8, 8), A, B, SHARE)
    if nested:

        def dls():
            samples = [(torch.rand(3, 8, 8), (A[i], B[i], SHARE[i])) for i in range(6)]
            made = one_batch_of(A, A)()
            for dl in made:
                dl.dataset = samples
            return made

    learn = learner(RustMix(Fixed(0.7)), dls, lambda: Constant(PRED), loss_func)
    own = of_three(PRED, A, B, SHARE)
    partner = of_three(PRED, *(t.roll(-1, 0) for t in (A, B, SHARE)))
    assert fit(learn, 1, 0.0).item() == pytest.approx((0.7 * own + 0.3 * partner).item(), rel=1e-5)


@pytest.mark.parametrize("callback", [RustMixUp, RustCutMix])
def test_so_they_are_in_validation_and_under_a_lam_of_1(callback):
    learn = learner(
        callback(0), one_batch_of(torch.rand(6, 3, 8, 8), A, B, SHARE), lambda: Constant(PRED), of_three
    )  # fmt: skip
    value = of_three(PRED, A, B, SHARE).item()
    assert fit(learn, 1, 0.0).item() == pytest.approx(value, rel=1e-6)
    with learn.no_bar(), learn.no_logging():
        assert learn.validate()[0] == pytest.approx(value, rel=1e-6)


def test_so_they_are_from_a_loader_that_mixes():
    """The MixCollate makes a pair of each; the share is blended."""
    samples = [(torch.rand(3, 8, 8), A[i], B[i], SHARE[i]) for i in range(6)]
    given = []

    def loss_func(pred, a, b, share):
        given.append((a, b, share))
        return of_three(pred, a, b, share)

    def dls():
        made = one_batch_of(A, A)()
        made.train.dataset = samples
        made.valid.dataset = samples
        made.train.create_batch = MixCollate(Fixed(0.7))
        return made

    learn = learner(RustMixUp(), dls, lambda: Constant(PRED), loss_func)
    loss = fit(learn, 1, 0.0).item()
    blended = 0.7 * SHARE + 0.3 * SHARE.roll(-1, 0)
    own, partner = of_three(PRED, A, B, blended), of_three(PRED, A.roll(-1, 0), B.roll(-1, 0), blended)
    assert loss == pytest.approx((0.7 * own + 0.3 * partner).item(), rel=1e-5)


CALLBACKS = [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp, lambda: RustMixUp(rng="torch")]


@pytest.mark.parametrize("make", CALLBACKS, ids=["RustMixUp", "RustCutMix", "RustMix", "RustManifoldMixUp", "torch"])
def test_lam_and_yb1_are_those_of_the_last_batch_after_the_fit(make):
    callback, seen = make(), []
    learn = learner(callback, lambda: loaders(n=96))
    after_pred = callback.after_pred
    callback.after_pred = lambda: (seen.append((callback.lam.clone(), callback.yb1[0].clone())), after_pred())
    fit(learn, 1)
    del callback.after_pred
    lam, partner = seen[-1]
    for _ in range(2):
        assert torch.equal(callback.lam, lam)
        assert torch.equal(torch.Tensor(callback.yb1[0]), torch.Tensor(partner))
        assert isinstance(callback.yb1, tuple)
        assert lam.shape == (32,)
        assert lam.dtype == torch.float32
        learn.validate()
    learn.remove_cb(callback)  # they are the callback's own
    assert torch.equal(callback.lam, lam)
    held = pickle.loads(pickle.dumps(callback))
    assert not [name for name, value in vars(held).items() if isinstance(value, torch.Tensor) and value.numel() > 1]
    with pytest.raises(AttributeError, match="lam"):
        held.lam  # noqa: B018
    assert held.yb1 == ()


def test_they_outlive_a_learner_that_is_a_context():
    """As in fastai's own notebook."""
    mixup, dls = RustMixUp(0.5), loaders()
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))
    with Learner(dls, model, loss_func=CrossEntropyLossFlat(), cbs=mixup) as learn:
        learn.epoch, learn.training = 0, True
        learn.dl = dls.train
        b = dls.one_batch()
        learn._split(b)
        learn("before_train")
        learn("before_batch")
        plan = mixup.plan
    torch.testing.assert_close(mixup.lam, torch.from_numpy(plan.lam).float())
    assert torch.equal(torch.Tensor(mixup.yb1[0]), torch.Tensor(b[1])[plan.partner])


def test_they_are_there_after_a_fit_that_is_interrupted():
    class Stop(RustMixUp):
        def after_batch(self):
            raise KeyboardInterrupt

    learn = learner(mixing := Stop(), lambda: loaders(n=96))
    with pytest.raises(KeyboardInterrupt):
        fit(learn, 1)
    assert mixing.lam.shape == (32,)
    assert len(mixing.yb1) == 1


def test_before_the_first_batch_there_is_no_lam():
    mixing = RustMixUp()
    learner(mixing)
    with pytest.raises(AttributeError, match="lam"):
        mixing.lam  # noqa: B018
    assert not hasattr(mixing, "lam")
    assert mixing.distrib.concentration0 == pytest.approx(0.4)


def test_the_pair_of_a_loader_is_kept_after_the_fit_as_well():
    def dls():
        made = loaders(n=96)
        made.train.create_batch = MixCollate(Mixup(1.0), rng=7)
        return made

    learn = learner(mixing := RustMixUp(), dls)
    fit(learn, 1)
    assert mixing.lam.shape == (32,)
    assert (mixing.lam < 1).any()
    assert mixing.yb1[0].shape == (32,)


def test_epochs_alone_do_not_supply_the_loss():
    """MixCollateEpoch beside a loss of one's own, which is given what fastai leaves of a pair: a tuple of three."""
    given = []

    def loss_func(pred, target):
        given.append(type(target).__name__)
        return F.cross_entropy(pred, target[0]) if isinstance(target, tuple) else F.cross_entropy(pred, target)

    def dls():
        made = loaders(n=64, typed=False)
        made.train.create_batch = MixCollate(Mixup(1.0), rng=7)
        return made

    losses = fit(learner(MixCollateEpoch(), dls, loss_func=loss_func), 1)
    assert np.isfinite(losses).all()
    assert given == ["tuple"] * 2 + ["Tensor"]
