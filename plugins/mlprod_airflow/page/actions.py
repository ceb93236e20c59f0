"""The actions of the page, and the functions that carry them out. Each is recorded in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Literal

from fastapi import Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from mlprod_airflow.page.apart import ActionRefused, apart
from mlprod_airflow.page.experimenting import (
    end_bandit,
    end_experiment,
    freeze_bandit,
    plan_experiment,
    start_bandit,
    start_experiment,
    thaw_bandit,
)
from mlprod_airflow.page.rolling_out import ramp, review, roll_out
from mlprod_airflow.page.training import retrain
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.storable_text import one_line

MOST_DAYS = 365
ONE_LINE = r"^[^\x00-\x1f\x7f]*$"


class ActionBody(BaseModel):
    """The body of an action, as the page sends it. Each field is followed by the actions that use it.

    reason: retrain, rollback, fallback, champion, bound, unbound, rollout, ramp, experiment, end_experiment, bandit,
    end_bandit, freeze_bandit, thaw_bandit (required). rule: acknowledge, mute, unmute. days: mute. version: rollback. as_of:
    retrain. what, slice, low, high: bound and unbound. mode, challenger, share, automation, low and high (the band's),
    instead_of (the rollout in force, by its moment): rollout. challenger: ramp. request_id, row, decision: review. experiment
    (its name), variants, metric, difference, alpha, power, design, periods, rows, then, fresh, traffic: experiment and
    plan_experiment. experiment, variants (its arms), rows: bandit. experiment: end_experiment, end_bandit, freeze_bandit and
    thaw_bandit.
    """

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: Annotated[str, AfterValidator(one_line)] = Field("", max_length=1000)
    rule: str = Field("", max_length=200, pattern=ONE_LINE)
    days: int | None = Field(None, ge=1, le=MOST_DAYS)
    version: int | None = Field(None, ge=1)
    as_of: str | None = Field(None, max_length=10)
    what: str = Field("", max_length=63, pattern=ONE_LINE)
    slice: str = Field("", max_length=200, pattern=ONE_LINE)
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    mode: str = Field("", max_length=20)
    challenger: int | None = Field(None, ge=1)
    share: FiniteFloat = 0.0
    automation: str = Field("full", max_length=20)
    instead_of: AwareDatetime | Literal[""] = ""
    request_id: str = Field("", max_length=40, pattern=ONE_LINE)
    row: int | None = Field(None, ge=0)
    decision: bool | Annotated[str, Field(max_length=200, pattern=ONE_LINE)] | None = None
    experiment: str = Field("", max_length=63, pattern=ONE_LINE)
    variants: str = Field("", max_length=300, pattern=ONE_LINE)
    metric: str = Field("", max_length=63, pattern=ONE_LINE)
    difference: FiniteFloat | None = None
    alpha: FiniteFloat = 0.05
    power: FiniteFloat = 0.8
    design: str = Field("fixed", max_length=20)
    periods: int | None = Field(None, ge=1)
    rows: Literal["batch", "requests"] = "batch"
    then: Literal["nothing", "take_back", "promote"] = "nothing"
    fresh: bool = False
    traffic: FiniteFloat = 1.0


@dataclass(frozen=True)
class _Call:
    """One action: its pipeline, its body, and the user who takes it."""

    pipeline: Pipeline
    body: ActionBody
    by: str
    request: Request
    platform: Platform


def act(pipeline: Pipeline, action: str, body: ActionBody, by: str, request: Request, platform: Platform) -> str:
    """Carry out an action and return its result as a sentence. Raises: ActionRefused."""
    for field in NEEDED[action]:
        if getattr(body, field) in ("", None):
            raise ActionRefused(422, f"{action} needs `{field}`")
    from mlprod_tasks.monitoring.alarms import NoSuchAlarm

    try:
        return _ACTIONS[action](_Call(pipeline, body, by, request, platform))
    except NoSuchAlarm as error:
        raise ActionRefused(409, str(error)) from error


def _acknowledge(call: _Call) -> str:
    from mlprod_tasks.monitoring.alarms import acknowledge

    rule = _rule(call)
    acknowledge(call.pipeline, rule, call.by, call.platform, note=call.body.reason)
    return f"{rule} of {call.pipeline.name} is acknowledged by {call.by}"


def _mute(call: _Call) -> str:
    from mlprod_tasks.monitoring.alarms import mute

    rule, until = _rule(call), call.platform.clock.now() + timedelta(days=call.body.days or 1)
    mute(call.pipeline, rule, call.by, call.platform, until=until, reason=call.body.reason)
    return f"{rule} of {call.pipeline.name} is muted by {call.by} until {until:%Y-%m-%d %H:%M} UTC"


def _unmute(call: _Call) -> str:
    from mlprod_tasks.monitoring.alarms import unmute

    rule = _rule(call)
    unmute(call.pipeline, rule, call.by, call.platform, reason=call.body.reason)
    return f"{rule} of {call.pipeline.name} is no longer muted"


def _bound(call: _Call) -> str:
    from mlprod_tasks.monitoring.bounds import set_bound

    body = call.body
    set_bound(call.pipeline, body.what, body.slice, body.low, body.high, call.by, body.reason, call.platform)
    bounds = f"[{_bound_text(body.low)}, {_bound_text(body.high)}]"
    return f"{_subject(body)} of {call.pipeline.name} has the bounds {bounds} from now on"


def _unbound(call: _Call) -> str:
    from mlprod_tasks.monitoring.bounds import clear_bound

    clear_bound(call.pipeline, call.body.what, call.body.slice, call.by, call.body.reason, call.platform)
    return f"{_subject(call.body)} of {call.pipeline.name} has its declared and learned bounds again"


def _retrain(call: _Call) -> str:
    return retrain(call.pipeline, call.body.as_of, call.body.reason, call.by, call.request, call.platform)


def _rollback(call: _Call) -> str:
    body = call.body
    return str(apart("rollback", call.pipeline.name, to=body.version, reason=body.reason, by=call.by))


def _fallback(call: _Call) -> str:
    return str(apart("fallback", call.pipeline.name, reason=call.body.reason, by=call.by))


def _champion(call: _Call) -> str:
    return str(apart("champion", call.pipeline.name, reason=call.body.reason, by=call.by))


def _rollout(call: _Call) -> str:
    return roll_out(call.pipeline, call.body, call.by)


def _ramp(call: _Call) -> str:
    challenger = call.body.challenger or 0
    return ramp(call.pipeline, challenger, call.body.reason, call.by, call.request, call.platform)


def _review(call: _Call) -> str:
    return review(call.pipeline, call.body, call.by, call.platform)


def _plan_experiment(call: _Call) -> str:
    return plan_experiment(call.pipeline, call.body)


def _experiment(call: _Call) -> str:
    return start_experiment(call.pipeline, call.body, call.by)


def _end_experiment(call: _Call) -> str:
    return end_experiment(call.pipeline, call.body, call.by)


def _bandit(call: _Call) -> str:
    return start_bandit(call.pipeline, call.body, call.by)


def _end_bandit(call: _Call) -> str:
    return end_bandit(call.pipeline, call.body, call.by)


def _freeze_bandit(call: _Call) -> str:
    return freeze_bandit(call.pipeline, call.body, call.by)


def _thaw_bandit(call: _Call) -> str:
    return thaw_bandit(call.pipeline, call.body, call.by)


_ACTIONS: Mapping[str, Callable[[_Call], str]] = MappingProxyType(
    {
        "acknowledge": _acknowledge,
        "mute": _mute,
        "unmute": _unmute,
        "bound": _bound,
        "unbound": _unbound,
        "retrain": _retrain,
        "rollback": _rollback,
        "fallback": _fallback,
        "champion": _champion,
        "rollout": _rollout,
        "ramp": _ramp,
        "review": _review,
        "plan_experiment": _plan_experiment,
        "experiment": _experiment,
        "end_experiment": _end_experiment,
        "bandit": _bandit,
        "end_bandit": _end_bandit,
        "freeze_bandit": _freeze_bandit,
        "thaw_bandit": _thaw_bandit,
    }
)
NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "acknowledge": ("rule",),
        "mute": ("rule", "days"),
        "unmute": ("rule",),
        "bound": ("what", "reason"),
        "unbound": ("what", "reason"),
        "retrain": ("reason",),
        "rollback": ("reason",),
        "fallback": ("reason",),
        "champion": ("reason",),
        "rollout": ("mode", "reason"),
        "ramp": ("challenger", "reason"),
        "review": ("request_id", "row", "decision"),
        "plan_experiment": ("variants", "metric", "difference"),
        "experiment": ("experiment", "variants", "metric", "difference", "reason"),
        "end_experiment": ("experiment", "reason"),
        "bandit": ("experiment", "reason"),
        "end_bandit": ("experiment", "reason"),
        "freeze_bandit": ("experiment", "reason"),
        "thaw_bandit": ("experiment", "reason"),
    }
)


def _rule(call: _Call) -> str:
    known = [rule.name for rule in call.pipeline.rules]
    if call.body.rule not in known:
        raise ActionRefused(
            422, f"{call.pipeline.name} has no rule {call.body.rule!r}; its rules: {', '.join(known) or 'none'}"
        )
    return call.body.rule


def _subject(body: ActionBody) -> str:
    return f"{body.what}/{body.slice}" if body.slice else body.what


def _bound_text(bound: float | None) -> str:
    return "" if bound is None else format_number(bound)
