"""All measurements: when each is known, which direction is bad, its name in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Family = Literal["input", "outcome", "health", "check", "request"]
Group = Literal["data", "covariates", "scores", "estimates", "labels", "performance", "business", "requests", "pipeline"]
Worse = Literal["higher", "lower", "either"]


@dataclass(frozen=True)
class Kind:
    """One measurement that can be watched.

    family: which ones are measured and replaced together: 'input' and 'health' at the tick, 'outcome' once its labels are
    complete, 'check' each night, 'request' while requests come in. group: where it is displayed. by: what `slice` names.
    words: a template with {slice} and {kpi}.
    """

    what: str
    family: Family
    group: Group
    worse: Worse
    words: str
    by: Literal["", "feature", "table", "metric", "step", "pipeline"] = ""


_KINDS = (
    Kind("volume", "input", "data", "either", "number of rows relative to the reference's mean per tick"),
    Kind("freshness", "input", "data", "higher", "age in hours of the newest row of {slice}", "table"),
    Kind("null_share", "input", "data", "higher", "null share of feature {slice} minus the reference's", "feature"),
    Kind("new_categories", "input", "data", "higher", "share of rows whose {slice} is new to the reference", "feature"),
    Kind(
        "lost_categories", "input", "data", "higher", "share of the reference's rows whose {slice} no longer occurs", "feature"
    ),
    Kind("out_of_range", "input", "data", "higher", "share of rows whose {slice} is outside the reference's range", "feature"),
    Kind("type_changes", "input", "data", "higher", "number of features whose type differs from the reference's"),
    Kind(
        "join_coverage", "input", "data", "lower", "share of rows with a match in {slice}, relative to the reference's", "table"
    ),
    Kind(
        "known_fault",
        "input",
        "data",
        "higher",
        "share of the shift of feature {slice} that a fault in its source explains",
        "feature",
    ),
    Kind("feature_psi", "input", "covariates", "higher", "PSI of feature {slice}", "feature"),
    Kind(
        "feature_psi_last_year",
        "input",
        "covariates",
        "higher",
        "PSI of feature {slice} against the same weeks of last year",
        "feature",
    ),
    Kind("feature_js", "input", "covariates", "higher", "Jensen-Shannon distance of feature {slice}", "feature"),
    Kind(
        "feature_wasserstein",
        "input",
        "covariates",
        "higher",
        "Wasserstein distance of feature {slice}, in standard deviations of the reference",
        "feature",
    ),
    Kind(
        "feature_level",
        "input",
        "covariates",
        "either",
        "mean of feature {slice} minus the reference's, in standard deviations of the reference",
        "feature",
    ),
    Kind("domain_auc", "input", "covariates", "higher", "AUC of the domain classifier, tick against reference"),
    Kind("score_psi", "input", "scores", "higher", "PSI of the scores"),
    Kind("score_psi_last_year", "input", "scores", "higher", "PSI of the scores against those of the same weeks of last year"),
    Kind("class_psi", "input", "scores", "higher", "PSI of the predicted classes"),
    Kind(
        "score_wasserstein",
        "input",
        "scores",
        "higher",
        "Wasserstein distance of the scores, in standard deviations of the reference",
    ),
    Kind("decision_share", "input", "scores", "either", "share of rows above the decision threshold minus the reference's"),
    Kind(
        "adaptation",
        "input",
        "scores",
        "either",
        "mean answered score minus the champion's own; of numbers in standard deviations of the reference's outcomes",
    ),
    Kind("fallback_share", "input", "scores", "higher", "share of rows answered by the fallback"),
    Kind("estimated_roc_auc", "input", "estimates", "lower", "estimated ROC AUC"),
    Kind("estimated_precision", "input", "estimates", "lower", "estimated precision"),
    Kind("estimated_recall", "input", "estimates", "lower", "estimated recall"),
    Kind("estimated_accuracy", "input", "estimates", "lower", "estimated share of right predictions"),
    Kind("estimated_macro_f1", "input", "estimates", "lower", "estimated mean F1 of the classes"),
    Kind("estimated_log_loss", "input", "estimates", "higher", "estimated log loss relative to the reference's"),
    Kind("estimated_value", "input", "estimates", "lower", "estimated value per 1,000 rows"),
    Kind("estimated_mae", "input", "estimates", "higher", "estimated mean absolute error relative to the reference's"),
    Kind("estimated_rmse", "input", "estimates", "higher", "estimated root mean squared error relative to the reference's"),
    Kind("label_coverage", "outcome", "labels", "lower", "share of rows with an outcome"),
    Kind("label_rate", "outcome", "labels", "either", "share of positives relative to the reference's"),
    Kind("label_mean", "outcome", "labels", "either", "mean outcome minus the reference's, in its standard deviations"),
    Kind("label_psi", "outcome", "labels", "higher", "PSI of the outcomes"),
    Kind("unknown_classes", "outcome", "labels", "higher", "share of outcomes of a class that the model does not know"),
    Kind("roc_auc", "outcome", "performance", "lower", "realised ROC AUC"),
    Kind("roc_auc_change", "outcome", "performance", "lower", "realised ROC AUC minus that of the reference's ticks"),
    Kind("precision", "outcome", "performance", "lower", "realised precision"),
    Kind("recall", "outcome", "performance", "lower", "realised recall"),
    Kind("accuracy", "outcome", "performance", "lower", "realised share of right predictions"),
    Kind("macro_f1", "outcome", "performance", "lower", "realised mean F1 of the classes"),
    Kind("log_loss", "outcome", "performance", "higher", "log loss relative to the reference's"),
    Kind("value", "outcome", "performance", "lower", "realised value per 1,000 rows"),
    Kind("calibration", "outcome", "performance", "either", "mean outcome minus mean score"),
    Kind("mae", "outcome", "performance", "higher", "mean absolute error relative to the reference's"),
    Kind("rmse", "outcome", "performance", "higher", "root mean squared error relative to the reference's"),
    Kind(
        "bias",
        "outcome",
        "performance",
        "either",
        "mean outcome minus mean prediction, in standard deviations of the reference's outcomes",
    ),
    Kind(
        "interval_coverage",
        "outcome",
        "performance",
        "either",
        "share of outcomes within their prediction's interval minus the declared one",
    ),
    Kind(
        "residual_shift",
        "outcome",
        "performance",
        "higher",
        "largest mean residual in a region of {slice}, in standard deviations of the reference's outcomes",
        "feature",
    ),
    Kind("residual_drift", "outcome", "performance", "higher", "largest mean residual in a region of {slice}", "feature"),
    Kind("estimate_error", "outcome", "performance", "either", "realised minus estimated {slice}", "metric"),
    Kind("kpi", "outcome", "business", "lower", "{kpi} relative to the reference's"),
    Kind("business_metric", "outcome", "business", "either", "{slice}", "metric"),
    Kind("kpi_correlation", "outcome", "business", "lower", "rank correlation of {slice} over the last ticks", "metric"),
    Kind("duration", "health", "pipeline", "higher", "run time of {slice} in seconds", "step"),
    Kind("retries", "health", "pipeline", "higher", "number of retries of {slice}", "step"),
    Kind("queue_wait", "health", "pipeline", "higher", "time in seconds that {slice} waited for a worker", "step"),
    Kind("rows_per_second", "health", "pipeline", "lower", "speed of {slice} in rows per second", "step"),
    Kind("memory", "health", "pipeline", "higher", "peak memory of {slice} in MB", "step"),
    Kind("data_delay", "health", "pipeline", "higher", "publication delay of {slice} in hours", "table"),
    Kind("label_delay", "health", "pipeline", "higher", "publication delay of the labels in hours"),
    Kind("cost", "health", "pipeline", "higher", "computing time of the tick relative to the mean of the ticks before"),
    Kind("model_age", "health", "pipeline", "higher", "age in days of the champion's newest training label"),
    Kind("unscored_rows", "health", "pipeline", "higher", "number of rows that arrived after scoring and have no prediction"),
    Kind("upstream", "health", "pipeline", "higher", "number of alarms of upstream use case {slice}", "pipeline"),
    Kind("replayed", "check", "pipeline", "higher", "share of logged predictions that the model no longer reproduces"),
    Kind(
        "canned",
        "check",
        "pipeline",
        "higher",
        "share of golden predictions that the model no longer reproduces",
    ),
    Kind("changed_features", "check", "pipeline", "higher", "share of rows whose features changed after they were scored"),
    Kind("online_skew", "check", "pipeline", "higher", "share of rows whose online features differ from those of the batch"),
    Kind("online_rows", "request", "requests", "either", "number of rows answered on request"),
    Kind("online_latency", "request", "requests", "higher", "99th percentile of the latency per row in milliseconds"),
    Kind("online_errors", "request", "requests", "higher", "share of requested rows for which the model failed"),
    Kind("online_fallback", "request", "requests", "higher", "share of requested rows answered by the fallback"),
    Kind("online_refused", "request", "requests", "higher", "share of requested rows without a score"),
    Kind("online_stale", "request", "requests", "higher", "share of requested rows with stale features"),
    Kind("online_missing", "request", "requests", "higher", "share of requested rows with missing features"),
    Kind(
        "online_nulls",
        "request",
        "requests",
        "higher",
        "null share of feature {slice} on request minus the reference's",
        "feature",
    ),
    Kind("online_psi", "request", "requests", "higher", "PSI of feature {slice} on request", "feature"),
    Kind("online_score_psi", "request", "requests", "higher", "PSI of the scores on request"),
    Kind("online_class_psi", "request", "requests", "higher", "PSI of the predicted classes on request"),
    Kind("online_shadow_difference", "request", "requests", "higher", "mean difference between the score and the shadow score"),
    Kind("online_shadow_latency", "request", "requests", "higher", "99th percentile of the shadow latency in milliseconds"),
)
KINDS: Mapping[str, Kind] = MappingProxyType({kind.what: kind for kind in _KINDS})


def of_family(*families: Family) -> tuple[str, ...]:
    """The measurements of some families, in the order of the table above."""
    return tuple(kind.what for kind in _KINDS if kind.family in families)
