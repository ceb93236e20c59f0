"""The charts' titles, groups and number formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from mlprod_tasks.monitoring.kinds import KINDS

GROUPS = ("Performance and value", "Outcomes and scores", "Data", "Requests", "Pipeline health")
_GROUP_OF = {
    "performance": "Performance and value",
    "estimates": "Performance and value",
    "business": "Performance and value",
    "labels": "Outcomes and scores",
    "scores": "Outcomes and scores",
    "data": "Data",
    "covariates": "Data",
    "requests": "Requests",
    "pipeline": "Pipeline health",
}


@dataclass(frozen=True)
class Title:
    title: str
    group: str
    form: Literal["number", "share", "seconds"] = "number"
    times_reference: bool = False
    unit: str = ""


def _title(
    what: str,
    title: str = "",
    form: Literal["number", "share", "seconds"] = "number",
    times_reference: bool = False,
    unit: str = "",
) -> tuple[str, Title]:
    return what, Title(title or what.replace("_", " "), _GROUP_OF[KINDS[what].group], form, times_reference, unit)


_OWN = dict(
    (
        _title("volume", "Rows scored", times_reference=True, unit="rows"),
        _title("freshness", "Age of the newest row", unit="hours"),
        _title("null_share", "Null share above the reference's", "share"),
        _title("new_categories", "Rows with new categories", "share"),
        _title("lost_categories", "Lost categories", "share"),
        _title("out_of_range", "Rows out of range", "share"),
        _title("type_changes", "Changed types", unit="features"),
        _title("join_coverage", "Rows with a join partner, divided by the reference's"),
        _title("known_fault", "Shift that a fault in the source explains", "share"),
        _title("feature_psi", "Drift: PSI"),
        _title("feature_psi_last_year", "Drift from the same weeks of last year: PSI"),
        _title("feature_js", "Drift: Jensen-Shannon distance"),
        _title("feature_wasserstein", "Drift: Wasserstein distance"),
        _title("roc_auc_change", "ROC AUC minus the reference's"),
        _title("feature_level", "Level of features with few values in a tick, in standard deviations"),
        _title("domain_auc", "Domain classifier's AUC"),
        _title("score_psi", "Drift of the scores: PSI"),
        _title("score_psi_last_year", "Drift of the scores from the same weeks of last year: PSI"),
        _title("score_wasserstein", "Drift of the scores: Wasserstein distance"),
        _title("decision_share", "Share acted on, minus the reference's", "share"),
        _title("adaptation", "Mean answered score minus the champion's own"),
        _title("fallback_share", "Answered by the fallback", "share"),
        _title("label_coverage", "Rows with an outcome", "share"),
        _title("label_rate", "Positive share", "share", times_reference=True),
        _title("label_mean", "Mean outcome minus the reference's, in its standard deviations"),
        _title("label_psi", "Drift of the outcomes: PSI"),
        _title("mae", "Mean absolute error", times_reference=True),
        _title("accuracy", "Right predictions", "share"),
        _title("macro_f1", "Mean F1 of the classes"),
        _title("log_loss", "Log loss", times_reference=True),
        _title("unknown_classes", "Outcomes of unknown classes", "share"),
        _title("class_psi", "Drift of the predicted classes: PSI"),
        _title("estimated_accuracy", "Estimated right predictions", "share"),
        _title("estimated_macro_f1", "Estimated mean F1 of the classes"),
        _title("estimated_log_loss", "Estimated log loss", times_reference=True),
        _title("rmse", "Root mean squared error", times_reference=True),
        _title("bias", "Mean outcome minus prediction, in standard deviations"),
        _title("interval_coverage", "Outcomes within their interval, minus the declared share", "share"),
        _title("residual_shift", "Residuals by region of a feature, in standard deviations"),
        _title("roc_auc", "ROC AUC"),
        _title("precision", "Precision", "share"),
        _title("recall", "Recall", "share"),
        _title("value", "Value per 1,000 rows"),
        _title("calibration", "Mean outcome minus mean score"),
        _title("residual_drift", "Residuals by region of a feature"),
        _title("estimate_error", "Realised minus estimated"),
        _title("kpi", "KPI", times_reference=True),
        _title("business_metric", "Business metric"),
        _title("kpi_correlation", "Correlation with the KPI"),
        _title("duration", "Duration of steps", "seconds"),
        _title("retries", "Retries"),
        _title("queue_wait", "Waiting for a worker", "seconds"),
        _title("rows_per_second", "Rows per second", unit="rows/s"),
        _title("memory", "Peak memory", unit="MB"),
        _title("data_delay", "Data published after the tick", unit="hours"),
        _title("label_delay", "Labels published after they were due", unit="hours"),
        _title("cost", "Computing time, compared with the ticks before"),
        _title("model_age", "Age of the model", unit="days"),
        _title("unscored_rows", "Rows that arrived after scoring", unit="rows"),
        _title("upstream", "Upstream alarms", unit="alarms"),
        _title("replayed", "Replayed predictions that differ", "share"),
        _title("online_skew", "Rows whose features differ online", "share"),
        _title("canned", "Golden predictions that differ", "share"),
        _title("changed_features", "Rows whose features changed after scoring", "share"),
        _title("online_rows", "Rows answered on request", unit="rows"),
        _title("online_latency", "Latency of a row, 99th percentile", unit="ms"),
        _title("online_errors", "Rows on which a model failed", "share"),
        _title("online_fallback", "Requested rows answered by the fallback", "share"),
        _title("online_refused", "Requested rows without a score", "share"),
        _title("online_stale", "Requested rows with stale features", "share"),
        _title("online_missing", "Requested rows with missing features", "share"),
        _title("online_nulls", "On request: null share above the reference's", "share"),
        _title("online_psi", "On request: PSI"),
        _title("online_score_psi", "Drift of the scores on request: PSI"),
        _title("online_class_psi", "Drift of the predicted classes on request: PSI"),
        _title("online_shadow_difference", "Distance to the shadow's score"),
        _title("online_shadow_latency", "Latency of the shadow, 99th percentile", unit="ms"),
    )
)
# A kind that is not listed above is shown by its name.
TITLES: Mapping[str, Title] = MappingProxyType({what: _OWN.get(what) or _title(what)[1] for what in KINDS})

# The order within a group; kinds that are not listed come last.
CHART_ORDER = (
    "roc_auc",
    "accuracy",
    "macro_f1",
    "log_loss",
    "mae",
    "rmse",
    "value",
    "kpi",
    "calibration",
    "bias",
    "interval_coverage",
    "precision",
    "recall",
    "business_metric",
    "kpi_correlation",
    "label_rate",
    "label_mean",
    "label_psi",
    "unknown_classes",
    "label_coverage",
    "score_psi",
    "class_psi",
    "decision_share",
    "adaptation",
    "fallback_share",
    "volume",
    "domain_auc",
    "online_rows",
    "online_latency",
    "online_errors",
    "online_fallback",
    "online_refused",
    "online_missing",
    "online_stale",
    "online_score_psi",
    "online_class_psi",
    "model_age",
    "duration",
    "data_delay",
)
