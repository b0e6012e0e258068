"""Lightning: every training batch is mixed by its key, also after a resume; nothing else is mixed."""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, default_collate
from trainers import BATCH, CLASSES, RULE, SAMPLES, SEED, N, Stream, assert_are, mixed

import mixup_rs.lightning
from mixup_rs.lightning import Mix, MixCollateEpoch
from mixup_rs.torch import MixCollate

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
EPOCHS, STEPS = 4, N // BATCH
LOADING = [(0, False), (2, False), (2, True)]


class Batches:
    """Numbers of samples in order, from a batch on in the first pass."""

    first = 0

    def __len__(self):
        return STEPS

    def __iter__(self):
        first, self.first = self.first, 0
        yield from ([*range(BATCH * batch, BATCH * (batch + 1))] for batch in range(first, STEPS))


class Resumable(DataLoader):
    """A loader whose place is kept in checkpoints, as Lightning asks it."""

    taken = 0

    def state_dict(self):
        return {"first": self.taken % STEPS}

    def load_state_dict(self, state):
        self.batch_sampler.first = state["first"]


class Recorder(LightningModule):
    """Keeps the batches that each step is given."""

    def __init__(self, fails_at=None, loader=None):
        super().__init__()
        self.loader = loader
        self.linear = torch.nn.Linear(3, CLASSES)
        self.trained, self.evaluated, self.predicted, self.fails_at = [], [], [], fails_at

    def training_step(self, batch, batch_idx):
        if len(self.trained) == self.fails_at:
            raise RuntimeError("stop here")
        self.trained.append(batch)
        if self.loader is not None:
            self.loader.taken = batch_idx + 1
        return self.linear(torch.ones(3)).sum()

    def validation_step(self, batch, batch_idx):
        self.evaluated.append(batch)

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        self.predicted.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def trainer_of(*callbacks, **options):
    options = {"max_epochs": EPOCHS, "enable_checkpointing": False} | options
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", callbacks=list(callbacks), **quiet, **options)


def collate_of(**options):
    return MixCollate(RULE, **{"num_classes": CLASSES, "rng": SEED} | options)


def loader_of(collate, workers=0, persistent=False, data=SAMPLES):
    return DataLoader(data, BATCH, collate_fn=collate, num_workers=workers, persistent_workers=persistent)


def expected_of(epochs, offset=0):
    return [mixed(batch, epoch + offset) for epoch in epochs for batch in range(STEPS)]


def assert_unmixed(batches):
    assert batches
    for x, y in batches:
        assert y.dtype == torch.int64
        assert x.tolist() == [[i, i, i] for i in x[:, 0].tolist()]
        assert (x[:, 0].long() % CLASSES).tolist() == y.tolist()


class TestMixCollateEpoch:
    @pytest.mark.parametrize(("workers", "persistent"), LOADING)
    @pytest.mark.parametrize("data", [SAMPLES, Stream()], ids=["list", "stream"])
    @pytest.mark.parametrize("saved", ["epoch_end", "validation_end", "last_batch"])
    def test_a_resumed_run_has_the_batches_of_the_whole(self, tmp_path, workers, persistent, data, saved):
        """Workers collate the first batches of a run before any hook of a callback is called."""

        def fit(epochs, checkpoint=None):
            when = {"every_n_train_steps": STEPS} if saved == "last_batch" else {}
            save = ModelCheckpoint(tmp_path, save_top_k=-1, save_on_train_epoch_end=saved == "epoch_end", **when)
            trainer = trainer_of(MixCollateEpoch(), save, max_epochs=epochs, enable_checkpointing=True)
            model = Recorder()
            valid = None if saved == "last_batch" else DataLoader(SAMPLES, BATCH)
            trainer.fit(model, loader_of(collate_of(), workers, persistent, data), valid, ckpt_path=checkpoint)
            return model.trained, save.best_model_path

        first, checkpoint = fit(2)
        rest, _ = fit(EPOCHS, checkpoint)
        assert_are(first, expected_of([0, 1]))
        assert_are(rest, expected_of([2, 3]))

    @pytest.mark.parametrize(("workers", "persistent"), LOADING)
    @pytest.mark.parametrize("options", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 3 * STEPS}])
    @pytest.mark.parametrize("done", [1, 2, STEPS + 1, 2 * STEPS + 2])
    def test_a_run_that_is_resumed_within_an_epoch_goes_on(self, tmp_path, workers, persistent, options, done):
        def fit(*callbacks, checkpoint=None, **options):
            loader = Resumable(
                SAMPLES, batch_sampler=Batches(), collate_fn=collate_of(), num_workers=workers,
                persistent_workers=persistent
            )  # fmt: skip
            model = Recorder(loader=loader)
            options = {"enable_checkpointing": bool(callbacks)} | options
            trainer_of(MixCollateEpoch(), *callbacks, **options).fit(model, loader, ckpt_path=checkpoint)
            return model.trained

        save = ModelCheckpoint(tmp_path, every_n_train_steps=done, save_top_k=-1)
        whole = fit(save, **options)
        assert_are(whole, expected_of(range(3)))
        epoch = done // STEPS
        assert_are(
            fit(checkpoint=tmp_path / f"epoch={epoch}-step={done}.ckpt", **options), expected_of(range(3))[done:]
        )

    @pytest.mark.parametrize(("workers", "persistent"), LOADING)
    def test_epochs_that_are_cut_short(self, workers, persistent):
        model = Recorder()
        trainer_of(MixCollateEpoch(), limit_train_batches=2).fit(model, loader_of(collate_of(), workers, persistent))
        assert_are(model.trained, [mixed(batch, epoch) for epoch in range(EPOCHS) for batch in range(2)])

    @pytest.mark.parametrize("reload", [0, 1])
    def test_loaders_that_the_module_makes(self, reload):
        class WithLoader(Recorder):
            def train_dataloader(self):
                return loader_of(collate_of(), 2)

        model = WithLoader()
        trainer_of(MixCollateEpoch(), reload_dataloaders_every_n_epochs=reload).fit(model)
        # A collate of its own for each epoch, or one that is told the epochs.
        assert_are(model.trained, expected_of(range(EPOCHS)))

    @pytest.mark.parametrize("nest", [
        lambda a, b: {"a": a, "b": b},
        lambda a, b: [a, b],
        lambda a, b: CombinedLoader({"a": a, "b": [b, DataLoader(range(3))]}, "max_size"),
    ])  # fmt: skip
    def test_loaders_in_nests(self, nest):
        a, b = collate_of(), collate_of()
        trainer_of(MixCollateEpoch(), max_epochs=3).fit(Recorder(), nest(loader_of(a, 2), loader_of(b)))
        assert (a.epoch, b.epoch) == (2, 2)

    def test_consecutive_fits_differ_and_a_resumed_one_goes_on(self, tmp_path):
        callback, collate, seen = MixCollateEpoch(), collate_of(), []
        for path in (tmp_path / "first.ckpt", tmp_path / "second.ckpt"):
            trainer, model = trainer_of(callback, max_epochs=2), Recorder()
            trainer.fit(model, loader_of(collate))
            trainer.save_checkpoint(path)
            seen.append(model.trained)
        assert_are(seen[0], expected_of([0, 1]))
        assert_are(seen[1], expected_of([0, 1], offset=2))
        for path, offset in ((tmp_path / "second.ckpt", 2), (tmp_path / "first.ckpt", 0)):
            model = Recorder()
            trainer_of(callback, max_epochs=3).fit(model, loader_of(collate), ckpt_path=path)
            assert_are(model.trained, expected_of([2], offset))

    def test_evaluation_is_not_mixed(self):
        train, valid = collate_of(), collate_of()
        model, trainer = Recorder(), trainer_of(MixCollateEpoch(), num_sanity_val_steps=2, val_check_interval=2)
        trainer.fit(model, loader_of(train, 2), loader_of(valid))
        assert_are(model.trained, expected_of(range(EPOCHS)))
        assert len(model.evaluated) == 2 + EPOCHS * STEPS
        assert_unmixed(model.evaluated)
        assert train.mixes()
        assert valid.mixes()  # elsewhere

    @pytest.mark.parametrize("stage", ["validate", "test", "predict"])
    def test_evaluation_on_the_training_set(self, stage):
        collate = collate_of()
        model, trainer = Recorder(), trainer_of(MixCollateEpoch(), max_epochs=1)
        getattr(trainer, stage)(model, loader_of(collate, 2))
        assert_unmixed(model.predicted if stage == "predict" else model.evaluated)
        trainer.fit(model, loader_of(collate))
        assert_are(model.trained, expected_of([0]))

    def test_one_collate_for_training_and_validation_is_refused(self):
        loader, trainer = loader_of(collate_of()), trainer_of(MixCollateEpoch())
        with pytest.raises(ValueError, match="one MixCollate makes the batches of a loader for training and of one"):
            trainer.fit(Recorder(), loader, loader)
        with pytest.raises(ValueError, match="give each a collate of its own"):
            trainer_of(MixCollateEpoch(), num_sanity_val_steps=0).fit(Recorder(), loader, loader)

    def test_an_exception_leaves_the_trainer_as_it_was(self):
        valid, trainer = collate_of(), trainer_of(MixCollateEpoch())
        with pytest.raises(RuntimeError, match="stop here"):
            trainer.fit(Recorder(fails_at=5), loader_of(collate_of()), loader_of(valid))
        assert "process_dataloader" not in vars(trainer.strategy)
        assert valid.mixes()

    def test_other_loaders_are_left_alone(self):
        model = Recorder()
        trainer_of(MixCollateEpoch(), max_epochs=1).fit(model, DataLoader(SAMPLES, BATCH))
        assert_unmixed(model.trained)


def as_dict(samples):
    x, y = zip(*samples, strict=True)
    return {"image": torch.stack(x), "label": torch.tensor(y), "index": torch.arange(len(y)), "name": ["a"] * len(y)}


class TestMix:
    @staticmethod
    def fit(mix, loader, **options):
        model = Recorder()
        options = {"max_epochs": 2} | options
        trainer_of(mix, **options).fit(model, loader)
        return model

    def test_lists(self):
        model = self.fit(Mix(RULE, num_classes=CLASSES, rng=SEED), DataLoader(SAMPLES, BATCH))
        assert_are(model.trained, expected_of([0, 1]))
        assert all(type(batch) is list for batch in model.trained)

    def test_dicts(self):
        loader = DataLoader(SAMPLES, BATCH, collate_fn=as_dict)
        model = self.fit(Mix(RULE, num_classes=CLASSES, rng=SEED), loader)
        assert_are([(batch["image"], batch["label"]) for batch in model.trained], expected_of([0, 1]))
        for batch in model.trained:
            assert list(batch) == ["image", "label", "index", "name"]
            assert batch["index"].tolist() == [0, 1, 2, 3]

    def test_named_entries(self):
        """The loaders' batches in a dict by their paths."""
        loaders = {"a": DataLoader(SAMPLES, BATCH), "b": DataLoader(SAMPLES, BATCH)}
        mix = Mix(RULE, inputs=[("a", 0)], targets=[("a", 1)], num_classes=CLASSES, rng=SEED)
        model = self.fit(mix, loaders, max_epochs=1)
        assert_are([batch["a"] for batch in model.trained], expected_of([0]))
        assert_unmixed([batch["b"] for batch in model.trained])

    def test_pairs_and_smoothing(self):
        plan = RULE.plan(BATCH, rng=(SEED, 0, 0, 0))
        _, (y, y_partner, lam) = self.fit(Mix(RULE, rng=SEED), DataLoader(SAMPLES, BATCH)).trained[0]
        assert y.tolist() == [0, 1, 2, 0]
        assert y_partner.tolist() == y[plan.partner].tolist()
        np.testing.assert_allclose(lam, plan.lam, rtol=1e-6)
        mix = Mix(RULE, num_classes=CLASSES, label_smoothing=0.3, rng=SEED)
        _, soft = self.fit(mix, DataLoader(SAMPLES, BATCH)).trained[0]
        np.testing.assert_allclose(soft, 0.7 * mixed(0, 0)[1] + 0.1, rtol=1e-6)

    def test_no_tensor_is_written_to(self):
        """On a CPU the batch that a callback sees has the user's own tensors."""
        stored = default_collate(SAMPLES)
        model = self.fit(Mix(RULE, num_classes=CLASSES, rng=SEED), DataLoader([stored], batch_size=None))
        assert_unmixed([stored])
        assert len(model.trained) == 2
        assert not torch.equal(model.trained[0][0], model.trained[1][0])

    def test_a_resumed_run_has_the_batches_of_the_whole(self, tmp_path):
        first, rest = Recorder(), Recorder()
        trainer = trainer_of(Mix(RULE, num_classes=CLASSES, rng=SEED), max_epochs=2)
        trainer.fit(first, DataLoader(SAMPLES, BATCH))
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        trainer = trainer_of(Mix(RULE, num_classes=CLASSES, rng=SEED))
        trainer.fit(rest, DataLoader(SAMPLES, BATCH), ckpt_path=tmp_path / "last.ckpt")
        assert_are(first.trained + rest.trained, expected_of(range(EPOCHS)))

    def test_consecutive_fits_differ(self):
        mix = Mix(RULE, num_classes=CLASSES, rng=SEED)
        seen = [self.fit(mix, DataLoader(SAMPLES, BATCH)).trained for _ in range(2)]
        assert_are(seen[0] + seen[1], expected_of(range(4)))

    def test_without_a_seed_it_is_torchs(self):
        def seen(seed):
            seed_everything(seed, verbose=False)
            return self.fit(Mix(RULE), DataLoader(SAMPLES, BATCH)).trained[0][1].lam.tolist()

        assert seen(1) == seen(1) != seen(2)

    def test_evaluation_is_not_mixed(self):
        mix, model, loader = Mix(RULE, rng=SEED), Recorder(), DataLoader(SAMPLES, BATCH)
        trainer = trainer_of(mix, num_sanity_val_steps=2, val_check_interval=2)
        trainer.fit(model, loader, loader)
        for stage in ("validate", "test", "predict"):
            getattr(trainer, stage)(model, loader)
        assert len(model.evaluated) == 2 + EPOCHS * STEPS + 2 * STEPS
        assert_unmixed(model.evaluated + model.predicted)

    @pytest.mark.parametrize(("collate", "name"), [
        (lambda samples: tuple(default_collate(samples)), "tuple"),
        (lambda samples: default_collate(samples)[0], "Tensor"),
    ])  # fmt: skip
    def test_a_batch_that_cannot_be_replaced_is_refused(self, collate, name):
        with pytest.raises(TypeError, match=rf"a list or a dict, got {name}.*collate_fn=MixCollate"):
            self.fit(Mix(RULE), DataLoader(SAMPLES, BATCH, collate_fn=collate))

    def test_a_model_that_takes_the_iterator_is_refused(self):
        """It fetches its batches itself, after the callback."""

        class TakesIterator(Recorder):
            def training_step(self, dataloader_iter):
                next(dataloader_iter)

        with pytest.raises(TypeError, match="a list or a dict, got NoneType"):
            trainer_of(Mix(RULE), max_epochs=1).fit(TakesIterator(), DataLoader(SAMPLES, BATCH))

    def test_two_of_them_mix_two_loaders(self, tmp_path):
        """Lightning asks callbacks of one class for the names of their states."""
        mixes = [Mix(RULE, inputs=[(name, 0)], targets=[(name, 1)], num_classes=CLASSES, rng=SEED) for name in "ab"]
        loaders, seen = {name: DataLoader(SAMPLES, BATCH) for name in "ab"}, []
        for path, options in ((None, {"max_epochs": 2}), (tmp_path / "last.ckpt", {"max_epochs": 3})):
            trainer, model = trainer_of(*mixes, **options), Recorder()
            trainer.fit(model, loaders, ckpt_path=path)
            trainer.save_checkpoint(tmp_path / "last.ckpt")
            seen += model.trained
        for name in "ab":
            assert_are([batch[name] for batch in seen], expected_of(range(3)))

    def test_arguments_are_checked(self):
        with pytest.raises(TypeError, match="rule must be a rule"):
            Mix(0.4)


def test_the_example(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    import lightning_train

    assert lightning_train.main(str(tmp_path), epochs=3) > 0.6
    sys.modules.pop("lightning_train")


#: Started as `python FILE STRATEGY FOLDER`: two ranks, each writes the weights of the batches that it was given.
SCRIPT = """
import json
import sys
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader
from trainers import BATCH, RULE, SAMPLES, SEED
from mixup_rs.lightning import Mix, MixCollateEpoch
from mixup_rs.torch import MixCollate

class Model(LightningModule):
    def __init__(self, folder):
        super().__init__()
        self.linear, self.folder, self.seen = torch.nn.Linear(3, 1), folder, []

    def training_step(self, batch, batch_idx):
        x, (y, y_partner, lam) = batch["collate"]
        self.seen.append([lam.tolist(), batch["callback"][1].lam.tolist()])
        return self.linear(x).mean()

    def on_train_end(self):
        with open(f"{self.folder}/{self.trainer.global_rank}.json", "w") as file:
            json.dump(self.seen, file)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

if __name__ == "__main__":
    strategy, folder = sys.argv[1:]
    in_collate = DataLoader(SAMPLES, BATCH, collate_fn=MixCollate(RULE, rng=SEED), num_workers=1)
    loaders = {"collate": in_collate, "callback": DataLoader(SAMPLES, BATCH)}
    callbacks = [MixCollateEpoch(), Mix(RULE, inputs=[("callback", 0)], targets=[("callback", 1)], rng=SEED)]
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    ranks = dict(accelerator="cpu", devices=2, strategy=strategy)
    trainer = Trainer(max_epochs=2, callbacks=callbacks, **ranks, **quiet)
    trainer.fit(Model(folder), loaders)
"""


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp"])
def test_ranks_mix_differently(tmp_path, request, strategy):
    """Both launchers of Lightning; gloo on the CPU."""
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    support = str(request.path.parents[1] / "support")
    paths = os.pathsep.join([support, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        environment.pop(name, None)
    command = [sys.executable, str(script), strategy, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        # Of 12 samples a rank has 6: a batch of 4 and one of 2.
        sizes = [(epoch, batch, n) for epoch in (0, 1) for batch, n in enumerate((BATCH, N // 2 - BATCH))]
        expected = [RULE.plan(n, rng=(SEED, epoch, batch, rank)).lam for epoch, batch, n in sizes]
        seen = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(seen) == len(expected)
        for lams, other in zip(seen, expected, strict=True):
            np.testing.assert_allclose(lams, [other, other], rtol=1e-6)


def test_the_examples_in_the_docstrings():
    failed, tried = doctest.testmod(mixup_rs.lightning)
    assert tried > 0
    assert failed == 0


def test_a_missing_library_names_its_extra(run_python):
    code = """
import sys
sys.modules["lightning.pytorch"] = sys.modules["pytorch_lightning"] = None
try:
    import mixup_rs.lightning
except ModuleNotFoundError as error:
    print(error, error.name)
"""
    assert run_python(code) == "mixup_rs.lightning needs lightning: pip install 'mixup-rs[lightning]' lightning\n"
