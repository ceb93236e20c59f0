"""Features of a tick that reads more events than a process is to hold are those of one process, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.features import event_stage
from mlprod_tasks.features.event_parts import event_parts
from mlprod_tasks.features.key_ranges import key_ranges
from mlprod_tasks.features.staged_values import EventGroup, StagedPiece
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.compute import Piece, Result, Work
from mlprod_tasks.platform.compute.bucket_exchange import BucketExchange
from mlprod_tasks.platform.compute.exchange import Exchange, FolderExchange
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.settings import from_environment
from tests.support.late_rows import AGGREGATES, random_late_shop
from tests.support.object_storage import Bucket

Shop = Any  # of tests/support/feature_shop.py
DAY = date(2013, 6, 9)
HOUR = timedelta(hours=1)
BY = {"customer": "customer", "product": "product"}
SHORT = ml.Trailing("short", "payments", {"customer": "customer"}, (ml.hours(1), ml.hours(2)), AGGREGATES, skip=ml.hours(1))
PAIR = ml.Trailing(
    "pair", "payments", BY, (ml.days(2), ml.EVER), (*AGGREGATES, ml.Sum("amount"), ml.Count("teas", "product = 'tea'"))
)
SUMS = ml.Trailing("sums", "payments", {"product": "product"}, (ml.days(4),), (ml.Count(), ml.Mean("amount"), ml.Sum("pieces")))


def utc(hour: float) -> datetime:
    return datetime(2013, 6, 9, tzinfo=UTC) + hour * HOUR


def in_parts(
    shop: Shop, folder: Path | Exchange, event_rows: int, pieces: int
) -> tuple[pa.Table, tuple[event_stage.StagedGroup, ...]]:
    """The features of the tick, of which each piece reads the trailing ones from what was computed before."""
    platform = Platform(replace(shop.platform.settings, event_rows=event_rows))
    ticks = shop.pipeline.schedule.range(DAY)
    versions = features.pinned(shop.pipeline, platform)
    _, ranges = key_ranges(shop.pipeline, ticks, platform, versions, pieces)
    staged = features.stage_events(
        shop.pipeline, ticks, platform, versions, None, ranges, FolderExchange(folder) if isinstance(folder, Path) else folder
    )
    built = [
        features.build(shop.pipeline, ticks, platform, versions=versions, keys=keys, staged=StagedPiece(staged, number))
        for number, keys in enumerate(ranges)
    ]
    return pa.concat_tables([one.table for one in built]), staged


def at_once(shop: Shop) -> pa.Table:
    return features.build(shop.pipeline, shop.pipeline.schedule.range(DAY), shop.platform).table


def skewed(shop: Shop, *trailing: ml.Trailing, **changed: Any) -> None:
    """Half of all payments are of one customer; some have no key or value, equal moments, or sizes that no sum holds."""
    rng = np.random.default_rng(4)
    shop.pipeline = replace(shop.pipeline, features=(*shop.pipeline.features[:4], *trailing), **changed)
    orders = [
        (f"o{i:03}", utc(9 + int(rng.integers(0, 40)) / 4), [1, 1, 2, 3, None, 77][i % 6], ["tea", "milk", None][i % 3])
        for i in range(90)
    ]
    payments = []
    for i in range(600):
        paid = utc(12 - int(rng.integers(0, 48))) + (i % 3 == 0) * HOUR / 2
        customer = 1 if i % 2 else [2, 3, 4, 5, None][int(rng.integers(5))]
        amount = (
            None
            if i % 11 == 0
            else [1e300, float("inf"), 2.0**51, -(2.0**51)][i % 4]
            if i % 50 == 7
            else float(rng.normal(60, 80))
        )
        settled = None if i % 7 == 0 else paid + int(rng.integers(0, 60)) * HOUR
        product, pieces = ["tea", "milk", None][int(rng.integers(3))], int(rng.integers(-(2**61), 2**61))
        refund = float(rng.integers(0, 50)) / 8
        payments.append((f"p{i:03}", paid, customer, product, amount if i % 11 else None, pieces, settled, refund))
    shop.holds(orders=orders, payments=payments, customers=[(1, "CH"), (2, None)])


def the_same(made: pa.Table, whole: pa.Table) -> None:
    wrong = [name for name in whole.column_names if not made[name].equals(whole[name])]
    assert not wrong, [(name, made[name].to_pylist(), whole[name].to_pylist()) for name in wrong[:1]]


def test_the_bucket_of_an_event_is_that_of_its_key_however_many_threads_look_for_it(shop: Shop, tmp_path: Path) -> None:
    skewed(shop, SUMS)
    in_parts(shop, tmp_path, 100, pieces=1)
    product = pa.array(np.array(["tea", "milk", "sugar"])[np.random.default_rng(1).integers(0, 3, 600_000)])
    ticks, written = shop.pipeline.schedule.range(DAY), FolderExchange(tmp_path)
    group = EventGroup(0, shop.pipeline.table("payments"), (SUMS,), 0, 1, ticks, False, (0, 0), 64, written)
    with engine(threads=2) as connection:
        found = event_stage._with_bucket(group, pa.table({"key_product": product, "n": np.arange(600_000)}), connection)
    assert found["key_product"].equals(pa.chunked_array([product]).take(found["n"]))
    assert sorted(found["n"].to_pylist()) == list(range(600_000))
    assert (
        found.group_by("key_product").aggregate([("_bucket", "count_distinct")])["_bucket_count_distinct"].to_pylist()
        == [1] * 3
    )


@pytest.mark.parametrize(("predict_at", "event_rows", "pieces"), [(ml.AtTick(), 100, 1), (ml.Before(ml.hours(30)), 60, 3)])
def test_every_aggregate_has_the_bits_of_one_process(
    shop: Shop, tmp_path: Path, predict_at: Any, event_rows: int, pieces: int
) -> None:
    skewed(shop, SHORT, PAIR, SUMS, predict_at=predict_at)
    made, staged = in_parts(shop, tmp_path / "events", event_rows, pieces)
    assert [one.group.by for one in staged] == [["customer"], ["customer", "product"], ["product"]]
    assert made.num_rows == 90
    the_same(made, at_once(shop))
    assert not list((tmp_path / "events").glob("events-*")), "events are deleted as soon as they are aggregated"


def test_parts_that_are_exchanged_in_a_bucket_have_the_same_bits(
    shop: Shop, tmp_path: Path, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    heavy = replace(SHORT, windows=(ml.EVER, ml.hours(2)), aggregates=(ml.Last("amount"), ml.Std("amount")))
    skewed(shop, heavy, SUMS)
    given = {"MLPROD_HOME": str(tmp_path / "home"), "MLPROD_CONNECTION_LAKE": bucket.connection()}
    folder = BucketExchange(f"{bucket.url}/lake", "events", from_environment(given))
    made, staged = in_parts(shop, folder, 200, 2)
    the_same(made, at_once(shop))
    assert [len(one.done) > 2 for one in staged] == [True, True]
    assert "261 rows in the window have customer 1, more than MLPROD_EVENT_ROWS" in caplog.text
    assert not [key for key in folder._written() if "/events-" in key]
    assert list((tmp_path / "home" / "exchange").iterdir()) == []


def test_rows_that_came_late_are_seen_by_the_same_rows(shop: Shop, tmp_path: Path) -> None:
    random_late_shop(shop, 3)
    made, staged = in_parts(shop, tmp_path / "events", 40, 2)
    assert staged[0].group.hides_late
    the_same(made, at_once(shop))


def test_a_tick_that_reads_few_events_or_has_no_rows_computes_nothing_before(shop: Shop, tmp_path: Path) -> None:
    skewed(shop, PAIR)
    made, staged = in_parts(shop, tmp_path / "events", 600, 2)
    assert (staged, (tmp_path / "events").exists()) == ((), False)
    the_same(made, at_once(shop))
    shop.holds(orders=[])
    assert in_parts(shop, tmp_path / "events", 10, 1)[1] == ()


def test_a_key_that_no_process_can_hold_is_named(shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    skewed(shop, replace(SHORT, windows=(ml.EVER,), aggregates=(ml.Count(), ml.Last("amount"))))
    with caplog.at_level(logging.WARNING, "mlprod_tasks.features.event_stage"):
        in_parts(shop, tmp_path / "events", 200, 1)
        split_further = replace(SUMS, by={"customer": "customer"})
        shop.pipeline = replace(shop.pipeline, features=(*shop.pipeline.features[:4], split_further))
        in_parts(shop, tmp_path / "sums", 200, 1)
    (told,) = [one.getMessage() for one in caplog.records if one.name.endswith("event_stage")]
    assert "261 rows in the window have customer 1, more than MLPROD_EVENT_ROWS, and last_amount need" in told


class Unruly:
    """Runs each piece of work twice, in any order."""

    def map(self, work: Work[Piece, Result], pieces: Sequence[Piece], what: str) -> Iterator[Result]:
        doubled = [*range(len(pieces)), *reversed(range(len(pieces)))]
        np.random.default_rng(5).shuffle(doubled)
        done = dict(zip(doubled, work(iter([pieces[number] for number in doubled])), strict=True))
        return iter([done[number] for number in range(len(pieces))])


def test_work_that_is_done_twice_and_in_any_order_changes_nothing(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skewed(shop, SHORT, SUMS)
    monkeypatch.setattr(event_stage, "compute_of", lambda settings: Unruly())
    the_same(in_parts(shop, tmp_path / "events", 150, 2)[0], at_once(shop))


def test_a_key_with_half_of_all_events_is_spread_over_parts_of_like_size() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(40, (60, 512))
    counts[:, 7] = counts.sum(axis=1)  # as many as all others together
    most = int(counts.sum()) // 10
    parts = event_parts(counts, most, sums=True, others=False, asked=(0, 0), look_back=timedelta(days=28))
    events = [part.events for part in parts]
    assert sum(events) == counts.sum()
    assert max(events) <= 1.2 * sum(events) / len(events)
    assert max(events) <= 1.1 * most
    covered = np.zeros(counts.shape, int)
    for part in parts:
        covered[np.ix_(range(60) if part.chunks is None else part.chunks, part.buckets)] += 1
    assert (covered == 1).all()


def test_other_aggregates_of_a_heavy_key_are_split_by_time_if_their_windows_are_short() -> None:
    counts = np.full((20, 4), 1)
    counts[:, 2] = 1_000
    day = 86_400_000_000

    def heavy(look_back: timedelta) -> list[tuple[tuple[int, int], int]]:
        parts = event_parts(counts, 5_000, sums=True, others=True, asked=(0, day - 1), look_back=look_back)
        return [(part.asked, part.events) for part in parts if part.asked is not None]

    assert heavy(timedelta(days=28)) == [((0, day), 20_000)]
    ranges = heavy(timedelta(hours=1))
    assert [one for one, _ in ranges] == [(day * n // 5, day * (n + 1) // 5) for n in range(5)]
    assert max(events for _, events in ranges) < 5_000
