"""Find where in the test window the model is worse: slices that the declaration names, and the worst that a search finds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan, sqrt
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline, WorstSlice
from mlprod_tasks.evaluation.results import Slice, Slices
from mlprod_tasks.evaluation.slice_bins import Binned, binned
from mlprod_tasks.statistics import auc_interval
from mlprod_tasks.statistics.metrics import Estimate, log_losses

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

LEAST_ROWS = 100  # where no gate says otherwise
SHOWN = 5  # of the worst by log loss, and of the worst by calibration
FEWEST_TICKS = 6  # of the window, to be parted by ticks
ALIKE = 0.8  # rows that two slices share, of those that either holds
PAIRED = 64  # features whose pairs are searched: those with the worst single slices
# The chance that any slice is listed though none is worse: shared among all that are measured (Bonferroni).
MISTAKEN = 0.05


@dataclass(frozen=True)
class _Window:
    """The rows of the window: (n,) each. loss: log loss; off: outcome minus score; worth: of the decision."""

    outcome: Bools
    score: Floats
    loss: Floats
    off: Floats
    worth: Floats

    def take(self, rows: NDArray) -> _Window:
        return _Window(*(each[rows] for each in (self.outcome, self.score, self.loss, self.off, self.worth)))


@dataclass(frozen=True)
class _Codes:
    """A feature's bins with enough rows: of each row the position in `bins`, len(bins) where it lies in another one."""

    of_rows: Ints
    bins: Ints

    @property
    def size(self) -> int:
        return len(self.bins) + 1


@dataclass(frozen=True)
class _Found:
    """Conditions, as (feature's position, position in its bins) each, and how much worse than the rest (see `_effects`)."""

    conditions: tuple[tuple[int, int], ...]
    effect: float


def slices(pipeline: Pipeline, rows: pa.Table, outcome: Bools, score: Floats, worth: Floats, seed: int = 0) -> Slices:
    """Measure the declared slices on all rows, and the worst that a search over all features finds.

    rows: (n,) with the features and, if it has one, the tick; outcome, score, worth of the decision: (n,). Slices of fewer rows
    than `least_rows`, or with outcomes of one class only, are left out.

    The search (in the manner of SliceFinder: Chung et al., ICDE 2019) looks at every bin of every feature and every pair of
    bins, on a random half of the window, for those whose log loss is farthest above the rest's, or whose scores are off by more
    than the rest's: by the lower end of the 95 % interval of the effect size (difference of means over the standard deviation
    of a row), so that neither the smallest nor the largest slices are favoured. What it finds is measured on the other half,
    and listed only if it is worse there too: else the worst of thousands would be noise. A slice that is hard to tell is worse
    by log loss also where the model does its best; its `calibration` says whether the scores are off.
    """
    window = _Window(outcome, score, log_losses(outcome.astype(np.float64), score), outcome - score, worth)
    least = least_rows(pipeline)
    kept: list[Slice] = []
    left_out = 0
    for feature in (binned(name, rows[name]) for name in pipeline.slices):
        held = np.bincount(feature.codes, minlength=len(feature.told))
        for i, told in enumerate(feature.told):
            made = _measured(told, "declared", window.take(feature.codes == i), least) if held[i] >= least else None
            kept += [made] if made else []
            left_out += made is None
    features = [binned(name, rows[name]) for name in pipeline.feature_names]
    kept += _searched(features, window, _half(rows, seed), least)
    return Slices(least, left_out, tuple(kept))


def least_rows(pipeline: Pipeline) -> int:
    """The rows from which on a slice counts: as gates on the worst slice declare it, so that just those are searched."""
    return min((gate.least_rows for gate in pipeline.gates if isinstance(gate, WorstSlice)), default=LEAST_ROWS)


def _searched(features: Sequence[Binned], window: _Window, first: Bools, least: int) -> list[Slice]:
    if len(window.outcome) < 2 * least:
        return []
    here = window.take(first)
    codes = [_frequent(feature.codes[first], least) for feature in features]
    chosen: dict[tuple[tuple[int, int], ...], None] = {}
    for values, two_sided in ((here.loss, False), (here.off, True)):
        for found in _worst(codes, values, two_sided, least):
            chosen.setdefault(tuple((at, int(codes[at].bins[which])) for at, which in found.conditions))
    there = window.take(~first)
    kept = []
    for conditions in chosen:
        inside = np.logical_and.reduce([features[at].codes[~first] == which for at, which in conditions])
        if not _still_worse(there, inside, MISTAKEN / len(chosen), least):
            continue
        told = " and ".join(features[at].told[which] for at, which in conditions)
        if made := _measured(told, "searched", there.take(inside), least):
            kept.append(made)
    return kept


def _half(rows: pa.Table, seed: int) -> Bools:
    """A random half, (n,): of the ticks where there are enough, for rows of one day share its weather; else of the rows."""
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
    """Only the bins with enough rows: a text may have thousands of others."""
    bins = np.flatnonzero(np.bincount(codes) >= least)
    place = np.full(int(codes.max()) + 1, len(bins))
    place[bins] = np.arange(len(bins))
    return _Codes(place[codes], bins)


def _worst(codes: Sequence[_Codes], values: Floats, two_sided: bool, least: int) -> list[_Found]:
    """The SHOWN slices whose mean of `values` lies farthest above the rest's, or to either side, the farthest first.

    A pair is passed over where one of its conditions alone is as bad; so is what holds much the same rows as one before it.
    """
    single = [_effects(one.of_rows, one.size, len(one.bins), values, two_sided, least) for one in codes]
    candidates = [
        _Found(((at, int(which)),), float(effects[which]))
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
                candidates.append(_Found(((a, i), (b, j)), float(effects[at])))
    kept: list[_Found] = []
    seen: list[Bools] = []
    for found in sorted(candidates, key=lambda found: (-found.effect, len(found.conditions), found.conditions)):
        inside = np.logical_and.reduce([codes[at].of_rows == which for at, which in found.conditions])
        alike = any((inside & other).sum() > ALIKE * (inside | other).sum() for other in seen)
        if alike or any(set(other.conditions) < set(found.conditions) for other in kept):
            continue
        kept.append(found)
        seen.append(inside)
        if len(kept) == SHOWN:
            break
    return kept


def _effects(codes: Ints, size: int, wanted: int, values: Floats, two_sided: bool, least: int) -> Floats:
    """How far each code's mean of `values` surely lies above the rest's, (wanted,), in standard deviations; 0 or less if not.

    two_sided: or below it, where it is also farther from 0.
    codes: (n,) below `size`, of which the first `wanted` are asked for. -inf for a code of fewer than `least` rows.
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
    """Whether, on these rows, its log loss is above the rest's or its scores are off by more, with that chance of a mistake.

    Both by Welch's test of two means.
    """
    from scipy.stats import ttest_ind

    if inside.sum() < least or inside.all():
        return False
    loss, rest = window.loss[inside], window.loss[~inside]
    off, off_rest = window.off[inside], window.off[~inside]
    half = mistaken / 2  # for either
    worse = ttest_ind(loss, rest, equal_var=False, alternative="greater").pvalue < half
    farther = abs(off.mean()) > abs(off_rest.mean())
    return bool(worse or (farther and ttest_ind(off, off_rest, equal_var=False).pvalue < half))


def _measured(name: str, found: Literal["declared", "searched"], window: _Window, least: int) -> Slice | None:
    """The slice's metrics with normal intervals, ROC AUC's by DeLong; None where it is too small."""
    rows, positives = len(window.outcome), int(window.outcome.sum())
    if rows < least or positives in (0, rows):
        return None
    area = auc_interval.area(window.outcome, window.score)
    metrics = {
        "roc_auc": Estimate(area.value, area.low, area.high),
        "log_loss": _mean(window.loss),
        "calibration": _mean(window.off),
        "value_per_1000": _mean(1000 * window.worth),
    }
    return Slice(name, found, rows, positives, metrics)


def _mean(values: Floats) -> Estimate:
    mean = float(values.mean())
    half = auc_interval.Z * float(values.std(ddof=1)) / sqrt(len(values)) if len(values) > 1 else nan
    return Estimate(mean, mean - half, mean + half)
