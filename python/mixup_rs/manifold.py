"""Manifold mixup: what goes into a layer of the model is mixed."""

from __future__ import annotations

from typing import Any

from fastai.callback.mixup import MixHandler
from torch import nn

from mixup_rs._core import MixPlan
from mixup_rs.batch import mix_inputs
from mixup_rs.callback import Mixing

__all__ = ["RustManifoldMixUp"]


class RustManifoldMixUp(Mixing, MixHandler):
    """Manifold mixup (Verma et al., arXiv 1806.05236): what goes into a layer is mixed instead of the model's input.

    This is the way to mix token ids and categories: as embeddings.

    alpha: lam ~ Beta(alpha, alpha), folded; a number > 0.
    layer: the module whose inputs are mixed; None draws one for each batch from the model's stages: the modules of its
        sequential parts, but for the first of a sequential model, whose input is the model's own. In fastai's text
        classifiers `learn.model[1].layers` is given whole sentences, however long each is.
    rng: as for RustMixUp.

    >>> RustManifoldMixUp(alpha=0.4)
    RustManifoldMixUp
    """

    name = "manifold_mix_up"

    def __init__(self, alpha: float = 0.4, layer: nn.Module | None = None, rng: Any = None):
        MixPlan.mixup(0, alpha=alpha)
        self._hook: Any = None
        super().__init__(alpha, rng, inplace=False)
        self.alpha, self.layer = float(alpha), layer

    def show_batch(self, dls: Any, max_n: int = 9) -> Any:
        raise TypeError("what goes into a layer is no picture: there is nothing to show")

    def _plan(self, xb: Any, n: int, key: Any) -> MixPlan:
        return MixPlan.mixup(n, alpha=self.alpha, rng=key)

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        layer = self.layer
        if layer is None:
            stages = _stages(self.learn.model)
            if not stages:
                raise ValueError("the model has no sequential part to draw a layer from; name one: layer=...")
            layer = stages[self._word.random_().item() % len(stages)]
        self._unhook()
        self.__dict__["_hook"] = layer.register_forward_pre_hook(_Mix(self, plan))
        return xb

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self.__dict__["_hook"] = None

    def after_pred(self) -> None:
        self._unhook()
        super().after_pred()

    def _forget(self) -> None:
        self._unhook()
        super()._forget()

    def _show(self) -> None:
        self._unhook()
        super()._show()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_hook": None}


class _Mix:
    """What a layer is asked to do with its inputs, once, in the training batch that the plan is for."""

    def __init__(self, callback: RustManifoldMixUp | None = None, plan: MixPlan | None = None):
        self.callback, self.plan = callback, plan

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.callback is None:
            return None
        self.callback._unhook()  # a layer that a model uses twice is mixed once
        # Of a batch that was interrupted before it came here, nothing is left for a model that is evaluated.
        return mix_inputs(self.plan, inputs) if self.callback.learn.model.training else None

    def __reduce__(self) -> Any:
        """A copy of the model takes neither the batch nor the learner along."""
        return _Mix, ()


def _stages(model: nn.Module) -> list[nn.Module]:
    stages: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.Sequential):
            stages.extend(child.children())
        elif isinstance(model, nn.Sequential):
            stages.append(child)
    return stages[1:] if isinstance(model, nn.Sequential) else stages
