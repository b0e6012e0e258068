"""Callbacks for Lightning: batches mixed where they are, and epochs told to a `MixCollate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        try:
            from pytorch_lightning import Callback
        except ModuleNotFoundError as error:
            message = "mixup_rs.lightning needs lightning: pip install 'mixup-rs[lightning]'"
            raise ModuleNotFoundError(message, name="lightning") from error

from mixup_rs.torch.collate import MixCollate
from mixup_rs.torch.loading import Epochs, end_pause, mixing_collate, pause, resume

__all__ = ["MixCollateEpoch"]


class _CountsEpochs(Callback):
    """Numbers the epochs of all fits, so that consecutive fits differ and a resumed one continues."""

    def __init__(self) -> None:
        self._epochs, self._is_first = Epochs(), True

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._is_first = True

    def _begin(self, trainer: Any) -> int:
        """The number of the epoch that is trained, among all fits."""
        number = self._epochs.begin(_epoch_of(trainer), self._is_first)
        self._is_first = False
        return number

    def state_dict(self) -> dict[str, Any]:
        return {"offset": self._epochs.offset}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._epochs.load(state_dict["offset"])


class MixCollateEpoch(_CountsEpochs):
    """Tells each `MixCollate` of the training loaders the epoch, also in the first epoch of a run that is resumed.

    Loaders may be nested in dicts, lists and a `CombinedLoader`. In that first epoch Lightning asks the loaders for
    batches before it calls ``on_train_epoch_start``, so the epoch is told when the trainer prepares a loader. A
    `MixCollate` of a loader for validation, test or prediction does not mix while the trainer runs; it leaves labels
    as they are.

    Raises
    ------
    ValueError
        In a fit, if one `MixCollate` makes the batches of a loader for training and of one for validation.

    See Also
    --------
    mixup_rs.torch.MixCollate : Mixes in the DataLoader.

    Examples
    --------
    >>> import torch
    >>> from lightning.pytorch import Trainer
    >>> from lightning.pytorch.demos.boring_classes import BoringModel
    >>> from mixup_rs import Mixup
    >>> from mixup_rs.torch import MixCollate
    >>> collate = MixCollate(Mixup(0.4), rng=42)
    >>> loader = torch.utils.data.DataLoader(torch.zeros(8, 32), batch_size=4, collate_fn=collate)
    >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "barebones": True}
    >>> trainer = Trainer(max_epochs=3, callbacks=[MixCollateEpoch()], accelerator="cpu", **quiet)
    >>> trainer.fit(BoringModel(), loader)
    >>> collate.epoch
    2
    """

    def __init__(self) -> None:
        super().__init__()
        self._training: list[MixCollate] = []
        self._evaluating: list[MixCollate] = []
        self._told: int | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Have the trainer show each loader before it asks it for batches."""
        super().setup(trainer, pl_module, stage)
        self._training, self._evaluating, self._told = [], [], None
        process = trainer.strategy.process_dataloader

        def shown(loader: Any) -> Any:
            if (collate := mixing_collate(loader)) is not None:
                self._prepare(trainer, collate)
            return process(loader)

        trainer.strategy.process_dataloader = shown

    def _prepare(self, trainer: Any, collate: MixCollate) -> None:
        ours, others = self._training, self._evaluating
        if not trainer.training:
            ours, others = others, ours
        if collate in others:
            raise ValueError(
                "one MixCollate makes the batches of a loader for training and of one for evaluation, which is not "
                "mixed: give each a collate of its own"
            )
        if collate not in ours:
            ours.append(collate)
        if trainer.training:
            self._tell(trainer, [collate])
        else:
            pause(collate)

    def _tell(self, trainer: Any, collates: list[MixCollate]) -> None:
        self._told, _ = _epoch_of(trainer), self._begin(trainer)
        for collate in collates:
            resume(collate, self._told, self._epochs.offset)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Tell the epoch. To tell the first one twice would count its batches anew."""
        if self._told != _epoch_of(trainer):
            self._tell(trainer, self._training)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the trainer and the loaders as they were."""
        vars(trainer.strategy).pop("process_dataloader", None)
        for collate in self._evaluating:
            end_pause(collate)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """As `teardown`, which Lightning does not call then."""
        self.teardown(trainer, pl_module, "")


def _epoch_of(trainer: Any) -> int:
    """The epoch that is trained next, or now.

    It is known when the loaders are prepared, where a checkpoint may still count the epoch as unfinished whose last
    batch it was saved after.
    """
    loop = trainer.fit_loop
    batches = loop.epoch_loop.batch_progress
    is_finished = batches.is_last_batch and batches.total.completed < batches.total.processed
    return loop.epoch_progress.current.processed + int(loop.restarting and is_finished)
