"""`mlprod online`: fill the online store, compare it with batch, collect the service's log."""

from __future__ import annotations

from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import Name, opened, say

app = typer.Typer()
online_app = typer.Typer(no_args_is_help=True, help="Features on request: the online store.")
app.add_typer(online_app, name="online")


@online_app.command("fill")
def fill(
    name: Name,
    tick: Annotated[
        str | None, typer.Option(metavar="TICK", help="Fill it as of this tick; by default the newest one.")
    ] = None,
    back: Annotated[bool, typer.Option(help="Fill it even if the store is already at a later tick.")] = False,
) -> None:
    """Fill the online store with the published tables."""
    from mlprod_tasks import steps

    pipeline, here = opened(name)
    filled = steps.fill_online(pipeline, None if tick is None else pipeline.schedule.tick(tick), here, back=back)
    say(filled.sentence)
    for group, state in filled.groups.items():
        say(f"  {group:32}  {state.keys:>9,} keys  {state.bytes / 1e6:8.2f} MB  {state.table} version {state.version}")


@online_app.command("check")
def check(
    name: Name,
    tick: Annotated[str, typer.Option(metavar="TICK", help="The tick whose rows are computed online and in batch.")],
) -> None:
    """Compare a tick's features online and in batch. Exit status 1 if one differs."""
    from mlprod_tasks import steps

    pipeline, here = opened(name)
    checked = steps.check_online(pipeline, pipeline.schedule.tick(tick), here)
    say(checked.sentence)
    for example in checked.examples:
        say(f"  {example}")
    say(f"  {len(checked.compiled)} expressions are compiled, {len(checked.by_duckdb)} computed by DuckDB")
    for feature, why in checked.by_duckdb.items():
        say(f"    {feature}: {why}")
    raise typer.Exit(0 if checked.share == 0 else 1)


@online_app.command("collect")
def collect(name: Name) -> None:
    """Collect the service's log into the lake, and rows for people to decide into the review queue."""
    from mlprod_tasks import steps

    pipeline, here = opened(name)
    say(steps.collect(pipeline, here).sentence)
