"""Features with a few values in each tick are watched as a series."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks.monitoring.learned import Spread, forecast, learn, limits
from mlprod_tasks.monitoring.levels import levels, levels_by_tick
from mlprod_tasks.statistics import bins

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(28)]
KINDS = {"by_airport": "BIGINT", "constant": "DOUBLE", "hour": "BIGINT", "price": "DOUBLE", "airport": "VARCHAR"}


def reference(random: np.random.Generator, rows: int = 300) -> pa.Table:
    """Each day: a count by airport, a number for all rows, the same hours as ever, and a price of each row."""
    parts = []
    for n, day in enumerate(DAYS):
        airport = random.integers(0, 3, rows)
        counts = random.integers(2000, 3000, 3)
        parts.append(
            pa.table(
                {
                    "tick": [day] * rows,
                    "by_airport": counts[airport],
                    "constant": np.full(rows, 10.0 + n),
                    "hour": random.integers(6, 23, rows),
                    "price": random.normal(10, 2, rows),
                    "airport": [("EWR", "JFK", "LGA")[one] for one in airport],
                }
            )
        )
    return pa.concat_tables(parts).combine_chunks()


def test_numbers_whose_values_are_the_ticks_own_are_series_and_others_are_not() -> None:
    rows = reference(np.random.default_rng(3))
    con = duckdb.connect()
    con.register("reference", rows)
    learned = bins.learn(con, "reference", KINDS)
    found = levels_by_tick(con, "reference", learned, KINDS, DAYS)
    assert set(found) == {"by_airport", "constant"}
    means = rows.to_pandas().groupby("tick")["by_airport"].mean()
    assert found["by_airport"] == pytest.approx([means[day] for day in DAYS])
    one_day = rows.filter(pa.compute.equal(rows["tick"], DAYS[3]))
    con.register("one_day", one_day)
    assert levels(con, "one_day", ["by_airport", "constant"], KINDS) == {
        "by_airport": pytest.approx(means[DAYS[3]]),
        "constant": 13.0,
    }


def test_ticks_too_few_for_a_spread_have_no_series() -> None:
    con = duckdb.connect()
    con.register("reference", reference(np.random.default_rng(3)))
    learned = bins.learn(con, "reference", KINDS)
    assert levels_by_tick(con, "reference", learned, KINDS, DAYS[:4]) == {}


def walk(random: np.random.Generator, ticks: int, like: float) -> np.ndarray:
    values, value = [], 0.0
    for step in random.normal(size=ticks + 100):
        value = like * value + step
        values.append(value)
    return np.array(values[100:]) if like < 1 else np.array(values[:ticks])


@pytest.mark.parametrize("like", [0.0, 0.6, 0.95, 1.0])
def test_bounds_of_a_series_hold_it_weeks_later_however_alike_its_neighbours_are(like: float) -> None:
    random, outside, tries, ahead = np.random.default_rng(7), 0, 400, 14
    for _ in range(tries):
        series = walk(random, 28 + ahead, like)
        spread = learn("feature_level", list(series[:28]))
        assert spread is not None
        low, high = limits("feature_level", forecast(spread, ahead), 0, tail=0.01)
        assert low is not None
        assert high is not None
        outside += not low <= series[-1] <= high
    assert outside / tries < 0.05


def test_a_jump_of_a_series_is_outside_of_its_bounds() -> None:
    series = walk(np.random.default_rng(8), 28, 0.5)
    spread = learn("feature_level", list(series))
    assert spread is not None
    _, high = limits("feature_level", forecast(spread, 3), 0, tail=0.01)
    assert high is not None
    assert high < float(np.mean(series)) + 8 * float(np.std(series))


def test_a_series_that_never_moves_has_no_width() -> None:
    still = Spread((2.0,), 0.0, 0.0, 27, (0.0,) * 28)
    assert forecast(still, 10) == still
