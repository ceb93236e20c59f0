"""A ramp in one process, without Airflow: the same steps, in the same order, as the rollout DAG takes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.rollout.checks import between
from mlprod_tasks.rollout.routing import CannotRollOut
from mlprod_tasks.rollout.state import RampStopped, percent, ramp_of
from mlprod_tasks.rollout.steps import RULE, Checked, Overtaken, TakenBack

log = logging.getLogger(__name__)
AGAIN = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0)  # seconds before a challenger is tried to be taken back again


def ramp(
    pipeline: Pipeline,
    challenger: int,
    by: str,
    reason: str,
    platform: Platform,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Roll a version out to its end, or to where it is taken back; what happens, sentence by sentence.

    However it ends before its end, by an error, by Ctrl-C or because nobody asks for more, the challenger is taken back.

    Raises: as the steps.
    """
    why = f"the rollout that {by} started was ended before its end"
    refused = False
    try:
        try:
            begun = steps.begin(pipeline, challenger, by, reason, platform)
        except CannotRollOut:
            refused = True  # so there is nothing of ours to take back
            raise
        yield f"{pipeline.name}: {begun.sentence}"
        for share in ramp_of(pipeline).shares:
            yield steps.take_step(pipeline, share, platform, challenger=challenger).sentence
            told = ""
            while (found := steps.check(pipeline, platform, challenger=challenger)).verdict == "waiting":
                if found.sentence != told:
                    yield (told := found.sentence)
                wait(seconds_between(pipeline))
            yield text(found)
            if found.verdict == "failed":
                why = f"it fails at {percent(share)}"
                break
        else:
            yield steps.finish(pipeline, platform, challenger=challenger).sentence
    except RampStopped as error:
        yield str(error)
    except Overtaken as error:
        why = "it could not be promoted any more"
        yield str(error)
    except Exception as error:
        why = f"the rollout stopped: {type(error).__name__}: {error}"
        raise
    finally:
        taken = None if refused else _taken_back(pipeline, why, platform, challenger, wait)
    if taken is not None and taken.changed:
        yield taken.sentence


def _taken_back(pipeline: Pipeline, why: str, platform: Platform, challenger: int, wait: Callable[[float], None]) -> TakenBack:
    """Take back, for some minutes again and again: what is down now may be what ended the ramp, and come back."""
    for seconds in AGAIN:
        try:
            return steps.take_back(pipeline, RULE, why, platform, challenger=challenger)
        except Exception as error:
            log.warning("%s: version %d is not taken back yet: %s; again in %g s", pipeline.name, challenger, error, seconds)
            wait(seconds)
    return steps.take_back(pipeline, RULE, why, platform, challenger=challenger)


def seconds_between(pipeline: Pipeline) -> float:
    """How long to wait before a step that is not over is looked at again."""
    return between(ramp_of(pipeline)).total_seconds()


def text(found: Checked) -> str:
    """What a check says, a line each."""
    marks = {True: "ok    ", False: "FAIL  ", None: "?     "}
    return "\n".join([found.sentence, *(f"  {marks[one.passed]}{one.what:8} {one.sentence}" for one in found.checks)])
