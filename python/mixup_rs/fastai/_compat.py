"""Private names and habits of fastai that this package depends on, each with the reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from fastai.learner import Learner

from mixup_rs.torch._compat import is_lasting_worker

__all__ = ["OfFit", "Running", "is_training_a_batch", "pooling_classifiers", "set_attributes"]


def set_attributes(callback: Any, **values: Any) -> None:
    """Set attributes of a callback without `Callback.__setattr__`.

    That method searches the learner and its model for each name, which takes longer than mixing a small batch.
    """
    callback.__dict__.update(values)


def is_training_a_batch(learn: Any) -> bool:
    """Whether the caller runs inside `Learner._do_one_batch`.

    fastai stores nothing in a learner that says so: after an interrupt a learner looks as it did within the batch, and
    no event is called. The running frames are the only difference.
    """
    code = getattr(getattr(learn, "_do_one_batch", None), "__code__", None)
    return any(frame.f_code is code for frame in _calls(sys._getframe()))


class Running:
    """Whether a call, within which this was made, still runs; True if it was made in none.

    No event of fastai says that an interrupt ended a batch or an epoch.

    Parameters
    ----------
    function : callable
        A method of the learner.
    """

    def __init__(self, function: Callable[..., Any]):
        code = getattr(function, "__code__", None)
        self._frame = next((frame for frame in _calls(sys._getframe()) if frame.f_code is code), None)

    def __bool__(self) -> bool:
        """Look at this thread first, then at the others, in which a batch may be loaded or a layer run."""
        if self._frame is None:
            return True
        threads = (sys._getframe(), *sys._current_frames().values())
        return any(frame is self._frame for top in threads for frame in _calls(top))


class OfFit:
    """Whether a batch that is made is one of those of a fit.

    A callback may take a batch by hand within a fit, for a picture of it. Nothing but the running calls tells the two
    apart.

    Parameters
    ----------
    check : callable
        Called with the learner whose epoch of training asks for a batch.
    epoch : Running, optional
        An epoch that needs no check.
    """

    def __init__(self, check: Callable[[Any], None], epoch: Running | None = None):
        self._check, self._epoch = check, None if epoch is None else epoch._frame

    def __bool__(self) -> bool:
        """Look at the innermost event or epoch of a learner; True where there is none."""
        is_lasting = False  # an event in which a worker was started says nothing of its later batches
        for frame in _calls(sys._getframe()):
            if frame is self._epoch:
                break
            is_lasting = is_lasting or is_lasting_worker(frame)
            if frame.f_code is _EVENT and not is_lasting:
                return False
            if frame.f_code is _EPOCH:
                self._check(frame.f_locals["self"])
                break
        return True


_EVENT, _EPOCH = Learner._call_one.__code__, Learner._do_epoch_train.__code__


def _calls(frame: FrameType | None) -> Iterator[FrameType]:
    """The calls that run in a thread, from the innermost."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def pooling_classifiers() -> tuple[type, ...]:
    """The heads of fastai's text classifiers, which take words and the mask of their padding.

    The module that defines them imports spacy's tokenizer, so that it is not imported here: where it is not loaded,
    there is no such head.
    """
    module = sys.modules.get("fastai.text.models.core")
    return () if module is None else (module.PoolingLinearClassifier,)
