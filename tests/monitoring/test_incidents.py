"""Two use cases over one table: when its column breaks, that is one incident, told once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from smtplib import SMTP
from threading import Barrier, BrokenBarrierError

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks import declaration as ml
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.incidents import COLUMNS, columns_behind, incidents, incidents_of
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.notifications.decision_mails import tell_decision
from mlprod_tasks.operations.status import status
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Decision, Mail
from mlprod_tasks.scoring.score import score
from tests.support.clock import SetClock
from tests.support.shop import SHOP
from tests.support.trained_shop import AS_OF, Shop, raw_tables

WATCHED = {
    "watches": (ml.Watch("null_share", high=0.05), ml.Watch("volume", low=0.5, high=1.5)),
    "rules": (ml.Rule("nulls", "null_share", "alert"), ml.Rule("volume", "volume", "alert")),
}
FIRST = replace(SHOP, **WATCHED)
SECOND = replace(
    SHOP,
    name="large_returns",
    alert_to=("shop@example.com",),
    model=replace(SHOP.model, candidates=(ml.LogisticRegression(),)),
    gates=(ml.AtLeast("roc_auc", 0.3),),
    **WATCHED,
)
SENTENCE = "one incident: column amount of shop/orders; alarms of returns (nulls) and of large_returns (nulls)"


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[MailCatcher]:
    with MailCatcher(tmp_path / "outbox") as catcher:
        yield catcher


@pytest.fixture
def broken(promoted_shop: Shop, catcher: MailCatcher) -> Shop:
    """Both use cases with a champion each, and amounts that are missing at AS_OF."""
    clock = SetClock(datetime(2024, 2, 10, 12, tzinfo=UTC))
    platform = replace(promoted_shop.platform, connect_mail=lambda: SMTP("127.0.0.1", catcher.smtp_port), clock=clock)
    shop = Shop(FIRST, platform)
    for name, rows in zip(("orders", "returns"), raw_tables(), strict=True):
        ticks = rows["tick"].to_pylist()
        shop.platform.lake.replace_ticks(names.raw(SECOND, name), SECOND.schedule.range(min(ticks), max(ticks)), rows)
    assert Shop(SECOND, shop.platform).promoted("two").moved
    for pipeline in (FIRST, SECOND):
        tick = pipeline.schedule.tick(AS_OF)
        orders = shop.platform.lake.rows(names.raw(pipeline, "orders"), [tick.name])
        odd = pc.equal(pc.bit_wise_and(pa.array(range(orders.num_rows)), 1), 1)
        amount = pc.if_else(odd, None, orders["amount"])
        table = orders.set_column(orders.column_names.index("amount"), "amount", amount)
        shop.platform.lake.replace_ticks(names.raw(pipeline, "orders"), pipeline.schedule.range(AS_OF, AS_OF), table)
    return shop


def decided(shop: Shop, pipeline: ml.Pipeline) -> bool:
    """Score, measure, decide and mail; whether a mail was sent."""
    tick = pipeline.schedule.tick(AS_OF)
    score(pipeline, tick, shop.platform)
    measure(pipeline, tick, shop.platform)
    decide(pipeline, tick, shop.platform)
    return tell_decision(pipeline, tick, shop.platform)


def test_a_broken_column_is_one_incident_in_ledger_mail_page_and_status(broken: Shop, catcher: MailCatcher) -> None:
    assert decided(broken, FIRST)
    assert incidents(FIRST, broken.platform) == ()
    assert not decided(broken, SECOND), "people were told"
    (mail,) = catcher.outbox.mails()
    assert "alert at 2024-02-10: nulls" in mail["Subject"]
    decisions = {one.pipeline: one for one in broken.platform.ledger.all(Decision)}
    assert {name: [rule[COLUMNS] for rule in one.rules] for name, one in decisions.items()} == {
        name: [["shop/orders.amount"]] for name in ("returns", "large_returns")
    }
    noted = [one for one in broken.platform.ledger.all(Mail) if not one.recipients]
    assert [(one.pipeline, str(one.tick)) for one in noted] == [("large_returns", AS_OF)]
    for pipeline in (FIRST, SECOND):
        (shown,) = detail(pipeline, broken.platform).incidents
        assert shown.cause == "column amount of shop/orders"
        assert set(shown.alarms) == {("returns", "nulls"), ("large_returns", "nulls")}
    assert SENTENCE in status(FIRST, broken.platform)
    # Run again: nothing more is told.
    assert not tell_decision(SECOND, SECOND.schedule.tick(AS_OF), broken.platform)
    # Others than were told get the mail, which says that it is the same incident.
    other = replace(SECOND, alert_to=("shop@example.com", "planning@example.com"))
    assert tell_decision(other, other.schedule.tick(AS_OF), broken.platform)
    *_, mail = catcher.outbox.mails()
    assert mail["To"] == "planning@example.com"
    text = mail.get_body(("plain",))
    assert text is not None
    assert "One incident: column amount of shop/orders" in " ".join(text.get_content().split())


def test_of_use_cases_that_decide_at_once_one_tells(broken: Shop, catcher: MailCatcher) -> None:
    for pipeline in (FIRST, SECOND):
        tick = pipeline.schedule.tick(AS_OF)
        score(pipeline, tick, broken.platform)
        measure(pipeline, tick, broken.platform)
        decide(pipeline, tick, broken.platform)
    both = Barrier(2)

    def connect() -> SMTP:
        with suppress(BrokenBarrierError):  # the other one waits for its turn
            both.wait(1)
        return SMTP("127.0.0.1", catcher.smtp_port)

    platform = replace(broken.platform, connect_mail=connect)
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda one: tell_decision(one, one.schedule.tick(AS_OF), platform), (FIRST, SECOND)))
    assert sorted(told) == [False, True]
    assert len(catcher.outbox.mails()) == 1


def test_a_decision_of_long_ago_shares_what_was_so_then(make_platform: Callable[..., Platform]) -> None:
    platform = make_platform()

    def alarm(name: str, tick: date | str, column: str = "shop/orders.amount") -> Decision:
        rule = {"rule": "nulls", "action": "alert", COLUMNS: [column]}
        decision = Decision(pipeline=name, tick=tick, action="alert", reason="", at=platform.clock.now(), rules=[rule])
        platform.ledger.put(decision)
        return decision

    then, now = (alarm("returns", day) for day in (date(2024, 2, 10), date(2024, 6, 1)))
    alarm("hourly", "2024-02-17T2300Z")
    alarm("later", "2024-02-18T0000Z")
    alarm("daily", date(2024, 2, 3))
    alarm("daily", date(2024, 6, 8))
    alarm("before", date(2024, 2, 2))
    assert [one.use_cases for one in incidents_of(then, platform)] == [("returns", "daily", "hourly")]
    assert [one.use_cases for one in incidents_of(now, platform)] == [("returns", "daily")]
    assert incidents(FIRST, platform) == incidents_of(now, platform)


def test_an_alarm_of_another_column_or_another_time_is_no_part_of_it(make_platform: Callable[..., Platform]) -> None:
    platform, day = make_platform(), date(2024, 2, 10)

    def alarm(name: str, tick: date, column: str, action: str = "alert") -> None:
        rule = {"rule": "nulls", "action": action, COLUMNS: [column]}
        platform.ledger.put(Decision(pipeline=name, tick=tick, action=action, reason="", at=platform.clock.now(), rules=[rule]))

    alarm("returns", day, "shop/orders.amount")
    alarm("weekly", date(2024, 2, 5), "shop/orders.amount")
    (one,) = incidents(FIRST, platform)
    assert one.alarms == (("returns", "nulls"), ("weekly", "nulls"))
    alarm("weekly", date(2024, 2, 9), "shop/orders.amount", "note")
    assert incidents(FIRST, platform) == ()
    alarm("weekly", day, "shop/orders.items")
    assert incidents(FIRST, platform) == ()
    alarm("old", date(2024, 1, 10), "shop/orders.amount")
    assert incidents(FIRST, platform) == ()


@pytest.mark.parametrize(
    ("what", "name", "columns"),
    [
        ("feature_psi", "distance", ["business/flights.distance"]),
        ("null_share", "block_minutes", ["business/flights.sched_arr_at", "business/flights.sched_dep_at"]),
        ("feature_psi", "plane_seats", ["business/planes.seats"]),
        ("feature_psi", "weather_temp", ["business/weather.temp"]),
        ("feature_psi", "carrier_late_rate_7d", ["business/arrivals.arr_delay"]),
        ("feature_psi", "carrier_count_7d", ["business/arrivals."]),
        ("join_coverage", "planes", ["business/planes."]),
        ("volume", "", ["business/flights."]),
        ("calibration", "", []),
    ],
)
def test_columns_are_found_through_every_kind_of_feature(
    what: str, name: str, columns: list[str], flights_pipeline: ml.Pipeline
) -> None:
    assert columns_behind(flights_pipeline, {"measurements": [{"what": what, "slice": name}]}) == columns
