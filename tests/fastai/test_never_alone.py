"""Labels are never mixed where no input was: each such batch is mixed rightly, or refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.tabular.all import Categorify, CategoryBlock, TabularDataLoaders, tabular_learner
from fastai.vision.all import CrossEntropyLossFlat, nn
from learners import BatchLosses, Constant, Fixed, digits, fit, learner, loaders, one_batch_of, tiny_model

from mixup_rs import CutMix, MixPlan, Mixup, OneOf
from mixup_rs.fastai import MixedAccuracy, RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.torch import MixCollate, apply

IMAGES, CLASSES = digits()


def batch_through(callback, xb, yb=None):
    """The learner once a batch has gone through `before_batch`."""
    learn = learner([callback])
    learn.epoch, learn.iter, learn.training = 0, 0, True
    learn.xb, learn.yb = xb, (CLASSES[: len(xb[0])],) if yb is None else yb
    callback("before_train")
    callback("before_batch")
    return learn


def categories_only(callback):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.choice(list("abc"), 96) for name in ("one", "two", "kind")})
    dls = TabularDataLoaders.from_df(
        frame,
        procs=[Categorify],
        cat_names=["one", "two"],
        y_names="kind",
        y_block=CategoryBlock(),
        bs=32,
        device="cpu",
    )
    return tabular_learner(dls, layers=[8], cbs=[BatchLosses(), callback])


@pytest.mark.parametrize("callback", [RustMixUp, lambda: RustMix(Fixed(0.7))], ids=["RustMixUp", "RustMix"])
def test_a_table_without_a_continuous_column_is_refused(callback):
    learn = categories_only(callback())
    with pytest.raises(TypeError, match="RustManifoldMixUp"):
        fit(learn, 1)
    # Nothing of the batch stays: the learner trains once the callback is gone.
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, RustMixUp | RustMix)])
    assert np.isfinite(fit(learn, 1)).all()


def test_its_embeddings_are_mixed():
    learn = categories_only(RustManifoldMixUp(rng=1))
    assert np.isfinite(fit(learn, 1)).all()


class Branches(nn.Module):
    """A model one of whose layers runs in some batches only."""

    def __init__(self):
        super().__init__()
        self.model, self.seldom, self.batches = tiny_model(), nn.Linear(10, 10), 0

    def forward(self, x):
        self.batches += self.training
        out = self.model(x)
        return self.seldom(out) if self.batches == 1 else out


def test_a_layer_that_does_not_run_is_an_error():
    learn = learner(RustManifoldMixUp(rng=1), lambda: loaders(n=96), Branches)
    learn.manifold_mix_up.layer = learn.model.seldom
    with pytest.raises(RuntimeError, match=r"did not run in this batch.*layer="):
        fit(learn, 1)
    assert len(learn.batch_losses.values) == 1  # the first batch was right
    assert not learn.model.seldom._forward_pre_hooks
    learn.manifold_mix_up.layer = learn.model.model[4]
    assert np.isfinite(fit(learn, 1)).all()


def test_a_layer_of_another_model_is_an_error():
    learn = learner(RustManifoldMixUp(layer=nn.Linear(2, 2)), lambda: loaders(n=64))
    with pytest.raises(RuntimeError, match="did not run"):
        fit(learn, 1)


def test_a_second_image_of_another_size_is_blended_by_the_share_that_is_left():
    """In the callback as in the collate: the labels have that share."""
    large, small = IMAGES[:8], IMAGES[:8, :, ::2, ::2].contiguous()
    callback = RustCutMix(rng=5)
    learn = batch_through(callback, (large, small))
    plan = callback.plan
    lam = torch.from_numpy(plan.lam).float().view(-1, 1, 1, 1)
    assert 0 < float(lam[0]) < 1
    assert torch.equal(learn.xb[0], apply(plan, large))
    torch.testing.assert_close(learn.xb[1], lam * small + (1 - lam) * small[plan.partner])

    collate = MixCollate(CutMix(), inputs=[0, 1], rng=5, return_plan=True)
    collate.set_epoch(0)
    samples = [(large[i], small[i], int(CLASSES[i])) for i in range(8)]
    (x, second, _), same = collate(samples)
    assert same == plan
    assert torch.equal(x, learn.xb[0])
    assert torch.equal(second, learn.xb[1])


def test_a_sequence_before_the_image_is_blended_and_the_image_is_cut():
    sequence, image = torch.rand(8, 7, 12), IMAGES[:8]
    callback = RustCutMix(rng=5)
    learn = batch_through(callback, (sequence, image))
    plan = callback.plan
    assert plan.spatial_shape == (16, 16)
    lam = torch.from_numpy(plan.lam).float().view(-1, 1, 1)
    torch.testing.assert_close(learn.xb[0], lam * sequence + (1 - lam) * sequence[plan.partner])
    own = (learn.xb[1] == image).all(1)
    for i, (y0, x0, y1, x1) in enumerate(plan.boxes.tolist()):
        inside = torch.zeros(16, 16, dtype=torch.bool)
        inside[y0:y1, x0:x1] = True
        assert own[i][~inside].all()
        assert torch.equal(learn.xb[1][i][:, inside], image[plan.partner[i]][:, inside])


def test_a_cutmix_without_an_image_is_refused():
    with pytest.raises((TypeError, ValueError), match=r"height|shape|spatial"):
        batch_through(RustCutMix(), (torch.rand(8, 5),))


@pytest.mark.parametrize("callback", [RustMixUp, RustCutMix, lambda **kw: RustMix(OneOf([Mixup(), CutMix()]), **kw)])
def test_a_boolean_mask_among_the_inputs_is_refused_unless_the_inputs_are_named(callback):
    mask = torch.rand(8, 5) > 0.5
    with pytest.raises(TypeError, match=r"mask must be of both samples.*inputs="):
        batch_through(callback(rng=1), (IMAGES[:8], mask))
    mixing = callback(rng=1, inputs=[0])
    learn = batch_through(mixing, (IMAGES[:8], mask))
    assert learn.xb[1] is mask
    assert torch.equal(learn.xb[0], apply(mixing.plan, IMAGES[:8]))


def test_named_inputs_alone_are_mixed():
    other = torch.rand(8, 5)
    for inputs, at in ((1, 1), ([-1], 1), ([0], 0)):
        mixing = RustMixUp(rng=1, inputs=inputs)
        given = (IMAGES[:8], other)
        learn = batch_through(mixing, given)
        assert torch.equal(learn.xb[at], apply(mixing.plan, given[at]))
        assert learn.xb[1 - at] is given[1 - at]


def test_named_inputs_that_cannot_be_mixed_are_refused():
    with pytest.raises(TypeError, match="no input of this batch can be mixed"):
        batch_through(RustMixUp(inputs=[1]), (IMAGES[:8], torch.arange(8)))


GIVEN_LABELS = {
    "a model of Hugging Face": ({"pixel_values": IMAGES[:8], "labels": CLASSES[:8] + 1},),
    "masks by name": (IMAGES[:8], {"mask_labels": torch.zeros(8, 16, 16, dtype=torch.uint8)}),
    "an ArcFace within the model": (IMAGES[:8], CLASSES[:8].clone()),
}


@pytest.mark.parametrize("xb", GIVEN_LABELS.values(), ids=GIVEN_LABELS)
@pytest.mark.parametrize("make", [RustMixUp, RustCutMix, RustManifoldMixUp])
def test_labels_among_the_inputs_are_refused(make, xb):
    """The model would see the own ones alone."""
    with pytest.raises(TypeError, match=r"is of labels.*pair=True.*inputs=\[0\]"):
        batch_through(make(), xb, (CLASSES[:8],))


def test_what_looks_like_labels_and_is_none_is_named():
    other = CLASSES[:8].roll(1)
    for xb, inputs in (((IMAGES[:8], CLASSES[:8]), 0), ((IMAGES[:8], other), None), (({"y": IMAGES[:8]},), None)):
        mixing = RustMixUp(rng=1, inputs=inputs)
        learn = batch_through(mixing, xb, (CLASSES[:8],))
        assert mixing.plan is not None
        assert all(a is b for a, b in zip(learn.xb[1:], xb[1:], strict=True))


@pytest.mark.parametrize("x", [torch.arange(8).view(8, 1), torch.zeros(8, 0)], ids=["indices", "no column"])
def test_inputs_that_are_none_are_refused(x):
    with pytest.raises(TypeError, match="no input of this batch can be mixed"):
        batch_through(RustMixUp(), (x,))


class Masked(nn.Module):
    """A layer that is given words and a mask."""

    def forward(self, x, mask):
        return (x * mask[..., None]).sum(1)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.pool, self.head = nn.Embedding(20, 6), Masked(), nn.Linear(6, 3)

    def forward(self, ids):
        return self.head(self.pool(self.encode(ids), mask=ids > 3))


def test_a_layer_that_is_given_a_mask_is_refused():
    ids = torch.randint(0, 20, (16, 5), generator=torch.Generator().manual_seed(0))
    learn = learner(RustManifoldMixUp(rng=1), one_batch_of(ids, CLASSES[:16] % 3), Words)
    learn.manifold_mix_up.layer = learn.model.pool
    with pytest.raises(TypeError, match="mask must be of both samples"):
        fit(learn, 1)
    learn.manifold_mix_up.layer = learn.model.head
    assert np.isfinite(fit(learn, 1)).all()


@pytest.mark.parametrize("seed", range(12))
def test_labels_are_mixed_only_where_an_input_is(seed):
    """Over generated batches: either an error, or an input changes whenever a label would."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    kinds = {
        "image": torch.rand(6, 3, 8, 8),
        "small image": torch.rand(6, 1, 4, 6),
        "sequence": torch.rand(6, 5, 7),
        "columns": torch.rand(6, 2),
        "no columns": torch.zeros(6, 0),
        "ids": torch.randint(0, 9, (6, 4)),
        "mask": torch.rand(6, 4) > 0.5,
        "bytes": torch.randint(0, 255, (6, 3, 8, 8), dtype=torch.uint8),
    }
    for _ in range(20):
        names = random.choice(list(kinds), random.integers(1, 4), replace=False)
        callback = [RustMixUp(mode="batch", fold=False), RustCutMix(), RustMixUp(), RustMix(Fixed(0.5))][
            random.integers(4)
        ]
        xb = tuple(kinds[name] for name in names)
        try:
            learn = batch_through(callback, xb, (torch.arange(6),))
        except (TypeError, ValueError):
            continue
        moved = callback.plan.partner != np.arange(6)
        share = np.where(moved, callback.plan.lam, 1)
        mixed = [any(not torch.equal(a[i], b[i]) for a, b in zip(learn.xb, xb, strict=True)) for i in range(6)]
        # A weight within float32's last bit of 1 changes nothing, of labels either.
        assert all(mixed[i] or share[i] > 1 - 1e-6 for i in range(6)), names


def test_the_loss_of_a_refused_batch_is_not_computed():
    calls = []
    learn = learner(
        RustMixUp(), one_batch_of(torch.arange(4), torch.arange(4)), lambda: Constant(torch.rand(4, 4)),
        lambda p, t: calls.append(1) or CrossEntropyLossFlat()(p, t),
    )  # fmt: skip
    with pytest.raises(TypeError, match="no input"):
        fit(learn, 1)
    assert calls == []


class BlendsAndCuts:
    """Each sample is blended with the next, and its left half is that of the next."""

    def plan(self, n, shape=None, labels=None, rng=None):
        height, width = shape
        boxes = [[0, 0, height, width // 2]] * n
        return MixPlan.from_boxes(boxes, shape, [*range(1, n), 0], weight=np.linspace(0.4, 0.9, n))


def test_a_mask_has_the_weight_of_what_is_blended_outside_of_the_box():
    generator = torch.Generator().manual_seed(0)
    images, masks = torch.rand(8, 3, 4, 6, generator=generator), torch.randint(0, 3, (8, 4, 6), generator=generator)
    callback = RustMix(BlendsAndCuts())
    learn = batch_through(callback, (images,), (masks,))
    learn.loss_func = CrossEntropyLossFlat(axis=1)
    pred = torch.randn(8, 3, 4, 6, generator=generator)
    plan = BlendsAndCuts().plan(8, (4, 6))
    shares = torch.from_numpy(plan.apply(nn.functional.one_hot(masks, 3).movedim(-1, 1).double().numpy()))
    expected = -(shares * pred.double().log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(callback.lf(pred, *learn.yb).double(), expected, rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="a mask and labels have different weights"):
        batch_through(callback, (images,), (masks, CLASSES[:8]))


def test_mixed_accuracy_of_such_masks_has_their_weights():
    generator = torch.Generator().manual_seed(0)
    images, masks = torch.rand(8, 3, 4, 6, generator=generator), torch.randint(0, 3, (8, 4, 6), generator=generator)
    learn = batch_through(callback := RustMix(BlendsAndCuts()), (images,), (masks,))
    learn.pred = torch.randn(8, 3, 4, 6, generator=generator)
    metric = MixedAccuracy(axis=1)
    metric.reset()
    metric.accumulate(learn)
    guess, own, weight = learn.pred.argmax(1), learn.yb[0], torch.from_numpy(callback.plan.weight).view(8, 1, 1)
    expected = weight * (guess == own) + (1 - weight) * (guess == masks[callback.plan.partner])
    assert metric.value.item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_targets_of_one_loss_have_one_lam():
    collate = MixCollate(BlendsAndCuts())
    samples = [(torch.rand(3, 4, 6), torch.randint(0, 3, (4, 6)), i) for i in range(8)]
    _, mask, label = collate(samples)
    callback = RustMixUp()
    learn = learner([callback])
    with pytest.raises(ValueError, match="must have one lam, got several"):
        callback._take_over((mask, label))
    assert learn.mix_up is callback
