"""Tasks that release 0.4 deferred go on after an upgrade: Airflow keeps a trigger's class, its arguments and a method."""

import json
from typing import Any

import pytest

from tests.support.airflow_process import told_by

TRIGGER = "mlprod_airflow.waiting.TickTrigger"
# As that release's rows in Airflow's table `trigger` hold them.
ARGUMENTS = [
    '{"pipeline": "flight_delays", "what": "published", "tick": "2013-06-17"}',
    '{"pipeline": "flight_delays", "what": "scored", "tick": "2013-06-18"}',
    '{"pipeline": "flight_delays", "what": "decided", "tick": "2013-06-19"}',
]
# The class of each task that it deferred, and the method that goes on.
RESUMED = {
    "mlprod_airflow.waiting.WaitUntil": "resume",
    "mlprod_airflow.ramping.WaitForAnswers": "resume",
    "mlprod_airflow.approval.Approve": "execute_complete",
}
PROGRAM = """
    import importlib, inspect, json, pkgutil, sys

    import mlprod_airflow
    from airflow.models.trigger import Trigger
    from airflow.triggers.base import BaseTrigger

    stored, resumed = json.loads(sys.argv[1]), json.loads(sys.argv[2])

    def named(path):
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)

    rows = []
    for path, arguments in stored:
        row = Trigger(path, {})
        row.encrypted_kwargs = arguments
        made = named(row.classpath)(**row.kwargs)
        again = Trigger.from_object(made)
        rows.append([isinstance(made, BaseTrigger), again.classpath, again.kwargs])
    methods = {path: list(inspect.signature(getattr(named(path), name)).parameters) for path, name in resumed.items()}
    ours = set()
    for found in pkgutil.walk_packages(mlprod_airflow.__path__, "mlprod_airflow."):
        for one in vars(importlib.import_module(found.name)).values():
            if inspect.isclass(one) and issubclass(one, BaseTrigger) and one.__module__.startswith("mlprod_airflow"):
                ours.add(f"{one.__module__}.{one.__qualname__}")
    print("TOLD" + json.dumps({"rows": rows, "methods": methods, "triggers": sorted(ours)}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process that reads those rows as the triggerer does has to say."""
    stored = [(TRIGGER, arguments) for arguments in ARGUMENTS]
    return told_by(PROGRAM, tmp_path_factory.mktemp("airflow"), json.dumps(stored), json.dumps(RESUMED))


def test_its_triggers_are_built_from_what_it_stored_and_store_the_same_again(told: dict[str, Any]) -> None:
    assert told["rows"] == [[True, TRIGGER, json.loads(arguments)] for arguments in ARGUMENTS]


def test_there_is_no_trigger_of_which_nobody_says_what_was_stored(told: dict[str, Any]) -> None:
    assert told["triggers"] == [TRIGGER]


def test_the_tasks_have_the_methods_that_go_on(told: dict[str, Any]) -> None:
    assert set(told["methods"]) == set(RESUMED)
    assert all(parameters[:3] == ["self", "context", "event"] for parameters in told["methods"].values())
