"""Rules of how a model is evaluated: the value of decisions, slices, backtest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.expressions import TEXT_IN_SQL
from mlprod_tasks.declaration.checks.features import resting_on_other_rows, sql_problems
from mlprod_tasks.declaration.checks.tables import listed, repeated
from mlprod_tasks.declaration.target import CostMatrix, PredictionValue

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
    for name in sorted(resting_on_other_rows(pipeline) & words):
        yield (
            f"value: reads {name!r}, which rests on as-of or trailing values. The fallback has none, but its decisions must "
            "have a value too. Use features of the row itself or of look-ups"
        )


def words_of(sql: str) -> set[str]:
    """Every word of an expression that may name a column."""
    return {word.lower() for word in re.findall(r"\w+", TEXT_IN_SQL.sub("", sql))}
