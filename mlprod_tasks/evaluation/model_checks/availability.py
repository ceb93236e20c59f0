"""Check that features are available when a row is scored, with the same values."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks import features
from mlprod_tasks.declaration import AvailableAtPrediction, Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.evaluation.gates.names import NULLS_WHEN_FRESH, check_of
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.features.differences import differ
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.models.stored_rows import Rows, table_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.training.records import Assembled

log = logging.getLogger(__name__)

MOST_NAMED = 3


@dataclass
class _Differences:
    """Rows whose features differ from those that scoring had."""

    rows: int = 0
    differing: int = 0
    by_feature: Counter[str] = field(default_factory=Counter)
    example: str = ""


def as_scored(
    gate: AvailableAtPrediction, pipeline: Pipeline, rows: Rows, assembled: Assembled, platform: Platform
) -> CheckResult:
    """Measure the share of test rows with features other than scoring would have had.

    The features are built again from the training's lake versions, tick by tick, without anything that was not known at the
    tick. rows: the whole test window, also rows without a label.
    """
    ticks = sorted(pc.unique(rows["tick"]).to_pylist())
    chosen = [ticks[i] for i in sorted({round(one) for one in np.linspace(0, len(ticks) - 1, gate.ticks)})]
    differences = _Differences()
    for day in chosen:
        trained = _sorted_by_key(pipeline, table_of(rows.filter(pc.equal(rows["tick"], day))))
        scored = _sorted_by_key(pipeline, _features_known_at(pipeline, day, assembled, platform))
        if assembled.split is not None:  # the snapshot has rows of the other parts too
            scored = scored.join(trained.select(pipeline.entity_table.key), list(pipeline.entity_table.key), join_type="inner")
            scored = _sorted_by_key(pipeline, scored)
        _add_differences(differences, pipeline, day, trained, scored)
    n = differences.rows
    return CheckResult(*check_of(gate), differences.differing / n, n, _differences_sentence(differences, pipeline, len(chosen)))


def _add_differences(differences: _Differences, pipeline: Pipeline, day: date, trained: pa.Table, scored: pa.Table) -> None:
    """Compare the rows of a tick in the training set with those scored. Raises: ValueError if they are not the same rows."""
    if _keys(pipeline, trained) != _keys(pipeline, scored):
        raise ValueError(
            f"in tick {day} scoring would have had {scored.num_rows:,} rows and the training set has {trained.num_rows:,}, not "
            "the same ones: rows of the tick arrived after it"
        )
    row_differs = np.zeros(trained.num_rows, bool)
    for name in pipeline.feature_names:
        differs = differ(trained[name].combine_chunks(), scored[name].combine_chunks())
        row_differs |= differs
        if differs.any():
            differences.by_feature[name] += int(differs.sum())
            differences.example = differences.example or _example(pipeline, name, trained, scored, int(np.argmax(differs)))
    count = int(row_differs.sum())
    differences.rows += trained.num_rows
    differences.differing += count
    log.info("availability: %d of %d rows of tick %s differ from what scoring had", count, trained.num_rows, day)


def _example(pipeline: Pipeline, name: str, trained: pa.Table, scored: pa.Table, at: int) -> str:
    who = ", ".join(f"{key} {trained[key][at].as_py()!r}" for key in pipeline.entity_table.key)
    had, has = scored[name][at].as_py(), trained[name][at].as_py()
    return f"for {who} {name!r} is {has!r} in the training set, but was {had!r} when it was scored"


def _differences_sentence(differences: _Differences, pipeline: Pipeline, ticks: int) -> str:
    rows_and_ticks = f"{differences.rows:,} test rows in {format_count(ticks, 'tick')}"
    if not differences.differing:
        return f"all {len(pipeline.feature_names)} features of {rows_and_ticks} are what scoring had at the tick"
    most = differences.by_feature.most_common()
    named = ", ".join(f"{name!r} in {count:,}" for name, count in most[:MOST_NAMED])
    more = f" and {len(most) - MOST_NAMED} more features" if len(most) > MOST_NAMED else ""
    return (
        f"of {rows_and_ticks}, {differences.differing:,} have features that scoring did not have ({named}{more}): "
        f"{differences.example}"
    )


def when_fresh(pipeline: Pipeline, train_rows: Rows, assembled: Assembled, platform: Platform) -> CheckResult:
    """Measure how much more often a feature is null in the newest tick than in training.

    The result is the excess of the worst feature, as a difference of shares.
    The newest tick is the last one with rows, at most the training's. It is scored from a lake that ends with it: a column
    that the source fills in later is still empty there.
    """
    tick = _newest_tick(pipeline, assembled, platform)
    fresh = _features_known_at(pipeline, tick, assembled, platform)
    n = fresh.num_rows
    worst, excess, now, before = "", -1.0, 0.0, 0.0
    for name in pipeline.feature_names:
        share, usual = fresh[name].null_count / n, train_rows[name].null_count / train_rows.num_rows
        if share - usual > excess:
            worst, excess, now, before = name, share - usual, share, usual
    if excess <= 0:
        sentence = f"in the newest tick {tick} ({n:,} rows) no feature is null more often than in the training rows"
        return CheckResult(NULLS_WHEN_FRESH, "", 0.0, n, sentence)
    sentence = (
        f"in the newest tick {tick} ({n:,} rows) {worst!r} is null in {now:.1%} of rows, in the training rows in {before:.1%}"
    )
    return CheckResult(NULLS_WHEN_FRESH, worst, excess, n, sentence)


def _newest_tick(pipeline: Pipeline, assembled: Assembled, platform: Platform) -> TickName:
    """Return the last tick with rows, up to the training's."""
    first, last = assembled.windows.test.first, assembled.as_of
    snapshot = Snapshot(pipeline, platform, assembled.versions, examples=True)
    counts = snapshot.rows_to_score(pipeline.schedule.range(first, last))
    with_rows = [day for day, count in counts.items() if count]
    if not with_rows:
        raise ValueError(f"no tick from {first} to {last} has rows of {pipeline.entity_name!r}")
    return max(with_rows)


def _features_known_at(pipeline: Pipeline, day: TickName, assembled: Assembled, platform: Platform) -> pa.Table:
    tick: Tick = pipeline.schedule.tick(day)
    ticks = pipeline.schedule.range(day)
    return features.build(pipeline, ticks, platform, versions=assembled.versions, until=tick, examples=True).table


def _sorted_by_key(pipeline: Pipeline, rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in pipeline.entity_table.key])


def _keys(pipeline: Pipeline, rows: pa.Table) -> list[list[Any]]:
    return [rows[name].to_pylist() for name in pipeline.entity_table.key]
