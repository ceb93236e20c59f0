"""Files as people have them: other separators, encodings, decimal signs, compressed, JSON Lines, columns by other names."""

import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.extract import Extracted, extract
from mlprod_tasks.platform.sources import SourceMissing, look
from mlprod_tasks.platform.written_dates import iso_dates

TICK = "2024-03-15"
COLUMNS = (
    ml.Column("order_id", "int", "number", source="Order ID"),
    ml.Column("ordered_at", "timestamp", "when", source="Bestellt um"),
    ml.Column("amount", "float", "euros", source="Größe"),
    ml.Column("items", "int", "pieces", source="value"),
    ml.Column("state", "text", "paid or not", source="select"),
)
NAMES = [column.name_in_source for column in COLUMNS]
ROWS = [(1, "2024-03-14 12:00:00", 1234.5, 2, "bezahlt; bar"), (2, "2024-03-14 13:00:00", -0.25, 1, 'Zoë "Z", Straße €')]


@pytest.fixture
def extract_from(orders_pipeline: Callable[..., ml.Pipeline], make_platform: Callable, tmp_path: Path):
    """Extract the table of orders from files of the test's folder, or from another connection."""

    def run(source: ml.Files | ml.Database, connection: str = "") -> Extracted:
        pipeline = orders_pipeline(source=source, columns=COLUMNS)
        platform = make_platform(shop=connection or str(tmp_path))
        return extract(pipeline, "orders", pipeline.schedule.range(TICK), platform)

    return run


def staged(done: Extracted) -> list[tuple[Any, ...]]:
    rows = pq.read_table(done.path).select([column.name for column in COLUMNS]).to_pylist()
    return [
        (row["order_id"], f"{row['ordered_at']:%Y-%m-%d %H:%M:%S}", row["amount"], row["items"], row["state"]) for row in rows
    ]


def as_csv(separator: str = ",", decimal: str = ".", rows: list[tuple[Any, ...]] = ROWS) -> str:
    def field(value: Any) -> str:
        text = str(value).replace(".", decimal) if isinstance(value, float) else str(value)
        return '"' + text.replace('"', '""') + '"' if set(text) & {separator, '"'} else text

    return "".join(separator.join(map(field, row)) + "\r\n" for row in [NAMES, *rows])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"], ids=["comma", "semicolon", "tab", "bar"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_every_dialect_of_csv_gives_the_same_rows(
    separator: str, encoding: str, compressed: bool, extract_from, tmp_path: Path
) -> None:
    content = as_csv(separator).encode(encoding)
    name = "orders.csv.gz" if compressed else "orders.csv"
    (tmp_path / name).write_bytes(gzip.compress(content) if compressed else content)
    done = extract_from(ml.Files("shop", name, "csv", separator=separator, encoding=encoding))
    assert staged(done) == ROWS
    assert done.notes == ()


@pytest.mark.parametrize("name", ["UTF-8", "utf8", "utf-8-sig"])
def test_a_value_that_is_not_utf_8_spoils_its_row_alone_by_whatever_name_utf_8_is_declared(
    name: str, extract_from, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_bytes(as_csv().encode().replace("Zoë".encode(), b"Zo\xeb"))
    expected = staged(extract_from(ml.Files("shop", "orders.csv", "csv")))
    assert len(expected) == 2
    assert staged(extract_from(ml.Files("shop", "orders.csv", "csv", encoding=name))) == expected


def test_a_decimal_comma_is_read_and_a_point_beside_it_is_refused(extract_from, tmp_path: Path) -> None:
    source = ml.Files("shop", "orders.csv", "csv", separator=";", decimal=",")
    (tmp_path / "orders.csv").write_text(as_csv(";", ","))
    assert staged(extract_from(source)) == ROWS
    for amount in ("1.234,5", "1.234", "1,2,3"):
        (tmp_path / "orders.csv").write_text(as_csv(";", ",", [(1, "2024-03-14 12:00:00", amount, 1, "x")]))
        assert extract_from(source).as_text == ("amount",), "it is refused by the audit, which shows it as it came"
        assert staged(extract_from(source))[0][2] == amount


@pytest.mark.parametrize(
    ("way", "day"),
    [("31.12.2024", "14.3.2024"), ("31/12/2024", "14/03/2024"), ("12/31/2024", "3/14/2024"), ("31-12-2024", "14-03-2024")],
    ids=("points", "day first", "month first", "dashes"),
)
def test_dates_are_read_as_they_are_written_and_as_well_as_in_iso_8601(
    way: str, day: str, extract_from, tmp_path: Path
) -> None:
    source = ml.Files("shop", "orders.csv", "csv", dates=way)  # type: ignore[arg-type]
    (tmp_path / "orders.csv").write_text(as_csv().replace("2024-03-14", day))
    assert staged(extract_from(source)) == ROWS
    (tmp_path / "orders.csv").write_text(as_csv())
    assert staged(extract_from(source)) == ROWS, "what is written as in ISO 8601 cannot be taken for another day"


def test_a_day_that_no_month_has_is_no_date_of_another_way() -> None:
    given = pa.array(["31.12.2024", "1.2.2024 8:05", "12.31.2024", "31.12.24", "", None, "31.12.2024x", "2024-12-31"])
    assert iso_dates(given, "31.12.2024").to_pylist() == [
        "2024-12-31", "2024-02-01 08:05", "12.31.2024", "31.12.24", "", None, "31.12.2024x", "2024-12-31",
    ]  # fmt: skip
    assert iso_dates(given.slice(2, 1), "12/31/2024").to_pylist() == ["12.31.2024"]


def test_columns_in_another_order_in_each_file_are_read_by_name(extract_from, tmp_path: Path) -> None:
    for n, row in enumerate(ROWS):
        order = [3, 1, 0, 4, 2] if n else range(5)
        lines = ["\t".join(str(values[i]) for i in order) for values in (NAMES, row)]
        (tmp_path / f"{n}.csv").write_text("\n".join([*lines, ""]).replace('"', ""))
    done = extract_from(ml.Files("shop", "*.csv", "csv", separator="\t"))
    assert [row[:4] for row in staged(done)] == [row[:4] for row in ROWS]


def test_json_lines_give_the_same_rows_and_a_key_that_a_row_lacks_is_missing(extract_from, tmp_path: Path) -> None:
    lines = [json.dumps(dict(zip(NAMES, row, strict=True)) | {"more": [1]}) for row in ROWS]
    lines.insert(1, json.dumps({"Order ID": 3, "Bestellt um": "2024-03-14 14:00:00"}))
    (tmp_path / "orders.jsonl.gz").write_bytes(gzip.compress("\n\n".join(lines).encode()))
    done = extract_from(ml.Files("shop", "*.jsonl.gz", "jsonl"))
    assert staged(done) == [*ROWS, (3, "2024-03-14 14:00:00", None, None, None)]
    assert done.undeclared == ("more",)
    assert done.notes == ()


def test_a_key_that_no_row_of_json_lines_has_is_told(extract_from, tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_text(json.dumps(dict(zip(NAMES[:-1], ROWS[0], strict=False))) + "\n")
    assert extract_from(ml.Files("shop", "orders.jsonl", "jsonl")).notes == (
        "none of the first 1,000 rows of a file has the key 'select'",
    )
    (tmp_path / "orders.jsonl").write_text("")
    assert extract_from(ml.Files("shop", "orders.jsonl", "jsonl")).notes == ()


@pytest.mark.parametrize("kind", ["sqlite", "parquet", "postgresql"])
def test_a_column_is_read_by_its_name_in_the_source(kind: str, extract_from, tmp_path: Path, request) -> None:
    if kind == "parquet":
        pq.write_table(pa.table(list(map(list, zip(*ROWS, strict=True))), names=NAMES), tmp_path / "orders.parquet")
        assert staged(extract_from(ml.Files("shop", "orders.parquet", "parquet"))) == ROWS
        return
    quoted = ", ".join(f'"{name}" {of}' for name, of in zip(NAMES, ["int", "text", "float", "int", "text"], strict=True))
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'shop.db'}"
        with sqlite3.connect(tmp_path / "shop.db") as connection:
            connection.execute(f"CREATE TABLE orders ({quoted})")
            connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", ROWS)
        connection.close()
    else:
        import psycopg2

        url = request.getfixturevalue("postgres_database")
        with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE orders ({quoted})")
            cursor.executemany("INSERT INTO orders VALUES (%s, %s, %s, %s, %s)", ROWS)
        connection.close()
    assert staged(extract_from(ml.Database("shop", "orders"), url)) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "given", "said"),
    [
        ("x.csv", as_csv(";").encode(), {}, r"It has them all with Files\(separator=';', encoding='utf-8'\)"),
        ("x.csv", as_csv("\t").encode("cp1252"), {}, r"It has them all with Files\(separator='\\t', encoding='cp1252'\)"),
        ("x.csv", as_csv().encode("utf-16"), {"separator": ";"}, r"Files\(separator=',', encoding='utf-16'\)"),
        ("x.csv", as_csv().encode("cp1252"), {"encoding": "utf-16"}, "near line 1 it is not text in utf-16"),
        ("x.csv", as_csv().encode("cp1252"), {"encoding": "ascii"}, "near line 1 it is not text in ascii"),
        ("x.csv.gz", gzip.compress(as_csv().encode())[:-12], {}, "its gzip compression is damaged or cut off"),
        ("x.csv.gz", as_csv().encode(), {}, "its gzip compression is damaged or cut off"),
        ("x.jsonl", b'{"Order ID": 1}\n{"Order ID": 2, "select": "Unmistakable', {}, "line 2 is not JSON, or it is cut off"),
        ("x.jsonl", b'{"Order ID": 1, "Order ID": 2}', {}, "line 1 names a key twice"),
        ("x.jsonl", b'["Unmistakable"]', {}, "line 1 is not an object"),
        ("x.jsonl", b'\n{"value": NaN}', {}, "line 2 is not JSON"),
        ("x.jsonl", '{"Größe": "Unmistakable"}'.encode("cp1252"), {}, "line 1 is not UTF-8: declare its `encoding`"),
        ("x.jsonl", b"[" * 100_000, {}, "line 1 is not JSON"),
    ],
    ids=[
        "separator", "cp1252 and tabs", "utf-16", "not utf-16", "not ascii", "cut gzip", "no gzip", "cut json", "twice",
        "array", "nan", "cp1252", "deep",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_file_and_line_and_not_shown(
    name: str, content: bytes, given: dict[str, Any], said: str, make_platform, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    source = ml.Files("shop", name, name.split(".")[1], **given)  # type: ignore[arg-type]
    table = ml.Table("orders", source, ("order_id",), COLUMNS, time="ordered_at")
    with pytest.raises(SourceMissing, match=rf"'orders': .*{name}.*{said}") as error:
        look(table, make_platform(shop=str(tmp_path)).settings)
    assert "Unmistakable" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"format": "parquet", "separator": ";"}, "separator, decimal and missing are for CSV, not for parquet"),
        ({"format": "jsonl", "decimal": ","}, "separator, decimal and missing are for CSV, not for jsonl"),
        ({"format": "parquet", "encoding": "cp1252"}, "encoding and dates are for text files, not for parquet"),
        ({"format": "parquet", "dates": "31.12.2024"}, "encoding and dates are for text files, not for parquet"),
        ({"format": "csv", "separator": "||"}, r"separator '\|\|' must be one ASCII character"),
        ({"format": "csv", "separator": '"'}, "must be one ASCII character, no quote"),
        ({"format": "csv", "decimal": ","}, "separator and decimal are both ','"),
        ({"format": "csv", "encoding": "windows-4711"}, "encoding 'windows-4711' is none that Python knows as text"),
        ({"format": "csv", "encoding": "base64"}, "encoding 'base64' is none that Python knows as text"),
    ],
    ids=["parquet", "jsonl", "encoding", "dates", "two characters", "quote", "both", "unknown", "no text"],
)
def test_a_dialect_that_cannot_be_is_refused_when_it_is_declared(given: dict[str, Any], said: str, orders_pipeline) -> None:
    with pytest.raises(ValueError, match=said):
        orders_pipeline(source=ml.Files("shop", "orders.csv", **given))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (ml.Column("Order ID", "int", "x"), r"choose one, .* as in Column\('order_id', source='Order ID', \.\.\.\)"),
        (ml.Column("Größe", "int", "x"), r"Column\('grosse', source='Größe'"),
        (ml.Column("2nd", "int", "x"), r"Column\('column_2nd', source='2nd'"),
        (ml.Column("tick", "float", "x"), r"used by the lake itself.* as in Column\('orders_tick', source='tick'"),
        (ml.Column("more", "int", "x", source=""), "source is empty"),
        (ml.Column("more", "int", "x", source="order_id"), "columns of the source: 'order_id' is declared 2 times"),
    ],
    ids=["spaces", "umlaut", "digit", "reserved", "empty", "twice"],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(column: ml.Column, said: str, orders_pipeline, use_case) -> None:
    with pytest.raises(ValueError, match=said):
        orders_pipeline(columns=(*use_case.table("orders").columns, column))
