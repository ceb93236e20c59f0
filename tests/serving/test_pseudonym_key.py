"""A service whose hashes are not the lake's does not answer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger_store import Ledger
from mlprod_tasks.platform.pseudonym_key import PseudonymKeyChanged, PseudonymKeyWeak, adopt_key, made_key, pseudonym_key
from mlprod_tasks.serving.messages import RequestRefused
from mlprod_tasks.serving.run import build_service


@pytest.fixture
def of_customers(orders_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A use case that hashes a field of a request."""
    made = orders_pipeline()
    own = ml.Trailing("own", "orders", {"customer": "customer"}, (ml.days(7),), (ml.Count(),))
    return replace(made, features=(*made.features, own))


def with_key(platform: Platform, key: str) -> Platform:
    return Platform(replace(platform.settings, pseudonym_key=key))


def test_it_does_not_start_with_another_key_or_a_weak_one(of_customers: Pipeline, make_platform: Any) -> None:
    platform = make_platform()
    pseudonym_key(platform, note=True)
    build_service(platform, {"shop": of_customers})
    for key, error in ((made_key(), PseudonymKeyChanged), ("x", PseudonymKeyWeak)):
        with pytest.raises(error):
            build_service(with_key(platform, key), {"shop": of_customers})


def test_it_stops_answering_when_the_key_is_replaced_and_says_why(
    of_customers: Pipeline, make_platform: Any, caplog: pytest.LogCaptureFixture
) -> None:
    platform = make_platform()
    pseudonym_key(platform, note=True)
    service = build_service(platform, {"shop": of_customers})
    service.requests.check_ready("shop")
    adopt_key("ada", with_key(platform, made_key()))
    service.loader.read_ledger()
    with pytest.raises(RequestRefused, match="not loaded"):
        service.requests.check_ready("shop")
    assert "MLPROD_PSEUDONYM_KEY is not the key in use since" in caplog.text


def test_a_ledger_that_is_away_at_the_start_is_asked_later(
    of_customers: Pipeline, make_platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_platform()
    pseudonym_key(first, note=True)
    platform = with_key(first, made_key())
    platform.ledger.answers()

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("SELECT", {}, OSError("no route"))

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "all", away)
        service = build_service(platform, {"shop": of_customers})
    service.loader.read_ledger()
    assert not service.loader.loaded["shop"].ledger_read
