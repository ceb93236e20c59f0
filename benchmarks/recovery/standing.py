"""What stands at the end of a trial, row by row, and how it differs from what stood at the end of a run without fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any, cast

from sqlalchemy import inspect, text

from benchmarks.recovery.work import CHAMPION, TRAINING
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.ledger import Measurement, Row, StepRun, Training
from mlprod_tasks.platform.registry import TRAINING_TAG

# What rightly differs from run to run: moments, durations, random ids, versions of the lake's tables, names of staged files.
OF_A_RUN = {
    "at", "first_at", "_arrived_at", "seconds", "run_id", "delta_version", "staging", "staging_sha256", "until", "id",
    "log_file", "waited_seconds", "latency_ms", "training_asked_at", "request_id",
}  # fmt: skip
OF_ITS_TIME = {"duration", "retries", "queue_wait", "rows_per_second", "memory", "data_delay", "label_delay", "cost"}
OF_THE_WHOLE = {"upstream", "online_latency"}
Standing = Mapping[str, "Rows"]
Rows = list[tuple[Hashable, Hashable]]  # key and values


@dataclass(frozen=True)
class Difference:
    """Rows that are missing, there more often than they should, or there with other values; and where."""

    lost: int = 0
    doubled: int = 0
    altered: int = 0
    where: tuple[str, ...] = ()

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.lost + other.lost, self.doubled + other.doubled, self.altered + other.altered, (*self.where, *other.where)
        )

    @property
    def none(self) -> bool:
        return not (self.lost or self.doubled or self.altered)


def standing(pipeline: Pipeline, platform: Platform, business: str, mails: Path) -> Standing:
    """Everything that stands: lake, ledger, registry, published predictions, mails."""
    found = dict(_lake(pipeline, platform)) | dict(_ledger(platform))
    found["registry"] = list(_registry(platform))
    found["published predictions"] = list(_published(pipeline, business))
    found["mails"] = list(_mails(mails))
    platform.ledger.engine.dispose()
    return found


def difference(expected: Standing, found: Standing) -> Difference:
    """Compare two, table by table."""
    total = Difference()
    for name in sorted({*expected, *found}):
        total += _of_table(name, expected.get(name, []), found.get(name, []))
    return total


def _of_table(name: str, expected: Rows, found: Rows) -> Difference:
    wanted, there = Counter(key for key, _ in expected), Counter(key for key, _ in found)
    lost, doubled = wanted - there, there - wanted
    missing = Counter(expected) - Counter(found)
    altered = {key for key, _ in missing.elements()} - {*lost, *doubled}
    where = [f"{name}: {what} {key!r}"[:300] for what, keys in (("lost", lost), ("doubled", doubled)) for key in keys]
    where += [f"{name}: altered {key!r}: {_changes(key, expected, found)}"[:600] for key in altered]
    return Difference(lost.total(), doubled.total(), len(altered), tuple(where[:3]))


def _changes(key: Hashable, expected: Rows, found: Rows) -> str:
    """What the values of a row are, and what they should be."""
    here, there = ({one for k, values in rows if k == key for one in cast("tuple", values)} for rows in (found, expected))
    return f"{sorted(map(repr, here - there))} instead of {sorted(map(repr, there - here))}"


def _lake(pipeline: Pipeline, platform: Platform) -> Iterator[tuple[str, Rows]]:
    tables = [(names.raw(pipeline, table.name), ("tick", *table.key)) for table in pipeline.tables]
    tables += [(names.quarantine(pipeline, table.name), ("tick", *table.key)) for table in pipeline.tables]
    key = pipeline.entity_table.key
    tables.append((names.predictions(pipeline), ("tick", *key)))
    tables.append((names.requests(pipeline), ("tick", *(f"key_{one}" for one in key))))
    for name, columns in tables:
        if platform.lake.exists(name):
            yield f"lake {name}", _rows(platform.lake.rows(name).to_pylist(), columns)


def _ledger(platform: Platform) -> Iterator[tuple[str, Rows]]:
    trainings = sorted(platform.ledger.all(Training), key=lambda one: one.at)
    numbers = {one.id: f"training {number}" for number, one in enumerate(trainings, 1)}  # ids may hold the time
    for kind in Row.__subclasses__():
        if kind is StepRun:
            continue  # each run has its own
        key = [column.name for column in inspect(kind).primary_key]
        rows = [{one.key: getattr(row, one.key) for one in inspect(kind).column_attrs} for row in platform.ledger.all(kind)]
        rows = [row | {"training_id": numbers[row["training_id"]]} if "training_id" in row else row for row in rows]
        if kind is Measurement:
            rows = [_of_measurement(row) for row in rows]
        yield f"ledger {kind.__tablename__}", _rows(rows, key)


def _of_measurement(row: dict[str, Any]) -> dict[str, Any]:
    """Without its value where that is of the run itself."""
    if row["what"] in OF_ITS_TIME | OF_THE_WHOLE:
        return {name: row[name] for name in ("pipeline", "tick", "what", "slice")}
    return row


def _registry(platform: Platform) -> Iterator[tuple[Hashable, Hashable]]:
    """Versions and aliases as MLflow's database has them: MLflow itself would keep its connections over a restored file."""
    engine = open_database(platform.settings.mlflow_url)
    with engine.connect() as connection:
        if not inspect(connection).has_table("model_versions"):
            return
        tags = [tuple(row) for row in connection.execute(text("SELECT name, version, key, value FROM model_version_tags"))]
        for name, version in connection.execute(text("SELECT name, version FROM model_versions")):
            of_it = {key: value for n, v, key, value in tags if (n, v) == (name, version)}
            # A model holds the id of its training, and that of a whole training the time at which it was asked for.
            same = of_it.get(TRAINING_TAG) in (CHAMPION, TRAINING)
            digests = {key: value for key, value in of_it.items() if same and ("digest" in key or "sha256" in key)}
            yield (name, version), _frozen(digests)
        for name, alias, version in connection.execute(text("SELECT name, alias, version FROM registered_model_aliases")):
            yield (name, "alias", alias), version


def _published(pipeline: Pipeline, business: str) -> Rows:
    assert pipeline.publish is not None
    engine = open_database(business)
    with engine.connect() as connection:
        if not inspect(connection).has_table(pipeline.publish.table):
            return []
        found = [dict(row) for row in connection.execute(text(f"SELECT * FROM {pipeline.publish.table}")).mappings()]
    return _rows(found, ("tick", *pipeline.entity_table.key))


def _mails(folder: Path) -> Rows:
    """By their subjects. A mail with the id of another is that mail again: who receives both keeps one."""
    mails = [message_from_bytes(file.read_bytes()) for file in folder.glob("*.eml")]
    return [(subject, "") for _, subject in {(mail["Message-ID"], mail["Subject"]) for mail in mails}]


def _rows(rows: Iterable[Mapping[str, Any]], key: Iterable[str]) -> Rows:
    columns = [name for name in key if name not in OF_A_RUN]
    return [(tuple(_frozen(row.get(n)) for n in columns), _frozen({n: row[n] for n in {*row} - {*key}})) for row in rows]


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), _frozen(one)) for name, one in value.items() if name not in OF_A_RUN))
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value.isoformat() if isinstance(value, datetime) else repr(value) if isinstance(value, float) else value
