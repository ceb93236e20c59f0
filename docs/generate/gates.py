"""The reference of the gates: an example of each, and what it is called in the ledger and in mails."""

from __future__ import annotations

import dataclasses
from typing import Any

from docs.generate.declarations import GROUPS, entry
from docs.generate.docstrings import described
from docs.generate.markdown import table
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.gate import CheckedGate
from mlprod_tasks.evaluation.gates.names import name_of

EXAMPLES = (
    ml.AtLeast("roc_auc", 0.65),
    ml.AtMost("calibration_error", 0.1),
    ml.BetterThanBaseline("log_loss", by=0.02),
    ml.NotWorseThanChampion("roc_auc", tolerance=0.01),
    ml.WorstSlice("roc_auc", 0.5, least_rows=1000),
    ml.Stable("log_loss", than="baseline", windows=2),
    ml.KpiAtLeast(500.0, worst_week=0.0),
    ml.KpiAtMost(2000.0),
    ml.AvailableAtPrediction(),
    ml.NoLeakageSuspicion(most=0.8),
    ml.Invariance("the customer's name does not matter", {"name_length": "name_length + 5"}),
    ml.Monotonic("a longer delay last week must not lower the score", "mean_delay_7d", "up", by=30.0),
    ml.SamePredictions(),
    ml.Latency(100.0),
    ml.ModelSize(20.0),
)


def reference() -> str:
    """A table of all gates by example, then each with its fields."""
    header = ("gate", "passes when", "in the ledger and in mails", "rests on")
    return "\n\n".join([table(header, map(_row, EXAMPLES)), *(entry(name) for name in GROUPS["gates"])])


def _row(example: Any) -> tuple[str, str, str, str]:
    summary = described(type(example), [field.name for field in dataclasses.fields(example)]).prose.splitlines()[0]
    rests_on = "a check of the model" if isinstance(example, CheckedGate) else "the evaluation"
    link = f"{{py:class}}`{type(example).__name__} <ml.{type(example).__name__}>`"
    return link, summary, f"*{name_of(example)}*", rests_on
