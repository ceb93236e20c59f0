"""A value that is no text refuses its own row, not its column, its chunk or its table."""

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.audit import audit
from mlprod_tasks.ingest.batch_verdict import BatchRefused
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.ingest.publish import publish
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Audit
from tests.support.shop import order

HEADER = "order_id,ordered_at,amount,items,state,customer,email"


def ingest(pipeline: ml.Pipeline, platform: Platform, first: str = "2024-03-15", last: str | None = None) -> list[list[Any]]:
    """The lake's rows (order_id, state), and the quarantined ones."""
    ticks = pipeline.schedule.range(first, last)
    for step in (extract, audit, publish):
        step(pipeline, "orders", ticks, platform)
    found = []
    for name in (names.raw(pipeline, "orders"), names.quarantine(pipeline, "orders")):
        rows = platform.lake.rows(name).sort_by("order_id") if platform.lake.exists(name) else pa.table({})
        found.append([tuple(row.values())[:2] for row in rows.select(["order_id", "state"]).to_pylist()] if len(rows) else [])
    return found


def parquet(folder: Path, states: list[Any], **changed: Any) -> str:
    rows = pa.Table.from_pylist([order(i) for i in range(len(states))])
    at = rows.schema.get_field_index("state")
    pq.write_table(rows.set_column(at, "state", pa.array(states)), folder / "orders.parquet")
    return str(folder)


@pytest.fixture
def shop(orders_pipeline):
    def make(source: Any = None, **changed: Any) -> ml.Pipeline:
        columns = [
            ml.Column("state", "text", "x", nullable=True) if column.name == "state" else column
            for column in orders_pipeline().table("orders").columns
        ]
        given = {"columns": tuple(columns), "max_refused_share": 0.5} | changed
        return orders_pipeline(**given, **({"source": source} if source else {}))

    return make


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ([b"paid", b"Z\xfcrich", None], "b'Z\\xfcrich'"),
        ([None, ["a"], None], "['a']"),
        ([None, {"a": 1}, None], "{'a': 1}"),
    ],
)
def test_what_is_no_text_refuses_its_row_with_the_reason(states, shown: str, shop, make_platform, tmp_path: Path) -> None:
    pipeline = shop(ml.Files("shop", "*.parquet", "parquet"))
    platform = make_platform(shop=parquet(tmp_path, states))
    first = states[0].decode() if states[0] else None
    assert ingest(pipeline, platform) == [[(0, first), (2, None)], [("1", shown)]]
    rows = platform.lake.rows(names.quarantine(pipeline, "orders"))
    assert rows["reason"].to_pylist() == ["state must be text"]
    (entry,) = platform.ledger.all(Audit)
    assert (entry.rows_read, entry.rows_accepted, entry.rows_refused) == (3, 2, 1)
    assert (entry.failures[0]["column"], entry.failures[0]["count"], entry.failures[0]["refuses"]) == ("state", 1, "rows")


def _declared_as_text(values: list[bytes | None], kind: str) -> pa.Array:
    """Bytes that a writer put down as text, unchecked."""
    raw = pa.array(values, pa.large_binary() if kind == "large_string" else pa.binary())
    made = pa.LargeStringArray if kind == "large_string" else pa.StringArray
    return made.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])


@pytest.mark.parametrize("kind", ["string", "large_string"])
@pytest.mark.parametrize("column", ["state", "customer"])
def test_text_that_is_not_utf_8_although_it_is_declared_so_refuses_its_row(
    column: str, kind: str, shop, make_platform, tmp_path: Path
) -> None:
    file = Path(parquet(tmp_path, ["a", "b", "c"])) / "orders.parquet"
    rows = pq.read_table(file)
    values = _declared_as_text([b"a", b"Z\xfcrich", b"c"], kind)
    pq.write_table(rows.set_column(rows.schema.get_field_index(column), column, values), file, use_dictionary=False)
    pipeline = shop(ml.Files("shop", "*.parquet", "parquet"))
    platform = make_platform(shop=str(tmp_path))
    lake, refused = ingest(pipeline, platform)
    assert (lake, [key for key, _ in refused]) == ([(0, "a"), (2, "c")], ["1"])
    rows = platform.lake.rows(names.quarantine(pipeline, "orders"))
    assert rows["reason"].to_pylist() == [f"{column} must be text"]
    assert "rich" not in str(rows["customer"].to_pylist())


def test_more_of_them_than_allowed_refuse_the_batch(shop, make_platform, tmp_path: Path) -> None:
    pipeline = shop(ml.Files("shop", "*.parquet", "parquet"), max_refused_share=0.3)
    platform = make_platform(shop=parquet(tmp_path, [b"paid", b"Z\xfcrich"]))
    with pytest.raises(BatchRefused, match=r"state must be text; found 1 of 2 rows"):
        ingest(pipeline, platform)


def test_latin_1_in_a_csv_file_refuses_its_row(shop, make_platform, tmp_path: Path) -> None:
    lines = [HEADER, "1,2024-03-14 12:00,1,1,Z\xfcrich,,", "2,2024-03-14 12:00,1,1,Bern,,"]
    (tmp_path / "orders.csv").write_bytes("\n".join([*lines, ""]).encode("latin-1"))
    rows, refused = ingest(shop(ml.Files("shop", "*.csv", "csv")), make_platform(shop=str(tmp_path)))
    assert (rows, refused) == ([(2, "Bern")], [("1", "b'Z\\xfcrich'")])


def test_latin_1_in_sqlite_refuses_its_row_and_leaves_the_other_days_alone(shop, orders_in, make_platform, tmp_path) -> None:
    url = orders_in([order(1), order(2), order(3, "2024-03-15 12:00:00", state="Bern"), order(4, state="offen \u00e4")])
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("UPDATE orders SET state = CAST(X'5AFC72696368' AS TEXT) WHERE order_id = 2")
    connection.close()
    rows, refused = ingest(shop(), make_platform(shop=url), "2024-03-15", "2024-03-16")
    assert rows == [(1, "paid"), (3, "Bern"), (4, "offen \u00e4")]
    assert refused == [("2", "b'Z\\xfcrich'")]


def test_a_time_that_is_no_utf_8_spoils_no_other_time(shop, make_platform, tmp_path: Path) -> None:
    lines = [HEADER, "1,2024-03-14 12:00\xfc,1,1,paid,,", "2,2024-03-15 12:00,1,1,paid,,"]
    (tmp_path / "orders.csv").write_bytes("\n".join([*lines, ""]).encode("latin-1"))
    pipeline, platform = shop(ml.Files("shop", "*.csv", "csv")), make_platform(shop=str(tmp_path))
    with pytest.raises(BatchRefused, match="of 1 tick"):
        ingest(pipeline, platform, "2024-03-15", "2024-03-16")
    assert {str(one.tick): one.rows_accepted for one in platform.ledger.all(Audit)} == {"2024-03-15": 0, "2024-03-16": 1}


@pytest.mark.parametrize("customers", [[b"Ann", b"Z\xfcrich"], [None, ["Ann"]], [None, {"name": "Ann"}]])
def test_a_personal_value_that_has_no_text_refuses_its_row_and_is_shown_hashed(
    customers, shop, make_platform, tmp_path: Path
) -> None:
    rows = pa.Table.from_pylist([order(i) for i in range(2)])
    at = rows.schema.get_field_index("customer")
    pq.write_table(rows.set_column(at, "customer", pa.array(customers)), tmp_path / "orders.parquet")
    pipeline, platform = shop(ml.Files("shop", "*.parquet", "parquet")), make_platform(shop=str(tmp_path))
    assert ingest(pipeline, platform) == [[(0, "paid")], [("1", "paid")]]
    (row,) = platform.lake.rows(names.quarantine(pipeline, "orders")).to_pylist()
    assert (row["reason"], len(row["customer"])) == ("customer must be text", 64)
    assert "Ann" not in str(row)
