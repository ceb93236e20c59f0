"""Profile the features: what they look like over time, what each alone tells of the label, which are suspicious."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import NoLeakageSuspicion, Pipeline
from mlprod_tasks.declaration.table import Kind
from mlprod_tasks.evaluation.model_checks.leakage import alone
from mlprod_tasks.evaluation.model_checks.past_outcomes import keys_of_past
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.profiling.column_profile import ColumnProfile, ProfiledColumn, profile_columns
from mlprod_tasks.profiling.labelled_features import LabelledFeatures
from mlprod_tasks.profiling.over_time import OverTime, over_time
from mlprod_tasks.reporting.data_dictionary import meanings

LABEL = "label"
LEAST_ROWS = 50  # in each half, for what a feature tells alone
STRONG_PAST = (
    "It tells the outcome almost alone, from rows known before: outcomes repeat, or known_after of their table is too short."
)
JUMP = 0.3  # of the share missing, between the first and the last third of the time
KINDS: dict[str, Kind] = {"bool": "bool", "string": "text", "large_string": "text", "date32[day]": "date"}


@dataclass(frozen=True)
class FeatureProfile:
    """The features of some rows.

    label: how outcomes are distributed; None if none is known. power: what each feature alone tells of the outcome of later
    rows, as ROC AUC or rank correlation; empty if there are too few outcomes. warnings: what to look at, by feature.
    """

    rows: int
    labelled: int
    features: tuple[ColumnProfile, ...]
    changes: Mapping[str, OverTime]
    label: ColumnProfile | None
    power: Mapping[str, float]
    warnings: Mapping[str, str]


def profile_features(pipeline: Pipeline, found: LabelledFeatures) -> FeatureProfile:
    """Profile the features and the label of labelled rows."""
    table, words = found.table, meanings(pipeline)
    columns = [
        ProfiledColumn(name, _kind(table.schema.field(name).type), words.get(name, "")) for name in pipeline.feature_names
    ]
    labelled = table.filter(pc.is_valid(table[LABEL]))
    label_kind = _kind(table.schema.field(LABEL).type)
    with engine() as connection:
        connection.register("rows", table)
        connection.register("labelled", labelled)
        features = profile_columns(connection, "rows", columns)
        zone = pipeline.schedule.timezone
        changes = dict(over_time(connection, "rows", features, "predict_at", zone))
        outcome = ProfiledColumn(LABEL, label_kind, pipeline.label.doc or pipeline.label.sql)
        label = profile_columns(connection, "labelled", [outcome])[0] if labelled.num_rows else None
        if label is not None:
            changes |= over_time(connection, "labelled", [label], "predict_at", zone)
    power = _power(pipeline, labelled)
    return FeatureProfile(
        table.num_rows, labelled.num_rows, features, changes, label, power, _warnings(pipeline, features, changes, power)
    )


def _kind(of: pa.DataType) -> Kind:
    if pa.types.is_integer(of):
        return "int"
    if pa.types.is_floating(of) or pa.types.is_decimal(of):
        return "float"
    return "timestamp" if pa.types.is_timestamp(of) else KINDS.get(str(of), "text")


def _power(pipeline: Pipeline, labelled: pa.Table) -> dict[str, float]:
    """What each feature alone tells: learned from the first half of the time, measured on the second."""
    half = labelled.num_rows // 2
    first, last = labelled.slice(0, half), labelled.slice(half)
    if first.num_rows < LEAST_ROWS or any(len(pc.unique(part[LABEL])) < 2 for part in (first, last)):
        return {}
    usable = [name for name in pipeline.feature_names if _is_usable(labelled.schema.field(name).type)]
    found = alone(first, last, usable, pipeline.model.categorical)
    return {one.subject: one.value for one in found if one.value is not None}


def _is_usable(of: pa.DataType) -> bool:
    return not (pa.types.is_timestamp(of) or pa.types.is_date(of))


def _warnings(
    pipeline: Pipeline, features: Sequence[ColumnProfile], changes: Mapping[str, OverTime], power: Mapping[str, float]
) -> dict[str, str]:
    declared = next((gate for gate in pipeline.gates if isinstance(gate, NoLeakageSuspicion)), NoLeakageSuspicion())
    found: dict[str, str] = {}
    past = keys_of_past(pipeline)
    for profile in features:
        name = profile.column.name
        jump = _jump(changes[name].null_shares) if name in changes else None
        if power.get(name, 0.0) > declared.most:
            found[name] = (
                STRONG_PAST if name in past else "It tells the outcome almost alone. Is it known when a row is scored?"
            )
        elif jump is not None and abs(jump[1] - jump[0]) > JUMP:
            found[name] = f"{jump[0]:.0%} were missing in the first third of the time, {jump[1]:.0%} in the last."
    return found


def _jump(shares: Sequence[float | None]) -> tuple[float, float] | None:
    third = len(shares) // 3
    ends = [[share for share in part if share is not None] for part in (shares[:third], shares[-third:])]
    return (sum(ends[0]) / len(ends[0]), sum(ends[1]) / len(ends[1])) if all(ends) else None
