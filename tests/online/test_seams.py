"""What the service rests on: light on the way of a request, declared rules, the command line."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.recorded import digest_of, read, text_of
from mlprod_tasks.platform import Platform
from tests.support.paths import REPOSITORY

WAY = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mlprod_tasks.declaration import load
from mlprod_tasks.online import OnlineFeatures
from mlprod_tasks.platform import platform
light = {"pandas", "pyarrow", "numpy", "numba", "sqlalchemy", "deltalake", "lightgbm", "sklearn"} & set(sys.modules)
online = OnlineFeatures(load(Path("pipelines/flight_delays.py")), platform().online_store)
online.fields.read({})
for name in [name for name in sys.modules if name.split(".")[0] in ("duckdb", "_duckdb", "sqlglot")]:
    sys.modules[name] = None  # an import of it fails from here on
made = online.row({
    "flight_id": "x", "sched_dep_at": "2013-06-24T12:00:00Z", "sched_arr_at": "2013-06-24T14:00:00Z", "carrier": "UA",
    "tailnum": None, "origin": "EWR", "dest": "IAH", "distance": 1400,
}, datetime(2013, 6, 24, 8, tzinfo=UTC))
heavy = {"pandas", "pyarrow", "numba", "sqlalchemy", "deltalake"} & set(sys.modules)
print(sorted(light | heavy), made.values[4:8], made.answer)
"""


def test_a_request_of_compiled_expressions_needs_no_engine_and_no_frames(tmp_path: Path) -> None:
    environment = {"MLPROD_HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", WAY], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.stdout == "[] (8, 480, 1, 120.0) fallback\n", done.stderr


def test_serving_is_kept_with_the_declaration_and_a_declaration_without_it_is_read_as_before(
    flights_pipeline: Pipeline,
) -> None:
    pipeline = replace(
        flights_pipeline, serving=ml.Serving(stale="default", defaults={"plane_seats": 150}, look_back=ml.days(3))
    )
    assert read(text_of(pipeline)) == pipeline
    assert digest_of(text_of(pipeline)) == pipeline.digest
    assert read(text_of(replace(pipeline, serving=None))).serving is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"stale_after": ml.hours(0)}, "stale_after 0:00:00 must be positive"),
        ({"look_back": ml.days(-1)}, "look_back -1 day, 0:00:00 must lie between"),
        ({"look_back": ml.days(400)}, "look_back 400 days, 0:00:00 must lie between"),
        ({"checked_rows": -1}, "checked_rows -1 must lie between"),
        ({"defaults": {"carrier": "UA"}}, "'carrier' is no look-up, as-of or trailing feature"),
        ({"defaults": {"plane_seats": 1.5}}, "'plane_seats' is int, which 1.5 is not"),
        ({"defaults": {"weather_temp": 60}}, "'weather_temp' is float, which 60 is not"),
        ({"defaults": {"carrier_count_7d": 1.0}}, "'carrier_count_7d' is int"),
        ({"defaults": {"carrier_late_rate_7d": 0}}, "'carrier_late_rate_7d' is float"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_served_is_refused_when_it_is_declared(
    wrong: dict[str, Any], told: str, flights_pipeline: Pipeline
) -> None:
    with pytest.raises(ValueError, match="serving") as error:
        replace(flights_pipeline, serving=ml.Serving(**wrong))
    assert told in str(error.value)


def test_the_store_is_filled_and_checked_from_the_shell(
    real_year: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlprod_tasks.cli.main import app

    monkeypatch.setenv("MLPROD_HOME", str(real_year.settings.home))
    monkeypatch.setenv("MLPROD_ONLINE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    monkeypatch.setenv("MLPROD_PIPELINES", str(REPOSITORY / "pipelines"))
    run = CliRunner()
    filled = run.invoke(app, ["online", "fill", "flight_delays", "--tick", "2013-02-01"])
    assert filled.exit_code == 0, filled.output
    assert "generation 1 at 2013-02-01" in filled.output
    assert "written and 0 removed" in filled.output
    assert "arrivals version" in filled.output
    checked = run.invoke(app, ["online", "check", "flight_delays", "--tick", "2013-02-01"])
    assert checked.exit_code == 0, checked.output
    assert "0.00% of " in checked.output
    assert "8 expressions are compiled, 0 computed by DuckDB" in checked.output
    early = run.invoke(app, ["online", "check", "flight_delays", "--tick", "2013-01-20"])
    assert early.exit_code == 1
    assert "nothing could be compared" in early.output
