"""Rules as they are typed: by name, or with options, as in Python."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from typing import Any

import numpy as np

from mixup_rs import Across, Balanced, CMixup, MixPlan, Remix, Rule, Within
from mixup_rs.cli.fault import Fault
from mixup_rs.rules import kinds

#: What may be typed beside the rules of `kinds`: they need the labels.
_OF_LABELS = {kind.__name__.lower(): kind for kind in (Remix, Within, Across, Balanced, CMixup)}


def rule_names() -> list[str]:
    """The names of the rules that need no argument: all but `OneOf`."""
    return [name for name, kind in kinds().items() if _made(kind) is not None]


def rule_of(text: str, alpha: float | None = None) -> Rule:
    """The rule of a name, or with options, as in FMix(decay=2, soft=0.1). Raises Fault where there is none."""
    try:
        typed = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise Fault(f"expected a rule such as fmix or 'FMix(decay=2)', got {text!r}") from error
    rule: Any = _rule(ast.Call(typed, [], []) if isinstance(typed, ast.Name) else typed)
    if not hasattr(rule, "plan"):
        raise Fault(f"{text} chooses partners; expected a rule that takes it, such as 'Mixup(partners=Within())'")
    if alpha is None:
        return rule
    if not hasattr(rule, "alpha"):
        raise Fault(f"the rule {text} has no alpha")
    try:
        return dataclasses.replace(rule, alpha=alpha)
    except ValueError as error:
        raise Fault(str(error)) from error


def drawn(rule: Rule, x: np.ndarray, labels: np.ndarray | None, key: tuple[int, ...]) -> MixPlan:
    """The plan of a rule for images (n, 3, h, w). Raises Fault where there is none, as without labels that it needs."""
    try:
        return rule.plan(len(x), x.shape[2:], labels, rng=key)
    except (TypeError, ValueError) as error:
        raise Fault(str(error)) from error


def _rule(typed: ast.expr) -> Any:
    name = ast.unparse(typed.func if isinstance(typed, ast.Call) else typed)
    kind: Any = (kinds() | _OF_LABELS).get(name.lower())
    if kind is None or not isinstance(typed, ast.Call):
        raise Fault(f"unknown rule {name!r}, expected one of {', '.join(rule_names())}")
    try:
        signature = inspect.signature(kind)
        given = [_value(option) for option in typed.args]
        named = {option.arg or f"**{ast.unparse(option.value)}": _value(option.value) for option in typed.keywords}
        bound = signature.bind(*given, **named)
    except TypeError as error:
        options = ", ".join(field.name for field in dataclasses.fields(kind))
        raise Fault(f"{kind.__name__}: {error}; its options are {options}") from error
    try:
        return kind(*bound.args, **bound.kwargs)
    except (TypeError, ValueError) as error:
        raise Fault(f"{kind.__name__}: {error}") from error


def _value(typed: ast.expr) -> Any:
    """The value of an option: a literal, or rules."""
    if isinstance(typed, ast.Call):
        return _rule(typed)
    if isinstance(typed, ast.List | ast.Tuple):
        return [_value(item) for item in typed.elts]
    try:
        return ast.literal_eval(typed)
    except ValueError as error:
        raise Fault(f"expected the value of an option, got {ast.unparse(typed)}") from error


def _made(kind: Any) -> Rule | None:
    try:
        return kind()
    except TypeError:
        return None
