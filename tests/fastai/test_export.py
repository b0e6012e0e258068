"""An exported learner predicts in a process that has never heard of mixup_rs, as the one that was trained."""

import json
from functools import partial

import pytest
import torch
from fastai.vision.all import (
    Callback,
    CategoryBlock,
    DataBlock,
    ImageBlock,
    Learner,
    RegexLabeller,
    get_image_files,
    set_seed,
    using_attr,
)
from learners import tiny_model
from PIL import Image
from sklearn.datasets import load_digits

from mixup_rs import CutMix, Mixup, OneOf
from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMix, RustMixUp

CALLBACKS = [RustMixUp, RustCutMix, partial(RustMix, OneOf([Mixup(0.4), CutMix(1.0)])), RustManifoldMixUp]

PREDICT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
from fastai.learner import load_learner
assert not any(name.startswith("mixup_rs") for name in sys.modules)
learn = load_learner({path!r}, cpu=True)
assert all(parameter.device.type == "cpu" for parameter in learn.model.parameters())
images = {images!r}
with learn.no_bar():
    decoded, index, probabilities = learn.predict(images[0])
    batch, _ = learn.get_preds(dl=learn.dls.test_dl(images))
print(json.dumps([decoded, int(index), probabilities.tolist(), batch.tolist(), [repr(cb) for cb in learn.cbs]]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """96 digits as PNG files named `3_17.png`."""
    folder, digits = tmp_path_factory.mktemp("digits"), load_digits()
    for i, (pixels, digit) in enumerate(zip(digits.images[:96], digits.target, strict=False)):
        Image.fromarray((pixels * 15).astype("uint8")).convert("RGB").resize((16, 16)).save(folder / f"{digit}_{i}.png")
    return folder


def trained(callback, folder):
    set_seed(5, reproducible=True)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=using_attr(RegexLabeller(r"^(\d)_"), "name"),
    )
    dls = block.dataloaders(folder, bs=16, num_workers=0, device="cpu")
    learn = Learner(dls, tiny_model(), cbs=callback)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    return learn


class Interrupt(Callback):
    def after_pred(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted", [False, True], ids=["trained", "interrupted"])
@pytest.mark.parametrize("callback", CALLBACKS, ids=["RustMixUp", "RustCutMix", "RustMix", "RustManifoldMixUp"])
def test_a_process_that_has_not_imported_it_predicts_the_same(callback, interrupted, folder, tmp_path, run_python):
    mixing = callback()
    learn = trained(mixing, folder)
    if interrupted:
        with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging():
            learn.fit(1, cbs=Interrupt())
    images = [str(path) for path in sorted(folder.iterdir())[:5]]
    with learn.no_bar():
        decoded, index, probabilities = learn.predict(images[0])
        batch, _ = learn.get_preds(dl=learn.dls.test_dl(images))
    learn.export(tmp_path / "learner.pkl")
    printed = run_python(PREDICT.format(path=str(tmp_path / "learner.pkl"), images=images))
    found = json.loads(printed.splitlines()[-1])
    assert found[:2] == [decoded, int(index)]
    torch.testing.assert_close(torch.tensor(found[2]), probabilities)
    torch.testing.assert_close(torch.tensor(found[3]), batch)
    assert type(mixing).__name__ in found[4]


def test_a_layer_that_was_named_is_a_layer_of_the_model_that_is_loaded(folder, tmp_path):
    learn = trained(callback := RustManifoldMixUp(rng=1), folder)
    callback.layer = learn.model[4]
    learn.export(tmp_path / "learner.pkl")
    loaded = torch.load(tmp_path / "learner.pkl", map_location="cpu", weights_only=False)
    assert loaded.manifold_mix_up.layer is loaded.model[4]
    assert loaded.manifold_mix_up.layer is not learn.model[4]


def test_a_learner_that_is_loaded_trains_on(folder, tmp_path):
    learn = trained(RustMixUp(rng=1), folder)
    learn.export(tmp_path / "learner.pkl")
    loaded = torch.load(tmp_path / "learner.pkl", map_location="cpu", weights_only=False)
    loaded.dls = learn.dls
    with loaded.no_bar(), loaded.no_logging():
        loaded.fit(1)
    assert loaded.mix_up.rng == 1
    assert all(torch.isfinite(loss) for loss in loaded.recorder.losses)
