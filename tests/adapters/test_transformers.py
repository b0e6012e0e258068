"""Hugging Face's Trainer: the loss of mixed targets, under gradient accumulation, in training and nowhere else."""

import doctest
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification
from transformers.modeling_outputs import ImageClassifierOutput

import mixup_rs.losses
from mixup_rs import Mixup
from mixup_rs.losses import soft_target_loss
from mixup_rs.torch import MixCollate, PairedTarget

CLASSES, N = 5, 8
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(N, CLASSES))
SOFT = RNG.dirichlet(np.ones(CLASSES), N)
OWN, PARTNER, LAM = RNG.integers(CLASSES, size=N), RNG.integers(CLASSES, size=N), RNG.random(N)
LOGITS_OF_PIXELS = RNG.normal(size=(N, CLASSES, 2, 3))
PIXELS = RNG.integers(CLASSES, size=(N, 2, 3))


def losses(logits, soft):
    """Of each item, along the last axis."""
    return -(soft * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1)


def one_hot(y):
    """-100 has a share in no class."""
    return np.eye(CLASSES)[np.maximum(y, 0)] * (y >= 0)[..., None]


def tensor(value):
    return torch.tensor(value)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, CLASSES)

    def forward(self, x, labels=None):
        assert labels is None, "the loss is not the model's"
        return {"logits": self.linear(x)}


OUTPUTS = {
    "ModelOutput": lambda logits: ImageClassifierOutput(logits=logits, hidden_states=(logits * 0,)),
    "its tuple": lambda logits: ImageClassifierOutput(logits=logits, hidden_states=(logits * 0,)).to_tuple(),
    "tuple with the model's loss": lambda logits: (tensor(7.0), logits, logits * 0),
    "list": lambda logits: [logits],
    "dict": lambda logits: {"loss": tensor(7.0), "logits": logits},
    "tensor": lambda logits: logits,
}


class TestValues:
    @pytest.mark.parametrize("form", OUTPUTS)
    @pytest.mark.parametrize("count", [None, 20, tensor(20), tensor(20.0), tensor([20])])
    def test_soft_targets(self, form, count):
        got = soft_target_loss(OUTPUTS[form](tensor(LOGITS)), tensor(SOFT), count)
        total = losses(LOGITS, SOFT).sum()
        assert got.ndim == 0
        np.testing.assert_allclose(got, total / N if count is None else total * CLASSES / 20, rtol=1e-12)

    @pytest.mark.parametrize("form", OUTPUTS)
    @pytest.mark.parametrize("count", [None, 20])
    @pytest.mark.parametrize("lam", [LAM, np.array(0.3), 0.3, np.ones(N)], ids=["lams", "one", "number", "unmixed"])
    @pytest.mark.parametrize("kind", [tuple, list, PairedTarget])
    def test_pairs(self, form, count, lam, kind):
        pair = kind((tensor(OWN), tensor(PARTNER), torch.as_tensor(lam)))
        got = soft_target_loss(OUTPUTS[form](tensor(LOGITS)), pair, count)
        share = np.broadcast_to(lam, N)[:, None]
        total = losses(LOGITS, share * one_hot(OWN) + (1 - share) * one_hot(PARTNER)).sum()
        np.testing.assert_allclose(got, total / (N if count is None else count), rtol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
    @pytest.mark.parametrize("count", [None, 20])
    def test_class_indices(self, dtype, count):
        got = soft_target_loss(tensor(LOGITS), tensor(OWN).to(dtype), count)
        np.testing.assert_allclose(got, losses(LOGITS, one_hot(OWN)).sum() / (count or N), rtol=1e-12)

    def test_labels_that_are_ignored(self):
        y = np.where(np.arange(N) % 3 == 0, -100, OWN)
        for count in (None, 20):
            got = soft_target_loss(tensor(LOGITS), tensor(y), count)
            np.testing.assert_allclose(got, losses(LOGITS, one_hot(y)).sum() / (count or (y >= 0).sum()), rtol=1e-12)

    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("count", [None, 200])
    @pytest.mark.parametrize("axis", [1, -1], ids=["pixels", "tokens"])
    def test_several_items_a_sample(self, soft, count, axis):
        """Masks have the classes along axis 1, tokens along the last, as in transformers."""
        logits = np.moveaxis(LOGITS_OF_PIXELS, 1, -1)
        target, y = one_hot(PIXELS), PIXELS
        if axis == -1:
            logits, target, y = logits.reshape(N, 6, -1), target.reshape(N, 6, -1), y.reshape(N, 6)
        if soft:
            target = 0.7 * target + 0.3 * target[::-1]
        total, items = losses(logits, target).sum(), y.size
        labels = tensor(np.moveaxis(target, -1, axis)) if soft else tensor(y)
        got = soft_target_loss(tensor(np.moveaxis(logits, -1, axis)), labels, count)
        expected = total / items if count is None else total * (CLASSES if soft else 1) / count
        np.testing.assert_allclose(got, expected, rtol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype):
        logits, soft = tensor(LOGITS).to(dtype).requires_grad_(), tensor(SOFT).to(dtype)
        got = soft_target_loss(logits, soft)
        assert got.dtype == torch.float32
        expected = losses(logits.detach().double().numpy(), soft.double().numpy()).mean()
        np.testing.assert_allclose(got.detach(), expected, rtol=1e-5)
        got.backward()
        assert logits.grad.dtype == dtype


class TestAccumulation:
    """Batches whose gradients are accumulated train as one batch of all their samples."""

    @staticmethod
    def labels(kind, ignored):
        own = np.where(np.arange(N) % 3 == 0, -100, OWN) if ignored else OWN
        if kind == "soft":
            return list(tensor(SOFT.astype(np.float32)))
        return (
            list(tensor(own)) if kind == "indices" else [*zip(tensor(own), tensor(PARTNER), tensor(LAM), strict=True)]
        )

    @pytest.mark.parametrize(("kind", "ignored"), [
        ("soft", False), ("pairs", False), ("indices", False), ("pairs", True), ("indices", True)
    ])  # fmt: skip
    def test_one_step(self, tmp_path, kind, ignored):
        samples = [{"x": torch.tensor([i, 1.0, -i]) / N, "labels": y} for i, y in enumerate(self.labels(kind, ignored))]

        def collate(samples):
            labels = [sample["labels"] for sample in samples]
            stacked = PairedTarget(map(torch.stack, zip(*labels, strict=True))) if kind == "pairs" else None
            return {
                "x": torch.stack([sample["x"] for sample in samples]),
                "labels": torch.stack(labels) if stacked is None else stacked,
            }

        def trained(batch, accumulated):
            model = Tiny()
            trainer_of(
                tmp_path, model, samples, collate, per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulated, max_steps=1, learning_rate=1.0,
                optim="sgd", max_grad_norm=0, lr_scheduler_type="constant",
            ).train()  # fmt: skip
            return model.linear.weight.detach()

        start, x = Tiny(), np.stack([sample["x"].numpy() for sample in samples]).astype(np.float64)
        weight, bias = (value.detach().double().numpy() for value in (start.linear.weight, start.linear.bias))
        logits = x @ weight.T + bias
        own = np.where(np.arange(N) % 3 == 0, -100, OWN) if ignored else OWN
        lam = LAM[:, None] if kind == "pairs" else 1.0
        target = SOFT if kind == "soft" else lam * one_hot(own) + (1 - lam) * one_hot(PARTNER)
        # The gradient of the mean of the losses of all items.
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        gradient = (chances * target.sum(1, keepdims=True) - target).T @ x / target.sum()
        for batch, accumulated in ((8, 1), (4, 2), (2, 4), (3, 3)):
            np.testing.assert_allclose(trained(batch, accumulated), weight - gradient, rtol=1e-5, atol=1e-6)


def trainer_of(folder, model, samples, collate, **options):
    options = TrainingArguments(
        str(folder), use_cpu=True, report_to="none", disable_tqdm=True, seed=1, **{"save_strategy": "no"} | options
    )
    return Trainer(model, options, train_dataset=samples, data_collator=collate, compute_loss_func=soft_target_loss)


class TestErrors:
    X = torch.zeros(2, 3)

    @pytest.mark.parametrize(("outputs", "labels", "error", "message"), [
        (X, None, TypeError, "the batch that the collate makes needs an entry 'labels'"),
        (X, [0, 1], TypeError, r"a tensor or \(y, y_partner, lam\), got list"),
        (X, torch.tensor([[True, False, True]] * 2), TypeError, "class indices or soft targets, got torch.bool"),
        (X, torch.tensor([[1.0, 0.0, 1.0]] * 2), ValueError, "sum to 1, got sums of 2 to 2; several labels at once"),
        (X[:, :1], torch.zeros(2, dtype=torch.long), ValueError, r"single class is always 0, got .* \(2, 1\)"),
        (X[:, :1], torch.ones(2, 1), ValueError, "single class is always 0"),
        (X, torch.zeros(2), ValueError, r"soft targets have the shape of the logits, \(2, 3\), got \(2,\)"),
        (X, torch.zeros(2, 1, dtype=torch.long), ValueError, r"have the shape \(2,\), got \(2, 1\)"),
        (torch.zeros(2), torch.zeros(2), ValueError, r"logits of shape \(n, classes, ...\), got .* \(2,\)"),
        ({"loss": X, "start_logits": X}, X, TypeError, "an entry 'logits', got 'loss', 'start_logits'"),
        ((torch.tensor(1.0),), X, TypeError, "expected logits, a tensor of floats, got NoneType"),
        (X.long(), X, TypeError, r"got torch.int64 of shape \(2, 3\)"),
        (X, (torch.tensor([0, 1]), torch.tensor([1, 0]), 1.5), ValueError, r"lam must lie in \[0, 1\]"),
    ])  # fmt: skip
    def test_what_came_and_what_was_expected(self, outputs, labels, error, message):
        with pytest.raises(error, match=message):
            soft_target_loss(outputs, labels)


class TestTrainer:
    @staticmethod
    def model():
        config = ViTConfig(image_size=4, patch_size=2, num_channels=1, num_labels=CLASSES, hidden_size=8,
                           num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)  # fmt: skip
        return ViTForImageClassification(config)

    @pytest.mark.parametrize("options", [{"num_classes": CLASSES}, {}], ids=["soft", "pairs"])
    def test_the_model_never_sees_the_labels(self, tmp_path, options):
        model, samples = self.model(), [{"pixel_values": torch.rand(1, 4, 4), "labels": int(y)} for y in OWN]
        trainer_of(tmp_path, model, samples, MixCollate(Mixup(1.0), rng=1, **options), max_steps=1).train()
        assert model.config.problem_type is None

    def test_what_is_silently_wrong_without_it(self):
        """The reason for `compute_loss_func`: if this fails, transformers has changed."""
        model = self.model()
        loss = model(pixel_values=torch.rand(N, 1, 4, 4), labels=tensor(SOFT).float()).loss
        assert model.config.problem_type == "multi_label_classification"
        assert loss > 0


def test_a_run_that_is_resumed_within_an_epoch_goes_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    import hf_trainer

    rule, seen = Mixup(1.0), []
    collate = MixCollate(rule, inputs="x", targets="labels", rng=1)
    monkeypatch.setattr(hf_trainer, "COLLATE", collate)

    def loss(outputs, target, num_items_in_batch=None):
        seen.append(target.lam.tolist())
        return soft_target_loss(outputs, target, num_items_in_batch)

    samples = [{"x": torch.tensor([i, 1.0, -i]), "labels": i % CLASSES} for i in range(12)]
    options = {"save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 2, "num_train_epochs": 2}
    options |= {"gradient_accumulation_steps": 2}
    for checkpoint, first in ((None, 0), ("checkpoint-1", 2), ("checkpoint-4", 8)):
        seen.clear()
        trainer = trainer_of(tmp_path, Tiny(), samples, collate, **options)
        trainer.compute_loss_func = loss
        trainer.add_callback(hf_trainer.MixEpoch())
        trainer.train(resume_from_checkpoint=checkpoint and str(tmp_path / checkpoint))
        keys = [(1, epoch, batch, 0) for epoch in range(2) for batch in range(6)][first:]
        np.testing.assert_allclose(seen, [rule.plan(2, rng=key).lam for key in keys], rtol=1e-6)
    sys.modules.pop("hf_trainer")


def test_the_example(tmp_path, monkeypatch):
    """Training batches are mixed and batches of evaluation are not; the model learns."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    import hf_trainer

    labels = {True: [], False: []}

    def loss(outputs, target, num_items_in_batch=None):
        labels[torch.is_grad_enabled()].append(target)
        return soft_target_loss(outputs, target, num_items_in_batch)

    monkeypatch.setattr(hf_trainer, "soft_target_loss", loss)
    metrics = hf_trainer.main(str(tmp_path), epochs=3)
    sys.modules.pop("hf_trainer")
    assert metrics["eval_accuracy"] > 0.5
    assert len(labels[True]) > 10
    # With smoothing alone the largest share would be .91.
    assert all(y.shape[1] == 10 and float(y.max(1).values.min()) < 0.9 for y in labels[True])
    assert all(y.ndim == 1 and not y.is_floating_point() for y in labels[False])


def test_the_examples_in_the_docstrings():
    failed, tried = doctest.testmod(mixup_rs.losses)
    assert tried > 0
    assert failed == 0
