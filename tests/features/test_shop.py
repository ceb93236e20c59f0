"""What a feature may see and what not, on rows small enough to reckon by head."""

import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.features import sql, trailing
from mlprod_tasks.platform import names
from mlprod_tasks.platform.lake import ARRIVED, USABLE, TableMissing

Shop = Any  # of conftest.py


def at(text: str) -> datetime:
    """A moment in UTC: '06-03 08:00:00.000001' is in 2013."""
    return datetime.fromisoformat(f"2013-{text}").replace(tzinfo=UTC)


DAY = date(2013, 6, 3)
ORDER = ("o", at("06-03 12:00"), 1, "tea")  # scored at 06-03 08:00
BEFORE = at("06-03 07:59:59.999999")
AT_ONCE = at("06-03 08:00")


def payment(
    id: str, paid: Any, amount: float | None = 1.0, pieces: int | None = 1, customer: int | None = 1,
    product: str | None = "tea", settled: Any = None, refund: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    return (id, paid, customer, product, amount, pieces, settled, refund)


def scored(shop: Shop, day: date = DAY, **options: Any) -> list[dict[str, Any]]:
    """The features of the orders of a tick, which the printed SQL gives too."""
    ticks = shop.pipeline.schedule.range(day)
    made = features.build(shop.pipeline, ticks, shop.platform, **options).table
    if not options:
        assert made.equals(sql.run(shop.pipeline, ticks, shop.platform))
    rows: list[dict[str, Any]] = made.to_pylist()
    return rows


def test_nothing_known_at_predict_at_or_later_is_seen_and_a_microsecond_earlier_it_is(shop: Shop) -> None:
    seen = [payment("a", at("06-03 07:00"), 10.0)]
    shop.holds(orders=[ORDER], payments=seen, prices=[("tea", 1, at("06-03 05:00"), 3.0)])
    (without,) = scored(shop)
    assert (without["customer_count_1d"], without["customer_mean_amount_1d"], without["price"]) == (1, 10.0, 3.0)

    absurd = [payment("x", AT_ONCE, 1e9, 10**9, settled=AT_ONCE, refund=1e9), payment("y", at("06-04 07:00"), 1e9)]
    late = [("tea", 1, at("06-03 05:00"), 3.0), ("tea", 2, at("06-03 07:00"), 1e9)]  # known an hour after it is set
    shop.holds(payments=seen + absurd, prices=late)
    assert scored(shop) == [without]

    shop.holds(payments=[*seen, payment("x", BEFORE, 20.0)], prices=[*late[:1], ("tea", 2, at("06-03 06:59:59.999999"), 7.0)])
    (just,) = scored(shop)
    assert (just["customer_count_1d"], just["customer_mean_amount_1d"], just["price"]) == (2, 15.0, 7.0)


def test_a_window_begins_with_its_first_moment_and_not_before(shop: Shop) -> None:
    shop.holds(
        orders=[ORDER],
        payments=[
            payment("a", at("06-02 08:00"), 1.0),
            payment("b", at("06-02 07:59:59.999999"), 3.0),
            payment("c", at("05-27 08:00"), 5.0),
            payment("d", at("05-27 07:59:59.999999"), 100.0),
        ],
    )
    (row,) = scored(shop)
    assert (row["customer_count_1d"], row["customer_mean_amount_1d"]) == (1, 1.0)
    assert (row["customer_count_7d"], row["customer_mean_amount_7d"]) == (3, 3.0)


def test_an_as_of_row_counts_until_it_is_too_old(shop: Shop) -> None:
    shop.holds(orders=[ORDER], prices=[("tea", 1, at("06-01 07:00"), 3.0)])  # known at 08:00, two days before
    assert scored(shop)[0]["price"] == 3.0
    shop.holds(prices=[("tea", 1, at("06-01 06:59:59.999999"), 3.0)])
    assert scored(shop)[0]["price"] is None


def test_of_as_of_rows_known_at_the_same_moment_the_one_with_the_last_key_counts(shop: Shop) -> None:
    rows = [("tea", n, at("06-02 07:00"), float(n)) for n in (2, 9, 10, 1)]
    shop.holds(orders=[ORDER], prices=rows)
    assert scored(shop)[0]["price"] == 10.0
    shop.holds(prices=[*rows, ("tea", 11, at("06-02 07:00"), None)])  # the latest row is taken even where it is null
    assert scored(shop)[0]["price"] is None


def test_missing_keys_match_nothing_and_missing_values_do_not_count(shop: Shop) -> None:
    shop.holds(
        orders=[ORDER, ("p", at("06-03 13:00"), None, None), ("q", at("06-03 13:00"), 2, "tea")],
        customers=[(1, "CH")],
        prices=[("tea", 1, at("06-02 07:00"), 11.0)],
        payments=[
            payment("a", BEFORE, None, 4),
            payment("b", BEFORE, 200.0, None),
            payment("c", BEFORE, 50.0, 5, customer=None, product=None),
            payment("d", BEFORE, 50.0, 5, product=None),
            payment("e", BEFORE, 50.0, 5, customer=2, product=None),
        ],
    )
    o, p, q = scored(shop)
    assert (o["customer_count_1d"], o["customer_mean_amount_1d"], o["customer_big_1d"]) == (3, 125.0, 0.5)
    assert (o["customer_mean_pieces_1d"], o["pair_count_1d"], o["pair_mean_pieces_1d"]) == (4.5, 2, 4.0)
    assert (o["country"], o["price"], o["dear"]) == ("CH", 11.0, True)
    assert (p["country"], p["price"], p["dear"], p["customer_count_7d"], p["pair_count_7d"]) == (None, None, None, 0, 0)
    assert (p["customer_mean_amount_7d"], p["customer_big_7d"], p["planned_count_3d"]) == (None, None, 0)
    assert (q["country"], q["customer_count_7d"], q["customer_mean_pieces_7d"]) == (None, 1, 5.0)
    assert (q["pair_count_7d"], q["pair_mean_pieces_7d"]) == (0, None)


def test_a_late_column_counts_from_its_own_moment_however_old_its_row_is(shop: Shop) -> None:
    shop.holds(
        orders=[ORDER],
        payments=[
            payment("a", at("01-05 09:00"), settled=BEFORE, refund=8.0),
            payment("b", at("06-03 07:00"), settled=AT_ONCE, refund=99.0),
            payment("c", at("06-03 07:00"), settled=None, refund=99.0),
            payment("d", at("06-02 09:00"), settled=at("06-01 09:00"), refund=0.0),  # settled, it says, before it was paid
        ],
    )
    (row,) = scored(shop)
    assert (row["customer_count_1d"], row["customer_count_7d"]) == (3, 3)
    assert (row["customer_mean_refund_1d"], row["customer_refunded_1d"]) == (4.0, 0.5)
    shop.pipeline = replace(
        shop.pipeline,
        features=(*shop.pipeline.features, ml.AsOf("payments", {"customer": "customer"}, {"last": "refund"}, ml.days(1))),
    )
    shop.holds(payments=[payment("b", at("06-03 07:00"), settled=AT_ONCE, refund=99.0)])
    assert scored(shop)[0]["last"] is None
    shop.holds(payments=[payment("b", at("06-03 07:00"), settled=BEFORE, refund=99.0)])
    assert scored(shop)[0]["last"] == 99.0


def test_rows_planned_ahead_are_known_when_their_tick_starts(shop: Shop) -> None:
    earlier = [("e", at("06-02 09:00"), 5, "tea"), ("f", at("05-31 12:00"), 5, "tea"), ("g", at("05-31 07:00"), 5, "tea")]
    shop.holds(orders=[ORDER, *earlier])
    assert scored(shop)[0]["planned_count_3d"] == 2  # of ticks 06-02 and 05-31; 05-30 is too old, the row's own tick too new


def test_empty_tables_give_zeros_and_nulls_and_an_empty_tick_gives_no_rows(shop: Shop) -> None:
    shop.holds(orders=[ORDER])
    (row,) = scored(shop)
    assert {row[name] for name in row if "_count_" in name} == {0}
    assert {row[name] for name in row if "mean" in name or name in ("price", "country", "dear")} == {None}
    empty = features.build(shop.pipeline, shop.pipeline.schedule.range("2013-06-10", "2013-06-12"), shop.platform)
    assert empty.table.num_rows == 0
    assert empty.table.column_names == ["id", "due", "tick", "predict_at", *shop.pipeline.feature_names]


def test_sums_of_floats_leave_no_trace_of_what_came_before(shop: Shop) -> None:
    huge = [payment(f"h{i}", at(f"06-01 0{i}:00"), 1e9 / 3) for i in range(8)]
    small = [payment("s", at("06-03 07:00"), 0.1), payment("t", at("06-03 07:30"), 0.2)]
    shop.holds(orders=[ORDER], payments=small)
    alone = scored(shop)[0]["customer_mean_amount_1d"]
    shop.holds(orders=[ORDER, ("early", at("06-01 12:00"), 1, "tea")], payments=huge + small)
    made = features.build(shop.pipeline, shop.pipeline.schedule.range("2013-06-01", "2013-06-03"), shop.platform).table
    assert made["customer_mean_amount_1d"].to_pylist()[-1] == alone
    assert alone == pytest.approx(0.15, rel=1e-14)


def means(shop: Shop) -> dict[str, tuple[float | None, float | None]]:
    """The mean amount and mean pieces of each order's customer over a day."""
    made = features.build(shop.pipeline, shop.pipeline.schedule.range(DAY), shop.platform).table.to_pylist()
    return {row["id"]: (row["customer_mean_amount_1d"], row["customer_mean_pieces_1d"]) for row in made}


OTHER = ("p", at("06-03 12:00"), 2, "tea")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, 2.0**52])
def test_a_value_that_no_sum_can_hold_makes_the_mean_of_its_key_infinite_and_no_others(shop: Shop, bad: float, caplog) -> None:
    shop.holds(orders=[ORDER, OTHER], payments=[payment("a", BEFORE, bad), payment("b", BEFORE, 0.5, 1, customer=2)])
    assert means(shop) == {"o": (math.inf, 1.0), "p": (0.5, 1.0)}
    assert "1 of 2 rows" in caplog.text
    assert "min and max" in caplog.text


def test_a_huge_value_of_another_key_changes_no_mean(shop: Shop) -> None:
    mine = [payment(str(i), BEFORE, 0.1 * i, i) for i in range(1, 8)]
    shop.holds(orders=[ORDER], payments=mine)
    alone = means(shop)["o"]
    shop.holds(orders=[ORDER, OTHER], payments=[*mine, payment("typo", BEFORE, 4e15 + 1, 2**63 - 1, customer=2)])
    assert means(shop) == {"o": alone, "p": (4e15 + 1, float(2**63 - 1))}


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_that_leave_64_bits_are_exact_and_leave_no_trace(shop: Shop, sign: int) -> None:
    amounts = [sign * (3e15 + i / 2) for i in range(9)]
    pieces = [sign * (2**62 + 7 * i) for i in range(9)]
    large = [payment(str(i), at(f"06-02 1{i}:00"), amounts[i], pieces[i]) for i in range(9)]
    small = [payment("s", at("06-03 07:00"), 0.5, 3, customer=2)]
    shop.holds(orders=[ORDER, OTHER], payments=large + small)
    exact = float(sum(map(Fraction, amounts)) / 9), float(Fraction(sum(pieces), 9))
    got = means(shop)
    assert got["o"] == pytest.approx(exact, rel=1e-15)
    assert got["p"] == (0.5, 3.0)


@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0**30, 2.0**47, 2.0**51]), st.floats(-1, 1)), min_size=1, max_size=30))
def test_high_halves_never_change_a_sum_that_fits_64_bits(drawn: list[tuple[float, float]]) -> None:
    values = np.array([size * share for size, share in drawn])
    coarse, rest, halves = trailing._exact(values, math.inf)
    assert halves is not None
    for value, whole, high, fine in zip(values, coarse.tolist(), halves.tolist(), rest.tolist(), strict=True):
        low = (whole - (high << 32)) % 2**64
        assert 0 <= low < 2**32
        assert abs(Fraction((high << 32) + low, 2**16) + Fraction(fine, 2**52) - Fraction(value)) <= Fraction(1, 2**53)
    fitting = values[np.abs(values) < 2.0**40]
    if fitting.size:
        plain, wide = (trailing._exact(fitting, largest) for largest in (2.0**40, math.inf))
        assert plain[2] is None
        assert np.array_equal(plain[0], wide[0])
        assert np.array_equal(plain[1], wide[1])


def test_pinned_versions_replay_what_was_there(shop: Shop) -> None:
    shop.holds(orders=[ORDER], payments=[payment("a", BEFORE, 10.0)])
    ticks = shop.pipeline.schedule.range(DAY)
    then = features.build(shop.pipeline, ticks, shop.platform)
    shop.holds(payments=[payment("a", BEFORE, 99.0)], customers=[(1, "CH")], orders=[ORDER, ("z", at("06-03 12:00"), 1, "tea")])
    assert features.build(shop.pipeline, ticks, shop.platform).table != then.table
    again = features.build(shop.pipeline, ticks, shop.platform, versions=then.versions)
    assert (again.table, again.versions) == (then.table, then.versions)
    assert set(then.versions) == {"orders", "payments", "prices", "customers"}
    with pytest.raises(ValueError, match="nonsense"):
        features.build(shop.pipeline, ticks, shop.platform, versions={"nonsense": 1})


def test_only_some_features_need_only_their_tables(shop: Shop) -> None:
    shop.holds(orders=[ORDER])
    ticks = shop.pipeline.schedule.range(DAY)
    broken = replace(shop.pipeline, name="elsewhere")
    rows = shop.platform.lake.rows(names.raw(shop.pipeline, "orders"))
    shop.platform.lake.replace_ticks(names.raw(broken, "orders"), ticks, pa.table(rows))
    with pytest.raises(TableMissing, match="elsewhere/raw"):
        features.build(broken, ticks, shop.platform)
    made = features.build(broken, ticks, shop.platform, only=["hour"])
    assert made.table.column_names == ["id", "due", "tick", "predict_at", "hour"]
    assert set(made.versions) == {"orders"}
    full = features.build(shop.pipeline, ticks, shop.platform, only=["dear"])
    assert (full.table.column_names[4:], set(full.versions)) == (["dear"], {"orders", "prices", "customers"})


def test_a_column_declared_later_reads_as_null_in_older_ticks(shop: Shop) -> None:
    shop.holds(orders=[ORDER], payments=[payment("a", at("06-01 12:00"), 5.0), payment("b", BEFORE, 7.0, 3)])
    place = names.raw(shop.pipeline, "payments")
    rows = pa.table(shop.platform.lake.rows(place))
    import shutil

    shutil.rmtree(shop.platform.lake.uri(place))
    old, new = rows.filter(pa.compute.equal(rows["id"], "a")).drop(["pieces"]), rows.filter(pa.compute.equal(rows["id"], "b"))
    for part in (old, new):
        shop.platform.lake.replace_ticks(place, shop.pipeline.schedule.range(part["tick"][0].as_py()), part)
    (row,) = scored(shop)
    assert (row["customer_count_7d"], row["customer_mean_pieces_7d"], row["customer_mean_amount_7d"]) == (2, 3.0, 6.0)


def test_labels_count_from_when_they_are_known_and_rows_without_one_are_left_out(shop: Shop) -> None:
    shop.holds(
        orders=[(name, at("06-03 12:00"), 1, "tea") for name in "abcde"],
        payments=[
            payment("a", at("06-03 13:00"), settled=at("06-04 07:59:59.999999"), refund=1.0),
            payment("b", at("06-03 13:00"), settled=at("06-04 08:00"), refund=1.0),
            payment("c", at("06-03 13:00"), settled=at("06-03 09:00"), refund=None),
            payment("d", at("06-03 13:00"), settled=at("06-03 12:00"), refund=0.0),
        ],
    )
    schedule = shop.pipeline.schedule
    known = features.labels(shop.pipeline, schedule.range(DAY), schedule.tick("2013-06-04"), shop.platform)
    assert known.select(["id", "tick", "label"]).to_pylist() == [
        {"id": "a", "tick": DAY, "label": True},
        {"id": "d", "tick": DAY, "label": False},
    ]
    assert known["label_known_at"].to_pylist() == [at("06-04 07:59:59.999999"), at("06-03 13:00")]
    later = features.labels(shop.pipeline, schedule.range(DAY), schedule.tick("2013-06-05"), shop.platform)
    assert later["id"].to_pylist() == ["a", "b", "d"]
    assert features.labels(shop.pipeline, schedule.range(DAY), schedule.tick(DAY), shop.platform).num_rows == 0


def test_a_look_up_table_with_a_key_twice_is_refused(shop: Shop) -> None:
    shop.holds(orders=[ORDER], customers=[(1, "CH"), (1, "DE")])
    with pytest.raises(ValueError, match=r"customers.*more than once"):
        scored(shop, chunk_rows=1)


def test_the_definition_can_be_translated_to_spark(shop: Shop, flights_pipeline: ml.Pipeline) -> None:
    for pipeline in (
        shop.pipeline,
        flights_pipeline,
        replace(flights_pipeline, predict_at=ml.Before(timedelta(hours=27, minutes=1))),
    ):
        text = sql.sql(pipeline)
        (spark,) = sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
        assert sqlglot.parse_one(spark, dialect="spark").named_selects[4:] == list(pipeline.feature_names)


def test_the_package_loads_without_the_compiler() -> None:
    code = "import sys, mlprod_tasks.features, mlprod_tasks.features.sql; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


@pytest.mark.parametrize("newer", [DAY, date(2013, 6, 2)])
def test_ticks_of_release_0_4_without_moments_of_arrival_are_read_beside_newer_ones(shop: Shop, newer: date) -> None:
    paid = [payment("a", at("06-01 09:00"), 3.0), payment("b", at("06-02 09:00"), 5.0)]  # known in ticks 2 and 3
    shop.holds(orders=[ORDER], payments=paid)
    before = scored(shop)
    lake, name = shop.platform.lake, names.raw(shop.pipeline, "payments")
    rows = lake.rows(name, [newer])
    moment = pa.timestamp("us", "UTC")
    for column, value in ((ARRIVED, at("06-09 00:00")), (USABLE, None)):
        rows = rows.append_column(column, pa.array([value], moment))
    lake.replace_ticks(name, shop.pipeline.schedule.range(newer), rows)
    assert scored(shop) == before
