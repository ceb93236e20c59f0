"""How long tasks waited for a worker, as the listener reads it from Airflow's task instances; and what runs are about."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import StepRun
from mlprod_tasks.platform.step_runs import Wait, note_waits
from tests.support.airflow_process import told_by
from tests.support.paths import FLIGHTS, REPOSITORY

AT = datetime(2024, 3, 1, 4, tzinfo=UTC)
SECOND = timedelta(seconds=1)

PROGRAM = """
    import importlib.util, json, logging, sys
    from dataclasses import dataclass
    from datetime import UTC, date, datetime, time, timedelta

    spec = importlib.util.spec_from_file_location("mlprod_listener", sys.argv[1])
    plugin = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = plugin
    spec.loader.exec_module(plugin)
    loaded = [name for name in sys.modules if name.startswith("mlprod_tasks")]

    from airflow.listeners.listener import get_listener_manager

    hooks = get_listener_manager()
    hooks.add_listener(plugin.MlprodListener.listeners[0])
    heard = [bool(getattr(hooks.hook, name).get_hookimpls()) for name in ("on_dag_run_success", "on_dag_run_failed")]

    at, second = datetime(2024, 3, 1, 4, tzinfo=UTC), timedelta(seconds=1)

    @dataclass
    class Task:
        task_id: str
        queued_dttm: datetime | None = at
        start_date: datetime | None = at + 3 * second
        end_date: datetime | None = at + 9 * second
        map_index: int = -1
        rendered_map_index: str | None = None

    tasks = [
        Task("score"),
        Task("extract"),
        Task("fit", map_index=2, rendered_map_index="B6"),
        Task("search", map_index=1),
        Task("skipped", queued_dttm=None),
        Task("killed", end_date=None),
        Task("deferred", queued_dttm=at + 5 * second),  # queued again after its trigger fired; its start is the first one
    ]
    waits = [(w.step, str(w.started), str(w.ended), w.seconds) for w in plugin.waits_of(tasks)]

    said = []
    plugin.log.addHandler(type("Kept", (logging.Handler,), {"emit": lambda self, record: said.append(record.getMessage())})())
    plugin.note = lambda dag_id, run_id: 1 / 0
    plugin._noted("shop.score", "run")
    others = []
    plugin._noted = lambda *about: others.append(about)
    plugin._note_beside("somebody.else", "run")

    from mlprod_airflow.installation import attempt
    from mlprod_airflow.runs import nightly
    from mlprod_tasks.declaration import Schedule, load
    from pathlib import Path
    from dataclasses import replace
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.trigger import CronPartitionTimetable
    import pendulum

    flights = load(Path(sys.argv[2]))
    nights = {}
    for hour in (4, 1):
        schedule = Schedule(at=time(hour, 30), timezone="Europe/Zurich", starts=date(2024, 3, 29), ends=date(2024, 4, 1))
        pipeline = replace(flights, serving=None)
        object.__setattr__(pipeline, "schedule", schedule)  # no training fits into so few ticks: it would be refused
        given = nightly(pipeline, "doc")
        table = given["schedule"]
        same = CronPartitionTimetable(
            table.expression if hasattr(table, "expression") else table._expression, timezone="Europe/Zurich",
            run_offset=table.run_offset, key_format=table.key_format,
        )
        limits = TimeRestriction(
            earliest=pendulum.instance(given["start_date"]), latest=pendulum.instance(given["end_date"]), catchup=True
        )
        runs, last = [], None
        while (last := same.next_dagrun_info_v2(last_dagrun_info=last, restriction=limits)) is not None:
            due = schedule.tick(last.partition_key)
            runs.append((last.partition_key, (due.end - last.run_after).total_seconds() / 3600))
        nights[hour] = runs
    print("TOLD" + json.dumps({
        "loaded": loaded, "heard": heard, "waits": waits, "said": said, "others": others, "attempt": attempt(),
        "nights": nights,
    }))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process that loads the plugin as Airflow loads it has to say."""
    listener = REPOSITORY / "plugins" / "mlprod_listener.py"
    return told_by(PROGRAM, tmp_path_factory.mktemp("airflow"), str(listener), str(FLIGHTS))


def test_airflow_finds_the_hooks_and_loads_nothing_of_ours_for_them(told: dict[str, Any]) -> None:
    # Every Airflow process loads plugins, a task's too.
    assert told["heard"] == [True, True]
    assert told["loaded"] == []


def test_the_wait_lies_between_queued_and_started(told: dict[str, Any]) -> None:
    assert told["waits"][0] == ["score", str(AT + 3 * SECOND), str(AT + 9 * SECOND), 3.0]


def test_a_task_is_known_by_its_step_and_one_that_waited_for_no_worker_is_left_out(told: dict[str, Any]) -> None:
    assert [wait[0] for wait in told["waits"]] == ["score", "extract", "fit B6", "search 1"]


def test_what_cannot_be_noted_is_logged_and_other_dags_are_left_alone(told: dict[str, Any]) -> None:
    (said,) = told["said"]
    assert said.startswith("shop.score run: could not record how long its tasks waited")
    assert told["others"] == []


def test_outside_of_a_task_each_try_is_the_first(told: dict[str, Any]) -> None:
    assert told["attempt"] == 1


@pytest.mark.parametrize("hour", ["4", "1"])
def test_a_nightly_run_looks_back_at_each_tick_four_hours_before_the_next(told: dict[str, Any], hour: str) -> None:
    runs = dict(told["nights"][hour])
    assert list(runs) == ["2024-03-29", "2024-03-30", "2024-03-31", "2024-04-01"], "every tick once, the last one too"
    # On the day on which the clock is put forward, a cron of wall-clock times is an hour nearer to the tick behind the change.
    assert set(runs.values()) <= {4.0, 3.0}
    assert list(runs.values()).count(4.0) >= 3


def test_only_the_run_that_ran_in_between_has_waited(make_platform: Callable[..., Platform]) -> None:
    ledger = make_platform().ledger

    def ran(step: str, seconds: float, pipeline: str = "shop") -> StepRun:
        at = AT + seconds * SECOND
        return StepRun(pipeline=pipeline, step=step, subject="2024-03-01", at=at, seconds=1, succeeded=True)

    ledger.put(ran("score", -60), ran("score", 4), ran("score", 60), ran("measure", 4), ran("score", 4, "other"))
    wait = Wait("score", AT + 3 * SECOND, AT + 9 * SECOND, 3.0)
    assert note_waits("shop", [wait, Wait("act", AT, AT, 1.0)], ledger) == 1
    assert note_waits("shop", [wait], ledger) == 1
    waited = {(run.pipeline, run.step, run.at): run.waited_seconds for run in ledger.all(StepRun)}
    assert waited.pop(("shop", "score", AT + 4 * SECOND)) == 3.0
    assert set(waited.values()) == {None}
