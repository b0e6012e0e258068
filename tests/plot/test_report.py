"""tools/report.py writes of a run what was measured."""

import json

import pytest
import report
from documents import MAIN_TIMES, document_of

from mixup_rs.bench.contender import FASTAI, INPLACE, NEW, NUMPY
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
        (tmp_path / "results.json").write_text(json.dumps(self.DOCUMENT))
        (tmp_path / "README.md").write_text(
            f"# head\n\n{report.BEGIN}\nold\n{report.END}\n\n## Use λ\n", encoding="utf-8"
        )
        return tmp_path

    def written(self, repository):
        report.main([str(repository / "results.json"), "--readme", str(repository / "README.md")])
        files = sorted(repository.rglob("*.*"))
        return {file.name: file.read_bytes() for file in files}

    def test_the_readme_and_the_plots_follow_from_the_json(self, repository):
        first = self.written(repository)
        assert set(first) == {"README.md", "results.json", "bench-speed-up.png"}
        assert self.written(repository) == first

    def test_it_writes_between_the_markers(self, repository):
        readme = self.written(repository)["README.md"].decode()
        assert readme.startswith(
            f"# head\n\n{report.BEGIN}\n`mixup-rs bench` of 2025-01-31 on A CPU, 2 processors, 7.5 GiB"
        )
        assert readme.endswith(f"({report.repository()}/raw/main/docs/bench-speed-up.png)\n{report.END}\n\n## Use λ\n")
        assert "old" not in readme
        lines = readme.splitlines()
        assert "| float32 64x3x224x224 | 1 thread | 2 threads | times ours |" in lines
        assert "| **mixup-rs, in place** | 4.00 | 2.00 |  |" in lines
        assert "| *limit: scaling the batch in place* | 4.00 | 1.60 | 1.00 / 0.80 |" in lines
        assert f"| {NUMPY} | 36.0 | 30.0 | 6.0 / 7.5 |" in lines
        numpys = "0.01300 / 0.01300"
        row = f"| float32 4x3x8x8 | 0.00310 / 0.00320 | - / - | - / - | {numpys} |  | {numpys} ({NUMPY}) |"
        assert row in lines
        assert "mixup-rs 1.2.3 (avx2); python 3.11.7, numpy 2.4.6." in readme

    def test_it_says_where_we_lose_and_what_is_left_out(self):
        section = report.readme_section(Results(self.DOCUMENT), [])
        losses = "Where we lose: float32 64x3x224x224: numba loop, warm out is 1.25 times as fast at 2 threads."
        assert losses in section.splitlines()
        assert f"Left out: timm's Mixup (not available); {FASTAI} (cannot mix float16 2x2)." in section.splitlines()

    def test_it_says_where_we_do_not_lose(self):
        section = report.readme_section(Results(document_of(MAIN_TIMES[:-1])), [])
        assert "in none of these cases is a peer faster" in section
        assert "Left out" not in section

    def test_a_readme_without_markers_is_refused(self, tmp_path):
        path = tmp_path / "README.md"
        path.write_text(f"{report.END}\n{report.BEGIN}\n")
        with pytest.raises(ValueError, match=r"markers .* in README\.md"):
            report.update_readme(path, "section")

    def test_another_format_is_refused(self):
        with pytest.raises(ValueError, match="expected results of format 1, got 0"):
            Results({**self.DOCUMENT, "format": 0})
