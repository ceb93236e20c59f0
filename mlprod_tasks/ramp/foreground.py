"""A ramp in one process, without Airflow: the same steps, in the same order, as the rollout DAG takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.ramp.state import RampStopped, percent, ramp_of
from mlprod_tasks.ramp.steps import RULE, Checked, look

SOONEST, LATEST = 2.0, 60.0
LOOKS = 60  # in the time that a step is held for


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
    yield f"{pipeline.name}: {steps.begin(pipeline, challenger, by, reason, platform).sentence}"
    why = f"the rollout that {by} started was ended before its end"
    try:
        for share in ramp_of(pipeline).shares:
            yield steps.take_step(pipeline, share, platform, challenger=challenger).sentence
            told = ""
            while (found := look(pipeline, platform, challenger=challenger)).verdict == "waiting":
                if found.sentence != told:
                    yield (told := found.sentence)
                wait(seconds_between(pipeline))
            found = steps.check(pipeline, platform, challenger=challenger)
            yield text(found)
            if found.verdict == "failed":
                why = f"it fails at {percent(share)}"
                break
        else:
            yield steps.finish(pipeline, platform, challenger=challenger).sentence
    except RampStopped as error:
        yield str(error)
    except Exception as error:
        why = f"the rollout stopped: {type(error).__name__}: {error}"
        raise
    finally:
        taken = steps.take_back(pipeline, RULE, why, platform, challenger=challenger)
    if taken.changed:
        yield taken.sentence


def seconds_between(pipeline: Pipeline) -> float:
    """How long to wait before a step that is not over is looked at again."""
    return min(max(ramp_of(pipeline).hold.total_seconds() / LOOKS, SOONEST), LATEST)


def text(found: Checked) -> str:
    """What a check says, a line each."""
    marks = {True: "ok    ", False: "FAIL  ", None: "?     "}
    return "\n".join([found.sentence, *(f"  {marks[one.passed]}{one.what:8} {one.sentence}" for one in found.checks)])
