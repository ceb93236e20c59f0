"""The rows of the prediction log, and the columns they are written as."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, get_type_hints

import msgspec
import pyarrow as pa

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline
from mlprod_tasks.declaration.bandit import ACTION, STATE
from mlprod_tasks.declaration.experiment import SECOND
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.task import HIGH, LOW, PREDICTION, PROBABILITIES
from mlprod_tasks.models.predicted_columns import ADAPTATION, RAW_PROBABILITIES, RAW_SCORE
from mlprod_tasks.platform.tick_columns import tick_type

log = logging.getLogger(__name__)

UNWRITABLE = (pa.ArrowException, TypeError, ValueError, OverflowError)
KEY, FEATURE = "key_", "feature_"
KINDS = {
    "int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_(), "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip


class LoggedRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the log keeps of one scored row, each field with the type of its column.

    row: its place in the request. key: the key's values, joined by /. at: when it was answered. assigned: the rollout's route,
    '' if features or a switch decided instead. error: a model failed on it. experiment, variant: that its unit is in.
    propensity: the probability with which the hash of its unit, or of a canary its key, gave it who answers. key_values,
    features: in the order of the entity's key and of `Pipeline.feature_names`, one column each. of_task: what the task's
    answers say besides, in the order of `columns_of_task`. of_second, of_bandit: the same in the order of `columns_of_second`
    and `columns_of_bandit`.
    """

    request_id: Annotated[str, pa.string()]
    row: Annotated[int, pa.int32()]
    key: Annotated[str, pa.string()]
    tick: Annotated[TickName, pa.date32()]  # a text of ticks within a day
    predict_at: Annotated[datetime, pa.timestamp("us", "UTC")]
    at: Annotated[datetime, pa.timestamp("us", "UTC")]
    score: Annotated[float | None, pa.float64()]
    decision: Annotated[bool | None, pa.bool_()]
    model_version: Annotated[int | None, pa.int32()]
    route: Annotated[str, pa.string()]
    assigned: Annotated[str, pa.string()]
    fallback: Annotated[bool, pa.bool_()] = False
    error: Annotated[bool, pa.bool_()] = False
    review: Annotated[bool, pa.bool_()] = False
    reason: Annotated[str, pa.string()] = ""
    stale: Annotated[bool, pa.bool_()] = False
    missing: Annotated[bool, pa.bool_()] = False
    shadow_version: Annotated[int | None, pa.int32()] = None
    shadow_score: Annotated[float | None, pa.float64()] = None
    shadow_milliseconds: Annotated[float | None, pa.float64()] = None
    milliseconds: Annotated[float, pa.float64()]
    experiment: Annotated[str | None, pa.string()] = None
    variant: Annotated[str | None, pa.string()] = None
    propensity: Annotated[float | None, pa.float64()] = None
    key_values: tuple[Any, ...]
    features: tuple[Any, ...]
    of_task: tuple[Any, ...] = ()
    of_second: tuple[Any, ...] = ()
    of_bandit: tuple[Any, ...] = ()


# The columns of every log of daily ticks, name and type, in the order of the fields.
ROW_COLUMNS: tuple[tuple[str, pa.DataType], ...] = tuple(
    (name, hint.__metadata__[0])
    for name, hint in get_type_hints(LoggedRow, include_extras=True).items()
    if name not in ("key_values", "features", "of_task", "of_second", "of_bandit")
)
READERS = tuple(attrgetter(name) for name, _ in ROW_COLUMNS)


def row_columns(pipeline: Pipeline) -> dict[str, pa.DataType]:
    """Return ROW_COLUMNS with the type of the pipeline's ticks."""
    return dict(ROW_COLUMNS) | {"tick": tick_type(pipeline.schedule)}


def log_schema(pipeline: Pipeline) -> pa.Schema:
    """Return the columns of the log.

    `row_columns`, then the entity's key as `key_<column>`, then the features as `feature_<name>`, then those of the task and
    of its adaptation, of a second experiment, and of a bandit. A personal key column holds the same hash as the lake.
    """
    entity = pipeline.entity_table
    kinds = {name: "text" if entity.column(name).personal == "hash" else entity.column(name).kind for name in entity.key}
    keys = [(f"{KEY}{name}", KINDS[kind]) for name, kind in kinds.items()]
    features = [(f"{FEATURE}{name}", kind) for name, kind in logged_types(pipeline).items()]
    return pa.schema(
        [
            *row_columns(pipeline).items(),
            *keys,
            *features,
            *columns_of_task(pipeline),
            *columns_of_adaptation(pipeline),
            *columns_of_second(pipeline),
            *columns_of_bandit(pipeline),
        ]
    )


def columns_of_task(pipeline: Pipeline) -> list[tuple[str, pa.DataType]]:
    """Return what the log has besides for the pipeline's task.

    Both ends of predicted numbers, if they have intervals; of classes the predicted one, whose probability is the score, and
    the probabilities of all as a JSON object.
    """
    ends = [] if pipeline.model.coverage is None else [(LOW, pa.float64()), (HIGH, pa.float64())]
    classes = [(PREDICTION, pa.string()), (PROBABILITIES, pa.string())]
    return {"binary": [], "regression": ends, "multiclass": classes}[pipeline.task]


def columns_of_second(pipeline: Pipeline) -> list[tuple[str, pa.DataType]]:
    """Return what the log has besides if experiments are declared: a second one that the unit is in, as of the first one."""
    return [] if pipeline.experiments is None else list(zip(SECOND, (pa.string(), pa.string(), pa.float64()), strict=True))


def columns_of_bandit(pipeline: Pipeline) -> list[tuple[str, pa.DataType]]:
    """Return what the log has besides if a bandit is declared: the version of its state, and the action that it chose."""
    declared = pipeline.experiments is not None and pipeline.experiments.bandit is not None
    return [(STATE, pa.int32()), (ACTION, pa.string())] if declared else []


def columns_of_adaptation(pipeline: Pipeline) -> list[tuple[str, pa.DataType]]:
    """Return what the log has besides if scores are adapted: the champion's own, of classes all probabilities, and the state.

    Both follow the columns of the task, in `LoggedRow.of_task`.
    """
    if pipeline.adapt is None:
        return []
    own = (RAW_PROBABILITIES, pa.string()) if pipeline.task == "multiclass" else (RAW_SCORE, pa.float64())
    return [own, (ADAPTATION, pa.string())]


def logged_types(pipeline: Pipeline) -> dict[str, pa.DataType]:
    """Return the types of logged features: text, or the number that a model reads."""
    kinds: dict[str, str] = {}
    for feature in pipeline.features:
        match feature:
            case Expression():
                kinds[feature.name] = feature.kind
            case Lookup() | AsOf():
                table = pipeline.table(feature.table)
                kinds |= {name: table.column(read).kind for name, read in feature.columns.items()}
    return {name: pa.string() if kinds.get(name) == "text" else pa.float64() for name in pipeline.feature_names}


class TableBuilder:
    """Makes a table of logged rows, a few columns per call, to keep calls short.

    `table` is the finished table; None before the last call of `add_columns`.
    """

    def __init__(self, rows: Sequence[LoggedRow], schema: pa.Schema) -> None:
        """Raises: ValueError if the rows have other keys or features than the schema."""
        self.table: pa.Table | None = None
        self._rows, self._schema = rows, schema
        self._arrays: list[pa.Array] = []
        self._keys_and_features = [
            *zip(*(row.key_values for row in rows), strict=True),
            *zip(*(row.features for row in rows), strict=True),
            *zip(*(row.of_task for row in rows), strict=True),
            *zip(*(row.of_second for row in rows), strict=True),
            *zip(*(row.of_bandit for row in rows), strict=True),
        ]
        if len(READERS) + len(self._keys_and_features) != len(schema):
            raise ValueError(f"the rows have other keys or features than the log, whose columns are {schema.names}")

    def add_columns(self, count: int) -> None:
        """Make the next `count` columns; the last one finishes the table."""
        for _ in range(min(count, len(self._schema) - len(self._arrays))):
            place = len(self._arrays)
            self._arrays.append(column(self._values(place), self._schema.field(place)))
        if len(self._arrays) == len(self._schema):
            self.table = pa.Table.from_arrays(self._arrays, schema=self._schema)

    def _values(self, place: int) -> Sequence[Any]:
        if place < len(READERS):
            return list(map(READERS[place], self._rows))
        # Release what is used up column by column: releasing ten thousand values at once takes a millisecond.
        self._rows = ()
        return self._keys_and_features.pop(0)


def column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """Make a column of the log.

    A value of the wrong type becomes null, so that the rest is still logged.
    """
    try:
        return logged(values, field.type)
    except UNWRITABLE:
        fitting = [value if _fits(value, field.type) else None for value in values]
        wrong = sum(value is not None for value in values) - sum(value is not None for value in fitting)
        log.error("%d values of %r cannot be logged as %s", wrong, field.name, field.type)
        return logged(fitting, field.type)


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        logged([value], kind)
    except UNWRITABLE:
        return False
    return True


def logged(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert values to a logged array.

    Integers too large for an exact float are rounded, as the model reads them.
    """
    try:
        return pa.array(values, kind)
    except pa.ArrowInvalid:
        if not pa.types.is_float64(kind):
            raise
        return pa.array([None if value is None else float(value) for value in values], kind)
