"""A version and a threshold may be tried on the same units: each experiment splits them by a chance of its own."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.assignment import Variant, combined
from mlprod_tasks.experiments.plan import Wanted
from mlprod_tasks.experiments.plan_written import layers_of
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import CannotStart, beside_told, on_same_units, plan_for, start
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.scoring.score import score
from mlprod_tasks.scoring.variants import row_thresholds
from mlprod_tasks.serving.experiments import of_all, split_of
from mlprod_tasks.serving.run import build_service
from tests.experiments.conftest import NOON, ready
from tests.support.service import ask_orders
from tests.support.trained_shop import Shop

FIRST, LAST, END = date(2024, 1, 25), date(2024, 1, 31), "2024-02-02"
NEVER, TWO = "champion@1.0", "version 2"
CONTROL = Variant("control", 1, 0.5)
WANTED = Wanted("saved", difference=1.2)


@pytest.fixture
def shop(eager_home: Path, tmp_path: Path) -> Shop:
    """A shop of the test's own with a version that may be tried, 2."""
    return ready(eager_home, tmp_path)


def begun(shop: Shop, name: str, treated: str, wanted: Wanted = WANTED) -> ExperimentRun:
    planned = plan_for(shop.pipeline, wanted, [treated], shop.platform)
    return start(shop.pipeline, name, planned, "Ann", "a test", shop.platform)


def predictions(shop: Shop, *ticks: date) -> pd.DataFrame:
    return shop.platform.lake.rows(names.predictions(shop.pipeline), list(ticks)).to_pandas()


def given(rows: pd.DataFrame, name: str) -> pd.Series:
    """The variant that an experiment gave each row, whichever columns it is in."""
    return rows["variant"].where(rows["experiment"] == name, rows["second_variant"].where(rows["second_experiment"] == name))


def test_what_variants_change_is_their_layer() -> None:
    held, same = Variant("fallback", 1, 0.5, held_out=True), Variant("same", 1, 0.5)
    both = Variant("2@0.3", 2, 0.5, 0.3)
    two, never = Variant(TWO, 2, 0.5), Variant(NEVER, 1, 0.5, 1.0)
    layers = [layers_of((CONTROL, *treated)) for treated in ([two], [never], [two, never], [both], [held], [same])]
    assert [sorted(one) for one in layers] == [["version"], ["threshold"], *[["threshold", "version"]] * 4]
    for one, other in ((two, never), (never, two)):
        assert (combined(one, other).version, combined(one, other).threshold) == (2, 1.0)
    assert combined(CONTROL, never) == combined(never, CONTROL) == never
    assert combined(CONTROL, replace(CONTROL, share=0.9)).name == "control"


def test_both_run_on_all_units_independently_and_each_is_read_by_its_own_split(shop: Shop) -> None:
    versions, thresholds = begun(shop, "cheaper", "2"), begun(shop, "never", NEVER)
    assert [(one.units_from, one.units_to) for one in (versions, thresholds)] == [(0.0, 1.0)] * 2
    assert on_same_units(shop.pipeline, thresholds, shop.platform) == ["cheaper"]
    assert "it varies the threshold, on some of the same units as cheaper" in beside_told(
        shop.pipeline, thresholds, shop.platform
    )
    ticks = list(shop.pipeline.schedule.names(FIRST, LAST))
    for tick in ticks:
        score(shop.pipeline, shop.pipeline.schedule.tick(tick), shop.platform)
    rows = predictions(shop, *ticks)
    version, threshold = given(rows, "cheaper"), given(rows, "never")
    assert version.notna().all()
    assert threshold.notna().all()
    table = pd.crosstab(version, threshold)
    assert table.to_numpy().min() > 0.2 * len(rows)
    assert stats.chi2_contingency(table).pvalue > 0.001
    # What answered each row is what both gave it together, counted row by row.
    assert (rows["model_version"] == np.where(version == TWO, 2, 1)).all()
    assert not rows.loc[threshold == NEVER, "decision"].any()
    assert rows.loc[threshold == "control", "decision"].any()
    assert ((rows["variant"] == "control") == ((version == "control") & (threshold == "control"))).all()
    assert (rows["propensity"] == 0.5).all()
    assert (rows["second_propensity"] == 0.5).all()
    stored = shop.platform.lake.rows(names.predictions(shop.pipeline), [FIRST])
    assert row_thresholds(shop.pipeline, stored, shop.platform) == [
        1.0 if one == NEVER else None for one in given(stored.to_pandas(), "never")
    ]
    readings = [read_out(shop.pipeline, run, shop.tick(END), shop.platform) for run in (versions, thresholds)]
    for reading, of_row in zip(readings, (version, threshold), strict=True):
        assert reading.problems == ()
        assert reading.final
        assert {name: n for name, (n, _) in reading.rows.items()} == of_row.value_counts().to_dict()
    acted = {one.metric: one for one in readings[1].compared}["acted"]
    assert acted.treated == 0.0, "never acting acts on nothing, whichever version scored"
    _a_failing_version_voids_both(shop, rows, ticks)


def _a_failing_version_voids_both(shop: Shop, rows: pd.DataFrame, ticks: list[date]) -> None:
    """The champion answers its rows, in its own way: then neither is what was planned."""
    stored = shop.platform.lake.rows(names.predictions(shop.pipeline), ticks)
    numbers = stored["model_version"].to_numpy().copy()
    numbers[:] = 1
    changed = stored.set_column(stored.column_names.index("model_version"), "model_version", [numbers])
    shop.platform.lake.replace_ticks(names.predictions(shop.pipeline), shop.pipeline.schedule.range(FIRST, LAST), changed)
    for name in ("cheaper", "never"):
        run = experiments.get(shop.pipeline, name, shop.platform)
        again = read_out(shop.pipeline, run, shop.tick("2024-02-01"), _without_readings(shop.platform))
        assert again.verdict == "void"
        assert "were answered by another version than" in again.sentence


def _without_readings(platform: Platform) -> Platform:
    from sqlalchemy import delete

    from mlprod_tasks.platform.experiment_entries import ExperimentReading

    with platform.ledger.exclusive("a test") as session:
        session.execute(delete(ExperimentReading))
    return platform


def test_a_request_is_answered_as_a_batch_answers_it(shop: Shop) -> None:
    begun(shop, "cheaper", "2")
    begun(shop, "never", NEVER)
    service = build_service(shop.platform, {shop.pipeline.name: shop.pipeline}, keys_needed=False)
    ask_orders(shop, service, [FIRST, FIRST + timedelta(days=1)])
    score(shop.pipeline, shop.tick(str(FIRST)), shop.platform)
    asked = shop.platform.lake.rows(names.requests(shop.pipeline), [FIRST]).to_pandas()
    both = asked.merge(predictions(shop, FIRST), left_on="key_order_id", right_on="order_id", suffixes=("", "_batch"))
    assert len(both) == len(asked) > 100
    for name in ("experiment", "variant", "propensity", "second_experiment", "second_variant", "second_propensity", "score",
                 "decision", "model_version"):  # fmt: skip
        assert (both[name] == both[f"{name}_batch"]).all(), name
    pairs = set(zip(given(both, "cheaper"), given(both, "never"), strict=True))
    assert pairs == {(one, other) for one in ("control", TWO) for other in ("control", NEVER)}


def test_what_varies_the_same_never_meets_on_a_unit(shop: Shop) -> None:
    begun(shop, "cheaper", "2")
    for treated, what in (("2@0.3", "version and the threshold"), ("fallback", "version and the threshold"), ("2", "version")):
        with pytest.raises(CannotStart, match=f"varies the {what}: it asks for 100%.*'cheaper' has 100%"):
            begun(shop, "another", treated)
    begun(shop, "never", NEVER, replace(WANTED, traffic=0.7, difference=2.0))
    with pytest.raises(CannotStart, match=r"varies the threshold: it asks for 50% of the units, .*30%: 'never' has 70%"):
        begun(shop, "half", "champion@0.9", replace(WANTED, traffic=0.5, difference=2.0))
    rest = begun(shop, "rest", "champion@0.9", replace(WANTED, traffic=0.3, difference=3.0))
    assert (rest.units_from, rest.units_to) == (0.7, 1.0)


def test_units_of_two_experiments_are_told_by_their_hashes_alone() -> None:
    variants = {"v": (CONTROL, Variant(TWO, 2, 0.5)), "t": (CONTROL, Variant(NEVER, 1, 0.5, 1.0))}
    runs = {
        name: ExperimentRun(
            pipeline="p", name=name, at=NOON, by="Ann", reason="", plan={}, salt=f"{i}f2e3d4c5b6a7988", starts=FIRST, ends=LAST,
            layer_salt="0011223344556677", units_from=0.0, units_to=one,
        )
        for i, (name, one) in enumerate((("v", 1.0), ("t", 0.5)))
    }  # fmt: skip
    splits = [split_of(runs[name], variants[name]) for name in runs]
    of, units = of_all(splits), [f"u{i}" for i in range(20_000)]
    assert of is not None
    found = [of(unit, ()) for unit in units]
    both = [one for one in found if one.second[0] is not None]
    assert len(both) / len(units) == pytest.approx(0.5, abs=0.01)
    pairs = [{one.experiment: one.name, one.second[0]: one.second[1]} for one in both]
    table = pd.crosstab([one["v"] for one in pairs], [one["t"] for one in pairs])
    assert stats.chi2_contingency(table).pvalue > 0.001
    for unit, one in zip(units, found, strict=True):
        version, threshold = (split.of(unit, ()) for split in splits)
        expected = version.variant if threshold.variant is None else combined(version.variant, threshold.variant)
        assert one.variant == expected
    assert of(None, ()).name is None
