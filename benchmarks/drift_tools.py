"""Drift of one partition of 3 million rows by 16 columns: mlprod, Evidently and NannyML, in one run.

Real flights, repeated; the reference is the first 28 ticks, and is stored before the time begins. Each reads the partition from
Parquet and compares every column. Evidently: the drift preset by PSI. NannyML: univariate drift by Jensen-Shannon distance.
mlprod: PSI, Jensen-Shannon and Wasserstein distance, nulls, ranges, new and lost categories. Both others run in an environment
of their own below build/, made the first time from benchmarks/drift_tools.txt.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.monitoring import FEATURES, best, first_weeks, profile_of_first_weeks, scored_flights, write
from benchmarks.size import SMALL, sized
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.observe import observe
from mlprod_tasks.platform.engine import engine

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent / "build" / "drift_tools"
ROWS = sized(3_000_000, 20_000)
AT_LEAST = {"evidently": 60, "nannyml": 15}
REPEATS = 2


def main() -> int:
    """Print each tool's seconds, and how many times mlprod's they are. `--small`: mlprod alone, on few rows."""
    python = None if SMALL else environment()
    year = scored_flights()
    with tempfile.TemporaryDirectory() as folder:
        reference, current = Path(folder) / "reference.parquet", Path(folder) / "current.parquet"
        pq.write_table(first_weeks(year).select(year.column_names[:FEATURES]), reference)
        write(year, ROWS, current)
        profile = profile_of_first_weeks(year)
        with engine() as connection:
            source = f"read_parquet('{current}', file_row_number = true)"

            def ours() -> object:
                return list(inputs(profile, observe(connection, source, profile, sampled=False), together=False))

            own = best(ours)
            print(f"| drift of one partition, {ROWS:,} rows, {FEATURES} columns | seconds | times mlprod | goal |")
            print("| --- | --- | --- | --- |")
            print(f"| mlprod | {own:.2f} | 1 | |", flush=True)
            for tool, goal in AT_LEAST.items() if python else ():
                command = [python, HERE / "drift_tools_others.py", tool, reference, current, str(REPEATS)]
                ran = subprocess.run(command, capture_output=True, text=True, check=False)
                if ran.returncode:
                    print(f"{tool} failed:\n{ran.stderr}", file=sys.stderr)
                    return 1
                taken = float(json.loads(ran.stdout.splitlines()[-1]))
                own = min(own, best(ours))  # before and after: a busy neighbour slows both
                print(f"| {tool} | {taken:.1f} | {taken / own:.0f} | >= {goal} |", flush=True)
    return 0


def environment() -> Path:
    """The Python of the others' environment."""
    python, wanted = ENVIRONMENT / "bin" / "python", HERE / "drift_tools.txt"
    made = ENVIRONMENT / "made_from.txt"
    if not made.is_file() or made.read_text() != wanted.read_text():
        uv = Path(sys.executable).parent / "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, ENVIRONMENT], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "--requirements", wanted], check=True)
        made.write_text(wanted.read_text())
    return python


if __name__ == "__main__":
    sys.exit(main())
