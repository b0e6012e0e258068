"""What fastai's own callbacks crash on or get wrong works with ours."""

import pytest
from fastai_cases import CASES


@pytest.mark.parametrize(("ours", "case"), [pytest.param(o, c, id=f"{o.__name__}-{n}") for _, o, n, c in CASES])
def test_it_works(ours, case):
    case(ours())
