"""The axes of images: what is normalised by channel and cut along height and width, in every order of axes."""

import numpy as np
import pytest
import torch

from mixup_rs import CutMix, Mixup
from mixup_rs.torch import MixCollate

N = 6
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = [torch.uint8, torch.uint16, torch.float16, torch.float32, torch.float64]
#: The shapes of samples, and which of their axes are those of the channels, of height and width.
SHAPES = {
    "CHW": ((3, 8, 10), 0, (1, 2)),
    "HWC": ((8, 10, 3), 2, (0, 1)),
    "CTHW": ((3, 4, 8, 10), 0, (2, 3)),
    "THWC": ((5, 8, 10, 3), 3, (1, 2)),
}


def pixels(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype.is_floating_point:
        return torch.from_numpy(rng.random((N, *shape))).to(dtype)
    info = torch.iinfo(dtype)
    return torch.from_numpy(rng.integers(0, info.max, (N, *shape), endpoint=True).astype(str(dtype).split(".")[1]))


def collated(batch, rule, **options):
    return MixCollate(rule, rng=1, **options)([(x, i) for i, x in enumerate(batch)])[0]


def exact(batch, rule, size, channel, spatial, mean=MEAN, std=STD):
    """The mixed and normalised batch in float64, from the plan."""
    plan = rule.plan(N, size, rng=(1, 0, 0, 0))
    unit = 1 if batch.dtype.is_floating_point else torch.iinfo(batch.dtype).max
    x = batch.to(torch.float64).numpy()
    mixed = plan.apply(x, spatial_axes=None if plan.boxes is None else [axis + 1 for axis in spatial])
    terms = [-1 if axis == channel else 1 for axis in range(x.ndim - 1)]
    mean, std = (np.reshape(values, terms if np.ndim(values) else ()) for values in (mean, std))
    return (mixed / unit - mean) / std


def assert_rounded(got, exact):
    """Rounded once, from float32 arithmetic."""
    info = torch.finfo(got.dtype)
    ulp = np.maximum(2.0 ** np.floor(np.log2(np.abs(exact) + 1e-300)) * info.eps, info.smallest_normal * info.eps)
    least = 16 * 2.0**-24 if got.dtype == torch.float32 else 2.0**-20
    assert (np.abs(got.double().numpy() - exact) <= 0.501 * ulp + least).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("hwc", [False, True])
@pytest.mark.parametrize("rule", [Mixup(), CutMix(), CutMix(mode="elem")], ids=repr)
def test_normalised_to_one_rounding(dtype, hwc, rule):
    shape, channel, spatial = SHAPES["HWC" if hwc else "CHW"]
    batch = pixels(shape, torch.uint8)
    images = collated(batch, rule, normalize=(MEAN, STD), dtype=dtype)
    assert images.dtype == dtype
    want = exact(batch, rule, (8, 10), channel, spatial)
    info = torch.finfo(dtype)
    ulp = np.maximum(2.0 ** np.floor(np.log2(np.abs(want) + 1e-300)) * info.eps, info.smallest_normal * info.eps)
    assert (np.abs(images.double().numpy() - want) <= 0.501 * ulp).all()


@pytest.mark.parametrize("dtype", PIXELS, ids=str)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rule", [Mixup(), CutMix(mode="elem")], ids=repr)
def test_every_pixel_type_in_every_order_of_axes(rule, name, dtype):
    shape, channel, spatial = SHAPES[name]
    batch = pixels(shape, dtype)
    images = collated(batch, rule, normalize=(MEAN, STD))
    assert images.dtype == torch.float32
    assert_rounded(images, exact(batch, rule, (8, 10), channel, spatial))


@pytest.mark.parametrize("dtype", PIXELS, ids=str)
@pytest.mark.parametrize("rule", [Mixup(), CutMix(mode="elem")], ids=repr)
@pytest.mark.parametrize("terms", [(0.5, 0.25), ([0.5], [0.25])])
def test_images_without_channels(dtype, rule, terms):
    batch = pixels((8, 10), dtype)
    want = exact(batch, rule, (8, 10), None, (0, 1), 0.5, 0.25)
    assert_rounded(collated(batch, rule, normalize=terms), want)


def test_numpy_images_are_normalised_as_tensors_are():
    batch = pixels((3, 8, 10), torch.uint16)
    a, b = (collated(x, Mixup(), normalize=(MEAN, STD)) for x in (batch, batch.numpy()))
    assert torch.equal(a, b)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 12, 40, 224])
@pytest.mark.parametrize("channels_last", [True, False])
def test_any_number_of_channels_that_is_named(channels, channels_last):
    shape = (8, 10, channels) if channels_last else (channels, 8, 10)
    channel, spatial = (2, (0, 1)) if channels_last else (0, (1, 2))
    mean, std = np.linspace(0.1, 0.6, channels), np.linspace(0.2, 0.4, channels)
    for rule in (Mixup(), CutMix(mode="elem")):
        batch = pixels(shape, torch.uint8)
        got = collated(batch, rule, normalize=(mean, std), channels_last=channels_last)
        assert_rounded(got, exact(batch, rule, (8, 10), channel, spatial, mean, std))


@pytest.mark.parametrize("channels", [2, 5, 6, 12, 40])
@pytest.mark.parametrize("role", ["target", "input"])
def test_another_image_of_the_sample_tells_the_order(channels, role):
    """A mask of (8, 10) says which axes of (8, 10, channels) are its height and width."""
    batch, masks = pixels((8, 10, channels), torch.uint8), pixels((8, 10), torch.uint8)
    inputs = [0] if role == "target" else [0, 1]
    images, mask = MixCollate(CutMix(mode="elem"), rng=1, inputs=inputs)(list(zip(batch, masks, strict=True)))
    plan = CutMix(mode="elem").plan(N, (8, 10), rng=(1, 0, 0, 0))
    assert torch.equal(images, torch.from_numpy(plan.apply(batch.numpy(), spatial_axes=(1, 2))))
    assert torch.equal(mask, torch.from_numpy(plan.apply(masks.numpy())))


@pytest.mark.parametrize("channels", [2, 5, 12, 40])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("order", [(3, 8, 10), (8, 10, 3)])
def test_an_image_whose_shape_tells_helps_the_others(channels, is_first, order):
    known, other = pixels(order, torch.uint8), pixels((8, 10, channels), torch.uint8)
    pair = (known, other) if is_first else (other, known)
    samples = [(a, b, i) for i, (a, b) in enumerate(zip(*pair, strict=True))]
    got = MixCollate(CutMix(mode="elem"), rng=1, inputs=[0, 1])(samples)[1 if is_first else 0]
    plan = CutMix(mode="elem").plan(N, (8, 10), rng=(1, 0, 0, 0))
    assert torch.equal(got, torch.from_numpy(plan.apply(other.numpy(), spatial_axes=(1, 2))))


@pytest.mark.parametrize(
    ("shape", "spatial"),
    [((3, 8, 10), (1, 2)), ((8, 10, 3), (0, 1)), ((1, 28, 28), (1, 2)), ((28, 28, 1), (0, 1)), ((8, 10, 4), (0, 1)),
     ((6, 32, 48), (1, 2)), ((32, 48, 6), (0, 1)), ((3, 4, 8, 10), (2, 3)), ((5, 8, 10, 3), (1, 2))],
)  # fmt: skip
def test_shapes_that_tell(shape, spatial):
    batch = pixels(shape, torch.uint8)
    size = tuple(shape[axis] for axis in spatial)
    plan = CutMix(mode="elem").plan(N, size, rng=(1, 0, 0, 0))
    expected = plan.apply(batch.numpy(), spatial_axes=[axis + 1 for axis in spatial])
    assert torch.equal(collated(batch, CutMix(mode="elem")), torch.from_numpy(expected))


@pytest.mark.parametrize(
    "shape", [(12, 12, 12), (8, 10, 12), (3, 8, 3), (4, 8, 3), (16, 8, 10), (8, 9, 5), (4, 8, 10, 3)]
)
@pytest.mark.parametrize("options", [{"rule": CutMix()}, {"rule": Mixup(), "normalize": (None, None)}], ids=str)
def test_shapes_that_do_not_tell_are_an_error(shape, options):
    """What either order could be is never guessed."""
    options = dict(options)
    if "normalize" in options:
        options["normalize"] = ([0.5] * shape[0], [0.5] * shape[0])
    with pytest.raises(ValueError, match="channels_last="):
        collated(pixels(shape, torch.uint8), **options)


def test_mixup_without_normalize_needs_no_order():
    batch = pixels((12, 12, 12), torch.uint8)
    plan = Mixup().plan(N, rng=(1, 0, 0, 0))
    assert torch.equal(collated(batch, Mixup()), torch.from_numpy(plan.apply(batch.numpy())))


@pytest.mark.parametrize(
    "value",
    [torch.arange(3), torch.zeros(3), torch.zeros(3, 4, 4, dtype=torch.int8), "text"],
    ids=lambda v: str(v)[:12],
)
def test_normalize_that_applies_to_nothing_is_an_error(value):
    inputs = [(value, torch.zeros(2), i) for i in range(3)]
    with pytest.raises(ValueError, match="normalize applies to no entry"):
        MixCollate(Mixup(), inputs=[0, 1], normalize=(0.5, 0.5))(inputs)


def test_normalize_leaves_targets_and_other_entries():
    image = pixels((3, 8, 10), torch.float32)
    samples = [{"image": x, "label": float(i), "depth": x[0]} for i, x in enumerate(image)]
    batch = MixCollate(Mixup(), rng=1, normalize=(MEAN, STD))(samples)
    plan = Mixup().plan(N, rng=(1, 0, 0, 0))
    assert torch.equal(batch["label"], torch.from_numpy(plan.apply(np.arange(float(N)))))
    assert torch.equal(batch["depth"], image[:, 0])
