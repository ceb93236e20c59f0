"""What a model relies on: shuffled features, contributions, partial dependence.

All are measured on samples, to bound the time.
"""

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
from mlprod_tasks.models.class_rule import ClassRule
from mlprod_tasks.models.feature_frame import Predictions, outcome_of
from mlprod_tasks.models.learners.links import LOGIT, SOFTMAX, Link
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import task_of_outcomes
from mlprod_tasks.models.tasks.protocol import Outcomes, Scores

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

SHUFFLES = 3
PREDICTIONS = 200_000  # over all shuffles, to bound the time
LEAST_ROWS, MOST_ROWS = 500, 4000  # scored per shuffle
CONTRIBUTION_ROWS, DEPENDENCE_ROWS = 1000, 300
DEPENDENCES, GRID, CATEGORIES = 6, 20, 12
Z = 1.959964  # 95 % of a normal distribution is within +- Z


class Predicting(Protocol):
    """The parts of a model that are needed here."""

    @property
    def feature_names(self) -> tuple[str, ...]: ...
    @property
    def importance(self) -> Mapping[str, float] | None: ...
    def predict(self, features: Any) -> Predictions: ...
    def contributions(self, features: Any) -> Floats | None: ...
    def class_contributions(self, features: Any) -> Floats | None: ...
    @property
    def rule(self) -> ClassRule | None: ...


@dataclass(frozen=True)
class Shuffled:
    """The AUC lost, or the absolute error added, by shuffling features over rows.

    It is a mean over shuffles, with a 95 % interval over rows (DeLong).
    """

    name: str
    features: tuple[str, ...]
    drop: float
    low: float
    high: float


@dataclass(frozen=True)
class Contributions:
    """What each feature adds to each row's prediction on the scale of `link`, such as log-odds, before calibration.

    values: (rows, features). standing: (rows, features), the rank of the row's value among all rows, from 0 lowest to 1
    highest; NaN if it is missing or a category.
    """

    names: tuple[str, ...]
    values: Floats
    standing: Floats
    link: Link = LOGIT

    @property
    def mean_size(self) -> dict[str, float]:
        """Mean absolute contribution of each feature, largest first."""
        sizes = dict(zip(self.names, np.abs(self.values).mean(axis=0).tolist(), strict=True))
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Dependence:
    """The mean score if all rows had the same value of a feature, on a grid.

    values: numbers, ascending, or categories, most frequent first. mean: (grid,). each: (rows, grid), scores of single rows.
    share: (grid,), the share of the window's rows with each category; None for numbers. seen: deciles of the numbers; empty for
    categories.
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
    """All measures of importance. gain, contributions: None if the learner has none."""

    gain: Mapping[str, float] | None
    features: tuple[Shuffled, ...]
    groups: tuple[Shuffled, ...]
    contributions: Contributions | None
    dependence: tuple[Dependence, ...]
    rows: int  # scored per shuffle
    positives: int | None  # None if outcomes are numbers or classes
    shown: str = ""  # the class whose probability dependence is of

    @property
    def order(self) -> tuple[str, ...]:
        """Features, the most important first."""
        return tuple(one.name for one in self.features)


def measure(model: Predicting, rows: Rows, pipeline: Pipeline) -> Importance:
    """Measure importance on a seeded sample of labelled rows.

    rows: the features and `label`, with both classes if outcomes are yes or no.
    """
    random = np.random.default_rng(pipeline.model.seed)
    names = [name for name in model.feature_names if name in rows.column_names]
    groups = {group: members for group, members in groups_of(pipeline).items() if set(members) <= set(names)}
    outcome = outcome_of(rows)
    tasks = [*((name, (name,)) for name in names), *((group, members) for group, members in groups.items() if len(members) > 1)]
    wanted = int(np.clip(PREDICTIONS // (SHUFFLES * len(tasks)), LEAST_ROWS, MOST_ROWS))
    scored, donors = draw(outcome, wanted, SHUFFLES, random)
    log.info("importance: %d shuffles of %d features and groups, %d rows each", SHUFFLES, len(tasks), len(scored))
    lenders = [rows.take(at) for at in donors]
    task = task_of_outcomes(outcome)
    shown = task.most_shown(outcome)
    lost = drops(lambda table: model.predict(table).score, rows.take(scored), outcome[scored], tasks, lenders)
    by_features = {one.features: one for one in lost}
    single = _ranked(by_features[(name,)] for name in names)
    sample = rows.take(np.sort(random.permutation(rows.num_rows)[:CONTRIBUTION_ROWS]))
    few = sample.take(np.sort(random.permutation(sample.num_rows)[:DEPENDENCE_ROWS]))
    return Importance(
        gain=model.importance or None,
        features=single,
        groups=_ranked(replace(by_features[members], name=group) for group, members in groups.items()),
        contributions=contributions(model, sample, pipeline.model.categorical, shown),
        dependence=tuple(
            dependence(
                lambda table: task.shown(model.predict(table).score, shown),
                few,
                rows,
                one.name,
                one.name in pipeline.model.categorical,
            )
            for one in single[:DEPENDENCES]
        ),
        rows=len(scored),
        positives=int(outcome[scored].sum()) if outcome.dtype == bool else None,
        shown=shown,
    )


def groups_of(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """The features of each declaration, by the name of the group.

    They belong together.
    """
    groups: dict[str, tuple[str, ...]] = {}
    for feature in pipeline.features:
        name = _group_name(feature)
        while name in groups:
            name += " (again)"
        groups[name] = names_of(feature)
    return groups


def draw(outcome: Outcomes, wanted: int, shuffles: int, random: np.random.Generator) -> tuple[NDArray, list[NDArray]]:
    """Choose the rows to score, and the rows that lend values in each shuffle.

    The lenders are drawn from all rows. Half of the scored rows are positive if there are enough, which does not affect AUC. If
    all rows are wanted, a shuffle is a permutation of them.
    """
    n = len(outcome)
    if n <= wanted:
        return np.arange(n), [random.permutation(n) for _ in range(shuffles)]
    if outcome.dtype != bool:
        return np.sort(random.permutation(n)[:wanted]), [random.permutation(n)[:wanted] for _ in range(shuffles)]
    positive, negative = (random.permutation(np.flatnonzero(which)) for which in (outcome, ~outcome))
    positives = int(np.clip(wanted // 2, wanted - len(negative), len(positive)))
    scored = np.sort(np.concatenate((positive[:positives], negative[: wanted - positives])))
    return scored, [random.permutation(n)[:wanted] for _ in range(shuffles)]


def drops(
    score: Callable[[pa.Table], Scores],
    rows: pa.Table,
    outcome: Outcomes,
    tasks: Sequence[tuple[str, tuple[str, ...]]],
    lenders: Sequence[pa.Table],
) -> list[Shuffled]:
    """The AUC lost, or the absolute error or log loss added, for each group of features with values from other rows.

    The values of a group come together, from `lenders` of as many rows. Permutation importance (Breiman, 2001). Interval:
    variance of paired structural components (DeLong, DeLong and Clarke-Pearson, 1988), averaged over the shuffles.
    """
    before = _components(outcome, score(rows))
    repeated = pa.concat_tables([rows] * len(lenders))
    lent = pa.concat_tables(list(lenders))
    results = []
    for name, features in tasks:
        changed = repeated
        for feature in features:
            changed = changed.set_column(changed.column_names.index(feature), feature, lent[feature])
        scores, n = score(changed), len(outcome)
        after = [_components(outcome, scores[at * n : (at + 1) * n]) for at in range(len(lenders))]
        lost = [np.mean([before[side] - one[side] for one in after], axis=0) for side in range(len(before))]
        drop = float(lost[0].mean())
        spread = Z * float(np.sqrt(sum(side.var(ddof=1) / len(side) for side in lost))) if min(map(len, lost)) > 1 else np.nan
        results.append(Shuffled(name, features, drop, drop - spread, drop + spread))
    return results


def contributions(model: Predicting, rows: pa.Table, categorical: Collection[str], shown: str = "") -> Contributions | None:
    """The model's contributions; None if it has none.

    For boosted trees they are exact SHAP values (Lundberg et al., 2020). shown: of several classes, the one they are of.
    """
    exact, link = _exact(model, rows, shown)
    if exact is None:
        return None
    from scipy.stats import rankdata

    names = model.feature_names
    standing = np.full((rows.num_rows, len(names)), np.nan)
    for i, name in enumerate(names):
        if name in categorical or not _is_number(rows.schema.field(name).type):
            continue
        values = _numbers(rows[name])
        finite = np.isfinite(values)
        if finite.sum() > 1:
            standing[finite, i] = (rankdata(values[finite]) - 0.5) / finite.sum()
    return Contributions(names, np.asarray(exact[:, : len(names)], np.float64), standing, link)


def _exact(model: Predicting, rows: pa.Table, shown: str) -> tuple[Floats | None, Link]:
    if not shown:
        return model.contributions(rows), getattr(model, "link", LOGIT)
    if model.rule is None or shown not in model.rule.classes:
        return None, SOFTMAX
    of_all = model.class_contributions(rows)
    return None if of_all is None else of_all[:, model.rule.classes.index(shown)], SOFTMAX


def dependence(
    score: Callable[[pa.Table], Floats], rows: pa.Table, window: Rows, name: str, categorical: bool = False
) -> Dependence:
    """Partial dependence of the score over `rows`, on a grid of the window's values.

    It is computed by brute force (Friedman, 2001, section 8.2).
    """
    column = window[name]
    kind = window.schema.field(name).type
    share: Floats | None = None
    seen: tuple[float, ...] = ()
    if categorical or not _is_number(kind):
        counted = sorted(pc.value_counts(column.drop_null()).to_pylist(), key=lambda one: (-one["counts"], str(one["values"])))
        grid = [one["values"] for one in counted[:CATEGORIES]]
        share = np.array([one["counts"] / max(1, len(column)) for one in counted[:CATEGORIES]])
    else:
        numbers = _numbers(column)
        numbers = numbers[np.isfinite(numbers)]
        grid = _grid(numbers, pa.types.is_integer(kind) or pa.types.is_boolean(kind))
        seen = tuple(np.quantile(numbers, np.linspace(0.1, 0.9, 9)).tolist()) if len(numbers) else ()
    if not grid:
        return Dependence(name, (), np.empty(0), np.empty((rows.num_rows, 0)), share, ())
    repeated = pa.concat_tables([rows] * len(grid))
    at = np.repeat(np.arange(len(grid)), rows.num_rows)
    values = pa.array(grid, kind if categorical or not _is_number(kind) else pa.float64()).take(pa.array(at))
    each = score(repeated.set_column(repeated.column_names.index(name), name, values)).reshape(len(grid), rows.num_rows).T
    return Dependence(name, tuple(grid), each.mean(axis=0), each, share, seen)


def _grid(values: Floats, whole: bool) -> list[float]:
    """All values if they are few, else an even grid of the middle 90 %."""
    distinct = np.unique(values)
    if len(distinct) <= GRID:
        return [float(one) for one in distinct]
    low, high = np.quantile(values, [0.05, 0.95])
    even = np.linspace(float(low), float(high), GRID)
    return [float(one) for one in np.unique(np.rint(even) if whole else even)]


def _components(outcome: Outcomes, score: Scores) -> tuple[Floats, ...]:
    """Each positive's share of negatives below it, and the reverse; ties count half. Of others, minus the losses of rows."""
    from scipy.stats import rankdata

    if outcome.dtype != bool:
        return (-task_of_outcomes(outcome).row_losses(outcome, score),)
    positive, negative = score[outcome], score[~outcome]
    together = rankdata(np.concatenate((positive, negative)))
    above = (together[: len(positive)] - rankdata(positive)) / len(negative)
    below = 1 - (together[len(positive) :] - rankdata(negative)) / len(positive)
    return above, below


def _ranked(lost: Iterable[Shuffled]) -> tuple[Shuffled, ...]:
    return tuple(sorted(lost, key=lambda one: (-one.drop, one.name)))


def _group_name(feature: Feature) -> str:
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
