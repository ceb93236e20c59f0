"""Airflow runs a tick when it begins, also on days on which the clock changes."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.airflow_process import told_by
from tests.support.paths import FLIGHTS, REPOSITORY

PROGRAM = """
    import json, sys
    from dataclasses import replace
    from datetime import date, datetime, time, timedelta
    from itertools import pairwise
    from pathlib import Path
    from random import Random

    import pendulum
    from croniter import croniter
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.trigger import CronPartitionTimetable

    from mlprod_airflow.runs import each_tick, nightly, each_week
    from mlprod_tasks.declaration import Schedule, load
    from mlprod_tasks.declaration.rhythm import tick_named

    flights = load(Path(sys.argv[1]))

    def utc(moment):
        return pendulum.instance(moment).in_timezone("UTC").isoformat()

    def runs(made, schedule):
        dag = DAG("shop", schedule=made["schedule"], start_date=made["start_date"], end_date=made["end_date"])
        # As the scheduler gets it: written by the process that reads the DAG file, read by another one.
        table = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag)))).timetable
        first, end = (pendulum.instance(made[name]) for name in ("start_date", "end_date"))
        limits = TimeRestriction(earliest=first, latest=end, catchup=True)
        found, last = [], None
        while (last := table.next_dagrun_info_v2(last_dagrun_info=last, restriction=limits)) is not None:
            begins = schedule.moment(tick_named(last.partition_key))
            found.append((last.partition_key, utc(last.run_after), utc(begins)))
        backfill = table.iter_partition_dagrun_infos(earliest=first, latest=end)
        backfill = [(info.partition_key, utc(info.run_after)) for info in backfill]
        aligned = []
        for _, at, _ in found:
            for minutes in (-30, 0, 30, 60, 90):
                then = pendulum.parse(at).add(minutes=minutes)
                aligned.append((utc(then), utc(table._get_prev(then)), utc(table._get_next(then))))
        return {"kind": type(table).__name__, "runs": found, "backfill": backfill, "aligned": aligned}

    def at_ticks_of(schedule):
        # No training fits into so few ticks: the schedule of a declaration would be refused.
        pipeline = replace(flights, serving=None)
        object.__setattr__(pipeline, "schedule", schedule)
        return pipeline

    told = {}
    for zone, starts, ends in (
        ("Europe/Zurich", date(2024, 3, 29), date(2024, 4, 2)),
        ("Europe/Zurich", date(2024, 10, 25), date(2024, 10, 29)),
        ("America/New_York", date(2024, 11, 1), date(2024, 11, 5)),
        ("Australia/Lord_Howe", date(2024, 4, 5), date(2024, 4, 9)),
        ("UTC", date(2024, 10, 25), date(2024, 10, 29)),
    ):
        for at in (time(0), time(1, 45), time(2, 0), time(2, 30), time(4), time(6, 30)):
            schedule = Schedule(at=at, timezone=zone, starts=starts, ends=ends)
            pipeline = at_ticks_of(schedule)
            told[f"{zone} {starts} {at}"] = {
                made.__name__: runs(made(pipeline, "doc"), schedule) for made in (each_tick, nightly, each_week)
            }
    for every, on, starts, ends in (
        ("week", "sunday", date(2024, 3, 10), date(2024, 4, 14)),
        ("week", "monday", date(2024, 10, 7), date(2024, 11, 11)),
        ("month", 30, date(2024, 1, 30), date(2024, 6, 30)),
        ("month", 31, date(2024, 7, 31), date(2024, 12, 31)),
    ):
        for at in (time(2, 30), time(4), time(6, 30)):
            schedule = Schedule(at=at, timezone="Europe/Zurich", starts=starts, ends=ends, every=every, on=on)
            pipeline = at_ticks_of(schedule)
            made = {one.__name__: runs(one(pipeline, "doc"), schedule) for one in (each_tick, nightly, each_week)}
            told[f"{every} {on} {at}"] = made | {"due": [str(day) for day in schedule.names(starts, ends)]}
    for written, starts, ends in (
        ("30 2 * * 1-5", date(2024, 3, 27), date(2024, 4, 9)),
        ("30 2 * * tue-sat", date(2024, 10, 24), date(2024, 11, 6)),
        ("0 4 1,15 * *", date(2024, 3, 1), date(2024, 5, 15)),
    ):
        schedule = Schedule.cron(written, "Europe/Zurich", starts, ends)
        pipeline = at_ticks_of(schedule)
        made = {one.__name__: runs(one(pipeline, "doc"), schedule) for one in (each_tick, nightly, each_week)}
        told[f"cron {written}"] = made | {"due": [str(day) for day in schedule.names(starts, ends)]}
    for hours, starts, ends in (
        (1, date(2013, 3, 9), date(2013, 3, 11)),
        (1, date(2013, 11, 2), date(2013, 11, 4)),
        (6, date(2013, 11, 1), date(2013, 11, 5)),
    ):
        zone = "America/New_York"
        schedule = Schedule(at=time(0, 15), timezone=zone, starts=starts, ends=ends, every="hour", hours=hours)
        pipeline = at_ticks_of(schedule)
        made = {one.__name__: runs(one(pipeline, "doc"), schedule) for one in (each_tick, nightly, each_week)}
        told[f"hour {hours} {starts}"] = made | {"due": schedule.names(schedule.first, schedule.last)}
    for written, starts, ends in (
        ("0 6,14,22 * * *", date(2024, 3, 28), date(2024, 4, 2)),
        ("30 2,14 * * 1-6", date(2024, 10, 24), date(2024, 10, 29)),
        ("*/15 * * * *", date(2024, 10, 26), date(2024, 10, 28)),
        ("5,50 * * * *", date(2024, 3, 30), date(2024, 4, 1)),
    ):
        schedule = Schedule.cron(written, "Europe/Zurich", starts, ends)
        pipeline = at_ticks_of(schedule)
        made = {one.__name__: runs(one(pipeline, "doc"), schedule) for one in (each_tick, nightly, each_week)}
        told[f"several {written}"] = made | {"due": schedule.names(schedule.first, schedule.last)}
    random, compared = Random(3), []
    for zone in ("Europe/Zurich", "America/New_York", "Asia/Kathmandu"):
        for written in (
            "0 6,14,22 * * *", "*/15 * * * *", "5,50 * * * *", "30 2,14 * * 1-6", "0 */4 1,15 * *", "*/20 1-3 * 3,11 *",
        ):
            schedule = Schedule.cron(written, zone, next(
                day for n in range(80) if (day := date(2023, 1, 1) + timedelta(days=n)) and croniter.match(
                    "* * " + written.split(maxsplit=2)[2], datetime.combine(day, time()))
            ))
            ours = each_tick(at_ticks_of(schedule), "doc")["schedule"]
            airflow = CronPartitionTimetable(written, timezone=zone, key_format="%Y-%m-%d")
            for _ in range(150):
                day = random.choice([date(2024, 3, 31), date(2024, 11, 3), date(2024, 10, 27), None])
                day = date(2024, 1, 1) + timedelta(days=random.randrange(700)) if day is None else day
                moment = pendulum.datetime(day.year, day.month, day.day).add(minutes=random.randrange(-1440, 2880))
                # Airflow runs at the second of two equal times where hours are listed; ticks begin at the first.
                local = [moment.in_timezone(zone).add(hours=24 * n).utcoffset() for n in (-9, -4, -2, 0, 2, 4, 9)]
                back = any(after < before for before, after in pairwise(local))
                if back and written.split()[1] != "*":
                    continue
                compared.append([f"{zone} {written} {moment}", *[
                    [utc(table._get_prev(moment)), utc(table._get_next(moment))] for table in (ours, airflow)
                ]])
    print("TOLD" + json.dumps(told | {"compared": compared}))
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The runs of schedules around clock changes, by a process in which Airflow loads our plugins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(REPOSITORY / "plugins"))
        return told_by(PROGRAM, tmp_path_factory.mktemp("airflow"), str(FLIGHTS))


@pytest.fixture
def told(everything: dict[str, Any]) -> dict[str, Any]:
    """The runs of daily schedules."""
    return {name: of for name, of in everything.items() if name != "compared" and "due" not in of}


@pytest.fixture
def seldom(everything: dict[str, Any]) -> dict[str, Any]:
    """The runs of weekly and monthly schedules."""
    return {name: of for name, of in everything.items() if name.startswith(("week", "month"))}


@pytest.fixture
def by_cron(everything: dict[str, Any]) -> dict[str, Any]:
    """The runs of schedules by cron."""
    return {name: of for name, of in everything.items() if name.startswith("cron")}


@pytest.fixture
def hourly(everything: dict[str, Any]) -> dict[str, Any]:
    """The runs of schedules with ticks within a day, every so many hours or by cron."""
    return {name: of for name, of in everything.items() if name.startswith(("hour", "several"))}


def test_each_tick_has_one_run_at_the_moment_at_which_it_begins(told: dict[str, Any]) -> None:
    for name, of in told.items():
        first = datetime.fromisoformat(name.split()[1])
        days = [str((first + timedelta(days=n)).date()) for n in range(5)]
        runs = of["each_tick"]["runs"]
        assert (name, [key for key, *_ in runs]) == (name, days)
        assert (name, [at for _, at, _ in runs]) == (name, [begins for *_, begins in runs])
        assert (name, of["each_tick"]["backfill"]) == (name, [[key, at] for key, at, _ in runs])


def test_nightly_and_weekly_runs_have_each_tick_once(told: dict[str, Any]) -> None:
    for name, of in told.items():
        keys = [key for key, *_ in of["nightly"]["runs"]]
        assert (name, keys) == (name, [key for key, *_ in of["each_tick"]["runs"]])
        assert (name, len(of["each_week"]["runs"])) == (name, 1)


def test_before_and_after_any_moment_there_is_a_run(told: dict[str, Any]) -> None:
    for name, of in told.items():
        if of["each_tick"]["kind"] != "FirstOfTwoTimetable":
            continue
        begins = [at for _, at, _ in of["each_tick"]["runs"]]
        for moment, before, after in of["each_tick"]["aligned"]:
            assert (name, before < moment < after) == (name, True)
            inside = [at for at in begins if before < at < after and at != moment]
            assert (name, moment, inside) == (name, moment, [])


def test_airflow_s_own_timetable_is_kept_where_no_time_comes_twice(told: dict[str, Any]) -> None:
    ours = {name for name, of in told.items() if of["each_tick"]["kind"] == "FirstOfTwoTimetable"}
    times = {(name.split()[0], name.split()[2][:5]) for name in ours}
    assert times == {
        ("Europe/Zurich", "02:00"), ("Europe/Zurich", "02:30"),
        ("America/New_York", "01:45"), ("Australia/Lord_Howe", "01:45"),
    }  # fmt: skip


def test_ticks_that_are_not_daily_have_one_run_each_when_they_begin(seldom: dict[str, Any]) -> None:
    for name, of in seldom.items():
        for dag in ("each_tick", "each_week"):
            runs = of[dag]["runs"]
            assert (name, [key for key, *_ in runs]) == (name, of["due"])
            assert (name, [at for _, at, _ in runs]) == (name, [begins for *_, begins in runs])
            assert (name, of[dag]["backfill"]) == (name, [[key, at] for key, at, _ in runs])


def test_before_and_after_any_moment_there_is_a_run_of_ticks_that_are_not_daily(seldom: dict[str, Any]) -> None:
    for name, of in seldom.items():
        begins = [at for _, at, _ in of["each_tick"]["runs"]]
        for moment, before, after in of["each_tick"]["aligned"]:
            assert (name, before < moment < after) == (name, True)
            assert (name, moment, [at for at in begins if before < at < after and at != moment]) == (name, moment, [])


def test_a_nightly_run_belongs_to_the_tick_before_it(seldom: dict[str, Any]) -> None:
    for name, of in seldom.items():
        runs = of["nightly"]["runs"]
        assert (name, [key for key, *_ in runs]) == (name, of["due"])
        waits = {datetime.fromisoformat(at) - datetime.fromisoformat(begins) for _, at, begins in runs}
        assert (name, all(timedelta(hours=19) <= wait <= timedelta(hours=21) for wait in waits)) == (name, True)


def test_ticks_by_cron_have_one_run_each_when_they_begin_and_one_at_night(by_cron: dict[str, Any]) -> None:
    assert len(by_cron) == 3
    for name, of in by_cron.items():
        runs = of["each_tick"]["runs"]
        assert (name, [key for key, *_ in runs]) == (name, of["due"])
        assert (name, [at for _, at, _ in runs]) == (name, [begins for *_, begins in runs])
        assert (name, of["each_tick"]["backfill"]) == (name, [[key, at] for key, at, _ in runs])
        assert (name, [key for key, *_ in of["nightly"]["runs"]]) == (name, of["due"])


def test_a_digest_of_ticks_by_cron_comes_with_the_first_of_a_week_or_with_each_rarer_one(by_cron: dict[str, Any]) -> None:
    assert [[key for key, *_ in of["each_week"]["runs"]] for of in by_cron.values()] == [
        ["2024-04-01", "2024-04-08"],
        ["2024-10-29", "2024-11-05"],
        ["2024-03-01", "2024-03-15", "2024-04-01", "2024-04-15", "2024-05-01", "2024-05-15"],
    ]


def test_hourly_ticks_have_one_run_each_also_where_the_clock_changes(hourly: dict[str, Any]) -> None:
    for name, of in hourly.items():
        runs = of["each_tick"]["runs"]
        assert (name, [key for key, *_ in runs]) == (name, of["due"])
        assert (name, [at for _, at, _ in runs]) == (name, [begins for *_, begins in runs])
        keys = [key for key, *_ in of["nightly"]["runs"]]
        assert (name, keys) == (name, of["due"])
        assert all(at > begins for _, at, begins in of["nightly"]["runs"])


def test_a_digest_of_hourly_ticks_comes_with_the_first_of_monday(hourly: dict[str, Any]) -> None:
    firsts = [[key for key, *_ in of["each_week"]["runs"]] for of in hourly.values()]
    assert firsts == [
        ["2013-03-11T0415Z"], ["2013-11-04T0515Z"], ["2013-11-04T1015Z"],
        ["2024-04-01T0400Z"], ["2024-10-28T0130Z"], ["2024-10-27T2300Z"], ["2024-03-31T2205Z"],
    ]  # fmt: skip


def test_several_ticks_a_day_by_cron_are_those_of_airflow_s_own_timetable(everything: dict[str, Any]) -> None:
    compared = everything["compared"]
    assert len(compared) > 1500
    assert [one for one in compared if one[1] != one[2]] == []
