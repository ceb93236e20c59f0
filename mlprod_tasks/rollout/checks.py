"""Compare a challenger with the champion: errors, latency, scores and quality.

Rows count for the version that they were routed to (`assigned`), whoever answered: rows that a failing challenger leaves to
others still count against it. Rows of one entity or one request are not independent, so standard errors are clustered (Deng,
Knoblich and Lu, KDD 2018: the delta method for a ratio metric; Cameron and Miller, J. Human Resources 50, 2015, for the
equivalent sandwich estimator). A step has TESTS checks, each at significance (1 - confidence) / TESTS (Bonferroni): a
challenger that is no worse fails a step with probability 1 - confidence at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Ramp
from mlprod_tasks.documents.formatting import format_count, format_exact, format_number, length
from mlprod_tasks.platform.ledger import RolloutCheck
from mlprod_tasks.rollout.bounds import (
    QUANTILE,
    ClusteredMean,
    Codes,
    Floats,
    clopper_pearson,
    mean_of,
    percentile_bounds,
    welch,
    wilson,
)
from mlprod_tasks.rollout.task_checks import PROBABILITIES_OF_YES, Compared, Outcomes, Scores

Bools = NDArray[np.bool_]
Bounds = Callable[[float, float, float], tuple[float, float]]

TESTS = 4
FEWEST = 30  # rows (and entities, or requests) that each version needs for a comparison
EARLY = 100  # early checks of a step to allow for, at least: they share the significance level
EARLY_ENTITIES = 10  # entities that the challenger needs for an early check
SOONEST, LATEST = timedelta(seconds=2), timedelta(minutes=1)  # between two checks
LOOKS = 60  # checks during the hold of a step
LOWER = (0.95, 0.9, 0.75, 0.5)  # percentiles of latency to fall back to if rows are few


@dataclass(frozen=True)
class Group:
    """The rows routed to one version.

    All arrays (n,); entity and request: hashes, equal for the same entity or request.

    failed: the version did not answer the row. score, outcome: NaN if missing; of classes ClassScores, and None if missing.
    """

    version: int
    entity: Codes
    request: Codes
    failed: Bools
    milliseconds: Floats
    score: Scores
    outcome: Outcomes

    @property
    def rows(self) -> int:
        return len(self.entity)


@dataclass(frozen=True)
class Pair:
    """The rows of both versions, from the same time."""

    champion: Group
    challenger: Group


@dataclass(frozen=True)
class Finding:
    """The result of one check. passed: None if there is too little data."""

    what: str
    passed: bool | None
    champion_value: float | None
    challenger_value: float | None
    bound: float | None
    champion_rows: int
    challenger_rows: int
    sentence: str

    def as_check(self, pipeline: str, at: datetime, challenger: int, share: float) -> RolloutCheck:
        """The ledger entry of this result."""
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


class Shift(NamedTuple):
    """The mean score of challenger and champion, and the bounds of its difference. name: of the class, if there are several."""

    name: str
    ours: float
    theirs: float
    low: float
    high: float


def findings(pair: Pair, ramp: Ramp, how: Compared = PROBABILITIES_OF_YES) -> tuple[Finding, ...]:
    """Run all checks of a step whose hold is over."""
    wrong = (1 - ramp.confidence) / TESTS
    return (errors(pair, ramp, wrong), latency(pair, ramp, wrong), scores(pair, ramp, wrong, how), quality(pair, wrong, how))


def early_findings(pair: Pair, ramp: Ramp) -> tuple[Finding, ...]:
    """Check errors before the step is over, so that a failing challenger is stopped early.

    However often it runs, its false alarms are no more frequent than those of the error check at the end. This needs bounds
    that are valid for few rows and far in the tail: those of Clopper and Pearson.
    """
    if len(np.unique(pair.challenger.entity)) < EARLY_ENTITIES:
        return (_undecided("errors", pair, ramp.errors, f"too few rows to compare errors: {_counts(pair)}"),)
    looks = max(EARLY, ceil(ramp.at_most / between(ramp)))
    return (errors(pair, ramp, (1 - ramp.confidence) / TESTS / looks, clopper_pearson),)


def between(ramp: Ramp) -> timedelta:
    """How long to wait between two checks of a running step."""
    return min(max(ramp.hold / LOOKS, SOONEST), LATEST)


def errors(pair: Pair, ramp: Ramp, wrong: float, bounds: Bounds | None = None) -> Finding:
    """Fail if the challenger's share of unanswered rows is significantly more than `ramp.errors` higher.

    The lower bound of the difference is Newcombe's (Statistics in Medicine 17, 1998, method 10), by default from Wilson's
    bounds of each share. If the champion has no rows, its share counts as 0.
    """
    ours, theirs = pair.challenger, pair.champion
    if not ours.rows:
        return _undecided("errors", pair, ramp.errors, "no row was routed to it, so there are no errors to compare")
    share, low, _ = _share(ours, wrong, bounds or wilson)
    before, _, high = _share(theirs, wrong, bounds or wilson) if theirs.rows else (0.0, 0.0, 0.0)
    least = share - before - sqrt((share - low) ** 2 + (high - before) ** 2)
    passed = least <= ramp.errors
    verdict = f"{'not ' if passed else ''}significantly more than {_points(ramp.errors)} above"
    sentence = f"{_failures(ours)}, {_failures(theirs)}: {verdict}.".capitalize()
    return _result("errors", pair, passed, before, share, ramp.errors, sentence)


def latency(pair: Pair, ramp: Ramp, wrong: float) -> Finding:
    """Fail if the 99th percentile of latency is significantly too high.

    The limit is `ramp.latency` times the champion's percentile.

    Both percentiles have bounds by order statistics (Hahn and Meeker, Statistical Intervals, 1991, section 5.2), valid for any
    distribution; rows of one request took the same time, so their effective number counts. If the champion has too few rows
    for an upper bound of its 99th percentile (fewer than about 665), use the highest percentile in LOWER that has one.
    """
    ours, theirs = pair.challenger, pair.champion
    if min(ours.rows, theirs.rows) < FEWEST:
        return _undecided("latency", pair, ramp.latency, f"too few rows to compare latency: {_counts(pair)}")
    for quantile in (QUANTILE, *LOWER):
        before, _, high = _percentile(theirs, wrong / 2, quantile)
        if np.isfinite(high):
            break
    value, low, _ = _percentile(ours, wrong / 2, quantile)
    measured = (
        f"{format_number(100 * quantile)} of 100 answers of {_version(ours)} took at most {_milliseconds(value)}, of "
        f"{_version(theirs)} {_milliseconds(before)}"
    )
    if not np.isfinite(high):
        few = f"{measured}: {_version(theirs)} has too few rows ({theirs.rows:,}) to compare them."
        return _result("latency", pair, None, before, value, ramp.latency, few)
    passed = low <= ramp.latency * high
    verdict = f"{'not ' if passed else ''}significantly more than {format_exact(ramp.latency)} times as long"
    return _result("latency", pair, passed, before, value, ramp.latency, f"{measured}: {verdict}.")


def scores(pair: Pair, ramp: Ramp, wrong: float, how: Compared = PROBABILITIES_OF_YES) -> Finding:
    """Fail if the mean score is significantly different (Welch's interval).

    The limit of the difference to the champion's is `ramp.score_shift`; for numbers, so many standard deviations of the
    champion's predictions. The probabilities of classes are compared class by class, which share the significance level
    (Bonferroni); the class that differs most beyond doubt is shown.
    """
    spread = float(np.nanstd(pair.champion.score)) if how.relative and pair.champion.rows else 1.0
    bound = ramp.score_shift * spread
    shifts = _shifts(pair, wrong, how)
    if not shifts:
        known = None if how.relative else ramp.score_shift
        return _undecided("scores", pair, known, f"too few rows to compare {_plural(how.score)}: {_counts(pair)}")
    name, ours, theirs, low, high = max(shifts, key=lambda one: max(one.low, -one.high))
    passed = not (low > bound or high < -bound)
    measured = (
        f"The mean {how.named(name)} of {_version(pair.challenger)} is {how.number(ours)}, of {_version(pair.champion)} "
        f"{how.number(theirs)}; the difference is between {how.difference(low)} and {how.difference(high)}"
    )
    limit = format_exact(ramp.score_shift)
    if how.relative:
        limit += f" standard deviations ({format_number(spread)}) of {_version(pair.champion)}'s predictions"
    verdict = f"{'not ' if passed else ''}significantly more than {limit} away"
    return _result("scores", pair, passed, theirs, ours, bound, f"{measured}: {verdict}.")


def _shifts(pair: Pair, wrong: float, how: Compared) -> list[Shift]:
    """How far mean scores are apart, of each class; none if there are too few rows."""
    numbers, shifts = how.means(pair.challenger.score, pair.champion.score), []
    for name, (of_ours, of_theirs) in numbers.items():
        ours, theirs = _means(pair.challenger, of_ours), _means(pair.champion, of_theirs)
        if ours is not None and theirs is not None:
            shifts.append(Shift(name, ours.value, theirs.value, *welch(ours, theirs, wrong / 2 / len(numbers))))
    return shifts


def quality(pair: Pair, wrong: float, how: Compared = PROBABILITIES_OF_YES) -> Finding:
    """Fail if the mean loss, such as the Brier score, is significantly worse (Welch's interval).

    It is computed on rows whose outcome is known by now.
    """
    ours, theirs = (_means(group, how.losses(group.score, group.outcome)) for group in (pair.challenger, pair.champion))
    if ours is None or theirs is None:
        known = [int(np.isfinite(how.losses(group.score, group.outcome)).sum()) for group in (pair.challenger, pair.champion)]
        few = (
            "no outcomes are known yet" if not any(known) else f"outcomes of only {known[0]:,} and {known[1]:,} rows are known"
        )
        return _undecided("quality", pair, 0.0, f"its quality cannot be measured: {few}")
    low, high = welch(ours, theirs, wrong)
    passed = low <= 0
    sentence = (
        f"On rows with a known outcome, the {how.loss} ({how.loss_meaning}) of "
        f"{_version(pair.challenger)} is {how.number(ours.value, 1)}, of {_version(pair.champion)} "
        f"{how.number(theirs.value, 1)}; the difference is between {how.difference(low, 1)} and {how.difference(high, 1)}: "
        f"{'not ' if passed else ''}significantly worse."
    )
    return _result("quality", pair, passed, theirs.value, ours.value, 0.0, sentence)


def too_few(pair: Pair, ramp: Ramp) -> Finding:
    """The failed check of a challenger that got too few rows in the longest step time."""
    sentence = (
        f"{_version(pair.challenger).capitalize()} got {format_count(pair.challenger.rows, 'row')} within "
        f"{length(ramp.at_most)}, and {ramp.rows:,} are needed to check it."
    )
    return Finding("rows", False, None, float(pair.challenger.rows), float(ramp.rows), pair.champion.rows,
                   pair.challenger.rows, sentence)  # fmt: skip


def _share(group: Group, wrong: float, bounds: Bounds) -> tuple[float, float, float]:
    share = float(group.failed.mean())
    worth = _effective_rows(group.failed.astype(np.float64), group.entity)
    return share, *bounds(share * worth, worth, wrong)


def _percentile(group: Group, wrong: float, quantile: float) -> tuple[float, float, float]:
    value = float(np.quantile(group.milliseconds, quantile, method="inverted_cdf"))
    worth = _effective_rows((group.milliseconds >= value).astype(np.float64), group.request)
    return value, *percentile_bounds(group.milliseconds, worth, wrong, quantile)


def _effective_rows(flags: Floats, cluster: Codes) -> float:
    """The effective number of rows (Kish) for the share of `flags`.

    So many independent rows would give the same precision.
    """
    n, clusters = len(flags), len(np.unique(cluster))
    share = float(flags.mean())
    if clusters < 2 or share in (0.0, 1.0):
        return float(clusters)
    variance = mean_of(flags, cluster).variance
    # If all clusters have the same share, the variance is 0 and rows count as independent.
    return float(min(n, share * (1 - share) / variance)) if clusters < n and variance else float(n)


def _means(group: Group, values: Floats) -> ClusteredMean | None:
    present = np.isfinite(values)
    if len(np.unique(group.entity[present])) < FEWEST:
        return None
    return mean_of(values[present], group.entity[present])


def overtaken(pipeline: str, challenger: int, share: float, at: datetime, why: str) -> RolloutCheck:
    """The ledger entry of a challenger that cannot be promoted any more: a failed check."""
    return Finding("overtaken", False, None, None, None, 0, 0, why).as_check(pipeline, at, challenger, share)


def _result(
    what: str, pair: Pair, passed: bool | None, before: float | None, value: float | None, bound: float | None, sentence: str
) -> Finding:
    return Finding(what, passed, before, value, bound, pair.champion.rows, pair.challenger.rows, sentence)


def _undecided(what: str, pair: Pair, bound: float | None, why: str) -> Finding:
    return _result(what, pair, None, None, None, bound, f"{_version(pair.challenger).capitalize()}: {why}.")


def _version(group: Group) -> str:
    return f"version {group.version}"


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _counts(pair: Pair) -> str:
    return f"it has {format_count(pair.challenger.rows, 'row')}, {_version(pair.champion)} {pair.champion.rows:,}"


def _failures(group: Group) -> str:
    if not group.rows:
        return f"{_version(group)} has no rows to compare with"
    failed = int(group.failed.sum())
    return f"{_version(group)} did not answer {failed:,} of {group.rows:,} rows ({failed / group.rows:.2%})"


def _points(share: float) -> str:
    return f"{format_number(100 * share)} percentage point{'s' * (share != 0.01)}"


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"
