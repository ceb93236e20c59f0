"""What outcomes were worth, and the KPI over them: the same computation before and after a model is in production."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models import decision_value


def with_value(pipeline: Pipeline, judged: pa.Table) -> pa.Table:
    """Columns score, decision, outcome, value: what a KPI is declared over.

    judged: score, decision, label, and the features that the worth of a decision is declared over. Raises: ValueUndefined.
    """
    decision, outcome = (judged[name].to_numpy(zero_copy_only=False).astype(bool) for name in ("decision", "label"))
    worth = decision_value.worth(pipeline.value, judged, judged["score"].to_numpy(), outcome).of(decision)
    return pa.table({"score": judged["score"], "decision": decision, "outcome": outcome, "value": worth})


def kpi_of(con: Any, pipeline: Pipeline, outcomes: pa.Table) -> float | None:
    """The declared KPI over outcomes; None where its SQL gives no finite number."""
    con.register("outcomes", outcomes)
    ((kpi,),) = con.execute(f"SELECT ({pipeline.kpi.sql})::DOUBLE FROM outcomes").fetchall()
    con.unregister("outcomes")
    return float(kpi) if kpi is not None and np.isfinite(kpi) else None
