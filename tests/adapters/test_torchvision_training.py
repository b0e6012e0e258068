"""A training as in torchvision's reference script, with its classes and with ours: from one seed to the same losses."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, default_collate
from torchvision.datasets import FakeData
from torchvision.ops import Conv2dNormActivation
from torchvision.transforms import v2

import mixup_rs.torchvision

CLASSES = 5


def mixes(source, mixup_alpha, cutmix_alpha):
    """The choice of the script: each kind that has an alpha, and with equal probability."""
    kinds = []
    if mixup_alpha > 0:
        kinds.append(source.MixUp(alpha=mixup_alpha, num_classes=CLASSES))
    if cutmix_alpha > 0:
        kinds.append(source.CutMix(alpha=cutmix_alpha, num_classes=CLASSES))
    return v2.RandomChoice(kinds)


def losses_of(source, workers=0, **alphas):
    """The losses of two epochs, and the weights of the averaged model."""
    torch.manual_seed(0)
    choice = mixes(source, **alphas)
    transform = v2.Compose([v2.PILToTensor(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float, scale=True)])
    data = FakeData(24, (3, 32, 32), CLASSES, transform)
    loader = DataLoader(
        data, 8, shuffle=True, num_workers=workers, collate_fn=lambda batch: choice(*default_collate(batch))
    )
    features = [Conv2dNormActivation(3, 16, stride=2), Conv2dNormActivation(16, 32, stride=2), nn.Flatten()]
    model = nn.Sequential(*features, nn.Linear(32 * 8 * 8, CLASSES))  # a deep one amplifies what rounding leaves
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    losses = []
    for _ in range(2):
        for images, target in loader:
            loss = criterion(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(model)
            losses.append(loss.item())
        schedule.step()
    return torch.tensor(losses), torch.cat([weight.flatten() for weight in averaged.parameters()]).detach()


@pytest.mark.parametrize(
    "alphas",
    [
        {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
        {"mixup_alpha": 0.2, "cutmix_alpha": 0.0},
        {"mixup_alpha": 0.0, "cutmix_alpha": 1.0, "workers": 1},
    ],
    ids=["both", "mixup", "cutmix in a worker"],
)
def test_the_losses_are_torchvisions(alphas):
    ours, theirs = losses_of(mixup_rs.torchvision, **alphas), losses_of(v2, **alphas)
    assert len(ours[0]) == 6
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-5)
