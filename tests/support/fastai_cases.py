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
    F,
    FocalLossFlat,
    GradientAccumulation,
    LabelSmoothingCrossEntropy,
    MixedPrecision,
    MixUp,
    MSELossFlat,
    ShortEpochCallback,
    TerminateOnNaNCallback,
    accuracy,
    load_learner,
    nn,
)
from fastai_cases_of_ours import (
    labels_within,
    loader_mixes,
    one_of_two_targets,
    reduction_set_meanwhile,
    rounds,
    until_an_epoch,
)
from fastai_trials import CLASSES, IMAGES, check, data_sets, of, through, trains, weighted_samples
from learners import fit, learner, loaders, tiny_model

from mixup_rs.fastai import MixedAccuracy, RustCutMix, RustMixUp
from mixup_rs.fastai.mixing import Mixing

ONE_HOT = F.one_hot(CLASSES, 10).float()


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


def pair_of(loss_func, pred, *targets):
    """With one lam the loss is lam of that against the own targets, and the rest of that against the partner's."""

    def case(callback):
        n = len(targets[0])
        learn = through(callback, loss_func, (IMAGES[:n].clone(),), tuple(t.clone() for t in targets))
        lam = torch.as_tensor(callback.lam).flatten()
        check(bool((lam == lam[0]).all()), "a lam per sample, which this loss has no use for")
        got = callback.lf(pred, *learn.yb)
        learn.loss_func = loss_func
        own, partner = loss_func(pred, *targets), loss_func(pred, *callback.yb1)
        expected = lam[0] * own + (1 - lam[0]) * partner
        check(
            torch.allclose(got, expected, rtol=1e-4), f"a loss of {float(got):.4f} where {float(expected):.4f} is right"
        )

    return case


def triplet(pred, target):
    """Of the hardest samples of the batch."""
    distance = torch.cdist(pred, pred)
    same = target[:, None] == target[None]
    return F.relu((distance * same).max(1).values - (distance + 1e6 * same).min(1).values + 1).mean()


def two_classes_and_a_share(pred, a, b, share):
    first, second = (F.cross_entropy(pred, t, reduction="none") for t in (a, b))
    return (share * first + (1 - share) * second).mean()


def in_a_dict(callback):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = tiny_model()

        def forward(self, x):
            return {"logits": self.model(x)}

    trains(callback, model=Named, loss_func=lambda pred, y: F.cross_entropy(pred["logits"], y))


def ignored_target(callback):
    """A label of -100, and the callback that ends a fit whose loss is NaN."""
    targets = CLASSES.clone()
    targets[::7] = -100
    learn = trains([callback, TerminateOnNaNCallback()], dls=of(None, targets), loss_func=CrossEntropyLossFlat())
    check(learn.epoch == 1, "the fit was ended")


def alone(*xb):
    """What no input of can be mixed is refused, or else one of them changes."""

    def case(callback):
        given = tuple(x.clone() for x in xb)
        try:
            learn = through(callback, CrossEntropyLossFlat(), given, (CLASSES[: len(xb[0])],))
        except (TypeError, ValueError) as error:
            check("mix" in str(error), str(error))
            return
        unchanged = [torch.equal(a, b) for a, b in zip(learn.xb, xb, strict=True) if a.dtype != torch.int64]
        check(not any(unchanged) and unchanged, "labels are mixed, an input is not")

    return case


def own_triple(callback):
    pair_of(two_classes_and_a_share, torch.randn(8, 10), CLASSES[:8], CLASSES[8:16], torch.rand(8))(callback)


def heads_in_a_dict(callback):
    def two():
        dls = loaders()
        for dl, part in zip(dls, (range(160), range(160, 192)), strict=True):
            dl.dataset = [(IMAGES[i], {"digit": CLASSES[i], "odd": CLASSES[i] % 2}) for i in part]
        return dls

    loss_func = lambda pred, y: F.cross_entropy(pred, y["digit"]) + F.cross_entropy(pred[:, :2], y["odd"])  # noqa: E731
    trains(callback, dls=two, loss_func=loss_func)


def tags(callback):
    """Booleans: several labels at once."""
    targets = torch.stack([CLASSES % 2 == 0, CLASSES > 4], 1)
    loss_func = lambda pred, y: F.binary_cross_entropy_with_logits(pred, y.float())  # noqa: E731
    trains(callback, dls=of(None, targets), model=partial(tiny_model, 2), loss_func=loss_func)


def after_the_fit(callback):
    """What fastai keeps of the last batch."""
    trains(callback)
    check(isinstance(callback.yb1, tuple) and len(callback.yb1) == 1, f"yb1 {callback.yb1}")
    check(isinstance(callback.lam, torch.Tensor), f"lam {callback.lam}")


def predicts_the_training_set(callback):
    learn = trains(callback, dls=data_sets)
    with torch.no_grad():
        expected = learn.model.eval()(IMAGES[:160]).softmax(1)
    with learn.no_bar(), learn.no_logging():
        predictions, _ = learn.get_preds(ds_idx=0, reorder=True)
    check(torch.allclose(torch.Tensor(predictions), expected, atol=1e-6), "predictions of mixed images")


def table_of_columns(callback):
    """Categories beside continuous columns, as fastai's tabular models take them."""
    columns = IMAGES[:, 0, ::4, ::4].flatten(1)

    class Tabular(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.layers = nn.Embedding(3, 2), nn.Linear(18, 10)

        def forward(self, categories, x):
            return self.layers(torch.cat([self.embed(categories[:, 0]), x], 1))

    def rows():
        dls = loaders()
        for dl, part in zip(dls, (range(160), range(160, 192)), strict=True):
            dl.dataset = [(torch.tensor([i % 3]), columns[i], CLASSES[i]) for i in part]
        dls.n_inp = 2
        return dls

    trains(callback, dls=rows, model=Tabular)


IDS = torch.arange(24).view(8, 3)
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
    "a function with class weights": loss_on(lambda p, y: F.cross_entropy(p, y, weight=torch.arange(1.0, 11))),
    "a loss over the batch, triplet": pair_of(triplet, torch.randn(8, 4), CLASSES[:8] % 3),
    "weights of samples as a target": pair_of(weighted_samples, torch.randn(8, 10), CLASSES[:8], torch.rand(8)),
    "two classes and a share as targets": own_triple,
    "-100 among the targets": ignored_target,
    "predictions in a dict": in_a_dict,
    "heads in a dict of targets": heads_in_a_dict,
    "tags, boolean": tags,
    "categories and columns": table_of_columns,
    "categories, no column: refused": alone(IDS, torch.zeros(8, 0)),
    "token ids: refused": alone(IDS),
    "a boolean mask beside the image: refused": alone(IMAGES[:8], IMAGES[:8, 0] > 0.5),
    "lam and yb1 after the fit": after_the_fit,
    "get_preds of the training set": predicts_the_training_set,
    "class numbers that the loss rounds: refused": rounds,
    "labels among the inputs: refused": labels_within,
    "one of two targets": one_of_two_targets,
    "a reduction set within the fit": reduction_set_meanwhile,
    "a MixCollate in the loader": loader_mixes,
    "off_epoch": until_an_epoch,
    "ShortEpochCallback": lambda cb: trains([cb, ShortEpochCallback(0.5)]),
}
OF_CUTMIX = """last batch of one|alpha=1, an int|nn.CrossEntropyLoss()|x in uint8|y in float64|segmentation, CE(axis=1)|
several inputs|several targets|KeyboardInterrupt in a batch|ignore_index|accuracy of training batches|
export, load_learner|a function with class weights|a loss over the batch, triplet|weights of samples as a target|
two classes and a share as targets|-100 among the targets|predictions in a dict|heads in a dict of targets|
tags, boolean|a boolean mask beside the image: refused|lam and yb1 after the fit|get_preds of the training set|
class numbers that the loss rounds: refused|labels among the inputs: refused|one of two targets|
a MixCollate in the loader"""
CUTMIX = {name: MIXUP[name] for name in OF_CUTMIX.replace("\n", "").split("|")}
CUTMIX["a second image of another size"] = alone(IMAGES[:8], IMAGES[:8, :, ::2, ::2])
CUTMIX["a sequence before the image"] = alone(torch.rand(8, 7, 12), IMAGES[:8])
CASES = [(MixUp, RustMixUp, name, case) for name, case in MIXUP.items()]
CASES += [(CutMix, RustCutMix, name, case) for name, case in CUTMIX.items()]
