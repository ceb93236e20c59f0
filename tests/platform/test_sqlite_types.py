"""Each value of SQLite is read as what it is, or refused: docs/reference/sources.md. Columns have no types there."""

import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.platform.sources import read

REFUSED = object()
MEANINGS: list[tuple[Any, dict[str, Any]]] = [
    (7, {"int": 7, "float": 7.0, "text": "7", "bool": REFUSED, "timestamp": REFUSED, "date": REFUSED}),
    (1, {"int": 1, "bool": True}),
    (2**53 + 1, {"int": 2**53 + 1, "text": str(2**53 + 1)}),
    (-(2**63), {"int": -(2**63)}),
    (7.0, {"int": 7, "float": 7.0, "text": "7", "bool": REFUSED}),
    (0.0, {"bool": False}),
    (7.5, {"int": REFUSED, "float": 7.5, "text": "7.5"}),
    (math.inf, {"int": REFUSED, "float": math.inf}),
    ("7", {"int": 7, "float": 7.0, "text": "7"}),
    ("7.00", {"int": REFUSED, "float": 7.0, "text": "7.00"}),
    ("t", {"bool": True, "int": REFUSED}),
    ("", {"text": "", "int": REFUSED, "timestamp": REFUSED}),
    ("2024-03-14", {"date": "2024-03-14", "timestamp": "2024-03-14 00:00:00+00:00"}),
    ("2024-03-14 10:00:00.5", {"timestamp": "2024-03-14 10:00:00.500000+00:00", "date": REFUSED}),
    ("2024-03-14T10:00:00+02:00", {"timestamp": "2024-03-14 08:00:00+00:00"}),
    ("Z\u00fcrich", {"text": "Z\u00fcrich"}),
    (b"ab", {"text": "ab"}),
    (b"Z\xfc", {"text": REFUSED}),
]
# What stands beside a value in its chunk changes nothing: nothing, a number, a text, bytes.
BESIDE: list[Any] = [None, 8.25, "x", b"\xff", 2**60]


@pytest.mark.parametrize("beside", BESIDE, ids=repr)
def test_each_value_is_what_it_is_whatever_stands_beside_it(beside: Any, make_platform, tmp_path: Path) -> None:
    url = tmp_path / "shop.db"
    for value, meanings in MEANINGS:
        url.unlink(missing_ok=True)
        with sqlite3.connect(url) as connection:
            connection.execute("CREATE TABLE things (id, value)")
            connection.executemany("INSERT INTO things VALUES (?, ?)", [(1, value), (2, beside), (3, None)])
        connection.close()
        table = ml.Table(
            "things",
            ml.Database("shop", "things"),
            key=("id",),
            columns=(ml.Column("id", "int", "x"), ml.Column("value", "text", "x")),
        )
        (rows,) = read(table, make_platform(shop=f"sqlite:///{url}").settings, None, None)
        for kind, expected in meanings.items():
            converted = convert(rows["value"], kind)
            got = converted.values[0].as_py()
            got = REFUSED if converted.failed[0].as_py() else str(got) if kind in ("timestamp", "date") else got
            assert (value, kind, got) == (value, kind, expected)
            assert (converted.failed[2].as_py(), converted.values[2].as_py()) == (False, None)


@pytest.mark.parametrize("kind", ["date", "timestamp"])
def test_a_number_beside_texts_is_no_day(kind: Any, make_platform, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE things (id, value)")
        connection.executemany("INSERT INTO things VALUES (?, ?)", [(1, 20240314), (2, "2024-03-14"), (3, None)])
    connection.close()
    columns = (ml.Column("id", "int", "x"), ml.Column("value", kind, "x"))
    table = ml.Table("things", ml.Database("shop", "things"), key=("id",), columns=columns)
    settings = make_platform(shop=f"sqlite:///{tmp_path / 'shop.db'}").settings
    failed = {}
    for rows in read(table, settings, None, None):
        failed |= dict(zip(rows["id"].to_pylist(), convert(rows["value"], kind).failed.to_pylist(), strict=True))
    assert failed == {1: True, 2: False, 3: False}
