"""A use case whose scores are features here is watched by what its own monitor decided."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from mlprod_tasks.declaration import Monitoring, Upstream
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.upstream import upstream
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision
from tests.support import monitored_shop as monitored

T = monitored.FIRST
PIPELINE = replace(monitored.pipeline, monitoring=Monitoring(upstream=(Upstream("demand", ("price",)), Upstream("fraud", ()))))


def decided(platform: Platform, name: str, *rules: tuple[str, str], day: date = T) -> None:
    fired: list[Any] = [{"rule": rule, "action": action} for rule, action in rules]
    platform.ledger.put(
        Decision(
            pipeline=name,
            tick=day,
            action="alert" if rules else "nothing",
            reason="",
            at=datetime(2024, 3, 1, tzinfo=UTC),
            rules=fired,
        )
    )


def read(platform: Platform) -> dict[str, Reading]:
    return {one.slice: one for one in upstream(PIPELINE, PIPELINE.schedule.tick(T), platform)}


def test_the_alarms_of_each_upstream_use_case_at_this_tick_are_counted(shop: Platform) -> None:
    decided(shop, "demand", ("inputs moved", "alert"), ("ranking is poor", "retrain"))
    decided(shop, "fraud")
    decided(shop, "fraud", ("volume moved", "alert"), day=date(2024, 3, 2))
    found = read(shop)
    assert {name: one.value for name, one in found.items()} == {"demand": 2.0, "fraud": 0.0}
    assert found["demand"].detail == "inputs moved, ranking is poor; its scores are price here"
    assert found["fraud"].detail == ""


def test_what_is_only_noted_is_no_alarm(shop: Platform) -> None:
    decided(shop, "demand", ("inputs moved", "note"))
    assert read(shop)["demand"].value == 0.0


@pytest.mark.parametrize("name", ["demand", "fraud"])
def test_an_upstream_use_case_that_was_not_decided_yet_has_no_value_and_says_what_to_do(shop: Platform, name: str) -> None:
    found = read(shop)[name]
    assert (found.value, found.missing) == (None, False)
    assert f"{name} has not been decided at {T}: monitor it before shop" in found.why


def test_without_upstream_nothing_is_said(shop: Platform) -> None:
    assert list(upstream(monitored.pipeline, monitored.pipeline.schedule.tick(T), shop)) == []


def test_an_alarm_upstream_is_watched_and_told_by_name(shop: Platform) -> None:
    from mlprod_tasks.declaration import Watch
    from mlprod_tasks.monitoring.measurement import judged

    decided(shop, "demand", ("inputs moved", "alert"))
    watching = replace(PIPELINE, watches=(*PIPELINE.watches, Watch("upstream", high=0.0)))
    tick = PIPELINE.schedule.tick(T)
    row = judged(read(shop)["demand"], watching, tick, monitored.VERSION, datetime(2024, 3, 1, tzinfo=UTC))
    assert row.breached
    assert "alarms of upstream use case demand" in row.sentence
