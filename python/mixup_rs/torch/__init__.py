"""Mixing of torch tensors: plans applied to tensors, batches mixed in the DataLoader, the loss of a mixed batch."""

from mixup_rs.batches.targets import PairedTarget

try:
    from mixup_rs.torch.apply import apply, apply_labels
    from mixup_rs.torch.collate import MixCollate
    from mixup_rs.torch.losses import mixed_loss
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mixup_rs.torch needs torch: pip install 'mixup-rs[torch]'", name=error.name) from error

__all__ = ["MixCollate", "PairedTarget", "apply", "apply_labels", "mixed_loss"]
