"""What a new user meets first: pictures that appear, and errors that say what to write instead."""

import pickle

import matplotlib
import pytest
import torch
from fastai.vision.all import CutMix as FastaiCutMix
from fastai.vision.all import MixUp, Normalize, show_image
from learners import EitherMix, digits, fit, learner, loaders
from matplotlib import pyplot
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from mixup_rs import CutMix, Mixer, Mixup, OneOf, Remix
from mixup_rs.fastai import RustCutMix, RustManifoldMixUp, RustMix, RustMixUp
from mixup_rs.plot import plot_beta, plot_mixed_batch
from mixup_rs.torch import MixCollate

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_figures():
    pyplot.close("all")
    yield
    pyplot.close("all")


@pytest.mark.parametrize("theirs", [MixUp, FastaiCutMix])
@pytest.mark.parametrize("ours", [RustMixUp, RustCutMix, EitherMix, RustManifoldMixUp])
def test_one_of_fastais_beside_ours_is_refused_however_it_comes(ours, theirs):
    for callbacks in ([theirs(), ours()], [ours(), theirs()]):
        learn = learner(callbacks, lambda: loaders(n=64))
        with pytest.raises(
            ValueError, match=rf"{ours.__name__} .* {theirs.__name__} would both.*take one of them: cbs="
        ):
            fit(learn, 1)
    with pytest.raises(ValueError, match="take one of them"):
        type(learn)(loaders(n=64), torch.nn.Flatten(), loss_func=torch.nn.CrossEntropyLoss(), cbs=[theirs(), ours()])
    learn = learner(ours(), lambda: loaders(n=64))
    with pytest.raises(ValueError, match="take one of them"), learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=theirs())
    assert len(fit(learn, 1)) == 2  # it is gone with that fit


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RustMixUp(rng="foo"), ValueError, "'torch', got 'foo'"),
        (lambda: RustManifoldMixUp(rng="torch"), ValueError, "RustManifoldMixUp"),
        (lambda: RustMix(Mixup(), rng="torch"), ValueError, "RustMix"),
        (lambda: RustMixUp(rng=1.5), (TypeError, ValueError), "rng|key|int"),
        (lambda: RustMixUp(-1), ValueError, "alpha"),
        (lambda: RustMixUp("0.4"), TypeError, "alpha|float|number"),
        (lambda: RustMixUp(mode="sample"), ValueError, "mode"),
        (lambda: RustMixUp(prob=2), ValueError, "prob"),
        (lambda: RustCutMix(minmax=(0.9, 0.1)), ValueError, "minmax"),
        (lambda: RustMix(0.4), TypeError, "rule must be a rule"),
        (lambda: RustMix(Mixup), TypeError, "got the class Mixup"),
        (lambda: setattr(RustMixUp(), "rule", 0.4), TypeError, "rule must be a rule"),
        (lambda: RustMix(), TypeError, "rule"),
        (lambda: RustMix(RustMixUp()), TypeError, r"got RustMixUp; it has one, RustMixUp\(...\).rule"),
        (lambda: OneOf([Mixup(), RustMixUp()]), TypeError, r"one of rules must .*; it has one, RustMixUp\(...\).rule"),
        (lambda: learner(Mixup()), TypeError, r"Mixup is no callback .*cbs=RustMix\(Mixup\(...\)\)"),
        (lambda: learner(CutMix), TypeError, r"CutMix is no callback .*cbs=RustMix\(CutMix\(...\)\)"),
        (lambda: learner(Remix()), TypeError, r"cbs=RustMix\(Remix\(...\)\)"),
        (lambda: learner(Mixer(CutMix())), TypeError, r"Mixer is no callback .*cbs=RustMix\(CutMix\(...\)\)"),
        (lambda: learner(MixCollate(Mixup())), TypeError, "MixCollate is no callback.*create_batch = .*RustMixUp"),
        (lambda: RustManifoldMixUp(layer="1"), TypeError, "layer must be a module .*, got '1'.*get_submodule"),
        (lambda: setattr(RustManifoldMixUp(), "layer", 1), TypeError, "layer must be a module .*, got 1"),
    ],
)
def test_a_wrong_argument_is_an_error_when_the_callback_is_made(make, error, words):
    with pytest.raises(error, match=words):
        make()


def normalised():
    return loaders(n=64, after_batch=[Normalize.from_stats([0.5] * 3, [0.25] * 3, cuda=False)])


DRAWN = {
    "RustMixUp": (RustMixUp, loaders),
    "RustCutMix": (RustCutMix, loaders),
    "RustMix": (lambda: RustMix(OneOf([Mixup(), CutMix()])), loaders),
    "normalised": (RustMixUp, normalised),
    "torch": (lambda: RustMixUp(rng="torch"), loaders),
}


@pytest.mark.parametrize(("make", "dls"), DRAWN.values(), ids=DRAWN)
def test_show_batch_is_pyplots_current_figure(make, dls, tmp_path):
    """As that of fastai is: plt.show() and plt.savefig find it."""
    dls = dls()
    show_image(digits()[0][0])
    assert len(pyplot.get_fignums()) == 1
    learn = learner(make(), lambda: dls)
    mixing = next(cb for cb in learn.cbs if hasattr(cb, "show_batch"))
    figure = mixing.show_batch(dls)
    assert len(pyplot.get_fignums()) == 2
    assert pyplot.gcf() is figure
    pyplot.savefig(tmp_path / "shown.png")
    shown = pyplot.imread(tmp_path / "shown.png")
    assert shown[..., :3].std() > 0.05
    width, height = figure.get_size_inches()
    assert height <= 12.5
    assert width <= 9
    assert len(figure.axes) == 9 * 3
    pyplot.show()


@pytest.mark.parametrize("rows", [1, 4, 9, 32])
def test_the_height_is_sensible_whatever_the_number_of_samples(rows):
    images, classes = digits()
    plan = Mixup(1.0).plan(32, rng=1)
    figure = plot_mixed_batch(images[:32], images[:32], plan, classes[:32], max_n=rows)
    width, height = figure.get_size_inches()
    assert 1.5 < height <= 12.5
    assert 3 < width <= 9
    figure.canvas.draw()  # whose layout can be made
    pictures = [axes.get_window_extent().height for axes in figure.axes]
    assert min(pictures) > 10


def test_plot_beta_is_pyplots_current_figure(tmp_path):
    figure = plot_beta([0.1, 0.4])
    assert pyplot.gcf() is figure
    assert pyplot.get_fignums() == [figure.number]
    pyplot.savefig(tmp_path / "beta.png")
    assert (tmp_path / "beta.png").stat().st_size > 5000
    assert figure.get_size_inches()[1] < 6


def test_what_is_saved_is_no_figure_of_pyplots(tmp_path):
    plot_beta(0.4, path=tmp_path / "beta.png")
    images, _ = digits()
    plot_mixed_batch(images[:4], images[:4], Mixup().plan(4, rng=1), path=tmp_path / "batch.png")
    assert pyplot.get_fignums() == []
    assert {path.name for path in tmp_path.iterdir()} == {"beta.png", "batch.png"}


def test_a_notebook_shows_a_figure_once():
    """As the value of a cell, as what a cell leaves open, by `pyplot.show()`, and again by its name."""
    setup = "from matplotlib import pyplot\nfrom mixup_rs.plot import plot_beta"
    cells = ["plot_beta()", "plot_beta();", "figure = plot_beta()", "figure = plot_beta()\npyplot.show()", "figure"]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in [setup, *cells]])
    NotebookClient(notebook, kernel_name="python3").execute()
    pictures = [["image/png" in output.get("data", {}) for output in cell.outputs] for cell in notebook.cells]
    assert pictures == [[], *[[True]] * 5]


def test_a_figure_can_be_pickled():
    assert len(pickle.loads(pickle.dumps(plot_beta())).axes) == 1
