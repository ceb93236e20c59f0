"""Quoting: what DuckDB reads back, and what sqlglot would have written."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from mlprod_tasks.platform.sql import identifier, literal, quoted

# DuckDB's text holds no NUL, and no half of a surrogate pair.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(TEXT)
def test_a_text_is_written_as_sqlglot_writes_it_and_comes_back(text: str) -> None:
    assert literal(text) == exp.Literal.string(text).sql("duckdb")
    assert duckdb.sql(f"SELECT {literal(text)}").fetchall() == [(text,)]


@given(TEXT.filter(bool))
def test_a_name_is_written_as_sqlglot_writes_it_and_comes_back(name: str) -> None:
    assert quoted(name) == exp.to_identifier(name, quoted=True).sql("duckdb")
    assert duckdb.sql(f"SELECT 1 AS {quoted(name)}").columns == [name]


@pytest.mark.parametrize(("name", "written"), [("amount", "amount"), ("order", '"order"'), ("timestamp", '"timestamp"')])
def test_only_a_keyword_is_quoted_in_sql_that_people_read(name: str, written: str) -> None:
    assert identifier(name) == written
    assert duckdb.sql(f"SELECT 1 AS {identifier(name)}").columns == [name]
