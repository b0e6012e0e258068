"""`mixup-rs demo` and `mixup-rs preview` where matplotlib is installed, which brings Pillow."""

import sys

import numpy as np
import pytest
from PIL import Image

from mixup_rs import FMix, Mixup, cli
from mixup_rs.cli.pictures import read
from mixup_rs.rules import kinds


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("mixup_rs.cli.demo._TIMED_SHAPE", (4, 3, 8, 8))
    monkeypatch.setattr("mixup_rs.cli.pictures.SIDE", 24)


@pytest.fixture
def shown(monkeypatch):
    """What the functions of `mixup_rs.plot` were called with, instead of a picture."""
    calls = []
    for name in ("gallery", "plot_mixed_batch"):
        monkeypatch.setattr(
            f"mixup_rs.plot.{name}", lambda *args, _name=name, **named: calls.append((_name, args, named))
        )
    return calls


def save(path, colour, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Images of three classes, in a folder beside which is another file."""
    for i, (name, colour) in enumerate({"red": "#f00", "green": "#0f0", "blue": "#00f"}.items()):
        for number in range(4):
            save(tmp_path / "images" / "train" / name / f"{number}.{('png', 'jpg', 'JPEG')[i]}", colour)
    (tmp_path / "images" / "labels.csv").touch()
    save(tmp_path / "images" / ".thumbnails" / "red.png", "#fff")
    return tmp_path / "images"


@pytest.mark.parametrize("with_photographs", [True, False])
@pytest.mark.parametrize("rule", [[], ["--rule", "FMix"]])
def test_demo_saves_a_picture_and_repeats(tmp_path, capsys, monkeypatch, with_photographs, rule):
    if with_photographs:
        pytest.importorskip("sklearn")
    else:
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    pictures = [tmp_path / name for name in ("one.png", "two.png", "three.png")]
    for path, key in zip(pictures, ("1,2", "1,2", "3"), strict=True):
        assert cli.main(["demo", *rule, "--out", str(path), "--rng", key]) == 0
    out = capsys.readouterr().out
    assert f"picture: {pictures[0]}" in out
    assert ("temple" in out) == with_photographs
    one, two, three = (path.read_bytes() for path in pictures)
    assert one == two != three


def test_demo_without_a_rule_shows_every_rule(shown, capsys):
    assert cli.main(["demo"]) == 0
    [(name, (x, rules, names), options)] = shown
    assert name == "gallery"
    assert x.shape == (3, 3, 24, 24)
    assert len(names) == 3
    assert {type(rule) for rule in rules} == {kind for name, kind in kinds().items() if name != "oneof"}
    assert options["rng"] == 0


def test_demo_mixes_the_pictures_that_are_given(tmp_path, shown, capsys):
    paths = [save(tmp_path / name, colour, size) for name, colour, size in
             [("a.png", "#f00", (90, 30)), ("b.jpg", "#0f0", (30, 90)), ("c.webp", "#00f", (5, 5))]]  # fmt: skip
    assert cli.main(["demo", *paths, "--rule", "mixup", "--alpha", "1", "--rng", "5"]) == 0
    [(name, (x, mixed, plan, *_), options)] = shown
    assert name == "plot_mixed_batch"
    np.testing.assert_allclose(x[:, :, 12, 12], 255 * np.eye(3), atol=2)
    expected = Mixup(1.0).plan(3, rng=(5,))
    np.testing.assert_array_equal(plan.lam, expected.lam)
    np.testing.assert_array_equal(mixed, expected.apply(x))
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("--rng 5")
    assert said[1].startswith(f"a lam {expected.lam[0]:.2f}, partner {'abc'[expected.partner[0]]} soft target ")
    assert options["max_n"] == 3


@pytest.mark.parametrize("rule", [name for name in kinds() if name != "oneof"])
def test_demo_without_a_key_mixes_each_picture_with_another(tmp_path, shown, capsys, rule):
    paths = [save(tmp_path / name, colour) for name, colour in [("a.png", "#f00"), ("b.png", "#0f0")]]
    assert cli.main(["demo", *paths, "--rule", rule]) == 0
    plan = shown[0][1][2]
    assert list(plan.partner) == [1, 0]
    assert ((plan.lam > 0.2) & (plan.lam < 0.95)).all()
    key = capsys.readouterr().out.splitlines()[0].split()[-1]
    assert cli.main(["demo", *paths, "--rule", rule, "--rng", key]) == 0
    np.testing.assert_array_equal(shown[1][1][2].lam, plan.lam)


def test_a_rule_of_several_partners_is_shown(tmp_path, folder, capsys):
    paths = [
        save(tmp_path / name, colour) for name, colour in [("a.png", "#f00"), ("b.png", "#0f0"), ("c.png", "#00f")]
    ]
    args = ["--rule", "Mixup(1.0, k=3)", "--out", str(tmp_path / "several.png")]
    assert cli.main(["demo", *paths, *args]) == 0
    said = capsys.readouterr().out.splitlines()
    plan = Mixup(1.0, k=3).plan(3, rng=(int(said[0].split()[-1]),))
    assert f"partner {', '.join('abc'[i] for i in plan.partner[0])} soft target {plan.weights[0, 0]:.2f} a" in said[1]
    assert cli.main(["preview", str(folder), *args]) == 0


def test_a_picture_is_shown_upright(tmp_path, shown):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture = Image.new("RGB", (60, 60), "#f00")
    picture.paste("#0f0", (0, 0, 30, 60))  # the left half, which is the top when upright
    picture.save(tmp_path / "a.png", exif=exif)
    save(tmp_path / "b.png", "#00f")
    assert cli.main(["demo", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--rule", "mixup"]) == 0
    x = shown[0][1][0][0]
    assert x[1, 2, 20] == x[1, 2, 2] == 255
    assert x[0, 20, 2] == 255


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("L", 128, (128, 128, 128)), ("P", 0, (0, 0, 0)), ("RGBA", (9, 8, 7, 0), (9, 8, 7)), ("I;16", 0x8040, (128,) * 3)],
)
def test_a_picture_of_any_mode_becomes_rgb(tmp_path, mode, value, expected):
    path = tmp_path / "a.png"
    Image.new(mode, (30, 20), value).save(path)
    assert tuple(read([path])[0, :, 5, 5]) == expected


def test_preview_mixes_images_labelled_by_their_folders(folder, shown, capsys):
    assert cli.main(["preview", str(folder), "--rule", "fmix", "--batch", "8", "--samples", "3", "--rng", "7"]) == 0
    out = capsys.readouterr().out
    assert "12 images of 3 classes: blue (4), green (4), red (4)\n" in out
    assert "FMix(" in out
    [(_, (x, mixed, _, labels, classes), options)] = shown
    assert classes == ["blue", "green", "red"]
    assert len(x) == 8
    assert len(options["samples"]) == 3
    assert len({*labels}) > 1
    for image, label in zip(x, labels, strict=True):
        assert image[:, 12, 12].argmax() == 2 - label
    np.testing.assert_array_equal(mixed, FMix().plan(8, (24, 24), rng=(7,)).apply(x))


def test_preview_gives_a_rule_the_labels(folder, shown, capsys):
    assert cli.main(["preview", str(folder), "--rule", "Mixup(1, partners=Within())", "--rng", "7"]) == 0
    [(_, (_, _, plan, labels, _), _)] = shown
    np.testing.assert_array_equal(labels[plan.partner], labels)
    words = "Within needs the labels of the batch"
    assert words in fails(capsys, "preview", str(folder / "train" / "red"), "--rule", "Mixup(partners=Within())")


def test_a_sample_that_is_its_own_partner_is_hardly_mixed(folder, shown, capsys):
    assert cli.main(["preview", str(folder), "--rule", "Mixup(mode='batch')", "--batch", "1", "--rng", "1"]) == 0
    assert 0.5 < shown[0][1][2].lam[0] < 0.95
    assert "1 are hardly mixed" in capsys.readouterr().out


def test_preview_saves_a_picture_and_repeats(folder, tmp_path):
    pictures = [tmp_path / name for name in ("one.png", "two.png")]
    for path in pictures:
        assert cli.main(["preview", str(folder), "--out", str(path)]) == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_preview_of_images_without_classes_shows_weights_alone(folder, shown, capsys):
    assert cli.main(["preview", str(folder / "train" / "red")]) == 0
    assert "4 images of one folder, red: no labels" in capsys.readouterr().out
    assert shown[0][1][3] is None


def fails(capsys, *args):
    assert cli.main([*args]) == 1
    return capsys.readouterr().err


def test_a_folder_without_images_is_a_message(tmp_path, capsys):
    assert "no images in" in fails(capsys, "preview", str(tmp_path))
    for name in ("a.csv", "b.csv", "c.txt"):
        (tmp_path / name).touch()
    assert "found 2 .csv, 1 .txt" in fails(capsys, "preview", str(tmp_path))
    save(tmp_path / "a.png", "#f00")
    assert "expected two images or more, got 1" in fails(capsys, "preview", str(tmp_path))


def test_an_unreadable_image_is_named(folder, tmp_path, capsys):
    broken = folder / "train" / "red" / "broken.jpg"
    broken.write_text("no image")
    assert f"{broken} cannot be read as an image" in fails(capsys, "preview", str(folder))
    good = save(tmp_path / "a.jpg", "#f00")
    cut = tmp_path / "cut.png"
    Image.effect_noise((40, 30), 90).save(cut)
    cut.write_bytes(cut.read_bytes()[:200])
    assert f"{cut} cannot be read as an image" in fails(capsys, "demo", good, str(cut))
    assert "there is no file" in fails(capsys, "demo", good, str(tmp_path / "none.png"))
    assert "is a folder: mixup-rs preview" in fails(capsys, "demo", good, str(tmp_path))


def test_a_picture_that_cannot_be_written_is_a_message(tmp_path, capsys):
    assert "Format 'foo' is not supported" in fails(capsys, "demo", "--out", str(tmp_path / "a.foo"))
    (tmp_path / "file").touch()
    assert "cannot be written" in fails(capsys, "demo", "--out", str(tmp_path / "file" / "a.png"))
