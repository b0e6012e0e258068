"""The examples in the docstrings of what is for torch."""

import doctest
import importlib
import pkgutil

import pytest

import mixup_rs.torch

#: The modules whose docstrings have no examples: they are parts of the others, or their names are private.
WITHOUT_EXAMPLES = {"_compat", "arrays", "device", "samples", "separable", "shared", "stacking"}
MODULES = {module.name for module in pkgutil.iter_modules(mixup_rs.torch.__path__)}


def run(name):
    return doctest.testmod(importlib.import_module(f"mixup_rs.torch.{name}"))


@pytest.mark.parametrize("name", sorted(MODULES - WITHOUT_EXAMPLES))
def test_the_examples_run(name):
    failed, tried = run(name)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("name", sorted(WITHOUT_EXAMPLES))
def test_the_list_of_modules_without_examples_is_not_too_long(name):
    assert name in MODULES
    assert run(name).attempted == 0
