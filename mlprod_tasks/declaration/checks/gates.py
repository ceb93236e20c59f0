"""Rules of gates: bounds that can both pass and fail, and the declarations that a gate needs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration.checks.expressions import TEXT_IN_SQL
from mlprod_tasks.declaration.checks.features import sql_problems
from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.feature import AsOf, Expression, Lookup, Trailing, kinds_of
from mlprod_tasks.declaration.gate import (
    HIGHER_IS_BETTER,
    SHARES,
    AtLeast,
    AtMost,
    AvailableAtPrediction,
    BetterThanBaseline,
    Gate,
    Invariance,
    KpiAtLeast,
    KpiAtMost,
    Latency,
    ModelSize,
    Monotonic,
    NoLeakageSuspicion,
    NotWorseThanChampion,
    SamePredictions,
    Stable,
    WorstSlice,
)
from mlprod_tasks.declaration.split import RowSplit, Split, Ticks, least_ticks
from mlprod_tasks.declaration.task import TASKS

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline
    from mlprod_tasks.declaration.schedule import Schedule

WEEK = timedelta(days=7)
NOT_NEGATIVE = ("mae", "rmse", "median_error", "mape", "absolute_bias", "interval_width", "pinball")
LONGEST_DOC = 150  # it names the gate in the ledger


def gate_problems(pipeline: Pipeline) -> Iterator[str]:
    if not pipeline.gates:
        yield "gates: declare at least one; a model without a gate cannot be promoted"
    for about, times in Counter(map(_about, pipeline.gates)).items():
        if times > 1:
            yield f"gates: {about!r} is declared {times} times"
    if len(sizes := {gate.least_rows for gate in pipeline.gates if isinstance(gate, WorstSlice)}) > 1:
        shown = ", ".join(map(str, sorted(sizes)))
        yield f"gates: WorstSlice with least_rows {shown}: all need the same, since one search finds the slices for all"
    for gate in pipeline.gates:
        for problem in _problems(gate, pipeline):
            yield f"gate {_about(gate)}: {problem}"


def _about(gate: Gate) -> str:
    """The subject of a gate: two gates on the same subject would contradict or repeat each other."""
    match gate:
        case Stable():
            return f"Stable({gate.metric!r}, than={gate.than!r})"
        case Latency():
            return f"Latency(rows={gate.rows})"
        case Invariance() | Monotonic():
            # By their text alone, which is their name in the ledger.
            return f"of behaviour {gate.doc.strip()!r}"
        case NotWorseThanChampion(surely=True):
            return f"NotWorseThanChampion({gate.metric!r}, surely=True)"
        case AtLeast() | AtMost() | BetterThanBaseline() | NotWorseThanChampion() | WorstSlice():
            return f"{type(gate).__name__}({gate.metric!r})"
        case _:
            return f"{type(gate).__name__}()"


def _problems(gate: Gate, pipeline: Pipeline) -> Iterator[str]:
    match gate:
        case AtLeast() | AtMost():
            higher = HIGHER_IS_BETTER[gate.metric]
            if isinstance(gate, AtLeast) != higher:
                yield f"{'higher' if higher else 'lower'} is better: use {'AtLeast' if higher else 'AtMost'}"
            yield from _bound(gate.metric, gate.bound)
            yield from _not_negative(gate.metric, gate.bound)
        case BetterThanBaseline():
            if gate.by < 0:
                yield f"by {gate.by} may not be negative: that would let a worse model pass"
        case NotWorseThanChampion():
            if gate.tolerance < 0:
                yield f"tolerance {gate.tolerance} may not be negative"
        case WorstSlice():
            if gate.metric == "calibration" and not 0 < gate.bound <= 1:
                yield f"bound {gate.bound} must lie in (0, 1]: the mean score may be off by it to either side"
            if gate.metric == "bias" and gate.bound <= 0:
                yield f"bound {gate.bound} must be positive: the mean prediction may be off by it to either side"
            yield from _bound(gate.metric, gate.bound)
            yield from _not_negative(gate.metric, gate.bound)
            yield from _positive("least_rows", gate.least_rows)
        case Stable():
            yield from _stable(gate, pipeline)
        case AvailableAtPrediction():
            yield from _share("most_nulls", gate.most_nulls)
            yield from _positive("ticks", gate.ticks)
        case NoLeakageSuspicion():
            task = TASKS.get(pipeline.task)  # an unknown one is refused with the rules of tasks
            if task is not None and not task.no_power < gate.most <= 1:
                yield f"most {gate.most} must lie in ({task.no_power:g}, 1]: it bounds the {task.power} of one feature alone"
            if not 0 < gate.most_share <= 1:
                yield f"most_share {gate.most_share} must lie in (0, 1]: it bounds a share of the model's power"
        case Latency():
            yield from _positive("most_ms", gate.most_ms)
            yield from _positive("rows", gate.rows)
        case ModelSize():
            yield from _positive("most_mb", gate.most_mb)
        case Invariance() | Monotonic():
            yield from _behaviour(gate, pipeline)
        case KpiAtLeast() | KpiAtMost():
            if gate.worst_week is not None and not pipeline.schedule.ticks_a_week:
                yield f"worst_week needs ticks at least once a week, but there is one {pipeline.schedule.words}: leave it out"
            elif gate.worst_week is not None and _is_short(pipeline.split, pipeline.schedule):
                yield f"worst_week needs a test window of a whole week, but split.test is {pipeline.windows.test}"
        case SamePredictions():
            pass


def _stable(gate: Stable, pipeline: Pipeline) -> Iterator[str]:
    if (gate.bound is None) == (gate.than is None):
        yield "declare either bound or than"
    if gate.bound is not None:
        yield from _bound(gate.metric, gate.bound)
        yield from _not_negative(gate.metric, gate.bound)
    if gate.tolerance < 0:
        yield f"tolerance {gate.tolerance} may not be negative"
    if gate.tolerance and gate.than != "champion":
        yield f"tolerance {gate.tolerance} is for than='champion'"
    yield from _positive("windows", gate.windows)
    if pipeline.backtest is None:
        yield "it needs a backtest: declare Pipeline.backtest, such as backtest=Backtest(windows=5)"
    elif gate.windows > pipeline.backtest.windows:
        yield f"windows {gate.windows} are more than the {pipeline.backtest.windows} of Pipeline.backtest: it could never pass"


def _behaviour(gate: Invariance | Monotonic, pipeline: Pipeline) -> Iterator[str]:
    if not gate.doc.strip():
        yield "doc is empty: say in one sentence how the model must behave"
    if len(gate.doc.strip()) > LONGEST_DOC:
        yield f"doc has {len(gate.doc.strip())} characters; it names the gate, so it may have at most {LONGEST_DOC}"
    if not 0 <= gate.most_share < 1:
        yield f"most_share {gate.most_share} must be a share in [0, 1)"
    if isinstance(gate, Invariance):
        yield from _invariance(gate, pipeline)
        return
    kind = _kinds(pipeline).get(gate.feature)
    if kind is None:
        yield f"feature {gate.feature!r} is not a feature; features are {listed(pipeline.feature_names)}"
    elif kind not in ("int", "float") or gate.feature in pipeline.model.categorical:
        what = "categorical" if gate.feature in pipeline.model.categorical else kind
        yield f"feature {gate.feature!r} is {what}: only a number can be raised. Use Invariance for others"
    yield from _positive("by", gate.by)


def _invariance(gate: Invariance, pipeline: Pipeline) -> Iterator[str]:
    if gate.tolerance < 0:
        yield f"tolerance {gate.tolerance} may not be negative"
    if not gate.change:
        yield "change is empty: name the features that change, and the SQL of their new values"
    columns = {column.name for column in pipeline.entity_table.columns} - set(pipeline.feature_names)
    for name, sql in gate.change.items():
        if name not in pipeline.feature_names:
            yield f"change: {name!r} is not a feature; features are {listed(pipeline.feature_names)}"
        yield from sql_problems(f"change of {name!r}", sql, None)
        for word in sorted(columns & set(re.findall(r"\w+", TEXT_IN_SQL.sub("", sql)))):
            yield f"change of {name!r} reads {word!r}, which is no feature: expressions here are over features"


def _kinds(pipeline: Pipeline) -> dict[str, Any]:
    """The kind of every feature; for a look-up or as-of column the kind of its source column, if that is declared."""
    kinds: dict[str, Any] = {}
    tables = {table.name: {column.name: column.kind for column in table.columns} for table in pipeline.tables}
    for feature in pipeline.features:
        match feature:
            case Expression():
                kinds[feature.name] = feature.kind
            case Lookup() | AsOf():
                kinds |= {name: tables.get(feature.table, {}).get(column) for name, column in feature.columns.items()}
            case Trailing():
                kinds |= kinds_of(feature, next((t for t in pipeline.tables if t.name == feature.table), None))
    return kinds


def _bound(metric: str, bound: float) -> Iterator[str]:
    if metric in SHARES and not 0 <= bound <= 1:
        yield f"bound {bound} is outside of [0, 1], where the metric lies"


def _not_negative(metric: str, bound: float) -> Iterator[str]:
    if metric in NOT_NEGATIVE and bound < 0:
        yield f"bound {bound} is below 0, and {metric} never is"


def _share(field: str, value: float) -> Iterator[str]:
    if not 0 <= value <= 1:
        yield f"{field} {value} must be a share in [0, 1]"


def _positive(field: str, value: float) -> Iterator[str]:
    if value <= 0:
        yield f"{field} {value} must be positive"


def _is_short(split: Split | RowSplit, schedule: Schedule) -> bool:
    """Whether a test window has less than a week."""
    if not isinstance(split, Split):
        return False
    if isinstance(split.test, Ticks):
        return least_ticks(split.test, schedule) < schedule.ticks_a_week
    return split.test < WEEK
