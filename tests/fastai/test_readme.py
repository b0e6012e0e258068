"""What the README shows is run, block after block, as a reader would."""

import re
from functools import partial
from pathlib import Path

from fastai.vision.all import CrossEntropyLossFlat, vision_learner
from learners import loaders
from readme import repository

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_snippets_run(monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 5
    # What a reader of the fastai line has already; weights cannot be fetched here.
    learner = partial(vision_learner, pretrained=False, n_out=10, loss_func=CrossEntropyLossFlat())
    monkeypatch.setattr("fastai.vision.all.cnn_learner", learner)
    namespace = {"dls": loaders(n=32, size=32)}
    for code in blocks:
        exec(compile(code, "README.md", "exec"), namespace)
    learn = namespace["learn"]
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert learn.mix_up.alpha == 0.4


def test_links_lead_somewhere_from_a_package_index_as_well():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert link.startswith("https://"), link
        own = re.fullmatch(rf"{re.escape(repository())}/(?:blob|raw)/main/([^#]+)(?:#.*)?", link)
        assert own is None or (ROOT / own[1]).exists(), link


def test_the_crate_and_the_package_have_one_address():
    assert f'repository = "{repository()}"' in (ROOT / "Cargo.toml").read_text()


def test_a_result_comes_within_15_lines():
    first = README.split("```python\n")[1].split("```")[0]
    assert "mix_batch" in first
    assert README.split("```")[0].count("\n") + first.count("\n") <= 18
