"""Compute the value of decisions and the KPI, the same before and after promotion."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import ClassValue, Pipeline, PredictionValue
from mlprod_tasks.declaration.task import PREDICTION, PROBABILITY
from mlprod_tasks.models import decision_value

log = logging.getLogger(__name__)


def with_value(pipeline: Pipeline, labelled: pa.Table) -> pa.Table:
    """Return a table with the columns of a KPI: score, decision, outcome, value; for numbers prediction, outcome, value;
    for classes prediction, probability, outcome, value.

    labelled: score, decision (of classes prediction), label, and the features that the value reads. Raises: ValueUndefined.
    """
    if isinstance(pipeline.value, PredictionValue):
        predicted, number = (labelled[name].to_numpy().astype(np.float64) for name in ("score", "label"))
        value = decision_value.worth(pipeline.value, labelled, predicted, number).acted
        return pa.table({"prediction": predicted, "outcome": number, "value": value})
    if isinstance(pipeline.value, ClassValue):
        chosen, came = (labelled[name].to_numpy(zero_copy_only=False) for name in (PREDICTION, "label"))
        value = decision_value.worth(pipeline.value, labelled, None, came).of(chosen)
        named = {PREDICTION: labelled[PREDICTION], "outcome": labelled["label"]}
        return pa.table({**named, PROBABILITY: labelled["score"], "value": value})
    decision, outcome = (labelled[name].to_numpy(zero_copy_only=False).astype(bool) for name in ("decision", "label"))
    worth = decision_value.worth(pipeline.value, labelled, labelled["score"].to_numpy(), outcome).of(decision)
    return pa.table({"score": labelled["score"], "decision": decision, "outcome": outcome, "value": worth})


def kpi_of(con: Any, pipeline: Pipeline, outcomes: pa.Table) -> float | None:
    """Return the declared KPI over outcomes; None if its SQL gives no finite number, or cannot be computed for them."""
    from mlprod_tasks.platform.failed_values import VALUE_FAILED

    con.register("outcomes", outcomes)
    try:
        ((kpi,),) = con.execute(f"SELECT ({pipeline.kpi.sql})::DOUBLE FROM outcomes").fetchall()
    except VALUE_FAILED as error:
        log.warning(
            "%s: the KPI cannot be computed over %d outcomes: %s", pipeline.name, outcomes.num_rows, type(error).__name__
        )
        kpi = None
    con.unregister("outcomes")
    return float(kpi) if kpi is not None and np.isfinite(kpi) else None
