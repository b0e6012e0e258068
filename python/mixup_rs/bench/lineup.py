"""Who competes in a case: our own calls, the limits of the machine, and the peers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mixup_rs
from mixup_rs.bench import loader, peers
from mixup_rs.bench.cases import MAIN, SWEEP, Batch, LoaderCase
from mixup_rs.bench.contender import COLD, INPLACE, NEW, Contender
from mixup_rs.bench.limits import LIMITS

__all__ = ["lineup"]


def lineup(batch: Batch | loader.Feed, quick: bool = False) -> tuple[list[Contender], dict[str, str]]:
    """The contenders of a batch, and the libraries that are missing, with the reason."""
    contenders: list[Contender] = []
    missing: dict[str, str] = {}
    for maker in _makers(batch, quick):
        try:
            contenders += maker(batch)
        except ImportError as error:
            missing[maker.__doc__.rstrip(".")] = str(error)
    return contenders, missing


def _makers(batch: Batch | loader.Feed, quick: bool) -> list[Any]:
    if isinstance(batch.case, LoaderCase):
        return loader.COLLATES if batch.case.workers is None else loader.EPOCHS
    return [_ours, *LIMITS, *_peers(batch, quick)]


def _peers(batch: Batch, quick: bool) -> list[peers.Maker]:
    if batch.case in SWEEP:
        return [peers.numpy_one_liner]
    if not batch.case.peers:
        return []
    # Compiling for one shape takes seconds: a quick run affords it in the main case alone.
    slow = {peers.torch_compiled} if quick and batch.case is not MAIN else set()
    return [maker for maker in peers.PEERS if maker not in slow]


def _ours(batch: Batch) -> Iterator[Contender]:
    """mixup-rs."""
    x, mix = batch.x, mixup_rs.mix_batch
    yield Contender(INPLACE, lambda: mix(x, out=x), "ours")
    yield Contender(NEW, lambda: mix(x), "ours")
    if batch.case in SWEEP:
        return
    yield Contender(COLD, lambda: mix(x), "ours", prepare=mixup_rs.clear_cache, single=True)
    if batch.c_order is not x:
        # Measured beside the other layout: two cases lie minutes apart.
        same = batch.c_order
        yield Contender(f"{INPLACE}, C order", lambda: mix(same, out=same), "ours")
        yield Contender(f"{NEW}, C order", lambda: mix(same), "ours")
