"""Callbacks for Lightning: batches mixed where they are, and epochs told to a `MixCollate`."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    try:
        from pytorch_lightning import Callback
    except ModuleNotFoundError as error:
        text = "mixup_rs.lightning needs lightning: pip install 'mixup-rs[lightning]'"
        raise ModuleNotFoundError(text, name="lightning") from error

import torch

from mixup_rs.mixer import Mixer
from mixup_rs.rules import Rule
from mixup_rs.torch.loading import Collates, Epochs, mixing_collate
from mixup_rs.torch.nest import refill

__all__ = ["Mix", "MixCollateEpoch"]


class _CountsEpochs(Callback):  # pyright: ignore[reportGeneralTypeIssues]
    """Numbers the epochs of all fits, so that consecutive fits differ and a resumed one continues."""

    def __init__(self) -> None:
        self._epochs = Epochs()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._epochs.begin_fit()

    def state_dict(self) -> dict[str, Any]:
        return {"offset": self._epochs.offset}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._epochs.load(state_dict["offset"])


def _place(trainer: Any) -> tuple[int, int]:
    """The epoch of the fit, and the number of the batch by which a run that is resumed within it goes on."""
    loop = trainer.fit_loop
    batches = loop.epoch_loop.batch_progress
    # In a checkpoint that was saved after the last batch of an epoch, this epoch is not counted yet.
    is_finished = loop.restarting and batches.is_last_batch and batches.total.completed < batches.total.processed
    first_batch = batches.current.processed if loop.restarting and not batches.is_last_batch else 0
    return loop.epoch_progress.current.processed + int(is_finished), first_batch


class Mix(_CountsEpochs):
    """Mixes the batches of training, on their device, before `training_step` gets them.

    Batches are lists or dicts, as a DataLoader's `default_collate` makes them. New tensors are put into them, and none
    is written to. Batches of validation, test and prediction are left as they are. The key of a batch is (seed, epoch,
    batch, rank): a resumed run has the mixes that it would have had. Of several of these each mixes entries of its own,
    as of several loaders. Where workers load, mixing in the loader, by `mixup_rs.torch.MixCollate`, costs less.

    Parameters
    ----------
    rule : Rule
        Draws the plan of each batch.
    inputs, targets, num_classes, label_smoothing
        As for `mixup_rs.Mixer`. Without `num_classes` class indices become pairs (y, y_partner, lam), which
        `mixup_rs.torch.mixed_loss` takes.
    rng : int or sequence of int, optional
        The seed. None takes torch's, which Lightning's `seed_everything` sets.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; in training, if a batch is no list or dict, or an entry cannot be mixed.

    Examples
    --------
    >>> from lightning.pytorch import Trainer
    >>> from mixup_rs import CutMix
    >>> mix = Mix(CutMix(1.0), num_classes=10, rng=42)
    >>> trainer = Trainer(callbacks=[mix], accelerator="cpu", max_epochs=90, barebones=True)
    """

    # fmt: off
    def __init__(self, rule: Rule, inputs: Any = None, targets: Any = None, num_classes: Any = None,
                 label_smoothing: float = 0.0, rng: int | Sequence[int] | None = None):
        # fmt: on
        super().__init__()
        self._mixer = Mixer(rule, inputs, targets, num_classes, label_smoothing, rng)

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint, apart from those of others that mix other entries."""
        return self._generate_state_key(inputs=self._mixer.inputs, targets=self._mixer.targets)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not isinstance(batch, list | MutableMapping):
            raise TypeError(
                f"expected a batch that is a list or a dict, got {type(batch).__name__}, which a callback cannot "
                "replace; mix in the DataLoader instead: collate_fn=MixCollate(...)"
            )
        seed = (torch.initial_seed(),) if self._mixer.rng is None else ()
        key = (*seed, self._epochs.begin(_place(trainer)[0]), batch_idx, trainer.global_rank)
        refill(batch, self._mixer(batch, key=key))


class MixCollateEpoch(_CountsEpochs):
    """Tells each `MixCollate` of the training loaders the epoch, also in the first epoch of a run that is resumed.

    A run that is resumed within an epoch goes on with the number of the batch, whose samples are those that it would
    have had if the loader can be resumed, as Lightning has it. A loader that is gone through several times in an epoch,
    as a `CombinedLoader` does with a short one, has the mixes of that epoch each time.

    Loaders may be nested in dicts, lists and a `CombinedLoader`. While the trainer runs, a `MixCollate` of a loader for
    validation, test or prediction leaves its batches as they are; that of a training loader must be another one.

    Examples
    --------
    >>> from lightning.pytorch import Trainer
    >>> trainer = Trainer(callbacks=[MixCollateEpoch()], accelerator="cpu", max_epochs=90, barebones=True)
    """

    def __init__(self) -> None:
        super().__init__()
        self._collates = Collates()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        process = trainer.strategy.process_dataloader

        # Workers are asked for the first batches of a fit before any hook that knows the epoch, but after this.
        def shown(loader: Any) -> Any:
            if (collate := mixing_collate(loader)) is not None:
                self._collates.add(collate, trainer.training)
                if trainer.training:
                    self.on_train_epoch_start(trainer, pl_module)
            return process(loader)

        trainer.strategy.process_dataloader = shown

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        epoch, first_batch = _place(trainer)
        self._epochs.begin(epoch)
        self._collates.begin(epoch, self._epochs.offset, first_batch)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        vars(trainer.strategy).pop("process_dataloader", None)
        self._collates.release()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "")
