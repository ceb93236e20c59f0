"""Windows too large for memory stay in their file: the same rows, the same model, the same results."""

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.evaluate import evaluate
from mlprod_tasks.evaluation.gate import gate, gates_passed
from mlprod_tasks.evaluation.results import Evaluation, ModelChecks, Slices
from mlprod_tasks.evaluation.run_checks import run_checks
from mlprod_tasks.models import stored_rows
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.stored_rows import StoredRows
from mlprod_tasks.platform import memory
from mlprod_tasks.platform.memory import NotEnoughMemory
from mlprod_tasks.promotion.register import promote
from mlprod_tasks.promotion.reproduce import reproduce
from mlprod_tasks.reporting.write import report
from mlprod_tasks.steps import register
from mlprod_tasks.training import assemble as assembling
from mlprod_tasks.training import fit_model, segments, training_rows, workspace
from mlprod_tasks.training.feature_history import History
from mlprod_tasks.training.records import SearchResult
from mlprod_tasks.training.search import search
from mlprod_tasks.training.train import train
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.labelled_rows import some_rows

TREES = ml.LightGBM(learning_rate=0.1, max_trees=25, min_data_in_leaf=30)


@pytest.fixture
def in_file(monkeypatch):
    monkeypatch.setattr(stored_rows, "CELLS_IN_MEMORY", 0)
    monkeypatch.setattr(stored_rows, "BATCH_ROWS", 997)


def stored(rows: pa.Table, file, split: str = "train", row_group_size: int = 5000) -> StoredRows:
    """The rows in a file, among rows of another window and rows without a label."""
    others = rows.slice(0, min(3000, rows.num_rows)).append_column("split", pa.array(["other"] * min(3000, rows.num_rows)))
    unlabelled = others.set_column(others.column_names.index("label"), "label", pa.nulls(others.num_rows, pa.bool_()))
    unlabelled = unlabelled.set_column(unlabelled.column_names.index("split"), "split", pa.array([split] * others.num_rows))
    own = rows.append_column("split", pa.array([split] * rows.num_rows))
    pq.write_table(pa.concat_tables([others, own, unlabelled]), file, row_group_size=row_group_size)
    found = stored_rows.window_rows(file, split)
    assert isinstance(found, StoredRows)
    return found


def test_stored_rows_are_read_like_a_table(in_file, tmp_path):
    table = some_rows(12_000)
    rows = stored(table, tmp_path / "set.parquet")
    assert rows.num_rows == 12_000
    assert rows.select(table.column_names).equals(table)
    assert rows["amount"].equals(table["amount"])
    assert pa.concat_tables(rows.batches(["items", "tick"])).equals(table.select(["items", "tick"]))
    at = np.random.default_rng(0).integers(0, 12_000, 500)  # in any order, some twice
    assert rows.take(at).select(table.column_names).equals(table.take(at))
    assert rows.take([]).num_rows == 0
    few = rows.filter(pc.equal(rows["channel"], "phone"))
    assert few.select(table.column_names).equals(table.filter(pc.equal(table["channel"], "phone")))
    again = few.filter(pc.greater(few["items"], 3))
    expected = table.filter(pc.equal(table["channel"], "phone"))
    assert again.select(table.column_names).equals(expected.filter(pc.greater(expected["items"], 3)))
    first = rows.filter(pc.equal(rows["tick"], table["tick"][0]))
    assert isinstance(first, StoredRows)
    assert first["tick"].unique().to_pylist() == [table["tick"][0].as_py()]


def test_few_rows_of_many_are_read_into_memory(in_file, monkeypatch, tmp_path):
    rows = stored(some_rows(12_000), tmp_path / "set.parquet")
    monkeypatch.setattr(stored_rows, "CELLS_IN_MEMORY", 1000 * len(rows.schema))
    assert isinstance(rows.filter(pc.less(rows["amount"], 1)), pa.Table)
    assert isinstance(rows.filter(pc.greater(rows["amount"], 1)), StoredRows)


# More rows than the 200,000 from which LightGBM chooses bins, in batches that end anywhere.
@pytest.mark.parametrize("fields", [{}, {"weights": "balanced", "half_life": timedelta(days=9), "categorical": ("weekday",)}])
def test_trees_fitted_from_a_file_are_those_fitted_in_memory(in_file, shop_pipeline, tmp_path, fields):
    pipeline = replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=(TREES,), **fields))
    train_rows, validation = some_rows(230_000), some_rows(20_000, 1, first_day=32, days=10)
    expected = fit_model.fit_model(pipeline, train_rows, validation, ModelFacts())
    from_file = fit_model.fit_model(
        pipeline, stored(train_rows, tmp_path / "train"), stored(validation, tmp_path / "validation"), ModelFacts()
    )
    assert from_file.fitted.booster == expected.fitted.booster
    assert from_file.save(tmp_path / "one") == expected.save(tmp_path / "two")


def test_every_learner_and_ensemble_makes_the_same_model_from_a_file(in_file, shop_pipeline, tmp_path):
    singles = (TREES, ml.LogisticRegression(), ml.HistGradientBoosting(max_trees=5), ml.RandomForest(trees=3), ml.Constant())
    ensembles = (ml.Averaging(of=("lightgbm", "logistic_regression")), ml.Stacking(of=("lightgbm", "constant")))
    pipeline = replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=(*singles, *ensembles)))
    train_rows, validation = some_rows(4000), some_rows(2000, 1, first_day=32, days=10)
    expected = fit_model.fit_model(pipeline, train_rows, validation, ModelFacts())
    rows = stored(train_rows, tmp_path / "train"), stored(validation, tmp_path / "validation")
    from_file = fit_model.fit_model(pipeline, *rows, ModelFacts())
    assert from_file.save(tmp_path / "one") == expected.save(tmp_path / "two")


def test_segments_are_fitted_from_a_file(in_file, shop_pipeline, tmp_path):
    fields = {"candidates": (TREES,), "segment_by": "channel", "least_segment_rows": 500}
    pipeline = replace(shop_pipeline, model=replace(shop_pipeline.model, **fields))
    train_rows, validation = some_rows(4000), some_rows(2000, 1, first_day=32, days=10)
    expected = segments.fit_all(pipeline, train_rows, validation, ModelFacts())
    rows = stored(train_rows, tmp_path / "train"), stored(validation, tmp_path / "validation")
    from_file = segments.fit_all(pipeline, *rows, ModelFacts())
    assert from_file.save(tmp_path / "one") == expected.save(tmp_path / "two")
    assert np.array_equal(from_file.predict(rows[1]).score, expected.predict(validation).score)


def test_a_learner_that_needs_more_memory_than_is_free_says_so_before_any_is_fitted(
    in_file, shop_pipeline, tmp_path, monkeypatch
):
    candidates = (TREES, ml.LogisticRegression())
    pipeline = replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=candidates))
    train_rows, validation = some_rows(4000), some_rows(2000, 1, first_day=32, days=10)
    rows = stored(train_rows, tmp_path / "train"), stored(validation, tmp_path / "validation")
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    monkeypatch.setattr(fit_model, "fit_learner", lambda *_, **__: pytest.fail("fitted"))
    said = (
        r"'logistic_regression' \(LogisticRegression\).* 6,000 rows.*needs about .* GB.*are free.*shorter split.train.*LightGBM"
    )
    with pytest.raises(NotEnoughMemory, match=said):
        fit_model.fit_model(pipeline, *rows, ModelFacts())
    stacked = replace(
        pipeline, model=replace(pipeline.model, candidates=(TREES, ml.Constant(), ml.Stacking(of=("lightgbm", "constant"))))
    )
    with pytest.raises(NotEnoughMemory, match="'stacking'"):
        fit_model.fit_model(stacked, *rows, ModelFacts())


GATES = (
    ml.AtLeast("roc_auc", 0.55), ml.NoLeakageSuspicion(), ml.SamePredictions(), ml.AvailableAtPrediction(),
    ml.Monotonic("more is dearer", "amount", "up", 1.0, most_share=0.99),
)  # fmt: skip
VALUE = ml.ValueFunction(act="CASE WHEN outcome THEN 0.1 * coalesce(amount, 0) ELSE -3 END", unit="CHF")


@pytest.mark.parametrize("fields", [{}, {"value": VALUE, "slices": ("channel",)}])
def test_a_whole_training_from_a_file_leaves_the_same_model_results_and_references(shop, monkeypatch, fields):
    declared = shop.declared(gates=GATES, **fields)
    pipeline, platform, folder = declared.pipeline, declared.platform, TrainingFolder(declared.platform, "one")
    declared.trained("one")
    expected = None
    for _ in range(2):
        for step in (train, evaluate, run_checks, gate, report, register):
            step(pipeline, "one", platform)
        expected = expected or (results(folder), profile(folder))
        monkeypatch.setattr(stored_rows, "CELLS_IN_MEMORY", 0)
        monkeypatch.setattr(stored_rows, "BATCH_ROWS", 101)
        shutil.rmtree(folder.path / "parts")  # else the fitted part is used again
    assert isinstance(workspace.read_window(folder, "test"), StoredRows)
    assert results(folder) == expected[0]
    assert profile(folder) == expected[1]
    promote(pipeline, platform.registry.version("returns", 1), gates_passed(pipeline, "one", platform), platform)
    assert reproduce(pipeline, None, platform).identical


def test_a_backtest_says_before_it_starts_that_a_window_does_not_fit_into_memory(shop, in_file, monkeypatch, tmp_path):
    ticks = shop.pipeline.schedule.range("2024-02-02", "2024-02-05")
    history = History(shop.pipeline, ticks, {}, tmp_path, shop.platform)
    assert history.window(ticks, shop.tick()).num_rows
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(
        NotEnoughMemory, match=r"window 2024-02-02.*2024-02-05 of a backtest needs about .* shorter split.train"
    ):
        history.window(ticks, shop.tick())


def test_a_set_is_assembled_in_parts_of_few_rows_with_the_same_rows(shop, monkeypatch):
    sets = []
    for training_id, most in (("one", training_rows.ROWS_AT_ONCE), ("two", 1), ("three", 500)):
        monkeypatch.setattr(training_rows, "ROWS_AT_ONCE", most)
        assembling.assemble(shop.pipeline, shop.tick(), training_id, "test", shop.platform)
        sets.append(pq.ParquetFile(TrainingFolder(shop.platform, training_id).training_set))
    assert max(sets[2].metadata.row_group(i).num_rows for i in range(sets[2].num_row_groups)) <= 500
    assert sets[0].num_row_groups < sets[2].num_row_groups < sets[1].num_row_groups
    assert sets[0].read().equals(sets[1].read())
    assert sets[0].read().equals(sets[2].read())


def test_a_search_from_a_file_finds_the_same_parameters(shop, monkeypatch):
    found = []
    for training_id, cells in (("one", stored_rows.CELLS_IN_MEMORY), ("two", 0)):
        monkeypatch.setattr(stored_rows, "CELLS_IN_MEMORY", cells)
        declared = shop.declared(model=replace(shop.pipeline.model, candidates=(TREES,), search=ml.Search(trials=3, folds=2)))
        assembling.assemble(declared.pipeline, declared.tick(), training_id, "test", declared.platform)
        search(declared.pipeline, training_id, declared.platform)
        found.append(TrainingFolder(declared.platform, training_id).read(SearchResult).candidates)
    assert found[0] == found[1]


def results(folder: TrainingFolder) -> list[str]:
    files = [folder.file(kind) for kind in (Evaluation, Slices, ModelChecks)]
    files += [folder.path / name for name in ("canned_rows.parquet", "report.html")]
    files += sorted(path for path in (folder.path / "model").rglob("*") if path.is_file())
    files += sorted(path for path in (folder.path / "fallback").rglob("*") if path.is_file())
    return [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]


def profile(folder: TrainingFolder) -> object:
    """The reference profile; sums that DuckDB makes over a file are rounded in another order than those over a table."""

    def rounded(value: object) -> object:
        if isinstance(value, dict):
            return {name: rounded(one) for name, one in value.items()}
        if isinstance(value, list):
            return [rounded(one) for one in value]
        return float(f"{value:.11g}") if isinstance(value, float) else value

    return rounded(json.loads((folder.path / "reference_profile.json").read_text()))
