"""What mixing takes of a step of training: `mixup-rs bench --step`."""

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

#: A common batch in training on photographs, and the network it goes through.
_SHAPE, _CLASSES, _STEPS = (64, 3, 128, 128), 37, 5


@dataclass
class StepTimes:
    """Seconds of each step: of the callback's `before_batch`, and from before that to after the optimizer."""

    mixing: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        return median(self.mixing) / median(self.step)


def step_report() -> str:
    """A line for our callback and one for fastai's, in a resnet34 on as many threads as torch takes."""
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
    """Trains `model()` on one batch of noise for `steps` steps, and two before them that do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fastai's own, at its import
        import torch
        from fastai.vision.all import Callback, CancelValidException, CrossEntropyLossFlat, DataLoaders, Learner

    times = StepTimes()

    class Clock(Callback):
        """The first to hear of a batch. The network learns nothing here: there is nothing to validate."""

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
    # Not by fastai's __setattr__, which would set it on the learner.
    callback.__dict__["before_batch"] = timed_mixing
    torch.manual_seed(0)
    batch = torch.rand(shape), torch.randint(0, _CLASSES, shape[:1])
    dls = DataLoaders([batch] * (steps + 2), [], device="cpu")
    learn = Learner(dls, model(), loss_func=CrossEntropyLossFlat(), cbs=[callback, Clock()])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-4)
    return StepTimes(times.mixing[2:], times.step[2:])
