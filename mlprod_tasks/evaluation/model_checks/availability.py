"""Whether every feature is there when a row is scored, with the value that the training set holds."""

from __future__ import annotations

import logging
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks import features
from mlprod_tasks.declaration import AvailableAtPrediction, Pipeline, Tick
from mlprod_tasks.evaluation.gates.names import NULLS_WHEN_FRESH, check_of
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform
from mlprod_tasks.training.records import Assembled

log = logging.getLogger(__name__)

MOST_NAMED = 3


def as_scored(
    gate: AvailableAtPrediction, pipeline: Pipeline, rows: pa.Table, assembled: Assembled, platform: Platform
) -> CheckResult:
    """The share of rows of some test ticks with a feature that scoring would have had otherwise.

    Their features are built from the training's own lake versions once more, tick by tick, with everything hidden that was not
    known at the tick. rows: the whole test window, also rows without a label.
    """
    ticks = sorted(pc.unique(rows["tick"]).to_pylist())
    chosen = [ticks[i] for i in sorted({round(one) for one in np.linspace(0, len(ticks) - 1, gate.ticks)})]
    n = differing = 0
    by_feature: dict[str, int] = {}
    example = ""
    for day in chosen:
        trained = _ordered(pipeline, rows.filter(pc.equal(rows["tick"], day)))
        scored = _ordered(pipeline, _known_at(pipeline, day, assembled, platform))
        n += trained.num_rows
        if _keys(pipeline, trained) != _keys(pipeline, scored):
            raise ValueError(
                f"scoring would have had {scored.num_rows:,} rows in tick {day}, the training set has {trained.num_rows:,}, "
                "and not the same ones: rows of the tick came after it"
            )
        rows_off = np.zeros(trained.num_rows, bool)
        for name in pipeline.feature_names:
            off = _differ(trained[name].combine_chunks(), scored[name].combine_chunks())
            rows_off |= off
            if off.any():
                by_feature[name] = by_feature.get(name, 0) + int(off.sum())
                at = int(np.argmax(off))
                who = ", ".join(f"{key} {trained[key][at].as_py()!r}" for key in pipeline.entity_table.key)
                had, has = scored[name][at].as_py(), trained[name][at].as_py()
                example = example or f"for {who} {name!r} is {has!r} in the training set, but was {had!r} when it was scored"
        differing += int(rows_off.sum())
        log.info("availability: %d of %d rows of tick %s differ from what scoring had", rows_off.sum(), trained.num_rows, day)
    over = f"{n:,} test rows in {len(chosen)} {'tick' if len(chosen) == 1 else 'ticks'}"
    if not differing:
        told = f"all {len(pipeline.feature_names)} features of {over} are what scoring had at the tick"
        return CheckResult(*check_of(gate), 0.0, n, told)
    most = sorted(by_feature.items(), key=lambda item: -item[1])
    named = ", ".join(f"{name!r} in {count:,}" for name, count in most[:MOST_NAMED])
    more = f" and {len(most) - MOST_NAMED} more features" if len(most) > MOST_NAMED else ""
    told = f"of {over}, {differing:,} have features that scoring did not have so ({named}{more}): {example}"
    return CheckResult(*check_of(gate), differing / n, n, told)


def when_fresh(pipeline: Pipeline, train_rows: pa.Table, assembled: Assembled, platform: Platform) -> CheckResult:
    """By how much the nulls of the worst feature in the newest tick exceed those of the training rows, as shares.

    The newest tick is the last one with rows up to the one that the training stands at, scored from a lake that ends with it: a
    column that the source fills in later is still empty there.
    """
    tick = _newest(pipeline, assembled, platform)
    fresh = _known_at(pipeline, tick, assembled, platform)
    n = fresh.num_rows
    worst, excess, now, before = "", -1.0, 0.0, 0.0
    for name in pipeline.feature_names:
        share, usual = fresh[name].null_count / n, train_rows[name].null_count / train_rows.num_rows
        if share - usual > excess:
            worst, excess, now, before = name, share - usual, share, usual
    if excess <= 0:
        told = f"in the newest tick {tick} ({n:,} rows) no feature is null more often than in the training rows"
        return CheckResult(NULLS_WHEN_FRESH, "", 0.0, n, told)
    told = (
        f"in the newest tick {tick} ({n:,} rows) {worst!r} is null in {now:.1%} of rows, in the training rows in {before:.1%}"
    )
    return CheckResult(NULLS_WHEN_FRESH, worst, excess, n, told)


def _newest(pipeline: Pipeline, assembled: Assembled, platform: Platform) -> date:
    """The last tick with rows, up to the one that the training stands at."""
    first, last = assembled.windows.test.first, assembled.as_of
    snapshot = Snapshot(pipeline, platform, assembled.versions)
    counts = snapshot.rows_per_tick(pipeline.entity, pipeline.schedule.range(first, last))
    with_rows = [day for day, count in counts.items() if count]
    if not with_rows:
        raise ValueError(f"no tick from {first} to {last} has rows of {pipeline.entity!r}")
    return max(with_rows)


def _known_at(pipeline: Pipeline, day: date, assembled: Assembled, platform: Platform) -> pa.Table:
    tick: Tick = pipeline.schedule.tick(day)
    ticks = pipeline.schedule.range(day)
    return features.build(pipeline, ticks, platform, versions=assembled.versions, until=tick).table


def _ordered(pipeline: Pipeline, rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in pipeline.entity_table.key])


def _keys(pipeline: Pipeline, rows: pa.Table) -> list[list[Any]]:
    return [rows[name].to_pylist() for name in pipeline.entity_table.key]


def _differ(a: pa.Array, b: pa.Array) -> np.ndarray:
    """Where two columns differ, bit for bit; two nulls are the same."""
    if a.type != b.type:
        b = b.cast(a.type)
    if pa.types.is_float64(a.type):  # NaN equals itself, and 0.0 is not -0.0
        a, b = a.view(pa.int64()), b.view(pa.int64())
    same = pc.or_(pc.fill_null(pc.equal(a, b), False), pc.and_(a.is_null(), b.is_null()))
    return ~np.asarray(same.to_numpy(zero_copy_only=False), bool)
