"""A shop with a champion and declared metrics, at noon of the day before the first tick that a bandit chooses for."""

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
SAVED = ml.UnitMetric("saved", "value", "what acting saved", unit="USD")
ACTED = ml.UnitMetric("acted", "decision", "orders that were acted on", of="proportion", better="lower")
MakeShop = Callable[..., Shop]


def _publish(shop: Shop, *ticks: date) -> None:
    """Note in the ledger that the outcomes of these ticks are in the lake."""
    shop.platform.ledger.put(
        *(
            Publication(pipeline=shop.pipeline.name, table_name="returns", tick=tick, rows=1, delta_version=0, at=NOON)
            for tick in ticks
        )
    )


@pytest.fixture
def make_shop(promoted_home: Path, tmp_path: Path) -> MakeShop:
    """Make shops of the test's own, by default with all outcomes published."""

    def make(bandit: ml.Bandit, name: str = "shop", last: date = date(2024, 2, 14)) -> Shop:
        shop = copied(promoted_home, tmp_path / name).declared(experiments=ml.Experiments((SAVED, ACTED), bandit=bandit))
        _publish(shop, *shop.pipeline.schedule.names(date(2024, 1, 1), last))
        return replace(shop, platform=replace(shop.platform, clock=SetClock(NOON)))

    return make


@pytest.fixture
def publish() -> Callable[..., None]:
    """Note that outcomes of a shop are in the lake."""
    return _publish


@pytest.fixture
def scored() -> Callable[[Shop, str, str], None]:
    """Score ticks of a shop, the first and the last included."""

    def score_all(shop: Shop, first: str, last: str) -> None:
        for tick in shop.pipeline.schedule.range(first, last):
            score(shop.pipeline, tick, shop.platform)

    return score_all
