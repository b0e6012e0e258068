"""What the pages of docs/ show is run: those whose code needs what this folder has."""

import pytest
from snippets import pages, run


@pytest.mark.parametrize("page", pages("core"))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)
