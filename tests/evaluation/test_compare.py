"""Differences from the champion on the same rows: against the slow way, published values, and their own promise of 95 %."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlprod_tasks.evaluation.compare import Performance, compare
from mlprod_tasks.evaluation.results import read_results
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.statistics import auc_interval, metrics
from mlprod_tasks.statistics.metrics import NAMES, CannotBeMeasured
from mlprod_tasks.statistics.resamples import FEWEST_TICKS
from mlprod_tasks.training.workspace import TrainingFolder, read_window

THRESHOLD = 0.3


def slow_delong(outcome: np.ndarray, scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Areas and covariance as DeLong et al. (1988) write them down, pair by pair: equations 3 to 6."""

    def below(x: float, y: float) -> float:
        return 1.0 if y < x else 0.5 if y == x else 0.0

    v10, v01 = [], []
    for score in scores:
        positives, negatives = score[outcome], score[~outcome]
        v10.append([np.mean([below(x, y) for y in negatives]) for x in positives])
        v01.append([np.mean([below(x, y) for x in positives]) for y in negatives])
    areas = np.array([np.mean(each) for each in v10])
    m, n, k = int(outcome.sum()), int((~outcome).sum()), len(scores)
    s10, s01 = np.empty((k, k)), np.empty((k, k))
    for r in range(k):
        for s in range(k):
            s10[r, s] = sum((a - areas[r]) * (b - areas[s]) for a, b in zip(v10[r], v10[s], strict=True)) / (m - 1)
            s01[r, s] = sum((a - areas[r]) * (b - areas[s]) for a, b in zip(v01[r], v01[s], strict=True)) / (n - 1)
    return areas, s10 / m + s01 / n


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=40))
def test_delong_by_ranks_is_delong_pair_by_pair_also_with_equal_scores(rows):
    outcome = np.array([one for one, *_ in rows])
    if not 2 <= outcome.sum() <= len(outcome) - 2:
        return
    scores = [np.array([row[i] / 6 for row in rows]) for i in (1, 2)]
    areas, covariance = auc_interval.areas_and_covariance(outcome, np.stack(scores))
    expected = slow_delong(outcome, scores)
    assert areas == pytest.approx(expected[0], abs=1e-12)
    assert covariance == pytest.approx(expected[1], abs=1e-12)


def test_the_area_of_a_published_example_has_its_published_interval():
    # Hanley and McNeil (1982): 109 CT images rated 1 to 5. Stata's manual, entry roctab, which follows DeLong et al. for the
    # standard error: area 0.8932, standard error 0.0307, interval 0.83295 to 0.95339.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    score = np.concatenate([np.repeat(np.arange(1, 6), normal), np.repeat(np.arange(1, 6), abnormal)]) / 5
    outcome = np.repeat([False, True], [58, 51])
    areas, covariance = auc_interval.areas_and_covariance(outcome, score[None, :])
    assert areas[0] == pytest.approx(0.8932, abs=5e-5)
    assert np.sqrt(covariance[0, 0]) == pytest.approx(0.0307, abs=5e-5)
    made = auc_interval.area(outcome, score)
    assert (made.low, made.high) == pytest.approx((0.83295, 0.95339), abs=5e-5)


def test_a_difference_of_areas_follows_from_their_covariance():
    outcome, ours, theirs = drawn(3, 300)
    areas, covariance = slow_delong(outcome, [ours, theirs])
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    made = auc_interval.difference(outcome, ours, theirs)
    assert made.value == pytest.approx(areas[0] - areas[1])
    assert (made.low, made.high) == pytest.approx(stats.norm.interval(0.95, areas[0] - areas[1], error))
    assert made.p == pytest.approx(2 * stats.norm.sf(abs(areas[0] - areas[1]) / error))


def test_the_same_ranking_is_no_difference_whatever_the_scores():
    outcome, ours, _ = drawn(4, 200)
    made = auc_interval.difference(outcome, ours, ours**3)
    assert (made.value, made.low, made.high, made.p) == (0, 0, 0, 1)


def test_one_row_of_a_class_has_an_area_but_no_interval_and_none_has_neither():
    outcome = np.array([True, False, False])
    made = auc_interval.area(outcome, np.array([0.9, 0.1, 0.2]))
    assert made.value == 1
    assert np.isnan([made.low, made.high]).all()
    with pytest.raises(CannotBeMeasured, match="0 positive and 2 negative"):
        auc_interval.area(outcome[1:], np.array([0.1, 0.2]))


def drawn(seed: int, rows: int, other_noise: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes and two scores that each see their chance through noise of their own; alike good at the same noise."""
    random = np.random.default_rng(seed)
    chance = random.normal(size=rows)

    def seen(noise: float) -> np.ndarray:
        return 1 / (1 + np.exp(1 - (chance + noise * random.normal(size=rows)) / (1 + noise**2)))

    return random.random(rows) < 1 / (1 + np.exp(1 - chance)), seen(0.7), seen(other_noise)


def judged(outcome: np.ndarray, score: np.ndarray, resamples: int = 300, seed: int = 0) -> Performance:
    worth = np.where(score >= THRESHOLD, np.where(outcome, 10.0, -4.0), 0.0)
    return Performance(score, worth, metrics.sample(outcome, score, worth, 0.1, resamples, seed))


def test_differences_are_of_the_same_draws_of_the_same_rows():
    # Metric by metric from resampled rows themselves: the slow and obvious way.
    outcome, ours, theirs = drawn(5, 200)
    made = compare(1, outcome, judged(outcome, ours, 50), judged(outcome, theirs, 50)).differences["brier"]
    random, draws = np.random.default_rng(0), []
    for _ in range(50):
        rows = random.integers(0, 200, 200)
        draws.append(metrics.brier(outcome[rows], ours[rows]) - metrics.brier(outcome[rows], theirs[rows]))
    assert made.value == pytest.approx(metrics.brier(outcome, ours) - metrics.brier(outcome, theirs))
    assert (made.low, made.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    rarer = min(sum(d <= 0 for d in draws), sum(d >= 0 for d in draws))
    assert made.p == pytest.approx(min(1, 2 * (rarer + 1) / 51))


def test_a_model_does_not_differ_from_itself():
    outcome, ours, _ = drawn(6, 200)
    for name, one in compare(2, outcome, judged(outcome, ours), judged(outcome, ours)).differences.items():
        assert (one.value, one.low, one.high, one.p) == (0, 0, 0, 1), name


def test_intervals_of_differences_cover_none_and_p_is_uniform_where_there_is_none():
    n, trials = 400, 250
    covered = dict.fromkeys(NAMES, 0)
    p: dict[str, list[float]] = {name: [] for name in NAMES}
    for seed in range(250, 250 + trials):
        outcome, ours, theirs = drawn(seed, n)
        # Seeded otherwise than the rows: draws that hang together with them would be none.
        ours_judged, theirs_judged = (judged(outcome, score, 200, 1000 + seed) for score in (ours, theirs))
        made = compare(1, outcome, ours_judged, theirs_judged)
        for name, one in made.differences.items():
            covered[name] += one.low <= 0 <= one.high
            p[name].append(one.p)
    for name in ("roc_auc", "pr_auc", "log_loss", "brier", "value_per_1000"):
        # 95 % of 250 have a standard error of 1.4 %.
        assert 0.905 <= covered[name] / trials <= 0.99, name
        assert stats.kstest(p[name], "uniform").pvalue > 0.001, name
    # The two that jump with the rows: their draws vary more than they do themselves, so their intervals are too wide.
    for name in ("calibration_error", "precision_at_k"):
        assert covered[name] / trials >= 0.93, name


def test_delong_finds_a_difference_that_is_there_and_covers_it():
    outcome, ours, theirs = drawn(99, 400_000, other_noise=1.5)
    truth = metrics.roc_auc(outcome, ours) - metrics.roc_auc(outcome, theirs)
    made = [auc_interval.difference(*drawn(seed, 500, other_noise=1.5)) for seed in range(300)]
    assert 0.91 <= np.mean([one.low <= truth <= one.high for one in made]) <= 0.985
    assert np.mean([one.p < 0.05 for one in made]) > 0.5


def test_evaluate_leaves_the_comparison_with_the_champion(promoted_shop):
    other = promoted_shop.declared(slices=("channel", "amount"))
    other.trained("two", "2024-02-13")
    folder = TrainingFolder(other.platform, "two")
    made = read_results(folder)
    # The champion's validation window ends 2024-01-30, this test window begins after it.
    assert made.comparison.champion_version == 1
    assert made.comparison.rows == made.evaluation.rows
    ticks = len(set(read_window(folder, "test")["tick"].to_pylist()))
    assert made.evaluation.ticks == (ticks if ticks >= FEWEST_TICKS else None)
    for name, one in made.comparison.differences.items():
        expected = made.evaluation.model[name].value - made.evaluation.champion[name].value
        assert one.value == pytest.approx(expected), name
    training = other.platform.ledger.get(Training, "two")
    logged = other.platform.registry.client.get_run(training.run_id).data.metrics
    assert training.metrics["diff_roc_auc"] == logged["diff_roc_auc"] == made.comparison.differences["roc_auc"].value
    assert {"diff_log_loss_low", "diff_log_loss_high", "diff_log_loss_p"} <= set(logged)
    files = {file.path for file in other.platform.registry.client.list_artifacts(training.run_id, "training")}
    assert {"training/comparison.json", "training/slices.json"} <= files
    assert {one.found for one in made.slices.slices} >= {"declared"}
    assert {one.name for one in made.slices.slices} >= {"channel = 'web'", "channel = 'phone'"}


def test_without_a_champion_there_is_no_comparison_nor_one_of_an_earlier_evaluation(shop):
    shop.trained("one")
    folder = TrainingFolder(shop.platform, "one")
    assert read_results(folder).comparison is None
    outcome, ours, theirs = drawn(1, 200)
    folder.write(compare(7, outcome, judged(outcome, ours), judged(outcome, theirs)))
    shop.trained("one")
    assert read_results(folder).comparison is None
