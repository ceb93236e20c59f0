"""Online features against batch features, the oracle: the same bits for the same rows at the same moments."""

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online import FieldsRefused, OnlineFeatures
from mlprod_tasks.online.check import check_online, compared
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.online.plan import micros
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.platform.online_store.protocol import StoreUnavailable
from tests.support.clock import SetMonotonic

Shop = Any  # of the feature tests
DAY = date(2013, 6, 3)


def at(text: str) -> datetime:
    """A moment in UTC: '06-03 08:00:00.000001' is in 2013."""
    return datetime.fromisoformat(f"2013-{text}").replace(tzinfo=UTC)


def opened(pipeline: Pipeline, platform: Platform, **options: Any) -> OnlineFeatures:
    return OnlineFeatures(pipeline, platform.online_store, poll_seconds=0, **options)


def fill(pipeline: Pipeline, platform: Platform, day: date | str, **options: Any) -> Any:
    return fill_online(pipeline, pipeline.schedule.tick(day), platform, **options)


# Each with the two ticks before it: both days of changed clocks in New York, and the days beside them.
@pytest.mark.parametrize("day", ["2013-03-11", "2013-06-24", "2013-11-04"])
def test_every_flight_has_the_same_features_online_as_in_batch(
    day: str, real_year: Platform, flights_pipeline: Pipeline
) -> None:
    pipeline = flights_pipeline
    fill(pipeline, real_year, day, back=True)
    for back in range(3):
        tick = pipeline.schedule.tick(date.fromisoformat(day) - timedelta(days=back))
        checked = compared(pipeline, tick, real_year)
        assert checked.rows > 600
        assert (checked.share, checked.differing, checked.unanswered) == (0.0, {}, ""), checked.examples
        assert checked.by_duckdb == {}


def test_every_flight_scored_at_its_own_moment_has_the_same_features(real_year: Platform, flights_pipeline: Pipeline) -> None:
    # Moments all over two days: no window ends where a tick does.
    pipeline = replace(
        flights_pipeline, predict_at=ml.Before(ml.hours(26)), serving=ml.Serving(look_back=ml.hours(72), checked_rows=700)
    )
    fill(pipeline, real_year, "2013-03-11", back=True)
    checked = compared(pipeline, pipeline.schedule.tick("2013-03-10"), real_year)
    assert (checked.rows, checked.share) == (700, 0.0), checked.examples


def test_a_request_gives_batch_s_features_from_its_fields_alone(real_year: Platform, flights_pipeline: Pipeline) -> None:
    pipeline = flights_pipeline
    fill(pipeline, real_year, "2013-06-24", back=True)
    tick = pipeline.schedule.tick("2013-06-24")
    row = features.build(pipeline, pipeline.schedule.range(tick.name), real_year).table.slice(17, 1).to_pylist()[0]
    arrives = row["sched_dep_at"] + timedelta(minutes=row["block_minutes"])
    request = {
        "flight_id": row["flight_id"], "sched_dep_at": row["sched_dep_at"].isoformat(), "sched_arr_at": arrives,
        "carrier": row["carrier"], "tailnum": None, "origin": row["origin"], "dest": row["dest"], "distance": row["distance"],
    }  # fmt: skip
    made = opened(pipeline, real_year).row(request, tick.start)
    found = dict(zip(pipeline.feature_names, made.values, strict=True))
    of_plane = [name for name in pipeline.feature_names if name.startswith("plane_")]
    assert {name: found[name] for name in found if name not in of_plane} == {
        name: row[name] for name in found if name not in of_plane
    }
    assert [found[name] for name in of_plane if "count" not in name] == [None] * 6
    assert [found[name] for name in of_plane if "count" in name] == [0, 0]
    assert (made.answer, made.missing, made.stale, set(made.ages.values())) == ("model", (), (), {0.0})
    later = opened(pipeline, real_year).row(request, tick.start + timedelta(hours=5))
    assert later.ages["carrier"] == 5 * 3600
    assert later.ages["planes (plane_built)"] == 5 * 3600


def orders(*keys: tuple[Any, Any]) -> list[tuple[Any, ...]]:
    return [(f"o{i}", at(f"06-03 12:{i:02}"), customer, product) for i, (customer, product) in enumerate(keys)]


def payment(
    id: str, paid: Any, amount: float | None = 1.0, pieces: int | None = 1, customer: int | None = 1,
    product: str | None = "tea", settled: Any = None, refund: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    return (id, paid, customer, product, amount, pieces, settled, refund)


def small(shop: Shop) -> Shop:
    """Rows for every rule: nulls, unknown keys, ties, edges of windows to the microsecond, late values, sums that round."""
    before, at_once = at("06-03 07:59:59.999999"), at("06-03 08:00")
    return shop.holds(
        orders=[
            *orders((1, "tea"), (2, "tea"), (None, "tea"), (1, None), (None, None), (99, "nosuch"), (3, "coffee"),
            (2, "coffee")),
            ("e", at("06-02 09:00"), 5, "tea"), ("f", at("05-31 12:00"), 5, "tea"), ("g", at("05-31 07:00"), 5, "tea"),
        ],
        customers=[(1, "CH"), (2, None), (3, "AT")],
        prices=[
            ("tea", 1, at("06-01 07:00"), 3.0), ("tea", 9, at("06-02 23:00"), 12.5), ("tea", 10, at("06-02 23:00"), 11.0),
            ("tea", 11, at("06-03 07:00"), 99.0), ("coffee", 1, at("06-01 06:59:59.999999"), 4.0),
        ],
        payments=[
            payment("a", before, 0.1, 4, settled=before, refund=8.0), payment("b", at_once, 1e9),
            payment("c", at("06-02 08:00"), 0.2, None), payment("d", at("06-02 07:59:59.999999"), 0.3),
            payment("e", at("05-27 08:00"), None, 2), payment("f", at("05-27 07:59:59.999999"), 1e6),
            payment("g", at("01-05 09:00"), settled=before, refund=0.0), payment("h", at("06-03 07:00"), settled=at_once,
            refund=9.0),
            payment("i", at("06-01 09:00"), 1e-9, 10**12, customer=2, product="coffee"),
            payment("j", at("06-01 09:00"), 123456.789, -(10**12), customer=2, product=None),
            payment("k", at("06-01 09:00"), 7.0, 1, customer=None), payment("l", at("06-02 09:00"), 1 / 3, 7, customer=3,
            product="coffee"),
        ],
    )  # fmt: skip


def test_the_shop_has_the_same_features_online_as_in_batch(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    checked = compared(shop.pipeline, shop.pipeline.schedule.tick(DAY), shop.platform)
    assert (checked.rows, checked.share) == (8, 0.0), checked.examples
    earlier = compared(shop.pipeline, shop.pipeline.schedule.tick("2013-06-02"), shop.platform)
    assert (earlier.rows, earlier.share) == (1, 0.0), earlier.examples


def test_a_moment_between_ticks_is_answered_as_batch_would_at_a_tick_of_that_moment(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, "2013-06-04")
    for minutes in (0, 1, 59, 60, 240, 600):
        moment = at("06-03 08:00") + timedelta(minutes=minutes)
        moved = replace(
            shop.pipeline,
            predict_at=ml.AtTick(),
            schedule=replace(shop.pipeline.schedule, at=moment.time().replace(tzinfo=None)),
            # What is planned ahead is known at its tick, which is another one there.
            features=tuple(f for f in shop.pipeline.features if getattr(f, "name", "") != "planned"),
        )
        batch = features.build(moved, moved.schedule.range(DAY), shop.platform).table
        online = opened(shop.pipeline, shop.platform)
        asked = [{name: row[name] for name in ("id", "due")} for row in batch.to_pylist()]
        rows = {row[0]: row for row in orders((1, "tea"), (2, "tea"), (None, "tea"), (1, None), (None, None), (99, "nosuch"),
                                              (3, "coffee"), (2, "coffee"))}  # fmt: skip
        asked = [one | {"customer": rows[one["id"]][2], "product": rows[one["id"]][3]} for one in asked if one["id"] in rows]
        made = online.rows(asked, moment)
        for one, answer in zip(asked, made, strict=True):
            (want,) = [row for row in batch.to_pylist() if row["id"] == one["id"]]
            found = dict(zip(shop.pipeline.feature_names, answer.values, strict=True))
            assert {name: found[name] for name in moved.feature_names} == {name: want[name] for name in moved.feature_names}


def test_what_becomes_known_at_the_moment_is_not_used_and_a_microsecond_earlier_it_is(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, "2013-06-04")
    online = opened(shop.pipeline, shop.platform)
    request = {"id": "x", "due": at("06-03 12:00"), "customer": 1, "product": "tea"}
    names = shop.pipeline.feature_names

    def found(moment: datetime) -> dict[str, Any]:
        return dict(zip(names, online.row(request, moment).values, strict=True))

    exact, after = found(at("06-03 08:00")), found(at("06-03 08:00:00.000001"))
    assert (exact["customer_count_1d"], after["customer_count_1d"]) == (3, 3)  # one comes, one goes
    assert (exact["customer_mean_amount_1d"], after["customer_mean_amount_1d"]) == (
        pytest.approx(1.3 / 3), pytest.approx((0.1 + 1.0 + 1e9) / 3),
    )  # fmt: skip
    assert (exact["price"], after["price"]) == (11.0, 99.0)


def test_expressions_outside_of_the_compiled_part_are_computed_by_duckdb_and_the_same(shop: Shop) -> None:
    small(shop)
    more = (
        ml.Expression("loud", "upper(product) || '!'", "text", "-"),
        ml.Expression("twice", "hour * 2", "int", "of an earlier expression"),
        ml.Expression("louder", "length(loud) + twice", "int", "of one that DuckDB computes"),
        ml.Expression("ahead", "extract(epoch FROM due - predict_at) / 3600", "float", "of the moment itself"),
        ml.Expression("its_tick", "extract(isodow FROM tick)", "int", "of the tick"),
        ml.Expression("paid", "round(customer_mean_amount_7d, 2)", "float", "of a trailing feature"),
    )
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, *more))
    fill(pipeline, shop.platform, DAY)
    checked = compared(pipeline, pipeline.schedule.tick(DAY), shop.platform)
    assert (checked.rows, checked.share) == (8, 0.0), checked.examples
    assert set(checked.by_duckdb) == {"loud", "louder", "paid"}
    assert {"hour", "dear", "twice", "ahead", "its_tick"} <= set(checked.compiled)


def test_what_was_compared_of_a_tick_stays_where_the_store_no_longer_answers_it(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    tick = shop.pipeline.schedule.tick(DAY)
    assert check_online(shop.pipeline, tick, shop.platform).share == 0
    path = shop.platform.settings.home / "online.db"
    path.rename(path.with_suffix(".away"))
    vars(shop.platform).pop("online_store")
    checked = check_online(shop.pipeline, tick, shop.platform)
    assert (checked.share, checked.breaches, "never filled" in checked.unanswered) == (None, (), True)
    (kept,) = shop.platform.ledger.all(Measurement, pipeline=shop.pipeline.name, what="online_skew")
    assert (kept.value, kept.breached) == (0.0, False)


def test_a_difference_is_counted_named_and_kept_in_the_ledger_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlprod_tasks.online.entries import WindowReader

    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    tick = shop.pipeline.schedule.tick(DAY)
    right = WindowReader.values
    # Lets in what is known at the moment itself: of every row but the one whose keys are null.
    monkeypatch.setattr(WindowReader, "values", lambda self, entry, moment: right(self, entry, moment + 1))
    for _ in range(2):
        checked = check_online(shop.pipeline, tick, shop.platform)
    assert checked.share == 7 / 8
    assert "customer_mean_amount_1d" in checked.differing
    assert checked.examples[0] == "customer_count_1d of o0 is 2 online and 3 in batch"
    assert checked.breaches
    (row,) = shop.platform.ledger.all(Measurement, pipeline="shop", what="online_skew")
    assert (row.value, row.n, row.tick) == (7 / 8, 8, DAY)


def request(**changed: Any) -> dict[str, Any]:
    return {"id": "x", "due": at("06-03 12:00").isoformat(), "customer": 1, "product": "tea"} | changed


def answered(shop: Shop, serving: ml.Serving, moment: datetime, **fields: Any) -> Any:
    pipeline = replace(shop.pipeline, serving=serving)
    return opened(pipeline, shop.platform).row(request(**fields), moment)


def test_what_is_stale_is_answered_as_declared(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    names = shop.pipeline.feature_names
    late = at("06-04 14:00:00.000001")
    fresh = answered(shop, ml.Serving(), at("06-04 14:00"))
    assert (fresh.answer, fresh.stale, fresh.ages["customer"]) == ("model", (), 30 * 3600)
    for policy, answer in (("fallback", "fallback"), ("refuse", "refuse"), ("use", "model")):
        made = answered(shop, ml.Serving(stale=policy), late)  # type: ignore[arg-type]
        assert made.answer == answer
        assert {"customer_count_1d", "price", "country"} <= set(made.stale)
        assert "planned_count_3d" not in made.stale  # its tick is known until the next one starts
        assert made.values[names.index("country")] == "CH"
        assert any("complete up to 2013-06-03 08:00" in reason for reason in made.reasons)
    defaults = {"country": "AT", "price": 50.0, "customer_count_1d": 7}
    made = answered(shop, ml.Serving(stale="default", defaults=defaults), late)
    found = dict(zip(names, made.values, strict=True))
    assert (made.answer, found["country"], found["price"], found["customer_count_1d"]) == ("model", "AT", 50.0, 7)
    assert (found["customer_mean_amount_7d"], found["dear"]) == (None, False)  # expressions rest on the defaults


def test_what_is_missing_is_answered_as_declared_and_an_unknown_key_is_not_missing(shop: Shop) -> None:
    small(shop)
    never = answered(shop, ml.Serving(), at("06-03 08:00"))
    assert (never.answer, never.ages["customer"], never.generation) == ("fallback", None, None)
    assert "mlprod online fill shop" in never.reasons[0]
    hour = shop.pipeline.feature_names.index("hour")
    assert never.values[hour] == 12  # what the request gives is there, for the fallback
    fill(shop.pipeline, shop.platform, DAY)
    unknown = answered(shop, ml.Serving(), at("06-03 08:00"), customer=12345)
    assert (unknown.answer, unknown.missing) == ("model", ())
    too_early = answered(shop, ml.Serving(missing="refuse"), at("06-01 05:59:59.999999"))
    assert (too_early.answer, "price" in too_early.missing) == ("refuse", True)
    assert answered(shop, ml.Serving(missing="default", defaults={"price": 5.0}), at("06-01 05:00")).answer == "model"
    changed = replace(shop.pipeline.features[4], windows=(ml.days(5),))
    other = replace(shop.pipeline, features=(*shop.pipeline.features[:4], changed, *shop.pipeline.features[5:]))
    made = opened(other, shop.platform).row(request(), at("06-03 08:00"))
    assert set(made.missing) == {name for name in other.feature_names if name.startswith("customer_")}


class Flaky:
    """A store that can be out of reach."""

    def __init__(self, store: Any) -> None:
        self.store, self.down, self.asked, self.hangs, self.remote = store, False, 0, threading.Event(), False
        self.hangs.set()  # waits for nothing

    def read(self, pipeline: str, keys: Any) -> Any:
        self.asked += 1
        self.hangs.wait(10)
        if self.down:
            raise StoreUnavailable("online store x: connection refused")
        return self.store.read(pipeline, keys)


def test_a_store_that_goes_away_leaves_what_was_read_and_is_not_asked_for_every_request(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    store, clock = Flaky(shop.platform.online_store), SetMonotonic()
    online = OnlineFeatures(shop.pipeline, store, poll_seconds=1.0, retry_seconds=5.0, monotonic=clock)  # type: ignore[arg-type]
    before = online.row(request(), at("06-03 08:00"))
    asked = store.asked
    assert online.row(request(), at("06-03 08:00")) == before
    assert store.asked == asked  # all of it is held
    store.down, clock.seconds = True, 2.0
    assert online.row(request(), at("06-03 08:00")) == before
    other = online.row(request(customer=2, product="coffee"), at("06-03 08:00"))
    assert (other.answer, other.reasons[0]) == ("fallback", "customers (country) is missing: the online store does not answer")
    assert "connection refused" in str(online.failure), "for the operator, not for whoever asks"
    asked = store.asked
    for _ in range(5):
        online.row(request(customer=3), at("06-03 08:00"))
    assert store.asked == asked
    store.down, clock.seconds = False, 8.0
    assert online.row(request(customer=2, product="coffee"), at("06-03 08:00")).answer == "model"
    assert online.failure is None


def test_a_store_that_hangs_keeps_a_request_waiting_no_longer_than_declared_and_nobody_else(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    pipeline = replace(shop.pipeline, serving=ml.Serving(look_up_within=timedelta(milliseconds=50)))
    store, clock = Flaky(shop.platform.online_store), SetMonotonic()
    store.remote = True
    online = OnlineFeatures(pipeline, store, poll_seconds=1.0, retry_seconds=1.0, monotonic=clock)  # type: ignore[arg-type]
    rows, other = ([online.fields.read(request(customer=n))[0]] for n in (1, 2))
    moments = [micros(at("06-03 08:00"))]

    async def ask() -> None:
        with ThreadPoolExecutor(2) as readers:
            before = await online.within(rows, moments, readers)
            assert before == online.of(rows, moments)
            store.hangs.clear()
            clock.seconds = 2.0
            turns = 0

            async def others() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.001)

            busy = asyncio.create_task(others())
            assert await online.within(rows, moments, readers) == before, "what is held goes on"
            assert turns > 5, "the loop went on while the store was waited for"
            asked = store.asked
            (lacking,) = await online.within(other, moments, readers)
            assert (lacking.answer, store.asked) == ("fallback", asked), "it is left alone for a while"
            store.hangs.set()
            clock.seconds = 10.0
            (there,) = await online.within(other, moments, readers)
            assert (there.answer, online.failure) == ("model", None)
            busy.cancel()

    asyncio.run(ask())


def test_a_store_that_goes_on_failing_is_asked_ever_more_rarely_but_every_few_seconds(shop: Shop) -> None:
    store, clock = Flaky(shop.platform.online_store), SetMonotonic()
    store.down = True
    online = OnlineFeatures(shop.pipeline, store, monotonic=clock)  # type: ignore[arg-type]
    at_moments: list[float] = []
    for tenth in range(300):
        clock.seconds, asked = tenth / 10, store.asked
        online.row(request(), at("06-03 08:00"))
        if store.asked > asked:
            at_moments.append(clock.seconds)
    between = [round(b - a, 1) for a, b in itertools.pairwise(at_moments)]
    assert between == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]


def test_a_new_generation_is_seen_within_the_poll_and_old_entries_are_not_mixed_with_it(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    clock = SetMonotonic()
    online = OnlineFeatures(shop.pipeline, shop.platform.online_store, monotonic=clock)
    first = online.row(request(), at("06-03 08:00"))
    shop.holds(payments=[payment("z", at("06-03 07:00"), 5.0)], customers=[(1, "FR"), (2, "FR")])
    fill(shop.pipeline, shop.platform, DAY)
    assert online.row(request(), at("06-03 08:00")) == first
    both = online.rows([request(), request(customer=2)], at("06-03 08:00"))  # customer 2 was not read yet: a look at the store
    country = shop.pipeline.feature_names.index("country")
    assert [made.generation for made in both] == [2, 2]
    assert [made.values[country] for made in both] == ["FR", "FR"]


def test_what_is_held_is_bounded(shop: Shop) -> None:
    small(shop)
    fill(shop.pipeline, shop.platform, DAY)
    online = opened(shop.pipeline, shop.platform, most_bytes=20_000)
    for customer in range(2000):
        online.row(request(customer=customer), at("06-03 08:00"))
    generation = online.generation
    assert generation is not None
    assert generation.bytes <= 20_000
    assert len(generation.entries) < 120
    for n in range(200):
        online.row(request(product=f"{n} {'x' * 5000}"), at("06-03 08:00"))
    # Keys that are in no store count too: whoever asks may make them long.
    assert sum(map(len, generation.entries)) <= 20_000


def test_wrong_fields_are_refused_each_with_its_reason(shop: Shop) -> None:
    small(shop)
    online = opened(shop.pipeline, shop.platform)
    with pytest.raises(FieldsRefused) as told:
        online.row({"id": 5, "due": "tomorrow", "customer": 1.5, "colour": "red"}, at("06-03 08:00"))
    assert {problem.field for problem in told.value.problems} == {"id", "due", "customer", "colour"}
    with pytest.raises(FieldsRefused, match=r"1\.due: must have an offset from UTC"):
        online.rows([request(), request(due="2013-06-03T12:00:00")], at("06-03 08:00"))
    with pytest.raises(ValueError, match="no time zone"):
        online.row(request(), datetime(2013, 6, 3))  # noqa: DTZ001


def test_rows_may_be_asked_for_by_many_threads_at_once(shop: Shop) -> None:
    from concurrent.futures import ThreadPoolExecutor

    small(shop)
    more = ml.Expression("loud", "upper(product)", "text", "computed by DuckDB")
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, more))
    fill(pipeline, shop.platform, DAY)
    online = opened(pipeline, shop.platform, most_bytes=3000)
    asked = [(customer, product) for customer in (1, 2, 3, None) for product in ("tea", "coffee", None)] * 20
    alone = {one: online.row(request(customer=one[0], product=one[1]), at("06-03 08:00")) for one in set(asked)}
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda one: online.row(request(customer=one[0], product=one[1]), at("06-03 08:00")), asked))
    assert made == [alone[one] for one in asked]


def test_every_kind_of_store_gives_batch_s_features(shop: Shop, store_url: str) -> None:
    small(shop)
    platform = Platform(replace(shop.platform.settings, online_url=store_url))
    fill(shop.pipeline, platform, DAY)
    checked = compared(shop.pipeline, shop.pipeline.schedule.tick(DAY), platform)
    assert (checked.rows, checked.share) == (8, 0.0), checked.examples


def test_microseconds_are_exact() -> None:
    assert micros(datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)) == -1
    assert micros(datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)) == 253_402_300_799_999_999


def test_the_oldest_moment_that_is_answered_sees_its_whole_windows_and_one_before_is_not_answered(shop: Shop) -> None:
    pipeline = replace(shop.pipeline, serving=ml.Serving(look_back=ml.hours(24)))
    oldest = at("06-02 08:00")
    shop.holds(
        orders=[("o", at("06-02 12:00"), 1, "tea")],
        payments=[payment("a", at("05-26 08:00"), 5.0), payment("b", at("06-01 08:00"), 7.0)],
        prices=[("tea", 1, at("05-31 07:00"), 3.0)],
    )
    fill(pipeline, shop.platform, DAY)
    checked = compared(pipeline, pipeline.schedule.tick("2013-06-02"), shop.platform)
    assert (checked.rows, checked.share) == (1, 0.0), checked.examples
    online = opened(pipeline, shop.platform)
    found = dict(zip(pipeline.feature_names, online.row(request(), oldest).values, strict=True))
    assert (found["customer_count_7d"], found["customer_count_1d"], found["price"]) == (2, 1, 3.0)
    before = online.row(request(), oldest - timedelta(microseconds=1))
    assert set(before.missing) == set(pipeline.feature_names) - {"hour", "dear"}


def test_a_late_value_of_an_observation_counts_from_its_own_moment(shop: Shop) -> None:
    last = ml.AsOf("payments", {"customer": "customer"}, {"last": "refund", "last_amount": "amount"}, ml.days(1))
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, last))
    settled = (at("06-03 08:00"), at("06-03 07:59:59.999999"), None)
    shop.holds(
        orders=orders((1, "tea"), (2, "tea"), (3, "tea")),
        payments=[
            payment(f"p{i}", at("06-03 07:00"), 5.0, customer=i + 1, settled=moment, refund=9.0)
            for i, moment in enumerate(settled)
        ],
    )
    fill(pipeline, shop.platform, DAY)
    checked = compared(pipeline, pipeline.schedule.tick(DAY), shop.platform)
    assert (checked.rows, checked.share) == (3, 0.0), checked.examples
    online = opened(pipeline, shop.platform)
    made = online.rows([request(customer=customer) for customer in (1, 2, 3)], at("06-03 08:00"))
    assert [one.values[-2:] for one in made] == [(None, 5.0), (9.0, 5.0), (None, 5.0)]


FAILING = {
    "compiled": (ml.Expression("rest", "7 % customer", "int", "fails without a customer's number"),),
    "by_duckdb": (ml.Expression("rest", "factorial(100 * (1 - sign(customer)::INT)) % 2", "int", "out of range for 0"),),
    "both": (
        ml.Expression("other", "factorial(100 * (1 - sign(customer)::INT)) % 2", "int", "fails too"),
        ml.Expression("more", "factorial(100 * (1 - sign(customer)::INT)) % 2 + 1", "int", "shares a part with it"),
        ml.Expression("rest", "7 % customer", "int", "fails"),
        ml.Expression("twice", "2 * rest", "int", "reads one that fails"),
    ),
    "in_a_part_that_decides_nothing": (
        ml.Expression("rest", "factorial(100 * (1 - sign(customer)::INT)) % 2 = 0 AND product = 'cup'", "bool", "fails"),
        ml.Expression("more", "7 % customer = 0 OR product = 'tea'", "bool", "fails too"),
    ),
}


@pytest.mark.parametrize("added", FAILING.values(), ids=list(FAILING))
def test_an_expression_that_fails_is_none_for_its_row_alone_which_the_fallback_answers(
    shop: Shop, added: tuple[ml.Expression, ...]
) -> None:
    declared = (*added, *shop.pipeline.features)
    pipeline = replace(shop.pipeline, features=declared, serving=ml.Serving(stale="use"))
    shop.holds(orders=orders((1, "tea"), (0, "tea"), (2, "tea")))
    tick = pipeline.schedule.tick(DAY)
    fill(pipeline, shop.platform, DAY)
    batch = features.build(pipeline, pipeline.schedule.range(DAY), shop.platform)
    first = added[0].name
    assert dict(batch.failed) == {1: first}
    online = opened(pipeline, shop.platform)
    assert set(online.expressions.by_duckdb) >= {one.name for one in added if "factorial" in one.sql}
    rows = [{"id": f"o{i}", "due": at(f"06-03 12:{i:02}"), "customer": i, "product": "tea"} for i in (1, 0, 2)]
    fields = [{name: row[name] for name in online.fields.needed} for row in rows]
    for answered in (online.rows(fields, tick.start), [online.row(one, tick.start) for one in fields]):
        assert [one.answer for one in answered] == ["model", "fallback", "model"]
        assert f"feature {first!r} cannot be computed" in answered[1].reasons[-1]
        found = [dict(zip(pipeline.feature_names, one.values, strict=True)) for one in answered]
        assert found == batch.table.select(pipeline.feature_names).to_pylist()
    assert (compared(pipeline, tick, shop.platform).rows, compared(pipeline, tick, shop.platform).share) == (3, 0.0)
