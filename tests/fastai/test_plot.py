"""Pictures of tensors. Here because fastai brings both torch and matplotlib."""

import matplotlib
import numpy as np
import torch

from mixup_rs import MixPlan
from mixup_rs.plot import plot_mixed_batch

matplotlib.use("Agg")


def test_tensors_are_shown_too():
    x = torch.rand(3, 3, 4, 4, requires_grad=True)
    plan = MixPlan(lam=[0.75, 1.0, 0.5], partner=[1, 0, 0])
    figure = plot_mixed_batch(x, x.bfloat16(), plan, torch.tensor([1, 0, 1]))
    np.testing.assert_allclose(np.asarray(figure.axes[0].images[0].get_array()), x[0].detach().permute(1, 2, 0))
    assert figure.axes[2].get_xlabel() == "0.75 1 + 0.25 0"
