"""The shop that is monitored, on a folder of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlprod_tasks.platform import Platform
from tests.support import monitored_shop as monitored


@pytest.fixture
def make_shop(tmp_path: Path) -> Callable[..., Platform]:
    """Make a shop's platform below the test's folder."""
    return lambda folder="shop", clock=None: monitored.shop_platform(tmp_path / folder, clock)


@pytest.fixture
def shop(make_shop: Callable[..., Platform]) -> Platform:
    """A shop with an empty lake."""
    return make_shop()
