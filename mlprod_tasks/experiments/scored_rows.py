"""The rows that units are compared by, each with its outcome: those scored in batch, or those answered on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import pyarrow as pa

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange, UnitMetric
from mlprod_tasks.declaration.checks.evaluation import words_of
from mlprod_tasks.declaration.experiment import EXPERIMENT, PROPENSITY, VARIANT, Rows
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.task import PREDICTION
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.experiments.answered import answered_otherwise
from mlprod_tasks.experiments.assigned_sql import in_run, propensity_in, variant_in, with_second
from mlprod_tasks.experiments.assignment import Variant, unit_columns
from mlprod_tasks.experiments.left_out import rows_left_out, ticks_left_out
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Scoring
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.platform.tick_columns import tick_array

if TYPE_CHECKING:
    import duckdb

KNOWN = "both_known"  # the table of scored rows, each with its outcome or without
SEEN = "units_seen"  # the table of units that had a row before
KEY, FEATURE = "key_", "feature_"  # before the names of columns in the log of requests
MOST_OTHERS = 0.01  # of a variant's requests that something else answers, as a replica does that cannot load the version yet


@dataclass(frozen=True)
class ArmsRead:
    """What is read of rows that a bandit gave arms, besides what metrics read: their probability, and features.

    column: what names the arm of a row, which is its variant then; features: by which it chose.
    """

    column: str
    features: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[str, ...]:
        """What KNOWN calls the features."""
        return tuple(f"given by {i}" for i, _ in enumerate(self.features))

    def sql(self, name: str, called: Mapping[str, str]) -> str:
        """Return the columns of KNOWN that name arm, probability and features. called: what the table calls a feature."""
        both = zip(self.features, self.stored, strict=True)
        named = "".join(f", {quoted(called.get(one, one))} AS {quoted(stored)}" for one, stored in both)
        return f"{self.arm(name)} AS variant, {propensity_in(name)} AS {PROPENSITY}{named}"

    def arm(self, name: str) -> str:
        """SQL of the arm of a row. name: of the bandit or experiment that gave it."""
        return variant_in(name) if self.column == VARIANT else quoted(self.column)


class ScoredRows(Protocol):
    """Where rows of an experiment are, by who asked for them."""

    def table(self, pipeline: Pipeline) -> str:
        """Return the lake's table."""

    def by_tick(self, pipeline: Pipeline, ticks: TickRange, platform: Platform) -> dict[TickName, int]:
        """Return how many rows ticks have."""

    def complete(self, pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> set[TickName]:
        """Return the ticks of that range of which all rows are there."""

    def open(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        metrics: Sequence[UnitMetric],
        ticks: TickRange,
        as_of: Tick,
        platform: Platform,
        experiment: str | None,
        arms: ArmsRead | None = None,
        covariates: Sequence[str] = (),
    ) -> bool:
        """Create the table KNOWN; return whether there are rows at all.

        Its columns: the key, tick, what the metrics read, variant, and label, NULL where no outcome is known before `as_of`.
        experiment: only rows that it gave a variant; None: all that have a unit, with variant ''. arms: the variants are those
        of a bandit. covariates: features that are read, too.
        """

    def unit_names(self, pipeline: Pipeline) -> dict[str, str]:
        """Return what the lake's table calls the columns that make a unit."""

    def wrong(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        run: ExperimentRun,
        variants: Sequence[Variant],
        ticks: TickRange,
        platform: Platform,
    ) -> Iterator[str]:
        """Yield a sentence for each thing that voids the experiment: rows of another version, or without a variant."""


def note_seen(
    con: duckdb.DuckDBPyConnection, pipeline: Pipeline, rows: ScoredRows, before: TickName, platform: Platform
) -> None:
    """Create the table SEEN of the units that had a row before a tick."""
    named = rows.unit_names(pipeline)
    columns = ", ".join(f"{quoted(stored)} AS {quoted(name)}" for name, stored in named.items())
    schedule, source = pipeline.schedule, None
    if before > schedule.first:
        source = _source(con, pipeline, rows, schedule.range(schedule.first, schedule.shift(before, -1)), platform)
    if source is None:
        columns = ", ".join(f"NULL::VARCHAR AS {quoted(name)}" for name in named)
        con.execute(f"CREATE OR REPLACE TABLE {SEEN} AS SELECT {columns} WHERE false")
    else:
        con.execute(f"CREATE OR REPLACE TABLE {SEEN} AS SELECT DISTINCT {columns} FROM {source}")


def leave_out_seen(con: duckdb.DuckDBPyConnection, pipeline: Pipeline) -> None:
    """Take the rows of units in SEEN out of KNOWN."""
    same = " AND ".join(f"{KNOWN}.{quoted(name)} = {SEEN}.{quoted(name)}" for name in unit_columns(pipeline))
    con.execute(f"DELETE FROM {KNOWN} USING {SEEN} WHERE {same}")


def _read_columns(pipeline: Pipeline, metrics: Sequence[UnitMetric], covariates: Sequence[str]) -> list[str]:
    """The columns besides the key that units, metrics and covariates read."""
    words = {word for metric in metrics for word in words_of(metric.sql) | words_of(metric.per)}
    wanted = [*unit_columns(pipeline), "score", "decision", PREDICTION, *pipeline.value_features, *covariates]
    return list(dict.fromkeys([*wanted, *(one for one in pipeline.feature_names if one in words)]))


def _assigned(name: str, arms: ArmsRead | None, called: Mapping[str, str]) -> tuple[str, str]:
    """Return SQL of what is read of an assignment by an experiment or bandit, and of which rows have one."""
    arm = variant_in(name) if arms is None else arms.arm(name)
    own = f"{arm} AS variant" if arms is None else arms.sql(name, called)
    return own, f"({in_run(name)}) AND {arm} IS NOT NULL"


def _columns(con: duckdb.DuckDBPyConnection, source: str) -> set[str]:
    return {column for column, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def _source(
    con: duckdb.DuckDBPyConnection, pipeline: Pipeline, rows: ScoredRows, ticks: TickRange, platform: Platform
) -> str | None:
    """What follows FROM for the rows of some ticks, with the columns of a second experiment; None if there are none."""
    name = rows.table(pipeline)
    files = platform.lake.files_if_any(name, ticks) if platform.lake.exists(name) else []
    if not files:
        return None
    source = f"read_parquet({listed(files)}, union_by_name = true, hive_partitioning = true)"
    return with_second(source, _columns(con, source))


class BatchRows:
    """See `ScoredRows`: the predictions of each tick."""

    def table(self, pipeline: Pipeline) -> str:
        return names.predictions(pipeline)

    def by_tick(self, pipeline: Pipeline, ticks: TickRange, platform: Platform) -> dict[TickName, int]:
        within = Scoring.tick >= ticks.first, Scoring.tick <= ticks.last
        return {one.tick: one.rows for one in platform.ledger.all(Scoring, *within, pipeline=pipeline.name)}

    def unit_names(self, pipeline: Pipeline) -> dict[str, str]:
        return {name: name for name in unit_columns(pipeline)}

    def complete(self, pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> set[TickName]:
        return set(self.by_tick(pipeline, pipeline.schedule.range(first, last), platform))

    def open(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        metrics: Sequence[UnitMetric],
        ticks: TickRange,
        as_of: Tick,
        platform: Platform,
        experiment: str | None,
        arms: ArmsRead | None = None,
        covariates: Sequence[str] = (),
    ) -> bool:
        source = _source(con, pipeline, self, ticks, platform)
        there = set() if source is None else _columns(con, source)
        if not there or (experiment is not None and EXPERIMENT not in there):
            return False
        key = [*pipeline.entity_table.key, "tick"]
        columns = ", ".join(
            quoted(one) for one in dict.fromkeys([*key, *_read_columns(pipeline, metrics, covariates)]) if one in there
        )
        if experiment is None:
            # Rows without a unit would be assigned to no variant.
            whole = " AND ".join(f"{quoted(one)} IS NOT NULL" for one in unit_columns(pipeline) if one in there)
            scored = f"SELECT {columns}, '' AS variant FROM {source} WHERE {whole}"
        else:
            own, of_row = _assigned(experiment, arms, {})
            scored = f"SELECT {columns}, {own} FROM {source} WHERE {of_row}"
        con.register("outcomes_known", features.labels(pipeline, ticks, as_of, platform))
        by = ", ".join(map(quoted, key))
        con.execute(
            f"CREATE OR REPLACE TABLE {KNOWN} AS SELECT scored.*, label FROM ({scored}) AS scored "
            f"LEFT JOIN outcomes_known USING ({by})"
        )
        return True

    def wrong(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        run: ExperimentRun,
        variants: Sequence[Variant],
        ticks: TickRange,
        platform: Platform,
    ) -> Iterator[str]:
        source = _source(con, pipeline, self, ticks, platform)
        for one in variants:
            others, rows, what = answered_otherwise(con, source, pipeline, run, one, "model_version <> ?", platform)
            if others:
                yield f"{others:,} of {rows:,} rows of {one.name} were answered by {what}"
        # Ticks that assigned no row: the champion was another by then, or the fallback answered all.
        assert source is not None
        if missing := ticks_left_out(con, source, run, self.unit_names(pipeline)):
            yield (
                f"no row was assigned at {format_count(len(missing), 'tick')}, the first {missing[0]}: the champion was not "
                "the control any more, or could not answer"
            )


class RequestRows:
    """See `ScoredRows`: the log of requests. Of several requests about a row, the last one counts."""

    NOT_READ: ClassVar[str] = "route IN ('absent', 'refused')"  # what answered nothing decided nothing

    def table(self, pipeline: Pipeline) -> str:
        return names.requests(pipeline)

    def by_tick(self, pipeline: Pipeline, ticks: TickRange, platform: Platform) -> dict[TickName, int]:
        name = self.table(pipeline)
        rows = platform.lake.rows_of_ticks(name) if platform.lake.exists(name) else {}
        return {tick: n for tick, n in rows.items() if ticks.first <= tick <= ticks.last}

    def unit_names(self, pipeline: Pipeline) -> dict[str, str]:
        logged = self._logged(pipeline)
        return {name: logged[name] for name in unit_columns(pipeline)}

    def _logged(self, pipeline: Pipeline) -> dict[str, str]:
        """What the log calls the key and the features."""
        key = pipeline.entity_table.key
        features_too = {name: f"{FEATURE}{name}" for name in pipeline.feature_names if name not in key}
        return {name: f"{KEY}{name}" for name in key} | features_too

    def complete(self, pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> set[TickName]:
        """Return the ticks up to the last one of which requests are collected: there may be none of a tick."""
        name = self.table(pipeline)
        collected = set(platform.lake.ticks(name)) if platform.lake.exists(name) else set()
        return {tick for tick in pipeline.schedule.names(first, last) if collected and tick <= max(collected)}

    def open(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        metrics: Sequence[UnitMetric],
        ticks: TickRange,
        as_of: Tick,
        platform: Platform,
        experiment: str | None,
        arms: ArmsRead | None = None,
        covariates: Sequence[str] = (),
    ) -> bool:
        asked = self._asked(pipeline, ticks)
        source = _source(con, pipeline, self, asked, platform)
        there = set() if source is None else _columns(con, source)
        if not there or (experiment is not None and EXPERIMENT not in there):
            return False
        logged = self._logged(pipeline)
        wanted = dict.fromkeys([*pipeline.entity_table.key, *_read_columns(pipeline, metrics, covariates)])
        columns = ", ".join(
            f"{quoted(logged.get(name, name))} AS {quoted(name)}" for name in wanted if logged.get(name, name) in there
        )
        if experiment is None:
            chosen = " AND ".join(
                f"{quoted(logged[name])} IS NOT NULL" for name in unit_columns(pipeline) if logged[name] in there
            )
            variant = "'' AS variant"
        else:
            variant, chosen = _assigned(experiment, arms, logged)
        own = f'tick AS asked, "at" AS answered, request_id AS request, "row" AS place, NOT {self.NOT_READ} AS scored'
        con.execute(f"CREATE OR REPLACE TABLE answered AS SELECT {columns}, {variant}, {own} FROM {source} WHERE {chosen}")
        # Of requests about a row the last one of each variant counts, as a row that saw two voids an experiment; of a bandit,
        # which gives a row its arm anew with each version of its state, the last one of all.
        self._join(con, pipeline, ticks, asked, as_of, platform, of_one="" if arms is not None else ", variant")
        return True

    def _asked(self, pipeline: Pipeline, ticks: TickRange) -> TickRange:
        """The ticks of requests about rows of `ticks`: it may come one tick before the row's own."""
        schedule = pipeline.schedule
        return schedule.range(max(schedule.first, schedule.shift(ticks.first, -1)), ticks.last)

    def _join(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        ticks: TickRange,
        asked: TickRange,
        as_of: Tick,
        platform: Platform,
        of_one: str,
    ) -> None:
        """Create KNOWN of the rows whose tick is in `ticks`: the tick of its outcome, or of the request if none is known."""
        schedule, of_asked = pipeline.schedule, list(asked.names)
        after = schedule.shift(ticks.last, 1)
        until = after if schedule.last is None else min(after, schedule.last)
        con.register("outcomes_known", features.labels(pipeline, schedule.range(asked.first, until), as_of, platform))
        following = [schedule.shift(tick, 1) for tick in of_asked]
        con.register(
            "following_ticks",
            pa.table({"asked": tick_array(of_asked, schedule), "following": tick_array(following, schedule)}),
        )
        con.register("read_ticks", pa.table({"tick": tick_array(list(ticks.names), schedule)}))
        keys = [quoted(name) for name in pipeline.entity_table.key]
        same = " AND ".join(f"known.{name} = answered.{name}" for name in keys)
        own = "answered.* EXCLUDE (asked, answered, request, place, scored)"
        con.execute(
            f"CREATE OR REPLACE TABLE {KNOWN} AS SELECT * EXCLUDE (answered, request, place) FROM ("
            f"SELECT {own}, answered, request, place, coalesce(known.tick, answered.asked) AS tick, "
            "CASE WHEN scored THEN known.label END AS label "
            "FROM answered JOIN following_ticks USING (asked) "
            f"LEFT JOIN outcomes_known AS known ON {same} AND known.tick BETWEEN answered.asked AND following_ticks.following "
            "QUALIFY row_number() OVER (PARTITION BY request, place ORDER BY known.tick) = 1) "
            "SEMI JOIN read_ticks USING (tick) "
            f"QUALIFY row_number() OVER (PARTITION BY {', '.join(keys)}, tick{of_one} "
            "ORDER BY answered DESC, request DESC, place DESC) = 1"
        )

    def wrong(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        run: ExperimentRun,
        variants: Sequence[Variant],
        ticks: TickRange,
        platform: Platform,
    ) -> Iterator[str]:
        source = _source(con, pipeline, self, ticks, platform)
        answered = f"NOT {self.NOT_READ}"
        for one in variants:
            # A row whose features let the fallback answer was given to no version: assigned is ''.
            version = "assigned <> '' AND (model_version <> ? OR fallback)"
            others, rows, what = answered_otherwise(con, source, pipeline, run, one, version, platform, answered)
            if others > MOST_OTHERS * rows:
                yield f"{others:,} of {rows:,} requests of {one.name} were answered by {what}"
        until = None if run.ended_at is None else run.ended_at.isoformat()
        assert source is not None
        while_it_ran = f'{answered} AND ("at" < ?::TIMESTAMPTZ OR ?::TIMESTAMPTZ IS NULL)'
        missing, rows = rows_left_out(con, source, run, self.unit_names(pipeline), while_it_ran, [until, until])
        if missing > MOST_OTHERS * rows:
            yield (
                f"{missing:,} of {rows:,} requests were not assigned: the champion was not the control any more, a rollout let "
                "another version answer, or a replica could not read the ledger"
            )
        if pipeline.of_task.decides:
            query = f"SELECT count(*) FROM {source} WHERE ({in_run(run.name)}) AND decision IS NULL AND {answered}"
            ((left,),) = con.execute(query).fetchall()
            if left:
                yield f"{format_count(left, 'request')} {'was' if left == 1 else 'were'} left to people to decide"


SOURCES: dict[Rows, ScoredRows] = {"batch": BatchRows(), "requests": RequestRows()}
