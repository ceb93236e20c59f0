"""`mlprod`: the same steps as the DAGs, from a shell, and a look at how things stand."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlprod_tasks.declaration import Pipeline, TickRange, load, load_all
from mlprod_tasks.platform import Platform, platform

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
features_app = typer.Typer(no_args_is_help=True, help="What the features mean.")
app.add_typer(features_app, name="features")

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="Name of a use case: its file in pipelines/.")]
From = Annotated[str, typer.Option("--from", metavar="TICK", help="First tick, such as 2013-06-17.")]
To = Annotated[str | None, typer.Option("--to", metavar="TICK", help="Last tick, included; the first alone where left out.")]


@app.callback()
def main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what every step does.")] = False) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)


@app.command()
def pipelines() -> None:
    """List the declared use cases."""
    for name, pipeline in load_all(platform().settings.pipelines).items():
        tables = ", ".join(table.name for table in pipeline.tables)
        due = f"every day at {pipeline.schedule.at:%H:%M} {pipeline.schedule.timezone}"
        typer.echo(f"{name}  {pipeline.doc.strip().splitlines()[0]}")
        typer.echo(f"  {len(pipeline.feature_names)} features from {tables}; {due}")


@features_app.command("sql")
def features_sql(name: Name) -> None:
    """Print the features' definition as SQL."""
    from mlprod_tasks.features.sql import sql

    pipeline, _ = _opened(name)
    typer.echo(sql(pipeline))


@app.command()
def dictionary(name: Name) -> None:
    """Print the data dictionary in Markdown: tables, columns, features, label."""
    from mlprod_tasks.dictionary import dictionary as written

    pipeline, _ = _opened(name)
    typer.echo(written(pipeline), nl=False)


@app.command()
def ingest(
    name: Name, first: From, last: To = None, table: Annotated[list[str] | None, typer.Option(help="Only this table.")] = None
) -> None:
    """Extract, audit and publish ticks."""
    from mlprod_tasks import workflows

    pipeline, here = _opened(name)
    for published, rows in workflows.ingest(pipeline, _ticks(pipeline, first, last), here, table or ()).items():
        typer.echo(f"{published}: {rows:,} rows")


@app.command()
def train(
    name: Name,
    as_of: Annotated[str, typer.Option(metavar="TICK", help="The tick to stand at: nothing known later is used.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "asked for from the command line",
) -> None:
    """Train, evaluate, gate, register and promote a model."""
    from mlprod_tasks import workflows

    pipeline, here = _opened(name)
    version = workflows.train(pipeline, pipeline.schedule.tick(as_of), reason, here)
    typer.echo(f"{name}: version {version} is champion")


@app.command()
def score(
    name: Name,
    first: From,
    last: To = None,
    as_of: Annotated[bool, typer.Option(help="With the version that was champion at each tick, not with that of now.")] = False,
) -> None:
    """Score ticks."""
    from mlprod_tasks import workflows

    pipeline, here = _opened(name)
    typer.echo(f"{workflows.score(pipeline, _ticks(pipeline, first, last), here, as_of=as_of):,} rows scored")


@app.command()
def monitor(name: Name, first: From, last: To = None) -> None:
    """Measure and decide ticks; a retraining that is decided is printed, not started."""
    from mlprod_tasks import workflows

    pipeline, here = _opened(name)
    for line in workflows.monitor(pipeline, _ticks(pipeline, first, last), here):
        typer.echo(line)


@app.command()
def backfill(
    name: Name,
    first: From,
    last: To = None,
    again: Annotated[bool, typer.Option(help="Also run again what has already succeeded.")] = False,
    at_once: Annotated[int, typer.Option(help="Runs at the same time, of each DAG.")] = 4,
) -> None:
    """Have Airflow ingest, score and monitor ticks: one Airflow backfill for each of the three DAGs."""
    pipeline, _ = _opened(name)
    ticks = _ticks(pipeline, first, last)
    airflow = str(Path(sys.executable).with_name("airflow"))
    for workflow in ("ingest", "score", "monitor"):
        dag = f"{pipeline.name}.{workflow}"
        command = [airflow, "backfill", "create", "--dag-id", dag, "--max-active-runs", str(at_once)]
        # Airflow reads both bounds as wall-clock time of the DAG's zone and includes them.
        command += ["--from-date", f"{ticks.first}T00:00:00", "--to-date", f"{ticks.last}T23:59:59"]
        command += ["--reprocess-behavior", "completed" if again else "failed"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            typer.echo((done.stderr or done.stdout)[-2000:], err=True)
            raise typer.Exit(done.returncode)
        typer.echo(f"{dag}: backfill of {ticks} created; follow it in Airflow")


@app.command()
def status(name: Name) -> None:
    """Champion, last ticks, open alarms."""
    from mlprod_tasks.status import status as told

    pipeline, here = _opened(name)
    typer.echo(told(pipeline, here))


@app.command("data-docs")
def data_docs() -> None:
    """Build Great Expectations' data docs from the suites and the newest audits."""
    from mlprod_tasks.data_docs import build_data_docs

    typer.echo(str(build_data_docs(platform())))


@app.command()
def doctor() -> None:
    """Check versions, folders, databases and connections; say what to do about what is missing."""
    from mlprod_tasks.doctor import examine

    findings = examine(platform())
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.told}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def run() -> None:
    """The console script: errors that people can act on are one line, not a traceback."""
    try:
        app()
    except (LookupError, ValueError, OSError, RuntimeError) as error:
        typer.echo(f"{type(error).__name__}: {error.args[0] if error.args else error}", err=True)
        raise SystemExit(1) from error


def _opened(name: str) -> tuple[Pipeline, Platform]:
    here = platform()
    return load(here.settings.pipelines / f"{name}.py"), here


def _ticks(pipeline: Pipeline, first: str, last: str | None) -> TickRange:
    return pipeline.schedule.range(first, last)
