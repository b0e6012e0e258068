"""How far a command is, said once it takes longer than a reader waits in silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Seconds until the first word, and between two words: in a terminal, where each replaces the last, and in a file.
SILENT_S, TERMINAL_S, FILE_S = 2.0, 0.2, 10.0


def progress(
    items: Iterable[T], what: str, total: int | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """The same items; after two seconds it says on stderr how many came.

    Parameters
    ----------
    items : iterable
        What takes time to get or to use.
    what : str
        What is counted, such as "images read".
    total : int, optional
        How many there are.
    clock : callable, optional
        The seconds that have passed.

    Yields
    ------
    object
        Each item.
    """
    is_terminal = sys.stderr.isatty()
    every = TERMINAL_S if is_terminal else FILE_S
    start = clock()
    due, said, count = start + SILENT_S, False, 0
    try:
        for count, item in enumerate(items, 1):
            yield item
            if (now := clock()) >= due:
                of = f" of {total}" if total else ""
                text = f"{what}: {count}{of}, {now - start:.0f} s"
                print(
                    f"\r{text}\x1b[K" if is_terminal else text,
                    end="" if is_terminal else "\n",
                    file=sys.stderr,
                    flush=True,
                )
                due, said = now + every, True
    finally:
        if said and is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
