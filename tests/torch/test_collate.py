"""MixCollate: what the DataLoader gets is what stacking and then mixing would give, in every kind of worker."""

import gc
import os
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import mixup_rs
from mixup_rs import MixPlan
from mixup_rs.torch import MixCollate

RNG = np.random.default_rng(0)
IMAGES = [torch.from_numpy(RNG.integers(0, 256, (3, 8, 10), dtype=np.uint8)) for _ in range(24)]
SAMPLES = [(image, i % 5) for i, image in enumerate(IMAGES)]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Plans(MixCollate):
    """Gives a batch's plan instead of the batch."""

    def __call__(self, samples):
        plan = self._draw(samples)
        return plan.lam, plan.partner, torch.stack([image for image, _ in samples])


def plans(loader):
    return [(tuple(lam), tuple(partner)) for lam, partner, _ in loader]


def with_plan(samples=SAMPLES, **options):
    (images, targets), drawn = MixCollate(return_plan=True, rng=1, **options)(samples)
    return images, targets, MixPlan(drawn["lam"].numpy(), drawn["partner"].numpy())


@pytest.mark.parametrize("mode", ["elem", "pair", "batch"])
def test_a_batch_is_stacked_and_mixed(mode):
    images, (y, y_partner, lam), plan = with_plan(mode=mode)
    assert torch.equal(images, torch.from_numpy(plan.apply(torch.stack(IMAGES).numpy())))
    assert (plan.lam < 1).any()
    classes = torch.tensor([y for _, y in SAMPLES])
    assert torch.equal(y, classes)
    assert torch.equal(y_partner, classes[plan.partner])
    assert np.array_equal(lam.numpy(), plan.lam.astype(np.float32))


def test_soft_targets_are_those_of_the_plan():
    _, targets, plan = with_plan(num_classes=5, label_smoothing=0.1)
    expected, _ = plan.apply_labels(np.arange(24) % 5, 5, 0.1)
    assert np.array_equal(targets.numpy(), expected)


@pytest.mark.parametrize("hwc", [False, True])
@pytest.mark.parametrize("mode", ["elem", "batch"])
def test_boxes_are_cut(hwc, mode):
    samples = [(image.permute(1, 2, 0).contiguous() if hwc else image, y) for image, y in SAMPLES]
    images, (_, _, lam), plan = with_plan(samples, alpha=0, cutmix_alpha=1.0, mode=mode)
    images = images.permute(0, 3, 1, 2) if hwc else images
    stack = torch.stack(IMAGES)
    own = (images == stack).all(1)
    other = (images == stack[plan.partner]).all(1)
    assert (own | other).all()
    assert np.allclose(lam, plan.lam)
    assert (own.float().mean((1, 2)) >= lam - 1e-6).all()
    assert not own.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("hwc", [False, True])
@pytest.mark.parametrize("cutmix", [False, True])
def test_normalised_to_one_rounding(dtype, hwc, cutmix):
    samples = [(image.permute(1, 2, 0).contiguous() if hwc else image, y) for image, y in SAMPLES]
    options = {"alpha": 0, "cutmix_alpha": 1.0} if cutmix else {}
    mixed, _, plan = with_plan(samples, **options)
    images, _, _ = with_plan(samples, normalize=(MEAN, STD), dtype=dtype, **options)
    assert images.dtype == dtype
    x = np.stack([image.numpy() for image, _ in samples]).astype(np.float64)
    lam = plan.lam[:, None, None, None]
    exact = mixed.double().numpy() if cutmix else lam * x + (1 - lam) * x[plan.partner]
    shape = (3,) if hwc else (3, 1, 1)
    exact = (exact / 255 - np.reshape(MEAN, shape)) / np.reshape(STD, shape)
    info = torch.finfo(dtype)
    ulp = np.maximum(2.0 ** np.floor(np.log2(np.abs(exact) + 1e-300)) * info.eps, info.smallest_normal * info.eps)
    assert (np.abs(images.double().numpy() - exact) <= 0.501 * ulp).all()


def test_float_images_multi_hot_and_regression_targets():
    samples = [{"image": image.float(), "tags": torch.tensor([i % 2, 1.0]), "price": float(i), "path": str(i)}
               for i, image in enumerate(IMAGES)]  # fmt: skip
    batch, drawn = MixCollate(rng=1, return_plan=True)(samples)
    plan = MixPlan(drawn["lam"].numpy(), drawn["partner"].numpy())
    tags = np.array([[i % 2, 1] for i in range(24)], dtype=np.float32)
    assert np.array_equal(batch["tags"].numpy(), plan.apply(tags))
    assert np.array_equal(batch["price"].numpy(), plan.apply(np.arange(24.0)))
    assert np.array_equal(batch["image"].numpy(), plan.apply(torch.stack(IMAGES).float().numpy()))
    assert batch["path"] == [str(i) for i in range(24)]


def test_keys_choose_what_is_mixed():
    batch = MixCollate(rng=1, keys=[0])(SAMPLES)
    assert torch.equal(batch[1], default_collate([y for _, y in SAMPLES]))
    batch = MixCollate(rng=1, keys=[1])(SAMPLES)
    assert torch.equal(batch[0], torch.stack(IMAGES))


def test_tokens_are_stacked_as_they_are():
    tokens = [(torch.arange(4) + i, image) for i, image in enumerate(IMAGES)]
    assert torch.equal(MixCollate(rng=1)(tokens)[0], torch.stack([t for t, _ in tokens]))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"alpha": 0, "cutmix_alpha": 1.0}, {"mode": "pair"}, {"mode": "batch"}])
def test_small_and_odd_batches(n, options):
    before = [image.clone() for image in IMAGES]
    images, (y, _, _) = MixCollate(rng=1, **options)(SAMPLES[:n])
    assert images.shape == (n, 3, 8, 10)
    assert y.shape == (n,)
    assert all(torch.equal(image, old) for image, old in zip(IMAGES, before, strict=True))


def test_samples_of_any_layout():
    views = [(image.permute(2, 1, 0), y) for image, y in SAMPLES]
    images, _, plan = with_plan(views)
    assert np.array_equal(images.numpy(), plan.apply(torch.stack([v for v, _ in views]).numpy()))


def test_wrong_options_are_refused():
    for options in [{"alpha": -1}, {"prob": 2}, {"mode": "x"}, {"label_smoothing": 0.1}, {"normalize": (0.5, 0.0)}]:
        with pytest.raises(ValueError):  # noqa: PT011 (each says something else)
            MixCollate(**options)
    with pytest.raises(ValueError, match="needs normalize"):
        MixCollate(dtype=torch.float16)
    with pytest.raises(ValueError, match="at least one sample"):
        MixCollate()([])
    with pytest.raises(ValueError, match="one shape"):
        MixCollate()([(torch.zeros(3, 4, 4), 0), (torch.zeros(3, 4, 5), 1)])


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_of_every_kind_repeat(context):
    def run(collate):
        loader = DataLoader(SAMPLES, batch_size=4, collate_fn=collate, num_workers=2, multiprocessing_context=context)
        return [(images.clone(), y_partner.clone()) for images, (_, y_partner, _) in loader]

    mixup_rs.mix_batch(np.zeros((64, 65536), dtype=np.float32))  # the parent has used the pool
    first, again, other = run(MixCollate(rng=7)), run(MixCollate(rng=7)), run(MixCollate(rng=8))
    same = [torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True)]
    assert len(same) == 6
    assert all(same)
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(first, other, strict=True))


@pytest.mark.parametrize("rng", [None, 7])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("with_epoch", [False, True])
def test_no_plan_comes_twice(monkeypatch, rng, persistent, with_epoch):
    """2 workers x 2 ranks x 3 epochs."""

    def run():
        torch.manual_seed(3)
        seen = []
        for rank in range(2):
            monkeypatch.setenv("RANK", str(rank))
            collate = Plans(rng=rng)
            loader = DataLoader(SAMPLES, batch_size=6, collate_fn=collate, num_workers=2, persistent_workers=persistent)
            for epoch in range(3):
                if with_epoch:
                    collate.set_epoch(epoch)
                seen += plans(loader)
        return seen

    seen = run()
    assert len(set(seen)) == len(seen) == 2 * 3 * 4
    assert run() == seen


def until_two(epoch):
    return epoch < 2


@pytest.mark.parametrize("off_epoch", [2, until_two])
@pytest.mark.parametrize("workers", [0, 2])
def test_off_epoch_reaches_workers_that_live_on(off_epoch, workers):
    collate = MixCollate(rng=7, off_epoch=off_epoch)
    loader = DataLoader(SAMPLES, batch_size=4, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0)
    for epoch in range(4):
        collate.set_epoch(epoch)
        for step, (images, (_, _, lam)) in enumerate(loader):
            assert bool((lam == 1).all()) == (epoch >= 2)
            if epoch >= 2:
                assert torch.equal(images, torch.stack(IMAGES[4 * step : 4 * step + 4]))


def test_a_schedule_gets_the_whole_number_of_the_epoch():
    collate = MixCollate(rng=7, off_epoch=[True, False].__getitem__)
    assert [collate.set_epoch(epoch) or collate.mixes() for epoch in (0, 1)] == [True, False]
    assert (collate(SAMPLES)[1][2] == 1).all()


def test_a_batch_is_of_one_epoch_whatever_is_set_meanwhile():
    seen = []

    def schedule(epoch):
        seen.append(epoch)
        return epoch == 0

    collate = MixCollate(rng=7, off_epoch=schedule)
    draw_key = collate._key

    def key(epoch):
        collate.set_epoch(1)  # as the main process may, while a worker draws
        return draw_key(epoch)

    collate._key = key
    assert (collate(SAMPLES)[1][2] < 1).any()
    assert seen == [0]


def test_settings_reach_workers_that_live_on():
    collate = MixCollate(rng=7)
    loader = DataLoader(SAMPLES, batch_size=4, collate_fn=collate, num_workers=1, persistent_workers=True)
    assert any((lam < 1).any() for _, (_, _, lam) in loader)
    collate.enabled = False
    assert all((lam == 1).all() for _, (_, _, lam) in loader)
    collate.enabled, collate.prob = True, 0
    assert all((lam == 1).all() for _, (_, _, lam) in loader)
    collate.prob, collate.alpha = 1, 1e6
    assert all((abs(lam - 0.5) < 0.01).all() for _, (_, _, lam) in loader)


def test_a_pickled_collate_is_its_own():
    collate = MixCollate(rng=7)
    copy = pickle.loads(pickle.dumps(collate))
    assert torch.equal(copy(SAMPLES)[0], collate(SAMPLES)[0])
    copy.alpha = 2.0
    assert collate.alpha == 0.4


def test_one_thread_in_a_worker_and_shared_memory():
    loader = DataLoader(SAMPLES, batch_size=4, collate_fn=Threads(), num_workers=1)
    assert [threads for threads, _ in loader] == [1] * 6
    assert all(is_shared for _, is_shared in loader)


class Threads(MixCollate):
    """Gives the number of threads, and whether the batch lies in shared memory."""

    def __call__(self, samples):
        return mixup_rs.get_num_threads(), super().__call__(samples)[0].is_shared()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="Linux alone shows its segments")
def test_nothing_is_left_behind():
    def resources():
        return set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))

    def epoch():
        loader = DataLoader(SAMPLES * 25, batch_size=4, collate_fn=collate, num_workers=2)
        counts = [resources()[1] for _ in loader]
        del loader
        gc.collect()  # its queues live in cycles
        return counts

    collate = MixCollate(rng=7)
    epoch()  # what torch sets up once
    before = resources()
    counts = epoch()
    assert len(counts) == 150
    assert max(counts[100:]) <= max(counts[:50])
    assert resources() == before
