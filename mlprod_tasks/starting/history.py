"""The history of a use case's data: its ticks, of which the first are learned from and the last are replayed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Pipeline, Schedule, Table, Tick, TickRange
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.platform import Platform, sources
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.training.split import HistoryTooShort, windows

# Ticks that are scored and monitored if the history is long enough: so many with complete outcomes, so many in all.
WITH_OUTCOMES, REPLAYED = 14, 28


class NoHistory(LookupError):
    """The scored table has no row, or no file, of a tick that the schedule has so far."""


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
    if schedule.moment(schedule.first) > platform.clock.now():
        raise NoHistory(
            f"{pipeline.name}: the schedule starts with tick {schedule.first}, which is not due yet: start it earlier"
        )
    scored = pipeline.entity_table if pipeline.population is None else pipeline.table(pipeline.population.seen_in)
    if scored.snapshots:
        return _of_snapshots(pipeline, scored, platform, REPLAYED if most is None else most)
    last = _last_file(pipeline, scored, platform) if scored.is_by_tick else _last_row(pipeline, scored, platform)
    ticks = schedule.range(schedule.first, last.name)
    wanted = min(WITH_OUTCOMES + pipeline.label_delay_ticks, REPLAYED) if most is None else most
    return History(ticks, _replayed(pipeline, list(ticks), wanted))


def _last_row(pipeline: Pipeline, scored: Table, platform: Platform) -> Tick:
    """The last tick with rows. Raises: NoHistory."""
    schedule = pipeline.schedule
    newest = _newest(scored, schedule, platform.settings)
    first = schedule.tick(schedule.first)
    if newest is None or newest < first.start:
        raise NoHistory(
            f"table {scored.name!r} has no row with {scored.time!r} after the schedule's start, {first}: look at the source, "
            "at `time` and at `starts` of the schedule"
        )
    last = schedule.last_at(min(newest + scored.known_after, platform.clock.now()))
    if scored.ticks_ahead == 0 and last.end <= platform.clock.now() and (schedule.last is None or last.name < schedule.last):
        return schedule.tick_at(last.end)  # rows of the last interval are in the partition of the tick that ends it
    return last


def _last_file(pipeline: Pipeline, scored: Table, platform: Platform) -> Tick:
    """The last tick that has a file, where each has one of its own. Raises: NoHistory."""
    schedule = pipeline.schedule
    last_due = schedule.last_at(platform.clock.now()).name
    due = {str(name): name for name in schedule.names(schedule.first, last_due)}
    found = [due[text] for text in sources.ticks_of_files(scored, platform.settings) if text in due]
    if not found:
        raise NoHistory(
            f"table {scored.name!r} has no file of a tick from {schedule.first} to {last_due}: look at the names of files, at "
            "`path` and at the schedule"
        )
    return schedule.tick(found[-1])


def _of_snapshots(pipeline: Pipeline, scored: Table, platform: Platform, most: int) -> History:
    """The ticks that have a file; of a source that is read as it is now, only the newest tick."""
    schedule = pipeline.schedule
    if not scored.is_by_tick:
        last = schedule.last_at(platform.clock.now())
        only = schedule.range(last.name)
        events = any(table.time is not None and not table.snapshots for table in pipeline.tables)
        return History(schedule.range(schedule.first, last.name) if events else only, only)
    ticks = schedule.range(schedule.first, _last_file(pipeline, scored, platform).name)
    return History(ticks, schedule.range(ticks.names[-min(most, len(ticks))], ticks.last))


def _replayed(pipeline: Pipeline, ticks: list[Tick], most: int) -> TickRange:
    """The most last ticks for which the windows before them leave more to train on than to test on."""
    schedule = pipeline.schedule
    last = ticks[-1]
    names = [tick.name for tick in ticks]  # before rows are ingested, each counts as one that has some
    for count in sorted({n for n in (most, most // 2, most // 4, 2, 1) if 0 < n < len(ticks)}, reverse=True):
        first = ticks[-count]
        try:
            chosen = windows(pipeline.windows, first, pipeline.label_delay_ticks, schedule, names)
        except HistoryTooShort:
            continue
        if len(chosen.train) >= len(chosen.test):
            return schedule.range(str(first), str(last))
    try:
        windows(pipeline.windows, last, pipeline.label_delay_ticks, schedule, names)
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
