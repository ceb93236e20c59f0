"""The checks of a ramp: as scipy has it, right as often as they say, and able to find what is worse."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks.rollout.bounds import clopper_pearson, mean_of, percentile_bounds, welch, wilson
from mlprod_tasks.rollout.checks import Finding, Group, Pair, early_findings, errors, findings, latency, quality, scores

RAMP = ml.Ramp()
WRONG = 0.0025


def group(
    version: int,
    n: int,
    random: np.random.Generator,
    *,
    failing: float = 0.002,
    slow: float = 1.0,
    shift: float = 0.0,
    noise: float = 0.0,
    rows_of_entity: int = 1,
    rows_of_request: int = 1,
    known: float = 1.0,
) -> Group:
    """Rows of which the scores are the chances of their outcomes, but for shift and noise."""
    entity = np.arange(n, dtype=np.uint64) // np.uint64(rows_of_entity)
    request = np.arange(n, dtype=np.uint64) // np.uint64(rows_of_request)
    chance = random.beta(2, 5, len(np.unique(entity)))[entity.astype(int)]
    outcome = (random.random(len(np.unique(entity)))[entity.astype(int)] < chance).astype(float)
    outcome[random.random(n) >= known] = np.nan
    took = random.lognormal(1.5, 0.8, len(np.unique(request)))[request.astype(int)] * slow
    score = np.clip(chance + shift + noise * random.normal(size=n), 0, 1)
    broken = random.random(len(np.unique(entity)))[entity.astype(int)] < failing
    return Group(version, entity, request, broken, took, score, outcome)


def pair(seed: int, ours: int = 400, theirs: int = 2000, **worse: float) -> Pair:
    """A champion's rows, and a challenger's, which is worse so."""
    random = np.random.default_rng(seed)
    return Pair(group(2, theirs, random), group(3, ours, random, **worse))


def equals(seed: int, ours: int = 300, theirs: int = 1500, **how: float) -> Pair:
    random = np.random.default_rng(seed)
    return Pair(group(2, theirs, random, **how), group(3, ours, random, **how))


def failed(found: tuple[Finding, ...]) -> set[str]:
    return {one.what for one in found if one.passed is False}


def test_the_interval_of_a_difference_of_means_is_welchs() -> None:
    random = np.random.default_rng(1)
    ours, theirs = random.normal(1, 2, 40), random.normal(0.3, 1, 300)
    low, high = welch(mean_of(ours, np.arange(40)), mean_of(theirs, np.arange(300)), 0.005)
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.99)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_rows_of_one_entity_count_as_one_where_they_are_alike() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=50)
    alone, repeated = mean_of(values, np.arange(50)), mean_of(np.repeat(values, 20), np.repeat(np.arange(50), 20))
    assert repeated.value == pytest.approx(alone.value)
    assert repeated.variance == pytest.approx(alone.variance)


def test_the_bounds_of_a_share_are_wilsons() -> None:
    expected = stats.binomtest(7, 300).proportion_ci(0.95, method="wilson")
    assert wilson(7, 300, 0.025) == pytest.approx((expected.low, expected.high))


def test_the_bounds_of_a_percentile_are_those_of_order_statistics() -> None:
    values = np.random.default_rng(3).lognormal(size=4000)
    low, high = percentile_bounds(values, 4000, 0.005)
    expected = stats.quantile_test(values, p=0.99).confidence_interval(0.99)
    assert (low, high) == (expected.low, expected.high)
    assert percentile_bounds(values[:300], 300, 0.005)[1] == np.inf, "300 rows cannot bound a 99th percentile from above"


def test_the_bounds_of_a_percentile_hold_as_often_as_they_say() -> None:
    random, truth = np.random.default_rng(4), np.exp(stats.norm.ppf(0.99))
    bounds = np.array([percentile_bounds(random.lognormal(size=1000), 1000, 0.05) for _ in range(2000)])
    assert (bounds[:, 0] > truth).mean() <= 0.06
    assert (bounds[:, 1] < truth).mean() <= 0.06


def test_the_difference_of_shares_is_newcombes() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table II, contrast (a), method 10: 56/70 - 48/80 is 0.0524 at least.
    def answered(n: int, broken: int) -> Group:
        each = np.arange(n, dtype=np.uint64)
        return Group(1, each, each, each < broken, np.ones(n), np.ones(n), np.ones(n))

    both = Pair(answered(80, 48), answered(70, 56))
    assert errors(both, replace(RAMP, errors=0.0523), 0.025).passed is False
    assert errors(both, replace(RAMP, errors=0.0525), 0.025).passed is True


@pytest.mark.parametrize(
    "alike",
    [{}, {"rows_of_entity": 5}, {"rows_of_request": 20}, {"known": 0.3}, {"rows_of_entity": 4, "rows_of_request": 4}],
    ids=str,
)
def test_challengers_that_are_no_worse_are_seldom_taken_back(alike: dict[str, float]) -> None:
    # Of a bound of 0 the margins cannot help: as many as the confidence allows would fail by chance.
    strict = replace(RAMP, errors=0.0, latency=1.0, score_shift=0.0, confidence=0.9)
    steps = 400
    wrongly = sum(bool(failed(findings(equals(seed, failing=0.01, **alike), strict))) for seed in range(steps))
    assert wrongly <= steps * 0.1 + 3 * np.sqrt(steps * 0.1 * 0.9)
    assert sum(bool(failed(findings(equals(seed, **alike), RAMP))) for seed in range(200)) <= 4


def test_looking_often_before_a_step_is_over_takes_no_more_challengers_back() -> None:
    strict = replace(RAMP, errors=0.0, confidence=0.9)
    wrongly = 0
    for seed in range(300):
        both = equals(seed, failing=0.02)
        looks = ((n, 5 * n) for n in range(10, 300, 10))
        seen = (Pair(_first(both.champion, b), _first(both.challenger, a)) for a, b in looks)
        wrongly += any(failed(early_findings(one, strict)) for one in seen)
    assert wrongly <= 300 * 0.1 / 4


def _first(whole: Group, n: int) -> Group:
    return Group(whole.version, *(getattr(whole, name)[:n] for name in list(Group.__dataclass_fields__)[1:]))


@pytest.mark.parametrize(
    ("what", "worse"),
    [
        ("errors", {"failing": 0.06}),
        ("latency", {"slow": 4.0}),
        ("scores", {"shift": 0.2}),
        ("scores", {"shift": -0.2}),
        ("quality", {"noise": 0.4}),
    ],
)
def test_a_challenger_that_is_worse_is_found_by_its_check(what: str, worse: dict[str, float]) -> None:
    found = [failed(findings(pair(seed, **worse), RAMP)) for seed in range(50)]
    assert sum(what in one for one in found) >= 45


def test_a_challenger_that_always_fails_is_found_within_a_few_rows_of_its_first_step() -> None:
    random = np.random.default_rng(5)
    broken = Pair(group(2, 300, random), group(3, 15, random, failing=1.0))
    (found,) = early_findings(broken, RAMP)
    assert found.passed is False
    assert "did not answer 15 of 15 rows (100.00%)" in found.sentence


def test_batches_that_are_slow_as_a_whole_are_not_taken_for_many_slow_answers() -> None:
    # 2,000 rows in two requests: one slow request is one slow answer, and tells nothing of a percentile.
    def batched(slow: float) -> Group:
        n = 2000
        each = np.arange(n, dtype=np.uint64)
        took = np.where(each < 1000, 5.0, slow)
        return Group(3, each, each // np.uint64(1000), np.zeros(n, bool), took, np.full(n, 0.3), np.full(n, np.nan))

    random = np.random.default_rng(6)
    assert latency(Pair(group(2, 5000, random), batched(500.0)), RAMP, WRONG).passed is True
    alone = replace(batched(500.0), request=np.arange(2000, dtype=np.uint64))
    assert latency(Pair(group(2, 5000, random), alone), RAMP, WRONG).passed is False


def test_nothing_is_concluded_from_a_few_rows_or_without_outcomes() -> None:
    found = {one.what: one for one in findings(equals(7, 10, 20, known=0.0), RAMP)}
    assert [found[what].passed for what in ("errors", "latency", "scores", "quality")] == [True, None, None, None]
    assert "no outcomes are known yet" in found["quality"].sentence
    nothing = findings(equals(8, 0, 0), RAMP)
    assert [one.passed for one in nothing] == [None] * 4


def test_scores_that_are_missing_do_not_count() -> None:
    both = pair(9, shift=0.3)
    without = replace(both.challenger, score=np.full(both.challenger.rows, np.nan))
    assert scores(Pair(both.champion, without), RAMP, WRONG).passed is None
    assert quality(Pair(both.champion, without), WRONG).passed is None


def test_the_bounds_before_a_step_is_over_are_clopper_and_pearsons() -> None:
    expected = stats.binomtest(7, 300).proportion_ci(0.95, method="exact")
    assert clopper_pearson(7, 300, 0.025) == pytest.approx((expected.low, expected.high))
    assert clopper_pearson(0, 5, 0.01) == pytest.approx((0.0, 1 - 0.01**0.2))
    assert clopper_pearson(5, 5, 0.01) == pytest.approx((0.01**0.2, 1.0))


def test_a_failure_or_some_among_the_first_rows_take_nobody_back() -> None:
    random = np.random.default_rng(10)
    before = group(2, 5000, random, failing=0.0)
    for n in (1, 2, 5, 9, 10, 20):
        ours = group(3, n, random, failing=0.0)
        (found,) = early_findings(Pair(before, replace(ours, failed=np.arange(n) == 0)), RAMP)
        assert found.passed is not False, n
    # Wilson's bound, that far out, would be sure of two among ten.
    ours = group(3, 10, random, failing=0.0)
    for failures, passed in ((2, True), (4, True), (6, False)):
        (found,) = early_findings(Pair(before, replace(ours, failed=np.arange(10) < failures)), RAMP)
        assert found.passed is passed, failures


def test_looking_all_day_at_the_last_share_takes_back_no_more_than_promised() -> None:
    # Errors as often as the champion's, and a margin of none; looked at after each of the first rows, and then often.
    random, runs, strict = np.random.default_rng(11), 150, replace(RAMP, errors=0.0, confidence=0.9)
    before = group(2, 3_000, random, failing=0.03)
    looks = [*range(1, 30), *range(30, 300, 15)]
    wrongly = 0
    for _ in range(runs):
        ours = group(3, 300, random, failing=0.03)
        wrongly += any(failed(early_findings(Pair(before, _first(ours, n)), strict)) for n in looks)
    assert wrongly <= runs * 0.1 / 4


def test_the_more_often_it_is_looked_the_surer_one_look_must_be() -> None:
    random = np.random.default_rng(12)
    worse = Pair(group(2, 5000, random, failing=0.0), group(3, 200, random, failing=0.0))
    worse = replace(worse, challenger=replace(worse.challenger, failed=np.arange(200) < 13))
    day = replace(RAMP, hold=timedelta(hours=1), at_most=timedelta(hours=1))
    weeks = replace(RAMP, hold=timedelta(0), at_most=timedelta(days=60))
    assert [early_findings(worse, one)[0].passed for one in (day, weeks)] == [False, True]


def test_clusters_of_the_same_share_are_worth_their_rows() -> None:
    # Each of 40 entities has one failure among its two rows: between them there is no variance at all.
    entity = np.repeat(np.arange(40, dtype=np.uint64), 2)
    ones = np.ones(80)
    both = Group(3, entity, entity, np.tile([True, False], 40), ones, ones, ones)
    found = errors(Pair(both, both), RAMP, WRONG)
    assert (found.passed, found.challenger_value) == (True, 0.5)


@pytest.mark.parametrize(("rows", "quantile"), [(3000, "99"), (300, "95"), (100, "90"), (40, "75"), (15, None)])
def test_latency_is_judged_by_the_highest_percentile_that_the_champions_rows_tell(rows: int, quantile: str | None) -> None:
    found = latency(pair(13, 400, rows, slow=20.0), RAMP, WRONG)
    assert found.passed is (None if quantile is None else False)
    assert quantile is None or f"{quantile} of 100 answers" in found.sentence
    assert latency(pair(13, 400, rows), RAMP, WRONG).passed is (None if quantile is None else True)
