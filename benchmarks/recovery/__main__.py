"""What a fault leaves: each step killed with -9, or without what it needs, is run again and compared with a run without fault.

A small use case with personal columns is read from PostgreSQL, trained, scored into PostgreSQL, monitored and asked. Each step
runs in a process of its own. A moment to kill at is drawn from what the step does (files, statements, commits, writes to the
lake) or from its time. What stands at the end is compared row by row: lake, ledger, registry, published predictions, mails.

`python -m benchmarks.recovery [--trials N] [--seed N] [--only TEXT] [--short] [--errors] [--postgres]`. A full disk needs the
right to mount one.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.recovery.faults import faults
from benchmarks.recovery.kills import killed_steps
from benchmarks.recovery.place import Place, may_mount
from benchmarks.recovery.service import killed_services, log_requests
from benchmarks.recovery.trial import Line, Reference, reference
from benchmarks.recovery.work import BEFORE, PHASES

HEAD = (
    "| what | trials | failed | lost | doubled | altered | leaked |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
)
SHORT = ("ingest", "score", "monitor", "requests")


def main() -> int:
    """Print the table, and below it what failed. Exit status 1 if something did."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--trials", type=int, default=10, help="of each line")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--only", default="", help="lines with this text in their names")
    asked.add_argument("--errors", action="store_true", help="print what each fault made its step say")
    asked.add_argument("--short", action="store_true", help="one trial of each line, without those of a training")
    asked.add_argument("--postgres", action="store_true", help="ledger and registry in PostgreSQL instead of SQLite")
    given = asked.parse_args()
    began, lines = time.monotonic(), list[Line]()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}; seed {given.seed}")
    if not may_mount():
        print("NOT TRIED: a full disk, which needs the right to mount one")
    folder = Path(tempfile.mkdtemp(prefix="mlprod-recovery-"))
    try:
        with Place(folder, given.seed, servers=given.postgres) as place:
            phases = [phase for phase in PHASES if phase.name in SHORT or not given.short]
            expected = reference(place, (BEFORE, *phases), {"requests": log_requests})
            print("", *HEAD, sep="\n", flush=True)
            for line in all_lines(place, expected, 1 if given.short else given.trials, given.seed, given.only):
                print(line.text, flush=True)
                lines.append(line)
                if given.errors:
                    print(*(f"  {trial.error}" for trial in line.trials if trial.error), sep="\n", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failed = [(line.name, trial) for line in lines for trial in line.trials if trial.failed]
    print("", *(f"- {name}: {'; '.join(trial.told)}" for name, trial in failed), sep="\n")
    print(f"{sum(not one.missed for line in lines for one in line.trials)} trials in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def all_lines(place: Place, expected: Reference, trials: int, seed: int, only: str) -> Iterator[Line]:
    yield from killed_steps(place, expected, trials, seed, only)
    yield from killed_services(place, trials, seed, only)
    yield from faults(place, expected, trials, seed, only)


if __name__ == "__main__":
    sys.exit(main())
