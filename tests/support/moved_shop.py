"""A shop whose champion became wrong: from a day on half of what was kept is returned, too."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Publication
from tests.support.clock import SetClock
from tests.support.trained_shop import Shop, copied

NOON = datetime(2024, 2, 20, 12, tzinfo=UTC)
MOVED = "2024-01-27"
MakeMoved = Callable[..., Shop]
ADAPT = ml.Adapt(half_life=7.0, fewest=3, window=30)


def _with_outcomes(shop: Shop, returned: Callable[[str, bool, bool], bool | None]) -> None:
    """Replace outcomes by those of a function of the day on which an order was placed, its outcome, and a coin."""
    lake, name = shop.platform.lake, names.raw(shop.pipeline, "returns")
    rows = lake.rows(name).sort_by("order_id")
    coins = np.random.default_rng(3).random(rows.num_rows) < 0.5
    new = [
        returned(order[:10], was, bool(coin))
        for order, was, coin in zip(rows["order_id"].to_pylist(), rows["returned"].to_pylist(), coins, strict=True)
    ]
    at, ticks = rows.column_names.index("returned"), rows["tick"].to_pylist()
    kept = rows.set_column(at, "returned", pa.array(new, pa.bool_()))
    kept = kept.filter(kept["returned"].is_valid())
    lake.replace_ticks(name, shop.pipeline.schedule.range(min(ticks), max(ticks)), kept)


def _publish(shop: Shop, *ticks: date) -> None:
    """Note in the ledger that the outcomes of these ticks are in the lake."""
    shop.platform.ledger.put(
        *(
            Publication(pipeline=shop.pipeline.name, table_name="returns", tick=one, rows=1, delta_version=0, at=NOON)
            for one in ticks
        )
    )


@pytest.fixture(scope="session")
def moved_home(promoted_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with these outcomes, all published."""
    shop = copied(promoted_home, tmp_path_factory.mktemp("moved"))
    _with_outcomes(shop, lambda day, was, coin: was or (day >= MOVED and coin))
    _publish(shop, *shop.pipeline.schedule.names(date(2024, 1, 1), date(2024, 2, 20)))
    shop.platform.ledger.engine.dispose()
    return shop.platform.settings.home


@pytest.fixture
def make_moved(moved_home: Path, tmp_path: Path) -> MakeMoved:
    """Make shops of the test's own."""

    def make(name: str = "shop", adapt: ml.Adapt | None = ADAPT) -> Shop:
        shop = copied(moved_home, tmp_path / name).declared(adapt=adapt)
        return replace(shop, platform=replace(shop.platform, clock=SetClock(NOON)))

    return make


@pytest.fixture
def with_outcomes() -> Callable[..., None]:
    return _with_outcomes


@pytest.fixture(scope="session")
def publish() -> Callable[..., None]:
    return _publish
