"""The examples in the docstrings of what is for fastai."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["fastai.callbacks", "fastai.manifold", "fastai.metrics"])
def test_the_examples_run(name):
    failed, tried = doctest.testmod(importlib.import_module(f"mixup_rs.{name}"))
    assert tried > 0
    assert failed == 0
