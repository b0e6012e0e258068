"""The settings of a `MixCollate` in shared memory, so that they reach DataLoader workers that live on."""

from __future__ import annotations

import copy
import operator
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, NamedTuple, overload
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mixup_rs.rule import Rule, check_rule_of_all
from mixup_rs.torch._compat import find_pass

__all__ = ["NEVER", "RuleOption", "Setting", "Settings", "SharedFlag", "SharedSettings", "rank"]

#: The `off_epoch` of a collate that mixes in every epoch.
NEVER = float("inf")

#: The variables in which MPICH, Open MPI and Slurm say the rank, and the rank among those of one machine.
_LOCAL_RANKS = {
    "PMI_RANK": "MPI_LOCALRANKID",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_LOCAL_RANK",
    "SLURM_PROCID": "SLURM_LOCALID",
}
#: Ranks of one machine, and workers of one rank, that have memory of their own.
_RANKS, _WORKERS = 16, 256
_RULE_BYTES = 8 << 10
#: The attributes of a collate that are shared memory.
_SHARED = ("_shared", "_begun", "_pickled_rule")


class Settings(NamedTuple):
    """The settings that may change while training, in their order in shared memory, each a float64."""

    enabled: float
    epoch: float
    off_epoch: float
    #: The number of the first batch, to resume within an epoch.
    first_batch: float
    #: How often the epoch was set.
    generation: float
    #: How often the rule was set.
    rule_version: float
    #: Whether a framework evaluates meanwhile.
    paused: float
    #: The epochs of earlier fits, by which the keys of this one go on.
    offset: float


def rank() -> int:
    """The rank of this process among those that train together, 0 where nothing says it.

    It is looked up whenever it is needed: a collate may be built before the process group is.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    for name in ("RANK", *filter(_started_this, _LOCAL_RANKS), "LOCAL_RANK"):
        if given := os.environ.get(name):
            try:
                return max(int(given), 0)  # -1 means that processes do not train together
            except ValueError:
                raise ValueError(
                    f"the environment variable {name} must be the rank of this process, got {given!r}"
                ) from None
    return 0


def _started_this(name: str) -> bool:
    """Whether the launcher of this variable started this process.

    A process that it started may have started this one, which then has its variables, and a `LOCAL_RANK` of its own.
    """
    return os.environ.get("LOCAL_RANK", "") in ("", os.environ.get(_LOCAL_RANKS[name]))


def _whole(name: str, value: Any) -> int:
    """A whole number of at least 0. Raises TypeError or ValueError for anything else."""
    try:
        number = value if isinstance(value, float | np.floating) else operator.index(value)
        is_whole = int(number) == number >= 0
    except (TypeError, ValueError, OverflowError):
        kind = ValueError if isinstance(value, float | np.floating) else TypeError
        raise kind(f"{name} must be a whole number >= 0, got {value!r}") from None
    if not is_whole:
        raise ValueError(f"{name} must be a whole number >= 0, got {value!r}")
    return int(value)


@dataclass
class _Pass:
    """A pass through the data, in one process.

    Of a loop that is left early, persistent workers still make the batches that were requested, perhaps after the next
    `set_epoch`; and several loops may run at once. So each pass has a count of its own.
    """

    number: int
    #: The generation in which it began, and that of the last batch; and how many were made in this one.
    began: float = 0.0
    generation: float = 0.0
    step: int = 0


class SharedSettings:
    """The base of `MixCollate`: its rule, its settings and the place of a batch in the epoch.

    Forked and spawned workers share the memory of the settings, each rank a row of it. Counters are a process's own.
    """

    _rule: Rule

    def __init__(self, rule: Rule) -> None:
        # In host memory, whatever torch's default device is.
        self._shared = torch.zeros(_RANKS, len(Settings._fields), dtype=torch.float64, device="cpu").share_memory_()
        #: How often each worker began to go through the data: epochs, where `set_epoch` does not say them.
        self._begun = torch.zeros(_RANKS, _WORKERS, dtype=torch.int64, device="cpu").share_memory_()
        self._pickled_rule = torch.zeros(_RULE_BYTES, dtype=torch.uint8, device="cpu").share_memory_()
        self._rule, self._rule_version = rule, 0.0
        #: The process that counts, its passes through the data by what reads them, and how many these are.
        self._process, self._passes, self._pass_count = 0, WeakKeyDictionary[Any, _Pass](), 0
        #: The batches that no DataLoader asks for.
        self._without_loader = _Pass(0)
        #: What must be true to mix, in this process and those that are forked from it: a framework may be interrupted.
        self._mixes_while: Any = True
        #: Whether the batch that is made is one of a fit: within an epoch one may be taken by hand.
        self._is_of_fit: Any = True
        #: Whether this process evaluates meanwhile, and those that are started from it: others may train.
        self._is_paused_here = False
        #: The rank of the process that pickled this, and the process that unpickled it.
        self._sent_by, self._received_in = 0, 0

    @property
    def rule(self) -> Rule:
        """The rule that draws the plans. It may be set while training, and reaches workers that live on."""
        return self._rule_at(self._now())

    def _rule_at(self, now: Settings) -> Rule:
        if (version := now.rule_version) != self._rule_version:
            size = int.from_bytes(self._pickled_rule[:8].numpy().tobytes(), "little")
            self._rule = pickle.loads(self._pickled_rule[8 : 8 + size].numpy().tobytes())
            self._rule_version = version
        return self._rule

    @rule.setter
    def rule(self, rule: Rule) -> None:
        check_rule_of_all(rule, "MixCollate")
        data = pickle.dumps(rule)
        if len(data) + 8 > _RULE_BYTES:
            raise ValueError(f"expected a rule that pickles to at most {_RULE_BYTES - 8} bytes, got {len(data)}")
        self._pickled_rule.numpy()[: len(data) + 8] = np.frombuffer(len(data).to_bytes(8, "little") + data, np.uint8)
        self._rule, self._rule_version = rule, self._now().rule_version + 1
        self._set_everywhere("rule_version", self._rule_version)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, in workers as well: batches are counted from its first one.

        Parameters
        ----------
        epoch : int
            The epoch, at least 0. To say an epoch again begins it again.
        """
        self._begin(_whole("epoch", epoch), 0)

    def _begin(self, epoch: int, offset: int) -> None:
        """Begin an epoch whose keys are those of `epoch + offset`."""
        for name, value in {"epoch": epoch, "offset": offset, "first_batch": 0}.items():
            self._set(name, value)
        self._set("generation", self._now().generation + 1)

    def start_at(self, batch: int) -> None:
        """Resume in the midst of an epoch: call it after `set_epoch`, before the first batch.

        Parameters
        ----------
        batch : int
            The number of the first batch that the loader will make.
        """
        self._set("first_batch", _whole("batch", batch))

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._now().epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.set_epoch(epoch)

    def _now(self, rank: int | None = None) -> Settings:
        """The current settings of a rank, read once, so that a batch sees one state of them."""
        rank = self._rank() if rank is None else rank
        # Through NumPy: elements of a tensor take several times as long, and one that is made in inference mode is not
        # written to elsewhere.
        return Settings(*self._shared.numpy()[rank % _RANKS].tolist())

    def _set(self, name: str, value: float) -> None:
        self._shared.numpy()[self._rank() % _RANKS, Settings._fields.index(name)] = value

    def _set_everywhere(self, name: str, value: float) -> None:
        self._shared.numpy()[:, Settings._fields.index(name)] = value

    def _rank(self) -> int:
        """The rank. A worker that was spawned is told that of the process that started it, which knows of the group."""
        if get_worker_info() is not None and self._received_in == os.getpid():
            return self._sent_by
        return rank()

    def _place(self, now: Settings, rank: int) -> tuple[int, int]:
        """Count a batch: the epoch, and the number of the batch in it, however many workers make its batches."""
        worker, process = get_worker_info(), os.getpid()
        if self._process != process:  # a forked worker has the counters of its parent
            self._process, self._passes, self._pass_count = process, WeakKeyDictionary(), 0
            self._without_loader = _Pass(0)
        reader, number = find_pass()
        one = self._without_loader if reader is None else self._passes.get(reader)
        if one is None:
            one = self._passes[reader] = _Pass(self._begin_pass(worker, rank), now.generation, now.generation)
        if one.generation != now.generation:
            one.generation, one.step = now.generation, 0
        step, one.step = one.step, one.step + 1
        if worker is None:
            number = step
        elif number is None or one.generation != one.began:
            number = step * worker.num_workers + worker.id  # workers take turns
        return int(now.epoch) if now.generation else one.number, int(now.first_batch) + number

    def _begin_pass(self, worker: Any, rank: int) -> int:
        """The number of passes before this one. Most often workers are started anew for each."""
        if worker is None:
            self._pass_count += 1
            return self._pass_count - 1
        cell = self._begun.numpy()[rank % _RANKS]
        number, cell[worker.id % _WORKERS] = int(cell[worker.id % _WORKERS]), cell[worker.id % _WORKERS] + 1
        return number

    def __getstate__(self) -> dict[str, Any]:
        """For a spawned worker: the rank of this process, and counters that begin anew."""
        new = {"_process": 0, "_passes": None, "_sent_by": self._rank(), "_mixes_while": True, "_is_of_fit": True}
        return {**self.__dict__, **new}

    def __copy__(self) -> Any:
        """A shallow copy with settings of its own: one that is switched off leaves this one on."""
        made = object.__new__(type(self))
        made.__setstate__({**self.__getstate__(), **{name: self.__dict__[name].clone() for name in _SHARED}})
        return made

    def _is_paused(self, now: Settings) -> bool:
        """Whether a framework that trains does not train with this batch."""
        return bool(now.paused or self._is_paused_here or not self._mixes_while)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._received_in = os.getpid()
        for name in _SHARED:
            # A copy made by pickle, such as that of a saved learner, gets shared memory of its own.
            if not state[name].is_shared():
                self.__dict__[name] = state[name].share_memory_()


class Setting:
    """A setting of a collate: read from shared memory, and checked when it is set.

    Parameters
    ----------
    expected : str
        The values that are valid, in words, for the error.
    is_valid : callable
        Whether a value is one of them.
    """

    def __init__(self, expected: str, is_valid: Callable[[float], bool]):
        self._expected, self._is_valid = expected, is_valid

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, collate: None, owner: type) -> Setting: ...
    @overload
    def __get__(self, collate: SharedSettings, owner: type) -> float: ...
    def __get__(self, collate: SharedSettings | None, owner: type) -> Setting | float:
        return self if collate is None else getattr(collate._now(), self._name)

    def __set__(self, collate: SharedSettings, value: float) -> None:
        try:
            is_valid = self._is_valid(value)
        except TypeError as error:
            raise TypeError(f"{self._name} must be {self._expected}, got {value!r}") from error
        if not is_valid:
            raise ValueError(f"{self._name} must be {self._expected}, got {value!r}")
        collate._set_everywhere(self._name, value)


class RuleOption:
    """An option of the collate's rule, as an attribute: to set it replaces the rule."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, collate: None, owner: type) -> RuleOption: ...
    @overload
    def __get__(self, collate: SharedSettings, owner: type) -> float: ...
    def __get__(self, collate: SharedSettings | None, owner: type) -> RuleOption | float:
        return self if collate is None else getattr(collate.rule, self._name)

    def __set__(self, collate: SharedSettings, value: float) -> None:
        rule: Any = collate.rule
        if not (is_dataclass(rule) and hasattr(rule, self._name)):
            raise AttributeError(f"{type(rule).__name__} has no {self._name} to set; set the rule: collate.rule = ...")
        replaced: Any = replace(rule, **{self._name: value})  # pyright: ignore[reportArgumentType]
        collate.rule = replaced


class SharedFlag:
    """An attribute that is True or False, in shared memory: to set it reaches workers that live on.

    For classes whose other attributes are not shared. The copy that pickle makes has memory of its own, unless it is
    sent to a worker.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> SharedFlag: ...
    @overload
    def __get__(self, instance: object, owner: type) -> bool: ...
    def __get__(self, instance: object | None, owner: type) -> SharedFlag | bool:
        return self if instance is None else bool(vars(instance)[self._name])

    def __set__(self, instance: object, value: object) -> None:
        vars(instance).setdefault(self._name, _Flag()).set(value)

    @staticmethod
    def copied(instance: Any) -> Any:
        """A shallow copy of an object, but with flags of its own: the `__copy__` of a class that has some."""
        made = object.__new__(type(instance))
        values = vars(instance).items()
        vars(made).update({name: copy.deepcopy(value) if isinstance(value, _Flag) else value for name, value in values})
        return made


class _Flag:
    """The memory of a `SharedFlag`."""

    def __init__(self) -> None:
        self._shared = torch.zeros(1, dtype=torch.bool, device="cpu").share_memory_()

    def __bool__(self) -> bool:
        return self._shared.numpy().item()

    def set(self, value: object) -> None:
        self._shared.numpy()[0] = bool(value)

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self._shared = state["_shared"].share_memory_()
