"""The order of a mixing callback, which changes within a batch."""

from __future__ import annotations

from typing import Any

from mixup_rs.fastai._compat import is_training_a_batch, set_attributes

__all__ = ["FIRST", "LAST", "Order"]

#: Orders before and after those of all other callbacks. fastai sorts its callbacks anew at each event.
FIRST, LAST = float("-inf"), float("inf")


class Order:
    """The attribute `order`: within a batch the callback's `_place`, if it has one; otherwise the order that was set.

    An interrupt ends a batch without an event that could reset the place. Therefore the place counts only while a batch
    is running.
    """

    def __get__(self, callback: Any, owner: Any) -> float:
        if callback is None:
            return owner._order
        if callback._place is not None and is_training_a_batch(callback.learn):
            return callback._place
        return callback._order

    def __set__(self, callback: Any, order: float) -> None:
        set_attributes(callback, _order=order)
