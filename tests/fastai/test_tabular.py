"""Tables: the embedded categories and the continuous columns are mixed where they meet, before the first layer."""

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.tabular.all import (
    Categorify,
    CategoryBlock,
    FillMissing,
    Normalize,
    RegressionBlock,
    TabularDataLoaders,
    set_seed,
    tabular_learner,
)
from learners import BatchLosses, fit, pair, trained

from mixup_rs.fastai import RustManifoldMixUp, RustMixUp
from mixup_rs.torch import apply

ROWS, BATCH = 320, 32


def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], ROWS),
            "shape": rng.choice(["round", "square"], ROWS),
            "width": rng.normal(size=ROWS),
            "height": rng.normal(size=ROWS),
        }
    )
    score = (frame["colour"] == "red") * 1.5 + (frame["shape"] == "round") + frame["width"]
    frame["score"] = score.astype("float32")
    frame["kind"] = np.where(score > score.median(), "high", "low")
    return frame


def tabular(callback, target="kind"):
    set_seed(7, reproducible=True)
    dls = TabularDataLoaders.from_df(
        table(),
        procs=[Categorify, FillMissing, Normalize],
        cat_names=["colour", "shape"],
        cont_names=["width", "height"],
        y_names=target,
        y_block=CategoryBlock() if target == "kind" else RegressionBlock(),
        valid_idx=list(range(ROWS - 64, ROWS)),
        bs=BATCH,
        device="cpu",
    )
    return tabular_learner(dls, layers=[32, 16], cbs=[BatchLosses(), callback])


@pytest.mark.parametrize("target", ["kind", "score"])
def test_it_learns(target):
    learn = tabular(RustManifoldMixUp(rng=1), target)
    loss_func = learn.loss_func
    losses = fit(learn, 6)
    assert losses[-8:].mean() < 0.8 * losses[:8].mean()
    assert learn.loss_func is loss_func


def test_the_first_linear_layer_is_given_embeddings_and_columns_mixed_by_the_plan():
    learn = tabular(RustManifoldMixUp(rng=1))
    callback, layers, seen = learn.manifold_mix_up, learn.model.layers, {}
    callback.layer = layers[0]
    first_linear = next(module for module in layers.modules() if isinstance(module, torch.nn.Linear))
    # The container is given the columns as they are; its first block's input is mixed on the way in.
    layers.register_forward_pre_hook(lambda _, inputs: seen.update(plain=inputs[0].detach()))
    first_linear.register_forward_hook(lambda _, inputs, __: seen.update(linear=inputs[0].detach()))
    learn.epoch, learn.iter, learn.training = 0, 0, True
    *inputs, target = learn.dls.train.one_batch()
    learn.xb, learn.yb = tuple(inputs), (target,)
    learn.model.train()
    callback("before_batch")
    learn.model(*learn.xb)

    embedded = sum(embedding.embedding_dim for embedding in learn.model.embeds)
    plain, mixed, plan = seen["plain"], seen["linear"], callback.plan
    assert mixed.shape == (BATCH, embedded + 2)
    lam = torch.from_numpy(plan.lam).float()[:, None]
    torch.testing.assert_close(mixed, lam * plain + (1 - lam) * plain[plan.partner])
    torch.testing.assert_close(mixed, apply(plan, plain), atol=0, rtol=0)
    # Both parts are: no column of either is left as it was.
    changed = (mixed != plain).any(0)
    assert changed[:embedded].all()
    assert changed[embedded:].all()
    # The indices that the model is given are whole.
    assert learn.xb[0].dtype == torch.int64


def test_every_layer_is_drawn_once_in_a_while():
    learn = tabular(RustManifoldMixUp(rng=1))
    callback, drawn = learn.manifold_mix_up, set()
    learn.epoch, learn.iter, learn.training = 0, 0, True
    batch = learn.dls.train.one_batch()
    for step in range(40):
        learn.iter = step  # a seed draws a layer for each batch
        learn.xb, learn.yb = batch[:2], batch[2:]
        callback("before_batch")
        drawn |= {i for i, layer in enumerate(learn.model.layers) if layer._forward_pre_hooks}
        callback("after_cancel_batch")
        assert not any(layer._forward_pre_hooks for layer in learn.model.layers)
    assert drawn == {0, 1, 2}


@pytest.mark.parametrize("target", ["kind", "score"])
@pytest.mark.parametrize("make", [RustMixUp, RustManifoldMixUp], ids=["RustMixUp", "RustManifoldMixUp"])
def test_the_loss_of_each_batch(make, target):
    """RustMixUp mixes the continuous columns and leaves the categories."""
    mixing = make(rng=2)
    for pred, (own,), (partner,), lam, loss in trained(tabular(mixing, target), mixing):
        if target == "kind":
            expected = pair(pred, own.flatten(), partner.flatten(), lam)
        else:
            expected = (pred.flatten() - own.double().flatten()).square().mean().item()
        assert loss == pytest.approx(expected, rel=1e-4)
