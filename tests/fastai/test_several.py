"""Several samples at a time in the callbacks: soft targets train, class indices are refused."""

import pytest
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.vision.all import nn
from learners import fit, learner
from torch.utils.data import DataLoader, TensorDataset

from mixup_rs import Mixup
from mixup_rs.fastai import MixedAccuracy, RustMix


def soft_learner(callback, inputs=8, classes=3, **options):
    torch.manual_seed(0)
    x = torch.randn(64, inputs)
    y = nn.functional.one_hot(torch.arange(64) % classes, classes).float()
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    return Learner(
        DataLoaders(loader, loader), nn.Linear(inputs, classes), nn.CrossEntropyLoss(), cbs=[callback], **options
    )


def test_blended_targets_train():
    callback = RustMix(Mixup(1.0, k=3), rng=1)
    learn = soft_learner(callback, metrics=[])
    seen = []

    def look(module, inputs, output):
        if module.training:
            seen.append((inputs[0].detach().clone(), learn.yb[0].clone(), callback.plan))

    learn.model.register_forward_hook(look)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    own = [learn.dls.train.dataset[i] for i in range(16)]
    x, y = (torch.stack(part) for part in zip(*own, strict=True))
    mixed, targets, plan = seen[0]
    assert plan.k == 3
    assert torch.equal(mixed, torch.from_numpy(plan.apply(x.numpy())))
    torch.testing.assert_close(targets, torch.from_numpy(plan.apply(y.numpy())))
    assert (callback.yb1, callback.lam.shape) == ((), (16,))


def test_class_indices_are_refused():
    learn = learner([RustMix(Mixup(1.0, k=3), rng=1)])
    with pytest.raises(ValueError, match=r"pair.*3 samples.*one-hot"):
        fit(learn, 1)


def test_accuracy_of_soft_targets():
    learn = soft_learner(RustMix(Mixup(1.0, k=3), rng=1), metrics=[MixedAccuracy()])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)


def test_nothing_of_fastai_is_repeated():
    with pytest.raises(ValueError, match="repeats fastai's"):
        RustMix(Mixup(k=3), rng="torch")
