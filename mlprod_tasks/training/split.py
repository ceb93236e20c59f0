"""Place the windows of a training in time: train | gap | validation | gap | test."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mlprod_tasks.declaration import Pipeline, Schedule, Split, Tick, TickRange, Ticks
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.split import least_ticks
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.models.model_facts import DateRange, PerWindow
from mlprod_tasks.platform import Platform

TRAIN, VALIDATION, TEST = "train", "validation", "test"


class HistoryTooShort(ValueError):
    """The schedule has too few ticks before `as_of` for the declared windows.

    The message says how many are missing.
    """


@dataclass(frozen=True)
class Windows(PerWindow[TickRange]):
    """The ticks whose rows are used to train, tune and test.

    The ticks between them are not used.
    """

    def dates(self) -> PerWindow[DateRange]:
        """Return the first and last tick of each window, as they are recorded."""
        return PerWindow(*(DateRange(ticks.first, ticks.last) for _, ticks in self.named()))


def windows(
    split: Split, as_of: Tick, label_delay_ticks: int, schedule: Schedule, populated: Sequence[TickName] = ()
) -> Windows:
    """Return the windows of a training at the start of `as_of`, in whole ticks before.

    The test window ends with the last tick whose labels are complete: tick t with t + label_delay_ticks <= as_of.
    A declared length that is not a whole number of ticks is rounded up.

    populated: the ticks that have rows, in order, of which windows declared by `Ticks` have as many as they say.

    Raises: HistoryTooShort.
    """
    shift, gap = schedule.shift, schedule.ticks_until(split.gap)

    def begin(name: str, length: timedelta | Ticks, last: TickName) -> TickName:
        if not isinstance(length, Ticks):
            return shift(last, 1 - schedule.ticks_in(length))
        there = bisect_right(populated, last)
        if there < length.count:
            raise HistoryTooShort(
                f"a training as of {as_of} needs {length.count} ticks with rows for its {name} window up to {last}, but there "
                f"are {there}: train later, ingest more history, or declare fewer in split.{name}"
            )
        return populated[there - length.count]

    last_test = shift(as_of.name, -label_delay_ticks)
    first_test = begin(TEST, split.test, last_test)
    last_validation = shift(first_test, -gap - 1)
    first_validation = begin(VALIDATION, split.validation, last_validation)
    last_train = shift(first_validation, -gap - 1)
    wanted = begin(TRAIN, split.train, last_train) if split.train else min(schedule.first, last_train)
    if wanted < schedule.first:
        _refuse(split, as_of, label_delay_ticks, schedule, schedule.ticks_between(wanted, schedule.first))

    def ticks(first: TickName, last: TickName) -> TickRange:
        return schedule.range(first, last)

    return Windows(ticks(wanted, last_train), ticks(first_validation, last_validation), ticks(first_test, last_test))


def windows_of(pipeline: Pipeline, as_of: Tick, platform: Platform, versions: Mapping[str, int] | None = None) -> Windows:
    """Return the `windows` of a use case that is split by time. versions: of the lake's tables, to count ticks with rows.

    Raises: HistoryTooShort; TableMissing.
    """
    populated = populated_ticks(pipeline, as_of, platform, versions)
    return windows(pipeline.windows, as_of, pipeline.label_delay_ticks, pipeline.schedule, populated)


def populated_ticks(
    pipeline: Pipeline, as_of: Tick, platform: Platform, versions: Mapping[str, int] | None = None
) -> list[TickName]:
    """Return the ticks before `as_of` that have rows to score, in order; none if no window counts them."""
    schedule = pipeline.schedule
    if not pipeline.windows.is_counted or as_of.name <= schedule.first:
        return []
    before = schedule.range(schedule.first, schedule.shift(as_of.name, -1))
    rows = Snapshot(pipeline, platform, versions).rows_to_score(before)
    return sorted(tick for tick, count in rows.items() if count)


def on_schedule(dates: PerWindow[DateRange], schedule: Schedule) -> Windows:
    """Return the windows that were recorded as `dates`."""
    return Windows(*(schedule.range(first, last) for _, (first, last) in dates.named()))


def _refuse(split: Split, as_of: Tick, label_delay_ticks: int, schedule: Schedule, missing: int) -> None:
    train, validation, test = (least_ticks(one, schedule) for one in (split.train, split.validation, split.test))
    gap = schedule.ticks_until(split.gap)
    needed = train + 2 * gap + validation + test + label_delay_ticks
    raise HistoryTooShort(
        f"a training as of {as_of} needs {needed} ticks of history (train {train}, gap {gap}, validation "
        f"{validation}, gap {gap}, test {test}, label delay {label_delay_ticks}), "
        f"but the schedule starts at {schedule.first}: {missing} {'tick is' if missing == 1 else 'ticks are'} missing. Train "
        f"as of {schedule.shift(as_of.name, missing)} or later, or declare shorter windows"
    )
