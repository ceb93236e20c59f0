"""What the page is told and what it asks for: the JSON of its addresses, as dataclasses.

Addresses, below the page's own (`/mlprod/`), JSON each; an error is {"error": "..."} with a status of 400 or more:

    GET  api/overview                                          Overview
    GET  api/pipelines/{name}?first=&last=&heat=               Detail; ticks first..last, heat map of that kind
    GET  api/pipelines/{name}/predictions?key=&key=&tick=      PredictionExplanation; one `key` for each key column
    POST api/pipelines/{name}/{action}                         body ActionRequest, answer ActionResult; action is one of ACTIONS

Ticks are ISO dates, moments ISO with offset. What is told of many ticks stands in columns, one entry a tick of `Detail.ticks`
(null where there is none), so that a year of them stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mlprod_tasks.dashboard.served_schemas import RolloutRow, ServingDetail

Light = Literal["red", "amber", "green", "grey"]
ACTIONS = (
    "acknowledge", "mute", "unmute", "retrain", "rollback", "champion", "fallback", "bound", "unbound", "rollout", "ramp",
    "review",
)  # fmt: skip
Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class StatusLight:
    """The traffic light, and why it shows what it shows: the worst first, each a sentence.

    red: somebody is needed now. amber: worth a look. green: nothing to do. grey: nothing there yet.
    """

    light: Light
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ChampionCard:
    """Who is champion. age_days: from its first tick to the last scored tick."""

    version: int
    since: str
    age_days: int
    trained_as_of: str | None
    reason: str
    fallback_by: str | None = None  # who switched to the fallback, where it answers now


@dataclass(frozen=True)
class LastTick:
    """The newest scored tick. behind: due ticks that are not scored; None where the schedule has ended."""

    tick: str
    rows: int
    fallback_rows: int
    version: int
    action: str | None
    behind: int | None


@dataclass(frozen=True)
class Spark:
    """A small line: the KPI of the last ticks, in its unit. bound: the lower bound of the newest, in the unit too."""

    name: str
    unit: str
    ticks: tuple[str, ...]
    values: Numbers
    bound: float | None


@dataclass(frozen=True)
class PipelineCard:
    """One pipeline on the overview."""

    name: str
    doc: str
    owner: str
    state: StatusLight
    champion: ChampionCard | None
    last: LastTick | None
    open_alarms: int
    acknowledged: int
    muted: int
    training: str | None  # the newest training's state: running, awaiting approval, refused, ...
    kpi: Spark | None
    rollout: RolloutRow | None = None  # in force, where it is not the champion alone that answers
    open_reviews: int = 0


@dataclass(frozen=True)
class Overview:
    """All pipelines, those that need somebody first. broken: declarations that could not be loaded, file and why."""

    at: str
    pipelines: tuple[PipelineCard, ...]
    broken: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class WatchedSeries:
    """One watched value over the ticks. told: what the ledger says of a breached or unmeasured tick, by its index."""

    name: str  # what `slice` names, or ''
    values: Numbers
    low: Numbers
    high: Numbers
    interval_low: Numbers
    interval_high: Numbers
    reference: Numbers
    n: tuple[int | None, ...]
    breached: tuple[int, ...]  # indices
    told: dict[str, str]
    causes: dict[str, str]


@dataclass(frozen=True)
class HeatRow:
    """One feature. gain_share: of the model's gain, None where not known. important: of those that make up 80 % of it."""

    feature: str
    gain_share: float | None
    important: bool
    column: WatchedSeries


@dataclass(frozen=True)
class HeatMap:
    """Features x ticks of one kind, the important ones first. words: with {slice}."""

    what: str
    title: str
    words: str
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True)
class ChartLine:
    """A line of a chart. role: 'realised', 'estimated' (a promise, with its interval) or 'measured'."""

    what: str
    words: str
    role: Literal["realised", "estimated", "measured"]
    column: WatchedSeries


@dataclass(frozen=True)
class Chart:
    """Lines over the ticks that share an axis.

    form 'number', 'share' (0 to 1), 'seconds'. times_reference: the ledger has values over the reference's; drawn are the
    values themselves, that is value x reference (and bound x reference).
    """

    id: str
    group: str
    title: str
    doc: str
    unit: str
    form: Literal["number", "share", "seconds"]
    times_reference: bool
    lines: tuple[ChartLine, ...]


@dataclass(frozen=True)
class VersionMark:
    """From `tick` on, another version is champion. rolled_back_from: the version that a rollback withdrew."""

    tick: str
    version: int
    reason: str
    at: str
    rolled_back_from: int | None


@dataclass(frozen=True)
class TickRow:
    """What was done at one tick and decided, and why."""

    tick: str
    published: int
    refused: tuple[str, ...]  # tables
    scored: int | None
    fallback_rows: int
    version: int | None
    action: str | None
    reason: str
    rules: tuple[RuleFired, ...]


@dataclass(frozen=True)
class RuleFired:
    """A rule that fired at a tick, with the sentences of the measurements that made it fire. held: why its action waits."""

    rule: str
    action: str
    cause: str
    held: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class AlarmRow:
    """An alarm: a rule from when it fired until it no longer does. held: why its action waits."""

    rule: str
    action: str
    since: str
    last: str
    ticks: int
    open: bool
    cause: str
    held: str
    sentence: str
    acknowledged_by: str | None
    acknowledged_at: str | None
    note: str
    muted_until: str | None


@dataclass(frozen=True)
class GateRow:
    gate: str
    passed: bool
    value: float | None
    bound: float | None
    sentence: str


@dataclass(frozen=True)
class TrainingRow:
    """One training with its gates. metrics: of the test window, (name, value, low, high)."""

    id: str
    as_of: str
    at: str
    state: str
    reason: str
    version: int | None
    champion: bool
    run_id: str | None
    metrics: tuple[tuple[str, float, float | None, float | None], ...]
    gates: tuple[GateRow, ...]


@dataclass(frozen=True)
class ActionRow:
    """What a person, or a rule's action, did."""

    at: str
    by: str
    kind: str
    subject: str
    reason: str
    until: str | None


@dataclass(frozen=True)
class Link:
    """A page elsewhere: MLflow, data docs, runs. `text` says where it leads."""

    text: str
    href: str


@dataclass(frozen=True)
class Detail:
    """Everything about one pipeline over a range of ticks.

    may: the ACTIONS that the reader has the right to; without one its button is not there. links: pages elsewhere; the words
    {run_id} in `run_link` stand for an MLflow run. served: None where the use case answers no requests.
    """

    name: str
    doc: str
    owner: str
    at: str
    first: str | None  # the oldest and newest tick there is anything of
    last: str | None
    ticks: tuple[str, ...]
    state: StatusLight
    champion: ChampionCard | None
    last_tick: LastTick | None
    key: tuple[str, ...]  # columns of a prediction's key
    rules: tuple[str, ...]
    versions: tuple[VersionMark, ...]
    scored_by: tuple[int | None, ...]  # the version, by tick
    heat_kinds: tuple[tuple[str, str], ...]  # what, title
    heat: tuple[HeatMap, ...]
    charts: tuple[Chart, ...]
    by_tick: tuple[TickRow, ...]  # newest first
    alarms: tuple[AlarmRow, ...]
    trainings: tuple[TrainingRow, ...]  # newest first
    doings: tuple[ActionRow, ...]  # newest first
    served: ServingDetail | None
    links: tuple[Link, ...] = ()
    run_link: str = ""
    may: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActionRequest:
    """What a person asks for with a button.

    rule: acknowledge, mute, unmute. days: mute. version: rollback. what, slice, low, high: bound and unbound. mode, challenger,
    share, automation, low and high (the band's), instead_of (the moment of the rollout that is in force): rollout. challenger:
    ramp. request_id, row, decision: review.
    """

    reason: str = ""
    rule: str = ""
    days: int | None = None
    version: int | None = None
    what: str = ""
    slice: str = ""
    low: float | None = None
    high: float | None = None
    mode: str = ""
    challenger: int | None = None
    share: float = 0.0
    automation: str = "full"
    instead_of: str = ""
    request_id: str = ""
    row: int | None = None
    decision: bool | None = None


@dataclass(frozen=True)
class ActionResult:
    """What came of it, in a sentence."""

    done: str


def as_json(form: Any) -> Any:
    """A form as plain JSON values; numbers that are none (NaN, infinity) become null."""
    from dataclasses import fields, is_dataclass
    from math import isfinite

    if is_dataclass(form):
        return {field.name: as_json(getattr(form, field.name)) for field in fields(form)}
    if isinstance(form, tuple | list):
        return [as_json(one) for one in form]
    if isinstance(form, dict):
        return {key: as_json(one) for key, one in form.items()}
    if isinstance(form, float) and not isfinite(form):
        return None
    return form
