"""Every step by its verb, imported when it is first called: a DAG file stays light, a task loads what it uses.

Called from here, as DAGs and workflows do, a step leaves a record of its run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlprod_tasks.platform.step_runs import recorded

if TYPE_CHECKING:
    from mlprod_tasks.evaluation.backtest import backtest
    from mlprod_tasks.evaluation.evaluate import evaluate
    from mlprod_tasks.evaluation.gate import gate
    from mlprod_tasks.evaluation.run_checks import examine
    from mlprod_tasks.ingest.audit import audit
    from mlprod_tasks.ingest.data_docs import build_data_docs
    from mlprod_tasks.ingest.extract import extract
    from mlprod_tasks.ingest.publish import publish
    from mlprod_tasks.monitoring.act import act
    from mlprod_tasks.monitoring.decide import decide
    from mlprod_tasks.monitoring.measure import measure
    from mlprod_tasks.monitoring.redecide_late import decide_again
    from mlprod_tasks.monitoring.requests import measure_collected, measure_requests
    from mlprod_tasks.monitoring.verify import verify
    from mlprod_tasks.notifications.decision_mails import tell_decision
    from mlprod_tasks.notifications.digest import tell_digest
    from mlprod_tasks.notifications.events import tell_approval, tell_failure, tell_fallback
    from mlprod_tasks.notifications.uncollected import tell_uncollected
    from mlprod_tasks.online.check import check_online
    from mlprod_tasks.online.fill import fill_online
    from mlprod_tasks.promotion.approve import approve, request_approval
    from mlprod_tasks.promotion.register import promote, promote_training, register
    from mlprod_tasks.reporting.write import report
    from mlprod_tasks.rollout.steps import begin, check, finish, take_back, take_back_abandoned, take_step
    from mlprod_tasks.scoring.collect import collect
    from mlprod_tasks.scoring.score import score
    from mlprod_tasks.training.assemble import assemble
    from mlprod_tasks.training.search import search
    from mlprod_tasks.training.train import fit, segments, train

_WHERE = {
    "extract": "ingest.extract",
    "audit": "ingest.audit",
    "publish": "ingest.publish",
    "build_data_docs": "ingest.data_docs",
    "assemble": "training.assemble",
    "search": "training.search",
    "segments": "training.train",
    "fit": "training.train",
    "train": "training.train",
    "evaluate": "evaluation.evaluate",
    "backtest": "evaluation.backtest",
    "examine": "evaluation.run_checks",
    "report": "reporting.write",
    "gate": "evaluation.gate",
    "request_approval": "promotion.approve",
    "approve": "promotion.approve",
    "register": "promotion.register",
    "promote": "promotion.register",
    "promote_training": "promotion.register",
    "score": "scoring.score",
    "measure": "monitoring.measure",
    "measure_collected": "monitoring.requests",
    "measure_requests": "monitoring.requests",
    "decide": "monitoring.decide",
    "decide_again": "monitoring.redecide_late",
    "act": "monitoring.act",
    "verify": "monitoring.verify",
    "fill_online": "online.fill",
    "check_online": "online.check",
    "collect": "scoring.collect",
    "begin": "rollout.steps",
    "take_step": "rollout.steps",
    "check": "rollout.steps",
    "finish": "rollout.steps",
    "take_back": "rollout.steps",
    "take_back_abandoned": "rollout.steps",
    "tell_approval": "notifications.events",
    "tell_decision": "notifications.decision_mails",
    "tell_digest": "notifications.digest",
    "tell_fallback": "notifications.events",
    "tell_failure": "notifications.events",
    "tell_uncollected": "notifications.uncollected",
}
# A step under the name by which its runs are known, where that is another.
_NAMES = {"promote_training": "promote"}

__all__ = [
    "act", "approve", "assemble", "audit", "backtest", "begin", "build_data_docs", "check", "check_online", "collect",
    "decide", "decide_again", "evaluate", "examine", "extract", "fill_online", "finish", "fit", "gate", "measure",
    "measure_collected", "measure_requests", "promote", "promote_training", "publish", "register", "report",
    "request_approval", "score", "search", "segments", "take_back", "take_back_abandoned", "take_step", "tell_approval",
    "tell_decision", "tell_digest", "tell_failure", "tell_fallback", "tell_uncollected", "train", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"there is no step {name!r}; steps are {', '.join(_WHERE)}")
    return recorded(_NAMES.get(name, name), getattr(import_module(f"mlprod_tasks.{_WHERE[name]}"), name))
