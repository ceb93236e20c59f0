"""The watches and rules of a use case that does not declare any."""

from __future__ import annotations

from datetime import timedelta

from mlprod_tasks.declaration.monitoring import Learned, Retraining, Rule, Watch

LEARNED = Learned()
# The fixed bounds say what matters to any use case. The learned ones follow from how much ordinary ticks differ, and keep false
# alarms to the declared number (see Monitoring). benchmarks/power.py measures how often shifts of each size are found.
WATCHES = (
    Watch("volume", low=0.5, high=1.5, learned=LEARNED),
    Watch("type_changes", high=0.0),
    Watch("join_coverage", low=0.9, learned=LEARNED),
    Watch("null_share", high=0.05, learned=LEARNED),
    Watch("new_categories", high=0.02, learned=LEARNED),
    Watch("out_of_range", high=0.1, learned=LEARNED),
    # Measured only of a feature that moved and whose shift a fault explains.
    Watch("known_fault", high=0.0),
    Watch("feature_psi", high=0.25, only_important=True, learned=LEARNED),
    # For every feature: a shift by three quarters of a standard deviation matters even if the feature is unimportant.
    Watch("feature_wasserstein", high=0.75, learned=LEARNED),
    # Features with a few values in each tick, such as a count by airport, have no distribution to compare.
    Watch("feature_level", low=-0.75, high=0.75, only_important=True, learned=LEARNED),
    Watch("score_psi", high=0.25, learned=LEARNED),
    Watch("fallback_share", high=0.0),
    Watch("label_coverage", low=0.5),
    Watch("label_rate", low=0.7, high=1.4, learned=LEARNED),
    Watch("roc_auc", low=0.6, learned=LEARNED),
    Watch("estimate_error", low=-0.05, learned=LEARNED),
    Watch("calibration", low=-0.1, high=0.1, learned=LEARNED),
    Watch("kpi", low=0.5, learned=LEARNED),
    Watch("replayed", high=0.0),
    Watch("canned", high=0.0),
    Watch("changed_features", high=0.05),
    Watch("unscored_rows", high=0.0),
)
RULES = (
    Rule("volume moved", "volume", "alert"),
    Rule("types changed", "type_changes", "alert"),
    Rule("look-ups find nothing", "join_coverage", "alert"),
    Rule("nulls", "null_share", "alert"),
    Rule("unknown categories", "new_categories", "alert"),
    Rule("out of range", "out_of_range", "alert"),
    Rule("a fault in a source", "known_fault", "alert"),
    Rule("inputs moved", "feature_psi", "alert"),
    Rule("values moved far", "feature_wasserstein", "alert"),
    Rule("levels moved", "feature_level", "alert"),
    Rule("scores moved", "score_psi", "alert"),
    Rule("the fallback answered", "fallback_share", "alert"),
    Rule("outcomes are missing", "label_coverage", "alert"),
    Rule("positive share moved", "label_rate", "alert"),
    Rule("ranking is poor", "roc_auc", "retrain", breaches=3, of=5),
    Rule("scores promise too much", "estimate_error", "retrain", breaches=3, of=5),
    Rule("scores no longer fit outcomes", "calibration", "retrain", breaches=3, of=5),
    Rule("acting no longer pays", "kpi", "retrain", breaches=3, of=5),
    Rule("logged predictions come out otherwise", "replayed", "alert"),
    Rule("canned rows come out otherwise", "canned", "alert"),
    Rule("features changed after scoring", "changed_features", "alert"),
    Rule("late rows are not scored", "unscored_rows", "alert"),
)
# Added if a use case answers requests. Drift is that of the requested rows, compared with the same reference.
REQUEST_WATCHES = (
    Watch("online_skew", high=0.0),
    Watch("online_rows", low=1.0),  # measured only if there were requests recently
    Watch("online_errors", high=0.01),
    Watch("online_latency", high=50.0),
    Watch("online_fallback", high=0.05),
    Watch("online_refused", high=0.05),
    Watch("online_nulls", high=0.1, learned=LEARNED),
    Watch("online_psi", high=0.25, only_important=True, learned=LEARNED),
    Watch("online_score_psi", high=0.25, learned=LEARNED),
)
REQUEST_RULES = (
    Rule("features differ online", "online_skew", "alert"),
    Rule("nobody asks any more", "online_rows", "alert"),
    Rule("models fail on requests", "online_errors", "alert"),
    Rule("answers are slow", "online_latency", "alert"),
    Rule("the fallback answers requests", "online_fallback", "alert"),
    Rule("requests get no score", "online_refused", "alert"),
    Rule("nulls in requests", "online_nulls", "alert"),
    Rule("requests moved", "online_psi", "alert", breaches=2, of=3),
    Rule("scores of requests moved", "online_score_psi", "alert", breaches=2, of=3),
)
# Added to those if classes are predicted.
CLASS_REQUEST_WATCHES = (Watch("online_class_psi", high=0.25, learned=LEARNED),)
CLASS_REQUEST_RULES = (Rule("predicted classes of requests moved", "online_class_psi", "alert", breaches=2, of=3),)
# For a regression. Distances of outcomes are in standard deviations of the reference's, errors relative to the reference's.
_OF_YES_OR_NO = frozenset(("label_rate", "roc_auc", "estimate_error", "calibration", "kpi"))
REGRESSION_WATCHES = (
    *(watch for watch in WATCHES if watch.what not in _OF_YES_OR_NO),
    # Before labels arrive. Without learned bounds: estimates of the reference's own ticks rest on what was fitted to them.
    Watch("estimated_mae", high=1.5),
    Watch("estimated_rmse", high=2.0),
    Watch("label_mean", low=-0.5, high=0.5, learned=LEARNED),
    Watch("label_psi", high=0.5, learned=LEARNED),
    Watch("mae", high=1.25, learned=LEARNED),
    Watch("rmse", high=1.5, learned=LEARNED),
    Watch("bias", low=-0.5, high=0.5, learned=LEARNED),
)
REGRESSION_RULES = (
    *(rule for rule in RULES if rule.watch not in _OF_YES_OR_NO),
    Rule("errors are expected to grow", "estimated_mae", "alert", breaches=3, of=5),
    Rule("large errors are expected to grow", "estimated_rmse", "alert", breaches=3, of=5),
    Rule("outcomes moved", "label_mean", "alert"),
    Rule("distribution of outcomes moved", "label_psi", "alert"),
    Rule("errors grew", "mae", "retrain", breaches=3, of=5),
    Rule("large errors grew", "rmse", "retrain", breaches=3, of=5),
    Rule("predictions are off to one side", "bias", "retrain", breaches=3, of=5),
)
# For several classes. The log loss is relative to the reference's.
_OF_TWO_CLASSES = frozenset(("label_rate", "roc_auc"))
MULTICLASS_WATCHES = (
    *(watch for watch in WATCHES if watch.what not in _OF_TWO_CLASSES),
    Watch("class_psi", high=0.25, learned=LEARNED),
    Watch("estimated_log_loss", high=1.1, learned=LEARNED),
    # A class of a tenth of the rows or more that comes twice as often gives a PSI above it.
    Watch("label_psi", high=0.08, learned=LEARNED),
    Watch("unknown_classes", high=0.0),
    # Classes that are hard to tell lose little more by outcomes that have nothing to do with their rows.
    Watch("log_loss", high=1.05, learned=LEARNED),
)
MULTICLASS_RULES = (
    *(rule for rule in RULES if rule.watch not in _OF_TWO_CLASSES),
    Rule("predicted classes moved", "class_psi", "alert"),
    Rule("probabilities are expected to be poor", "estimated_log_loss", "alert", breaches=3, of=5),
    Rule("classes that come moved", "label_psi", "alert"),
    Rule("classes that the model does not know", "unknown_classes", "alert"),
    Rule("probabilities are poor", "log_loss", "retrain", breaches=3, of=5),
)
# Added if predictions have an interval.
INTERVAL_WATCHES = (Watch("interval_coverage", low=-0.15, high=0.15, learned=LEARNED),)
INTERVAL_RULES = (Rule("intervals no longer hold their share", "interval_coverage", "retrain", breaches=3, of=5),)
# Added if scores are adapted between trainings; predicted numbers are in standard deviations of outcomes.
ADAPTATION_WATCHES = (Watch("adaptation", low=-0.1, high=0.1),)
ADAPTATION_RULES = (Rule("the champion needs much correction", "adaptation", "alert", mean_of=7),)
RETRAINING = Retraining(cooldown=timedelta(days=7))
