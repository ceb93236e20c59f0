"""`mlprod experiment` in a shell, from the plan to the verdict."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlprod_tasks.cli import main
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.plan import CannotPlan
from mlprod_tasks.experiments.run import CannotStart, NoExperiment
from tests.support.airflow_process import told_by
from tests.support.paths import REPOSITORY
from tests.support.trained_shop import Shop

DECLARED = """
from dataclasses import replace

from tests.experiments.conftest import DECLARED
from tests.support.shop import SHOP

pipeline = replace(SHOP, experiments=DECLARED)
"""
WANTED = ("--variant", "champion@1.0", "--metric", "saved", "--difference", "1.2")

# Runs the task of the DAG with the parameters of each run, checked as Airflow checks them.
RUNS_OF_THE_DAG = """
    import copy, json, os, sys
    from types import SimpleNamespace

    given = json.loads(sys.argv[1])
    os.environ |= given["environment"]
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(given["file"])
    assert not bag.import_errors, bag.import_errors
    (dag,) = bag.dags.values()
    told = {"id": dag.dag_id, "tasks": [task.task_id for task in dag.tasks], "asked": []}
    for asked in given["runs"]:
        params = copy.deepcopy(dag.params)
        params.update(asked)
        context = {"params": params.validate(), "dag_run": SimpleNamespace(triggering_user_name="ada")}
        try:
            told["asked"].append(dag.get_task("carry_out").python_callable(**context))
        except Exception as error:
            told["asked"].append(f"{type(error).__name__}: {error}")
    print("TOLD" + json.dumps(told))
"""


@pytest.fixture
def mlprod(never: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    (pipelines / "returns.py").write_text(DECLARED)
    monkeypatch.setenv("MLPROD_HOME", str(never.platform.settings.home))
    monkeypatch.setenv("MLPROD_PIPELINES", str(pipelines))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *words: CliRunner().invoke(main.app, ["experiment", *words])


def test_a_plan_is_printed_and_changes_nothing(never: Shop, mlprod: Callable[..., Result]) -> None:
    done = mlprod("plan", "returns", *WANTED, "--periods", "1")
    assert done.exit_code == 0, done.output
    assert "significance 5%, power 80%, design fixed" in done.output
    assert "variants: control 50%, champion@1.0 50%" in done.output
    assert [run.name for run in experiments.every(never.pipeline, never.platform)] == ["never"]


def test_a_verdict_is_read_and_told(mlprod: Callable[..., Result]) -> None:
    done = mlprod("status", "returns")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("never: worse: champion@1.0: saved ")
    of_each = r"control \d+ units of \d+ rows, champion@1.0 \d+ units of \d+ rows"
    assert re.search(rf"^  rows of 2024-01-25 to 2024-01-31: {of_each}", done.output, re.M), done.output
    assert mlprod("status", "returns", "never").output == done.output


def test_an_experiment_is_started_and_ended(never: Shop, mlprod: Callable[..., Result]) -> None:
    begun = mlprod("start", "returns", "second", *WANTED, "--by", "ada", "--reason", "a question")
    assert begun.exit_code == 0, begun.output
    run = experiments.get(never.pipeline, "second", never.platform)
    assert (run.by, run.reason) == ("ada", "a question")
    assert f"second runs from {run.starts} to {run.ends}; its outcomes are complete 2 ticks later" in begun.output
    assert "second: running: no outcome is complete yet" in mlprod("status", "returns", "second").output
    ended = mlprod("stop", "returns", "second", "--by", "bob")
    assert f"second ended: {run.starts} is the first tick that it does not assign" in ended.output
    assert "second: ended: bob ended it before there was a verdict" in mlprod("status", "returns", "second").output


def asked(action: str, **given: object) -> dict[str, object]:
    """What the process answers in which the page's action runs."""
    call = json.dumps({"what": action, "pipeline": "returns", "given": given})
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'plugins'}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "-m", "mlprod_airflow.page.apart"]
    done = subprocess.run(command, input=call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_page_plans_starts_and_ends_one_as_the_shell_does(never: Shop, mlprod: Callable[..., Result]) -> None:
    wanted = {
        "variants": ["champion@1.0"], "metric": "saved", "difference": 1.2, "design": "fixed", "periods": None, "rows": "batch",
        "then": "nothing", "fresh": False, "traffic": 1.0,
    }  # fmt: skip
    assert asked("experiment", what="plan", **wanted) == {"done": mlprod("plan", "returns", *WANTED).output.rstrip()}
    begun = asked("experiment", what="start", **wanted, name="second", by="ada", reason="a question")
    run = experiments.get(never.pipeline, "second", never.platform)
    assert begun == {"done": f"second of returns runs from {run.starts} to {run.ends}"}
    assert asked("experiment", what="start", **wanted, name="third", by="ada", reason="too")["status"] == 409
    ended = asked("experiment", what="stop", name="second", by="bob", reason="enough")
    assert ended == {"done": f"second of returns is ended: {run.starts} is the first tick that it does not assign"}
    assert asked("experiment", what="plan", **{**wanted, "metric": "sold"})["error"] == (
        "metric 'sold' is not declared; metrics are saved, acted, per_item"
    )


def test_a_run_of_the_dag_plans_starts_and_ends_one_as_the_shell_does(
    never: Shop, mlprod: Callable[..., Result], tmp_path: Path
) -> None:
    wanted = {"variants": "champion@1.0", "difference": 1.2, "reason": "a question"}
    runs = [
        wanted,
        {**wanted, "what": "start", "name": "second", "traffic": 0.5, "difference": 2.0},
        {"what": "stop", "name": "second", "reason": "enough"},
        {**wanted, "difference": None},
        {**wanted, "what": "start", "name": "never"},
        {"what": "stop", "name": "third", "reason": "enough"},
    ]
    environment = {"MLPROD_HOME": os.environ["MLPROD_HOME"], "MLPROD_PIPELINES": os.environ["MLPROD_PIPELINES"]}
    given = {"file": str(REPOSITORY / "dags" / "experiment.py"), "environment": environment, "runs": runs}
    told = told_by(RUNS_OF_THE_DAG, tmp_path / "airflow", json.dumps(given))
    assert (told["id"], told["tasks"]) == ("returns.experiment", ["carry_out"])
    plan, start, stop, *refused = told["asked"]
    assert plan == mlprod("plan", "returns", *WANTED).output.rstrip()
    run = experiments.get(never.pipeline, "second", never.platform)
    assert start == f"second of returns runs from {run.starts} to {run.ends}"
    assert (run.by, run.reason, run.ended_by, run.end_reason, run.units_to) == ("ada", "a question", "ada", "enough", 0.5)
    assert stop == f"second of returns is ended: {run.ended} is the first tick that it does not assign"
    assert refused == [
        "ExperimentRefused: give the smallest difference that matters, in the unit of the metric",
        "ExperimentRefused: experiment 'never': there was one of that name, or a bandit; give another",
        "ExperimentRefused: returns has no experiment 'third'",
    ]


@pytest.mark.parametrize(
    ("words", "error", "why"),
    [
        (("plan", "returns", *WANTED[:3], "sold", *WANTED[4:]), CannotPlan, "metric 'sold' is not declared"),
        (("start", "returns", "never", *WANTED, "--by", "ada"), CannotStart, "there was one of that name"),
        (("start", "returns", "late", *WANTED, "--by", "ada", "--starts", "2024-03-01"), CannotStart, "has begun"),
        (("status", "returns", "third"), NoExperiment, "there are: never"),
        (("stop", "returns", "third", "--by", "ada"), NoExperiment, "has no experiment 'third'"),
    ],
    ids=("metric", "name", "begun", "status", "stop"),
)
def test_what_cannot_be_done_says_why(mlprod: Callable[..., Result], words: tuple[str, ...], error: type, why: str) -> None:
    done = mlprod(*words)
    assert isinstance(done.exception, error)
    assert why in str(done.exception)
