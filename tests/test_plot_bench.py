"""The benchmark: that it measures, says what it could not measure, and reports what was measured. Never how fast."""

import io
import json
import sys

import checks
import numpy as np
import pytest
import report

import mixup_rs
from mixup_rs import bench
from mixup_rs.bench import cases, peers
from mixup_rs.bench.cases import Batch, Case
from mixup_rs.bench.contender import COLD, FASTAI, INPLACE, NEW, NUMPY, RUST_MIXUP, Contender
from mixup_rs.bench.measure import measure
from mixup_rs.bench.report import table
from mixup_rs.bench.results import FORMAT, Results, case_record
from mixup_rs.bench.run import run_cases

pytest.importorskip("matplotlib")

TINY = Case("f32", (4, 3, 8, 8))


@pytest.fixture
def few_peers(monkeypatch):
    """No numba and no timm: importing and compiling them would take longer than all else here."""
    for library in ("numba", "timm"):
        monkeypatch.setitem(sys.modules, library, None)


@pytest.mark.usefixtures("few_peers")
def test_a_run_measures_all_who_are_there_and_names_who_is_not():
    pytest.importorskip("fastai")
    before = mixup_rs.get_num_threads()
    layouts = [Case("channels-last", TINY.shape, layout="channels_last", peers=False), Case("u8", TINY.shape, "uint8")]
    results = run_cases([TINY, *layouts], threads=[1, 2], seconds=0, quick=True)
    assert mixup_rs.get_num_threads() == before
    threads = results.threads
    assert threads in ([1], [1, 2])
    assert set(results.contenders("f32", "ours")) == {INPLACE, NEW, COLD, RUST_MIXUP, f"{RUST_MIXUP}(inplace=True)"}
    assert {NUMPY, FASTAI} <= set(results.contenders("f32", "peer"))
    assert {"scale (numpy)", "copy (torch)"} <= set(results.contenders("f32", "limit"))
    assert f"{NEW}, C order" in results.contenders("channels-last")
    assert results.contenders("channels-last", "peer") == []
    for record in results.document["results"]:
        assert 0 < record["min_ms"] <= record["median_ms"] <= record["max_ms"]
        assert record["rounds"] >= 3
        assert record["threads"] in threads
        assert record["kind"] != "peer" or record["rival"] in results.contenders(record["case"], "ours")
    skipped = {(entry["contender"], entry["case"]): entry["why"] for entry in results.document["skipped"]}
    assert {("timm's Mixup", ""), ("timm's FastCollateMixup", ""), ("numba loop", "")} <= skipped.keys()
    assert "RuntimeError" in skipped[FASTAI, "uint8 4x3x8x8"]
    assert "numba loop" in table(results)


@pytest.mark.usefixtures("few_peers")
def test_the_command_writes_json_that_reads_back(tmp_path, capsys):
    path = tmp_path / "new" / "results.json"
    args = ["--quick", "--cases", "tiny,sweep-1024,sweep-16384", "--threads", "1", "--seconds", "0.001"]
    assert bench.main([*args, "--json", str(path), "--plots", str(tmp_path)]) == 0
    document = json.loads(path.read_text())
    assert document.keys() == document_of().keys()
    assert document["format"] == FORMAT
    assert document["command"] == "mixup-rs bench " + " ".join(args)
    assert document["versions"]["mixup-rs"] == mixup_rs.__version__
    assert [case["name"] for case in document["cases"]] == ["tiny", "sweep-1024", "sweep-16384"]
    assert str(tmp_path) not in path.read_text()
    assert (tmp_path / "bench-time-by-size.png").stat().st_size > 1000
    captured = capsys.readouterr()
    assert "float32 4x3x8x8" in captured.out
    assert "[3/3" in captured.err
    checks.main([str(path)])
    assert "2. not measured fastai / in place >= 14" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["--cases", "nothing"], ["--threads", "0"], ["--threads", "two"]])
def test_a_wrong_command_line_is_refused(args):
    with pytest.raises(SystemExit) as stop:
        bench.main(args)
    assert stop.value.code == 2


class TestMeasure:
    def test_contenders_take_turns_on_a_refilled_batch(self):
        batch, calls = Batch(TINY), []
        pristine = batch.x.copy()

        def run_(name):
            def run():
                if calls[-1:] != [name]:
                    np.testing.assert_array_equal(batch.x, pristine)
                    calls.append(name)
                batch.x[...] = 0

            return Contender(name, run)

        timings, skipped = measure(batch, [run_("one"), run_("two")], threads=[1], seconds=0)
        assert calls == ["one", "two"] * 4  # the first calls, then three rounds
        assert [len(timing.nanoseconds) for timing in timings] == [3, 3]
        assert skipped == {}

    def test_what_is_prepared_is_spent_once(self):
        prepared = []

        def run():
            prepared.pop()

        measure(Batch(TINY), [Contender("cold", run, prepare=lambda: prepared.append(1), single=True)], [1], 0)

    def test_a_peer_that_fails_is_named_but_our_own_failure_is_an_error(self):
        def fail():
            raise RuntimeError("not for this dtype\nand more")

        timings, skipped = measure(Batch(TINY), [Contender("peer", fail)], [1], 0)
        assert (timings, skipped) == ([], {"peer": "RuntimeError: not for this dtype"})
        with pytest.raises(RuntimeError, match="not for this dtype"):
            measure(Batch(TINY), [Contender("ours", fail, "ours")], [1], 0)


@pytest.mark.parametrize("case", [case for case in cases.CASES if case.bytes < 1 << 20], ids=lambda case: case.name)
def test_cases_have_the_size_they_say(case):
    batch = Batch(case)
    assert batch.x.nbytes == batch.flat.nbytes == batch.words.nbytes == case.bytes
    assert case.name in (f"sweep-{case.bytes}", "tiny")
    assert np.shares_memory(batch.x, batch.flat)


@pytest.mark.parametrize(("layout", "strides"), [("F", (4, 16, 48, 384)), ("channels_last", (768, 4, 96, 12))])
def test_layouts_are_what_they_are_called(layout, strides):
    batch = Batch(Case("layout", TINY.shape, layout=layout))
    assert batch.x.strides == strides
    assert np.shares_memory(batch.x, batch.flat)
    assert batch.c_order.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_peers_mix(dtype):
    """What does not do the job is no peer."""
    batch = Batch(Case("peers", TINY.shape, dtype))
    lam, perm = peers._draw(batch)
    wide = batch.x.astype(np.float64)
    lam = lam.reshape(-1, 1, 1, 1).astype(np.float64)
    expected = lam * wide + (1 - lam) * wide[perm]
    makers = [peers.numpy_one_liner]
    if dtype == "float32" and sys.modules.get("numba", True) is not None:
        makers += [peers.numba_loop]
    for maker in makers:
        try:
            contenders = list(maker(batch))
        except ImportError:
            continue
        for contender in contenders:
            batch.rng = np.random.default_rng(35)
            batch.rng.integers(0, 256, 1 << 20) if dtype == "uint8" else batch.rng.random(1 << 20)
            mixed = contender.run().reshape(batch.shape)
            np.testing.assert_allclose(mixed, expected, atol=0.501 if dtype == "uint8" else 1e-6)


def document_of(times=(), threads=(1, 2), memory=(), skipped=()):
    """A document with `times`: (case, contender, kind, rival, milliseconds at each number of threads)."""
    known = {case.name: case for case in cases.CASES}
    records = [
        {
            "case": case,
            "contender": contender,
            "kind": kind,
            "rival": rival,
            "threads": count,
            "median_ms": ms,
            "min_ms": ms / 2,
            "max_ms": ms * 2,
            "rounds": 9,
        }
        for case, contender, kind, rival, milliseconds in times
        for count, ms in zip(threads, milliseconds, strict=True)
        if ms is not None
    ]
    return {
        "format": FORMAT,
        "date": "2025-01-31",
        "command": "mixup-rs bench",
        "seconds": 1,
        "machine": {"cpu": "A CPU", "cores": 2, "memory_gib": 7.5, "system": "Linux x86_64", "simd": "avx2"},
        "versions": {"mixup-rs": "1.2.3", "python": "3.11.7", "numpy": "2.4.6"},
        "threads": list(threads),
        "memory": list(memory),
        "cases": [case_record(known[name]) for name in dict.fromkeys(record["case"] for record in records)],
        "results": records,
        "skipped": list(skipped),
    }


MAIN_TIMES = [
    ("f32", INPLACE, "ours", "", (4, 2)),
    ("f32", NEW, "ours", "", (6, 4)),
    ("f32", COLD, "ours", "", (10, 8)),
    ("f32", "scale (numpy)", "limit", INPLACE, (4, 4)),
    ("f32", "scale (torch)", "limit", INPLACE, (5, 1.6)),
    ("f32", NUMPY, "peer", NEW, (36, 30)),
    ("f32", FASTAI, "peer", RUST_MIXUP, (64, 36)),
    ("f32", RUST_MIXUP, "ours", "", (6, 4)),
    ("f32", "numba loop, warm out", "peer", NEW, (9, 3.2)),
]


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
        assert readme.endswith(f"(docs/bench-speed-up.png)\n{report.END}\n\n## Use λ\n")
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_peak_memory_of_a_call_is_measured():
    from mixup_rs.bench.machine import extra_mib

    assert 0 <= extra_mib(1) < 10


def test_progress_is_a_line_a_case():
    from mixup_rs.bench.run import _Progress

    stream = io.StringIO()
    progress = _Progress(2, stream)
    for case in (TINY, TINY):
        progress.begin(case)
        progress.rounds(1)
        progress.done("1 ms")
    assert [line.split("] ")[1] for line in stream.getvalue().splitlines()] == ["float32 4x3x8x8: 1 ms"] * 2
