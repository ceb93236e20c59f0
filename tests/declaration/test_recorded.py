"""A recorded declaration says the same as the one that was recorded."""

import json
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import DeclarationError, Pipeline
from mlprod_tasks.declaration.recorded import digest_of, read, text_of
from tests.support.paths import FLIGHTS


def test_the_shipped_declaration_is_read_back_whole(flights_pipeline: Pipeline) -> None:
    text = text_of(flights_pipeline)
    assert read(text) == flights_pipeline
    assert digest_of(text) == flights_pipeline.digest == read(text).digest


def test_every_kind_of_source_feature_value_and_model_is_read_back(flights_pipeline: Pipeline) -> None:
    flights, arrivals, weather, planes = flights_pipeline.tables
    changed = replace(
        flights_pipeline,
        predict_at=ml.Before(ml.hours(60.5)),
        tables=(replace(flights, ticks_ahead=2), arrivals, replace(weather, source=ml.Files("files", "*.csv", "csv")), planes),
        value=ml.ValueFunction(act="CASE WHEN outcome THEN distance ELSE -4.0 END", wait="0", unit="USD"),
        backtest=ml.Backtest(windows=3, step=ml.days(7)),
        model=replace(flights_pipeline.model, seed=3),
    )
    assert read(text_of(changed)) == changed


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=400)))
def test_every_length_of_time_is_read_back(length: timedelta) -> None:
    from mlprod_tasks.declaration.recorded import _length

    assert _length(str(length)) == length


def test_a_dictionary_with_a_key_called_type_stays_a_dictionary() -> None:
    from mlprod_tasks.declaration.feature import Feature
    from mlprod_tasks.declaration.recorded import _read

    lookup = ml.Lookup("planes", {"type": "tailnum"}, {"kind": "type"})
    plain = {"type": "Lookup", "table": "planes", "on": {"type": "tailnum"}, "columns": {"kind": "type"}}
    assert _read(plain, Feature, "here") == lookup


def test_a_field_that_was_added_since_takes_its_default(flights_pipeline: Pipeline) -> None:
    older = flights_pipeline.as_json()
    del older["top_share"], older["slices"]
    defaults = {field.name: field.default for field in fields(Pipeline) if field.name in ("top_share", "slices")}
    assert read(json.dumps(older)) == replace(flights_pipeline, **defaults)


def test_what_can_no_longer_be_declared_is_named(flights_pipeline: Pipeline) -> None:
    gone = flights_pipeline.as_json() | {"split": {"type": "RandomSplit", "share": 0.2}}
    with pytest.raises(DeclarationError, match=r"at pipeline\.split a RandomSplit, which can no longer be declared"):
        read(json.dumps(gone))
    more = flights_pipeline.as_json()
    more["kpi"]["currency"] = "USD"
    with pytest.raises(DeclarationError, match=r"the recorded Kpi at pipeline\.kpi has fields that no longer exist: currency"):
        read(json.dumps(more))


def test_the_text_is_the_same_whatever_the_file_looks_like(flights_pipeline: Pipeline, tmp_path: Path) -> None:
    other = tmp_path / "flight_delays.py"
    other.write_text("# a comment\n\n" + FLIGHTS.read_text(encoding="utf-8"), encoding="utf-8")
    assert text_of(ml.load(other)) == text_of(flights_pipeline)
