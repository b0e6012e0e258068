"""What the rows of the feature table say, each a function that asks a peer and looks at what came back.

A probe returns whether it holds, and what was seen where it does not. `No` is a ✗ as well, with its reason; any other
exception means that the probe itself failed, which is no answer.

Sample i of the batches is 1 in channel i and 0 elsewhere, so that a mixed pixel is the weights of the samples in it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from importlib.metadata import distribution
from typing import Any, NamedTuple

import numpy as np
import torch
from peer import Mixed, No, Peer, batches

N, SIDE = 8, 16
Answer = tuple[bool, str]


class Feature(NamedTuple):
    key: str
    title: str
    probe: Callable[[Peer], Answer]


FEATURES: list[Feature] = []


def feature(title: str) -> Callable[[Callable[[Peer], Answer]], Callable[[Peer], Answer]]:
    def named(probe: Callable[[Peer], Answer]) -> Callable[[Peer], Answer]:
        FEATURES.append(Feature(probe.__name__, title, probe))
        return probe

    return named


def batch(*shape: int, n: int = N, dtype: Any = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose mixed pixels are weights, and the class i for sample i."""
    x = torch.zeros(n, n, *shape, dtype=dtype)
    x[range(n), range(n)] = 1
    return x, torch.arange(n)


def images(n: int = N, dtype: Any = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return batch(SIDE, SIDE, n=n, dtype=dtype)


def weights(x: Any) -> torch.Tensor:
    """(n, n): what share of each mixed image each sample has."""
    x = torch.as_tensor(x).double()
    return x.flatten(2).mean(2) if x.ndim > 2 else x


def agrees(mixed: Mixed) -> bool:
    """Whether the labels weigh what the images show."""
    return bool(torch.allclose(torch.as_tensor(mixed.weights).double(), weights(mixed.x), atol=2e-3))


def is_mixed(mixed: Mixed) -> bool:
    own = weights(mixed.x).diagonal()
    return bool(((own > 0.01) & (own < 0.99)).any())


def until(draw: Callable[[], Mixed], good: Callable[[Mixed], bool], tries: int = 60) -> Mixed:
    """What is drawn, until it shows what the probe looks at."""
    for _ in range(tries):
        if good(mixed := draw()):
            return mixed
    raise AssertionError(f"{tries} draws, none of which can be judged")


def control(peer: Peer) -> None:
    """A plain batch of float32 is mixed: what fails later is not how the peer is called."""
    x, y = images()
    assert is_mixed(until(lambda: peer.mixup(x.clone(), y, N), is_mixed))
    assert is_mixed(until(lambda: peer.cutmix(x.clone(), y, N), is_mixed))


@feature("geometric augmentation in the same package")
def geometric(peer: Peer) -> Answer:
    x = torch.rand(2, 3, SIDE, SIDE)
    return peer.turned(x) is not None, ""


@feature("Mosaic, four images put together")
def mosaic(peer: Peer) -> Answer:
    return peer.mosaic(torch.rand(4, 3, SIDE, SIDE)) is not None, ""


@feature("pure Python, nothing to compile")
def pure(peer: Peer) -> Answer:
    text = distribution(peer.package).read_text("WHEEL") or ""
    return "root-is-purelib: true" in text.lower(), "has compiled parts"


@feature("mixup in one graph with the model, torch.compile(fullgraph=True)")
def compiled(peer: Peer) -> Answer:
    x, y = images()
    torch._dynamo.reset()
    mix = torch.compile(peer.traced(N), backend="eager", fullgraph=True)
    try:
        mixed = [mix(x.clone(), y) for _ in range(5)]
    except Exception as error:
        return False, f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
    return any(is_mixed(Mixed(one, None)) for one in mixed), "nothing is mixed"


@feature("mixes in the loader's workers, alike for any number of them")
def workers(peer: Peer) -> Answer:
    x = torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8)
    if peer.name not in ("mixup-rs", "timm"):
        x = x.float()
    data = [(image.numpy() if peer.name == "timm" else image, i % 5) for i, image in enumerate(x)]
    none, one, two = (torch.stack(batches(peer, data, 5, count)) for count in (0, 1, 2))
    return bool(torch.equal(none, one) and torch.equal(none, two)), "other mixes with another number of workers"


@feature("a λ for each sample")
def lam_per_sample(peer: Peer) -> Answer:
    x, y = images()
    own = weights(peer.mixup(x, y, N).x).diagonal()
    return len({round(float(value), 3) for value in own}) > 2, "one λ for the batch"


@feature("λ ~ Beta(α, α)")  # noqa: RUF001
def beta(peer: Peer) -> Answer:
    from scipy.stats import beta as distribution_of
    from scipy.stats import kstest

    lams: list[float] = []
    x, y = batch(1, 1)
    for _ in range(300):
        w = weights(peer.mixup(x.clone(), y, N, alpha=0.3).x)
        # Of samples that are not their own partners; the first will do where there is one λ.
        other = [i for i in range(N) if (w[i] > 0).sum() > 1 or 0.5 < w[i, i] < 1]
        lams += [float(max(w[i, i], 1 - w[i, i])) for i in other[:1]]
    folded = kstest(lams, lambda v: 2 * distribution_of(0.3, 0.3).cdf(v) - 1)
    return folded.pvalue > 1e-4, "λ is uniform, whatever α"  # noqa: RUF001


@feature("mixup and CutMix in one batch")
def both(peer: Peer) -> Answer:
    x, y = images()
    for _ in range(12):
        own = torch.as_tensor(peer.either(x.clone(), y, N).x).diagonal().movedim(-1, 0).flatten(1)
        is_even = (own.max(1).values - own.min(1).values < 1e-4) & (own[:, 0] > 0.01) & (own[:, 0] < 0.99)
        is_cut = (own.max(1).values > 0.99) & (own.min(1).values < 0.01)
        if is_even.any() and is_cut.any():
            return True, ""
    return False, "one of them for the batch"


@feature("rules beyond: FMix, GridMix, SmoothMix, ...")
def rules(peer: Peer) -> Answer:
    names = {name for module in peer.modules for name in dir(importlib.import_module(module))}
    found = {name for name in names if re.search("fmix|gridmix|smoothmix|resizemix|puzzlemix|saliency", name, re.I)}
    return bool(found), "mixup and CutMix"


@feature("soft targets of class indices")
def soft(peer: Peer) -> Answer:
    x, y = images()
    for mix in (peer.mixup, peer.cutmix):
        mixed = until(lambda mix=mix: mix(x.clone(), y, N), is_mixed)
        if mixed.is_pair:
            return False, "gives pairs, or mixes losses"
        if not agrees(mixed):
            return False, "labels do not weigh what the images show"
    return True, ""


@feature("pairs of class indices, for losses that take no soft targets")
def pairs(peer: Peer) -> Answer:
    x, y = images()
    for mix in [peer.pairs] if hasattr(peer, "pairs") else [peer.mixup, peer.cutmix]:
        mixed = until(lambda mix=mix: mix(x.clone(), y, N), is_mixed)
        if not mixed.is_pair:
            return False, "gives soft targets alone"
        if not agrees(mixed):
            return False, "by default labels do not weigh what the images show"
    return True, ""


@feature("integer multi-hot labels")
def many_labels(peer: Peer) -> Answer:
    x, y = images()
    labels = torch.nn.functional.one_hot(y, N) | torch.nn.functional.one_hot((y + 3) % N, N)
    mixed = until(lambda: peer.mixup_many(x.clone(), labels, N), is_mixed)
    expected = weights(mixed.x) @ labels.double()
    got = torch.as_tensor(mixed.weights).double()
    right = got.shape == expected.shape and bool(torch.allclose(got, expected, atol=2e-3))
    return right, "labels that do not weigh what the images show"


@feature("integer masks, cut with the image")
def masks(peer: Peer) -> Answer:
    x, y = images()
    for _ in range(20):
        mixed, cut = peer.cut_masks(x.clone(), y[:, None, None].expand(N, SIDE, SIDE).clone())
        source = torch.as_tensor(mixed).argmax(1)
        if bool((source != y[:, None, None]).any()):
            right = tuple(cut.shape) == tuple(source.shape) and bool((torch.as_tensor(cut) == source).all())
            return right, "masks are left as they are"
    raise AssertionError("nothing was cut in 20 draws")


@feature("boxes of mixed images")
def boxes(peer: Peer) -> Answer:
    x, _ = images()
    given = torch.arange(N).float().reshape(N, 1, 1) + torch.tensor([0.0, 0.0, 4.0, 4.0])
    return max(map(len, peer.boxes(x, given))) > 1, "the partner's are missing"


@feature("one draw, applied to several arrays")
def several(peer: Peer) -> Answer:
    x, _ = images()
    for _ in range(20):
        first, second = peer.twice(x.clone(), 2 * x)
        if is_mixed(Mixed(first, None)):
            return bool(
                torch.allclose(torch.as_tensor(second), 2 * torch.as_tensor(first), atol=1e-5)
            ), "the second is not mixed"
    raise AssertionError("nothing was mixed in 20 draws")


@feature("NumPy arrays, in and out")
def arrays(peer: Peer) -> Answer:
    x, y = images()
    mixed = peer.mixup(x.numpy(), y.numpy(), N)
    return isinstance(mixed.x, np.ndarray), "gives tensors"


@feature("embeddings and tabular rows, (n, d)")
def rows(peer: Peer) -> Answer:
    x, y = batch()
    return agrees(until(lambda: peer.mixup(x.clone(), y, N), is_mixed)), "labels do not weigh what the rows show"


@feature("CutMix of series and volumes")
def series(peer: Peer) -> Answer:
    for shape in ((24,), (6, 8, 10)):
        x, y = batch(*shape)
        mixed = until(lambda x=x, y=y: peer.cutmix(x.clone(), y, N), is_mixed)
        if not agrees(mixed):
            return False, "labels do not weigh what the samples show"
    return True, ""


@feature("uint8, rounded to nearest")
def bytes_(peer: Peer) -> Answer:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    x = torch.zeros(N, 1, 16, 16, dtype=torch.uint8)
    x[0, 0] = ramp
    values = np.arange(1.0, 256)
    for _ in range(60):
        mixed = np.asarray(peer.mixup_bytes(x.clone(), torch.arange(N), N).x).reshape(N, 256)[:, 1:]
        shown = [row for row in mixed.astype(float) if 20 < row[-1] < 235]
        if shown:
            if str(mixed.dtype) != "uint8":
                return False, f"gives {mixed.dtype}"
            low = [((row - 0.51) / values).max() for row in shown]
            high = [((row + 0.51) / values).min() for row in shown]
            return bool((np.array(low) <= high).all()), "not the nearest of any λ"
    return False, "bytes are not mixed"


@feature("float16, bfloat16 and float64")
def dtypes(peer: Peer) -> Answer:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        x, y = images(dtype=dtype)
        mixed = until(lambda x=x, y=y: peer.mixup(x.clone(), y, N), is_mixed)
        if mixed.x.dtype != dtype:
            return False, f"{dtype} becomes {mixed.x.dtype}"
    return True, ""


@feature("in place, without a second batch")
def in_place(peer: Peer) -> Answer:
    x, y = images()
    given = x.clone()
    mixed = until(lambda: peer.mixup_in_place(given.copy_(x), y, N), is_mixed)
    return mixed.x.data_ptr() == given.data_ptr() and not torch.equal(given, x), "gives a new batch"


@feature("a NaN does not leak at λ = 1")
def nan(peer: Peer) -> Answer:
    x, y = images()
    x = torch.cat([x, torch.zeros(N, 1, SIDE, SIDE)], 1)
    x[1, N] = float("nan")

    seen = 0
    for _ in range(200):
        mixed = peer.unmixed(x.clone(), y, N)
        left = (torch.as_tensor(mixed.weights).diagonal() == 1) & (y != 1)
        seen += int(left.sum())
        if bool(torch.as_tensor(mixed.x)[left].isnan().any()):
            return False, "the partner's makes it NaN"
    assert seen > 200, "too few draws of λ = 1"
    return True, ""


@feature("odd batches, and a batch of one")
def odd(peer: Peer) -> Answer:
    for n in (7, 1):
        x, y = images(n=n)
        peer.mixup(x, y, n)
        peer.cutmix(x, y, n)
    return True, ""


@feature("tensors on an accelerator stay there")
def device(peer: Peer) -> Answer:
    kind = (
        getattr(torch.accelerator.current_accelerator(), "type", None) if torch.accelerator.is_available() else "meta"
    )
    x, y = (tensor.to(kind) for tensor in images())
    try:
        return peer.mixup_there(x, y, N).device.type == kind, "comes back on another device"
    except No as error:
        if kind == "meta":
            raise AssertionError(f"no accelerator is here, and on the device meta: {error}") from error
        raise


__all__ = ["FEATURES", "Feature", "No", "control"]
