"""Every benchmark runs to its end at a small size, so that none calls what is gone; its figures mean nothing there."""

import json
import os
import re
import subprocess
import sys

import pytest

from benchmarks.__main__ import BENCHMARKS
from tests.support.paths import REPOSITORY

# What each prints: a heading or a cell of its table, with a number in it.
TOGETHER = {
    "monitoring": r"everything read of one partition.* \d+\.\d\d s",
    "drift_tools": r"\| mlprod \| \d+\.\d\d",
    "foreign_estimates": r"\| made \| 5 \| what they meant on the reference \| 0\.\d+ \| 0\.\d+ \| \d of 5 \|",
    "event_parts": r"\| events, \d+ parts \| \d+ \| \d+ \| 1\.\d\dx \|",
    "joined_rows": r"\| the whole table \| \d+ \| \d\.\d \|",
    "aggregates": r"\| `Quantile` \| \d+ \|",
    "features": r"\| engine \| \d+\.\d\d",
    "training": r"training, \d+ trees: step \d+\.\d\d s",
    "training_memory": r"\| 2,000 \| \d+\.\d\d",
    "scoring": r"the whole score step, lake to lake \| \d+\.\d\d",
    "online": r"rows of 2013-03-11 compared with batch: 0\.00% differ",
    "power": r"\| shuffled, free of shift \| \d+",
    "quiet_ticks": r"\| 20 \| \d+ \|",
    "intervals": r"\| 10 \| correlated by 0\.3 \| tick \| \d+% \|",
    "results": r"What is lost without each group",
    "replay": r"left alone",
    "retraining": r"by realised loss \| adapted \| \d+",
    "bandits": r"\| `UCB1\(scale=160\)` \| \d+",
    "experiments": r"\| obrien_fleming \| \d+\.\d% \|",
    "experiment_reading": r"\| reading with all checks \| \d+\.\d",
    "first_look": r"\| measure \| 2 \| \d+\.\d",
    "large_tick": r"\| measure \| \d+\.\d\d",
    "small_ticks": r"\| audit \| \d+\.\d\d s",
    "seasons": r"\| and both \| \d+ of \d+",
    "commands": r"\| measure \| \d+\.\d\d",
}
# parsing loads Airflow with settings of its own, spark_scoring has a cluster.
ALONE = {"parsing": r"\| score\.py \| \d\.\d\d s", "spark_scoring": r"\| Spark, 2 executors \| \d+\.\d \| .* \| True \|"}
# What another test, or another benchmark that is run here, starts: the file that does.
ELSEWHERE = {
    "groceries": "tests/test_workflows_spend.py",
    "airports": "tests/test_workflows_departures.py",
    "recovery": "tests/integration/test_recovery.py",
    "serving": "tests/integration/test_served_benchmarks.py",
    "faults": "tests/integration/test_served_benchmarks.py",
    "experiment_requests": "tests/integration/test_served_benchmarks.py",
    "newcomer": "tests/benchmarks/test_newcomer.py",
    "serving_bare": "benchmarks/serving.py",
    "hindsight": "benchmarks/replay.py",
    "adaptation": "benchmarks/replay.py",
    "alarm_rules": "benchmarks/replay.py",
    "load": "benchmarks/load.py",
    "elastic": "tests/integration/test_service.py",
    "spark_monitoring": "tests/integration/test_spark.py",
    "served_shop": "tests/integration/test_service.py",
    "foreign_estimates_others": "benchmarks/foreign_estimates.py",
    "drift_tools_others": "benchmarks/drift_tools.py",  # in an environment of its own, made by `make bench`
}


def run(*command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def ended() -> dict[str, dict[str, str]]:
    """How each benchmark ended that shares a process with others."""
    lines = run("tests.support.run_benchmarks", *TOGETHER).splitlines()
    return {one["name"]: one for one in map(json.loads, filter(lambda line: line.startswith('{"name"'), lines))}


@pytest.mark.long
@pytest.mark.parametrize("name", TOGETHER)
def test_it_runs_to_its_end_and_prints_its_table(name: str, ended: dict[str, dict[str, str]]) -> None:
    assert not ended[name]["failed"], ended[name]["failed"]
    assert re.search(TOGETHER[name], ended[name]["printed"]), ended[name]["printed"]


@pytest.mark.long
@pytest.mark.parametrize("name", ALONE)
def test_one_with_settings_of_its_own_runs_too(name: str) -> None:
    printed = run(f"benchmarks.{name}", "--small")
    assert re.search(ALONE[name], printed), printed


def test_there_is_no_benchmark_that_no_test_runs() -> None:
    found = {file.stem for file in (REPOSITORY / "benchmarks").glob("*.py") if 'if __name__ == "__main__"' in file.read_text()}
    found |= {folder.parent.name for folder in (REPOSITORY / "benchmarks").glob("*/__main__.py")}
    assert found - {"__main__"} == {*TOGETHER, *ALONE, *ELSEWHERE}
    assert set(BENCHMARKS) <= found
    for name, file in ELSEWHERE.items():
        assert name in (REPOSITORY / file).read_text(), f"{file} does not run benchmarks.{name}"


def test_there_is_no_example_that_no_test_runs() -> None:
    texts = [file.read_text() for file in (REPOSITORY / "tests").rglob("test_*.py")]
    for example in (REPOSITORY / "examples").glob("*.py"):
        assert any(f"examples/{example.name}" in text for text in texts), example.name
