"""A declaration in full is one that declares the same, and a record of it is read back."""

from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from mlprod_tasks import declaration as ml
from mlprod_tasks.cli.main import app
from mlprod_tasks.declaration import recorded
from mlprod_tasks.declaration.source_text import source_text
from tests.support.paths import REPOSITORY
from tests.support.shop import SHOP


def declared(text: str) -> ml.Pipeline:
    found: dict[str, Any] = {}
    exec(text, found)  # only what the test has made
    return found["pipeline"]


def over_customers() -> ml.Pipeline:
    """A population, an outcome, odd lengths and texts that need care in Python."""
    returns = replace(SHOP.table("returns"), known_after=timedelta(seconds=90))
    kept = ml.Column("buyer", "text", 'who "it" was\nor \\ not', source="Käufer's")
    return replace(
        SHOP,
        tables=(replace(SHOP.tables[0]), replace(returns, columns=(*returns.columns, kept))),
        entity=ml.Population("buyers", "returns", ("buyer",), within=timedelta(hours=36)),
        features=(
            ml.Expression("hour", "extract(hour FROM as_of)", "int", "-"),
            ml.Trailing("all", "returns", {"buyer": "buyer"}, (ml.days(7),), (ml.Count(),)),
        ),
        label=ml.Outcome("returns", {"buyer": "buyer"}, ml.Any("returned"), within=ml.days(1)),
        split=ml.Split(validation=ml.days(6), test=ml.days(7), gap=ml.days(3)),
        model=ml.Model(),
        fallback=ml.RateTable(by=("hour",)),
    )


@pytest.fixture(params=["flights", "shop", "customers"])
def pipeline(request: pytest.FixtureRequest, flights_pipeline: ml.Pipeline) -> ml.Pipeline:
    made = {"flights": lambda: flights_pipeline, "shop": lambda: SHOP, "customers": over_customers}
    return made[request.param]()


def test_it_declares_the_same_and_names_every_field(pipeline: ml.Pipeline) -> None:
    text = source_text(pipeline)
    assert declared(text) == pipeline
    assert declared(text).digest == pipeline.digest

    def named(part: Any) -> None:
        if is_dataclass(part):
            assert all(f"{field.name}=" in text for field in fields(part))
            for field in fields(part):
                named(getattr(part, field.name))

    named(pipeline)
    assert max(map(len, text.splitlines())) <= 160


def test_its_record_is_read_back(pipeline: ml.Pipeline) -> None:
    assert recorded.read(recorded.text_of(pipeline)) == pipeline


def test_the_command_prints_it_or_one_use_case_only(monkeypatch: pytest.MonkeyPatch, flights_pipeline: ml.Pipeline) -> None:
    monkeypatch.setenv("MLPROD_PIPELINES", str(REPOSITORY / "pipelines"))
    full = CliRunner().invoke(app, ["pipelines", "flight_delays", "--full"])
    assert declared(full.stdout) == flights_pipeline
    one = CliRunner().invoke(app, ["pipelines", "flight_delays"])
    assert one.stdout.startswith("flight_delays  Will a flight arrive")
    assert CliRunner().invoke(app, ["pipelines", "--full"]).exit_code == 2
