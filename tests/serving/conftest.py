"""The service of the small shop."""

import pytest

from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.run import made
from tests.support.trained_shop import Shop


@pytest.fixture
def service(promoted_shop: Shop) -> Service:
    """The service of a shop with a champion, asked without keys."""
    return made(promoted_shop.platform, {promoted_shop.pipeline.name: promoted_shop.pipeline}, keys_needed=False)
