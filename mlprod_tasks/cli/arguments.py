"""Arguments that several commands of `mlprod` share."""

from __future__ import annotations

import math
from datetime import datetime
from getpass import getuser
from typing import Annotated

import typer

from mlprod_tasks.declaration import Pipeline, TickRange, load
from mlprod_tasks.platform import Platform, platform
from mlprod_tasks.platform.storable_text import is_one_line, one_line, visible

LONGEST_NAME = 200


def one_name(value: str) -> str:
    """Check a person's or a program's name: it stands in lists, logs and mails, where a line break would forge a line."""
    if not is_one_line(value):
        raise typer.BadParameter("give a name in one line, without control characters")
    if len(value) > LONGEST_NAME:
        raise typer.BadParameter(f"give a name of at most {LONGEST_NAME} characters")
    return value.strip()


def finite(value: float | None) -> float | None:
    """Check a number: NaN is beyond no limit, so it would pass every check."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text; control characters in it, such as those of a client's key, are shown as escapes."""
    typer.echo(visible(text, kept="\n\t"), err=err, nl=nl)


Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="Name of a use case: its file in pipelines/.")]
From = Annotated[str, typer.Option("--from", metavar="TICK", help="First tick, such as 2013-06-17.")]
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="NAME",
        help="Who does it; recorded in the ledger.",
        default_factory=getuser,
        show_default="you",
        callback=one_name,
    ),
]
Reason = Annotated[str, typer.Option(help="Why; recorded in the ledger.", callback=one_line)]
RuleName = Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule, as declared.")]
EveryRule = Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule, as declared; all rules by default.")]
To = Annotated[str | None, typer.Option("--to", metavar="TICK", help="Last tick, included; by default only the first.")]


def opened(name: str) -> tuple[Pipeline, Platform]:
    """Load a use case by its name, and the platform that the environment configures."""
    here = platform()
    return load(here.settings.pipelines / f"{name}.py"), here


def ticks_of(pipeline: Pipeline, first: str, last: str | None) -> TickRange:
    """The ticks from first to last, both included; only the first if `last` is None."""
    return pipeline.schedule.range(first, last)


def moment(pipeline: Pipeline, text: str) -> datetime:
    """Parse a day or a moment, in the pipeline's time zone if it has none. Raises: ValueError."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a day such as 2013-07-01 nor a moment such as 2013-07-01T12:00") from error
    return given if given.tzinfo else given.replace(tzinfo=pipeline.schedule.zone)
