"""The share of a training step: that all of it is measured, by whichever callback. Never how much it is."""

import time

import pytest
import torch
from fastai.callback.mixup import MixUp
from torch import nn

from mixup_rs import RustMixUp, bench
from mixup_rs.bench import step
from mixup_rs.bench.step import StepTimes, measure_step

SHAPE, STEPS = (4, 3, 8, 8), 3


class Slow(RustMixUp):
    def before_batch(self):
        time.sleep(0.02)
        super().before_batch()


def small_model():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 37))


@pytest.mark.parametrize("callback", [RustMixUp, MixUp])
def test_every_step_but_the_first_two_is_measured(callback):
    times = measure_step(callback(), small_model, SHAPE, STEPS)
    assert len(times.mixing) == len(times.step) == STEPS
    assert all(0 < mixing < step for mixing, step in zip(times.mixing, times.step, strict=True))


def test_what_the_callback_takes_is_counted_in_both():
    times = measure_step(Slow(), small_model, SHAPE, STEPS)
    assert min(times.mixing) >= 0.02
    assert all(step >= mixing for mixing, step in zip(times.mixing, times.step, strict=True))


def test_the_network_is_really_trained():
    model = small_model()
    before = model[1].weight.detach().clone()
    measure_step(RustMixUp(), lambda: model, SHAPE, STEPS)
    assert not torch.equal(model[1].weight, before)


def test_the_share_is_of_the_medians():
    assert StepTimes([1.0, 2.0, 9.0], [50.0, 40.0, 10.0]).share == 2 / 40


def test_the_command_prints_both(monkeypatch, capsys):
    monkeypatch.setattr(step, "measure_step", lambda callback, model: StepTimes([0.002], [1.0]))
    assert bench.main(["--step"]) == 0
    printed = capsys.readouterr().out
    assert "RustMixUp         2.00 ms of    1000 ms: 0.200% of the step" in printed
    assert "fastai MixUp" in printed
