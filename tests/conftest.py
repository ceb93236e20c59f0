"""What every test may use: a platform on a temporary folder, and the real declaration."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.keys import PSEUDONYM_KEY
from tests.support.new_home import new_home
from tests.support.paths import FLIGHTS, REPOSITORY
from tests.support.shop import shop_of_one_table

# Their session's fixtures are shared by rooms: each is made once.
pytest_plugins = (
    "tests.support.side_by_side",
    "tests.support.servers",
    "tests.support.mariadb",
    "tests.support.object_storage",
    "tests.support.snowflake_database",
    "tests.support.trained_shop",
    "tests.support.moved_shop",
    "tests.support.feature_shop",
    "tests.support.ramped_shop",
)


@pytest.fixture
def make_platform(tmp_path: Path) -> Callable[..., Platform]:
    """Make a platform below the test's folder; keyword arguments are connections: business='sqlite:///...'."""

    def make(folder: str = "var", **connections: str) -> Platform:
        given = {
            "MLPROD_HOME": str(new_home(tmp_path / folder)),
            "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
            "MLPROD_EXPECTATIONS": str(tmp_path / folder / "great_expectations"),
            "MLPROD_PSEUDONYM_KEY": PSEUDONYM_KEY,
        }
        given |= {f"MLPROD_CONNECTION_{name.upper()}": url for name, url in connections.items()}
        return Platform(from_environment(given))

    return make


@pytest.fixture(scope="session")
def flights_pipeline() -> Pipeline:
    """The declaration that the project ships."""
    return load(FLIGHTS)


@pytest.fixture(scope="session")
def orders_pipeline() -> Callable[..., Pipeline]:
    """Make a small use case: table `orders` of database 'shop', at midnight in Zurich; arguments change the table."""
    return shop_of_one_table


@pytest.fixture
def use_case() -> Pipeline:
    """That use case, nothing changed."""
    return shop_of_one_table()


@pytest.fixture
def orders_in(tmp_path: Path) -> Callable[..., str]:
    """Make an SQLite database with the rows as table `orders`; its columns have no types, so anything goes in."""
    import sqlite3

    def make(rows: list[dict[str, object]], name: str = "shop.db") -> str:
        path = tmp_path / name
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE orders ({', '.join(rows[0])})")
            connection.executemany(
                f"INSERT INTO orders VALUES ({', '.join('?' * len(rows[0]))})", [tuple(row.values()) for row in rows]
            )
        connection.close()
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="session")
def flights_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's business database, on SQLite; not to be written to."""
    from demo.business_database import fill

    path = tmp_path_factory.mktemp("business") / "business.db"
    fill(f"sqlite:///{path}")
    return path
