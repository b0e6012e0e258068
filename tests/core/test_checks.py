"""`mixup-rs bench --check` holds the results of each processor against what is promised."""

from math import sqrt

import pytest
from documents import MAIN_TIMES, document_of

from mixup_rs import bench
from mixup_rs.bench import checks
from mixup_rs.bench.contender import INPLACE, NEW, WARM
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
            (1, "memory", {"f32, 1 thread": 1, "f32, 2 threads": 1.25}, False),
            (2, "fastai / in place", {"1 thread": 16, "2 threads": 18}, True),
            (2, "fastai / new", {"1 thread": 64 / 6, "2 threads": 9}, True),
            (2, "numba", {"f32, loop, warm out, 1 thread": 1.5, "f32, loop, warm out, 2 threads": 0.8}, False),
            (2, "torch.compile", {}, None),
            (2, "jax.jit", {}, None),
            (2, "cv2", {}, None),
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
            "10. NOT REACHED  most threads / one, any case <= 1.05: "
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

    def test_limits_are_those_of_the_same_job(self):
        times = [
            ("f32-8", INPLACE, "ours", "", (2, 1)),
            ("f32-8", NEW, "ours", "", (6, 4)),
            ("f32-8", WARM, "ours", "", (5, 4)),
            ("f32-8", "scale (numpy)", "limit", INPLACE, (1, 1)),
            ("f32-8", "copy (numpy)", "limit", NEW, (4, 4)),
        ]
        where = ("f32-8, 1 thread", "f32-8, 2 threads")
        expected = {(1, "cache"): (2, 1), (7, "cache: new"): (1.5, 1), (7, "cache: warm"): (1.25, 1)}
        for (item, text), figures in expected.items():
            assert self.found(item, text, times).measured == dict(zip(where, figures, strict=True))
        check = self.found(7, "new result / warm", times)
        assert check.measured == {"f32-8, 1 thread": 1.2, "f32-8, 2 threads": 1}
        assert check.reached is False

    def test_a_size_is_held_against_its_neighbours(self):
        sizes = {"sweep-1024": (1, 1), "sweep-2048": (2, 3), "sweep-4096": (4, 4), "sweep-8192": (8, 8)}
        times = [(name, INPLACE, "ours", "", times) for name, times in sizes.items()]
        check = self.found(11, "", times)
        assert check.measured == pytest.approx(
            {
                "in place, 2.05 KB, 1 thread": 1,
                "in place, 4.1 KB, 1 thread": 1,
                "in place, 2.05 KB, 2 threads": 1.5,
                "in place, 4.1 KB, 2 threads": 4 / sqrt(3 * 8),
            }
        )
        assert check.reached is False
        # The ends have one neighbour. Sizes that are no power of two are predicted at their place.
        times = [(f"sweep-{size}", NEW, "ours", "", (size, None)) for size in (128 << 20, 256 << 20, 300 << 20)]
        assert self.found(11, "", times).measured == pytest.approx({"new result, 268 MB, 1 thread": 1})

    def test_the_command_fails_where_a_ratio_of_any_processor_is_not_reached(self, tmp_path, capsys):
        for name, times, status in (("A", MAIN_TIMES[5:8], 0), ("B", MAIN_TIMES, 1)):
            Results(document_of(times, processor=name)).write(tmp_path)
            assert bench.main(["--check", str(tmp_path)]) == status
            assert ("NOT REACHED" in capsys.readouterr().out) == bool(status)
        bench.main(["--check", str(tmp_path)])
        printed = capsys.readouterr().out
        assert printed.startswith("A:\n")
        assert "\n\nB:\n" in printed
