"""Which entries of a sample or a batch are inputs, and which are targets.

Inputs are blended or cut, targets are mixed as labels, other entries are left as they are.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from mixup_rs.batches.nest import children, is_dataclass

__all__ = [
    "INPUT_NAMES", "LABEL_NAMES", "TARGET_NAMES", "Named", "Path", "Role", "Roles", "at", "entries_of", "mask_role",
    "named",
]  # fmt: skip

#: Where an entry is: the keys and positions that lead to it.
Path: TypeAlias = tuple[int | str, ...]
#: "present" and "absent" entries say where a sample has data: those of a mixed one are the union of both samples'.
Role: TypeAlias = Literal["input", "target", "present", "absent"]
#: One entry, by position, name or path, or several.
Named: TypeAlias = int | str | Sequence[int | str | Path] | None

#: The names that the data sets of torchvision, Hugging Face, MONAI, timm and Ray give to inputs and to targets.
INPUT_NAMES = frozenset(
    "x input inputs image images img imgs pixel_values input_values input_features inputs_embeds features feature "
    "data audio waveform spectrogram video".split()
)
TARGET_NAMES = frozenset(
    "y target targets label labels mask masks class classes category categories segmentation seg annotation "
    "mask_labels class_labels boxes bboxes bbox keypoints".split()
)
#: Those of them that are labels, and not masks, wherever they are.
LABEL_NAMES = frozenset("y label labels target targets class_labels mask_labels".split())
#: Masks that are true where there is data, lengths of what there is, and masks that are true where there is none.
_PRESENT = frozenset(["attention_mask", "pixel_mask"])
_LENGTHS = frozenset("length lengths input_length input_lengths".split())
_ABSENT = frozenset("padding_mask key_padding_mask src_key_padding_mask".split())
#: A name with one of the first words, such as fine_label, may be that of a target, but not with one of the second as
#: well, such as label_weight. Of a name with one of the third, such as image_id, it is known that it is none.
_LIKE_TARGETS = frozenset(
    "label labels target targets class classes category categories mask masks segmentation".split()
)
_NOT_TARGETS = frozenset("attention padding special pos name names weight weights".split())
_MARKS = frozenset("id ids idx index indices length lengths key path name".split())


class Roles:
    """The roles of the entries of a sample or a batch.

    Parameters
    ----------
    inputs, targets : int, str or sequence, optional
        The entries of each role: positions of a tuple, names of a dict, or paths, which are tuples of these. By default
        the first entry of a tuple is the input and the others are targets; of a dict the entries whose names are usual
        ones (`INPUT_NAMES`, `TARGET_NAMES`). What is within an entry has its role.
    lengths : bool, default False
        Whether entries named as lengths are those of samples that are padded.

    Raises
    ------
    TypeError
        If an entry is named otherwise.
    ValueError
        If an entry has both roles.

    Examples
    --------
    >>> Roles().of({"image": 0, "label": 1, "index": 2})
    {('image',): 'input', ('label',): 'target'}
    >>> Roles(inputs=[0, 1]).of(("left", "right", "y"))
    {(0,): 'input', (1,): 'input', (2,): 'target'}
    """

    def __init__(self, inputs: Named = None, targets: Named = None, lengths: bool = False):
        self._present, self._warned = _PRESENT | _LENGTHS if lengths else _PRESENT, False
        self.inputs, self.targets = _paths("inputs", inputs), _paths("targets", targets)
        if both := {*(self.inputs or ())} & {*(self.targets or ())}:
            raise ValueError(f"inputs and targets both name {_text(min(both, key=str))}")

    def of(self, value: Any) -> dict[Path, Role]:
        """The roles of the entries of a sample or a batch.

        Parameters
        ----------
        value : Any
            A sample or a batch: a tuple, a list, a mapping, a dataclass, or a single input.

        Returns
        -------
        dict
            The role of each path that has one. What is within an entry has its role, unless its own path is listed.
            Masks within an input are listed by their usual names, at any depth.

        Raises
        ------
        ValueError
            If an entry that was named is not there, or a mapping has no entry that is known to be an input.
        TypeError
            If no inputs are named, and there are labels within what would be one.
        """
        entries = entries_of(value)
        if entries is None:
            for paths, name in ((self.inputs, "inputs"), (self.targets, "targets")):
                if paths:
                    got = type(value).__name__
                    raise ValueError(f"{name} names {_text(paths[0])}, but the batch or a sample is a single {got}")
            return {(): "input"}
        roles: dict[Path, Role] = {}
        given: list[tuple[Role, tuple[Path, ...] | None]] = [("input", self.inputs), ("target", self.targets)]
        for role, paths in given:
            for path in paths or ():
                roles[_resolved(value, path, f"{role}s")] = role
        has_names = not isinstance(value, tuple | list)
        by_name = any(isinstance(key, str) and key in INPUT_NAMES for key in entries)
        named_tops = {path[:1] for path in roles}
        for place, key in enumerate(entries):
            if (key,) in named_tops:
                continue
            if isinstance(key, str) and (by_name or has_names):
                is_input, is_target = key in INPUT_NAMES, key in TARGET_NAMES
            else:
                is_input, is_target = place == 0, place > 0
            if (mask := self._mask_role(key)) is not None:
                roles[key,] = mask
            elif is_input and self.inputs is None:
                roles[key,] = "input"
            elif (is_target or (place > 0 and not has_names and not by_name)) and self.targets is None:
                roles[key,] = "target"
        if "input" not in roles.values():
            names = ", ".join(map(repr, entries))
            raise ValueError(f"no entry is known to be an input; name it: inputs=... (the entries are {names})")
        if self.inputs is None and self.targets is None:
            _refuse_alike(value, roles)
        if self.targets is None and (has_names or by_name):
            _refuse_forgotten(value, roles)
            is_asked = "target" not in roles.values() and not self._warned
            if is_asked and (others := _unknown_numbers(value, roles)):
                self._warned = True
                warnings.warn(
                    f"the inputs are mixed and no target with them: if one of {others} is a target, name it: "
                    "targets=...; targets=[] if there is none",
                    stacklevel=2,
                )
        for path in [path for path, role in roles.items() if role == "input"]:
            self._find_masks(at(value, path), path, roles)
        return roles

    def _mask_role(self, key: Any) -> Role | None:
        return mask_role(key) or ("present" if key in self._present else None)

    def _find_masks(self, value: Any, path: Path, roles: dict[Path, Role]) -> None:
        """Add the masks within an input."""
        if isinstance(value, list) and not any(children(item) is not None for item in value):
            return  # most often a long list of numbers
        for key, item in zip(entries_of(value) or (), children(value) or (), strict=True):
            inner = (*path, key)
            if inner not in roles and (mask := self._mask_role(key)) is not None:
                roles[inner] = mask
            elif inner not in roles and self.inputs is None and key in LABEL_NAMES and _is_integer(item):
                raise TypeError(
                    f"{named(inner)} of a {type(value).__name__} is of labels within an input, which would stay as "
                    f"they are beside what is mixed; name both: inputs=..., targets=[{inner}]"
                )
            elif inner not in roles:
                self._find_masks(item, inner, roles)


def _refuse_forgotten(value: Any, roles: Mapping[Path, Role]) -> None:
    """Refuses numbers that have the name of a target, and would be left as they are."""
    for key, words in _left(value, roles):
        if words & _LIKE_TARGETS and not words & _NOT_TARGETS:
            targets = [*(path[0] for path, role in roles.items() if role == "target"), key]
            raise ValueError(
                f"entry {key!r} may be a target by its name, and would be left as it is; name the targets: "
                f"targets={targets}, or those without it, [] for none"
            )


def _unknown_numbers(value: Any, roles: Mapping[Path, Role]) -> list[str]:
    """The names of numbers of which nothing is known, also not that they number, weigh or name samples."""
    return [key for key, words in _left(value, roles) if not words & _MARKS]


def _left(value: Any, roles: Mapping[Path, Role]) -> Iterator[tuple[str, set[str]]]:
    """The names, and the words in them, of the numbers that have no role."""
    known = {path[0] for path in roles}
    for key, item in zip(entries_of(value) or (), children(value) or (), strict=True):
        if key not in known and isinstance(key, str) and _is_numeric(item):
            yield key, {*re.findall("[a-z]+", key.lower())}


def _is_numeric(value: Any) -> bool:
    """Whether a value is a number, an array of numbers, or a list of them."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    return isinstance(first, int | float) or any(
        kind in str(getattr(first, "dtype", "")) for kind in ("int", "float", "bool")
    )


def _refuse_alike(value: Any, roles: Mapping[Path, Role]) -> None:
    """Refuses several samples or batches in one, as of a StackDataset: labels would be within what is an input."""
    pair = [at(value, path) for path in roles if len(path) == 1][:2]
    if len(pair) < 2 or not all(isinstance(one, tuple | list) and len(one) > 1 for one in pair):
        return
    kinds = [[(type(item), getattr(item, "ndim", 0), str(getattr(item, "dtype", ""))) for item in one] for one in pair]
    is_label = [_is_integer(item) and getattr(item, "ndim", 0) < 2 for item in pair[0]]
    if kinds[0] == kinds[1] and any(is_label) and not all(is_label):
        label = is_label.index(True)
        raise TypeError(
            f"entries 0 and 1 are alike, and their entries {label} may be labels; name the roles of all: "
            f"inputs=[(0, {is_label.index(False)}), ...], targets=[(0, {label}), ...]"
        )


def _is_integer(value: Any) -> bool:
    """Whether a value is a whole number, or an array of them."""
    return isinstance(value, int) or "int" in str(getattr(value, "dtype", ""))


def mask_role(key: Any) -> Role | None:
    """The role of a mask that says where there is data, or where there is none, by its name; None for other names.

    Examples
    --------
    >>> mask_role("attention_mask"), mask_role("padding_mask"), mask_role("mask")
    ('present', 'absent', None)
    """
    return "absent" if key in _ABSENT else "present" if key in _PRESENT else None


def _paths(name: str, given: Named) -> tuple[Path, ...] | None:
    if given is None:
        return None
    if isinstance(given, int | str):
        given = [given]
    if not isinstance(given, Sequence):
        raise TypeError(f"{name} must be positions, names or paths of entries, got {type(given).__name__}")
    paths = [path if isinstance(path, tuple) else (path,) for path in given]
    for path in paths:
        if not path or not all(isinstance(key, int | str) and not isinstance(key, bool) for key in path):
            raise TypeError(f"{name} must be positions, names or paths of entries, got {path!r}")
    return tuple(paths)


def entries_of(value: Any) -> list[int | str] | None:
    """The keys of a mapping, the names or positions of a tuple, a list or a dataclass; None for anything else."""
    if isinstance(value, tuple | list):
        fields = getattr(value, "_fields", ()) if isinstance(value, tuple) else ()
        return list(fields) if {*fields} & INPUT_NAMES else list(range(len(value)))
    if isinstance(value, Mapping):
        return list(value)
    return [field.name for field in dataclasses.fields(value)] if is_dataclass(value) else None


def at(value: Any, path: Path) -> Any:
    """The entry of a sample or a batch at a path."""
    for key in path:
        value = value[key] if isinstance(value, Mapping) or isinstance(key, int) else getattr(value, key)
    return value


def named(path: Path) -> str:
    """An entry, for messages."""
    return f"entry {_text(path)}" if path else "the input"


def _resolved(value: Any, path: Path, name: str) -> Path:
    """The path as the walk through a value meets it. Raises ValueError if there is no such entry."""
    resolved: list[int | str] = []
    for key in path:
        entries = entries_of(value)
        if entries is None:
            raise ValueError(f"{name} names {_text(path)}, but there is no such entry")
        fields = getattr(value, "_fields", ())
        if isinstance(key, int) and isinstance(value, tuple | list) and -len(value) <= key < len(value):
            key = entries[key]
        elif key in fields and key not in entries:
            key = fields.index(key)
        if key not in entries:
            raise ValueError(f"{name} names {_text(path)}, but the entries are {', '.join(map(repr, entries))}")
        resolved.append(key)
        value = at(value, (key,))
    return tuple(resolved)


def _text(path: Path) -> str:
    return repr(path[0]) if len(path) == 1 else repr(path)
