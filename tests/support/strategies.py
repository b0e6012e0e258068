"""What hypothesis draws: arrays anywhere in a block of memory, and plans.

A `Place` says where an array lies, so the same view can be taken of a copy of the block: that is how a test knows which
bytes may change. Hypothesis draws the structure; elements come from seeds, which say nothing when they shrink.
"""

import ctypes
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from oracle import DTYPES, FLOATS
from rules import KINDS, Drawn, examples, options

from mixup_rs import MixPlan, OneOf

# The longest axis for each number of axes: small enough that a case takes a millisecond.
LONGEST = {1: 200, 2: 40, 3: 12, 4: 6, 5: 4, 6: 3}
SEEDS = st.integers(0, 2**32 - 1)
ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """An array in a block of memory; offset and strides in bytes."""

    dtype: np.dtype
    shape: tuple
    strides: tuple
    offset: int

    def of(self, block):
        return np.ndarray(self.shape, self.dtype, block, self.offset, self.strides)

    def extent(self):
        """The first byte, and the one behind the last."""
        reach = [max(n - 1, 0) * stride for n, stride in zip(self.shape, self.strides, strict=True)]
        low, high = (sum(pick(0, r) for r in reach) for pick in (min, max))
        return self.offset + low, self.offset + high + self.dtype.itemsize

    def moved(self, distance):
        return replace(self, offset=self.offset + distance)

    def overlaps_itself(self):
        """By looking at every element, unless each axis lies within one step of the next."""
        axes = sorted((abs(stride), n) for n, stride in zip(self.shape, self.strides, strict=True) if n > 1)
        reach = np.cumsum([self.dtype.itemsize - 1, *((n - 1) * stride for stride, n in axes)])
        if all(stride > inner for (stride, _), inner in zip(axes, reach, strict=False)):
            return False
        grid = np.indices(self.shape, sparse=True)
        at = sum((i * stride for i, stride in zip(grid, self.strides, strict=True)), np.zeros(self.shape, int))
        return len(np.unique(at)) < at.size

    def is_aligned(self):
        """Whether every element lies at a multiple of its size, in a block that does."""
        moving = [stride for n, stride in zip(self.shape, self.strides, strict=True) if n > 1]
        return all(distance % min(self.dtype.itemsize, 8) == 0 for distance in [self.offset, *moving]) and all(
            stride % self.dtype.itemsize == 0 for stride in moving
        )


def block_of(size):
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def another_base(block):
    """The same memory, in which NumPy sees nothing in common with `block`."""
    return (ctypes.c_char * block.nbytes).from_address(block.ctypes.data)


@st.composite
def shapes(draw, least=1, most=6):
    ndim = draw(st.integers(least, most))
    return tuple(draw(st.lists(st.integers(0, LONGEST[ndim]), min_size=ndim, max_size=ndim))) if ndim else ()


@st.composite
def strides(draw, shape, itemsize, steps=(1, 1, 1, 1, -1, -1, 2, -2, 0), skew=0):
    """Axes in any order in memory, each walked by a step, with or without a gap behind it."""
    ndim = len(shape)
    kind = draw(st.sampled_from(["C", "Fortran", "any", "any"]))
    if kind != "any":
        order, chosen, gaps = list(range(ndim))[:: 1 if kind == "C" else -1], [1] * ndim, [0] * ndim
    else:
        order = draw(st.permutations(range(ndim)))
        chosen = draw(st.lists(st.sampled_from(steps), min_size=ndim, max_size=ndim))
        gaps = draw(st.lists(st.sampled_from([0, 0, 1]), min_size=ndim, max_size=ndim))
    result, inner = [0] * ndim, itemsize + skew
    for axis in reversed(order):
        result[axis] = chosen[axis] * inner
        inner *= max(shape[axis], 1) * max(abs(chosen[axis]), 1) + gaps[axis] if chosen[axis] else 1
    return tuple(result)


@dataclass
class Batch:
    """x, perhaps out, in one block."""

    x: Place
    out: Place | None
    same: bool  # out is the very object x
    read_only: bool  # whichever of the two is written to, or else x
    apart: bool  # out has another base
    size: int
    fill: tuple

    def block(self):
        """Random bits, with numbers that mean something where x lies."""
        kind, seed = self.fill
        rng = np.random.default_rng(seed)
        block = block_of(self.size)
        block[:] = np.frombuffer(rng.bytes(self.size), np.uint8)
        x = self.x.of(block)
        if self.x.dtype.type not in DTYPES:
            pass
        elif kind == "pixels":
            x[...] = pixels(rng, x)
        elif kind == "special":
            x[...] = rng.choice(special(x.dtype), x.shape)
        return block

    def arrays(self, block):
        x = self.x.of(block)
        out = (
            x if self.same else None if self.out is None else self.out.of(another_base(block) if self.apart else block)
        )
        if self.read_only:
            (x if out is None else out).flags.writeable = False
        return x, out

    def refused(self):
        """Whether `out` must be refused."""
        return self.out is not None and (self.read_only or not self.out.is_aligned() or self.out.overlaps_itself())


def pixels(rng, x):
    return (100 * rng.random(x.shape)).astype(x.dtype)


def special(dtype):
    """Zeros, ends of the range and what is next to them, infinities and NaN."""
    if dtype.type not in FLOATS:
        info = np.iinfo(dtype)
        return np.array([info.min, info.min + 1, 0, 1, info.max // 2, info.max - 1, info.max], dtype)
    nmant = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}[dtype.name]
    positive = np.array([0, 1, (1 << nmant) - 1, 1 << nmant], f"u{dtype.itemsize}")
    infinite = np.array([np.inf], dtype).view(positive.dtype)
    positive = np.concatenate([positive, infinite - 1, infinite, infinite + 1, infinite + (1 << (nmant - 1))])
    ordinary = np.array([1, 1.5, 3], dtype).view(positive.dtype)
    both = np.concatenate([positive, ordinary])
    return np.concatenate([both, both | positive.dtype.type(1 << (8 * dtype.itemsize - 1))]).view(dtype)


RELATIONS = ["new", "itself", "the same view", "shifted", "shifted", "by samples", "flipped", "anywhere", "apart"]


@st.composite
def batches(draw, dtypes=DTYPES, shapes=shapes(), relations=RELATIONS):  # noqa: B008 - strategies are immutable
    dtype, shape = np.dtype(draw(st.sampled_from(dtypes))), draw(shapes)
    size = dtype.itemsize
    relation = draw(st.sampled_from(relations))
    # Elements at odd addresses or odd distances.
    odd = draw(st.sampled_from([0] * 6 + [1]))
    skew = draw(st.sampled_from([0, 1])) if odd else 0
    x = Place(dtype, shape, draw(strides(shape, size, skew=skew)), draw(st.integers(0, size - 1)) if odd else 0)
    out = draw(_out(x, relation)) if relation != "new" else None
    places = [place for place in (x, out) if place is not None]
    # Everything is moved up until nothing begins before the block, with some bytes around it.
    up = -(min(place.extent()[0] for place in places) // ALIGNMENT) * ALIGNMENT + ALIGNMENT
    x, out = x.moved(up), None if out is None else out.moved(up)
    end = max(place.extent()[1] for place in (x, out) if place is not None) + ALIGNMENT
    read_only = draw(st.sampled_from([False] * 9 + [True]))
    fill = draw(st.sampled_from(["bits", "pixels", "special"])), draw(SEEDS)
    return Batch(x, out, relation == "itself", read_only, draw(st.booleans()), end, fill)


@st.composite
def _out(draw, x, relation):
    size = x.dtype.itemsize
    low, high = x.extent()
    if relation == "shifted":
        return x.moved(draw(st.integers(-20, 20)) * size + draw(st.sampled_from([0] * 7 + [1])))
    if relation == "by samples":
        return x.moved(draw(st.integers(-4, 4)) * (x.strides[0] if x.shape else 0))
    if relation == "flipped":
        flips = draw(st.lists(st.booleans(), min_size=len(x.shape), max_size=len(x.shape)))
        ends = [max(n - 1, 0) * s * f for n, s, f in zip(x.shape, x.strides, flips, strict=True)]
        turned = tuple(-s if f else s for s, f in zip(x.strides, flips, strict=True))
        return replace(x.moved(sum(ends)), strides=turned)
    if relation in ("anywhere", "apart"):
        steps = (1, 1, 1, 1, 1, 1, -1, -1, 2, -2, 3, 0)
        own = replace(x, offset=0, strides=draw(strides(x.shape, size, steps)))
        first = high + size - own.extent()[0] if relation == "apart" else draw(st.integers(low - 40 * size, high))
        return own.moved(first + -first % size)
    return x


@st.composite
def weights(draw, n):
    """Both ends, the middle and their neighbours among random ones."""
    rng = np.random.default_rng(draw(SEEDS))
    half = [np.nextafter(0.5, 0), 0.5, np.nextafter(0.5, 1)]
    edges = [0, 1, *half, 5e-324, 1e-300, 1e-40, 2**-17, 2**-54, np.nextafter(1, 0), 1 - 2**-17, 0.25]
    return np.where(rng.random(n) < draw(st.sampled_from([0, 0.3, 1])), rng.choice(edges, n), rng.random(n))


@st.composite
def partners(draw, n):
    """Permutations of every kind, and repeats."""
    rng = np.random.default_rng(draw(SEEDS))
    kind = draw(st.sampled_from(["permutation", "repeated", "roll", "pairs", "identity", "one", "some"]))
    if kind == "repeated" or kind == "one":
        return rng.integers(0, max(n, 1), n) if kind == "repeated" else np.full(n, rng.integers(0, max(n, 1)))
    if kind == "some":
        moved = np.flatnonzero(rng.random(n) < 0.5)
        result = np.arange(n)
        result[moved] = rng.permutation(moved)
        return result
    pairs = np.minimum(np.arange(n) ^ 1, max(n - 1, 0)) if n % 2 == 0 else np.append(np.arange(n - 1) ^ 1, n - 1)
    return {"permutation": rng.permutation(n), "roll": np.roll(np.arange(n), 1), "pairs": pairs}.get(kind, np.arange(n))


@st.composite
def boxes(draw, n, shape):
    """Boxes within samples of this shape: any, none, whole samples, and empty ones that are not none."""
    rng, d = np.random.default_rng(draw(SEEDS)), len(shape)
    ends = np.sort(rng.integers(0, np.array(shape) + 1, (n, 2, d)), axis=1)
    kind = rng.choice(
        ["any", "none", "whole", "empty"], n, p=draw(st.sampled_from([[0.7, 0.1, 0.1, 0.1], [0, 1, 0, 0]]))
    )
    ends[kind == "none"] = 0
    ends[kind == "whole"] = [[0] * d, shape]
    ends[kind == "empty", 0] = ends[kind == "empty", 1]
    return ends.reshape(n, 2 * d)


@st.composite
def regions(draw, shape, blended=True):
    """A plan with boxes or masks along one to three axes of a batch of this shape, and those axes or None.

    Weights of 0, 1 and between, or of 0 and 1 alone.
    """
    d = draw(st.integers(1, min(3, len(shape) - 1)))
    axes = draw(st.none() | st.permutations(range(1, len(shape))).map(lambda axes: tuple(axes[:d])))
    spatial = tuple(shape[axis] for axis in (range(len(shape) - d, len(shape)) if axes is None else axes))
    if axes is not None:
        axes = tuple(axis - len(shape) * draw(st.booleans()) for axis in axes)
    n = shape[0]
    assume(0 not in spatial)
    weight = draw(st.one_of(st.just(1.0), weights(n), weights(n).map(np.round)))
    if not blended:
        weight = np.round(weight)
    if draw(st.booleans()):
        mask = draw(masks(n, spatial))
        mask = mask if blended or mask.dtype == bool else mask > 0
        return MixPlan.from_masks(mask, draw(partners(n)), spatial), axes
    resized = d == 2 and draw(st.sampled_from([False, True, np.arange(n) % 2 == 0]))
    return MixPlan.from_boxes(draw(boxes(n, spatial)), spatial, draw(partners(n)), weight, resized), axes


@st.composite
def masks(draw, n, shape):
    """Masks of samples of this shape, for all or for each: booleans, bytes and floats, hard, soft and both."""
    rng, kind = np.random.default_rng(draw(SEEDS)), draw(st.sampled_from(["bool", "u1", "f2", "f4", "f8"]))
    drawn = rng.random((n, *shape) if draw(st.booleans()) else tuple(shape))
    if kind in ("bool", "u1"):
        return drawn > 0.5 if kind == "bool" else (drawn * 256).astype("u1")
    edges = np.array([0, 1, 0.5, np.nextafter(0.5, 0), 1e-7, 1 - 1e-7])
    return np.where(
        rng.random(drawn.shape) < draw(st.sampled_from([0, 0.5, 1])), rng.choice(edges, drawn.shape), drawn
    ).astype(kind)


@st.composite
def rules(draw, depth=1):
    """Rules of every kind, `OneOf` in `OneOf` among them; an option not in `OPTIONS` is that of an example."""
    kind = draw(st.sampled_from([kind for kind in KINDS if depth or kind is not OneOf]))
    if kind is not OneOf:
        drawn = {name: draw(OPTIONS[name]) for name in options(kind) if name in OPTIONS}
        drawn["partners"] = None if drawn.get("mode") == "pair" else draw(st.none() | st.just(Drawn()))
        return replace(draw(st.sampled_from(examples(kind))), **drawn)
    chosen = draw(st.lists(rules(depth=depth - 1), min_size=1, max_size=3))
    shares = st.lists(st.floats(0, 1 / len(chosen)), min_size=len(chosen), max_size=len(chosen))
    return OneOf(chosen, probs=draw(st.none() | shares), mode=draw(st.sampled_from(["batch", "elem"])))


#: Anything `rng` may be, made anew each time, for a generator moves on.
KEYS = st.one_of(
    st.integers(0, 2**130).map(lambda key: lambda: key),
    st.lists(st.integers(0, 2**70), min_size=1, max_size=4).map(lambda key: lambda: key),
    st.lists(st.integers(0, 2**63), min_size=1, max_size=3).map(lambda key: lambda: np.array(key, np.uint64)),
    SEEDS.map(lambda seed: lambda: np.random.default_rng(seed)),
    SEEDS.map(lambda seed: lambda: np.random.SeedSequence(seed)),
)
ALPHAS = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([0, 5e-324, 1e-300, 1e-30, 1.0, 1e17, 1e33, 1e300]))
MODES = st.sampled_from(["elem", "pair", "batch"])
PROBS = st.one_of(st.sampled_from([1, 1.0, 0, 0.5]), st.floats(0, 1))
FRACTIONS = st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted).map(tuple)
OPTIONS = {
    "alpha": ALPHAS,
    "mode": MODES,
    "prob": PROBS,
    "fold": st.booleans(),
    "decay": st.sampled_from([0, 1, 3.0]) | st.floats(0, 50),
    "soft": st.floats(0, 0.5),
    "cells": st.lists(st.integers(1, 9), min_size=2, max_size=2).map(sorted).map(tuple),
    "scale": FRACTIONS,
    "sigma": FRACTIONS,
    "minmax": st.none() | FRACTIONS,
}
#: Options that `rules` draws otherwise, and those of the tests of several partners and of saliency.
NOT_DRAWN = {"partners", "rules", "probs", "k", "saliency"}
