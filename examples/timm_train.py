"""Trains a model of timm, mixed in `create_loader`, on generated images: the place of a disk is the class."""

import numpy as np
import torch
from timm import create_model
from timm.data import create_loader
from timm.loss import SoftTargetCrossEntropy
from torch.utils.data import Dataset

from mixup_rs.timm import FastCollateMixup  # was: from timm.data import FastCollateMixup

SIDE, CLASSES, EPOCHS, OFF_EPOCH = 32, 4, 4, 3


class Disks(Dataset):
    """Pairs (uint8 image as timm's transforms make them, class)."""

    def __init__(self, length, seed):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, CLASSES, length)
        self.images = rng.integers(0, 100, (length, 3, SIDE, SIDE), dtype=np.uint8)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        for image, label in zip(self.images, self.labels, strict=True):
            row, column = (8 + 16 * (label // 2), 8 + 16 * (label % 2))
            image[:, (rows - row) ** 2 + (columns - column) ** 2 < 25] = 220

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i], int(self.labels[i])


def main():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (timm draws from the global generator)
    collate = FastCollateMixup(mixup_alpha=0.4, cutmix_alpha=1.0, mode="elem", label_smoothing=0.1, num_classes=CLASSES)
    options = {"input_size": (3, SIDE, SIDE), "batch_size": 32, "device": torch.device("cpu"), "num_workers": 1}
    train = create_loader(Disks(256, seed=1), is_training=True, no_aug=True, collate_fn=collate, **options)
    valid = create_loader(Disks(128, seed=2), is_training=False, **options)
    model = create_model("test_resnet", num_classes=CLASSES)
    optimizer, criterion = torch.optim.AdamW(model.parameters(), 2e-3), SoftTargetCrossEntropy()
    for epoch in range(EPOCHS):
        train.mixup_enabled = epoch < OFF_EPOCH  # reaches the worker, which lives on
        model.train()
        for x, y in train:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in valid)
        print(f"epoch {epoch}: loss {loss.item():.3f}, {right / len(valid.dataset):.0%} of the validation set")


if __name__ == "__main__":
    main()
