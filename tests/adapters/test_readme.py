"""What the README shows is run, block after block, as a reader would, and its results are what comes out."""

import re
import warnings
from functools import partial
from pathlib import Path

import pytest
from fastai.vision.all import CrossEntropyLossFlat, cnn_learner, resnet18, vision_learner
from learners import loaders
from readme import repository
from snippets import check, results

from mixup_rs import RustMixUp

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
#: What a reader of the fastai lines has already; weights cannot be fetched here.
GIVEN = {"pretrained": False, "n_out": 10, "loss_func": CrossEntropyLossFlat()}


def test_the_snippets_run_and_give_what_they_say(monkeypatch):
    assert len(BLOCKS) >= 4
    monkeypatch.setattr("fastai.vision.all.vision_learner", partial(vision_learner, **GIVEN))
    namespace = {"dls": loaders(n=32, size=32)}
    for code in BLOCKS:
        exec(compile(code, "README.md", "exec"), namespace)
        check(code, namespace)
    assert namespace["learn"].mix_up.alpha == 0.4
    assert sum(any(results(code)) for code in BLOCKS) >= 3, "each quick start has a result"


def test_the_old_name_of_a_learner_works_as_well():
    assert "cnn_learner" in README
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cnn_learner.*renamed")
        learn = cnn_learner(loaders(n=32, size=32), resnet18, cbs=RustMixUp, **GIVEN)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert learn.mix_up.lam.shape == (32,)


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
    assert README.count("\n") <= 130
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
