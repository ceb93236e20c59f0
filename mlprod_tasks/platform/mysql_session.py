"""Sessions of MariaDB and MySQL: in UTC, strict or reading alone; and what their errors say without values of rows."""

from __future__ import annotations

from typing import Any

from mlprod_tasks.platform.storable_text import one_line

# Numbers of errors whose messages name connections, rights, tables, columns, syntax, locks, limits or resources, but no values.
WITHOUT_VALUES = {
    1021, 1040, 1044, 1045, 1046, 1049, 1054, 1064, 1114, 1129, 1130, 1142, 1143, 1146, 1158, 1159, 1160, 1161, 1205, 1206,
    1213, 1227, 1290, 1305, 1317, 1356, 1370, 1698, 1792, 1836, 1969, 3024,
}  # fmt: skip
OF_THE_DRIVER = 2000  # and above: no connection, or a lost one
# What others mean, whose messages quote a value.
MEANINGS = {
    1062: "a duplicate key",
    1264: "a number out of the column's range",
    1265: "a value that the column cannot hold",
    1292: "a value of another type",
    1366: "a value that the column cannot hold",
    1406: "a text too long for the column",
}


def for_reading(connection: Any, _: Any) -> None:
    """Let a connection of the driver read moments in UTC, and write nothing."""
    _execute(connection, "SET time_zone = '+00:00'", "SET SESSION TRANSACTION READ ONLY")


def for_writing(connection: Any, _: Any) -> None:
    """Let a connection of the driver write moments in UTC, and refuse a value that a column cannot hold."""
    _execute(connection, "SET time_zone = '+00:00'", "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")


def reason(error: BaseException) -> str:
    """Why the server refused, in one line and without values of its rows. error: of the driver."""
    kind = type(error).__name__
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if number in MEANINGS:
        return f"{kind} {number}: {MEANINGS[number]}"
    if number in WITHOUT_VALUES or number >= OF_THE_DRIVER:
        return f"{kind} {number}: {one_line(' '.join(map(str, error.args[1:])))}"
    return f"{kind} with number {number}" if number else kind


def _execute(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
