"""The fields of a request against the declared columns."""

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online import RequestFields
from tests.support.keys import PSEUDONYM_KEY as KEY


@pytest.fixture(scope="module")
def pipeline(orders_pipeline: Callable[..., Pipeline]) -> Pipeline:
    made = orders_pipeline()
    columns = (*made.tables[0].columns, ml.Column("express", "bool", "sent at once"), ml.Column("day", "date", "for when"))
    table = replace(made.tables[0], columns=columns)
    read = ("items", "state", "express")
    more: tuple[ml.Expression | ml.Trailing, ...] = tuple(
        ml.Expression(f"its_{name}", f"CASE WHEN {name} IS NULL THEN 0 ELSE 1 END", "int", "-") for name in (*read, "day")
    )
    more = (*more, ml.Trailing("own", "orders", {"customer": "customer"}, (ml.days(7),), (ml.Count(),)))
    return replace(made, tables=(table,), features=(*made.features, *more))


GOOD: dict[str, Any] = {
    "order_id": 7, "ordered_at": "2024-05-01T12:30:00+02:00", "amount": 12.5, "items": 2, "state": "paid",
    "customer": "Ada", "express": True, "day": "2024-05-02",
}  # fmt: skip


def reasons(pipeline: Pipeline, **changed: Any) -> dict[str, str]:
    given = {name: value for name, value in (GOOD | changed).items() if value is not ...}
    return {problem.field: problem.reason for problem in RequestFields(pipeline, KEY).read(given)[1]}


def test_good_fields_are_read_as_features_read_them(pipeline: Pipeline) -> None:
    row, problems = RequestFields(pipeline, KEY).read(GOOD)
    assert problems == []
    moment = datetime(2024, 5, 1, 10, 30, tzinfo=timezone.utc)  # noqa: UP017
    assert row == {
        "order_id": 7, "ordered_at": int(moment.timestamp()) * 1_000_000, "amount": 12.5, "items": 2, "state": "paid",
        "customer": hmac.new(KEY.encode(), b"Ada", "sha256").hexdigest(), "express": True,
        "day": (date(2024, 5, 2) - date(1970, 1, 1)).days,
    }  # fmt: skip
    python = GOOD | {"ordered_at": moment.astimezone(timezone(timedelta(hours=9))), "day": date(2024, 5, 2), "amount": 12.5}
    assert RequestFields(pipeline, KEY).read(python) == (row, [])


def test_null_is_allowed_where_the_column_allows_it_and_a_needed_field_may_not_be_left_out(pipeline: Pipeline) -> None:
    assert reasons(pipeline, items=None, state=None, customer=None) == {}
    assert reasons(pipeline, items=..., state=...) == {}
    assert reasons(pipeline, amount=None) == {"amount": "may not be null"}
    assert reasons(pipeline, amount=..., order_id=...) == {"amount": "is required", "order_id": "is required"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("order_id", "7", "must be an integer"), ("order_id", 7.5, "must be an integer"),
        ("order_id", True, "must be an integer"), ("order_id", 2.0**60, "must be an integer"),
        ("order_id", 2**63, "must be a 64-bit integer"), ("order_id", [7], "must be an integer"),
        ("amount", "12", "must be a number"), ("amount", True, "must be a number"),
        ("amount", float("nan"), "must be a finite number"),
        ("amount", float("inf"), "must be a finite number"), ("amount", 10**400, "must be a finite number"),
        ("amount", -0.01, "must be at least 0"), ("amount", 10_000.01, "must be at most 10,000"),
        ("items", 0, "must be at least 1"),
        ("state", "lost", "must be one of 'paid', 'open'"), ("state", 5, "must be a string"),
        ("customer", "x" * 10_001, "must be at most 10,000 characters long"),
        ("customer", "\ud800", "must be valid Unicode"),
        ("customer", "a\0b", "must not contain the character U+0000, which not every database stores"),
        ("express", 1, "must be true or false"),
        ("express", "true", "must be true or false"),
        ("ordered_at", "yesterday", "must be a time such as 2024-05-01T12:30:00+02:00"),
        ("ordered_at", 1714559400, "must be a time such as 2024-05-01T12:30:00+02:00"),
        ("ordered_at", "2024-05-01T12:30:00", "must have an offset from UTC, such as 2024-05-01T12:30:00+02:00"),
        ("ordered_at", "2024-02-30T12:30:00Z", "must be a time such as 2024-05-01T12:30:00+02:00"),
        ("day", "02.05.2024", "must be a date such as 2024-05-01"),
        ("day", "2024-05-01T00:00:00Z", "must be a date such as 2024-05-01"),
        ("colour", "red", "is not a field of this use case"),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_reason_and_its_value_is_not_repeated(
    field: str, value: Any, reason: str, pipeline: Pipeline
) -> None:
    assert reasons(pipeline, **{field: value}) == {field: reason}


def test_an_integer_may_be_written_as_a_whole_number_with_a_point(pipeline: Pipeline) -> None:
    row, problems = RequestFields(pipeline, KEY).read(GOOD | {"items": 3.0})
    assert (row["items"], type(row["items"]), problems) == (3, int, [])


def test_a_column_that_does_not_reach_the_lake_is_no_field(pipeline: Pipeline) -> None:
    assert reasons(pipeline, email="a@b.example") == {"email": "is not a field of this use case"}


def test_bounds_are_inclusive_and_every_problem_is_told(pipeline: Pipeline) -> None:
    assert reasons(pipeline, amount=0) == reasons(pipeline, amount=10_000) == reasons(pipeline, items=1) == {}
    assert set(reasons(pipeline, amount=-1, items=0, state="x", order_id=None)) == {"amount", "items", "state", "order_id"}


def test_an_unknown_category_becomes_null_where_that_is_declared(pipeline: Pipeline) -> None:
    lenient = replace(pipeline, serving=ml.Serving(unknown_category="null"))
    row, problems = RequestFields(lenient, KEY).read(GOOD | {"state": "lost"})
    assert (row["state"], problems) == (None, [])
    assert [problem.field for problem in RequestFields(lenient, KEY).read(GOOD | {"state": 5})[1]] == ["state"]


def test_a_hashed_field_needs_the_key_with_which_the_lake_was_hashed(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="MLPROD_PSEUDONYM_KEY"):
        RequestFields(pipeline)


def test_the_schema_says_what_the_reader_takes(pipeline: Pipeline) -> None:
    schema = RequestFields(pipeline, KEY).json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(GOOD)
    assert "email" not in schema["properties"]
    for changed in ({"amount": -1}, {"amount": None}, {"state": "lost"}, {"order_id": "7"}, {"colour": "red"}, {"items": 0}):
        assert reasons(pipeline, **changed)
        assert not validator.is_valid(GOOD | changed), changed
    assert validator.is_valid(GOOD | {"state": None, "items": None})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*GOOD, "email", "x"]) | st.text(), json_values))
def test_whatever_json_comes_it_is_read_or_refused(given_fields: dict[str, Any]) -> None:
    fields = FIELDS[0]
    row, problems = fields.read(given_fields)
    assert problems or set(row) == set(fields.needed)


FIELDS: list[RequestFields] = []


@pytest.fixture(autouse=True, scope="module")
def _one_reader(pipeline: Pipeline) -> None:
    FIELDS.append(RequestFields(pipeline, KEY))
