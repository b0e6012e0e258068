"""Every rank mixes in its own way, whenever and however its process was started, and counts its own batches."""

import ast
import os
import subprocess
import sys

import pytest
import torch

from mixup_rs import Mixup
from mixup_rs.torch import MixCollate
from mixup_rs.torch.shared import _LOCAL_RANKS, rank

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", *_LOCAL_RANKS, *_LOCAL_RANKS.values())
SAMPLES = [(torch.full((3,), float(i)), i) for i in range(12)]
RULE = Mixup(1.0)

#: Started as `python FILE MEETING WORLD`: ranks that torch spawns, each with a collate that was built before them.
SCRIPT = """
import os
import sys
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from mixup_rs import Mixup
from mixup_rs.torch import MixCollate

SAMPLES = [(torch.full((3,), float(i)), i) for i in range(12)]

def plans(collate, workers, context):
    loader = DataLoader(SAMPLES, 4, collate_fn=collate, num_workers=workers, multiprocessing_context=context)
    return [plan.lam.tolist() for _, plan in loader]

def main(rank, collate, meeting, results):
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
    os.environ["LOCAL_RANK"] = "0"  # as on two machines: a spawned worker must not take it for the rank
    seen = []
    for workers, context, epochs in ((0, None, (3, 4)), (2, "fork", (3, 4)), (1, "spawn", (3,))):
        for epoch in epochs:
            if rank:
                dist.barrier()  # the other rank is an epoch ahead
            collate.set_epoch(epoch)
            seen.append(plans(collate, workers, context))
            if not rank:
                dist.barrier()
    # What is set for one rank leaves the other alone.
    collate.set_epoch(rank)
    dist.barrier()
    seen.append(collate.epoch)
    results.put((rank, seen))
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    torch.set_num_threads(1)
    collate = MixCollate(Mixup(1.0), rng=7, return_plan=True)
    collate.set_epoch(1)
    results = torch.multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(main, (collate, sys.argv[1], results), nprocs=2)
    print(sorted(results.get() for _ in range(2)))
"""


@pytest.fixture(autouse=True)
def no_rank(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def expected(number, epoch=0, batch=0, n=12):
    return RULE.plan(n, rng=(7, epoch, batch, number))


@pytest.mark.parametrize(
    ("environment", "number"),
    [({}, 0), ({"RANK": "3"}, 3), ({"LOCAL_RANK": "2"}, 2), ({"RANK": "5", "LOCAL_RANK": "1"}, 5),
     ({"RANK": "0", "LOCAL_RANK": "1"}, 0), ({"RANK": "40"}, 40), ({"LOCAL_RANK": "-1"}, 0), ({"RANK": ""}, 0),
     ({"SLURM_PROCID": "5"}, 5), ({"OMPI_COMM_WORLD_RANK": "5"}, 5), ({"PMI_RANK": "5"}, 5),
     ({"RANK": "2", "SLURM_PROCID": "5"}, 2),
     ({"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "LOCAL_RANK": "1"}, 5),  # set by the job's script
     ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "LOCAL_RANK": "1"}, 1),  # by Lightning, in a job of one task
     ({"OMPI_COMM_WORLD_RANK": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "0", "LOCAL_RANK": "0"}, 4),
     ({"PMI_RANK": "0", "LOCAL_RANK": "3"}, 3)],
)  # fmt: skip
def test_the_rank_that_the_launcher_says(no_rank, environment, number):
    """Looked up when it is needed: the collate is built before the launcher says it."""
    collate = MixCollate(RULE, rng=7, return_plan=True)
    for name, value in environment.items():
        no_rank.setenv(name, value)
    assert rank() == number
    assert collate(SAMPLES)[1] == expected(number)


def test_what_is_no_rank_is_refused(no_rank):
    no_rank.setenv("LOCAL_RANK", "first")
    with pytest.raises(ValueError, match="variable LOCAL_RANK must be the rank of this process, got 'first'"):
        MixCollate(RULE, rng=7)(SAMPLES)


def test_all_ranks_differ(no_rank):
    drawn = []
    for number in range(33):
        no_rank.setenv("RANK", str(number))
        drawn.append(MixCollate(RULE, rng=7, return_plan=True)(SAMPLES)[1])
    assert len({tuple(plan.lam) for plan in drawn}) == 33


def test_settings_of_all_ranks_and_epochs_of_each(no_rank):
    collate = MixCollate(RULE, rng=7, return_plan=True)
    no_rank.setenv("RANK", "1")
    collate.set_epoch(4)
    collate.alpha = 0.5
    assert collate.epoch == 4
    no_rank.setenv("RANK", "0")
    assert (collate.epoch, collate.alpha) == (0, 0.5)


def test_ranks_that_were_spawned(tmp_path, no_rank):
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path / "meeting")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for number, (*seen, epoch) in ast.literal_eval(done.stdout):
        assert epoch == number
        keys = [(said, batch) for said in (3, 4) for batch in range(3)]
        one_loader = [expected(number, *key, n=4).lam.tolist() for key in keys]
        assert [lam for plans in seen for lam in plans] == one_loader * 2 + one_loader[:3]
