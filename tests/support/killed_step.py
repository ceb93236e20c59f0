"""Run a step of the weekly shop in a process that is killed at a moment: arguments STEP, TICK and MOMENT."""

import os
import signal
import sys

from benchmarks.recovery.moments import Moments
from mlprod_tasks import workflows
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.weekly_shop import REGULARS

STEPS = {
    "ingest": lambda tick, platform: workflows.ingest(REGULARS, REGULARS.schedule.range(tick.name), platform),
    "score": lambda tick, platform: workflows.score(REGULARS, [tick], platform),
    "monitor": lambda tick, platform: workflows.monitor(REGULARS, [tick], platform),
}


def main() -> None:
    """Do the step; print how many moments it had, if it was not killed."""
    step, tick, fatal = sys.argv[1], REGULARS.schedule.tick(sys.argv[2]), int(sys.argv[3])
    counted = [0]

    def at(number: int) -> None:
        counted[0] = number
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    platform = Platform(from_environment(dict(os.environ)))
    Moments(at).begin()
    STEPS[step](tick, platform)
    print(f"MOMENTS {counted[0]}")


if __name__ == "__main__":
    main()
