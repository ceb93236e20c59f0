"""The state of every pipeline as Prometheus metrics: the newest values of the ledger, in a bounded number of series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from mlprod_tasks.dashboard.data import overview
from mlprod_tasks.dashboard.queries import alarms
from mlprod_tasks.dashboard.schemas import PipelineCard
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Mail, Measurement, Scoring, StepRun, Training

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# Each of these has one series; a kind that is measured per feature or table has series only for breached slices.
FEW = frozenset(kind.what for kind in KINDS.values() if kind.by in ("", "metric"))
MOST_BREACHED = 50  # series of breached slices, per pipeline
LIGHTS = ("grey", "green", "amber", "red")

GAUGES = MappingProxyType(
    {
        "mlprod_declarations_refused": "Pipeline files that could not be loaded; they have no other metrics.",
        "mlprod_light": "Traffic light: 0 no data yet, 1 green, 2 amber, 3 red.",
        "mlprod_tick_timestamp_seconds": "Time of the newest tick that was scored, or decided by the monitor.",
        "mlprod_tick_done_timestamp_seconds": "When that tick was scored or decided.",
        "mlprod_scored_rows": "Rows of the newest scored tick.",
        "mlprod_fallback_rows": "Rows of the newest scored tick that the fallback model scored.",
        "mlprod_champion_version": "Version of the champion.",
        "mlprod_champion_since_timestamp_seconds": "Time of the first tick that the champion may score.",
        "mlprod_fallback_in_force": "1 while the fallback model scores because somebody switched to it.",
        "mlprod_alarms": "Alarms that are not over, by state: open, acknowledged or muted.",
        "mlprod_alarm": "1 for a rule whose alarm is not over.",
        "mlprod_measurement": "Newest measured value; for slices only if they breach their bounds.",
        "mlprod_measurement_low": "Lower bound of the newest value.",
        "mlprod_measurement_high": "Upper bound of the newest value.",
        "mlprod_measured_tick_timestamp_seconds": "Time of the tick of the newest value.",
        "mlprod_breached": "Measurements of that tick outside their bounds.",
        "mlprod_trainings": "Trainings by state.",
        "mlprod_training_timestamp_seconds": "When the newest training began.",
        "mlprod_step_duration_seconds": "How long the newest run of a step took.",
        "mlprod_step_waited_seconds": "How long the newest run of a step waited for a worker.",
        "mlprod_step_peak_bytes": "Peak memory of the newest run of a step.",
        "mlprod_step_succeeded": "1 if the newest run of a step succeeded.",
        "mlprod_step_timestamp_seconds": "When the newest run of a step began.",
    }
)
COUNTERS = MappingProxyType(
    {
        "mlprod_mails": "Mails sent, by kind.",
        "mlprod_decisions": "Decisions of the monitor, by action.",
    }
)

Value = tuple[str, dict[str, str], float | None]


def exposition(pipelines: Iterable[Pipeline], platform: Platform, refused: int = 0) -> str:
    """Write the metrics of the pipelines in Prometheus's text format 0.0.4. refused: files that could not be loaded."""
    registry = CollectorRegistry()
    registry.register(_Ledger(list(pipelines), platform, refused))
    return generate_latest(registry).decode()


class _Ledger(Collector):
    def __init__(self, pipelines: Sequence[Pipeline], platform: Platform, refused: int) -> None:
        self.pipelines = pipelines
        self.platform = platform
        self.refused = refused

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, labels, value in self._values():
            if value is None:
                continue
            if name not in families:
                kind = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
                families[name] = kind(name, {**GAUGES, **COUNTERS}[name], labels=tuple(labels))
            families[name].add_metric(tuple(labels.values()), float(value))
        yield from families.values()

    def _values(self) -> Iterator[Value]:
        yield "mlprod_declarations_refused", {}, self.refused
        cards = {card.name: card for card in overview(self.pipelines, self.platform).pipelines}
        for pipeline in self.pipelines:
            yield from _state(pipeline, cards[pipeline.name])
            for alarm in alarms(pipeline, self.platform):
                if alarm.open:
                    yield "mlprod_alarm", {"pipeline": pipeline.name, "rule": alarm.rule, "action": alarm.action}, 1
            with self.platform.ledger.session() as session:
                yield from _ticks(session, pipeline)
                yield from _measurements(session, pipeline)
                yield from _counters(session, pipeline)
                yield from _steps(session, pipeline)


def _state(pipeline: Pipeline, card: PipelineCard) -> Iterator[Value]:
    labels = {"pipeline": pipeline.name}
    yield "mlprod_light", labels, LIGHTS.index(card.state.light)
    for state, count in (("open", card.open_alarms), ("acknowledged", card.acknowledged), ("muted", card.muted)):
        yield "mlprod_alarms", {**labels, "state": state}, count
    if card.champion is not None:
        yield "mlprod_champion_version", labels, card.champion.version
        since = pipeline.schedule.moment(datetime.fromisoformat(card.champion.since).date())
        yield "mlprod_champion_since_timestamp_seconds", labels, since.timestamp()
        yield "mlprod_fallback_in_force", labels, card.champion.fallback_by is not None


def _ticks(session: Session, pipeline: Pipeline) -> Iterator[Value]:
    scored = session.scalar(select(Scoring).filter_by(pipeline=pipeline.name).order_by(Scoring.tick.desc()).limit(1))
    decided = session.scalar(select(Decision).filter_by(pipeline=pipeline.name).order_by(Decision.tick.desc()).limit(1))
    newest: tuple[tuple[str, Scoring | Decision | None], ...] = (("scored", scored), ("decided", decided))
    for done, row in newest:
        if row is not None:
            labels = {"pipeline": pipeline.name, "done": done}
            yield "mlprod_tick_timestamp_seconds", labels, pipeline.schedule.moment(row.tick).timestamp()
            yield "mlprod_tick_done_timestamp_seconds", labels, row.at.timestamp()
    if scored is not None:
        yield "mlprod_scored_rows", {"pipeline": pipeline.name}, scored.rows
        yield "mlprod_fallback_rows", {"pipeline": pipeline.name}, scored.fallback_rows


def _measurements(session: Session, pipeline: Pipeline) -> Iterator[Value]:
    """The newest value of each kind of measurement."""
    m = Measurement
    measured = select(m.what, func.max(m.tick).label("tick")).where(m.pipeline == pipeline.name, m.value.is_not(None))
    newest = measured.group_by(m.what).subquery()
    query = select(m).join(newest, and_(m.what == newest.c.what, m.tick == newest.c.tick)).where(m.pipeline == pipeline.name)
    breached: dict[str, int] = {}
    slices = 0
    for row in session.scalars(query.where(or_(m.what.in_(FEW), m.breached)).order_by(m.what, m.slice)):
        breached[row.what] = breached.get(row.what, 0) + row.breached
        slices += row.what not in FEW
        if row.what in FEW or slices <= MOST_BREACHED:
            labels = {"pipeline": pipeline.name, "what": row.what, "slice": row.slice}
            yield "mlprod_measurement", labels, row.value
            yield "mlprod_measurement_low", labels, row.low
            yield "mlprod_measurement_high", labels, row.high
    for what, tick in session.execute(select(newest.c.what, newest.c.tick).order_by(newest.c.what)):
        labels = {"pipeline": pipeline.name, "what": what}
        yield "mlprod_measured_tick_timestamp_seconds", labels, pipeline.schedule.moment(tick).timestamp()
        yield "mlprod_breached", labels, breached.get(what, 0)


def _counters(session: Session, pipeline: Pipeline) -> Iterator[Value]:
    labels = {"pipeline": pipeline.name}
    for kind, label, name in (
        (Mail, "kind", "mlprod_mails"),
        (Decision, "action", "mlprod_decisions"),
        (Training, "state", "mlprod_trainings"),
    ):
        column = getattr(kind, label)
        query = select(column, func.count()).where(kind.pipeline == pipeline.name).group_by(column).order_by(column)
        for value, count in session.execute(query):
            yield name, {**labels, label: value}, count
    began = session.scalar(select(func.max(Training.at)).where(Training.pipeline == pipeline.name))
    yield "mlprod_training_timestamp_seconds", labels, began.timestamp() if began else None


def _steps(session: Session, pipeline: Pipeline) -> Iterator[Value]:
    s = StepRun
    newest = select(s.step, func.max(s.at).label("at")).where(s.pipeline == pipeline.name).group_by(s.step).subquery()
    query = select(s).join(newest, and_(s.step == newest.c.step, s.at == newest.c.at)).where(s.pipeline == pipeline.name)
    done: set[str] = set()
    for row in session.scalars(query.order_by(s.step, s.subject)):
        if row.step in done:  # two runs that began at the same moment
            continue
        done.add(row.step)
        labels = {"pipeline": pipeline.name, "step": row.step}
        yield "mlprod_step_duration_seconds", labels, row.seconds
        yield "mlprod_step_waited_seconds", labels, row.waited_seconds
        yield "mlprod_step_peak_bytes", labels, None if row.peak_mb is None else row.peak_mb * 1e6
        yield "mlprod_step_succeeded", labels, row.succeeded
        yield "mlprod_step_timestamp_seconds", labels, row.at.timestamp()
