"""The recipe of torchvision's reference training.

Each batch is stacked by `default_collate`, then mixed by MixUp or by CutMix. The images are generated: disks on noise,
whose place in the image is their class.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torchvision.ops import Conv2dNormActivation
from torchvision.transforms import v2

from mixup_rs.torchvision import CutMix, MixUp  # was: from torchvision.transforms.v2 import CutMix, MixUp

SIDE, CLASSES, EPOCHS = 32, 4, 4


def disks(length, seed):
    """Images (n, 3, side, side) and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (length,), generator=generator)
    images = torch.rand(length, 3, SIDE, SIDE, generator=generator) * 0.4
    rows, columns = (8 + 16 * half.view(-1, 1, 1) for half in (labels // 2, labels % 2))
    along = torch.arange(SIDE)
    inside = (along.view(1, -1, 1) - rows) ** 2 + (along - columns) ** 2 < 25
    return TensorDataset(images.masked_fill(inside.unsqueeze(1), 0.9), labels)


mixes = v2.RandomChoice([MixUp(alpha=0.2, num_classes=CLASSES), CutMix(alpha=1.0, num_classes=CLASSES)])


def collate(batch):
    return mixes(*default_collate(batch))


def main():
    torch.manual_seed(0)
    train = DataLoader(disks(512, seed=1), 32, shuffle=True, collate_fn=collate, num_workers=1)
    valid = DataLoader(disks(128, seed=2), 32)
    features = [Conv2dNormActivation(3, 16, stride=2), Conv2dNormActivation(16, 32, stride=2), nn.Flatten()]
    model = nn.Sequential(*features, nn.Linear(32 * SIDE**2 // 16, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(EPOCHS):
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
