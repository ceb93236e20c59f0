"""Ledgers to show."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from tests.support import seeded_ledger


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory, flights_pipeline: Pipeline) -> Platform:
    """Eleven weeks of a pipeline whose inputs move near the end. Only to be read."""
    platform = seeded_ledger.opened(tmp_path_factory.mktemp("months"))
    seeded_ledger.fill(platform, flights_pipeline, seeded_ledger.TICKS)
    seeded_ledger.answer_requests(
        platform, flights_pipeline, seeded_ledger.moment(seeded_ledger.FIRST + 68 * seeded_ledger.DAY)
    )
    return platform


@pytest.fixture
def make_ledger(tmp_path: Path) -> Callable[..., Platform]:
    """Make an empty ledger; the clock stands at the evening of `day`."""
    return lambda day=seeded_ledger.LAST: seeded_ledger.opened(tmp_path / "home", day)
