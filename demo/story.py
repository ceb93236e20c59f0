"""The steps of the demo. Each starts runs of a real Airflow and checks what they did."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median

from demo.business_database import corrupt, mend
from demo.held_out import HeldOut
from demo.live_flights import LiveFlights
from demo.progress import progress
from demo.stack import DemoStack
from demo.telling import Telling
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import (
    Audit,
    Decision,
    Mail,
    Publication,
    Rollout,
    Scoring,
    Training,
    newest,
)

CORRUPTED = date(2013, 7, 1)
DATA_DOCS = "mlprod.data_docs"
GATE, UNREACHABLE = re.compile(r'ml\.AtLeast\("roc_auc", [0-9.]+\)'), 'ml.AtLeast("roc_auc", 0.99)'


class Story(Telling):
    """The steps in their order, then a table of what the ledger and the outbox hold."""

    TAKES = "It takes about five minutes; the longest wait, the backfill of June, under two,"

    def run(self) -> None:
        """Run all steps. What did not happen is noted, and the next step starts."""
        self.unpause()
        self.history()
        self.first_model()
        self._june()
        self._corrupt_batch()
        self._live_flights()
        docs = self._data_docs()
        threading.Thread(target=self.stack.page, daemon=True).start()  # the first visit loads its libraries
        self._canary()
        self._experiment()
        self.note("the data docs are built", self.api.wait_for_run(DATA_DOCS, docs)["state"] == "success")
        self._page()
        self.stack.start_mlflow_ui()

    def _june(self) -> None:
        self.backfill(at_once=4)
        decided = self.stack.platform.ledger.all(Decision, pipeline=self.name, action="retrain")
        self.note("the monitor decides to retrain", bool(decided))
        retrainings = [run for run in self.api.runs(f"{self.name}.train") if run["conf"].get("decided_at")]
        self.note("the monitor starts a training", bool(retrainings))
        for run in retrainings:
            ended = self.api.wait_for_run(f"{self.name}.train", run["dag_run_id"])
            print(f"  retraining {run['dag_run_id']}: {ended['state']}; {ended['note']}", flush=True)
            self.note("the retraining's run says why", bool(ended["note"]))

    def _corrupt_batch(self) -> None:
        self.chapter(f"Send in a corrupt batch for {CORRUPTED}, then mend it")
        dag, stack = f"{self.name}.ingest", self.stack
        corrupt(stack.business, str(CORRUPTED))
        mails = self._mails("failure")
        run = self._partition(dag, CORRUPTED)
        self.note("the audit refuses the corrupt batch", self.api.wait_for_run(dag, run)["state"] == "failed")
        audit = stack.platform.ledger.get(Audit, self.name, "flights", CORRUPTED)
        self.note("the ledger says why", audit is not None and not audit.passed and bool(audit.failures))
        lake = stack.platform.lake
        self.note("nothing of it reaches the lake", CORRUPTED not in lake.ticks(names.raw(stack.pipeline, "flights")))
        self.note("one mail reports it", self._mails("failure") == mails + 1)
        mend(stack.business)
        self.api.clear(dag, run, ["extract"])
        self.note("clearing the task heals the tick", self.api.wait_for_run(dag, run)["state"] == "success")
        self.note("the mended rows are in the lake", CORRUPTED in lake.ticks(names.raw(stack.pipeline, "flights")))
        scoring = self.api.trigger(f"{self.name}.score", partition_key=str(CORRUPTED))
        self.note("it is scored", self.api.wait_for_run(f"{self.name}.score", scoring)["state"] == "success")
        scored, champion = (
            stack.platform.ledger.get(Scoring, self.name, CORRUPTED),
            stack.platform.registry.champion(stack.pipeline),
        )
        by_champion = scored is not None and champion is not None and scored.model_version == champion.version
        self.note(
            "by the newest champion, not by the fallback", by_champion and scored is not None and not scored.fallback_rows
        )
        print(f"  refused, mailed, mended, healed: {_rows_of(stack, CORRUPTED):,} flights", flush=True)

    def _live_flights(self) -> None:
        self.chapter(f"Answer requests: the flights of {CORRUPTED}, over HTTP")
        self.live = LiveFlights(self.stack, CORRUPTED, self.note)
        self.live.fill()
        self.live.serve()

    def _canary(self) -> None:
        self.chapter("Roll an earlier version out as a canary, while a training meets a gate that no model can reach")
        with self.live.rolling_out():
            self._unreachable_gate()
        self.live.collect()

    def _experiment(self) -> None:
        self.chapter("Ask what acting on the scores is worth: an experiment over a week, whose true answer is known")
        HeldOut(self.stack, self.note).run()

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
            with progress("tasks", lambda: self.tasks_done(dag, run)):
                ended = self.api.wait_for_run(dag, run, seconds=300)
        finally:
            _rewrite(declaration, written)
        states = self.api.task_states(dag, run)
        self.note("the training's gate task is red", ended["state"] == "failed" and states["gate"] == "failed")
        self.note("one mail shows the gates", self._mails("failure") == mails + 1)
        after = stack.platform.registry.champion(stack.pipeline)
        self.note("the champion stays", before is not None and after is not None and before.version == after.version)

    def _page(self) -> None:
        self.chapter("Look at the page in Airflow's UI")
        scored = newest(self.stack.platform.ledger.all(Scoring, pipeline=self.name), "tick")
        champion = self.stack.platform.registry.champion(self.stack.pipeline)
        assert scored is not None
        assert champion is not None
        (card,) = self.stack.page("api/overview").json()["pipelines"]
        shown = (card["last"]["tick"], card["last"]["rows"], card["champion"]["version"])
        self.note("it shows the ledger's numbers", shown == (str(scored.tick), scored.rows, champion.version))
        metrics, of = self.stack.page("metrics").text, f'{{pipeline="{self.name}"}}'
        lines = f"mlprod_scored_rows{of} {float(scored.rows)}", f"mlprod_champion_version{of} {float(champion.version)}"
        self.note("so do its metrics", all(line in metrics.splitlines() for line in lines))

    def about_audits(self, audits: list[Audit]) -> str:
        """How long the audit of a day takes."""
        first = date.fromisoformat(self.stack.use_case.backfilled[0])
        seconds = median(audit.seconds for audit in audits if audit.tick >= first and audit.table_name == "flights")
        return f"; auditing a day of flights took {seconds:.1f} s"

    def lines_of_data(self) -> Iterator[str]:
        """Ticks, rows, audits, predictions and answered requests."""
        yield from super().lines_of_data()
        yield f"on request     {self.live.rows():,} rows answered{self._rolled_out()}"

    def quality(self, training: Training) -> str:
        """AUC, and the value of decisions."""
        metrics = training.metrics
        return (
            f"test AUC {metrics.get('roc_auc', float('nan')):.3f}, "
            f"value {metrics.get('value_per_1000', float('nan')):,.0f} {self.stack.pipeline.value.unit} per 1,000"
        )

    def _rolled_out(self) -> str:
        canaries = [one for one in self.stack.platform.ledger.all(Rollout, pipeline=self.name) if one.mode == "canary"]
        if not canaries:
            return ""
        most = max(canaries, key=lambda one: one.share)
        return f"; version {most.challenger} was rolled out to {most.share:.0%} of entities and taken back"

    def _partition(self, dag: str, tick: date) -> str:
        """Backfill one tick; gives its run's id."""
        self.api.backfill(dag, tick, tick)
        return str(next(run["dag_run_id"] for run in self.api.runs(dag) if run["partition_key"] == str(tick)))

    def _mails(self, kind: str) -> int:
        return len(self.stack.platform.ledger.all(Mail, pipeline=self.name, kind=kind))


def _rewrite(declaration: Path, text: str) -> None:
    """Replace the file in one move, since tasks read it at the same time."""
    written = declaration.with_suffix(".new")
    written.write_text(text)
    written.replace(declaration)


def _rows_of(stack: DemoStack, tick: date) -> int:
    published = stack.platform.ledger.get(Publication, stack.pipeline.name, "flights", tick)
    return published.rows if published else 0
