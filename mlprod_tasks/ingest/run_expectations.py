"""Evaluate the expectations on staged rows with Great Expectations, all ticks at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Table, TickRange
from mlprod_tasks.ingest.convert import lake_type
from mlprod_tasks.ingest.convert_rows import in_declared_types
from mlprod_tasks.ingest.expectations import (
    NUL,
    PANDAS_TYPE,
    PARTITION_END,
    PARTITION_START,
    STORABLE,
    load_great_expectations,
)
from mlprod_tasks.ingest.partitions import boundaries
from mlprod_tasks.ingest.unread import UNREAD, unread_rows

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

TYPES = "expect_column_values_to_be_in_type_list"
OF_SIZE = (  # the expectations on a batch whose result follows from its number of rows and its columns
    "expect_table_row_count_to_be_between",
    "expect_table_row_count_to_equal",
    "expect_table_columns_to_match_set",
    "expect_table_columns_to_match_ordered_list",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
)


@dataclass(frozen=True)
class ExpectationResult:
    """The rows or batches that break one expectation.

    rows: for an expectation on rows, the positions of those that break it. batches: for an expectation on a whole batch, the
    indices of the ticks that break it, with what was observed in each.
    """

    kind: str
    kwargs: dict[str, Any]
    rows: np.ndarray | None = None
    batches: dict[int, str] | None = None

    @property
    def column(self) -> str | None:
        name = self.kwargs.get("column")
        return str(name) if name is not None else None

    @property
    def mostly(self) -> float:
        """The share of rows that must pass; if it is below 1, failing rows are not refused one by one."""
        return float(self.kwargs.get("mostly") or 1)


@dataclass(frozen=True)
class Validated:
    """The result of every expectation, and Great Expectations' own result over all rows for the data docs."""

    results: tuple[ExpectationResult, ...]
    result: Any


def validate(table: Table, staged: pa.Table, starts: np.ndarray, ticks: TickRange, expected: ExpectationSuite) -> Validated:
    """Evaluate the expectations on the staged rows; the rows of tick i are starts[i] to starts[i + 1].

    Expectations on rows are evaluated once over all ticks. Those on a batch (row count, a mean) are evaluated for each tick, so
    that a backfill gives the same results as daily runs; those of them that look only at the number of rows and the columns,
    for one tick of a number of rows, and for none whose number lies between two that pass.
    """
    rows = frame(table, staged, starts, ticks)
    text = {column.name for column in table.lake_columns if staged.schema.field(column.name).type != lake_type(column)}
    by_row: list[Any] = []
    by_batch: list[Any] = []
    of_text: list[Any] = []
    for expectation in expected.expectations:
        if text & _columns(expectation) and expectation.configuration.type not in (
            TYPES,
            "expect_column_values_to_not_be_null",
        ):
            of_text.append(expectation)  # the type has failed, so the column is text, to which bounds of numbers do not apply
            continue
        if _finds_nothing(expectation, staged):
            continue  # it would take Great Expectations as long as all other expectations of the column
        (by_row if _is_on_rows(expectation) else by_batch).append(expectation)
    result = _validate(rows, expected.name, by_row)
    results = [_row_result(entry, table, staged, starts) for entry in result.results]
    results += _values_that_are_no_text(table, staged)
    if of_text:
        results += _of_ticks_that_fit(table, staged, starts, ticks, expected.name, of_text, text)
    if by_batch:
        found, last = _batch_results(rows, starts, expected.name, by_batch)
        results += found
        result.results.extend(last)
    return Validated(tuple(results), result)


def _of_ticks_that_fit(
    table: Table,
    staged: pa.Table,
    starts: np.ndarray,
    ticks: TickRange,
    name: str,
    expectations: Sequence[Any],
    text: set[str],
) -> Iterator[ExpectationResult]:
    """Evaluate what columns that are text leave out on the ticks whose values fit: it is another tick that made them text."""
    unread = np.any([unread_rows(staged, column) for column in text], axis=0)
    for i, day in enumerate(ticks.names):
        first, count = int(starts[i]), int(starts[i + 1] - starts[i])
        if not count or unread[first : first + count].any():
            continue
        part, whole = in_declared_types(staged.slice(first, count), table), np.array([0, count])
        rows = frame(table, part, whole, TickRange(ticks.schedule, day, day))
        for entry in _validate(rows, name, expectations).results:
            found = _row_result(entry, table, part, whole)
            positions = None if found.rows is None else found.rows + first
            batches = None if found.batches is None else dict.fromkeys([i] if found.batches else [], found.batches.get(0, ""))
            yield replace(found, rows=positions, batches=batches)


def frame(table: Table, staged: pa.Table, starts: np.ndarray, ticks: TickRange) -> pd.DataFrame:
    """The staged rows as pandas, with one column type per kind; timestamps are in UTC, without a time zone.

    NaN becomes infinite: pandas would take it for missing, but it is a wrong number.
    """
    columns: dict[str, Any] = {}
    for field in staged.drop_columns([UNREAD] if UNREAD in staged.column_names else []).schema:
        values = staged[field.name]
        if pa.types.is_integer(field.type):
            mask = values.is_null().to_numpy()
            columns[field.name] = pd.arrays.IntegerArray(pc.fill_null(values, 0).to_numpy(), mask)
        elif pa.types.is_floating(field.type):
            columns[field.name] = pc.if_else(pc.is_nan(values), float("inf"), values).to_numpy()
        elif pa.types.is_boolean(field.type):
            columns[field.name] = pd.array(values.to_pylist(), dtype="boolean")
        elif pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            columns[field.name] = values.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
        else:
            columns[field.name] = pd.array(values.to_numpy(zero_copy_only=False), dtype="string")
    if table.time is not None:
        edges = np.array([edge.replace(tzinfo=None) for edge in boundaries(table, ticks)], dtype="datetime64[us]")
        counts = np.diff(starts)
        columns[PARTITION_START] = np.repeat(edges[:-1], counts)
        columns[PARTITION_END] = np.repeat(edges[1:], counts)
    return pd.DataFrame(columns)


@cache
def _batches() -> Any:
    """Batches of an in-memory context, one per process, without files, progress bars and telemetry."""
    context = load_great_expectations().get_context(mode="ephemeral")
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return context.data_sources.add_pandas("staging").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")


def _validate(rows: pd.DataFrame, name: str, expectations: Sequence[Any]) -> Any:
    suite = load_great_expectations().ExpectationSuite(
        name, expectations=[e.model_copy() if hasattr(e, "model_copy") else e.copy() for e in expectations]
    )
    return _batches().get_batch({"dataframe": rows}).validate(suite, result_format={"result_format": "COMPLETE"})


def _is_on_rows(expectation: Any) -> bool:
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )

    return isinstance(expectation, ColumnMapExpectation | ColumnPairMapExpectation | MulticolumnMapExpectation)


def _finds_nothing(expectation: Any, staged: pa.Table) -> bool:
    """Whether an expectation is that a column has no U+0000, and it has none."""
    config = expectation.configuration
    if config.type != STORABLE or config.kwargs.get("regex") != NUL or config.kwargs["column"] not in staged.column_names:
        return False
    return not pc.any(pc.match_substring(staged[config.kwargs["column"]], "\0"), min_count=0).as_py()


def _columns(expectation: Any) -> set[str]:
    kwargs = expectation.configuration.kwargs
    columns = [kwargs.get(name) for name in ("column", "column_A", "column_B")]
    return {name for name in [*columns, *kwargs.get("column_list", ())] if name}


def _configuration(entry: Any) -> tuple[str, dict[str, Any]]:
    config = entry.expectation_config
    return config.type, {key: value for key, value in config.kwargs.items() if key != "batch_id"}


def _row_result(entry: Any, table: Table, staged: pa.Table, starts: np.ndarray) -> ExpectationResult:
    kind, kwargs = _configuration(entry)
    problem = _problem(entry)
    if problem is None and "unexpected_index_list" in entry.result:
        return ExpectationResult(kind, kwargs, rows=np.array(sorted(entry.result["unexpected_index_list"]), dtype=np.int64))
    if entry.success:
        return ExpectationResult(kind, kwargs, batches={})
    # pandas has one type per column; which values are wrong was found when they were converted.
    if kind == TYPES and (failed := unread_rows(staged, kwargs["column"])).any():
        counts = {i: int(failed[starts[i] : starts[i + 1]].sum()) for i in range(len(starts) - 1)}
        declared = table.column(kwargs["column"]).kind
        wrong = {i: f"{count} values that are not {declared}" for i, count in counts.items() if count}
        return ExpectationResult(kind, kwargs, rows=np.flatnonzero(failed), batches=wrong)
    observed = problem or str(entry.result.get("observed_value", "not met"))
    return ExpectationResult(kind, kwargs, batches=dict.fromkeys(range(len(starts) - 1), observed))


def _values_that_are_no_text(table: Table, staged: pa.Table) -> Iterator[ExpectationResult]:
    """Values of text columns that are no text are staged as text, so Great Expectations cannot find them."""
    for column in table.lake_columns:
        if lake_type(column) == pa.string() and (failed := unread_rows(staged, column.name)).any():
            kwargs = {"column": column.name, "type_list": [PANDAS_TYPE["text"]]}
            yield ExpectationResult(TYPES, kwargs, rows=np.flatnonzero(failed))


def _batch_results(
    rows: pd.DataFrame, starts: np.ndarray, name: str, expectations: Sequence[Any]
) -> tuple[list[ExpectationResult], list[Any]]:
    """One result per expectation on a batch, over all ticks; and Great Expectations' own results of the last tick."""
    sizes = np.diff(starts)
    found: dict[str, ExpectationResult] = {}
    last: list[Any] = []

    def validated(some: Sequence[Any], ticks: Sequence[int]) -> bool:
        """Evaluate on the first of the ticks what is the same for all of them, and tell whether it passed."""
        part = rows if len(sizes) == 1 else rows.iloc[starts[ticks[0]] : starts[ticks[0] + 1]]
        result = _validate(part, name, some)
        # Great Expectations may return them in another order at each tick.
        for entry in result.results:
            kind, kwargs = _configuration(entry)
            empty = ExpectationResult(kind, kwargs, batches={})
            one = found.setdefault(f"{kind} {sorted(kwargs.items(), key=str)}", empty)
            if not entry.success and one.batches is not None:
                observed = _problem(entry) or str(entry.result.get("observed_value", "not met"))
                one.batches.update(dict.fromkeys(ticks, observed))
        if len(sizes) - 1 in ticks:
            last.extend(result.results)
        return bool(result.success)

    if by_size := [one for one in expectations if _tells_by_size(one)]:
        _by_size(sizes, lambda ticks: validated(by_size, ticks))
    if others := [one for one in expectations if not _tells_by_size(one)]:
        for i in range(len(sizes)):
            validated(others, [i])
    return list(found.values()), last


def _by_size(sizes: np.ndarray, validated: Callable[[Sequence[int]], bool]) -> None:
    """Evaluate ticks by their number of rows, but for those between two that pass: bounds of a number hold between them, too.

    The last tick is evaluated always, since the data docs show it.
    """
    ticks_of = {int(size): np.flatnonzero(sizes == size).tolist() for size in np.unique(sizes)}
    ascending, passed = list(ticks_of), dict[int, bool]()

    def passes(size: int) -> bool:
        if size not in passed:
            passed[size] = validated(ticks_of[size])
        return passed[size]

    passes(int(sizes[-1]))
    between = [(0, len(ascending) - 1)]
    while between:
        low, high = between.pop()
        both = [passes(ascending[low]), passes(ascending[high])]
        if high - low > 1 and not all(both):
            middle = (low + high) // 2
            between += [(low, middle), (middle, high)]


def _tells_by_size(expectation: Any) -> bool:
    """Whether an expectation on a batch looks only at the number of rows and the columns: all rows have the same columns."""
    config = expectation.configuration
    return config.type in OF_SIZE and config.kwargs.get("row_condition") is None


def _problem(entry: Any) -> str | None:
    """Why an expectation could not be evaluated, which counts as failed; None if it could."""
    info = entry.exception_info or {}
    if info.get("raised_exception"):
        return f"could not be evaluated: {info.get('exception_message')}"
    for inner in info.values():
        if isinstance(inner, dict) and inner.get("raised_exception"):
            return f"could not be evaluated: {inner.get('exception_message')}"
    return None
