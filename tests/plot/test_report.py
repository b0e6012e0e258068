"""tools/report.py writes of each processor what was measured."""

import re
from pathlib import Path

import pytest
import report
from documents import MAIN_TIMES, document_of

from mixup_rs.bench.contender import FASTAI, INPLACE, NEW, NUMPY
from mixup_rs.bench.plots import SIZES, SPEEDUP
from mixup_rs.bench.results import Results


class TestReport:
    DOCUMENT = document_of(
        [*MAIN_TIMES, ("tiny", INPLACE, "ours", "", (0.0031, 0.0032)), ("tiny", NUMPY, "peer", NEW, (0.013, 0.013))],
        skipped=[
            {"case": "", "contender": "timm's Mixup", "why": "No module named 'timm'"},
            {"case": "float16 2x2", "contender": FASTAI, "why": "RuntimeError: no"},
        ],
    )

    @pytest.fixture
    def repository(self, tmp_path):
        Results(self.DOCUMENT).write(tmp_path / "docs" / "bench")
        (tmp_path / "README.md").write_text(
            f"# head\n\n{report.BEGIN}\nold\n{report.END}\n\n## Use λ\n", encoding="utf-8"
        )
        return tmp_path

    def written(self, repository):
        docs = repository / "docs"
        report.main(
            [str(docs / "bench"), "--readme", str(repository / "README.md"), "--page", str(docs / "benchmarks.md")]
        )
        files = sorted(repository.rglob("*.*"))
        return {file.name: file.read_bytes() for file in files}

    def test_the_pages_and_the_plots_follow_from_the_json(self, repository):
        first = self.written(repository)
        assert set(first) == {"README.md", "benchmarks.md", "a-processor-5.json", "a-processor-5-speed-up.png"}
        assert self.written(repository) == first

    def test_the_readme_has_a_small_table_of_each_processor(self, repository):
        Results(document_of(MAIN_TIMES[:2], processor="Z")).write(repository / "docs" / "bench")
        readme = self.written(repository)["README.md"].decode()
        assert readme.startswith(f"# head\n\n{report.BEGIN}\nMilliseconds for float32 64x3x224x224")
        assert readme.endswith(f"/blob/main/docs/benchmarks.md).\n{report.END}\n\n## Use λ\n")
        assert "old" not in readme
        lines = readme.splitlines()
        assert [line for line in lines if line.startswith("|") and "thread" in line] == [
            "| A Processor 5 | 1 thread | 2 threads | times ours |",
            "| Z | 1 thread | 2 threads | times ours |",
            "| where we lose | processor | threads | faster peer | factor |",
        ]
        assert "| **mixup-rs, in place** | 4.00 | 2.00 |  |" in lines
        assert "| *limit: scaling the batch in place* | 4.00 | 1.60 | 1.00 / 0.80 |" in lines
        assert f"| {NUMPY} | 36.0 | 30.0 | 6.0 / 7.5 |" in lines

    def test_the_page_has_a_section_of_each_processor(self, repository):
        Results(document_of(MAIN_TIMES[:2], processor="Z")).write(repository / "docs" / "bench")
        page = self.written(repository)["benchmarks.md"].decode()
        lines = page.splitlines()
        assert [line for line in lines if line.startswith("## ")] == ["## A Processor 5", "## Z"]
        assert "| float32 64x3x224x224 | 1 thread | 2 threads | times ours |" in lines
        numpys = "0.01300 / 0.01300"
        row = f"| float32 4x3x8x8 | 0.00310 / 0.00320 | - / - | - / - | {numpys} |  | {numpys} ({NUMPY}) |"
        assert row in lines
        where = "`mixup-rs bench` of 2025-01-31 on A Processor 5 (A CPU), 2 processors, 7.5 GiB, Linux x86_64: "
        assert f"{where}mixup-rs 1.2.3 (avx2); python 3.11.7, numpy 2.4.6." in lines
        assert "![a processor 5 speed up](bench/a-processor-5-speed-up.png)" in lines

    def test_it_says_where_we_lose_on_which_processor_and_what_is_left_out(self):
        every = [Results(self.DOCUMENT), Results(document_of(MAIN_TIMES, processor="Z"))]
        lines = report.page(every, {}).splitlines()
        for processor in ("A Processor 5", "Z"):
            assert f"| float32 64x3x224x224 | {processor} | 2 | numba loop, warm out | 1.25 |" in lines
        assert f"Left out: timm's Mixup (not available); {FASTAI} (cannot mix float16 2x2)." in lines

    def test_it_says_where_we_do_not_lose(self):
        section = report.page([Results(document_of(MAIN_TIMES[:-1], processor=name)) for name in "AB"], {})
        assert "in no case on A, B is a peer faster" in section
        assert "Left out" not in section

    def test_a_readme_without_markers_is_refused(self, tmp_path):
        path = tmp_path / "README.md"
        path.write_text(f"{report.END}\n{report.BEGIN}\n")
        with pytest.raises(ValueError, match=r"markers .* in README\.md"):
            report.update_readme(path, "section")

    def test_another_format_is_refused(self):
        with pytest.raises(ValueError, match="expected results of format 2, got 0"):
            Results({**self.DOCUMENT, "format": 0})


class TestRepository:
    """What is committed follows from what was measured."""

    ROOT = Path(report.__file__).parents[1]
    EVERY = Results.read_all(ROOT / "docs" / "bench")

    def test_the_readme(self, tmp_path):
        readme = self.ROOT / "README.md"
        copy = tmp_path / "README.md"
        copy.write_bytes(readme.read_bytes())
        report.update_readme(copy, report.readme_section(self.EVERY))
        assert copy.read_bytes() == readme.read_bytes()

    def test_the_page(self):
        plots = {
            results.processor: [f"bench/{results.slug}-{plot}" for plot in (SIZES, SPEEDUP)] for results in self.EVERY
        }
        page = (self.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
        assert page == report.page(self.EVERY, plots)
        for link in re.findall(r"\]\(([^)]+)\)", page):
            assert (self.ROOT / "docs" / link).exists(), link

    def test_each_file_is_called_what_its_machine_is(self):
        for path in (self.ROOT / "docs" / "bench").glob("*.json"):
            assert path.stem == Results.read(path).slug
