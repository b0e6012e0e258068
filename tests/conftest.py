"""Fixtures for all tests."""

import os
import subprocess
import sys

import pytest
from hypothesis import settings

import mixup_rs

# They assert, and are no test modules.
pytest.register_assert_rewrite("applying", "device")

# `make test` tries the same few cases each time, `make fuzz` (--hypothesis-profile=fuzz) many, from another seed.
settings.register_profile("quick", max_examples=100, deadline=None, derandomize=True, database=None)
FUZZ_CASES = int(os.environ.get("MIXUP_RS_FUZZ_CASES", 13_000))
settings.register_profile("fuzz", max_examples=FUZZ_CASES, deadline=None, print_blob=True, database=None)
settings.load_profile("quick")


def pytest_collection_modifyitems(items):
    """Processes that share the tests must name them alike, and an address differs in each."""
    named = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named:
        raise pytest.UsageError(f"ids with addresses: {named}")


@pytest.fixture
def set_num_threads():
    """`mixup_rs.set_num_threads`, undone when the test ends."""
    before = mixup_rs.get_num_threads()
    yield mixup_rs.set_num_threads
    mixup_rs.set_num_threads(before)


@pytest.fixture
def few_peers(monkeypatch):
    """Without peers whose importing and compiling would take longer than all else here."""
    for library in ("numba", "timm", "jax", "kornia", "mixup"):
        monkeypatch.setitem(sys.modules, library, None)


@pytest.fixture
def run_python():
    """Runs code in an interpreter of its own and returns what it prints."""

    def run(code, **environment):
        # A number of threads or a cache size set outside would change what is measured.
        inherited = {key: value for key, value in os.environ.items() if not key.endswith(("_NUM_THREADS", "_CACHE_MB"))}
        environment = inherited | environment
        # Long enough for any of them: what takes longer hangs.
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
