"""Every step by its verb, imported when it is first called: a DAG file stays light, a task loads what it uses.

Called from here, as DAGs and workflows do, a step leaves a record of its run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlprod_tasks.step_runs import recorded

if TYPE_CHECKING:
    from mlprod_tasks.alert import tell_approval, tell_failure, tell_fallback
    from mlprod_tasks.approve import approve, request_approval
    from mlprod_tasks.assemble import assemble
    from mlprod_tasks.audit import audit
    from mlprod_tasks.backtest import backtest
    from mlprod_tasks.collect import collect
    from mlprod_tasks.data_docs import build_data_docs
    from mlprod_tasks.evaluate import evaluate
    from mlprod_tasks.examine import examine
    from mlprod_tasks.extract import extract
    from mlprod_tasks.gate import gate
    from mlprod_tasks.monitor.act import act
    from mlprod_tasks.monitor.again import decide_again
    from mlprod_tasks.monitor.decide import decide
    from mlprod_tasks.monitor.digest import tell_digest
    from mlprod_tasks.monitor.mails import tell_decision
    from mlprod_tasks.monitor.measure import measure
    from mlprod_tasks.monitor.requests import measure_collected, measure_requests
    from mlprod_tasks.online.check import check_online
    from mlprod_tasks.online.fill import fill_online
    from mlprod_tasks.publish import publish
    from mlprod_tasks.ramp.steps import begin, check, finish, take_back, take_back_abandoned, take_step
    from mlprod_tasks.register import promote, promote_training, register
    from mlprod_tasks.report.write import report
    from mlprod_tasks.score import score
    from mlprod_tasks.search import search
    from mlprod_tasks.train import fit, segments, train
    from mlprod_tasks.uncollected import tell_uncollected
    from mlprod_tasks.verify import verify

_WHERE = {
    "extract": "extract",
    "audit": "audit",
    "publish": "publish",
    "build_data_docs": "data_docs",
    "assemble": "assemble",
    "search": "search",
    "segments": "train",
    "fit": "train",
    "train": "train",
    "evaluate": "evaluate",
    "backtest": "backtest",
    "examine": "examine",
    "report": "report.write",
    "gate": "gate",
    "request_approval": "approve",
    "approve": "approve",
    "register": "register",
    "promote": "register",
    "promote_training": "register",
    "score": "score",
    "measure": "monitor.measure",
    "measure_collected": "monitor.requests",
    "measure_requests": "monitor.requests",
    "decide": "monitor.decide",
    "decide_again": "monitor.again",
    "act": "monitor.act",
    "verify": "verify",
    "fill_online": "online.fill",
    "check_online": "online.check",
    "collect": "collect",
    "begin": "ramp.steps",
    "take_step": "ramp.steps",
    "check": "ramp.steps",
    "finish": "ramp.steps",
    "take_back": "ramp.steps",
    "take_back_abandoned": "ramp.steps",
    "tell_approval": "alert",
    "tell_decision": "monitor.mails",
    "tell_digest": "monitor.digest",
    "tell_fallback": "alert",
    "tell_failure": "alert",
    "tell_uncollected": "uncollected",
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
