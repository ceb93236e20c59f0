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
    typer.echo(_promoted(pipeline, version, here))


@app.command()
def approve(
    name: Name,
    training: Annotated[str, typer.Argument(metavar="TRAINING", help="The training that awaits approval.")],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who answers; kept in the ledger and the MLflow run.")],
    reject: Annotated[bool, typer.Option("--reject", help="Reject it: the champion stays.")] = False,
) -> None:
    """Approve or reject a model that passed its gates; approved, it is registered and promoted."""
    from mlprod_tasks import workflows

    pipeline, here = _opened(name)
    version = workflows.approve(pipeline, training, by, here, approved=not reject)
    typer.echo(f"{name}: training {training} is rejected" if version is None else _promoted(pipeline, version, here))


@app.command()
def rollback(
    name: Name,
    to: Annotated[int | None, typer.Option(metavar="VERSION", help="To this version; else to the champion before.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger and mailed.")] = "",
) -> None:
    """Make an earlier version champion again, from the next tick on."""
    from mlprod_tasks.rollback import rollback as rolled_back

    pipeline, here = _opened(name)
    typer.echo(rolled_back(pipeline, here, to=to, reason=reason).sentence)


@app.command()
def reproduce(
    name: Name,
    version: Annotated[
        int | None, typer.Option(metavar="VERSION", help="The version to make again; else the champion.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of a score that still counts as the same.")
    ] = 0.0,
) -> None:
    """Make a registered model again from its data versions and compare. Exit status 1 unless it is the same."""
    from mlprod_tasks.reproduce import reproduce as reproduced

    pipeline, here = _opened(name)
    made = reproduced(pipeline, version, here)
    typer.echo(made.text())
    raise typer.Exit(0 if made.within(tolerance) else 1)


@app.command()
def explain(
    name: Name,
    key: Annotated[str, typer.Option(metavar="KEY", help="The scored row's key; several columns separated by commas.")],
    tick: Annotated[str | None, typer.Option(metavar="TICK", help="Needed where several ticks scored that key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Explain one prediction: its features, where they come from, what each did, and the runs that made it."""
    from dataclasses import asdict
    from json import dumps

    from mlprod_tasks import explanation
    from mlprod_tasks.explain import explain as explained

    pipeline, here = _opened(name)
    told = explained(pipeline, key.split(","), here, None if tick is None else pipeline.schedule.tick(tick))
    typer.echo(dumps(asdict(told), indent=1, allow_nan=False) if as_json else explanation.text(told))


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


def _promoted(pipeline: Pipeline, version: int, here: Platform) -> str:
    champion = here.registry.champion(pipeline)
    if champion is not None and champion.version != version:
        holds = f"version {champion.version} is champion"
        return f"{pipeline.name}: version {version} is registered, but a newer decision holds: {holds}"
    return f"{pipeline.name}: version {version} is champion"


def _ticks(pipeline: Pipeline, first: str, last: str | None) -> TickRange:
    return pipeline.schedule.range(first, last)
