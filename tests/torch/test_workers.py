"""One seed gives one sequence of batches, whatever workers load them; settings reach workers that live on."""

import copy
import gc
import itertools
import os
import pickle
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

import mixup_rs
from mixup_rs import CutMix, Mixup
from mixup_rs.torch import MixCollate

RNG = np.random.default_rng(0)
IMAGES = [torch.from_numpy(RNG.integers(0, 256, (3, 8, 10), dtype=np.uint8)) for _ in range(20)]
SAMPLES = [(image, i % 5) for i, image in enumerate(IMAGES)]
BATCHES = 5  # of four: the workers make unequal numbers
RULE = Mixup(1.0)


def expected(epoch=0, seed=7, rule=RULE, first=0):
    return [rule.plan(4, (8, 10), rng=(seed, epoch, batch, 0)) for batch in range(first, BATCHES)]


def loader_of(collate, workers, persistent=False, context=None, samples=SAMPLES, batch_size=4):
    return DataLoader(
        samples, batch_size, collate_fn=collate, num_workers=workers, persistent_workers=persistent,
        multiprocessing_context=context
    )  # fmt: skip


def collate_of(rule=RULE, **options):
    return MixCollate(rule, **{"rng": 7, "return_plan": True, **options})


def plans(loader):
    return [plan for _, plan in loader]


WORKERS = [(0, False), (1, False), (2, False), (1, True), (2, True)]


@pytest.mark.parametrize(("workers", "persistent"), WORKERS)
def test_the_batches_of_every_epoch_are_those_of_its_keys(workers, persistent):
    collate = collate_of()
    loader = loader_of(collate, workers, persistent)
    for epoch in (0, 1, 0, 0, 5):  # to say an epoch again begins it again
        collate.set_epoch(epoch)
        assert plans(loader) == expected(epoch)
    assert len({tuple(plan.lam) for epoch in (0, 1, 5) for plan in expected(epoch)}) == 3 * BATCHES


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_of_every_kind(context):
    mixup_rs.mix_batch(np.zeros((64, 65536), dtype=np.float32))  # the parent has used the pool
    collate = collate_of()
    collate.set_epoch(3)
    for step, ((images, (_, y_partner, _)), plan) in enumerate(loader_of(collate, 2, context=context)):
        assert plan == expected(3)[step]
        stack = torch.stack(IMAGES[4 * step : 4 * step + 4])
        assert torch.equal(images, torch.from_numpy(plan.apply(stack.numpy())))
        assert torch.equal(y_partner, torch.tensor([(4 * step + k) % 5 for k in plan.partner]))


class Slow(Dataset):
    """Slow enough that batches are still being made when the loop is left, or not one of the second worker's is."""

    has_begun = False

    def __len__(self):
        return len(SAMPLES)

    def __getitem__(self, i):
        worker = get_worker_info()
        time.sleep(0.2 if worker is not None and worker.id and not self.has_begun else 0.01)
        self.has_begun = True
        return SAMPLES[i]


@pytest.mark.parametrize(("workers", "persistent"), WORKERS)
@pytest.mark.parametrize("asked", [1, 2])
def test_a_loop_that_was_left_early_changes_nothing(workers, persistent, asked):
    collate = collate_of()
    loader = loader_of(collate, workers, persistent, samples=Slow())
    for epoch in (0, 1, 1):
        collate.set_epoch(epoch)
        batches = iter(loader)
        for _ in range(asked):
            next(batches)
        del batches
        collate.set_epoch(epoch)
        assert plans(loader) == expected(epoch)


@pytest.mark.parametrize(("workers", "persistent"), WORKERS)
def test_resuming_within_an_epoch(workers, persistent):
    collate = collate_of()
    loader = loader_of(collate, workers, persistent, samples=SAMPLES[8:])  # as a sampler that resumes skips them
    collate.set_epoch(1)
    collate.start_at(2)
    assert plans(loader) == expected(1, first=2)
    collate.set_epoch(1)
    assert plans(loader) == expected(1)[:3]
    for say in (collate.start_at, collate.set_epoch):
        for wrong in (-1, 1.5, float("inf"), float("nan")):
            with pytest.raises(ValueError, match=r"(batch|epoch) must be a whole number >= 0"):
                say(wrong)
        for wrong in (None, "1", [1]):
            with pytest.raises(TypeError, match=r"(batch|epoch) must be a whole number >= 0"):
                say(wrong)


@pytest.mark.parametrize(("workers", "persistent"), WORKERS)
def test_a_look_at_a_batch_changes_nothing(workers, persistent):
    collate = collate_of()
    loader = loader_of(collate, workers, persistent)
    collate.set_epoch(1)
    assert next(iter(loader))[1] == expected(1)[0]
    assert plans(loader) == expected(1)
    assert plans(loader) == expected(1)


@pytest.mark.parametrize(("workers", "persistent"), WORKERS)
def test_loops_that_run_at_once_have_counts_of_their_own(workers, persistent):
    collate = collate_of()
    collate.set_epoch(1)
    loaders = [loader_of(collate, workers, persistent) for _ in range(2)]
    if not persistent:  # there the two would be one
        loaders[1] = loaders[0]
    both = [(one[1], other[1]) for one, other in zip(*loaders, strict=True)]
    assert both == [(plan, plan) for plan in expected(1)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_loops_that_run_at_once_without_epochs_have_one_each(workers):
    loader = loader_of(collate_of(), workers)
    one = iter(loader)
    seen = [next(one)[1] for _ in range(2)]  # each worker has begun
    other = []
    for _, plan in loader:
        other.append(plan)
        seen += [plan for _, plan in itertools.islice(one, 1)]
    assert [seen, other] == [expected(0), expected(1)]


@pytest.mark.parametrize(("workers", "persistent"), WORKERS)
def test_passes_are_counted_where_no_epoch_is_said(workers, persistent):
    loader = loader_of(collate_of(), workers, persistent)
    assert [plans(loader) for _ in range(3)] == [expected(0), expected(1), expected(2)]


class SlowNumbers(Slow):
    def __len__(self):
        return 2 * len(SAMPLES)

    def __getitem__(self, i):
        return super().__getitem__(i % len(SAMPLES))[0], i


@pytest.mark.parametrize("said", [False, True])
def test_batches_that_come_in_any_order_have_the_mixes_of_their_numbers(said):
    collate = collate_of()
    if said:
        collate.set_epoch(0)
    loader = DataLoader(SlowNumbers(), 4, collate_fn=collate, num_workers=2, in_order=False)
    seen = {y[0].item() // 4: plan for (_, (y, _, _)), plan in loader}
    assert list(seen) != sorted(seen)
    assert [seen[batch] for batch in range(10)] == [RULE.plan(4, (8, 10), rng=(7, 0, batch, 0)) for batch in range(10)]


def test_a_collate_that_is_made_in_inference_mode_serves_elsewhere():
    with torch.inference_mode():
        collate = collate_of()
        copied = pickle.loads(pickle.dumps(collate))
    for one in (collate, copied, copy.copy(copied)):
        one.set_epoch(2)
        one.enabled, one.alpha = True, 0.2
        assert plans(loader_of(one, 0)) == expected(2, rule=Mixup(0.2))


def test_many_workers_count_apart():
    collate = collate_of()
    for number in range(2):
        assert {collate._begin_pass(SimpleNamespace(id=i), 0) for i in range(200)} == {number}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_settings_and_counts_of_its_own(copied):
    collate = collate_of()
    list(loader_of(collate, 0))
    collate.set_epoch(1)
    batches = iter(loader_of(collate, 0))
    next(batches)
    other = copied(collate)
    other.enabled, other.alpha = False, 0.2
    other.set_epoch(3)
    assert (collate.enabled, collate.alpha, collate.epoch) == (1, 1.0, 1)
    assert [plan for _, plan in batches] == expected(1)[1:]
    other.enabled = True
    assert plans(loader_of(other, 0)) == expected(3, rule=Mixup(0.2))


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
            collate = collate_of(rng=rng)
            loader = loader_of(collate, 2, persistent, batch_size=5)
            for epoch in range(3):
                if with_epoch:
                    collate.set_epoch(epoch)
                seen += [(tuple(plan.lam), tuple(plan.partner)) for plan in plans(loader)]
        return seen

    seen = run()
    assert len(set(seen)) == len(seen) == 2 * 3 * 4
    assert run() == seen


def test_seeds_differ():
    assert expected(seed=7) != expected(seed=8)
    for seed in (8, [7, 1], (7, 0)):
        drawn = plans(loader_of(collate_of(rng=seed), 0))
        key = (seed,) if isinstance(seed, int) else tuple(seed)
        assert drawn == [RULE.plan(4, rng=(*key, 0, batch, 0)) for batch in range(BATCHES)]
        assert drawn != expected()


def test_torchs_seed_is_taken_where_there_is_none():
    def run(seed, workers):
        torch.manual_seed(seed)
        return plans(loader_of(collate_of(rng=None), workers))

    for workers in (0, 2):
        assert run(1, workers) == run(1, workers) != run(2, workers)


def until_two(epoch):
    return epoch < 2


@pytest.mark.parametrize("off_epoch", [2, until_two])
@pytest.mark.parametrize("workers", [0, 2])
def test_off_epoch_reaches_workers_that_live_on(off_epoch, workers):
    collate = MixCollate(RULE, rng=7, off_epoch=off_epoch)
    loader = loader_of(collate, workers, persistent=workers > 0)
    for epoch in range(4):
        collate.set_epoch(epoch)
        for step, (images, (_, _, lam)) in enumerate(loader):
            assert bool((lam == 1).all()) == (epoch >= 2)
            if epoch >= 2:
                assert torch.equal(images, torch.stack(IMAGES[4 * step : 4 * step + 4]))


@pytest.mark.parametrize("off_epoch", [1, until_two])
def test_off_epoch_without_the_epoch_warns_once(off_epoch):
    collate = MixCollate(RULE, rng=7, off_epoch=off_epoch)
    with pytest.warns(UserWarning, match=r"off_epoch needs the epoch: call collate.set_epoch\(epoch\)") as seen:
        list(map(collate, [SAMPLES] * 3))
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MixCollate(RULE)(SAMPLES)
        collate = MixCollate(RULE, off_epoch=off_epoch)
        collate.set_epoch(0)
        collate(SAMPLES)


@pytest.mark.filterwarnings("ignore:off_epoch needs")
@pytest.mark.parametrize(("workers", "persistent"), WORKERS)
def test_off_epoch_where_no_epoch_is_said(workers, persistent):
    loader = loader_of(MixCollate(RULE, rng=7, off_epoch=1), workers, persistent)
    assert [any((lam < 1).any() for _, (_, _, lam) in loader) for _ in range(3)] == [True, False, False]


def test_a_schedule_gets_the_whole_number_of_the_epoch():
    collate = MixCollate(RULE, rng=7, off_epoch=[True, False].__getitem__)
    assert [collate.set_epoch(epoch) or collate.mixes() for epoch in (0, 1)] == [True, False]
    assert (collate(SAMPLES)[1][2] == 1).all()
    for epoch in (-1, 0.5):
        with pytest.raises(ValueError, match="whole number >= 0"):
            collate.set_epoch(epoch)


def test_a_batch_is_of_one_epoch_whatever_is_set_meanwhile():
    seen = []

    def schedule(epoch):
        seen.append(epoch)
        collate.set_epoch(1)  # as the main process may, while a worker draws
        return epoch == 0

    collate = MixCollate(RULE, rng=7, off_epoch=schedule, return_plan=True)
    collate.set_epoch(0)
    assert collate(SAMPLES[:4])[1] == expected(0)[0]
    assert seen == [0]


@pytest.mark.parametrize("workers", [0, 2])
def test_settings_reach_workers_that_live_on(workers):
    collate = collate_of()
    loader = loader_of(collate, workers, persistent=workers > 0)

    def epoch(number):
        collate.set_epoch(number)
        return plans(loader)

    assert epoch(0) == expected(0)
    collate.enabled = False
    assert all((plan.lam == 1).all() for plan in epoch(1))
    collate.enabled, collate.prob = True, 0
    assert all((plan.lam == 1).all() for plan in epoch(2))
    collate.prob, collate.alpha = 1, 1e6
    assert epoch(3) == expected(3, rule=Mixup(1e6))
    assert all((abs(plan.lam - 0.5) < 0.01).all() for plan in epoch(4))
    collate.rule = CutMix(mode="elem")
    assert collate.rule == CutMix(mode="elem")
    assert epoch(5) == expected(5, rule=CutMix(mode="elem"))
    collate.alpha = 0.2
    assert epoch(6) == expected(6, rule=CutMix(0.2, mode="elem"))


def test_settings_that_are_wrong_are_refused_and_change_nothing():
    collate = collate_of()
    for name, value in {"alpha": -1, "prob": 2, "enabled": 5, "off_epoch": -1}.items():
        with pytest.raises(ValueError):  # noqa: PT011 (each says something else)
            setattr(collate, name, value)
    with pytest.raises(TypeError, match="rule must be a rule"):
        collate.rule = 0.4
    assert (collate.alpha, collate.prob, collate.enabled, collate.rule) == (1.0, 1.0, 1, RULE)


def test_one_thread_in_a_worker_and_shared_memory():
    loader = loader_of(Threads(RULE), 1)
    assert [threads for threads, _ in loader] == [1] * BATCHES
    assert all(is_shared for _, is_shared in loader)


class Threads(MixCollate):
    """Gives the number of threads, and whether the batch lies in shared memory."""

    def __call__(self, samples):
        return mixup_rs.get_num_threads(), super().__call__(samples)[0].is_shared()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="Linux alone shows its segments")
def test_nothing_is_left_behind():
    # torch names a segment after the process that made it: other processes make segments meanwhile.
    processes = {os.getpid()}

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def epoch():
        batches = iter(loader_of(collate, 2, samples=SAMPLES * 30))
        processes.update(worker.pid for worker in batches._workers)
        counts = [descriptors() for _ in batches]
        del batches
        gc.collect()  # its queues live in cycles
        return counts

    collate = MixCollate(RULE, rng=7)
    epoch()  # what torch sets up once
    before = descriptors()
    counts = epoch()
    assert len(counts) == 150
    # Batches on their way hold descriptors: two workers prefetch two each. A leak would grow by one a batch.
    assert max(counts[100:]) <= max(counts[:50]) + 16
    assert descriptors() == before
    ours = tuple(f"torch_{process}_" for process in processes)
    assert not [name for name in os.listdir("/dev/shm") if name.startswith(ours)]
