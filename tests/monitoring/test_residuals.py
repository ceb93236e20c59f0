"""Where scores no longer fit: regions of features, against pandas, and how often chance alone names one."""

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile, Region
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.residuals import CHANCE, MOST_FEATURES, explained, residual_drift, residuals, words
from mlprod_tasks.statistics import bins
from mlprod_tasks.statistics.bins import Bins

HOUR = Bins("dep_hour", edges=(5.0, 9.0, 13.0, 17.0), low=0, high=23)
CARRIER = Bins("carrier", categories=("UA", "O'Hare", "EV"))


def column(one: Bins, importance: float, important: bool = True) -> ProfileColumn:
    return ProfileColumn(bins=one, counts=(1,) * (len(one)), importance=importance, important=important)


def profile(
    *reference: object, features: tuple[ProfileColumn, ...] = (column(HOUR, 3), column(CARRIER, 2))
) -> ReferenceProfile:
    return ReferenceProfile(
        first="2024-01-01",
        last="2024-01-02",
        rows_by_tick=(10, 10),
        features=features,
        score=column(Bins("score", edges=(0.5,)), 0),
        mean_score=0.3,
        outcomes=20,
        label_rate=0.3,
        roc_auc=0.7,
        kpi=1.0,
        residuals=reference,  # type: ignore[arg-type]
    )


def rows(n: int, seed: int = 1, **changes: np.ndarray) -> pa.Table:
    """Rows whose labels are drawn from their scores."""
    random = np.random.default_rng(seed)
    score = random.beta(2, 5, n)
    columns = {
        "score": score,
        "dep_hour": random.integers(0, 24, n).astype(float),
        "carrier": random.choice(["UA", "O'Hare", "EV"], n),
        "label": random.random(n) < score,
    } | changes
    return pa.table(columns)


def summed(table: pa.Table, *looked_at: Bins) -> tuple:
    with duckdb.connect() as con:
        con.register("own", table)
        return residuals(con, "own", looked_at or (HOUR, CARRIER))


def read(table: pa.Table, *reference: object) -> dict[str, Reading]:
    return {reading.slice: reading for reading in residual_drift(profile(*reference), summed(table))}


def test_regions_are_summed_up_as_pandas_would() -> None:
    table = rows(5000).to_pandas()
    table.loc[::7, "dep_hour"] = None
    table.loc[1::70, "dep_hour"] = np.inf
    table.loc[::9, "carrier"] = None
    table.loc[1::90, "carrier"] = "new"
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.set_column(1, "dep_hour", pa.array([None if pd.isna(v) else v for v in table["dep_hour"]], pa.float64()))
    hours, carriers = summed(arrow)
    cut = pd.cut(table["dep_hour"].replace(np.inf, np.nan), [-np.inf, *HOUR.edges, np.inf], labels=False)
    places = (cut + 2).fillna(-1).where(table["dep_hour"] != np.inf, bins.OTHER).replace(-1, bins.NULL)
    check(hours.regions, table, places)
    named = {name: at for at, name in enumerate(CARRIER.categories, 2)} | {"new": bins.OTHER}
    check(carriers.regions, table, table["carrier"].map(named).fillna(bins.NULL))


def check(regions: tuple[Region, ...], table: pd.DataFrame, places: pd.Series) -> None:
    assert sum(region.n for region in regions) == len(table)
    for at, region in enumerate(regions):
        there = table[places == at]
        residual = there["label"] - there["score"]
        assert region.n == len(there) > 0
        assert region.residual == pytest.approx(residual.mean())
        assert region.squares == pytest.approx((residual**2).sum())
        assert region.spread == pytest.approx((there["score"] * (1 - there["score"])).sum())


def test_a_region_in_which_outcomes_changed_is_named_in_the_features_own_words() -> None:
    table = rows(900)
    evening = table["dep_hour"].to_numpy() > 17
    random = np.random.default_rng(2)
    table = rows(900, label=np.where(evening, random.random(900) < 0.7, table["label"].to_numpy(zero_copy_only=False)))
    hour, carrier = (read(table)[name] for name in ("dep_hour", "carrier"))
    residual = (table["label"].to_numpy(zero_copy_only=False) - table["score"].to_numpy())[evening]
    assert hour.value == pytest.approx(abs(residual.mean()))
    assert hour.n == evening.sum()
    assert hour.detail.startswith("dep_hour above 17: ")
    assert hour.interval is not None
    assert 0 < hour.interval[0] < hour.value < hour.interval[1]
    assert hour.important
    assert carrier.detail.startswith("carrier ") or carrier.value == 0


def test_what_the_reference_has_there_too_is_no_drift() -> None:
    def off(n: int, seed: int) -> pa.Table:
        table = rows(n, seed)
        late = np.random.default_rng(seed).random(n) < 0.6
        evening = table["dep_hour"].to_numpy() > 17
        return rows(n, seed, label=np.where(evening, late, table["label"].to_numpy(zero_copy_only=False)))

    tick = off(900, 3)
    assert read(tick)["dep_hour"].value > 0.2
    usual = read(tick, *summed(off(20_000, 4)))["dep_hour"]
    assert usual.value == 0
    changed = read(rows(900, 3), *summed(off(20_000, 4)))["dep_hour"]
    assert changed.value > 0.2, "and what was off and no longer is has changed"
    assert changed.reference == pytest.approx(0.31, abs=0.03)
    assert "usually +3" in changed.detail


def test_chance_alone_names_a_region_as_seldom_as_it_says() -> None:
    reference = summed(rows(25_000, 5))
    ticks = 400
    with duckdb.connect() as con:
        named = 0
        for seed in range(ticks):
            con.register("own", rows(400, 100 + seed))
            named += any(one.value for one in residual_drift(profile(*reference), residuals(con, "own", (HOUR, CARRIER))))
    assert named <= CHANCE * ticks + 3 * np.sqrt(CHANCE * ticks)


def test_outcomes_that_all_came_out_alike_are_no_proof() -> None:
    """None of 40 rows with a score of 2 % is positive in nearly half of all cases, though they do not scatter at all."""
    score = np.full(40, 0.02)
    table = rows(40, score=score, dep_hour=np.full(40, 20.0), label=np.zeros(40, bool))
    assert read(table)["dep_hour"].value == 0


def test_regions_with_few_rows_say_nothing() -> None:
    table = rows(29, dep_hour=np.full(29, 20.0), label=np.ones(29, bool))
    reading = read(table)["dep_hour"]
    assert (reading.value, reading.missing) == (None, False)
    assert "no region has 30 rows" in reading.why


def test_a_number_that_arrives_as_text_is_read_as_one() -> None:
    table = rows(900)
    as_text = table.set_column(1, "dep_hour", pa.array([f"{hour:g}" for hour in table["dep_hour"].to_pylist()]))
    assert summed(as_text, HOUR) == summed(table, HOUR)


@pytest.mark.parametrize(
    ("one", "at", "said"),
    [
        (HOUR, 0, "dep_hour missing"),
        (HOUR, 1, "dep_hour not finite"),
        (HOUR, 2, "dep_hour up to 5"),
        (HOUR, 3, "dep_hour above 5 up to 9"),
        (HOUR, 6, "dep_hour above 17"),
        (CARRIER, 1, "carrier new to the reference"),
        (CARRIER, 4, "carrier 'EV'"),
        (Bins("dest", categories=tuple(map(str, range(99)))), 1, "dest not among the most frequent"),
    ],
)
def test_regions_have_words(one: Bins, at: int, said: str) -> None:
    assert words(one, at) == said


def test_only_the_most_important_features_are_looked_at() -> None:
    columns = [column(Bins(f"f{n}", edges=(0.0,)), n, important=n != 9) for n in range(10)]
    assert [one.column for one in explained(columns)] == ["f8", "f7", "f6", "f5", "f4"]
    assert len(explained(columns)) == MOST_FEATURES
