"""A step of the weekly shop that is killed at a moment: to be run in a process of its own."""

import os
import signal

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


def run_until(step: str, name: str, fatal: int, variables: dict[str, str]) -> None:
    """Do the step for the tick of that name, until its moment `fatal`; 0: to the end."""

    def at(number: int) -> None:
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    platform = Platform(from_environment(variables))
    Moments(at).begin()
    STEPS[step](REGULARS.schedule.tick(name), platform)
