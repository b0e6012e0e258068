"""Ray Data reads, decodes and mixes images, and two workers of Ray Train train on them.

python examples/ray_pipeline.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import ray
import torch
from PIL import Image
from ray.train import RunConfig, ScalingConfig, get_context, get_dataset_shard
from ray.train.torch import TorchConfig, TorchTrainer
from sklearn.datasets import load_digits
from torch import nn

from mixup_rs import Mixup
from mixup_rs.ray import MixCollate


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10))


def train(folder: str) -> None:
    model = nn.parallel.DistributedDataParallel(network())
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    collate = MixCollate(Mixup(0.4), num_classes=10, normalize=(0.5, 0.5), rng=42)
    for epoch in range(4):
        collate.set_epoch(epoch)
        for batch in get_dataset_shard("train").iter_torch_batches(batch_size=32, collate_fn=collate):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch["image"]), batch["label"]).backward()
            optimizer.step()
    if get_context().get_world_rank() == 0:
        torch.save(model.module.state_dict(), Path(folder, "model.pt"))


def main(folder: str) -> float:
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        Image.fromarray((image * 15).astype("uint8")).convert("RGB").save(Path(folder, f"{label}-{i}.png"))
    files = ray.data.read_images(folder, include_paths=True, file_extensions=["png"])
    data = files.map(lambda row: {"image": row["image"], "label": int(Path(row["path"]).name[0])})
    train_on, test_on = data.random_shuffle(seed=0).train_test_split(0.2)
    TorchTrainer(train, train_loop_config=folder, torch_config=TorchConfig(backend="gloo"),
                 datasets={"train": train_on}, scaling_config=ScalingConfig(num_workers=2),
                 run_config=RunConfig(storage_path=folder)).fit()  # fmt: skip
    model, test = network(), test_on.take_batch(1000)
    model.load_state_dict(torch.load(Path(folder, "model.pt")))
    plain = MixCollate(Mixup(0.4), normalize=(0.5, 0.5), off_epoch=0)(test)  # normalised alike, not mixed
    return float((model(plain["image"]).argmax(1) == plain["label"][0]).float().mean())


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=200 << 20)
    print(f"{main(tempfile.mkdtemp()):.0%} of the test set are right")
