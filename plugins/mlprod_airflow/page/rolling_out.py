"""Actions of the page about requests: change the rollout, start a ramp, decide a review."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from mlprod_airflow.page.apart import ActionRefused, apart
from mlprod_airflow.page.as_user import Airflow
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform


def roll_out(pipeline: Pipeline, body: Any, by: str) -> str:
    """Set another rollout. Raises: ActionRefused if it makes no sense, or if somebody changed it in the meantime."""
    _check_serving(pipeline)
    ends = [end for end in (body.low, body.high) if end is not None]
    if len(ends) == 1:
        raise ActionRefused(422, "a band needs both `low` and `high`")
    return str(
        apart(
            "rollout",
            pipeline.name,
            mode=body.mode,
            challenger=body.challenger,
            share=body.share,
            automation=body.automation,
            band=ends or None,
            reason=body.reason,
            by=by,
            instead_of=body.instead_of.isoformat() if body.instead_of else None,
        )
    )


def ramp(pipeline: Pipeline, challenger: int, reason: str, by: str, request: Request, platform: Platform) -> str:
    """Start the rollout DAG for a challenger. Raises: ActionRefused with Airflow's message."""
    _check_serving(pipeline)
    dag = f"{pipeline.name}.rollout"
    run_id = f"page__v{challenger}__{platform.clock.now():%Y%m%dT%H%M%S%f}"
    conf = {"challenger": challenger, "by": by, "reason": reason}
    waits = Airflow(request).start(dag, f"a ramp of {pipeline.name}", run_id, conf, f"{reason} ({by})")
    return f"A ramp of version {challenger} of {pipeline.name} is started: run {run_id} of {dag}{waits}"


def review(pipeline: Pipeline, body: Any, by: str, platform: Platform) -> str:
    """Decide a row of the review queue. Raises: ActionRefused if it does not exist or is already decided."""
    from mlprod_tasks.scoring.review_queue import AlreadyDecided, NoSuchReview, decide_review, decided_as

    _check_serving(pipeline)
    try:
        decided = decide_review(pipeline, body.request_id, body.row, body.decision, by, platform, reason=body.reason)
    except NoSuchReview as error:
        raise ActionRefused(404, str(error.args[0])) from error
    except AlreadyDecided as error:
        raise ActionRefused(409, str(error)) from error
    except ValueError as error:
        raise ActionRefused(422, str(error)) from error
    return f"{decided.key} of {pipeline.name} is decided by {by}: {decided_as(decided)}"


def _check_serving(pipeline: Pipeline) -> None:
    if pipeline.serving is None:
        raise ActionRefused(409, f"{pipeline.name} answers no requests: its declaration has no `serving`")
