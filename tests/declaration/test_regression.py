"""A declaration of a number: what fits it is taken, what does not is refused by name, with what is there."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.recorded import read, text_of
from tests.support.refund_shop import REFUNDS
from tests.support.shop import SHOP


def test_a_recorded_declaration_of_a_number_is_read_back():
    assert read(text_of(REFUNDS)) == REFUNDS
    assert REFUNDS.choose_by == "mae"
    assert SHOP.choose_by == "log_loss"


def test_a_candidate_that_predicts_a_quantile_is_chosen_by_its_loss():
    model = ml.Model(candidates=(ml.LightGBM(objective="quantile", alpha=0.75), ml.Constant()))
    pipeline = replace(REFUNDS, model=model, gates=(ml.AtMost("pinball", 9.0), ml.NotWorseThanChampion("pinball")))
    assert (pipeline.quantile, pipeline.choose_by) == (0.75, "pinball")
    assert (REFUNDS.quantile, REFUNDS.choose_by) == (None, "mae")


def test_without_watches_it_has_those_of_numbers():
    standard = replace(REFUNDS, watches=ml.WATCHES, rules=ml.RULES)
    assert (standard.watches, standard.rules) == (ml.REGRESSION_WATCHES, ml.REGRESSION_RULES)
    watched = {watch.what for watch in standard.watches}
    assert {"mae", "rmse", "bias", "label_mean", "label_psi", "score_psi", "volume"} <= watched
    assert not {"roc_auc", "calibration", "label_rate", "estimate_error"} & watched
    assert {one.watch for rule in standard.rules for one in rule.conditions} <= watched


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"task": "ranking"}, "task 'ranking' is none: there are binary, multiclass, regression"),
        (
            {"label": replace(REFUNDS.label, sql="returned", kind="yes_no")},
            "label: kind 'yes_no' is a condition that is true or false, but task 'regression' predicts a number: declare "
            "kind='number' with such SQL, or task='binary'",
        ),
        ({"label": replace(REFUNDS.label, sql="returned")}, "label: sql 'returned' is bool, not a number"),
        ({"label": replace(REFUNDS.label, sql="sum(refund)")}, "label: sql 'sum(refund)' aggregates rows by 'sum'"),
        ({"value": SHOP.value}, "value: CostMatrix does not fit task 'regression'; declare PredictionValue"),
        ({"value": ml.PredictionValue("-abs(outcome)")}, "value: sql '-abs(outcome)' does not read `prediction`"),
        ({"fallback": SHOP.fallback}, "fallback: RateTable does not fit task 'regression'; declare MeanTable"),
        (
            {"model": ml.Model(candidates=(ml.LogisticRegression(),))},
            "model.candidates 'logistic_regression': LogisticRegression is not there for task 'regression'; there are "
            "Averaging, CatBoost, Constant, ",
        ),
        (
            {"model": ml.Model(candidates=(ml.LightGBM(objective="l1", alpha=0.5),))},
            "alpha is for objective 'quantile' or 'huber', not 'l1'",
        ),
        ({"model": ml.Model(candidates=(ml.LightGBM(objective="quantile", alpha=1.5),))}, "alpha 1.5 must lie between 0 and 1"),
        (
            {"model": ml.Model(candidates=(ml.LightGBM(tweedie_power=1.2),))},
            "tweedie_power is for objective 'tweedie', not 'l2'",
        ),
        (
            {"model": ml.Model(candidates=(ml.LightGBM(objective="tweedie", tweedie_power=2.0),))},
            r"tweedie_power 2.0 must lie in [1, 2)",
        ),
        (
            {
                "model": ml.Model(
                    candidates=tuple(ml.LightGBM(objective="quantile", alpha=a, name=f"q{i}") for i, a in enumerate((0.1, 0.9)))
                )
            },
            "model.candidates predict different quantiles, 0.1, 0.9: a use case predicts one",
        ),
        (
            {"model": ml.Model(choose_by="pinball")},
            "model.choose_by 'pinball' is the loss of a predicted quantile, and no candidate",
        ),
        ({"gates": (ml.AtMost("pinball", 3.0),)}, "gate AtMost('pinball') is the loss of a predicted quantile"),
        ({"model": ml.Model(candidates=(ml.LastValue("amuont"),))}, "model.candidates 'last_value': 'amuont' is not a feature"),
        (
            {"model": ml.Model(candidates=(ml.LastValue("channel"),))},
            "'channel' is a category, and what is predicted is a number",
        ),
        ({"model": ml.Model(candidates=(ml.SeasonalMean(()),))}, "model.candidates 'seasonal_mean': by names no feature"),
        ({"model": ml.Model(choose_by="roc_auc")}, "model.choose_by 'roc_auc' is no metric of task 'regression'; there are"),
        ({"model": ml.Model(weights="balanced")}, "model.weights 'balanced' weights two classes"),
        ({"model": ml.Model(calibration="sigmoid")}, "model.calibration 'sigmoid' makes probabilities"),
        (
            {"gates": (ml.AtLeast("roc_auc", 0.6),)},
            "gate AtLeast('roc_auc'): it is no metric of task 'regression'; AtLeast has absolute_bias, "
            "interval_coverage, interval_width, mae, mape",
        ),
        (
            {"gates": (ml.WorstSlice("calibration", 0.1),)},
            "gate WorstSlice('calibration'): it is no metric of task 'regression'; WorstSlice has bias, mae, rmse, "
            "value_per_1000",
        ),
        ({"gates": (ml.AtLeast("mae", 3.0),)}, "lower is better: use AtMost"),
        ({"gates": (ml.AtMost("mae", -3.0),)}, "bound -3.0 is below 0, and mae never is"),
        ({"gates": (ml.Stable("rmse", bound=-1.0),)}, "bound -1.0 is below 0, and rmse never is"),
        (
            {"gates": (ml.NoLeakageSuspicion(most=0.0),)},
            "most 0.0 must lie in (0, 1]: it bounds the rank correlation of one feature alone",
        ),
        (
            {"watches": (ml.Watch("roc_auc", low=0.6),)},
            "watch 'roc_auc' is not measured for task 'regression'; besides those of every task there are bias, "
            "estimated_mae, estimated_rmse, interval_coverage, label_mean",
        ),
        (
            {"features": (*SHOP.features, ml.Expression("prediction", "amount", "float", "x"))},
            "a feature or column of 'orders' is named 'prediction', the name of what is predicted",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:50],
)
def test_what_does_not_fit_a_number_is_refused_by_name(changes, refusal):
    with pytest.raises(ValidationError) as error:
        replace(REFUNDS, **changes)
    assert refusal in str(error.value)


def test_a_feature_alone_may_be_bound_anywhere_above_no_rank_correlation():
    gate = ml.NoLeakageSuspicion(most=0.4)
    assert replace(REFUNDS, gates=(gate,)).gates == (gate,)
    with pytest.raises(ValidationError, match=r"most 0.4 must lie in \(0.5, 1\]: it bounds the ROC AUC"):
        replace(SHOP, gates=(gate,))


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"label": replace(SHOP.label, kind="number")}, "declare kind='yes_no' with such SQL, or task='regression'"),
        (
            {"value": ml.PredictionValue()},
            "value: PredictionValue does not fit task 'binary'; declare CostMatrix or ValueFunction",
        ),
        ({"fallback": ml.MeanTable(by=("channel",))}, "fallback: MeanTable does not fit task 'binary'; declare RateTable"),
        ({"model": ml.Model(candidates=(ml.LightGBM(objective="l1"),))}, "objective is for task 'regression'; leave it out"),
        ({"model": ml.Model(candidates=(ml.LinearRegression(),))}, "LinearRegression is not there for task 'binary'"),
        ({"gates": (ml.AtMost("mae", 3.0),)}, "gate AtMost('mae'): it is no metric of task 'binary'"),
        ({"watches": (ml.Watch("bias", high=1.0),)}, "watch 'bias' is not measured for task 'binary'"),
    ],
    ids=("label", "value", "fallback", "objective", "learner", "gate", "watch"),
)
def test_what_belongs_to_a_number_does_not_fit_a_yes_or_no(changes, refusal):
    with pytest.raises(ValidationError) as error:
        replace(SHOP, **changes)
    assert refusal in str(error.value)
