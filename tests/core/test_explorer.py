"""The page docs/explorer has every rule, with the options and defaults of its class."""

import dataclasses

import pytest
from rules import KINDS

explorer = pytest.importorskip("explorer", reason="the tools are not there")


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_is_shown_with_its_options(kind):
    entry = explorer.entries()[KINDS.index(kind)]
    assert entry["name"] == kind.__name__
    assert entry["about"].endswith(".")
    assert "_" not in entry["about"]
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in explorer.LEFT_OUT}
    assert [option["name"] for option in entry["options"]] == list(fields)
    for option in entry["options"]:
        assert option.get("value", dataclasses.MISSING) == fields[option["name"]].default
        if option.get("kind") == "choice":
            assert option["value"] in option["choices"]
            assert set(option["choices"]) <= {"elem", "pair", "batch"}


def test_what_the_page_cannot_show_is_said():
    field = dataclasses.field(default=object)
    field.name = "odd"
    with pytest.raises(TypeError, match=r"Mixup\.odd has a default that the page cannot show"):
        explorer._option(KINDS[0], field)
