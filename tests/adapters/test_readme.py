"""What the README shows is run, block after block, as a reader would, and its results are what comes out."""

import re
import warnings
from functools import partial
from pathlib import Path

import pytest
from fastai.vision.all import cnn_learner, vision_learner
from learners import digits
from PIL import Image
from readme import repository
from snippets import check, results

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Neither weights nor a data set can be fetched here: a network starts from nothing, on digits of sklearn's."""
    images, classes = (array.numpy() for array in digits(size=28))
    for i in range(88):
        path = tmp_path / ("train" if i < 72 else "valid") / str(classes[i])
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * images[i].transpose(1, 2, 0)).astype("uint8")).save(path / f"{i}.png")
    monkeypatch.setattr("fastai.vision.all.untar_data", lambda url: tmp_path)
    monkeypatch.setattr("fastai.vision.all.vision_learner", partial(vision_learner, pretrained=False))
    monkeypatch.setattr("fastai.vision.all.cnn_learner", partial(cnn_learner, pretrained=False))


def test_the_snippets_run_and_give_what_they_say():
    assert len(BLOCKS) >= 4
    namespace = {}
    for code in BLOCKS:
        exec(compile(code, "README.md", "exec"), namespace)
        check(code, namespace)
    assert namespace["learn"].mix_up.lam.shape == (64,)
    assert sum(any(results(code)) for code in BLOCKS) >= 3, "each quick start has a result"


def test_the_old_name_of_a_learner_works_as_well():
    [code] = [code for code in BLOCKS if "vision_learner" in code]
    assert "cnn_learner" in code
    code = code.replace("vision_learner(", "cnn_learner(")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cnn_learner.*renamed")
        exec(code, namespace := {})
    check(code, namespace)


def test_links_lead_somewhere_from_a_package_index_as_well():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert link.startswith("https://"), link
        own = re.fullmatch(rf"{re.escape(repository())}/(?:blob|raw)/main/([^#]+)(?:#(.*))?", link)
        if own is not None:
            assert (ROOT / own[1]).exists(), link
            headings = re.findall(r"^#+ (.*)$", (ROOT / own[1]).read_text("utf-8"), re.M) if own[2] else []
            assert own[2] is None or own[2] in [heading.lower().replace(" ", "-") for heading in headings], link


def test_badges_are_of_workflows_of_this_repository():
    names = re.findall(rf"{re.escape(repository())}/actions/workflows/([\w.]+)/badge\.svg", README)
    assert names
    for name in names:
        assert (ROOT / ".github" / "workflows" / name).exists(), name


def test_the_crate_and_the_package_have_one_address():
    assert f'repository = "{repository()}"' in (ROOT / "Cargo.toml").read_text()


def test_a_result_comes_within_15_lines():
    first = BLOCKS[0]
    assert "mix_batch" in first
    assert any(results(first))
    assert README.split("```")[0].count("\n") + first.count("\n") <= 18


def test_it_is_one_page_with_a_small_picture():
    written = re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", "", README, flags=re.DOTALL)
    assert written.count("\n") <= 110, "besides the tables, which are generated"
    [picture] = re.findall(r"^!\[[^]]+\]\((\S+)\)$", README, re.M)
    assert (ROOT / picture.split("/main/")[1]).stat().st_size < 200_000


@pytest.mark.parametrize("command", re.findall(r"^    mixup-rs (.*?)(?:  +#|$)", README, re.M))
def test_the_commands_are_there(command, capsys):
    from mixup_rs import cli

    name = command.split()[0]
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"mixup-rs {name}" in capsys.readouterr().out
