"""Whether a challenger is worse than the champion: errors, latency, scores, quality, each with how sure that is.

Rows are compared by the version that was to answer them (`assigned`), whoever did: what a failing challenger leaves to others
still counts as its own. Rows of one entity, or in one request, are not independent of each other, so errors of estimates are
those of clusters (Deng, Knoblich and Lu, KDD 2018: the delta method for a ratio metric; Cameron and Miller, J. Human Resources
50, 2015, for the sandwich that it equals). The checks of one step are TESTS together, each made at a share of 1 - confidence
(Bonferroni): of challengers that are no worse, no more than 1 - confidence fail a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Ramp
from mlprod_tasks.documents.formatting import length
from mlprod_tasks.platform.ledger import RolloutCheck
from mlprod_tasks.statistics import intervals

Floats = NDArray[np.float64]
Codes = NDArray[np.uint64]
Bools = NDArray[np.bool_]
Bounds = Callable[[float, float, float], tuple[float, float]]

TESTS = 4
QUANTILE = 0.99
FEWEST = 30  # rows (and entities, or requests) of each below which nothing is concluded
EARLY = 100  # looks before a step is over, at least: each at as small a part of what the step may be wrong
EARLY_ENTITIES = 10  # of the challenger, below which nothing is concluded before a step is over
SOONEST, LATEST = timedelta(seconds=2), timedelta(minutes=1)  # between two looks
LOOKS = 60  # in the time that a step is held for
LOWER = (0.95, 0.9, 0.75, 0.5)  # percentiles of latency that fewer rows tell


@dataclass(frozen=True)
class Group:
    """The rows that one version was to answer. All (n,); entity and request: equal where they are the same ones.

    failed: it did not answer the row. score, outcome: NaN where there is none.
    """

    version: int
    entity: Codes
    request: Codes
    failed: Bools
    milliseconds: Floats
    score: Floats
    outcome: Floats

    @property
    def rows(self) -> int:
        return len(self.entity)


@dataclass(frozen=True)
class Pair:
    """The rows of both, of the same time."""

    champion: Group
    challenger: Group


@dataclass(frozen=True)
class Finding:
    """What one check found. passed: None where there is too little to tell."""

    what: str
    passed: bool | None
    champion_value: float | None
    challenger_value: float | None
    bound: float | None
    champion_rows: int
    challenger_rows: int
    sentence: str

    def as_check(self, pipeline: str, at: datetime, challenger: int, share: float) -> RolloutCheck:
        """The ledger's entry."""
        return RolloutCheck(
            pipeline=pipeline,
            at=at,
            what=self.what,
            challenger=challenger,
            share=share,
            passed=self.passed,
            champion_value=self.champion_value,
            challenger_value=self.challenger_value,
            bound=self.bound,
            champion_rows=self.champion_rows,
            challenger_rows=self.challenger_rows,
            sentence=self.sentence,
        )


@dataclass(frozen=True)
class ClusteredMean:
    """A mean with its squared standard error, of `clusters` that are independent of each other."""

    value: float
    variance: float
    clusters: int


def findings(pair: Pair, ramp: Ramp) -> tuple[Finding, ...]:
    """The checks of a step that is over."""
    wrong = (1 - ramp.confidence) / TESTS
    return (errors(pair, ramp, wrong), latency(pair, ramp, wrong), scores(pair, ramp, wrong), quality(pair, wrong))


def early_findings(pair: Pair, ramp: Ramp) -> tuple[Finding, ...]:
    """The one check that does not wait until a step is over: a challenger that fails is not left to answer for the hold.

    However often it is looked, it is wrong no oftener than the check of errors at the end. That takes bounds that hold for a
    few rows, too, and far out: Clopper and Pearson's.
    """
    if len(np.unique(pair.challenger.entity)) < EARLY_ENTITIES:
        return (_untold("errors", pair, ramp.errors, f"its errors cannot be told yet: {_counts(pair)}"),)
    looks = max(EARLY, ceil(ramp.at_most / between(ramp)))
    return (errors(pair, ramp, (1 - ramp.confidence) / TESTS / looks, clopper_pearson),)


def between(ramp: Ramp) -> timedelta:
    """How long to wait before a step that is not over is looked at again."""
    return min(max(ramp.hold / LOOKS, SOONEST), LATEST)


def errors(pair: Pair, ramp: Ramp, wrong: float, bounds: Bounds | None = None) -> Finding:
    """Fails where the share of rows that the challenger did not answer is surely more than `ramp.errors` higher.

    The lower bound of the difference is Newcombe's (Statistics in Medicine 17, 1998, method 10), from Wilson's of each share
    if no other `bounds` are given. Without rows of the champion, it is held against none at all.
    """
    ours, theirs = pair.challenger, pair.champion
    if not ours.rows:
        return _untold("errors", pair, ramp.errors, "its errors cannot be told: it was to answer no row")
    share, low, _ = _share(ours, wrong, bounds or wilson)
    before, _, high = _share(theirs, wrong, bounds or wilson) if theirs.rows else (0.0, 0.0, 0.0)
    least = share - before - sqrt((share - low) ** 2 + (high - before) ** 2)
    passed = least <= ramp.errors
    said = f"{'not ' if passed else ''}surely more than {_points(ramp.errors)} above"
    told = f"{_failures(ours)}, {_failures(theirs)}: {said}.".capitalize()
    return _of("errors", pair, passed, before, share, ramp.errors, told)


def latency(pair: Pair, ramp: Ramp, wrong: float) -> Finding:
    """Fails where the 99th percentile of the challenger's times is surely more than `ramp.latency` times the champion's.

    Both percentiles have bounds by order statistics (Hahn and Meeker, Statistical Intervals, 1991, section 5.2), which hold
    for any distribution; rows of one request took the same time, so they count for as many as they are worth. Where the
    champion's are too few to bound its 99th percentile from above (below some 665), the highest one in LOWER that they do.
    """
    ours, theirs = pair.challenger, pair.champion
    if min(ours.rows, theirs.rows) < FEWEST:
        return _untold("latency", pair, ramp.latency, f"how long it takes cannot be compared: {_counts(pair)}")
    for quantile in (QUANTILE, *LOWER):
        before, _, high = _percentile(theirs, wrong / 2, quantile)
        if np.isfinite(high):
            break
    value, low, _ = _percentile(ours, wrong / 2, quantile)
    told = (
        f"{100 * quantile:g} of 100 answers of {_version(ours)} took at most {_milliseconds(value)}, of {_version(theirs)} "
        f"{_milliseconds(before)}"
    )
    if not np.isfinite(high):
        few = f"{told}: too few rows of {_version(theirs)} ({theirs.rows:,}) to be sure of more."
        return _of("latency", pair, None, before, value, ramp.latency, few)
    passed = low <= ramp.latency * high
    said = f"{'not ' if passed else ''}surely more than {ramp.latency:g} times as long"
    return _of("latency", pair, passed, before, value, ramp.latency, f"{told}: {said}.")


def scores(pair: Pair, ramp: Ramp, wrong: float) -> Finding:
    """Fails where the mean score surely lies more than `ramp.score_shift` away from the champion's (Welch's interval)."""
    ours, theirs = _means(pair.challenger, pair.challenger.score), _means(pair.champion, pair.champion.score)
    if ours is None or theirs is None:
        return _untold("scores", pair, ramp.score_shift, f"scores cannot be compared: {_counts(pair)}")
    low, high = welch(ours, theirs, wrong / 2)
    passed = not (low > ramp.score_shift or high < -ramp.score_shift)
    told = (
        f"The mean score of {_version(pair.challenger)} is {ours.value:.3f}, of {_version(pair.champion)} {theirs.value:.3f}; "
        f"the difference lies between {low:+.3f} and {high:+.3f}"
    )
    said = f"{'not ' if passed else ''}surely more than {ramp.score_shift:g} away"
    return _of("scores", pair, passed, theirs.value, ours.value, ramp.score_shift, f"{told}: {said}.")


def quality(pair: Pair, wrong: float) -> Finding:
    """Fails where the Brier score is surely worse, on the rows of which the outcome is known by now (Welch's interval)."""
    ours, theirs = (_means(group, (group.score - group.outcome) ** 2) for group in (pair.challenger, pair.champion))
    if ours is None or theirs is None:
        known = [int(np.isfinite(group.outcome).sum()) for group in (pair.challenger, pair.champion)]
        few = (
            "no outcomes are known yet" if not any(known) else f"outcomes of only {known[0]:,} and {known[1]:,} rows are known"
        )
        return _untold("quality", pair, 0.0, f"its quality cannot be told: {few}")
    low, high = welch(ours, theirs, wrong)
    passed = low <= 0
    told = (
        f"Where the outcome is known, the Brier score (mean squared distance to it, less is better) of "
        f"{_version(pair.challenger)} is {ours.value:.4f}, of {_version(pair.champion)} {theirs.value:.4f}; the difference "
        f"lies between {low:+.4f} and {high:+.4f}"
    )
    return _of("quality", pair, passed, theirs.value, ours.value, 0.0, f"{told}: {'not ' if passed else ''}surely worse.")


def too_few(pair: Pair, ramp: Ramp) -> Finding:
    """What fails where the challenger has not answered enough rows within the longest time that a step may take."""
    told = (
        f"{_version(pair.challenger).capitalize()} was to answer {pair.challenger.rows:,} rows within {length(ramp.at_most)}, "
        f"and {ramp.rows:,} are needed to judge it."
    )
    return Finding("rows", False, None, float(pair.challenger.rows), float(ramp.rows), pair.champion.rows,
                   pair.challenger.rows, told)  # fmt: skip


def mean_of(values: Floats, cluster: Codes) -> ClusteredMean:
    """The mean, with its variance between clusters; where each row is its own, that is the usual s squared over n.

    values: (n,), of at least two clusters.
    """
    _, place = np.unique(cluster, return_inverse=True)
    value = float(values.mean())
    sums = np.bincount(place, weights=values - value)
    clusters = len(sums)
    return ClusteredMean(value, float((sums**2).sum()) / len(values) ** 2 * clusters / (clusters - 1), clusters)


def welch(ours: ClusteredMean, theirs: ClusteredMean, wrong: float) -> tuple[float, float]:
    """Between which the difference of two means lies; it is above, and below, each with the chance `wrong`.

    Welch, Biometrika 34 (1947), with Satterthwaite's degrees of freedom. scipy.stats.ttest_ind does not fit: it takes each row
    as independent, where here the clusters are.
    """
    from scipy.stats import t

    difference, variance = ours.value - theirs.value, ours.variance + theirs.variance
    if variance == 0:
        return difference, difference
    freedom = variance**2 / (ours.variance**2 / (ours.clusters - 1) + theirs.variance**2 / (theirs.clusters - 1))
    half = float(t.ppf(1 - wrong, freedom)) * sqrt(variance)
    return difference - half, difference + half


def wilson(successes: float, trials: float, wrong: float) -> tuple[float, float]:
    """Bounds of a share, each wrong with that chance."""
    from scipy.stats import norm

    return intervals.wilson(successes, trials, float(norm.ppf(1 - wrong)))


def clopper_pearson(successes: float, trials: float, wrong: float) -> tuple[float, float]:
    """Bounds of a share, each wrong with that chance at most, however few the trials (Biometrika 26, 1934).

    By quantiles of the beta distribution: scipy.stats.binomtest takes whole numbers only, and rows that depend on each other
    count as a fraction of their number.
    """
    from scipy.stats import beta

    low = float(beta.ppf(wrong, successes, trials - successes + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - wrong, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def percentile_bounds(values: Floats, worth: float, wrong: float, quantile: float = QUANTILE) -> tuple[float, float]:
    """Below and above which the percentile lies with the chance `wrong` at most; 0 and infinity where rows are too few.

    worth: how many independent rows the values are worth.
    """
    from scipy.stats import binom

    n, ordered = max(1, int(worth)), np.sort(values)
    below, above = int(binom.ppf(wrong, n, quantile)), int(binom.ppf(1 - wrong, n, quantile)) + 1
    # The rank among n independent rows, carried over to all rows, towards the safe side.
    low = float(ordered[max(0, int(np.floor(below / n * len(ordered))) - 1)]) if below > 0 else 0.0
    high = float(ordered[min(len(ordered), int(np.ceil(above / n * len(ordered)))) - 1]) if above <= n else float("inf")
    return low, high


def _share(group: Group, wrong: float, bounds: Bounds) -> tuple[float, float, float]:
    share = float(group.failed.mean())
    worth = _worth(group.failed.astype(np.float64), group.entity)
    return share, *bounds(share * worth, worth, wrong)


def _percentile(group: Group, wrong: float, quantile: float) -> tuple[float, float, float]:
    value = float(np.quantile(group.milliseconds, quantile, method="inverted_cdf"))
    worth = _worth((group.milliseconds >= value).astype(np.float64), group.request)
    return value, *percentile_bounds(group.milliseconds, worth, wrong, quantile)


def _worth(flags: Floats, cluster: Codes) -> float:
    """How many independent rows as many clustered ones are worth, for the share of `flags` (Kish's effective size)."""
    n, clusters = len(flags), len(np.unique(cluster))
    share = float(flags.mean())
    if clusters < 2 or share in (0.0, 1.0):
        return float(clusters)
    variance = mean_of(flags, cluster).variance
    # Clusters that are all of the same share tell as much as rows that are independent.
    return float(min(n, share * (1 - share) / variance)) if clusters < n and variance else float(n)


def _means(group: Group, values: Floats) -> ClusteredMean | None:
    there = np.isfinite(values)
    if len(np.unique(group.entity[there])) < FEWEST:
        return None
    return mean_of(values[there], group.entity[there])


def overtaken(pipeline: str, challenger: int, share: float, at: datetime, why: str) -> RolloutCheck:
    """What fails where a challenger could not be promoted any more: the ledger's entry."""
    return Finding("overtaken", False, None, None, None, 0, 0, why).as_check(pipeline, at, challenger, share)


def _of(
    what: str, pair: Pair, passed: bool | None, before: float | None, value: float | None, bound: float, sentence: str
) -> Finding:
    return Finding(what, passed, before, value, bound, pair.champion.rows, pair.challenger.rows, sentence)


def _untold(what: str, pair: Pair, bound: float, why: str) -> Finding:
    return _of(what, pair, None, None, None, bound, f"{_version(pair.challenger).capitalize()}: {why}.")


def _version(group: Group) -> str:
    return f"version {group.version}"


def _counts(pair: Pair) -> str:
    return f"it has {pair.challenger.rows:,} rows, {_version(pair.champion)} {pair.champion.rows:,}"


def _failures(group: Group) -> str:
    if not group.rows:
        return f"{_version(group)} has no rows to hold that against"
    failed = int(group.failed.sum())
    return f"{_version(group)} did not answer {failed:,} of {group.rows:,} rows ({failed / group.rows:.2%})"


def _points(share: float) -> str:
    return f"{100 * share:g} percentage point{'s' * (share != 0.01)}"


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"
