"""tools/checks.py holds a run against the ratios aimed at."""

import json

import checks
import pytest
from documents import MAIN_TIMES, document_of

from mixup_rs.bench.contender import INPLACE, NEW
from mixup_rs.bench.results import Results


class TestChecks:
    def found(self, item, text, *args, **kwargs):
        (check,) = (
            check
            for check in checks.all_checks(Results(document_of(*args, **kwargs)))
            if check.item == item and text in check.text
        )
        return check

    @pytest.mark.parametrize(
        ("item", "text", "figures", "reached"),
        [
            (1, "f32", {"f32, 1 thread": 1, "f32, 2 threads": 1.25}, False),
            (2, "fastai / in place", {"1 thread": 16, "2 threads": 18}, True),
            (2, "fastai / new", {"1 thread": 64 / 6, "2 threads": 9}, True),
            (2, "numba", {"f32, loop, warm out, 1 thread": 1.5, "f32, loop, warm out, 2 threads": 0.8}, False),
            (2, "torch.compile", {}, None),
            (3, "NumPy", {"1 thread": 3.6, "2 threads": 3.75}, True),
        ],
    )
    def test_figures_of_the_main_case(self, item, text, figures, reached):
        check = self.found(item, text, MAIN_TIMES)
        assert check.measured == pytest.approx(figures)
        assert check.reached is reached

    def test_bounds_differ_with_the_threads(self):
        found = [
            check for check in checks.all_checks(Results(document_of(MAIN_TIMES))) if check.text == "NumPy / new result"
        ]
        assert [(check.bound, check.measured) for check in found] == [(5, {"1 thread": 6}), (6.5, {"2 threads": 7.5})]

    def test_more_threads_at_any_size(self):
        times = [("sweep-1024", NEW, "ours", "", (1, 1.04)), ("sweep-2048", NEW, "ours", "", (2, 3))]
        check = self.found(10, "", times)
        assert check.measured == {"new result, 1.02 KB": 1.04, "new result, 2.05 KB": 1.5}
        assert check.reached is False
        assert str(check) == (
            "10. NOT REACHED  most threads / one, any size <= 1.05: "
            "1.50 (new result, 2.05 KB), 1.04 (new result, 1.02 KB)"
        )

    def test_layouts_are_compared_within_their_case(self):
        call, same = f"{INPLACE}", f"{INPLACE}, C order"
        times = [("channels-last", call, "ours", "", (3, 2)), ("channels-last", same, "ours", "", (3, 2.5))]
        assert self.found(8, "channels", times).measured == {"in place, 1 thread": 1, "in place, 2 threads": 0.8}

    def test_memory_is_a_thread(self):
        check = self.found(9, "", memory=[{"threads": 2, "extra_mib": 1.5}])
        assert check.measured == {"2 threads": 0.75}
        assert check.reached

    def test_the_command_fails_where_a_ratio_is_not_reached(self, tmp_path, capsys):
        for times, status in ((MAIN_TIMES, 1), (MAIN_TIMES[5:8], 0)):
            (tmp_path / "results.json").write_text(json.dumps(document_of(times)))
            assert checks.main([str(tmp_path / "results.json")]) == status
            assert ("NOT REACHED" in capsys.readouterr().out) == bool(status)
