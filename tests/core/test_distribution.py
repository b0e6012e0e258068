"""How what is drawn is distributed. All keys are fixed, so that a test that passes always passes."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from mixup_rs import GridMix, MixPlan, Mixup, SmoothMix, mix_batch

DRAWS = 20_000


def kolmogorov_smirnov(sample, cdf):
    """The p-value of `sample` under `cdf`.

    Not stats.kstest: for a small alpha several percent of the exact draws round to 1, where the sample then jumps and
    the distribution does not. So it is compared below 1 - 1e-12 only.
    """
    sample = np.sort(sample)
    at = sample[sample < 1 - 1e-12]
    below = np.searchsorted(sample, at, side="left") / len(sample)
    up_to = np.searchsorted(sample, at, side="right") / len(sample)
    distance = max(np.abs(cdf(at) - below).max(), np.abs(cdf(at) - up_to).max())
    return stats.kstwo.sf(distance, len(sample))


@pytest.mark.parametrize("mode", ["elem", "pair"])
@pytest.mark.parametrize("fold", [False, True], ids=["as drawn", "folded"])
@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1, 4])
def test_weights_follow_beta(alpha, fold, mode):
    plan = Mixup(alpha=alpha, mode=mode, fold=fold).plan(DRAWS if mode == "elem" else 2 * DRAWS, rng=(1, 2))
    lam = plan.lam[np.arange(len(plan)) < plan.partner] if mode == "pair" else plan.lam
    assert len(lam) == DRAWS
    beta = stats.beta(alpha, alpha)
    cdf = (lambda x: 2 * beta.cdf(x) - 1) if fold else beta.cdf
    assert kolmogorov_smirnov(lam, cdf) > 0.01


def test_the_comparison_can_tell():
    lam = Mixup(alpha=0.5, fold=False).plan(DRAWS, rng=(1, 2)).lam
    assert kolmogorov_smirnov(lam, stats.beta(0.4, 0.4).cdf) < 1e-6
    assert kolmogorov_smirnov(np.maximum(lam, 1 - lam), stats.beta(0.5, 0.5).cdf) < 1e-6


def test_the_weight_of_a_batch_follows_beta():
    lam = np.array([Mixup(mode="batch", fold=False).plan(2, rng=(5, step)).lam[0] for step in range(5000)])
    assert kolmogorov_smirnov(lam, stats.beta(0.4, 0.4).cdf) > 0.01


def test_alpha_is_0_4_and_weights_are_folded_by_default():
    lam = Mixup().plan(DRAWS, rng=3).lam
    assert lam.min() >= 0.5
    np.testing.assert_array_equal(lam, Mixup(alpha=0.4, fold=True).plan(DRAWS, rng=3).lam)
    raw = Mixup(fold=False).plan(DRAWS, rng=3).lam
    np.testing.assert_array_equal(lam, np.maximum(raw, 1 - raw))


@pytest.mark.parametrize("alpha", [5e-324, 1e-310, 1e-300, 1e-10])
def test_a_tiny_alpha_is_a_toss_of_a_coin(alpha):
    raw = Mixup(alpha=alpha, fold=False).plan(1000, rng=1).lam
    assert set(raw) == {0.0, 1.0}
    assert stats.binomtest(int(raw.sum()), 1000).pvalue > 0.01
    assert set(Mixup(alpha=alpha).plan(1000, rng=1).lam) == {1.0}


@pytest.mark.parametrize("alpha", [1e35, 1e300, np.finfo(float).max])
def test_a_huge_alpha_mixes_evenly(alpha):
    assert set(Mixup(alpha=alpha, fold=False).plan(1000, rng=1).lam) == {0.5}


def test_any_alpha_gives_weights():
    for alpha in np.logspace(-307, 308, 124):
        lam = Mixup(alpha=alpha, fold=False).plan(100, rng=1).lam
        assert ((lam >= 0) & (lam <= 1)).all(), alpha


def uniformly_distributed(outcomes, possible):
    counts = Counter(outcomes)
    assert len(counts) <= possible
    return stats.chisquare(list(counts.values()) + [0] * (possible - len(counts))).pvalue > 0.01


def test_partners_are_a_uniform_permutation():
    plans = [tuple(Mixup().plan(4, rng=(9, step)).partner.tolist()) for step in range(6000)]
    assert uniformly_distributed(plans, possible=24)


def test_partners_are_uniform_in_a_large_batch():
    partners = np.array([Mixup().plan(64, rng=(4, step)).partner for step in range(640)])
    assert (np.sort(partners, axis=1) == np.arange(64)).all()
    for sample in [0, 1, 31, 63]:
        assert uniformly_distributed(partners[:, sample].tolist(), possible=64)


@pytest.mark.parametrize(("n", "matchings"), [(4, 3), (5, 15), (6, 15)])
def test_couples_are_a_uniform_matching(n, matchings):
    plans = [tuple(Mixup(mode="pair").plan(n, rng=(6, step)).partner.tolist()) for step in range(4500)]
    assert uniformly_distributed(plans, possible=matchings)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 33, 1000])
def test_couples_name_each_other_and_share_a_weight(n):
    plan = Mixup(mode="pair").plan(n, rng=n)
    np.testing.assert_array_equal(plan.partner[plan.partner], np.arange(n))
    assert np.count_nonzero(plan.partner == np.arange(n)) == n % 2
    np.testing.assert_array_equal(plan.lam, plan.lam[plan.partner])
    # No weight is used twice otherwise.
    assert len(set(plan.lam)) == (n + 1) // 2


def test_given_couples_share_a_weight():
    mixed = mix_batch(np.zeros(5), mode="pair", partner=[4, 1, 3, 2, 0], rng=1)
    assert mixed.lam[0] == mixed.lam[4]
    assert mixed.lam[2] == mixed.lam[3]
    assert len(set(mixed.lam)) == 3


@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_a_batch_has_one_weight(n):
    plan = Mixup(mode="batch").plan(n, rng=n)
    assert len(plan) == len(plan.lam) == len(plan.partner) == n
    assert len(set(plan.lam)) == min(n, 1)


def test_given_weights_are_never_folded():
    np.testing.assert_array_equal(mix_batch(np.zeros(3), lam=[0.1, 0, 1], fold=True, rng=0).lam, [0.1, 0, 1])
    np.testing.assert_array_equal(mix_batch(np.zeros(3), lam=0.1, rng=0).lam, [0.1] * 3)
    lam = np.float32([0.1, 0.2])
    np.testing.assert_array_equal(mix_batch(np.zeros(2), lam=lam, rng=0).lam, lam)
    np.testing.assert_array_equal(MixPlan(lam, [1, 0]).lam, lam)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_the_cells_of_gridmix_that_stay(alpha):
    """A share ~ Beta(alpha, alpha) of them, rounded, but neither none nor all; and any are as likely."""
    plan = GridMix(alpha=alpha, cells=(4, 4), mode="elem").plan(4000, (4, 4), rng=(8, 1))
    stays = plan.masks.reshape(-1, 16)
    np.testing.assert_array_equal(plan.lam, stays.mean(axis=1))
    ends = stats.beta(alpha, alpha).cdf((np.arange(1, 16) + 0.5) / 16)
    expected = np.diff(np.concatenate([[0], ends[:-1], [1]]))
    kept = stays.sum(axis=1).astype(int)
    assert stats.chisquare(np.bincount(kept, minlength=16)[1:], expected * len(kept)).pvalue > 0.01
    # Given how many of them stay, cell c does with the probability kept / 16.
    of_each, likely = stays.sum(axis=0), (kept / 16).sum()
    spread = np.sqrt((kept / 16 * (1 - kept / 16)).sum())
    assert np.abs(of_each - likely).max() < 4 * spread
    pairs = [tuple(np.flatnonzero(row)) for row in stays[kept == 2]]
    assert uniformly_distributed(pairs, possible=120)


def test_the_grids_of_gridmix():
    """As many cells along each axis, and each number of them as likely."""
    plan = GridMix(cells=(3, 5), mode="elem").plan(1500, (60, 60), rng=(8, 2))
    seen = []
    for mask in plan.masks:
        edges = [np.flatnonzero(np.diff(mask, axis=axis).any(axis=1 - axis)) + 1 for axis in (0, 1)]
        # Grids of 3, 4 and 5 cells have no edge in common.
        (cells,) = (count for count in (3, 4, 5) if not (np.concatenate(edges) * count % 60).any())
        seen.append(cells)
    assert uniformly_distributed(seen, possible=3)


@pytest.mark.parametrize("least_and_most", [(0.25, 0.5), (0.1, 0.3)], ids=str)
@pytest.mark.parametrize("shape", [(301,), (49, 63)], ids=str)
def test_the_bells_of_smoothmix(least_and_most, shape):
    """A peak anywhere in the sample, and a standard deviation that is uniform and the same fraction of each side."""
    plan = SmoothMix(sigma=least_and_most, mode="elem").plan(1500, shape, rng=(8, 3))
    np.testing.assert_allclose(plan.lam, plan.masks.reshape(1500, -1).mean(axis=1), atol=1e-12)
    bells = 1 - plan.masks
    peaks = np.unravel_index(bells.reshape(1500, -1).argmax(axis=1), shape)
    least, most = least_and_most
    for axis, (peak, length) in enumerate(zip(peaks, shape, strict=True)):
        assert uniformly_distributed(peak.tolist(), possible=length)
        # Along a line through the peak, the second difference of log(bell) is -1 / deviation ** 2.
        lines = np.moveaxis(bells, axis + 1, -1)[(np.arange(1500), *(p for a, p in enumerate(peaks) if a != axis))]
        step = length // 10
        middle = np.clip(peak, step, length - 1 - step)
        left, at, right = (np.log(lines[np.arange(1500), middle + by]) for by in (-step, 0, step))
        sigma = step / np.sqrt(2 * at - left - right) / length
        assert stats.kstest(sigma, stats.uniform(least, most - least).cdf).pvalue > 0.01
        np.testing.assert_allclose([sigma.min(), sigma.max()], least_and_most, atol=2e-3)
