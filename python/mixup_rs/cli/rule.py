"""Rules by the names that are typed."""

from __future__ import annotations

from typing import Any

from mixup_rs.cli.fault import Fault
from mixup_rs.rules import Rule, kinds


def rule_names() -> list[str]:
    """The names of the rules that need no argument: all but `OneOf`."""
    return [name for name, kind in kinds().items() if _made(kind) is not None]


def rule_of(name: str, alpha: float | None = None) -> Rule:
    """The rule of a name, with its default options but `alpha`. Raises Fault where there is none."""
    if name.lower() not in rule_names():
        raise Fault(f"unknown rule {name!r}, expected one of {', '.join(rule_names())}")
    kind: Any = kinds()[name.lower()]
    if alpha is None:
        return kind()
    if "alpha" not in kind.__dataclass_fields__:
        raise Fault(f"the rule {name} has no alpha")
    try:
        return kind(alpha=alpha)
    except ValueError as error:
        raise Fault(str(error)) from error


def _made(kind: Any) -> Rule | None:
    try:
        return kind()
    except TypeError:
        return None
