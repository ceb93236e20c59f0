"""What a model goes by: shuffled features, its own contributions, partial dependence. On samples, so that time is bounded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration import AsOf, Lookup, Pipeline, Trailing
from mlprod_tasks.declaration.feature import Feature, names_of
from mlprod_tasks.models.feature_frame import Predictions, outcome_of

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHUFFLES = 3
PREDICTIONS = 200_000  # of all shuffles together: bounds time
LEAST_ROWS, MOST_ROWS = 500, 4000  # scored for each shuffle
CONTRIBUTION_ROWS, DEPENDENCE_ROWS = 1000, 300
DEPENDENCES, GRID, CATEGORIES = 6, 20, 12
Z = 1.959964  # 95 % of a normal distribution lie within +- Z


class Predicting(Protocol):
    """A model, as far as it is asked here."""

    @property
    def feature_names(self) -> tuple[str, ...]: ...
    @property
    def importance(self) -> Mapping[str, float] | None: ...
    def predict(self, features: Any) -> Predictions: ...
    def contributions(self, features: Any) -> Floats | None: ...


@dataclass(frozen=True)
class Shuffled:
    """AUC that is lost when features get the values of other rows: mean over shuffles, 95 % interval over rows (DeLong)."""

    name: str
    features: tuple[str, ...]
    drop: float
    low: float
    high: float


@dataclass(frozen=True)
class Contributions:
    """What each feature adds to each row's log-odds, before calibration. values: (rows, features).

    standing: (rows, features), where the row's own value stands among all rows, 0 lowest to 1 highest; NaN where it is
    missing or a category.
    """

    names: tuple[str, ...]
    values: Floats
    standing: Floats

    @property
    def mean_size(self) -> dict[str, float]:
        """Mean absolute contribution of each feature, greatest first."""
        sizes = dict(zip(self.names, np.abs(self.values).mean(axis=0).tolist(), strict=True))
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Dependence:
    """The mean score if every row had a value of the feature, for each value of a grid, and how it spreads over rows.

    values: numbers, ascending, or categories, most frequent first. mean: (grid,). each: (rows, grid) scores of single rows.
    share: (grid,) of the window's rows with the category; None for numbers. seen: deciles of the numbers; empty for categories.
    """

    name: str
    values: tuple[Any, ...]
    mean: Floats
    each: Floats
    share: Floats | None
    seen: tuple[float, ...]

    @property
    def categorical(self) -> bool:
        return self.share is not None


@dataclass(frozen=True)
class Importance:
    """Everything that is known of what a model goes by. None: the learner has none of its own."""

    gain: Mapping[str, float] | None
    features: tuple[Shuffled, ...]
    groups: tuple[Shuffled, ...]
    contributions: Contributions | None
    dependence: tuple[Dependence, ...]
    rows: int  # scored for each shuffle
    positives: int

    @property
    def order(self) -> tuple[str, ...]:
        """Features, those that matter most first."""
        return tuple(one.name for one in self.features)


def measure(model: Predicting, rows: pa.Table, pipeline: Pipeline) -> Importance:
    """Ask the model on a seeded sample of labelled rows. rows: the features and `label`, of both classes."""
    random = np.random.default_rng(pipeline.model.seed)
    names = [name for name in model.feature_names if name in rows.column_names]
    groups = {called: there for called, there in groups_of(pipeline).items() if set(there) <= set(names)}
    outcome = outcome_of(rows)
    tasks = [*((name, (name,)) for name in names), *((called, there) for called, there in groups.items() if len(there) > 1)]
    wanted = int(np.clip(PREDICTIONS // (SHUFFLES * len(tasks)), LEAST_ROWS, MOST_ROWS))
    scored, donors = draw(outcome, wanted, SHUFFLES, random)
    log.info("importance: %d shuffles of %d features and groups, %d rows each", SHUFFLES, len(tasks), len(scored))
    lenders = [rows.take(at) for at in donors]
    lost = drops(lambda table: model.predict(table).score, rows.take(scored), outcome[scored], tasks, lenders)
    of = {one.features: one for one in lost}
    alone = _ranked(of[(name,)] for name in names)
    seen = rows.take(np.sort(random.permutation(rows.num_rows)[:CONTRIBUTION_ROWS]))
    few = seen.take(np.sort(random.permutation(seen.num_rows)[:DEPENDENCE_ROWS]))
    return Importance(
        gain=model.importance or None,
        features=alone,
        groups=_ranked(replace(of[there], name=called) for called, there in groups.items()),
        contributions=contributions(model, seen, pipeline.model.categorical),
        dependence=tuple(
            dependence(lambda table: model.predict(table).score, few, rows, one.name, one.name in pipeline.model.categorical)
            for one in alone[:DEPENDENCES]
        ),
        rows=len(scored),
        positives=int(outcome[scored].sum()),
    )


def groups_of(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """The features that one declared thing adds, by what it is called: they come and go together."""
    made: dict[str, tuple[str, ...]] = {}
    for feature in pipeline.features:
        called = _called(feature)
        while called in made:
            called += " (again)"
        made[called] = names_of(feature)
    return made


def draw(outcome: Bools, wanted: int, shuffles: int, random: np.random.Generator) -> tuple[NDArray, list[NDArray]]:
    """Which rows to score, and for each shuffle the rows that lend them their values.

    The lenders are drawn from all rows; those scored are half positives where there are enough, which AUC does not depend on.
    Where all rows are wanted, a shuffle is a permutation of them.
    """
    n = len(outcome)
    if n <= wanted:
        return np.arange(n), [random.permutation(n) for _ in range(shuffles)]
    positive, negative = (random.permutation(np.flatnonzero(which)) for which in (outcome, ~outcome))
    positives = int(np.clip(wanted // 2, wanted - len(negative), len(positive)))
    scored = np.sort(np.concatenate((positive[:positives], negative[: wanted - positives])))
    return scored, [random.permutation(n)[:wanted] for _ in range(shuffles)]


def drops(
    score: Callable[[pa.Table], Floats],
    rows: pa.Table,
    outcome: Bools,
    tasks: Sequence[tuple[str, tuple[str, ...]]],
    lenders: Sequence[pa.Table],
) -> list[Shuffled]:
    """For each named group of features the AUC lost when they are taken, together, from `lenders` of as many rows.

    Permutation importance (Breiman, 2001). Interval: variance of paired structural components (DeLong, DeLong and
    Clarke-Pearson, 1988), averaged over the shuffles.
    """
    before = _components(outcome, score(rows))
    repeated = pa.concat_tables([rows] * len(lenders))
    lent = pa.concat_tables(list(lenders))
    made = []
    for name, features in tasks:
        changed = repeated
        for feature in features:
            changed = changed.set_column(changed.column_names.index(feature), feature, lent[feature])
        scores = score(changed).reshape(len(lenders), len(outcome))
        after = [_components(outcome, one) for one in scores]
        lost = [np.mean([before[side] - one[side] for one in after], axis=0) for side in (0, 1)]
        drop = float(lost[0].mean())
        spread = Z * float(np.sqrt(sum(side.var(ddof=1) / len(side) for side in lost))) if min(map(len, lost)) > 1 else np.nan
        made.append(Shuffled(name, features, drop, drop - spread, drop + spread))
    return made


def contributions(model: Predicting, rows: pa.Table, categorical: Collection[str]) -> Contributions | None:
    """The model's own contributions (for boosted trees: exact SHAP values; Lundberg et al., 2020); None where it has none."""
    made = model.contributions(rows)
    if made is None:
        return None
    from scipy.stats import rankdata

    names = model.feature_names
    standing = np.full((rows.num_rows, len(names)), np.nan)
    for i, name in enumerate(names):
        if name in categorical or not _is_number(rows.schema.field(name).type):
            continue
        values = _numbers(rows[name])
        there = np.isfinite(values)
        if there.sum() > 1:
            standing[there, i] = (rankdata(values[there]) - 0.5) / there.sum()
    return Contributions(names, np.asarray(made[:, : len(names)], np.float64), standing)


def dependence(
    score: Callable[[pa.Table], Floats], rows: pa.Table, window: pa.Table, name: str, categorical: bool = False
) -> Dependence:
    """Partial dependence by brute force (Friedman, 2001, section 8.2) over `rows`, on a grid of the window's values."""
    column = window[name]
    kind = window.schema.field(name).type
    share: Floats | None = None
    seen: tuple[float, ...] = ()
    if categorical or not _is_number(kind):
        counted = sorted(pc.value_counts(column.drop_null()).to_pylist(), key=lambda one: (-one["counts"], str(one["values"])))
        grid = [one["values"] for one in counted[:CATEGORIES]]
        share = np.array([one["counts"] / max(1, len(column)) for one in counted[:CATEGORIES]])
    else:
        there = _numbers(column)
        there = there[np.isfinite(there)]
        grid = _grid(there, pa.types.is_integer(kind) or pa.types.is_boolean(kind))
        seen = tuple(np.quantile(there, np.linspace(0.1, 0.9, 9)).tolist()) if len(there) else ()
    if not grid:
        return Dependence(name, (), np.empty(0), np.empty((rows.num_rows, 0)), share, ())
    repeated = pa.concat_tables([rows] * len(grid))
    at = np.repeat(np.arange(len(grid)), rows.num_rows)
    values = pa.array(grid, kind if categorical or not _is_number(kind) else pa.float64()).take(pa.array(at))
    each = score(repeated.set_column(repeated.column_names.index(name), name, values)).reshape(len(grid), rows.num_rows).T
    return Dependence(name, tuple(grid), each.mean(axis=0), each, share, seen)


def _grid(there: Floats, whole: bool) -> list[float]:
    """All values where they are few, else an even grid between the 5th and the 95th percentile."""
    distinct = np.unique(there)
    if len(distinct) <= GRID:
        return [float(one) for one in distinct]
    low, high = np.quantile(there, [0.05, 0.95])
    even = np.linspace(float(low), float(high), GRID)
    return [float(one) for one in np.unique(np.rint(even) if whole else even)]


def _components(outcome: Bools, score: Floats) -> tuple[Floats, Floats]:
    """Each positive's share of negatives below it, each negative's share of positives above it; ties count half."""
    from scipy.stats import rankdata

    positive, negative = score[outcome], score[~outcome]
    together = rankdata(np.concatenate((positive, negative)))
    above = (together[: len(positive)] - rankdata(positive)) / len(negative)
    below = 1 - (together[len(positive) :] - rankdata(negative)) / len(positive)
    return above, below


def _ranked(lost: Iterable[Shuffled]) -> tuple[Shuffled, ...]:
    return tuple(sorted(lost, key=lambda one: (-one.drop, one.name)))


def _called(feature: Feature) -> str:
    match feature:
        case Lookup():
            return f"{feature.table} (look-up)"
        case AsOf():
            return f"{feature.table} (as of)"
        case Trailing():
            return f"{feature.name} (trailing)"
    return feature.name


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(is_one(kind) for is_one in tests)


def _numbers(column: pa.ChunkedArray) -> Floats:
    plain = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return np.asarray(plain.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
