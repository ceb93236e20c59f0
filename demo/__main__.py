"""`make demo`: every step from source row to retraining, on a year of real flights, in a real Airflow."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from demo.stack import DemoStack
from demo.story import Story

REPOSITORY = Path(__file__).parents[1]


def main() -> int:
    """Run the demo; keep its servers until Ctrl-C, or with --exit stop at once. Exit status 0 if all happened."""
    arguments = argparse.ArgumentParser(prog="make demo", description=__doc__)
    arguments.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    arguments.add_argument("--exit", action="store_true", help="stop after the table; exit status 0 if all happened")
    arguments.add_argument("--home", type=Path, default=REPOSITORY / "var" / "demo", help="folder; emptied first")
    given = arguments.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    begun = time.monotonic()
    print("It takes about five minutes on two cores; the longest wait, the backfill of June, under two.", flush=True)
    try:
        with DemoStack(given.home, given.database) as stack:
            story = Story(stack)
            story.run()
            print(story.table(time.monotonic() - begun))
            missing = story.missing()
            for what in missing:
                print(f"DID NOT HAPPEN: {what}")
            print(stack.addresses())
            if not given.exit:
                print("All servers keep running. Press Ctrl-C to stop them.", flush=True)
                signal.pause()
    except KeyboardInterrupt:
        return 0
    return 1 if missing else 0


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
