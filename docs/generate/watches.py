"""The reference of monitoring: every watched value with its standard bounds, and the standard rules."""

from __future__ import annotations

from collections.abc import Mapping

from docs.generate.markdown import code, table
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.standard import CLASS_REQUEST_WATCHES
from mlprod_tasks.monitoring.kinds import KINDS, Kind

KNOWN: Mapping[str, str] = {
    "input": "at the tick",
    "health": "at the tick",
    "outcome": "when labels are complete",
    "check": "at night",
    "request": "minutes after the requests",
}
GROUPS: Mapping[str, str] = {
    "data": "Data",
    "covariates": "Drift of features",
    "scores": "Scores and decisions",
    "estimates": "Performance, estimated before labels arrive",
    "labels": "Labels",
    "performance": "Performance",
    "business": "Business",
    "requests": "Requests",
    "pipeline": "The pipeline itself",
}
_OF_TASKS = (*ml.MULTICLASS_WATCHES, *ml.REGRESSION_WATCHES, *ml.INTERVAL_WATCHES, *ml.ADAPTATION_WATCHES)
STANDARD = {watch.what: watch for watch in (*_OF_TASKS, *ml.WATCHES, *ml.REQUEST_WATCHES, *CLASS_REQUEST_WATCHES)}


def watched_values() -> str:
    """One table per group: what each value is, when it is known, and its standard watch."""
    parts = []
    for group, title in GROUPS.items():
        rows = [_row(kind) for kind in KINDS.values() if kind.group == group]
        parts.append(f"### {title}\n\n{table(('value', 'what it is', 'one per', 'known', 'standard bounds'), rows)}")
    return "\n\n".join(parts)


def rules() -> str:
    """The standard rules, those of a regression, and those of use cases that answer requests."""
    header = ("rule", "watches", "fires when breached", "action")
    numbers = [rule for rule in (*ml.REGRESSION_RULES, *ml.INTERVAL_RULES) if rule not in ml.RULES]
    both = [rule for rule in ml.RULES if rule in ml.REGRESSION_RULES]
    parts = [("Every use case", both), ("A yes or no", [rule for rule in ml.RULES if rule not in both])]
    parts += [
        ('A number (`task="regression"`)', numbers),
        ("In addition, use cases that answer requests", list(ml.REQUEST_RULES)),
        ("In addition, use cases that adapt scores", list(ml.ADAPTATION_RULES)),
    ]
    return "\n\n".join(f"### {title}\n\n{table(header, map(_rule, listed))}" for title, listed in parts)


def bounds_shown(watch: ml.Watch) -> str:
    """The bounds of a watch in words."""
    ends = [f"at least {watch.low:g}"] if watch.low is not None else []
    ends += [f"at most {watch.high:g}"] if watch.high is not None else []
    bounds = ", ".join(ends)
    if watch.learned is not None:
        bounds += " and learned" if bounds else "learned"
    return f"{bounds}; important features" if watch.only_important else bounds


def _row(kind: Kind) -> tuple[str, str, str, str, str]:
    # Which feature, table or step a sentence is about is shown as a placeholder.
    words = kind.words.replace("feature {slice}", "{slice}").replace("{slice}", f"*{kind.by}*").replace("{kpi}", "the KPI")
    watch = STANDARD.get(kind.what)
    return code(kind.what), words, kind.by or "tick", KNOWN[kind.family], bounds_shown(watch) if watch else ""


def _rule(rule: ml.Rule) -> tuple[str, str, str, str]:
    often = "at a tick" if rule.of == 1 else f"on {rule.breaches} of the last {rule.of} ticks"
    return rule.name, code(rule.watch), often, code(rule.action)
