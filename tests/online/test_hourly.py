"""Hourly ticks on request: the features of the batch over a change of the clock, and features that are stale within hours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, time, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.features import OnlineFeatures
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform import Platform, names
from tests.support.hourly_shop import AUTUMN, HOUR, SPRING, ZONE, pipeline, tables

ORDER = {"order_id": 1, "ordered_at": "2013-11-03T05:10:00Z", "channel": "web", "amount": 12.5}


def declared(day: date) -> Pipeline:
    plain = pipeline(day)
    more = (
        ml.Expression("local_hour", f"extract(hour FROM predict_at AT TIME ZONE '{ZONE}')", "int", "on the wall"),
        ml.Expression("tick_day", "left(tick, 10)", "text", "the name of an hour is a text"),
        ml.Trailing(
            "own",
            "orders",
            {"channel": "channel"},
            (ml.hours(1), ml.hours(25)),
            (ml.Sum("amount"), ml.SinceLast(), ml.Std("amount"), ml.Quantile("amount", 0.9)),
        ),
    )
    return replace(plain, features=(*plain.features, *more), serving=ml.Serving())


def put(platform: Platform, pipeline: Pipeline, orders: pd.DataFrame) -> None:
    """The orders in the partitions of their hours: what became known in the hour before a tick."""
    at = orders["ordered_at"] - timedelta(minutes=15)
    whole = at.dt.floor("h") + timedelta(minutes=15) + HOUR
    rows = orders.assign(tick=whole.dt.strftime("%Y-%m-%dT%H%MZ")).sort_values(["tick", "order_id"])
    table = pa.Table.from_pandas(rows, preserve_index=False)
    kinds = {"order_id": pa.int64(), "ordered_at": pa.timestamp("us", "UTC"), "channel": pa.string(), "tick": pa.string()}
    table = table.cast(pa.schema([(name, kinds.get(name, pa.float64())) for name in table.column_names]))
    ticks = sorted(rows["tick"].unique())
    platform.lake.replace_ticks(names.raw(pipeline, "orders"), ml.TickRange(pipeline.schedule, ticks[0], ticks[-1]), table)


def hours(day: date, n: int) -> list[str]:
    begin = pd.Timestamp(day, tz=ZONE).tz_convert("UTC") + timedelta(minutes=15)
    return [(begin + i * HOUR).strftime("%Y-%m-%dT%H%MZ") for i in range(n)]


@pytest.mark.parametrize("day", [AUTUMN, SPRING], ids=["clock put back", "clock put forward"])
@pytest.mark.parametrize("of_channels", [False, True], ids=["orders", "a population"])
def test_every_hour_around_a_change_of_the_clock_has_the_features_of_its_batch(
    day: date, of_channels: bool, make_platform: Callable[..., Platform]
) -> None:
    platform, one = make_platform(), declared(day)
    put(platform, one, tables(day)[0])
    if of_channels:
        pairs = {"channel": "channel"}
        one = replace(
            one,
            entity=ml.Population("channels", seen_in="orders", by=("channel",), within=ml.hours(2), where="amount > 120"),
            features=one.features[2:],
            label=ml.Outcome("orders", pairs, ml.Any(where="amount > 200"), within=ml.hours(1)),
            fallback=ml.RateTable(by=("local_hour",)),
            model=replace(one.model, categorical=()),
        )
    for filled in (12, 23):
        of_day = hours(day, 25)
        fill_online(one, one.schedule.tick(of_day[filled]), platform)
        assert sum(_compared(one, name, platform) for name in of_day[max(0, filled - 14) : filled + 1]) > 10


def _compared(pipeline: Pipeline, name: str, platform: Platform) -> int:
    checked = compared(pipeline, pipeline.schedule.tick(name), platform)
    assert (checked.share or 0.0, checked.differing, checked.unanswered) == (0.0, {}, ""), checked.examples
    return checked.rows


def test_features_are_stale_two_hours_after_the_last_hour_that_was_filled(make_platform: Callable[..., Platform]) -> None:
    platform, one = make_platform(), declared(AUTUMN)
    put(platform, one, tables(AUTUMN)[0])
    name = hours(AUTUMN, 6)[-1]
    fill_online(one, one.schedule.tick(name), platform)
    online, complete = OnlineFeatures(one, platform.online_store), one.schedule.tick(name).start
    for after, answer in ((timedelta(hours=2), "model"), (timedelta(hours=2, microseconds=1), "fallback")):
        told = online.row(ORDER, complete + after)
        assert told.answer == answer
        assert told.age == after.total_seconds()
    assert told.reasons[0] == "recent is stale: complete up to 2013-11-03 09:15:00+00:00"
    assert online.row(ORDER, complete - ml.days(1)).answer == "model", "it answers a whole day back"
    assert "covers times from" in online.row(ORDER, complete - ml.hours(25)).reasons[0]


@pytest.mark.parametrize(
    ("schedule", "stale_after", "look_back"),
    [
        ({"every": "hour"}, ml.hours(2), ml.hours(24)),
        ({"every": "hour", "hours": 6}, ml.hours(11), ml.hours(24)),
        ({"every": "day"}, ml.hours(30), ml.hours(50)),
        ({"every": "week", "on": "monday"}, ml.hours(7 * 24 + 6), ml.hours(2 * (7 * 24 + 1))),
        ({"every": "month", "on": 31}, ml.hours(31 * 24 + 6), ml.hours(2 * (31 * 24 + 1))),
    ],
    ids=str,
)
def test_how_old_features_may_be_follows_the_ticks(
    schedule: dict[str, object], stale_after: timedelta, look_back: timedelta
) -> None:
    starts = date(2013, 1, 31) if schedule["every"] == "month" else date(2013, 1, 7)
    given = ml.Schedule(at=time(0, 15), timezone="UTC", starts=starts, **schedule)
    told = ml.Serving().of(given)
    assert (told.stale_after, told.look_back) == (stale_after, look_back)
    own = ml.Serving(stale_after=ml.hours(1.5), look_back=ml.hours(3))
    assert own.of(given) == own


def test_features_that_are_stale_before_the_next_hour_are_refused() -> None:
    with pytest.raises(ValueError, match=r"stale_after 0:30:00 is shorter than .* Leave it out, or declare 2:00:00 or more"):
        replace(declared(AUTUMN), serving=ml.Serving(stale_after=ml.hours(0.5)))
