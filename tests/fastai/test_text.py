"""Sentences of token ids, of different lengths, in fastai's own classifier: mixed as what its encoder makes of them."""

import numpy as np
import pytest
import torch
from fastai.text.all import (
    AWD_LSTM,
    Categorize,
    Datasets,
    Numericalize,
    awd_lstm_clas_config,
    pad_input,
    set_seed,
    text_classifier_learner,
)
from learners import BatchLosses, fit, pair, trained

from mixup_rs.fastai import RustManifoldMixUp, RustMixUp
from mixup_rs.torch import apply

COMMON = "the a film plot actor was with and very one".split()
MOODS = {"good": "fine great lovely superb".split(), "bad": "poor awful dull weak".split()}
VOCABULARY = ["xxunk", "xxpad", *COMMON, *MOODS["good"], *MOODS["bad"]]
SENTENCES, BATCH = 160, 16


def sentences():
    """(words, mood) pairs: common words, then three that give the mood away."""
    rng = np.random.default_rng(0)
    moods = [rng.choice(list(MOODS)).item() for _ in range(SENTENCES)]
    words = [[*rng.choice(COMMON, rng.integers(6, 14)), *rng.choice(MOODS[mood], 3)] for mood in moods]
    return [([str(word) for word in sentence], mood) for sentence, mood in zip(words, moods, strict=True)]


def text_learner(callback):
    set_seed(3, reproducible=True)
    samples, held_out = sentences(), 32
    splits = [list(range(SENTENCES - held_out)), list(range(SENTENCES - held_out, SENTENCES))]
    words, mood = [lambda i: samples[i][0], Numericalize(VOCABULARY)], [lambda i: samples[i][1], Categorize()]
    sets = Datasets(list(range(SENTENCES)), [words, mood], splits=splits)
    dls = sets.dataloaders(bs=BATCH, before_batch=pad_input, device="cpu", num_workers=0)
    config = awd_lstm_clas_config | {"emb_sz": 16, "n_hid": 24, "n_layers": 2}
    learn = text_classifier_learner(
        dls, AWD_LSTM, config=config, pretrained=False, seq_len=16, drop_mult=0.1, cbs=[BatchLosses()]
    )
    learn.add_cbs(callback)
    return learn


@pytest.mark.parametrize("pooled", [False, True], ids=["encoded words", "pooled sentences"])
def test_it_learns(pooled):
    callback = RustManifoldMixUp(rng=1)
    learn = text_learner(callback)
    callback.layer = learn.model[1].layers if pooled else None
    losses = fit(learn, 5)
    assert np.isfinite(losses).all()
    assert losses[-8:].mean() < 0.8 * losses[:8].mean()
    with learn.no_bar():
        predictions, moods = learn.get_preds()
    assert (predictions.argmax(1) == moods).float().mean() > 0.8


def test_pooled_sentences_are_mixed_by_the_plan():
    callback = RustManifoldMixUp(rng=1)
    learn = text_learner(callback)
    head, seen = learn.model[1].layers, {}
    # Put in front of ours, which is registered batch by batch.
    head.register_forward_pre_hook(lambda _, inputs: seen.update(plain=inputs[0].detach()))
    head[0].register_forward_pre_hook(lambda _, inputs: seen.update(mixed=inputs[0].detach()))
    callback.layer = head
    learn.epoch, learn.iter, learn.training = 0, 0, True
    ids, moods = learn.dls.train.one_batch()
    learn.xb, learn.yb = (ids,), (moods,)
    callback("before_batch")
    learn.model(*learn.xb)
    assert seen["plain"].shape == (BATCH, 3 * 16)
    assert torch.equal(seen["mixed"], apply(callback.plan, seen["plain"]))
    assert not torch.equal(seen["mixed"], seen["plain"])
    assert torch.equal(learn.xb[0], ids)


def test_token_ids_themselves_are_refused():
    learn = text_learner(RustMixUp(rng=1))
    with pytest.raises(TypeError, match="RustManifoldMixUp"):
        fit(learn, 1)


def test_the_loss_of_each_batch():
    mixing = RustManifoldMixUp(rng=2)
    learn = text_learner(mixing)
    learn.remove_cbs([cb for cb in learn.cbs if type(cb).__name__ == "RNNRegularizer"])  # which adds to the loss
    for pred, (own,), (partner,), lam, loss in trained(learn, mixing):
        assert loss == pytest.approx(pair(pred, own, partner, lam), rel=1e-4)


def test_the_heads_own_layers_are_drawn_and_the_head_itself_is_refused():
    """The head is given the mask of the padding beside the words."""
    mixing = RustManifoldMixUp(rng=2)
    learn = text_learner(mixing)
    ids, moods = learn.dls.train.one_batch()
    drawn = set()
    for step in range(20):
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, step, True, (ids,), (moods,)
        mixing("before_batch")
        drawn |= {name for name, module in learn.model.named_modules() if module._forward_pre_hooks}
        mixing("after_cancel_batch")
    assert drawn == {"1.layers.0", "1.layers.1"}
    mixing.layer = learn.model[1]
    with pytest.raises(TypeError, match="mask must be of both samples"):
        fit(learn, 1)
