"""The alarms of upstream use cases, whose scores are features of this one."""

from __future__ import annotations

from collections.abc import Iterator

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision

NOT_RAISED = "note"  # a rule with this action goes to the ledger only; nobody is notified


def upstream(pipeline: Pipeline, tick: Tick, platform: Platform) -> Iterator[Reading]:
    """The number of rules of each upstream use case that raise an alarm.

    This reads only its decision, so its declaration is not needed here. Without a decision there is no value: monitor the
    upstream use case first. Measured again after that, this tick has a value.
    """
    for source in pipeline.monitoring.upstream:
        decision = platform.ledger.get(Decision, source.pipeline, tick.name)
        if decision is None:
            why = f"{source.pipeline} has not been decided at {tick}: monitor it before {pipeline.name}"
            yield Reading("upstream", None, 0, source.pipeline, why=why)
            continue
        raised = [str(rule["rule"]) for rule in decision.rules if rule.get("action") != NOT_RAISED]
        reads = f"its scores are {', '.join(source.features)} here" if source.features else ""
        detail = "; ".join(part for part in (", ".join(raised), reads) if part and raised)
        yield Reading("upstream", float(len(raised)), len(decision.rules), source.pipeline, reference=0.0, detail=detail)
