"""`make demo`: every step from source row to retraining, on a year of real flights, in a real Airflow.

`make demo USE=household_spend` shows another use case that ships: its history, a model and some ticks.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from demo.short_story import ShortStory
from demo.stack import DemoStack
from demo.story import Story
from demo.use_cases import FLIGHTS, USE_CASES

REPOSITORY = Path(__file__).parents[1]


def main() -> int:
    """Run the demo; keep its servers until Ctrl-C, or with --exit stop at once. Exit status 0 if all happened."""
    arguments = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    arguments.add_argument("--exit", action="store_true", help="stop after the table; exit status 0 if all happened")
    arguments.add_argument("--home", type=Path, default=REPOSITORY / "var" / "demo", help="folder; emptied first")
    arguments.add_argument("--use", choices=tuple(USE_CASES), default=FLIGHTS, help="the use case to show")
    given = arguments.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    begun = time.monotonic()
    told = Story if given.use == FLIGHTS else ShortStory
    print(f"{told.TAKES} on two cores.", flush=True)
    try:
        with DemoStack(given.home, given.database, USE_CASES[given.use]) as stack:
            story = told(stack)
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
