"""`mlprod`: run the steps of the DAGs from a shell, and look at the state of use cases."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlprod_tasks.cli import bandits, experiments, monitoring, online, pseudonym_key, reviews, rollout, serving, starting
from mlprod_tasks.cli.arguments import By, From, Name, Reason, To, finite, one_name, opened, say, ticks_of
from mlprod_tasks.declaration import Pipeline, TickRange, load_all
from mlprod_tasks.platform import Platform, platform
from mlprod_tasks.platform.progress import AboveBars, show_bars
from mlprod_tasks.platform.storable_text import one_line

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
features_app = typer.Typer(no_args_is_help=True, help="What the features mean.")
app.add_typer(features_app, name="features")
app.add_typer(monitoring.app)
app.add_typer(online.app)
app.add_typer(rollout.app)
app.add_typer(experiments.app)
app.add_typer(bandits.app)
app.add_typer(reviews.app)
app.add_typer(serving.app)
app.add_typer(pseudonym_key.app)
app.add_typer(starting.app)


@app.callback()
def main(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what every step does, and show progress on a terminal.")
    ] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", handlers=[AboveBars()])
    if verbose:
        show_bars()


@app.command()
def pipelines(
    name: Annotated[str, typer.Argument(metavar="[PIPELINE]", help="One use case only.")] = "",
    full: Annotated[
        bool,
        typer.Option("--full", help="Print its declaration in full, with every default, as Python that declares the same."),
    ] = False,
) -> None:
    """List the declared use cases. Exit status 1 if one uses a database that is not supported."""
    from mlprod_tasks.operations.doctor import unsupported_databases

    if full and not name:
        raise typer.BadParameter("--full needs the name of a use case")
    if full:
        from mlprod_tasks.declaration.source_text import source_text

        say(source_text(opened(name)[0]), nl=False)
        return
    settings, problems = platform().settings, list[str]()
    known = load_all(settings.pipelines) if not name else {name: opened(name)[0]}
    for name, pipeline in known.items():
        tables = ", ".join(table.name for table in pipeline.tables)
        due = f"{pipeline.schedule.due} {pipeline.schedule.timezone}"
        say(f"{name}  {pipeline.doc.strip().splitlines()[0]}")
        say(f"  {len(pipeline.feature_names)} features from {tables}; {due}")
        problems += unsupported_databases(pipeline, settings)
    if problems:
        say("\n".join(problems), err=True)
        raise typer.Exit(1)


@features_app.command("sql")
def features_sql(name: Name) -> None:
    """Print the features' definition as SQL."""
    from mlprod_tasks.features.sql import sql

    pipeline, _ = opened(name)
    say(sql(pipeline))


@app.command()
def dictionary(name: Name) -> None:
    """Print the data dictionary in Markdown: tables, columns, features, label."""
    from mlprod_tasks.reporting.data_dictionary import dictionary as written

    pipeline, _ = opened(name)
    say(written(pipeline), nl=False)


@app.command()
def ingest(
    name: Name, first: From, last: To = None, table: Annotated[list[str] | None, typer.Option(help="Only this table.")] = None
) -> None:
    """Extract, audit and publish ticks."""
    from mlprod_tasks import workflows

    pipeline, here = opened(name)
    for published, rows in workflows.ingest(pipeline, ticks_of(pipeline, first, last), here, table or ()).items():
        say(f"{published}: {rows:,} rows")


@app.command()
def train(
    name: Name,
    as_of: Annotated[str, typer.Option(metavar="TICK", help="Train as of this tick: nothing known later is used.")],
    by: By,
    reason: Reason = "requested from the command line",
) -> None:
    """Train, evaluate, gate, register and promote a model."""
    from mlprod_tasks import workflows
    from mlprod_tasks.monitoring.act import retraining_asked

    pipeline, here = opened(name)
    tick = pipeline.schedule.tick(as_of)
    retraining_asked(pipeline, tick.name, by, here, reason=reason)
    version = workflows.train(pipeline, tick, reason, here, by=by)
    say(_champion_sentence(pipeline, version, here))


@app.command()
def approve(
    name: Name,
    training: Annotated[str, typer.Argument(metavar="TRAINING", help="The training that awaits approval.")],
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Who decides; recorded in the ledger and the MLflow run.", callback=one_name)
    ],
    reject: Annotated[bool, typer.Option("--reject", help="Reject it: the champion stays.")] = False,
) -> None:
    """Approve or reject a model that passed its gates. An approved model is registered and promoted."""
    from mlprod_tasks import workflows

    pipeline, here = opened(name)
    version = workflows.approve(pipeline, training, by, here, approved=not reject)
    rejected = f"{name}: training {training} is rejected"
    say(rejected if version is None else _champion_sentence(pipeline, version, here))


@app.command()
def rollback(
    name: Name,
    by: By,
    to: Annotated[
        int | None, typer.Option(metavar="VERSION", help="The version to go back to; by default the previous champion.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; recorded in the ledger and mailed.", callback=one_line)] = "",
) -> None:
    """Make an earlier version champion again, from the next tick on."""
    from mlprod_tasks.notifications.events import tell_rollback
    from mlprod_tasks.promotion.rollback import rollback as roll_back

    pipeline, here = opened(name)
    done = roll_back(pipeline, here, to=to, reason=reason, by=by)
    tell_rollback(pipeline, done, here)
    say(done.sentence)


@app.command()
def reproduce(
    name: Name,
    version: Annotated[
        int | None, typer.Option(metavar="VERSION", help="The version to train again; the champion by default.")
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, help="Largest difference between scores that still counts as equal.", callback=finite),
    ] = 0.0,
) -> None:
    """Train a registered model again from the same data versions and compare. Exit status 1 if the result differs."""
    from mlprod_tasks.promotion.reproduce import reproduce as reproduced

    pipeline, here = opened(name)
    comparison = reproduced(pipeline, version, here)
    say(comparison.text())
    raise typer.Exit(0 if comparison.within(tolerance) else 1)


@app.command()
def explain(
    name: Name,
    key: Annotated[
        list[str],
        typer.Option(
            metavar="VALUE",
            help="The key of the scored row: give --key once for each key column, in the declared order. One --key with "
            "comma-separated values works too, if no value contains a comma.",
        ),
    ],
    tick: Annotated[str | None, typer.Option(metavar="TICK", help="Needed if several ticks scored that key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Explain one prediction: its features, their sources and effects, and the runs that produced it."""
    from dataclasses import asdict
    from json import dumps

    from mlprod_tasks.operations import explanation_text
    from mlprod_tasks.operations.explain import explain as explained

    pipeline, here = opened(name)
    explanation = explained(pipeline, key, here, None if tick is None else pipeline.schedule.tick(tick))
    say(dumps(asdict(explanation), indent=1, allow_nan=False) if as_json else explanation_text.text(explanation))


@app.command()
def score(
    name: Name,
    first: From,
    last: To = None,
    as_of: Annotated[
        bool, typer.Option(help="Score with the version that was champion at each tick, not with the current one.")
    ] = False,
) -> None:
    """Score ticks."""
    from mlprod_tasks import workflows

    pipeline, here = opened(name)
    say(f"{workflows.score(pipeline, ticks_of(pipeline, first, last), here, as_of=as_of):,} rows scored")


@app.command()
def monitor(name: Name, first: From, last: To = None) -> None:
    """Measure ticks, decide and act. A retraining is only printed, not started; no mails are sent."""
    from mlprod_tasks import workflows

    pipeline, here = opened(name)
    for line in workflows.monitor(pipeline, ticks_of(pipeline, first, last), here):
        say(line)


@app.command()
def verify(name: Name, first: From, last: To = None) -> None:
    """Replay logged predictions of ticks, and the champion's golden predictions. Exit status 1 if one differs."""
    from mlprod_tasks import workflows

    pipeline, here = opened(name)
    checked = workflows.verify(pipeline, ticks_of(pipeline, first, last), here)
    for one in checked:
        say("\n".join(one.sentences))
    raise typer.Exit(1 if any(one.breaches for one in checked) else 0)


@app.command()
def backfill(
    name: Name,
    first: From,
    last: To = None,
    again: Annotated[bool, typer.Option(help="Also rerun ticks that have already succeeded.")] = False,
    at_once: Annotated[int, typer.Option(min=1, help="How many runs of each DAG may run at the same time.")] = 4,
) -> None:
    """Let Airflow ingest, score and monitor ticks: one Airflow backfill for each of the three DAGs."""
    pipeline, _ = opened(name)
    ticks = ticks_of(pipeline, first, last)
    airflow = str(Path(sys.executable).with_name("airflow"))
    for workflow in ("ingest", "score", "monitor"):
        dag = f"{pipeline.name}.{workflow}"
        command = [airflow, "backfill", "create", "--dag-id", dag, "--max-active-runs", str(at_once)]
        begin, end = _bounds(pipeline, ticks)
        command += ["--from-date", begin, "--to-date", end]
        command += ["--reprocess-behavior", "completed" if again else "failed"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            say((done.stderr or done.stdout)[-2000:], err=True)
            raise typer.Exit(done.returncode)
        say(f"{dag}: backfill of {ticks} created; follow it in Airflow")


def _bounds(pipeline: Pipeline, ticks: TickRange) -> tuple[str, str]:
    """What Airflow's backfill is given; it includes both, and reads them as the timetable's time: local, within a day UTC."""
    if pipeline.schedule.is_within_day:
        begin, end = (pipeline.schedule.moment(name).strftime("%Y-%m-%dT%H:%M:%S") for name in (ticks.first, ticks.last))
        return begin, end
    return f"{ticks.first}T00:00:00", f"{ticks.last}T23:59:59"


@app.command()
def status(name: Name) -> None:
    """Print the champion, the last ticks and the open alarms."""
    from mlprod_tasks.operations.status import status as status_text

    pipeline, here = opened(name)
    say(status_text(pipeline, here))


@app.command()
def metrics(
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them to this file, atomically.")] = None,
) -> None:
    """Print the state of every pipeline in Prometheus's text format, e.g. for node-exporter's textfile collector."""
    from mlprod_tasks.operations.ledger_metrics import exposition
    from mlprod_tasks.platform.files import write_text

    here = platform()
    text = exposition(load_all(here.settings.pipelines).values(), here)
    if to is None:
        say(text, nl=False)
        return
    write_text(to, text)


@app.command()
def report(
    name: Name,
    tick: Annotated[str, typer.Argument(metavar="TICK", help="The tick to report on, such as 2013-06-24.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; by default below MLPROD_HOME/reports.")
    ] = None,
) -> None:
    """Write the page of one pipeline as of a tick to a self-contained HTML file."""
    from mlprod_tasks.dashboard.report import write_report

    pipeline, here = opened(name)
    say(str(write_report(pipeline, pipeline.schedule.tick(tick), here, out)))


@app.command("data-docs")
def data_docs() -> None:
    """Build Great Expectations' data docs from the suites and the newest audits."""
    from mlprod_tasks.ingest.data_docs import build_data_docs

    say(str(build_data_docs(platform())))


@app.command()
def doctor() -> None:
    """Check versions, folders, databases and connections, and say how to fix what is wrong."""
    from mlprod_tasks.operations.doctor import check_installation

    items = check_installation(platform())
    for item in items:
        say(f"{'ok  ' if item.ok else 'FAIL'}  {item.what}: {item.message}")
    raise typer.Exit(0 if all(item.ok for item in items) else 1)


def run() -> None:
    """Run the command line; an error that a person can fix is printed as one line, without a traceback."""
    try:
        app()
    except (LookupError, ValueError, OSError, RuntimeError) as error:
        say(f"{type(error).__name__}: {error.args[0] if error.args else error}", err=True)
        raise SystemExit(1) from error


def _champion_sentence(pipeline: Pipeline, version: int, here: Platform) -> str:
    """Say whether a registered version is champion, and if not, why."""
    from mlprod_tasks.promotion.register import ramp_wanted

    champion = here.registry.champion(pipeline)
    if ramp_wanted(pipeline, version, here):
        how = f"`mlprod ramp {pipeline.name} --challenger {version} --by NAME`, or the DAG {pipeline.name}.rollout"
        return f"{pipeline.name}: version {version} is registered and waits to be rolled out: {how}"
    if champion is not None and champion.version != version:
        decided = f"version {champion.version} is champion by a newer decision"
        return f"{pipeline.name}: version {version} is registered, but {decided}"
    return f"{pipeline.name}: version {version} is champion"
