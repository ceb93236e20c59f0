"""`mlprod bandit`: start, show, freeze, stop and evaluate bandits."""

from __future__ import annotations

from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import By, Name, Reason, opened, say
from mlprod_tasks.declaration.experiment import Rows

app = typer.Typer()
bandit_app = typer.Typer(no_args_is_help=True, help="Give units more and more to what earns most.")
app.add_typer(bandit_app, name="bandit")

Called = Annotated[str, typer.Argument(metavar="BANDIT", help="Its name.")]
Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        metavar="VERSION[@THRESHOLD]",
        help="An arm besides the champion, such as '3', '3@0.4', 'champion@0.4' or 'fallback'; none if actions are declared.",
    ),
]
Shares = Annotated[
    list[str] | None,
    typer.Option(
        "--share",
        metavar="ARM=SHARE",
        help="The policy's share of an arm, such as 'control=0.2'; by default the declared bandit is replayed.",
    ),
]


@bandit_app.command()
def start(
    name: Name,
    bandit: Called,
    by: By,
    arm: Arms = None,
    rows: Annotated[
        Rows, typer.Option(help="What it learns from: what ticks score, or what is answered on request.")
    ] = "batch",
    starts: Annotated[str | None, typer.Option(metavar="TICK", help="The first tick; by default the next one.")] = None,
    reason: Reason = "",
) -> None:
    """Start the declared bandit. Its arms are recorded before the first row is given one, and do not change.

    If an experiment or bandit had the same arms before, it tells what this one would have earned on its units.
    """
    from mlprod_tasks.bandits.evaluate import replay_told
    from mlprod_tasks.bandits.run import plan_of
    from mlprod_tasks.bandits.run import start as begin

    pipeline, here = opened(name)
    first = None if starts is None else pipeline.schedule.tick(starts).name
    run = begin(pipeline, bandit, arm or [], by, reason, here, rows=rows, starts=first)
    say(f"{bandit} chooses among {', '.join(plan_of(run).arms)} from {run.starts} on")
    say(replay_told(pipeline, run, here))


@bandit_app.command()
def status(name: Name, bandit: Annotated[str | None, typer.Argument(help="Its name; by default all.")] = None) -> None:
    """Show what a bandit knows as of now, and how units are shared among its arms; records the versions that are due."""
    from mlprod_tasks.bandits import run as bandits
    from mlprod_tasks.bandits.freeze import frozen_now
    from mlprod_tasks.bandits.state import update
    from mlprod_tasks.bandits.told import told

    pipeline, here = opened(name)
    runs = bandits.every(pipeline, here) if bandit is None else [bandits.get(pipeline, bandit, here)]
    if not runs:
        say(f"{name} has no bandit yet; start one with `mlprod bandit start {name} --help`")
    tick = pipeline.schedule.last_at(here.clock.now())
    for run in runs:
        say(told(run, update(pipeline, run, tick, here), frozen_now(run, here)))


@bandit_app.command()
def stop(name: Name, bandit: Called, by: By, reason: Reason = "") -> None:
    """End a bandit: the champion answers all rows from the next tick on, and all requests within seconds, without actions."""
    from mlprod_tasks.bandits import run as bandits

    pipeline, here = opened(name)
    run = bandits.stop(pipeline, bandit, by, reason, here)
    say(f"{bandit} ended: {run.ended} is the first tick that it does not choose for")


@bandit_app.command()
def freeze(name: Name, bandit: Called, by: By, reason: Reason = "") -> None:
    """Keep a bandit's shares as they are: it learns nothing until it is thawed. Requests follow within seconds."""
    from mlprod_tasks.bandits import freeze as freezing

    pipeline, here = opened(name)
    say(f"{bandit}: {freezing.freeze(pipeline, bandit, by, reason, here).sentence}")


@bandit_app.command()
def thaw(name: Name, bandit: Called, by: By, reason: Reason = "") -> None:
    """Let a frozen bandit learn again, also from the rewards that came meanwhile; shares change from the next tick on."""
    from mlprod_tasks.bandits import freeze as freezing

    pipeline, here = opened(name)
    say(f"{bandit} learns again: {freezing.thaw(pipeline, bandit, by, reason, here).until} is the first tick with new shares")


@bandit_app.command()
def evaluate(
    name: Name,
    log: Annotated[str, typer.Argument(metavar="LOG", help="The experiment or bandit that split the units by chance.")],
    share: Shares = None,
) -> None:
    """Tell from logged units what another policy would have earned: the declared bandit, or arms with given shares."""
    from mlprod_tasks.bandits.evaluate import evaluate as evaluated
    from mlprod_tasks.bandits.evaluate import told

    pipeline, here = opened(name)
    tick = pipeline.schedule.last_at(here.clock.now())
    say(told(evaluated(pipeline, log, tick, here, shares=None if share is None else dict(map(_share, share)))))


def _share(text: str) -> tuple[str, float]:
    arm, _, share = text.rpartition("=")
    try:
        return arm, float(share)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give an arm and its share, such as 'control=0.2'") from None
