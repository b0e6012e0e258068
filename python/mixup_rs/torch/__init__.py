"""Mixing of torch tensors: plans applied to tensors, batches mixed in the DataLoader, the loss of a mixed batch."""

from mixup_rs.torch.apply import apply
from mixup_rs.torch.collate import MixCollate
from mixup_rs.torch.losses import mixed_loss

__all__ = ["MixCollate", "apply", "mixed_loss"]
