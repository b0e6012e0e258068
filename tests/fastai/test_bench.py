"""The benchmark with torch and fastai there: that it measures all who are there. Never how fast."""

import pytest

import mixup_rs
from mixup_rs.bench.cases import Case
from mixup_rs.bench.contender import COLD, FASTAI, INPLACE, NEW, NUMPY, RUST_MIXUP, WARM, drop_in
from mixup_rs.bench.report import table
from mixup_rs.bench.run import run_cases

TINY = Case("f32", (4, 3, 8, 8))


@pytest.mark.usefixtures("few_peers")
def test_a_run_measures_all_who_are_there_and_names_who_is_not():
    before = mixup_rs.get_num_threads()
    layouts = [Case("channels-last", TINY.shape, layout="channels_last", peers=False), Case("u8", TINY.shape, "uint8")]
    results = run_cases([TINY, *layouts], threads=[1, 2], seconds=0, quick=True)
    assert mixup_rs.get_num_threads() == before
    threads = results.threads
    assert threads in ([1], [1, 2])
    calls = {INPLACE, WARM, NEW, COLD, RUST_MIXUP, f"{RUST_MIXUP}(inplace=True)"}
    drop_ins = {drop_in(f"torchvision {name}") for name in ("MixUp", "CutMix")}
    assert set(results.contenders("f32", "ours")) == calls | drop_ins
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
    libraries = ["timm's Mixup", "timm's FastCollateMixup", "numba loop", "kornia's RandomMixUpV2", "the package mixup"]
    assert {(library, "") for library in libraries} <= skipped.keys()
    assert "RuntimeError" in skipped[FASTAI, "uint8 4x3x8x8"]
    assert "numba loop" in table(results)
