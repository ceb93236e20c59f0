"""Ticks of a month, of working days and of shifts on request: the features of the batch, over changes of the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, time, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform import Platform, names
from tests.support.hourly_shop import SPRING, pipeline

ZONE = "Europe/Zurich"
FIRST, LAST = date(2023, 1, 2), date(2023, 4, 29)  # months of 31, 28, 31 and 30 days; the clock is put forward on 26 March
CHANNEL = {"channel": "channel"}


def of_days(days: pd.DatetimeIndex, hours: tuple[int, ...] = (4,)) -> pd.DatetimeIndex:
    """Moments on these days, computed apart from the project."""
    at = [pd.Timestamp(day.year, day.month, day.day, hour) for day in days for hour in hours]
    return pd.DatetimeIndex(at).tz_localize(ZONE).tz_convert("UTC")


# The schedule, when its ticks are, and those at which the store is filled: after February, and around the change of the clock.
CLOCKS = {
    "the last of a month": (
        ml.Schedule(at=time(4), timezone=ZONE, starts=date(2022, 12, 31), every="month", on=31),
        of_days(pd.date_range("2022-12-31", "2023-04-30", freq="ME")),
        ("2023-02-28", "2023-03-31"),
    ),
    "the thirtieth": (
        ml.Schedule(at=time(4), timezone=ZONE, starts=date(2022, 12, 30), every="month", on=30),
        of_days(pd.DatetimeIndex(["2022-12-30", "2023-01-30", "2023-02-28", "2023-03-30", "2023-04-30"])),
        ("2023-02-28", "2023-04-30"),
    ),
    "working days": (
        ml.Schedule.cron("0 4 * * 1-5", ZONE, FIRST),
        of_days(pd.bdate_range(FIRST, LAST)),
        ("2023-03-24", "2023-03-27"),
    ),
    "three shifts": (
        ml.Schedule.cron("0 6,14,22 * * *", ZONE, FIRST),
        of_days(pd.date_range(FIRST, LAST), (6, 14, 22)),
        ("2023-03-26T0400Z", "2023-03-26T2000Z"),
    ),
}  # fmt: skip


def orders() -> pd.DataFrame:
    """Some thirty orders a day, some at the very moment of a tick."""
    random = np.random.default_rng(3)
    days = (LAST - FIRST).days
    at = pd.Timestamp(FIRST, tz="UTC") + pd.to_timedelta(np.sort(random.integers(0, days * 24 * 60, days * 30)), unit="min")
    return pd.DataFrame(
        {
            "order_id": np.arange(at.size),
            "ordered_at": at,
            "channel": random.choice(["web", "app"], at.size),
            "amount": np.round(random.exponential(50, at.size), 2),
        }
    )


def declared(schedule: ml.Schedule, of_channels: bool) -> Pipeline:
    """Orders, or a population of channels, scored by a schedule."""
    shop = pipeline(SPRING)
    own = (
        ml.Expression("weekday", f"extract(isodow FROM predict_at AT TIME ZONE '{ZONE}')", "int", "of the moment"),
        ml.Trailing(
            "own",
            "orders",
            CHANNEL,
            (ml.days(1), ml.days(28)),
            (ml.Count(), ml.Sum("amount"), ml.SinceLast(), ml.Std("amount"), ml.Quantile("amount", 0.9)),
        ),
    )
    orders, payments = shop.tables
    shop = replace(
        shop,
        schedule=schedule,
        tables=(replace(orders, ticks_ahead=0), payments),
        features=(*shop.features[:2], *own),
        split=ml.Split(validation=ml.days(62), test=ml.days(62), gap=ml.days(1)),
        watches=ml.WATCHES,
        serving=ml.Serving(),
    )
    if not of_channels:
        return shop
    return replace(
        shop,
        entity=ml.Population("channels", seen_in="orders", by=("channel",), within=ml.days(3), where="amount > 20"),
        features=own,
        label=ml.Outcome("orders", CHANNEL, ml.Any(where="amount > 200"), within=ml.hours(1)),
        fallback=ml.RateTable(by=("weekday",)),
        model=replace(shop.model, categorical=()),
    )


@pytest.mark.parametrize(
    ("clock", "of_channels"),
    [
        ("the last of a month", False),
        ("the last of a month", True),
        ("the thirtieth", False),
        ("working days", True),
        ("three shifts", False),
    ],
)
def test_every_tick_has_the_features_of_its_batch_on_request(
    clock: str, of_channels: bool, make_platform: Callable[..., Platform]
) -> None:
    (schedule, starts, filled), came = CLOCKS[clock], orders()
    platform, one = make_platform(), declared(schedule, of_channels)
    put(platform, one, came, starts)
    seen = 0
    for name in filled:
        tick = schedule.tick(name)
        fill_online(one, tick, platform)
        before = schedule.tick(schedule.shift(tick.name, -1))
        for asked in (tick, before):
            assert asked.start in starts
            checked = compared(one, asked, platform)
            assert (checked.share or 0.0, checked.differing, checked.unanswered) == (0.0, {}, ""), checked.examples
            seen += checked.rows
        rows = features.build(one, schedule.range(tick.name), platform).table.to_pandas()
        known = came[(came["ordered_at"] < tick.start) & (came["ordered_at"] >= tick.start - timedelta(days=28))]
        counts = known.groupby("channel").size()
        assert rows["own_count_28d"].tolist() == [counts[channel] for channel in rows["channel"]]
    assert seen > len(filled)


def put(platform: Platform, pipeline: Pipeline, orders: pd.DataFrame, starts: pd.DatetimeIndex) -> None:
    """The orders in the partitions of the ticks by which they were known."""
    within_day = pipeline.schedule.is_within_day
    names_of = starts.strftime("%Y-%m-%dT%H%MZ") if within_day else starts.tz_convert(ZONE).date
    place = np.searchsorted(starts.as_unit("us").asi8, orders["ordered_at"].dt.as_unit("us").astype("int64"), side="right")
    inside = (place > 0) & (place < len(starts))
    rows = orders[inside].assign(tick=[names_of[i] for i in place[inside]])
    kinds = {"order_id": pa.int64(), "ordered_at": pa.timestamp("us", "UTC"), "channel": pa.string(), "amount": pa.float64()}
    schema = pa.schema([*kinds.items(), ("tick", pa.string() if within_day else pa.date32())])
    table = pa.Table.from_pandas(rows, preserve_index=False, schema=schema)
    ticks = ml.TickRange(pipeline.schedule, rows["tick"].min(), rows["tick"].max())
    platform.lake.replace_ticks(names.raw(pipeline, "orders"), ticks, table)
