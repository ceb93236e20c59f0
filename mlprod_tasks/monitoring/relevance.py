"""Whether a shift matters: one that left performance as it was is a note, no alarm.

The distribution of inputs, scores or outcomes moves with every season. It calls for action if the model does worse, or is
expected to. As long as nothing is known of that, a shift counts as an alarm: it may be a fault. Once there are outcomes of
ticks with the same shift, they decide. Faults of data (nulls, types, missing rows, unknown values) are alarms whatever
outcomes say. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mlprod_tasks.declaration.monitoring import Breach
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.monitoring.diagnosis import DATA_FAULT
from mlprod_tasks.platform.ledger import Measurement

OF_SHIFTS = frozenset((
    "feature_psi", "feature_js", "feature_wasserstein", "feature_level", "domain_auc", "score_psi", "score_wasserstein",
    "class_psi", "decision_share", "label_rate", "label_mean", "label_psi",
))  # fmt: skip
PERFORMANCE = frozenset((
    "roc_auc", "roc_auc_change", "precision", "recall", "value", "calibration", "estimate_error", "kpi", "accuracy", "macro_f1",
    "log_loss", "mae", "rmse", "bias", "interval_coverage",
))  # fmt: skip
ESTIMATED = frozenset((
    "estimated_roc_auc", "estimated_precision", "estimated_recall", "estimated_accuracy", "estimated_macro_f1",
    "estimated_log_loss", "estimated_value", "estimated_mae", "estimated_rmse",
))  # fmt: skip
FEWEST = 3  # ticks with outcomes by which a shift is judged

Known = Mapping[str, Mapping[TickName, Sequence[Measurement]]]


def why_harmless(
    conditions: Sequence[Breach],
    performance: Collection[str],
    known: Known,
    tick: TickName,
    newest_outcome: TickName,
    version: int,
    oldest: TickName,
) -> str:
    """Why a shift that fired a rule at a tick does not matter, given that no rule about performance fires; '' if it may.

    It does not if outcomes are known of FEWEST ticks or more on which the same value was breached for the same model version,
    and none of the newest tick's estimates is breached.
    performance: what rules about performance watch. known: the measurements that count, by what and tick; oldest: the tick
    after which evidence counts.
    """
    watched = [condition.watch for condition in conditions]
    if not set(watched) <= OF_SHIFTS:
        return ""
    if any(row.cause == DATA_FAULT for what in watched for row in known.get(what, {}).get(tick, ()) if row.breached):
        return ""
    if any(_breached(known[what].get(tick, ()), version) for what in ESTIMATED & known.keys()):
        return ""
    shifted = {day for what in watched for day, rows in known.get(what, {}).items() if _breached(rows, version)}
    judged = [
        day
        for day in shifted
        if oldest < day <= newest_outcome
        and any(row.model_version == version for what in performance for row in known.get(what, {}).get(day, ()))
    ]
    if len(judged) < FEWEST:
        return ""
    return f"outcomes of {format_count(len(judged), 'tick')} with this shift are known, and no rule about performance fires"


def _breached(rows: Sequence[Measurement], version: int) -> bool:
    return any(row.breached and row.model_version == version for row in rows)
