"""The benchmark: that it measures, says what it could not measure, and reports what was measured. Never how fast."""

import io
import json
import sys

import numpy as np
import pytest
from documents import document_of

import mixup_rs
from mixup_rs import bench
from mixup_rs.bench import cases, peers
from mixup_rs.bench.cases import Batch, Case
from mixup_rs.bench.contender import Contender
from mixup_rs.bench.measure import measure
from mixup_rs.bench.processor import processor, slug
from mixup_rs.bench.results import FORMAT, Results

pytest.importorskip("matplotlib")

TINY = Case("f32", (4, 3, 8, 8))


@pytest.mark.usefixtures("few_peers")
def test_the_command_writes_json_that_reads_back(tmp_path, capsys):
    path = tmp_path / "new" / f"{slug(processor())}.json"
    args = ["--quick", "--cases", "tiny,sweep-1024,sweep-16384", "--threads", "1", "--seconds", "0.001"]
    assert bench.main([*args, "--out", str(path.parent)]) == 0
    document = json.loads(path.read_text())
    assert document.keys() == document_of().keys()
    assert document["format"] == FORMAT
    assert document["command"] == "mixup-rs bench " + " ".join(args)
    assert document["versions"]["mixup-rs"] == mixup_rs.__version__
    assert [case["name"] for case in document["cases"]] == ["tiny", "sweep-1024", "sweep-16384"]
    assert str(tmp_path) not in path.read_text()
    assert path.with_name(f"{path.stem}-time-by-size.png").stat().st_size > 1000
    captured = capsys.readouterr()
    assert "float32 4x3x8x8" in captured.out
    assert "[3/3" in captured.err
    bench.main(["--check", str(path.parent)])
    checked = capsys.readouterr().out
    assert checked.startswith(f"{processor()}:\n")
    assert "2. not measured fastai / in place >= 14" in checked


@pytest.mark.usefixtures("few_peers")
def test_cases_are_added_to_the_results_of_the_processor(tmp_path):
    path = tmp_path / f"{slug(processor())}.json"
    args = ["--threads", "1", "--seconds", "0.001", "--out", str(tmp_path)]
    for cases_, more in (("sweep-2048", []), ("sweep-1024", ["--add"]), ("sweep-2048", ["--add"])):
        assert bench.main([*args, "--cases", cases_, *more]) == 0
    document = json.loads(path.read_text())
    assert [case["name"] for case in document["cases"]] == ["sweep-1024", "sweep-2048"]
    assert len(document["results"]) == len({(r["case"], r["contender"]) for r in document["results"]})
    commands = [f"mixup-rs bench --cases sweep-{size} --threads 1 --seconds 0.001" for size in (2048, 1024)]
    assert document["command"] == " && ".join(commands)


def test_what_was_measured_otherwise_is_not_added():
    before = Results(document_of())
    for key, other in {
        "machine": document_of(processor="B"),
        "versions": {**document_of(), "versions": {"mixup-rs": "9"}},
        "threads": document_of(threads=[1]),
    }.items():
        with pytest.raises(ValueError, match=f"expected results of the same {key}"):
            before.added(Results(other))


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--check", str(tmp_path)])
    assert "expected a folder with results" in capsys.readouterr().err


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


#: Those that draw with NumPy, so that what they mix is known.
DRAWN_WITH_NUMPY = [
    peers.numpy_one_liner,
    peers.opencv_pairs,
    peers.numba_loop,
    peers.torch_compiled,
    peers.jax_compiled,
]


@pytest.mark.parametrize("maker", DRAWN_WITH_NUMPY, ids=lambda maker: maker.__name__)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_peers_mix(maker, dtype, set_num_threads):
    """What does not do the job is no peer."""
    batch = Batch(Case("peers", TINY.shape, dtype))
    lam, perm = peers._draw(batch)
    wide = batch.x.astype(np.float64)
    lam = lam.reshape(-1, 1, 1, 1).astype(np.float64)
    expected = lam * wide + (1 - lam) * wide[perm]
    try:
        contenders = list(maker(batch))
    except ImportError as error:
        pytest.skip(str(error))
    assert contenders
    for contender in contenders:
        for threads in (1, 2):
            set_num_threads(threads)
            batch.rng = np.random.default_rng(35)
            batch.rng.integers(0, 256, 1 << 20) if dtype == "uint8" else batch.rng.random(1 << 20)
            batch.warm[...] = 0
            mixed = contender.run()
            mixed = np.asarray(batch.warm if mixed is None else mixed).reshape(batch.shape)
            np.testing.assert_allclose(mixed, expected, atol=0.501 if dtype == "uint8" else 1e-6)


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


def test_rules_with_regions_do_the_job_of_their_peers(monkeypatch):
    pytest.importorskip("torch")
    from mixup_rs.bench import regions

    monkeypatch.setattr(regions, "MAIN", TINY)
    contenders = list(regions.resize_recipe(Batch(TINY)))
    try:
        contenders += regions.mixup_package_regions(Batch(TINY))
    except ImportError:
        pass
    names = {contender.name for contender in contenders}
    for contender in contenders:
        assert (contender.kind == "ours") == (contender.rival == "")
        assert contender.rival in {"", *names}
        x, y = contender.run()
        assert (tuple(x.shape), tuple(y.shape)) == (TINY.shape, (TINY.shape[0], Batch.classes))
        np.testing.assert_allclose(y.sum(1), 1, atol=1e-6)
    assert not list(regions.resize_recipe(Batch(Case("another", TINY.shape))))
