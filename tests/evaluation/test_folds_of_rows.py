"""Folds of rows without a time: by hash and by column, against hashlib, and through backtest, gate, report and comparison."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks import steps, workflows
from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.evaluation.compare_features import CannotCompare, compare_features
from mlprod_tasks.evaluation.gate import evaluate_gates
from mlprod_tasks.evaluation.results import BacktestResult, read_results
from mlprod_tasks.features import key_ranges
from mlprod_tasks.platform import Platform
from mlprod_tasks.reporting import report_context
from mlprod_tasks.reporting.card import card
from mlprod_tasks.reporting.chapters.backtest import backtest
from mlprod_tasks.training import search
from mlprod_tasks.training.records import Assembled, Trained
from mlprod_tasks.training.row_split import FoldOfRows, PartsUnknown, rows_of_fold
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.timeless_customers import CHURN, FIRST, KNOWN, OF_PARTS, calls, customers, deliver, new_platform

FOLDS = replace(CHURN, backtest=ml.Backtest(windows=4), serving=None)
STABLE = ml.Stable("roc_auc", windows=4, bound=0.6)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The customers are ingested; each test has a training of its own."""
    folder: Path = tmp_path_factory.mktemp("folds")
    calls().to_csv(folder / "calls.csv", index=False)
    deliver(customers(), folder)
    made = new_platform(folder)
    workflows.ingest(FOLDS, FOLDS.schedule.range(FIRST), made)
    return made


def assembled(pipeline: ml.Pipeline, name: str, platform: Platform) -> TrainingFolder:
    steps.assemble(pipeline, pipeline.schedule.tick(FIRST), name, "for the test", platform)
    return TrainingFolder(platform, name)


def place(customer: int) -> float:
    """As the guide says: the first 32 bits of the MD5 of seed and key, from 0 to 1."""
    return int(hashlib.md5(f"7|{customer}".encode()).hexdigest()[:8], 16) / 2**32


def within(first: float, last: float) -> Callable[[int], bool]:
    return lambda customer: first <= place(customer) < last or place(customer) < last - 1


def test_the_whole_way_with_folds_by_hash(platform: Platform) -> None:
    folder = assembled(FOLDS, "t", platform)
    steps.train(FOLDS, "t", platform)
    steps.evaluate(FOLDS, "t", platform)
    steps.backtest(FOLDS, "t", platform)
    folds = folder.read(BacktestResult).folds
    expected = [sum(within(k / 4, (k + 1) / 4)(customer) for customer in range(KNOWN)) for k in (3, 2, 1, 0)]
    assert [fold.rows for fold in folds] == expected
    assert sum(expected) == KNOWN
    assert [fold.part for fold in folds] == [
        "keys from 75% to 100% of their hash", "keys from 50% to 75% of their hash",
        "keys from 25% to 50% of their hash", "keys from 0% to 25% of their hash",
    ]  # fmt: skip
    assert {fold.as_of for fold in folds} == {FIRST}
    assert len({fold.model["roc_auc"].value for fold in folds}) == 4
    assert all(fold.model["roc_auc"].value > 0.7 > fold.baseline["roc_auc"].value for fold in folds)
    before = [fold.model for fold in folds]
    assert [fold.model for fold in steps.backtest(FOLDS, "t", platform).folds] == before  # those that are stored

    verdict = evaluate_gates((STABLE,), read_results(folder), folder.read(Trained).digest).gates[0]
    assert verdict.passed
    assert "in 4 of 4 windows; it must be in at least 4; worst on keys from " in verdict.sentence
    context = report_context.read(FOLDS, folder)
    chapter = repr(backtest(context))
    assert f"how much chance there is in which rows are tested. {PROVES_LESS}" in chapter
    assert "keys from 75% to 100% of their hash" in chapter
    assert "on 4 parts of the rows" in repr(card(context))


@pytest.mark.parametrize("measured", ["test", "validation"])
def test_no_row_is_measured_on_in_two_folds_and_none_is_lost(platform: Platform, measured: str) -> None:
    split = replace(CHURN.split, test=0.2, validation=0.3)
    pipeline = replace(CHURN, split=split, serving=None)
    folder = assembled(pipeline, measured, platform)
    seen: list[int] = []
    rows = pa.concat_tables([read_window(folder, name) for name in ("train", "validation", "test")])
    ticks = pipeline.schedule.range(FIRST)
    for number in range(split.most_folds(measured)):
        parts = rows_of_fold(pipeline, rows, ticks, {}, platform, FoldOfRows(number, measured))
        if measured == "test":
            test = within(number * 0.2, (number + 1) * 0.2)
            validation = within((number + 1) * 0.2, (number + 1) * 0.2 + 0.3)
        else:
            test, validation = within(0, 0.2), within(0.2 + number * 0.3, 0.2 + (number + 1) * 0.3)
        found = {name: set(part["customer"].to_pylist()) for name, part in parts.items()}
        assert found["test"] == set(filter(test, range(KNOWN)))
        assert found["validation"] == set(filter(validation, range(KNOWN))) - found["test"]
        assert found["train"] == set(range(KNOWN)) - found["test"] - found["validation"]
        seen += found[measured]
    first, last = (0.0, 1.0) if measured == "test" else (0.2, 0.8)
    assert sorted(seen) == [customer for customer in range(KNOWN) if first <= place(customer) < last]


def test_folds_by_column_take_values_that_are_trained_on() -> None:
    one = ml.SplitByColumn("plan", train=("a", "b", "c"), validation=("d",), test=("e",))
    assert [(fold.train, fold.validation, fold.test) for fold in (one.fold(k, "test") for k in range(3))] == [
        (("a", "b", "c"), ("d",), ("e",)),
        (("b", "c", "e"), ("d",), ("a",)),
        (("a", "c", "e"), ("d",), ("b",)),
    ]
    assert one.most_folds("test") == 3
    assert one.fold_words(1) == "plan a"


def test_a_search_measures_on_parts_that_train_otherwise(platform: Platform) -> None:
    searched = replace(CHURN, serving=None, model=replace(CHURN.model, search=ml.Search(trials=2, folds=3)))
    folds = search.folds(searched, assembled(searched, "searched", platform), platform)
    parts = [(set(one.train["customer"].to_pylist()), set(one.validation["customer"].to_pylist())) for one in folds]
    assert not any(a[1] & b[1] for a in parts for b in parts if a is not b)
    for train, validation in parts:
        assert train | validation == {customer for customer in range(KNOWN) if place(customer) >= 0.25}
        assert not train & validation


def test_a_feature_is_compared_on_folds_of_rows(platform: Platform) -> None:
    found = compare_features(FOLDS, [], ["visits"], FOLDS.schedule.tick(FIRST), ml.Backtest(windows=3), platform)
    assert [fold.called for fold in found.folds] == [f"keys from {k}% to {k + 25}% of their hash" for k in (50, 25, 0)]
    assert sum(fold.rows for fold in found.folds) == sum(place(customer) < 0.75 for customer in range(KNOWN))
    assert found.mean["roc_auc"].high < -0.1  # without visits a model tells little
    with pytest.raises(CannotCompare, match="have at most 4 folds, and 5 are asked"):
        compare_features(FOLDS, [], ["visits"], FOLDS.schedule.tick(FIRST), ml.Backtest(windows=5), platform)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"backtest": ml.Backtest(windows=5)},
            "backtest: 5 windows: rows split by a hash of the key with seed 7 have at most 4",
        ),
        ({"backtest": ml.Backtest(windows=3, step=ml.days(7))}, "backtest.step: it needs rows of several ticks"),
        (
            {"backtest": ml.Backtest(windows=2), "split": ml.SplitByColumn("part", ("train",), ("check",), ("final",))},
            "backtest: 2 windows: rows split by the column part have at most 1: each needs other values of `train`",
        ),
        (
            {"model": replace(CHURN.model, search=ml.Search(trials=2, folds=4))},
            "model.search: folds=4: rows split .* at most 3: with more of them, keys would be in the validation part twice",
        ),
    ],
)
def test_folds_that_do_not_fit_are_refused(changes: dict, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        replace(CHURN, serving=None, **changes)


def test_a_snapshot_that_is_cut_by_its_key_gives_each_part_its_rows_in_order(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ranges, "PIECE_ROWS", 300)
    cut = Platform(replace(platform.settings, score_rows=1_000))  # of 1,500 rows
    whole, pieces = assembled(FOLDS, "whole", platform), assembled(FOLDS, "pieces", cut)
    sets = [pq.ParquetFile(folder.training_set) for folder in (whole, pieces)]
    assert [one.num_row_groups for one in sets] == [3, 15]
    assert sets[1].read().equals(sets[0].read())
    assert pieces.read(Assembled) == whole.read(Assembled)
    assert not list((platform.settings.home / "exchange").iterdir())

    unknown, said = replace(FOLDS, split=replace(OF_PARTS, test=("last",)), backtest=None), []
    for one in (platform, cut):
        with pytest.raises(PartsUnknown) as raised:
            assembled(unknown, "unknown", one)
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert "'final' in " in said[0]
