"""New ledgers in SQLite, copied: the migrations that make one take longer than most tests, and are the same each time."""

import tempfile
from functools import cache
from pathlib import Path

from mlprod_tasks.platform.ledger_store import Ledger


def with_new_ledger(home: Path) -> Path:
    """Put a new ledger into a home folder that has none, as its first use would make it. Returns the folder."""
    ledger = home / "ledger.db"
    if not ledger.exists():
        home.mkdir(parents=True, exist_ok=True)
        ledger.write_bytes(_new_ledger())
    return home


@cache
def _new_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = Ledger(f"sqlite:///{path}")
        ledger.migrate()
        ledger.engine.dispose()  # the last connection to close leaves no write-ahead log
        return path.read_bytes()
