"""Samples stacked into a batch by the roles of their entries, mixed meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from mixup_rs.batches.arrays import NUMPY, has_region_shape, is_blended, joined, refuse_boxes
from mixup_rs.batches.axes import Images
from mixup_rs.batches.heads import Heads, are_numbers, numbers, refuse_box_name, refuse_box_shape, refuse_target
from mixup_rs.batches.nest import is_dataclass, rebuilt
from mixup_rs.batches.objects import BOX_NAMES, POINTS, has_objects, mix_objects, objects_beside, with_weights
from mixup_rs.batches.others import first_samples, plan_of_both
from mixup_rs.batches.roles import Path, Role, at, entries_of, named
from mixup_rs.batches.targets import PairedTarget, mix_target
from mixup_rs.rules import looks_at_labels
from mixup_rs.torch.apply import like
from mixup_rs.torch.arrays import TORCH
from mixup_rs.torch.padding import padded
from mixup_rs.torch.samples import as_arrays, is_array, refuse_unlike, stack

__all__ = ["Stacking"]

#: What `normalize` takes.
_PIXELS: set[Any] = {torch.uint8, torch.uint16, torch.float16, torch.float32, torch.float64}


_LEAVES = (torch.Tensor, np.ndarray, int, float, str)


class Stacking:
    """A batch that is stacked: one walk through the samples draws the plan, another mixes."""

    def __init__(self, how: Any, samples: Sequence[Any]):
        self.roles = how._roles.of(samples[0])
        self.how, self.samples = how, samples if how.pad is None else padded(samples, self.roles, how.pad)
        samples = self.samples
        arrays = [(path, x) for path, x in self._of_role("input", samples[0]) if is_array(x)]
        for path, x in arrays:
            _library(x).check(x, named(path))
        shapes = {path: tuple(x.shape) for path, x in arrays}
        self.images = Images(shapes, self._masks, how.channels_last)
        self.heads = Heads(how, self.roles)
        self.mixed = self.normalized = False
        labels = self._labels() if looks_at_labels(how.rule) else None
        self.n = len(samples)
        self.drawn, self.is_training = how._draw(self.n, self.images.shape, labels)
        self.plan = self.drawn
        if self.drawn.other is not None:
            # What comes from elsewhere is stacked behind the batch, and left out of what is returned.
            self.samples = [*samples, *_samples_of(how.other, self.drawn.partner.tolist())]
            self.plan = plan_of_both(self.drawn)

    def stacked(self) -> Any:
        self.images.refuse_uncertain(self.plan)
        batch = self._stack(self.samples, ())
        if not self.mixed and not bool((self.plan.lam == 1).all()):
            raise TypeError(
                "no input of these samples can be mixed; indices are not blended: mix their embeddings, or name other "
                "entries: inputs=..."
            )
        if self.is_training:
            self.heads.refuse_missing(self.roles, self.how._roles.targets)
        if self.how.normalize is not None and not self.normalized:
            raise ValueError("normalize applies to no entry: expected an image of uint8, uint16 or floats as an input")
        return (batch, self.drawn) if self.how.return_plan else batch

    def _of_role(
        self, wanted: Role, value: Any, path: Path = (), role: Role | None = None
    ) -> Iterator[tuple[Path, Any]]:
        """The arrays and numbers of a role in a sample."""
        role = self.roles.get(path, role)
        if isinstance(value, tuple | list) and not (isinstance(value, list) and are_numbers(value)):
            for key, item in zip(_keys(value), value, strict=True):
                yield from self._of_role(wanted, item, (*path, key), role)
        elif isinstance(value, Mapping):
            for key in () if wanted == "target" and has_objects(value) else value:
                yield from self._of_role(wanted, value[key], (*path, key), role)
        elif role == wanted:
            yield path, value

    def _labels(self) -> torch.Tensor | None:
        """The labels that a rule may look at: the first target of one axis in a sample, or none."""
        for path, first in self._of_role("target", self.samples[0]):
            if isinstance(first, list | int | float | np.generic) or (is_array(first) and first.ndim < 2):
                return _stacked_targets([at(sample, path) for sample in self.samples], named(path))
        return None

    def _masks(self) -> set[Any]:
        """The heights and widths that entries of the sample have: those of arrays of two axes."""
        return {tuple(leaf.shape) for leaf in _leaves(self.samples[0]) if leaf.ndim == 2}

    def _stack(self, values: Sequence[Any], path: Path, role: Role | None = None) -> Any:
        """Stack the values at one place of every sample."""
        first, role = values[0], self.roles.get(path, role)
        if not isinstance(first, _LEAVES):  # the rest takes longer to ask
            if role == "target" and path and has_objects(first):
                if not self.is_training:
                    return list(values)
                return self._own(mix_objects(_library_of, self.plan, values, named(path)))
            if isinstance(first, Mapping) and has_objects(first) and self._role(path, role, first) == "target":
                return self._with_objects(values, path, role)
            if isinstance(first, Mapping):
                refuse_unlike(values, path)
                entries = {name: self._stack([value[name] for value in values], (*path, name), role) for name in first}
                return entries if type(first) is dict else rebuilt(first, list(entries.values()))
            is_list_of_numbers = role == "target" and isinstance(first, list) and are_numbers(first)
            if isinstance(first, tuple | list) and not is_list_of_numbers:
                return self._sequence(values, path, role)
            if is_dataclass(first):
                raise TypeError(
                    f"{named(path)} is a {type(first).__name__}; expected tuples, lists and dicts of arrays"
                )
        if role == "input":
            return self._input(values, path)
        if role == "target" and self.is_training:
            return self._target(values, path)
        if role in ("present", "absent"):
            return self._own(joined(TORCH, self.plan, _collated(values, named(path)), role, named(path)))
        return _collated(values[: self.n], named(path))

    def _own(self, mixed: Any) -> Any:
        """What was mixed, without what was stacked behind the batch."""
        return mixed if self.drawn.other is None else first_samples(mixed, self.n)

    def _role(self, path: Path, role: Role | None, first: Mapping[str, Any]) -> Role | None:
        """The role of the boxes in a mapping."""
        return next(self.roles.get((*path, name), role) for name in (*BOX_NAMES, POINTS) if name in first)

    def _with_objects(self, values: Sequence[Any], path: Path, role: Role | None) -> Any:
        """Stack mappings that have boxes beside an image: of what belongs to these the batch has lists."""
        first = values[0]
        refuse_unlike(values, path)
        beside = {
            name: [value[name] for value in values] for name in first if self.roles.get((*path, name), role) != "input"
        }
        names = objects_beside(beside)
        objects = [{name: beside[name][i] for name in names} for i in range(len(values))]
        if self.is_training:
            objects = self._own(mix_objects(_library_of, self.plan, objects, named(path) if path else "the batch"))
        items = [
            [one[name] for one in objects]
            if name in names
            else self._stack([value[name] for value in values], (*path, name), role)
            for name in first
        ]
        if not self.is_training:
            return rebuilt(first, items)
        return with_weights(first, items, [one["weights"] for one in objects])

    def _sequence(self, values: Sequence[Any], path: Path, role: Role | None) -> Any:
        first = values[0]
        refuse_unlike(values, path)
        items = zip(_keys(first), zip(*values, strict=True), strict=True)
        return rebuilt(first, [self._stack(entry, (*path, key), role) for key, entry in items])

    def _input(self, values: Sequence[Any], path: Path) -> Any:
        first = values[0]
        if isinstance(first, complex):
            raise TypeError(f"{named(path)} is complex, which cannot be mixed; give its real and imaginary parts")
        if isinstance(first, bool | np.bool_):
            is_blended(NUMPY, np.asarray(first), named(path))  # refuses it, as it does arrays of booleans
        if isinstance(first, int | np.integer) and any(isinstance(value, float | np.floating) for value in values):
            values = [float(value) for value in values]  # the first may be a whole number by chance
            first = values[0]
        if isinstance(first, float | np.floating):
            values = [
                torch.tensor(value, dtype=torch.float64 if isinstance(first, float) else None) for value in values
            ]
        sample: Any = values[0]
        is_plain = isinstance(values[0], int | np.generic | str | bytes)
        if not (is_array(sample) or is_plain):
            raise TypeError(
                f"{named(path)} is of type {type(sample).__name__}, which cannot be mixed; convert it to a "
                "tensor or an array, or name other inputs: inputs=..."
            )
        if not is_array(sample) or not is_blended(_library(sample), sample, named(path)):
            return _collated(values[: self.n], named(path))
        dtype = sample.dtype if isinstance(sample, torch.Tensor) else _dtype_of(sample.dtype)
        if 0 not in sample.shape:
            self.mixed = True
        stacked = self._own(self._array(values, dtype, path))
        return stacked if type(sample) in (torch.Tensor, np.ndarray) else like(stacked, sample)

    def _array(self, values: Sequence[Any], dtype: Any, path: Path) -> torch.Tensor:
        """Blend samples into a new tensor."""
        try:
            arrays = as_arrays(values)
        except TypeError as error:
            raise TypeError(f"{named(path)}: {error}") from error
        plan, how, axes = self.plan, self.how, self.images.axes.get(path)
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
            if axes_to_cut := self.images.axes_to_cut(plan, path):
                options["spatial_axes"] = axes_to_cut
            else:
                plan = plan.without_region()
        try:
            return stack(arrays, plan, dtype, **options)
        except (TypeError, ValueError) as error:
            raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{named(path)}: {error}") from error

    def _target(self, values: Sequence[Any], path: Path) -> Any:
        first, name = values[0], named(path)
        options = self.heads.next(path)
        if not (is_array(first) or isinstance(first, list | int | float | np.generic)):
            refuse_target(first, name)
        if is_array(first):
            _library(first).check(first, name)
        refuse_box_name(path, name)
        refuse_boxes(first, name)
        y = _stacked_targets(values[: self.n], name)
        if self.drawn.other is not None:
            theirs = _stacked_targets(values[self.n :], f"{name} of other")
            if theirs.dtype != y.dtype:
                raise TypeError(f"{name} of other is a target of {theirs.dtype}, in the batch it is of {y.dtype}")
            y = torch.cat([y, theirs])
        if path not in (self.how._roles.targets or ()):
            refuse_box_shape(TORCH, y, name)
        mixed = self._own(mix_target(TORCH, self.plan, y, options, name))
        if isinstance(first, torch.Tensor) and isinstance(mixed, PairedTarget):
            return PairedTarget(like(mixed.y, first), like(mixed.y_partner, first), mixed.lam)
        if isinstance(first, torch.Tensor) and isinstance(mixed, torch.Tensor) and mixed.dtype == first.dtype:
            return like(mixed, first) if has_region_shape(self.plan, mixed) or y.is_floating_point() else mixed
        return mixed


def _samples_of(data: Any, indices: Sequence[int]) -> Sequence[Any]:
    """Samples of a data set, all at once where it can, as torch's loader reads them."""
    at_once = getattr(data, "__getitems__", None)
    return at_once(indices) if at_once else [data[i] for i in indices]


def _library_of(value: Any) -> Any:
    return _library(value) if is_array(value) else None


def _library(value: Any) -> Any:
    return TORCH if isinstance(value, torch.Tensor) else NUMPY


@functools.cache
def _dtype_of(dtype: np.dtype) -> torch.dtype:
    """The dtype of an array that can be blended, in torch."""
    return torch.bfloat16 if dtype.name == "bfloat16" else torch.from_numpy(np.empty(0, dtype)).dtype


def _stacked_targets(values: Sequence[Any], name: str) -> torch.Tensor:
    first = values[0]
    if isinstance(first, int | float):
        # By default_collate it takes three times as long, and is on torch's default device.
        return torch.from_numpy(numbers(values, name))
    if isinstance(first, list):
        values = [np.asarray(value) for value in values]
    if isinstance(first, np.ndarray | np.generic) and np.asarray(first).dtype.kind == "u" and first.itemsize > 1:
        values = [_as_int64(value, name) for value in values]
    stacked = _collated(values, name)
    if not isinstance(stacked, torch.Tensor):
        raise TypeError(f"{name} is a target of type {type(first).__name__}, which cannot be mixed")
    return stacked.as_subclass(torch.Tensor)


def _as_int64(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} has integers that int64 does not hold")
    return array.astype(np.int64)


def _collated(values: Sequence[Any], name: str) -> Any:
    """Values that are not mixed, as torch stacks them. Raises TypeError or ValueError that names the entry."""
    try:
        return default_collate(list(values))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{name}: {error}") from error


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
