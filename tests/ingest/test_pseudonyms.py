"""A personal value has the same hash alone and beside any others, from whatever source."""

import hmac
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.ingest.pseudonyms import pseudonyms
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.pseudonym import pseudonym
from tests.support.keys import PSEUDONYM_KEY as KEY
from tests.support.shop import orders_to_check, shop_of_one_table

DAY = "2024-03-15"
# As long as a float holds each integer: beyond that pandas itself loses digits where a null stands beside them.
WHOLE = st.integers(-(2**53), 2**53)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=6)
NUMERIC_TEXT = st.sampled_from(["7", "007", " 7", "7.0", "7.5", "0x1F", "1_000", "x", "-0", "+7", "1e3"])
# What one column of a file may hold: pandas infers a type from all of them, and another one where a null is among them.
COLUMNS = st.one_of(
    st.lists(st.none() | kind, min_size=1, max_size=5)
    for kind in (
        WHOLE,
        st.floats(allow_nan=False) | WHOLE.map(float),
        TEXT | NUMERIC_TEXT,
        st.booleans(),
        st.decimals(-(10**6), 10**6, allow_nan=False, places=2) | st.decimals(-(10**6), 10**6, allow_nan=False, places=0),
        st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
        st.dates(),
        st.binary(min_size=1, max_size=3),
    )
)
# SQLite holds a value of any type in any row.
ROWS = st.lists(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | WHOLE.map(float)
    | TEXT
    | NUMERIC_TEXT
    | st.binary(),
    min_size=1,
    max_size=6,
)
EXAMPLES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def declared(kind: str, **source: Any) -> ml.Pipeline:
    customer = ml.Column("customer", kind, "who bought", nullable=True, personal="hash")
    columns = [customer if column.name == "customer" else column for column in orders_to_check().columns]
    return shop_of_one_table(columns=tuple(columns), **source)


def staged(customers: Sequence[Any], kind: str, form: str, folder: Path, make_platform: Callable[..., Platform]) -> list[Any]:
    """The hashes of the customers after an extract, in their order."""
    rows = {"order_id": range(len(customers)), "ordered_at": "2024-03-14 12:00:00", "amount": 1.0, "items": 1, "state": "paid"}
    source: dict[str, Any] = {}
    url = str(folder)
    if form == "sqlite":
        path = folder / "shop.db"
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE orders (order_id, ordered_at, amount, items, state, customer, email)")
            filled = [(i, "2024-03-14 12:00:00", 1.0, 1, "paid", value, None) for i, value in enumerate(customers)]
            connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", filled)
        connection.close()
        url = f"sqlite:///{path}"
    else:
        frame = pd.DataFrame(rows | {"email": "", "customer": pd.Series(list(customers))}, index=range(len(customers)))
        if form == "csv":
            frame.to_csv(folder / "orders.csv", index=False)
        else:
            frame.to_parquet(folder / "orders.parquet")
        source = {"source": ml.Files("shop", f"orders.{form}", form)}
    pipeline = declared(kind, **source)
    done = extract(pipeline, "orders", pipeline.schedule.range(DAY), make_platform(shop=url))
    found = pq.read_table(done.path).select(["order_id", "customer"]).to_pylist()
    return [row["customer"] for row in sorted(found, key=lambda row: row["order_id"])]


@pytest.mark.parametrize("kind", ["int", "text"])
@EXAMPLES
@given(ROWS)
def test_a_value_of_a_database_has_the_same_hash_alone_and_among_others(
    kind: str, tmp_path: Path, make_platform: Callable[..., Platform], customers: list[Any]
) -> None:
    together = staged(customers, kind, "sqlite", tmp_path, make_platform)
    assert together == [staged([one], kind, "sqlite", tmp_path, make_platform)[0] for one in customers]


@pytest.mark.parametrize("kind", ["int", "text"])
@EXAMPLES
@given(COLUMNS)
def test_a_value_of_a_parquet_file_has_the_same_hash_alone_and_among_others(
    kind: str, tmp_path: Path, make_platform: Callable[..., Platform], customers: list[Any]
) -> None:
    together = staged(customers, kind, "parquet", tmp_path, make_platform)
    assert together == [staged([one], kind, "parquet", tmp_path, make_platform)[0] for one in customers]


@pytest.mark.parametrize("kind", ["int", "text"])
@EXAMPLES
@given(st.lists(TEXT | NUMERIC_TEXT | st.none(), min_size=1, max_size=6))
def test_a_text_of_a_csv_file_has_the_same_hash_alone_and_among_others(
    kind: str, tmp_path: Path, make_platform: Callable[..., Platform], customers: list[Any]
) -> None:
    together = staged(customers, kind, "csv", tmp_path, make_platform)
    assert together == [staged([one], kind, "csv", tmp_path, make_platform)[0] for one in customers]


@pytest.mark.parametrize("form", ["sqlite", "csv"])
def test_an_integer_with_zeros_before_it_is_the_integer_beside_any_text(
    form: str, tmp_path: Path, make_platform: Callable[..., Platform]
) -> None:
    assert staged(["007"], "int", form, tmp_path, make_platform) == [pseudonym("7", KEY)]
    assert staged(["007", "x"], "int", form, tmp_path, make_platform) == [pseudonym("7", KEY), pseudonym("x", KEY)]


ZURICH = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "as_text", "as_int"),
    [
        ("Ann", "Ann", "Ann"),
        ("007", "007", "7"),
        (" 7 ", " 7 ", "7"),
        ("7.0", "7.0", "7.0"),
        ("0x1F", "0x1F", "0x1F"),
        ("1_000", "1_000", "1_000"),
        (7, "7", "7"),
        (-(2**63), "-9223372036854775808", "-9223372036854775808"),
        (7.0, "7", "7"),
        (-0.0, "0", "0"),
        (7.5, "7.5", "7.5"),
        (1e300, "1e+300", "1e+300"),
        (float("nan"), "nan", None),
        (Decimal("7.00"), "7", "7"),
        (Decimal("7.50"), "7.5", "7.5"),
        (Decimal("700"), "700", "700"),
        (True, "True", "True"),
        (date(2013, 6, 1), "2013-06-01", "2013-06-01"),
        (datetime(2013, 6, 1, 10), "2013-06-01 10:00:00", "2013-06-01 10:00:00"),  # noqa: DTZ001
        (datetime(2013, 6, 1, 10, tzinfo=UTC), "2013-06-01 10:00:00+00:00", "2013-06-01 10:00:00+00:00"),
        (datetime(2013, 6, 1, 11, tzinfo=ZURICH), "2013-06-01 10:00:00+00:00", "2013-06-01 10:00:00+00:00"),
        (b"Ann", "Ann", "Ann"),
        (b"\xff", "b'\\xff'", "b'\\xff'"),
        ([1, 2], "[1, 2]", "[1, 2]"),
        (None, None, None),
    ],
)
def test_each_type_is_hashed_in_the_text_that_is_written_down(value: Any, as_text: str | None, as_int: str | None) -> None:
    for kind, text in (("text", as_text), ("int", as_int)):
        for array in (pa.array([value, None]), pa.array([None, value, value])[1:]):
            made = pseudonyms(array, kind, KEY).to_pylist()
            assert made[0] == (None if text is None else pseudonym(text, KEY))


def test_a_pseudonym_is_the_keyed_hash_that_lakes_hold() -> None:
    assert pseudonym("Ann", KEY) == hmac.new(KEY.encode(), b"Ann", "sha256").hexdigest()


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "a"]).dictionary_encode(),
        pa.array(["a", None, "a"], pa.large_string()),
        pa.array([b"a", None, b"a"]),
    ],
    ids=["categories", "large text", "bytes"],
)
def test_the_same_text_in_another_form_of_column_has_the_same_hash(array: pa.Array) -> None:
    assert pseudonyms(array, "text", KEY).to_pylist() == [pseudonym("a", KEY), None, pseudonym("a", KEY)]


def test_a_moment_beyond_pythons_years_has_a_hash_too() -> None:
    made = pseudonyms(pa.array([2**50, None], pa.timestamp("s")), "text", KEY).to_pylist()
    assert made[0] is not None
    assert made[1] is None
