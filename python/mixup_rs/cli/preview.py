"""`mixup-rs preview FOLDER`: a batch of a folder's images as a rule would mix it in training."""

from __future__ import annotations

import os
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mixup_rs.cli.drawing import draw
from mixup_rs.cli.fault import Fault
from mixup_rs.cli.pictures import read
from mixup_rs.cli.progress import progress
from mixup_rs.cli.rule import drawn, rule_of
from mixup_rs.plot import varied_samples

#: The files that are taken for images.
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: A sample is hardly mixed if this share of it, or more, is of one image.
_HARDLY = 0.95


def run(options: Namespace) -> int:
    """Draw a batch by the key, mix it, and show the samples that are mixed most differently."""
    rule, key = rule_of(options.rule or "mixup", options.alpha), options.rng or (0,)
    paths = images_in(options.folder)
    classes = sorted({path.parent.name for path in paths})
    print(f"{len(paths)} images of {_described(Counter(path.parent.name for path in paths))}")
    if len(paths) < 2:
        raise Fault("expected two images or more, got 1")

    n = min(options.batch, len(paths))
    # Another key than that of the plan, from which its draws are independent.
    chosen = [paths[i] for i in np.random.default_rng([*key, 1]).permutation(len(paths))[:n]]
    x = read(progress(chosen, "images read", n))
    # One class is no label: weights alone are shown then.
    labels = np.array([classes.index(path.parent.name) for path in chosen]) if len(classes) > 1 else None
    plan = drawn(rule, x, labels, key)
    # The share of each image in each sample; the partner may be the sample itself.
    kept = plan.apply_labels(np.arange(n), num_classes=n)[0].max(axis=1)
    print(
        f"{rule} on {n} of them: lam {plan.lam.min():.2f} to {plan.lam.max():.2f}; "
        f"{np.count_nonzero(kept >= _HARDLY)} are hardly mixed, with {1 - _HARDLY:.0%} of another or less"
    )
    shown = varied_samples(plan, options.samples)
    draw(options.out, lambda plot: plot.plot_mixed_batch(
        x, plan.apply(x), plan, labels, classes, samples=shown, path=options.out
    ))  # fmt: skip
    return 0


def images_in(folder: Path) -> list[Path]:
    """The images below a folder, sorted. Raises Fault if there are none."""
    if not folder.is_dir():
        raise Fault(f"{folder} is {'no folder' if folder.exists() else 'not there'}")
    others: Counter[str] = Counter()
    found: list[Path] = []
    for path in progress(_files(folder), f"files found in {folder}"):
        if path.suffix.lower() in EXTENSIONS:
            found.append(path)
        else:
            others[path.suffix or path.name] += 1
    if not found:
        held = ", ".join(f"{count} {kind}" for kind, count in others.most_common(3)) or "nothing"
        raise Fault(f"no images in {folder} or its folders: expected files such as .jpg or .png, found {held}")
    return sorted(found)


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; what is hidden is left out."""
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here, name) for name in files if not name.startswith("."))


def _described(counts: Counter[str]) -> str:
    """The classes with the number of images of each, at most five."""
    if len(counts) == 1:
        return f"one folder, {next(iter(counts))}: no labels, which are the names of the folders that images are in"
    named = [f"{name} ({count})" for name, count in sorted(counts.items())]
    return f"{len(named)} classes: {', '.join(named[:5])}{', ...' if len(named) > 5 else ''}"
