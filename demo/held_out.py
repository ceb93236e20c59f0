"""The demo's experiment: what is acting on the model's scores worth, beside its fallback, and beside never acting?

What each of the three would have saved is known for every flight; the experiment, which sees one answer each, has to find it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from demo.stack import DemoStack
from mlprod_tasks import features
from mlprod_tasks.declaration import CostMatrix, TickRange
from mlprod_tasks.declaration.experiment import CONTROL, HOLD_OUT
from mlprod_tasks.documents.formatting import format_interval
from mlprod_tasks.experiments.plan import Wanted
from mlprod_tasks.experiments.plan_text import told as plan_told
from mlprod_tasks.experiments.read_out import Reading, verdict_of
from mlprod_tasks.experiments.read_out import told as reading_told
from mlprod_tasks.experiments.run import get, plan_for, start
from mlprod_tasks.experiments.units import delay_ticks
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import Fallback, Mail

NAME = "worth"
PLANNED_AT = datetime(2013, 7, 1, 18, tzinfo=UTC)  # after the ticks that the story has so far
DIFFERENCE = 7.0  # dollars a flight
NEVER = "champion@1.0"  # no score is as high


@dataclass(frozen=True)
class StandingClock:
    """A clock that stands: the flights are of 2013."""

    at: datetime

    def now(self) -> datetime:
        return self.at


class HeldOut:
    """Plans, runs and reads the experiment. note: notes what happened."""

    def __init__(self, stack: DemoStack, note: Callable[[str, bool], None]) -> None:
        self.stack, self.note = stack, note
        self.pipeline, self.api = stack.pipeline, stack.airflow.api
        self.platform: Platform = replace(stack.platform, clock=StandingClock(PLANNED_AT))

    def run(self) -> None:
        """Split a week's flights, and tell plan, read-out and truth."""
        run = self._started()
        self._ticks(run)
        reading = verdict_of(self.pipeline, run, self.platform)
        self.note("it has a verdict", reading is not None)
        if reading is None:
            return
        print(_indented(reading_told(run, reading)), flush=True)
        self.note("nothing voids it", not reading.problems)
        self._compare(run, reading)
        kinds = [mail.topic for mail in self.platform.ledger.all(Mail, pipeline=self.pipeline.name) if mail.topic == NAME]
        self.note("one mail tells the verdict", len(kinds) == 1)
        shown = self.stack.page(f"api/pipelines/{self.pipeline.name}").json()["experiments"]["runs"]
        self.note("the page shows it", [(one["name"], one["verdict"]) for one in shown] == [(NAME, reading.verdict)])

    def _started(self) -> ExperimentRun:
        planned = plan_for(self.pipeline, Wanted("saved", DIFFERENCE), [HOLD_OUT, NEVER], self.platform, periods=1)
        print(_indented(plan_told(self.pipeline, planned)), flush=True)
        start(self.pipeline, NAME, planned, "demo", "what is acting worth?", self.platform)
        run = get(self.pipeline, NAME, self.platform)
        self.note(f"the plan is in the ledger; rows of {run.starts} to {run.ends} are assigned", True)
        return run

    def _ticks(self, run: ExperimentRun) -> None:
        """Ingest and score up to the tick at which all outcomes are known, and monitor that one, which reads the experiment."""
        name, schedule = self.pipeline.name, self.pipeline.schedule
        last = schedule.shift(run.ends, delay_ticks(self.pipeline))
        ingested = self.api.trigger(f"{name}.ingest", conf={"first": str(run.starts), "last": str(last)})
        self.api.wait_for_run(f"{name}.ingest", ingested, seconds=300)
        dag = f"{name}.score"
        self.api.wait_for_backfill(self.api.backfill(dag, run.starts, last, max_active_runs=4))
        states = [one["state"] for one in self.api.runs(dag) if str(run.starts) <= str(one["partition_key"]) <= str(last)]
        self.note(f"{len(states)} more ticks are scored", set(states) == {"success"})
        monitored = self.api.trigger(f"{name}.monitor", partition_key=str(last))
        self.note("monitoring reads it", self.api.wait_for_run(f"{name}.monitor", monitored)["state"] == "success")

    def _compare(self, run: ExperimentRun, reading: Reading) -> None:
        """Print what each would have saved on all flights, and whether the experiment found it."""
        truth = self._saved(self.pipeline.schedule.range(run.starts, run.ends), reading)
        print("  truth, from the answers of each to all flights:", flush=True)
        print("\n".join(f"    {name} saves {saved:.2f} USD a flight" for name, saved in truth.items()), flush=True)
        differences = {name: saved - truth[CONTROL] for name, saved in truth.items() if name != CONTROL}
        for found in (one for one in reading.compared if one.metric == "saved"):
            true, interval = differences[found.variant], format_interval(found.low, found.high)
            what = f"{found.variant}: {true:+.2f} is in the interval of what was found, {found.difference:+.2f} {interval}"
            self.note(what, found.low <= true <= found.high)
        right = reading.decided is not None and reading.verdict == ("better" if differences[reading.decided] > 0 else "worse")
        self.note(f"its verdict is true: {reading.verdict} ({reading.decided})", right)

    def _saved(self, ticks: TickRange, reading: Reading) -> dict[str, float]:
        """What each variant would have saved on average, if it had answered all flights with a known outcome."""
        at, key = self.pipeline.schedule.tick(reading.tick), list(self.pipeline.entity_table.key)
        rows = features.build(self.pipeline, ticks, self.platform).table
        known = features.labels(self.pipeline, ticks, at, self.platform).select([*key, "label"]).to_pandas().dropna()
        outcome = rows.select(key).to_pandas().merge(known, on=key, how="left")["label"]
        champion = self.platform.registry.champion(self.pipeline)
        assert champion is not None
        kept = self.platform.ledger.get(Fallback, self.pipeline.name, champion.version)
        assert kept is not None
        models = {CONTROL: self.platform.registry.load_model(champion), HOLD_OUT: FallbackModel.from_json(kept.model)}
        there, late = outcome.notna().to_numpy(), outcome.fillna(0).to_numpy().astype(bool)
        decided = {name: np.asarray(one.predict(rows).decision, bool) for name, one in models.items()}
        decided[NEVER] = np.zeros(len(late), bool)
        return {name: float(self._value(acted, late)[there].mean()) for name, acted in decided.items()}

    def _value(self, decided: NDArray[np.bool_], late: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Dollars saved by each decision, from the declared costs alone."""
        costs = self.pipeline.value
        assert isinstance(costs, CostMatrix)
        return np.where(decided, np.where(late, costs.true_positive, costs.false_positive), 0.0)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
