"""Check that online features equal those of batch scoring, bit for bit."""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import delete, select

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.monitoring.bounds import in_force
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.online.build_entries import plain
from mlprod_tasks.online.features import Features, OnlineFeatures
from mlprod_tasks.online.fields import hashed_fields
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Measurement, Scoring
from mlprod_tasks.platform.pseudonym_key import pseudonym_key
from mlprod_tasks.platform.sql import identifier

log = logging.getLogger(__name__)
WHAT = "online_skew"
MOST_SHOWN = 5
ABSENT = "its place in the population"
NO_VERSION = 0  # in the measurement of a tick that was not scored


@dataclass(frozen=True)
class OnlineChecked:
    """How many rows of a tick have different features online and in batch.

    rows: rows compared; an evenly spaced sample of a large tick. share: of rows in which any feature differs; None if no row
    could be compared. differing: number of differing rows by feature. compiled: names of compiled expressions. by_duckdb:
    expressions that DuckDB computes, with the reason. unanswered: why the store could not answer; '' if it could.
    """

    tick: str
    rows: int
    share: float | None
    differing: dict[str, int]
    examples: tuple[str, ...]
    compiled: tuple[str, ...]
    by_duckdb: dict[str, str]
    generation: int | None
    unanswered: str
    breaches: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        if self.share is None:
            return f"{self.tick}: nothing could be compared: {self.unanswered or 'it has no rows'}"
        most = ", ".join(f"{name} in {rows:,}" for name, rows in list(self.differing.items())[:MOST_SHOWN])
        features_ = f": {most}" if most else ""
        return f"{self.tick}: {self.share:.2%} of {self.rows:,} rows have different features online and in batch{features_}"


def check_online(pipeline: Pipeline, tick: Tick, platform: Platform) -> OnlineChecked:
    """Compare, and write the share of differing rows to the ledger.

    Checking again replaces it. Raises: TableMissing. If nothing can be compared, for example because the store no longer covers
    so old a tick, an earlier measurement is kept.
    """
    checked = compared(pipeline, tick, platform)
    scoring = platform.ledger.get(Scoring, pipeline.name, tick.name)
    reading = Reading(
        WHAT,
        checked.share,
        checked.rows,
        reference=0.0,
        why=checked.unanswered or "it has no rows",
        detail="; ".join(checked.examples[:2]),
        missing=bool(checked.unanswered),
    )
    bounds, at = in_force(pipeline, tick.name, platform), platform.clock.now()
    row = judged(reading, pipeline, tick, scoring.model_version if scoring else NO_VERSION, at, bounds)
    with platform.ledger.exclusive(f"{pipeline.name}/measurements/{tick}") as session:
        mine = (Measurement.pipeline == pipeline.name) & (Measurement.tick == tick.name) & (Measurement.what == WHAT)
        before = session.scalar(select(Measurement).where(mine))
        if checked.share is None and before is not None and before.value is not None:
            log.warning("%s: %s; the measurement of %s is kept", pipeline.name, checked.sentence, before.at)
            return checked
        session.execute(delete(Measurement).where(mine))
        session.add(row)
    log.log(logging.WARNING if row.breached else logging.INFO, "%s: %s", pipeline.name, row.sentence)
    return OnlineChecked(**{**vars(checked), "breaches": (row.sentence,) if row.breached else ()})


def compared(pipeline: Pipeline, tick: Tick, platform: Platform) -> OnlineChecked:
    """Compute a tick's features online and in batch, and compare them.

    Both are as of the rows' predict_at. Raises: TableMissing.
    """
    ticks = pipeline.schedule.range(tick.name)
    key = pseudonym_key(platform) if hashed_fields(pipeline) else ""
    online = OnlineFeatures(pipeline, platform.online_store, pseudonym_key=key)
    built = features.build(pipeline, ticks, platform)
    chosen = _sample(built.table.num_rows, serving_of(pipeline).checked_rows)
    batch = built.table.take(pa.array(chosen, pa.int64()))
    rows = requests_of(pipeline, tick, platform, built.versions, online.fields.needed)
    requests = [rows[i] for i in chosen]
    moments = plain(batch["predict_at"])
    names = pipeline.feature_names
    columns = [batch[name].to_pylist() for name in names]
    keys = list(zip(*(batch[name].to_pylist() for name in pipeline.entity_table.key), strict=True))
    answers, unanswered = _answers(online, requests, moments)
    bad, differing, examples = _differences(names, keys, answers, columns)
    generation = online.generation
    return OnlineChecked(
        tick=str(tick),
        rows=len(answers),
        share=bad / len(answers) if answers else None,
        differing=dict(differing.most_common()),
        examples=tuple(examples),
        compiled=online.expressions.compiled,
        by_duckdb=online.expressions.by_duckdb,
        generation=None if generation is None else generation.number,
        unanswered=unanswered,
    )


def _differences(
    names: Sequence[str], keys: Sequence[tuple[Any, ...]], answers: Sequence[Features], columns: Sequence[list[Any]]
) -> tuple[int, Counter[str], list[str]]:
    """The number of rows that differ, the number by feature, and some examples. columns: the batch features."""
    differing: Counter[str] = Counter()
    examples: list[str] = []
    bad = 0
    for i, (key, answer) in enumerate(zip(keys, answers, strict=False)):  # there are no answers if the store cannot give them
        wrong = [
            (name, mine, column[i])
            for name, mine, column in zip(names, answer.values, columns, strict=True)
            if not same(mine, column[i])
        ]
        if answer.answer == "absent":  # batch has this row
            wrong.append((ABSENT, answer.reasons[0], True))
        bad += bool(wrong)
        for name, mine, theirs in wrong:
            differing[name] += 1
            if len(examples) < MOST_SHOWN:
                examples.append(f"{name} of {', '.join(map(str, key))} is {mine!r} online and {theirs!r} in batch")
    return bad, differing, examples


def _answers(online: OnlineFeatures, rows: Sequence[dict[str, Any]], moments: Sequence[int]) -> tuple[Sequence[Features], str]:
    """The online features of all rows.

    If the store does not cover their times, there are none; the second value says why.
    """
    answers = online.of(rows, moments)
    lacking = next((answer for answer in answers if answer.missing), None)
    if lacking is None:
        return answers, ""
    return (), "; ".join([*lacking.reasons, *([online.failure] if online.failure else [])])


def same(mine: Any, theirs: Any) -> bool:
    """Whether two values are equal bit for bit; all NaN are equal."""
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, float):
        return struct.pack("<d", mine) == struct.pack("<d", theirs) or (mine != mine and theirs != theirs)
    return bool(mine == theirs)


def _sample(rows: int, most: int) -> list[int]:
    """The positions of the rows to compare: all, or `most` of them, evenly spaced."""
    if rows <= most:
        return list(range(rows))
    return [int(i) for i in np.linspace(0, rows - 1, most).round()] if most else []


def requests_of(
    pipeline: Pipeline, tick: Tick, platform: Platform, versions: Mapping[str, int], needed: Sequence[str]
) -> list[dict[str, Any]]:
    """The tick's rows as requests, as `RequestFields.read` would return them.

    They are in the order of batch features. versions: of the tables that these were read at.
    """
    entity = pipeline.entity_table
    snapshot = Snapshot(pipeline, platform, versions)
    order = ", ".join(map(identifier, entity.key))
    columns = ", ".join(map(identifier, needed))
    with engine(lake=platform.lake) as connection:
        connection.execute("SET preserve_insertion_order = true")
        rows = snapshot.read(
            connection,
            lambda relation: f"SELECT {columns} FROM {relation} ORDER BY {order}",
            entity.name,
            pipeline.schedule.range(tick.name),
            scored=True,
        )
    return [dict(zip(needed, values, strict=True)) for values in zip(*(plain(rows[name]) for name in needed), strict=True)]
