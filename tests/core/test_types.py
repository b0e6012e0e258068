"""What type checkers and editors see."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the wheel is tested without the README")
def test_the_readmes_first_example_is_well_typed(tmp_path):
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S).group(1)
    (tmp_path / "example.py").write_text(code + "\nreveal_type(mixed.y)\n", encoding="utf-8")
    # The cache of the checkout, which stubtest fills: without one this takes 16 s.
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(README.parent / ".mypy_cache"),
        "example.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "ndarray" in done.stdout
