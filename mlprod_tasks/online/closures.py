"""Combine functions of a row into new ones, with SQL's rules for null."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlprod_tasks.online import duckdb_semantics as v

Row = Mapping[str, Any]
Run = Callable[[Row], Any]


def unary(of: Run, operation: v.One) -> Run:
    """Apply an operation to one value; null if the value is null."""

    def run(row: Row) -> Any:
        x = of(row)
        return None if x is None else operation(x)

    return run


def binary(left: Run, right: Run, operation: v.Two) -> Run:
    """Apply an operation to two values; null if either is null."""

    def run(row: Row) -> Any:
        x, y = left(row), right(row)
        return None if x is None or y is None else operation(x, y)

    return run


def all_of(sides: Sequence[Run]) -> Run:
    """Combine conditions with AND: false if any is false, else null if any is null."""

    def run(row: Row) -> bool | None:
        values = [side(row) for side in sides]
        return False if False in values else None if None in values else True

    return run


def any_of(sides: Sequence[Run]) -> Run:
    """Combine conditions with OR: true if any is true, else null if any is null."""

    def run(row: Row) -> bool | None:
        values = [side(row) for side in sides]
        return True if True in values else None if None in values else False

    return run


def all_hold(sides: Sequence[Run]) -> Run:
    """Combine conditions with AND where only true counts: sides after the first that does not hold are not computed."""

    def run(row: Row) -> bool:
        return all(side(row) for side in sides)

    return run


def any_holds(sides: Sequence[Run]) -> Run:
    """Combine conditions with OR where only true counts: sides after the first that holds are not computed."""

    def run(row: Row) -> bool:
        return any(side(row) for side in sides)

    return run
