"""Place the windows of a training in time: train | gap | validation | gap | test."""

from __future__ import annotations

from dataclasses import dataclass

from mlprod_tasks.declaration import Schedule, Split, Tick, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.models.model_facts import DateRange, PerWindow

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


def windows(split: Split, as_of: Tick, label_delay_ticks: int, schedule: Schedule) -> Windows:
    """Return the windows of a training at the start of `as_of`, in whole ticks before.

    The test window ends with the last tick whose labels are complete: tick t with t + label_delay_ticks <= as_of.
    A declared length that is not a whole number of ticks is rounded up.

    Raises: HistoryTooShort.
    """
    shift, length, gap = schedule.shift, schedule.ticks_in, schedule.ticks_until(split.gap)
    last_test = shift(as_of.name, -label_delay_ticks)
    first_test = shift(last_test, 1 - length(split.test))
    last_validation = shift(first_test, -gap - 1)
    first_validation = shift(last_validation, 1 - length(split.validation))
    last_train = shift(first_validation, -gap - 1)
    wanted = shift(last_train, 1 - length(split.train)) if split.train else min(schedule.first, last_train)
    if wanted < schedule.first:
        _refuse(split, as_of, label_delay_ticks, schedule, schedule.ticks_between(wanted, schedule.first))

    def ticks(first: TickName, last: TickName) -> TickRange:
        return schedule.range(first, last)

    return Windows(ticks(wanted, last_train), ticks(first_validation, last_validation), ticks(first_test, last_test))


def on_schedule(dates: PerWindow[DateRange], schedule: Schedule) -> Windows:
    """Return the windows that were recorded as `dates`."""
    return Windows(*(schedule.range(first, last) for _, (first, last) in dates.named()))


def _refuse(split: Split, as_of: Tick, label_delay_ticks: int, schedule: Schedule, missing: int) -> None:
    train, gap = schedule.ticks_in(split.train) if split.train else 1, schedule.ticks_until(split.gap)
    validation, test = schedule.ticks_in(split.validation), schedule.ticks_in(split.test)
    needed = train + 2 * gap + validation + test + label_delay_ticks
    raise HistoryTooShort(
        f"a training as of {as_of} needs {needed} ticks of history (train {train}, gap {gap}, validation "
        f"{validation}, gap {gap}, test {test}, label delay {label_delay_ticks}), "
        f"but the schedule starts at {schedule.first}: {missing} {'tick is' if missing == 1 else 'ticks are'} missing. Train "
        f"as of {schedule.shift(as_of.name, missing)} or later, or declare shorter windows"
    )
