"""`mlprod init` and `mlprod try`: declare a use case from data, and take a first look at it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import Name, To, opened, say, ticks_of
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.platform import platform
from mlprod_tasks.platform.progress import show_bars

app = typer.Typer()
FOLDER = Path("trials")


@app.command()
def init(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="FILE_OR_URL...", help="CSV, JSON Lines or Parquet files, or the URL of a database."),
    ],
    predict: Annotated[
        str, typer.Option(metavar="COLUMN", help="What is predicted: a column, or TABLE.COLUMN; asked for by default.")
    ] = "",
    each: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Score each value of this column, such as customer_id, at every tick; then --predict is any, count, a number "
            "to sum, or a condition, over the rows that come next.",
        ),
    ] = "",
    within: Annotated[
        int | None, typer.Option(metavar="DAYS", min=1, help="With --each: over how many days; by default 28, if they fit.")
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the use case; by default TABLE_COLUMN.")] = "",
    table: Annotated[list[str] | None, typer.Option(metavar="TABLE", help="Of a database: only this table.")] = None,
) -> None:
    """Look at files or database tables, and write a declaration that runs at once with `mlprod try`.

    Types, keys, times, joins, personal columns, features and windows are guessed from the data; each guess is marked in the
    file. A file is never replaced.
    """
    from mlprod_tasks.starting.init_pipeline import init_pipeline

    show_bars()
    settings = platform().settings
    if within is not None and not each:
        raise typer.BadParameter("says over how many days the rows of a key count: give --each too", param_hint="--within")
    done = init_pipeline(sources, predict, name, settings, _chosen, tuple(table or ()), each=each, within=within)
    say("\n".join(done.notes), nl=bool(done.notes))
    count = format_count(done.guesses, "line")
    say(f"{done.path} is written: {count} with a guess. Read them, then run `mlprod try {done.pipeline.name}`")


@app.command()
def profile(
    name: Name,
    first: Annotated[
        str, typer.Option("--from", metavar="TICK", help="First tick of the features; by default as many as fit.")
    ] = "",
    last: To = None,
    trial: Annotated[bool, typer.Option("--trial", help="Of the data of the last `mlprod try`, not of the lake.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; by default below MLPROD_HOME/reports.")
    ] = None,
) -> None:
    """Write a page on every column and feature: values, nulls, change over time, relation to the label, leak suspects."""
    from mlprod_tasks.profiling.profile_page import write_profile
    from mlprod_tasks.starting.trial_folder import platform_of_last

    show_bars()
    pipeline, here = opened(name)
    if trial:
        here, out = platform_of_last(FOLDER / name, pipeline, here.settings), out or FOLDER / name / "profile.html"
    say(str(write_profile(pipeline, here, out, ticks_of(pipeline, first, last) if first else None).resolve()))


def _chosen(candidates: list[tuple[str, str]]) -> str:
    """Ask what is predicted; without a terminal, that is an error."""
    shown = "\n".join(f"  {name}  {what}" for name, what in candidates)
    say(f"What is to be predicted?\n{shown}", err=True)
    if not sys.stdin.isatty():
        raise typer.BadParameter("give the column that is to be predicted with --predict", param_hint="--predict")
    return str(typer.prompt("column", default=candidates[0][0], err=True))


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
    for library in ("great_expectations", "mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.ERROR)  # what they note about their own files would only distract
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
