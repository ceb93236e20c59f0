"""The data dictionary holds everything that is declared, in Markdown that renders."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.reporting.data_dictionary import dictionary
from tests.support.refund_shop import REFUNDS


def with_table(pipeline: ml.Pipeline, name: str, **fields: object) -> ml.Pipeline:
    return replace(pipeline, tables=tuple(replace(t, **fields) if t.name == name else t for t in pipeline.tables))


def test_every_table_column_and_feature_has_its_line(flights_pipeline: ml.Pipeline) -> None:
    written = dictionary(flights_pipeline)
    tables, features = written.split("## Features")
    for table in flights_pipeline.tables:
        section = tables.split(f"## Table `{table.name}`")[1].split("## ")[0]
        assert table.doc in section
        assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(table.names)
        assert all(column.doc in section for column in table.columns)
    assert re.findall(r"^\| `(\w+)`", features, re.MULTILINE) == list(flights_pipeline.feature_names)


def test_every_row_of_a_table_has_as_many_cells_as_its_head(flights_pipeline: ml.Pipeline) -> None:
    columns = (*flights_pipeline.table("planes").columns, ml.Column("odd", "text", "either | or\nof two lines"))
    written = dictionary(with_table(flights_pipeline, "planes", columns=columns))
    assert r"either \| or of two lines" in written
    width = 0
    for line in written.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells in (0, width) or width == 0
        width = cells


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": ml.Files("drop", "weather/{tick}.csv", "csv")}, "From files `weather/{tick}.csv` of connection `drop`"),
        ({"known_after": ml.hours(36)}, "known 36 hours after it"),
        ({"known_after": timedelta(minutes=1)}, "known 1 minute after it"),
        ({"known_after": timedelta(seconds=90)}, "known 90 seconds after it"),
        ({"known_after": timedelta(0)}, "known from then on"),
        ({"known_after": timedelta(0), "ticks_ahead": 2}, "known 2 ticks ahead"),
    ],
)
def test_where_a_table_comes_from_and_when_it_is_known(change: dict, told: str, flights_pipeline: ml.Pipeline) -> None:
    assert told in dictionary(with_table(flights_pipeline, "weather", **change))


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (ml.Column("x", "int", "doc", min=0), "| `x` | int | no | 0 to |  | doc |"),
        (ml.Column("x", "float", "doc", max=0.5, nullable=True), "| `x` | float | yes | to 0.5 |  | doc |"),
        (ml.Column("x", "text", "doc", nullable=True, max_null_share=0.05), "| `x` | text | up to 5% |  |  | doc |"),
        (ml.Column("x", "text", "doc", values=("a", "b"), personal="hash"), "| `x` | text | no | a, b | hash | doc |"),
    ],
    ids=["from", "up to", "some nulls", "listed and hashed"],
)
def test_what_a_column_may_hold(column: ml.Column, told: str, flights_pipeline: ml.Pipeline) -> None:
    columns = (*flights_pipeline.table("planes").columns, column)
    assert told in dictionary(with_table(flights_pipeline, "planes", columns=columns))


def test_the_moment_and_the_label_are_told_in_words(flights_pipeline: ml.Pipeline) -> None:
    written = dictionary(flights_pipeline)
    assert "made at the start of its tick" in written
    assert "every day at 04:00 America/New_York" in written
    assert "complete 2 days after the row is scored" in written
    assert "made 2 days before its time" in dictionary(replace(flights_pipeline, predict_at=ml.Before(ml.days(2))))


def test_a_number_is_a_prediction_and_no_score_or_condition() -> None:
    said = dictionary(replace(REFUNDS, label=replace(REFUNDS.label, doc="")))
    assert "One prediction for every row of `orders`" in said
    assert "The number: `refund` in `returns`" in said
    assert not re.search(r"\bscore\b|condition", said.split("## Features")[0].split("## Table")[0])
