"""Drift distances, against their definitions, scipy and what statistics says of their noise."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, entropy, norm, wasserstein_distance

from mlprod_tasks.monitoring.count import count, types
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics import bins, distances

counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=12)


def test_psi_of_60_to_40_against_half_and_half_is_a_tenth_of_ln_one_and_a_half() -> None:
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5) = 0.1 ln 1.5
    assert distances.psi([500_000, 500_000], [600_000, 400_000]) == pytest.approx(0.1 * np.log(1.5), rel=1e-5)


def test_psi_is_the_sum_of_both_relative_entropies() -> None:
    e, a = np.array([900, 4_000, 2_100, 3_000]) * 1000, np.array([2_000, 3_000, 2_500, 2_500]) * 1000
    p, q = e / e.sum(), a / a.sum()
    assert distances.psi(e, a) == pytest.approx(entropy(p, q) + entropy(q, p), rel=1e-4)


def test_an_empty_bin_gives_a_large_but_finite_psi() -> None:
    assert 0.5 < distances.psi([500, 500, 0], [450, 450, 100]) < 2
    assert np.isfinite(distances.psi([1000, 0], [0, 1000]))


@given(counts, counts)
def test_psi_is_symmetric_and_not_negative(one: list[int], other: list[int]) -> None:
    size = min(len(one), len(other))
    e, a = one[:size], other[:size]
    if sum(e) and sum(a):
        assert distances.psi(e, a) >= 0
        assert distances.psi(e, a) == pytest.approx(distances.psi(a, e))


def test_the_noise_of_psi_is_what_samples_of_one_distribution_show() -> None:
    random = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    pairs = [(random.multinomial(25_000, shares), random.multinomial(900, shares)) for _ in range(2_000)]
    raw = np.array([distances.psi(e, a) for e, a in pairs])
    assert raw.mean() == pytest.approx(distances.psi_noise(*pairs[0]), rel=0.05)
    # and its tail is chi-squared: 1 sample in 100 lies above this bound
    bound = chi2.ppf(0.99, 9) * (1 / 25_000 + 1 / 900)
    assert 0.003 < np.mean(raw > bound) < 0.02
    corrected = np.array([distances.corrected_psi(e, a) for e, a in pairs])
    assert corrected.mean() < 0.004
    assert corrected.max() < 0.04


def test_jensen_shannon_distance_is_scipys() -> None:
    e, a = [5, 0, 90, 400, 12], [0, 7, 100, 300, 12]
    assert distances.jensen_shannon_distance(e, a) == pytest.approx(jensenshannon(e, a, base=2))
    assert distances.jensen_shannon_distance([3, 0], [0, 9]) == pytest.approx(1)
    assert distances.jensen_shannon_distance([3, 1], [30, 10]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_binned_wasserstein_is_that_of_the_rows_within_the_stated_error(shift: float) -> None:
    random = np.random.default_rng(1)
    one, other = random.normal(0, 1, 20_000), random.normal(shift, 1.3, 5_000)
    borders = np.quantile(np.concatenate([one, other]), np.linspace(0, 1, 21))
    e, a = np.histogram(one, borders)[0], np.histogram(other, borders)[0]
    error = np.sum(np.diff(borders) * np.maximum(e / e.sum(), a / a.sum()))
    assert abs(distances.wasserstein(e, a, list(borders)) - wasserstein_distance(one, other)) <= error


def test_binned_wasserstein_of_rows_evenly_spread_within_their_bins_is_exact() -> None:
    borders, e, a = [0.0, 1.0, 4.0, 5.0], [10, 30, 60], [40, 50, 10]

    def spread(rows: list[int]) -> np.ndarray:
        parts = zip(borders[:-1], borders[1:], rows, strict=True)
        return np.concatenate([np.linspace(lo, hi, n * 1000 + 1)[:-1] for lo, hi, n in parts])

    assert distances.wasserstein(e, a, borders) == pytest.approx(wasserstein_distance(spread(e), spread(a)), abs=1e-3)


SHAPES = {
    "normal": lambda random, n: random.normal(10, 2, n),
    "skewed": lambda random, n: random.lognormal(3, 1, n),
    "few whole numbers": lambda random, n: random.integers(0, 12, n),
    "many whole numbers": lambda random, n: random.poisson(80, n),
    "mostly one value": lambda random, n: np.where(random.random(n) < 0.9, 0.0, random.exponential(2, n)),
}
MOVES = {
    "as it was": lambda x, sd: x,
    "one standard deviation": lambda x, sd: x + (np.round(sd) if x.dtype.kind == "i" else sd),
    "miles to kilometres": lambda x, sd: np.round(x * 1.609).astype("int64") if x.dtype.kind == "i" else x * 1.609,
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("shape", SHAPES)
def test_distances_of_counted_rows_are_scipys_of_the_rows_themselves(shape: str, move: str) -> None:
    random = np.random.default_rng(8)
    before = SHAPES[shape](random, 25_000)
    now = MOVES[move](SHAPES[shape](random, 900), before.std()).astype(before.dtype)
    with engine(threads=1) as con:
        con.register("reference", pa.table({"x": before}))
        con.register("now", pa.table({"x": now}))
        (made,) = bins.learn(con, "reference", types(con, "reference"))
        e, a = (count(con, name, [made]).columns["x"] for name in ("reference", "now"))
    assert made.sd == pytest.approx(before.std(), rel=1e-5)
    if made.of_numbers:
        inside = a.counts[2:] - np.array([a.below, *[0] * (len(made.edges) - 1), a.above])
        shares = np.maximum(e.counts[2:] / len(before), inside / len(now))
        stated = float(np.sum(np.diff(distances.borders(made)) * shares))
        found, true = distances.wasserstein_of(made, e.counts, a), wasserstein_distance(before, now)
        assert abs(found - true) <= stated
        assert abs(found - true) <= 0.2 * made.sd, "the stated error is the worst there can be; rows are not laid out like that"
    else:
        assert distances.wasserstein_of(made, e.counts, a) == pytest.approx(wasserstein_distance(before, now))
    # Shares of the rows between the same edges, counted by numpy.
    edges = made.coarse_edges if made.of_numbers else np.arange(len(made.categories) - 1)
    p, q = (np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (before, now))
    if made.of_numbers or move == "as it was":
        js = distances.jensen_shannon_distance(made.coarse(e.counts), made.coarse(a.counts))
        assert js == pytest.approx(jensenshannon(p, q, base=2))


def test_the_jensen_shannon_distance_of_bins_is_below_that_of_the_densities_and_close_to_it() -> None:
    x = np.linspace(-9, 10, 40_001)
    true = jensenshannon(norm.pdf(x), norm.pdf(x, 1), base=2)
    deciles = norm.ppf(np.arange(1, 10) / 10)
    p, q = (np.diff(norm.cdf([-np.inf, *deciles, np.inf], mean)) for mean in (0, 1))
    binned = distances.jensen_shannon_distance(p, q)
    assert 0.95 * true < binned <= true, "bins can only hide a difference"


@pytest.mark.parametrize(("expected", "actual"), [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([1, 2], [1, 2, 3])])
def test_counts_that_cannot_be_compared_are_refused(expected: list[int], actual: list[int]) -> None:
    for distance in (distances.psi, distances.psi_noise, distances.jensen_shannon_distance):
        with pytest.raises(distances.NothingToCompare):
            distance(expected, actual)
