"""Pictures: the right images in the right places, under the right words."""

import numpy as np
import pytest

import mixup_rs
from mixup_rs import MixPlan, Mixup

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")

from mixup_rs.plot import label_text, plot_beta, plot_mixed_batch, varied_samples  # noqa: E402


@pytest.fixture(autouse=True)
def closed_figures():
    """pyplot keeps the figures that it draws, and warns of more than twenty."""
    yield
    matplotlib.pyplot.close("all")


PLAN = MixPlan(lam=[0.75, 1.0, 0.5], partner=[1, 0, 0])


def images(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    values = np.random.default_rng(0).random(shape)
    return (values * 255).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)


def shown(figure, row: int, column: int) -> np.ndarray:
    return np.asarray(figure.axes[3 * row + column].images[0].get_array())


def words(figure) -> list[list[str]]:
    texts = [axes.get_xlabel() for axes in figure.axes]
    return [texts[i : i + 3] for i in range(0, len(texts), 3)]


def test_a_row_is_the_image_its_partner_and_their_mix():
    x = images((3, 3, 4, 5))
    figure = plot_mixed_batch(x, PLAN.apply(x), PLAN, samples=[0, 2])
    for row, (i, j, lam) in enumerate([(0, 1, 0.75), (2, 0, 0.5)]):
        own, partner = x[i].transpose(1, 2, 0), x[j].transpose(1, 2, 0)
        np.testing.assert_allclose(shown(figure, row, 0), own)
        np.testing.assert_allclose(shown(figure, row, 1), partner)
        np.testing.assert_allclose(shown(figure, row, 2), lam * own + (1 - lam) * partner, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3, 8, 9), (3, 8, 9, 3), (3, 1, 8, 9), (3, 8, 9, 1), (3, 8, 9), (3, 4, 8, 9)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_every_kind_of_image_is_shown_in_range(shape, dtype):
    x = images(shape, dtype)
    figure = plot_mixed_batch(x, PLAN.apply(x), PLAN)
    assert len(figure.axes) == 9
    for image in (shown(figure, row, column) for row in range(3) for column in range(3)):
        assert image.shape[:2] == (8, 9)
        assert image.min() >= 0
        assert image.max() <= 1


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.array([0, 51, 255], np.uint8), [0, 0.2, 1]),
        (np.array([0.25, 0.5, 0.75], np.float32), [0.25, 0.5, 0.75]),
        (np.array([0, 51, 255], np.float32), [0, 0.2, 1]),
        (np.array([-2, 0, 2], np.float32), [0, 0.5, 1]),  # normalised
        (np.array([np.nan, 0.5, 1], np.float32), [0, 0.5, 1]),
    ],
)
def test_the_display_range_follows_dtype_and_values(x, expected):
    x = x.reshape(1, 1, 3)
    plan = MixPlan(lam=[1.0], partner=[0])
    np.testing.assert_allclose(shown(plot_mixed_batch(x, x, plan), 0, 0), [expected], atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "class_names", "expected"),
    [
        (None, None, ["0.75", "0.25", "0.75 + 0.25"]),
        ([7, 2, 7], None, ["0.75 7", "0.25 2", "0.75 7 + 0.25 2"]),
        ([1, 0, 1], ["two", "seven"], ["0.75 seven", "0.25 two", "0.75 seven + 0.25 two"]),
        (["cat", "dog", "cat"], None, ["0.75 cat", "0.25 dog", "0.75 cat + 0.25 dog"]),
        ([1, 1, 0], ["two", "seven"], ["0.75 seven", "0.25 seven", "1.00 seven"]),
        (np.eye(3, dtype=np.float32), "abc", ["0.75 a", "0.25 b", "0.75 a + 0.25 b"]),
        (np.eye(3, dtype=bool), "abc", ["0.75 a", "0.25 b", "0.75 a + 0.25 b"]),
    ],
)
def test_the_label_weights_stand_under_the_images(labels, class_names, expected):
    x = images((3, 3, 4, 4))
    assert words(plot_mixed_batch(x, PLAN.apply(x), PLAN, labels, class_names))[0] == expected


def test_long_label_weights_stay_under_their_image():
    x = images((3, 3, 4, 4))
    names = ["chihuahua", "staffordshire_bull_terrier_of_a_long_line"]
    figure = plot_mixed_batch(x, PLAN.apply(x), PLAN, [0, 1, 0], names)
    assert words(figure)[0][2] == f"0.75 {names[0]} +\n0.25 {names[1]}"
    figure.draw_without_rendering()
    for axes in figure.axes:
        label, image = axes.xaxis.label.get_window_extent(), axes.get_window_extent()
        assert label.width <= image.width * 1.05


def test_the_result_of_mix_batch_serves_as_a_plan():
    x = images((5, 3, 4, 4))
    mixed = mixup_rs.mix_batch(x, rng=0)
    assert len(plot_mixed_batch(x, mixed.x, mixed, max_n=2).axes) == 6


def test_a_path_saves_the_picture(tmp_path):
    x = images((3, 3, 4, 4))
    plot_mixed_batch(x, PLAN.apply(x), PLAN, path=tmp_path / "new" / "mixed.png")
    plot_beta(0.4, path=tmp_path / "beta.svg")
    assert (tmp_path / "new" / "mixed.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "beta.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), None, r"\(2, 3, 4, 4\)"),
        (np.zeros((3, 7), np.float32), None, r"got \(3, 7\)"),
        (np.zeros((3, 2, 4, 5), np.float32), None, r"got \(3, 2, 4, 5\)"),
        (np.zeros((3, 3, 4, 4), np.float32), [0, 1], r"labels of shape \(3,\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(x, labels, message):
    with pytest.raises(ValueError, match=message):
        plot_mixed_batch(x, x, PLAN, labels)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 4.0])
def test_bars_and_line_of_the_beta_agree(alpha, fold):
    axes = plot_beta(alpha, fold=fold).axes[0]
    line, bars = axes.lines[0], axes.patches
    assert axes.get_xlim() == (0.5 if fold else 0.0, 1.0)
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
    inner = bars[3:-3]  # the density is steep at the ends
    middles = [bar.get_x() + bar.get_width() / 2 for bar in inner]
    exact = np.interp(middles, line.get_xdata(), line.get_ydata())
    np.testing.assert_allclose([bar.get_height() for bar in inner], exact, rtol=0.15, atol=0.03)


def test_several_alphas_are_compared():
    assert len(plot_beta([0.1, 1.0]).axes[0].lines) == 2


def test_varied_samples_are_spread_over_the_weights():
    plan = Mixup().plan(64, rng=0)
    samples = varied_samples(plan, 5)
    assert len(set(samples)) == 5
    np.testing.assert_allclose(plan.lam[samples], [0.9, 0.8, 0.7, 0.6, 0.5], atol=0.08)
    assert varied_samples(Mixup().plan(2, rng=0), 5) != []


def test_label_text_puts_the_heaviest_first():
    assert label_text({"a": 0.2, "b": 0.5, "c": 0.3}, max_n=2) == "0.50 b + 0.30 c"


def test_a_row_has_all_partners():
    x = images((3, 3, 4, 5))
    plan = MixPlan.from_weights([[0.5, 0.25, 0.25], [1, 0, 0], [0.25, 0, 0.75]], [[1, 2], [0, 2], [1, 0]])
    figure = plot_mixed_batch(x, plan.apply(x), plan, labels=["a", "b", "c"], samples=[0, 2])
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["image", "partner", "partner", "mix"]
    for at, i in enumerate([0, 1, 2, None]):
        expected = plan.apply(x)[0] if i is None else x[i]
        drawn = np.asarray(figure.axes[at].images[0].get_array())
        np.testing.assert_allclose(drawn, expected.transpose(1, 2, 0), rtol=1e-6)
    assert figure.axes[3].get_xlabel() == "0.50 a + 0.25 b + 0.25 c"
    assert figure.axes[7].get_xlabel() == "0.75 a + 0.25 c + 0.00 b"
    mixed = mixup_rs.mix_batch(x, rule=Mixup(k=3), rng=1)
    with pytest.raises(TypeError, match="give the MixPlan"):
        plot_mixed_batch(x, mixed.x, mixed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: plot_mixed_batch(x, x, PLAN, samples=[0, 3]), r"samples must lie in \[0, 3\), got 3"),
        (lambda x: plot_mixed_batch(x, x, PLAN, [0, 1, 2], ["a", "b"]), "class_names has 2 names, got the label 2"),
        (lambda x: plot_mixed_batch(x, x, PLAN, [0, -1, 1], ["a", "b"]), "class_names has 2 names, got the label -1"),
        (lambda x: plot_mixed_batch(x, x, PLAN, [0, 0.5, 1], ["a", "b"]), "class_names has 2 names, got the label 0.5"),
        (lambda _: plot_beta(0), "expected an alpha above 0 and finite, or several, got 0"),
        (lambda _: plot_beta([]), r"expected an alpha above 0 and finite, or several, got \[\]"),
        (lambda _: plot_beta([1.0, float("nan")]), r"expected an alpha above 0 and finite.* got \[1.0, nan\]"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(images((3, 3, 4, 4)))


def test_numbers_of_regression_are_not_cut_to_integers():
    x = images((3, 3, 4, 4))
    assert words(plot_mixed_batch(x, x, PLAN, [1.75, 2.0, 0.5]))[0] == ["0.75 1.75", "0.25 2", "0.75 1.75 + 0.25 2"]
