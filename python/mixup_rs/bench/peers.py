"""The peers, each on the same batch, each used in its fastest way.

A maker imports its library and returns contenders. If a library is not installed, the maker raises ImportError, which
is reported under the maker's docstring. A peer that cannot mix a batch fails in its first call, which is reported too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np

import mixup_rs
from mixup_rs.bench.cases import Batch
from mixup_rs.bench.contender import FASTAI, NEW, NUMPY, RUST_MIXUP, TIMM_COLLATE, Contender, drop_in
from mixup_rs.bench.measure import most_threads

__all__ = ["PEERS", "Maker", "about_to_train", "jax_compiled", "need", "numpy_one_liner", "torch_compiled"]

#: A function that returns the contenders of a library for a batch.
Maker = Callable[[Batch], Iterable[Contender]]


#: A batch of this many bytes is worth the threads of a pool.
_WORTH_THREADS = 1 << 20


def numpy_one_liner(batch: Batch) -> Iterator[Contender]:
    """NumPy one-liner."""
    x, integers = batch.x, batch.dtype.kind == "u"

    def run() -> np.ndarray:
        lam, perm = _draw(batch)
        lam = lam.reshape(-1, *[1] * (x.ndim - 1))
        mixed = lam * x + (1 - lam) * x[perm]
        return np.rint(mixed, out=mixed).astype(x.dtype) if integers else mixed

    yield Contender(NUMPY, run, rival=NEW)


def fastai_callbacks(batch: Batch) -> Iterator[Contender]:
    """fastai's MixUp."""
    need("fastai.callback.mixup")
    from fastai.callback.mixup import MixUp

    from mixup_rs.fastai import RustMixUp

    for name, callback in {
        RUST_MIXUP: RustMixUp(batch.alpha),
        f"{RUST_MIXUP}(inplace=True)": RustMixUp(batch.alpha, inplace=True),
        FASTAI: MixUp(batch.alpha),
    }.items():
        run, give_batch = _before_batch(batch, callback)
        kind, rival = ("ours", "") if isinstance(callback, RustMixUp) else ("peer", RUST_MIXUP)
        yield Contender(name, run, kind, rival, prepare=give_batch)


def _before_batch(batch: Batch, callback: Any) -> tuple[Callable[[], Any], Callable[[], None]]:
    """The callback's `before_batch` in a learner that is about to train, and a function that sets the batch."""
    import torch
    from fastai.torch_core import TensorCategory, TensorImage

    learn = about_to_train(callback)
    # TensorImage(x) would copy float64 to float32.
    x, y = _tensor(batch).as_subclass(TensorImage), torch.from_numpy(batch.y).as_subclass(TensorCategory)

    def give_batch() -> None:
        learn.xb, learn.yb = (x,), (y,)

    give_batch()
    callback.before_train()
    return callback.before_batch, give_batch


def about_to_train(callback: Any) -> Any:
    """Make a learner with a mixing callback, in the state before `before_train`."""
    import torch
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat

    dls = DataLoaders.from_dsets([(torch.zeros(1), 0)] * 2, [(torch.zeros(1), 0)], bs=2, num_workers=0, device="cpu")
    learn = Learner(dls, torch.nn.Linear(1, 1), loss_func=CrossEntropyLossFlat(), cbs=callback)
    learn.epoch, learn.training, learn.dl = 0, True, dls.train
    return learn


def timm_mixup(batch: Batch) -> Iterator[Contender]:
    """timm's Mixup."""
    need("timm.data.mixup")
    import torch
    from timm.data.mixup import Mixup

    from mixup_rs import timm as ours

    x, y = _tensor(batch), torch.from_numpy(batch.y)
    kinds: dict[str, dict[str, Any]] = {"batch": {"mode": "batch"}, "elem": {"mode": "elem"}}
    if x.ndim == 4:
        kinds["elem, both kinds"] = {"mode": "elem", "cutmix_alpha": 1.0}
    for kind, options in kinds.items():
        options |= {"label_smoothing": 0, "num_classes": batch.classes}
        theirs, mixup = (of(batch.alpha, **options) for of in (Mixup, ours.Mixup))
        yield from _beside(f"timm Mixup ({kind})", partial(theirs, x, y), partial(mixup, x, y))


def _beside(name: str, theirs: Callable[[], Any], ours: Callable[[], Any]) -> Iterator[Contender]:
    """A peer's class, and the subclass of it that does the same job."""
    yield Contender(drop_in(name), ours, "ours")
    yield Contender(name, theirs, rival=drop_in(name))


def timm_collate(batch: Batch) -> Iterator[Contender]:
    """timm's FastCollateMixup."""
    if batch.dtype != np.uint8:
        return  # it converts every batch to bytes
    need("timm.data.mixup")
    from timm.data.mixup import FastCollateMixup

    collate = FastCollateMixup(batch.alpha, mode="elem", label_smoothing=0, num_classes=batch.classes)
    samples = list(zip(batch.x, batch.y.tolist(), strict=True))
    yield Contender(TIMM_COLLATE, lambda: collate(samples), rival=NEW)


def torchvision_mixup(batch: Batch) -> Iterator[Contender]:
    """torchvision's v2.MixUp and v2.CutMix."""
    if len(batch.shape) != 4:
        return  # it mixes images alone
    need("torchvision.transforms.v2")
    import torch
    from torchvision.transforms import v2

    from mixup_rs import torchvision as ours

    x, y = _tensor(batch), torch.from_numpy(batch.y)
    for name in ("MixUp", "CutMix"):
        theirs, mixup = (getattr(of, name)(alpha=batch.alpha, num_classes=batch.classes) for of in (v2, ours))
        yield from _beside(f"torchvision {name}", partial(theirs, x, y), partial(mixup, x, y))


def numba_loop(batch: Batch) -> Iterator[Contender]:
    """numba loop."""
    need("numba")
    blend = _numba_blend(integers=batch.dtype.kind == "u")
    x, warm = batch.x.reshape(len(batch.x), -1), batch.warm.reshape(len(batch.x), -1)

    def run(out: np.ndarray) -> np.ndarray:
        lam, perm = _draw(batch)
        blend(x, lam, 1 - lam, perm, out)
        return out

    yield Contender("numba loop, new", lambda: run(np.empty_like(x)), rival=NEW)
    yield Contender("numba loop, warm out", lambda: run(warm), rival=NEW)


@cache
def _numba_blend(integers: bool) -> Callable[..., None]:
    """A parallel loop over samples (n, m) that writes `lam[i] * x[i] + rest[i] * x[partner[i]]` to `out`."""
    import numba

    # fastmath permits fused multiply-add, which mixup-rs does not use, for the sake of equal bits on all machines.
    if integers:

        @numba.njit(parallel=True, fastmath=True)
        def blend(x: Any, lam: Any, rest: Any, partner: Any, out: Any) -> None:
            half = np.float32(0.5)
            for i in numba.prange(x.shape[0]):
                own, other, weight, remainder = x[i], x[partner[i]], lam[i], rest[i]
                for k in range(x.shape[1]):
                    out[i, k] = np.uint8(weight * np.float32(own[k]) + remainder * np.float32(other[k]) + half)

    else:

        @numba.njit(parallel=True, fastmath=True)
        def blend(x: Any, lam: Any, rest: Any, partner: Any, out: Any) -> None:
            for i in numba.prange(x.shape[0]):
                own, other, weight, remainder = x[i], x[partner[i]], lam[i], rest[i]
                for k in range(x.shape[1]):
                    out[i, k] = weight * own[k] + remainder * other[k]

    return blend


def torch_compiled(batch: Batch) -> Iterator[Contender]:
    """torch.compile."""
    need("torch")
    import torch

    from mixup_rs.torch._compat import compile_in_this_process

    x, warm, integers = _tensor(batch), _tensor(batch, batch.warm), batch.dtype.kind == "u"

    def gather_and_lerp(x: Any, perm: Any, lam: Any, out: Any) -> None:
        if integers:
            out.copy_(torch.lerp(x[perm].float(), x.float(), lam).round().to(x.dtype))
        else:
            out.copy_(torch.lerp(x[perm], x, lam))

    torch.compiler.reset()  # forgets earlier shapes, else one slower function is compiled for all of them
    compile_in_this_process()  # worker processes would still start while others are timed
    compiled = torch.compile(gather_and_lerp, dynamic=False, fullgraph=True)
    weights = torch.float32 if integers else x.dtype

    def run() -> Any:
        lam, perm = (torch.from_numpy(drawn) for drawn in _draw(batch, np.float64))
        compiled(x, perm, lam.to(weights).view(-1, *[1] * (x.ndim - 1)), warm)

    yield Contender("torch.compile, warm out", run, rival=NEW)


def jax_compiled(batch: Batch) -> Iterator[Contender]:
    """jax.jit on the CPU."""
    need("jax")
    import jax
    import jax.numpy as jnp

    integers = batch.dtype.kind == "u"
    weights = np.float32 if integers else batch.dtype

    def gather_and_blend(x: Any, perm: Any, lam: Any, _: Any) -> Any:
        lam = lam.reshape(-1, *[1] * (x.ndim - 1))
        mixed = lam * x + (1 - lam) * jnp.take(x, perm, axis=0, mode="clip")
        return jnp.rint(mixed).astype(x.dtype) if integers else mixed

    with jax.enable_x64(batch.dtype == np.float64):
        x = jnp.array(batch.x)
        # The result is in the memory of the last argument, which is the result before. XLA gives it one thread.
        compiled = jax.jit(gather_and_blend, donate_argnums=3, keep_unused=True)
        warm = [jnp.zeros_like(x)]

    def run() -> Any:
        with jax.enable_x64(batch.dtype == np.float64):
            lam, perm = _draw(batch, weights)
            warm[0] = compiled(x, perm, lam, warm[0]).block_until_ready()
            return warm[0]

    yield Contender("jax.jit, warm out", run, rival=NEW)


def opencv_pairs(batch: Batch) -> Iterator[Contender]:
    """cv2.addWeighted for each pair."""
    if batch.dtype.name not in ("uint8", "float32", "float64"):
        return
    need("cv2")
    import cv2

    # With two axes, OpenCV takes none of them for channels.
    x, warm = (array.reshape(len(array), -1, array.shape[-1]) for array in (batch.x, batch.warm))
    rows, out = list(x), list(warm)
    pool = ThreadPoolExecutor(most_threads())

    def blend(part: slice, lam: np.ndarray, perm: np.ndarray) -> None:
        for own, weight, partner, mixed in zip(rows[part], lam[part], perm[part], out[part], strict=True):
            cv2.addWeighted(own, weight, rows[partner], 1 - weight, 0, mixed)

    def run() -> np.ndarray:
        lam, perm = _draw(batch, np.float64)
        lam, perm, threads = lam.tolist(), perm.tolist(), mixup_rs.get_num_threads()
        if threads == 1 or batch.case.bytes < _WORTH_THREADS:
            blend(slice(None), lam, perm)
        else:
            # A call of OpenCV has one thread, and releases the lock.
            cuts = [len(rows) * k // threads for k in range(threads + 1)]
            list(pool.map(lambda part: blend(part, lam, perm), map(slice, cuts, cuts[1:])))
        return batch.warm

    yield Contender("cv2.addWeighted, warm out", run, rival=NEW)


def kornia_mixup(batch: Batch) -> Iterator[Contender]:
    """kornia's RandomMixUpV2."""
    if len(batch.shape) != 4:
        return  # it mixes images alone
    need("kornia.augmentation")
    import torch
    from kornia.augmentation import RandomMixUpV2

    x, y, mixup = _tensor(batch), torch.from_numpy(batch.y), RandomMixUpV2(data_keys=["input", "class"])
    yield Contender("kornia RandomMixUpV2", lambda: mixup(x, y), rival=NEW)


def mixup_package(batch: Batch) -> Iterator[Contender]:
    """the package mixup."""
    need("mixup")
    import torch
    from mixup import VanillaMixUp

    x, mixup = _tensor(batch), VanillaMixUp(alpha=batch.alpha)
    y = torch.nn.functional.one_hot(torch.from_numpy(batch.y), batch.classes).to(x.dtype)

    def run() -> Any:
        if batch.dtype.kind == "u":
            raise TypeError("it converts the weight to the dtype of the batch, in which it is 0")
        return mixup(x, y)

    yield Contender("mixup VanillaMixUp", run, rival=NEW)


PEERS = [
    numpy_one_liner,
    fastai_callbacks,
    timm_mixup,
    timm_collate,
    torchvision_mixup,
    kornia_mixup,
    mixup_package,
    opencv_pairs,
    numba_loop,
    torch_compiled,
    jax_compiled,
]


def _draw(batch: Batch, dtype: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n,) and partners (n,), drawn with NumPy."""
    n = len(batch.x)
    dtype = dtype or (np.float32 if batch.dtype.kind == "u" else batch.dtype)
    return batch.rng.beta(batch.alpha, batch.alpha, n).astype(dtype), batch.rng.permutation(n)


def _tensor(batch: Batch, array: np.ndarray | None = None) -> Any:
    """View the batch, or another array of its dtype, as a tensor."""
    import torch

    array = batch.x if array is None else array
    if batch.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def need(module: str) -> None:
    """Import a module without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        __import__(module)
