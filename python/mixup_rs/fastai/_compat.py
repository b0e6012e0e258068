"""Private names and habits of fastai that this package depends on, each with the reason."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_training_a_batch", "pooling_classifiers", "set_attributes"]


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
    function = getattr(learn, "_do_one_batch", None)
    code, frame = getattr(function, "__code__", None), sys._getframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


def pooling_classifiers() -> tuple[type, ...]:
    """The heads of fastai's text classifiers, which take words and the mask of their padding.

    The module that defines them imports spacy's tokenizer, so that it is not imported here: where it is not loaded,
    there is no such head.
    """
    module = sys.modules.get("fastai.text.models.core")
    return () if module is None else (module.PoolingLinearClassifier,)
