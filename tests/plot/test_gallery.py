"""The gallery: each rule on one pair, its region outlined, both weights below it."""

import numpy as np
import pytest
from rules import KINDS, OF_MASKS, Fixed, draws_soft_masks

from mixup_rs import CutMix, FMix, MixPlan, Mixup, OneOf

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")

from mixup_rs.plot import gallery  # noqa: E402


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    matplotlib.pyplot.close("all")


class LeftHalf:
    def plan(self, n, shape=None, labels=None, rng=None):
        height, width = shape
        return MixPlan.from_boxes([[0, 0, height, width // 2]] * n, shape, partner=[*range(1, n), 0])


def pair(shape=(2, 3, 24, 36)):
    x = np.zeros(shape, np.float32)
    x[0] = 1
    return x


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def test_every_rule_of_the_package_is_shown():
    figure = gallery(pair())
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["image", "partner", *(kind.__name__ for kind in KINDS if kind is not OneOf)]


@pytest.mark.parametrize("shape", [(2, 3, 24, 36), (3, 24, 36, 3), (2, 24, 36)])
def test_the_weights_below_a_mix_are_those_of_its_pixels(shape):
    """The first image is white and the second black, so that the mean of a mix is its lam."""
    figure = gallery(pair(shape), labels=["cat", "dog", "bird"][: shape[0]])
    for axes in figure.axes[2:]:
        weights = dict(reversed(part.split()) for part in axes.get_xlabel().split(" + "))
        assert float(weights["cat"]) == pytest.approx(shown(axes).mean(), abs=0.006)
        assert float(weights["dog"]) == pytest.approx(1 - shown(axes).mean(), abs=0.006)
        assert 0.3 < float(weights["cat"]) < 0.9, "both images are to be seen"


def test_the_box_is_outlined_where_the_partner_is():
    axes = gallery(pair(), [LeftHalf()]).axes[2]
    (box,) = axes.patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((-0.5, -0.5), 18, 24)
    assert not shown(axes)[:, :18].any()
    assert shown(axes)[:, 18:].all()


@pytest.mark.parametrize("rule", [rule for rule in OF_MASKS if not draws_soft_masks(rule, 2, (24, 36))], ids=repr)
def test_the_contour_of_a_mask_lies_between_own_and_partner(rule):
    axes = gallery(pair(), [rule]).axes[2]
    (contour,) = [artist for artist in axes.collections if len(artist.get_paths())]
    image = shown(axes)[..., 0]
    corners = np.concatenate([path.vertices for path in contour.get_paths()])
    for u, v in corners:
        top, left = int(np.floor(v)), int(np.floor(u))
        around = image[top : top + 2, left : left + 2]
        assert around.min() == 0
        assert around.max() == 1


@pytest.mark.parametrize("width", [1, 2, 4, 40])
def test_the_outline_of_stripes_leaves_them_visible(width):
    """Of the pixels of the partner, blue, and of the image, green, most are seen, however narrow."""
    x = np.zeros((2, 3, 120, 120), np.float32)
    x[0, 1], x[1, 2] = 1, 1
    inside = np.broadcast_to(np.arange(120) // width % 2 == 1, (120, 120))
    axes = gallery(x, {"": Fixed(MixPlan.from_masks(~inside, [1, 0]))}).axes[2]
    figure = axes.figure
    figure.set_dpi(720)
    figure.canvas.draw()
    box = axes.get_window_extent()
    drawn = np.asarray(figure.canvas.buffer_rgba())[::-1]
    drawn = drawn[round(box.y0) + 9 : round(box.y1) - 9, round(box.x0) + 9 : round(box.x1) - 9, :3].astype(int)
    is_blue, is_green = ((drawn == color).all(axis=-1) for color in ([0, 0, 255], [0, 255, 0]))
    assert is_blue.mean() > 0.3
    assert is_green.mean() > 0.3


def test_a_blend_has_no_outline():
    axes = gallery(pair(), [Mixup()]).axes[2]
    assert not axes.patches
    assert not axes.collections


def test_titles_name_the_options_and_stay_above_their_image():
    rules = [FMix(alpha=0.2, decay=2.0, soft=0.2, mode="elem"), CutMix(minmax=(0.25, 0.5)), OneOf([Mixup(), CutMix()])]
    figure = gallery(pair(), rules)
    figure.draw_without_rendering()
    titles = [axes.get_title().replace("\n", " ") for axes in figure.axes[2:]]
    assert titles == ["FMix alpha=0.2, decay=2.0, soft=0.2, mode='elem'", "CutMix minmax=(0.25, 0.5)", "OneOf"]
    for axes in figure.axes:
        assert axes.title.get_window_extent().width <= axes.get_window_extent().width * 1.05


def test_a_mapping_names_the_rules():
    assert gallery(pair(), {"left": LeftHalf()}).axes[2].get_title() == "left"


def test_the_same_key_gives_the_same_picture(tmp_path):
    for name, key in (("one", 1), ("two", (1,)), ("three", 3)):
        gallery(pair(), [FMix()], rng=key, path=tmp_path / f"{name}.png")
    one, two, three = ((tmp_path / f"{name}.png").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (pair()[:1], None, "two images or more, got 1"),
        (np.float32(1), None, "got a single value"),
        (np.zeros((2, 7), np.float32), None, r"got \(2, 7\)"),
        (pair(), ["cat"], "a label for each of 2 images, got 1"),
    ],
)
def test_what_is_no_pair_is_refused(x, labels, message):
    with pytest.raises(ValueError, match=message):
        gallery(x, labels=labels)


def test_a_rule_of_several_samples_is_shown():
    figure = gallery(pair(), [Mixup(1.0, k=3)], labels=["cat", "dog"])
    axes = figure.axes[2]
    assert axes.get_title() == "Mixup\nalpha=1.0, k=3"
    weights = dict(reversed(part.split()) for part in axes.get_xlabel().split(" + "))
    assert float(weights["cat"]) == pytest.approx(shown(axes).mean(), abs=0.006)
    assert sum(map(float, weights.values())) == pytest.approx(1, abs=0.011)


def test_what_is_no_rule_is_refused():
    with pytest.raises(TypeError, match=r"an entry of rules must be a rule, such as Mixup\(0.4\), got str"):
        gallery(pair(), ["mixup"])
