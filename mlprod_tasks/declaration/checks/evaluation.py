"""Rules of how a model is evaluated: the value of decisions, slices, backtest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration.checks.expressions import TEXT_IN_SQL
from mlprod_tasks.declaration.checks.features import sql_problems
from mlprod_tasks.declaration.checks.tables import listed, repeated
from mlprod_tasks.declaration.reads import resting_on_other_rows
from mlprod_tasks.declaration.target import ClassValue, CostMatrix, PredictionValue

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

FEWEST_WINDOWS = 2  # with one window only the training itself would be evaluated


def evaluation_problems(pipeline: Pipeline) -> Iterator[str]:
    yield from _value(pipeline)
    yield from repeated("slices", pipeline.slices)
    for name in pipeline.slices:
        if name not in pipeline.feature_names:
            yield f"slices: {name!r} is not a feature; features are {listed(pipeline.feature_names)}"
    backtest = pipeline.backtest
    if backtest is None:
        return
    if backtest.windows < FEWEST_WINDOWS:
        yield f"backtest.windows {backtest.windows} must be at least {FEWEST_WINDOWS}: the last is the training itself"
    if backtest.step is not None and not pipeline.schedule.is_whole(backtest.step):
        yield f"backtest.step {backtest.step} must be {pipeline.schedule.whole_words}"


def _value(pipeline: Pipeline) -> Iterator[str]:
    value = pipeline.value
    if isinstance(value, CostMatrix):
        if value.true_positive <= value.false_negative or value.true_negative <= value.false_positive:
            yield "value: acting must pay when it is right and cost when it is wrong, compared with not acting"
        return
    if isinstance(value, ClassValue):
        yield from _class_value(value, pipeline.label)
        return
    if isinstance(value, PredictionValue):
        yield from sql_problems("value.sql", value.sql, None)
        words = words_of(value.sql)
        for name in sorted({"prediction", "outcome"} - words):
            yield f"value: sql {value.sql!r} does not read `{name}`, so a right prediction would be worth what a wrong one is"
    else:
        for name in ("act", "wait"):
            yield from sql_problems(f"value.{name}", getattr(value, name), None)
        words = words_of(value.act) | words_of(value.wait)
        if "outcome" not in words:
            yield "value: neither act nor wait reads `outcome`, so a right decision would be worth what a wrong one is"
    for name in sorted(resting_on_other_rows(pipeline.features) & words):
        yield (
            f"value: reads {name!r}, which rests on as-of or trailing values. The fallback has none, but its decisions must "
            "have a value too. Use features of the row itself or of look-ups"
        )


def _class_value(value: ClassValue, label: Any) -> Iterator[str]:
    """A right prediction pays more than a wrong one, and pairs are of classes that there are."""
    known = getattr(label, "classes", ())
    named = {*value.pairs, *(real for by_real in value.pairs.values() for real in by_real)}
    if known and (unknown := sorted(named - set(known))):
        yield f"value.pairs: {listed(unknown)} is no class; label.classes are {listed(known)}"
    if value.right <= value.wrong:
        yield f"value: right {value.right:g} must be more than wrong {value.wrong:g}: a right prediction must pay"
    for real in sorted(named):
        right = value.pairs.get(real, {}).get(real, value.right)
        for said in sorted({*value.pairs, *known} - {real}):
            if (wrong := value.pairs.get(said, {}).get(real, value.wrong)) > right:
                yield (
                    f"value.pairs: predicting {said!r} when {real!r} comes is worth {wrong:g}, more than predicting it "
                    f"rightly, {right:g}"
                )


def words_of(sql: str) -> set[str]:
    """Every word of an expression that may name a column."""
    return {word.lower() for word in re.findall(r"\w+", TEXT_IN_SQL.sub("", sql))}
