"""The shop that is monitored, asked by programs besides: what its service answered is in the log, and collected."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import Platform
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.log_row import log_schema
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock
from tests.support.request_log import log_row, write_log

T, DAY = monitored.FIRST, timedelta(days=1)
SERVED = replace(
    monitored.pipeline,
    serving=ml.Serving(),
    watches=(*monitored.pipeline.watches, *ml.REQUEST_WATCHES),
    rules=(*monitored.pipeline.rules, *ml.REQUEST_RULES),
)


def answer(platform: Platform, rows: pa.Table, pipeline: ml.Pipeline = SERVED, **changed: Any) -> None:
    """Have the rows in the service's log as its answers, and collect them. `changed` are columns of the log, or one value."""
    columns = {
        "key": rows["order_id"], "tick": rows["tick"], "predict_at": rows["placed_at"], "at": rows["placed_at"],
        "score": rows["score"], "decision": rows["decision"], "model_version": monitored.VERSION, "milliseconds": 2.0,
        "key_order_id": rows["order_id"], "request_id": [f"r-{i}" for i in range(rows.num_rows)],
    }  # fmt: skip
    columns |= {f"feature_{name}": rows[name] for name in pipeline.feature_names} | changed
    lists = {name: _listed(given, rows.num_rows) for name, given in columns.items()}
    entries = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    schema = log_schema(pipeline)
    write_log(pipeline, platform, [log_row(schema, moment=one["at"], **one) for one in entries])
    collect(pipeline, platform)


def _listed(given: Any, n: int) -> list[Any]:
    return given.to_pylist() if hasattr(given, "to_pylist") else given if isinstance(given, list) else [given] * n


def clock_at_noon(day: date) -> SetClock:
    return SetClock(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))
