"""The service of the small shop."""

import pytest

from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.run import build_service
from tests.support.trained_shop import Shop


@pytest.fixture
def service(promoted_shop: Shop) -> Service:
    """The service of a shop with a champion, asked without keys."""
    return build_service(promoted_shop.platform, {promoted_shop.pipeline.name: promoted_shop.pipeline}, keys_needed=False)


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "no fast path"])
def fast_path(request: pytest.FixtureRequest) -> bool:
    """Whether a real server answers with the fast path: the tests that talk to one run with it and without."""
    return bool(request.param)
