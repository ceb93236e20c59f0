"""What hostile sources hold, cell by cell, and what each cell means: docs/reference/sources.md, read by a person.

A form is one type of a source's column and the cells that it may hold. A cell's meaning is its value, or ROW if it refuses its
row, or BATCH if it refuses the batch of its tick, because the source has another type than declared.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa


class Refusal:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ROW, BATCH = Refusal("ROW"), Refusal("BATCH")
SOURCES = ("csv", "jsonl", "parquet", "sqlite", "postgresql", "mariadb")
DATABASES = ("sqlite", "postgresql", "mariadb")
KINDS = ("int", "float", "text", "bool", "timestamp", "date")
HUGE = "ä" * 70_000
LARGEST, TINIEST = 1.7976931348623157e308, 5e-324
LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@dataclass(frozen=True)
class Cell:
    """written: bytes of a CSV field or of a value in JSON, a value of SQLite or Parquet, an expression of another database."""

    written: Any
    meaning: Any


@dataclass(frozen=True)
class RawText:
    """A text of SQLite that is not UTF-8."""

    content: bytes


@dataclass(frozen=True)
class Form:
    kind: str
    type: Any
    cells: tuple[Cell, ...]


def _form(kind: str, of: Any, *pairs: tuple[Any, Any]) -> Form:
    return Form(kind, of, tuple(Cell(written, meaning) for written, meaning in pairs))


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


CSV = (
    _form(
        "int",
        None,
        (b"7", 7),
        (b"-7", -7),
        (b"+7", 7),
        (b'"7"', 7),
        (b"007", 7),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"9007199254740993", 2**53 + 1),
        (b"", None),
        (b"9223372036854775808", BATCH),
        (b"9" * 5000, BATCH),
        (b"7.5", BATCH),
        (b"7.0", BATCH),
        (b"1_000", BATCH),
        (b"1e3", BATCH),
        (b"0x1f", BATCH),
        (b"seven", BATCH),
        (b'""', BATCH),
        (b'"1,000"', BATCH),
        (b"7\xff", BATCH),
        (b"7\0", BATCH),
        (b"true", BATCH),
    ),
    _form(
        "float",
        None,
        (b"7.5", 7.5),
        (b"-0.0", -0.0),
        (b"1e3", 1000.0),
        (b"7", 7.0),
        (b".5", 0.5),
        (b"1.7976931348623157e308", LARGEST),
        (b"5e-324", TINIEST),
        (b"0.1", 0.1),
        (b"0.30000000000000004", 0.30000000000000004),
        (b"", None),
        (b"0." + b"3" * 4000, 1 / 3),
        (b"nan", ROW),
        (b"inf", ROW),
        (b"-Infinity", ROW),
        (b"1e309", ROW),
        (b'"7,5"', BATCH),
        (b"1_0.5", BATCH),
        (b"much", BATCH),
        (b'""', BATCH),
        (b"7.5\xe9", BATCH),
        (b"7.5\0", BATCH),
    ),
    _form(
        "text",
        None,
        (b"a", "a"),
        (b'""', ""),
        (b"", None),
        (b'"a,b"', "a,b"),
        (b'"say ""no"""', 'say "no"'),
        (b'"a\nb"', "a\nb"),
        (b'"a\r\nb"', "a\r\nb"),
        (" ä\u2028€😀 ".encode(), " ä\u2028€😀 "),
        (b"NULL", "NULL"),
        (b"NaN", "NaN"),
        (b"007", "007"),
        (b"7.0", "7.0"),
        (b"=1+1", "=1+1"),
        (b"'; DROP TABLE orders; --", "'; DROP TABLE orders; --"),
        (HUGE.encode(), HUGE),
        (b"\xef\xbb\xbfa", "\ufeffa"),
        (b"Z\xfcrich", ROW),
        ("ab".encode("utf-16-le"), ROW),
        (b"a\0b", ROW),
        (b"\xed\xa0\x80", ROW),
        (b"\xc0\x80", ROW),
    ),
    _form(
        "bool",
        None,
        (b"true", True),
        (b"f", False),
        (b"1", True),
        (b"0", False),
        (b"TRUE", True),
        (b"", None),
        (b"yes", BATCH),
        (b"2", BATCH),
        (b'""', BATCH),
        (b"tru", BATCH),
        (b"t\xff", BATCH),
        (b"true\0", BATCH),
    ),
    _form(
        "timestamp",
        None,
        (b"2024-03-14 10:00:00", moment(2024, 3, 14, 10)),
        (b"2024-03-14T10:00:00.000001Z", moment(2024, 3, 14, 10, 0, 0, 1)),
        (b"2024-03-14 10:00:00+02:00", moment(2024, 3, 14, 8)),
        (b"0001-01-01 00:00:00", moment(1, 1, 1)),
        (b"9999-12-31 23:59:59.999999", LAST_MOMENT),
        (b"1677-09-21 00:12:43", moment(1677, 9, 21, 0, 12, 43)),
        (b"2300-01-01", moment(2300, 1, 1)),
        (b"", None),
        (b"2024-02-30 10:00:00", BATCH),
        (b"14.03.2024", BATCH),
        (b"1710410400", BATCH),
        (b"10000-01-01", BATCH),
        (b"infinity", BATCH),
        (b'""', BATCH),
        (b"2024-03-14 10:0", BATCH),
        (b"2024-03-14 10:00:00\xff", BATCH),
    ),
    _form(
        "date",
        None,
        (b"2024-02-29", date(2024, 2, 29)),
        (b"0001-01-01", date.min),
        (b"9999-12-31", date.max),
        (b"", None),
        (b"2023-02-29", BATCH),
        (b"14.03.2024", BATCH),
        (b"2024-03-14 10:00:00", BATCH),
        (b"10000-01-01", BATCH),
        (b'""', BATCH),
        (b"0000-00-00", BATCH),
        (b"2024-03-1\xb9", BATCH),
    ),
)

JSONL = (
    _form(
        "int",
        None,
        (b"7", 7),
        (b"-7", -7),
        (b"7.0", 7),
        (b"7e3", 7000),
        (b'"7"', 7),
        (b"9223372036854775807", 2**63 - 1),
        (b"9007199254740993", 2**53 + 1),
        (b"null", None),
        (b"9223372036854775808", BATCH),
        (b"9" * 4000, BATCH),
        (b"7.5", BATCH),
        (b'"seven"', BATCH),
        (b'""', BATCH),
        (b"true", BATCH),
        (b"[7]", BATCH),
        (b'{"a": 7}', BATCH),
    ),
    _form(
        "float",
        None,
        (b"7.5", 7.5),
        (b"7", 7.0),
        (b"-0.0", -0.0),
        (b"1e3", 1000.0),
        (b"0.30000000000000004", 0.30000000000000004),
        (b"1.7976931348623157e308", LARGEST),
        (b"5e-324", TINIEST),
        (b'"7.5"', 7.5),
        (b"0." + b"3" * 4000, 1 / 3),
        (b"null", None),
        (b"1e309", ROW),
        (b'"inf"', ROW),
        (b'"much"', BATCH),
        (b"false", BATCH),
        (b"[]", BATCH),
    ),
    _form(
        "text",
        None,
        (b'"a"', "a"),
        (b'""', ""),
        (b"null", None),
        (b'"say \\"no\\""', 'say "no"'),
        (b'"a\\nb"', "a\nb"),
        (b'"\\u00e4\\ud83d\\ude00"', "ä😀"),
        ('" ä\u2028€"'.encode(), " ä\u2028€"),
        (b"7", "7"),
        (b"7.0", "7"),
        (b"7.50", "7.5"),
        (b'"7.50"', "7.50"),
        (b"12345678901234567890.25", "12345678901234567890.25"),
        (b'"' + HUGE.encode() + b'"', HUGE),
        (b'"\\ud800"', ROW),
        (b'"a\\u0000b"', ROW),
        (b'["a"]', ROW),
        (b'[1, "a", null]', ROW),
        (b'{"a": {"b": 1e5}}', ROW),
    ),
    _form(
        "bool",
        None,
        (b"true", True),
        (b"false", False),
        (b"1", True),
        (b"0.0", False),
        (b'"TRUE"', True),
        (b"null", None),
        (b"2", BATCH),
        (b'"yes"', BATCH),
        (b"[true]", BATCH),
    ),
    _form(
        "timestamp",
        None,
        (b'"2024-03-14 10:00:00"', moment(2024, 3, 14, 10)),
        (b'"2024-03-14T10:00:00+02:00"', moment(2024, 3, 14, 8)),
        (b'"2024-03-14"', moment(2024, 3, 14)),
        (b"null", None),
        (b"1710410400", BATCH),
        (b"20240314.0", BATCH),
        (b'"14.03.2024"', BATCH),
        (b"{}", BATCH),
    ),
    _form(
        "date",
        None,
        (b'"2024-02-29"', date(2024, 2, 29)),
        (b"null", None),
        (b"20240314", BATCH),
        (b'"2023-02-29"', BATCH),
        (b'"2024-03-14 10:00:00"', BATCH),
        (b'["2024-02-29"]', BATCH),
    ),
)

SQLITE = (
    _form(
        "int",
        None,
        (7, 7),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
        (7.0, 7),
        (2.0**53, 2**53),
        ("7", 7),
        (b"7", 7),
        (None, None),
        (2.0**53 + 2, BATCH),
        (7.5, BATCH),
        (float("inf"), BATCH),
        ("seven", BATCH),
        ("", BATCH),
        ("7.5", BATCH),
        ("9" * 5000, BATCH),
        (b"\xff", BATCH),
        (RawText(b"7\xfc"), BATCH),
    ),
    _form(
        "float",
        None,
        (7.5, 7.5),
        (7, 7.0),
        (2**53 + 1, float(2**53)),
        ("0.1", 0.1),
        (LARGEST, LARGEST),
        (TINIEST, TINIEST),
        (-0.0, 0.0),
        (None, None),
        (float("inf"), ROW),
        ("nan", ROW),
        ("much", BATCH),
        ("", BATCH),
        ("1_0", BATCH),
        (b"\xff", BATCH),
        (RawText(b"7\xfc"), BATCH),
    ),
    _form(
        "text",
        None,
        ("a", "a"),
        ("", ""),
        (7, "7"),
        (7.0, "7"),
        (7.5, "7.5"),
        (2**63 - 1, str(2**63 - 1)),
        (b"ab", "ab"),
        (HUGE, HUGE),
        ("ä€😀\n\"',", "ä€😀\n\"',"),
        (None, None),
        ("nan", "nan"),
        (b"Z\xfc", ROW),
        (RawText(b"Z\xfcrich"), ROW),
        ("a\0b", ROW),
        (b"a\0b", ROW),
    ),
    _form(
        "bool",
        None,
        (1, True),
        (0, False),
        (1.0, True),
        ("t", True),
        ("FALSE", False),
        (None, None),
        (2, BATCH),
        (0.5, BATCH),
        ("yes", BATCH),
        ("", BATCH),
        (b"\xff", BATCH),
        (RawText(b"t\xfc"), BATCH),
    ),
    _form(
        "timestamp",
        None,
        ("2024-03-14 10:00:00", moment(2024, 3, 14, 10)),
        ("2024-03-14T10:00:00.5+02:00", moment(2024, 3, 14, 8, 0, 0, 500000)),
        ("0001-01-01", moment(1, 1, 1)),
        ("9999-12-31 23:59:59.999999", LAST_MOMENT),
        (b"2024-03-14", moment(2024, 3, 14)),
        (None, None),
        (1710410400, BATCH),
        (1.5, BATCH),
        ("14.03.2024", BATCH),
        ("", BATCH),
        ("2024-02-30", BATCH),
        (b"\xff", BATCH),
        (RawText(b"2024-03-14\xfc"), BATCH),
    ),
    _form(
        "date",
        None,
        ("2024-02-29", date(2024, 2, 29)),
        ("0001-01-01", date.min),
        ("9999-12-31", date.max),
        (None, None),
        ("2023-02-29", BATCH),
        (20240314, BATCH),
        ("14.03.2024", BATCH),
        ("", BATCH),
        (b"\xff", BATCH),
        (RawText(b"2024\xfc"), BATCH),
    ),
)

PARQUET = (
    _form("int", pa.int64(), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (None, None)),
    _form("int", pa.int8(), (-128, -128), (None, None)),
    _form("int", pa.uint64(), (2**63 - 1, 2**63 - 1), (2**63, BATCH), (2**64 - 1, BATCH)),
    _form(
        "int",
        pa.float64(),
        (7.0, 7),
        (2.0**53, 2**53),
        (float("nan"), None),
        (7.5, BATCH),
        (2.0**60, BATCH),
        (float("inf"), BATCH),
    ),
    _form("int", pa.decimal128(38, 2), (Decimal("7.00"), 7), (Decimal("7.01"), BATCH), (Decimal(10**30), BATCH), (None, None)),
    _form("int", pa.string(), ("7", 7), ("-9223372036854775808", -(2**63)), ("seven", BATCH), ("", BATCH), ("9" * 5000, BATCH)),
    _form("int", pa.binary(), (b"7", 7), (b"\xff", BATCH), (None, None)),
    _form("int", pa.bool_(), (None, None), (True, BATCH)),
    _form("int", pa.list_(pa.int64()), (None, None), ([7], BATCH)),
    _form("int", pa.null(), (None, None)),
    _form(
        "float",
        pa.float64(),
        (0.1, 0.1),
        (-0.0, -0.0),
        (LARGEST, LARGEST),
        (TINIEST, TINIEST),
        (float("nan"), ROW),
        (float("-inf"), ROW),
    ),
    _form("float", pa.float32(), (0.5, 0.5), (float("inf"), ROW), (None, None)),
    _form("float", pa.uint64(), (2**53, float(2**53)), (2**64 - 1, float(2**64)), (None, None)),
    _form("float", pa.decimal128(38, 2), (Decimal("0.10"), 0.1), (Decimal(10**30), 1e30)),
    _form("float", pa.string(), ("1e309", ROW), ("0.1", 0.1), ("nan", ROW), ("7,5", BATCH), (None, None)),
    _form("float", pa.bool_(), (False, BATCH), (None, None)),
    _form("float", pa.struct([("a", pa.int8())]), ({"a": 1}, BATCH), (None, None)),
    _form("text", pa.string(), ("a", "a"), ("", ""), (HUGE, HUGE), ("ä\n€😀", "ä\n€😀"), ("a\0b", ROW), (None, None)),
    _form("text", pa.large_string(), ("a", "a"), (None, None)),
    _form("text", pa.dictionary(pa.int8(), pa.string()), ("a", "a"), (None, None)),
    _form("text", pa.binary(), (b"ab", "ab"), (b"Z\xfcrich", ROW), (b"a\0b", ROW), (None, None)),
    _form("text", pa.int64(), (2**53 + 1, str(2**53 + 1)), (None, None)),
    _form("text", pa.float64(), (7.0, "7"), (7.5, "7.5"), (None, None)),
    _form("text", pa.list_(pa.string()), (["a"], ROW), (None, None)),
    _form("text", pa.duration("us"), (timedelta(seconds=1), ROW), (None, None)),
    _form("bool", pa.bool_(), (True, True), (False, False), (None, None)),
    _form("bool", pa.int64(), (1, True), (0, False), (2, BATCH), (None, None)),
    _form("bool", pa.float64(), (1.0, True), (float("nan"), None), (0.5, BATCH), (float("inf"), BATCH)),
    _form("bool", pa.string(), ("t", True), ("yes", BATCH), ("", BATCH), (None, None)),
    _form(
        "timestamp",
        pa.timestamp("us", "UTC"),
        (moment(2024, 3, 14), moment(2024, 3, 14)),
        (LAST_MOMENT, LAST_MOMENT),
        (None, None),
    ),
    _form(
        "timestamp", pa.timestamp("ns"), (1, moment(1970, 1, 1)), (1_710_410_400_000_001_999, moment(2024, 3, 14, 10, 0, 0, 1))
    ),
    _form("timestamp", pa.timestamp("s"), (0, moment(1970, 1, 1)), (-(10**12), BATCH), (10**12, BATCH), (None, None)),
    _form("timestamp", pa.date32(), (date(2024, 3, 14), moment(2024, 3, 14)), (None, None)),
    _form("timestamp", pa.string(), ("2024-03-14T10:00+02:00", moment(2024, 3, 14, 8)), ("14.03.2024", BATCH), ("", BATCH)),
    _form("timestamp", pa.int64(), (1710410400, BATCH), (None, None)),
    _form("date", pa.date32(), (date.min, date.min), (date.max, date.max), (10_000_000, BATCH), (None, None)),
    _form("date", pa.timestamp("us"), (datetime(2024, 3, 14), date(2024, 3, 14)), (datetime(2024, 3, 14, 1), BATCH)),  # noqa: DTZ001
    _form("date", pa.string(), ("2024-02-29", date(2024, 2, 29)), ("2023-02-29", BATCH), ("", BATCH), (None, None)),
    _form("date", pa.int32(), (20240314, BATCH), (None, None)),
)

POSTGRESQL = (
    _form("int", "bigint", ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("NULL", None)),
    _form("int", "double precision", ("7", 7), ("7.5", BATCH), ("'infinity'", BATCH), ("'nan'", None), ("1e300", BATCH)),
    _form("int", "numeric", ("7.00", 7), ("7.01", BATCH), ("1e30", BATCH), ("'infinity'", BATCH), ("NULL", None)),
    _form("int", "text", ("'7'", 7), ("'seven'", BATCH), ("''", BATCH), ("repeat('9', 5000)", BATCH), ("NULL", None)),
    _form("int", "boolean", ("true", BATCH), ("NULL", None)),
    _form("float", "double precision", ("0.1", 0.1), ("1.7976931348623157e308", LARGEST), ("'nan'", ROW), ("'-infinity'", ROW)),
    _form("float", "real", ("0.5", 0.5), ("'infinity'", ROW), ("NULL", None)),
    _form("float", "numeric", ("0.10", 0.1), ("1e400", ROW), ("'infinity'", ROW), ("'nan'", ROW), ("NULL", None)),
    _form("float", "money", ("12.34", 12.34), ("NULL", None)),
    _form("float", "text", ("'0.1'", 0.1), ("'much'", BATCH), ("''", BATCH), ("NULL", None)),
    _form("text", "text", ("'a'", "a"), ("''", ""), ("repeat('ä', 70000)", HUGE), ("E'a\\n\"😀'", 'a\n"😀'), ("NULL", None)),
    _form("text", "char(5)", ("'AB'", "AB"), ("''", ""), ("NULL", None)),
    _form("text", "bytea", ("'\\x6162'", "ab"), ("'\\xff'", ROW), ("'\\x610062'", ROW), ("NULL", None)),
    _form("text", "numeric", ("7.00", "7"), ("0.10", "0.1"), ("NULL", None)),
    _form("text", "bigint", ("9007199254740993", str(2**53 + 1)), ("NULL", None)),
    _form("text", "inet", ("'10.0.0.1'", "10.0.0.1"), ("NULL", None)),
    _form("text", "jsonb", ("'{\"a\":1}'", '{"a": 1}'), ("NULL", None)),
    _form("text", "timestamptz", ("'infinity'", "infinity"), ("NULL", None)),
    _form("bool", "boolean", ("true", True), ("false", False), ("NULL", None)),
    _form("bool", "int", ("1", True), ("0", False), ("2", BATCH), ("NULL", None)),
    _form("bool", "text", ("'t'", True), ("'yes'", BATCH), ("''", BATCH), ("NULL", None)),
    _form(
        "timestamp",
        "timestamptz",
        ("'2024-03-14 10:00+02'", moment(2024, 3, 14, 8)),
        ("'infinity'", BATCH),
        ("'10000-01-01'", BATCH),
    ),
    _form(
        "timestamp",
        "timestamp",
        ("'0001-01-01'", moment(1, 1, 1)),
        ("'9999-12-31 23:59:59.999999'", LAST_MOMENT),
        ("'4713-01-01 BC'", BATCH),
    ),
    _form("timestamp", "date", ("'2024-03-14'", moment(2024, 3, 14)), ("'-infinity'", BATCH), ("NULL", None)),
    _form("timestamp", "text", ("'2024-03-14 10:00'", moment(2024, 3, 14, 10)), ("'14.03.2024'", BATCH), ("''", BATCH)),
    _form("timestamp", "bigint", ("1710410400", BATCH), ("NULL", None)),
    _form("date", "date", ("'2024-02-29'", date(2024, 2, 29)), ("'infinity'", BATCH), ("'10000-01-01'", BATCH), ("NULL", None)),
    _form("date", "timestamp", ("'2024-03-14'", date(2024, 3, 14)), ("'2024-03-14 01:00'", BATCH), ("NULL", None)),
    _form("date", "text", ("'2024-02-29'", date(2024, 2, 29)), ("'2023-02-29'", BATCH), ("''", BATCH), ("NULL", None)),
)

MARIADB = (
    _form("int", "bigint", ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("NULL", None)),
    _form("int", "bigint unsigned", ("9223372036854775807", 2**63 - 1), ("18446744073709551615", BATCH), ("NULL", None)),
    _form("int", "double", ("7", 7), ("7.5", BATCH), ("1e300", BATCH), ("NULL", None)),
    _form("int", "decimal(65,2)", ("7.00", 7), ("7.01", BATCH), ("1e30", BATCH), ("NULL", None)),
    _form("int", "text", ("'7'", 7), ("'seven'", BATCH), ("''", BATCH), ("repeat('9', 5000)", BATCH), ("NULL", None)),
    _form("float", "double", ("0.1", 0.1), ("1.7976931348623157e308", LARGEST), ("NULL", None)),
    _form("float", "float", ("0.5", 0.5), ("16777215", 16777215.0), ("NULL", None)),
    _form("float", "decimal(65,30)", ("0.10", 0.1), ("NULL", None)),
    _form("float", "text", ("'0.1'", 0.1), ("'much'", BATCH), ("''", BATCH), ("'1e309'", ROW), ("NULL", None)),
    _form(
        "text", "longtext", ("'a'", "a"), ("''", ""), ("repeat('ä', 70000)", HUGE), ("'a\\n\"😀'", 'a\n"😀'), ("'a\\0b'", ROW)
    ),
    _form("text", "blob", ("x'6162'", "ab"), ("x'ff'", ROW), ("x'610062'", ROW), ("NULL", None)),
    _form("text", "decimal(10,2)", ("7.00", "7"), ("0.10", "0.1"), ("NULL", None)),
    _form("text", "bigint unsigned", ("18446744073709551615", str(2**64 - 1)), ("NULL", None)),
    _form("text", "enum('a','b')", ("'b'", "b"), ("'c'", ""), ("NULL", None)),
    _form("bool", "tinyint(1)", ("1", True), ("0", False), ("2", BATCH), ("NULL", None)),
    _form("bool", "bit(1)", ("b'1'", True), ("b'0'", False), ("NULL", None)),
    _form("bool", "text", ("'t'", True), ("'yes'", BATCH), ("''", BATCH), ("NULL", None)),
    _form(
        "timestamp", "timestamp null", ("'2024-03-14 10:00'", moment(2024, 3, 14, 10)), ("'0000-00-00'", BATCH), ("NULL", None)
    ),
    _form(
        "timestamp",
        "datetime(6)",
        ("'0001-01-01'", moment(1, 1, 1)),
        ("'9999-12-31 23:59:59.999999'", LAST_MOMENT),
        ("'2024-03-00'", BATCH),
        ("NULL", None),
    ),
    _form("timestamp", "date", ("'2024-03-14'", moment(2024, 3, 14)), ("'0000-00-00'", BATCH), ("NULL", None)),
    _form("timestamp", "text", ("'2024-03-14 10:00'", moment(2024, 3, 14, 10)), ("'14.03.2024'", BATCH), ("''", BATCH)),
    _form("timestamp", "bigint", ("1710410400", BATCH), ("NULL", None)),
    _form(
        "date", "date", ("'2024-02-29'", date(2024, 2, 29)), ("'0000-00-00'", BATCH), ("'2024-02-00'", BATCH), ("NULL", None)
    ),
    _form("date", "datetime", ("'2024-03-14'", date(2024, 3, 14)), ("'2024-03-14 01:00'", BATCH), ("NULL", None)),
    _form("date", "text", ("'2024-02-29'", date(2024, 2, 29)), ("'2023-02-29'", BATCH), ("''", BATCH), ("NULL", None)),
)

FORMS = {"csv": CSV, "jsonl": JSONL, "parquet": PARQUET, "sqlite": SQLITE, "postgresql": POSTGRESQL, "mariadb": MARIADB}
