"""`mixup-rs demo`: a few pictures, mixed; the picture of it; and how long a batch takes."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from statistics import median

import numpy as np

import mixup_rs
from mixup_rs.cli.drawing import draw
from mixup_rs.cli.fault import Fault
from mixup_rs.cli.pictures import read_own, samples
from mixup_rs.cli.rule import drawn, rule_names, rule_of

#: The batch that is timed: a common size in training on photographs.
_TIMED_SHAPE = (64, 3, 224, 224)
#: The keys that are tried where none is given.
_KEYS = 64


def run(options: Namespace) -> int:
    """Mix pictures by one rule, or show each rule on the first two."""
    if options.alpha is not None and not options.rule:
        raise Fault("--alpha is of one rule: it needs --rule")
    rule = rule_of(options.rule, options.alpha) if options.rule else None
    x, names = read_own(options.images) if options.images else samples()
    if rule is None:
        rules = [rule_of(name) for name in rule_names()]
        print(f"every rule on {names[0]} and {names[1]}: {', '.join(type(rule).__name__ for rule in rules)}")
        draw(options.out, lambda plot: plot.gallery(x, rules, names, rng=options.rng or 0, path=options.out))
    else:
        _one_rule(options, rule, x, names)
    _say_times(np.resize(x.astype(np.float32) / 255, _TIMED_SHAPE))
    return 0


def _one_rule(options: Namespace, rule: mixup_rs.Rule, x: np.ndarray, names: list[str]) -> None:
    labels = np.arange(len(names))
    key = options.rng or _clear_key(rule, x)
    plan = drawn(rule, x, labels, key)
    targets, _ = plan.apply_labels(labels, num_classes=len(names))
    print(f"{rule}, --rng {','.join(map(str, key))}")
    wide = max(map(len, names))
    for name, lam, partner, target in zip(names, plan.lam, plan.partner, targets, strict=True):
        partners = ", ".join(names[i] for i in np.atleast_1d(partner))
        soft = ", ".join(f"{share:.2f} {other}" for share, other in zip(target, names, strict=True) if share)
        print(f"{name:{wide}} lam {lam:.2f}, partner {partners:{wide}} soft target {soft}")
    draw(options.out, lambda plot: plot.plot_mixed_batch(
        x, plan.apply(x), plan, labels, names, max_n=len(x), path=options.out
    ))  # fmt: skip


def _clear_key(rule: mixup_rs.Rule, x: np.ndarray) -> tuple[int, ...]:
    """Of the first keys the one by which most pictures are mixed with another, and by nearly the same weight."""

    def is_unclear(key: int) -> tuple[int, float]:
        plan = drawn(rule, x, np.arange(len(x)), (key,))
        is_alone = (plan.partner.T == np.arange(len(x))) | (plan.lam == 1)
        return int(is_alone.sum()), float(abs(plan.lam - 0.6).mean())

    return (min(range(_KEYS), key=is_unclear),)


def _say_times(x: np.ndarray, repeats: int = 15) -> None:
    """Milliseconds of mix_batch and of NumPy, with drawing: medians of alternating runs."""
    rng = np.random.default_rng(0)

    def numpys() -> np.ndarray:
        lam = rng.beta(0.4, 0.4, len(x)).astype(x.dtype)[:, None, None, None]
        return lam * x + (1 - lam) * x[rng.permutation(len(x))]

    def ours() -> np.ndarray:
        return mixup_rs.mix_batch(x, rng=rng).x

    times: dict[Callable[[], np.ndarray], list[float]] = {ours: [], numpys: []}
    for _ in range(repeats):
        for function, seconds in times.items():
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
    own, theirs = (median(times[function]) * 1e3 for function in (ours, numpys))
    shape = " x ".join(map(str, x.shape))
    print(f"mixing a batch of {shape} float32: {own:.1f} ms; lam*x + (1-lam)*x[partner] in NumPy: {theirs:.1f} ms")
