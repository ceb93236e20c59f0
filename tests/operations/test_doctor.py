"""The doctor names what is missing and what to do, and finds SQL that the engine cannot read."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mlprod_tasks import declaration as ml
from mlprod_tasks.operations.doctor import DiagnosisItem, _table_state, check_installation, read_sql
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.source_errors import TypeNotRead
from tests.support.paths import FLIGHTS
from tests.support.shop import order

SCHEDULE = "    schedule=ml.Schedule("


def examined(folder: Path, old: str = "", new: str = "", **more: str) -> dict[str, DiagnosisItem]:
    """The findings on an installation whose one pipeline differs from the shipped one."""
    written = FLIGHTS.read_text()
    assert old in written
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "flight_delays.py").write_text(written.replace(old, new) if old else written)
    given = {"MLPROD_HOME": str(folder / "var"), "MLPROD_PIPELINES": str(folder / "pipelines")}
    # No model registry is made: that takes seconds and is not what is tested here.
    platform = Platform(from_environment(given | {"MLFLOW_TRACKING_URI": "nonsense://nowhere"} | more))
    return {finding.what: finding for finding in check_installation(platform)}


def expression(sql: str) -> ml.Expression:
    return ml.Expression("made", sql, "int", "made up")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"label": {"sql": "arr_delay > > 15"}}, "label 'arr_delay > > 15': Parser Error"),
        ({"label": {"sql": "delay > 15"}}, "label 'delay > 15': .*delay"),
        ({"kpi": {"sql": "1000 * avg(money)"}}, "kpi '1000 .*money"),
        ({"features": expression("1 + + * 2")}, "features: Parser Error"),
        ({"features": expression("carrier + distance")}, "features: .*No function matches|Conversion|Binder"),
        (
            {
                "features": ml.Trailing(
                    "odd", "arrivals", {"dest": "dest"}, (ml.days(1),), (ml.Rate("odd", "arr_delay > late"),)
                )
            },
            "Rate 'odd' 'arr_delay > late' of Trailing 'odd': .*late",
        ),
        (
            {"gates": ml.Invariance("the airport must not matter", {"origin": "upper(origins)"})},
            "gate 'the airport must not matter': change of 'origin' .*origins",
        ),
    ],
    ids=[
        "a broken label",
        "a label of no column",
        "a KPI of no column",
        "a broken expression",
        "a sum of text and number",
        "a rate of no column",
        "a gate's change by no feature",
    ],
)
def test_sql_that_the_engine_cannot_read_is_named(part: dict, told: str, flights_pipeline: ml.Pipeline) -> None:
    ((name, change),) = part.items()
    old = getattr(flights_pipeline, name)
    changed = replace(flights_pipeline, **{name: (*old, change) if isinstance(old, tuple) else replace(old, **change)})
    with pytest.raises(ValueError, match=told):
        read_sql(changed)


def test_the_shipped_sql_is_read(flights_pipeline: ml.Pipeline) -> None:
    assert read_sql(flights_pipeline) == "the engine accepts label, KPI, value, features and gates"


def test_a_database_without_the_tables_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'business.db'}"
    with create_engine(url).begin() as connection:
        connection.execute(text("CREATE TABLE planes (tailnum TEXT)"))
    finding = examined(tmp_path, MLPROD_CONNECTION_BUSINESS=url)["flight_delays: connection 'business'"]
    assert not finding.ok
    assert "lacks the tables arrivals, flights, weather" in finding.message


def test_a_wrong_declaration_is_a_finding_not_an_end(tmp_path: Path) -> None:
    finding = examined(tmp_path, "ends=date(2013, 12, 31)", "end=date(2013, 12, 31)")["pipelines"]
    assert not finding.ok
    assert "did you mean 'ends'?" in finding.message


def test_each_thing_is_told_as_fine_or_with_what_to_do(tmp_path: Path) -> None:
    findings = examined(tmp_path)
    for what in ("python", "duckdb", "home folder", "ledger", "pipelines", "flight_delays: SQL"):
        assert findings[what].ok, findings[what]
    for what, remedy in {
        "mail": "MLPROD_CONNECTION_SMTP",
        "model registry": "MLFLOW_TRACKING_URI",
        "flight_delays: connection 'business'": "set MLPROD_CONNECTION_BUSINESS",
    }.items():
        assert not findings[what].ok
        assert remedy in findings[what].message


@pytest.mark.parametrize(
    ("times", "naive"),
    [
        (("2024-03-14 10:00:00", "2024-03-14 10:00:00Z"), True),
        (("2024-03-14",), True),
        (
            ("2024-03-14T10:00:00+01:00", "2024-03-14 10:00:00+01", "2024-03-14 10:00:00.5-0100", "2024-03-14 10:00:00Z", None),
            False,
        ),
    ],
)
def test_local_times_without_a_declared_zone_are_told(times, naive: bool, orders_pipeline, orders_in, make_platform) -> None:
    table = orders_pipeline().table("orders")
    settings = make_platform(shop=orders_in([order(i, at) for i, at in enumerate(times)])).settings
    state = _table_state(table, settings)
    assert ("Times of ordered_at have no time zone and are read as UTC: declare" in state) == naive
    assert _table_state(replace(table, source=replace(table.source, timezone="UTC")), settings) == "can be read"


def test_a_table_that_cannot_be_read_is_told(orders_pipeline, postgres_database, make_platform) -> None:
    import psycopg2

    with psycopg2.connect(postgres_database.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE orders (order_id int[], ordered_at timestamp, amount money, items int, state text, customer text)"
        )
    connection.close()
    table, settings = orders_pipeline().table("orders"), make_platform(shop=postgres_database).settings
    table = replace(table, columns=tuple(column for column in table.columns if column.name != "email"))
    with pytest.raises(TypeNotRead, match="'order_id': it is integer"):
        _table_state(table, settings)
    others = replace(table, key=("items",), columns=table.columns[1:])
    assert "Times of ordered_at have no time zone" in _table_state(others, settings)


def test_holidays_that_are_used_up_are_named(tmp_path: Path) -> None:
    def told(*days: str) -> DiagnosisItem:
        dates = ", ".join(f"date({day.replace('-0', '-').replace('-', ', ')})" for day in days)
        given = f"    monitoring=ml.Monitoring(holidays=ml.Holidays(({dates},))),\n"
        folder = tmp_path / days[-1]
        folder.mkdir()
        return examined(folder, SCHEDULE, given + SCHEDULE)["flight_delays: holidays"]

    assert told("2013-01-01", "2013-12-25") == DiagnosisItem(
        "flight_delays: holidays", False, "the last is 2013-12-25: declare those to come in Monitoring.holidays"
    )
    assert told("2013-12-25", "2013-12-31").ok  # the data ends with the year
