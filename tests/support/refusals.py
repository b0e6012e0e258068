"""What the tests of wrong arguments share: a call, the error it must raise, and what that says."""

import re
from typing import NamedTuple

import pytest
from oracle import bits

NAN, INF = float("nan"), float("inf")
HUGE = 2**70  # more than a machine word holds
ALPHA = ["alpha must be a finite number >= 0", "got"]
RNG = ["rng must be None, an int, a sequence of ints, numpy.random.Generator or numpy.random.SeedSequence", "got"]
AXES = "spatial_axes must be None or a sequence of ints"


class Refusal(NamedTuple):
    error: type
    message: str


def raises(error, *fragments):
    """`error` or nothing else, whose message has all these in it, in this order: what was expected and what came."""
    return Refusal(error, ".*".join(map(re.escape, fragments)))


def case(value):
    """For readable test ids, the same in every run: without addresses."""
    if isinstance(value, Refusal):
        return value.error.__name__
    return " ".join(re.sub(r" at 0x\w+", "", repr(value), flags=re.IGNORECASE).split())[:50]


def refused(call, arrays, expected):
    before = [bits(array) for array in arrays]
    with pytest.raises((ValueError, TypeError), match=expected.message) as raised:
        call()
    assert raised.type is expected.error
    assert [bits(array) for array in arrays] == before
