"""What is generated is what is checked in."""

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.reporting.data_dictionary import dictionary
from tests.support.paths import REPOSITORY

DOCS = REPOSITORY / "docs"


def test_the_data_dictionary_is_that_of_the_declaration(flights_pipeline: Pipeline) -> None:
    written = (DOCS / "flight_delays.md").read_text(encoding="utf-8")
    assert written == dictionary(flights_pipeline), "docs/flight_delays.md is stale: run `make dictionary`"
