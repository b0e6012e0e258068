"""What a rule is: what the package asks of any, and what its own have in common."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    dataclass_transform,
    runtime_checkable,
)

from mixup_rs import _core
from mixup_rs._core import MixPlan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Rng: TypeAlias = int | Sequence[int] | np.random.Generator | np.random.SeedSequence | None

__all__ = ["CoreRule", "Mode", "Rule", "check_rule", "check_rule_of_all", "draw_by", "frozen"]

Mode: TypeAlias = Literal["elem", "pair", "batch"]


@runtime_checkable
class Rule(Protocol):
    """What the rest of the package asks of a rule: a method that draws a plan.

    Any object with such a method is a rule, in `OneOf` and wherever a rule is taken. There `rng` is a key, a tuple of
    ints; None for fresh entropy; or the Generator that a `Mixer` without a seed was called with.

    A rule whose method also has an argument `other` draws partners from so many samples of another batch if given it;
    its plan has the same `other`.

    Examples
    --------
    >>> from mixup_rs import MixPlan, OneOf, Rule
    >>> class LeftHalf:
    ...     def plan(self, n, shape=None, labels=None, rng=None):
    ...         height, width = shape
    ...         return MixPlan.from_boxes([[0, 0, height, width // 2]] * n, shape, partner=[*range(1, n), 0])
    >>> isinstance(LeftHalf(), Rule)
    True
    >>> OneOf([LeftHalf()]).plan(2, (8, 8), rng=1).lam
    array([0.5, 0.5])
    """

    def plan(
        self, n: int, shape: Sequence[int] | None = None, labels: ArrayLike | None = None, rng: Rng = None
    ) -> MixPlan:
        """Draw a plan for a batch.

        Parameters
        ----------
        n : int
            The number of samples.
        shape : sequence of int, optional
            The lengths of a sample's spatial axes: (height, width), (length,) or (depth, height, width).
        labels : array_like, optional
            The labels of the batch, for rules that look at them.
        rng : None, int, sequence of int, numpy.random.Generator or numpy.random.SeedSequence
            What to draw from.

        Returns
        -------
        MixPlan
            A plan for `n` samples.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.

        Examples
        --------
        >>> from mixup_rs import Mixup
        >>> len(Mixup().plan(4, rng=1))
        4
        """
        ...


def check_rule(rule: Any, name: str = "rule") -> None:
    """Refuse what is no rule. A class of rules has their method, and is none; a callback has a plan, and is none.

    The core calls it with the `name` of another argument.
    """
    if callable(getattr(rule, "plan", None)) and not isinstance(rule, type):
        return
    got = f"the class {rule.__name__}" if isinstance(rule, type) else type(rule).__name__
    hint = "; OneOf([...]) makes one of several" if isinstance(rule, list | tuple) else ""
    if callable(getattr(getattr(rule, "rule", None), "plan", None)):
        hint = f"; it has one, {got}(...).rule"
    raise TypeError(f"{name} must be a rule, such as Mixup(0.4), got {got}{hint}")


def check_rule_of_all(rule: Any, front: str) -> None:
    """Refuse what is no rule, and one with the maps or labels of one batch, for what mixes many."""
    check_rule(rule)
    for one in _rules_in(rule):
        if getattr(one, "saliency", None) is not None:
            raise ValueError(
                f"{type(one).__name__}(saliency=...) has the maps of one batch, but {front} mixes many; draw by a rule "
                "for each batch: rule.plan(n, shape, labels, rng), or mix_batch(x, y, rule=rule)"
            )
        partners = getattr(one, "partners", None)
        if getattr(partners, "labels", None) is not None:
            name = type(partners).__name__
            raise ValueError(
                f"{name}(labels) has the labels of one batch, but {front} mixes many; {name} without labels takes "
                "those of each batch"
            )


def _rules_in(rule: Any) -> Iterator[CoreRule]:
    """The rules of this package that one is made of."""
    if not isinstance(rule, CoreRule):
        return
    yield rule
    for inner in (getattr(rule, "rule", None), *getattr(rule, "rules", ())):
        yield from _rules_in(inner)


def draw_by(
    rule: Rule,
    n: int,
    shape: Sequence[int] | None,
    labels: ArrayLike | None,
    rng: Rng,
    other: int | None = None,
) -> MixPlan:
    """The plan that a rule draws, with partners among `other` samples of another batch if given.

    Raises TypeError or ValueError if that is none for `n` samples, or of other partners.
    """
    name = type(rule).__name__
    if other is None:
        plan: Any = rule.plan(n, shape, labels, rng)
    elif _takes_other(rule):
        plan = cast("Any", rule).plan(n, shape, labels, rng, other=other)
    else:
        raise TypeError(
            f"{name} cannot draw partners from another batch: its method plan has no argument other, "
            "the number of samples there"
        )
    if not isinstance(plan, MixPlan):
        raise TypeError(f"{name}.plan must return a MixPlan, got {type(plan).__name__}")
    if len(plan) != n:
        raise ValueError(f"{name}.plan gave a plan for {len(plan)} samples, the batch has {n}")
    if plan.other != other:
        raise ValueError(f"{name}.plan gave a plan with other={plan.other}, expected other={other}")
    return plan


def _takes_other(rule: Rule) -> bool:
    try:
        parameters = inspect.signature(rule.plan).parameters.values()
    except ValueError:  # of a compiled function, which says for itself what it lacks
        return True
    return any(one.name == "other" or one.kind is one.VAR_KEYWORD for one in parameters)


_T = TypeVar("_T", bound=type)


@dataclass_transform(frozen_default=True)
def frozen(kind: _T) -> _T:
    """Make a frozen dataclass of a class, which says what to write instead where fastai takes it for a callback.

    Examples
    --------
    >>> from mixup_rs import Mixup
    >>> Mixup(0.4).learn = None
    Traceback (most recent call last):
    TypeError: Mixup is no callback of fastai: write cbs=RustMix(Mixup(...)), of mixup_rs.fastai
    """
    made: Any = dataclass(frozen=True)(kind)
    refuse = made.__setattr__

    def refuse_learner(self: Any, name: str, value: Any) -> None:
        if name == "learn":
            rule = self if hasattr(self, "plan") else self.rule  # a Mixer has one
            raise TypeError(
                f"{type(self).__name__} is no callback of fastai: write cbs=RustMix({type(rule).__name__}(...)), of "
                "mixup_rs.fastai"
            )
        refuse(self, name, value)

    made.__setattr__ = refuse_learner
    return made


class CoreRule:
    """A rule that the Rust core draws: a frozen dataclass whose `_rule` is its name there."""

    _rule: ClassVar[str]

    def __post_init__(self) -> None:
        _core.check(self)

    def _freeze(self, *names: str) -> None:
        """Make tuples of lists and arrays, so that a rule can be hashed and does not change with them."""
        for name in names:
            value: Any = getattr(self, name)
            if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Set):
                object.__setattr__(self, name, tuple(cast("Iterable[Any]", value)))

    def plan(
        self,
        n: int,
        shape: Sequence[int] | None = None,
        labels: ArrayLike | None = None,
        rng: Rng = None,
        other: int | None = None,
    ) -> MixPlan:
        """Draw a plan for a batch: a pure function of its arguments, unless `rng` is None or a Generator.

        Parameters
        ----------
        n : int
            The number of samples, at least 0.
        shape : sequence of int, optional
            The lengths of a sample's spatial axes, for rules with regions: (height, width), (length,) or
            (depth, height, width).
        labels : array_like, optional
            The labels of the batch, handed on to `partners` and to rules that look at them.
        rng : None, int, sequence of int, numpy.random.Generator or numpy.random.SeedSequence
            None draws fresh entropy. An int or a sequence of ints, such as (seed, epoch, batch, rank), is a key. A
            Generator moves on, a SeedSequence does not.
        other : int, optional
            The number of samples of another batch that partners come from, instead of the batch itself: none is a
            partner again before all are. All else is drawn as without. Not with mode="pair" or `partners`.

        Returns
        -------
        MixPlan
            A plan for `n` samples.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.

        Examples
        --------
        >>> from mixup_rs import Mixup
        >>> Mixup(mode="batch").plan(3, rng=(42, 0)).partner
        array([2, 1, 0])
        >>> Mixup(mode="batch").plan(3, rng=(42, 0), other=8).partner
        array([7, 5, 3])
        """
        return _core.draw(self, n, shape, labels, rng, other)
