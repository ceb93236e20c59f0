"""What is watched, and what follows, where a use case declares nothing of its own."""

from __future__ import annotations

from datetime import timedelta

from mlprod_tasks.declaration.monitoring import Learned, Retraining, Rule, Watch

WATCHES = (
    Watch("volume", low=0.5, high=1.5, learned=Learned()),
    Watch("fallback_share", high=0.0),
    Watch("null_share", high=0.05, learned=Learned()),
    Watch("feature_psi", high=0.25, only_important=True, learned=Learned()),
    Watch("score_psi", high=0.25, learned=Learned()),
    Watch("label_coverage", low=0.5),
    Watch("label_rate", low=0.6, high=1.7, learned=Learned()),
    Watch("roc_auc", low=0.6, learned=Learned()),
    Watch("calibration", low=-0.1, high=0.1, learned=Learned()),
    Watch("kpi", low=0.5, learned=Learned()),
)
RULES = (
    Rule("volume moved", "volume", "alert"),
    Rule("the fallback answered", "fallback_share", "alert"),
    Rule("nulls", "null_share", "alert"),
    Rule("inputs moved", "feature_psi", "alert"),
    Rule("scores moved", "score_psi", "alert"),
    Rule("outcomes are missing", "label_coverage", "alert"),
    Rule("positive share moved", "label_rate", "alert"),
    Rule("ranking is poor", "roc_auc", "retrain", breaches=3, of=5),
    Rule("scores no longer fit outcomes", "calibration", "retrain", breaches=3, of=5),
    Rule("acting no longer pays", "kpi", "retrain", breaches=3, of=5),
)
RETRAINING = Retraining(cooldown=timedelta(days=7))
