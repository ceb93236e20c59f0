"""What experiments of a use case are judged by: business metrics of its units, and what they may not harm."""

from __future__ import annotations

from typing import Literal

from mlprod_tasks.declaration.bandit import Bandit
from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.outcome import Outcome

Design = Literal["fixed", "obrien_fleming", "pocock", "always_valid"]  # when an experiment may be read
Then = Literal["nothing", "take_back", "promote"]  # what follows a verdict
Rows = Literal["batch", "requests"]  # which scored rows units are compared by
EXPERIMENT, VARIANT, PROPENSITY = "experiment", "variant", "propensity"  # columns of the predictions
ASSIGNED = (EXPERIMENT, VARIANT, PROPENSITY)  # only together are they of experiments: a feature may be called so
# Columns of the predictions for a row that two experiments assign: of the second one.
SECOND = ("second_experiment", "second_variant", "second_propensity")
LATER = "later"  # what SQL of a metric calls what happened after a row was scored
CONTROL = "control"  # the variant of the champion as it is
HOLD_OUT = "fallback"  # the variant that the champion's fallback answers


@declared
class UnitMetric:
    """A business metric of an experiment's unit, such as a customer or an order.

    Its SQL is computed for each scored row whose outcome is known, and summed over the rows of a unit. Columns: the key and the
    features of the row, `score`, `decision` (bool) and `outcome` (bool), or `prediction` and `outcome` of a regression, or
    `prediction`, its `probability` and `outcome` of classes, and `value`, of the decision or the prediction as declared.

    name: its name.
    sql: a SQL expression that gives a number or a bool; null counts as 0.
    doc: what it means.
    of: 'mean': the mean of the units' sums; 'proportion': the share of units with a row for which it is true; 'ratio': its sum
    over that of `per`; 'quantile': a quantile of the units' sums, such as what one unit in ten exceeds.
    quantile: which one, between 0 and 1: 0.5 is the median.
    per: the SQL of a ratio's denominator, such as "1" for rows.
    better: whether more or less of it is better.
    unit: its unit.
    later: what happens to the row's key after it is scored, from a declared table, whatever the use case predicts. The SQL
    reads it as `later`: a bool of `ml.Any`, a number of `ml.Count` or `ml.Sum`, 0 without events. An event in the windows of
    several rows counts for each. The metric is complete when this window is.
    """

    name: str
    sql: str
    doc: str
    of: Literal["mean", "proportion", "ratio", "quantile"] = "mean"
    quantile: float | None = None
    per: str = ""
    better: Literal["higher", "lower"] = "higher"
    unit: str = ""
    later: Outcome | None = None


@declared
class Guardrail:
    """A metric that a new version may not harm. A loss that is certainly greater stops an experiment before its end.

    metric: the name of the metric.
    loss: how much worse it may become, in the metric's unit.
    """

    metric: str
    loss: float


@declared
class Experiments:
    """How versions of a use case are compared by what they do to the business.

    metrics: business metrics; an experiment is planned for one of them.
    unit: the columns of the scored row's key, or features, that make a unit: all its rows get the same variant; by default the
    row's key.
    guardrails: metrics that a version may not harm.
    covariates: features, numbers or bools, that differences are adjusted for: what they explain of a metric is no chance any
    more, so an experiment is planned with fewer units. Of a unit with several rows, those of its first one count, so that no
    variant can have changed them.
    bandit: how units are given more and more to what earns most, if `mlprod bandit start` is to do so.
    """

    metrics: tuple[UnitMetric, ...]
    unit: tuple[str, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    covariates: tuple[str, ...] = ()
    bandit: Bandit | None = None

    def metric(self, name: str) -> UnitMetric:
        """The metric of that name. Raises: KeyError."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)
