"""The examples of the adapters run, and learn."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["timm_train", "torchvision_train"])
def test_the_example(name, run_python):
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    printed = run_python(f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')")
    right = [int(share) for share in re.findall(r"^epoch \d: loss \S+, (\d+)% of the validation set$", printed, re.M)]
    assert len(right) == runpy.run_path(str(path))["EPOCHS"]
    assert right[-1] >= 75
