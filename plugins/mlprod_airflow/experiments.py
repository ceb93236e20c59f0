"""The experiment DAG: its form, who asks, and that only faults are mailed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from mlprod_airflow.installation import declared
from mlprod_airflow.mails import TellFailure
from mlprod_airflow.ramping import requested_by
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.experiment import Design, Rows, Then

if TYPE_CHECKING:
    from mlprod_tasks.experiments.by_hand import AskedExperiment
    from mlprod_tasks.platform import Platform

log = logging.getLogger(__name__)
PLAN, START, STOP = "plan", "start", "stop"


class ExperimentRefused(AirflowFailException):
    """An experiment that cannot be planned, started or ended. Not retried; who asked for it reads why in the task's log."""


def experimenting() -> list[Pipeline]:
    """All valid use cases that declare experiments."""
    return [pipeline for pipeline in declared() if pipeline.experiments is not None]


def variants_in(text: str) -> list[str]:
    """The variants in a text such as '3, fallback=10%'."""
    return [one.strip() for one in text.split(",") if one.strip()]


def experiment_params(pipeline: Pipeline) -> dict[str, Param]:
    """What a run of the DAG is asked for."""
    assert pipeline.experiments is not None
    metrics = [metric.name for metric in pipeline.experiments.metrics]
    described = "; ".join(
        f"{one.name}: {one.doc}{f', in {one.unit}' if one.unit else ''}" for one in pipeline.experiments.metrics
    )
    return {
        "what": Param(PLAN, type="string", enum=[PLAN, START, STOP], description="A plan changes nothing: its log says it."),
        "name": Param("", type="string", maxLength=63, description="The experiment's name, to start or stop it."),
        "reason": Param(None, type="string", minLength=1, maxLength=1000, description="Why; recorded in the ledger."),
        "variants": Param(
            "", type="string", maxLength=300, description="What is compared with the champion: '3', '3@0.4', 'fallback=10%'."
        ),
        "metric": Param(metrics[0], type="string", enum=metrics, description=f"The metric that decides. {described}"),
        "difference": Param(
            None, type=["null", "number"], exclusiveMinimum=0, description="The smallest difference in it that matters."
        ),
        "alpha": Param(
            0.05, type="number", exclusiveMinimum=0, exclusiveMaximum=1, description="The probability of a false alarm."
        ),
        "power": Param(
            0.8, type="number", exclusiveMinimum=0, exclusiveMaximum=1, description="The probability of finding the difference."
        ),
        "design": Param("fixed", type="string", enum=list(get_args(Design)), description="When it may be read."),
        "periods": Param(
            None, type=["null", "integer"], minimum=1, description="How many weeks (months, if there is no tick a week); "
            "by default as few as can be."
        ),
        "rows": Param("batch", type="string", enum=list(get_args(Rows)), description="Rows scored by ticks, or asked for."),
        "then": Param("nothing", type="string", enum=list(get_args(Then)), description="What follows a verdict."),
        "fresh": Param(False, type="boolean", description="Count only units first seen after the start."),
        "traffic": Param(
            1.0, type="number", exclusiveMinimum=0, maximum=1, description="The share of the units that take part."
        ),
    }  # fmt: skip


def asked_by(context: Any) -> AskedExperiment:
    """What the parameters of a run ask for, and who triggered it."""
    from mlprod_tasks.experiments.by_hand import AskedExperiment

    params = dict(context["params"])
    return AskedExperiment(**params | {"variants": variants_in(params["variants"]), "by": requested_by(context)})


def or_refused(
    ask: Callable[[Pipeline, AskedExperiment, Platform], str], pipeline: Pipeline, asked: AskedExperiment, here: Platform
) -> str:
    """Return what was done, and log it. Raises: ExperimentRefused with what would be possible."""
    from mlprod_tasks.experiments.plan import CannotPlan
    from mlprod_tasks.experiments.run import CannotStart, NoExperiment

    try:
        done = ask(pipeline, asked, here)
    except (CannotPlan, CannotStart, NoExperiment) as error:
        raise ExperimentRefused(str(error)) from error
    log.info("%s", done)
    return done


class TellFault(TellFailure):
    """Mail a failed task, except one that was refused: only who asked for it needs to know."""

    def _error(self, context: Any) -> BaseException | None:
        error = super()._error(context)
        return None if isinstance(error, ExperimentRefused) else error


def telling_faults(pipeline: Pipeline, given: dict[str, Any]) -> dict[str, Any]:
    """Set a DAG's failure callbacks so that no mail is sent about what was refused."""
    return given | {
        "default_args": given["default_args"] | {"on_failure_callback": TellFault(pipeline)},
        "on_failure_callback": None,
    }
