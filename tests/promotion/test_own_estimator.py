"""A team's own estimator goes the whole way: searched, promoted, explained in report and card, reproduced and served."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import steps
from mlprod_tasks.models.learners.estimator import OwnEstimator
from mlprod_tasks.promotion.reproduce import reproduce
from mlprod_tasks.serving.run import build_service
from mlprod_tasks.training.search import search
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.refund_shop import REFUNDS, refund_shop
from tests.support.service import TICK, orders_of, post
from tests.support.shop import SHOP
from tests.support.trained_shop import Shop, copied

OWN = "tests.support.own_estimators"
UNSTORABLE = ml.Estimator(f"{OWN}:Unstorable", params={"by": "channel"}, name="ours")
GATES = (ml.AtMost("log_loss", 0.9),)


def whole_way(shop: Shop, score: str) -> None:
    """Check that a version of the team's own is reproduced, and served bit for bit as in batch."""
    assert shop.promoted("one").moved
    model = shop.platform.registry.load(shop.pipeline, 1)
    assert isinstance(model.fitted, OwnEstimator)
    assert reproduce(shop.pipeline, 1, shop.platform).identical
    sent, batch = orders_of(shop, TICK)
    body = {"rows": sent[:20], "moment": shop.tick(TICK).start.isoformat()}
    told = post(build_service(shop.platform, {"returns": shop.pipeline}, keys_needed=False), body).json()["rows"]
    assert [one[score] for one in told] == model.predict(batch).score[:20].tolist()
    assert {one["route"] for one in told} == {"champion"}


def test_one_that_is_pickled_is_reproduced_and_served_and_report_and_card_warn(filled_home: Path, tmp_path: Path) -> None:
    shop = copied(filled_home, tmp_path)
    shop = shop.declared(model=replace(SHOP.model, candidates=(UNSTORABLE,)), gates=GATES)
    whole_way(shop, "score")
    steps.report(shop.pipeline, "one", shop.platform)
    folder = TrainingFolder(shop.platform, "one").path
    written = [file for file in folder.rglob("*.html") if "is stored as a pickle" in file.read_text()]
    assert len(written) == 2, "the report and the card"


def test_numbers_of_ones_own_are_reproduced_and_served(filled_home: Path, tmp_path: Path) -> None:
    own = ml.Estimator(f"{OWN}:boosted_numbers", name="ours")
    pipeline = replace(
        REFUNDS, model=replace(REFUNDS.model, candidates=(own,)), gates=(ml.AtMost("mae", 60.0),), serving=ml.Serving()
    )
    whole_way(refund_shop(filled_home, tmp_path, pipeline=pipeline), "prediction")


@pytest.fixture
def searched(filled_home: Path, tmp_path: Path) -> Shop:
    space = {"ours.c": ml.Between(0.001, 10.0, log=True)}
    own = ml.Estimator(f"{OWN}:linear", params={"c": 0.001}, name="ours")
    model = replace(SHOP.model, candidates=(own,), search=ml.Search(trials=3, workers=1, space=space))
    return copied(filled_home, tmp_path).declared(model=model)


def test_its_params_are_searched_and_the_best_ones_are_fitted(searched: Shop) -> None:
    from mlprod_tasks.training.assemble import assemble
    from mlprod_tasks.training.train import train

    assemble(searched.pipeline, searched.tick(), "one", "a test", searched.platform)
    search(searched.pipeline, "one", searched.platform)
    train(searched.pipeline, "one", searched.platform)
    from mlprod_tasks.models.load_model import load_model

    model = load_model(TrainingFolder(searched.platform, "one").model)
    assert model.facts.recipe is not None
    (candidate,) = model.facts.recipe["candidates"]
    assert candidate["params"]["c"] > 0.001
    assert np.isfinite(model.candidates[0].metrics["log_loss"])
