"""The shortest declarations, and what they stand for."""

from dataclasses import replace
from datetime import date, time, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.defaults import FALLBACK
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.source_text import source_text
from mlprod_tasks.declaration.standard import REGRESSION_WATCHES, REQUEST_WATCHES, WATCHES
from mlprod_tasks.operations.doctor import read_sql

SHORTEST = """
from datetime import date, time
from mlprod_tasks import declaration as ml

parcels = ml.Table("parcels", ml.Files("shop", "parcels.csv", "csv"), ("parcel_id",), time="sent_at", columns=(
    ml.Column("parcel_id", "text"),
    ml.Column("sent_at", "timestamp"),
    ml.Column("carrier", "text", "who carries it"),
    ml.Column("weight", "float"),
    ml.Column("order", "int"),
    ml.Column("sender", "text", personal="hash"),
    ml.Column("delivered_at", "timestamp", nullable=True),
    ml.Column("hours", "int", nullable=True, known_at="delivered_at"),
    ml.Column("damaged", "bool"),
))
pipeline = ml.Pipeline(
    name="late_parcels", alert_to=("logistics@example.com",), tables=(parcels,), entity="parcels",
    schedule=ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=date(2024, 1, 2)),
    label=ml.Label("parcels", {"parcel_id": "parcel_id"}, "hours > 48", delay=ml.days(5)),
)
"""


def shortest(**changed: Any) -> ml.Pipeline:
    found: dict[str, Any] = {}
    exec(SHORTEST, found)  # as its file would be
    return replace(found["pipeline"], **changed) if changed else found["pipeline"]


def refused(**changed: Any) -> tuple[str, ...]:
    """The problems of a declaration that is refused."""
    with pytest.raises(ValidationError) as error:
        shortest(**changed)
    (one,) = error.value.errors()
    problems: tuple[str, ...] = one["ctx"]["error"].problems
    return problems


def test_a_use_case_fits_into_twenty_five_lines_and_the_engine_reads_it() -> None:
    assert len(SHORTEST.strip().splitlines()) < 25
    pipeline = shortest()
    assert read_sql(pipeline)
    assert pipeline.doc == "hours > 48, for every row of parcels"


def test_features_are_what_is_known_of_the_row_in_time() -> None:
    pipeline = shortest()
    assert {feature.name: feature.kind for feature in pipeline.features if isinstance(feature, ml.Expression)} == {
        "carrier": "text", "weight": "float", "order": "int", "damaged": "bool", "weekday": "int", "hour": "int",
    }  # fmt: skip
    assert pipeline.fallback == ml.RateTable(by=("carrier",))


def test_a_column_that_the_label_reads_is_no_feature() -> None:
    label = ml.Label("parcels", {"parcel_id": "parcel_id"}, "damaged", delay=ml.days(1))
    found: dict[str, Any] = {}
    exec(SHORTEST.replace('"hours > 48", delay=ml.days(5)', '"damaged", delay=ml.days(1)'), found)
    assert found["pipeline"].label == label
    assert "damaged" not in found["pipeline"].feature_names


@pytest.mark.parametrize(
    ("delay", "gap"), [(ml.days(5), 5), (ml.hours(30), 2), (ml.hours(1), 1)], ids=["days", "hours", "hour"]
)
def test_windows_leave_the_delay_of_the_label(delay: timedelta, gap: int) -> None:
    found: dict[str, Any] = {}
    exec(SHORTEST.replace("delay=ml.days(5)", f"delay=ml.hours({delay / timedelta(hours=1)})"), found)
    assert found["pipeline"].split == ml.Split(validation=ml.days(14), test=ml.days(14), gap=ml.days(gap))


def test_what_is_declared_stays() -> None:
    declared = {
        "doc": "Late?",
        "features": (ml.Expression("heavy", "weight > 10", "int", "-"),),
        "split": ml.Split(validation=ml.days(7), test=ml.days(7), gap=ml.days(6)),
        "fallback": ml.RateTable(by=("heavy",)),
        "value": ml.CostMatrix(true_positive=2, false_positive=-1),
        "gates": (ml.AtLeast("roc_auc", 0.9),),
        "kpi": ml.Kpi("k", "avg(value)", "-"),
    }
    pipeline = shortest(**declared)
    assert {name: getattr(pipeline, name) for name in declared} == declared


SEEN = ml.Trailing("seen", "parcels", {"carrier": "carrier"}, (ml.days(7),), (ml.Count(),))
BUSY = ml.Expression("busy", "seen_count_7d > 3", "int", "a busy week")


def test_the_fallback_rests_on_no_feature_that_may_be_missing() -> None:
    heavy = ml.Expression("heavy", "weight > 10", "bool", "a heavy one")
    assert shortest(features=(SEEN, BUSY, heavy), fallback=FALLBACK).fallback == ml.RateTable(by=("heavy",))
    chosen = shortest(fallback=ml.RateTable(by=(), smoothing=5.0)).fallback
    assert chosen == ml.RateTable(by=("carrier",), smoothing=5.0)


def test_where_nothing_groups_rows_the_fallback_has_one_group() -> None:
    kg = ml.Expression("kg", "weight", "float", "-")
    for features in ((SEEN,), (SEEN, BUSY), (SEEN, kg)):
        pipeline = shortest(features=features, fallback=FALLBACK)
        assert pipeline.fallback == ml.RateTable(by=())
        assert read_sql(pipeline)


def test_a_look_up_of_no_table_is_the_only_problem() -> None:
    homes = ml.Lookup("carriers", {"carrier": "name"}, {"home": "land"})
    assert [problem[:7] for problem in refused(features=(homes,), fallback=FALLBACK)] == ["Lookup "]


def test_with_watches_alone_rules_are_the_standard_ones_about_them() -> None:
    watches = (ml.Watch("roc_auc", low=0.6), ml.Watch("volume", low=0.2))
    assert [rule.name for rule in shortest(watches=watches).rules] == ["volume moved", "ranking is poor"]


def test_with_rules_alone_watches_are_the_standard_ones() -> None:
    rules = (ml.Rule("poor", "mae", "retrain"), ml.Rule("silence", "online_rows", "alert"), ml.Rule("off", "bias", "alert"))
    found: dict[str, Any] = {"rules": rules}
    written = 'task="regression", serving=ml.Serving(), rules=rules,'
    exec(SHORTEST.replace("pipeline = ml.Pipeline(", f"pipeline = ml.Pipeline({written}")
         .replace('"hours > 48", delay=ml.days(5)', '"hours", delay=ml.days(5), kind="number"'), found)  # fmt: skip
    pipeline = found["pipeline"]
    assert (pipeline.watches, pipeline.rules) == ((*REGRESSION_WATCHES, *REQUEST_WATCHES), rules)
    (problem,) = refused(rules=(ml.Rule("poor", "log_loss", "retrain"),))
    assert problem.endswith("declare them, as in watches=(*ml.WATCHES, ml.Watch('log_loss', ...))")


def test_intervals_of_a_yes_or_no_are_refused_without_a_word_of_watches() -> None:
    assert [problem[:18] for problem in refused(model=ml.Model(coverage=0.9))] == ["model.coverage 0.9"]


@pytest.mark.parametrize(("cron", "days"), [("0 4 1 1 *", 366), ("0 4 1 */3 *", 182)], ids=["yearly", "quarterly"])
def test_windows_are_at_least_one_tick(cron: str, days: int) -> None:
    found: dict[str, Any] = {}
    daily = 'ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=date(2024, 1, 2))'
    exec(SHORTEST.replace(daily, f'ml.Schedule.cron("{cron}", "Europe/Zurich", date(2024, 1, 1))'), found)
    assert found["pipeline"].windows.test == ml.days(days)


def test_a_regression_gets_its_own() -> None:
    label = ml.Label("parcels", {"parcel_id": "parcel_id"}, "hours", delay=ml.days(5), kind="number")
    found: dict[str, Any] = {}
    exec(SHORTEST.replace("pipeline = ml.Pipeline(", 'pipeline = ml.Pipeline(task="regression",')
         .replace('"hours > 48", delay=ml.days(5)', '"hours", delay=ml.days(5), kind="number"'), found)  # fmt: skip
    pipeline = found["pipeline"]
    assert (pipeline.label, pipeline.value) == (label, ml.PredictionValue())
    assert pipeline.fallback == ml.MeanTable(by=("carrier",))
    assert {type(gate) for gate in pipeline.gates} == {ml.BetterThanBaseline, ml.NotWorseThanChampion, ml.NoLeakageSuspicion}
    assert (pipeline.watches, pipeline.kpi.sql) == (REGRESSION_WATCHES, "avg(outcome)")


def test_a_population_gets_what_it_was_seen_with() -> None:
    found: dict[str, Any] = {}
    exec(SHORTEST.replace('entity="parcels"', 'entity=ml.Population("carriers", "parcels", ("carrier",), within=ml.days(30))')
         .replace('ml.Label("parcels", {"parcel_id": "parcel_id"}, "hours > 48", delay=ml.days(5))',
                  'ml.Outcome("parcels", {"carrier": "carrier"}, ml.Any(), within=ml.days(7))'), found)  # fmt: skip
    pipeline = found["pipeline"]
    assert pipeline.feature_names[0] == "weekday"
    (seen,) = (feature for feature in pipeline.features if isinstance(feature, ml.Trailing))
    assert {"seen_count_7d", "seen_hours_since_last_28d", "seen_sum_weight_91d", "seen_sum_order_91d"} <= set(names_of(seen))
    assert pipeline.fallback == ml.RateTable(by=("weekday",))
    assert pipeline.split.gap == ml.days(7)
    assert read_sql(pipeline)


def test_keys_that_are_scored_every_week_have_the_month_and_a_fallback_by_what_is_looked_up() -> None:
    found: dict[str, Any] = {}
    exec(SHORTEST.replace('entity="parcels"', 'entity=ml.Population("carriers", "parcels", ("carrier",), within=ml.days(30))')
         .replace('starts=date(2024, 1, 2)', 'starts=date(2024, 1, 1), every="week", on="monday"')
         .replace('ml.Label("parcels", {"parcel_id": "parcel_id"}, "hours > 48", delay=ml.days(5))',
                  'ml.Outcome("parcels", {"carrier": "carrier"}, ml.Any(), within=ml.days(7))'), found)  # fmt: skip
    pipeline = found["pipeline"]
    assert [one.name for one in pipeline.features if isinstance(one, ml.Expression)] == ["month"]
    assert pipeline.fallback == ml.RateTable(by=("month",))
    assert read_sql(pipeline)
    columns = (ml.Column("carrier", "text"), ml.Column("land", "text"))
    houses = ml.Table("houses", ml.Database("parcels", "houses"), key=("carrier",), columns=columns)
    features = (*pipeline.features, ml.Lookup("houses", {"carrier": "carrier"}, {"home": "land"}))
    both = replace(pipeline, tables=(*pipeline.tables, houses), features=features, fallback=FALLBACK)
    assert both.fallback == ml.RateTable(by=("home",))


def test_requests_add_their_watches() -> None:
    assert shortest(serving=ml.Serving()).watches == (*WATCHES, *REQUEST_WATCHES)


@pytest.mark.parametrize(("hours", "ticks"), [(1, 24), (6, 4)])
def test_nobody_asking_at_night_is_no_alarm_of_hourly_ticks(hours: int, ticks: int) -> None:
    hourly = replace(shortest().schedule, at=time(0, 15), every="hour", hours=hours)
    rules = {rule.watch: rule for rule in shortest(schedule=hourly, serving=ml.Serving()).rules}
    assert (rules["online_rows"].breaches, rules["online_rows"].of) == (ticks, ticks)
    assert rules["online_errors"].breaches == 1
    daily = {rule.watch: rule for rule in shortest(serving=ml.Serving()).rules}
    assert daily == {rule.watch: rule for rule in (*ml.RULES, *ml.REQUEST_RULES)}


def test_in_full_it_declares_the_same() -> None:
    found: dict[str, Any] = {}
    exec(source_text(shortest()), found)
    assert found["pipeline"] == shortest()
    assert found["pipeline"].schedule == ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=date(2024, 1, 2))
