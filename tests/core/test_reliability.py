"""docs/reliability.md says what the last runs found."""

from pathlib import Path

import pytest
import reliability

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.skipif(not (DOCS / "reliability").exists(), reason="a source distribution has the page, not the figures")
def test_the_page_is_made_of_the_latest_figures():
    assert (DOCS / "reliability.md").read_text(encoding="utf-8") == reliability.page(DOCS)


def test_every_test_that_the_page_names_is_there():
    for _, tests, _ in reliability.PROMISES:
        for name in tests.split("`")[1::2]:
            assert list(DOCS.parent.glob(name)) or name == "deny.toml", name
