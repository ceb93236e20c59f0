"""The history of a use case's data: its ticks, of which the first are learned from and the last are replayed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Files, Pipeline, Schedule, Table, Tick, TickRange
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.platform import Platform, sources
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.training.split import HistoryTooShort, windows

# Ticks that are scored and monitored if the history is long enough: so many with complete outcomes, so many in all.
WITH_OUTCOMES, REPLAYED = 14, 28
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class NoHistory(LookupError):
    """The scored table has no row with a time that the schedule covers."""


@dataclass(frozen=True)
class History:
    """ticks: all that the data has. replayed: the last ones; a model is trained as of the first of them."""

    ticks: TickRange
    replayed: TickRange

    @property
    def as_of(self) -> Tick:
        return next(iter(self.replayed))


def history(pipeline: Pipeline, platform: Platform, most: int | None = None) -> History:
    """Find the ticks of the data, and keep the last ones to replay, fewer if training needs the rest.

    most: how many to replay at most; None: so many that the outcomes of some of them are complete, but not too many.

    Raises: NoHistory; HistoryTooShort; SourceMissing, SourceUnreachable.
    """
    schedule = pipeline.schedule
    scored = pipeline.entity_table if pipeline.population is None else pipeline.table(pipeline.population.seen_in)
    if scored.snapshots:
        return _of_snapshots(pipeline, scored, platform, REPLAYED if most is None else most)
    newest = _newest(scored, schedule, platform.settings)
    first = schedule.tick(schedule.first)
    if newest is None or newest < first.start:
        raise NoHistory(
            f"table {scored.name!r} has no row with {scored.time!r} after the schedule's start, {first}: look at the source, "
            "at `time` and at `schedule.first`"
        )
    last = schedule.last_at(min(newest + scored.known_after, platform.clock.now()))
    if scored.ticks_ahead == 0 and last.end <= platform.clock.now() and (schedule.last is None or last.name < schedule.last):
        last = schedule.tick_at(last.end)  # rows of the last interval are in the partition of the tick that ends it
    ticks = schedule.range(str(first), str(last))
    wanted = min(WITH_OUTCOMES + pipeline.label_delay_ticks, REPLAYED) if most is None else most
    return History(ticks, _replayed(pipeline, list(ticks), wanted))


def _of_snapshots(pipeline: Pipeline, scored: Table, platform: Platform, most: int) -> History:
    """The ticks that have a file; of a source that is read as it is now, only the newest tick."""
    schedule = pipeline.schedule
    last = schedule.last_at(platform.clock.now())
    if not scored.is_by_tick:
        only = schedule.range(last.name)
        events = any(table.time is not None and not table.snapshots for table in pipeline.tables)
        return History(schedule.range(schedule.first, last.name) if events else only, only)
    newest = _newest_of_names(scored, platform.settings)
    if newest is None or newest < schedule.tick(schedule.first).start:
        raise NoHistory(f"table {scored.name!r} has no file of a tick from {schedule.first} on")
    ticks = schedule.range(schedule.first, schedule.last_at(newest).name)
    return History(ticks, schedule.range(ticks.names[-min(most, len(ticks))], ticks.last))


def _replayed(pipeline: Pipeline, ticks: list[Tick], most: int) -> TickRange:
    """The most last ticks for which the windows before them leave more to train on than to test on."""
    schedule = pipeline.schedule
    last = ticks[-1]
    for count in sorted({n for n in (most, most // 2, most // 4, 2, 1) if 0 < n < len(ticks)}, reverse=True):
        first = ticks[-count]
        try:
            chosen = windows(pipeline.windows, first, pipeline.label_delay_ticks, schedule)
        except HistoryTooShort:
            continue
        if len(chosen.train) >= len(chosen.test):
            return schedule.range(str(first), str(last))
    try:
        windows(pipeline.windows, last, pipeline.label_delay_ticks, schedule)
    except HistoryTooShort as error:
        raise HistoryTooShort(f"{error}. The data ends at {last}: declare shorter windows in `split`") from None
    return schedule.range(str(last), str(last))


def _newest(dated: Table, schedule: Schedule, settings: Settings) -> datetime | None:
    """The latest time in the source of a table."""
    table, zone = dated.at_source, schedule.timezone if dated.dated_by else dated.source.zone
    if table.time is None:
        raise NoHistory(f"table {table.name!r} has no time, so its rows belong to no ticks and cannot be replayed")
    if (text := sources.newest(table, settings)) is not None:
        return _latest([pa.array([text])], zone)
    if table.is_by_tick:
        return _newest_of_names(table, settings)
    column = table.column(table.time)
    time_alone = replace(table, columns=(column,), key=(column.name,))
    return _latest((rows[column.name] for rows in sources.read(time_alone, settings, None, None)), zone)


def _latest(arrays: Iterable[pa.Array], zone: str) -> datetime | None:
    """The latest time of arrays as the source has them, in UTC."""
    newest: datetime | None = None
    for array in arrays:
        times = convert(array, "timestamp", zone).values
        found = pc.max(times).as_py()
        newest = found if newest is None or (found is not None and found > newest) else newest
    return newest


def _newest_of_names(table: Table, settings: Settings) -> datetime | None:
    """The end of the tick of the last file, where each tick has a file of its own."""
    assert isinstance(table.source, Files)
    every = replace(table, source=replace(table.source, path=table.source.path.replace("{tick}", "*")))
    names = (DATE.search(name) for name in sources.file_names(every, settings))
    days = [date.fromisoformat(found[0]) for found in names if found]
    return None if not days else datetime.fromisoformat(f"{max(days)}T00:00:00+00:00")
