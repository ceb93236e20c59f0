"""A week in numbers: what the scores earned, how well they ranked or how far off they were, mean scores and outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement

PER = 1000  # rows
WATCHED = ("value", "kpi", "roc_auc", "label_rate", "calibration", "mae", "bias", "accuracy", "log_loss")


@dataclass(frozen=True)
class Day:
    """The numbers of one tick whose outcomes are complete; None for what was not measured.

    value: what the model's decisions on `rows` rows were worth. realised: the share of positive outcomes. promised: the mean
    score. mae, bias: of predicted numbers, the bias in standard deviations of the reference's outcomes. accuracy, log_loss,
    calibration: of predicted classes; the last is the share of right ones minus their mean probability. The fields *_expected
    are the same numbers of the reference, for as many rows.
    """

    tick: TickName
    rows: int = 0
    value: float | None = None
    value_expected: float | None = None
    kpi: float | None = None
    kpi_expected: float | None = None
    roc_auc: float | None = None
    roc_auc_expected: float | None = None
    realised: float | None = None
    realised_expected: float | None = None
    promised: float | None = None
    mae: float | None = None
    mae_expected: float | None = None
    bias: float | None = None
    accuracy: float | None = None
    accuracy_expected: float | None = None
    log_loss: float | None = None
    log_loss_expected: float | None = None
    calibration: float | None = None


@dataclass(frozen=True)
class Week:
    """The numbers of a week, or month: the value as a sum, the rest as row-weighted means; None if no tick has them.

    period: 'week', or 'month' if ticks are further apart than a week.
    """

    period: str
    first: date
    last: date
    days: tuple[Day, ...]

    @property
    def measured(self) -> int:
        return sum(day.rows > 0 for day in self.days)

    @property
    def rows(self) -> int:
        return sum(day.rows for day in self.days)

    def total(self, name: str) -> float | None:
        values = [float(at) for day in self.days if (at := getattr(day, name)) is not None]
        return sum(values) if values else None

    def mean(self, name: str) -> float | None:
        weighted = [(float(at), day.rows) for day in self.days if (at := getattr(day, name)) is not None and day.rows]
        rows = sum(n for _, n in weighted)
        return sum(at * n for at, n in weighted) / rows if rows else None


def days_until(pipeline: Pipeline, last: TickName, count: int, platform: Platform) -> list[Day]:
    """Read the numbers of `count` ticks that end with `last` from the ledger."""
    schedule = pipeline.schedule
    first = schedule.shift(last, 1 - count)
    rows = platform.ledger.all(
        Measurement,
        (Measurement.tick >= first) & (Measurement.tick <= last) & Measurement.what.in_(WATCHED),
        pipeline=pipeline.name,
        slice="",
    )
    by_tick: dict[TickName, dict[str, Measurement]] = {day: {} for day in schedule.names(first, last)}
    for row in rows:
        by_tick[row.tick][row.what] = row
    return [_day(tick, measurements) for tick, measurements in by_tick.items()]


def week(pipeline: Pipeline, days: Sequence[Day]) -> Week:
    first, last = (pipeline.schedule.local(day.tick) for day in (days[0], days[-1]))
    return Week(pipeline.schedule.period, first, last, tuple(days))


def _day(tick: TickName, measurements: Mapping[str, Measurement]) -> Day:
    def row(what: str) -> Measurement | None:
        measurement = measurements.get(what)
        return measurement if measurement is not None and measurement.value is not None else None

    value, auc, mae, bias = row("value"), row("roc_auc"), row("mae"), row("bias")
    rate, right, loss = row("label_rate"), row("accuracy"), row("log_loss")
    realised = _scaled(rate)
    calibration = row("calibration")
    kpi = row("kpi")
    return Day(
        tick=tick,
        # Counts the rows that the model itself scored, as the value does. The rate below is of all rows.
        rows=calibration.n if calibration else bias.n if bias else 0,
        value=None if value is None or value.value is None else value.value * value.n / PER,
        value_expected=None if value is None or value.reference is None else value.reference * value.n / PER,
        kpi=_scaled(kpi),
        kpi_expected=kpi.reference if kpi else None,
        roc_auc=auc.value if auc else None,
        roc_auc_expected=auc.reference if auc else None,
        realised=realised if calibration else None,
        realised_expected=rate.reference if rate else None,
        promised=realised - calibration.value
        if realised is not None and calibration and calibration.value is not None
        else None,
        mae=_scaled(mae),
        mae_expected=mae.reference if mae else None,
        bias=bias.value if bias else None,
        accuracy=right.value if right else None,
        accuracy_expected=right.reference if right else None,
        log_loss=_scaled(loss),
        log_loss_expected=loss.reference if loss else None,
        calibration=calibration.value if calibration and right else None,
    )


def _scaled(row: Measurement | None) -> float | None:
    """Turn a measurement stored as a multiple of the reference into its own unit."""
    if row is None or row.value is None or row.reference is None:
        return None
    return row.value * row.reference
