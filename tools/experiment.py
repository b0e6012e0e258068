"""Trains resnet18 on handwritten digits with each way to mix: `python tools/experiment.py docs/learn/experiment.json`.

The data are scikit-learn's digits, 300 of them for training and the rest for testing; each way is trained from five
seeds, of weights, order and mixing. With --only it adds the named ways to the file, of the same machine or another.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import fastai
import numpy as np
import torch
import torchvision
from fastai.callback.mixup import MixUp
from fastai.vision.all import Callback, CrossEntropyLossFlat, DataLoaders, Learner, accuracy, resnet18, set_seed
from sklearn.datasets import load_digits

from mixup_rs import CutMix, Mixup, OneOf, __version__, rules
from mixup_rs.bench.machine import machine
from mixup_rs.fastai import RustCutMix, RustMix, RustMixUp

SEEDS, EPOCHS, TRAINED, SIZE = range(5), 15, 300, 16


def _of(rule: Any) -> Callable[[int], list[Callback]]:
    return lambda seed: [RustMix(rule, rng=seed)]


#: How a batch is mixed: a name, as the page shows it, and the callbacks for a seed.
WAYS: dict[str, Callable[[int], list[Callback]]] = {
    "nothing": lambda seed: [],
    "fastai's MixUp": lambda seed: [MixUp()],
    "RustMixUp(rng='torch')": lambda seed: [RustMixUp(rng="torch")],
    "RustMixUp": lambda seed: [RustMixUp(rng=seed)],
    "RustCutMix": lambda seed: [RustCutMix(rng=seed)],
    "OneOf([Mixup(0.4), CutMix(1.0)])": _of(OneOf([Mixup(0.4), CutMix(1.0)])),
} | {
    f"RustMix({kind.__name__}())": _of(kind()) for kind in rules.kinds().values() if kind not in (Mixup, CutMix, OneOf)
}


def trained(way: str, seed: int) -> float:
    """The share of test digits that resnet18 gets right after the training."""
    torch.set_num_threads(1)
    set_seed(seed, reproducible=True)
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 16
    images = torch.nn.functional.interpolate(images, size=SIZE, mode="bilinear").expand(-1, 3, -1, -1)
    classes = torch.from_numpy(data.target).long()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    samples = [(images[i].contiguous(), classes[i]) for i in order]
    dls = DataLoaders.from_dsets(samples[:TRAINED], samples[TRAINED:], bs=50, val_bs=250, num_workers=0, device="cpu")
    model = resnet18(num_classes=10)
    learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=WAYS[way](seed))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(EPOCHS, 3e-3)
        return float(learn.validate()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=WAYS, help="the ways to train (default: all)")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    ways = args.only or list(WAYS)
    found: dict[str, list[float]] = {way: [float("nan")] * len(SEEDS) for way in ways}
    with ProcessPoolExecutor(args.processes) as pool:
        jobs = {pool.submit(trained, way, seed): (way, seed) for seed in SEEDS for way in ways}
        for done, job in enumerate(as_completed(jobs), 1):
            way, seed = jobs[job]
            found[way][seed] = round(job.result(), 4)
            print(f"{done}/{len(jobs)} {way}, seed {seed}: {found[way][seed]:.3f}", file=sys.stderr)
    earlier = json.loads(args.out.read_text())["accuracy"] if args.only and args.out.exists() else {}
    result = {
        "machine": machine(),
        "versions": {
            "mixup-rs": __version__,
            "fastai": fastai.__version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
        "trained_on": TRAINED,
        "epochs": EPOCHS,
        "accuracy": earlier | found,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
