"""Remix, and plans that weigh labels otherwise than pixels."""

import pickle

import numpy as np
import pytest

import mixup_rs
from mixup_rs import Balanced, CutMix, FMix, Mixer, MixPlan, Mixup, OneOf, Remix, ResizeMix, mix_batch

N, SIZE = 60, (6, 8)
COUNTS = np.array([900, 300, 100])
LABELS = np.random.default_rng(0).choice(3, N, p=COUNTS / COUNTS.sum())
X = np.random.default_rng(1).random((N, 3, *SIZE))
RULES = [
    Mixup(1.0, fold=False),
    Mixup(1.0, fold=False, mode="pair", prob=0.5),
    Mixup(1.0, mode="batch", partners=Balanced()),
    CutMix(mode="elem"),
    FMix(mode="elem"),
    ResizeMix(mode="elem"),
    OneOf([Mixup(1.0), CutMix(mode="elem")], mode="elem"),
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def label_lam(lam, partner, labels, counts, kappa, tau):
    """Equation 8 of the paper, a sample at a time."""
    found = []
    for i, j in enumerate(partner):
        ratio = counts[labels[i]] / counts[labels[j]]
        if labels[i] != labels[j] and ratio >= kappa and lam[i] < tau:
            found.append(0.0)
        elif labels[i] != labels[j] and ratio <= 1 / kappa and 1 - lam[i] < tau:
            found.append(1.0)
        else:
            found.append(lam[i])
    return found


@each_rule
@pytest.mark.parametrize("counts", [None, COUNTS])
@pytest.mark.parametrize(("kappa", "tau"), [(3, 0.5), (1, 1), (2.5, 0.25), (np.inf, 0.5), (3, 0)])
def test_labels_lean_towards_rare_classes(rule, counts, kappa, tau):
    apart = []
    for seed in range(5):
        plain = rule.plan(N, SIZE, LABELS, rng=seed)
        plan = Remix(rule, kappa, tau, counts).plan(N, SIZE, LABELS, rng=seed)
        by = np.bincount(LABELS) if counts is None else counts
        assert plan.lam.tolist() == label_lam(plain.lam, plain.partner, LABELS, by, kappa, tau)
        assert np.array_equal(plan.apply(X), plain.apply(X))
        assert np.array_equal(plan.weight, plain.weight)
        assert np.array_equal(plan.without_region().weight, plain.without_region().weight)
        apart.append(plan != plain)
    if tau != 0.25:
        assert any(apart) == (kappa < np.inf and tau > 0)


def test_the_pixels_follow_the_papers_law_and_rare_labels_win():
    labels = np.arange(4000) % 2
    plan = Remix(counts=[900, 100]).plan(4000, labels=labels, rng=1)
    np.testing.assert_allclose(np.quantile(plan.weight, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)
    other = labels[plan.partner]
    rare = np.where(labels == 1, plan.lam, 1 - plan.lam)[labels != other]
    # Of a share u of the rare sample, uniform in [0, 1], its label gets 1 if it is above 1/2, else u.
    assert abs((rare == 1).mean() - 0.5) < 0.05
    assert abs(rare.mean() - 0.625) < 0.02


def test_drawn_values():
    plan = Remix(counts=COUNTS).plan(6, labels=[0, 1, 2, 0, 1, 2], rng=(42, 0))
    assert plan.partner.tolist() == [2, 1, 5, 0, 3, 4]
    lam = [0.0, 0.10821567906172411, 0.35292615119605975, 0.5038079676399948, 0.34818430026296604, 1.0]
    assert plan.lam.tolist() == lam
    assert plan.weight.tolist() == [0.3288031736417091, *lam[1:5], 0.9649201522945757]


@pytest.mark.parametrize("labels", [np.eye(3)[LABELS], np.eye(3, dtype=np.uint8)[LABELS], LABELS.astype(np.uint8)])
@pytest.mark.parametrize("counts", [None, COUNTS])
def test_labels_of_any_form(labels, counts):
    rule = Remix(counts=counts)
    assert rule.plan(N, labels=labels, rng=3) == rule.plan(N, labels=LABELS, rng=3)


def test_words_are_classes_that_are_counted():
    words = np.array(["cat", "dog", "emu"])[LABELS]
    assert Remix().plan(N, labels=words, rng=3) == Remix().plan(N, labels=LABELS, rng=3)
    with pytest.raises(TypeError, match="class indices, got labels of <U3"):
        Remix(counts=COUNTS).plan(N, labels=words)


def apart():
    """Plans of every kind with weights of labels apart."""
    lam = np.linspace(0, 1, N)
    plans = [rule.plan(N, SIZE, LABELS, rng=7) for rule in RULES]
    return [plan.with_label_lam(lam) for plan in plans] + [plans[0].with_label_lam(0.25)]


@pytest.mark.parametrize("plan", apart())
def test_pixels_have_their_weights_and_labels_theirs(plan):
    plain = plan.with_label_lam(plan.without_region().weight)
    assert plan != plain
    hot = np.eye(3)[LABELS]
    expected = plan.lam[:, None] * hot + (1 - plan.lam)[:, None] * hot[plan.partner]
    np.testing.assert_allclose(plan.apply_labels(hot)[0], expected, atol=1e-15)
    np.testing.assert_allclose(plan.apply_labels(LABELS, 3)[0], expected, atol=1e-7)
    np.testing.assert_allclose(plan.apply_labels(hot > 0)[0], expected, atol=1e-6)
    assert plan.for_labels() == MixPlan(plan.lam, plan.partner)
    assert np.array_equal(plan.without_region().lam, plan.lam)
    flat = X[:, 0, 0]
    assert np.array_equal(plan.without_region().apply(flat), plain.without_region().apply(flat))
    mixed = X.copy()
    assert plan.apply(mixed, out=mixed) is mixed
    assert np.array_equal(mixed, plain.apply(X))
    assert np.array_equal(mixup_rs.collate(list(X), plan), plain.apply(X))
    assert plan.for_classes() == plain.for_classes()
    for copy in (pickle.loads(pickle.dumps(plan)), pickle.loads(pickle.dumps(plan, 2))):
        assert copy == plan
        assert np.array_equal(copy.lam, plan.lam)


def test_it_is_shown():
    plan = MixPlan([0.75, 1.0], [1, 0]).with_label_lam([0.0, 1.0])
    assert repr(plan) == "MixPlan(lam=array([0.75, 1.  ]), partner=array([1, 0])).with_label_lam(array([0., 1.]))"
    assert eval(repr(plan), {"MixPlan": MixPlan, "array": np.array}) == plan
    box = MixPlan.from_boxes([[0, 0, 1, 2]], (2, 2), [0]).with_label_lam(1.0)
    assert repr(box).endswith("boxes=array([[0, 0, 1, 2]])).with_label_lam(array([1.]))")


@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_in_one_of(mode):
    rule = OneOf([Remix(counts=COUNTS), CutMix(mode="elem")], mode=mode)
    plain = OneOf([Remix(counts=COUNTS, tau=0), CutMix(mode="elem")], mode=mode)
    plans = [(rule.plan(N, SIZE, LABELS, rng=seed), plain.plan(N, SIZE, LABELS, rng=seed)) for seed in range(10)]
    for plan, other in plans:
        assert np.array_equal(plan.apply(X), other.apply(X))
        changed = plan.lam != other.lam
        assert np.isin(plan.lam[changed], (0, 1)).all()
        assert (LABELS[plan.partner] != LABELS)[changed].all()
    assert any(plan != other for plan, other in plans)


def test_the_fronts_give_the_labels():
    rule = Remix(CutMix(mode="elem"), counts=COUNTS)
    plan = rule.plan(N, SIZE, LABELS, rng=(5, 1))
    assert plan != rule.rule.plan(N, SIZE, rng=(5, 1))
    assert plan.boxes.tolist() == rule.rule.plan(N, SIZE, rng=(5, 1)).boxes.tolist()
    mixed = mix_batch(X, LABELS, rule=rule, num_classes=3, rng=(5, 1))
    assert np.array_equal(mixed.x, plan.apply(X))
    assert np.array_equal(mixed.y, plan.apply_labels(LABELS, 3)[0])
    assert np.array_equal(mixed.lam, plan.lam)
    flat = X[:, 0, 0]
    batch = {"image": X, "pixel_values": X, "x": flat, "label": LABELS, "attention_mask": flat > 0.5}
    got = Mixer(rule, inputs=["image", "x"], num_classes=3, rng=5)(batch, key=1)
    assert np.array_equal(got["image"], plan.apply(X))
    assert np.array_equal(got["x"], plan.without_region().apply(flat))
    assert np.array_equal(got["label"], mixed.y)
    pair = Mixer(rule, rng=5)((X, LABELS), key=1)[1]
    assert np.array_equal(pair.lam, plan.lam.astype(np.float32))


def test_masks_of_presence_follow_the_pixels():
    plan = MixPlan([0.5, 1.0], [1, 0]).with_label_lam([1.0, 0.0])

    class Given:
        def plan(self, n, shape=None, labels=None, rng=None):
            return plan

    batch = {"x": np.eye(2), "attention_mask": np.array([[1, 0], [1, 1]]), "label": np.array([0.0, 1.0])}
    mixed = Mixer(Given())(batch)
    assert mixed["attention_mask"].tolist() == [[1, 1], [1, 1]]
    assert mixed["label"].tolist() == [0.0, 0.0]


def test_an_empty_batch():
    assert len(Remix().plan(0, labels=[])) == 0
    assert len(Remix(counts=COUNTS).plan(0, labels=[])) == 0


def test_it_is_frozen_and_equal():
    rule = Remix(counts=COUNTS)
    assert rule.counts == (900.0, 300.0, 100.0)
    assert rule == Remix(counts=[900, 300, 100])
    assert len({rule, Remix(counts=(900, 300, 100))}) == 1
    assert pickle.loads(pickle.dumps(rule)) == rule == eval(repr(rule), vars(mixup_rs).copy())
    assert (Remix().rule, Remix().kappa, Remix().tau) == (Mixup(1.0, fold=False), 3, 0.5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rule": 1.0}, TypeError, r"rule must be a rule, such as Mixup\(0.4\), got float"),
        ({"rule": Mixup}, TypeError, "got the class Mixup"),
        ({"kappa": 0.5}, ValueError, "kappa must be at least 1, got 0.5"),
        ({"kappa": np.nan}, ValueError, "kappa must be at least 1, got nan"),
        ({"kappa": "3"}, TypeError, "kappa must be a number, got '3'"),
        ({"tau": -0.1}, ValueError, r"tau must be in \[0, 1\], got -0.1"),
        ({"tau": np.nan}, ValueError, "tau must be in"),
        ({"tau": None}, TypeError, "tau must be a number, got None"),
        ({"counts": 3}, TypeError, "counts must be a sequence of numbers, got int"),
        ({"counts": [3, 0]}, ValueError, "counts must be finite and above 0, got 0.0 at index 1"),
        ({"counts": [np.inf]}, ValueError, "counts must be finite and above 0, got inf at index 0"),
        ({"counts": ["a"]}, TypeError, "counts must be a number, got 'a'"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        Remix(**options)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, ValueError, "Remix needs the labels of the batch"),
        ([0, 1], ValueError, "Remix has labels of 2 samples, the batch has 3"),
        ([0, 1, 3], ValueError, "counts has 3 classes, got the class 3 at index 2"),
        ([0, -1, 2], ValueError, "counts has 3 classes, got the class -1 at index 1"),
        ([0.0, 1.0, 2.0], TypeError, "Remix takes class indices"),
        ([[1, 1, 0]] * 3, ValueError, "Remix takes class indices"),
        (np.zeros((3, 2, 2)), ValueError, "Remix takes labels of shape"),
    ],
)
def test_wrong_labels(labels, error, message):
    with pytest.raises(error, match=message):
        Remix(counts=COUNTS).plan(3, labels=labels)


@pytest.mark.parametrize(
    ("lam", "error", "message"),
    [(1.5, ValueError, "lam"), ([0.5], ValueError, "lam"), ("a", TypeError, "lam"), (np.nan, ValueError, "lam")],
)
def test_wrong_weights_of_labels(lam, error, message):
    with pytest.raises(error, match=message):
        MixPlan([0.5, 1.0], [1, 0]).with_label_lam(lam)


def test_partners_from_another_batch_have_no_known_class():
    with pytest.raises(ValueError, match="Remix needs the classes of both samples: it takes no partners from another"):
        Remix().plan(3, labels=[0, 1, 1], other=5, rng=1)
    plan = Mixup().plan(3, other=5, rng=1).with_label_lam([0.0, 0.5, 1.0])
    assert plan.other == plan.for_labels().other == 5
    assert pickle.loads(pickle.dumps(plan)) == plan
