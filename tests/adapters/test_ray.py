"""Ray Data: the same rows are mixed alike, whatever tasks or actors there are and in whatever order they end."""

import doctest
import os
import pickle
import sys
import tracemalloc

import numpy as np
import pytest
import torch

import mixup_rs.ray
from mixup_rs import CutMix, Mixer, MixPlan, Mixup
from mixup_rs.ray import MixCollate

ray = pytest.importorskip("ray")
N, BATCH, CLASSES, SIDE = 192, 16, 5, 12
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    """Ray on this machine, which keeps its files out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 << 20,
            log_to_driver=False,
            logging_level="error",
            # Workers find the package as this process does.
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


def rows():
    drawn = np.random.default_rng(0)
    return {
        "image": drawn.integers(0, 256, (N, 3, SIDE, SIDE), dtype=np.uint8),
        "label": drawn.integers(0, CLASSES, N),
        "id": np.arange(N),
    }


def data(blocks=4):
    return ray.data.from_numpy([column for column in np.array_split(np.arange(N), blocks)]).map_batches(
        lambda batch: {name: column[batch["data"]] for name, column in rows().items()}, batch_size=None
    )


def by_id(batches):
    """The rows of mixed batches by their ids: (image, label)."""
    found = {}
    for batch in batches:
        for i, number in enumerate(np.asarray(batch["id"])):
            found[int(number)] = np.asarray(batch["image"][i]), np.asarray(batch["label"][i])
    assert len(found) == N
    return found


def expected(mix):
    """The rows as `mix` mixes the batches of Ray's blocks, here."""
    columns, found = rows(), []
    for start in range(0, N, BATCH):
        found.append(mix({name: column[start : start + BATCH] for name, column in columns.items()}))
    return by_id(found)


def assert_same(one, other):
    for number in range(N):
        for a, b in zip(one[number], other[number], strict=True):
            np.testing.assert_array_equal(a, b)


class Actor:
    def __init__(self, mix):
        self.mix = mix

    def __call__(self, batch):
        return self.mix(batch)


MIX = Mixer(Mixup(0.4), num_classes=CLASSES, rng=(42, 0))


@pytest.mark.parametrize("keeps_order", [True, False])
@pytest.mark.parametrize("tasks", [1, 2])
def test_map_batches(tasks, keeps_order):
    ray.data.DataContext.get_current().execution_options.preserve_order = keeps_order
    mixed = data().map_batches(MIX, batch_size=BATCH, concurrency=tasks)
    assert_same(by_id(mixed.iter_batches(batch_size=None)), expected(MIX))


def test_map_batches_by_actors():
    pool = ray.data.ActorPoolStrategy(size=2)
    mixed = data().map_batches(Actor, fn_constructor_args=[MIX], batch_size=BATCH, compute=pool)
    assert_same(by_id(mixed.iter_batches(batch_size=None)), expected(MIX))


def ragged(rows):
    column = np.empty(len(rows), object)
    column[:] = rows
    return column


def test_rows_of_different_shapes_are_part_of_the_key():
    """Ray gives them as an array of objects."""
    drawn = np.random.default_rng(0)
    collate = MixCollate(Mixup(0.4), rng=42, pad=0.0, return_plan=True)

    def lam(x):
        return collate({"audio": ragged(x), "id": np.arange(8)})[1].lam.tolist()

    one, other = ([drawn.random(4 + i, np.float32) for i in range(8)] for _ in range(2))
    assert lam(one) == lam([row.copy() for row in one]) != lam(other)
    assert lam(one) != lam(one[::-1])


def test_boxes_are_part_of_the_key():
    collate = MixCollate(Mixup(0.4), rng=42, return_plan=True)
    image = np.zeros((4, 3, 8, 8), np.uint8)
    boxes = [np.array([[0, 0, 4, 4]] * i, np.float32).reshape(-1, 4) for i in range(4)]

    def lam(labels):
        classes = ragged([np.full(i, label) for i, label in enumerate(labels)])
        return collate({"image": image, "boxes": ragged(boxes), "labels": classes})[1].lam.tolist()

    assert lam([1, 2, 3, 4]) == lam([1, 2, 3, 4]) != lam([1, 2, 3, 5])


class Next:
    """The partner of each sample is the next one."""

    def plan(self, n, shape=None, labels=None, rng=None):
        return MixPlan(np.full(n, 0.5), np.roll(np.arange(n), -1))


def test_blocks_are_read_where_they_are():
    """Blocks in the object store are read-only; what comes in is not copied before it is mixed."""

    def inspect(batch):
        image, found = batch["data"], []
        for mix in (Mixer(Next()), MixCollate(Next())):
            mix({"image": image})
            tracemalloc.start()
            mixed = np.asarray(mix({"image": image})["image"])
            found.append((tracemalloc.get_traced_memory()[1] / image.nbytes, (mixed != image).any()))
            tracemalloc.stop()
        copied, is_mixed = zip(*found, strict=True)
        return {"is_writable": [image.flags.writeable], "copied": [max(copied)], "is_mixed": [all(is_mixed)]}

    images = np.random.default_rng(0).integers(0, 256, (64, 3, 64, 64), dtype=np.uint8)
    blocks = ray.data.from_numpy(images).materialize()
    (found,) = blocks.map_batches(inspect, batch_size=64, zero_copy_batch=True).take_all()
    assert not found["is_writable"]
    assert found["is_mixed"]
    assert found["copied"] < 0.2


@pytest.mark.parametrize("rule", [Mixup(0.4), CutMix()])
@pytest.mark.parametrize("normalize", [None, (MEAN, STD)])
def test_iter_torch_batches(rule, normalize):
    collate = MixCollate(rule, num_classes=CLASSES, normalize=normalize, rng=(42, 0))
    batches = list(data(3).iter_torch_batches(batch_size=BATCH, collate_fn=collate))
    assert {type(column) for batch in batches for column in batch.values()} == {torch.Tensor}
    assert_same(by_id(batches), expected(collate))
    if normalize is None:
        assert_same(by_id(batches), expected(lambda batch: _with_key(collate, batch)))


def _with_key(collate, batch):
    """The same by `plan.apply`, with the key of the seed, the epoch and the content."""
    from mixup_rs.batches.arrays import NUMPY
    from mixup_rs.batches.content import content_key

    sides = [[((name,), NUMPY, batch[name])] for name in ("image", "label")]
    plan = collate.rule.plan(len(batch["id"]), (SIDE, SIDE), rng=(42, 0, 0, content_key(*sides)))
    y, _ = plan.apply_labels(batch["label"], CLASSES)
    return {"image": plan.apply(batch["image"]), "label": y, "id": batch["id"]}


def test_masks_are_those_of_both():
    own = (np.arange(7) < np.array([[3], [7], [5], [1]])).astype(np.int64)
    columns = {"input_values": np.ones((4, 7), np.float32), "attention_mask": own, "label": np.arange(4)}
    mixed, plan = MixCollate(Mixup(1.0, prob=0.7), rng=3, return_plan=True)(columns)
    assert 0 < (plan.lam < 1).sum() < 4
    union = np.where((plan.lam < 1)[:, None], own | own[plan.partner], own)
    np.testing.assert_array_equal(mixed["attention_mask"], union)


def test_epochs_differ():
    collate = MixCollate(Mixup(0.4), num_classes=CLASSES, rng=42)
    columns = {name: column[:BATCH] for name, column in rows().items()}
    first, again = collate(columns), collate(columns)
    assert torch.equal(first["image"], again["image"])
    collate.set_epoch(1)
    assert not torch.equal(first["image"], collate(columns)["image"])
    collate.off_epoch = 1
    assert torch.equal(collate(columns)["image"], torch.from_numpy(columns["image"]))
    assert torch.equal(pickle.loads(pickle.dumps(collate))(columns)["image"], collate(columns)["image"])


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([1, 2], TypeError, "expected a dict of arrays, got list"),
        ({}, TypeError, "expected a dict of arrays"),
        ({"image": np.zeros((2, 3, 4, 4)), "label": np.zeros(3)}, ValueError, "columns must have one length"),
        ({"image": np.zeros((0, 3, 4, 4)), "label": np.zeros(0)}, ValueError, "expected at least one row"),
        ({"pixels": np.zeros((2, 3, 4, 4))}, ValueError, "no entry is known to be an input"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        MixCollate(Mixup())(batch)


def test_the_examples():
    assert doctest.testmod(mixup_rs.ray).failed == 0


def test_partners_come_from_another_data_set():
    batch = {"image": np.zeros((4, 3, 8, 8), np.float32), "label": np.arange(4) % 2}
    other = [{"image": np.ones((3, 8, 8), np.float32), "label": 2}] * 5
    mixed = MixCollate(Mixup(1.0), num_classes=3, rng=1, other=other)(batch)
    share = mixed["image"][:, 0, 0, 0]
    assert (share > 0).all()
    assert torch.allclose(mixed["label"][:, 2], share)
