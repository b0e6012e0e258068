"""The callable that mixes any batch."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import NUMPY, Arrays, blended_by, is_blended, joined
from mixup_rs.batches.axes import Images
from mixup_rs.batches.content import content_key
from mixup_rs.batches.heads import (
    Heads,
    are_numbers,
    is_table,
    numbers,
    refuse_box_name,
    refuse_box_shape,
    refuse_target,
)
from mixup_rs.batches.namespace import NamespaceArrays, is_traced, is_tracer, namespace_of
from mixup_rs.batches.nest import children, rebuilt
from mixup_rs.batches.objects import are_objects, has_objects, mix_objects, objects_beside, with_weights
from mixup_rs.batches.others import beside_partners, first_samples, plan_of_both
from mixup_rs.batches.roles import Named, Path, Role, Roles, at, entries_of, named
from mixup_rs.batches.targets import PairedTarget, labels_among, mix_target
from mixup_rs.rule import Rule, check_rule_of_all, draw_by, frozen

if TYPE_CHECKING:
    Key: TypeAlias = int | Sequence[int] | np.random.Generator | None

__all__ = ["Mixer"]


@frozen
class Mixer:
    """Mixes batches of any library: NumPy, PyTorch, JAX, and whatever speaks DLPack or the array API standard.

    A batch is an array, or a tuple, list, dict or dataclass of arrays in any nest, whose axis 0 is the batch. What
    comes back has the same containers with new arrays of the same library; nothing is written to what was given. Inputs
    of floats or of integers of at most 16 bits are blended and cut; wider integers (tokens) are left as they are.
    Targets of floats are blended, booleans of one axis a sample are several labels at once, class indices become soft
    targets or pairs, masks are cut with the images, and of dicts of boxes, one a sample, each mixed sample gets its own
    and its partner's, with `weights`. An `attention_mask` becomes that of both samples. Arrays in the memory of the CPU
    are mixed by the Rust kernel, which copies nothing in, others on their device.

    Mixing commutes with normalising. It does not commute with geometric augmentation of whole batches: augment before.

    Parameters
    ----------
    rule : Rule
        Draws the plan of each batch. One with the maps or labels of one batch is for `mix_batch` and `MixPlan`.
    inputs : int, str or sequence, optional
        The entries of a batch that are inputs: positions, names, or paths, which are tuples of these. By default the
        first entry of a tuple; of a dict or a dataclass those with usual names (image, pixel_values, x, ...).
    targets : int, str or sequence, optional
        The entries that are targets. By default the other entries of a tuple; of a dict or a dataclass those with usual
        names (label, labels, target, mask, y, ...). Entries of neither role are left as they are, but numbers
        with a name like that of a target (fine_label) must be named.
    num_classes : int, sequence or dict, optional
        Class indices become float32 soft targets of shape (n, num_classes). Several targets may have numbers of their
        own: one each, in order, or by name. Without it class indices become a `PairedTarget` (y, y_partner, lam).
    label_smoothing : float, default 0.0
        In [0, 1]; for soft targets of class indices.
    rng : int or sequence of int, optional
        The seed. A batch is drawn from the key (seed, ...), with the `key` of the call or, without one, with a hash of
        what the batch holds: all of the targets and a sample of large inputs. Batches of equal values are then mixed
        alike, in whatever process, order, library and layout. None draws fresh entropy where no key is given.
    multi_label : bool, default False
        Integer targets of shape (n, k) are 0 and 1: several labels at once, blended as float32. Masks stay masks.
    channels_last : bool, optional
        Whether images are (n, height, width, channels). By default their shapes tell.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `label_smoothing` is given without `num_classes`. When called: if lengths
        differ, or an entry cannot be mixed rightly.
    TypeError
        If an argument has another type. When called: if an entry has a type that cannot be mixed.

    See Also
    --------
    mix_batch : Mix an array and its labels.
    PairedTarget : What class indices become without `num_classes`.

    Examples
    --------
    >>> import numpy as np
    >>> from mixup_rs import Mixer, Mixup
    >>> mix = Mixer(Mixup(0.4), num_classes=3, rng=42)
    >>> batch = {"image": np.ones((3, 2, 2), np.float32), "label": np.array([0, 1, 2]), "name": ["a", "b", "c"]}
    >>> mixed = mix(batch)
    >>> mixed["image"].shape, mixed["label"].shape, mixed["name"]
    ((3, 2, 2), (3, 3), ['a', 'b', 'c'])
    >>> bool((mix(batch)["label"] == mixed["label"]).all())  # the same batch, the same mix
    True
    >>> epoch, step = 0, 7
    >>> x, (y, y_partner, lam) = Mixer(Mixup(0.4))((np.eye(3), [0, 1, 2]), key=(epoch, step))
    >>> y
    array([0, 1, 2])
    """

    rule: Rule
    inputs: Named = None
    targets: Named = None
    # A dict has no hash.
    num_classes: int | Sequence[int] | Mapping[Any, int] | None = field(default=None, hash=False)
    label_smoothing: float = 0.0
    rng: int | Sequence[int] | None = None
    multi_label: bool = False
    channels_last: bool | None = None

    def __post_init__(self) -> None:
        check_rule_of_all(self.rule, "Mixer")
        object.__setattr__(self, "_roles", Roles(self.inputs, self.targets))
        Heads.check(self.num_classes, self.label_smoothing)
        if self.rng is not None:
            object.__setattr__(self, "rng", _ints("rng", self.rng))
        for name, values in (("multi_label", (True, False)), ("channels_last", (True, False, None))):
            if getattr(self, name) not in values:
                raise TypeError(f"{name} must be one of {values}, got {getattr(self, name)!r}")
        for name in ("inputs", "targets", "num_classes"):
            if isinstance(given := getattr(self, name), list):
                object.__setattr__(self, name, tuple(given))

    def __call__(self, batch: Any, key: Key = None, other: Any = None) -> Any:
        """Mix a batch.

        Parameters
        ----------
        batch : array or container of arrays
            The batch. It is not written to.
        key : int, sequence of int or numpy.random.Generator, optional
            The plan is a function of the seed and this key, such as (epoch, step), and of the shape of the batch. A
            Generator moves on.
        other : array or container of arrays, optional
            Another batch that all partners come from, such as one of another loader: of the same entries, with samples
            like those of `batch`, more or fewer. It is not written to.

        Returns
        -------
        array or container of arrays
            The mixed batch, of as many samples as `batch`.

        Raises
        ------
        ValueError, TypeError
            If an entry cannot be mixed rightly. The message names what would settle it.
        """
        return _Mixing(self, batch).mixed(key, None if other is None else _Mixing(self, other))

    def __repr__(self) -> str:
        values = [(one.name, getattr(self, one.name), one.default) for one in fields(self)]
        given = [f"{name}={value!r}" for name, value, default in values if value != default]
        return f"Mixer({', '.join(given).removeprefix('rule=')})"


class _Entry(NamedTuple):
    role: Role
    arrays: Arrays
    value: Any


class _Mixing:
    """A batch that is mixed: one walk through it finds its inputs and targets, another puts the mixed ones in place."""

    #: Pairs of targets with one lam are for models that MixCollate feeds.
    pair = False

    def __init__(self, how: Mixer, batch: Any):
        self.how, self.batch = how, batch
        self.num_classes, self.label_smoothing, self.multi_label = how.num_classes, how.label_smoothing, how.multi_label
        self.roles: Roles = how._roles  # pyright: ignore[reportAttributeAccessIssue]
        self.role_of: dict[Path, Role] = self.roles.of(batch)
        self.entries: dict[Path, _Entry] = {}
        #: Lists with a dict of boxes for each sample.
        self.objects: dict[Path, Sequence[Any]] = {}
        #: Where these are in columns: mappings of lists with an entry for each sample.
        self.columns: dict[Path, list[str]] = {}
        #: The shapes of the samples of all arrays of two axes.
        self.masks: set[Any] = set()
        self._library: Arrays | None = None
        self._like: Any = None
        self._find(batch, (), None)
        self.n = self._length()

    def mixed(self, key: Key, other: _Mixing | None = None) -> Any:
        if other is not None:
            self._check_other(other)
        inputs = {path: entry for path, entry in self.entries.items() if entry.role == "input"}
        blended = {path for path, entry in inputs.items() if is_blended(entry.arrays, entry.value, named(path))}
        shapes = {path: tuple(entry.value.shape[1:]) for path, entry in inputs.items()}
        images = Images(shapes, lambda: self.masks, self.how.channels_last)
        drawn = self._draw(images, key, None if other is None else other.n)
        plan = drawn if other is None else plan_of_both(drawn)
        images.refuse_uncertain(plan)
        if not any(0 not in shapes[path] for path in blended) and not bool((plan.lam == 1).all()):
            raise TypeError(
                "no input of this batch can be mixed; indices are not blended: mix their embeddings, or name other "
                "entries: inputs=..."
            )
        heads, mixed = Heads(self, self.role_of), {}
        for path, (role, arrays, value) in self.entries.items():
            if other is not None and (path in blended or role != "input"):
                partners = other.entries[path].value
                if path in blended and arrays is NUMPY:  # where they are
                    axes = images.axes_to_cut(plan, path)
                    own = drawn if axes else drawn.without_region()
                    mixed[path] = blended_by(arrays, own, value, named(path), axes, partners)
                    continue
                value = beside_partners(arrays, drawn, value, partners)
            if role == "target":
                mixed[path] = self._target(plan, heads, path, arrays, value)
            elif role != "input":
                mixed[path] = joined(arrays, plan, value, role, named(path))
            elif path in blended:
                axes = images.axes_to_cut(plan, path)
                mixed[path] = blended_by(arrays, plan if axes else plan.without_region(), value, named(path), axes)
            if other is not None and path in mixed:
                mixed[path] = first_samples(mixed[path], self.n)
        for path, samples in self.objects.items():
            if other is not None:
                samples = [*samples, *(other.objects[path][i] for i in drawn.partner)]
            objects = mix_objects(arrays_of, plan, samples, named(path) if path else "the batch")[: self.n]
            if path in self.columns:
                mixed |= {(*path, name): [one[name] for one in objects] for name in objects[0]}
            else:
                mixed[path] = rebuilt(self.objects[path], objects)
        heads.refuse_missing(self.role_of, self.how.targets)
        return self._placed(self.batch, (), mixed)

    def _find(self, value: Any, path: Path, role: Role | None) -> None:
        """Collect the inputs and the targets."""
        role = self.role_of[path] if path in self.role_of else role
        if (arrays := arrays_of(value)) is not None:
            if role is not None:
                arrays.check(value, named(path))
            if value.ndim == 3:
                self.masks.add(tuple(value.shape[1:]))
            if role is not None:
                self._add(path, role, arrays, value)
        elif role == "target" and path and are_objects(value):
            self.objects[path] = value
        elif role is not None and _is_column(value):
            self._add(path, role, None, value)
        elif role is not None and isinstance(value, PairedTarget):
            raise TypeError(f"{named(path)} is a PairedTarget, which is mixed already")
        elif (items := children(value)) is not None:
            in_columns = self._find_columns(value, path, role)
            for key, item in zip(entries_of(value) or (), items, strict=True):
                if key not in in_columns:
                    self._find(item, (*path, key), role)
        elif role == "target":
            if isinstance(value, int | float | np.generic):
                raise TypeError(f"{named(path)} is a single {type(value).__name__}, expected one for each sample")
            refuse_target(value, named(path))

    def _find_columns(self, value: Any, path: Path, role: Role | None) -> list[str]:
        """Collect boxes beside an image, and what belongs to them. Returns the names of these entries."""
        if not has_objects(value):
            return []
        roles = {name: self.role_of.get((*path, name), role) for name in value}
        beside = {name: value[name] for name in value if roles[name] != "input" and _is_listed(value[name])}
        names = objects_beside(beside) if len({*map(len, beside.values())}) == 1 else []
        if "target" not in {roles[name] for name in names}:
            return []
        self.columns[path] = names
        n = len(beside[names[0]])
        self.objects[path] = [{name: beside[name][i] for name in names} for i in range(n)]
        return names

    def _add(self, path: Path, role: Role, arrays: Arrays | None, value: Any) -> None:
        if role == "target":
            refuse_box_name(path, named(path))
        if arrays is None:
            # Numbers become arrays of the library of the first input.
            values = _as_array(value, named(path))
            arrays = self._library or NUMPY
            value = values if self._library is None else arrays.asarray(values, self._like)
        elif self._library is None and role == "input":
            self._library, self._like = arrays, value
        if role == "target" and arrays.kind(value) not in ("float", "integer", "bool"):
            raise TypeError(
                f"{named(path)} is a target of {value.dtype}, which cannot be mixed; convert it to numbers, or name "
                "other targets: targets=..."
            )
        if role == "target" and path not in (self.roles.targets or ()):
            refuse_box_shape(arrays, value, named(path))
        self.entries[path] = _Entry(role, arrays, value)

    def _length(self) -> int:
        """The number of samples: the length of the first input, which all entries must have."""
        first = next((path for path, entry in self.entries.items() if entry.role == "input"), None)
        if first is None:
            value = next((at(self.batch, path) for path, role in self.role_of.items() if role == "input"), self.batch)
            hint = "name it: inputs=..."
            if is_table(value):
                hint = "of a table give a dict of arrays, as Ray Data does with batch_format='numpy'"
            raise TypeError(f"no input of this batch is an array, got {type(value).__name__}; {hint}")
        n = None
        for path in (first, *self.entries):
            shape = tuple(self.entries[path].value.shape)
            if not shape or (n is not None and shape[0] != n):
                expected = "an axis of samples" if n is None else f"{n} samples, as {named(first)} has"
                raise ValueError(f"{named(path)} has shape {shape}, expected {expected}")
            n = shape[0]
        assert n is not None
        return n

    def _check_other(self, other: _Mixing) -> None:
        """Refuses another batch whose samples are not like those of this one."""
        for path in {**self.entries, **other.entries, **self.objects, **other.objects}:
            mine, theirs = ((side.entries.get(path), path in side.objects) for side in (self, other))
            if mine[1] != theirs[1] or (mine[0] is None) != (theirs[0] is None):
                which = "batch" if mine[0] is not None or mine[1] else "other"
                raise ValueError(f"{named(path)} of {which} is in one of the two batches alone")
            if mine[0] is None or theirs[0] is None:
                continue
            of = [(entry.arrays, tuple(entry.value.shape[1:]), entry.value.dtype) for entry in (mine[0], theirs[0])]
            if of[0] != of[1]:
                got, expected = (
                    f"{type(one.value).__name__} of {one.value.dtype}, samples of {of[k][1]}"
                    for k, one in ((1, theirs[0]), (0, mine[0]))
                )
                raise ValueError(f"{named(path)} of other is a {got}; in the batch it is a {expected}")

    def _draw(self, images: Images, key: Key, other: int | None) -> MixPlan:
        rng = self._rng(key)
        labels = labels_among(entry.value for entry in self.entries.values() if entry.role == "target")
        try:
            return draw_by(self.how.rule, self.n, images.shape, labels, rng, other)
        except ValueError as error:
            if images.shape is not None:
                raise
            raise ValueError(
                f"no input of this batch has a height and a width, which {self.how.rule} may need; for series draw a "
                f"plan with shape=(length,) and apply it: plan.apply(x) ({error})"
            ) from error

    def _rng(self, key: Key) -> Any:
        seed: Any = self.how.rng
        seed = () if seed is None else seed if isinstance(seed, tuple) else (seed,)
        if (key is None or isinstance(key, np.random.Generator)) and any(
            is_traced(entry.value) for entry in self.entries.values()
        ):
            raise TypeError(
                "within jax.jit one plan would be drawn for all calls: call the Mixer outside, or draw plans outside "
                "and apply them by mixup_rs.jax.apply and apply_labels; ints as key=... say which plan it is"
            )
        if isinstance(key, np.random.Generator):
            return (*seed, *key.integers(2**63, size=2).tolist()) if seed else key
        if key is not None:
            length: Any = getattr(key, "shape", ())[:1]
            if length == (self.n,) and self.n > 1:
                raise TypeError(
                    f"key must be ints or a numpy Generator, got an array of {self.n}; a batch is one argument: "
                    "mix((x, y))"
                )
            given = _ints("key", key)
            return (*seed, *(given if isinstance(given, tuple) else (given,)))
        if not seed:
            return None
        if any(is_tracer(entry.value) for entry in self.entries.values()):
            raise TypeError(
                "what a batch holds cannot be read within jax.grad and jax.vmap: ints as key=... say which plan it is"
            )
        sides: dict[str, list[Any]] = {"input": [], "target": []}
        for path, (role, arrays, value) in self.entries.items():
            if arrays.kind(value) != "text":
                sides["input" if role == "input" else "target"].append((path, arrays, value))
        for path, samples in self.objects.items():
            for place, name, value in ((i, name, sample[name]) for i, sample in enumerate(samples) for name in sample):
                if (arrays := arrays_of(value)) is not None and arrays.kind(value) != "text":
                    sides["target"].append(((*path, place, name), arrays, value))
        return (*seed, content_key(sides["input"], sides["target"]))

    def _target(self, plan: MixPlan, heads: Heads, path: Path, arrays: Arrays, value: Any) -> Any:
        options, name = heads.next(path), named(path)
        if (seen := arrays.view(value)) is not None:
            mixed = mix_target(NUMPY, plan, seen, options, name)
            if isinstance(mixed, PairedTarget):
                # The own target is that view.
                return PairedTarget(
                    [arrays.copy(value) if part is seen else arrays.asarray(part, value) for part in mixed]
                )
            return arrays.asarray(mixed, value)
        mixed = mix_target(arrays, plan, value, options, name)
        if isinstance(mixed, PairedTarget) and mixed.y is value:
            return PairedTarget(arrays.copy(value), mixed.y_partner, mixed.lam)
        return mixed

    def _placed(self, value: Any, path: Path, mixed: dict[Path, Any]) -> Any:
        """The containers again, with what was mixed; without anything mixed in it, the very same value."""
        if path in self.entries or path in mixed:
            return mixed.get(path, value)
        items = children(value) if arrays_of(value) is None else None
        if items is None:
            return value
        placed = [
            self._placed(item, (*path, key), mixed) for key, item in zip(entries_of(value) or (), items, strict=True)
        ]
        if path in self.columns:
            return with_weights(value, placed, mixed[(*path, "weights")])
        if all(new is old for new, old in zip(placed, items, strict=True)):
            return value
        return rebuilt(value, placed)


def arrays_of(value: Any) -> Arrays | None:
    """The library that an array is of; None for what is no array."""
    if isinstance(value, np.ndarray):
        return NUMPY
    if isinstance(value, np.generic):
        return None
    if (torch := sys.modules.get("torch")) is not None and isinstance(value, torch.Tensor):
        from mixup_rs.torch.arrays import TORCH

        return TORCH
    namespace = namespace_of(value)
    return None if namespace is None else _arrays_in(namespace)


@functools.cache
def _arrays_in(namespace: Any) -> Arrays:
    return NamespaceArrays(namespace)


def _is_column(value: Any) -> bool:
    """Whether a list or a tuple holds a number for each sample, or a list a list of numbers."""
    if not isinstance(value, tuple | list):
        return False
    return are_numbers(value) or (isinstance(value, list) and bool(value) and all(map(_is_column, value)))


def _is_listed(value: Any) -> bool:
    return isinstance(value, list | tuple) or (arrays_of(value) is not None and value.ndim > 0)


def _as_array(values: Sequence[Any], name: str) -> np.ndarray:
    if isinstance(values[0], np.generic) and len({*map(type, values)}) == 1:
        return np.asarray(values)
    if are_numbers(values):
        return numbers(values, name)
    try:
        return np.stack([_as_array(value, name) for value in values])
    except ValueError as error:
        raise ValueError(f"{name} has lists of different lengths") from error


def _ints(name: str, given: Any) -> Any:
    """A whole number or a tuple of them. Raises TypeError or ValueError for anything else."""
    try:
        ints = tuple(map(operator.index, given)) if np.ndim(given) else operator.index(given)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an int or a sequence of ints, got {given!r}") from None
    if ints == () or (min(ints) if isinstance(ints, tuple) else ints) < 0:
        raise ValueError(f"{name} must be an int of at least 0, or at least one of them, got {given!r}")
    return ints
