"""The shop of these tests is that of the features."""

import pytest

from tests.support.feature_shop import Shop


@pytest.fixture
def shop(feature_shop: Shop) -> Shop:
    """A lake of orders, payments, prices and customers, empty at first."""
    return feature_shop
