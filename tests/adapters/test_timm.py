"""timm's classes and ours side by side: draws, the generator afterwards, targets, images, attributes and errors."""

import copy
import doctest
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from device import Operations
from timm.data import create_loader
from timm.data import mixup as original
from torch.utils.data import DataLoader, Dataset, default_collate

import mixup_rs.timm
from mixup_rs.timm import FastCollateMixup, Mixup

K = 7
KINDS = {
    "mixup": {"mixup_alpha": 1.0},
    "cutmix": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0},
    "both": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0},
    "minmax": {"mixup_alpha": 0.0, "cutmix_minmax": (0.2, 0.8)},
    "both, minmax": {"mixup_alpha": 0.2, "cutmix_minmax": (0.1, 0.9)},
    # A lam of 1 is drawn at times: then timm's classes draw a box or not.
    "tiny alpha": {"mixup_alpha": 1e-3, "cutmix_alpha": 1e-3},
}
VARIATIONS = {
    "default": {},
    "prob": {"prob": 0.5},
    "never": {"prob": 0.0},
    "rarely cut": {"switch_prob": 0.2},
    "mostly cut": {"switch_prob": 0.9},
    "lam as drawn": {"correct_lam": False},
    "no smoothing": {"label_smoothing": 0.0},
    "several labels": {"multi_label": True, "label_smoothing": 0.2},
    "disabled": {"enabled": False},
    "two samples": {"n": 2},
    "no samples": {"n": 0},
}
TOLERANCE = {torch.float64: 2e-7, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def every_second(x):
    return torch.stack([x, x], -1)[..., 0]


def transposed(x):
    return x.transpose(2, 3).contiguous().transpose(2, 3)


LAYOUTS = [torch.clone, channels_last, every_second, transposed]


def labels_of(n, multi_label=False):
    generator = torch.Generator().manual_seed(n)
    if multi_label:
        return torch.randint(0, 2, (n, K), generator=generator).float()
    return torch.randint(0, K, (n,), generator=generator)


def images_of(n, dtype=torch.float32, shape=(3, 12, 17)):
    images = torch.rand(n, *shape, generator=torch.Generator().manual_seed(5))
    return (images * 255).to(dtype) if dtype == torch.uint8 else images.to(dtype)


def samples_of(n, multi_label=False, kind="array"):
    as_kind = {"array": torch.Tensor.numpy, "tensor": torch.clone, "view": view_of_hwc, "read-only": read_only}[kind]
    labels = labels_of(n, multi_label)
    labels = list(labels) if multi_label else labels.tolist()
    return [(as_kind(image), label) for image, label in zip(images_of(n, torch.uint8), labels, strict=True)]


def view_of_hwc(image):
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0)).transpose(2, 0, 1)


def read_only(image):
    array = image.numpy().copy()
    array.setflags(write=False)
    return array


def made(cls, mode, kind, enabled=True, n=None, **options):
    mix = cls(**KINDS[kind], mode=mode, num_classes=K, **options)
    mix.mixup_enabled = enabled
    return mix


def drawn_from(seed, call):
    """The result of a call, and the state of NumPy's global generator afterwards."""
    np.random.seed(seed)  # noqa: NPY002
    result = call()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return result, (name, keys.tolist(), *rest)


def both(seed, of_theirs, of_ours):
    """Both results; the generator has gone as far."""
    theirs, their_state = drawn_from(seed, of_theirs)
    ours, our_state = drawn_from(seed, of_ours)
    assert our_state == their_state
    return theirs, ours


def assert_equal_targets(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)


def check_mixup(options, x, target, seed, layout=torch.clone):
    theirs, ours, mine = made(original.Mixup, **options), made(Mixup, **options), layout(x)
    (their_x, their_target), (our_x, our_target) = both(
        seed, lambda: theirs(layout(x), target.clone()), lambda: ours(mine, target)
    )
    assert our_x is mine
    assert_equal_targets(our_target, their_target)
    difference = (our_x.double() - their_x.double()).abs()
    assert difference.numel() == 0 or difference.max() <= TOLERANCE[x.dtype]
    return our_x


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["batch", "elem", "pair", "half"])
def test_mixup_is_timms(mode, kind, variation):
    options = {"mode": mode, "kind": kind, **VARIATIONS[variation]}
    n = options.get("n", 8)
    for seed in range(4):
        check_mixup(options, images_of(n), labels_of(n, "several" in variation), seed)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", ["mixup", "cutmix", "both"])
@pytest.mark.parametrize("mode", ["batch", "elem", "pair"])
def test_every_float_and_layout(mode, kind, dtype, layout):
    mixed = check_mixup({"mode": mode, "kind": kind}, images_of(8, dtype), labels_of(8), 2, layout)
    assert not torch.equal(mixed, images_of(8, dtype))


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["batch", "elem", "pair", "half"])
def test_the_collate_is_timms(mode, kind, variation):
    options = {"mode": mode, "kind": kind, **VARIATIONS[variation]}
    n = options.get("n", 8)
    if n == 0:
        with pytest.raises(IndexError):
            made(FastCollateMixup, **options)([])
        return
    for seed in range(4):
        check_collate(options, n, seed)


def check_collate(options, n, seed, kind="array"):
    of = partial(samples_of, n, options.get("multi_label", False))
    theirs, ours, samples = made(original.FastCollateMixup, **options), made(FastCollateMixup, **options), of(kind)
    before = [torch.tensor(image) if isinstance(image, np.ndarray) else image.clone() for image, _ in samples]
    # timm's collate writes to its samples.
    (their_x, their_target), (our_x, our_target) = both(seed, lambda: theirs(of("array")), lambda: ours(samples))
    assert our_x.dtype == torch.uint8
    assert our_x.shape == their_x.shape
    assert_equal_targets(our_target, their_target)
    assert (our_x.int() - their_x.int()).abs().max() <= 1
    for image, (after, _) in zip(before, samples, strict=True):
        assert np.array_equal(after, image)


@pytest.mark.parametrize("samples", ["tensor", "view", "read-only"])
@pytest.mark.parametrize("kind", ["mixup", "cutmix", "both"])
@pytest.mark.parametrize("mode", ["batch", "elem", "pair", "half"])
def test_samples_of_every_kind(mode, kind, samples):
    check_collate({"mode": mode, "kind": kind}, 8, seed=2, kind=samples)


class Drawn:
    """Gives both classes the same draws, and the exact values they stand for, of an odd batch too."""

    LAM = (0.25, 1.0, 0.5, 0.75, 0.125, 0.625, 0.3125, 0.875)
    CUT = (True, True, False, False, True, False, True, True)
    BOX = (2, 9, 3, 11)

    def __init__(self, monkeypatch, mix):
        lam, cut = np.array(self.LAM, np.float32), np.array(self.CUT)
        monkeypatch.setattr(mix, "_params_per_elem", lambda n: (lam[:n].copy(), cut[:n]))
        monkeypatch.setattr(original, "cutmix_bbox_and_lam", lambda *args, **kwargs: (self.BOX, 0.375))

    def mixed(self, images, targets, numbers):
        """With `numbers[i]` the draw that sample i has, None for none."""
        n = len(images)
        x, y = images.double().clone(), targets.double().clone()
        top, bottom, left, right = self.BOX
        for i, number in enumerate(numbers):
            lam = 1.0 if number is None else self.LAM[number]
            partner = images[n - 1 - i].double()
            if lam != 1 and self.CUT[number]:
                x[i, :, top:bottom, left:right] = partner[:, top:bottom, left:right]
                lam = 0.375
            else:
                x[i] = lam * images[i].double() + (1 - lam) * partner
            y[i] = lam * targets[i] + (1 - lam) * targets[n - 1 - i]
        return x, y


@pytest.mark.parametrize("n", [1, 3, 7, 8])
@pytest.mark.parametrize(
    ("mode", "collates"), [("elem", False), ("pair", False), ("elem", True), ("pair", True), ("half", True)]
)
def test_draws_are_asked_for_where_timm_asks_for_them_and_odd_batches_are_mixed(monkeypatch, mode, collates, n):
    mix = made(FastCollateMixup if collates else Mixup, mode, "both", label_smoothing=0.0)
    draws = Drawn(monkeypatch, mix)
    images, labels = images_of(n, torch.uint8), labels_of(n)
    kept = (n + 1) // 2 if mode == "half" else n
    numbers = {
        "elem": range(n),
        "pair": [i if i < n // 2 else n - 1 - i if i >= (n + 1) // 2 else None for i in range(n)],
        "half": range(kept),
    }[mode]
    x, y = draws.mixed(images, torch.nn.functional.one_hot(labels, K), numbers)
    if collates:
        mixed, target = mix(list(zip(images, labels.tolist(), strict=True)))
        assert (mixed.double() - x[:kept]).abs().max() <= 0.51
    else:
        mixed, target = mix(images.float(), labels)
        torch.testing.assert_close(mixed.double(), x, atol=1e-4, rtol=0)
    torch.testing.assert_close(target.double(), y[:kept].double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("cls", [Mixup, FastCollateMixup])
def test_the_draws_of_an_odd_batch(monkeypatch, cls, cut):
    mix = cls(num_classes=K, label_smoothing=0.0)
    monkeypatch.setattr(mix, "_params_per_batch", lambda: (0.25, cut))
    monkeypatch.setattr(original, "cutmix_bbox_and_lam", lambda *args, **kwargs: ((0, 12, 0, 17), 0.75))
    images, labels = images_of(5, torch.uint8), labels_of(5)
    call = (
        partial(mix, list(zip(images, labels.tolist(), strict=True)))
        if cls is FastCollateMixup
        else partial(mix, images.clone(), labels)
    )
    mixed, target = call()
    expected = images.flip(0) if cut else (0.25 * images.double() + 0.75 * images.flip(0).double())
    assert (mixed.double() - expected.double()).abs().max() <= 0.51
    own = torch.nn.functional.one_hot(labels, K).double()
    lam = 0.75 if cut else 0.25
    torch.testing.assert_close(target.double(), lam * own + (1 - lam) * own.flip(0))


@pytest.mark.parametrize("mode", ["batch", "elem", "pair"])
@pytest.mark.parametrize("kind", ["mixup", "both"])
def test_bytes(mode, kind):
    """timm's refuses them, or mixes them and takes a weight of 0 for their labels."""
    x, labels = images_of(8, torch.uint8), labels_of(8)
    (their_x, their_target), (our_x, our_target) = both(
        3,
        lambda: made(original.Mixup, mode, kind)(x.float(), labels),
        lambda: made(Mixup, mode, kind)(x.clone(), labels),
    )
    assert our_x.dtype == torch.uint8
    assert (our_x.float() - their_x).abs().max() <= 0.51
    assert_equal_targets(our_target, their_target)


def test_any_dtype_is_cut():
    x = torch.arange(4 * 3 * 6 * 6).reshape(4, 3, 6, 6)
    (theirs, _), (ours, _) = both(
        0,
        lambda: made(original.Mixup, "elem", "cutmix")(x.clone(), labels_of(4)),
        lambda: made(Mixup, "elem", "cutmix")(x.clone(), labels_of(4)),
    )
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, x)


@pytest.mark.parametrize("mode", ["batch", "elem", "pair"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_on_a_device_is_mixed_there(mode, kind):
    x, labels = torch.empty(8, 3, 12, 17, device="meta"), torch.empty(8, dtype=torch.int64, device="meta")
    with Operations():
        mixed, target = made(Mixup, mode, kind)(x, labels)
    assert mixed is x
    assert target.device.type == "meta"


@pytest.mark.parametrize("cls", [Mixup, FastCollateMixup])
def test_class_and_attributes(cls):
    theirs, ours = (
        of(0.3, 0.7, (0.1, 0.4), 0.9, 0.4, "pair", False, 0.2, 11, True)
        for of in (getattr(original, cls.__name__), cls)
    )
    assert isinstance(ours, getattr(original, cls.__name__))
    assert isinstance(ours, Mixup)
    assert {name: getattr(ours, name) for name in vars(theirs)} == vars(theirs)


@pytest.mark.parametrize("cls", [Mixup, FastCollateMixup])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda mix: pickle.loads(pickle.dumps(mix))])
def test_a_copy_is_on_its_own(cls, copied):
    mix = cls(num_classes=K)
    mix.note = note = []
    other = copied(mix)
    assert type(other) is cls
    assert other.mixup_enabled is True
    other.mixup_enabled = False
    assert mix.mixup_enabled
    assert other.mixup_enabled is False
    assert (other.note is note) == (copied is copy.copy)


def test_errors_are_timms():
    for cls in (original.Mixup, Mixup):
        with pytest.raises(AssertionError, match=r"One of mixup_alpha > 0\., cutmix_alpha > 0\., cutmix_minmax"):
            cls(0.0, num_classes=K)(images_of(4), labels_of(4))
        x = images_of(4)
        with pytest.raises(ValueError, match="Multi-label mixup expects dense targets"):
            cls(num_classes=K, multi_label=True)(x, labels_of(4))
        with pytest.raises(AssertionError):
            cls(cutmix_minmax=(0.2,))
    assert torch.equal(x, images_of(4)), "nothing is written before an error"


@pytest.mark.parametrize(
    ("x", "target", "error", "text"),
    [
        (images_of(4).numpy(), labels_of(4), TypeError, "expected images as a tensor, got ndarray"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.int64), labels_of(4), TypeError, "torch.int64"),
        (images_of(4), labels_of(3), ValueError, "a target for each of 4 images, got 3"),
        (images_of(4).requires_grad_(), labels_of(4), ValueError, "gradient cannot be mixed in place"),
    ],
)
def test_errors(x, target, error, text):
    with pytest.raises(error, match=text):
        Mixup(num_classes=K)(x, target)


@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        (np.zeros((3, 8, 8), np.float32), TypeError, "uint8, got float32"),
        (torch.zeros(3, 8, 8), TypeError, r"uint8, got torch\.float32"),
        ([[1]], TypeError, "an array or a tensor in each sample, got list"),
    ],
)
def test_the_collate_takes_bytes_only(image, error, text):
    """timm's makes bytes of everything: images of floats from 0 to 1 become black."""
    with pytest.raises(error, match=text):
        FastCollateMixup(num_classes=K)([(image, 0)] * 2)


class Images(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, i):
        return np.full((3, 8, 8), 16 * i, np.uint8), i % K


class Stacked:
    """`Mixup` in a collate."""

    def __init__(self):
        self.mix = Mixup(num_classes=K, mode="elem", label_smoothing=0.0)

    def __call__(self, samples):
        images, labels = default_collate(samples)
        return self.mix(images.float(), labels)


def is_mixed(loader):
    return any(target.max(1).values.min() < 1 for _, target in loader)


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("collate", [Stacked(), FastCollateMixup(num_classes=K, mode="elem", label_smoothing=0.0)])
def test_enabling_reaches_workers_that_live_on(context, collate):
    loader = DataLoader(
        Images(), 8, collate_fn=collate, num_workers=1, persistent_workers=True, multiprocessing_context=context
    )
    mix = getattr(collate, "mix", collate)
    for enabled in (True, False, True):
        mix.mixup_enabled = enabled
        assert is_mixed(loader) == enabled


def test_the_prefetcher_turns_it_off():
    """As `--mixup-off-epoch` does, with the persistent workers that `create_loader` starts by default."""
    loader = create_loader(
        Images(), (3, 8, 8), 8, is_training=True, no_aug=True, num_workers=1, device=torch.device("cpu"),
        collate_fn=FastCollateMixup(num_classes=K, mode="elem", label_smoothing=0.0),
    )  # fmt: skip
    assert type(loader).__name__ == "PrefetchLoader"
    assert loader.mixup_enabled is True
    assert is_mixed(loader)
    loader.mixup_enabled = False
    assert not is_mixed(loader)


def test_a_missing_library_names_its_extra(run_python):
    lines = ["import mixup_rs.timm", "import mixup_rs; mixup_rs.timm", "from mixup_rs.timm import Mixup"]
    code = f"""
import sys
sys.modules["timm"] = None
for line in {lines}:
    try:
        exec(line)
    except ModuleNotFoundError as error:
        print(error)
"""
    assert run_python(code).splitlines() == ["mixup_rs.timm needs timm: pip install 'mixup-rs[timm]'"] * 3


def test_the_examples_run():
    failed, tried = doctest.testmod(mixup_rs.timm)
    assert (failed, tried > 0) == (0, True)
