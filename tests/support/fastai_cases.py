"""The hard cases of mixing in a fastai learner, each as a function of the callback: it raises where the case fails.

`tools/hard_cases.py` writes down what becomes of each, with fastai's callbacks and with ours.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch
from fastai.vision.all import (
    BCEWithLogitsLossFlat,
    Callback,
    CancelEpochException,
    CancelFitException,
    CrossEntropyLossFlat,
    CutMix,
    Datasets,
    F,
    FocalLossFlat,
    GradientAccumulation,
    LabelSmoothingCrossEntropy,
    MixedPrecision,
    MixUp,
    MSELossFlat,
    ShortEpochCallback,
    TensorCategory,
    TensorImage,
    accuracy,
    load_learner,
    nn,
)
from learners import digits, fit, learner, loaders, tiny_model

from mixup_rs.fastai import MixedAccuracy, RustCutMix, RustMixUp
from mixup_rs.fastai.mixing import Mixing

IMAGES, CLASSES = digits()
ONE_HOT = F.one_hot(CLASSES, 10).float()


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def trains(callback, **options):
    learn = learner(callback, **options)
    loss_func = learn.loss_func
    losses = fit(learn)
    check(all(torch.isfinite(torch.tensor(losses))), f"losses {losses}")
    check(learn.loss_func is loss_func, "the loss function stayed replaced")
    return learn


def of(images=None, targets=None, **options):
    return partial(loaders, images=images, targets=targets, typed=False, **options)


class Typed(nn.Module):
    """The tiny model, for any element type of its input."""

    def __init__(self):
        super().__init__()
        self.model = tiny_model()

    def forward(self, x):
        return self.model(x.float())


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = tiny_model()

    def forward(self, a, b):
        return self.model(a) + self.model(b)


def loss_on(loss_func):
    return lambda callback: trains(callback, loss_func=loss_func)


def dtype_case(dtype):
    return lambda callback: trains(callback, dls=of((IMAGES * 255).to(dtype)), model=Typed)


def several(callback):
    def two():
        samples = [((IMAGES[i], IMAGES[-1 - i]), CLASSES[i]) for i in range(192)]
        dls = loaders()
        for dl, part in zip(dls, (samples[:160], samples[160:]), strict=True):
            dl.dataset = [(*x, y) for x, y in part]
        dls.n_inp = 2
        return dls

    trains(callback, dls=two, model=TwoInputs)


def segmentation(callback):
    masks = (IMAGES[:, 0] > 0.5).long()
    model = lambda: nn.Conv2d(3, 2, 3, padding=1)  # noqa: E731
    learn = trains(callback, dls=of(None, masks), model=model, loss_func=CrossEntropyLossFlat(axis=1))
    if isinstance(callback, CutMix):
        x, y = IMAGES[:8], masks[:8]
        learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (x.clone(),), (y,)
        callback("before_train")
        callback("before_batch")
        check(torch.equal(learn.yb[0], (learn.xb[0][:, 0] > 0.5).long()), "the masks are not cut with the images")


def both(callback):
    other = (RustCutMix if isinstance(callback, RustMixUp) else CutMix)()
    trains([callback, other])


class Raise(Callback):
    """Raises once, the first time that an event comes."""

    order = 80

    def __init__(self, event, exception):
        self.exception, self.raised = exception, False
        setattr(self, event, self.fire)

    def fire(self):
        if not self.raised:
            self.raised = True
            raise self.exception


def stopped_by(exception, event):
    def case(callback):
        stop = Raise(event, exception)
        learn = learner([callback, stop])
        loss_func = learn.loss_func
        try:
            fit(learn)
        except type(exception):
            pass
        check(stop.raised, "nothing was raised")
        check(learn.loss_func is loss_func, "the loss function stayed replaced")
        learn.remove_cb(Raise)
        fit(learn)
        check(learn.loss_func is loss_func, "the loss function stayed replaced")

    return case


def weighted(callback):
    """The mean is over the weights of the classes."""
    weight = torch.arange(1.0, 11.0)
    reduced_over(callback, weight, CrossEntropyLossFlat(weight=weight))


def ignoring(callback):
    """The mean is over what is not ignored."""
    reduced_over(callback, (torch.arange(10) != 7).float(), CrossEntropyLossFlat(ignore_index=7))


def reduced_over(callback, weight, loss_func):
    learn = learner(callback, loss_func=loss_func)
    x, y = IMAGES[:8], torch.tensor([3, 3, 3, 3, 7, 7, 7, 7])
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (x,), (y,)
    callback("before_train")
    callback("before_batch")
    pred = torch.randn(8, 10)
    lam, (other,) = torch.as_tensor(callback.lam), callback.yb1
    losses = F.cross_entropy(pred, y, weight, reduction="none"), F.cross_entropy(pred, other, weight, reduction="none")
    total = (lam * losses[0] + (1 - lam) * losses[1]).sum()
    expected = total / (lam * weight[y] + (1 - lam) * weight[other]).sum()
    got = callback.lf(pred, y)
    learn.loss_func = loss_func
    check(torch.allclose(got, expected, atol=1e-5), f"a loss of {float(got):.4f} where {float(expected):.4f} is right")


def alpha_of_one(callback):
    trains(type(callback)(1))


def several_targets(callback):
    """Two classes of each image, and a loss of both."""

    def two():
        dls = loaders()
        for dl, part in zip(dls, (range(160), range(160, 192)), strict=True):
            dl.dataset = [(IMAGES[i], CLASSES[i], CLASSES[-1 - i]) for i in part]
        return dls

    trains(callback, dls=two, loss_func=lambda pred, a, b: F.cross_entropy(pred, a) + F.cross_entropy(pred, b))


def training_metric(callback):
    """A guess of the partner's class counts the partner's share."""
    learn = learner(callback, metrics=MixedAccuracy() if isinstance(callback, Mixing) else accuracy)
    y = CLASSES[:32]
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (IMAGES[:32].clone(),), (y,)
    callback("before_train")
    callback("before_batch")
    learn.pred = F.one_hot(callback.yb1[0], 10).float()
    lam, other = torch.as_tensor(callback.lam), callback.yb1[0]
    expected = ((1 - lam) + lam * (other == y)).mean()
    learn.metrics[0].reset()
    learn.metrics[0].accumulate(learn)
    got = learn.metrics[0].value
    check(torch.allclose(got, expected), f"an accuracy of {float(got):.2f} where {float(expected):.2f} is right")


def image_of(index):
    return TensorImage(IMAGES[index])


def class_of(index):
    return TensorCategory(CLASSES[index])


def data_sets():
    sets = Datasets(list(range(192)), [[image_of], [class_of]], splits=[list(range(160)), list(range(160, 192))])
    return sets.dataloaders(bs=32, device="cpu")


def export(callback):
    learn = trains(callback, dls=data_sets)
    with tempfile.TemporaryDirectory() as folder:
        learn.path = Path(folder)
        learn.export("learner.pkl")
        loaded = load_learner(learn.path / "learner.pkl")
    kept = vars(next(cb for cb in loaded.cbs if isinstance(cb, (MixUp, CutMix))))
    batch = [name for name in ("yb1", "lam", "_yb", "plan") if kept.get(name) not in (None, ())]
    check(not batch, f"the last batch is pickled: {', '.join(batch)}")
    predictions, _ = loaded.get_preds(dl=loaded.dls.test_dl(list(range(8))))
    check(predictions.shape == (8, 10), f"predictions of shape {predictions.shape}")


def finds_lr(callback):
    learn = learner(callback)
    learn.path = Path(tempfile.mkdtemp())
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=8, show_plot=False)
    fit(learn)


MIXUP = {
    "last batch of one": lambda cb: trains(cb, dls=partial(loaders, n=65, drop_last=False)),
    "alpha=1, an int": alpha_of_one,
    "nn.CrossEntropyLoss()": loss_on(nn.CrossEntropyLoss()),
    "F.cross_entropy": loss_on(F.cross_entropy),
    "a plain function": loss_on(lambda pred, y: F.cross_entropy(pred, y)),
    "x in float64": dtype_case(torch.float64),
    "x in float16": dtype_case(torch.float16),
    "x in bfloat16": dtype_case(torch.bfloat16),
    "x in uint8": dtype_case(torch.uint8),
    "y in float64": lambda cb: trains(
        cb, dls=of(None, ONE_HOT.double()), loss_func=lambda pred, y: F.cross_entropy(pred.double(), y).float()
    ),
    "segmentation, CE(axis=1)": segmentation,
    "several inputs": several,
    "several targets": several_targets,
    "MixUp and CutMix in one learner": both,
    "CancelEpochException in training": stopped_by(CancelEpochException(), "after_loss"),
    "KeyboardInterrupt in a batch": stopped_by(KeyboardInterrupt(), "after_pred"),
    "an exception in a batch": stopped_by(RuntimeError("broken"), "after_backward"),
    "CancelFitException in before_fit": stopped_by(CancelFitException(), "before_fit"),
    "class-weighted cross-entropy": weighted,
    "ignore_index": ignoring,
    "accuracy of training batches": training_metric,
    "export, load_learner": export,
    "BCE, multi-hot": lambda cb: trains(cb, dls=of(None, ONE_HOT), loss_func=BCEWithLogitsLossFlat()),
    "MSE (bs, 1)": lambda cb: trains(
        cb, dls=of(None, CLASSES[:, None].float()), model=partial(tiny_model, 1), loss_func=MSELossFlat()
    ),
    "label smoothing": loss_on(LabelSmoothingCrossEntropy()),
    "focal loss": loss_on(FocalLossFlat()),
    "lr_find, then fit": finds_lr,
    "GradientAccumulation": lambda cb: trains([cb, GradientAccumulation(64)]),
    "MixedPrecision, on a CPU": lambda cb: trains([cb, MixedPrecision()]),
    "ShortEpochCallback": lambda cb: trains([cb, ShortEpochCallback(0.5)]),
}
OF_CUTMIX = """last batch of one|alpha=1, an int|nn.CrossEntropyLoss()|x in uint8|y in float64|segmentation, CE(axis=1)|
several inputs|several targets|KeyboardInterrupt in a batch|ignore_index|accuracy of training batches|
export, load_learner"""
CUTMIX = {name: MIXUP[name] for name in OF_CUTMIX.replace("\n", "").split("|")}
CASES = [(MixUp, RustMixUp, name, case) for name, case in MIXUP.items()]
CASES += [(CutMix, RustCutMix, name, case) for name, case in CUTMIX.items()]
