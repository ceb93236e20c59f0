"""Wait for a tick without occupying a worker, and start a training with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TaskSuccessEvent, TriggerEvent

from mlprod_tasks.declaration import Pipeline, load

What = Literal["published", "scored", "decided"]
LOOK_EVERY_SECONDS = 1.0
GIVE_UP_AFTER = timedelta(hours=12)


def is_there(pipeline: Pipeline, what: What, tick: str) -> bool:
    """Whether the tick is scored, decided, or published in every table, according to the ledger."""
    from mlprod_airflow.installation import platform
    from mlprod_tasks.ingest.unpublished import unpublished
    from mlprod_tasks.platform.ledger import Decision, Scoring

    day, ledger = pipeline.schedule.tick(tick).name, platform().ledger
    if what == "scored":
        return ledger.get(Scoring, pipeline.name, day) is not None
    if what == "decided":
        return ledger.get(Decision, pipeline.name, day) is not None
    return not unpublished(pipeline, day, platform())


class WaitUntil(BaseOperator):
    """Wait in the triggerer until the run's tick is published, scored or decided, without a worker, not even to begin."""

    template_fields = ("tick",)
    start_from_trigger = True

    def __init__(self, *, pipeline: Pipeline, what: What, tick: str = "{{ dag_run.partition_key }}", **rest: Any) -> None:
        super().__init__(**rest)
        self.pipeline = pipeline
        self.what = what
        self.tick = tick
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="mlprod_airflow.waiting.TickTrigger",
            trigger_kwargs={"pipeline": pipeline.name, "what": what, "tick": tick},
            next_method="resume",
            next_kwargs=None,
            timeout=GIVE_UP_AFTER,
        )

    def execute(self, context: Any) -> None:
        """Do the same if a worker starts the task, as `airflow tasks test` does."""
        if not is_there(self.pipeline, self.what, self.tick):
            trigger = TickTrigger(self.pipeline.name, self.what, self.tick)
            self.defer(trigger=trigger, method_name="resume", timeout=GIVE_UP_AFTER)

    def resume(self, context: Any, event: Any) -> None:
        self.log.info("%s %s %s", self.pipeline.name, self.tick, self.what)


class TickTrigger(BaseTrigger):
    """Poll the ledger until the tick is published, scored or decided."""

    def __init__(self, pipeline: str, what: What, tick: str) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.what = what
        self.tick = tick

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "mlprod_airflow.waiting.TickTrigger", {"pipeline": self.pipeline, "what": self.what, "tick": self.tick}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from mlprod_airflow.installation import platform

        pipeline = load(platform().settings.pipelines / f"{self.pipeline}.py")
        while not await asyncio.to_thread(is_there, pipeline, self.what, self.tick):
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        yield TaskSuccessEvent()


class Retrain(TriggerDagRunOperator):
    """Start the train DAG once for a tick whose decision asks for it, with the reason as the run's note; else be skipped."""

    template_fields = (*TriggerDagRunOperator.template_fields, "note", "wanted")

    def __init__(self, *, pipeline: Pipeline, decided: Any, **rest: Any) -> None:
        decision = f"ti.xcom_pull('{decided.operator.task_id}')"
        reason = f"{{{{ {decision}['reason'] }}}}"
        self.wanted = f"{{{{ {decision}['retrain_now'] }}}}"
        super().__init__(
            trigger_dag_id=f"{pipeline.name}.train",
            trigger_run_id="monitor__{{ dag_run.partition_key }}",
            # `decided_at` marks it as requested by the monitor: the reason is for people only, nothing depends on its text.
            conf={"as_of": "{{ dag_run.partition_key }}", "reason": reason, "decided_at": "{{ dag_run.partition_key }}"},
            note=reason,
            logical_date=None,
            skip_when_already_exists=True,  # a rerun of monitor starts no second training
            **rest,
        )

    def execute(self, context: Any) -> None:
        if self.wanted != str(True):
            raise AirflowSkipException("the decision of this tick starts no training")
        super().execute(context)
