"""What earlier outcomes of the same keys tell: how strong a feature of the past may be without knowing the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import AsOf, Expression, Pipeline, TickRange, Trailing
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.reads import words_in
from mlprod_tasks.evaluation.gates.names import POWER_OF_PAST
from mlprod_tasks.evaluation.model_checks import spread
from mlprod_tasks.evaluation.model_checks.leakage import MOST_TEST_ROWS, MOST_TRAINING_ROWS, alone
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import task_of_outcomes
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.platform.tick_columns import tick_array

ASKED = "asked_keys"
KEY, SEASON, LAST = "_key", "_season", "_last"  # the ways in which earlier outcomes tell one: mean, mean of a season, latest
COMPARABLE = 0.25  # of a feature's power, above none: what the past must tell to be a reason for it
TRAIN, TEST = 0, 2

Columns = tuple[str, ...]


@dataclass(frozen=True)
class Windows:
    """The labelled rows of a training's windows, in their order, and the lake that their keys are read from."""

    rows: tuple[Rows, Rows, Rows]
    snapshot: Snapshot


def keys_of_past(pipeline: Pipeline) -> dict[str, frozenset[Columns]]:
    """The columns of the scored row by which the features of the past find their rows, by feature.

    A feature of the past is made only of rows that were known before predict_at: trailing and as-of features, and expressions
    over these alone. Columns of the row itself and look-ups are none: nothing tells since when they hold.
    """
    found: dict[str, frozenset[Columns]] = {}
    others = set(pipeline.entity_table.names) | set(pipeline.feature_names)
    for feature in pipeline.features:
        match feature:
            case Trailing() | AsOf():
                by = feature.by if isinstance(feature, Trailing) else feature.on
                found |= dict.fromkeys(names_of(feature), frozenset({tuple(sorted(by))}))
            case Expression():
                read = words_in(feature.sql) & others
                if read and read <= found.keys() - set(pipeline.entity_table.names):
                    found[feature.name] = frozenset().union(*(found[name] for name in read))
    return found


def past_powers(pipeline: Pipeline, suspects: Sequence[CheckResult], windows: Windows) -> list[CheckResult]:
    """Measure what outcomes of the same keys tell that were complete before a row was scored, for features of the past.

    suspects: the power of each feature alone that is to be explained. Power is measured as that of a feature: of the mean
    outcome of the key in the training rows, of its mean in the same season, such as a weekday, and of its latest outcome; the
    largest counts. A feature of which that tells nothing comparable has no result.
    """
    keys = keys_of_past(pipeline)
    measured = {by: _power(pipeline, by, windows) for by in {by for one in suspects for by in keys.get(one.subject, ())}}
    results = []
    for one in suspects:
        if one.subject not in keys or one.value is None:
            continue
        by, (power, n, nothing) = max(((by, measured[by]) for by in sorted(keys[one.subject])), key=lambda found: found[1][0])
        if power - nothing >= COMPARABLE * (one.value - nothing):
            named = " and ".join(map(repr, by))
            what = task_of_outcomes(outcome_of(windows.rows[TEST])).declared.power
            sentence = f"earlier outcomes of the same {named} alone have a {what} of {power:.4g}"
            results.append(CheckResult(POWER_OF_PAST, one.subject, power, n, sentence))
    return results


def _power(pipeline: Pipeline, by: Columns, windows: Windows) -> tuple[float, int, float]:
    """The largest power of earlier outcomes of a key on test rows, their number, and the power that tells nothing."""
    entity, tested = pipeline.entity_table, spread(windows.rows[TEST], MOST_TEST_ROWS)
    names = list(dict.fromkeys((*entity.key, "tick", "label")))
    train = windows.rows[TRAIN]
    latest = train.take(pa.array(np.arange(max(0, train.num_rows - MOST_TRAINING_ROWS), train.num_rows))).select(names)
    told = pa.concat_tables([latest, *(rows.select(names) for rows in windows.rows[1:])])
    past = _past_of(pipeline, by, pa.concat_tables([told, tested.select(names)]), told.num_rows, windows.snapshot)
    known, new = past.slice(0, latest.num_rows), past.slice(told.num_rows)
    powers = [one.value for one in alone(known, new, (KEY, SEASON, LAST), ()) if one.value is not None]
    return max(powers), new.num_rows, task_of_outcomes(outcome_of(new)).declared.no_power


def _past_of(pipeline: Pipeline, by: Columns, rows: pa.Table, told: int, snapshot: Snapshot) -> pa.Table:
    """What earlier outcomes tell of each row, in the order of rows: its key, key and season, latest outcome, and its label.

    told: how many of the rows, from the first on, tell outcomes of later ones.
    """
    schedule, entity = pipeline.schedule, pipeline.entity_table
    asked = rows.append_column("_place", pa.array(np.arange(rows.num_rows)))
    ticks = rows["tick"].combine_chunks().dictionary_encode()
    days = ticks.dictionary.to_pylist()
    complete = tick_array((schedule.shift(day, -pipeline.label_delay_ticks) for day in days), schedule).take(ticks.indices)
    season = pa.array([schedule.season(day) for day in days], pa.int64()).take(ticks.indices)
    asked = asked.append_column("_complete", complete).append_column(SEASON, season)
    joined = ", ".join(map(identifier, ("tick", *entity.key)))
    key = "concat_ws('|', " + ", ".join(f"coalesce(CAST(read.{identifier(name)} AS VARCHAR), '')" for name in by) + ")"
    latest = "mode(label)" if pa.types.is_string(rows.schema.field("label").type) else "avg(CAST(label AS DOUBLE))"
    with engine() as connection:
        connection.register(ASKED, asked)
        keyed = snapshot.read(
            connection,
            lambda relation: (
                f"SELECT _place, {ASKED}.tick, _complete, {SEASON}, label, {key} AS {KEY} FROM {ASKED} "
                f"LEFT JOIN {relation} AS read USING ({joined})"
            ),
            entity.name,
            TickRange(schedule, min(days), max(days)),
            scored=True,
        )
        connection.register("keyed", keyed)
        return connection.sql(
            f"WITH told AS (SELECT {KEY}, tick, {latest} AS {LAST} FROM keyed WHERE _place < {told} GROUP BY {KEY}, tick) "
            f"SELECT keyed.{KEY}, concat_ws('|', keyed.{KEY}, {SEASON}) AS {SEASON}, {LAST}, label FROM keyed "
            f"ASOF LEFT JOIN told ON keyed.{KEY} = told.{KEY} AND keyed._complete >= told.tick ORDER BY _place"
        ).to_arrow_table()
