"""Mixes the training batches of Hugging Face's Trainer, and no others.

    python examples/hf_trainer.py

`data_collator` makes the batches of evaluation too, so only the training loader is built with `MixCollate`. The labels
become soft targets for `compute_loss_func`: the model itself would take them for several labels at once.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

from mixup_rs import Mixup
from mixup_rs.losses import soft_target_loss
from mixup_rs.torch import MixCollate

COLLATE = MixCollate(Mixup(0.4), num_classes=10, label_smoothing=0.1, rng=42)


class MixTrainer(Trainer):
    def get_train_dataloader(self):
        plain, self.data_collator = self.data_collator, COLLATE
        try:
            return super().get_train_dataloader()  # which wraps the collate, to remove columns
        finally:
            self.data_collator = plain


class MixEpoch(TrainerCallback):
    def on_epoch_begin(self, args, state, control, train_dataloader, **kwargs):
        epoch = state.epoch or 0
        COLLATE.set_epoch(int(epoch))
        COLLATE.start_at(round(epoch % 1 * len(train_dataloader)))  # so that a run that is resumed has the same mixes


def main(folder: str = "demo/hf_trainer", epochs: int = 6) -> dict[str, float]:
    digits = load_digits()
    samples = [{"pixel_values": torch.tensor(image[None] / 8 - 1, dtype=torch.float32), "labels": int(label)}
               for image, label in zip(digits.images, digits.target, strict=True)]  # fmt: skip
    config = ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=10, hidden_size=64,
                       num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)  # fmt: skip
    options = TrainingArguments(folder, num_train_epochs=epochs, per_device_train_batch_size=16, learning_rate=3e-3,
                                gradient_accumulation_steps=2, eval_strategy="epoch", save_strategy="no", seed=42,
                                disable_tqdm=True, report_to="none", use_cpu=not torch.cuda.is_available())  # fmt: skip
    trainer = MixTrainer(
        ViTForImageClassification(config), options, train_dataset=samples[:1500], eval_dataset=samples[1500:],
        compute_loss_func=soft_target_loss, callbacks=[MixEpoch()],
        compute_metrics=lambda result: {"accuracy": float(np.mean(result.predictions.argmax(-1) == result.label_ids))},
    )  # fmt: skip
    trainer.train()
    assert trainer.model.config.problem_type is None
    return trainer.evaluate()


if __name__ == "__main__":
    print(f"{main()['eval_accuracy']:.0%} of the validation set are right")
