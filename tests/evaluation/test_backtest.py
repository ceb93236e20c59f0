"""The same recipe at earlier moments: what each fold rests on, and what is fitted once only."""

import threading
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.evaluation import training_spec
from mlprod_tasks.evaluation.backtest import FOLDS, backtest, correlation
from mlprod_tasks.evaluation.evaluate import evaluate
from mlprod_tasks.evaluation.folds import fold_windows, moments, overlapping
from mlprod_tasks.evaluation.results import Evaluation, Fold, read_results
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.statistics.metrics import Estimate
from mlprod_tasks.training import assemble, provenance, segments, train, workspace
from mlprod_tasks.training.feature_history import History
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder

THREE = ml.Backtest(windows=3, step=ml.days(7))
EARLIER = ["2024-01-27", "2024-02-03"]  # than 2024-02-10, the training's own


@pytest.fixture
def fits(monkeypatch):
    """The moments as of which the backtest fits something, and what."""
    made = []
    plain = segments.fit_all

    def counting(pipeline, train_rows, validation_rows, facts, **given):
        made.append((str(facts.as_of), pipeline.model.candidates[0].name))
        return plain(pipeline, train_rows, validation_rows, facts, **given)

    monkeypatch.setattr(segments, "fit_all", counting)
    return made


def moments_of(fits) -> list[str]:
    return [as_of for as_of, _ in fits]


def test_no_declared_backtest_is_no_backtest(promoted_shop):
    assert backtest(promoted_shop.pipeline, "one", promoted_shop.platform) is None
    assert read_results(TrainingFolder(promoted_shop.platform, "one")).backtest is None


def test_each_fold_is_what_a_training_as_of_that_moment_would_have_measured(shop, fits):
    declared = shop.declared(backtest=THREE)
    declared.trained("one")
    fits.clear()
    made = backtest(declared.pipeline, "one", declared.platform)
    assert moments_of(fits) == EARLIER
    assert [str(fold.as_of) for fold in made.folds] == [*EARLIER, "2024-02-10"]
    for i, fold in enumerate(made.folds):
        declared.trained(f"alone-{i}", fold.as_of)
        alone = read_results(TrainingFolder(declared.platform, f"alone-{i}")).evaluation
        assert (fold.rows, fold.positives) == (alone.rows, alone.positives)
        assert fold.model == alone.model
        assert fold.baseline == alone.baseline
    assert read_results(TrainingFolder(declared.platform, "one")).backtest == made
    assert (made.champion_version, made.champion_recipe, made.problem) == (None, "none", None)


def test_the_folds_are_told_to_mlflow_and_ledger_beside_the_evaluation(shop):
    declared = shop.declared(backtest=THREE)
    declared.trained("one")
    made = backtest(declared.pipeline, "one", declared.platform)
    training = declared.platform.ledger.get(Training, "one")
    logged = declared.platform.registry.client.get_run(training.run_id).data.metrics
    aucs = [fold.model["roc_auc"].value for fold in made.folds]
    for metrics in (training.metrics, logged):
        assert metrics["backtest_roc_auc_mean"] == pytest.approx(np.mean(aucs))
        assert metrics["backtest_roc_auc_min"] == pytest.approx(min(aucs))
        assert metrics["backtest_folds"] == 3
        assert {"roc_auc", "baseline_log_loss"} <= set(metrics)
    files = {file.path for file in declared.platform.registry.client.list_artifacts(training.run_id, "training")}
    assert "training/backtest.json" in files


def test_a_killed_backtest_goes_on_where_it_was_and_a_second_one_fits_nothing(shop, fits, monkeypatch):
    declared = shop.declared(backtest=THREE)
    declared.trained("one")
    fits.clear()
    counting = segments.fit_all

    def killed(pipeline, train_rows, validation_rows, facts, **given):
        if str(facts.as_of) == EARLIER[1]:
            raise KeyboardInterrupt
        return counting(pipeline, train_rows, validation_rows, facts, **given)

    monkeypatch.setattr(segments, "fit_all", killed)
    with pytest.raises(KeyboardInterrupt):
        backtest(declared.pipeline, "one", declared.platform)
    assert declared.platform.ledger.get(Training, "one").state == "failed"
    monkeypatch.setattr(segments, "fit_all", counting)
    written = []
    plain = features.write
    monkeypatch.setattr(features, "write", lambda *given, **named: written.append(given[1]) or plain(*given, **named))
    resumed = backtest(declared.pipeline, "one", declared.platform)
    assert moments_of(fits) == EARLIER
    assert not written
    assert backtest(declared.pipeline, "one", declared.platform) == resumed
    assert moments_of(fits) == EARLIER
    folder = TrainingFolder(declared.platform, "one").path / FOLDS
    kept = {f"{day}.json" for day in (*EARLIER, "2024-02-10")}
    assert {file.name for file in folder.iterdir()} == {".lock", *kept}
    for file in folder.glob("20*.json"):
        file.unlink()
    assert backtest(declared.pipeline, "one", declared.platform) == resumed


def test_of_two_at_once_one_waits_and_finds_the_folds_there(shop, fits):
    declared = shop.declared(backtest=THREE)
    declared.trained("one")
    fits.clear()
    made, failed = [], []

    def run():
        try:
            made.append(backtest(declared.pipeline, "one", declared.platform))
        except BaseException as error:
            failed.append(error)

    both = [threading.Thread(target=run) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert not failed
    assert made[0] == made[1]
    assert moments_of(fits) == EARLIER


def test_another_declaration_makes_other_folds(shop, fits):
    declared = shop.declared(backtest=THREE)
    declared.trained("one")
    first = backtest(declared.pipeline, "one", declared.platform)
    other = declared.declared(model=replace(declared.pipeline.model, calibration="none"))
    other.trained("one")
    fits.clear()
    second = backtest(other.pipeline, "one", other.platform)
    assert moments_of(fits) == EARLIER
    assert all(a.model != b.model for a, b in zip(first.folds, second.folds, strict=True))


def test_other_code_makes_other_folds(shop, fits, monkeypatch):
    declared = shop.declared(backtest=THREE)
    declared.trained("one")
    made = backtest(declared.pipeline, "one", declared.platform)
    fits.clear()
    now = provenance.provenance()
    monkeypatch.setattr("mlprod_tasks.evaluation.backtest.provenance", lambda: replace(now, code_digest="other"))
    assert backtest(declared.pipeline, "one", declared.platform) == made
    assert moments_of(fits) == EARLIER


def test_the_backtest_of_a_model_that_was_before_does_not_stay_beside_a_new_one(shop):
    declared = shop.declared(backtest=THREE)
    declared.trained("one")
    made = backtest(declared.pipeline, "one", declared.platform)
    folder = TrainingFolder(declared.platform, "one")
    evaluate(declared.pipeline, "one", declared.platform)
    assert read_results(folder).backtest == made
    folder.write(replace(folder.read(Evaluation), model_digest="0" * 64))
    evaluate(declared.pipeline, "one", declared.platform)
    assert read_results(folder).backtest is None


def test_moments_that_the_history_is_too_short_for_are_left_out_and_said(shop, caplog):
    declared = shop.declared(backtest=ml.Backtest(windows=4, step=ml.days(21)))
    declared.trained("one")
    with caplog.at_level("INFO"):
        made = backtest(declared.pipeline, "one", declared.platform)
    assert [str(fold.as_of) for fold in made.folds] == ["2024-02-10"]
    assert made.problem == "the history is too short: it has 1 of 4 windows"
    assert np.isnan(made.correlation)
    said = [record.message for record in caplog.records if record.message.startswith("no fold as of")]
    assert len(said) == 3
    assert "the schedule starts at 2024-01-01" in said[0]
    assert said[-1] == "no fold as of 2024-01-20: it leaves 1 ticks to train on and 7 to test on"


def test_a_moment_before_which_the_windows_do_not_fit_says_how_many_ticks_are_missing(shop, caplog):
    declared = shop.declared(backtest=ml.Backtest(windows=2, step=ml.days(23)))
    declared.trained("one")
    with caplog.at_level("INFO"):
        backtest(declared.pipeline, "one", declared.platform)
    assert any("a training as of 2024-01-18 needs 20 ticks of history" in record.message for record in caplog.records)


def test_a_window_with_too_few_rows_is_no_fold(empty_shop, tables, fits):
    orders, returns = tables
    late = pa.scalar(date(2024, 1, 9))
    shop = empty_shop(orders.filter(pa.compute.greater(orders["tick"], late)), returns).declared(backtest=THREE)
    shop.trained("one")
    fits.clear()
    made = backtest(shop.pipeline, "one", shop.platform)
    assert [str(fold.as_of) for fold in made.folds] == ["2024-02-03", "2024-02-10"]
    # Why there is none is kept too.
    again = backtest(shop.pipeline, "one", shop.platform)
    assert again == made
    assert moments_of(fits) == ["2024-02-03"]


def test_the_history_holds_just_the_labels_that_were_known_at_each_moment(empty_shop, tables):
    orders, returns = tables
    # Every third outcome of 5 January is settled only on 29 January.
    slow = {f"2024-01-05-{i}" for i in range(480, 600, 3)}
    moved = datetime(2024, 1, 29, 12, tzinfo=UTC)
    rows = returns.to_pylist()
    for row in rows:
        if row["order_id"] in slow:
            row |= {"settled_at": moved, "tick": date(2024, 1, 30)}
    shop = empty_shop(orders, pa.Table.from_pylist(rows, returns.schema))
    pipeline, platform = shop.pipeline, shop.platform
    assemble.assemble(pipeline, shop.tick("2024-02-03"), "then", "a test", platform)
    folder = TrainingFolder(platform, "then")
    assembled = folder.read(Assembled)
    whole = pipeline.schedule.range("2024-01-01", "2024-02-10")
    history = History(pipeline, whole, assembled.versions, platform.settings.home / "history", platform)
    for name, (first, last) in assembled.windows.named():
        ticks = pipeline.schedule.range(first, last)
        expected = workspace.read_window(folder, name).drop_columns(["split"])
        assert history.window(ticks, shop.tick("2024-02-03")).equals(expected)
    fifth = pipeline.schedule.range("2024-01-05")
    known = {day: set(history.window(fifth, shop.tick(day))["order_id"].to_pylist()) for day in ("2024-01-29", "2024-01-31")}
    assert not known["2024-01-29"] & slow
    assert known["2024-01-31"] - known["2024-01-29"] == slow & set(returns["order_id"].to_pylist())


def test_the_champion_of_the_same_recipe_has_the_models_folds(promoted_shop, fits):
    declared = promoted_shop.declared(backtest=THREE)
    declared.trained("two", "2024-02-13")
    fits.clear()
    made = backtest(declared.pipeline, "two", declared.platform)
    assert (made.champion_version, made.champion_recipe) == (1, "same")
    assert all(fold.champion == fold.model for fold in made.folds)
    assert moments_of(fits) == ["2024-01-30", "2024-02-06"]


def test_the_champions_other_recipe_is_fitted_in_every_fold_once(promoted_shop, fits):
    linear = replace(promoted_shop.pipeline.model, candidates=(ml.LogisticRegression(),))
    declared = promoted_shop.declared(backtest=THREE, model=linear)
    declared.trained("two", "2024-02-13")
    fits.clear()
    made = backtest(declared.pipeline, "two", declared.platform)
    assert (made.champion_version, made.champion_recipe) == (1, "other")
    asked = [("2024-01-30", name) for name in ("logistic_regression", "lightgbm")]
    asked += [("2024-02-06", name) for name in ("logistic_regression", "lightgbm")]
    assert fits == [*asked, ("2024-02-13", "lightgbm")]
    assert backtest(declared.pipeline, "two", declared.platform) == made
    assert len(fits) == 5
    # What the champion's recipe shows is what a training by it shows.
    promoted_shop.trained("three", "2024-02-13")
    expected = read_results(TrainingFolder(promoted_shop.platform, "three")).evaluation
    assert made.folds[-1].champion == dict(expected.model)


def test_a_champion_over_fewer_features_is_fitted_to_these_and_one_over_others_is_unknown(promoted_shop):
    more = ml.Expression("cents", "amount * 100", "float", "price")
    declared = promoted_shop.declared(backtest=THREE, features=(*promoted_shop.pipeline.features, more))
    declared.trained("two", "2024-02-13")
    made = backtest(declared.pipeline, "two", declared.platform)
    assert made.champion_recipe == "other"
    assert made.folds[0].champion is not None
    fewer = promoted_shop.declared(backtest=THREE, features=promoted_shop.pipeline.features[:2])
    fewer.trained("three", "2024-02-13")
    made = backtest(fewer.pipeline, "three", fewer.platform)
    assert made.champion_recipe == "unknown"
    assert "champion version 1 cannot be fitted again: ValueError: it reads items, weekday" in made.problem
    assert all(fold.champion is None for fold in made.folds)


def test_a_champion_over_features_that_mean_something_else_now_is_unknown(promoted_shop):
    *others, _ = promoted_shop.pipeline.features
    constant = ml.Expression("weekday", "0", "int", "1 Monday to 7 Sunday")
    declared = promoted_shop.declared(backtest=THREE, features=(*others, constant))
    declared.trained("two", "2024-02-13")
    made = backtest(declared.pipeline, "two", declared.platform)
    assert (made.champion_version, made.champion_recipe) == (1, "unknown")
    assert made.problem.endswith("it reads weekday, whose declaration has changed since")
    reworded = ml.Expression("weekday", promoted_shop.pipeline.features[-1].sql, "int", "in other words")
    declared = promoted_shop.declared(backtest=THREE, features=(*others, reworded))
    declared.trained("three", "2024-02-13")
    assert backtest(declared.pipeline, "three", declared.platform).champion_recipe == "same"


BY, TAKEN = {"a": "b"}, {"f": "x"}
EXPRESSION = ml.Expression("f", "x", "int", "f")
LOOKUP, AS_OF = ml.Lookup("t", BY, TAKEN), ml.AsOf("t", BY, TAKEN, ml.days(1))
TRAILING = ml.Trailing("f", "t", BY, (ml.days(7),), (ml.Rate("r", "x > 1"),))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (EXPRESSION, replace(EXPRESSION, sql="y")),
        (EXPRESSION, replace(EXPRESSION, kind="float")),
        (LOOKUP, replace(LOOKUP, table="u")),
        (LOOKUP, replace(LOOKUP, on={"a": "c"})),
        (LOOKUP, replace(LOOKUP, columns={"f": "y"})),
        (LOOKUP, AS_OF),
        (AS_OF, replace(AS_OF, max_age=ml.days(2))),
        (TRAILING, replace(TRAILING, aggregates=(ml.Rate("r", "x > 2"),))),
        (TRAILING, replace(TRAILING, by={"a": "c"})),
    ],
    ids=str,
)
def test_features_of_the_same_name_are_told_apart_by_what_they_are_computed_from(shop_pipeline, one, other):
    features_ = shop_pipeline.features
    before, now = (training_spec.meanings((*features_, feature)) for feature in (one, other))
    assert [name for name in before if before[name] != now[name]] == list(names_of(one))


def test_models_by_segment_are_backtested_and_sliced_by_their_own_decisions(shop):
    segmented = replace(shop.pipeline.model, segment_by="channel", least_segment_rows=300)
    declared = shop.declared(backtest=ml.Backtest(windows=2), model=segmented, slices=("channel",))
    declared.trained("one")
    made = backtest(declared.pipeline, "one", declared.platform)
    declared.trained("alone", made.folds[0].as_of)
    alone = read_results(TrainingFolder(declared.platform, "alone"))
    assert made.folds[0].model == dict(alone.evaluation.model)
    folder = TrainingFolder(declared.platform, "alone")
    rows = workspace.read_window(folder, "test")
    fitted = load_model(folder.model)
    predicted, label = fitted.predict(rows), rows["label"].to_numpy(zero_copy_only=False)
    assert (predicted.decision != (predicted.score >= fitted.threshold)).any()
    worth = np.where(predicted.decision, np.where(label, 10, -4), 0)
    channel = rows["channel"].to_numpy(zero_copy_only=False)
    declared_slices = {one.name: one for one in alone.slices.slices if one.found == "declared"}
    for name in ("web", "app", "phone"):
        own = declared_slices[f"channel = '{name}'"].metrics["value_per_1000"].value
        assert own == pytest.approx(1000 * worth[channel == name].mean()), name


def test_it_needs_the_evaluation(shop):
    declared = shop.declared(backtest=THREE)
    assemble.assemble(declared.pipeline, declared.tick(), "one", "a test", declared.platform)
    train.train(declared.pipeline, "one", declared.platform)
    with pytest.raises(StepMissing, match="run evaluate first"):
        backtest(declared.pipeline, "one", declared.platform)
    evaluate(declared.pipeline, "one", declared.platform)
    assert backtest(declared.pipeline, "one", declared.platform) is not None


def test_moments_lie_a_test_window_apart_unless_said_otherwise(shop):
    as_of = shop.tick("2024-02-10")
    pipeline = replace(shop.pipeline, split=replace(shop.pipeline.split, test=ml.days(7)))
    assert moments(ml.Backtest(windows=3), pipeline, as_of) == [date(2024, 1, 27), date(2024, 2, 3), date(2024, 2, 10)]
    assert moments(ml.Backtest(2, ml.days(3)), pipeline, as_of) == [date(2024, 2, 7), date(2024, 2, 10)]


def test_moments_of_counted_windows_let_test_windows_follow_each_other(shop):
    as_of, schedule, delay = shop.tick("2024-02-10"), shop.pipeline.schedule, shop.pipeline.label_delay_ticks
    pipeline = replace(
        shop.pipeline, split=replace(shop.pipeline.split, train=ml.Ticks(2), validation=ml.Ticks(2), test=ml.Ticks(3))
    )
    populated = [day for day in schedule.names(schedule.first, as_of.name) if day.weekday() in (0, 1, 4)]
    days = moments(ml.Backtest(windows=3), pipeline, as_of, populated)
    spans = [fold_windows(pipeline, day, populated)[1] for day in days]
    tested = [day for one in spans for day in populated if one.test.first <= day <= one.test.last]
    assert tested == [day for day in populated if day <= schedule.shift(as_of.name, -delay)][-9:]
    assert overlapping(ml.Backtest(3), spans, schedule) == 1
    assert overlapping(ml.Backtest(3, ml.days(1)), spans, schedule) == max(len(one.test) for one in spans)


def folds_of(pairs: list[tuple[float, float]]) -> list[Fold]:
    def as_measured(value: float) -> Estimate:
        return Estimate(value, value, value)

    return [Fold("2024-01-01", {}, 1, 1, {"roc_auc": as_measured(a), "value_per_1000": as_measured(b)}, {}) for a, b in pairs]


def test_the_correlation_is_spearmans_and_none_of_two_folds():
    pairs = [(0.61, 5.0), (0.65, 9.0), (0.65, 7.0), (0.7, 30.0), (0.66, 8.0)]
    expected = stats.spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic
    assert correlation(folds_of(pairs), "roc_auc") == pytest.approx(expected)
    assert np.isnan(correlation(folds_of(pairs[:2]), "roc_auc"))
    assert np.isnan(correlation(folds_of([(0.6, 5.0), (0.6, 6.0), (0.6, 7.0)]), "roc_auc"))
    assert np.isnan(correlation(folds_of([*pairs[:2], (0.7, np.nan)]), "roc_auc"))
