"""`mlprod try`: the first look at a use case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import Name, opened, say
from mlprod_tasks.platform.progress import show_bars

app = typer.Typer()
FOLDER = Path("trials")


@app.command("try")
def try_(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The folder of the trial, which is emptied; by default trials/PIPELINE."),
    ] = None,
    ticks: Annotated[
        int | None, typer.Option(min=1, help="How many of the last ticks to score and monitor at most; by default 14 to 28.")
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Try a use case over its history: ingest, train, score, monitor, and a page about it all.

    It needs neither Airflow nor services, only reads the sources, and writes nothing outside of its folder. Exit status 0
    also if gates refuse the model: the page says so.
    """
    from mlprod_tasks.starting.try_pipeline import try_pipeline

    show_bars()
    pipeline, here = opened(name)
    trial, page = try_pipeline(
        pipeline, here.settings, out or FOLDER / name, lambda text: say(f"{name}: {text}"), most_ticks=ticks
    )
    passed = sum(one.passed for one in trial.gates)
    say(f"{name}: {passed} of {len(trial.gates)} gates passed")
    say("\n".join(f"  {one.sentence}" for one in trial.gates if not one.passed), nl=passed < len(trial.gates))
    say(f"{name}: the page is {page.resolve()}")
    if show and typer.launch(page.resolve().as_uri()) != 0:
        say("no browser could be opened: open the page yourself, or give --no-open")
