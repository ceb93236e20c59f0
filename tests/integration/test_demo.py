"""The demo tells its whole story on a real Airflow, and leaves nothing running."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.paths import REPOSITORY


def test_everything_that_the_demo_promises_really_happens(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    command = [sys.executable, "-m", "demo", "--exit", "--home", str(home)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert "DID NOT HAPPEN" not in done.stdout
    assert re.search(r"^ticks +190 ingested, 24 scored$", done.stdout, re.M), done.stdout
    assert re.search(r"^training .*: version 1, test AUC 0\.[67]", done.stdout, re.M), done.stdout
    assert re.search(r"^training .*: refused, .* gates 12 of 13 passed", done.stdout, re.M), done.stdout
    told = r"^on request +[0-9,]+ rows answered; version 1 was rolled out to [0-9]+% of entities and taken back$"
    assert re.search(told, done.stdout, re.M), done.stdout
    assert re.search(r"^  ok  966 live flights are scored as in the batch, to the last bit", done.stdout, re.M), done.stdout
    assert re.search(r"^  ok  its verdict is true: worse \(champion@1.0\)", done.stdout, re.M), done.stdout
    assert re.search(r"^Scoring +curl ", done.stdout, re.M), done.stdout
    assert left_running(home) == []


@pytest.mark.long
def test_another_use_case_shows_its_history_a_model_and_some_ticks(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    command = [sys.executable, "-m", "demo", "--use", "departures", "--exit", "--home", str(home)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert re.search(r"^ticks +1620 ingested, 12 scored$", done.stdout, re.M), done.stdout
    assert re.search(r"^training .*: version 1, test \w+ [0-9.]+, of a constant", done.stdout, re.M), done.stdout
    assert left_running(home) == []


def left_running(home: Path) -> list[str]:
    """Processes that know the demo's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
        if str(home) in words:
            found.append(" ".join(process.info["cmdline"] or ()))
    return found
