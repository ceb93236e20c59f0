"""Other features against the declared ones: each fold is what two trainings would have measured, on the same rows."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.compare_features import CannotCompare, compare_features
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.statistics.intervals import mean_of_differences
from mlprod_tasks.statistics.metrics import Difference
from mlprod_tasks.training.split import HistoryTooShort
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.trained_shop import Shop

TWO = ml.Backtest(windows=2, step=ml.days(7))
PER_ITEM = ml.Expression("per_item", "amount / nullif(items, 0)", "float", "price of one")
HISTORY = ml.Trailing("shop", "orders", {"channel": "channel"}, (ml.days(7),), (ml.Count(), ml.Mean("amount")))


def compared(shop: Shop, add=(), drop=(), folds=TWO, day="2024-02-10"):
    return compare_features(shop.pipeline, add, drop, shop.tick(day), folds, shop.platform)


def test_each_fold_is_what_trainings_with_and_without_the_change_would_have_measured(shop: Shop) -> None:
    made = compared(shop, add=[PER_ITEM], drop=["channel"])
    assert (made.added, made.dropped) == (("per_item",), ("channel",))
    assert [str(fold.as_of) for fold in made.folds] == ["2024-02-03", "2024-02-10"]
    kept = [one for one in shop.pipeline.features if one.name != "channel"]
    model = replace(shop.pipeline.model, categorical=())
    changed = shop.declared(features=(*kept, PER_ITEM), model=model, fallback=ml.RateTable(by=("items",)))
    for fold in made.folds:
        for name, one, found in (("declared", shop, fold.declared), ("changed", changed, fold.changed)):
            training = f"{name}-{fold.as_of}"
            one.trained(training, str(fold.as_of))
            alone = TrainingFolder(one.platform, training).read(Evaluation)
            assert (fold.rows, found) == (alone.rows, alone.model)
        for name, difference in fold.differences.items():
            assert difference.value == pytest.approx(fold.changed[name].value - fold.declared[name].value)


def test_what_tells_the_outcome_is_better_with_it_and_worse_without(shop: Shop) -> None:
    without = shop.declared(features=shop.pipeline.features[2:], model=replace(shop.pipeline.model, categorical=()),
                            fallback=ml.RateTable(by=("items",)))  # fmt: skip
    told = ml.Expression("told", "amount * (1 + (channel = 'phone')::INT)", "float", "price, twice by phone")
    with_it = compared(without, add=[told]).mean["roc_auc"]
    assert with_it.low > 0
    assert with_it.p < 0.01
    gone = compared(shop, drop=["amount"]).mean["roc_auc"]
    assert gone.high < 0


def test_the_same_feature_again_makes_no_difference_that_can_be_told(shop: Shop) -> None:
    twice = compared(shop, add=[ml.Expression("noise", "hash(order_id) % 1000", "int", "nothing")]).mean["roc_auc"]
    assert twice.low < 0 < twice.high


def test_aggregates_are_tried_too_and_nothing_is_written(shop: Shop) -> None:
    before = sorted(path for path in shop.platform.settings.home.rglob("*") if path.is_file())
    made = compared(shop, add=[HISTORY])
    assert made.added == ("shop_count_7d", "shop_mean_amount_7d")
    assert sorted(path for path in shop.platform.settings.home.rglob("*") if path.is_file()) == before
    assert shop.platform.ledger.all(Training) == []


def test_a_history_that_is_too_short_for_some_folds_says_which_and_for_all_is_refused(shop: Shop) -> None:
    made = compared(shop, add=[PER_ITEM], folds=ml.Backtest(windows=5, step=ml.days(7)))
    assert len(made.folds) + len(made.left_out) == 5
    assert made.left_out
    assert made.left_out[0].startswith("as of 2024-01-13: ")
    with pytest.raises(HistoryTooShort, match="ticks"):
        compared(shop, add=[PER_ITEM], day="2024-01-05")


def test_folds_that_share_rows_tell_no_more_than_each_of_them(shop: Shop) -> None:
    made = compared(shop, add=[PER_ITEM], folds=ml.Backtest(windows=3, step=ml.days(3)))
    first, second, third = (fold.differences["roc_auc"] for fold in made.folds)
    apart = sqrt((first.high - first.low) ** 2 + (third.high - third.low) ** 2)
    mean = made.mean["roc_auc"]
    assert mean.value == pytest.approx((first.value + second.value + third.value) / 3)
    assert mean.high - mean.low > (apart + second.high - second.low) / 3, "windows of a week that are six days apart share one"
    again = compared(shop, add=[PER_ITEM], folds=ml.Backtest(windows=3, step=ml.days(4)))
    first, second, third = (fold.differences["roc_auc"] for fold in again.folds)
    apart = sqrt((first.high - first.low) ** 2 + (third.high - third.low) ** 2)
    mean = again.mean["roc_auc"]
    assert mean.high - mean.low == pytest.approx((apart + second.high - second.low) / 3)


def test_changes_that_cannot_be_compared_are_refused_with_what_there_is(shop: Shop) -> None:
    with_history = shop.declared(features=(*shop.pipeline.features, HISTORY))
    with pytest.raises(CannotCompare, match="give features to `add`"):
        compared(shop)
    with pytest.raises(CannotCompare, match="no feature 'chanel' to drop; it has channel, amount, items, weekday"):
        compared(shop, drop=["chanel"])
    with pytest.raises(CannotCompare, match="drop 'shop'"):
        compared(with_history, drop=["shop_count_7d"])
    with pytest.raises(CannotCompare, match=r"already has a feature 'amount'.*another name"):
        compared(shop, add=[ml.Expression("amount", "amount * 2", "float", "")])
    with pytest.raises(CannotCompare, match=r"returns cannot have these features: .*'amuont'.*did you mean 'amount'"):
        compared(shop, add=[ml.Expression("x", "amuont * 2", "float", "")])


def test_the_mean_of_differences_is_that_of_independent_estimates() -> None:
    z = stats.norm.ppf(0.975)
    parts = [Difference(0.02, 0.02 - z * 0.01, 0.02 + z * 0.01, 0.05), Difference(0.04, 0.04 - z * 0.03, 0.04 + z * 0.03, 0.2)]
    error = sqrt(0.01**2 + 0.03**2) / 2
    mean = mean_of_differences(parts)
    assert mean.value == pytest.approx(0.03)
    assert (mean.low, mean.high) == pytest.approx(stats.norm.interval(0.95, 0.03, error))
    assert mean.p == pytest.approx(2 * stats.norm.sf(0.03 / error))
    same = mean_of_differences([Difference(0.0, 0.0, 0.0, 1.0)] * 2)
    assert (same.value, same.p) == (0.0, 1.0)
    unknown = mean_of_differences([parts[0], Difference(float("nan"), float("nan"), float("nan"), float("nan"))])
    assert unknown.p != unknown.p


def test_the_error_of_a_mean_over_overlapping_windows_is_not_understated() -> None:
    random = np.random.default_rng(0)
    blocks = random.normal(0.0, 1.0, (20_000, 7))
    windows = np.stack([blocks[:, i : i + 2].mean(axis=1) for i in range(6)], axis=1)  # each shares a block with the next
    half = stats.norm.ppf(0.975) * sqrt(0.5)
    held = {}
    for overlapping in (1, 2):
        mean = mean_of_differences([Difference(0.0, -half, half, 1.0)] * 6, overlapping)
        held[overlapping] = (np.abs(windows.mean(axis=1)) <= mean.high).mean()
    assert held[1] < 0.9, "as if they were independent"
    assert 0.95 <= held[2] < 0.97
