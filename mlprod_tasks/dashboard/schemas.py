"""The JSON that the page reads and sends, as dataclasses.

Addresses below `/mlprod/`, all with JSON bodies; an error is {"error": "..."} with a status of 400 or higher:

    GET  api/overview                                          Overview
    GET  api/pipelines/{name}?first=&last=&heat=               Detail; ticks first..last, heat map of that kind
    GET  api/pipelines/{name}/predictions?key=&key=&tick=      PredictionExplanation; one `key` for each key column
    POST api/pipelines/{name}/{action}                         body ActionRequest, answer ActionResult; action is one of ACTIONS

Ticks are ISO dates, moments are ISO with offset. Values over many ticks are lists with one entry per tick of
`Detail.ticks` (null if the tick has no value), so that the JSON of a year stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mlprod_tasks.dashboard.experiment_schemas import ExperimentsDetail
from mlprod_tasks.dashboard.incident_schemas import IncidentRow
from mlprod_tasks.dashboard.served_schemas import RolloutRow, ServingDetail

Light = Literal["red", "amber", "green", "grey"]
ACTIONS = (
    "acknowledge", "mute", "unmute", "retrain", "rollback", "champion", "fallback", "bound", "unbound", "rollout", "ramp",
    "review", "plan_experiment", "experiment", "end_experiment", "bandit", "end_bandit", "freeze_bandit", "thaw_bandit",
)  # fmt: skip
Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class StatusLight:
    """The traffic light and the reasons for its colour, one sentence each, the worst first.

    red: act now. amber: worth a look. green: nothing to do. grey: no data yet.
    """

    light: Light
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ChampionCard:
    """The champion. age_days: from its first tick to the last scored tick. caveat: what its test does not show."""

    version: int
    since: str
    age_days: int
    trained_as_of: str | None
    reason: str
    fallback_by: str | None = None  # who switched to the fallback, while it scores
    caveat: str | None = None


@dataclass(frozen=True)
class LastTick:
    """The newest scored tick. behind: due ticks that are not scored; None if the schedule has ended."""

    tick: str
    rows: int
    fallback_rows: int
    version: int
    action: str | None
    behind: int | None


@dataclass(frozen=True)
class Spark:
    """A small line chart: the KPI of the last ticks, in its unit. bound: the newest lower bound, in the same unit."""

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
    rollout: RolloutRow | None = None  # in force; None if the champion alone answers
    open_reviews: int = 0


@dataclass(frozen=True)
class Overview:
    """All pipelines, the worst state first. broken: declarations that could not be loaded, as (file, reason)."""

    at: str
    pipelines: tuple[PipelineCard, ...]
    broken: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class WatchedSeries:
    """One measurement over the ticks. told: the ledger's sentence for breached or unmeasured ticks, by index."""

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
    """One feature. gain_share: its share of the model's gain, if known. important: one of those that make up 80 %."""

    feature: str
    gain_share: float | None
    important: bool
    column: WatchedSeries


@dataclass(frozen=True)
class HeatMap:
    """Features x ticks for one kind of measurement, important features first. words: a sentence with {slice}."""

    what: str
    title: str
    words: str
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True)
class ChartLine:
    """A line of a chart. role: 'realised', 'estimated' (with its interval) or 'measured'."""

    what: str
    words: str
    role: Literal["realised", "estimated", "measured"]
    column: WatchedSeries


@dataclass(frozen=True)
class Chart:
    """Lines over the ticks on one axis.

    form 'number', 'share' (0 to 1), 'seconds'. times_reference: the ledger has values divided by the reference;
    the page draws value x reference (and bound x reference).
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
class AdaptedTick:
    """What adapted a version's scores of a tick, or why its own stand. by: the half-life, or the learner."""

    tick: str
    version: int
    answers: bool
    by: str
    why: str


@dataclass(frozen=True)
class AdaptationDetail:
    """The layer that keeps scores right between trainings.

    parameters: what it is now, (name, value). learned, rows: of how many ticks and rows; newest: the last of these. charts:
    what it would gain, and how far it moves scores. by_tick: newest first.
    """

    parameters: tuple[tuple[str, float], ...]
    learned: int
    rows: int
    newest: str | None
    charts: tuple[Chart, ...]
    by_tick: tuple[AdaptedTick, ...]


@dataclass(frozen=True)
class VersionMark:
    """From `tick` on, this version is champion. rolled_back_from: the version that a rollback replaced."""

    tick: str
    version: int
    reason: str
    at: str
    rolled_back_from: int | None


@dataclass(frozen=True)
class TickRow:
    """What was done and decided at one tick, and why."""

    tick: str
    published: int
    repeated: int  # of the rows that were read, those that equal another one of their tick, where rows have no key
    refused: tuple[str, ...]  # tables
    scored: int | None
    fallback_rows: int
    version: int | None
    action: str | None
    reason: str
    rules: tuple[RuleFired, ...]


@dataclass(frozen=True)
class RuleFired:
    """A rule that fired at a tick, with a sentence for each measurement that fired it. held: why its action waits."""

    rule: str
    action: str
    cause: str
    held: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class AlarmRow:
    """An alarm: a rule, from the tick at which it fired until it no longer fires. held: why its action waits."""

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
    """An action of a person or a rule."""

    at: str
    by: str
    kind: str
    subject: str
    reason: str
    until: str | None


@dataclass(frozen=True)
class Link:
    """A link to another page: MLflow, data docs, runs. `text` is its label."""

    text: str
    href: str


@dataclass(frozen=True)
class Detail:
    """Everything about one pipeline over a range of ticks.

    may: the ACTIONS that the reader may take; the page shows buttons for these only. run_link: an address with {run_id}
    for the id of an MLflow run. served: None if the use case answers no requests. experiments: None if there are none and
    none is declared. adaptation: None if scores are not adapted, or no tick was yet.
    """

    name: str
    doc: str
    owner: str
    at: str
    first: str | None  # the oldest and newest tick with data
    last: str | None
    ticks: tuple[str, ...]
    newest: tuple[tuple[int, str], ...]  # so many of the newest ticks, and the first of them; at the end all of them
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
    experiments: ExperimentsDetail | None = None
    adaptation: AdaptationDetail | None = None
    incidents: tuple[IncidentRow, ...] = ()
    links: tuple[Link, ...] = ()
    run_link: str = ""
    may: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActionRequest:
    """The body of an action that a person requests with a button.

    rule: acknowledge, mute, unmute. days: mute. version: rollback. what, slice, low, high: bound and unbound. mode, challenger,
    share, automation, low and high (the band's), instead_of (the moment of the rollout that is in force): rollout. challenger:
    ramp. request_id, row, decision: review. experiment (its name), variants, metric, difference, alpha, power, design,
    periods (weeks; None for as few as can be), rows: plan_experiment and experiment. experiment (its name), variants (its
    arms), rows: bandit. experiment: end_experiment, end_bandit, freeze_bandit and thaw_bandit.
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
    experiment: str = ""
    variants: str = ""
    metric: str = ""
    difference: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    design: str = "fixed"
    periods: int | None = None
    rows: str = "batch"


@dataclass(frozen=True)
class ActionResult:
    """The result of an action, in a sentence."""

    done: str


def as_json(form: Any) -> Any:
    """Turn a dataclass into plain JSON values; NaN and infinity become null."""
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
