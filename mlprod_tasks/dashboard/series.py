"""Measurements over ticks, as the heat maps and charts show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mlprod_tasks.dashboard.schemas import Chart, ChartLine, HeatMap, HeatRow, WatchedSeries
from mlprod_tasks.dashboard.titles import CHART_ORDER, GROUPS, TITLES, Title
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.kinds import KINDS, Kind
from mlprod_tasks.platform.ledger import Measurement

ESTIMATED = "estimated_"
DRIFT = "feature_psi"  # the kind that is shown first
BY_FEATURE = (DRIFT, *(kind.what for kind in KINDS.values() if kind.by == "feature" and kind.what != DRIFT))
NOT_BY_FEATURE = tuple(kind.what for kind in KINDS.values() if kind.by != "feature")

Measured = Mapping[str, Mapping[str, Sequence[Any]]]  # what -> slice -> rows of SELECTED


@dataclass(frozen=True)
class Ticks:
    """Consecutive ticks: the axis of all charts and heat maps."""

    days: tuple[TickName, ...]

    @property
    def index(self) -> dict[TickName, int]:
        return {day: i for i, day in enumerate(self.days)}


def read(session: Session, pipeline: Pipeline, ticks: Ticks, whats: Iterable[str]) -> Measured:
    """Read the measurements of those kinds and ticks."""
    series: dict[str, dict[str, list[Any]]] = {}
    if not ticks.days:
        return series
    m, kinds = Measurement, list(whats)
    columns = (m.tick, m.what, m.slice, m.value, m.low, m.high, m.interval_low, m.interval_high, m.reference, m.n)
    query = select(*columns, m.breached, m.sentence, m.cause, m.important).where(
        m.pipeline == pipeline.name, m.what.in_(kinds), m.tick >= ticks.days[0], m.tick <= ticks.days[-1]
    )
    query = query.order_by(m.tick)
    for row in session.execute(query):
        series.setdefault(row.what, {}).setdefault(row.slice, []).append(row)
    return series


def heat_maps(pipeline: Pipeline, measured: Measured, ticks: Ticks, gain: Mapping[str, float]) -> tuple[HeatMap, ...]:
    """Make a heat map for each kind that is measured per feature and has values."""
    return tuple(
        HeatMap(what, TITLES[what].title, _words(KINDS[what], pipeline), tuple(_heat_rows(measured[what], ticks, gain)))
        for what in BY_FEATURE
        if what in measured
    )


def charts(pipeline: Pipeline, measured: Measured, ticks: Ticks) -> tuple[Chart, ...]:
    """Make charts of all other kinds with values; estimates are drawn beside realised values."""
    ordered = sorted(NOT_BY_FEATURE, key=lambda what: (GROUPS.index(TITLES[what].group), _chart_order(what)))
    return tuple(chart for what in ordered for chart in _charts(pipeline, measured, ticks, what) if chart.lines)


def column(name: str, rows: Sequence[Any], ticks: Ticks) -> WatchedSeries:
    """Lay out the rows of one kind and slice over the ticks."""
    at: list[Any] = [None] * len(ticks.days)
    index = ticks.index
    for row in rows:
        at[index[row.tick]] = row
    with_sentence = [(str(i), row) for i, row in enumerate(at) if row is not None and (row.breached or row.value is None)]

    def of(attribute: str) -> tuple[Any, ...]:
        return tuple(None if row is None else getattr(row, attribute) for row in at)

    return WatchedSeries(
        name=name,
        values=of("value"),
        low=of("low"),
        high=of("high"),
        interval_low=of("interval_low"),
        interval_high=of("interval_high"),
        reference=of("reference"),
        n=of("n"),
        breached=tuple(i for i, row in enumerate(at) if row is not None and row.breached),
        told={i: row.sentence for i, row in with_sentence},
        causes={i: row.cause for i, row in with_sentence if row.cause},
    )


def _heat_rows(by_feature: Mapping[str, Sequence[Any]], ticks: Ticks, gain: Mapping[str, float]) -> Iterator[HeatRow]:
    """Important features first: by gain, and if it is unknown, by importance and then by number of breaches."""
    rows = [
        HeatRow(feature, gain.get(feature), bool(rows[-1].important), column(feature, rows, ticks))
        for feature, rows in by_feature.items()
    ]
    return iter(sorted(rows, key=_rank))


def _rank(row: HeatRow) -> tuple[Any, ...]:
    bounded = any(high is not None for high in row.column.high)
    return -(row.gain_share or 0.0), not row.important, not bounded, -len(row.column.breached), row.feature


def _charts(pipeline: Pipeline, measured: Measured, ticks: Ticks, what: str) -> Iterator[Chart]:
    """The charts of one kind: one chart, or one per metric if the metrics have different units."""
    kind, realised = KINDS[what], what.removeprefix(ESTIMATED)
    if what != realised and realised in KINDS:
        return  # drawn in the chart of the realised values
    beside = f"{ESTIMATED}{what}"
    lines = [*_lines(pipeline, measured, ticks, what, beside in KINDS), *_lines(pipeline, measured, ticks, beside)]
    if kind.by != "metric" or what == "kpi_correlation":
        yield _chart(pipeline, what, "", lines)
        return
    for line in lines:
        yield _chart(pipeline, what, line.column.name, [line])


def _lines(pipeline: Pipeline, measured: Measured, ticks: Ticks, what: str, promised: bool = False) -> Iterator[ChartLine]:
    for name, rows in sorted(measured.get(what, {}).items()):
        role = "estimated" if what.startswith(ESTIMATED) else "realised" if promised else "measured"
        words = KINDS[what].words.format(slice=name, kpi=pipeline.kpi.name)
        yield ChartLine(what, words, role, column(name, rows, ticks))  # type: ignore[arg-type]


def _chart(pipeline: Pipeline, what: str, name: str, lines: Sequence[ChartLine]) -> Chart:
    shown: Title = TITLES[what]
    title, doc, unit = shown.title, _words(KINDS[what], pipeline), shown.unit
    if what == "kpi":
        title, doc, unit = pipeline.kpi.name, pipeline.kpi.doc, pipeline.kpi.unit
    elif what == "value":
        unit = pipeline.value.unit
    elif what == "business_metric":
        metric = next((one for one in pipeline.monitoring.metrics if one.name == name), None)
        title, doc, unit = name, metric.doc if metric else "", metric.unit if metric else ""
    elif name:
        title, doc = f"{title}: {name}", KINDS[what].words.format(slice=name, kpi=pipeline.kpi.name)
    return Chart(
        id=f"{what}/{name}" if name else what,
        group=shown.group,
        title=title,
        doc=doc,
        unit=unit,
        form=shown.form,
        times_reference=shown.times_reference,
        lines=tuple(lines),
    )


def _words(kind: Kind, pipeline: Pipeline) -> str:
    return kind.words.replace("{kpi}", pipeline.kpi.name)


def _chart_order(what: str) -> int:
    return CHART_ORDER.index(what) if what in CHART_ORDER else len(CHART_ORDER)
