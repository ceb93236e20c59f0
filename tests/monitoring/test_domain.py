"""The domain classifier: what it makes of rows of one population and of two, and the sample that it sees."""

import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import norm

from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile, SampledRows
from mlprod_tasks.monitoring import sample
from mlprod_tasks.monitoring.count import types
from mlprod_tasks.monitoring.domain import CannotTell, tell_apart
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics import bins

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(10)]


def rows(n: int, seed: int, shift: float = 0.0, correlation: float = 0.0) -> pa.Table:
    """Two correlated normal features and a category of no meaning."""
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    y = correlation * x + np.sqrt(1 - correlation**2) * random.normal(size=n)
    return pa.table({"x": x + shift, "y": y, "c": random.choice(["a", "b"], n), "score": random.random(n)})


def reference(table: pa.Table) -> ReferenceProfile:
    day = [DAYS[at % len(DAYS)] for at in range(table.num_rows)]
    with engine(threads=1) as con:
        con.register("reference", table.append_column("tick", pa.array(day)))
        made = bins.learn(con, "reference", {name: kind for name, kind in types(con, "reference").items() if name != "tick"})
        drawn = sample.sample_by_tick(con, "reference", made, Counter(day))
    *features, score = (ProfileColumn(one, counts=(1,) * len(one)) for one in made)
    return ReferenceProfile(
        first="", last="", rows_by_tick=(1,), features=tuple(features), score=score, mean_score=0.5, outcomes=0,
        label_rate=None, roc_auc=None, kpi=None, sampled=sample.of_reference(drawn),
    )  # fmt: skip


def drawn(table: pa.Table, profile: ReferenceProfile) -> SampledRows:
    with engine(threads=1) as con:
        con.register("now", table)
        return sample.sample(con, "now", [column.bins for column in profile.columns], table.num_rows)


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    return reference(rows(6_000, 0))


def test_rows_of_one_population_cannot_be_told_apart(profile: ReferenceProfile) -> None:
    found = [tell_apart(profile, drawn(rows(900, seed), profile)) for seed in range(1, 11)]
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.02), "out of fold: in fold it would be far above"
    # The reference is one and the same each time, so the intervals are not independent of each other.
    assert sum(one.interval[0] <= 0.5 <= one.interval[1] for one in found) >= 7


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_the_area_of_shifted_rows_is_near_the_best_there_can_be(profile: ReferenceProfile, shift: float) -> None:
    found = tell_apart(profile, drawn(rows(900, 20, shift), profile))
    best = norm.cdf(shift / np.sqrt(2))  # of two normals of variance 1
    assert best - 0.06 < found.auc < best + 0.03
    assert found.interval[0] < found.auc < found.interval[1]
    assert found.detail.startswith("3 features; the strongest: x")
    assert found.rows == 900


def test_a_change_of_how_features_go_together_is_seen_though_each_is_as_it_was(profile: ReferenceProfile) -> None:
    found = tell_apart(profile, drawn(rows(900, 30, correlation=0.95), profile))
    assert found.interval[0] > 0.6


def test_it_says_the_same_each_time_and_in_any_order_of_rows(profile: ReferenceProfile) -> None:
    table = rows(5_000, 40, 0.3)
    again = table.take(np.random.default_rng(1).permutation(table.num_rows))
    assert drawn(table, profile) == drawn(again, profile)
    assert tell_apart(profile, drawn(table, profile)) == tell_apart(profile, drawn(again, profile))


def test_a_feature_that_differs_on_every_tick_is_left_out(profile: ReferenceProfile) -> None:
    from dataclasses import replace

    x, *others = profile.features
    moved = drawn(rows(900, 50, 3.0), profile)
    without = replace(profile, features=(replace(x, tick_psi=(1.0, 2.0, 0.1)), *others))
    assert tell_apart(without, moved).auc < 0.6 < tell_apart(profile, moved).auc
    alone = replace(profile, features=(replace(x, tick_psi=(1.0, 2.0)),))
    with pytest.raises(CannotTell, match="every feature differs from tick to tick"):
        tell_apart(alone, moved)


def test_a_sample_is_the_bins_of_its_rows_and_survives_json(profile: ReferenceProfile) -> None:
    table = rows(300, 60)
    got = drawn(table, profile)
    x = profile.features[0].bins
    expected = Counter(2 + int(np.searchsorted(x.coarse_edges, value)) for value in table["x"].to_pylist())
    assert Counter(got.codes[:, 0].tolist()) == expected
    category = profile.features[2].bins.categories
    assert Counter(got.codes[:, 2].tolist()) == Counter(2 + category.index(value) for value in table["c"].to_pylist())
    kept = profile.sampled
    assert kept is not None
    assert (
        SampledRows(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(json.dumps(vars(kept))).items()})
        == kept
    )
    assert (sum(kept.rows), kept.codes.shape) == (sample.MOST_OF_REFERENCE, (sample.MOST_OF_REFERENCE, 4))


def test_the_rows_of_one_tick_can_be_taken_out_of_the_sample(profile: ReferenceProfile) -> None:
    kept = profile.sampled
    assert kept is not None
    less = kept.without(DAYS[3])
    assert str(DAYS[3]) not in less.ticks
    start = sum(kept.rows[:3])
    assert less.codes.tolist() == np.delete(kept.codes, slice(start, start + kept.rows[3]), axis=0).tolist()


def test_of_a_large_file_evenly_spaced_blocks_are_read(
    profile: ReferenceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "MANY", 10_000)
    table = rows(40_000, 70)
    ramp: Any = table.set_column(0, "x", [np.linspace(-3, 3, 40_000)])  # sorted, as rows in a file often are
    pq.write_table(ramp, tmp_path / "rows.parquet")
    with engine(threads=2) as con:
        source = f"read_parquet('{tmp_path / 'rows.parquet'}', file_row_number = true)"
        got = [sample.sample(con, source, [column.bins for column in profile.columns], 40_000) for _ in range(2)]
    assert got[0] == got[1]
    assert sum(got[0].rows) == sample.BLOCKS * (sample.MOST_ROWS // sample.BLOCKS)
    shares = np.bincount(got[0].codes[:, 0], minlength=12)[2:] / sum(got[0].rows)
    true = np.diff([-3, *profile.features[0].bins.coarse_edges, 3]) / 6
    assert np.abs(shares - true).max() < 1.5 / sample.BLOCKS, "each block is a sixteenth of it"


def test_rows_that_are_all_alike_are_bounded_too(profile: ReferenceProfile) -> None:
    table = pa.table({"x": np.zeros(30_000), "y": np.zeros(30_000), "c": ["a"] * 30_000, "score": np.full(30_000, 0.5)})
    assert sum(drawn(table, profile).rows) <= 2 * sample.MOST_ROWS
