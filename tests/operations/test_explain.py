"""One prediction explained: what it was made of, what made it, and whether that still gives the same score."""

import json
import shutil
from dataclasses import asdict, replace
from datetime import UTC, datetime

import duckdb
import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.operations import explanation_text
from mlprod_tasks.operations.explain import NoSuchPrediction, explain
from mlprod_tasks.platform import names
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Publication
from mlprod_tasks.scoring.score import score
from tests.support.clock import SetClock

DAY, OTHER = "2024-02-11", "2024-02-12"


@pytest.fixture
def scored(promoted_shop):
    score(promoted_shop.pipeline, promoted_shop.tick(DAY), promoted_shop.platform)
    return promoted_shop


def rows(shop, day: str = DAY) -> list[dict]:
    files = listed(shop.platform.lake.files(names.predictions(shop.pipeline), shop.pipeline.schedule.range(day)))
    return duckdb.sql(f"SELECT * FROM read_parquet({files}) ORDER BY score").to_arrow_table().to_pylist()


def test_it_tells_the_stored_score_with_the_features_and_what_made_it(scored):
    wanted = rows(scored)[-1]
    told = explain(scored.pipeline, [wanted["order_id"]], scored.platform)
    assert (told.score, told.decision, told.fallback, told.model_version) == (wanted["score"], wanted["decision"], False, 1)
    assert told.recomputed == wanted["score"]
    assert {part.feature for part in told.parts} == set(scored.pipeline.feature_names)
    assert next(part.value for part in told.parts if part.feature == "items") == str(wanted["items"] or "missing")
    assert (told.origin.training_id, told.origin.gates_passed, told.origin.gates) == ("one", 3, 3)
    assert told.origin.reason == "a test"
    assert told.origin.run_id == scored.platform.registry.champion(scored.pipeline).run_id
    assert [source.table for source in told.sources] == ["returns/raw/orders"]
    assert told.predictions_version == scored.platform.lake.version("returns/predictions")


def test_a_source_is_told_at_the_version_that_was_there_when_the_row_was_scored(promoted_shop):
    noon = datetime(2024, 2, 11, 12, tzinfo=UTC)
    for day, version, at in (("2024-02-10", 4, noon.replace(day=10)), (DAY, 7, noon), (OTHER, 9, noon.replace(hour=13))):
        promoted_shop.platform.ledger.put(
            Publication(
                pipeline="returns",
                table_name="orders",
                tick=promoted_shop.tick(day).name,
                rows=120,
                delta_version=version,
                at=at,
            )
        )
    then = replace(promoted_shop.platform, clock=SetClock(noon.replace(minute=30)))
    score(promoted_shop.pipeline, promoted_shop.tick(DAY), then)
    told = explain(promoted_shop.pipeline, [rows(promoted_shop)[0]["order_id"]], promoted_shop.platform)
    assert told.sources == (explanation_text.SourceTable("returns/raw/orders", 7, 1),)


def test_contributions_sum_to_the_score(scored):
    champion = scored.platform.registry.load(scored.pipeline, 1)
    for wanted in rows(scored)[::40]:
        told = explain(scored.pipeline, [wanted["order_id"]], scored.platform)
        total = told.base_log_odds + sum(part.log_odds for part in told.parts)
        assert total == pytest.approx(told.log_odds)
        assert champion.calibration(np.array([1 / (1 + np.exp(-total))]))[0] == pytest.approx(wanted["score"])


def test_the_outcome_is_told_once_it_is_known(scored):
    settled = duckdb.sql(
        "SELECT order_id, returned FROM read_parquet("
        + listed(scored.platform.lake.files("returns/raw/returns"))
        + f") WHERE order_id LIKE '{DAY}-%'"
    ).fetchall()
    key, came_back = settled[0]
    told = explain(scored.pipeline, [key], scored.platform)
    assert told.outcome is came_back
    early = replace(scored.platform, clock=SetClock(datetime(2024, 2, 11, 12, tzinfo=UTC)))
    assert explain(scored.pipeline, [key], early).outcome is None
    assert "outcome    not known yet" in explanation_text.text(explain(scored.pipeline, [key], early))


def test_the_fallbacks_answer_is_explained_as_its_own(promoted_shop):
    registry = promoted_shop.platform.registry
    registry.set_alias("returns", "champion", 1)
    shutil.rmtree(promoted_shop.platform.settings.home / "models", ignore_errors=True)
    registry.client.set_model_version_tag("returns", "1", "mlprod.digest", "0" * 64)
    score(promoted_shop.pipeline, promoted_shop.tick(DAY), promoted_shop.platform)
    wanted = rows(promoted_shop)[0]
    told = explain(promoted_shop.pipeline, [wanted["order_id"]], promoted_shop.platform)
    assert (told.fallback, told.learner, told.recomputed) == (True, "rate table", wanted["score"])
    assert "BrokenArtifact" in told.fallback_reason
    assert [part.feature for part in told.parts] == ["channel"]
    assert told.parts[0].probability is not None
    assert "the fallback of version 1" in explanation_text.text(told)


def test_a_model_without_exact_contributions_says_how_effects_were_had(shop):
    declared = shop.declared(
        model=ml.Model(candidates=(ml.NeuralNet(max_epochs=3),), threads=1, seed=3), gates=(ml.AtLeast("roc_auc", 0.5),)
    )
    declared.promoted("net")
    score(declared.pipeline, declared.tick(DAY), declared.platform)
    wanted = max(rows(declared), key=lambda row: row["amount"] or 0)
    told = explain(declared.pipeline, [wanted["order_id"]], declared.platform)
    assert told.base_log_odds is None
    assert "the training rows' median" in told.way
    effects = {part.feature: part.probability for part in told.parts}
    # The dearest order: with a usual price it would be less likely to come back.
    assert effects["amount"] > 0
    assert all(part.log_odds is None for part in told.parts)
    shutil.rmtree(declared.platform.settings.home / "trainings")
    assert "the training set is gone" in explain(declared.pipeline, [wanted["order_id"]], declared.platform).way


def test_of_a_model_per_segment_the_one_that_answered_is_explained(shop):
    model = replace(shop.pipeline.model, segment_by="channel", least_segment_rows=500)
    declared = shop.declared(model=model, gates=(ml.AtLeast("roc_auc", 0.5),))
    declared.promoted("parts")
    score(declared.pipeline, declared.tick(DAY), declared.platform)
    whole = declared.platform.registry.load(declared.pipeline, 1)
    by_channel = {row["channel"]: row for row in rows(declared)}
    of_web = explain(declared.pipeline, [by_channel["web"]["order_id"]], declared.platform)
    assert (of_web.learner, of_web.threshold) == ("lightgbm of its channel", whole.parts["web"].threshold)
    assert of_web.recomputed == by_channel["web"]["score"]
    without = explain(declared.pipeline, [by_channel[None]["order_id"]], declared.platform)
    assert (without.learner, without.threshold) == ("lightgbm of no own segment", whole.overall.threshold)


def test_a_score_that_the_model_does_not_give_is_said(scored):
    other = scored.declared(model=replace(scored.pipeline.model, seed=8), gates=(ml.AtLeast("roc_auc", 0.5),))
    other.promoted("two", OTHER)
    table = scored.platform.lake.rows("returns/predictions")
    forged = table.set_column(table.column_names.index("model_version"), "model_version", [[2] * table.num_rows])
    forged = forged.cast(table.schema)
    scored.platform.lake.replace_ticks("returns/predictions", scored.pipeline.schedule.range(DAY), forged)
    told = explain(other.pipeline, [rows(scored)[0]["order_id"]], other.platform)
    assert told.recomputed != told.score
    assert "score 2024-02-11 again" in explanation_text.text(told)
    assert told.scored_at is None  # the ledger tells of another scoring


def test_a_key_that_is_nowhere_or_elsewhere_or_too_short_is_told(scored):
    score(scored.pipeline, scored.tick(OTHER), scored.platform)
    key = rows(scored)[0]["order_id"]
    with pytest.raises(NoSuchPrediction, match=f"was not scored at {OTHER}, but at {DAY}: give --tick {DAY}"):
        explain(scored.pipeline, [key], scored.platform, scored.tick(OTHER))
    with pytest.raises(
        NoSuchPrediction, match="'orders' does not have it either; 2 ticks are scored, 2024-02-11 to 2024-02-12"
    ):
        explain(scored.pipeline, ["nobody"], scored.platform)
    with pytest.raises(NoSuchPrediction, match="'orders' has it at 2024-02-13: `mlprod score returns --from 2024-02-13`"):
        explain(scored.pipeline, ["2024-02-13-5160"], scored.platform)
    with pytest.raises(NoSuchPrediction, match="the key of 'orders' has 1 column, order_id, but 2 values were given"):
        explain(scored.pipeline, [key, "x"], scored.platform)


ODD_KEYS = ("a,b", ",", 'it\'s "quoted"', " with spaces ", "Zürich/北京 🚲", "a/b", "50%", "NULL", "")


@pytest.mark.parametrize("odd", ODD_KEYS)
def test_a_key_is_found_whatever_characters_it_holds(scored, odd):
    placed = rename_first(scored, odd)
    assert explain(scored.pipeline, [odd], scored.platform).key == {"order_id": odd}
    told = explain(with_two_key_columns(scored.pipeline), [odd, placed], scored.platform)
    assert told.key["order_id"] == odd


def test_a_key_of_several_columns_may_be_one_text_where_no_value_holds_a_comma(scored):
    pipeline = with_two_key_columns(scored.pipeline)
    placed = rename_first(scored, "plain")
    assert explain(pipeline, [f"plain,{placed}"], scored.platform).key["order_id"] == "plain"
    placed = rename_first(scored, "a,b")
    with pytest.raises(
        NoSuchPrediction, match=r"has 2 columns, order_id, placed_at, but 3 values .*--key once for each column"
    ):
        explain(pipeline, [f"a,b,{placed}"], scored.platform)
    with pytest.raises(NoSuchPrediction, match="has 2 columns, order_id, placed_at, but 1 value was given"):
        explain(pipeline, ["plain"], scored.platform)


def rename_first(shop, key: str) -> str:
    """Give the first scored order that key instead of its own; return when it was placed, as a text."""
    table = shop.platform.lake.rows("returns/predictions").sort_by("order_id")
    keys = [key, *(f"other-{i}" for i in range(1, table.num_rows))]
    renamed = table.set_column(table.column_names.index("order_id"), "order_id", [keys]).cast(table.schema)
    shop.platform.lake.replace_ticks("returns/predictions", shop.pipeline.schedule.range(DAY), renamed)
    ((placed,),) = duckdb.sql("SET TimeZone = 'UTC'; SELECT CAST(placed_at AS VARCHAR) FROM renamed LIMIT 1").fetchall()
    return placed


def with_two_key_columns(pipeline):
    """The pipeline, its entity keyed by the order and when it was placed."""
    entity = replace(pipeline.entity_table, key=("order_id", "placed_at"))
    return replace(pipeline, tables=(entity, *(table for table in pipeline.tables if table.name != entity.name)))


def test_without_predictions_it_says_to_score(promoted_shop):
    with pytest.raises(NoSuchPrediction, match="has no predictions yet: score a tick first"):
        explain(promoted_shop.pipeline, ["x"], promoted_shop.platform)


def test_a_key_of_several_ticks_needs_the_tick(scored):
    key = rows(scored)[0]["order_id"]
    table = scored.platform.lake.rows("returns/predictions")
    day = scored.tick(OTHER).name
    again = table.set_column(table.column_names.index("tick"), "tick", [[day] * table.num_rows]).cast(table.schema)
    scored.platform.lake.replace_ticks("returns/predictions", scored.pipeline.schedule.range(OTHER), again)
    with pytest.raises(NoSuchPrediction, match=f"was scored at several ticks: {DAY}, {OTHER}. Choose one with --tick"):
        explain(scored.pipeline, [key], scored.platform)
    assert explain(scored.pipeline, [key], scored.platform, scored.tick(OTHER)).tick == OTHER


def test_a_long_list_of_features_is_cut_and_summed(scored):
    told = explain(scored.pipeline, [rows(scored)[0]["order_id"]], scored.platform)
    parts = tuple(explanation_text.FeatureEffect(f"f{i}", "1", 0.01 * i, 0.001 * i, "a feature") for i in range(30))
    page = explanation_text.text(replace(told, parts=parts, base_log_odds=-1.0, log_odds=0.0))
    assert "f29" in page
    assert "f17 " not in page
    (rest,) = [line for line in page.splitlines() if line.startswith("18 others")]
    assert rest.split()[-1] == f"{sum(0.01 * i for i in range(18)):+.3f}"
    assert max(map(len, page.splitlines())) <= 128


def test_it_is_plain_json_too(scored):
    told = explain(scored.pipeline, [rows(scored)[0]["order_id"]], scored.platform)
    again = json.loads(json.dumps(asdict(told), allow_nan=False))
    assert (again["score"], again["origin"]["training_id"]) == (told.score, "one")
