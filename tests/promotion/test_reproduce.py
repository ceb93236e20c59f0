"""A registered model can be made again, bit for bit, long after everything around it has changed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.model import cores_for
from mlprod_tasks.platform import digest, names
from mlprod_tasks.platform.ledger import Promotion, Training
from mlprod_tasks.promotion.reproduce import CannotReproduce, Reproduced, reproduce
from mlprod_tasks.training import provenance
from mlprod_tasks.training.assemble import assemble
from mlprod_tasks.training.search import search


def compared(made: Reproduced, what: str):
    return next(one for one in made.compared if one.what == what)


def republished(shop, tables) -> None:
    """Other rows of the same ticks: every amount doubled, every outcome turned round."""
    made, outcomes = tables
    amounts = pc.multiply(made["amount"], 2.0)
    made = made.set_column(made.column_names.index("amount"), "amount", amounts)
    turned = pc.invert(outcomes["returned"])
    outcomes = outcomes.set_column(outcomes.column_names.index("returned"), "returned", turned)
    for name, rows in (("orders", made), ("returns", outcomes)):
        days = rows["tick"].to_pylist()
        ticks = shop.pipeline.schedule.range(min(days), max(days))
        shop.platform.lake.replace_ticks(names.raw(shop.pipeline, name), ticks, rows)


def test_a_version_is_made_again_bit_for_bit_without_its_training_folder(promoted_shop):
    shutil.rmtree(promoted_shop.platform.settings.home / "trainings")
    made = reproduce(promoted_shop.pipeline, 1, promoted_shop.platform)
    assert made.identical, made.text()
    assert (made.training_id, made.max_difference) == ("one", 0.0)
    assert {one.what for one in made.compared} >= {"data orders", "declaration", "code", "lock", "threads", "metric roc_auc"}
    assert made.text().endswith("scores of the test window are the same bit for bit, and so are the metrics")
    assert not (promoted_shop.platform.settings.home / "trainings").exists()


def test_rows_that_were_published_anew_since_do_not_matter(promoted_shop, tables):
    republished(promoted_shop, tables)
    made = reproduce(promoted_shop.pipeline, 1, promoted_shop.platform)
    assert made.identical, made.text()
    assert compared(made, "data orders").now == "read at 1 (now at 2)"


def test_a_declaration_that_was_changed_since_does_not_matter_but_is_told(promoted_shop):
    other = promoted_shop.declared(
        features=promoted_shop.pipeline.features[:2],
        split=ml.Split(validation=ml.days(5), test=ml.days(5), gap=ml.days(3)),
        value=ml.CostMatrix(true_positive=1, false_positive=-1),
    )
    made = reproduce(other.pipeline, 1, other.platform)
    assert made.identical, made.text()
    assert compared(made, "declaration").same is False


def test_nothing_is_changed_by_it(promoted_shop):
    ledger, home = promoted_shop.platform.ledger, promoted_shop.platform.settings.home

    def state() -> tuple[object, ...]:
        rows = [repr(row) for kind in (Training, Promotion) for row in ledger.all(kind)]
        runs = promoted_shop.platform.registry.client.search_runs(["1"])
        return rows, digest.of_folder(home / "trainings"), digest.of_folder(home / "lake"), [repr(run.data) for run in runs]

    before = state()
    reproduce(promoted_shop.pipeline, 1, promoted_shop.platform)
    assert state() == before


def test_another_model_under_that_number_is_not_called_the_same(promoted_shop, monkeypatch):
    from mlprod_tasks.promotion import reproduce as step

    original = step._fit

    def other_seed(declared, registered, record, folder, platform):
        facts = replace(registered.facts, recipe=None)
        changed = replace(declared, model=replace(declared.model, seed=99))
        return original(changed, replace(registered, facts=facts), record, folder, platform)

    monkeypatch.setattr(step, "_fit", other_seed)
    made = reproduce(promoted_shop.pipeline, 1, promoted_shop.platform)
    assert not made.identical
    assert 0 < made.max_difference < 1
    assert made.within(1.0)
    assert not made.within(made.max_difference / 2)
    assert "NOT identical: scores of the test window differ by up to" in made.text()


def test_metrics_that_are_not_those_recorded_are_not_the_same(promoted_shop, monkeypatch):
    from mlprod_tasks.evaluation import evaluate

    original = evaluate.measure_performance
    monkeypatch.setattr(
        evaluate,
        "measure_performance",
        lambda declared, model, rows, by_tick: original(declared, model, rows.slice(1), by_tick),
    )
    made = reproduce(promoted_shop.pipeline, 1, promoted_shop.platform)
    assert compared(made, "scores").same
    assert not made.identical
    assert "the metrics or rows are not" in made.text()
    assert not any(made.within(tolerance) for tolerance in (0.0, 0.5))  # a tolerance is for scores


def test_a_vacuumed_version_is_named(promoted_shop, tables):
    republished(promoted_shop, tables)
    table = promoted_shop.platform.lake.table(names.raw(promoted_shop.pipeline, "orders"))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(CannotReproduce, match=r"version 1 of lake table 'returns/raw/orders' lacks 45 of its 45 files"):
        reproduce(promoted_shop.pipeline, 1, promoted_shop.platform)


def test_a_record_that_was_deleted_is_named(promoted_shop, tmp_path: Path):
    platform = promoted_shop.platform
    hidden = lambda run, path: None if path.endswith("assembled.json") else b"{}"  # noqa: E731
    object.__setattr__(platform.registry, "read_file", hidden)
    with pytest.raises(CannotReproduce, match=r"has no training/assembled.json: it was deleted"):
        reproduce(promoted_shop.pipeline, 1, platform)


def test_without_a_recorded_declaration_todays_is_used_only_where_it_is_the_same(promoted_shop):
    registry = promoted_shop.platform.registry
    kept = registry.read_file
    object.__setattr__(registry, "read_file", lambda run, path: None if path.endswith("declaration.json") else kept(run, path))
    assert reproduce(promoted_shop.pipeline, 1, promoted_shop.platform).identical
    other = promoted_shop.declared(top_share=0.2)
    with pytest.raises(CannotReproduce, match=r"was not stored, and today's is a different one. Check out the commit"):
        reproduce(other.pipeline, 1, other.platform)


def test_other_code_packages_and_threads_are_told_and_not_counted(promoted_shop, monkeypatch):
    packages = {name: "0.1" if name == "lightgbm" else version for name, version in provenance.environment(1).packages.items()}
    monkeypatch.setattr(provenance, "environment", lambda n: provenance.Environment("3.99", "Plan9 pdp11", n, packages))
    monkeypatch.setattr(provenance, "provenance", lambda: provenance.Provenance("f" * 40, "c" * 64, "1" * 64))
    made = reproduce(promoted_shop.pipeline, 1, promoted_shop.platform)
    assert made.identical
    told = [one.what for one in made.compared if one.same is False]
    # Where there was no repository when the model was made, there is no commit to differ from.
    assert [what for what in told if what != "git commit"] == ["code", "lock", "python", "machine", "packages", "  lightgbm"]


def test_it_fits_with_as_many_threads_as_were_recorded(shop, monkeypatch):
    from mlprod_tasks.promotion import reproduce as step

    model = replace(shop.pipeline.model, threads=None)  # as many as the machine has, less one
    declared = shop.declared(model=model, gates=(ml.AtLeast("roc_auc", 0.5),))
    declared.promoted("one")
    fit_all, seen = step.segments.fit_all, []

    def watched(pipeline, *rest, **named):
        seen.append(pipeline.model.threads)
        return fit_all(pipeline, *rest, **named)

    monkeypatch.setattr(step.segments, "fit_all", watched)
    assert reproduce(declared.pipeline, 1, declared.platform).identical
    assert seen == [cores_for(None)]


@pytest.mark.parametrize(
    "model",
    [
        ml.Model(candidates=(ml.RandomForest(trees=20), ml.LogisticRegression()), threads=1, seed=3),
        ml.Model(candidates=(ml.NeuralNet(max_epochs=3), ml.HistGradientBoosting(max_trees=20),
                             ml.Averaging(of=("neural_net", "hist_gradient_boosting"))), weights="balanced", threads=2),
    ],
    ids=["forest and logistic regression", "an average with a neural net"],
)  # fmt: skip
def test_other_learners_are_made_again_bit_for_bit_too(shop, model):
    declared = shop.declared(model=model, gates=(ml.AtLeast("roc_auc", 0.5),))
    declared.promoted("other")
    made = reproduce(declared.pipeline, 1, declared.platform)
    assert made.identical, made.text()


def test_what_a_search_found_is_used_again(shop):
    found = ml.Search(trials=4, workers=1, space={"num_leaves": ml.OneOf((31, 3))})
    declared = shop.declared(model=replace(shop.pipeline.model, search=found), gates=(ml.AtLeast("roc_auc", 0.5),))
    assemble(declared.pipeline, declared.tick(), "searched", "a test", declared.platform)
    search(declared.pipeline, "searched", declared.platform)
    declared.promoted("searched")
    recipe = declared.platform.registry.load(declared.pipeline, 1).facts.recipe
    assert recipe["candidates"] != declared.pipeline.as_json()["model"]["candidates"]  # else the search found nothing better
    made = reproduce(declared.pipeline, 1, declared.platform)
    assert made.identical, made.text()


def test_a_model_per_segment_and_one_that_went_on_from_the_champion_are_made_again(promoted_shop):
    model = replace(promoted_shop.pipeline.model, segment_by="channel", least_segment_rows=500, warm_update=True)
    declared = promoted_shop.declared(model=model, gates=(ml.AtLeast("roc_auc", 0.5),))
    declared.promoted("two", "2024-02-14")
    registered = declared.platform.registry.load(declared.pipeline, 2)
    assert len(registered.parts) >= 2
    assert registered.facts.continued_from.version == 1
    made = reproduce(declared.pipeline, 2, declared.platform)
    assert made.identical, made.text()


def test_a_version_that_is_not_there_is_named(promoted_shop):
    with pytest.raises(RuntimeError, match="has no version 9"):
        reproduce(promoted_shop.pipeline, 9, promoted_shop.platform)


def test_windows_of_counted_ticks_are_those_of_the_training_although_more_ticks_have_rows_now(empty_shop, tables) -> None:
    orders, returns = tables
    counted = ml.Split(validation=ml.Ticks(4), test=ml.Ticks(5), gap=ml.days(2))
    weekdays = pa.array([day.weekday() < 5 for day in orders["tick"].to_pylist()])
    shop = empty_shop(orders.filter(weekdays), returns).declared(split=counted)
    assert shop.promoted("one").moved
    days = orders["tick"].to_pylist()
    ticks = shop.pipeline.schedule.range(min(days), max(days))
    shop.platform.lake.replace_ticks(names.raw(shop.pipeline, "orders"), ticks, orders)
    again = reproduce(shop.pipeline, 1, shop.platform)
    assert again.identical, again.text()
