"""The benchmarks that load running services run to their end, for seconds: their figures mean nothing there."""

import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.replicas import where_is
from tests.support.paths import REPOSITORY

CASES = {
    "serving": (["benchmarks.serving", "--small"], ("wrk",), "### Where a request goes, every row new"),
    "serving of numbers": (
        ["benchmarks.serving", "--small", "--task", "regression"], ("wrk",), "### Where a request goes, every row new",
    ),
    "serving of classes": (
        ["benchmarks.serving", "--small", "--task", "multiclass"], ("wrk",), "### Where a request goes, every row new",
    ),
    "experiment_requests": (["benchmarks.experiment_requests", "--small"], (), "| experiment | "),
    "faults": (["benchmarks.faults", "killed", "--rate", "50"], ("nginx", "redis-server", "wrk"), "killed with -9"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_it_runs_to_its_end_and_prints_its_table(case: tuple[list[str], tuple[str, ...], str]) -> None:
    command, needed, printed = case
    if absent := [name for name in needed if shutil.which(name) is None and where_is(name) is None]:
        pytest.skip(f"NOT INSTALLED: {', '.join(absent)}, so {command[0]} is NOT run (apt-get install {' '.join(absent)})")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert printed in done.stdout, done.stdout
