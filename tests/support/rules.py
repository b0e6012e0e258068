"""Every rule of the package, and examples of each, by which whatever holds for all rules is tested.

A new rule is found here by itself; its examples are added by hand.
"""

import dataclasses

import numpy as np

from mixup_rs import CutMix, FMix, GridMix, MixPlan, Mixup, OneOf, ResizeMix, SmoothMix, rules
from mixup_rs.rule import CoreRule

KINDS = [
    kind
    for kind in vars(rules).values()
    if isinstance(kind, type) and issubclass(kind, CoreRule) and kind is not CoreRule
]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Partners that need no labels: any sample for each, repeats allowed."""

    def __call__(self, n, labels, rng):
        return np.floor(rng.random(n) * n).astype(np.int64)


class Fixed:
    """A rule that always draws one plan, and keeps what it was asked for."""

    def __init__(self, plan):
        self.drawn, self.calls = plan, []

    def plan(self, n, shape=None, labels=None, rng=None):
        self.calls.append((n, shape, labels, rng))
        return self.drawn


#: At least two of each kind, with and without options; where a rule has modes, one of each.
EXAMPLES = [
    Mixup(),
    Mixup(alpha=1, mode="pair", fold=False, prob=0.5),
    Mixup(mode="batch"),
    Mixup(mode="batch", partners=Drawn()),
    CutMix(),
    CutMix(alpha=0.5, mode="elem", minmax=(0.25, 0.5), prob=0.25),
    CutMix(mode="elem"),
    CutMix(mode="pair"),
    CutMix(partners=Drawn()),
    FMix(),
    FMix(alpha=0.5, decay=1.5, soft=0.2, mode="elem", prob=0.25),
    FMix(mode="pair"),
    FMix(mode="elem", partners=Drawn()),
    GridMix(),
    GridMix(alpha=2.0, cells=(1, 9), mode="elem", prob=0.5),
    GridMix(mode="pair"),
    GridMix(partners=Drawn()),
    SmoothMix(),
    SmoothMix(sigma=(0.1, 0.2), mode="elem", prob=0.75),
    SmoothMix(mode="pair"),
    SmoothMix(mode="elem", partners=Drawn()),
    ResizeMix(),
    ResizeMix(scale=(0.5, 1.0), mode="elem", prob=0.5),
    ResizeMix(mode="pair"),
    ResizeMix(mode="elem", partners=Drawn()),
    OneOf([Mixup(0.8), CutMix(1.0)]),
    OneOf([Mixup(mode="batch"), CutMix(mode="elem"), FMix(), SmoothMix(mode="elem")], mode="elem"),
    OneOf([Mixup(mode="batch"), CutMix(), ResizeMix(mode="elem")], mode="elem"),
    OneOf([Mixup(partners=Drawn()), CutMix()], mode="elem"),
    OneOf([Mixup(), OneOf([CutMix(), Mixup(mode="batch")], mode="elem")], probs=[0.25, 0.5], mode="elem"),
]


#: Those of several partners, which what needs one refuses.
SEVERAL = [
    Mixup(k=3),
    Mixup(alpha=2.0, mode="batch", fold=False, k=4),
    Mixup(prob=0.5, k=16),
    Mixup(1.0, k=4, partners=Drawn()),
]


def plan_of(n, k=3, seed=0):
    """A plan of several partners: weights of every kind, whole ones, none, and between; any partners."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet([0.5] * k, n) * (rng.random((n, k)) < 0.7)
    weights[np.arange(n), rng.integers(0, k, n)] += 1e-3
    weights /= weights.sum(axis=1, keepdims=True)
    weights[: n // 4] = np.eye(k)[rng.integers(0, k, n // 4)]
    return MixPlan.from_weights(weights, rng.integers(0, max(n, 1), (n, k - 1)))


def options(kind):
    """The names of the options of a rule."""
    return [field.name for field in dataclasses.fields(kind)]


def having(*names):
    """The rules that have all these options."""
    return [kind for kind in KINDS if {*names} <= {*options(kind)}]


def examples(kind):
    found = [rule for rule in EXAMPLES if type(rule) is kind]
    assert len(found) >= 2, f"add two examples of {kind.__name__} or more to EXAMPLES in tests/support/rules.py"
    return found


def made(kind, **chosen):
    """A rule with these options and the defaults of the others; what has no default is its first example's."""
    needed = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    return kind(**{name: getattr(examples(kind)[0], name) for name in needed} | chosen)


def takes(rule, shape):
    """Whether a rule draws for samples of this shape: partners are resized along two axes."""
    chosen = rule.rules if isinstance(rule, OneOf) else [rule]
    return len(shape) == 2 or not any(
        isinstance(one, ResizeMix) or not (one is rule or takes(one, shape)) for one in chosen
    )


def draws_masks(rule, n=8, shape=(12, 16)):
    """Whether a rule draws masks."""
    return any(rule.plan(n, shape, rng=seed).masks is not None for seed in range(8))


def draws_soft_masks(rule, n, shape):
    """Whether a rule draws masks that blend pixels: those cut no mask of classes."""
    plans = [rule.plan(n, shape, rng=seed) for seed in range(8)]
    return any(plan.masks is not None and not plan.only_copies for plan in plans)


#: Those of one rule that draw masks.
OF_MASKS = [rule for rule in EXAMPLES if not isinstance(rule, OneOf) and draws_masks(rule)]
