"""A model per segment behind one face: who answers for which row, and that the whole way treats it as any model."""

import json
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.models import mlflow_flavor, model
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.promotion.reproduce import reproduce
from mlprod_tasks.scoring.score import score
from mlprod_tasks.training import fit_model, segments, train, workspace
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder

RANDOM = np.random.default_rng(8)
LEAST = 400


def some_rows(n: int, channels: tuple[str | None, ...] = ("web", "app", "phone", "fax", None)) -> pa.Table:
    """Labelled rows; what amount means for the label is the opposite for 'web'."""
    channel = RANDOM.choice(np.array(channels, object), n, p=[0.5, 0.3, 0.1, 0.05, 0.05][: len(channels)])
    amount = RANDOM.normal(size=n)
    label = RANDOM.random(n) < 1 / (1 + np.exp(1 - 2 * amount * np.where(channel == "web", -1, 1)))
    return pa.table(
        {
            "channel": pa.array(channel, pa.string()),
            "amount": amount,
            "items": RANDOM.integers(1, 6, n),
            "weekday": RANDOM.integers(1, 8, n),
            "label": label,
        }
    )


def of(rows: pa.Table, channel: str) -> pa.Table:
    return rows.filter(pc.equal(rows["channel"], channel))


TRAIN, VALIDATION, ROWS = some_rows(3000), some_rows(1500), some_rows(600)


@pytest.fixture(scope="module")
def by_channel(shop_pipeline) -> ml.Pipeline:
    learner = ml.LightGBM(max_trees=20, min_data_in_leaf=20)
    declared = replace(
        shop_pipeline.model, candidates=(learner,), calibration="sigmoid", segment_by="channel", least_segment_rows=LEAST
    )
    return replace(shop_pipeline, model=declared)


@pytest.fixture(scope="module")
def fitted(by_channel) -> SegmentedModel:
    made = segments.fit_all(by_channel, TRAIN, VALIDATION, ModelFacts(training_id="t"))
    assert isinstance(made, SegmentedModel)
    return made


def test_a_large_segment_is_answered_by_a_model_of_its_rows_alone_with_its_own_threshold(fitted, by_channel):
    assert list(fitted.parts) == ["web", "app"]
    predicted = fitted.predict(ROWS)
    for channel in ("web", "app"):
        alone = fit_model.fit_model(by_channel, of(TRAIN, channel), of(VALIDATION, channel), ModelFacts())
        at = pc.equal(ROWS["channel"], channel).fill_null(False).to_numpy(zero_copy_only=False)
        expected = alone.predict(of(ROWS, channel))
        assert np.array_equal(predicted.score[at], expected.score)
        assert np.array_equal(predicted.decision[at], expected.score >= alone.threshold)
    assert (predicted.decision != (predicted.score >= fitted.threshold)).any(), "else the threshold would not show"


def test_small_new_and_missing_segments_are_answered_by_the_model_of_all_rows(fitted, by_channel):
    overall = fit_model.fit_model(by_channel, TRAIN, VALIDATION, ModelFacts())
    rest = ROWS.filter(pc.is_in(ROWS["channel"], pa.array(["phone", "fax", None])))
    rest = pa.concat_tables([rest, rest.slice(0, 5).set_column(0, "channel", pa.array(["pigeon"] * 5))])
    assert np.array_equal(fitted.predict(rest).score, overall.predict(rest).score)
    assert np.array_equal(fitted.predict(rest).decision, overall.predict(rest).decision)


@given(order=st.permutations(range(40)))
@settings(max_examples=20, deadline=None)
def test_every_row_is_answered_as_alone_wherever_it_stands(fitted, order):
    shuffled = fitted.predict(ROWS.take(order))
    whole = fitted.predict(ROWS)
    assert np.array_equal(shuffled.score, whole.score[order])
    assert np.array_equal(shuffled.decision, whole.decision[order])
    one = ROWS.slice(order[0], 1).to_pylist()[0]
    assert fitted.predict(one).score[0] == whole.score[order[0]]


def test_no_rows_get_no_scores(fitted):
    assert len(fitted.predict(ROWS.slice(0, 0)).score) == 0
    assert fitted.contributions(ROWS.slice(0, 0)).shape == (0, 5)


def test_contributions_are_those_of_the_model_that_answers(fitted):
    added = fitted.contributions(ROWS)
    assert added.shape == (600, 5)
    for i in (0, 1, 2, 3, 50):
        answering = fitted.answering(ROWS.slice(i, 1))
        raw = 1 / (1 + np.exp(-added[i].sum()))
        assert answering.calibration(np.array([raw]))[0] == pytest.approx(fitted.predict(ROWS).score[i], abs=1e-9)


def test_importance_is_weighed_by_the_rows_that_each_model_answers_for(fitted):
    answered = {name: of(TRAIN, name).num_rows for name in ("web", "app")}
    rest = TRAIN.num_rows - sum(answered.values())
    expected = {
        name: (
            sum(answered[part] * fitted.parts[part].importance[name] for part in answered)
            + rest * fitted.overall.importance[name]
        )
        / TRAIN.num_rows
        for name in fitted.feature_names
    }
    assert fitted.importance == pytest.approx(expected)
    assert sum(fitted.importance.values()) == pytest.approx(1)


def test_a_stored_one_is_loaded_by_its_kind_and_answers_bit_for_bit_the_same(fitted, tmp_path):
    digest = fitted.save(tmp_path / "one")
    for loaded in (load_model(tmp_path / "one"), mlflow_flavor.load(tmp_path / "one")):
        assert isinstance(loaded, SegmentedModel)
        assert np.array_equal(loaded.predict(ROWS).score, fitted.predict(ROWS).score)
        assert np.array_equal(loaded.predict(ROWS).decision, fitted.predict(ROWS).decision)
        assert loaded.save(tmp_path / "two") == digest
        assert loaded.facts == fitted.facts
    with pytest.raises(ValueError, match="kind 'segmented', not 'model'"):
        model.load_one(tmp_path / "one")


def test_any_text_can_name_a_segment(by_channel, tmp_path):
    names = ("../a/b", "ö ü", "", "*")
    declared = replace(by_channel, model=replace(by_channel.model, least_segment_rows=20))
    rows = [
        pa.concat_tables(table.set_column(0, "channel", pa.array([name] * table.num_rows)) for name in names)
        for table in (some_rows(300), some_rows(200))
    ]
    made = segments.fit_all(declared, rows[0], rows[1], ModelFacts())
    assert sorted(made.parts) == ["", "../a/b", "ö ü"], "'*' is reserved for all rows"
    made.save(tmp_path / "made")
    assert all(path.is_relative_to(tmp_path / "made") for path in tmp_path.rglob("model.json"))
    loaded = load_model(tmp_path / "made")
    assert np.array_equal(loaded.predict(rows[0]).score, made.predict(rows[0]).score)


def test_a_segment_with_one_outcome_only_has_no_model_of_its_own(by_channel, caplog):
    caplog.set_level("INFO")
    never = VALIDATION.set_column(
        4, "label", pc.if_else(pc.equal(VALIDATION["channel"], "app").fill_null(False), False, VALIDATION["label"])
    )
    assert segments.large(by_channel, TRAIN, never) == ["web"]
    rows = {name: of(table, name).num_rows for table, name in ((never, "app"), (TRAIN, "phone"), (TRAIN, "fax"))}
    told = f"'app' (the validation window has outcomes of one class only: all {rows['app']} are negative), "
    told += ", ".join(f"{name!r} ({rows[name]} training rows)" for name in ("phone", "fax"))
    assert f"the global model scores {told}" in caplog.text


def test_segments_by_a_number_are_refused_with_its_type(by_channel):
    rows = TRAIN.set_column(0, "channel", pa.array(np.arange(TRAIN.num_rows)))
    with pytest.raises(ModelInputError, match=r"model.segment_by 'channel' is int64: segments need a text feature"):
        segments.large(by_channel, rows, rows)


def test_without_segments_the_model_is_the_one_that_fit_makes(shop_pipeline):
    ours = segments.fit_all(shop_pipeline, TRAIN, VALIDATION, ModelFacts())
    assert isinstance(ours, model.Model)
    theirs = fit_model.fit_model(shop_pipeline, TRAIN, VALIDATION, ModelFacts())
    assert np.array_equal(ours.predict(ROWS).score, theirs.predict(ROWS).score)


# Through the steps


def declared_by_channel(shop, **changes):
    learner = ml.LightGBM(learning_rate=0.1, max_trees=15, min_data_in_leaf=30)
    changed = {"candidates": (learner,), "segment_by": "channel", "least_segment_rows": 600} | changes
    return shop.declared(model=replace(shop.pipeline.model, **changed))


def assembled(shop, training_id: str = "one", day: str = "2024-02-10") -> TrainingFolder:
    from mlprod_tasks.training.assemble import assemble

    assemble(shop.pipeline, shop.tick(day), training_id, "a test", shop.platform)
    return TrainingFolder(shop.platform, training_id)


def test_the_whole_way_by_segments_ends_with_a_champion_that_scores(shop):
    shop = declared_by_channel(shop)
    assert shop.promoted("one").moved
    folder = TrainingFolder(shop.platform, "one")
    champion = shop.platform.registry.load(shop.pipeline, 1)
    assert isinstance(champion, SegmentedModel)
    rows = workspace.read_window(folder, "test")
    assert np.array_equal(champion.predict(rows).score, load_model(folder.model).predict(rows).score)
    run = shop.platform.registry.client.get_run(shop.platform.ledger.get(Training, "one").run_id)
    assert run.data.params["segments"] == str(len(champion.parts)) == "2"
    kept = json.loads(shop.platform.registry.read_file(run.info.run_id, "training/segments.json"))
    assert [one["segment"] for one in kept["segments"]] == ["*", "web", "app"]


def test_searched_by_segments_it_passes_every_step_scores_a_tick_and_can_be_made_again(shop):
    shop = declared_by_channel(shop, search=ml.Search(trials=2, workers=1))
    gates = (ml.AtLeast("roc_auc", 0.55), ml.SamePredictions(), ml.ModelSize(50), ml.NoLeakageSuspicion())
    shop = shop.declared(gates=gates, slices=("channel",))
    assert workflows.train(shop.pipeline, shop.tick(), "a test", shop.platform) == 1
    assert reproduce(shop.pipeline, 1, shop.platform).identical
    scored = score(shop.pipeline, shop.tick("2024-02-11"), shop.platform)
    assert (scored.rows, scored.fallback_reason) == (120, None)


def test_parts_made_one_by_one_make_the_very_model_that_train_makes_alone(shop):
    shop = declared_by_channel(shop)
    assembled(shop, "one"), assembled(shop, "two")
    named = train.segments(shop.pipeline, "one", shop.platform)
    assert named == ["*", "web", "app"]
    for name in reversed(named):
        train.fit(shop.pipeline, "one", name, shop.platform)
    train.train(shop.pipeline, "one", shop.platform)
    train.train(shop.pipeline, "two", shop.platform)
    rows = workspace.read_window(TrainingFolder(shop.platform, "one"), "test")
    first, second = (load_model(TrainingFolder(shop.platform, name).model).predict(rows) for name in ("one", "two"))
    assert np.array_equal(first.score, second.score)


def test_a_part_is_kept_when_nothing_changed_and_made_anew_when_something_did(shop):
    shop = declared_by_channel(shop)
    folder = assembled(shop)
    first = train.fit(shop.pipeline, "one", "web", shop.platform)
    (place,) = (folder.path / "parts").glob("web-*")
    made_at = (place / "part.json").stat().st_mtime_ns
    assert train.fit(shop.pipeline, "one", "web", shop.platform).digest == first.digest
    assert (place / "part.json").stat().st_mtime_ns == made_at
    changed = declared_by_channel(shop, seed=3)
    assert train.fit(changed.pipeline, "one", "web", shop.platform).digest != first.digest
    (place / "model" / "model.json").unlink()
    (place / "part.json").unlink()
    assert train.fit(shop.pipeline, "one", "web", shop.platform).digest == first.digest, "what was begun is no part"


def test_two_that_fit_the_same_part_at_once_leave_it_whole(shop):
    shop = declared_by_channel(shop)
    folder = assembled(shop)
    made: list[train.Part] = []
    both = [
        threading.Thread(target=lambda: made.append(train.fit(shop.pipeline, "one", "web", shop.platform))) for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(made) == 2
    assert made[0].digest == made[1].digest
    assert [path.name for path in (folder.path / "parts").iterdir() if path.name.startswith(".")] == []


def test_a_model_of_other_kinds_of_files_replaces_the_one_before_whole(shop):
    folder = assembled(shop)
    train.train(shop.pipeline, "one", shop.platform)
    by_channel = declared_by_channel(shop)
    trained = train.train(by_channel.pipeline, "one", shop.platform)
    from mlprod_tasks.platform import digest

    assert digest.of_folder(folder.model) == trained.digest
    assert not (folder.model / "learner").exists(), "nothing of the model before is left"


def test_a_segment_that_is_none_is_refused_with_those_that_are(shop):
    shop = declared_by_channel(shop)
    assembled(shop)
    for name in ("phone", "pigeon"):
        with pytest.raises(ValueError, match=rf"segment '{name}' has no model of its own; parts are \*, web, app"):
            train.fit(shop.pipeline, "one", name, shop.platform)


def test_a_part_before_the_set_says_what_to_run(shop):
    with pytest.raises(StepMissing, match="run assemble first"):
        train.fit(shop.pipeline, "none", "*", shop.platform)
    with pytest.raises(StepMissing, match="run assemble first"):
        train.segments(shop.pipeline, "none", shop.platform)


# A warm update


def test_a_warm_update_goes_on_from_the_champion_also_when_it_is_run_again_as_champion(promoted_shop):
    codes = {"channel": ("app", "phone", "web")}
    assert promoted_shop.platform.registry.load(promoted_shop.pipeline, 1).codes == codes
    warm = promoted_shop.declared(model=replace(promoted_shop.pipeline.model, warm_update=True))
    folder = assembled(warm, "two", "2024-02-12")
    first = train.train(warm.pipeline, "two", warm.platform)
    tried = load_model(folder.model)
    assert [one.name for one in tried.candidates] == ["lightgbm", "lightgbm_continued"]
    assert tried.facts.continued_from.version == 1
    assert warm.promoted("two", "2024-02-12").moved
    assert train.train(warm.pipeline, "two", warm.platform).digest == first.digest


def test_a_champion_that_has_seen_later_rows_is_not_continued(shop, caplog):
    shop.promoted("new", "2024-02-14")
    warm = shop.declared(model=replace(shop.pipeline.model, warm_update=True))
    folder = assembled(warm, "old", "2024-02-08")
    train.train(warm.pipeline, "old", warm.platform)
    made = load_model(folder.model)
    assert [one.name for one in made.candidates] == ["lightgbm"]
    assert made.facts.continued_from is None
    assert "no warm update, candidates start from scratch: version 1 used rows up to" in caplog.text


def test_each_segment_goes_on_from_the_champions_model_of_that_segment(shop):
    first = declared_by_channel(shop)
    first.promoted("one")
    warm = declared_by_channel(shop, warm_update=True)
    folder = assembled(warm, "two", "2024-02-12")
    train.train(warm.pipeline, "two", warm.platform)
    made, champion = load_model(folder.model), warm.platform.registry.load(warm.pipeline, 1)
    for one, before in ((made.overall, champion.overall), *((made.parts[name], champion.parts[name]) for name in made.parts)):
        assert [tried.name for tried in one.candidates] == ["lightgbm", "lightgbm_continued"]
        assert before.trees > 0
