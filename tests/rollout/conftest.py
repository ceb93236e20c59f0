"""The shop with three versions to roll out."""

import pytest

from tests.support.ramped_shop import Ramped


@pytest.fixture
def shop(ramped_shop: Ramped) -> Ramped:
    """A shop of the test's own, whose version 2 is champion and whose version 3 is to be rolled out."""
    return ramped_shop
