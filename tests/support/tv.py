"""Batches for torchvision's transforms."""

import torch

K = 6


def images_of(n=4, dtype=torch.float32, shape=(3, 9, 14)):
    images = torch.rand(n, *shape, generator=torch.Generator().manual_seed(5))
    return images.to(dtype) if dtype.is_floating_point else (images * 255).to(dtype)


def labels_of(n=4):
    return torch.randint(0, K, (n,), generator=torch.Generator().manual_seed(6))


def masks_of(n=4, dtype=torch.int64, shape=(9, 14)):
    return torch.randint(0, 2, (n, *shape), generator=torch.Generator().manual_seed(8)).to(dtype)
