"""What a person asks of experiments, in a form: plan one, start one, end one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.experiment import Design, Rows, Then
from mlprod_tasks.experiments.plan import CannotPlan, Plan, Wanted
from mlprod_tasks.experiments.plan_text import told
from mlprod_tasks.experiments.run import beside_told, plan_for, start, stop
from mlprod_tasks.platform import Platform


@dataclass(frozen=True)
class AskedExperiment:
    """What a form asks for.

    what: 'plan' tells what an experiment needs and changes nothing; 'start' plans and starts it at the next tick; 'stop' ends
    it. name, by, reason: of 'start' and 'stop'. variants: as `experiments.run.variants` reads them. periods: None for as few as
    can be. The others are those of `Wanted`.
    """

    what: Literal["plan", "start", "stop"]
    name: str = ""
    by: str = ""
    reason: str = ""
    variants: tuple[str, ...] | list[str] = ()
    metric: str = ""
    difference: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    design: Design = "fixed"
    periods: int | None = None
    rows: Rows = "batch"
    then: Then = "nothing"
    fresh: bool = False
    traffic: float = 1.0


def ask_experiment(pipeline: Pipeline, asked: AskedExperiment, platform: Platform) -> str:
    """Do what is asked, and return what was done, or the plan, in words.

    Raises: CannotPlan with what would be possible; CannotStart; NoExperiment.
    """
    if asked.what == "stop":
        run = stop(pipeline, asked.name, asked.by, asked.reason, platform)
        return f"{asked.name} of {pipeline.name} is ended: {run.ended} is the first tick that it does not assign"
    planned = _planned(pipeline, asked, platform)
    if asked.what == "plan":
        return told(pipeline, planned)
    run = start(pipeline, asked.name, planned, asked.by, asked.reason, platform)
    done = f"{asked.name} of {pipeline.name} runs from {run.starts} to {run.ends}"
    return "; ".join(filter(None, (done, beside_told(pipeline, run, platform))))


def _planned(pipeline: Pipeline, asked: AskedExperiment, platform: Platform) -> Plan:
    if asked.difference is None:
        raise CannotPlan("give the smallest difference that matters, in the unit of the metric")
    wanted = Wanted(
        asked.metric, asked.difference, asked.alpha, asked.power, design=asked.design, rows=asked.rows, then=asked.then,
        fresh=asked.fresh, traffic=asked.traffic,
    )  # fmt: skip
    return plan_for(pipeline, wanted, asked.variants, platform, asked.periods)
