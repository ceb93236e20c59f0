"""Weekly ticks of a table that is known a week ahead: the same features in batch, by the printed SQL and on request."""

from dataclasses import replace
from datetime import date

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.features import sql
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.feature_shop import put

MONDAY = date(2013, 3, 11)  # the clock was put forward the day before


def of_weeks(pipeline: Pipeline) -> Pipeline:
    """The example with a tick every Monday, and a store that is filled once a week."""
    schedule = replace(pipeline.schedule, starts=date(2013, 1, 7), ends=date(2013, 12, 30), every="week", on="monday")
    serving = ml.Serving(stale_after=ml.days(8), look_back=ml.days(15), checked_rows=500)
    gates = (ml.AtLeast("roc_auc", 0.6),)
    return replace(
        pipeline, schedule=schedule, serving=serving, gates=gates, split=ml.Split(ml.days(28), ml.days(28), ml.days(7))
    )


@pytest.fixture(scope="module")
def weeks(
    tmp_path_factory: pytest.TempPathFactory, flights_pipeline: Pipeline, real_year: Platform
) -> tuple[Pipeline, Platform]:
    """The tables of the example in weekly partitions, up to the end of March."""
    pipeline = of_weeks(flights_pipeline)
    platform = Platform(from_environment({"MLPROD_HOME": str(tmp_path_factory.mktemp("weeks"))}))
    for table in pipeline.tables:
        rows = real_year.lake.rows(f"{pipeline.name}/raw/{table.name}")
        if table.time is not None:
            rows = rows.filter(rows["tick"].cast("int32").to_numpy() < (date(2013, 4, 1) - date(1970, 1, 1)).days)
        put(platform, pipeline, table.name, rows)
    return pipeline, platform


def test_batch_gives_what_the_printed_sql_says(weeks: tuple[Pipeline, Platform]) -> None:
    pipeline, platform = weeks
    ticks = pipeline.schedule.range(MONDAY)
    made = features.build(pipeline, ticks, platform).table
    assert made.num_rows > 5000, "the flights of a week"
    assert made.equals(sql.run(pipeline, ticks, platform))


def test_requests_get_the_features_of_the_batch(weeks: tuple[Pipeline, Platform]) -> None:
    pipeline, platform = weeks
    fill_online(pipeline, pipeline.schedule.tick(MONDAY), platform)
    for monday in (MONDAY, date(2013, 3, 4)):
        checked = compared(pipeline, pipeline.schedule.tick(monday), platform)
        assert (checked.rows, checked.share, checked.differing, checked.unanswered) == (500, 0.0, {}, ""), checked.examples


def test_a_store_that_is_stale_before_it_is_filled_again_is_refused(flights_pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="1 day, 6:00:00 is shorter than the time between two ticks"):
        replace(of_weeks(flights_pipeline), serving=ml.Serving(stale_after=ml.hours(30)))
