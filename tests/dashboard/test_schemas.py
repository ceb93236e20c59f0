"""The page's JSON keeps its form: what reads it elsewhere goes on reading it."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
from pydantic import TypeAdapter

from mlprod_tasks.dashboard.data import detail, overview
from mlprod_tasks.dashboard.schemas import ActionRequest, ActionResult, Detail, Overview, as_json
from mlprod_tasks.dashboard.series import BY_FEATURE
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from tests.support.seeded_ledger import DAY, FIRST

# Written by `python tests/dashboard/test_schemas.py` when the form is changed on purpose.
KEPT = Path(__file__).with_name("schemas.schema.json")


def schemas() -> dict[str, object]:
    return {form.__name__: TypeAdapter(form).json_schema() for form in (Overview, Detail, ActionRequest, ActionResult)}


def test_the_form_is_the_one_that_was_agreed() -> None:
    assert json.loads(KEPT.read_text()) == schemas()


def test_what_is_sent_has_that_form(months: Platform, flights_pipeline: Pipeline) -> None:
    told = as_json(detail(flights_pipeline, months, (None, FIRST + 9 * DAY), BY_FEATURE))
    everything = as_json(overview([flights_pipeline], months, [("broken.py", "why")]))
    kept = json.loads(KEPT.read_text())
    jsonschema.validate(json.loads(json.dumps(told)), kept["Detail"])
    jsonschema.validate(json.loads(json.dumps(everything)), kept["Overview"])


def test_numbers_that_json_does_not_know_become_null(months: Platform, flights_pipeline: Pipeline) -> None:
    told = overview([flights_pipeline], months)
    kpi = told.pipelines[0].kpi
    assert kpi is not None
    odd = replace(kpi, values=(float("nan"), float("inf"), 1.0))
    assert as_json(odd)["values"] == [None, None, 1.0]
    json.dumps(as_json(odd), allow_nan=False)


if __name__ == "__main__":
    KEPT.write_text(json.dumps(schemas(), indent=1) + "\n")
