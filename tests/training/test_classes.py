"""Training on classes: what cannot be trained on is refused with the reason, and what is unknown is counted."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from tests.support.reason_shop import REASONS, reason_shop, reasons
from tests.support.trained_shop import Shop, raw_tables


@pytest.fixture
def shop_of(filled_home: Path, tmp_path: Path) -> Callable[..., Shop]:
    def make(change: Callable[[pa.Table], pa.Table] = lambda returns: returns, pipeline: ml.Pipeline = REASONS) -> Shop:
        return reason_shop(filled_home, tmp_path, returns=change(reasons(*raw_tables())), pipeline=pipeline)

    return make


def test_a_model_of_classes_is_promoted(shop_of):
    shop = shop_of()
    promoted = shop.promoted("one")
    assert promoted.model_version == 1
