"""Fixtures for all tests."""

import os
import subprocess
import sys

import pytest

import mixup_rs


@pytest.fixture
def set_num_threads():
    """`mixup_rs.set_num_threads`, undone when the test ends."""
    before = mixup_rs.get_num_threads()
    yield mixup_rs.set_num_threads
    mixup_rs.set_num_threads(before)


@pytest.fixture
def run_python():
    """Runs code in an interpreter of its own and returns what it prints."""

    def run(code, **environment):
        # A number of threads or a cache size set outside would change what is measured.
        inherited = {key: value for key, value in os.environ.items() if not key.endswith(("_NUM_THREADS", "_CACHE_MB"))}
        environment = inherited | environment
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
