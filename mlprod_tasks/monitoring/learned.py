"""Bounds learned from the reference's ticks, which similar ticks stay within."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.monitoring.kinds import KINDS

if TYPE_CHECKING:
    from mlprod_tasks.declaration import Pipeline

# The scale on which values of quiet ticks spread roughly symmetrically: the square root for small shares and for distances
# that grow with the square of a shift, the logarithm for ratios, and no scaling for the others.
ROOT = frozenset((
    "freshness", "new_categories", "lost_categories", "out_of_range", "feature_psi", "feature_wasserstein", "score_psi",
    "score_wasserstein", "fallback_share", "residual_drift", "residual_shift", "label_psi", "retries", "queue_wait",
    "replayed", "online_skew", "canned", "online_errors", "online_fallback", "online_refused", "online_stale", "online_missing",
    "online_psi", "changed_features", "unscored_rows", "feature_psi_last_year", "score_psi_last_year",
    "online_score_psi", "online_class_psi", "online_shadow_difference",
))  # fmt: skip
LOG = frozenset((
    "volume", "label_rate", "estimated_mae", "estimated_rmse", "estimated_log_loss",
    "mae", "rmse", "duration", "rows_per_second", "memory", "cost", "online_rows", "online_latency",
    "online_shadow_latency",
))  # fmt: skip
# The possible values: at least 0 unless listed here; at most 1 for a share, an area or a difference of those.
BELOW_ZERO = frozenset((
    "roc_auc_change", "adaptation",
    "null_share", "feature_level", "decision_share", "estimated_value", "value", "calibration", "label_mean", "bias",
    "interval_coverage", "estimate_error", "kpi",
    "business_metric", "kpi_correlation", "data_delay", "label_delay", "online_nulls",
))  # fmt: skip
SHARES = frozenset((
    "roc_auc_change", "known_fault",
    "null_share", "new_categories", "lost_categories", "out_of_range", "feature_js", "domain_auc", "decision_share",
    "fallback_share", "estimated_roc_auc", "estimated_precision", "estimated_recall", "label_coverage", "roc_auc",
    "precision", "recall", "calibration", "interval_coverage", "residual_drift", "kpi_correlation", "replayed", "online_skew",
    "canned", "online_errors", "online_fallback", "online_refused", "online_stale", "online_missing", "online_nulls",
    "online_shadow_difference", "changed_features",
))  # fmt: skip

TICKS_A_MONTH = 30  # ticks are days
FEWEST_TICKS = 5  # with fewer, the spread is not meaningful
FEWEST_OF_A_SEASON = 3
ROUNDING = 1e-9
SMALLEST = 1e-6  # stands for zero on the logarithmic scale
LARGEST_EXPONENT = 700.0
NODES = 64  # of each of the two integrals over the error of a bound
STEPS = 40

Window = tuple[int, int]  # breaches, of


@dataclass(frozen=True)
class Spread:
    """The centre and spread of a value on quiet ticks, on the scale of its kind.

    centres: by season (weekday, or hour of the day); only one if seasons do not matter. sd: of one tick around its centre;
    uncertain: the standard error of the centre; both have `degrees` of freedom. off: the distance of each tick from its centre,
    in order of time.
    """

    centres: tuple[float, ...]
    sd: float
    uncertain: float
    degrees: int
    off: tuple[float, ...] = ()


def learn(what: str, values: Sequence[float | None], seasons: Sequence[int] = (), of: int = 1) -> Spread | None:
    """The spread of one watched value over the reference's ticks.

    None if too few of them have it. By season (weekday, or hour of the day), each season's mean is shrunk towards the overall
    mean, the more the spread within seasons explains their differences (James and Stein, 1961, in the empirical Bayes form). If
    seasons differ only by chance, or if one has too few ticks, all ticks have the same centre.

    seasons: of each tick, from 0 on; none if they do not matter. of: how many there are.
    """
    known = seasons or [0] * len(values)
    kept = [(season, to_scale(what, value)) for season, value in zip(known, values, strict=True) if value is not None]
    if len(kept) < FEWEST_TICKS:
        return None
    x, season = np.array([value for _, value in kept]), np.array([one for one, _ in kept])
    if of > 1 and seasons and np.bincount(season, minlength=of).min() >= FEWEST_OF_A_SEASON:
        return _centre_by_season(x, season, of)
    return _one_centre(x)


def limits(
    what: str, spread: Spread, season: int, *, tail: float, windows: Sequence[Window] = ((1, 1),), k: float | None = None
) -> tuple[float | None, float | None]:
    """The learned bounds, low and high, in the kind's unit.

    None on a side that is not worse. With `k`: centre +- k standard deviations. Otherwise the prediction interval that a
    further normal value leaves with probability `tail`, split between both sides if both are bad: centre +- t sqrt(sd^2 +
    error^2) (Hahn, 1969). It is at least wide enough that no rule fires on the reference itself, whose values may have long
    tails and resemble their neighbours. windows: for each rule, how many breaches of how many ticks. Clamped to the possible
    values.
    """
    worse = KINDS[what].worse
    centre = spread.centres[season if len(spread.centres) > 1 else 0]
    if k is None:
        one_side = tail / 2 if worse == "either" else tail
        reach = _student_quantile(one_side, spread.degrees) * math.hypot(spread.sd, spread.uncertain)
        below = max(reach, *(_bound_without_alarm([-x for x in spread.off], *window) for window in windows))
        above = max(reach, *(_bound_without_alarm(spread.off, *window) for window in windows))
    else:
        below = above = k * spread.sd
    slack = ROUNDING * max(1.0, abs(centre))  # so that rounding does not put the reference's own values outside
    below, above = below + slack, above + slack
    low = None if worse == "higher" else _from_scale(what, centre - below)
    high = None if worse == "lower" else _from_scale(what, centre + above)
    return low, high


def forecast(spread: Spread, ahead: int) -> Spread:
    """The spread of a series `ahead` ticks after the last one from which it was learned, if neighbouring ticks are alike.

    The distance from the centre is an autoregression of order one. Its coefficient is corrected for its bias in short series
    (Kendall, Biometrika 41, 1954), and larger by its standard error, since too small a one makes bounds too tight. It lies
    between 0, where ticks are independent, and 1, a random walk, whose spread grows with the square root of `ahead` (Box and
    Jenkins, 1970, chapter 5).
    """
    off = np.asarray(spread.off)
    n, around = len(off), float(np.sum(off[:-1] ** 2)) if len(off) else 0.0
    if n < FEWEST_TICKS or around == 0:
        return spread
    raw = float(np.sum(off[1:] * off[:-1])) / around
    unsure = math.sqrt(max(0.0, 1 - raw**2) / n)
    like = min(1.0, max(0.0, raw + (1 + 3 * raw) / n + unsure))
    steps = off[1:] - like * off[:-1]
    step = math.sqrt(float(np.sum(steps**2)) / max(1, n - 2))
    grown = float(np.sum(like ** (2 * np.arange(max(1, ahead)))))
    moved = like ** max(1, ahead) * float(off[-1])
    centres = tuple(centre + moved for centre in spread.centres)
    return Spread(centres, step * math.sqrt(grown), spread.uncertain * (1 - like), spread.degrees, spread.off)


def windows(pipeline: Pipeline, what: str) -> tuple[Window, ...]:
    """For each rule on `what`, how many breaches of how many ticks it needs.

    (1, 1) without a rule.
    """
    needed = {(one.breaches, one.of) for rule in pipeline.rules for one in rule.conditions if one.watch == what}
    return tuple(sorted(needed)) or ((1, 1),)


def tail(pipeline: Pipeline, what: str, slices: int, ticks: int) -> float:
    """How often one slice of `what` may leave its learned bound on a quiet tick.

    Together, all slices keep to Monitoring.false_alarms. The allowed false alarms of a month are split among all rules with a
    learned watch, and those of a rule among its slices; this holds under any dependence (Bonferroni). ticks: those of the
    reference, from which the bound is learned.
    """
    learned = {watch.what for watch in pipeline.watches if watch.learned is not None}
    rules = [rule for rule in pipeline.rules if any(one.watch in learned for one in rule.conditions)]
    ticks_a_month = max(TICKS_A_MONTH, timedelta(days=TICKS_A_MONTH) / pipeline.schedule.shortest)
    share = min(0.5, pipeline.monitoring.false_alarms / ticks_a_month / max(1, len(rules)))
    return min(_tail_per_slice(share, max(1, slices), max(FEWEST_TICKS, ticks), *window) for window in windows(pipeline, what))


@cache
def _tail_per_slice(share: float, slices: int, ticks: int, breaches: int, of: int) -> float:
    """The tail probability per slice at which a rule fires with probability `share`.

    A rule fires if `breaches` of `of` ticks are breached. All ticks share one bound and its error: if it is too tight, breaches
    come together. So the binomial probability is averaged over the possible means and standard deviations estimated from a
    normal reference.
    """
    from scipy.special import bdtrc, chdtri, ndtr, ndtri, stdtrit

    if breaches == 1 and of == 1:
        return share / slices
    middles = (np.arange(NODES) + 0.5) / NODES
    mean = ndtri(middles)[:, None] / math.sqrt(ticks)
    sd = np.sqrt(chdtri(ticks - 1, middles) / (ticks - 1))[None, :]

    def fires(one: float) -> float:
        bound = mean - stdtrit(ticks - 1, one) * sd * math.sqrt(1 + 1 / ticks)
        return float(np.mean(bdtrc(breaches - 1, of, np.minimum(1.0, slices * ndtr(-bound)))))

    low, high = math.log(share / slices / of), math.log(0.5)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fires(math.exp(middle)) < share else (low, middle)
    return math.exp(low)


def _bound_without_alarm(off: Sequence[float], breaches: int, of: int) -> float:
    """The smallest bound that no `of` consecutive ticks exceed `breaches` times."""
    return max(sorted(off[at : at + of], reverse=True)[:breaches][-1] for at in range(max(1, len(off) - of + 1)))


def _one_centre(x: NDArray[np.float64]) -> Spread:
    centre, sd = float(np.mean(x)), float(np.std(x, ddof=1))
    return Spread((centre,), sd, sd / math.sqrt(len(x)), len(x) - 1, tuple(map(float, x - centre)))


def _centre_by_season(x: NDArray[np.float64], season: NDArray[np.int64], of: int) -> Spread:
    number = np.bincount(season, minlength=of)
    means = np.bincount(season, x, minlength=of) / number
    degrees = len(x) - of
    within = float(np.sum((x - means[season]) ** 2)) / degrees
    overall = float(np.mean(x))
    between = max(0.0, float(np.var(means, ddof=1)) - within * float(np.mean(1 / number)))
    if between == 0:  # seasons differ only by chance: one centre for all
        return _one_centre(x)
    weight = between / (between + within / number)
    centres = overall + weight * (means - overall)
    error = within / number * weight + within / len(x) * (1 - weight)
    return Spread(
        tuple(map(float, centres)),
        math.sqrt(within),
        math.sqrt(float(np.max(error))),
        degrees,
        tuple(map(float, x - centres[season])),
    )


def _student_quantile(one_side: float, degrees: int) -> float:
    """The quantile of Student's t that is exceeded with probability `one_side`."""
    from scipy.special import stdtrit

    return float(-stdtrit(degrees, one_side))


def to_scale(what: str, value: float) -> float:
    """A value on the scale of its kind, on which quiet ticks spread roughly symmetrically."""
    if what in ROOT:
        return math.sqrt(max(0.0, value))
    return math.log(max(value, SMALLEST)) if what in LOG else value


def _from_scale(what: str, x: float) -> float:
    if what in LOG:
        return math.exp(min(x, LARGEST_EXPONENT))
    value = max(0.0, x) ** 2 if what in ROOT else x
    most = 1.0 if what in SHARES else math.inf
    least = 0.0 if what not in BELOW_ZERO else -most
    return min(max(value, least), most)
