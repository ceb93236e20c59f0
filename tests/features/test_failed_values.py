"""A condition that cannot be computed fails for its event or its outcome alone, and that is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.online import OnlineFeatures
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.fill import fill_online

Shop = Any  # of conftest.py
DAY = date(2013, 6, 3)
ORDER = ("o", datetime(2013, 6, 3, 12, tzinfo=UTC), 1, "tea")  # scored at 08:00
# Each is true for 2 pieces, false for 1, and fails for none.
CONDITIONS = {
    "modulo": "12 % pieces = 0 AND 12 // pieces < 12",
    "division": "4 // pieces = 2",
    "cast": "CAST(CASE WHEN pieces = 0 THEN 'none' ELSE pieces::VARCHAR END AS INTEGER) > 1",
    "boolean": "CAST(CASE pieces WHEN 0 THEN 'maybe' WHEN 1 THEN 'false' WHEN 2 THEN 'true' END AS BOOLEAN)",
    "overflow": "CAST(9223372036854775807 - CASE WHEN pieces = 0 THEN -1 ELSE pieces END AS VARCHAR) LIKE '%5'",
    "date": "make_date(2024, CASE WHEN pieces = 0 THEN 13 ELSE pieces END, 1) > DATE '2024-01-01'",
    "negative": "abs(CASE WHEN pieces = 0 THEN -9223372036854775808 ELSE pieces END) = 2",
}
EVERY = pytest.mark.parametrize("sql", CONDITIONS.values(), ids=list(CONDITIONS))


def payments(*pieces: int | None, day: int = 2, customer: int = 1) -> list[tuple[Any, ...]]:
    """One payment of a customer for each number of pieces."""
    paid = datetime(2013, 6, day, 12, tzinfo=UTC)
    return [(f"{customer}-{day}-{i}", paid, customer, "tea", 1.0, n, None, None) for i, n in enumerate(pieces)]


def rated(shop: Shop, sql: str) -> ml.Pipeline:
    """The shop with the share of payments that meet a condition."""
    aggregates = (ml.Count(), ml.Rate("twos", sql), ml.Mean("pieces"))
    trailing = ml.Trailing("paid", "payments", {"customer": "customer"}, (ml.days(7),), aggregates)
    return replace(shop.pipeline, features=(*shop.pipeline.features, trailing))


def rate(pipeline: ml.Pipeline, shop: Shop) -> dict[str, tuple[Any, ...]]:
    made = features.build(pipeline, pipeline.schedule.range(DAY), shop.platform)
    assert not made.failed
    wanted = ("paid_count_7d", "paid_twos_7d", "paid_mean_pieces_7d")
    return {row["id"]: tuple(row[name] for name in wanted) for row in made.table.to_pylist()}


@EVERY
def test_an_event_whose_condition_fails_does_not_count_for_the_rate_and_is_told(
    shop: Shop, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = rated(shop, sql)
    other = ("p", ORDER[1], 2, "tea")
    good = payments(2, 2, 1, None) + payments(1, 2, customer=2)
    shop.holds(orders=[ORDER, other], payments=good)
    assert rate(pipeline, shop) == {"o": (4, 2 / 3, 5 / 3), "p": (2, 0.5, 1.5)}
    assert not caplog.records
    shop.holds(orders=[ORDER, other], payments=good + payments(0, day=1))
    assert rate(pipeline, shop) == {"o": (5, 2 / 3, 5 / 4), "p": (2, 0.5, 1.5)}
    (told,) = caplog.messages
    assert all(one in told for one in ("'payments'", "Rate(name='twos'", "for 1 of 7 rows", "try_cast")), told


@EVERY
def test_such_an_event_counts_as_little_on_request_as_in_batch(shop: Shop, sql: str, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = rated(shop, sql)
    shop.holds(orders=[ORDER], payments=payments(2, 0, 1, 2) + payments(0, 0, customer=2))
    tick = pipeline.schedule.tick(DAY)
    fill_online(pipeline, tick, shop.platform)
    assert "for 3 of 6 rows" in caplog.text
    checked = compared(pipeline, tick, shop.platform)
    assert (checked.rows, checked.share, checked.unanswered) == (1, 0.0, ""), checked.examples
    request = {"id": "o", "due": ORDER[1], "customer": 1, "product": "tea"}
    online = OnlineFeatures(pipeline, shop.platform.online_store)
    made = online.row({name: request[name] for name in online.fields.needed}, tick.start)
    found = dict(zip(pipeline.feature_names, made.values, strict=True))
    assert (found["paid_count_7d"], found["paid_twos_7d"], made.missing) == (4, 2 / 3, ())


# For 0 pieces, each fails in a part that decides nothing, because all amounts are 1.
DECIDED = {"and": "12 % pieces > 0 AND amount > 3", "or": "12 % pieces > 5 OR amount < 3"}


@pytest.mark.parametrize("sql", DECIDED.values(), ids=list(DECIDED))
def test_whether_a_condition_fails_does_not_depend_on_the_other_rows_of_the_files(shop: Shop, sql: str) -> None:
    aggregates = (ml.Rate("twos", sql), ml.Count("met", where=sql))
    trailing = ml.Trailing("paid", "payments", {"customer": "customer"}, (ml.days(7),), aggregates)
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, trailing))
    (fails,) = payments(0)
    other = ("other", fails[1], 2, "tea", 5.0, 2, None, None)  # with it, the amounts of the file tell nothing
    for rows in ([fails], [fails, other]):
        shop.holds(orders=[ORDER], payments=rows)
        made = features.build(pipeline, pipeline.schedule.range(DAY), shop.platform).table.to_pylist()
        assert [(row["paid_twos_7d"], row["paid_met_7d"]) for row in made] == [(None, 0)]


@pytest.mark.parametrize("sql", DECIDED.values(), ids=list(DECIDED))
def test_whether_a_label_fails_does_not_depend_on_the_other_outcomes(shop: Shop, sql: str) -> None:
    other = ("other", *outcomes(other=2)[0][1:4], 5.0, 2, None, None)
    for rows in (outcomes(a=0), [*outcomes(a=0), other]):
        shop.holds(orders=[("a", *ORDER[1:])], payments=rows)
        assert labelled(shop, sql).failed["id"].to_pylist() == ["a"]


def test_a_condition_that_fails_for_every_event_of_a_key_leaves_its_rate_null(shop: Shop) -> None:
    shop.holds(orders=[ORDER], payments=payments(0, 0))
    assert rate(rated(shop, CONDITIONS["modulo"]), shop) == {"o": (2, None, 0.0)}


def test_an_event_for_which_the_condition_of_a_count_fails_is_not_counted(shop: Shop) -> None:
    aggregates = (ml.Count("twos", where=CONDITIONS["cast"]), ml.Mean("amount", "paid", where=CONDITIONS["cast"]))
    trailing = ml.Trailing("only", "payments", {"customer": "customer"}, (ml.days(7),), aggregates)
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, trailing))
    shop.holds(orders=[ORDER], payments=payments(2, 0, 1, 2))
    made = features.build(pipeline, pipeline.schedule.range(DAY), shop.platform).table.to_pylist()
    assert [(row["only_twos_7d"], row["only_paid_7d"]) for row in made] == [(2, 1.0)]
    tick = pipeline.schedule.tick(DAY)
    fill_online(pipeline, tick, shop.platform)
    assert (compared(pipeline, tick, shop.platform).rows, compared(pipeline, tick, shop.platform).share) == (1, 0.0)


def test_an_error_that_is_no_events_fault_is_still_raised(shop: Shop) -> None:
    shop.holds(orders=[ORDER], payments=payments(0, 1))
    with pytest.raises(duckdb.InvalidInputException, match="stop"):
        rate(rated(shop, "CASE WHEN pieces = 0 THEN error('stop') ELSE true END"), shop)


def labelled(shop: Shop, sql: str, as_of: str = "2013-06-06") -> features.KnownLabels:
    pipeline = replace(shop.pipeline, label=replace(shop.pipeline.label, sql=sql))
    return features.known_labels(pipeline, pipeline.schedule.range(DAY), pipeline.schedule.tick(as_of), shop.platform)


def outcomes(**pieces: int | None) -> list[tuple[Any, ...]]:
    """The payment of each order."""
    paid = datetime(2013, 6, 3, 13, tzinfo=UTC)
    return [(name, paid, 1, "tea", 1.0, n, None, None) for name, n in pieces.items()]


@EVERY
def test_an_outcome_whose_condition_fails_gives_no_label_and_every_other_its_own(shop: Shop, sql: str) -> None:
    shop.holds(
        orders=[(name, *ORDER[1:]) for name in "abcd"],
        payments=[*outcomes(a=2, b=0, c=1, d=None, other=0)],
    )
    known = labelled(shop, sql)
    assert known.table.select(["id", "label"]).to_pylist() == [{"id": "a", "label": True}, {"id": "c", "label": False}]
    assert known.failed.to_pylist() == [{"id": "b", "tick": DAY}]
    assert labelled(shop, sql, as_of="2013-06-03").failed.num_rows == 0, "the outcome was not known yet"
    shop.holds(payments=[*outcomes(a=2, b=1, c=1, d=None)])
    fine = labelled(shop, sql)
    assert (fine.failed.num_rows, fine.table["id"].to_pylist()) == (0, ["a", "b", "c"])
    assert fine.table.schema.equals(known.table.schema)


def test_who_reads_labels_is_told_of_those_that_fail_by_key(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.holds(orders=[(name, *ORDER[1:]) for name in "abc"], payments=outcomes(a=2, b=0, c=0))
    pipeline = replace(shop.pipeline, label=replace(shop.pipeline.label, sql=CONDITIONS["modulo"]))
    schedule = pipeline.schedule
    known = features.labels(pipeline, schedule.range(DAY), schedule.tick("2013-06-06"), shop.platform)
    assert known["id"].to_pylist() == ["a"]
    (told,) = caplog.messages
    assert "cannot be computed for 2 rows" in told
    assert "such as id b; id c" in told
    caplog.clear()
    orders, paid, *_ = (
        replace(table, columns=(replace(table.columns[0], personal="hash"), *table.columns[1:])) for table in pipeline.tables
    )
    private = replace(pipeline, tables=(orders, paid, *pipeline.tables[2:]))
    features.labels(private, schedule.range(DAY), schedule.tick("2013-06-06"), shop.platform)
    assert "cannot be computed for 2 rows" in caplog.text
    assert "such as" not in caplog.text


def test_what_is_no_condition_is_still_refused_as_a_label(shop: Shop) -> None:
    shop.holds(orders=[("a", *ORDER[1:])], payments=outcomes(a=2))
    with pytest.raises(duckdb.InvalidInputException, match="is not a condition"):
        labelled(shop, "pieces + 1")


def test_the_newest_outcome_decides_also_if_it_fails(shop: Shop) -> None:
    first = outcomes(a=2, b=0)
    second = [
        (row[0], datetime(2013, 6, 4, 13, tzinfo=UTC), *row[2:5], n, None, None) for row, n in zip(first, (0, 1), strict=True)
    ]
    shop.holds(orders=[(name, *ORDER[1:]) for name in "ab"], payments=first + second)
    early = labelled(shop, CONDITIONS["modulo"], as_of="2013-06-04")
    assert (early.table["id"].to_pylist(), early.failed["id"].to_pylist()) == (["a"], ["b"])
    late = labelled(shop, CONDITIONS["modulo"])
    assert late.table.select(["id", "label"]).to_pylist() == [{"id": "b", "label": False}]
    assert late.failed["id"].to_pylist() == ["a"]
