"""What Prometheus reads is what the ledger has, in its own format, in a bounded number of series."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from mlprod_tasks.cli.main import app
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.operations.ledger_metrics import COUNTERS, FEW, GAUGES, MOST_BREACHED, exposition
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Intervention, Mail, MailAbout, Measurement, Scoring, StepRun
from tests.support import seeded_ledger
from tests.support.grafana import queries
from tests.support.paths import REPOSITORY

DASHBOARD = REPOSITORY / "deploy" / "grafana" / "mlprod.json"
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def seeded(make_platform: Callable[..., Platform], flights_pipeline: Pipeline) -> Platform:
    """A ledger of 90 ticks, of which the 60th to the 75th have moved inputs and poor outcomes."""
    platform = make_platform()
    seeded_ledger.fill(platform, flights_pipeline)
    return platform


def read(text: str) -> Series:
    """As Prometheus's own parser reads it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(pipeline: Pipeline, **labels: str) -> frozenset[tuple[str, str]]:
    return frozenset({"pipeline": pipeline.name, **labels}.items())


def test_every_value_is_the_newest_that_the_ledger_has(seeded: Platform, flights_pipeline: Pipeline) -> None:
    rows = seeded.ledger.all(Measurement, pipeline=flights_pipeline.name)
    series = read(exposition([flights_pipeline], seeded))
    kinds = {row.what for row in rows if row.value is not None}
    assert {"roc_auc", "kpi", "estimated_roc_auc", "volume", "feature_psi"} <= kinds
    for what in kinds:
        with_value = [row for row in rows if row.what == what and row.value is not None]
        newest = max(row.tick for row in with_value)
        moment = datetime(newest.year, newest.month, newest.day, 8, tzinfo=UTC).timestamp()  # 04:00 in New York, in summer
        assert series["mlprod_measured_tick_timestamp_seconds", of(flights_pipeline, what=what)] == moment
        mine = [row for row in with_value if row.tick == newest]
        assert series["mlprod_breached", of(flights_pipeline, what=what)] == sum(row.breached for row in mine)
        for row in mine:
            key = of(flights_pipeline, what=what, slice=row.slice)
            shown = what in FEW or row.breached
            assert series.get(("mlprod_measurement", key)) == (row.value if shown else None)
            assert series.get(("mlprod_measurement_low", key)) == (row.low if shown else None)
            assert series.get(("mlprod_measurement_high", key)) == (row.high if shown else None)


def test_outcomes_that_are_not_there_yet_hide_none_that_are(seeded: Platform, flights_pipeline: Pipeline) -> None:
    rows = seeded.ledger.all(Measurement, pipeline=flights_pipeline.name, what="roc_auc")
    assert max(rows, key=lambda row: row.tick).value is None, "the newest tick has no labels yet"
    newest = max((row for row in rows if row.value is not None), key=lambda row: row.tick)
    series = read(exposition([flights_pipeline], seeded))
    assert series["mlprod_measurement", of(flights_pipeline, what="roc_auc", slice="")] == newest.value


def test_a_feature_has_a_series_only_while_it_is_breached_and_never_too_many(
    seeded: Platform, flights_pipeline: Pipeline
) -> None:
    ledger, name = seeded.ledger, flights_pipeline.name
    features = [key for key, labels in read(exposition([flights_pipeline], seeded)) if ("what", "feature_psi") in labels]
    assert sorted(features) == ["mlprod_breached", "mlprod_measured_tick_timestamp_seconds"], "no feature is breached now"
    newest = max(row.tick for row in ledger.all(Measurement, pipeline=name, what="feature_psi"))

    def breach(n: int) -> None:
        for i in range(n):
            ledger.put(
                Measurement(
                    pipeline=name, tick=newest, what="feature_psi", slice=f"feature_{i:03}", value=0.5, n=9, breached=True,
                    model_version=1, high=0.25, at=seeded.clock.now(),
                )
            )  # fmt: skip

    breach(1)
    series = read(exposition([flights_pipeline], seeded))
    assert series["mlprod_measurement", of(flights_pipeline, what="feature_psi", slice="feature_000")] == 0.5
    breach(MOST_BREACHED + 30)
    series = read(exposition([flights_pipeline], seeded))
    shown = [key for key, labels in series if key == "mlprod_measurement" and ("what", "feature_psi") in labels]
    assert len(shown) == MOST_BREACHED
    assert series["mlprod_breached", of(flights_pipeline, what="feature_psi")] == MOST_BREACHED + 30


def test_ticks_rows_decisions_mails_and_steps_are_counted(seeded: Platform, flights_pipeline: Pipeline) -> None:
    ledger, name, at = seeded.ledger, flights_pipeline.name, datetime(2013, 8, 1, tzinfo=UTC)
    for i in range(3):
        ledger.put(Mail(key=f"{i}", pipeline=name, kind="alert", about=MailAbout.DECISION, subject="", recipients="", at=at))
    ledger.put(Mail(key="other", pipeline="another", kind="alert", about=MailAbout.DECISION, subject="", recipients="", at=at))
    run = {"pipeline": name, "step": "score", "succeeded": True}
    ledger.put(StepRun(subject="2013-07-29", at=at, seconds=4.0, waited_seconds=0.5, peak_mb=300.0, **run))
    ledger.put(StepRun(subject="2013-06-01", at=at - timedelta(days=1), seconds=9.0, **run))
    series = read(exposition([flights_pipeline], seeded))
    scoring = max(ledger.all(Scoring, pipeline=name), key=lambda row: row.tick)
    assert series["mlprod_scored_rows", of(flights_pipeline)] == scoring.rows
    assert series["mlprod_fallback_rows", of(flights_pipeline)] == 0
    assert series["mlprod_mails_total", of(flights_pipeline, kind="alert")] == 3
    actions = [decision.action for decision in ledger.all(Decision, pipeline=name)]
    for action in set(actions):
        assert series["mlprod_decisions_total", of(flights_pipeline, action=action)] == actions.count(action)
    assert series["mlprod_step_duration_seconds", of(flights_pipeline, step="score")] == 4.0
    assert series["mlprod_step_waited_seconds", of(flights_pipeline, step="score")] == 0.5
    assert series["mlprod_step_peak_bytes", of(flights_pipeline, step="score")] == 300e6
    assert series["mlprod_trainings", of(flights_pipeline, state="refused")] == 1
    assert series["mlprod_champion_version", of(flights_pipeline)] == 2


def test_alarms_are_told_apart_by_what_people_did(seeded: Platform, flights_pipeline: Pipeline) -> None:
    ledger, name = seeded.ledger, flights_pipeline.name
    fired = [decision for decision in ledger.all(Decision, pipeline=name) if decision.rules]
    ledger.put_instead(Decision, fired, pipeline=name)  # the last decided tick is one at which rules fire
    rules = {rule["rule"] for rule in max(fired, key=lambda decision: decision.tick).rules}
    series = read(exposition([flights_pipeline], seeded))
    assert series["mlprod_alarms", of(flights_pipeline, state="open")] == len(rules) > 0
    standing = {dict(labels)["rule"] for key, labels in series if key == "mlprod_alarm"}
    assert standing == rules
    assert series["mlprod_light", of(flights_pipeline)] >= 2
    ledger.put(
        *(
            Intervention(
                id=rule, pipeline=name, kind="mute", by="ada", at=seeded.clock.now(), subject=rule, rule=rule,
                until=seeded.clock.now() + timedelta(days=1),
            )
            for rule in rules
        )
    )  # fmt: skip
    series = read(exposition([flights_pipeline], seeded))
    assert series["mlprod_alarms", of(flights_pipeline, state="open")] == 0
    assert series["mlprod_alarms", of(flights_pipeline, state="muted")] == len(rules)


def test_an_empty_ledger_is_no_error(make_platform: Callable[..., Platform], flights_pipeline: Pipeline) -> None:
    assert read(exposition([flights_pipeline], make_platform()))["mlprod_light", of(flights_pipeline)] == 0


def test_the_command_writes_a_file_that_is_whole(
    seeded: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flights_pipeline: Pipeline
) -> None:
    monkeypatch.setenv("MLPROD_HOME", str(seeded.settings.home))
    monkeypatch.setenv("MLPROD_PIPELINES", str(seeded.settings.pipelines))
    target = tmp_path / "collected" / "mlprod.prom"
    target.parent.mkdir()
    done = CliRunner().invoke(app, ["metrics", "--to", str(target)])
    assert done.exit_code == 0, done.output
    assert read(target.read_text())["mlprod_champion_version", of(flights_pipeline)] == 2
    assert list(target.parent.iterdir()) == [target]
    assert read(CliRunner().invoke(app, ["metrics"]).output).keys() == read(target.read_text()).keys()


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are(seeded: Platform, flights_pipeline: Pipeline) -> None:
    at = datetime(2013, 8, 1, tzinfo=UTC)
    seeded.ledger.put(
        StepRun(
            pipeline=flights_pipeline.name, step="score", subject=str(date(2013, 7, 29)), at=at, seconds=4.0, succeeded=True,
            waited_seconds=1.0, peak_mb=1.0,
        ),
        Mail(key="1", pipeline=flights_pipeline.name, kind="alert", about=MailAbout.DECISION, subject="", recipients="", at=at),
    )  # fmt: skip
    fired = [decision for decision in seeded.ledger.all(Decision, pipeline=flights_pipeline.name) if decision.rules]
    seeded.ledger.put_instead(Decision, fired, pipeline=flights_pipeline.name)
    labels: dict[str, set[str]] = {}
    for name, given in read(exposition([flights_pipeline], seeded)):
        labels.setdefault(name, set()).update(key for key, _ in given)
    assert labels.keys() == GAUGES.keys() | {f"{name}_total" for name in COUNTERS}, "each metric shows itself"
    asked = list(queries(json.loads(DASHBOARD.read_text())))
    assert len(asked) > 20
    used = set()
    for query in asked:
        names = re.findall(r"\bmlprod_\w+", query)
        assert names, query
        for name in names:
            used.add(name)
            assert name in labels, f"no metric {name}: {query}"
            wanted = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", query)
            assert set(wanted) <= labels[name], query
    panels = json.loads(DASHBOARD.read_text())["panels"]
    legends = [(t["expr"], re.findall(r"{{(\w+)}}", t["legendFormat"])) for panel in panels for t in panel["targets"]]
    for query, shown in legends:
        (name,) = set(re.findall(r"\bmlprod_\w+", query))
        assert set(shown) <= labels[name], query
    assert {"mlprod_light", "mlprod_alarms", "mlprod_measurement", "mlprod_step_duration_seconds", "mlprod_mails_total"} <= used
