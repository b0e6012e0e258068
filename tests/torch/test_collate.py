"""MixCollate: what the DataLoader gets is what stacking and then mixing would give, by the plan of its key."""

import pickle

import numpy as np
import pytest
import torch
from rules import EXAMPLES
from torch.utils.data import DataLoader

from mixup_rs import Across, Balanced, CutMix, MixPlan, Mixup, OneOf, Remix, Within
from mixup_rs.torch import MixCollate, PairedTarget, apply, apply_labels

RNG = np.random.default_rng(0)
IMAGES = [torch.from_numpy(RNG.integers(0, 256, (3, 8, 10), dtype=np.uint8)) for _ in range(24)]
SAMPLES = [(image, i % 5) for i, image in enumerate(IMAGES)]
each_rule = pytest.mark.parametrize("rule", EXAMPLES, ids=repr)


def plan_of(rule, n=24, seed=1, epoch=0, batch=0, rank=0, shape=(8, 10)):
    """The plan that a collate of this seed draws, drawn from the rule alone."""
    return rule.plan(n, shape, rng=(seed, epoch, batch, rank))


@each_rule
def test_a_batch_is_stacked_and_mixed(rule):
    images, (y, y_partner, lam) = MixCollate(rule, rng=1)(SAMPLES)
    plan = plan_of(rule)
    assert torch.equal(images, torch.from_numpy(plan.apply(torch.stack(IMAGES).numpy())))
    assert (plan.lam < 1).any()
    classes = torch.tensor([y for _, y in SAMPLES])
    assert torch.equal(y, classes)
    assert torch.equal(y_partner, classes[plan.partner])
    assert np.array_equal(lam.numpy(), plan.lam.astype(np.float32))


@each_rule
def test_soft_targets_are_those_of_the_plan(rule):
    _, targets = MixCollate(rule, num_classes=5, label_smoothing=0.1, rng=1)(SAMPLES)
    expected, _ = plan_of(rule).apply_labels(np.arange(24) % 5, 5, 0.1)
    assert np.array_equal(targets.numpy(), expected)


@each_rule
def test_the_plan_that_is_returned_makes_the_same_batch(rule):
    (images, (y, y_partner, lam)), plan = MixCollate(rule, rng=1, return_plan=True)(SAMPLES)
    assert plan == plan_of(rule)
    assert torch.equal(apply(plan, torch.stack(IMAGES)), images)
    own, partner = apply_labels(plan, torch.tensor([y for _, y in SAMPLES]))
    assert torch.equal(own, y)
    assert torch.equal(partner, y_partner)
    assert torch.equal(torch.from_numpy(plan.lam).float(), lam)


def test_plans_are_returned_by_workers():
    collate = MixCollate(CutMix(), rng=1, return_plan=True)
    loader = DataLoader(SAMPLES, batch_size=6, collate_fn=collate, num_workers=1)
    for step, ((images, _), plan) in enumerate(loader):
        assert plan == plan_of(CutMix(), 6, batch=step)
        assert torch.equal(apply(plan, torch.stack(IMAGES[6 * step : 6 * step + 6])), images)


@pytest.mark.parametrize("hwc", [False, True])
@pytest.mark.parametrize("mode", ["elem", "batch"])
def test_boxes_are_cut(hwc, mode):
    samples = [(image.permute(1, 2, 0).contiguous() if hwc else image, y) for image, y in SAMPLES]
    images, (_, _, lam) = MixCollate(CutMix(mode=mode), rng=1)(samples)
    plan = plan_of(CutMix(mode=mode))
    images = images.permute(0, 3, 1, 2) if hwc else images
    stack = torch.stack(IMAGES)
    own = (images == stack).all(1)
    other = (images == stack[plan.partner]).all(1)
    assert (own | other).all()
    assert np.allclose(lam, plan.lam)
    assert (own.float().mean((1, 2)) >= lam - 1e-6).all()
    assert not own.all()


def test_inputs_of_floats_numbers_and_arrays():
    samples = [(image.float().numpy(), float(i), np.float32(i)) for i, image in enumerate(IMAGES)]
    image, number, scalar = MixCollate(Mixup(), inputs=[0, 1, 2], rng=1)(samples)
    plan = plan_of(Mixup())
    assert np.array_equal(image.numpy(), plan.apply(torch.stack(IMAGES).float().numpy()))
    assert np.array_equal(number.numpy(), plan.apply(np.arange(24.0)))
    assert np.array_equal(scalar.numpy(), plan.apply(np.arange(24, dtype=np.float32)))


@pytest.mark.parametrize("n", [1, 2, 3])
@each_rule
def test_small_and_odd_batches(n, rule):
    before = [image.clone() for image in IMAGES]
    images, (y, _, _) = MixCollate(rule, rng=1)(SAMPLES[:n])
    assert images.shape == (n, 3, 8, 10)
    assert y.shape == (n,)
    assert all(torch.equal(image, old) for image, old in zip(IMAGES, before, strict=True))


def test_samples_of_any_layout():
    views = [(image.permute(2, 1, 0), y) for image, y in SAMPLES]
    images, _ = MixCollate(Mixup(), rng=1)(views)
    assert np.array_equal(images.numpy(), plan_of(Mixup()).apply(torch.stack([v for v, _ in views]).numpy()))


def test_tokens_are_stacked_as_they_are():
    tokens = [(torch.arange(4) + i, image) for i, image in enumerate(IMAGES)]
    mixed, image = MixCollate(Mixup(), inputs=[0, 1], rng=1)(tokens)
    assert torch.equal(mixed, torch.stack([t for t, _ in tokens]))
    assert torch.equal(image, torch.from_numpy(plan_of(Mixup()).apply(torch.stack(IMAGES).numpy())))
    with pytest.raises(TypeError, match="embeddings"):
        MixCollate(Mixup(), rng=1)(tokens)


@pytest.mark.parametrize("value", [torch.zeros(4, dtype=torch.complex64), np.zeros(4, complex), 1j], ids=str)
def test_complex_inputs_are_refused_with_what_keeps_them_whole(value):
    for samples, inputs in ([(value, 0), (value, 1)], [0]), ([(value, torch.zeros(2))] * 2, [0, 1]):
        with pytest.raises(TypeError, match=r"entry 0 is complex, .*(view_as_real|real and imaginary)"):
            MixCollate(Mixup(), inputs=inputs)(samples)


def test_one_mean_or_std_serves_all_channels():
    samples = [(torch.full((3, 4, 5), value, dtype=torch.uint8), 0) for value in (10, 200, 90)]
    for one, each in [
        ((0.5, (0.2, 0.3, 0.4)), ((0.5,) * 3, (0.2, 0.3, 0.4))),
        (((0.1, 0.2, 0.3), 2), ((0.1, 0.2, 0.3), (2,) * 3)),
    ]:
        mixed = [MixCollate(Mixup(), normalize=normalize, rng=1)(samples)[0] for normalize in (one, each)]
        assert torch.equal(*mixed)


def test_wrong_options_are_refused():
    for options in [{"label_smoothing": 0.1}, {"label_smoothing": 2, "num_classes": 2}, {"normalize": (0.5, 0.0)},
                    {"num_classes": 0}, {"num_classes": [2, 0]}, {"num_classes": {"y": -1}},
                    {"normalize": ((0.5, 0.5), (1.0, 1.0, 1.0))}, {"off_epoch": -1}]:  # fmt: skip
        with pytest.raises(ValueError):  # noqa: PT011 (each says something else)
            MixCollate(Mixup(), **options)
    for options in [{"rng": "foo"}, {"rng": 1.5}, {"normalize": 0.5}, {"num_classes": "ten"}, {"inputs": 1.5},
                    {"off_epoch": "a"}, {"normalize": ((0.5,), (1.0,)), "dtype": torch.int32}, {"num_classes": True},
                    {"return_plan": "no"}, {"multi_label": "yes"}, {"pair": None}, {"channels_last": 3}]:  # fmt: skip
        with pytest.raises(TypeError):
            MixCollate(Mixup(), **options)
    with pytest.raises(ValueError, match="needs normalize"):
        MixCollate(Mixup(), dtype=torch.float16)
    with pytest.raises(TypeError, match="rule must be a rule, such as Mixup"):
        MixCollate(0.4)
    with pytest.raises(TypeError, match="got the class Mixup"):
        MixCollate(Mixup)
    with pytest.raises(ValueError, match="at least one sample"):
        MixCollate(Mixup())([])
    with pytest.raises(ValueError, match="one shape"):
        MixCollate(Mixup())([(torch.zeros(3, 4, 4), 0), (torch.zeros(3, 4, 5), 1)])


@pytest.mark.parametrize("entry", [1.5, torch.zeros(8), np.zeros(8)], ids=["number", "tensor", "array"])
@pytest.mark.parametrize("rule", [CutMix(), OneOf([CutMix()])], ids=repr)
def test_boxes_need_a_height_and_a_width(rule, entry):
    with pytest.raises(ValueError, match=r"no input of these samples has a height and a width.*CutMix.* may need"):
        MixCollate(rule)([(entry, 0), (entry, 1)])


@pytest.mark.parametrize(
    ("drawn", "error", "message"),
    [
        (None, TypeError, "must return a MixPlan, got NoneType"),
        (MixPlan.identity(3), ValueError, "for 3 samples, the batch has 2"),
    ],
)
def test_what_a_rule_of_others_returns_is_checked(drawn, error, message):
    class Other:
        def plan(self, n, shape=None, labels=None, rng=None):
            return drawn

    with pytest.raises(error, match=message):
        MixCollate(Other())([(torch.rand(3, 4, 4), 0), (torch.rand(3, 4, 4), 1)])


def test_a_batch_size_of_none_is_refused():
    loader = DataLoader(SAMPLES, batch_size=None, collate_fn=MixCollate(Mixup()))
    with pytest.raises(TypeError, match="batch_size=None"):
        next(iter(loader))
    with pytest.raises(TypeError, match="list of samples, got dict"):
        MixCollate(Mixup())({"image": IMAGES[0]})


@pytest.mark.parametrize("off", ["alpha", "prob", "enabled", "off_epoch", "paused"])
@pytest.mark.parametrize("rule", [Mixup(), CutMix()], ids=repr)
def test_a_collate_that_is_off_stacks(off, rule):
    collate = MixCollate(rule, rng=1, off_epoch=0 if off == "off_epoch" else None)
    collate.set_epoch(0)
    if off in ("alpha", "prob", "enabled"):
        setattr(collate, off, 0)
    elif off == "paused":
        collate._set_everywhere("paused", 1)
    images, target = collate(SAMPLES)
    assert torch.equal(images, torch.stack(IMAGES))
    own = target if off == "paused" else target.y
    assert torch.equal(own, torch.tensor([y for _, y in SAMPLES]))
    if off != "paused":
        assert isinstance(target, PairedTarget)
        assert (target.lam == 1).all()
    assert collate.mixes() == (off in ("alpha", "prob"))


def test_a_pickled_collate_is_its_own():
    collate = MixCollate(Mixup(), rng=7)
    copy = pickle.loads(pickle.dumps(collate))
    assert torch.equal(copy(SAMPLES)[0], collate(SAMPLES)[0])
    copy.alpha = 2.0
    copy.enabled = False
    copy.set_epoch(5)
    assert (collate.alpha, collate.enabled, collate.epoch) == (0.4, 1, 0)
    assert collate.rule == Mixup()
    assert pickle.loads(pickle.dumps(copy)).rule == Mixup(2.0)


def test_a_rule_of_ones_own():
    class Half:
        def plan(self, n, shape=None, labels=None, rng=None):
            assert shape == (8, 10)
            assert rng == (1, 0, 0, 0)
            return MixPlan([0.5] * n, np.roll(np.arange(n), 1))

    images, target = MixCollate(Half(), rng=1)(SAMPLES)
    assert torch.equal(target.y_partner, target.y.roll(1))
    stack = torch.stack(IMAGES).double()
    assert ((images.double() - (stack + stack.roll(1, 0)) / 2).abs() <= 0.51).all()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            CutMix(saliency=np.ones((4, 8, 8))),
            r"CutMix\(saliency=...\) has the maps of one batch, but MixCollate mixes many",
        ),
        (
            Mixup(partners=Within([0, 1, 0, 1])),
            r"Within\(labels\) has the labels of one batch, but MixCollate mixes many",
        ),
        (Remix(Mixup(partners=Across([0, 1]))), r"Across\(labels\) has the labels of one batch"),
        (
            OneOf([Mixup(), OneOf([Mixup(partners=Balanced([0, 1]))])]),
            r"Balanced\(labels\) has the labels of one batch",
        ),
    ],
)
def test_maps_and_labels_of_one_batch_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        MixCollate(rule)
    collate = MixCollate(Mixup(partners=Within()))
    with pytest.raises(ValueError, match=message):
        collate.rule = rule
    assert collate.rule == Mixup(partners=Within())
