"""The steps of the demo. Each starts runs of a real Airflow and checks what they did."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from demo.business_database import corrupt, mend
from demo.live_flights import LiveFlights
from demo.progress import progress
from demo.stack import DemoStack
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import (
    Audit,
    Decision,
    GateResult,
    Mail,
    Measurement,
    Promotion,
    Publication,
    Rollout,
    Scoring,
    Training,
    newest,
)

HISTORY = (date(2013, 1, 2), date(2013, 6, 16))
FIRST_MODEL = date(2013, 5, 24)  # early enough that its retraining cooldown ends during the June days
JUNE = (date(2013, 6, 17), date(2013, 6, 30))
CORRUPTED = date(2013, 7, 1)
DATA_DOCS = "mlprod.data_docs"
GATE, UNREACHABLE = re.compile(r'ml\.AtLeast\("roc_auc", [0-9.]+\)'), 'ml.AtLeast("roc_auc", 0.99)'


@dataclass(frozen=True)
class Expected:
    """Something that must happen, and whether it did."""

    what: str
    happened: bool


class Story:
    """The steps in their order, then a table of what the ledger and the outbox hold."""

    def __init__(self, stack: DemoStack) -> None:
        self.stack = stack
        self.api = stack.airflow.api
        self.name = stack.pipeline.name
        self.expected: list[Expected] = []

    def run(self) -> None:
        """Run all steps. What did not happen is noted, and the next step starts."""
        for workflow in ("ingest", "train", "score", "monitor"):
            self.api.wait_for_dags([f"{self.name}.{workflow}"])
            self.api.unpause(f"{self.name}.{workflow}")
        self._history()
        self._first_model()
        self._june()
        self._corrupt_batch()
        self._live_flights()
        docs = self._data_docs()
        threading.Thread(target=self.stack.page, daemon=True).start()  # the first visit loads its libraries
        self._canary()
        self._note("the data docs are built", self.api.wait_for_run(DATA_DOCS, docs)["state"] == "success")
        self._page()
        self.stack.start_mlflow_ui()

    def missing(self) -> list[str]:
        """What did not happen."""
        return [one.what for one in self.expected if not one.happened]

    def _history(self) -> None:
        self._chapter(f"Ingest the history, {HISTORY[0]} to {HISTORY[1]}, in one run of the ingest DAG")
        self._run("ingest", "the history is ingested", first=str(HISTORY[0]), last=str(HISTORY[1]))

    def _first_model(self) -> None:
        self._chapter(f"Train a first model as of {FIRST_MODEL}")
        self._run("train", "the first model passes its gates", as_of=str(FIRST_MODEL), reason="first model")
        self._note("the first model is champion", self.stack.platform.registry.champion(self.stack.pipeline) is not None)

    def _june(self) -> None:
        self._chapter(f"Backfill ingest, score and monitor over {JUNE[0]} to {JUNE[1]}, four ticks at a time")
        print(self.stack.mlprod("backfill", self.name, "--from", str(JUNE[0]), "--to", str(JUNE[1]), "--at-once", "4"), end="")
        with progress("runs", self._backfilled):
            for workflow in ("ingest", "score", "monitor"):
                for backfill in self.api.backfills(f"{self.name}.{workflow}"):
                    self.api.wait_for_backfill(backfill["id"])
        for workflow in ("ingest", "score", "monitor"):
            runs = [run for run in self.api.runs(f"{self.name}.{workflow}") if run["run_type"] == "backfill"]
            done = sum(run["state"] == "success" for run in runs)
            self._note(f"{workflow} succeeds on all fourteen ticks ({done} did)", done == len(runs) == 14)
        self._task_seconds()
        decided = self.stack.platform.ledger.all(Decision, pipeline=self.name, action="retrain")
        self._note("the monitor decides to retrain", bool(decided))
        retrainings = [run for run in self.api.runs(f"{self.name}.train") if run["conf"].get("decided_at")]
        self._note("the monitor starts a training", bool(retrainings))
        for run in retrainings:
            ended = self.api.wait_for_run(f"{self.name}.train", run["dag_run_id"])
            print(f"  retraining {run['dag_run_id']}: {ended['state']}; {ended['note']}", flush=True)
            self._note("the retraining's run says why", bool(ended["note"]))

    def _task_seconds(self) -> None:
        """Print how long the tasks of a tick ran; waiting tasks are left out, for they run in the triggerer."""
        count, seconds = 0, 0.0
        for workflow in ("ingest", "score", "monitor"):
            dag = f"{self.name}.{workflow}"
            for run in self.api.runs(dag):
                if run["run_type"] == "backfill":
                    tasks = [one for one in self.api.task_instances(dag, run["dag_run_id"]) if one["operator"] != "WaitUntil"]
                    ran = [one["duration"] for one in tasks if one["duration"] is not None and one["state"] == "success"]
                    count, seconds = count + len(ran), seconds + sum(ran)
        print(f"  a tick took {count / 14:.1f} tasks, which ran for {seconds / 14:.1f} seconds in all", flush=True)

    def _corrupt_batch(self) -> None:
        self._chapter(f"Send in a corrupt batch for {CORRUPTED}, then mend it")
        dag, stack = f"{self.name}.ingest", self.stack
        corrupt(stack.business, str(CORRUPTED))
        mails = self._mails("failure")
        run = self._partition(dag, CORRUPTED)
        self._note("the audit refuses the corrupt batch", self.api.wait_for_run(dag, run)["state"] == "failed")
        audit = stack.platform.ledger.get(Audit, self.name, "flights", CORRUPTED)
        self._note("the ledger says why", audit is not None and not audit.passed and bool(audit.failures))
        lake = stack.platform.lake
        self._note("nothing of it reaches the lake", CORRUPTED not in lake.ticks(names.raw(stack.pipeline, "flights")))
        self._note("one mail reports it", self._mails("failure") == mails + 1)
        mend(stack.business)
        self.api.clear(dag, run, ["extract"])
        self._note("clearing the task heals the tick", self.api.wait_for_run(dag, run)["state"] == "success")
        self._note("the mended rows are in the lake", CORRUPTED in lake.ticks(names.raw(stack.pipeline, "flights")))
        scoring = self.api.trigger(f"{self.name}.score", partition_key=str(CORRUPTED))
        self._note("it is scored", self.api.wait_for_run(f"{self.name}.score", scoring)["state"] == "success")
        scored, champion = (
            stack.platform.ledger.get(Scoring, self.name, CORRUPTED),
            stack.platform.registry.champion(stack.pipeline),
        )
        by_champion = scored is not None and champion is not None and scored.model_version == champion.version
        self._note(
            "by the newest champion, not by the fallback", by_champion and scored is not None and not scored.fallback_rows
        )
        print(f"  refused, mailed, mended, healed: {_rows_of(stack, CORRUPTED):,} flights", flush=True)

    def _live_flights(self) -> None:
        self._chapter(f"Answer requests: the flights of {CORRUPTED}, over HTTP")
        self.live = LiveFlights(self.stack, CORRUPTED, self._note)
        self.live.fill()
        self.live.serve()

    def _canary(self) -> None:
        self._chapter("Roll an earlier version out as a canary, while a training meets a gate that no model can reach")
        with self.live.rolling_out():
            self._unreachable_gate()
        self.live.collect()

    def _data_docs(self) -> str:
        """Start building the data docs; gives the run's id."""
        self.api.unpause(DATA_DOCS)
        return self.api.trigger(DATA_DOCS)

    def _unreachable_gate(self) -> None:
        dag, stack = f"{self.name}.train", self.stack
        before, mails = stack.platform.registry.champion(stack.pipeline), self._mails("failure")
        declaration = stack.home / "pipelines" / f"{self.name}.py"
        written = declaration.read_text()
        edited, gates = GATE.subn(UNREACHABLE, written)
        assert gates == 1, f"{declaration} has no gate on roc_auc to edit"
        _rewrite(declaration, edited)
        try:
            run = self.api.trigger(dag, conf={"as_of": str(CORRUPTED), "reason": "a gate that cannot be reached"})
            with progress("tasks", lambda: self._tasks_done(dag, run)):
                ended = self.api.wait_for_run(dag, run, seconds=300)
        finally:
            _rewrite(declaration, written)
        states = self.api.task_states(dag, run)
        self._note("the training's gate task is red", ended["state"] == "failed" and states["gate"] == "failed")
        self._note("one mail shows the gates", self._mails("failure") == mails + 1)
        after = stack.platform.registry.champion(stack.pipeline)
        self._note("the champion stays", before is not None and after is not None and before.version == after.version)

    def _page(self) -> None:
        self._chapter("Look at the page in Airflow's UI")
        scored = newest(self.stack.platform.ledger.all(Scoring, pipeline=self.name), "tick")
        champion = self.stack.platform.registry.champion(self.stack.pipeline)
        assert scored is not None
        assert champion is not None
        (card,) = self.stack.page("api/overview").json()["pipelines"]
        shown = (card["last"]["tick"], card["last"]["rows"], card["champion"]["version"])
        self._note("it shows the ledger's numbers", shown == (str(scored.tick), scored.rows, champion.version))
        metrics, of = self.stack.page("metrics").text, f'{{pipeline="{self.name}"}}'
        lines = f"mlprod_scored_rows{of} {float(scored.rows)}", f"mlprod_champion_version{of} {float(champion.version)}"
        self._note("so do its metrics", all(line in metrics.splitlines() for line in lines))

    def table(self, seconds: float) -> str:
        """A table of what happened, from the ledger."""
        return "\n".join(["", *self._lines(), f"in all         {seconds:.0f} seconds", ""])

    def _lines(self) -> Iterator[str]:
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
        seconds = median(audit.seconds for audit in audits if audit.tick >= JUNE[0] and audit.table_name == "flights")
        yield f"audits         {len(audits)}, {refused} rows in quarantine; auditing a day of flights took {seconds:.1f} s"
        yield f"predictions    {sum(scoring.rows for scoring in ledger.all(Scoring, pipeline=name)):,}"
        yield f"on request     {self.live.rows():,} rows answered{self._rolled_out()}"
        versions = {promotion.model_version: promotion for promotion in ledger.all(Promotion, pipeline=name)}
        for training in sorted(ledger.all(Training, pipeline=name), key=lambda training: training.at):
            gates = ledger.all(GateResult, training_id=training.id)
            model = f"version {training.model_version}" if training.model_version in versions else training.state
            metrics = training.metrics
            yield (
                f"training       as of {training.as_of}: {model}, test AUC {metrics.get('roc_auc', float('nan')):.3f}, "
                f"value {metrics.get('value_per_1000', float('nan')):,.0f} {self.stack.pipeline.value.unit} per 1,000, "
                f"gates {sum(g.passed for g in gates)} of {len(gates)} passed ({_why(training)})"
            )
        breached = [m for m in ledger.all(Measurement, pipeline=name) if m.breached]
        yield f"alarms         {len(breached)} measurements outside their bounds"
        for decision in ledger.all(Decision, pipeline=name):
            if decision.action != "nothing":
                yield f"  {decision.tick}   {decision.action:8} {', '.join(rule['rule'] for rule in decision.rules)}"
        mails = sorted(ledger.all(Mail, pipeline=name), key=lambda mail: mail.at)
        yield f"mails          {len(mails)} sent, {len(self.stack.catcher.outbox.files())} received"
        for mail in mails:
            yield f"  {mail.kind:10} {mail.subject}"

    def _rolled_out(self) -> str:
        canaries = [one for one in self.stack.platform.ledger.all(Rollout, pipeline=self.name) if one.mode == "canary"]
        if not canaries:
            return ""
        most = max(canaries, key=lambda one: one.share)
        return f"; version {most.challenger} was rolled out to {most.share:.0%} of entities and taken back"

    def _chapter(self, title: str) -> None:
        self._since = time.monotonic()
        print(f"\n== {title}", flush=True)

    def _note(self, what: str, happened: bool) -> None:
        self.expected.append(Expected(what, happened))
        print(f"  {'ok ' if happened else 'NOT'} {what} ({time.monotonic() - self._since:.0f} s)", flush=True)

    def _run(self, workflow: str, what: str, **conf: str) -> None:
        dag = f"{self.name}.{workflow}"
        run = self.api.trigger(dag, conf=conf)
        with progress("tasks", lambda: self._tasks_done(dag, run)):
            ended = self.api.wait_for_run(dag, run, seconds=300)
        self._note(what, ended["state"] == "success")

    def _tasks_done(self, dag: str, run: str) -> tuple[int, int]:
        states = [one["state"] for one in self.api.task_instances(dag, run)]
        return sum(state in ("success", "failed", "skipped") for state in states), len(states)

    def _backfilled(self) -> tuple[int, int]:
        runs = [run for workflow in ("ingest", "score", "monitor") for run in self.api.runs(f"{self.name}.{workflow}")]
        states = [run["state"] for run in runs if run["run_type"] == "backfill"]
        return sum(state in ("success", "failed") for state in states), len(states)

    def _partition(self, dag: str, tick: date) -> str:
        """Backfill one tick; gives its run's id."""
        self.api.backfill(dag, tick, tick)
        return str(next(run["dag_run_id"] for run in self.api.runs(dag) if run["partition_key"] == str(tick)))

    def _mails(self, kind: str) -> int:
        return len(self.stack.platform.ledger.all(Mail, pipeline=self.name, kind=kind))


def _why(training: Training) -> str:
    return f"Retrain: {', '.join(training.rules)}" if training.rules else training.reason


def _rewrite(declaration: Path, text: str) -> None:
    """Replace the file in one move, since tasks read it at the same time."""
    written = declaration.with_suffix(".new")
    written.write_text(text)
    written.replace(declaration)


def _rows_of(stack: DemoStack, tick: date) -> int:
    published = stack.platform.ledger.get(Publication, stack.pipeline.name, "flights", tick)
    return published.rows if published else 0
