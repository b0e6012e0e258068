"""Hard cases of what fastai has no option for: loaders that mix, targets by position, epochs, losses that change."""

import torch
from fastai.vision.all import Callback, CrossEntropyLossFlat, F, nn
from fastai_trials import CLASSES, IMAGES, check, data_sets, of, through, trains, weighted_samples
from learners import fit, learner

from mixup_rs import Mixup
from mixup_rs.torch import MixCollate


def rounds(callback):
    """Class numbers as floats, which the loss rounds once they are blended."""
    learn = learner(callback, dls=of(None, CLASSES.float()), loss_func=lambda pred, y: F.cross_entropy(pred, y.long()))
    try:
        fit(learn, 1)
    except TypeError as error:
        check("rounds its targets" in str(error), str(error))
    else:
        raise AssertionError("the loss is that of other classes")


def labels_within(callback):
    """A model that is given labels would see the own ones beside a mixed image."""
    y = CLASSES[:8]
    try:
        through(callback, CrossEntropyLossFlat(), (IMAGES[:8].clone(), y), (y.clone(),))
    except TypeError as error:
        check("give labels to the loss alone" in str(error), str(error))
    else:
        raise AssertionError("the labels among the inputs are the own ones")


def one_of_two_targets(callback):
    """Weights of samples that stay those of the images."""
    mixing, pred, weight = type(callback)(targets=0), torch.randn(8, 10), torch.rand(8)
    learn = through(mixing, weighted_samples, (IMAGES[:8].clone(),), (CLASSES[:8].clone(), weight.clone()))
    lam = torch.as_tensor(mixing.lam).flatten()[0]
    losses = (weighted_samples(pred, y, weight) for y in (CLASSES[:8], mixing.yb1[0]))
    expected = sum(share * loss for share, loss in zip((lam, 1 - lam), losses, strict=True))
    got = mixing.lf(pred, *learn.yb)
    check(torch.allclose(got, expected, rtol=1e-4), f"a loss of {float(got):.4f} where {float(expected):.4f} is right")


def reduction_set_meanwhile(callback):
    """A loss summed from the second batch on, as for losses of samples that are looked at."""

    class Sums(Callback):
        order = -5

        def after_pred(self):
            if self.training and self.learn.iter == 1:
                self.learn.loss_func.reduction = "sum"

    learn = learner([callback, Sums()], loss_func=nn.CrossEntropyLoss(), dls=of())
    first, *rest = fit(learn, 1, 0.0)
    check(all(16 < loss / first < 64 for loss in rest), f"losses of {first:.2f}, then {rest[0]:.2f}")


def mixed_by_the_loader():
    dls = data_sets()
    dls.train.create_batch = MixCollate(Mixup(1.0), rng=7)
    return dls


class Look(Callback):
    """Takes a batch by hand within an epoch."""

    def after_batch(self):
        if self.training:
            self.taken = self.learn.dls.one_batch()[1]


def loader_mixes(callback):
    """A `MixCollate`: its epochs, its loss, and evaluation on the training set, which is not mixed."""
    learn = trains([callback, Look()], dls=mixed_by_the_loader)
    check(not isinstance(learn.look.taken, tuple), "a batch that was looked at is mixed")
    with torch.no_grad():
        expected = F.cross_entropy(learn.model.eval()(IMAGES[:160]), CLASSES[:160]).item()
    with learn.no_bar(), learn.no_logging():
        got = learn.validate(ds_idx=0)[0]
    check(abs(got - expected) < 1e-3, f"a loss of {got:.4f} where {expected:.4f} is right")


def until_an_epoch(callback):
    learn = learner(mixing := type(callback)(off_epoch=1))
    fit(learn, 1)
    check(bool((torch.as_tensor(mixing.lam) < 1).any()), "nothing is mixed")
    learn.add_cb(after := Callback())
    seen = []
    after.before_batch = lambda: seen.append(mixing.is_mixed) if learn.training else None
    fit(learn, 2)
    check(seen[:5] == [True] * 5 and not any(seen[5:]), f"mixed: {seen}")
