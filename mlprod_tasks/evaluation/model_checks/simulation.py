"""Simulate the KPI with the model's decisions on the test window."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.evaluation.gates.names import KPI, KPI_BY_TICK, KPI_BY_WEEK
from mlprod_tasks.evaluation.model_checks import AnyModel
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.models.capacity import within_capacity
from mlprod_tasks.models.kpi import kpi_of, with_value
from mlprod_tasks.models.predicted_columns import logged_columns
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.platform.engine import engine


def kpi(pipeline: Pipeline, model: AnyModel, rows: Rows, first: TickName, last: TickName) -> list[CheckResult]:
    """Compute the KPI of the test window, by week and by tick, as monitoring does.

    rows: labelled, with the features and `tick`. Weeks are the ticks of seven days, counted back from `last`; the first ticks
    of the window may be in no week. Ticks that are further apart are in none.
    """
    predicted = within_capacity(pipeline, rows, model.predict(rows))
    rows = rows.select(["tick", "label", *pipeline.value_features])
    decided = rows
    for name, column in logged_columns(predicted).items():
        decided = decided.append_column(name, column)
    unit = f" {pipeline.kpi.unit}".rstrip()
    weeks = []
    shift, per_week = pipeline.schedule.shift, pipeline.schedule.ticks_a_week
    while per_week and shift(last, 1 - per_week) >= first:
        weeks.append((shift(last, 1 - per_week), last))
        last = shift(last, -per_week)
    with engine(threads=1) as connection:

        def over(check: str, subject: str, part: pa.Table) -> CheckResult:
            of = f" in {subject}" if subject else ""
            value = kpi_of(connection, pipeline, with_value(pipeline, part)) if part.num_rows else None
            if value is None:
                why = f"{pipeline.kpi.name}{of} has no value for {part.num_rows:,} rows with an outcome"
                return CheckResult(check, subject, None, part.num_rows, why)
            sentence = f"{pipeline.kpi.name}{of} would have been {format_number(value)}{unit} on {part.num_rows:,} rows"
            return CheckResult(check, subject, value, part.num_rows, sentence)

        results = [over(KPI, "", decided)]
        for begins, ends in reversed(weeks):
            within = pc.and_(pc.greater_equal(decided["tick"], begins), pc.less_equal(decided["tick"], ends))
            results.append(over(KPI_BY_WEEK, f"{begins}..{ends}", decided.filter(within)))
        ticks = sorted(pc.unique(decided["tick"]).to_pylist())
        results += [over(KPI_BY_TICK, str(tick), decided.filter(pc.equal(decided["tick"], tick))) for tick in ticks]
    return results
