"""The page's numbers are those of the ledger."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from mlprod_tasks.dashboard.data import MOST_TICKS, detail, overview
from mlprod_tasks.dashboard.schemas import Detail
from mlprod_tasks.dashboard.series import BY_FEATURE
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Audit, Decision, GateResult, Intervention, Measurement, Promotion, Scoring, Training
from tests.support.seeded_ledger import DAY, FIRST, doing, fill, moment, refuse, scoring

LAST = FIRST + 75 * DAY
MakeLedger = Callable[..., Platform]


def columns(told: Detail) -> dict[tuple[str, str], Any]:
    """Every column on the page, by what and slice."""
    shown = {(line.what, line.column.name): line.column for chart in told.charts for line in chart.lines}
    return shown | {(map_.what, row.feature): row.column for map_ in told.heat for row in map_.rows}


def measurement(pipeline: Pipeline, what: str, value: float | None, day: date = FIRST, **more: Any) -> Measurement:
    given: dict[str, Any] = {"n": 10, "breached": False, "model_version": 1, "at": moment(day)} | more
    return Measurement(pipeline=pipeline.name, tick=day, what=what, value=value, **given)


def test_every_number_shown_is_the_ledgers_own(months: Platform, flights_pipeline: Pipeline) -> None:
    told = detail(flights_pipeline, months, (FIRST, LAST), BY_FEATURE)
    shown, rows = columns(told), months.ledger.all(Measurement)
    assert len(rows) > 7000
    for row in rows:
        column, i = shown[row.what, row.slice], told.ticks.index(str(row.tick))
        assert column.values[i] == row.value
        assert (column.low[i], column.high[i]) == (row.low, row.high)
        assert (column.interval_low[i], column.interval_high[i]) == (row.interval_low, row.interval_high)
        assert (column.reference[i], column.n[i]) == (row.reference, row.n)
        assert (i in column.breached) == row.breached
        if row.breached or row.value is None:
            assert column.told[str(i)] == row.sentence
            assert column.causes.get(str(i), "") == row.cause
    assert sum(value is not None for column in shown.values() for value in column.values) == sum(
        r.value is not None for r in rows
    )


def test_every_kind_that_is_measured_is_shown(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    rows = [measurement(flights_pipeline, what, 0.5, slice="some" if kind.by else "") for what, kind in KINDS.items()]
    platform.ledger.put(scoring(flights_pipeline, FIRST), *rows)
    told = detail(flights_pipeline, platform, heat=BY_FEATURE)
    assert {what for what, _ in columns(told)} == set(KINDS)


def test_what_is_measured_of_requests_stands_together(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    rows = [measurement(flights_pipeline, what, 0.5, slice="some" if kind.by else "") for what, kind in KINDS.items()]
    platform.ledger.put(scoring(flights_pipeline, FIRST), *rows)
    charts = detail(flights_pipeline, platform).charts
    requests = [chart for chart in charts if chart.group == "Requests"]
    assert {chart.id for chart in requests} == {
        what for what, kind in KINDS.items() if kind.family == "request" and kind.by != "feature"
    }
    assert [(chart.id, chart.unit, chart.form) for chart in requests[:3]] == [
        ("online_rows", "rows", "number"),
        ("online_latency", "ms", "number"),
        ("online_errors", "", "share"),
    ]


def test_a_promise_stands_beside_what_was_realised(months: Platform, flights_pipeline: Pipeline) -> None:
    charts = {chart.id: chart for chart in detail(flights_pipeline, months).charts}
    assert [(line.what, line.role) for line in charts["roc_auc"].lines] == [
        ("roc_auc", "realised"),
        ("estimated_roc_auc", "estimated"),
    ]
    assert "estimated_roc_auc" not in charts
    assert charts["kpi"].times_reference
    assert charts["kpi"].unit == flights_pipeline.kpi.unit
    assert [line.column.name for line in charts["duration"].lines] == ["ingest", "measure", "score"]


def test_business_metrics_stand_apart_for_each_has_its_unit(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    from mlprod_tasks import declaration as ml

    metrics = (
        ml.BusinessMetric("refunds", "business", "SELECT 1", "paid back", "USD"),
        ml.BusinessMetric("calls", "business", "SELECT 1", "at the desk"),
    )
    pipeline = replace(flights_pipeline, monitoring=ml.Monitoring(metrics=metrics))
    platform = make_ledger()
    platform.ledger.put(
        scoring(pipeline, FIRST), *(measurement(pipeline, "business_metric", 7.0, slice=one.name) for one in metrics)
    )
    charts = {chart.id: (chart.title, chart.doc, chart.unit) for chart in detail(pipeline, platform).charts}
    assert charts == {
        "business_metric/refunds": ("refunds", "paid back", "USD"),
        "business_metric/calls": ("calls", "at the desk", ""),
    }


def test_the_newest_ticks_are_shown_unless_others_are_asked_for(months: Platform, flights_pipeline: Pipeline) -> None:
    told = detail(flights_pipeline, months)
    assert (told.first, told.last) == (str(FIRST), str(LAST))
    assert (told.ticks[0], told.ticks[-1], len(told.ticks)) == (str(LAST - 59 * DAY), str(LAST), 60)
    week = detail(flights_pipeline, months, (FIRST + 3 * DAY, FIRST + 9 * DAY))
    assert week.ticks == tuple(str(FIRST + n * DAY) for n in range(3, 10))
    beyond = detail(flights_pipeline, months, (FIRST - 10 * DAY, LAST + 10 * DAY))
    assert (beyond.ticks[0], beyond.ticks[-1]) == (str(FIRST), str(LAST))
    assert detail(flights_pipeline, months, (LAST + DAY, LAST + 5 * DAY)).ticks == ()
    with pytest.raises(ValueError, match="is empty"):
        detail(flights_pipeline, months, (LAST, FIRST))
    with pytest.raises(ValueError, match=r"'roc_auc' is not measured per feature: choose one of feature_psi"):
        detail(flights_pipeline, months, heat=("roc_auc",))


def test_a_range_of_years_is_cut_to_its_newest_ticks(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    pipeline = replace(flights_pipeline, schedule=replace(flights_pipeline.schedule, ends=None))
    platform = make_ledger()
    platform.ledger.put(scoring(pipeline, FIRST), scoring(pipeline, FIRST + 3000 * DAY))
    told = detail(pipeline, platform, (FIRST, FIRST + 3000 * DAY))
    assert len(told.ticks) == MOST_TICKS
    assert told.ticks[-1] == str(FIRST + 3000 * DAY)


def test_only_the_kinds_and_ticks_shown_are_read(months: Platform, flights_pipeline: Pipeline) -> None:
    statements: list[tuple[str, Any]] = []

    def heard(_: Any, __: Any, statement: str, parameters: Any, *more: Any) -> None:
        statements.append((statement, parameters))

    event.listen(months.ledger.engine, "before_cursor_execute", heard)
    try:
        detail(flights_pipeline, months, (LAST - 4 * DAY, LAST))
        few = len(statements)
        detail(flights_pipeline, months, (FIRST, LAST))
    finally:
        event.remove(months.ledger.engine, "before_cursor_execute", heard)
    assert len(statements) == 2 * few <= 60, "as many statements for many ticks as for few"
    (read, parameters), *_ = [one for one in statements if "measurements.sentence" in one[0]]
    with months.ledger.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {read}", parameters).fetchall()
        rows = connection.exec_driver_sql(read, parameters).fetchall()
    assert len(plan) == 1
    assert "tick>? AND tick<?)" in str(plan), "what lies outside of the range is not even looked at"
    assert "null_share" not in {row.what for row in rows}
    assert len(rows) < 5 * 80


def test_the_overview_asks_as_often_for_many_pipelines_as_for_one(months: Platform, flights_pipeline: Pipeline) -> None:
    def asked(pipelines: list[Pipeline]) -> int:
        heard: list[str] = []
        listen = lambda _, __, statement, *more: heard.append(statement)  # noqa: E731
        event.listen(months.ledger.engine, "before_cursor_execute", listen)
        overview(pipelines, months)
        event.remove(months.ledger.engine, "before_cursor_execute", listen)
        return sum("interventions.kind" not in one or "decisions" not in one for one in heard)

    one, four = (
        asked([flights_pipeline]),
        asked([flights_pipeline, *(replace(flights_pipeline, name=f"other{n}") for n in range(3))]),
    )
    assert four - one <= 2 * 3, "but for its alarms, nothing is asked pipeline by pipeline"


def test_features_that_matter_stand_first(months: Platform, flights_pipeline: Pipeline) -> None:
    (heat,) = detail(flights_pipeline, months).heat
    flags = [row.important for row in heat.rows]
    assert flags == sorted(flags, reverse=True)
    assert {row.feature for row in heat.rows} == set(flights_pipeline.feature_names)
    assert all(row.gain_share is None for row in heat.rows)


def test_every_kind_of_heat_map_that_there_is_can_be_chosen(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    fill(platform, flights_pipeline, 5)
    platform.ledger.put(
        measurement(flights_pipeline, "residual_drift", 0.1, FIRST + DAY, slice="dest")
    )  # known later than inputs
    told = detail(flights_pipeline, platform)
    assert [what for what, _ in told.heat_kinds] == ["feature_psi", "null_share", "residual_drift"]
    assert [what for what, _ in detail(flights_pipeline, platform, (FIRST + 2 * DAY, None)).heat_kinds] == [
        "feature_psi",
        "null_share",
    ]


def test_features_stand_in_the_order_of_their_gain(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    fill(platform, flights_pipeline, 3)
    names = flights_pipeline.feature_names
    total = len(names) * (len(names) - 1) / 2
    (champion,) = (one for one in platform.ledger.all(Training) if one.model_version == 1)
    champion.importance = {name: n / total for n, name in enumerate(names)}
    platform.ledger.put(champion)
    (heat,) = detail(flights_pipeline, platform).heat
    assert [row.feature for row in heat.rows] == list(reversed(names))
    assert sum(row.gain_share or 0.0 for row in heat.rows) == pytest.approx(1)


def test_decisions_versions_and_gates_are_those_of_the_ledger(months: Platform, flights_pipeline: Pipeline) -> None:
    told = detail(flights_pipeline, months, (FIRST, LAST))
    decisions = {str(one.tick): one for one in months.ledger.all(Decision)}
    assert {row.tick: (row.action, row.reason) for row in told.by_tick} == {
        t: (d.action, d.reason) for t, d in decisions.items()
    }
    for row in told.by_tick:
        assert [rule.rule for rule in row.rules] == [rule["rule"] for rule in decisions[row.tick].rules]
        assert row.published == row.scored * len(flights_pipeline.tables)
    assert [(mark.tick, mark.version) for mark in told.versions] == [
        (str(p.effective), p.model_version) for p in months.ledger.all(Promotion)
    ]
    assert [one.id for one in told.trainings] == [
        t.id for t in sorted(months.ledger.all(Training), key=lambda t: t.at, reverse=True)
    ]
    assert {(one.id, gate.gate, gate.passed) for one in told.trainings for gate in one.gates} == {
        (gate.training_id, gate.gate, gate.passed) for gate in months.ledger.all(GateResult)
    }
    refused = next(one for one in told.trainings if one.state == "refused")
    assert [gate.passed for gate in refused.gates] == [False, True], "what failed stands first"
    assert [one.champion for one in told.trainings] == [False, True, False]
    assert told.scored_by == tuple(s.model_version for s in months.ledger.all(Scoring))


def test_a_ledger_without_anything_is_shown_as_such(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    told = detail(flights_pipeline, platform)
    assert (told.ticks, told.charts, told.heat, told.champion, told.last_tick) == ((), (), (), None, None)
    assert told.state.light == "grey"
    (card,) = overview([flights_pipeline], platform).pipelines
    assert (card.state.reasons, card.kpi) == (("No tick is scored yet.",), None)
    assert overview([], platform).pipelines == ()


def test_the_kpi_is_drawn_in_its_unit(months: Platform, flights_pipeline: Pipeline) -> None:
    (card,) = overview([flights_pipeline], months).pipelines
    rows = {str(row.tick): row for row in months.ledger.all(Measurement, what="kpi")}
    assert card.kpi is not None
    assert card.kpi.ticks == tuple(str(LAST - n * DAY) for n in reversed(range(30)))
    for tick, value in zip(card.kpi.ticks, card.kpi.values, strict=True):
        row = rows[tick]
        assert value == (None if row.value is None else row.value * row.reference)


def test_how_it_stood_at_a_tick_holds_nothing_that_came_later(months: Platform, flights_pipeline: Pipeline) -> None:
    tick = flights_pipeline.schedule.tick(FIRST + 62 * DAY)
    told = detail(flights_pipeline, months, (None, tick.name), as_of=tick)
    assert told.ticks[-1] == told.last == str(tick)
    assert told.champion is not None
    assert told.last_tick is not None
    assert (told.champion.version, told.last_tick.tick, told.last_tick.behind) == (1, str(tick), 0)
    assert max(alarm.last for alarm in told.alarms) <= str(tick)
    assert all(one.as_of <= str(tick) for one in told.trainings)
    assert detail(flights_pipeline, months).champion.version == 2  # type: ignore[union-attr]


def test_what_people_did_is_told_newest_first(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    fill(platform, flights_pipeline, 5)
    doing(platform, flights_pipeline, "mute", moment(FIRST), subject="nulls", until=moment(FIRST + 9 * DAY))
    doing(platform, flights_pipeline, "retrain", moment(FIRST + DAY), by="grace", reason="a new airline")
    refuse(platform, flights_pipeline, FIRST + 5 * DAY, "flights")
    told = detail(flights_pipeline, platform)
    assert [(one.kind, one.by, one.reason) for one in told.doings] == [
        ("retrain", "grace", "a new airline"),
        ("mute", "ada", "looked at it"),
    ]
    assert len(told.doings) == len(platform.ledger.all(Intervention))
    assert told.doings[1].until == (moment(FIRST) + timedelta(days=9)).isoformat()


def test_what_was_measured_without_an_interval_is_shown_without_one(
    make_ledger: MakeLedger, flights_pipeline: Pipeline
) -> None:
    platform = make_ledger()
    platform.ledger.put(scoring(flights_pipeline, FIRST), measurement(flights_pipeline, "roc_auc", 0.7))
    (chart,) = detail(flights_pipeline, platform).charts
    assert chart.lines[0].column.values == (0.7,)
    assert chart.lines[0].column.interval_low == (None,)


def test_rows_that_equal_another_one_of_their_tick_are_told_with_it(
    make_ledger: MakeLedger, flights_pipeline: Pipeline
) -> None:
    platform = make_ledger()
    read = {
        "staging": "",
        "rows_read": 9,
        "rows_accepted": 9,
        "rows_refused": 0,
        "passed": True,
        "pipeline": flights_pipeline.name,
    }
    audits = [
        Audit(**read, table_name=table, tick=day, at=moment(day), rows_repeated=repeated)
        for day, table, repeated in ((FIRST, "flights", 2), (FIRST, "weather", 3), (FIRST + DAY, "flights", 0))
    ]
    platform.ledger.put(*audits, *(scoring(flights_pipeline, day) for day in (FIRST, FIRST + DAY)))
    told = detail(flights_pipeline, platform, (FIRST, LAST))
    assert [(row.tick, row.repeated) for row in told.by_tick] == [(str(FIRST + DAY), 0), (str(FIRST), 5)]
