"""Whether a shift matters: one that left performance as it was is a note, no alarm.

The distribution of inputs, scores or outcomes moves with every season. It calls for action if the model does worse, or is
expected to. As long as nothing is known of that, a shift counts as an alarm: it may be a fault. Once there are outcomes of
ticks with the same shift, they decide. Nor is a distribution an alarm that is as in the same weeks of last year. Faults of
data (nulls, types, missing rows, unknown values) are alarms whatever outcomes say. Pure.
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
# What compares a distribution that moved from the reference with that of the same weeks of last year.
LAST_YEAR: Mapping[str, str] = {
    "feature_psi": "feature_psi_last_year",
    "feature_js": "feature_psi_last_year",
    "feature_wasserstein": "feature_psi_last_year",
    "score_psi": "score_psi_last_year",
    "score_wasserstein": "score_psi_last_year",
}

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


def why_seasonal(breaching: Sequence[Measurement], known: Known, tick: TickName, version: int) -> str:
    """Why a shift that fired a rule at a tick is one of the season, given that no rule about performance fires; '' if it may
    be another.

    Each distribution that counts as breached, on each tick, is as in the same weeks of last year by the bound of the reference,
    no fault of the data explains it, and none of the newest tick's estimates is breached.
    breaching: the measurements that count. known: the measurements that count, by what and tick.
    """
    if not breaching or any(one.cause == DATA_FAULT or one.what not in LAST_YEAR for one in breaching):
        return ""
    if any(_breached(known[what].get(tick, ()), version) for what in ESTIMATED & known.keys()):
        return ""
    for one in breaching:
        of_tick = known.get(LAST_YEAR[one.what], {}).get(one.tick, ())
        then = next((row for row in of_tick if row.slice == one.slice and row.model_version == one.model_version), None)
        if then is None or then.value is None or then.reference is None or then.value > then.reference:
            return ""
    return "as in the same weeks of last year, and no rule about performance fires"


def _breached(rows: Sequence[Measurement], version: int) -> bool:
    return any(row.breached and row.model_version == version for row in rows)
