"""The contenders of a case: mixup-rs, the limits of the machine, and the peers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mixup_rs
from mixup_rs.bench.cases import MAIN, SWEEP, Batch
from mixup_rs.bench.contender import COLD, INPLACE, NEW, WARM, Contender
from mixup_rs.bench.limits import LIMITS
from mixup_rs.bench.loader import COLLATES, EPOCHS, Feed
from mixup_rs.bench.peers import PEERS, Maker, jax_compiled, numpy_one_liner, torch_compiled
from mixup_rs.bench.ray import Blocks, tasks
from mixup_rs.bench.regions import mixup_package_regions, resize_recipe

__all__ = ["lineup"]


def lineup(batch: Batch | Feed | Blocks, quick: bool = False) -> tuple[list[Contender], dict[str, str]]:
    """Make the contenders of a batch.

    Parameters
    ----------
    batch : Batch, Feed or Blocks
        The arrays, samples or data set of the case.
    quick : bool, default False
        Leave out contenders that are slow to start.

    Returns
    -------
    contenders : list of Contender
        The contenders.
    missing : dict of str to str
        The reason for each library that cannot be imported.
    """
    contenders: list[Contender] = []
    missing: dict[str, str] = {}
    for maker in _makers(batch, quick):
        try:
            contenders += maker(batch)
        except ImportError as error:
            missing[maker.__doc__.rstrip(".")] = str(error)
    return contenders, missing


def _makers(batch: Batch | Feed | Blocks, quick: bool) -> list[Any]:
    if isinstance(batch, Blocks):
        return [tasks]
    if not isinstance(batch, Batch):
        return COLLATES if batch.case.workers is None else EPOCHS
    return [_ours, *LIMITS, *_peers(batch, quick)]


def _peers(batch: Batch, quick: bool) -> list[Maker]:
    if batch.case in SWEEP:
        return [numpy_one_liner]
    if not batch.case.peers:
        return []
    # Compiling for one shape takes seconds: a quick run does so in the main case only.
    slow = {torch_compiled, jax_compiled} if quick and batch.case is not MAIN else set()
    return [*(maker for maker in PEERS if maker not in slow), mixup_package_regions, resize_recipe]


def _ours(batch: Batch) -> Iterator[Contender]:
    """mixup-rs."""
    x, mix = batch.x, mixup_rs.mix_batch
    yield Contender(INPLACE, lambda: mix(x, out=x), "ours")
    yield Contender(NEW, lambda: mix(x), "ours")
    if batch.case in SWEEP:
        return
    warm = batch.warm
    yield Contender(WARM, lambda: mix(x, out=warm), "ours")
    yield Contender(COLD, lambda: mix(x), "ours", prepare=mixup_rs.clear_cache, single=True)
    if batch.c_order is not x:
        # In this case too, because two cases are measured minutes apart.
        same = batch.c_order
        yield Contender(f"{INPLACE}, C order", lambda: mix(same, out=same), "ours")
        yield Contender(f"{NEW}, C order", lambda: mix(same), "ours")
