"""The examples of the adapters are short and do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def printed(name):
    path = EXAMPLES / name
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["jax_train.py", "keras_dataset.py"])
def test_a_network_learns(name):
    shares = re.findall(r"([\d.]+)% of the test set", printed(name))
    assert float(shares[-1]) > 95


@pytest.mark.parametrize("name", ["timm_train.py", "torchvision_train.py"])
def test_a_recipe_learns(name):
    shares = re.findall(r"^epoch \d: loss \S+, (\d+)% of the validation set$", printed(name), re.M)
    assert len(shares) > 1
    assert int(shares[-1]) >= 75


def test_ray_trains_on_two_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes there
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (share,) = re.findall(r"^(\d+)% of the test set", printed("ray_pipeline.py"), re.M)
    assert int(share) > 85


def test_the_grain_pipeline_repeats():
    text = printed("grain_pipeline.py")
    kept = [float(share) for share in re.findall(r"([\d.]+) of each label", text)]
    assert len(kept) == 8
    assert 0.5 < min(kept) <= max(kept) < 1
    assert "the same seed, other threads: the same\n" in text
    assert "another seed: others\n" in text
