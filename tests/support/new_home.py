"""New homes with their databases, copied: the migrations that make one take longer than most tests and are always the same."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from mlprod_tasks.platform.ledger_store import Ledger


def new_home(home: Path) -> Path:
    """Put a new ledger and a new MLflow registry into a home folder that has none, as its first use would make them."""
    for name, new in DATABASES.items():
        if not (home / name).exists():
            home.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(new())
    return home


@cache
def _new_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = Ledger(f"sqlite:///{path}")
        ledger.migrate()
        ledger.engine.dispose()  # the last connection to close leaves no write-ahead log
        return path.read_bytes()


@cache
def _new_registry() -> bytes:
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        engine = create_sqlalchemy_engine(f"sqlite:///{path}")
        _initialize_tables(engine)
        engine.dispose()
        return path.read_bytes()


DATABASES: dict[str, Callable[[], bytes]] = {"ledger.db": _new_ledger, "mlflow.db": _new_registry}
