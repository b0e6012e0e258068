"""torchvision's classes and ours side by side: draws, the generator afterwards, results, types and errors."""

import copy
import doctest
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from device import Operations
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.data import DataLoader, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2
from tv import K, images_of, labels_of, masks_of

import mixup_rs.torchvision
from mixup_rs.torch import PairedTarget
from mixup_rs.torchvision import CutMix, MixUp

PEERS = {MixUp: v2.MixUp, CutMix: v2.CutMix}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
each_class = pytest.mark.parametrize("cls", PEERS)


def soft_labels_of(n=4):
    return torch.softmax(torch.randn(n, K, generator=torch.Generator().manual_seed(7)), 1)


def drawn_from(seed, call):
    torch.manual_seed(seed)
    result = call()
    return result, torch.get_rng_state()


def both(seed, of_theirs, of_ours):
    """Both results; the generator has gone as far."""
    theirs, their_state = drawn_from(seed, of_theirs)
    ours, our_state = drawn_from(seed, of_ours)
    assert torch.equal(our_state, their_state)
    return theirs, ours


def assert_close(theirs, ours, like_torchvision=TOLERANCE):
    """The same nest: targets to the bit, images to rounding, the rest the very objects."""
    (theirs, their_spec), (ours, our_spec) = tree_flatten(theirs), tree_flatten(ours)
    assert our_spec == their_spec
    for their, our in zip(theirs, ours, strict=True):
        assert type(our) is type(their)
        if not isinstance(our, torch.Tensor):
            assert our is their
            continue
        assert (our.dtype, our.shape) == (their.dtype, their.shape)
        if our.ndim < 3:
            assert torch.equal(our, their)
        elif our.dtype in like_torchvision:
            assert our.numel() == 0 or (our.double() - their.double()).abs().max() <= like_torchvision[our.dtype]
        else:
            assert torch.equal(our, their)


def check(cls, batch, seed=0, **options):
    """`batch` makes the arguments of a call."""
    theirs, ours, given = PEERS[cls](**options), cls(**options), batch()
    kept = tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, given)
    expected, mixed = both(seed, lambda: theirs(*batch()), lambda: ours(*given))
    assert_close(expected, mixed)
    for before, after in zip(tree_flatten(kept)[0], tree_flatten(given)[0], strict=True):
        assert torch.equal(before, after) if isinstance(before, torch.Tensor) else before is after, "written to"
    return mixed


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def every_second(x):
    return torch.stack([x, x], -1)[..., 0]


THING = object()
NESTS = {
    "two arguments": lambda: (images_of(), labels_of()),
    "a tuple": lambda: ((images_of(), labels_of()),),
    "a list": lambda: ([images_of(), labels_of()],),
    "a dict": lambda: ({"img": images_of(), "label": labels_of(), "thing": THING},),
    "labels in a dict": lambda: ((images_of(), {"Labels": labels_of(), "x": None}),),
    "an image": lambda: (tv_tensors.Image(images_of()), labels_of()),
    "a video": lambda: (tv_tensors.Video(images_of(shape=(2, 3, 9, 14))), labels_of()),
    "several images": lambda: (
        {"b": tv_tensors.Image(images_of()), "a": tv_tensors.Image(images_of(4, torch.float64)), "labels": labels_of()},
    ),
    "others pass": lambda: (
        {"i": tv_tensors.Image(images_of()), "t": torch.ones(2), "labels": labels_of(), "s": "text", "n": 3},
    ),
    "soft labels": lambda: (images_of(), soft_labels_of()),
    "bytes as labels": lambda: (
        images_of(),
        labels_of().to(torch.int64).unsqueeze(1).eq(torch.arange(K)).to(torch.uint8),
    ),
    "one sample": lambda: (images_of(1), labels_of(1)),
    "odd": lambda: (images_of(5), labels_of(5)),
}


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
@pytest.mark.parametrize("nest", NESTS)
@each_class
def test_every_nest(cls, nest, alpha):
    for seed in range(4):
        check(cls, NESTS[nest], seed, alpha=alpha, num_classes=K)


@pytest.mark.parametrize("layout", [torch.clone, channels_last, every_second])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@each_class
def test_every_float_and_layout(cls, dtype, layout):
    mixed, _ = check(cls, lambda: (layout(images_of(4, dtype)), labels_of()), seed=3, num_classes=K)
    assert not torch.equal(mixed, images_of(4, dtype))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool], ids=str)
def test_any_dtype_is_cut(dtype):
    check(CutMix, lambda: (images_of(4, dtype), labels_of()), seed=3, num_classes=K)


def test_bytes_are_blended():
    """torchvision's MixUp raises."""
    (theirs, their_labels), (ours, our_labels) = both(
        2,
        lambda: v2.MixUp(num_classes=K)(images_of(4, torch.uint8).double(), labels_of()),
        lambda: MixUp(num_classes=K)(images_of(4, torch.uint8), labels_of()),
    )
    assert ours.dtype == torch.uint8
    assert (ours.double() - theirs).abs().max() <= 0.51
    assert torch.equal(our_labels, their_labels)


@pytest.mark.parametrize("alpha", [1, 2, np.float32(0.5)])
@each_class
def test_any_number_is_an_alpha(cls, alpha):
    """torchvision's raises for an int."""
    expected, mixed = both(
        1,
        lambda: PEERS[cls](alpha=float(alpha), num_classes=K)(images_of(), labels_of()),
        lambda: cls(alpha=alpha, num_classes=K)(images_of(), labels_of()),
    )
    assert_close(expected, mixed)


def test_nan_of_a_partner_does_not_leak(monkeypatch):
    mix, x = MixUp(num_classes=K), images_of()
    monkeypatch.setattr(mix, "make_params", lambda flat_inputs: {"lam": 1.0})
    x[0] = torch.nan
    mixed, _ = mix(x, labels_of())
    assert torch.equal(mixed[1:], x[1:])


def test_given_params_are_used():
    """A subclass overrides `make_params`, as torchvision asks."""

    class Half(MixUp):
        def make_params(self, flat_inputs):
            return {"lam": 0.5}

    class Corner(CutMix):
        def make_params(self, flat_inputs):
            return {"box": (0, 1, 5, 3), "lam_adjusted": 0.25}

    x = images_of()
    mixed, target = Half(num_classes=K)(x, labels_of())
    torch.testing.assert_close(mixed, (x + x.roll(1, 0)) / 2)
    one_hot = torch.nn.functional.one_hot(labels_of(), K).float()
    torch.testing.assert_close(target, (one_hot + one_hot.roll(1, 0)) / 2)
    mixed, target = Corner(num_classes=K)(x, labels_of())
    x[..., 1:3, 0:5] = x.roll(1, 0)[..., 1:3, 0:5]
    assert torch.equal(mixed, x)
    torch.testing.assert_close(target, 0.25 * one_hot + 0.75 * one_hot.roll(1, 0))


BAD = {
    "PIL": lambda: ([v2.functional.to_pil_image(images_of()[0]), labels_of()],),
    "boxes": lambda: (
        images_of(),
        {"b": tv_tensors.BoundingBoxes([[0, 0, 1, 1]], format="XYXY", canvas_size=(9, 14)), "labels": labels_of()},
    ),
    "a mask": lambda: (images_of(), {"m": tv_tensors.Mask(torch.zeros(4, 9, 14)), "labels": labels_of()}),
    "labels of three axes": lambda: (images_of(), torch.zeros(4, 2, K)),
    "labels of another width": lambda: (images_of(), torch.zeros(4, K + 1)),
    "no labels": lambda: ({"img": images_of()},),
    "labels in no dict": lambda: ((images_of(), [labels_of()]),),
    "no tensor as labels": lambda: ({"img": images_of(), "labels": [1, 2, 3, 4]},),
    "an image without batch": lambda: (images_of()[0], labels_of()),
    "a video without batch": lambda: (tv_tensors.Video(images_of()), labels_of()),
    "another length": lambda: (images_of(3), labels_of()),
    "number of classes": lambda: (images_of(), labels_of()),
}


@pytest.mark.parametrize("bad", BAD)
@each_class
def test_errors_are_torchvisions(cls, bad):
    num_classes = None if bad == "number of classes" else K
    errors = []
    for of in (PEERS[cls], cls):
        with pytest.raises(ValueError) as raised:  # noqa: PT011
            of(num_classes=num_classes)(*BAD[bad]())
        errors.append(str(raised.value))
    assert errors[1] == errors[0]


@each_class
def test_errors_at_construction(cls):
    torch.distributions.Distribution.set_default_validate_args(True)  # torch.compile switches it off, for good
    for of in (PEERS[cls], cls):
        with pytest.raises(ValueError, match="labels_getter should either be"):
            of(labels_getter="nothing")
        with pytest.raises(ValueError, match="to satisfy the constraint"):
            of(alpha=0.0)
    with pytest.raises(ValueError, match="mode must be 'batch' or 'elem', got 'pair'"):
        cls(mode="pair")


@each_class
def test_labels_are_never_mixed_alone(cls):
    """torchvision's MixUp takes the first tensor for the images: here the labels, and the images stay."""
    with pytest.raises(ValueError, match="Expected a batched input with 4 dims, but got 1 dimensions instead"):
        cls(num_classes=K)({"labels": labels_of(), "images": images_of()})


@each_class
def test_class_attributes_and_copies(cls):
    theirs, ours = PEERS[cls](alpha=0.3, num_classes=K), cls(alpha=0.3, num_classes=K)
    assert isinstance(ours, PEERS[cls])
    assert isinstance(ours, (v2.Transform, torch.nn.Module))
    assert (ours.alpha, ours.num_classes) == (theirs.alpha, theirs.num_classes)
    assert repr(theirs)[:-1] in repr(ours)
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert_close(*both(1, lambda: theirs(images_of(), labels_of()), lambda c=copied: c(images_of(), labels_of())))


def test_in_the_collate_of_the_reference_recipe():
    samples = [(image, int(label)) for image, label in zip(images_of(16), labels_of(16), strict=True)]

    def batches(kinds):
        choice = v2.RandomChoice([cls(num_classes=K) for cls in kinds])
        torch.manual_seed(4)
        return list(DataLoader(samples, 4, collate_fn=lambda batch: choice(*default_collate(batch))))

    assert_close(batches(PEERS.values()), batches(PEERS))


@each_class
def test_a_tensor_on_a_device_is_mixed_there(cls):
    x, labels = images_of().to("meta"), torch.rand(4, K).to("meta")
    with Operations() as seen:
        mixed, target = cls(num_classes=K)(x, labels)
    assert mixed.device.type == target.device.type == "meta"
    assert seen.ops


@each_class
def test_gradients_flow(cls):
    def gradient(of):
        x = images_of().requires_grad_()
        mixed, _ = of(num_classes=K)(x, labels_of())
        (mixed * torch.arange(4.0).view(4, 1, 1, 1)).sum().backward()
        return x.grad

    theirs, ours = both(2, partial(gradient, PEERS[cls]), partial(gradient, cls))
    torch.testing.assert_close(ours, theirs)


class TestElem:
    """`mode="elem"`: each sample as torchvision would mix the batch, one draw after the other."""

    @each_class
    def test_no_samples(self, cls):
        """torchvision's mixes them too."""
        mixed, target = cls(num_classes=K, mode="elem")(images_of(0), labels_of(0))
        assert (mixed.shape, target.shape) == ((0, 3, 9, 14), (0, K))

    @pytest.mark.parametrize("n", [1, 2, 5])
    @each_class
    def test_each_sample_has_a_draw_of_its_own(self, cls, n):
        theirs, x, labels = PEERS[cls](num_classes=K), images_of(n), labels_of(n)

        def one_by_one():
            batches = [theirs(x, labels) for _ in range(n)]
            return [tuple(entry[i] for entry in batch) for i, batch in enumerate(batches)]

        expected, (mixed, target) = both(3, one_by_one, lambda: cls(num_classes=K, mode="elem")(x, labels))
        torch.testing.assert_close(mixed, torch.stack([x for x, _ in expected]))
        torch.testing.assert_close(target, torch.stack([y for _, y in expected]))

    @each_class
    def test_soft_labels(self, cls):
        mix = cls(mode="elem")
        torch.manual_seed(1)
        params = mix.make_params([images_of(7)])
        torch.manual_seed(1)
        _, target = mix(images_of(7), soft_labels_of(7).double())
        lam = torch.from_numpy(params["lam" if cls is MixUp else "lam_adjusted"]).unsqueeze(1)
        own = soft_labels_of(7).double()
        torch.testing.assert_close(target, lam * own + (1 - lam) * own.roll(1, 0))
        assert target.dtype == torch.float64


class TestMasks:
    """`masks=True`."""

    @pytest.mark.parametrize("mode", ["batch", "elem"])
    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float32], ids=str)
    @pytest.mark.parametrize("shape", [(9, 14), (1, 9, 14)])
    def test_cut_with_the_image(self, mode, dtype, shape):
        """A mask that is the image itself is cut as the image is."""
        image = tv_tensors.Image(masks_of(5, dtype, shape).view(5, 1, 9, 14))
        batch = {"image": image, "mask": tv_tensors.Mask(masks_of(5, dtype, shape)), "labels": labels_of(5)}
        torch.manual_seed(2)
        mixed = CutMix(num_classes=K, masks=True, mode=mode)(batch)
        assert type(mixed["mask"]) is tv_tensors.Mask
        assert mixed["mask"].dtype == dtype
        assert np.array_equal(mixed["mask"].view(5, 1, 9, 14), mixed["image"])
        assert not torch.equal(mixed["mask"], batch["mask"])
        assert torch.equal(batch["mask"], masks_of(5, dtype, shape)), "written to"

    @pytest.mark.parametrize("mode", ["batch", "elem"])
    def test_classes_become_a_pair_where_they_would_be_blended(self, mode):
        image, mask = images_of(5), tv_tensors.Mask(masks_of(5))
        torch.manual_seed(2)
        mixed, (own, partner, lam), target = MixUp(masks=True, mode=mode, labels_getter=lambda batch: batch[2])(
            image, mask, torch.eye(5)
        )
        assert torch.equal(own, mask)
        assert torch.equal(partner, mask.roll(1, 0))
        assert type(own) is type(partner) is tv_tensors.Mask
        torch.testing.assert_close(lam, target.diagonal())
        weight = lam.view(-1, 1, 1, 1)
        torch.testing.assert_close(mixed, weight * image + (1 - weight) * image.roll(1, 0))

    def test_floats_are_blended(self):
        mask = tv_tensors.Mask(torch.rand(4, 9, 14))
        torch.manual_seed(2)
        _, mixed, target = MixUp(masks=True, labels_getter=lambda batch: batch[2])(images_of(), mask, torch.eye(4))
        lam = target[0, 0]
        assert type(mixed) is tv_tensors.Mask
        torch.testing.assert_close(mixed.as_subclass(torch.Tensor), lam * mask + (1 - lam) * mask.roll(1, 0))

    @pytest.mark.parametrize("num_classes", [None, K])
    @pytest.mark.parametrize("nest", [tuple, list, lambda pair: dict(zip("ab", pair, strict=True))])
    @each_class
    def test_without_labels(self, cls, nest, num_classes):
        batch = nest((images_of(), tv_tensors.Mask(masks_of())))
        mixed = cls(masks=True, labels_getter=None, num_classes=num_classes)(batch)
        assert type(mixed) is type(batch)
        image, mask = mixed.values() if isinstance(mixed, dict) else mixed
        assert image.shape == images_of().shape
        assert type(mask) is (PairedTarget if cls is MixUp else tv_tensors.Mask)

    def test_two_arguments_without_labels(self):
        torch.manual_seed(3)
        mixed = CutMix(masks=True, labels_getter=None)(images_of(), tv_tensors.Mask(images_of()[:, 0]))
        assert type(mixed) is tuple  # as torchvision's returns several arguments
        image, mask = mixed
        assert torch.equal(image[:, 0], mask.as_subclass(torch.Tensor))

    @each_class
    def test_labels_are_those_of_a_batch_without_masks(self, cls):
        without = {"image": images_of(), "labels": labels_of()}
        with_mask = without | {"mask": tv_tensors.Mask(masks_of())}
        expected, mixed = both(
            1, lambda: PEERS[cls](num_classes=K)(without), lambda: cls(num_classes=K, masks=True)(with_mask)
        )
        assert torch.equal(mixed["labels"], expected["labels"])
        torch.testing.assert_close(mixed["image"], expected["image"])

    def test_another_size(self):
        batch = {"image": images_of(), "labels": labels_of(), "mask": tv_tensors.Mask(masks_of(shape=(4, 4)))}
        with pytest.raises(ValueError, match="masks must have the images' height and width"):
            CutMix(num_classes=K, masks=True)(batch)

    @each_class
    def test_another_length(self, cls):
        batch = {"image": images_of(), "labels": labels_of(), "mask": tv_tensors.Mask(masks_of(3))}
        with pytest.raises(ValueError, match="expected a mask for each of 4 samples, got 3"):
            cls(num_classes=K, masks=True)(batch)

    @each_class
    def test_no_image(self, cls):
        with pytest.raises(ValueError, match="expected images beside masks or boxes, found none"):
            cls(num_classes=K, masks=True)({"mask": tv_tensors.Mask(masks_of()), "labels": labels_of()})

    def test_boxes_are_still_refused(self):
        with pytest.raises(ValueError, match="bounding boxes"):
            CutMix(num_classes=K, masks=True)(*BAD["boxes"]())

    def test_types_that_operations_return(self):
        """torchvision can be told that operations on its tensors return their type."""
        with tv_tensors.set_return_type("TVTensor"):
            self.test_cut_with_the_image("batch", torch.int64, (9, 14))


def test_a_missing_library_names_its_extra(run_python):
    lines = ["import mixup_rs.torchvision", "import mixup_rs; mixup_rs.torchvision"]
    code = f"""
import sys
sys.modules["torchvision"] = None
for line in {lines}:
    try:
        exec(line)
    except ModuleNotFoundError as error:
        print(error)
"""
    text = "mixup_rs.torchvision needs torchvision: pip install 'mixup-rs[torchvision]'"
    assert run_python(code).splitlines() == [text] * 2


def test_the_examples_run():
    failed, tried = doctest.testmod(mixup_rs.torchvision)
    assert (failed, tried > 0) == (0, True)
