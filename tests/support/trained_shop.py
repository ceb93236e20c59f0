"""A small shop whose orders are sometimes returned: enough to train on in a second."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.settings import from_environment
from tests.support.keys import PSEUDONYM_KEY
from tests.support.new_home import new_home
from tests.support.shop import SHOP, STARTS

if TYPE_CHECKING:
    from mlprod_tasks.promotion.register import Promoted

DAYS, ORDERS_A_DAY = 45, 120
AS_OF = "2024-02-10"


@dataclass(frozen=True)
class Shop:
    """The pipeline and a platform of its own, with the lake filled."""

    pipeline: Pipeline
    platform: Platform

    def tick(self, day: str = AS_OF) -> Tick:
        return self.pipeline.schedule.tick(day)

    def declared(self, **changes: object) -> "Shop":
        """The same platform with another declaration."""
        return Shop(replace(self.pipeline, **changes), self.platform)

    def trained(self, training_id: str, day: str = AS_OF) -> None:
        """Assemble, train and evaluate."""
        from mlprod_tasks.evaluation.evaluate import evaluate
        from mlprod_tasks.training.assemble import assemble
        from mlprod_tasks.training.train import train

        assemble(self.pipeline, self.tick(day), training_id, "a test", self.platform)
        train(self.pipeline, training_id, self.platform)
        evaluate(self.pipeline, training_id, self.platform)

    def promoted(self, training_id: str, day: str = AS_OF) -> "Promoted":
        """The whole way; the promotion's outcome."""
        from mlprod_tasks.evaluation.gate import gate
        from mlprod_tasks.promotion.register import promote
        from mlprod_tasks.steps import register

        self.trained(training_id, day)
        verdict = gate(self.pipeline, training_id, self.platform)
        return promote(self.pipeline, register(self.pipeline, training_id, self.platform), verdict, self.platform)


def platform_at(home: Path) -> Platform:
    given = {"MLPROD_HOME": str(new_home(home)), "MLPROD_PIPELINES": str(home), "MLPROD_PSEUDONYM_KEY": PSEUDONYM_KEY}
    return Platform(from_environment(given))


def raw_tables() -> tuple[pa.Table, pa.Table]:
    """Orders and returns with their ticks. The phone, high amounts and many items come back; 3 % are never settled."""
    random = np.random.default_rng(11)
    n = DAYS * ORDERS_A_DAY
    channel = random.choice(["web", "app", "phone", None], n, p=[0.5, 0.3, 0.15, 0.05])
    amount, items = random.gamma(2, 40, n), random.integers(1, 6, n)
    logit = -2.2 + 1.5 * (channel == "phone") + 0.012 * amount + 0.25 * items * (channel == "web")
    returned = random.random(n) < 1 / (1 + np.exp(-logit))
    ticks = [SHOP.schedule.tick(STARTS + timedelta(days=i // ORDERS_A_DAY)) for i in range(n)]
    placed = [tick.start + timedelta(seconds=int(s)) for tick, s in zip(ticks, random.integers(0, 80_000, n), strict=True)]
    settled = [moment + timedelta(hours=20) for moment in placed]
    keys = [f"{tick}-{i}" for i, tick in enumerate(ticks)]
    moment = pa.timestamp("us", "UTC")
    made = pa.table(
        {
            "order_id": keys,
            "placed_at": pa.array(placed, moment),
            "channel": pa.array(channel, pa.string()),
            "amount": pa.array(amount, mask=random.random(n) < 0.02),
            "items": pa.array(items, pa.int64(), mask=random.random(n) < 0.02),
            "tick": pa.array([tick.name for tick in ticks]),
        }
    )
    known = [SHOP.schedule.tick_at(moment).name + timedelta(days=1) for moment in settled]
    outcomes = pa.table(
        {
            "order_id": keys,
            "settled_at": pa.array(settled, moment),
            "returned": returned,
            "tick": pa.array(known),
        }
    )
    return made, outcomes.filter(pa.array(random.random(n) >= 0.03))


def fill(platform: Platform, made: pa.Table, outcomes: pa.Table) -> None:
    for name, rows in (("orders", made), ("returns", outcomes)):
        days = rows["tick"].to_pylist()
        platform.lake.replace_ticks(names.raw(SHOP, name), SHOP.schedule.range(min(days), max(days)), rows)


def copied(home: Path, folder: Path) -> Shop:
    """The shop on a copy of that home, below `folder`."""
    shutil.copytree(home, folder / "var")
    return Shop(SHOP, platform_at(folder / "var"))


@pytest.fixture(scope="session")
def shop_pipeline() -> Pipeline:
    """The shop's declaration."""
    return SHOP


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a filled lake, and MLflow's and the ledger's empty databases, which take seconds to make."""
    home = tmp_path_factory.mktemp("shop") / "var"
    platform = platform_at(home)
    fill(platform, *raw_tables())
    platform.registry.answers()
    platform.ledger.answers()
    platform.ledger.engine.dispose()  # an open ledger's files come and go while the home is copied
    return home


@pytest.fixture
def shop(filled_home: Path, tmp_path: Path) -> Shop:
    """A shop of the test's own."""
    return copied(filled_home, tmp_path)


@pytest.fixture(scope="session")
def promoted_home(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which training 'one', as of 2024-02-10, became champion."""
    home = tmp_path_factory.mktemp("promoted") / "var"
    shutil.copytree(filled_home, home)
    shop = Shop(SHOP, platform_at(home))
    assert shop.promoted("one").moved
    shop.platform.ledger.engine.dispose()
    return home


@pytest.fixture
def promoted_shop(promoted_home: Path, tmp_path: Path) -> Shop:
    """A shop of the test's own with that champion. MLflow keeps absolute paths: its artifacts stay where they were made."""
    return copied(promoted_home, tmp_path)


@pytest.fixture
def empty_shop(filled_home: Path, tmp_path: Path) -> Callable[[pa.Table, pa.Table], Shop]:
    """A shop whose lake is to be filled with other tables."""

    def make(made: pa.Table, outcomes: pa.Table) -> Shop:
        shutil.copytree(filled_home, tmp_path / "var", ignore=shutil.ignore_patterns("lake"))
        shop = Shop(SHOP, platform_at(tmp_path / "var"))
        fill(shop.platform, made, outcomes)
        return shop

    return make


@pytest.fixture
def tables() -> tuple[pa.Table, pa.Table]:
    """Orders and returns as the lake of `shop` holds them."""
    return raw_tables()
