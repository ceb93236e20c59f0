"""Compiled expressions against DuckDB itself, on rows of extreme values: the same bits, and refused where DuckDB refuses."""

import math
import struct
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlprod_tasks.online.compile import Unsupported, compiled
from mlprod_tasks.online.duckdb_semantics import Unsure, ValueFailed
from mlprod_tasks.online.types import Types

COLUMNS = {
    "a": "BIGINT", "b": "BIGINT", "x": "DOUBLE", "y": "DOUBLE", "s": "VARCHAR", "t": "VARCHAR", "p": "BOOLEAN", "q": "BOOLEAN",
    "ts": "TIMESTAMP WITH TIME ZONE", "tz": "TIMESTAMP WITH TIME ZONE", "d": "DATE", "e": "DATE",
}  # fmt: skip
NEW_YORK = "timezone('America/New_York', ts)"
# By the type that they are cast to at the end. Every construct that is compiled is here.
EXPRESSIONS = {
    "BIGINT": [
        "a", "a + b", "a - b", "a * b", "a // b", "a % b", "-a", "abs(a)", "a + 1", "2 * a - 3", "a // 7", "a % -3", "x",
        "x * y",
        "round(x)", "round(a)", "floor(x)", "CAST(x AS BIGINT)", "CAST(x AS INTEGER)", "CAST(a AS INTEGER)",
        "CAST(p AS INTEGER)",
        "CAST(a AS SMALLINT) + CAST(b AS SMALLINT)", "CAST(a AS INTEGER) * CAST(b AS INTEGER)", "p::BIGINT + q::BIGINT",
        "coalesce(a, b, 0)", "nullif(a, b)", "nullif(a, 0)", "greatest(a, b)", "least(a, b, 5)", "d - e",
        "d - DATE '2012-02-29'",
        "CASE WHEN a > b THEN a WHEN p THEN 3 END", "CASE WHEN p THEN a + b ELSE a - b END", "if(p, a, b)", "if(a > 3, 1, 0)",
        "CASE WHEN s IN ('x', 'yy') THEN 1 WHEN s IS NULL THEN 2 ELSE 3 END", "coalesce(CAST(x AS BIGINT), a)",
        "CASE WHEN a <> 0 AND b % a > 0 THEN 1 ELSE 0 END", "CASE WHEN b % a > 0 AND a <> 0 THEN 1 ELSE 0 END",
        "CASE WHEN a = 0 OR b % a > 0 THEN 1 ELSE 0 END", "CASE WHEN NOT (a = 0 OR b % a > 0) THEN 1 ELSE 0 END",
        "if(p AND (a = 0 OR (q OR b % a > 0)), 1, 0)", "if(a BETWEEN 1 AND b % a, 1, 0)", "if(a NOT BETWEEN 1 AND b % a, 1, 0)",
        "if(a IN (0, b % a), 1, 0)", "if(p AND q AND b % a > 0, 1, 0)", "if((a = 0 OR b % a > 0) IS NULL, 1, 0)",
        *(f"extract({part} FROM {of})" for part in ("hour", "minute", "second") for of in ("ts", NEW_YORK)),
        *(f"extract({part} FROM {of})" for part in ("isodow", "dow", "day", "month", "year", "doy", "quarter", "week")
          for of in ("ts", NEW_YORK, "d", "ts::DATE", f"{NEW_YORK}::DATE")),
        f"60 * extract(hour FROM {NEW_YORK}) + extract(minute FROM {NEW_YORK})", "hour(ts)", "year(d)", "month(ts)", "day(ts)",
        "minute(ts)", "quarter(d)", "extract(hour FROM ts AT TIME ZONE 'Europe/Zurich')", f"{NEW_YORK}::DATE - d",
        "extract(hour FROM ts - INTERVAL '90' MINUTE)", "extract(hour FROM ts + INTERVAL 3 HOUR)",
        "extract(day FROM timezone('Australia/Lord_Howe', ts) + INTERVAL '30' MINUTE)",
    ],
    "DOUBLE": [
        "x", "a", "p", "x + y", "x - y", "x * y", "x / y", "a / b", "a / 2", "x / 3", "a + x", "x * 0.1", "0.5 * x + a",
        "x / 0.3",
        "a / 1.5", "-x", "abs(x)", "round(x)", "floor(x)", "ceil(x)", "ceil(a)", "floor(a)", "sqrt(abs(x))", "sqrt(x)",
        "coalesce(x, a, 1.5)", "coalesce(x, 0)", "nullif(x, y)", "greatest(x, y)", "least(x, y, 0)", "greatest(x, a)",
        "CASE WHEN x > y THEN x ELSE a END", "CASE WHEN x IS NULL THEN 0 ELSE x END", "CASE WHEN p AND q THEN x END",
        "extract(epoch FROM tz - ts)", "extract(epoch FROM tz - ts) / 60", "extract(epoch FROM tz - ts) / 3600", "epoch(ts)",
        "extract(epoch FROM ts)", "extract(epoch FROM tz) - extract(epoch FROM ts)", f"extract(epoch FROM {NEW_YORK})",
        "CAST(a AS DOUBLE) / CAST(b AS DOUBLE)", "(a + b) / (x - y)", "1e3 * x", "x / nullif(y, 0)", "a * 1.0e0",
    ],
    "BOOLEAN": [
        "p", "a", "x", "a = b", "a <> b", "a < b", "a <= b", "a > b", "a >= b", "x = y", "x <> y", "x < y", "x <= y", "x > y",
        "x >= y", "a < x", "x >= a", "a > 0.5", "a <= -1.25", "a = 2.0", "x > 0.1", "x = 0.3", "s = t", "s < t", "s <= t",
        "s >= 'x'",
        "s <> 'yy'", "p = q", "p < q", "ts < tz", "ts >= tz", "ts > '2013-03-10 07:00:00+00'", "d < e", "d = '2012-02-29'",
        "a = '5'",
        "p AND q", "p OR q", "NOT p", "p AND NOT q OR a > b", "a > 0 AND x < 0", "a > 0 OR x < 0", "a IS NULL", "x IS NOT NULL",
        "a IS DISTINCT FROM b", "x IS NOT DISTINCT FROM y", "s IS DISTINCT FROM t", "a BETWEEN 0 AND 5", "x BETWEEN y AND a",
        "a NOT BETWEEN b AND 7", "ts BETWEEN tz AND '2014-01-01 00:00:00+00'", "a IN (1, 2, 3)", "a IN (b, 0, NULL)",
        "a NOT IN (1, 2)", "s IN ('x', 'yy')", "s NOT IN ('x', t)", "x IN (0, 0.5, y)", "p IS NULL OR q", "(a > 1) = (b > 1)",
        "x > 10 AND s = 'CH'", "a % 2 = 0", "coalesce(p, false)", "a <> 0 AND b % a > 0", "a IN (0, b % a)",
    ],
    "VARCHAR": ["s", "a", "coalesce(s, t, 'none')", "CASE WHEN a > 0 THEN s ELSE 'no' END", "nullif(s, 'x')",
    "CAST(a AS VARCHAR)"],
}  # fmt: skip
# Correct through DuckDB, and so rightly not compiled.
LEFT_TO_DUCKDB = (
    "lower(s)", "s || t", "ln(x)", "round(x, 2)", "a * 0.5", "date_trunc('day', ts) = ts", "ts + INTERVAL 1 MONTH > tz",
    "s LIKE 'x%'",
    "x // y", "x % y", "CAST(s AS BIGINT)", "a ** 2", "timezone('Europe/Zurich', timezone('UTC', ts)) > tz", "sum(a)", "d < ts",
    "extract(hour FROM timezone(s, ts))", "CASE a WHEN 1 THEN 2 END", "a & b", "random()", "now() > ts",
    "extract(epoch FROM d)",
    "a::DECIMAL(20, 2) + 1", "nosuch + 1",
)  # fmt: skip
NUMBERS = [(type_, sql) for type_, many in EXPRESSIONS.items() for sql in many]

us = 1_000_000
moments = st.one_of(
    st.integers(-62_135_596_800 * us, 253_402_300_799 * us),  # the years 1 to 9999
    st.integers(1_300_000_000 * us, 1_450_000_000 * us),
    # About the changes of clocks of 2013 in New York, to the microsecond.
    st.builds(lambda at, by: at + by, st.sampled_from([1_362_898_800 * us, 1_383_458_400 * us]), st.integers(-2, 2)),
    st.builds(
        lambda at, by: at + by, st.sampled_from([1_362_898_800 * us, 1_383_458_400 * us]), st.integers(-7200 * us, 7200 * us)
    ),
    st.sampled_from([0, -1, 1, 2**53, 4_102_444_800 * us, 951_782_400 * us]),
)
integers = st.one_of(
    st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 2**31, -(2**31), 2**31 - 1, 2**15, 3_037_000_500]),
)  # fmt: skip
floats = st.one_of(
    st.floats(), st.integers(-20, 20).map(lambda n: n / 2),
    st.sampled_from([0.0, -0.0, 0.49999999999999994, 2.5, -2.5, 1e300, -1e300, 5e-324, 2.0**52 + 0.5, 2.0**63, -(2.0**63),
    math.inf, math.nan, 0.3]),
)  # fmt: skip
texts = st.one_of(
    st.sampled_from(["", "x", "yy", "X", "é", "￿", "\U00010000"]), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
)
VALUES = {
    "BIGINT": integers, "DOUBLE": floats, "VARCHAR": texts, "BOOLEAN": st.booleans(), "TIMESTAMP WITH TIME ZONE": moments,
    "DATE": st.integers(-719_162, 2_932_896),
}  # fmt: skip
rows = st.fixed_dictionaries({name: st.none() | VALUES[kind] for name, kind in COLUMNS.items()})
FAILED = object()


class Both:
    """DuckDB's answer and the compiled one, each expression compiled once."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("SET threads = 1")
        zones: dict[str, tuple[list[int], list[int]]] = {}
        self.runs = {(type_, sql): compiled(sql, type_, Types(self.connection, COLUMNS, zones)) for type_, sql in NUMBERS}

    def by_duckdb(self, row: dict[str, Any], asked: list[tuple[str, str]]) -> list[Any]:
        """As batch features do it: over a relation of columns, so that nothing is known beforehand."""
        # The row twice, with one of nulls between: an operation on columns is one on many values.
        held = {name: pa.array([row[name], None, row[name]], ARROW[kind]) for name, kind in COLUMNS.items()}
        self.connection.register("known", pa.table(held))
        return self._asked(asked)

    def _asked(self, asked: list[tuple[str, str]]) -> list[Any]:
        columns = ", ".join(f"CAST({sql} AS {type_})" for type_, sql in asked)
        try:
            return list(self.connection.execute(f"SELECT {columns} FROM known").fetchall()[0])
        except duckdb.Error:
            if len(asked) == 1:
                return [FAILED]
            half = len(asked) // 2
            return self._asked(asked[:half]) + self._asked(asked[half:])

    def by_closure(self, row: dict[str, Any], asked: tuple[str, str]) -> Any:
        try:
            return self.runs[asked](row)
        except ValueFailed:
            return FAILED


@pytest.fixture(scope="module")
def both() -> Both:
    return Both()


def bits(value: Any) -> Any:
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack("<d", value))
    return (type(value).__name__, value)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * us


ARROW = {
    "BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string(), "BOOLEAN": pa.bool_(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"), "DATE": pa.date32(),
}  # fmt: skip
USUAL = {
    "a": 5, "b": -3, "x": 2.5, "y": -0.1, "s": "x", "t": "yy", "p": True, "q": None, "ts": at("2013-03-10T06:59:59"),
    "tz": at("2013-03-12T07:30:00"), "d": 15_400, "e": 0,
}  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(row=rows)
@example(row=USUAL)
@example(row={**USUAL, "a": -(2**63), "b": -1})
@example(row={**USUAL, "a": 2**63 - 1, "b": 0, "x": -0.0, "y": 0.0})
@example(row={**USUAL, "a": 0, "q": True})
@example(row={**USUAL, "a": 0, "q": False})
@example(row={**USUAL, "a": 0, "p": None})
@example(row=dict.fromkeys(COLUMNS))
def test_every_compiled_expression_gives_what_duckdb_gives_or_fails_where_it_fails(row: dict[str, Any], both: Both) -> None:
    wanted = both.by_duckdb(row, NUMBERS)
    wrong = []
    for asked, theirs in zip(NUMBERS, wanted, strict=True):
        try:
            mine = both.by_closure(row, asked)
        except Unsure:
            continue  # DuckDB is asked then
        if (mine is FAILED) != (theirs is FAILED) or (mine is not FAILED and bits(mine) != bits(theirs)):
            wrong.append(f"CAST({asked[1]} AS {asked[0]}): {mine!r} instead of {theirs!r} for {row}")
    assert not wrong, "\n".join(wrong[:12])


@pytest.mark.parametrize("sql", LEFT_TO_DUCKDB)
def test_what_is_not_known_to_come_out_equal_is_left_to_duckdb(sql: str, both: Both) -> None:
    with pytest.raises((Unsupported, duckdb.Error)):
        compiled(sql, "BIGINT" if sql in ("sum(a)", "a ** 2") else "BOOLEAN", Types(both.connection, COLUMNS))


def test_a_usual_row_is_never_left_to_duckdb(both: Both) -> None:
    for asked in NUMBERS:
        both.by_closure(USUAL, asked)


@settings(max_examples=300, deadline=None)
@given(moment=moments.filter(lambda m: 0 <= m < 4_102_444_800 * us))
def test_a_local_hour_is_known_for_every_moment_of_the_years_1970_to_2099(moment: int, both: Both) -> None:
    row = {**USUAL, "ts": moment}
    asked = ("BIGINT", f"extract(hour FROM {NEW_YORK})")
    assert both.by_closure(row, asked) == both.by_duckdb(row, [asked])[0]
