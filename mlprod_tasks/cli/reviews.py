"""`mlprod reviews`: rows that people decide."""

from __future__ import annotations

from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import By, Name, Reason, opened, say
from mlprod_tasks.platform.storable_text import one_line

app = typer.Typer()
reviews_app = typer.Typer(no_args_is_help=True, help="Rows that people decide.")
app.add_typer(reviews_app, name="reviews")


@reviews_app.command("list")
def list_reviews(name: Name, most: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 200) -> None:
    """List the rows that wait for a decision, the oldest first."""
    from mlprod_tasks.scoring.review_queue import open_reviews

    pipeline, here = opened(name)
    waiting = open_reviews(pipeline, here, most)
    for one in waiting:
        score = "no score" if one.score is None else f"score {one.score:.4f}"
        score = score if one.prediction is None else f"{one_line(one.prediction)}, {score}"
        version = "" if one.model_version is None else f", version {one.model_version}"
        say(f"{one.request_id} {one.row}  {one_line(one.key)}  {score}{version}, since {one.at:%Y-%m-%d %H:%M} UTC")
    if not waiting:
        say(f"{name}: nothing waits for a decision")


@reviews_app.command("decide")
def decide(
    name: Name,
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id, as `mlprod reviews list` shows it.")],
    row: Annotated[
        int, typer.Argument(metavar="ROW", help="The row's position in the request, as `mlprod reviews list` shows it.")
    ],
    decision: Annotated[
        str, typer.Argument(metavar="yes|no|CLASS", help="The decision: yes or no; of classes, the class that the row is.")
    ],
    by: By,
    reason: Reason = "",
) -> None:
    """Decide a row. A decision cannot be changed."""
    from mlprod_tasks.scoring.review_queue import answer_of, decide_review

    pipeline, here = opened(name)
    try:
        answer = answer_of(pipeline, decision)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    decided = decide_review(pipeline, request_id, row, answer, by, here, reason)
    say(f"{name}: {one_line(decided.key)}: {decision}, by {decided.by}")
