"""Run what needs heavy libraries in a separate process, so that the API server stays small and survives crashes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlprod_tasks.declaration import Pipeline
    from mlprod_tasks.platform import Platform

log = logging.getLogger(__name__)

PLUGINS = Path(__file__).parents[2]
AT_ONCE = 2  # each process takes some hundred MB
SECONDS = 120
_free = BoundedSemaphore(AT_ONCE)


class ActionRefused(Exception):
    """An action that could not be carried out: an HTTP status and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def apart(what: str, pipeline: str, /, **given: Any) -> Any:
    """Run one of `FUNCTIONS` and return its result as JSON values. Raises: ActionRefused."""
    if not _free.acquire(timeout=SECONDS / 4):
        raise ActionRefused(503, f"{AT_ONCE} other requests are running: try again in a minute")
    path = os.pathsep.join(filter(None, (str(PLUGINS), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", __name__],
            input=json.dumps({"what": what, "pipeline": pipeline, "given": given}),
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ActionRefused(504, f"{pipeline}: {what} took longer than {SECONDS} s and was stopped") from error
    finally:
        _free.release()
    if done.returncode:
        # What the process wrote may hold paths and values that the reader of the page must not see.
        log.error("%s: %s ended with exit status %d: %s", pipeline, what, done.returncode, done.stderr)
        raise ActionRefused(500, f"{pipeline}: {what} failed: see the log of Airflow's API server")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise ActionRefused(answer["status"], answer["error"])
    return answer["done"]


def _explain(pipeline: Pipeline, here: Platform, *, key: list[str], tick: str | None) -> Any:
    from mlprod_tasks.operations.explain import explain

    return asdict(explain(pipeline, key, here, pipeline.schedule.tick(tick) if tick else None))


def _rollback(pipeline: Pipeline, here: Platform, *, to: int | None, reason: str, by: str) -> str:
    from mlprod_tasks.notifications.events import tell_rollback
    from mlprod_tasks.promotion.rollback import rollback

    done = rollback(pipeline, here, to=to, reason=reason, by=by)
    tell_rollback(pipeline, done, here)
    return done.sentence


def _fallback(pipeline: Pipeline, here: Platform, *, reason: str, by: str) -> str:
    from mlprod_tasks.promotion.fallback_switch import sentence, switch_to_fallback

    return f"{pipeline.name}: {sentence(switch_to_fallback(pipeline, by, here, reason=reason))}"


def _champion(pipeline: Pipeline, here: Platform, *, reason: str, by: str) -> str:
    from mlprod_tasks.promotion.fallback_switch import switch_to_champion

    switched = switch_to_champion(pipeline, by, here, reason=reason)
    return f"{pipeline.name}: the champion {'answers again, from the next scoring on' if switched else 'already answers'}"


def _rollout(
    pipeline: Pipeline,
    here: Platform,
    *,
    mode: str,
    challenger: int | None,
    share: float,
    automation: str,
    band: list[float] | None,
    reason: str,
    by: str,
    instead_of: str | None,
) -> str:
    from datetime import datetime

    from mlprod_tasks.rollout.routing import roll_out

    entry = roll_out(
        pipeline, here, mode=mode, by=by, reason=reason, challenger=challenger, share=share, automation=automation,
        band=(band[0], band[1]) if band else None,
        instead_of=datetime.fromisoformat(instead_of) if instead_of else None,
    )  # fmt: skip
    version = "" if entry.challenger is None else f" of version {entry.challenger}"
    share_text = f", {entry.share:.0%} of entities" if entry.share else ""
    return f"{pipeline.name}: {entry.mode}{version}{share_text}, automation {entry.automation}, within seconds"


def _experiment(pipeline: Pipeline, here: Platform, **asked: Any) -> str:
    from mlprod_tasks import steps
    from mlprod_tasks.experiments.by_hand import AskedExperiment

    return steps.ask_experiment(pipeline, AskedExperiment(**asked), here)


def _bandit(
    pipeline: Pipeline, here: Platform, *, name: str, arms: list[str], rows: Any, by: str, reason: str
) -> str:  # fmt: skip
    from mlprod_tasks.bandits.evaluate import replay_told
    from mlprod_tasks.bandits.run import plan_of, start

    run = start(pipeline, name, arms, by, reason, here, rows=rows)
    chooses = f"{name} of {pipeline.name} chooses among {', '.join(plan_of(run).arms)} from {run.starts} on"
    return f"{chooses}\n{replay_told(pipeline, run, here)}"


def _end_bandit(pipeline: Pipeline, here: Platform, *, name: str, by: str, reason: str) -> str:
    from mlprod_tasks.bandits.run import stop

    run = stop(pipeline, name, by, reason, here)
    return f"{name} of {pipeline.name} is ended: {run.ended} is the first tick that it does not choose for"


def _freeze_bandit(pipeline: Pipeline, here: Platform, *, name: str, by: str, reason: str) -> str:
    from mlprod_tasks.bandits.freeze import freeze

    return f"{name} of {pipeline.name}: {freeze(pipeline, name, by, reason, here).sentence}"


def _thaw_bandit(pipeline: Pipeline, here: Platform, *, name: str, by: str, reason: str) -> str:
    from mlprod_tasks.bandits.freeze import thaw

    entry = thaw(pipeline, name, by, reason, here)
    return f"{name} of {pipeline.name} learns again: {entry.until} is the first tick with new shares"


def _run(pipeline: Pipeline, here: Platform, *, run_id: str) -> str:
    return here.registry.run_url(run_id, here.settings.mlflow_base_url)


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "explain": _explain,
        "run": _run,
        "rollback": _rollback,
        "fallback": _fallback,
        "champion": _champion,
        "rollout": _rollout,
        "experiment": _experiment,
        "bandit": _bandit,
        "end_bandit": _end_bandit,
        "freeze_bandit": _freeze_bandit,
        "thaw_bandit": _thaw_bandit,
    }
)
# Errors that people can fix, by class name, because their modules are not loaded here.
STATUSES = MappingProxyType(
    {
        "NoSuchPrediction": 404,
        "RunMissing": 404,
        "CannotRollBack": 409,
        "CannotRollOut": 400,
        "RolledOutMeanwhile": 409,
        "CannotSwitch": 409,
        "CannotPlan": 409,
        "CannotStart": 409,
        "CannotFreeze": 409,
        "NoExperiment": 404,
        "NoBandit": 404,
        "SettingMissing": 503,
        "RegistryUnreachable": 503,
    }
)


def _answer(call: Mapping[str, Any]) -> dict[str, Any]:
    from mlprod_airflow.page.declarations import named, platform

    try:
        return {"done": FUNCTIONS[call["what"]](named(call["pipeline"]), platform(), **call["given"])}
    except (LookupError, ValueError, OSError, RuntimeError) as error:
        usual = 422 if isinstance(error, ValueError | LookupError) else 503
        return {"error": str(error.args[0] if error.args else error), "status": STATUSES.get(type(error).__name__, usual)}


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
