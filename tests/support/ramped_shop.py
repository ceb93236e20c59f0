"""The small shop that is trained elsewhere in these tests, with three versions to roll out and requests that they answered."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Rollout
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.rollout import routing as rollout
from mlprod_tasks.scoring.log_row import log_schema
from tests.support.request_log import log_row, write_log
from tests.support.shop import SHOP
from tests.support.trained_shop import Shop, platform_at

RAMP = ml.Ramp(shares=(0.2, 0.5, 1.0), hold=timedelta(0), at_most=timedelta(hours=1), rows=100)


@dataclass
class RolledOut:
    """A shop whose versions are rolled out, and the mails that tell of it."""

    pipeline: Pipeline
    platform: Platform
    catcher: MailCatcher

    def rollout(self) -> Rollout:
        found = rollout.current(self.pipeline, self.platform)
        assert found is not None
        return found

    def champion(self) -> int:
        from mlprod_tasks.promotion import history as champion

        return champion.promotions(self.pipeline, self.platform)[-1].model_version

    def alias(self) -> int:
        found = self.platform.registry.champion(self.pipeline)
        assert found is not None
        return found.version

    def mails(self) -> list[str]:
        """Subject and text of every mail that arrived."""
        told = []
        for mail in self.catcher.outbox.mails():
            plain = mail.get_body(("plain",))
            assert plain is not None
            told.append(f"{mail['Subject']}\n{' '.join(plain.get_content().split())}")
        return told


@dataclass
class Ramped(RolledOut):
    """The shop on a platform of the test's own, and what its service would have logged.

    answer: what an answer holds besides or instead, given the columns of its row.
    """

    asked: int = 0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(12))
    answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: {}

    def answered(self, n: int, keys: list[str] | None = None, tick: date = date(2024, 2, 13), **challenger: Any) -> None:
        """Log `n` requests as the service answers them under the rollout in force; `challenger` changes that one's answers."""
        asked = rollout.current(self.pipeline, self.platform)
        rows, schema, champion = [], log_schema(self.pipeline), self.champion()
        for i in range(n):
            self.asked += 1
            key = keys[i % len(keys)] if keys else f"o-{self.asked}"
            route = rollout.answers(rollout.routing(asked) if asked else None, self.pipeline.name, key)
            version = asked.challenger if asked and route == "challenger" else champion
            values: dict[str, Any] = {
                "key": key, "tick": tick, "score": float(self.random.beta(2, 5)), "model_version": version,
                "route": route, "assigned": route, "milliseconds": float(self.random.lognormal()),
                "key_order_id": key, "feature_channel": "web",
            }  # fmt: skip
            values |= self.answer(values)
            changed = {name: made(values) for name, made in challenger.items()} if route == "challenger" else {}
            rows.append(log_row(schema, f"r-{self.asked}", self.platform.clock.now(), **(values | changed)))
        write_log(self.pipeline, self.platform, rows)


def begun(shop: Ramped, share: float = 0.0, version: int = 3) -> None:
    from mlprod_tasks.rollout.steps import begin, take_step

    begin(shop.pipeline, version, "Ada", "it is newer", shop.platform)
    if share:
        take_step(shop.pipeline, share, shop.platform)


def fails(_: dict[str, Any]) -> bool:
    return True


def of_two_versions(made: Shop, catcher: MailCatcher) -> Ramped:
    """Train on a filled shop: version 1 becomes champion, version 2 passes its gates; mails go to the catcher."""
    from mlprod_tasks.evaluation.gate import gate
    from mlprod_tasks.steps import register

    assert made.promoted("one").moved
    made.trained("two", "2024-02-11")
    gate(made.pipeline, "two", made.platform)
    assert register(made.pipeline, "two", made.platform).version == 2
    home = made.platform.settings.home
    given = {
        "MLPROD_HOME": str(home),
        "MLPROD_PIPELINES": str(home.parent),
        "MLPROD_CONNECTION_SMTP": f"smtp://127.0.0.1:{catcher.smtp_port}",
    }
    return Ramped(made.pipeline, Platform(from_environment(given)), catcher)


@pytest.fixture(scope="session")
def three_versions_home(promoted_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which version 1 was champion, 2 is, and 3 passed its gates and is registered."""
    from mlprod_tasks.evaluation.gate import gate
    from mlprod_tasks.steps import register

    home = tmp_path_factory.mktemp("three") / "var"
    shutil.copytree(promoted_home, home)
    shop = Shop(SHOP, platform_at(home))
    assert shop.promoted("two", "2024-02-11").moved
    shop.trained("three", "2024-02-12")
    gate(SHOP, "three", shop.platform)
    assert register(SHOP, "three", shop.platform).version == 3
    return home


@pytest.fixture
def ramped_shop(three_versions_home: Path, catcher: MailCatcher, tmp_path: Path) -> Ramped:
    """A shop of the test's own with those versions, and a ramp declared."""
    home = tmp_path / "var"
    shutil.copytree(three_versions_home, home)
    given = {
        "MLPROD_HOME": str(home),
        "MLPROD_PIPELINES": str(home),
        "MLPROD_CONNECTION_SMTP": f"smtp://127.0.0.1:{catcher.smtp_port}",
    }
    pipeline = Shop(SHOP, platform_at(home)).declared(serving=ml.Serving(ramp=RAMP)).pipeline
    return Ramped(pipeline, Platform(from_environment(given)), catcher)
