"""Read the logged rows that challenger and champion are compared on."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import TableMissing, listed
from mlprod_tasks.platform.tick_columns import tick_array
from mlprod_tasks.rollout.checks import Group, Pair
from mlprod_tasks.rollout.task_checks import Compared, compared
from mlprod_tasks.scoring.log_row import KEY

log = logging.getLogger(__name__)
CHAMPION, CHALLENGER = "champion", "challenger"
NEEDED = ("request_id", "row", "tick", "at", "assigned", "route", "error", "milliseconds")
NEWEST = "max.at"
SECOND = timedelta(seconds=1)


def read(
    pipeline: Pipeline,
    platform: Platform,
    champion: int,
    challenger: int,
    *,
    since: datetime,
    champion_since: datetime,
    outcomes: bool = True,
) -> Pair:
    """The rows routed to champion and challenger since the given times.

    Rows of other versions are left out. A row that the fallback answered counts for the version that it was routed to; the log
    has it under the champion's number. outcomes: join the outcomes that are known by now.
    """
    name, how = names.requests(pipeline), compared(pipeline)
    files = _files(name, min(since, champion_since), platform) if platform.lake.exists(name) else []
    if not files:
        return Pair(_group(champion, None, how), _group(challenger, None, how))
    keys = (f"{KEY}{name}" for name in pipeline.entity_table.key)
    columns = ", ".join(f'"{one}"' for one in (*NEEDED, *how.columns, *keys))
    scores = ", ".join(how.columns)
    with engine(spill=platform.settings.home / "spill", lake=platform.lake) as con:
        con.execute(
            f'CREATE TABLE answered AS SELECT {columns}, hash("key") AS entity, hash(request_id) AS request '
            f"FROM read_parquet({listed(files)}, union_by_name = true) "
            "WHERE assigned IN ('champion', 'challenger') AND (model_version IS NULL OR model_version IN (?, ?)) "
            "AND \"at\" >= CASE assigned WHEN 'challenger' THEN ?::TIMESTAMPTZ ELSE ?::TIMESTAMPTZ END",
            [champion, challenger, since.isoformat(), champion_since.isoformat()],
        )
        _with_outcomes(con, pipeline, _labels(con, pipeline, platform) if outcomes else None, how.outcome_type)
        both = [
            con.sql(
                'SELECT entity, request, "error" OR route <> assigned AS failed, coalesce(milliseconds, 0) AS milliseconds, '
                f'{scores}, outcome FROM judged WHERE assigned = ? ORDER BY "at", request_id, "row"',
                params=[assigned],
            ).to_arrow_table()
            for assigned in (CHAMPION, CHALLENGER)
        ]
    return Pair(_group(champion, both[0], how), _group(challenger, both[1], how))


def _files(name: str, since: datetime, platform: Platform) -> list[str]:
    """The files that may hold a row answered since then.

    Uses the statistics in the Delta log; opens no file. The tick cannot be used: a request may be as of any time in the past.
    """
    table = platform.lake.table(name)
    actions = pa.table(table.get_add_actions(flatten=True))
    newest = actions[NEWEST].to_pylist() if NEWEST in actions.column_names else []
    # The second covers rounding: the Delta log cuts times to milliseconds.
    old = {unquote(path) for path, at in zip(actions["path"].to_pylist(), newest, strict=False) if at and at + SECOND < since}
    return [file for _, file in platform.lake.files_of(table) if not any(file.endswith(path) for path in old)]


def _with_outcomes(con: Any, pipeline: Pipeline, known: pa.Table | None, outcome_type: str) -> None:
    """Create table `judged`: the answered rows with their outcome, NULL if it is not known yet."""
    if known is None:
        con.execute(f"CREATE VIEW judged AS SELECT *, NULL::{outcome_type} AS outcome FROM answered")
        return
    con.register("labels", known)
    same = " AND ".join(f'labels."{name}" = answered."{KEY}{name}"' for name in pipeline.entity_table.key)
    # A request may come one tick before the row's own: a person books today what happens tomorrow.
    con.register("following", _following(con, pipeline))
    con.execute(
        f"CREATE TABLE judged AS SELECT answered.*, label::{outcome_type} AS outcome FROM answered "
        f"JOIN following ON following.tick = answered.tick LEFT JOIN labels ON {same} "
        "AND labels.tick BETWEEN answered.tick AND following.next "
        'QUALIFY row_number() OVER (PARTITION BY request_id, "row" ORDER BY labels.tick) = 1'
    )


def _labels(con: Any, pipeline: Pipeline, platform: Platform) -> pa.Table | None:
    ((first, last),) = con.execute("SELECT min(tick), max(tick) FROM answered").fetchall()
    if first is None:
        return None
    schedule = pipeline.schedule
    as_of = schedule.last_at(platform.clock.now())
    until = schedule.shift(last, 1) if schedule.last is None else min(schedule.shift(last, 1), schedule.last)
    try:
        labels = features.labels(pipeline, schedule.range(first, until), as_of, platform)
    except TableMissing as error:
        log.info("%s: no outcomes are known yet: %s", pipeline.name, error)
        return None
    return labels if labels.num_rows else None


def _following(con: Any, pipeline: Pipeline) -> pa.Table:
    """Every tick that has answers, and the tick after it."""
    ticks = [tick for (tick,) in con.execute("SELECT DISTINCT tick FROM answered").fetchall()]
    following = [pipeline.schedule.shift(tick, 1) for tick in ticks]
    return pa.table({"tick": tick_array(ticks, pipeline.schedule), "next": tick_array(following, pipeline.schedule)})


def _group(version: int, rows: pa.Table | None, how: Compared) -> Group:
    if rows is None:
        nothing = np.empty(0)
        codes = nothing.astype(np.uint64)
        none = pa.table({name: pa.array([], pa.string()) for name in how.columns})
        outcome = how.read_outcomes(pa.chunked_array([], pa.null()))
        return Group(version, codes, codes, nothing.astype(bool), nothing, how.read_scores(none), outcome)
    return Group(
        version,
        rows["entity"].to_numpy(),
        rows["request"].to_numpy(),
        rows["failed"].to_numpy().astype(bool),
        rows["milliseconds"].to_numpy().astype(np.float64),
        how.read_scores(rows),
        how.read_outcomes(rows["outcome"]),
    )
