"""Training on numbers: what cannot be trained on is refused with the reason, and what is unknown is counted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.training.assemble import NotTrainable, assemble
from mlprod_tasks.training.fit_model import fit_model
from mlprod_tasks.training.records import Assembled, SearchResult, Trained
from mlprod_tasks.training.search import search
from mlprod_tasks.training.train import train
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.refund_shop import REFUNDS, refund_shop, refunds
from tests.support.trained_shop import Shop, raw_tables

Returns = Callable[[pa.Table], pa.Table]


@pytest.fixture
def shop_of(filled_home: Path, tmp_path: Path) -> Callable[..., Shop]:
    """Make a shop whose refunds are changed."""

    def make(change: Returns = lambda returns: returns, pipeline: ml.Pipeline = REFUNDS) -> Shop:
        return refund_shop(filled_home, tmp_path, returns=change(refunds(*raw_tables())), pipeline=pipeline)

    return make


def with_refunds(returns: pa.Table, values: object) -> pa.Table:
    column = pa.array(values, from_pandas=False)
    return returns.set_column(returns.column_names.index("refund"), "refund", column)


def assembled(shop: Shop) -> Assembled:
    return assemble(shop.pipeline, shop.tick(), "one", "a test", shop.platform)


def test_a_null_refund_is_no_outcome_and_is_counted(shop_of):
    def some_missing(returns: pa.Table) -> pa.Table:
        values = returns["refund"].to_numpy()
        return with_refunds(returns, pa.array(values, mask=np.arange(len(values)) % 5 == 0))

    whole, made = raw_tables()[1].num_rows, assembled(shop_of(some_missing))
    known = dict(made.rows.named())
    assert sum(known.values()) < whole * 0.85
    assert all(made.unlabelled[name] > 0.15 * known[name] for name in known)
    assert made.positives.train == 0
    assert made.means is not None
    assert 20 < made.means.train < 40


def test_outcomes_that_are_all_equal_are_refused(shop_of):
    shop = shop_of(lambda returns: with_refunds(returns, np.full(returns.num_rows, 7.5)))
    with pytest.raises(NotTrainable, match=r"has one outcome only: all 2,\d\d\d are 7.5. Check label.sql 'refund'"):
        assembled(shop)


def infinite(returns: pa.Table, rows: int) -> pa.Table:
    values = returns["refund"].to_numpy().copy()
    values[:rows] = np.inf
    return with_refunds(returns, values)


def test_a_few_infinite_refunds_are_left_out_and_counted(shop_of):
    made = assembled(shop_of(lambda returns: infinite(returns, 10)))
    assert (made.unusable.train, made.unusable.validation) == (10, 0)
    assert made.rows.train + made.unlabelled.train + 10 == 22 * 120


def test_many_infinite_refunds_are_refused_by_name(shop_of):
    with pytest.raises(NotTrainable, match=r"that is infinite or cannot be computed: 'label.sql' in 100. That is more"):
        assembled(shop_of(lambda returns: infinite(returns, 100)))


@pytest.mark.parametrize("sql", ["returned", "order_id", "settled_at"])
def test_sql_that_gives_no_number_is_refused_not_converted(shop_of, sql):
    written = f"coalesce({sql}, {sql})"  # so that only the engine knows its type
    shop = shop_of(pipeline=replace(REFUNDS, label=replace(REFUNDS.label, sql=written)))
    with pytest.raises(duckdb.Error, match="does not give a number: derive one from it, or declare kind='yes_no'"):
        assembled(shop)


@pytest.mark.parametrize("sql", ["CAST(refund AS INTEGER)", "CAST(round(refund) AS DECIMAL(9, 2))", "round(refund)::FLOAT"])
def test_integers_decimals_and_short_floats_are_numbers(shop_of, sql):
    shop = shop_of(pipeline=replace(REFUNDS, label=replace(REFUNDS.label, sql=sql)))
    assembled(shop)
    rows = read_window(TrainingFolder(shop.platform, "one"), "train")
    assert rows["label"].type == pa.float64()
    assert (rows["label"].to_numpy() % 1 == 0).all()


@pytest.mark.parametrize("objective", ["poisson", "tweedie"])
def test_negative_outcomes_are_refused_for_objectives_of_counts_and_amounts(shop_of, objective):
    model = replace(REFUNDS.model, candidates=(ml.LightGBM(max_trees=5, objective=objective, name="counts"),))

    def one_negative(returns: pa.Table) -> pa.Table:
        values = returns["refund"].to_numpy().copy()
        values[:200] -= 60
        return with_refunds(returns, values)

    refusal = (
        rf"\d+ negative outcomes of 2,\d+, down to -.*, which objective '{objective}' of candidate 'counts' cannot be fitted to"
    )
    with pytest.raises(NotTrainable, match=refusal):
        assembled(shop_of(one_negative, replace(REFUNDS, model=model)))


def test_each_objective_and_learner_is_trained_and_the_best_by_error_is_chosen(shop_of):
    objectives = ("l2", "l1", "huber", "poisson", "tweedie", "quantile")
    trees = tuple(ml.LightGBM(max_trees=20, min_data_in_leaf=30, objective=name, name=name) for name in objectives)
    candidates = (*trees, ml.LinearRegression(), ml.Constant(), ml.Averaging(of=("l2", "linear_regression")))
    shop = shop_of(pipeline=replace(REFUNDS, model=replace(REFUNDS.model, candidates=candidates, choose_by="mae")))
    assembled(shop)
    trained = train(shop.pipeline, "one", shop.platform)
    model = load_model(TrainingFolder(shop.platform, "one").model)
    errors = {one.name: one.metrics["mae"] for one in model.candidates}
    assert list(errors) == [one.name for one in candidates]
    assert trained.learner == min(errors, key=errors.__getitem__)
    assert all(error < errors["constant"] for name, error in errors.items() if name not in ("constant", "quantile"))
    assert (trained.threshold, model.calibration.way) == (None, "none")
    assert not model.predict(read_window(TrainingFolder(shop.platform, "one"), "test")).decision.any()


def test_segments_of_numbers_get_their_own_models_and_the_same_bits_again(shop_of):
    model = replace(REFUNDS.model, segment_by="channel", least_segment_rows=300)
    shop = shop_of(pipeline=replace(REFUNDS, model=model))
    assembled(shop)
    first = train(shop.pipeline, "one", shop.platform)
    assert first.segments == 3
    folder = TrainingFolder(shop.platform, "one")
    rows = read_window(folder, "test")
    predicted = load_model(folder.model).predict(rows).score
    assert np.abs(rows["label"].to_numpy() - predicted).mean() < 12
    assert train(shop.pipeline, "one", shop.platform).digest == first.digest == folder.read(Trained).digest


def test_the_fallback_predicts_the_smoothed_mean_of_a_group(shop_of):
    from mlprod_tasks.models import fallback

    shop = shop_of()
    assembled(shop)
    train(shop.pipeline, "one", shop.platform)
    folder = TrainingFolder(shop.platform, "one")
    stored, rows = fallback.load(folder.fallback), read_window(folder, "train").to_pandas()
    overall, phone = rows.label.mean(), rows.label[rows.channel == "phone"]
    answer = stored.predict({"channel": ["phone", "a new one", None]})
    assert answer.score[0] == pytest.approx((phone.sum() + 50 * overall) / (len(phone) + 50))
    assert answer.score[1] == pytest.approx(overall)
    assert not answer.decision.any()


@pytest.mark.parametrize("choose_by", [None, "rmse", "r2"])
def test_a_search_lowers_the_error_by_which_candidates_are_chosen(shop_of, choose_by):
    tree = ml.LightGBM(max_trees=20, min_data_in_leaf=900, early_stopping_rounds=None)
    declared = ml.Search(trials=4, workers=1, space={"min_data_in_leaf": ml.Between(20, 900, log=True)})
    model = replace(REFUNDS.model, candidates=(tree, ml.LinearRegression()), search=declared, choose_by=choose_by)
    shop = shop_of(pipeline=replace(REFUNDS, model=model))
    assembled(shop)
    search(shop.pipeline, "one", shop.platform)
    found = TrainingFolder(shop.platform, "one").read(SearchResult).candidates
    assert set(found) == {"lightgbm", "linear_regression"}
    assert found["lightgbm"].loss < found["lightgbm"].declared_loss - 0.5
    train(shop.pipeline, "one", shop.platform)
    metric = "rmse" if choose_by == "rmse" else "mae"
    candidates = {one.name: one for one in load_model(TrainingFolder(shop.platform, "one").model).candidates}
    assert candidates["lightgbm"].metrics[metric] == pytest.approx(found["lightgbm"].loss)


def test_a_champion_of_numbers_is_continued_unless_its_trees_add_up_on_another_scale(shop_of):
    def declared(**given) -> ml.Pipeline:
        tree = ml.LightGBM(max_trees=15, min_data_in_leaf=30, early_stopping_rounds=None, **given)
        return replace(REFUNDS, model=replace(REFUNDS.model, candidates=(tree,), warm_update=True))

    shop = shop_of(pipeline=declared())
    assembled(shop)
    folder = TrainingFolder(shop.platform, "one")
    windows = read_window(folder, "train"), read_window(folder, "validation")
    champion = fit_model(declared(), *windows, ModelFacts())
    warm = fit_model(declared(objective="l1"), *windows, ModelFacts(), warm=champion)
    assert [one.name for one in warm.candidates] == ["lightgbm", "lightgbm_continued"]
    cold = fit_model(declared(objective="poisson"), *windows, ModelFacts(), warm=champion)
    assert [one.name for one in cold.candidates] == ["lightgbm"]
