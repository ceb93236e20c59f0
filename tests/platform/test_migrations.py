"""A ledger of an earlier release keeps its entries."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from mlprod_tasks.platform import migrations
from mlprod_tasks.platform.ledger import Promotion
from mlprod_tasks.platform.ledger_store import Ledger

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_database"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def move(ledger: Ledger, to: str, *, back: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with ledger.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, to)


def test_promotions_of_the_first_form_are_kept_and_may_then_be_rolled_back(url: str) -> None:
    ledger = Ledger(url)
    move(ledger, "0001")
    with ledger.engine.connect() as connection, connection.begin():
        connection.execute(
            text("INSERT INTO promotions VALUES ('p', 1, :day, 't', 'why', :at)"),
            {
                "day": "2013-06-01" if "sqlite" in url else date(2013, 6, 1),
                "at": NOON if "sqlite" not in url else "2013-06-01 12:00:00.000000",
            },
        )
    ledger.migrate()
    (kept,) = ledger.all(Promotion)
    assert (kept.model_version, kept.effective, kept.at, kept.rolled_back_from) == (1, date(2013, 6, 1), NOON, None)
    again = Promotion(
        pipeline="p",
        model_version=1,
        effective=date(2013, 6, 1),
        training_id="t",
        reason="back",
        at=NOON.replace(hour=13),
        rolled_back_from=2,
    )
    ledger.put(again, again)
    assert [one.reason for one in ledger.all(Promotion)] == ["why", "back"]
    move(ledger, "0001", back=True)
    with ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT reason FROM promotions")).scalars().all() == ["back"]  # the last of each tick
