"""Scoring a tick: whoever answers, the rows are there once, in the lake and in the business database."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import text

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Tick
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Promotion, Publication, Scoring
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.scoring.score import NoModel, score
from tests.support.processes import PROCESSES

DAY = "2024-02-11"


class Scored:
    """A shop with a champion that publishes to a business database."""

    def __init__(self, shop, business: str) -> None:
        settings = replace(shop.platform.settings, connection=lambda name: business)
        self.platform = Platform(settings)
        self.pipeline = replace(shop.pipeline, publish=ml.Publish("business", "scores"))
        self.business = business

    @property
    def tick(self) -> Tick:
        return self.pipeline.schedule.tick(DAY)

    def in_the_lake(self) -> list[tuple]:
        name = names.predictions(self.pipeline)
        if not self.platform.lake.exists(name) or not (files := self.platform.lake.files(name)):
            return []
        rows = f"read_parquet({listed(files)})"
        return duckdb.sql(f"SELECT order_id, score, decision, fallback, model_version FROM {rows} ORDER BY 1").fetchall()

    def published(self) -> list[tuple]:
        engine = open_database(self.business)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT order_id, score, decision, fallback, model_version FROM scores ORDER BY 1"))
            return [(key, value, bool(yes), bool(marked), version) for key, value, yes, marked, version in rows]


@pytest.fixture
def scored(promoted_shop, tmp_path: Path) -> Scored:
    return Scored(promoted_shop, f"sqlite:///{tmp_path / 'business.db'}")


def test_the_champion_scores_every_row_into_lake_and_business_database(scored: Scored) -> None:
    done = score(scored.pipeline, scored.tick, scored.platform)
    rows = scored.in_the_lake()
    assert (done.rows, done.model_version, done.fallback_reason) == (len(rows), 1, None)
    assert len(rows) == 120
    assert rows == scored.published()
    assert all(0 <= value <= 1 and not marked for _, value, _, marked, _ in rows)
    entry = scored.platform.ledger.get(Scoring, "returns", scored.tick.name)
    assert entry is not None
    assert (entry.rows, entry.fallback_rows, entry.features_digest) == (120, 0, scored.pipeline.digest)


def test_scoring_twice_leaves_the_same_rows(scored: Scored) -> None:
    score(scored.pipeline, scored.tick, scored.platform)
    once = scored.in_the_lake()
    score(scored.pipeline, scored.tick, scored.platform)
    assert scored.in_the_lake() == once == scored.published()


def test_predictions_reach_postgresql_the_same(promoted_shop, postgres_database: str) -> None:
    scored = Scored(promoted_shop, postgres_database)
    score(scored.pipeline, scored.tick, scored.platform)
    score(scored.pipeline, scored.tick, scored.platform)
    assert scored.published() == scored.in_the_lake()
    assert len(scored.published()) == 120


def test_without_any_model_the_task_fails_and_says_what_to_do(shop) -> None:
    with pytest.raises(NoModel, match="returns has no champion: train a model first"):
        score(shop.pipeline, shop.tick(DAY), shop.platform)
    assert not shop.platform.lake.exists(names.predictions(shop.pipeline))


def test_with_a_broken_artifact_the_fallback_answers_and_is_marked(shop, tmp_path: Path) -> None:
    assert shop.promoted("one").moved
    scored = Scored(shop, f"sqlite:///{tmp_path / 'business.db'}")
    for booster in [*scored.platform.settings.home.rglob("booster.txt")]:
        booster.write_text("tree\n")
    done = score(scored.pipeline, scored.tick, scored.platform)
    assert done.fallback_reason is not None
    assert "BrokenArtifact" in done.fallback_reason
    assert all(marked for _, _, _, marked, _ in scored.published())
    assert len(scored.published()) == 120


def test_with_the_registry_down_the_fallback_answers_from_the_ledger(scored: Scored) -> None:
    away = Platform(replace(scored.platform.settings, mlflow_url="sqlite:////nowhere/at/all/mlflow.db"))
    done = score(scored.pipeline, scored.tick, away)
    assert done.fallback_reason is not None
    rows = scored.in_the_lake()
    assert all(marked for _, _, _, marked, _ in rows)
    assert len({value for _, value, _, _, _ in rows}) > 1, "the rates differ by group"


def test_where_no_feature_groups_rows_the_fallback_answers_all_with_one_rate(shop, tmp_path: Path) -> None:
    amount = ml.Expression("amount", "amount", "float", "price")
    groupless = shop.declared(
        features=(amount,), fallback=ml.RateTable(by=()), model=replace(shop.pipeline.model, categorical=())
    )
    assert groupless.promoted("one").moved
    scored = Scored(groupless, f"sqlite:///{tmp_path / 'business.db'}")
    away = Platform(replace(scored.platform.settings, mlflow_url="sqlite:////nowhere/at/all/mlflow.db"))
    assert score(scored.pipeline, scored.tick, away).fallback_reason is not None
    rows = scored.in_the_lake()
    (rate,) = {value for _, value, _, _, _ in rows}
    assert len(rows) == 120
    assert 0.1 < rate < 0.6


def test_features_that_the_model_does_not_know_are_answered_by_the_fallback(scored: Scored) -> None:
    fewer = replace(scored.pipeline, features=scored.pipeline.features[:2])
    done = score(fewer, scored.tick, scored.platform)
    assert done.fallback_reason is not None
    assert "ModelInputError" in done.fallback_reason


def test_the_champion_takes_its_place_again_when_the_cause_is_mended(scored: Scored) -> None:
    away = Platform(replace(scored.platform.settings, mlflow_url="sqlite:////nowhere/at/all/mlflow.db"))
    score(scored.pipeline, scored.tick, away)
    score(scored.pipeline, scored.tick, scored.platform)
    assert not any(marked for _, _, _, marked, _ in scored.published())
    assert scored.platform.ledger.get(Scoring, "returns", scored.tick.name).fallback_rows == 0


def test_as_of_takes_the_version_that_was_champion_at_that_tick(scored: Scored) -> None:
    (promotion,) = scored.platform.ledger.all(Promotion)
    assert score(scored.pipeline, scored.tick, scored.platform, as_of=True).model_version == promotion.model_version
    before = scored.pipeline.schedule.tick("2024-02-09")
    with pytest.raises(NoModel, match="no champion at 2024-02-09"):
        score(scored.pipeline, before, scored.platform, as_of=True)


def test_a_tick_without_rows_is_scored_empty(scored: Scored) -> None:
    score(scored.pipeline, scored.tick, scored.platform)
    none = scored.platform.lake.rows("returns/raw/orders").slice(0, 0)
    ticks = scored.pipeline.schedule.range(DAY)
    scored.platform.lake.replace_ticks("returns/raw/orders", ticks, none)
    assert score(scored.pipeline, scored.tick, scored.platform).rows == 0
    assert scored.in_the_lake() == scored.published() == []


def test_a_tick_that_was_not_ingested_is_scored_with_a_warning_that_names_the_tables(scored: Scored, caplog) -> None:
    tables = [table.name for table in scored.pipeline.tables]
    published = [
        Publication(
            pipeline=scored.pipeline.name, table_name=name, tick=scored.tick.name, rows=1, delta_version=0, at=scored.tick.end
        )
        for name in tables
    ]
    scored.platform.ledger.put(published[0])
    assert workflows.score(scored.pipeline, [scored.tick], scored.platform) > 0
    assert f"'{tables[1]}' is not ingested for this tick" in caplog.text
    caplog.clear()
    scored.platform.ledger.put(*published[1:])
    workflows.score(scored.pipeline, [scored.tick], scored.platform)
    assert "not ingested" not in caplog.text


def score_and_die(home: str, business: str) -> None:
    from mlprod_tasks.scoring import score as step

    step._publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    score_anew(home, business)


def started(step: Callable[[str, str], None], scored: Scored) -> Any:
    process = PROCESSES.Process(target=step, args=(str(scored.platform.settings.home), scored.business))
    process.start()
    return process


def test_killed_between_lake_and_business_database_a_rerun_heals(scored: Scored) -> None:
    died = started(score_and_die, scored)
    died.join()
    assert died.exitcode == -signal.SIGKILL
    assert len(scored.in_the_lake()) == 120
    assert scored.platform.ledger.get(Scoring, "returns", scored.tick.name) is None, "nobody is told that it is done"
    score(scored.pipeline, scored.tick, scored.platform)
    assert scored.in_the_lake() == scored.published()
    assert len(scored.published()) == 120


def score_anew(home: str, business: str) -> None:
    from tests.support.shop import SHOP

    settings = replace(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home}), connection=lambda name: business)
    pipeline = replace(SHOP, publish=ml.Publish("business", "scores"))
    score(pipeline, pipeline.schedule.tick(DAY), Platform(settings))


def test_four_processes_on_the_same_tick_leave_it_once(scored: Scored) -> None:
    processes = [started(score_anew, scored) for _ in range(4)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert scored.in_the_lake() == scored.published()
    assert len(scored.published()) == 120


def test_as_of_the_fallback_that_answers_is_the_one_of_that_tick(shop, tmp_path: Path) -> None:
    assert shop.promoted("one", "2024-02-10").moved
    assert shop.declared(gates=(ml.AtLeast("roc_auc", 0.5),)).promoted("two", "2024-02-12").moved
    scored = Scored(shop, f"sqlite:///{tmp_path / 'business.db'}")
    away = Platform(replace(scored.platform.settings, mlflow_url="sqlite:////nowhere/at/all/mlflow.db"))
    asked = [score(scored.pipeline, scored.tick, away, as_of=as_of) for as_of in (True, False)]
    assert [done.model_version for done in asked] == [1, 2]
    assert all(done.fallback_reason for done in asked)
