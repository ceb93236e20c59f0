"""A training is failed while one of its steps has failed, and running again when that one was done again."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.platform.step_runs import step
from mlprod_tasks.training.workspace import failing
from tests.support.shop import SHOP
from tests.support.trained_shop import platform_at

NOW = datetime(2024, 2, 10, 4, tzinfo=UTC)


@step(about="training_id")
def evaluate(pipeline: Pipeline, training_id: str, platform: Platform, error: Exception | None = None) -> None:
    with failing(training_id, platform):
        _raise(error)


@step(about="training_id")
def backtest(pipeline: Pipeline, training_id: str, platform: Platform, error: Exception | None = None) -> None:
    with failing(training_id, platform):
        _raise(error)


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


@contextmanager
def away() -> Iterator[Exception]:
    error = ConnectionError("the registry does not answer")
    with pytest.raises(ConnectionError):
        yield error


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = platform_at(tmp_path)
    asked = Training(id="one", pipeline="returns", as_of=date(2024, 2, 10), reason="a test", state="running", at=NOW)
    platform.ledger.put(asked)
    return platform


def state(platform: Platform) -> str:
    training = platform.ledger.get(Training, "one")
    assert training is not None
    return training.state


def test_a_step_that_failed_and_succeeds_when_it_is_run_again_lets_the_training_run_on(platform: Platform) -> None:
    with away() as error:
        evaluate(SHOP, "one", platform, error)
    assert state(platform) == "failed"
    evaluate(SHOP, "one", platform)
    assert state(platform) == "running"


def test_a_step_that_succeeds_beside_one_that_failed_leaves_the_training_failed(platform: Platform) -> None:
    with away() as error:
        backtest(SHOP, "one", platform, error)
    evaluate(SHOP, "one", platform)
    assert state(platform) == "failed"
    with away() as error:
        evaluate(SHOP, "one", platform, error)
    evaluate(SHOP, "one", platform)
    assert state(platform) == "failed"
    backtest(SHOP, "one", platform)
    assert state(platform) == "running"
