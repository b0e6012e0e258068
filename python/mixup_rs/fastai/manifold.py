"""Manifold mixup: the inputs of a layer of the model are mixed."""

from __future__ import annotations

from typing import Any

from fastai.callback.mixup import MixHandler
from torch import nn

from mixup_rs._core import MixPlan
from mixup_rs.fastai._compat import Running, pooling_classifiers, set_attributes
from mixup_rs.fastai.keys import LAYER
from mixup_rs.fastai.mixing import Mixing
from mixup_rs.rule import Mode
from mixup_rs.rules import Mixup
from mixup_rs.torch._compat import is_in_backward, leave_graph
from mixup_rs.torch.batch import mix_inputs

__all__ = ["RustManifoldMixUp"]


class RustManifoldMixUp(Mixing, MixHandler):
    """Manifold mixup: the inputs of a layer are mixed instead of the inputs of the model.

    Token ids and categories are mixed in this way, as embeddings. Targets and the loss are those of `RustMixUp`.

    Parameters
    ----------
    alpha : float, default 0.4
        lam ~ Beta(alpha, alpha); finite, 0 for no mixing.
    layer : torch.nn.Module, optional
        The module whose inputs are mixed. None draws one for each batch from the modules of the model's sequential
        parts, without the first module of a sequential model, whose input is the model's, and without those that begin
        with an embedding, which takes indices. In fastai's text classifiers `learn.model[1].layers` takes whole
        sentences, of any length.
    mode, fold, prob, off_epoch, rng, targets
        As for `RustMixUp`, without rng="torch".
    bank, other : None
        Not taken: partners are of the batch itself.

    Attributes
    ----------
    rule, plan, lam, yb1
        As of `RustMixUp`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; in training, if `layer` is None and the model has no sequential part, or if
        the inputs of the layer cannot be mixed.
    RuntimeError
        In training, if the layer does not run in a batch: its labels would be mixed and nothing else.

    References
    ----------
    https://arxiv.org/abs/1806.05236

    Examples
    --------
    >>> RustManifoldMixUp(alpha=0.4)
    RustManifoldMixUp
    """

    name: Any = "manifold_mix_up"

    def __init__(
        self,
        alpha: float = Mixup.alpha,
        layer: nn.Module | None = None,
        mode: Mode = "elem",
        fold: bool = True,
        prob: float = 1.0,
        off_epoch: int | None = None,
        rng: Any = None,
        targets: Any = None,
        bank: None = None,
        other: None = None,
    ):
        if bank is not None or other is not None:
            raise ValueError(
                f"{type(self).__name__} takes no bank= and other=: the inputs of a layer are mixed within a batch, as "
                "those of another have not gone through the model; RustMixUp takes both"
            )
        self._hook: Any = None
        self._mixes: _MixInputs | None = None
        super().__init__(Mixup(alpha, mode, fold, prob), rng, off_epoch=off_epoch, targets=targets)
        self.layer = layer

    def show_batch(self, dls: Any, max_n: int = 9) -> Any:
        """Raise TypeError: the inputs of a layer are not images."""
        raise TypeError("there is no picture of the inputs of a layer: they are not images")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "layer" and not (value is None or isinstance(value, nn.Module)):
            raise TypeError(
                f"layer must be a module of the model, such as learn.model[1], got {value!r}; one that has a name is "
                "learn.model.get_submodule(name)"
            )
        super().__setattr__(name, value)

    def _mix_inputs(self, plan: MixPlan, xb: tuple[Any, ...]) -> tuple[Any, ...]:
        layer = self.layer
        if layer is None:
            stages = _stages(_unwrapped(self.learn.model))
            if not stages:
                raise ValueError("the model has no sequential part to draw a layer from; name one: layer=...")
            layer = stages[self._draw_below(len(stages), LAYER)]
        self._unhook()
        mixes = _MixInputs(self, plan, Running(self.learn.one_batch))
        set_attributes(self, _mixes=mixes, _hook=layer.register_forward_pre_hook(mixes, with_kwargs=True))
        return xb

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            set_attributes(self, _hook=None, _mixes=None)

    def after_pred(self) -> None:
        """Check that the layer ran, then hide targets as `Mixing` does."""
        if self._mixes is not None and not self._mixes.runs:
            self._unhook()
            raise RuntimeError(
                "the layer whose inputs are mixed did not run in this batch, so that its labels would be mixed alone; "
                "name another: layer=..."
            )
        super().after_pred()

    def _forget(self) -> None:
        self._unhook()
        super()._forget()

    def after_batch(self) -> None:
        """Leave the layer as it was, after the backward pass, which may run it again."""
        self._unhook()

    def _stop(self) -> None:
        self._unhook()
        super()._stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_hook": None, "_mixes": None}


class _MixInputs:
    """A forward pre-hook that mixes the inputs of a layer once, in the training batch of its plan.

    Activation checkpointing runs a layer again in the backward pass, which must see what the forward pass saw.
    """

    def __init__(
        self, callback: RustManifoldMixUp | None = None, plan: MixPlan | None = None, in_batch: Running | None = None
    ):
        self.callback, self.plan, self.in_batch = callback, plan, in_batch
        #: How often the layer ran in the forward pass.
        self.runs = 0

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.callback is None or self.plan is None:
            return None
        leave_graph()
        if not self.in_batch:  # it was interrupted
            return self.callback._unhook()
        if not self.callback.learn.model.training:
            return None
        if self.runs and is_in_backward():
            if self.runs > 1:
                raise RuntimeError(
                    f"the layer whose inputs are mixed runs {self.runs} times in a batch, of which one is mixed, and "
                    "activation checkpointing runs it again, which does not say which; name another: layer=..."
                )
        else:
            self.runs += 1
        return mix_inputs(self.plan, (args, kwargs)) if self.runs == 1 else None

    def __reduce__(self) -> Any:
        """A copy of the model gets a hook without the batch and the learner, which does nothing."""
        return _MixInputs, ()


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model within one that is compiled, or that runs on several devices."""
    while (inner := getattr(model, "_orig_mod", getattr(model, "module", None))) is not None:
        model = inner
    return model


def _stages(model: nn.Module) -> list[nn.Module]:
    """The modules of a model's sequential parts that are given values which can be mixed."""
    stages: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.Sequential):
            stages.extend(child.children())
        elif isinstance(child, pooling_classifiers()):
            # It is given a mask beside the words. Its layers are given whole sentences.
            layers: Any = child.layers
            stages.extend(layers.children())
        elif isinstance(model, nn.Sequential):
            stages.append(child)
    stages = stages[1:] if isinstance(model, nn.Sequential) else stages
    return [stage for stage in stages if not _begins_with_embedding(stage)]


def _begins_with_embedding(module: nn.Module) -> bool:
    """Whether the first layer of a module takes indices."""
    children = list(module.children())
    if not children:
        return isinstance(module, nn.Embedding | nn.EmbeddingBag)
    return _begins_with_embedding(children[0])
