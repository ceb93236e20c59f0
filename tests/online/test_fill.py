"""Filling the online store: only what changed, whole or not at all, in any order."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
import redis

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online import OnlineFeatures
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.fill import Filled, fill_online
from mlprod_tasks.online.plan import plan
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.ledger import Publication
from tests.support.paths import REPOSITORY

Shop = Any  # of the feature tests


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2013-{text}").replace(tzinfo=UTC)


def payment(id: str, paid: str, customer: int, amount: float = 1.0) -> tuple[Any, ...]:
    return (id, at(paid), customer, "tea", amount, 1, None, None)


def fill(pipeline: Pipeline, platform: Platform, day: str, **options: Any) -> Filled:
    return fill_online(pipeline, pipeline.schedule.tick(day), platform, **options)


@pytest.fixture
def filled_shop(shop: Shop) -> Shop:
    shop.holds(
        orders=[("o", at("06-03 12:00"), 1, "tea"), ("p", at("06-04 12:00"), 2, "tea")],
        customers=[(1, "CH"), (2, "AT"), (3, "FR")],
        prices=[("tea", 1, at("06-02 07:00"), 3.0)],
        payments=[payment("a", "06-02 09:00", 1), payment("b", "06-02 10:00", 2), payment("c", "06-03 09:00", 3)],
    )
    return shop


def customer(filled: Filled) -> Any:
    return filled.groups["customer"]


def test_filling_again_writes_nothing_and_makes_no_new_generation(filled_shop: Shop) -> None:
    first = fill(filled_shop.pipeline, filled_shop.platform, "2013-06-03")
    again = fill(filled_shop.pipeline, filled_shop.platform, "2013-06-03")
    assert (first.generation, again.generation) == (1, 1)
    # customers 3; one price; payments of two customers, and of two pairs; orders planned of one product
    assert (first.entries, first.written, again.written, again.removed, again.bytes) == (9, 9, 0, 0, 0)


def test_only_the_keys_whose_rows_changed_are_written(filled_shop: Shop) -> None:
    fill(filled_shop.pipeline, filled_shop.platform, "2013-06-03")
    filled_shop.holds(customers=[(1, "CH"), (2, "DE"), (4, "FR")])
    changed = fill(filled_shop.pipeline, filled_shop.platform, "2013-06-03")
    assert (changed.written, changed.removed, changed.generation) == (2, 1, 2)


def test_an_entry_goes_when_no_moment_that_is_answered_can_need_it(filled_shop: Shop) -> None:
    fill(filled_shop.pipeline, filled_shop.platform, "2013-06-03")
    later = fill(filled_shop.pipeline, filled_shop.platform, "2013-06-12")
    assert customer(later).keys == 1  # of 06-03 09:00: seven days and 50 hours before the tick is 06-03 06:00
    assert customer(fill(filled_shop.pipeline, filled_shop.platform, "2013-06-13")).keys == 0


def test_ticks_filled_in_any_order_end_at_the_newest(filled_shop: Shop) -> None:
    pipeline, platform = filled_shop.pipeline, filled_shop.platform
    newest = fill(pipeline, platform, "2013-06-04")
    assert newest.tick == "2013-06-04"
    older = fill(pipeline, platform, "2013-06-02")
    assert (older.tick, older.generation, older.groups) == ("2013-06-04", newest.generation, newest.groups)
    assert fill(pipeline, platform, "2013-06-02", back=True).tick == "2013-06-02"
    assert fill_online(pipeline, None, platform).tick == "2013-06-04"


def test_a_group_is_complete_up_to_its_table_s_newest_tick(filled_shop: Shop) -> None:
    groups = fill(filled_shop.pipeline, filled_shop.platform, "2013-06-05").groups
    told = {name: datetime.fromtimestamp(state.complete_to / 1e6, UTC) for name, state in groups.items()}
    assert told["customer"] == at("06-04 08:00")  # the last payment lies in the partition of 06-04
    assert told["prices (price)"] == at(
        "06-03 08:00"
    )  # known an hour after 07:00, which is exactly at tick 06-02: the next one's
    assert told["planned"] == at("06-05 08:00")  # what is planned for 06-04 is all there until that tick ends
    filled_shop.platform.ledger.put(
        *[
            Publication(pipeline="shop", table_name=name, tick=date(2013, 6, 5), rows=0, delta_version=1, at=at("06-05 09:00"))
            for name in ("payments", "customers")
        ]
    )
    groups = fill(filled_shop.pipeline, filled_shop.platform, "2013-06-05").groups
    assert datetime.fromtimestamp(groups["customer"].complete_to / 1e6, UTC) == at("06-05 08:00")  # published, without rows
    assert datetime.fromtimestamp(groups["customers (country)"].complete_to / 1e6, UTC) == at("06-05 08:00")


def test_ticks_that_are_missing_in_between_are_named(filled_shop: Shop) -> None:
    filled_shop.holds(payments=[payment("a", "05-30 09:00", 1), payment("c", "06-02 09:00", 3)])
    filled = fill(filled_shop.pipeline, filled_shop.platform, "2013-06-03")
    assert filled.missing["payments"] == ("2013-06-01", "2013-06-02")
    assert "payments has no partition of 2013-06-01, 2013-06-02" in filled.sentence


def test_another_declaration_of_a_feature_is_another_group_and_the_old_one_goes(filled_shop: Shop) -> None:
    pipeline, platform = filled_shop.pipeline, filled_shop.platform
    fill(pipeline, platform, "2013-06-03")
    features = [f for f in pipeline.features if getattr(f, "name", "") != "pair"]
    windows = [replace(f, windows=(ml.days(2),)) if getattr(f, "name", "") == "customer" else f for f in features]
    other = replace(pipeline, features=tuple(windows))
    filled = fill(other, platform, "2013-06-03")
    assert {group.id for group in plan(other)} & {group.id for group in plan(pipeline)} == {
        group.id for group in plan(other) if group.name != "customer"
    }
    assert filled.removed == 2 + 1 + 2 + 1  # the entries of both groups, and what lists them
    assert compared(other, other.schedule.tick("2013-06-03"), platform).share == 0


def test_what_a_window_rests_on_is_part_of_the_declaration(filled_shop: Shop) -> None:
    tables = tuple(
        replace(table, known_after=ml.hours(1)) if table.name == "payments" else table for table in filled_shop.pipeline.tables
    )
    later = replace(filled_shop.pipeline, tables=tables)
    mine, other = ({group.name: group.id for group in plan(one)} for one in (filled_shop.pipeline, later))
    assert {name for name in mine if mine[name] != other[name]} == {"customer", "pair"}


def test_fills_at_once_end_with_one_of_them_whole(filled_shop: Shop) -> None:
    pipeline, settings = filled_shop.pipeline, filled_shop.platform.settings
    _ = filled_shop.platform.ledger  # migrated once

    def run(day: int) -> Filled:
        return fill(pipeline, Platform(settings), f"2013-06-0{day}")

    with ThreadPoolExecutor(4) as pool:
        filled = list(pool.map(run, (2, 4, 3, 4)))
    assert sorted({one.generation for one in filled})[-1] >= 1
    last = fill(pipeline, filled_shop.platform, "2013-06-02")
    assert (last.tick, last.written, last.removed) == ("2013-06-04", 0, 0)
    for day in ("2013-06-03", "2013-06-04"):
        assert compared(pipeline, pipeline.schedule.tick(day), filled_shop.platform).share == 0


KILLED = """
import os, pickle, signal, sys
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.declaration.recorded import read
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform.online_store import sqlite

platform = Platform(from_environment())
replace = sqlite.SqliteStore.replace

def dying(self, pipeline, base, put, removed):
    def entries():
        for i, entry in enumerate(put):
            if i == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            yield entry
    return replace(self, pipeline, base, entries(), removed)

sqlite.SqliteStore.replace = dying
pipeline = read(sys.stdin.read())
fill_online(pipeline, pipeline.schedule.tick("2013-06-04"), platform)
"""


def test_a_fill_that_is_killed_leaves_what_was_there(filled_shop: Shop) -> None:
    from mlprod_tasks.declaration.recorded import text_of

    pipeline, platform = filled_shop.pipeline, filled_shop.platform
    fill(pipeline, platform, "2013-06-03")
    filled_shop.holds(customers=[(n, "IT") for n in range(1, 9)])
    environment = os.environ | {"MLPROD_HOME": str(platform.settings.home)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=REPOSITORY, env=environment, input=text_of(pipeline), text=True, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    online = OnlineFeatures(pipeline, platform.online_store)
    request = {"id": "x", "due": at("06-03 12:00"), "customer": 2, "product": "tea"}
    made = online.row(request, at("06-03 08:00"))
    assert (made.generation, made.values[pipeline.feature_names.index("country")]) == (1, "AT")
    assert fill(pipeline, platform, "2013-06-04").generation == 2


LARGE = [float("inf"), float("nan"), 1e300, 4e15, 2e14, -4e15]


@pytest.mark.parametrize("large", LARGE)
def test_values_that_leave_64_bits_give_the_same_means_online_as_in_batch(filled_shop: Shop, large: float) -> None:
    sums = [payment(f"l{i}", f"06-02 0{i}:00", 1, large if i % 2 else 3e15 + i / 2) for i in range(8)]
    filled_shop.holds(payments=[*sums, payment("s", "06-02 09:00", 2, 0.1)])
    fill(filled_shop.pipeline, filled_shop.platform, "2013-06-03")
    checked = compared(filled_shop.pipeline, filled_shop.pipeline.schedule.tick("2013-06-03"), filled_shop.platform)
    assert checked.rows > 0
    assert checked.share == 0.0, checked.examples


def test_a_table_that_was_never_ingested_is_named(filled_shop: Shop) -> None:
    other = replace(filled_shop.pipeline, name="elsewhere")
    with pytest.raises(TableMissing, match="elsewhere/raw/"):
        fill_online(other, None, filled_shop.platform)


def test_a_store_that_lost_its_generation_is_filled_as_a_whole(filled_shop: Shop, empty_redis_url: str) -> None:
    pipeline = filled_shop.pipeline
    platform = Platform(replace(filled_shop.platform.settings, online_url=empty_redis_url))
    first = fill(pipeline, platform, "2013-06-03")
    with redis.Redis.from_url(empty_redis_url) as client:
        client.delete(*client.keys("*:online:*"))
    again = fill(pipeline, platform, "2013-06-03")
    assert (again.generation, again.written) == (first.generation + 1, first.written)
    assert compared(pipeline, pipeline.schedule.tick("2013-06-03"), platform).share == 0
