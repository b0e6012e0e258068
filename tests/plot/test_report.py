"""tools/readme.py writes of each processor what was measured, and of each peer what was found."""

import json
import re
from pathlib import Path

import pytest
import readme
import report
from documents import MAIN_TIMES, document_of

from mixup_rs.bench.contender import FASTAI, INPLACE, NEW, NUMPY
from mixup_rs.bench.plots import SIZES, SPEEDUP
from mixup_rs.bench.results import Results

#: Features as `make peers` finds them.
FOUND = {
    "versions": {"mixup-rs": "1.2.3", "peer": "4.5", "torch": "2.0"},
    "peers": ["mixup-rs", "peer"],
    "features": [
        {"key": "soft", "title": "soft targets", "answers": {"mixup-rs": {"mark": "✓"}, "peer": {"mark": "✓"}}},
        {
            "key": "nan",
            "title": "no NaN",
            "answers": {"mixup-rs": {"mark": "✓"}, "peer": {"mark": "?", "why": "the probe failed: a|b"}},
        },
        {
            "key": "turn",
            "title": "turns",
            "answers": {"mixup-rs": {"mark": "✗", "why": "none"}, "peer": {"mark": "✓"}},
        },
    ],
}


class TestReport:
    DOCUMENT = document_of(
        [*MAIN_TIMES, ("tiny", INPLACE, "ours", "", (0.0031, 0.0032)), ("tiny", NUMPY, "peer", NEW, (0.013, 0.013))],
        skipped=[
            {"case": "", "contender": "timm's Mixup", "why": "No module named 'timm'"},
            {"case": "float16 2x2", "contender": FASTAI, "why": "RuntimeError: no"},
        ],
    )

    SECTIONS = (
        "# head λ\n\n<!-- speed: begin -->\nold\n<!-- speed: end -->\n\n"
        "<!-- features: begin -->\n<!-- features: end -->\n\n## Use λ\n"
    )

    @pytest.fixture
    def repository(self, tmp_path):
        Results(self.DOCUMENT).write(tmp_path / "docs" / "bench")
        (tmp_path / "docs" / "peers.json").write_text(json.dumps(FOUND), encoding="utf-8")
        (tmp_path / "README.md").write_text(self.SECTIONS, encoding="utf-8")
        (tmp_path / "docs" / "guides").mkdir()
        guide = "# Beyond\n\n<!-- ray: begin -->\n<!-- ray: end -->\n"
        (tmp_path / "docs" / "guides" / "scaling.md").write_text(guide, encoding="utf-8")
        return tmp_path

    def written(self, repository, monkeypatch):
        monkeypatch.chdir(repository)
        readme.main(["docs/bench"])
        files = sorted(repository.rglob("*.*"))
        return {file.name: file.read_bytes() for file in files}

    def test_the_pages_and_the_plots_follow_from_the_json(self, repository, monkeypatch):
        first = self.written(repository, monkeypatch)
        pages = {"README.md", "benchmarks.md", "numbers.md", "scaling.md"}
        assert set(first) == pages | {"peers.json", "a-processor-5.json", "a-processor-5-speed-up.png"}
        assert self.written(repository, monkeypatch) == first

    def test_the_readme_has_a_column_of_each_processor(self, repository, monkeypatch):
        Results(document_of(MAIN_TIMES[:2], processor="Z")).write(repository / "docs" / "bench")
        page = self.written(repository, monkeypatch)["README.md"].decode()
        assert page.startswith(
            "# head λ\n\n<!-- speed: begin -->\n| ms, float32 64x3x224x224, 1 thread | A Processor 5 | Z |\n"
        )
        assert page.endswith("<!-- features: end -->\n\n## Use λ\n")
        assert "old" not in page
        lines = page.splitlines()
        assert f"| {NUMPY} | 36.0 → **6.00** | - |" in lines
        assert f"| {FASTAI} | 64.0 → **6.00** | - |" in lines
        assert "| torchvision MixUp | - | - |" in lines
        case = "numba loop, warm out, float32 64x3x224x224, A Processor 5"
        where = f"A peer is faster in 1 measurements, at most 1.25 times ({case}): "
        assert f"{where}[docs/numbers.md]({readme.repository()}/blob/main/docs/numbers.md)." in lines

    def test_the_readme_has_the_features_that_we_lack_first(self, repository, monkeypatch):
        lines = self.written(repository, monkeypatch)["README.md"].decode().splitlines()
        at = lines.index("<!-- features: begin -->")
        assert lines[at + 1 : lines.index("<!-- features: end -->")] == [
            "|  | mixup-rs 1.2.3 | peer 4.5 |",
            "| --- | :-: | :-: |",
            "| turns | ✗ | ✓ |",
            "| no NaN | ✓ | ? |",
        ]

    def test_the_guide_has_the_images_a_second_of_ray(self, repository, monkeypatch):
        document = document_of([("ray", "Mixer", "ours", "", (2000.0, 1000.0))], processor="Z")
        (case,) = document["cases"]
        assert case["samples"] == 4096
        case["title"] = "Ray"
        Results(document).write(repository / "docs" / "bench")
        lines = self.written(repository, monkeypatch)["scaling.md"].decode().splitlines()
        assert lines[lines.index("<!-- ray: begin -->") + 1 : -1] == [
            "Z:", "", "| Ray: images a second | 1 CPU | 2 CPUs |", "| --- | --: | --: |", "| Mixer | 2048 | 4096 |"
        ]  # fmt: skip

    def test_the_numbers_have_a_table_of_each_processor_and_every_feature(self, repository, monkeypatch):
        Results(document_of(MAIN_TIMES[:2], processor="Z")).write(repository / "docs" / "bench")
        lines = self.written(repository, monkeypatch)["numbers.md"].decode().splitlines()
        assert [line for line in lines if line.startswith("|") and "thread" in line] == [
            "| A Processor 5 | 1 thread | 2 threads | times ours |",
            "| Z | 1 thread | 2 threads | times ours |",
            "| where we lose | processor | threads | faster peer | factor |",
        ]
        assert "| **mixup-rs, in place** | 4.00 | 2.00 |  |" in lines
        assert "| *limit: scaling the batch in place* | 4.00 | 1.60 | 1.00 / 0.80 |" in lines
        assert f"| {NUMPY} | 36.0 | 30.0 | 6.0 / 7.5 |" in lines
        assert "| float32 64x3x224x224 | A Processor 5 | 2 | numba loop, warm out | 1.25 |" in lines
        assert {"| turns | ✗ | ✓ |", "| soft targets | ✓ | ✓ |", "| no NaN | ✓ | ? |"} <= {*lines}
        assert lines[-2:] == ["- no NaN, peer: the probe failed: a/b", "- turns, mixup-rs: none"]
        assert "With torch 2.0. Why a mark is no ✓:" in lines

    def test_the_page_has_a_section_of_each_processor(self, repository, monkeypatch):
        Results(document_of(MAIN_TIMES[:2], processor="Z")).write(repository / "docs" / "bench")
        page = self.written(repository, monkeypatch)["benchmarks.md"].decode()
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
        every = [Results(document_of(MAIN_TIMES[:-1], processor=name)) for name in "AB"]
        assert "No peer is faster in any case" in readme.speed(every)
        section = report.page(every, {})
        assert "in no case on A, B is a peer faster" in section
        assert "Left out" not in section

    def test_a_readme_without_markers_is_refused(self, tmp_path):
        path = tmp_path / "README.md"
        path.write_text("<!-- speed: end -->\n<!-- speed: begin -->\n")
        with pytest.raises(ValueError, match=r"markers .* in README\.md"):
            readme.update(path, "speed", "section")

    def test_another_format_is_refused(self):
        with pytest.raises(ValueError, match="expected results of format 2, got 0"):
            Results({**self.DOCUMENT, "format": 0})


class TestRepository:
    """What is committed follows from what was measured."""

    ROOT = Path(report.__file__).parents[1]
    EVERY = Results.read_all(ROOT / "docs" / "bench")

    FOUND = json.loads((ROOT / "docs" / "peers.json").read_text(encoding="utf-8"))

    def test_the_readme_and_the_numbers(self, tmp_path):
        copy, page = tmp_path / "README.md", tmp_path / "numbers.md"
        copy.write_bytes((self.ROOT / "README.md").read_bytes())
        readme.write(copy, page, self.EVERY, self.FOUND)
        assert copy.read_bytes() == (self.ROOT / "README.md").read_bytes()
        assert page.read_bytes() == (self.ROOT / "docs" / "numbers.md").read_bytes()

    def test_every_feature_was_asked_of_every_peer(self):
        names = ["mixup-rs", "fastai", "timm", "torchvision", "kornia"]
        assert self.FOUND["peers"] == names
        assert {*names, "python", "torch"} <= self.FOUND["versions"].keys()
        assert {*readme.FEATURES} <= {row["key"] for row in self.FOUND["features"]}
        for row in self.FOUND["features"]:
            assert [*row["answers"]] == names
            for answer in row["answers"].values():
                assert (answer["mark"] == "✓") != bool(answer.get("why")), row["title"]

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
