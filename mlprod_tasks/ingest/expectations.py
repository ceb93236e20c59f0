"""The Great Expectations suite of a table: generated from its declaration, plus handwritten expectations."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Column, Pipeline, Table
from mlprod_tasks.documents.formatting import format_exact, format_number
from mlprod_tasks.platform.files import write_text

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

# Great Expectations' names of the column types in the frame that `run_expectations.frame` makes.
PANDAS_TYPE = {
    "int": "Int64Dtype",
    "float": "float64",
    "text": "StringDtype",
    "bool": "BooleanDtype",
    "timestamp": "datetime64[us]",
    "date": "datetime64[us]",
}
# Additional columns of that frame: the bounds of the partition that a row belongs to by its tick.
PARTITION_START, PARTITION_END = "partition_start", "partition_end"
LARGEST = sys.float_info.max
STORABLE = "expect_column_values_to_not_match_regex"
NUL = r"\x00"
SPARK = ("pyspark", "pyspark.sql.connect")  # mlflow may have loaded the first


def suite_name(pipeline: Pipeline, table: str) -> str:
    return f"{pipeline.name}_{table}"


def suite(pipeline: Pipeline, table: str, folder: Path) -> ExpectationSuite:
    """The table's expectations: the generated ones, and those of folder/handwritten/<pipeline>_<table>.json.

    The suite is also written to folder/expectations, for people and for the data docs.
    """
    great_expectations = load_great_expectations()
    name = suite_name(pipeline, table)
    entries = [*generated(pipeline.table(table)), *_handwritten(folder / "handwritten" / f"{name}.json")]
    _write_if_changed(
        {"name": name, "expectations": entries, "meta": {"generated_from": pipeline.name}}, folder / "expectations"
    )
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    expected: ExpectationSuite = great_expectations.ExpectationSuite(name)
    for entry in entries:
        expected.add_expectation_configuration(ExpectationConfiguration(**entry))
    return expected


def generated(table: Table) -> list[dict[str, Any]]:
    """Turn the declaration into expectations, each with its type and arguments."""
    expected = [
        _expectation("expect_table_columns_to_match_set", column_set=[c.name for c in table.lake_columns], exact_match=False)
    ]
    for column in table.lake_columns:
        expected += _column(column)
    key = [*(["tick"] if table.time is not None else []), *table.key]
    if len(key) > 1:
        expected.append(_expectation("expect_compound_columns_to_be_unique", column_list=key))
    else:
        expected.append(_expectation("expect_column_values_to_be_unique", column=key[0]))
    if table.time is not None:
        pair = "expect_column_pair_values_a_to_be_greater_than_b"
        rest = {"ignore_row_if": "either_value_is_missing"}
        expected.append(_expectation(pair, column_A=table.time, column_B=PARTITION_START, or_equal=True, **rest))
        expected.append(_expectation(pair, column_A=PARTITION_END, column_B=table.time, or_equal=False, **rest))
    bounds = {"min_value": table.min_rows} | ({"max_value": table.max_rows} if table.max_rows is not None else {})
    expected.append(_expectation("expect_table_row_count_to_be_between", **bounds))
    return expected


def _column(column: Column) -> list[dict[str, Any]]:
    name = column.name
    kind = "text" if column.personal else column.kind
    expected = [_expectation("expect_column_values_to_be_in_type_list", column=name, type_list=[PANDAS_TYPE[kind]])]
    if not column.nullable:
        expected.append(_expectation("expect_column_values_to_not_be_null", column=name))
    elif column.max_null_share is not None:
        expected.append(_expectation("expect_column_values_to_not_be_null", column=name, mostly=1 - column.max_null_share))
    if kind == "text" and not column.personal:
        # SQLite, Parquet and CSV hold it; PostgreSQL, to which predictions are published, does not.
        expected.append(_expectation(STORABLE, column=name, regex=NUL))
    if column.personal:
        return expected  # bounds and allowed values are not those of hashes
    low, high = column.min, column.max
    if kind == "float":
        # Without declared bounds a number must still be finite.
        low, high = (-LARGEST if low is None else low), (LARGEST if high is None else high)
    if low is not None or high is not None:
        bounds = {"min_value": low, "max_value": high}
        expected.append(
            _expectation(
                "expect_column_values_to_be_between", column=name, **{k: v for k, v in bounds.items() if v is not None}
            )
        )
    if column.values is not None:
        expected.append(_expectation("expect_column_values_to_be_in_set", column=name, value_set=list(column.values)))
    return expected


def sentence(kind: str, kwargs: Mapping[str, Any], table: Table) -> str:
    """Describe an expectation on a table in a sentence; handwritten ones of other types by their type and arguments."""
    column, mostly = kwargs.get("column"), kwargs.get("mostly")
    match kind:
        case "expect_table_columns_to_match_set":
            return f"the columns must include {', '.join(kwargs['column_set'])}"
        case "expect_column_values_to_be_in_type_list":
            return f"{column} must be {_kind(kwargs, table)}"
        case "expect_column_values_to_not_be_null":
            return f"{column} must not be missing" + (
                f" in more than {format_number(1 - mostly)} of the rows" if mostly else ""
            )
        case "expect_column_values_to_be_between":
            finite = any(_finite(kwargs.get(name)) is None and name in kwargs for name in ("min_value", "max_value"))
            return f"{column} must be {' and '.join(filter(None, ['finite' if finite else '', bound(kwargs, table)]))}"
        case "expect_column_values_to_not_match_regex" if kwargs.get("regex") == NUL:
            return f"{column} must not contain the character U+0000, which not every database stores"
        case "expect_column_values_to_be_in_set":
            return f"{column} must be one of {bound(kwargs, table)}"
        case "expect_column_values_to_be_unique":
            return f"{column} must be unique"
        case "expect_compound_columns_to_be_unique":
            names = [name for name in kwargs["column_list"] if name != "tick"]
            return f"{', '.join(names)} must be unique" + (" within the tick" if "tick" in kwargs["column_list"] else "")
        case "expect_column_pair_values_a_to_be_greater_than_b" if kwargs.get("column_B") == PARTITION_START:
            return f"{kwargs['column_A']} must not be before the tick's partition"
        case "expect_column_pair_values_a_to_be_greater_than_b" if kwargs.get("column_A") == PARTITION_END:
            return f"{kwargs['column_B']} must be before the end of the tick's partition"
        case "expect_table_row_count_to_be_between":
            return f"a tick must have {bound(kwargs, table)} rows"
    arguments = ", ".join(f"{k}={v!r}" for k, v in kwargs.items() if k != "batch_id")
    return f"{kind}({arguments})"


def bound(kwargs: Mapping[str, Any], table: Table) -> str:
    """Describe the values that an expectation allows; '' if its type says enough."""
    low, high = (_finite(kwargs.get(name)) for name in ("min_value", "max_value"))
    if low is not None and high is not None:
        return f"between {format_exact(low)} and {format_exact(high)}"
    if low is not None:
        return f"at least {format_exact(low)}"
    if high is not None:
        return f"at most {format_exact(high)}"
    if "value_set" in kwargs:
        return ", ".join(map(repr, kwargs["value_set"]))
    if "type_list" in kwargs:
        return _kind(kwargs, table)
    return f"{format_number(kwargs['mostly'])} of the rows" if kwargs.get("mostly") not in (None, 1) else ""


def _finite(value: Any) -> Any:
    return None if isinstance(value, int | float) and abs(value) >= LARGEST else value


def _kind(kwargs: Mapping[str, Any], table: Table) -> str:
    """The declaration's names of the types that a column may have; of kinds with one type, that of the column."""
    declared = next((column.kind for column in table.columns if column.name == kwargs.get("column")), None)
    kinds = sorted(PANDAS_TYPE, key=lambda kind: kind != declared)
    return " or ".join(next((kind for kind in kinds if PANDAS_TYPE[kind] == entry), entry) for entry in kwargs["type_list"])


def load_great_expectations() -> Any:
    """Import Great Expectations, which takes seconds, with its telemetry off, and without Spark, which it would load.

    Where pyspark is installed, its `connect` takes a process without a main file, such as one that tasks are forked from, for
    its own doctests, and ends it.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    hidden = [name for name in SPARK if name not in sys.modules] if "great_expectations" not in sys.modules else []
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: importing it fails
    try:
        import great_expectations
    finally:
        for name in hidden:
            del sys.modules[name]
    return great_expectations


def _expectation(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "meta": {}}


def _handwritten(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    try:
        entries = json.loads(file.read_text())["expectations"]
        return [{"type": e["type"], "kwargs": e["kwargs"], "meta": {**e.get("meta", {}), "handwritten": True}} for e in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{file} is not an expectation suite: {error!r}. Write {{"expectations": [{{"type": ..., "kwargs": {{...}}}}]}}'
        ) from error


def _write_if_changed(content: dict[str, Any], folder: Path) -> None:
    """Write the suite if its text changed; concurrent tasks always read a complete file."""
    text = json.dumps(content, indent=2) + "\n"
    file = folder / f"{content['name']}.json"
    if file.exists() and file.read_text() == text:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, text)
