"""Two processes train one network: each rank mixes in its own way, and all end with the same parameters."""

import os
import subprocess
import sys
import textwrap

import pytest

WORKER = """
import sys
import torch
import torch.distributed as dist
from fastai.vision.all import Callback
sys.path.insert(0, {support!r})
from learners import learner, loaders, tiny_model
from mixup_rs.fastai import RustMixUp

dist.init_process_group("gloo", init_method="file://" + {meeting!r}, rank={rank}, world_size=2)

class Plans(Callback):
    def before_fit(self):
        self.seen = []
    def after_pred(self):
        if self.training:
            self.seen.append(float(self.learn.mix_up.plan.lam.sum()))

parallel = lambda: torch.nn.parallel.DistributedDataParallel(tiny_model())
learn = learner([RustMixUp(rng=7), Plans()], lambda: loaders(n=64), parallel)
with learn.no_bar(), learn.no_logging():
    learn.fit(1)
total = sum(p.double().sum() for p in learn.model.parameters()).item()
print(repr(total), learn.plans.seen[0])
dist.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo's file store is not to be had")
def test_ranks_mix_differently_and_agree_on_the_parameters(tmp_path, request):
    def start(rank):
        support = str(request.path.parents[1] / "support")
        code = WORKER.format(support=support, meeting=str(tmp_path / "meeting"), rank=rank)
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], env=environment, stdout=subprocess.PIPE, text=True
        )

    lines = [process.communicate(timeout=180)[0].split() for process in [start(0), start(1)]]
    (parameters, plan), (other_parameters, other_plan) = lines
    assert parameters == other_parameters
    assert plan != other_plan
