"""The examples for JAX, Grain and Keras are short and do what they say."""

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


def test_the_grain_pipeline_repeats():
    text = printed("grain_pipeline.py")
    kept = [float(share) for share in re.findall(r"([\d.]+) of each label", text)]
    assert len(kept) == 8
    assert 0.5 < min(kept) <= max(kept) < 1
    assert "the same seed, other threads: the same\n" in text
    assert "another seed: others\n" in text
