"""Mixes in the loader of a loop with accelerate; `accelerate launch` starts it on several devices.

    python examples/accelerate_train.py

`prepare` keeps the loader's collate, and does not tell it the epoch: the loop does. Each rank mixes in its own way.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mixup_rs import Mixup
from mixup_rs.torch import MixCollate, mixed_loss


def main(epochs: int = 8) -> float:
    set_seed(42)
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 8 - 1, dtype=torch.float32)
    data = TensorDataset(images, torch.tensor(digits.target))
    train, valid = torch.utils.data.random_split(data, [1500, len(data) - 1500])
    collate = MixCollate(Mixup(0.4), rng=42)
    model = nn.Sequential(nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(),
                          nn.Flatten(), nn.Linear(32 * 16, 10))  # fmt: skip
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), gradient_accumulation_steps=2)
    model, optimizer, train_loader, valid_loader = accelerator.prepare(
        model,
        torch.optim.Adam(model.parameters(), 3e-3),
        DataLoader(train, 32, shuffle=True, collate_fn=collate),
        DataLoader(valid, 256),
    )
    for epoch in range(epochs):
        collate.set_epoch(epoch)
        model.train()
        for x, target in train_loader:
            with accelerator.accumulate(model):
                # Class indices become pairs, whose loss is any: here the usual cross-entropy.
                accelerator.backward(mixed_loss(nn.functional.cross_entropy, model(x), target))
                optimizer.step()
                optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        hits = [accelerator.gather_for_metrics(model(x).argmax(1) == y) for x, y in valid_loader]
    return torch.cat(hits).float().mean().item()


if __name__ == "__main__":
    print(f"{main():.0%} of the validation set are right")
