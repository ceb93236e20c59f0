"""`mlprod experiment`: plan, start, read and stop experiments."""

from __future__ import annotations

from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import By, Name, Reason, finite, opened, say

app = typer.Typer()
experiment_app = typer.Typer(no_args_is_help=True, help="Compare versions by what they do to the business.")
app.add_typer(experiment_app, name="experiment")

Variants = Annotated[
    list[str],
    typer.Option(
        "--variant",
        metavar="VERSION[@THRESHOLD][=SHARE]",
        help="What is compared with the champion: a version, a threshold, or its fallback as a hold-out, such as '3', '3@0.4', "
        "'champion@0.4' or 'fallback=10%'.",
    ),
]
Metric = Annotated[str, typer.Option(help="The declared metric that decides.")]
Difference = Annotated[float, typer.Option(help="The smallest difference that matters, in the metric's unit.", callback=finite)]
Alpha = Annotated[float, typer.Option(help="The probability of a false alarm.", callback=finite)]
Power = Annotated[float, typer.Option(help="The probability of finding that difference.", callback=finite)]
Design = Annotated[str, typer.Option(help="When it may be read: fixed, obrien_fleming, pocock or always_valid.")]
Periods = Annotated[
    int | None,
    typer.Option(help="How many weeks it may last (months, if there is no tick a week); by default as short as it can be."),
]
Rows = Annotated[str, typer.Option(help="Which rows count: 'batch', those that ticks score, or 'requests', those asked for.")]
Then = Annotated[
    str,
    typer.Option(
        help="What follows a verdict: 'nothing', 'take_back' (the champion answers all again) or 'promote' (a winner becomes "
        "champion, by the gates of any promotion)."
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Count only units without a row before the start.")]
Traffic = Annotated[
    float,
    typer.Option(
        help="The share of the units that take part; the others are left to the champion, or to experiments that run at once.",
        callback=finite,
    ),
]
Called = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Its name.")]


@experiment_app.command()
def plan(
    name: Name,
    variant: Variants,
    metric: Metric,
    difference: Difference,
    alpha: Alpha = 0.05,
    power: Power = 0.8,
    design: Design = "fixed",
    periods: Periods = None,
    rows: Rows = "batch",
    then: Then = "nothing",
    fresh: Fresh = False,
    traffic: Traffic = 1.0,
) -> None:
    """Print how many units and weeks an experiment needs, from the history of the use case; changes nothing."""
    from mlprod_tasks.experiments.plan import Wanted
    from mlprod_tasks.experiments.plan_text import told
    from mlprod_tasks.experiments.run import plan_for

    pipeline, here = opened(name)
    wanted = Wanted(metric, difference, alpha, power, design, rows, then, fresh, traffic)  # type: ignore[arg-type]
    planned = plan_for(pipeline, wanted, variant, here, periods)
    say(told(pipeline, planned))


@experiment_app.command()
def start(
    name: Name,
    experiment: Called,
    variant: Variants,
    metric: Metric,
    difference: Difference,
    by: By,
    alpha: Alpha = 0.05,
    power: Power = 0.8,
    design: Design = "fixed",
    periods: Periods = None,
    rows: Rows = "batch",
    then: Then = "nothing",
    fresh: Fresh = False,
    traffic: Traffic = 1.0,
    starts: Annotated[str | None, typer.Option(metavar="TICK", help="The first tick; by default the next one.")] = None,
    reason: Reason = "",
) -> None:
    """Plan an experiment and start it. The plan is recorded before the first row is assigned, and does not change."""
    from mlprod_tasks.experiments.plan import Wanted
    from mlprod_tasks.experiments.plan_text import told
    from mlprod_tasks.experiments.run import beside_told, plan_for
    from mlprod_tasks.experiments.run import start as begin
    from mlprod_tasks.experiments.units import delay_ticks

    pipeline, here = opened(name)
    first = None if starts is None else pipeline.schedule.tick(starts).name
    wanted = Wanted(metric, difference, alpha, power, design, rows, then, fresh, traffic)  # type: ignore[arg-type]
    planned = plan_for(pipeline, wanted, variant, here, periods)
    run = begin(pipeline, experiment, planned, by, reason, here, starts=first)
    say(told(pipeline, planned))
    say(f"{experiment} runs from {run.starts} to {run.ends}; its outcomes are complete {delay_ticks(pipeline)} ticks later")
    if said := beside_told(pipeline, run, here):
        say(said)


@experiment_app.command()
def status(name: Name, experiment: Annotated[str | None, typer.Argument(help="Its name; by default all.")] = None) -> None:
    """Read an experiment as of now, and record what it shows. A fixed design gives no verdict before its end."""
    from mlprod_tasks.experiments import run as experiments
    from mlprod_tasks.experiments.read_out import read_out, told

    pipeline, here = opened(name)
    runs = experiments.every(pipeline, here) if experiment is None else [experiments.get(pipeline, experiment, here)]
    if not runs:
        say(f"{name} has no experiment yet; plan one with `mlprod experiment plan {name} --help`")
    tick = pipeline.schedule.last_at(here.clock.now())
    for run in runs:
        say(told(run, read_out(pipeline, run, tick, here)))
        if said := experiments.beside_told(pipeline, run, here):
            say(f"  {said}")


@experiment_app.command()
def stop(name: Name, experiment: Called, by: By, reason: Reason = "") -> None:
    """End an experiment: the champion answers all rows from the next tick on, and all requests within seconds."""
    from mlprod_tasks.experiments import run as experiments

    pipeline, here = opened(name)
    run = experiments.stop(pipeline, experiment, by, reason, here)
    say(f"{experiment} ended: {run.ended} is the first tick that it does not assign")
