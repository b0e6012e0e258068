"""What the property tests share: a call held against its expected result, byte by byte, and drawn arguments."""

import numpy as np
import pytest
import strategies as some
from hypothesis import strategies as st
from oracle import assert_same_bits

from mixup_rs import Mixup


def applied(batch, call, expected_of):
    """Calls `call(x, out)` and returns what `x` was, and what came, held against `expected_of(x)` bit for bit.

    Not one byte of the block may change that is not in `out`; and none at all where `out` must be refused.
    """
    block = batch.block()
    x, out = batch.arrays(block)
    before, original = block.copy(), x.copy()
    if batch.refused():
        # What has no elements may be taken or refused.
        if x.size or batch.read_only:
            with pytest.raises(ValueError, match=r"out must be|out overlaps itself"):
                call(x, out)
            assert block.tobytes() == before.tobytes(), "written to before it was refused"
        return original, None
    result = call(x, out)
    expected = expected_of(original)
    assert_same_bits(result, expected)
    if out is None:
        assert not np.shares_memory(result, block)
    else:
        assert result is out
        batch.out.of(before)[...] = expected
    assert block.tobytes() == before.tobytes(), "written outside out"
    return original, expected


@st.composite
def drawing(draw, n):
    """What `Mixup` and `mix_batch` draw by, and what `mix_batch` may be given of it instead."""
    options = {"alpha": draw(some.ALPHAS), "mode": draw(some.MODES), "fold": draw(st.booleans())}
    given = {}
    if draw(st.integers(0, 4)) == 0:
        given["lam"] = draw(st.one_of(st.floats(0, 1), some.weights(n), some.weights(n).map(np.ndarray.tolist)))
        options = {name: getattr(Mixup, name) for name in options}
    if options["mode"] != "pair" and draw(st.integers(0, 4)) == 0:
        given["partner"] = draw(st.one_of(some.partners(n), some.partners(n).map(np.ndarray.tolist)))
    return options, given


def assert_drawn(got, n, options, given, rng):
    """The lam and partner of `got` are those that `Mixup` draws by the same key, but for what was given."""
    drawn = Mixup(**options).plan(n, rng=rng())
    expected = {"lam": drawn.lam, "partner": drawn.partner}
    for name, value in (expected | given).items():
        np.testing.assert_array_equal(getattr(got, name), kept(value, n))


def kept(given, n):
    """A given weight or partner, one per sample."""
    return np.broadcast_to(np.asarray(given), (n,))
