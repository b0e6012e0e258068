"""The benchmark of the DataLoader: that every contender loads all samples and does its job. Never how fast."""

import multiprocessing
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import report
import torch
from documents import document_of
from PIL import Image
from torch.utils.data import default_collate

from mixup_rs.bench import checks, loader
from mixup_rs.bench.cases import CASES, LOADER, LoaderCase
from mixup_rs.bench.contender import (
    MIX_COLLATE,
    NORMALISED,
    TIMM_COLLATE,
    TORCH_RECIPE,
    UNMIXED,
    UNMIXED_FLOATS,
    Contender,
)
from mixup_rs.bench.loader import COLLATES, EPOCHS, Feed
from mixup_rs.bench.measure import Timing
from mixup_rs.bench.report import table
from mixup_rs.bench.results import Results
from mixup_rs.bench.run import run_cases

SHAPE = (4, 3, 16, 24)
FASTAI, TORCHVISION = "stack, fastai MixUp", "stack, torchvision MixUp"


def case_of(workers=None, samples=8, **options):
    return LoaderCase(f"loader-{workers}", SHAPE, "uint8", workers=workers, samples=samples, **options)


@pytest.fixture
def elsewhere(monkeypatch):
    """timm takes long to import."""
    monkeypatch.setitem(sys.modules, "timm", None)


class Recorder(Feed):
    """Keeps what contenders are made of."""

    def contender(self, name, collate, kind="peer", rival="", then=None, data=None):
        return name, collate, then


def ingredients(makers):
    """{name: (collate, then)} of the makers whose libraries are here."""
    return {name: rest for maker in makers for name, *rest in maker(Recorder(case_of(0)))}


@pytest.mark.usefixtures("elsewhere")
def test_a_run_measures_collates_and_epochs():
    cases = [case_of(), case_of(0), case_of(1, jpeg=True)]
    results = run_cases(cases, threads=[1, 2], seconds=0, quick=True)
    assert multiprocessing.active_children() == []
    ours = [UNMIXED, MIX_COLLATE, UNMIXED_FLOATS, NORMALISED]
    alone, memory, jpeg = (case["name"] for case in results.document["cases"])
    assert results.contenders(alone) == [*ours, TORCH_RECIPE, f"{TORCH_RECIPE}, in place"]
    for name in (memory, jpeg):
        assert results.contenders(name) == [*ours, FASTAI, TORCHVISION]
    for record in results.document["results"]:
        assert record["threads"] == max(results.threads) or record["case"] == alone
        assert record["kind"] == "ours" or record["rival"] in results.contenders(record["case"], "ours")
    assert [case["name"] for case in results.collates()] == [alone]
    assert [(case["workers"], case["samples"]) for case in results.epochs()] == [(0, 8), (1, 8)]
    assert results.epochs()[1]["source"].startswith("4 JPEG files of ")
    assert results.cases() == results.cases(sweep=True) == []
    assert [entry["contender"] for entry in results.document["skipped"]] == ["timm's FastCollateMixup"]
    printed = table(results)
    assert "collate of uint8 4x3x16x24 (4.61 KB), ms" in printed
    assert "DataLoader of images in memory, 0 workers, images a second" in printed


def test_cases_are_chosen_by_name_and_a_quick_run_has_some():
    assert [case for case in CASES if case.name.startswith("loader")] == LOADER
    assert {case.name for case in LOADER if case.quick} == {"loader-collate", "loader-jpeg-2"}
    assert Feed(LOADER[-1], quick=True).case.samples < LOADER[-1].samples
    assert Feed(case_of(0, samples=64), quick=True).case.samples == 16


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_every_sample_once(workers):
    seen = []
    feed = Feed(case_of(workers, samples=12))
    contender = feed.contender("name", default_collate, then=lambda x, y: seen.extend(zip(x.clone(), y, strict=True)))
    for _ in range(2):
        seen.clear()
        contender.run()
        assert len(seen) == 12
        assert all(torch.equal(x, image) and y == label for (x, y), (image, label) in zip(seen, feed.data, strict=True))


@pytest.mark.parametrize("layout", ["C", "channels_last"])
def test_a_collate_alone_gets_one_batch(layout):
    batches = []
    contender = Feed(case_of(layout=layout)).contender("name", batches.append)
    contender.run()
    assert len(batches) == contender.repeats > 1
    assert [len(batch) for batch in batches] == [4] * contender.repeats
    x, _ = batches[0][0]
    assert x.shape == SHAPE[1:]
    assert x.is_contiguous() == (layout == "C")
    assert x.permute(1, 2, 0).is_contiguous() == (layout == "channels_last")


def test_photographs_are_taken_where_there_are_any(tmp_path):
    red = np.full((40, 30, 3), (250, 0, 0), np.uint8)
    for i in range(3):
        Image.fromarray(red).save(tmp_path / f"{i}.jpg")
    feed = Feed(case_of(0, jpeg=True), images=tmp_path)
    assert feed.case.title.startswith("DataLoader of 3 JPEG files of ")
    x, _ = feed.data[4]  # from the start again
    assert (x.shape, x.dtype) == (SHAPE[1:], torch.uint8)
    assert x.permute(1, 2, 0).is_contiguous()
    assert x.float().mean((1, 2)).numpy() == pytest.approx([250, 0, 0], abs=4)


@pytest.mark.usefixtures("elsewhere")
def test_generated_files_are_images_and_go_away():
    feed = Feed(case_of(0, jpeg=True))
    folder = Path(feed._files._folder.name)
    images = [x for x, _ in feed.data]
    assert len(list(folder.glob("*.jpg"))) == 4
    assert images[0].float().std() > 10
    assert not torch.equal(images[0], images[1])
    feed._files._folder.cleanup()
    assert not folder.exists()


class TestContenders:
    """What does not do the job is no contender."""

    SAMPLES = tuple(Feed(case_of(0)).data)
    X, Y = default_collate(SAMPLES)
    MEAN, STD = (torch.tensor(terms).view(3, 1, 1) for terms in (loader._MEAN, loader._STD))

    def wide(self):
        return (self.X.double() / 255 - self.MEAN) / self.STD

    @pytest.mark.parametrize("name", [UNMIXED, MIX_COLLATE])
    def test_bytes(self, name):
        collate, _ = ingredients([loader.torch_collates])[name]
        x, y = collate([*self.SAMPLES])
        assert (x.dtype, x.shape) == (torch.uint8, self.X.shape)
        assert torch.equal(x, self.X) == (name == UNMIXED)
        assert y.shape == ((8,) if name == UNMIXED else (8, 37))

    @pytest.mark.parametrize("name", [TORCH_RECIPE, f"{TORCH_RECIPE}, in place"])
    def test_torch(self, name):
        collate, _ = ingredients(COLLATES[-1:])[name]
        x, y, partner_y, lam = collate([*self.SAMPLES])
        partner = torch.tensor([self.Y.tolist().index(label) for label in partner_y])
        lam, wide = lam.double().view(-1, 1, 1, 1), self.wide()
        assert torch.allclose(x.double(), lam * wide + (1 - lam) * wide[partner], atol=1e-5)
        assert torch.equal(y, self.Y)
        assert (lam < 1).any()

    def test_floats(self):
        """Samples that are normalised already, in memory and of files."""
        for feed in (Feed(case_of(0)), Feed(case_of(0, jpeg=True))):
            for (x, y), (image, label) in zip(feed.floats, feed.data, strict=True):
                assert (x.dtype, y) == (torch.float32, label)
                assert x.is_contiguous()
                assert torch.allclose(x.double(), (image.double() / 255 - self.MEAN) / self.STD, atol=1e-5)

    def test_torchvision(self):
        collate, _ = ingredients([loader.torchvision_in_the_collate])[TORCHVISION]
        x, y = collate([*self.SAMPLES])
        lam, wide = y[0, 0].double(), self.wide()
        assert torch.allclose(x.double(), lam * wide + (1 - lam) * wide.roll(1, 0), atol=1e-5)

    def test_fastai(self, monkeypatch):
        learns = []
        about_to_train = loader.about_to_train
        monkeypatch.setattr(
            loader, "about_to_train", lambda callback: learns.append(about_to_train(callback)) or learns[0]
        )
        collate, then = ingredients([loader.fastai_on_the_batch])[FASTAI]
        assert torch.equal(collate([*self.SAMPLES])[0], self.X)
        torch.manual_seed(0)
        then(self.X, self.Y)
        mix_up = learns[0].mix_up
        (x,), (partner_y,) = learns[0].xb, mix_up.yb1
        partner = torch.tensor([self.Y.tolist().index(label) for label in partner_y])
        lam, wide = torch.Tensor(mix_up.lam).double().view(-1, 1, 1, 1), self.wide()
        assert torch.allclose(torch.Tensor(x).double(), lam * wide + (1 - lam) * wide[partner], atol=1e-5)

    @pytest.mark.usefixtures("elsewhere")
    def test_nothing_is_written_to_a_sample_and_workers_that_are_not_forked_can_be_sent_all(self):
        makers = [maker for maker in dict.fromkeys([*COLLATES, *EPOCHS]) if maker is not loader.timm_collate]
        before = self.X.clone()
        for collate, _ in ingredients(makers).values():
            pickle.loads(pickle.dumps(collate))([*self.SAMPLES])
            collate([*self.SAMPLES])
        assert torch.equal(default_collate([*self.SAMPLES])[0], before)
        pickle.loads(pickle.dumps(Feed(case_of(0)).data))


TIMES = [
    ("loader-collate", UNMIXED, "limit", MIX_COLLATE, (1, 0.5)),
    ("loader-collate", MIX_COLLATE, "ours", "", (1.2, 1)),
    ("loader-collate", NORMALISED, "ours", "", (4, 2)),
    ("loader-collate", TIMM_COLLATE, "peer", MIX_COLLATE, (9.6, 6)),
    ("loader-collate", TORCH_RECIPE, "peer", NORMALISED, (80, 24)),
    ("loader-memory-1", UNMIXED, "limit", MIX_COLLATE, (None, 1024)),
    ("loader-memory-1", MIX_COLLATE, "ours", "", (None, 2048)),
    ("loader-memory-1", TIMM_COLLATE, "peer", MIX_COLLATE, (None, 1024)),
    ("loader-jpeg-2", UNMIXED, "limit", MIX_COLLATE, (None, 96)),
    ("loader-jpeg-2", MIX_COLLATE, "ours", "", (None, 100)),
    ("loader-jpeg-2", UNMIXED_FLOATS, "limit", NORMALISED, (None, 192)),
    ("loader-jpeg-2", NORMALISED, "ours", "", (None, 200)),
]


def test_its_promises_have_a_list_of_their_own():
    found = [check for check in checks.all_checks(Results(document_of(TIMES))) if str(check.item).startswith("L")]
    assert [(check.item, check.reached) for check in found] == [
        ("L1", False),
        ("L1", True),
        ("L2", False),
        ("L3", False),
        ("L3", True),
    ]
    assert [check.measured for check in found] == [
        {"1 thread": 1.2, "2 threads": 2},
        {"1 thread": 8},
        {"1 thread": 20, "2 threads": 12},
        {"images in memory, 1 worker": 0.5, "JPEG files, 2 workers": pytest.approx(0.96)},
        {"JPEG files, 2 workers": pytest.approx(0.96)},
    ]
    text = "images a second: MixCollate / default_collate, unmixed >= 0.97: 0.50 (images in memory, 1 worker), 0.96"
    assert str(found[-2]).startswith(f"L3. NOT REACHED  {text}")


def test_the_page_shows_collates_in_milliseconds_and_loaders_in_images():
    lines = report.page([Results(document_of(TIMES))], {}).splitlines()
    assert "| collate of uint8 64x3x224x224 | 1 thread | 2 threads | times ours |" in lines
    assert "| *limit: default_collate, unmixed* | 1.00 | 0.500 | 0.83 / 0.50 |" in lines
    assert f"| {TIMM_COLLATE} | 9.60 | 6.00 | 8.0 / 6.0 |" in lines
    assert "| images a second of a DataLoader (workers) | images in memory (1) | JPEG files (2) |" in lines
    assert "| **MixCollate** | 500 | 10240 |" in lines
    assert f"| {TIMM_COLLATE} | 1000 | - |" in lines
    assert f"| DataLoader of images in memory, 1 worker | A Processor 5 | 2 | {TIMM_COLLATE} | 2.00 |" in lines
    assert "| others" not in "".join(lines)


def test_speeds_are_the_other_way_round():
    printed = table(Results(document_of(TIMES)))
    assert "MixCollate                       500 [250 to 1000]" in printed


def test_the_time_is_that_of_one_call():
    contender = Contender("eight", lambda: None, repeats=8)
    record = Timing(contender, 1, nanoseconds=[8e6, 16e6, 80e6]).as_record("case")
    assert (record["min_ms"], record["median_ms"], record["max_ms"]) == (1, 2, 10)
