"""`mlprod ramp`, `ramp-check` and `take-back`: a version rolled out share by share, each judged before the next."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import By, Name, Reason, opened

app = typer.Typer()


@app.command()
def ramp(
    name: Name,
    challenger: Annotated[int, typer.Option(metavar="VERSION", help="The version that is rolled out.")],
    by: By,
    reason: Reason = "",
    hold_minutes: Annotated[
        float | None, typer.Option(help="How long each share is held, below `at_most`; else as declared.")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Rows that it must answer at each share; else as declared.")] = None,
) -> None:
    """Roll a version out share by share, in the foreground; Ctrl-C takes it back. Exit status 1 where it was taken back."""
    from mlprod_tasks import workflows
    from mlprod_tasks.promotion import history
    from mlprod_tasks.rollout.state import with_ramp

    # A terminal that is closed, or a service manager that ends it, takes the challenger back as Ctrl-C does.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    pipeline, here = opened(name)
    for line in workflows.ramp(with_ramp(pipeline, hold_minutes, rows), challenger, by, reason, here):
        typer.echo(line)
    raise typer.Exit(0 if history.promotions(pipeline, here)[-1].model_version == challenger else 1)


@app.command("ramp-check")
def ramp_check(name: Name) -> None:
    """Tell how a challenger that is being rolled out does now; nothing is changed. Exit status 1 where it fails."""
    from mlprod_tasks.rollout.steps import look

    pipeline, here = opened(name)
    found = look(pipeline, here)
    typer.echo(found.text())
    raise typer.Exit(1 if found.verdict == "failed" else 0)


@app.command("take-back")
def take_back(name: Name, by: By, reason: Reason = "") -> None:
    """Take back the challenger that is being rolled out: the champion answers everything again, and a mail says why."""
    from mlprod_tasks import steps

    pipeline, here = opened(name)
    typer.echo(steps.take_back(pipeline, by, reason, here).sentence)
