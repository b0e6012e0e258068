"""The peers of the feature table, each called as its own pages say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peer import Mixed, Peer, asked, of_pairs
from torch.utils.data import default_collate


class Ones:
    """A distribution that draws 1, which torch's Beta never does."""

    def sample(self, shape: Any = ()) -> torch.Tensor:
        return torch.ones(shape)


class Ours(Peer):
    name, package, modules = "mixup-rs", "mixup-rs", ("mixup_rs",)

    def _mix(self, rule: Any, x: Any, y: Any, classes: int | None, **options: Any) -> Mixed:
        from mixup_rs import Mixer

        with asked():
            mixed, soft = Mixer(rule, num_classes=classes, channels_last=False, **options)((x, y))
        return Mixed(mixed, torch.as_tensor(soft))

    def mixup(self, x: Any, y: Any, classes: int, alpha: float = 1.0) -> Mixed:
        from mixup_rs import Mixup

        return self._mix(Mixup(alpha, fold=False), x, y, classes)

    def cutmix(self, x: Any, y: Any, classes: int) -> Mixed:
        from mixup_rs import CutMix
        from mixup_rs.torch import apply, apply_labels

        with asked():
            plan = CutMix().plan(len(x), tuple(x.shape[2:]))
            return Mixed(apply(plan, x), apply_labels(plan, y, classes)[0])

    def pairs(self, x: Any, y: Any, classes: int) -> Mixed:
        from mixup_rs import Mixer, Mixup

        with asked():
            mixed, (own, partner, lam) = Mixer(Mixup(1.0))((x, y))
        return Mixed(mixed, of_pairs(own, partner, lam, classes), is_pair=True)

    def mixup_there(self, x: Any, y: Any, classes: int) -> Any:
        from mixup_rs import Mixup
        from mixup_rs.torch import apply

        with asked():
            return apply(Mixup(1.0).plan(len(x)), x)

    def mixup_in_place(self, x: Any, y: Any, classes: int) -> Mixed:
        from mixup_rs import Mixup
        from mixup_rs.torch import apply, apply_labels

        with asked():
            plan = Mixup(1.0).plan(len(x))
            return Mixed(apply(plan, x, inplace=True), apply_labels(plan, y, classes)[0])

    def mixup_many(self, x: Any, labels: Any, classes: int) -> Mixed:
        from mixup_rs import Mixup

        return self._mix(Mixup(1.0), x, labels, None, multi_label=True)

    def either(self, x: Any, y: Any, classes: int) -> Mixed:
        from mixup_rs import CutMix, Mixup, OneOf

        return self._mix(OneOf([Mixup(1.0), CutMix(mode="elem")], mode="elem"), x, y, classes)

    def cut_masks(self, x: Any, masks: Any) -> tuple[Any, Any]:
        from mixup_rs import CutMix, Mixer

        with asked():
            return Mixer(CutMix())((x, masks))

    def boxes(self, x: Any, boxes: Any) -> Any:
        from mixup_rs import Mixup

        with asked():
            return Mixup(1.0).plan(len(x)).apply_boxes(list(boxes.numpy()), [np.array([0])] * len(x))[0]

    def twice(self, x: Any, again: Any) -> tuple[Any, Any]:
        from mixup_rs import Mixup
        from mixup_rs.torch import apply

        with asked():
            plan = Mixup(1.0).plan(len(x))
            return apply(plan, x), apply(plan, again)

    def traced(self, classes: int) -> Callable[[Any, Any], Any]:
        from mixup_rs import Mixup
        from mixup_rs.torch import apply

        rule = Mixup(1.0)
        return lambda x, y: apply(rule.plan(len(x)), x)

    def collate(self, classes: int) -> Callable[[Any], Any]:
        from mixup_rs import Mixup
        from mixup_rs.torch import MixCollate

        return MixCollate(Mixup(1.0), num_classes=classes, rng=1)


class Fastai(Peer):
    name, package, modules = "fastai", "fastai", ("fastai.vision.all", "fastai.callback.all")

    def _run(self, callbacks: Any, x: Any, y: Any, loss: Any = None) -> Any:
        """The learner after `before_batch`."""
        from fastai.torch_core import TensorCategory, TensorImage

        from mixup_rs.bench.peers import about_to_train

        with asked():
            learn = about_to_train(callbacks)
            learn.loss_func = loss or learn.loss_func
            learn.xb = tuple(TensorImage(v) for v in x) if isinstance(x, tuple) else (x.as_subclass(TensorImage),)
            learn.yb = (y.as_subclass(TensorCategory) if y.dtype == torch.long else y,)
            learn("before_train")
            learn("before_batch")
        return learn

    def _mix(self, callback: Any, x: Any, y: Any, classes: int) -> Mixed:
        learn = self._run(callback, x, y)
        lam = torch.as_tensor(callback.lam).reshape(-1).double()
        pairs = of_pairs(y, torch.as_tensor(callback.yb1[0]), lam.expand(len(y)), classes)
        return Mixed(torch.Tensor(learn.xb[0]), pairs, is_pair=True)

    def mixup(self, x: Any, y: Any, classes: int, alpha: float = 1.0) -> Mixed:
        from fastai.callback.mixup import MixUp

        return self._mix(MixUp(alpha), x, y, classes)

    def unmixed(self, x: Any, y: Any, classes: int) -> Mixed:
        from fastai.callback.mixup import MixUp

        callback = MixUp()
        callback.distrib = Ones()
        return self._mix(callback, x, y, classes)

    def cutmix(self, x: Any, y: Any, classes: int) -> Mixed:
        from fastai.callback.mixup import CutMix

        return self._mix(CutMix(), x, y, classes)

    def mixup_many(self, x: Any, labels: Any, classes: int) -> Mixed:
        from fastai.callback.mixup import MixUp
        from fastai.losses import BCEWithLogitsLossFlat

        learn = self._run(MixUp(1.0), x, labels, BCEWithLogitsLossFlat())
        return Mixed(torch.Tensor(learn.xb[0]), learn.yb[0])

    def either(self, x: Any, y: Any, classes: int) -> Mixed:
        from fastai.callback.mixup import CutMix, MixUp

        learn = self._run([MixUp(1.0), CutMix()], x, y)
        with asked():
            learn.loss_func(torch.rand(len(x), classes), *learn.yb)
        return Mixed(torch.Tensor(learn.xb[0]), None)

    def cut_masks(self, x: Any, masks: Any) -> tuple[Any, Any]:
        from fastai.callback.mixup import CutMix
        from fastai.losses import CrossEntropyLossFlat

        learn = self._run(CutMix(), x, masks, CrossEntropyLossFlat(axis=1))
        return torch.Tensor(learn.xb[0]), torch.as_tensor(learn.yb[0])

    def twice(self, x: Any, again: Any) -> tuple[Any, Any]:
        from fastai.callback.mixup import MixUp

        learn = self._run(MixUp(1.0), (x, again), torch.arange(len(x)))
        return learn.xb

    def turned(self, x: Any) -> Any:
        from fastai.torch_core import TensorImage
        from fastai.vision.augment import Rotate

        with asked():
            return torch.Tensor(Rotate(max_deg=45, p=1.0)(TensorImage(x), split_idx=0))


class Timm(Peer):
    name, package, modules = "timm", "timm", ("timm.data", "timm.data.mixup")

    def _mix(self, x: Any, y: Any, classes: int, collate: bool = False, **options: Any) -> Mixed:
        from timm.data.mixup import FastCollateMixup, Mixup

        options = {"label_smoothing": 0.0, "num_classes": classes, "mode": "elem"} | options
        with asked():
            if collate:
                samples = list(zip(x.numpy(), y.tolist(), strict=True))
                return Mixed(*FastCollateMixup(**options)(samples))
            return Mixed(*Mixup(**options)(x, y))

    def mixup(self, x: Any, y: Any, classes: int, alpha: float = 1.0) -> Mixed:
        return self._mix(x, y, classes, mixup_alpha=alpha)

    def cutmix(self, x: Any, y: Any, classes: int) -> Mixed:
        return self._mix(x, y, classes, mixup_alpha=0.0, cutmix_alpha=1.0)

    def mixup_there(self, x: Any, y: Any, classes: int) -> Any:
        """The images of a batch on another device."""
        return self.mixup(x, y, classes).x

    def mixup_bytes(self, x: Any, y: Any, classes: int) -> Mixed:
        return self._mix(x, y, classes, collate=True)

    def mixup_many(self, x: Any, labels: Any, classes: int) -> Mixed:
        return self._mix(x, labels, classes, multi_label=True)

    def either(self, x: Any, y: Any, classes: int) -> Mixed:
        return self._mix(x, y, classes, mixup_alpha=1.0, cutmix_alpha=1.0)

    def cut_masks(self, x: Any, masks: Any) -> tuple[Any, Any]:
        mixed = self._mix(x, masks, len(x), mixup_alpha=0.0, cutmix_alpha=1.0)
        return mixed.x, mixed.weights

    def traced(self, classes: int) -> Callable[[Any, Any], Any]:
        from timm.data.mixup import Mixup

        rule = Mixup(num_classes=classes)
        return lambda x, y: rule(x, y)[0]

    def collate(self, classes: int) -> Callable[[Any], Any]:
        from timm.data.mixup import FastCollateMixup

        return FastCollateMixup(mixup_alpha=1.0, mode="elem", num_classes=classes)

    def turned(self, x: Any) -> Any:
        from PIL import Image
        from timm.data import auto_augment

        picture = Image.fromarray((255 * x[0, :3].movedim(0, -1)).byte().numpy())
        with asked():
            return np.asarray(auto_augment.rotate(picture, 30.0))


class Torchvision(Peer):
    name, package, modules = "torchvision", "torchvision", ("torchvision.transforms.v2",)

    def mixup(self, x: Any, y: Any, classes: int, alpha: float = 1.0) -> Mixed:
        from torchvision.transforms import v2

        with asked():
            return Mixed(*v2.MixUp(alpha=alpha, num_classes=classes)(x, y))

    def unmixed(self, x: Any, y: Any, classes: int) -> Mixed:
        from torchvision.transforms import v2

        mix = v2.MixUp(num_classes=classes)
        mix._dist = Ones()
        with asked():
            return Mixed(*mix(x, y))

    def cutmix(self, x: Any, y: Any, classes: int) -> Mixed:
        from torchvision.transforms import v2

        with asked():
            return Mixed(*v2.CutMix(num_classes=classes)(x, y))

    def either(self, x: Any, y: Any, classes: int) -> Mixed:
        from torchvision.transforms import v2

        rules = [v2.MixUp(num_classes=classes), v2.CutMix(num_classes=classes)]
        with asked():
            return Mixed(*v2.RandomChoice(rules)(x, y))

    def cut_masks(self, x: Any, masks: Any) -> tuple[Any, Any]:
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        with asked():
            mixed, masks, _ = v2.CutMix(num_classes=len(x))(x, tv_tensors.Mask(masks), torch.arange(len(x)))
        return mixed, masks

    def boxes(self, x: Any, boxes: Any) -> Any:
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        held = tv_tensors.BoundingBoxes(boxes[:, 0], format="XYXY", canvas_size=tuple(x.shape[-2:]))
        with asked():
            return v2.MixUp(num_classes=len(x))(x, held, torch.arange(len(x)))[1]

    def twice(self, x: Any, again: Any) -> tuple[Any, Any]:
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        with asked():
            return v2.MixUp(num_classes=len(x), labels_getter=lambda batch: batch[2])(
                (tv_tensors.Image(x), tv_tensors.Image(again), torch.arange(len(x)))
            )[:2]

    def traced(self, classes: int) -> Callable[[Any, Any], Any]:
        from torchvision.transforms import v2

        rule = v2.MixUp(num_classes=classes)
        return lambda x, y: rule(x, y)[0]

    def collate(self, classes: int) -> Callable[[Any], Any]:
        from torchvision.transforms import v2

        mix = v2.MixUp(num_classes=classes)
        return lambda samples: mix(*default_collate(samples))

    def turned(self, x: Any) -> Any:
        from torchvision.transforms import v2

        with asked():
            return v2.RandomRotation(45)(x)


class Kornia(Peer):
    name, package, modules = "kornia", "kornia", ("kornia.augmentation",)

    def _mix(self, rule: Any, x: Any, y: Any, classes: int) -> Mixed:
        with asked():
            mixed, labels = rule(x, y)
        own, partner, share = labels.reshape(-1, 3).unbind(1)  # the share is the partner's
        return Mixed(mixed, of_pairs(own, partner, 1 - share, classes), is_pair=True)

    def mixup(self, x: Any, y: Any, classes: int, alpha: float = 1.0) -> Mixed:
        from kornia.augmentation import RandomMixUpV2

        return self._mix(RandomMixUpV2(data_keys=["input", "class"]), x, y, classes)

    def cutmix(self, x: Any, y: Any, classes: int) -> Mixed:
        from kornia.augmentation import RandomCutMixV2

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rule = RandomCutMixV2(data_keys=["input", "class"])
        return self._mix(rule, x, y, classes)

    def unmixed(self, x: Any, y: Any, classes: int) -> Mixed:
        from kornia.augmentation import RandomMixUpV2

        return self._mix(RandomMixUpV2(lambda_val=(0.0, 0.0), data_keys=["input", "class"]), x, y, classes)

    def either(self, x: Any, y: Any, classes: int) -> Mixed:
        from kornia.augmentation import AugmentationSequential, RandomCutMixV2, RandomMixUpV2

        with asked():
            rules = [RandomMixUpV2(), RandomCutMixV2(use_correct_lambda=True)]
            mixed, _ = AugmentationSequential(*rules, data_keys=["input", "class"], random_apply=1)(x, y)
        return Mixed(mixed, None)

    def cut_masks(self, x: Any, masks: Any) -> tuple[Any, Any]:
        from kornia.augmentation import RandomCutMixV2

        with asked():
            mixed, masks = RandomCutMixV2(data_keys=["input", "mask"], use_correct_lambda=True)(
                x, masks[:, None].float()
            )
        return mixed, masks[:, 0]

    def boxes(self, x: Any, boxes: Any) -> Any:
        from kornia.augmentation import RandomMixUpV2

        with asked():
            return RandomMixUpV2(data_keys=["input", "bbox_xyxy"])(x, boxes)[1]

    def twice(self, x: Any, again: Any) -> tuple[Any, Any]:
        from kornia.augmentation import RandomMixUpV2

        rule = RandomMixUpV2(data_keys=["input"])
        with asked():
            first = rule(x)
            return first, rule(again, params=rule._params)

    def traced(self, classes: int) -> Callable[[Any, Any], Any]:
        from kornia.augmentation import RandomMixUpV2

        rule = RandomMixUpV2(data_keys=["input", "class"])
        return lambda x, y: rule(x, y)[0]

    def collate(self, classes: int) -> Callable[[Any], Any]:
        from kornia.augmentation import RandomMixUpV2

        rule = RandomMixUpV2(data_keys=["input", "class"])
        return lambda samples: rule(*default_collate(samples))

    def turned(self, x: Any) -> Any:
        from kornia.augmentation import RandomRotation

        with asked():
            return RandomRotation(45.0, p=1.0)(x)

    def mosaic(self, x: Any) -> Any:
        from kornia.augmentation import RandomMosaic

        with asked():
            return RandomMosaic(tuple(x.shape[-2:]), data_keys=["input"], p=1.0)(x)


PEERS = (Ours(), Fastai(), Timm(), Torchvision(), Kornia())
