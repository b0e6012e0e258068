"""Mixes the training batches of Lightning's Trainer in a callback.

    python examples/lightning_train.py

Batches of validation and prediction are left as they are. Where workers load, mixing in the loader costs less: there
`MixCollate` is the loader's `collate_fn`, and `MixCollateEpoch()` the callback, which tells it the epoch.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from mixup_rs import CutMix, Mixup, OneOf
from mixup_rs.lightning import Mix


class Digits(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(),
                                   nn.Flatten(), nn.Linear(32 * 16, 10))  # fmt: skip

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, soft_targets = batch
        return nn.functional.cross_entropy(self.model(images), soft_targets)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        images, labels = batch
        self.log("accuracy", (self.model(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 3e-3)


def main(folder: str = "demo/lightning_train", epochs: int = 8) -> float:
    seed_everything(42, verbose=False)
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 8 - 1, dtype=torch.float32)
    data = TensorDataset(images, torch.tensor(digits.target))
    train, valid = random_split(data, [1500, len(data) - 1500])
    mix = Mix(OneOf([Mixup(0.4), CutMix(1.0)]), num_classes=10, rng=42)
    trainer = Trainer(max_epochs=epochs, callbacks=[mix], default_root_dir=folder, logger=False)
    model = Digits()
    trainer.fit(model, DataLoader(train, 32, shuffle=True), DataLoader(valid, 256))
    return float(trainer.validate(model, DataLoader(valid, 256))[0]["accuracy"])


if __name__ == "__main__":
    print(f"{main():.0%} of the validation set are right")
