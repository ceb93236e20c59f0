"""A shop with two weeks of scored orders, and a clock that stands after them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform.ledger import Publication
from mlprod_tasks.scoring.score import score
from tests.support.clock import SetClock
from tests.support.trained_shop import Shop, copied

NOON = datetime(2024, 1, 24, 12, tzinfo=UTC)
DECLARED = ml.Experiments(
    metrics=(
        ml.UnitMetric("saved", "value", "what acting saved", unit="USD"),
        ml.UnitMetric("acted", "decision", "orders that were acted on", of="proportion", better="lower"),
        ml.UnitMetric("per_item", "value", "saved an item", of="ratio", per="coalesce(items, 1)"),
    ),
    guardrails=(ml.Guardrail("saved", loss=50),),
)


def ready(home: Path, folder: Path) -> Shop:
    """The shop on a copy of that home; it is noon of 2024-01-24."""
    shop = copied(home, folder).declared(experiments=DECLARED)
    publish(shop, *shop.pipeline.schedule.names(date(2024, 1, 1), date(2024, 2, 14)))
    return replace(shop, platform=replace(shop.platform, clock=SetClock(NOON)))


def publish(shop: Shop, *ticks: date) -> None:
    """Note in the ledger that the outcomes of these ticks are in the lake."""
    shop.platform.ledger.put(
        *(
            Publication(pipeline=shop.pipeline.name, table_name="returns", tick=tick, rows=1, delta_version=0, at=NOON)
            for tick in ticks
        )
    )


@pytest.fixture(scope="session")
def scored() -> Callable[[Shop, date, date], None]:
    """Score ticks of a shop, the first and the last included."""

    def score_all(shop: Shop, first: date, last: date) -> None:
        for tick in shop.pipeline.schedule.range(first, last):
            score(shop.pipeline, tick, shop.platform)

    return score_all


@pytest.fixture(scope="session")
def scored_home(promoted_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose champion scored two weeks."""
    folder = tmp_path_factory.mktemp("scored")
    shop = ready(promoted_home, folder)
    for tick in shop.pipeline.schedule.range("2024-01-08", "2024-01-21"):
        score(shop.pipeline, tick, shop.platform)
    shop.platform.ledger.engine.dispose()
    return folder / "var"


@pytest.fixture
def shop(scored_home: Path, tmp_path: Path) -> Shop:
    """A shop of the test's own with two weeks of scored orders."""
    return ready(scored_home, tmp_path)


@pytest.fixture(scope="session")
def eager_home(scored_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with version 2, which acts on nearly every order."""
    from mlprod_tasks.evaluation.gate import gate
    from mlprod_tasks.steps import register

    folder = tmp_path_factory.mktemp("eager")
    shop = ready(scored_home, folder).declared(value=ml.CostMatrix(true_positive=10, false_positive=-0.1))
    shop.trained("two", "2024-02-11")
    gate(shop.pipeline, "two", shop.platform)
    assert register(shop.pipeline, "two", shop.platform).version == 2
    shop.platform.ledger.engine.dispose()
    return folder / "var"


@pytest.fixture(scope="session")
def never_home(scored_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with experiment 'never', planned for a week: the champion against never acting; its week is scored."""
    from mlprod_tasks.experiments.plan import Wanted
    from mlprod_tasks.experiments.run import plan_for, start

    folder = tmp_path_factory.mktemp("never")
    shop = ready(scored_home, folder)
    planned = plan_for(shop.pipeline, Wanted("saved", difference=1.2), ["champion@1.0"], shop.platform)
    start(shop.pipeline, "never", planned, "Ann", "a test", shop.platform)
    for tick in shop.pipeline.schedule.range("2024-01-25", "2024-01-31"):
        score(shop.pipeline, tick, shop.platform)
    shop.platform.ledger.engine.dispose()
    return folder / "var"


@pytest.fixture
def never(never_home: Path, tmp_path: Path) -> Shop:
    """A shop of the test's own with that experiment."""
    return ready(never_home, tmp_path)
