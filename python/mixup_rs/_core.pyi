from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Rng: TypeAlias = int | Sequence[int] | np.random.Generator | np.random.SeedSequence | None
_Mode: TypeAlias = Literal["elem", "pair", "batch"]

__all__ = [
    "SIMD_LEVEL",
    "STREAM_VERSION",
    "MixPlan",
    "MixedBatch",
    "__version__",
    "clear_cache",
    "collate",
    "get_num_threads",
    "mix_batch",
    "set_num_threads",
]

__version__: str
SIMD_LEVEL: str
STREAM_VERSION: int

class MixedBatch(NamedTuple):
    x: NDArray[Any]
    y: NDArray[Any] | None
    y_partner: NDArray[Any] | None
    lam: NDArray[np.float64]
    partner: NDArray[np.intp]

@final
class MixPlan:
    def __new__(cls, lam: ArrayLike, partner: ArrayLike) -> MixPlan: ...
    @staticmethod
    def mixup(
        n: int,
        *,
        alpha: float = 0.4,
        mode: _Mode = "elem",
        fold: bool = True,
        lam: ArrayLike | None = None,
        partner: ArrayLike | None = None,
        rng: _Rng = None,
    ) -> MixPlan: ...
    @staticmethod
    def cutmix(
        n: int,
        height: int,
        width: int,
        *,
        alpha: float = 1.0,
        mode: _Mode = "batch",
        minmax: Sequence[float] | None = None,
        partner: ArrayLike | None = None,
        rng: _Rng = None,
    ) -> MixPlan: ...
    @staticmethod
    def from_boxes(boxes: ArrayLike, height: int, width: int, partner: ArrayLike) -> MixPlan: ...
    @property
    def boxes(self) -> NDArray[np.intp] | None: ...
    @property
    def spatial_shape(self) -> tuple[int, int] | None: ...
    @property
    def lam(self) -> NDArray[np.float64]: ...
    @property
    def partner(self) -> NDArray[np.intp]: ...
    def apply(
        self, x: NDArray[Any], out: NDArray[Any] | None = None, spatial_axes: Sequence[int] = ...
    ) -> NDArray[Any]: ...
    def apply_labels(
        self, y: ArrayLike, num_classes: int | None = None, label_smoothing: float = 0.0
    ) -> tuple[NDArray[Any], NDArray[Any] | None]: ...
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def mix_batch(
    x: NDArray[Any],
    y: ArrayLike | None = None,
    *,
    alpha: float = 0.4,
    mode: _Mode = "elem",
    fold: bool = True,
    lam: ArrayLike | None = None,
    partner: ArrayLike | None = None,
    num_classes: int | None = None,
    label_smoothing: float = 0.0,
    out: NDArray[Any] | None = None,
    rng: _Rng = None,
) -> MixedBatch: ...
def collate(
    samples: Sequence[NDArray[Any]],
    plan: MixPlan,
    *,
    out: NDArray[Any] | None = None,
    normalize: tuple[ArrayLike, ArrayLike] | None = None,
    spatial_axes: Sequence[int] = ...,
) -> NDArray[Any]: ...
def get_num_threads() -> int: ...
def set_num_threads(num_threads: int) -> None: ...
def clear_cache() -> None: ...
