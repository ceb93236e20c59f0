"""The service's log of what it answered, written by tests as the service writes it, and what of it was collected."""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.scoring.log_row import FEATURE, KEY, ROW_COLUMNS, LoggedRow, log_schema
from mlprod_tasks.scoring.prediction_log import PredictionLog, log_folder

MONDAY = date(2024, 5, 6)
SMALL = pa.schema(
    [*ROW_COLUMNS, ("key_customer", pa.string()), ("feature_amount", pa.float64()), ("feature_channel", pa.string())]
)


def log_row(schema: pa.Schema, request_id: str, moment: datetime, **values: Any) -> LoggedRow:
    """Return a row of the log: the champion's answer without any trouble, where `values` do not say otherwise.

    values: by the names of the log's columns; a key's value or a feature that is not given is null.
    """
    plain: dict[str, Any] = {
        "request_id": request_id, "row": 0, "key": "7", "tick": moment.date(), "predict_at": moment, "at": moment,
        "score": 0.25, "decision": False, "model_version": 1, "route": "champion", "assigned": "champion", "milliseconds": 1.5,
    }  # fmt: skip
    given = plain | values
    own = {name for name, _ in ROW_COLUMNS}
    of_task = [name for name in schema.names if name not in own and not name.startswith((KEY, FEATURE))]
    return LoggedRow(
        **{name: given[name] for name, _ in ROW_COLUMNS if name in given},
        key_values=tuple(given.get(name) for name in schema.names if name.startswith(KEY)),
        features=tuple(given.get(name) for name in schema.names if name.startswith(FEATURE)),
        of_task=tuple(given.get(name) for name in of_task),
    )


def write_log(pipeline: Pipeline, platform: Platform, rows: Iterable[LoggedRow], *, aged: bool = False) -> list[Path]:
    """Write files of the log, as if two hours ago where they are to be aged; return their paths."""
    folder = log_folder(pipeline, platform)
    before = set(folder.glob("*.parquet"))
    log = PredictionLog(folder, log_schema(pipeline))
    for row in rows:
        log.add(row)
    log.flush()
    made = list(set(folder.glob("*.parquet")) - before)
    if aged:
        age(*made)
    return made


def age(*files: Path) -> None:
    """Make files two hours old."""
    then = time.time() - timedelta(hours=2).total_seconds()
    for file in files:
        os.utime(file, (then, then))


def entry(pipeline: Pipeline, request: str, tick: date = MONDAY, **values: Any) -> LoggedRow:
    """Return a row of the log of the shop of one table, asked for at noon."""
    noon = datetime(tick.year, tick.month, tick.day, 12, tzinfo=UTC)
    return log_row(log_schema(pipeline), request, noon, **{"key_order_id": 7, "feature_francs": 12.5, **values})


def small_entry(n: int, amount: float, channel: str | int | None) -> LoggedRow:
    """Return a row of the log with the columns of SMALL."""
    moment = datetime(2024, 1, 1, 5, tzinfo=UTC)
    key = f"k{n}"
    return log_row(SMALL, f"r{n}", moment, key=key, key_customer=key, feature_amount=amount, feature_channel=channel)


def collected(pipeline: Pipeline, platform: Platform) -> list[str]:
    """Return the requests of all rows that reached the lake."""
    return sorted(platform.lake.rows(names.requests(pipeline))["request_id"].to_pylist())


def with_features(pipeline: Pipeline, **kinds: str) -> Pipeline:
    """Return the use case as it declares other features."""
    features = tuple(ml.Expression(name, "amount", kind, "a feature") for name, kind in kinds.items())
    return replace(pipeline, features=features, fallback=ml.RateTable(by=tuple(kinds)))
