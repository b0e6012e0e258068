"""Partners from recent batches, or from a second loader: what is mixed, the labels and the loss, by hand."""

import pickle

import numpy as np
import pytest
import torch
from fastai.vision.all import Callback, CancelFitException, CrossEntropyLossFlat, MSELossFlat, nn
from learners import EitherMix, digits, fit, learner, loaders, tiny_model
from oracle import mix_plan
from other import mixed as mixed_with

from mixup_rs import CutMix, FMix, Mixup, OneOf, ResizeMix, Within
from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.torch import MixCollate

CALLBACKS = [RustMixUp, RustCutMix, EitherMix]


def mix_other(plan, x, z):
    return mixed_with(plan, x, z, lambda both, batch: mix_plan(batch, both))


def plain(tensor):
    return torch.Tensor(tensor.detach()).clone()


class Given(Callback):
    """The batches before anything is mixed."""

    order = -100

    def before_fit(self):
        self.batches = []

    def before_batch(self):
        if self.training:
            self.batches.append((plain(self.learn.x), torch.Tensor(self.learn.y).clone()))


class Mixed(Callback):
    """What came of each batch: inputs, own and partners' targets, the plan, the prediction and the loss."""

    order = 95

    def __init__(self, mixing):
        self.mixing = mixing

    def before_fit(self):
        self.batches = []

    def after_batch(self):
        if self.training:
            mixing = self.mixing
            partners = tuple(map(plain, mixing.yb1))
            pred = plain(self.learn.pred).double()
            self.batches.append((plain(self.learn.x), partners, mixing.plan, pred, self.learn.loss.item()))


class Targets(Callback):
    """The targets of each mixed batch, and its plan."""

    order = 95

    def __init__(self, mixing):
        self.mixing, self.batches = mixing, []

    def after_batch(self):
        if self.training:
            self.batches.append((torch.Tensor(self.learn.y).clone(), self.mixing.plan))


def run(callback, dls=loaders, epochs=1, **options):
    learn = learner([callback, Given(), Mixed(callback)], dls, **options)
    fit(learn, epochs)
    assert len(learn.given.batches) == len(learn.mixed.batches) > 2
    return [*zip(learn.given.batches, learn.mixed.batches, strict=True)]


def source_of(mixed, plan, x, batches):
    """The number of the batch that a mix has its partners in, by its pixels."""
    fits = []
    for k, (z, _) in enumerate(batches):
        if plan.other != len(z):
            continue
        expected = mix_other(plan, x.numpy().astype(np.float64), z.numpy().astype(np.float64))
        if np.allclose(mixed.numpy(), expected, atol=1e-6):
            fits.append(k)
    (only,) = fits
    return only


def second(n=96, bs=48, start=400, dls=loaders):
    """A loader of other images, in order."""
    images, classes = (torch.stack([sample[at] for sample in dls(n=start + n).train_ds[start:]]) for at in (0, 1))
    data = torch.utils.data.TensorDataset(plain(images), torch.Tensor(classes).long())
    return torch.utils.data.DataLoader(data, batch_size=bs)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_partners_are_of_one_of_the_last_batches(callback, inplace):
    used = set()
    for k, ((x, y), (mixed, (partners,), plan, pred, loss)) in enumerate(
        run(callback(bank=3, rng=1, inplace=inplace), lambda: loaders(n=400, bs=32), epochs=1)
    ):
        if k == 0:
            assert plan.other is None
            earlier = [(x, y)]
            continue
        at = source_of(mixed, plan, x, earlier)
        used.add(len(earlier) - at)
        assert torch.equal(partners.long(), earlier[at][1][plan.partner].long())
        log, lam = pred.log_softmax(1), torch.from_numpy(plan.lam)
        own, theirs = (log.gather(1, z.long()[:, None])[:, 0] for z in (y, partners))
        assert np.isclose(loss, -(lam * own + (1 - lam) * theirs).mean().item(), rtol=1e-4)
        earlier.append((x, y))
    assert used == {1, 2, 3}


def test_the_memory_begins_anew_with_each_epoch_and_is_let_go():
    callback = RustMixUp(bank=2, rng=1)
    steps = run(callback, lambda: loaders(n=96), epochs=2)
    assert [plan.other is None for _, (_, _, plan, _, _) in steps] == [True, False, False] * 2
    assert not callback._elsewhere.batches


def test_no_way_out_leaves_a_memory_behind():
    class Out(Callback):
        error = None

        def after_pred(self):
            if self.training and self.iter == 2 and self.error is not None:
                raise self.error

    for error in (CancelFitException(), KeyboardInterrupt(), ValueError("out")):
        callback = RustMixUp(bank=2, rng=1)
        learn = learner([callback, Mixed(callback), Out()])
        learn.out.error = error
        if isinstance(error, CancelFitException):
            fit(learn, 1)
            assert not callback._elsewhere.batches
        else:
            with pytest.raises(type(error)):
                fit(learn, 1)
        learn.out.error = None
        fit(learn, 1)
        assert [plan.other is None for _, _, plan, _, _ in learn.mixed.batches] == [True, *[False] * 4]


def test_masks_and_resized_partners_in_one_batch():
    loader, both = second(), 0
    theirs = [*loader]
    steps = run(RustMix(OneOf([ResizeMix(), FMix()], mode="elem"), other=loader, rng=1))
    for k, ((x, _), (mixed, (partners,), plan, _, _)) in enumerate(steps):
        z, yz = theirs[k % len(theirs)]
        both += plan.masks is not None and plan.patches is not None
        assert np.array_equal(mixed.numpy(), plan.apply(x.numpy(), other=z.numpy()))
        assert torch.equal(partners.long(), yz[plan.partner])
    assert both


def test_a_seed_repeats_it():
    losses = [fit(learner(RustMixUp(bank=2, rng=seed))) for seed in (1, 1, 2)]
    assert np.array_equal(losses[0], losses[1])
    assert not np.array_equal(losses[0], losses[2])


def test_batches_of_one_sample_are_mixed():
    steps = run(RustMixUp(bank=4, rng=1, alpha=5.0, fold=False), lambda: loaders(n=12, bs=1))
    assert sum(bool((plan.lam < 1).all()) for _, (_, _, plan, _, _) in steps[1:]) == len(steps) - 1
    for (x, _), (mixed, _, _, _, _) in steps[1:]:
        assert not torch.equal(x, mixed)


def test_batches_of_other_shapes_are_left_out():
    """Of two lengths in turn, each has partners of its own length."""

    class Crop(Callback):
        order = -200

        def before_batch(self):
            if self.training and self.iter % 2:
                self.learn.xb = (self.learn.x[..., :8],)

    callback = RustMixUp(bank=3, rng=1)
    learn = learner([Crop(), callback, Given(), Mixed(callback)])
    fit(learn, 1)
    assert len({x.shape for x, _ in learn.given.batches}) == 2
    for k, ((x, _), (mixed, _, plan, _, _)) in enumerate(zip(learn.given.batches, learn.mixed.batches, strict=True)):
        alike = [batch for batch in learn.given.batches[max(k - 3, 0) : k] if batch[0].shape == x.shape]
        assert (plan.other is None) == (not alike)
        if alike:
            source_of(mixed, plan, x, alike)


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_second_loader_gives_partners(callback):
    loader = second()
    theirs = [(x, y) for x, y in loader]
    for epoch in (0, 1):
        callback_ = callback(other=loader, rng=epoch)
        for k, ((x, y), (mixed, (partners,), plan, pred, loss)) in enumerate(run(callback_)):
            z, yz = theirs[k % len(theirs)]
            expected = mix_other(plan, x.numpy().astype(np.float64), z.numpy().astype(np.float64))
            assert np.allclose(mixed.numpy(), expected, atol=1e-6)
            assert torch.equal(partners.long(), yz[plan.partner])
            log, lam = pred.log_softmax(1), torch.from_numpy(plan.lam)
            own, other = (log.gather(1, one.long()[:, None])[:, 0] for one in (y, partners))
            assert np.isclose(loss, -(lam * own + (1 - lam) * other).mean().item(), rtol=1e-4)
        assert callback_._elsewhere._batches is None


def test_float_targets_are_blended_with_those_of_the_second_loader():
    values = torch.rand(600, 2)
    data = torch.utils.data.TensorDataset(loaders(n=500).train_ds[0][0].expand(40, -1, -1, -1), values[500:540])
    loader = torch.utils.data.DataLoader(data, batch_size=40)
    callback = RustMixUp(other=loader, rng=1)
    learn = learner(
        [callback, Given(), Targets(callback)], lambda: loaders(targets=values), lambda: tiny_model(2), MSELossFlat()
    )
    fit(learn, 1)
    for (_, y), (mixed, plan) in zip(learn.given.batches, learn.targets.batches, strict=True):
        expected = mix_other(
            plan.for_labels(), y.numpy().astype(np.float64), values[500:540].numpy().astype(np.float64)
        )
        assert np.allclose(mixed.numpy(), expected, atol=1e-6)


def test_masks_are_cut_from_the_second_batch():
    masks = torch.randint(3, (200, 16, 16))
    callback = RustCutMix(bank=2, rng=1)
    learn = learner(
        [callback, Given(), Targets(callback)],
        lambda: loaders(targets=masks),
        lambda: nn.Conv2d(3, 3, 1),
        CrossEntropyLossFlat(axis=1),
    )
    fit(learn, 1)
    given, kept = learn.given.batches, learn.targets.batches
    for k in range(1, len(kept)):
        mixed, plan = kept[k]
        found = [
            np.array_equal(mixed.numpy(), mix_other(plan, given[k][1].numpy(), z.numpy()))
            for _, z in given[max(k - 2, 0) : k]
        ]
        assert any(found)


def test_one_lam_for_a_loss_over_the_batch():
    """Two calls of the loss, the second against the labels of the other batch."""

    def loss_func(pred, y):
        return (pred.std(0).sum() + nn.functional.cross_entropy(pred, torch.Tensor(y).long())) ** 2

    callback = RustMixUp(bank=2, rng=1)
    with pytest.warns(UserWarning, match="one lam"):
        steps = run(callback, loss_func=loss_func)
    for (_, y), (_, (partners,), plan, pred, loss) in steps:
        lam = plan.lam[0]
        assert (plan.lam == lam).all()
        expected = lam * loss_func(pred, y) + (1 - lam) * loss_func(pred, partners)
        assert np.isclose(loss, expected.item(), rtol=1e-4)


def test_a_loss_is_given_both_targets_and_one_lam():
    seen = []

    def loss_func(pred, y, y_partner=None, lam=None):
        if lam is not None:
            seen.append((torch.Tensor(y_partner).clone(), lam.item()))
        return nn.functional.cross_entropy(pred, torch.Tensor(y).long())

    steps = run(RustMixUp(mode="batch", pair=True, bank=2, rng=1), loss_func=loss_func)
    for (_, (_, (partners,), plan, _, _)), (given, lam) in zip(steps, seen, strict=True):
        assert torch.equal(partners, given)
        assert lam == np.float32(plan.lam[0])


def test_pickles_leave_the_data_out():
    callback = RustMixUp(bank=2)
    fit(learner(callback), 1)
    callback._elsewhere.batches.append(torch.zeros(3))
    assert not pickle.loads(pickle.dumps(callback._elsewhere)).batches
    loaded = pickle.loads(pickle.dumps(RustMixUp(other=second())._elsewhere))
    with pytest.raises(ValueError, match="was not pickled"):
        loaded.partners(((), ()), 1, lambda count: 0)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"bank": 0}, ValueError, "at least 1"),
        ({"bank": True}, ValueError, "at least 1"),
        ({"bank": 1.5}, TypeError, "a number of batches"),
        ({"bank": 2, "other": [1]}, ValueError, "not both"),
        ({"bank": 2, "rng": "torch"}, ValueError, "of the batch itself"),
        ({"other": iter([1])}, TypeError, "iterated again"),
        ({"other": 3}, TypeError, "iterated again"),
    ],
)
def test_wrong_arguments(options, error, match):
    with pytest.raises(error, match=match):
        RustMixUp(**options)


@pytest.mark.parametrize(
    ("batches", "error", "match"),
    [
        ([], ValueError, "no batches"),
        ([torch.zeros(4, 3, 16, 16)], TypeError, "tuple of inputs and targets, got Tensor"),
        ([(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.long))], ValueError, r"float32 \(3, 8, 8\)"),
        ([(torch.zeros(4, 3, 16, 16), torch.zeros(3, dtype=torch.long))], ValueError, "like those of the batch"),
        ([(torch.zeros(4, 3, 16, 16),)], ValueError, "got .* and nothing"),
    ],
)
def test_a_loader_of_other_things(batches, error, match):
    with pytest.raises(error, match=match):
        fit(learner(RustMixUp(other=batches, rng=1)), 1)


def test_entries_go_by_their_names():
    """A dict in another order is refused, and not mixed by position."""
    x = {"a": torch.zeros(4, 3), "b": torch.ones(4, 3)}
    turned = [({"b": x["b"], "a": x["a"]}, torch.zeros(4, dtype=torch.long))]
    loader = RustMixUp(other=turned)._elsewhere
    with pytest.raises(ValueError, match=r"'a'.*'b'.*got.*'b'.*'a'"):
        loader.partners(((x,), (torch.zeros(4, dtype=torch.long),)), 1, lambda count: 0)
    same = [(x, torch.zeros(4, dtype=torch.long))]
    assert RustMixUp(other=same)._elsewhere.partners(((x,), (torch.zeros(4, dtype=torch.long),)), 1, lambda count: 0)


def test_what_cannot_be_together():
    learn = learner([RustMixUp(mode="pair", bank=2), Given()])
    with pytest.raises(ValueError, match="pair"):
        fit(learn, 1)
    assert len(learn.given.batches) == 1  # nothing was trained
    with pytest.raises(ValueError, match="partners"):
        fit(learner(RustMix(Mixup(partners=Within()), bank=2)), 1)

    def mixed_in_the_loader():
        dls = loaders()
        dls.train.create_batch = MixCollate(Mixup(1.0), rng=4)
        return dls

    with pytest.raises(ValueError, match="MixCollate"):
        fit(learner(RustMixUp(bank=2), mixed_in_the_loader), 1)
    with pytest.raises(ValueError, match="mixed already"):
        RustMixUp(other=mixed_in_the_loader().train)
    with pytest.raises(ValueError, match="come from other"):
        RustMixUp(other=second()).show_batch(loaders())


def test_a_bank_keeps_targets_that_a_loss_overwrites_as_they_were():
    """Classes that are counted from 1 on."""
    classes = digits()[1]

    def shifting(pred, target):
        return nn.functional.cross_entropy(pred, target.sub_(1))

    class Witness(Callback):
        order = 200

        def __init__(self):
            self.losses = []

        def before_batch(self):
            self.own = [y.clone() for y in (self.learn.yb[0], self.learn.mix_up.yb1[0])] if self.training else None

        def after_loss(self):
            if self.training:
                lam = self.learn.mix_up.lam[0]
                own, partner = (nn.functional.cross_entropy(self.learn.pred, y - 1) for y in self.own)
                self.losses.append((self.learn.loss.item(), (lam * own + (1 - lam) * partner).item()))

    mixing = RustMixUp(mode="batch", bank=1, rng=1)
    dls = lambda: loaders(n=128, targets=classes + 1, typed=False)  # noqa: E731
    learn = learner([mixing, Witness()], dls, loss_func=shifting)
    fit(learn, 1)
    assert len(learn.witness.losses) == 4
    for got, expected in learn.witness.losses:
        assert got == pytest.approx(expected, rel=1e-5)


def test_what_holds_for_one_batch_is_refused():
    maps = CutMix(saliency=np.ones((4, 8, 8)))
    with pytest.raises(ValueError, match=r"the maps of one batch, but RustMix mixes many"):
        RustMix(maps)
    callback = RustMix(CutMix())
    with pytest.raises(ValueError, match=r"the maps of one batch, but RustMix mixes many"):
        callback.rule = maps


@pytest.mark.parametrize("options", [{"bank": 4}, {"other": []}], ids=str)
def test_a_layer_takes_no_other_batch(options):
    with pytest.raises(ValueError, match=r"RustManifoldMixUp takes no bank= and other="):
        RustManifoldMixUp(**options)
