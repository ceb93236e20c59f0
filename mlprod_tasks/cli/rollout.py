"""`mlprod ramp`, `ramp-check` and `take-back`: roll a version out share by share, with checks."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import By, Name, Reason, finite, opened, say

app = typer.Typer()


@app.command()
def ramp(
    name: Name,
    challenger: Annotated[int, typer.Option(metavar="VERSION", help="The version to roll out.")],
    by: By,
    reason: Reason = "",
    hold_minutes: Annotated[
        float | None, typer.Option(help="Minutes at each share, less than `at_most`; by default as declared.", callback=finite)
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Rows that the version must answer at each share; by default as declared.")
    ] = None,
) -> None:
    """Roll a version out share by share, in the foreground. Ctrl-C takes it back. Exit status 1 if it was taken back."""
    from mlprod_tasks import workflows
    from mlprod_tasks.promotion import history
    from mlprod_tasks.rollout.state import with_ramp

    # A closed terminal or a service manager's signal takes the challenger back, as Ctrl-C does.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    pipeline, here = opened(name)
    for line in workflows.ramp(with_ramp(pipeline, hold_minutes, rows), challenger, by, reason, here):
        say(line)
    raise typer.Exit(0 if history.promotions(pipeline, here)[-1].model_version == challenger else 1)


@app.command("ramp-check")
def ramp_check(name: Name) -> None:
    """Print the checks of the challenger that is being rolled out; changes nothing. Exit status 1 if a check fails."""
    from mlprod_tasks.rollout.steps import look

    pipeline, here = opened(name)
    result = look(pipeline, here)
    say(result.text())
    raise typer.Exit(1 if result.verdict == "failed" else 0)


@app.command("take-back")
def take_back(name: Name, by: By, reason: Reason = "") -> None:
    """Take back the challenger that is being rolled out: the champion answers all requests again, and a mail says why."""
    from mlprod_tasks import steps

    pipeline, here = opened(name)
    say(steps.take_back(pipeline, by, reason, here).sentence)
