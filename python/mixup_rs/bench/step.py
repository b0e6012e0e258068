"""The share of mixing in a training step: `mixup-rs bench --step`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import mixup_rs
from mixup_rs.bench.machine import machine

__all__ = ["StepTimes", "measure_step", "step_report"]

#: A common batch in training on photographs, its classes, and the number of steps.
_SHAPE, _CLASSES, _STEPS = (64, 3, 128, 128), 37, 5


@dataclass
class StepTimes:
    """The seconds of each step.

    Parameters
    ----------
    mixing : list of float
        The time of the callback's `before_batch`.
    step : list of float
        The time from before that to after the optimizer.
    """

    mixing: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of mixing in the step, from medians."""
        return median(self.mixing) / median(self.step)


def step_report() -> str:
    """A line for RustMixUp and a line for fastai's MixUp, in a resnet34 with torch's default number of threads."""
    import torch
    from fastai.callback.mixup import MixUp
    from torchvision.models import resnet34

    where = machine()
    shape = "x".join(map(str, _SHAPE))
    lines = [
        f"a step of resnet34 on float32 {shape}: {where['cpu']}, {torch.get_num_threads()} threads of torch, "
        f"{mixup_rs.get_num_threads()} of mixup-rs, median of {_STEPS}"
    ]
    for name, callback in {"RustMixUp": mixup_rs.RustMixUp(), "fastai MixUp": MixUp()}.items():
        times = measure_step(callback, lambda: resnet34(num_classes=_CLASSES))
        mixing, step = median(times.mixing) * 1e3, median(times.step) * 1e3
        lines.append(f"{name:14}{mixing:8.2f} ms of {step:7.0f} ms: {times.share:.3%} of the step")
    return "\n".join(lines)


def measure_step(
    callback: Any, model: Callable[[], Any], shape: tuple[int, ...] = _SHAPE, steps: int = _STEPS
) -> StepTimes:
    """Train a model on one batch of noise.

    Parameters
    ----------
    callback : fastai.callback.core.Callback
        The mixing callback.
    model : callable
        Makes the model.
    shape : tuple of int
        The shape of the batch.
    steps : int
        The steps that are measured, after two that are not.

    Returns
    -------
    StepTimes
        The times.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fastai's import
        import torch
        from fastai.callback.core import CancelValidException  # type: ignore[attr-defined]
        from fastai.vision.all import Callback, CrossEntropyLossFlat, DataLoaders, Learner

        from mixup_rs.fastai._compat import set_attributes

    times = StepTimes()

    class Clock(Callback):
        """Measures steps, as the first callback. Skips validation, for which there is no data."""

        order = -100

        def before_batch(self) -> None:
            self.started = time.perf_counter()

        def after_batch(self) -> None:
            times.step.append(time.perf_counter() - self.started)

        def before_validate(self) -> None:
            raise CancelValidException

    def timed_mixing() -> None:
        started = time.perf_counter()
        mix()
        times.mixing.append(time.perf_counter() - started)

    mix = callback.before_batch
    set_attributes(callback, before_batch=timed_mixing)
    torch.manual_seed(0)
    batch = torch.rand(shape), torch.randint(0, _CLASSES, shape[:1])
    dls = DataLoaders([batch] * (steps + 2), [], device="cpu")
    learn = Learner(dls, model(), loss_func=CrossEntropyLossFlat(), cbs=[callback, Clock()])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-4)
    return StepTimes(times.mixing[2:], times.step[2:])
