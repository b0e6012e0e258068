"""accelerate: a prepared loader keeps the collate, and its batches are mixed by their keys."""

import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from trainers import BATCH, CLASSES, RULE, SAMPLES, SEED, N, assert_are, mixed

from mixup_rs.torch import MixCollate, PairedTarget


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_batches_have_the_keys_of_their_epochs(workers, persistent):
    collate = MixCollate(RULE, num_classes=CLASSES, rng=SEED)
    loader = DataLoader(SAMPLES, BATCH, collate_fn=collate, num_workers=workers, persistent_workers=persistent)
    prepared = Accelerator(cpu=True).prepare(loader)
    for epoch in (0, 1, 5):  # as after a resume
        collate.set_epoch(epoch)
        assert_are(list(prepared), [mixed(batch, epoch) for batch in range(N // BATCH)])


def test_pairs_arrive_as_pairs():
    prepared = Accelerator(cpu=True).prepare(DataLoader(SAMPLES, BATCH, collate_fn=MixCollate(RULE, rng=SEED)))
    plan = RULE.plan(BATCH, rng=(SEED, 0, 0, 0))
    _, target = next(iter(prepared))
    assert type(target) is PairedTarget
    torch.testing.assert_close(target.lam, torch.tensor(plan.lam, dtype=torch.float32))


def test_the_example(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    import accelerate_train

    assert accelerate_train.main(epochs=3) > 0.6
    sys.modules.pop("accelerate_train")
