"""The checks of models in production: what is answered now is what was answered then."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import workflows
from mlprod_tasks.declaration import Monitoring, Pipeline, Rule, Watch
from mlprod_tasks.monitoring.verify import Verified, verify
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Fallback, Measurement, Scoring
from mlprod_tasks.platform.registry import GOLDEN_TAG, RegistryUnreachable
from mlprod_tasks.scoring.score import score
from tests.support.trained_shop import copied

TICK = "2024-02-11"
WATCHED = (Watch("replayed", high=0.0), Watch("canned", high=0.0))


@pytest.fixture
def scored(promoted_shop: Any) -> Any:
    """The shop with a scored tick, which watches its checks."""
    shop = promoted_shop.declared(watches=WATCHED)
    score(shop.pipeline, shop.tick(TICK), shop.platform)
    return shop


def checked(shop: Any, day: str = TICK) -> Verified:
    return verify(shop.pipeline, shop.tick(day), shop.platform)


def found(shop: Any, what: str) -> Measurement:
    row = shop.platform.ledger.get(Measurement, shop.pipeline.name, shop.tick(TICK).name, what, "")
    assert row is not None
    return row


def change(shop: Any, changed: Callable[[pa.Table], pa.Table]) -> None:
    """Write the tick's predictions again, changed."""
    ticks, name = shop.pipeline.schedule.range(TICK), names.predictions(shop.pipeline)
    rows = pa.concat_tables([pq.ParquetFile(file).read() for file in shop.platform.lake.files(name, ticks)])
    day = pa.array([ticks.first] * rows.num_rows, pa.date32())
    shop.platform.lake.replace_ticks(name, ticks, changed(rows.append_column("tick", day)))


def with_column(rows: pa.Table, name: str, values: Any) -> pa.Table:
    field = rows.schema.field(name)
    return rows.set_column(rows.column_names.index(name), field, pa.array(values, field.type))


def a_little_more(rows: pa.Table) -> pa.Table:
    """One score is another by the least that a float can be."""
    scores = rows["score"].to_numpy().copy()
    scores[7] = np.nextafter(scores[7], 1)
    return with_column(rows, "score", scores)


def test_what_was_scored_comes_out_the_same_bit_for_bit(scored: Any) -> None:
    done = checked(scored)
    assert (done.replayed, done.canned, done.breaches) == (0.0, 0.0, ())
    rows = scored.platform.ledger.get(Scoring, "returns", scored.tick(TICK).name).rows
    assert (found(scored, "replayed").n, found(scored, "canned").n) == (rows, 100)
    assert (found(scored, "replayed").model_version, found(scored, "canned").model_version) == (1, 1)
    assert found(scored, "replayed").high == 0.0


def test_a_score_that_differs_in_its_last_bit_is_found_and_shown(scored: Any) -> None:
    change(scored, a_little_more)
    done = checked(scored)
    row = found(scored, "replayed")
    assert row.breached
    assert row.value == 1 / row.n
    assert f"1 of {row.n} rows; for example order_id {TICK}-" in row.sentence
    assert "by version 1: the score was 0." in row.sentence
    assert "and is 0." in row.sentence
    assert done.breaches == (row.sentence,)


def test_a_decision_that_differs_is_found_though_the_score_does_not(scored: Any) -> None:
    change(scored, lambda rows: with_column(rows, "decision", [not one for one in rows["decision"].to_pylist()]))
    checked(scored)
    assert found(scored, "replayed").value == 1.0
    assert "; the decision was to " in found(scored, "replayed").sentence


def test_a_feature_that_the_log_lost_is_a_breach_without_a_value(scored: Any) -> None:
    name, ticks = names.predictions(scored.pipeline), scored.pipeline.schedule.range(TICK)
    rows = pa.concat_tables([pq.ParquetFile(file).read() for file in scored.platform.lake.files(name, ticks)])
    shutil.rmtree(Path(scored.platform.lake.uri(name)))
    kept = rows.drop_columns(["amount"]).append_column("tick", pa.array([ticks.first] * rows.num_rows, pa.date32()))
    scored.platform.lake.replace_ticks(name, ticks, kept)
    checked(scored)
    row = found(scored, "replayed")
    assert (row.value, row.breached) == (None, True)
    assert "'amount' is missing" in row.sentence


def test_each_row_is_replayed_by_the_version_that_scored_it(scored: Any) -> None:
    assert scored.promoted("two", "2024-02-12").moved
    assert scored.platform.registry.champion(scored.pipeline).version == 2
    done = checked(scored)
    assert done.replayed == 0.0
    assert found(scored, "canned").model_version == 2
    # As if the second version had scored it, which was fitted on other rows.
    change(scored, lambda rows: with_column(rows, "model_version", [2] * rows.num_rows))
    assert checked(scored).replayed > 0.9


def test_rows_of_the_fallback_are_replayed_with_the_kept_fallback(scored: Any) -> None:
    kept = scored.platform.ledger.get(Fallback, "returns", 1)
    answered_by_fallback(scored, kept)
    assert checked(scored).replayed == 0.0
    scored.platform.ledger.put(
        Fallback(pipeline="returns", model_version=1, model=kept.model | {"overall": 0.5, "rates": []}, at=kept.at)
    )
    assert checked(scored).replayed == 1.0


def answered_by_fallback(shop: Any, kept: Fallback) -> None:
    """Put the tick's rows in the lake as the fallback answers them."""
    from mlprod_tasks.models.fallback import FallbackModel

    model = FallbackModel.from_json(kept.model)

    def answered(rows: pa.Table) -> pa.Table:
        given = model.predict(rows)
        rows = with_column(with_column(rows, "score", given.score), "decision", given.decision)
        return with_column(rows, "fallback", [True] * rows.num_rows)

    change(shop, answered)


def test_a_fallback_that_the_ledger_lost_is_a_breach(scored: Any) -> None:
    from sqlalchemy import delete

    answered_by_fallback(scored, scored.platform.ledger.get(Fallback, "returns", 1))
    with scored.platform.ledger.session() as session:
        session.execute(delete(Fallback))
    checked(scored)
    assert found(scored, "replayed").breached
    assert "it is no longer in the ledger" in found(scored, "replayed").sentence


def test_the_sample_is_as_large_as_declared_and_always_the_same(scored: Any) -> None:
    from mlprod_tasks.monitoring.verify import _sample

    tick, platform = scored.tick(TICK), scored.platform
    few = scored.declared(monitoring=Monitoring(replayed_rows=10))
    verify(few.pipeline, tick, platform)
    assert found(scored, "replayed").n == 10
    sample = _sample(scored.pipeline, tick, 10, platform)["order_id"].to_pylist()
    change(scored, lambda rows: rows.take(list(reversed(range(rows.num_rows)))))
    assert _sample(scored.pipeline, tick, 10, platform)["order_id"].to_pylist() == sample
    none = scored.declared(monitoring=Monitoring(replayed_rows=0))
    verify(none.pipeline, tick, platform)
    assert found(scored, "replayed").value is None
    assert not found(scored, "replayed").breached


def test_a_tick_without_predictions_still_has_its_golden_predictions_checked(scored: Any) -> None:
    done = checked(scored, "2024-02-12")
    assert (done.replayed, done.canned, done.breaches) == (None, 0.0, ())
    assert "the tick has no predictions" in done.sentences[0]


def test_run_again_the_checks_are_replaced(scored: Any) -> None:
    change(scored, a_little_more)
    assert checked(scored).breaches
    score(scored.pipeline, scored.tick(TICK), scored.platform)
    assert not checked(scored).breaches
    assert not found(scored, "replayed").breached
    assert len(scored.platform.ledger.all(Measurement)) == 3


def artifact(shop: Any) -> Path:
    """The champion's folder in MLflow."""
    registry = shop.platform.registry
    ref = registry.champion(shop.pipeline)
    uri = registry.client.get_run(ref.run_id).info.artifact_uri
    return Path(uri.removeprefix("file://")) / "model"


def test_a_champion_whose_stored_files_changed_is_a_breach_though_this_machines_copy_is_whole(scored: Any) -> None:
    shop = scored
    assert shop.promoted("mine", "2024-02-12").moved
    assert checked(shop).canned == 0.0
    manifest = next(artifact(shop).rglob("model.json"))
    told = json.loads(manifest.read_text())
    original = manifest.read_text()
    try:
        manifest.write_text(json.dumps(told | {"threshold": told["threshold"] / 2}))
        done = checked(shop)
        assert found(shop, "canned").breached
        assert found(shop, "canned").value is None
        assert "are not the registered ones" in found(shop, "canned").sentence
        assert done.breaches == (found(shop, "canned").sentence,)
    finally:
        manifest.write_text(original)
    assert checked(shop).canned == 0.0


def test_a_model_that_answers_otherwise_than_when_it_was_made_is_found(scored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlprod_tasks.models.model import Model

    # A library that computes a little otherwise after an upgrade.
    raw = Model.raw
    monkeypatch.setattr(Model, "raw", lambda self, values: raw(self, values) * (1 + 1e-12))
    checked(scored)
    canned, replayed = found(scored, "canned"), found(scored, "replayed")
    assert canned.breached
    assert replayed.breached
    assert canned.value > 0, "isotonic calibration hides what moves within a step; some rows lie at its edge"
    assert "by version 1: the score was 0." in canned.sentence


def test_a_version_registered_without_golden_predictions_says_so_and_breaches_nothing(scored: Any) -> None:
    client = scored.platform.registry.client
    client.delete_model_version_tag("returns", "1", GOLDEN_TAG)
    done = checked(scored)
    assert (done.canned, done.breaches) == (None, ())
    assert "registered without golden predictions" in found(scored, "canned").sentence


def test_golden_predictions_that_are_not_the_registered_ones_are_a_breach(scored: Any) -> None:
    scored.platform.registry.client.set_model_version_tag("returns", "1", GOLDEN_TAG, "0" * 64)
    checked(scored)
    assert found(scored, "canned").breached
    assert "golden predictions of returns version 1 are missing or not the registered ones" in found(scored, "canned").sentence


def test_without_a_champion_there_is_nothing_to_check(filled_home: Path, tmp_path: Path) -> None:
    done = checked(copied(filled_home, tmp_path))
    assert (done.replayed, done.canned, done.breaches) == (None, None, ())


def test_a_registry_that_does_not_answer_says_nothing_about_the_models(scored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = replace(scored.platform.settings, mlflow_url="http://127.0.0.1:9")
    with pytest.raises(RegistryUnreachable):
        verify(scored.pipeline, scored.tick(TICK), Platform(settings))
    assert scored.platform.ledger.all(Measurement) == []


def test_a_difference_raises_an_alarm_at_the_next_decision(scored: Any) -> None:
    from mlprod_tasks.monitoring.decide import decide

    shop = scored.declared(rules=(Rule("replay", "replayed", "alert"),))
    change(shop, a_little_more)
    checked(shop)
    assert decide(shop.pipeline, shop.tick(TICK), shop.platform).rules == ()
    following = decide(shop.pipeline, shop.tick("2024-02-12"), shop.platform)
    assert (following.action, following.rules) == ("alert", ("replay",))


def test_the_checks_are_watched_where_nothing_is_declared() -> None:
    fields = {field.name: field.default for field in Pipeline.__dataclass_fields__.values()}
    assert {watch.what: watch.high for watch in fields["watches"] if watch.what in ("replayed", "canned")} == {
        "replayed": 0.0,
        "canned": 0.0,
    }
    assert {rule.watch: rule.action for rule in fields["rules"] if rule.watch in ("replayed", "canned")} == {
        "replayed": "alert",
        "canned": "alert",
    }


def test_the_workflow_checks_every_tick_that_it_is_given(scored: Any) -> None:
    ticks = [scored.tick(TICK), scored.tick("2024-02-12")]
    assert [one.tick for one in workflows.verify(scored.pipeline, ticks, scored.platform)] == [TICK, "2024-02-12"]


def test_on_the_command_line_a_difference_is_exit_status_1(
    scored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from mlprod_tasks.cli import main
    from mlprod_tasks.declaration.recorded import text_of

    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "returns.json").write_text(text_of(scored.pipeline))
    (tmp_path / "pipelines" / "returns.py").write_text(
        "from pathlib import Path\n\nfrom mlprod_tasks.declaration.recorded import read\n\n"
        "pipeline = read(Path(__file__).with_suffix('.json').read_text())\n"
    )
    monkeypatch.setenv("MLPROD_HOME", str(scored.platform.settings.home))
    monkeypatch.setenv("MLPROD_PIPELINES", str(tmp_path / "pipelines"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    given = ["verify", "returns", "--from", TICK]
    same = CliRunner().invoke(main.app, given)
    assert same.exit_code == 0, same.output
    assert "share of logged predictions that the model no longer reproduces is 0, within the bound 0" in same.stdout
    change(scored, a_little_more)
    other = CliRunner().invoke(main.app, given)
    assert other.exit_code == 1
    assert "above the bound 0" in other.stdout
