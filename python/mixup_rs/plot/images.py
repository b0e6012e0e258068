"""Batches of any library, layout and dtype as images that matplotlib shows."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_numpy(value: Any) -> np.ndarray:
    """Convert an array or a torch tensor on any device to an array; half precision to float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array if array.dtype.kind in "biufUSO" else array.astype(np.float32)  # ml_dtypes' bfloat16


def displayable(x: np.ndarray, mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert both batches to (n, h, w[, c]) in [0, 1], on one scale so that they can be compared."""
    low, high = _display_range(x)

    def scaled(batch: np.ndarray) -> np.ndarray:
        batch = _channels_last(batch).astype(np.float32)
        return np.nan_to_num(np.clip((batch - low) / (high - low), 0, 1))

    return scaled(x), scaled(mixed)


def _display_range(x: np.ndarray) -> tuple[float, float]:
    if x.dtype.kind in "iu":
        bounds = np.iinfo(x.dtype)
        return float(bounds.min), float(bounds.max)
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < -0.01:  # rounding overshoots by less
        return low, high
    return 0.0, next((top for top in (1.0, 255.0) if high <= 1.01 * top), high)


def _channels_last(batch: np.ndarray) -> np.ndarray:
    """Convert images to the shapes of matplotlib: (n, h, w) or (n, h, w, 3 or 4)."""
    if batch.ndim == 4 and batch.shape[1] in (1, 3, 4):
        batch = np.moveaxis(batch, 1, -1)
    if batch.ndim == 4 and batch.shape[-1] == 1:
        batch = batch[..., 0]
    if batch.ndim == 3 or (batch.ndim == 4 and batch.shape[-1] in (3, 4)):
        return batch
    raise ValueError(
        f"expected images of shape (n, c, h, w) or (n, h, w, c) with c in 1, 3, 4, or (n, h, w), got {batch.shape}"
    )
