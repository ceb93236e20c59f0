"""Airflow runs a tick when it begins, also on days on which the clock changes."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.airflow_process import told_by
from tests.support.paths import FLIGHTS, REPOSITORY

PROGRAM = """
    import json, sys
    from dataclasses import replace
    from datetime import date, time
    from pathlib import Path

    import pendulum
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    from mlprod_airflow.runs import daily, nightly, weekly
    from mlprod_tasks.declaration import Schedule, load

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
            begins = schedule.moment(date.fromisoformat(last.partition_key))
            found.append((last.partition_key, utc(last.run_after), utc(begins)))
        backfill = table.iter_partition_dagrun_infos(earliest=first, latest=end)
        backfill = [(info.partition_key, utc(info.run_after)) for info in backfill]
        aligned = []
        for _, at, _ in found:
            for minutes in (-30, 0, 30, 60, 90):
                then = pendulum.parse(at).add(minutes=minutes)
                aligned.append((utc(then), utc(table._get_prev(then)), utc(table._get_next(then))))
        return {"kind": type(table).__name__, "runs": found, "backfill": backfill, "aligned": aligned}

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
            pipeline = replace(flights, schedule=schedule)
            told[f"{zone} {starts} {at}"] = {
                made.__name__: runs(made(pipeline, "doc"), schedule) for made in (daily, nightly, weekly)
            }
    print("TOLD" + json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The runs of schedules around clock changes, by a process in which Airflow loads our plugins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(REPOSITORY / "plugins"))
        return told_by(PROGRAM, tmp_path_factory.mktemp("airflow"), str(FLIGHTS))


def test_each_tick_has_one_run_at_the_moment_at_which_it_begins(told: dict[str, Any]) -> None:
    for name, of in told.items():
        first = datetime.fromisoformat(name.split()[1])
        days = [str((first + timedelta(days=n)).date()) for n in range(5)]
        runs = of["daily"]["runs"]
        assert (name, [key for key, *_ in runs]) == (name, days)
        assert (name, [at for _, at, _ in runs]) == (name, [begins for *_, begins in runs])
        assert (name, of["daily"]["backfill"]) == (name, [[key, at] for key, at, _ in runs])


def test_nightly_and_weekly_runs_have_each_tick_once(told: dict[str, Any]) -> None:
    for name, of in told.items():
        keys = [key for key, *_ in of["nightly"]["runs"]]
        assert (name, keys) == (name, [key for key, *_ in of["daily"]["runs"]])
        assert (name, len(of["weekly"]["runs"])) == (name, 1)


def test_before_and_after_any_moment_there_is_a_run(told: dict[str, Any]) -> None:
    for name, of in told.items():
        if of["daily"]["kind"] != "FirstOfTwoTimetable":
            continue
        begins = [at for _, at, _ in of["daily"]["runs"]]
        for moment, before, after in of["daily"]["aligned"]:
            assert (name, before < moment < after) == (name, True)
            inside = [at for at in begins if before < at < after and at != moment]
            assert (name, moment, inside) == (name, moment, [])


def test_airflow_s_own_timetable_is_kept_where_no_time_comes_twice(told: dict[str, Any]) -> None:
    ours = {name for name, of in told.items() if of["daily"]["kind"] == "FirstOfTwoTimetable"}
    times = {(name.split()[0], name.split()[2][:5]) for name in ours}
    assert times == {
        ("Europe/Zurich", "02:00"), ("Europe/Zurich", "02:30"),
        ("America/New_York", "01:45"), ("Australia/Lord_Howe", "01:45"),
    }  # fmt: skip
