"""Requests are measured as batch predictions are, and how the service fared besides; alarms come with the next decision."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.requests import RequestsMeasured, measure_collected, measure_requests
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement
from tests.support import monitored_shop as monitored
from tests.support.answered_shop import DAY, SERVED, T, answer, clock_at_noon

BATCH = {"online_psi": "feature_psi", "online_nulls": "null_share", "online_score_psi": "score_psi"}


def run(platform: Platform, day: date = T, pipeline: ml.Pipeline = SERVED) -> RequestsMeasured:
    return measure_requests(pipeline, pipeline.schedule.tick(day), platform)


def found(platform: Platform, what: str, name: str = "", day: date = T) -> Measurement:
    row = platform.ledger.get(Measurement, "shop", day, what, name)
    assert row is not None
    return row


def moved(day: date = T) -> pa.Table:
    """A tick whose prices are six times those of the reference, and of which every third place is not known."""
    rows = monitored.scored(day)
    places = [None if i % 3 == 0 else place for i, place in enumerate(rows["place"].to_pylist())]
    return monitored.scored(day, price=rows["price"].to_numpy() * 6, place=pa.array(places, pa.string()))


@pytest.mark.parametrize("made", [monitored.scored, moved], ids=["quiet", "moved"])
def test_the_same_rows_tell_the_same_answered_on_request_as_scored_in_batch(shop: Platform, made: Any) -> None:
    rows = made(T)
    monitored.score_tick(shop, rows)
    measure(monitored.pipeline, monitored.pipeline.schedule.tick(T), shop)
    answer(shop, rows)
    told = run(shop)
    compared = [row for row in shop.ledger.all(Measurement, tick=T) if row.what in BATCH]
    assert {(row.what, row.slice) for row in compared} == {
        *((what, name) for what in ("online_psi", "online_nulls") for name in ("price", "place", "items")),
        ("online_score_psi", ""),
    }
    for row in compared:
        batch = found(shop, BATCH[row.what], row.slice)
        assert (row.value, row.n, row.reference, row.important) == (batch.value, batch.n, batch.reference, batch.important)
    breached = {(row.what, row.slice) for row in compared if row.breached}
    assert breached == (
        set() if made is monitored.scored else {("online_psi", "price"), ("online_psi", "place"), ("online_nulls", "place")}
    )
    assert len(told.breaches) == len(breached)


def test_a_bound_learned_of_batch_ticks_holds_for_requests(shop: Platform) -> None:
    watch = ml.Watch("feature_psi", high=0.001, only_important=True, learned=ml.Learned())
    own = replace(SERVED, watches=(watch, replace(watch, what="online_psi")), rules=())
    rows = monitored.scored(T)
    monitored.score_tick(shop, rows)
    measure(own, own.schedule.tick(T), shop)
    answer(shop, rows, own)
    run(shop, pipeline=own)
    batch, asked = found(shop, "feature_psi", "price"), found(shop, "online_psi", "price")
    assert asked.high == batch.high
    assert asked.high is not None
    assert asked.high > 0.001


def test_how_the_service_fared_is_told_in_shares_and_percentiles(shop: Platform) -> None:
    rows = monitored.scored(T)
    n = rows.num_rows
    times = np.random.default_rng(1).gamma(2, 3, n)
    score = [None if i < 8 else value for i, value in enumerate(rows["score"].to_pylist())]
    answer(
        shop, rows, score=score, milliseconds=times.tolist(), error=[i % 50 == 0 for i in range(n)],
        fallback=[i % 10 == 9 for i in range(n)], stale=[i % 4 == 0 for i in range(n)], missing=[i == 3 for i in range(n)],
    )  # fmt: skip
    told = run(shop)
    assert (told.rows, told.tick) == (n, str(T))
    shares = {name: found(shop, f"online_{name}").value for name in ("errors", "fallback", "refused", "stale", "missing")}
    assert shares == {"errors": 0.02, "fallback": 0.1, "refused": 0.02, "stale": 0.25, "missing": 1 / n}
    assert found(shop, "online_rows").value == n
    latency = found(shop, "online_latency")
    assert latency.value == np.quantile(times, 0.99, method="inverted_cdf")
    assert not latency.breached
    assert {row.what for row in shop.ledger.all(Measurement, tick=T) if row.breached} == {"online_errors", "online_fallback"}
    assert {row.cause for row in shop.ledger.all(Measurement, tick=T) if row.breached} == {"pipeline fault"}
    # Neither what the fallback answered nor what got no score went into the model.
    assert found(shop, "online_score_psi").n == n - 40 - 8


def test_few_rows_have_no_distribution_and_no_percentile(shop: Platform) -> None:
    answer(shop, monitored.scored(T, 40), milliseconds=900.0)
    assert run(shop).breaches == ()
    rows = {(row.what, row.slice): row for row in shop.ledger.all(Measurement, tick=T)}
    for key in (("online_latency", ""), ("online_psi", "price"), ("online_score_psi", ""), ("online_nulls", "place")):
        assert rows[key].value is None
        assert "few" in rows[key].sentence
    assert rows["online_errors", ""].value == 0.0


def test_a_slow_service_breaches(shop: Platform) -> None:
    times = [80.0 if i % 50 == 0 else 1.0 for i in range(monitored.ORDERS_A_TICK)]
    answer(shop, monitored.scored(T), milliseconds=times)
    assert [sentence.split(" is ")[0] for sentence in run(shop).breaches] == [
        f"{T}: 99th percentile of the latency per row in milliseconds"
    ]


def test_a_challenger_in_the_shadow_is_held_beside_the_scores_of_the_rows_that_both_have(shop: Platform) -> None:
    rows = monitored.scored(T)
    score = rows["score"].to_numpy()
    other = np.clip(score + np.random.default_rng(2).normal(0, 0.1, len(score)), 0, 1)
    shadow = [None if i % 2 else float(value) for i, value in enumerate(other)]
    version = [None if value is None else 4 for value in shadow]
    answer(shop, rows, shadow_score=shadow, shadow_version=version, shadow_milliseconds=[value and 7.0 for value in shadow])
    run(shop)
    difference = found(shop, "online_shadow_difference")
    assert difference.value == pytest.approx(np.abs(score - other)[::2].mean())
    assert difference.n == len(score) // 2
    assert difference.interval_low is not None
    assert difference.interval_high is not None
    assert difference.interval_low < difference.value < difference.interval_high
    assert found(shop, "online_shadow_latency").value == 7.0


def test_without_a_shadow_nothing_is_said_of_one(shop: Platform) -> None:
    answer(shop, monitored.scored(T))
    run(shop)
    assert not [row for row in shop.ledger.all(Measurement, tick=T) if "shadow" in row.what]


def test_of_two_versions_the_one_that_answered_more_is_held_to_its_reference(shop: Platform) -> None:
    rows = monitored.scored(T)
    small = [i % 5 == 0 for i in range(rows.num_rows)]
    answer(
        shop, rows, model_version=[9 if one else monitored.VERSION for one in small],
        score=[0.99 if one else score for one, score in zip(small, rows["score"].to_pylist(), strict=True)],
    )  # fmt: skip
    run(shop)
    one = found(shop, "online_score_psi")
    assert (one.n, one.model_version, one.breached) == (rows.num_rows * 4 // 5, monitored.VERSION, False)
    assert found(shop, "online_rows").value == rows.num_rows


def test_where_no_model_answers_the_service_is_measured_all_the_same(shop: Platform) -> None:
    rows = monitored.scored(T)
    answer(shop, rows, model_version=None, score=None, decision=None, route="refused", error=None, stale=None)
    assert run(shop).breaches == (found(shop, "online_refused").sentence,)
    assert found(shop, "online_errors").value == 0.0
    assert not [row for row in shop.ledger.all(Measurement, tick=T) if row.what in BATCH]
    answer(shop, monitored.scored(T + DAY), fallback=True, route="fallback")
    run(shop, T + DAY)
    assert found(shop, "online_fallback", day=T + DAY).breached
    psi = found(shop, "online_psi", "price", T + DAY)
    assert (psi.value, psi.breached) == (None, False)


def test_measured_again_it_is_replaced_and_batch_measurements_stay(shop: Platform) -> None:
    rows = monitored.scored(T)
    monitored.score_tick(shop, rows)
    measure(monitored.pipeline, monitored.pipeline.schedule.tick(T), shop)
    batch = [(row.what, row.slice, row.value) for row in shop.ledger.all(Measurement, tick=T)]
    answer(shop, rows.slice(0, 150))
    run(shop)
    answer(shop, rows.slice(150))
    assert run(shop).rows == rows.num_rows
    measure(monitored.pipeline, monitored.pipeline.schedule.tick(T), shop)
    kept = {(row.what, row.slice) for row in shop.ledger.all(Measurement, tick=T)}
    assert {(what, slice) for what, slice, _ in batch} < kept
    assert ("online_psi", "price") in kept


def measured(platform: Platform) -> dict[date, int]:
    return {row.tick: row.n for row in platform.ledger.all(Measurement, what="online_rows")}


def test_what_anybody_collected_is_measured_once_and_again_when_more_came(make_shop: Callable[..., Platform]) -> None:
    shop = make_shop(clock=clock_at_noon(T))
    rows = monitored.scored(T)
    answer(shop, rows.slice(0, 150))  # collected by somebody who measures nothing, as a ramp does
    answer(shop, monitored.scored(T + DAY, 120))
    assert [one.tick for one in measure_collected(SERVED, shop)] == [str(T + DAY), str(T)]
    assert measured(shop) == {T: 150, T + DAY: 120}
    assert measure_collected(SERVED, shop) == []
    answer(shop, rows.slice(150))
    assert [(one.tick, one.rows) for one in measure_collected(SERVED, shop)] == [(str(T), rows.num_rows)]
    assert measured(shop) == {T: rows.num_rows, T + DAY: 120}


def test_what_could_not_be_measured_is_measured_by_the_next_that_can(
    make_shop: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop(clock=clock_at_noon(T))

    def broken(*_: Any) -> None:
        raise OSError("no registry")

    answer(shop, monitored.scored(T))
    with monkeypatch.context() as patch:
        patch.setattr(shop.registry, "reference_profile", broken)
        with pytest.raises(OSError, match="no registry"):
            measure_collected(SERVED, shop)
    assert measured(shop) == {}
    assert [one.rows for one in measure_collected(SERVED, shop)] == [monitored.ORDERS_A_TICK]


def test_a_tick_that_cannot_be_measured_holds_up_no_other(
    make_shop: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprod_tasks.monitoring import requests

    shop = make_shop(clock=clock_at_noon(T))
    for day in (T - DAY, T, T + DAY):
        answer(shop, monitored.scored(day))
    real = requests._service

    def picky(con: Any, source: str) -> Any:
        if f"tick={T}" in source:
            raise ArithmeticError("strange")
        return real(con, source)

    monkeypatch.setattr(requests, "_service", picky)
    with pytest.raises(ArithmeticError) as raised:
        measure_collected(SERVED, shop)
    assert raised.value.__notes__ == [f"pipeline 'shop': the requests of {T} are not measured"]
    assert set(measured(shop)) == {T - DAY, T + DAY}
    monkeypatch.undo()
    assert [one.tick for one in measure_collected(SERVED, shop)] == [str(T)]


ASKED = replace(SERVED, watches=(ml.Watch("online_rows", low=100.0),), rules=(ml.Rule("nobody asks", "online_rows", "alert"),))


def test_when_nobody_asks_any_more_it_breaches_as_soon_as_the_tick_is_over(make_shop: Callable[..., Platform]) -> None:
    clock = clock_at_noon(T)
    shop = make_shop(clock=clock)
    answer(shop, monitored.scored(T), ASKED)
    measure_collected(ASKED, shop)
    clock.at = ASKED.schedule.moment(T + 2 * DAY) - timedelta(minutes=1)
    assert measure_collected(ASKED, shop) == []
    assert run(shop, T + DAY, ASKED).measurements == 0
    clock.at += timedelta(minutes=1)
    (silent,) = measure_collected(ASKED, shop)
    assert silent.breaches == (f"{T + DAY}: number of rows answered on request is 0, below the bound 100; n = 0",)
    assert measure_collected(ASKED, shop) == []
    assert decide(ASKED, ASKED.schedule.tick(T + 2 * DAY), shop).rules == ("nobody asks",)
    assert found(shop, "online_rows", day=T + DAY).model_version == monitored.VERSION
    answer(shop, monitored.scored(T + DAY), ASKED)  # they came late
    assert [one.breaches for one in measure_collected(ASKED, shop)] == [()]


def test_a_use_case_that_nobody_asked_for_long_or_ever_is_not_silent(make_shop: Callable[..., Platform]) -> None:
    clock = clock_at_noon(T + 40 * DAY)
    shop = make_shop(clock=clock)
    assert measure_collected(ASKED, shop) == []
    assert run(shop) == RequestsMeasured(str(T), 0, 0)
    answer(shop, monitored.scored(T), ASKED)
    assert [one.tick for one in measure_collected(ASKED, shop)] == [str(T)]
    assert run(shop, T - DAY) == RequestsMeasured(str(T - DAY), 0, 0)
    assert measured(shop) == {T: monitored.ORDERS_A_TICK}
    clock.at -= 12 * DAY
    assert [one.tick for one in measure_collected(ASKED, shop)] == [str(T + 27 * DAY)]


def test_an_alarm_of_a_days_requests_comes_with_the_next_decision_and_goes_with_the_one_after(shop: Platform) -> None:
    answer(shop, monitored.scored(T), error=[i % 20 == 0 for i in range(monitored.ORDERS_A_TICK)])
    run(shop)
    answer(shop, monitored.scored(T + DAY))
    run(shop, T + DAY)
    decided = [decide(SERVED, SERVED.schedule.tick(T + n * DAY), shop) for n in range(3)]
    assert [one.rules for one in decided] == [(), ("models fail on requests",), ()]
    assert [one.action for one in decided] == ["nothing", "alert", "nothing"]
    assert "share of requested rows for which the model failed is 0.05, above the bound 0.01" in decided[1].reason
