"""Each type of a Parquet file is read as the value that it is, or its rows are refused: docs/reference/sources.md."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.platform.sources import read

MOMENT, ZONED = datetime(2024, 3, 14, 10), "2024-03-14 09:00:00+00:00"  # noqa: DTZ001
ONE_ID = UUID("7a3e8a3c-1111-2222-3333-444455556666")
READ: list[tuple[pa.Array, str, Any]] = [
    *((pa.array([7, None], kind), "int", 7) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *((pa.array([7, None], kind), "text", "7") for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    *((pa.array([7.0, None], kind), "int", 7) for kind in (pa.float16(), pa.float32(), pa.float64())),
    *((pa.array([7.0, None], kind), "text", "7") for kind in (pa.float16(), pa.float32(), pa.float64())),
    (pa.array([1.0, None]), "bool", True),
    (pa.array([0.0, float("nan")]), "bool", False),
    (pa.array([0, None]), "bool", False),
    (pa.array(["t", None]), "bool", True),
    (pa.array([True, None]), "bool", True),
    (pa.array([Decimal("7.00"), None]), "int", 7),
    (pa.array([Decimal("7.00"), None], pa.decimal256(50, 2)), "text", "7"),
    (pa.array([Decimal("7.5"), None]), "float", 7.5),
    *((pa.array(["Z\u00fcrich", None], kind), "text", "Z\u00fcrich") for kind in (pa.string(), pa.large_string())),
    *((pa.array([b"ab", None], kind), "text", "ab") for kind in (pa.binary(), pa.large_binary(), pa.binary(2))),
    (pa.array([b"7", None]), "int", 7),
    (pa.array(["a", None]).dictionary_encode(), "text", "a"),
    *((pa.array([date(2024, 3, 14), None], kind), "date", "2024-03-14") for kind in (pa.date32(), pa.date64())),
    (pa.array([date(2024, 3, 14), None]), "timestamp", "2024-03-13 23:00:00+00:00"),
    *((pa.array([MOMENT, None], pa.timestamp(unit)), "timestamp", ZONED) for unit in ("ms", "us", "ns")),
    (pa.array([MOMENT, None], pa.timestamp("us", "UTC")), "timestamp", "2024-03-14 10:00:00+00:00"),
    (pa.array([MOMENT, None], pa.timestamp("us")), "text", "2024-03-14 10:00:00"),
    *((pa.array([time(10), None], kind), "text", "10:00:00") for kind in (pa.time32("ms"), pa.time64("us"))),
    (pa.array([ONE_ID.bytes, None], pa.uuid()), "text", str(ONE_ID)),
    (pa.nulls(2), "text", None),
]
REFUSED: list[tuple[pa.Array, str]] = [
    (pa.array([[1], None]), "text"),
    (pa.array([{"a": 1}, None]), "text"),
    (pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())), "text"),
    (pa.array([timedelta(1), None]), "text"),
    (pa.array([b"Z\xfc", None]), "text"),
    (pa.array([2**63, None], pa.uint64()), "int"),
    (pa.array([7.5, None]), "int"),
    (pa.array([True, None]), "int"),
    (pa.array([7, None]), "timestamp"),
    (pa.array([20240314, None]), "timestamp"),
    (pa.array([7, None]), "date"),
    (pa.array([2, None]), "bool"),
    (pa.array(["0x1f", None]), "int"),
]


def read_back(array: pa.Array, folder: Path, make_platform) -> pa.Array:
    pq.write_table(pa.table({"id": [1, 2], "value": array}), folder / "things.parquet")
    source = ml.Files("shop", "things.parquet", "parquet")
    table = ml.Table("things", source, key=("id",), columns=(ml.Column("id", "int", "x"), ml.Column("value", "text", "x")))
    (rows,) = read(table, make_platform(shop=str(folder)).settings, None, None)
    return rows["value"]


@pytest.mark.parametrize(("array", "kind", "expected"), READ, ids=lambda one: str(getattr(one, "type", one)))
def test_a_type_is_read_as_the_value_that_it_is(array, kind: str, expected: Any, make_platform, tmp_path: Path) -> None:
    converted = convert(read_back(array, tmp_path, make_platform), kind, "Europe/Zurich")
    value = converted.values[0].as_py()
    got = str(value) if kind in ("timestamp", "date") else value
    assert (converted.lossless, got, converted.values[1].as_py()) == (True, expected, None)


@pytest.mark.parametrize(("array", "kind"), REFUSED, ids=lambda one: str(getattr(one, "type", one)))
def test_a_value_without_a_meaning_in_the_kind_is_refused_and_the_missing_one_is_not(
    array, kind: str, make_platform, tmp_path: Path
) -> None:
    assert convert(read_back(array, tmp_path, make_platform), kind).failed.to_pylist() == [True, False]
