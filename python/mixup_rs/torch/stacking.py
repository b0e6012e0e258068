"""Samples stacked into a batch by the roles of their entries, mixed meanwhile."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate, get_worker_info

from mixup_rs._core import collate
from mixup_rs.torch.apply import MIXABLE_DTYPES, as_numpy, from_numpy, like
from mixup_rs.torch.roles import Path, Role, entries_of
from mixup_rs.torch.samples import Axes, as_arrays, empty_batch, is_array, torch_dtype
from mixup_rs.torch.targets import PairedTarget, TargetOptions, has_region_shape, mix_target, refuse_boxes

__all__ = ["Stacking"]

#: What `normalize` takes.
_PIXELS: set[Any] = {torch.uint8, torch.uint16, torch.float16, torch.float32, torch.float64}


_LEAVES = (torch.Tensor, np.ndarray, int, float, str)


class Stacking:
    """A batch that is stacked: one walk through the samples draws the plan, another mixes."""

    def __init__(self, how: Any, samples: Sequence[Any]):
        self.how, self.samples = how, samples
        self.roles = how._roles.of(samples[0])
        self.images = dict(self._images(samples[0], (), None))
        self._tell_by_other_images()
        self.target_number = 0
        #: The names in `num_classes` that targets have.
        self.counted: set[Any] = set()
        self.mixed = self.normalized = False
        self.plan, self.is_training = how._draw(len(samples), self._shape())

    def stacked(self) -> Any:
        if self.plan.spatial_shape is not None:
            for path, axes in self.images.items():
                shape = _at(self.samples[0], path).shape
                if not axes.is_certain and self.plan.spatial_shape in (tuple(shape[-2:]), tuple(shape[-3:-1])):
                    raise ValueError(
                        f"the shape of {_text(path)} does not tell its height and width; say channels_last=..."
                    )
        batch = self._stack(self.samples, ())
        if not self.mixed and not bool((self.plan.lam == 1).all()):
            raise TypeError(
                "no input of these samples can be mixed; indices are not blended: mix their embeddings, or name other "
                "entries: inputs=..."
            )
        self._refuse_numbers_without_targets()
        if self.how.normalize is not None and not self.normalized:
            raise ValueError("normalize applies to no entry: expected an image of uint8, uint16 or floats as an input")
        return (batch, self.plan) if self.how.return_plan else batch

    def _images(self, value: Any, path: Path, role: Role | None) -> Iterator[tuple[Path, Axes]]:
        """The inputs of a sample that have a height and a width."""
        role = self.roles.get(path, role)
        if is_array(value):
            if role == "input" and value.ndim >= 2 and value.shape[0] != 0:
                shape = tuple(value.shape)
                yield path, Axes(shape, self._sizes() if len(shape) > 2 else set(), self.how.channels_last)
        elif isinstance(value, tuple | list):
            for key, item in zip(_keys(value), value, strict=True):
                yield from self._images(item, (*path, key), role)
        elif not isinstance(value, _LEAVES) and isinstance(value, Mapping):
            for key in value:
                yield from self._images(value[key], (*path, key), role)

    def _tell_by_other_images(self) -> None:
        """Images whose shapes do not tell their height and width have those of images whose shapes do, if any."""
        if all(axes.is_certain for axes in self.images.values()):
            return
        shapes = {path: tuple(_at(self.samples[0], path).shape) for path in self.images}
        sizes = {(shapes[path][axes.spatial[0]], shapes[path][axes.spatial[1]])
                 for path, axes in self.images.items() if axes.is_certain}  # fmt: skip
        for path, axes in self.images.items():
            if not axes.is_certain:
                self.images[path] = Axes(shapes[path], sizes)

    def _sizes(self) -> set[tuple[int, int]]:
        """The heights and widths that other entries of the sample have: those of arrays of two axes."""
        return {tuple(leaf.shape) for leaf in _leaves(self.samples[0]) if leaf.ndim == 2}

    def _shape(self) -> tuple[int, ...] | None:
        """The height and width of the first image; of one with channels, if there is one."""
        by_rank = sorted(self.images.items(), key=lambda item: item[1].channel is None)
        for path, axes in by_rank:
            shape = _at(self.samples[0], path).shape
            return tuple(int(shape[axis]) for axis in axes.spatial)
        return None

    def _stack(self, values: Sequence[Any], path: Path, role: Role | None = None) -> Any:
        """Stack the values at one place of every sample."""
        first, role = values[0], self.roles.get(path, role)
        if not isinstance(first, _LEAVES):  # the rest takes longer to ask
            if isinstance(first, Mapping):
                entries = {name: self._stack([value[name] for value in values], (*path, name), role) for name in first}
                return entries if type(first) is dict else _rebuilt(first, entries)
            is_list_of_numbers = role == "target" and isinstance(first, list) and _are_numbers(first)
            if isinstance(first, tuple | list) and not is_list_of_numbers:
                return self._sequence(values, path, role)
            if dataclasses.is_dataclass(first):
                raise TypeError(
                    f"{_text(path)} is a {type(first).__name__}; expected tuples, lists and dicts of arrays"
                )
        if role == "input":
            return self._input(values, path)
        if role == "target" and self.is_training:
            return self._target(values, path)
        return default_collate(list(values))

    def _sequence(self, values: Sequence[Any], path: Path, role: Role | None) -> Any:
        first = values[0]
        lengths = {*map(len, values)}
        if len(lengths) > 1:
            raise ValueError(f"samples must have one length, got {sorted(lengths)}")
        items = zip(_keys(first), zip(*values, strict=True), strict=True)
        entries = [self._stack(entry, (*path, key), role) for key, entry in items]
        named = isinstance(first, tuple) and hasattr(first, "_fields")
        return type(first)(*entries) if named else tuple(entries) if isinstance(first, tuple) else entries

    def _input(self, values: Sequence[Any], path: Path) -> Any:
        first = values[0]
        if isinstance(first, complex):
            raise TypeError(f"{_text(path)} is complex, which cannot be mixed; give its real and imaginary parts")
        if isinstance(first, float | np.floating):
            values = [
                torch.tensor(value, dtype=torch.float64 if isinstance(first, float) else None) for value in values
            ]
            first = values[0]
        refuse_boxes(first, _text(path))
        if not is_array(first):
            return default_collate(list(values))
        dtype = torch_dtype(first)
        if dtype == torch.bool:
            raise TypeError(
                f"{_text(path)} is an input of booleans, which are not blended: a mask must be of both samples; "
                "convert it to floats, or name other inputs: inputs=..."
            )
        if dtype is not None and dtype.is_complex:
            raise TypeError(f"{_text(path)} is complex, which cannot be mixed; give torch.view_as_real(x) instead")
        if dtype not in MIXABLE_DTYPES:
            return default_collate(list(values))
        if 0 not in first.shape:
            self.mixed = True
        stacked = self._array(values, dtype, self.images.get(path))
        return stacked if type(first) in (torch.Tensor, np.ndarray) else like(stacked, first)

    def _array(self, values: Sequence[Any], dtype: Any, axes: Axes | None) -> torch.Tensor:
        """Blend samples into a new tensor; in a worker into shared memory, as `default_collate` does."""
        arrays, plan, how = as_arrays(values), self.plan, self.how
        is_image = axes is not None and dtype in _PIXELS and how.normalize is not None
        options: dict[str, Any] = {}
        if is_image and axes is not None and how.normalize is not None:
            self.normalized, dtype = True, how.dtype or torch.float32
            options["normalize"] = how.normalize
            if axes.channel is not None and len(how.normalize[0]) > 1:
                if not axes.is_certain:
                    raise ValueError(
                        "the shape of an image does not tell its channels; say channels_last=True or False"
                    )
                options["channel_axis"] = axes.channel + 1
        if plan.spatial_shape is not None:
            shape = () if axes is None else tuple(arrays[0].shape[axis] for axis in axes.spatial)
            if axes is None or shape != plan.spatial_shape:
                # Another size: blended by the share that is left, as the labels are.
                plan = plan.without_region()
            else:
                options["spatial_axes"] = [axis + 1 for axis in axes.spatial]
        if get_worker_info() is None and (not is_image or dtype == torch.float32):
            # In recycled memory: mapping the pages of a new tensor takes longer than mixing.
            return from_numpy(collate(arrays, plan, **options), dtype)
        out = empty_batch((len(values), *arrays[0].shape), dtype)
        view = as_numpy(out)
        if view is None:
            raise TypeError("dtype=torch.bfloat16 needs the package ml_dtypes")
        collate(arrays, plan, out=view, **options)
        return out

    def _target(self, values: Sequence[Any], path: Path) -> Any:
        first, name = values[0], _text(path)
        options = self._options(path)
        if isinstance(first, list):
            values = [np.asarray(value) for value in values]
        elif not (is_array(first) or isinstance(first, int | float | np.generic)):
            raise TypeError(
                f"{name} is a target of type {type(first).__name__}, which cannot be mixed; convert it to a number, or "
                "name other targets: targets=..."
            )
        if path and path[-1] in ("boxes", "bboxes", "bbox", "keypoints"):
            raise TypeError(f"{name} is of boxes or keypoints, which cannot be averaged; they cannot be mixed yet")
        if isinstance(first, int | float):
            # By default_collate it takes three times as long.
            return mix_target(self.plan, _numbers(values, name), options, name)
        refuse_boxes(first, name)
        y = _stacked_targets(values, name)
        if y.is_floating_point() and y.ndim == 3 and y.shape[-1] == 4 and path not in (self.how._roles.targets or ()):
            raise TypeError(
                f"{name} has the shape of bounding boxes, {tuple(y.shape[1:])}, which cannot be averaged; if it is "
                "none, name it: targets=..."
            )
        mixed = mix_target(self.plan, y, options, name)
        if isinstance(first, torch.Tensor) and isinstance(mixed, PairedTarget):
            return PairedTarget(like(mixed.y, first), like(mixed.y_partner, first), mixed.lam)
        if isinstance(first, torch.Tensor) and isinstance(mixed, torch.Tensor) and mixed.dtype == first.dtype:
            return like(mixed, first) if has_region_shape(self.plan, mixed) or y.is_floating_point() else mixed
        return mixed

    def _options(self, path: Path) -> TargetOptions:
        """How the target at this path is mixed: its number of classes is that of its name, or of its place."""
        how, count = self.how, self.how.num_classes
        number, self.target_number = self.target_number, self.target_number + 1
        if isinstance(count, Mapping):
            found = next((key for key in (path, *reversed(path)) if key in count), None)
            self.counted.add(found)
            count = None if found is None else count[found]
        elif isinstance(count, Sequence):
            if number >= len(count):
                raise ValueError(f"num_classes has {len(count)} numbers, but there are more targets")
            count = count[number]
        smoothing = how.label_smoothing if count is not None else 0.0
        return TargetOptions(count, smoothing, how.multi_label, how.pair)

    def _refuse_numbers_without_targets(self) -> None:
        count = self.how.num_classes
        if not self.is_training or not isinstance(count, Mapping | Sequence):
            return
        if isinstance(count, Mapping):
            if unknown := [key for key in count if key not in self.counted]:
                raise ValueError(f"num_classes names {unknown[0]!r}, but no target has this name")
        elif len(count) > self.target_number:
            raise ValueError(f"num_classes has {len(count)} numbers, but there are {self.target_number} targets")


def _numbers(values: Sequence[Any], name: str) -> torch.Tensor:
    """Python's numbers as int64, float64 or bool. One float among ints makes all of them floats."""
    types = {*map(type, values)}
    if types == {int}:  # most often
        return torch.from_numpy(np.array(values, np.int64))
    array = np.asarray(values) if _are_numbers(values) else np.empty(0, object)
    if array.dtype.kind not in "iufb" or (bool in types and len(types) > 1):
        names = ", ".join(sorted(kind.__name__ for kind in types))
        raise TypeError(f"{name} is a target of different types: {names}")
    return torch.from_numpy(array if array.dtype.kind == "b" else array.astype(np.promote_types(array.dtype, np.int64)))


def _stacked_targets(values: Sequence[Any], name: str) -> torch.Tensor:
    first = values[0]
    if isinstance(first, np.ndarray | np.generic) and np.asarray(first).dtype.kind == "u" and first.itemsize > 1:
        values = [np.asarray(value).astype(np.int64) for value in values]
    if isinstance(first, float):  # default_collate makes its tensor on torch's default device
        return torch.from_numpy(np.array(values, np.float64))
    try:
        stacked = default_collate(list(values))
    except (TypeError, RuntimeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error
    if not isinstance(stacked, torch.Tensor):
        raise TypeError(f"{name} is a target of type {type(first).__name__}, which cannot be mixed")
    return stacked.as_subclass(torch.Tensor)


def _are_numbers(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, int | float | np.number) for value in values)


def _keys(value: Any) -> Sequence[Any]:
    """The keys by which the roles of a tuple or a list are known."""
    return entries_of(value) or ()


def _leaves(value: Any) -> Iterator[Any]:
    if is_array(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _leaves(item)


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key] if isinstance(value, Mapping) or isinstance(key, int) else getattr(value, key)
    return value


def _rebuilt(like_this: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """A mapping of the same type, as `default_collate` makes it. Raises TypeError if it cannot be made from a dict."""
    if isinstance(like_this, MutableMapping):
        rebuilt: Any = copy.copy(like_this)
        rebuilt.update(entries)
        return rebuilt
    try:
        rebuilt = type(like_this)(entries)  # type: ignore[call-arg]
        if {key: id(rebuilt[key]) for key in rebuilt} == {key: id(value) for key, value in entries.items()}:
            return rebuilt
    except (TypeError, ValueError, KeyError):
        pass
    raise TypeError(f"a sample is a {type(like_this).__name__}, which cannot be made from a dict")


def _text(path: Path) -> str:
    return "the sample" if not path else f"entry {path[0]!r}" if len(path) == 1 else f"entry {path!r}"
