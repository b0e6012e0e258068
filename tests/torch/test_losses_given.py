"""What `mixed_loss` is given: weights that are none, shapes that do not fit, losses of several values."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mixup_rs.torch import PairedTarget, mixed_loss

Y, LAM = torch.arange(6) % 3, torch.tensor([1.0, 0.5, 0.9, 0.6, 0.7, 0.8])


def pair(lam, y=Y):
    return PairedTarget(y, y.flip(0), lam)


@pytest.mark.parametrize("lam", [LAM[:4], torch.cat([LAM, LAM]), LAM + 1, LAM - 1, torch.tensor(1.5)])
def test_lam_is_one_per_sample_in_0_1(lam):
    with pytest.raises(ValueError, match="lam must"):
        mixed_loss(F.cross_entropy, torch.zeros(6, 3), pair(lam))


def test_time_before_batch_is_refused():
    y = torch.zeros(7, 6, dtype=torch.long)
    with pytest.raises(ValueError, match=r"lam must be one per sample, got 6 for targets of shape \(7, 6\)"):
        mixed_loss(F.cross_entropy, torch.zeros(7, 3, 6), pair(LAM, y))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(reduction="sum")])
def test_predictions_against_all_targets_are_refused(loss):
    with pytest.raises(ValueError, match=r"shape \(6, 1\) and targets of shape \(6,\).*give them one shape"):
        mixed_loss(loss, torch.zeros(6, 1), pair(LAM, torch.rand(6)))


def test_what_does_not_count_may_be_infinite():
    pred = torch.zeros(4, 3, requires_grad=True)
    masked = pred + torch.tensor([[0, 0, -torch.inf]] + [[0.0, 0, 0]] * 3)
    own, partner, lam = torch.tensor([0, 1, 0, 1]), torch.tensor([2, 0, 1, 0]), torch.tensor([1.0, 0.5, 1.0, 0.0])
    loss = mixed_loss(F.cross_entropy, masked, PairedTarget(own, partner, lam))
    torch.testing.assert_close(loss, torch.tensor((np.log(2) + 3 * np.log(3)) / 4, dtype=torch.float32))
    loss.backward()
    assert pred.grad.isfinite().all()


@pytest.mark.parametrize("lam", [0.7, np.float32(0.7), np.full(6, 0.7), torch.tensor(0.7)])
@pytest.mark.parametrize("kind", [tuple, list, lambda parts: PairedTarget(*parts)])
def test_lam_is_any_number_or_array(lam, kind):
    pred, partner = torch.eye(6)[:, :3], Y.flip(0)
    expected = 0.7 * F.cross_entropy(pred, Y) + 0.3 * F.cross_entropy(pred, partner)
    torch.testing.assert_close(mixed_loss(F.cross_entropy, pred, kind([Y, partner, lam])).float(), expected)


def test_a_loss_of_several_values_is_mixed_entry_by_entry():
    def loss(pred, y):
        return {"ce": F.cross_entropy(pred, y), "both": (y.float().sum(), [1.0])}

    y = torch.arange(3)
    got = mixed_loss(loss, torch.eye(3), PairedTarget(y, y * 0, torch.tensor(0.75)))
    one, other = F.cross_entropy(torch.eye(3), y), F.cross_entropy(torch.eye(3), y * 0)
    torch.testing.assert_close(got, {"ce": 0.75 * one + 0.25 * other, "both": (torch.tensor(2.25), [1.0])})
