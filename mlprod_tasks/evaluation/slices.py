"""Find where the model is worse: measure declared slices and search for the worst."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline, WorstSlice
from mlprod_tasks.evaluation.results import Slice, Slices, outcomes_in_numbers
from mlprod_tasks.evaluation.slice_bins import Binned, binned
from mlprod_tasks.models.feature_frame import ticks_of
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import PredictionTask, task_of_outcomes
from mlprod_tasks.models.tasks.protocol import Outcomes
from mlprod_tasks.statistics import auc_interval
from mlprod_tasks.statistics.resamples import Ticks, enough_ticks

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

LEAST_ROWS = 100  # unless a gate declares another number
SHOWN = 5  # of the worst by log loss, and of the worst by calibration
FEWEST_TICKS = 6  # in a window that is split by ticks
ALIKE = 0.8  # two slices are alike if they share this part of the rows in either
PAIRED = 64  # features whose pairs are searched, those with the worst single slices
# The probability of listing any slice if none is worse; divided among all tested slices (Bonferroni).
MISTAKEN = 0.05


@dataclass(frozen=True)
class _Window:
    """The rows of the window, (n,) each.

    loss: of the task; off: outcome minus score; worth: value of the decision; ticks: the place of each row's tick,
    all 0 if there are none.
    """

    task: PredictionTask
    outcome: Outcomes
    score: Floats
    loss: Floats
    off: Floats
    worth: Floats
    ticks: Ticks

    def take(self, rows: NDArray) -> _Window:
        every = (self.outcome, self.score, self.loss, self.off, self.worth, self.ticks)
        return _Window(self.task, *(each[rows] for each in every))


@dataclass(frozen=True)
class _Codes:
    """A feature's bins with enough rows. of_rows: each row's position in `bins`; len(bins) for all other bins."""

    of_rows: Ints
    bins: Ints

    @property
    def size(self) -> int:
        return len(self.bins) + 1


@dataclass(frozen=True)
class _Candidate:
    """Conditions, each as (position of the feature, position in its bins), and the effect size (see `_effects`)."""

    conditions: tuple[tuple[int, int], ...]
    effect: float


def slices(pipeline: Pipeline, rows: Rows, outcome: Outcomes, score: Floats, worth: Floats, seed: int = 0) -> Slices:
    """Measure the declared slices and search for the worst ones over all features.

    rows: (n,) with the features and, if it has one, the tick; outcome, score, worth of the decision: (n,). Slices with fewer
    rows than `least_rows`, or with outcomes of one class only, are left out.

    The search (like SliceFinder: Chung et al., ICDE 2019) goes through every bin of every feature and every pair of bins, on a
    random half of the window. It ranks them by how far the loss (log loss; of numbers the absolute error), or the error of
    calibration (of numbers the bias), exceeds that of the other rows: by the lower end of the 95 % interval of the effect size
    (difference of means over the standard deviation of a row), which favours neither small nor large slices. The worst are
    measured on the other half and listed only if they are worse there too, as the worst of thousands may be noise; rows of one
    tick count as alike, if there are enough ticks. A slice with unpredictable outcomes has a high log loss even with the best
    possible model; its `calibration` says whether the scores are wrong.
    """
    task = task_of_outcomes(outcome)
    ticks = ticks_of(rows)
    places = np.zeros(len(outcome), np.int64) if ticks is None else ticks
    window = _Window(task, outcome, score, task.row_losses(outcome, score), task.off(outcome, score), worth, places)
    least = least_rows(pipeline)
    measured: list[Slice] = []
    left_out = 0
    for feature in (binned(name, rows[name]) for name in pipeline.slices):
        counts = np.bincount(feature.codes, minlength=len(feature.conditions))
        for i, condition in enumerate(feature.conditions):
            one = _measure(condition, "declared", window.take(feature.codes == i), least) if counts[i] >= least else None
            measured += [one] if one else []
            left_out += one is None
    features = [binned(name, rows[name]) for name in pipeline.feature_names]
    measured += _search(features, window, _half(rows, seed), least)
    return Slices(least, left_out, tuple(measured))


def least_rows(pipeline: Pipeline) -> int:
    """Return the least rows of a slice: the smallest number in a gate on the worst slice."""
    return min((gate.least_rows for gate in pipeline.gates if isinstance(gate, WorstSlice)), default=LEAST_ROWS)


def _search(features: Sequence[Binned], window: _Window, first: Bools, least: int) -> list[Slice]:
    if len(window.outcome) < 2 * least:
        return []
    searched = window.take(first)
    codes = [_frequent(feature.codes[first], least) for feature in features]
    chosen: dict[tuple[tuple[int, int], ...], None] = {}
    for values, two_sided in ((searched.loss, False), (searched.off, True)):
        for candidate in _worst(codes, values, two_sided, least):
            chosen.setdefault(tuple((at, int(codes[at].bins[which])) for at, which in candidate.conditions))
    other = window.take(~first)
    confirmed = []
    for conditions in chosen:
        inside = np.logical_and.reduce([features[at].codes[~first] == which for at, which in conditions])
        if not _still_worse(other, inside, MISTAKEN / len(chosen), least):
            continue
        name = " and ".join(features[at].conditions[which] for at, which in conditions)
        if one := _measure(name, "searched", other.take(inside), least):
            confirmed.append(one)
    return confirmed


def _half(rows: Rows, seed: int) -> Bools:
    """Choose a random half, (n,): of the ticks if there are enough, as rows of one day are related; else of the rows."""
    random, n = np.random.default_rng(seed), rows.num_rows
    if "tick" in rows.column_names:
        ticks = rows["tick"].combine_chunks().dictionary_encode()
        count = len(ticks.dictionary)
        if count >= FEWEST_TICKS:
            return np.isin(ticks.indices.to_numpy(), random.permutation(count)[: count // 2])
    first = np.zeros(n, bool)
    first[random.permutation(n)[: n // 2]] = True
    return first


def _frequent(codes: NDArray[np.int32], least: int) -> _Codes:
    """Keep only the bins with enough rows: a text may have thousands of others."""
    bins = np.flatnonzero(np.bincount(codes) >= least)
    place = np.full(int(codes.max()) + 1, len(bins))
    place[bins] = np.arange(len(bins))
    return _Codes(place[codes], bins)


def _worst(codes: Sequence[_Codes], values: Floats, two_sided: bool, least: int) -> list[_Candidate]:
    """Return the SHOWN slices with the largest effects on the mean of `values`, largest first.

    Skipped are pairs that are no worse than one of their conditions alone, and slices with nearly the same rows as an earlier
    one.
    """
    single = [_effects(one.of_rows, one.size, len(one.bins), values, two_sided, least) for one in codes]
    candidates = [
        _Candidate(((at, int(which)),), float(effects[which]))
        for at, effects in enumerate(single)
        for which in np.flatnonzero(effects > 0)
    ]
    best = sorted(range(len(codes)), key=lambda at: -max(single[at], default=-np.inf))[:PAIRED]
    for a, b in combinations(sorted(best), 2):
        one, other = codes[a], codes[b]
        joint = one.of_rows * other.size + other.of_rows
        effects = _effects(joint, one.size * other.size, one.size * other.size, values, two_sided, least)
        for at in np.flatnonzero(effects > 0):
            i, j = divmod(int(at), other.size)
            if i < len(one.bins) and j < len(other.bins) and effects[at] > max(single[a][i], single[b][j]):
                candidates.append(_Candidate(((a, i), (b, j)), float(effects[at])))
    kept: list[_Candidate] = []
    rows_of_kept: list[Bools] = []
    for candidate in sorted(candidates, key=lambda one: (-one.effect, len(one.conditions), one.conditions)):
        inside = np.logical_and.reduce([codes[at].of_rows == which for at, which in candidate.conditions])
        alike = any((inside & other).sum() > ALIKE * (inside | other).sum() for other in rows_of_kept)
        if alike or any(set(other.conditions) < set(candidate.conditions) for other in kept):
            continue
        kept.append(candidate)
        rows_of_kept.append(inside)
        if len(kept) == SHOWN:
            break
    return kept


def _effects(codes: Ints, size: int, wanted: int, values: Floats, two_sided: bool, least: int) -> Floats:
    """Return the effect size of each code: how far its mean of `values` is significantly above that of all other rows.

    (wanted,), in standard deviations, the lower end of the interval: 0 or less if not significant, -inf for a code with fewer
    than `least` rows. two_sided: also count means below the others', if farther from 0. codes: (n,), below `size`; effects are
    returned for the first `wanted` codes.
    """
    n, total, squares = len(values), float(values.sum()), float(values @ values)
    rows = np.bincount(codes, minlength=size)[:wanted].astype(np.float64)
    sums = np.bincount(codes, values, minlength=size)[:wanted]
    squared = np.bincount(codes, values * values, minlength=size)[:wanted]
    with np.errstate(invalid="ignore", divide="ignore"):
        inside, outside = sums / rows, (total - sums) / (n - rows)
        spread = (squared / rows - inside**2).clip(0), ((squares - squared) / (n - rows) - outside**2).clip(0)
        difference = inside - outside
        sure = np.abs(difference) if two_sided else difference
        if two_sided:
            sure = np.where(np.abs(inside) > np.abs(outside), sure, np.nan)
        effect = (sure - auc_interval.Z * np.sqrt(spread[0] / rows + spread[1] / (n - rows))) / np.sqrt(
            (spread[0] + spread[1]) / 2
        )
    return np.where((rows >= least) & (n - rows >= 2) & np.isfinite(effect), effect, -np.inf)


def _still_worse(window: _Window, inside: Bools, mistaken: float, least: int) -> bool:
    """Test whether the slice has a higher log loss, or a larger error of calibration, than the other rows.

    Both by a test of two means. mistaken: the probability of a false positive.
    """
    if inside.sum() < least or inside.all():
        return False
    off, off_rest = window.off[inside].mean(), window.off[~inside].mean()
    ticks = enough_ticks(window.ticks)
    half = mistaken / 2  # for each test
    worse = _p_above(window.loss, inside, ticks) < half
    farther = abs(off) > abs(off_rest)
    return bool(worse or (farther and _p_above(window.off if off > off_rest else -window.off, inside, ticks) < half / 2))


def _p_above(values: Floats, inside: Bools, ticks: Ticks | None) -> float:
    """Return the one-sided p-value for a mean of the rows inside that is not above that of the others.

    By Welch's test; with ticks by Student's, of what each tick adds to the difference. What moves all rows of a tick alike is
    not in it, so that neighbouring ticks need not go together.
    """
    from scipy.special import stdtr
    from scipy.stats import ttest_ind

    if ticks is None:
        return float(ttest_ind(values[inside], values[~inside], equal_var=False, alternative="greater").pvalue)
    means = values[inside].mean(), values[~inside].mean()
    parts = np.where(inside, (values - means[0]) / inside.sum(), -(values - means[1]) / (~inside).sum())
    of_ticks = np.bincount(ticks, parts)
    degrees = len(of_ticks) - 1
    error = float(np.sqrt(of_ticks @ of_ticks * len(of_ticks) / degrees))
    return float(stdtr(degrees, -(means[0] - means[1]) / error)) if error > 0 else float(means[0] <= means[1])


def _measure(name: str, found: Literal["declared", "searched"], window: _Window, least: int) -> Slice | None:
    """Measure the slice's metrics; None if it is too small, or they are undefined for its outcomes."""
    rows = len(window.outcome)
    metrics = (
        window.task.slice_metrics(window.outcome, window.score, window.worth, enough_ticks(window.ticks))
        if rows >= least
        else {}
    )
    if not metrics:
        return None
    positives, mean, classes = outcomes_in_numbers(window.outcome)
    return Slice(name, found, rows, positives, metrics, mean, classes)
