"""A ramp in one process: to its end, and taken back whatever ends it."""

from typing import Any

import pytest

from mlprod_tasks.platform.ledger import Rollout
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.rollout.steps import CannotRamp, Checked
from mlprod_tasks.workflows import ramp
from tests.support.ramped_shop import Ramped, begun, fails


@pytest.fixture
def shop(ramped_shop: Ramped) -> Ramped:
    """A shop of the test's own, whose version 2 is champion and whose version 3 is to be rolled out."""
    return ramped_shop


def down(*_: Any, **__: Any) -> None:
    raise OSError("it is down")


def test_in_the_foreground_it_goes_to_the_end(shop: Ramped) -> None:
    said = list(ramp(shop.pipeline, 3, "Ada", "why not", shop.platform, wait=lambda _: shop.answered(400)))
    assert shop.champion() == 3
    assert said[-1] == "version 3 of returns is champion: why not"


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, OSError])
def test_in_the_foreground_whatever_ends_it_takes_the_challenger_back(shop: Ramped, ending: type[BaseException]) -> None:
    def ends(_: float) -> None:
        raise ending("the disk is full")

    with pytest.raises(ending):
        list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=ends))
    assert shop.rollout().mode == "champion"
    (mail,) = shop.mails()
    assert ("the disk is full" in mail) == (ending is OSError)


def test_in_the_foreground_a_worse_version_is_taken_back(shop: Ramped) -> None:
    said = list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=lambda _: shop.answered(400, error=fails)))
    assert "FAIL  errors" in said[-2]
    assert said[-1].startswith("returns: taken back: version 3 at 20% of entities")
    assert (shop.champion(), len(shop.mails())) == (2, 1)


def test_in_the_foreground_a_version_that_is_overtaken_is_taken_back(shop: Ramped) -> None:
    def overtakes(_: float) -> None:
        assert shop.champion() == 2, "it is seen at the next look"
        rollback(shop.pipeline, shop.platform, to=1, by="Bo")

    said = list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=overtakes))
    assert "so it would not be promoted" in said[-2]
    assert (shop.rollout().mode, shop.champion(), len(shop.mails())) == ("champion", 1, 1)


def test_in_the_foreground_what_looked_bad_for_a_moment_goes_no_further_before_it_has_passed(
    shop: Ramped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprod_tasks.rollout import steps

    verdicts = iter(["waiting", "waiting", "failed"])
    monkeypatch.setattr(steps, "look", lambda *_, **__: Checked("failed", "for a moment"))
    monkeypatch.setattr(steps, "check", lambda *_, **__: Checked(next(verdicts), "in the end"))
    list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=lambda _: None))
    shares = {one.share for one in shop.platform.ledger.all(Rollout, pipeline="returns")}
    assert shares == {0.0, 0.2}


def test_in_the_foreground_a_ledger_that_was_down_for_a_moment_does_not_leave_the_challenger(
    shop: Ramped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprod_tasks.rollout import steps

    read, waits = steps.ramping, []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            monkeypatch.setattr(steps, "ramping", down)
            raise OSError("the ledger is down")
        if len(waits) == 4:
            monkeypatch.setattr(steps, "ramping", read)

    with pytest.raises(OSError, match="the ledger is down"):
        list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=wait))
    assert (shop.rollout().mode, len(shop.mails())) == ("champion", 1)
    assert waits[1:] == [1.0, 2.0, 5.0]


def test_in_the_foreground_it_is_taken_back_also_where_nobody_listens_after_its_beginning(shop: Ramped) -> None:
    said = ramp(shop.pipeline, 3, "Ada", "", shop.platform)
    next(said)
    assert shop.rollout().mode == "shadow"
    said.close()
    assert shop.rollout().mode == "champion"


def test_a_ramp_that_is_refused_in_the_foreground_takes_back_no_other(shop: Ramped) -> None:
    begun(shop, 0.2)
    with pytest.raises(CannotRamp):
        list(ramp(shop.pipeline, 3, " ", "", shop.platform))
    assert shop.rollout().mode == "canary"
