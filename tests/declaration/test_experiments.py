"""What experiments may declare, and the sentence for what they may not."""

from dataclasses import replace

import pytest

from mlprod_tasks import declaration as ml
from tests.support.shop import SHOP
from tests.support.timeless_customers import CHURN

SAVED = ml.UnitMetric("saved", "value", "what acting saved")


def test_a_metric_is_found_by_its_name() -> None:
    declared = ml.Experiments((SAVED,), unit=("channel",))
    assert replace(SHOP, experiments=declared).experiments.metric("saved") == SAVED
    with pytest.raises(KeyError):
        declared.metric("lost")


@pytest.mark.parametrize(
    ("experiments", "why"),
    [
        (ml.Experiments(()), "metrics is empty: give at least one"),
        (ml.Experiments((SAVED, SAVED)), "'saved' is declared 2 times"),
        (ml.Experiments((replace(SAVED, name="Saved!"),)), "must be lower-case letters, digits and _"),
        (ml.Experiments((replace(SAVED, of="ratio"),)), "a ratio needs `per`"),
        (ml.Experiments((replace(SAVED, per="1"),)), "only a ratio has `per`"),
        (ml.Experiments((SAVED,), unit=("customer",)), "unit 'customer' is neither a column of the row's key nor a feature"),
        (
            ml.Experiments((SAVED,), guardrails=(ml.Guardrail("lost", 1),)),
            "guardrail 'lost' is not a metric; metrics are saved",
        ),
        (ml.Experiments((SAVED,), guardrails=(ml.Guardrail("saved", -1),)), "loss -1.0 must be at least 0"),
        (ml.Experiments((SAVED,), covariates=("sum",)), "covariate 'sum' is not a feature; features are"),
        (ml.Experiments((SAVED,), covariates=("channel",)), "covariate feature 'channel' is a text: give features that are"),
    ],
    ids=("no metric", "twice", "name", "ratio", "per", "unit", "guardrail", "loss", "no feature", "text"),
)
def test_what_cannot_be_compared_is_refused(experiments: ml.Experiments, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(SHOP, experiments=experiments)


def test_rows_without_a_time_have_no_experiment() -> None:
    with pytest.raises(ValueError, match="the same row is scored at many ticks until its outcome comes"):
        replace(CHURN, experiments=ml.Experiments((SAVED,)))


def test_a_feature_may_not_be_called_as_a_column_that_experiments_add() -> None:
    features = (*SHOP.features, ml.Expression("variant", "channel", "text", "a word of experiments"))
    replace(SHOP, features=features)
    with pytest.raises(ValueError, match="predictions get a column 'variant', which is also a key or feature here"):
        replace(SHOP, features=features, experiments=ml.Experiments((SAVED,)))
