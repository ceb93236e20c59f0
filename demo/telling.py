"""What the stories of all demos share: chapters, what must happen, runs of a real Airflow, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from demo.progress import progress
from demo.stack import DemoStack
from mlprod_tasks.platform.ledger import (
    Audit,
    Decision,
    GateResult,
    Mail,
    Measurement,
    Promotion,
    Publication,
    Scoring,
    Training,
)

TICK = ("ingest", "score", "monitor")  # the workflows of each tick


@dataclass(frozen=True)
class Expected:
    """Something that must happen, and whether it did."""

    what: str
    happened: bool


class Telling:
    """Runs workflows of one use case and notes what happened.

    TAKES: how long the story takes, in words, to be said at its beginning.
    """

    TAKES: ClassVar[str]

    def __init__(self, stack: DemoStack) -> None:
        self.stack = stack
        self.api = stack.airflow.api
        self.name = stack.pipeline.name
        self.expected: list[Expected] = []
        self._since = time.monotonic()

    def missing(self) -> list[str]:
        """What did not happen."""
        return [one.what for one in self.expected if not one.happened]

    def chapter(self, title: str) -> None:
        self._since = time.monotonic()
        print(f"\n== {title}", flush=True)

    def note(self, what: str, happened: bool) -> None:
        self.expected.append(Expected(what, happened))
        print(f"  {'ok ' if happened else 'NOT'} {what} ({time.monotonic() - self._since:.0f} s)", flush=True)

    def unpause(self) -> None:
        """Let the workflows of the use case run, once Airflow knows them."""
        for workflow in (*TICK, "train"):
            self.api.wait_for_dags([f"{self.name}.{workflow}"])
            self.api.unpause(f"{self.name}.{workflow}")

    def history(self) -> None:
        """Ingest the history."""
        first, last = self.stack.use_case.history
        self.chapter(f"Ingest the history, {first} to {last}, in one run of the ingest DAG")
        self.run_workflow("ingest", "the history is ingested", first=first, last=last)

    def first_model(self) -> None:
        """Train a model, which becomes champion."""
        as_of = self.stack.use_case.as_of
        self.chapter(f"Train a first model as of {as_of}")
        self.run_workflow("train", "the first model passes its gates", as_of=as_of, reason="first model")
        self.note("the first model is champion", self.stack.platform.registry.champion(self.stack.pipeline) is not None)

    def backfill(self, at_once: int) -> int:
        """Backfill the ticks of the story through ingest, score and monitor. Returns how many ticks there are."""
        first, last = self.stack.use_case.backfilled
        schedule = self.stack.pipeline.schedule
        ticks = len(schedule.range(first, last))
        self.chapter(f"Backfill ingest, score and monitor over {first} to {last}, {at_once} ticks at a time")
        print(self.stack.mlprod("backfill", self.name, "--from", first, "--to", last, "--at-once", str(at_once)), end="")
        with progress("runs", self._backfilled):
            for workflow in TICK:
                for backfill in self.api.backfills(f"{self.name}.{workflow}"):
                    self.api.wait_for_backfill(backfill["id"])
        for workflow in TICK:
            runs = [run for run in self.api.runs(f"{self.name}.{workflow}") if run["run_type"] == "backfill"]
            done = sum(run["state"] == "success" for run in runs)
            self.note(f"{workflow} succeeds on all {ticks} ticks ({done} did)", done == len(runs) == ticks)
        self._task_seconds(ticks)
        return ticks

    def _task_seconds(self, ticks: int) -> None:
        """Print how long the tasks of a tick ran; waiting tasks are left out, for they run in the triggerer."""
        count, seconds = 0, 0.0
        for workflow in TICK:
            dag = f"{self.name}.{workflow}"
            for run in self.api.runs(dag):
                if run["run_type"] == "backfill":
                    tasks = [one for one in self.api.task_instances(dag, run["dag_run_id"]) if one["operator"] != "WaitUntil"]
                    ran = [one["duration"] for one in tasks if one["duration"] is not None and one["state"] == "success"]
                    count, seconds = count + len(ran), seconds + sum(ran)
        print(f"  a tick took {count / ticks:.1f} tasks, which ran for {seconds / ticks:.1f} seconds in all", flush=True)

    def run_workflow(self, workflow: str, what: str, **conf: str) -> None:
        """Start a run with parameters, wait for its end and note whether it succeeded."""
        dag = f"{self.name}.{workflow}"
        run = self.api.trigger(dag, conf=conf)
        with progress("tasks", lambda: self.tasks_done(dag, run)):
            ended = self.api.wait_for_run(dag, run, seconds=300)
        self.note(what, ended["state"] == "success")

    def tasks_done(self, dag: str, run: str) -> tuple[int, int]:
        states = [one["state"] for one in self.api.task_instances(dag, run)]
        return sum(state in ("success", "failed", "skipped") for state in states), len(states)

    def _backfilled(self) -> tuple[int, int]:
        runs = [run for workflow in TICK for run in self.api.runs(f"{self.name}.{workflow}")]
        states = [run["state"] for run in runs if run["run_type"] == "backfill"]
        return sum(state in ("success", "failed") for state in states), len(states)

    def table(self, seconds: float) -> str:
        """A table of what happened, from the ledger."""
        return "\n".join(["", *self.lines(), f"in all         {seconds:.0f} seconds", ""])

    def lines(self) -> Iterator[str]:
        """The lines of the table."""
        yield from self.lines_of_data()
        yield from self.lines_of_models()
        yield from self.lines_of_alarms()

    def lines_of_data(self) -> Iterator[str]:
        """Ticks, rows, audits and predictions."""
        ledger, name = self.stack.platform.ledger, self.name
        publications = ledger.all(Publication, pipeline=name)
        yield f"ticks          {len({p.tick for p in publications})} ingested, {len(ledger.all(Scoring, pipeline=name))} scored"
        rows = {p.table_name: 0 for p in publications}
        for publication in publications:
            reference = self.stack.pipeline.table(publication.table_name).time is None
            rows[publication.table_name] = publication.rows if reference else rows[publication.table_name] + publication.rows
        yield "rows           " + ", ".join(f"{count:,} {table}" for table, count in rows.items())
        audits = ledger.all(Audit, pipeline=name)
        refused = sum(audit.rows_refused for audit in audits)
        yield f"audits         {len(audits)}, {refused} rows in quarantine{self.about_audits(audits)}"
        yield f"predictions    {sum(scoring.rows for scoring in ledger.all(Scoring, pipeline=name)):,}"

    def about_audits(self, audits: list[Audit]) -> str:
        """What a story adds to the line of audits."""
        return ""

    def lines_of_models(self) -> Iterator[str]:
        """The trainings."""
        ledger, name = self.stack.platform.ledger, self.name
        versions = {promotion.model_version: promotion for promotion in ledger.all(Promotion, pipeline=name)}
        for training in sorted(ledger.all(Training, pipeline=name), key=lambda training: training.at):
            gates = ledger.all(GateResult, training_id=training.id)
            model = f"version {training.model_version}" if training.model_version in versions else training.state
            yield (
                f"training       as of {training.as_of}: {model}, {self.quality(training)}, "
                f"gates {sum(g.passed for g in gates)} of {len(gates)} passed ({_why(training)})"
            )

    def quality(self, training: Training) -> str:
        """How good a training's model is on its test window, and its baseline."""
        metric = self.stack.pipeline.choose_by
        model, baseline = (training.metrics.get(name, float("nan")) for name in (metric, f"baseline_{metric}"))
        return f"test {metric} {model:.3f}, of a constant {baseline:.3f}"

    def lines_of_alarms(self) -> Iterator[str]:
        """Measurements outside their bounds, decisions and mails."""
        ledger, name = self.stack.platform.ledger, self.name
        breached = [m for m in ledger.all(Measurement, pipeline=name) if m.breached]
        yield f"alarms         {len(breached)} measurements outside their bounds"
        for decision in ledger.all(Decision, pipeline=name):
            if decision.action != "nothing":
                yield f"  {decision.tick}   {decision.action:8} {', '.join(rule['rule'] for rule in decision.rules)}"
        mails = sorted(ledger.all(Mail, pipeline=name), key=lambda mail: mail.at)
        yield f"mails          {len(mails)} sent, {len(self.stack.catcher.outbox.files())} received"
        for mail in mails:
            yield f"  {mail.kind:10} {mail.subject}"


def _why(training: Training) -> str:
    return f"Retrain: {', '.join(training.rules)}" if training.rules else training.reason
