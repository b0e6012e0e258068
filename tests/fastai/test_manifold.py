"""RustManifoldMixUp mixes what goes into one layer of one batch, once, and nothing else."""

import copy

import numpy as np
import pytest
import torch
from fastai.vision.all import Callback, nn
from learners import digits, fit, learner, loaders, tiny_model
from torch.utils.checkpoint import checkpoint

from mixup_rs.fastai import RustManifoldMixUp
from mixup_rs.torch import apply


class Interrupting(nn.Module):
    """The tiny model behind a first layer that can be interrupted."""

    def __init__(self):
        super().__init__()
        self.layers, self.interrupt = tiny_model(), False

    def forward(self, x):
        if self.interrupt:
            raise KeyboardInterrupt
        return self.layers(x)


def test_what_is_predicted_after_an_interrupt_is_not_mixed():
    learn = learner(RustManifoldMixUp(rng=1), lambda: loaders(n=64), Interrupting)
    images, _ = digits()
    learn.model.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        fit(learn, 1)
    learn.model.interrupt = False
    with learn.no_bar():
        predictions, _ = learn.get_preds(act=nn.Identity())
    plain = Interrupting().eval()
    plain.load_state_dict(learn.model.state_dict())
    with torch.no_grad():
        expected = plain(images[64:96])
    torch.testing.assert_close(predictions, expected)


class Twice(nn.Module):
    """One layer, used for two steps of the same forward pass."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.inner(self.inner(x)))


def test_a_layer_that_is_used_twice_is_mixed_once():
    torch.manual_seed(0)
    x, y = torch.rand(8, 6), torch.arange(8) % 3
    learn = learner(RustManifoldMixUp(rng=1), model=Twice)
    callback, model = learn.manifold_mix_up, learn.model
    callback.layer = model.inner
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (x,), (y,)
    callback("before_batch")
    mixed = model(x)
    expected = model.head(model.inner(model.inner(apply(callback.plan, x))))
    torch.testing.assert_close(mixed, expected)


def test_what_an_interrupt_left_in_a_layer_is_not_for_a_model_that_is_evaluated_or_copied():
    learn = learner(RustManifoldMixUp(rng=1), lambda: loaders(n=64), Interrupting)
    images, _ = digits()
    learn.manifold_mix_up.layer = learn.model.layers[4]
    learn.model.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        fit(learn, 1)
    learn.model.interrupt = False
    (hook,) = learn.model.layers[4]._forward_pre_hooks.values()
    copied = copy.deepcopy(learn.model)
    (inert,) = copied.layers[4]._forward_pre_hooks.values()
    assert hook.callback is not None
    assert inert.callback is None
    plain = Interrupting()
    plain.load_state_dict(learn.model.state_dict())
    with torch.no_grad():
        expected = plain(images[:32])
        assert torch.equal(copied.train()(images[:32]), expected)
        assert torch.equal(learn.model.eval()(images[:32]), expected)
    assert not learn.model.layers[4]._forward_pre_hooks


class Words(nn.Module):
    """A sequential part that begins with an embedding, within a model that is not sequential."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(30, 8))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(8, 3))

    def forward(self, ids):
        return self.head(self.encoder(ids))


class Nested(nn.Module):
    """A stage whose own first layer is an embedding."""

    def __init__(self):
        super().__init__()
        first = nn.Sequential(nn.Sequential(nn.Embedding(20, 6), nn.Dropout(0.1)), nn.Flatten())
        self.layers = nn.Sequential(first, nn.Linear(30, 8), nn.Linear(8, 3))

    def forward(self, ids):
        return self.layers(ids)


class Wrapped(nn.Module):
    """As nn.DataParallel, DistributedDataParallel and accelerate wrap a model."""

    def __init__(self, make=tiny_model):
        super().__init__()
        self.module = make()

    def forward(self, *inputs):
        return self.module(*inputs)


def drawn_stages(learn, batches=40):
    """The layers that are drawn, by their names in the model."""
    callback, drawn = learn.manifold_mix_up, set()
    learn.epoch, learn.iter, learn.training = 0, 0, True
    batch = learn.dls.train.one_batch()
    for _ in range(batches):
        learn.xb, learn.yb = tuple(batch[:1]), tuple(batch[1:])
        callback("before_batch")
        drawn |= {name for name, module in learn.model.named_modules() if module._forward_pre_hooks}
        callback("after_cancel_batch")
    return drawn


def id_loaders():
    ids = torch.randint(0, 20, (192, 5), generator=torch.Generator().manual_seed(0))
    return loaders(n=96, images=ids, targets=ids.sum(1) % 3, typed=False)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Words, {"encoder.1", "encoder.2", "head.0", "head.1"}),
        (Nested, {"layers.1", "layers.2"}),
        (lambda: Wrapped(Nested), {"module.layers.1", "module.layers.2"}),
        (lambda: nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(30, 3)), {"1", "2"}),
    ],
    ids=["parts", "nested", "wrapped", "sequential"],
)
def test_stages_that_begin_with_an_embedding_are_never_drawn(model, expected):
    learn = learner(RustManifoldMixUp(), id_loaders, model)
    assert drawn_stages(learn) == expected
    losses = fit(learn, 4)
    assert torch.isfinite(torch.tensor(losses)).all()


def test_a_wrapped_model_has_the_stages_of_the_model():
    names = [drawn_stages(learner(RustManifoldMixUp(), model=make)) for make in (tiny_model, Wrapped)]
    assert names[1] == {f"module.{name}" for name in names[0]}
    twice = learner(RustManifoldMixUp(), model=lambda: Wrapped(Wrapped))
    assert drawn_stages(twice) == {f"module.module.{name}" for name in names[0]}
    losses = fit(learner(RustManifoldMixUp(rng=1), model=Wrapped), 3)
    assert losses[-3:].mean() < losses[:3].mean()


@pytest.mark.parametrize("parallel", [nn.DataParallel], ids=["DataParallel"])
def test_torchs_own_wrapper(parallel):
    learn = learner(RustManifoldMixUp(rng=1), model=lambda: parallel(tiny_model()))
    assert all(name.startswith("module.") for name in drawn_stages(learn))
    assert torch.isfinite(torch.tensor(fit(learn, 1))).all()


def test_a_compiled_model_is_mixed():
    """By the eager backend, which needs no compiler: what is tested is that the hook is seen."""
    learn = learner(RustManifoldMixUp(rng=1), lambda: loaders(n=64))
    model = learn.model
    try:
        learn.model = torch.compile(model, backend="eager")
        learn.model(digits()[0][:2])
    except Exception as error:
        pytest.skip(f"torch.compile is not to be had: {error}")
    callback = learn.manifold_mix_up
    callback.layer = model[4]
    images, classes = digits()
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (images[:8],), (classes[:8],)
    learn.model.train()
    callback("before_batch")
    mixed = learn.model(images[:8])
    callback("after_pred")  # raises if the layer was not given a mix
    expected = model[4](apply(callback.plan, model[:4](images[:8])))
    torch.testing.assert_close(mixed, expected)
    callback("after_cancel_batch")
    callback.layer = None
    assert torch.isfinite(torch.tensor(fit(learn, 2))).all()


class Keywords(nn.Module):
    """A layer that is called with keywords, one of them no tensor."""

    class Scale(nn.Module):
        def forward(self, *, x, by=1.0, note=None):
            return x * by

    def __init__(self):
        super().__init__()
        self.body, self.scale, self.head = nn.Linear(6, 6), self.Scale(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.scale(x=self.body(x), by=2.0, note="text"))


def test_a_layer_that_is_called_with_keywords_is_mixed():
    torch.manual_seed(0)
    x, y = torch.rand(8, 6), torch.arange(8) % 3
    learn = learner(RustManifoldMixUp(rng=1), model=Keywords)
    callback, model = learn.manifold_mix_up, learn.model
    callback.layer = model.scale
    learn.epoch, learn.iter, learn.training, learn.xb, learn.yb = 0, 0, True, (x,), (y,)
    callback("before_batch")
    mixed = model(x)
    callback("after_pred")
    torch.testing.assert_close(mixed, model.head(2 * apply(callback.plan, model.body(x))))


def test_a_model_without_a_sequential_part_asks_for_a_layer():
    with pytest.raises(ValueError, match="layer="):
        fit(learner(RustManifoldMixUp(), id_loaders, Twice), 1)


def test_an_interrupt_before_the_layer_leaves_a_model_that_mixes_nothing():
    """In training mode either, as in a loop of one's own."""

    class First(nn.Module):
        def forward(self, x):
            if interrupts:
                raise interrupts.pop()
            return x

    interrupts = [KeyboardInterrupt()]
    learn = learner(RustManifoldMixUp(rng=1), lambda: loaders(n=64), lambda: nn.Sequential(First(), *tiny_model()))
    learn.manifold_mix_up.layer = learn.model[3]
    with pytest.raises(KeyboardInterrupt):
        fit(learn, 1)
    images = digits()[0][:32]
    assert torch.equal(learn.model.train()(images), learn.model(images))
    assert np.isfinite(fit(learn, 1)).all()


class Checkpointed(nn.Module):
    """Its second half is run again in the backward pass, `times` in the forward pass."""

    def __init__(self, reentrant=None, times=1):
        super().__init__()
        self.reentrant, self.times = reentrant, times
        self.first, self.second = nn.Sequential(nn.Flatten(), nn.Linear(768, 10)), nn.Sequential(nn.Tanh(), nn.Tanh())

    def forward(self, x):
        x = self.first(x)
        for _ in range(self.times):
            x = self.second(x) if self.reentrant is None else checkpoint(self.second, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_sees_the_mix_again(reentrant):
    def gradients(*options):
        learn = learner(RustManifoldMixUp(1.0, rng=1), lambda: loaders(n=32), lambda: Checkpointed(*options))
        learn.manifold_mix_up.layer = learn.model.second[1]
        steps = []
        learn.add_cb(Callback(before_step=None))
        learn.cbs[-1].before_step = lambda: steps.append([p.grad.clone() for p in learn.model.parameters()])
        fit(learn, 1)
        assert not learn.model.second[1]._forward_pre_hooks
        return steps[0]

    torch.testing.assert_close(gradients(reentrant), gradients())
    with pytest.raises(RuntimeError, match="runs 2 times in a batch"):
        gradients(reentrant, 2)


def test_a_model_that_is_evaluated_before_its_batch_is_mixed_in_it():
    class Evaluate(Callback):
        order = 10

        def before_batch(self):
            if self.training:
                self.learn.model.eval()(self.learn.x)
                self.learn.model.train()

        def after_pred(self):
            if self.training:
                hidden = self.learn.model[:4](self.learn.x)
                expected = self.learn.model[4](apply(self.learn.manifold_mix_up.plan, hidden))
                torch.testing.assert_close(self.learn.pred, expected)

    learn = learner([RustManifoldMixUp(rng=1), Evaluate()], lambda: loaders(n=64))
    learn.manifold_mix_up.layer = learn.model[4]
    assert len(fit(learn, 1)) == 2
