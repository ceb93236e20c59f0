"""Queues of a use case's tasks: none by default, and names that a worker can be told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from tests.support.shop import SHOP


def test_tasks_have_airflows_own_queue_by_default() -> None:
    assert ml.Queues() == SHOP.queues
    assert (SHOP.queues.training, SHOP.queues.others) == ("", "")


@pytest.mark.parametrize("name", ["training,default", "large workers", "-q", "a" * 101])
def test_a_queue_that_no_worker_could_be_told_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"queues: training is .* a queue is named by"):
        replace(SHOP, queues=ml.Queues(training=name))
