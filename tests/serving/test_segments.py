"""Models of segments explain on request: what features add is that of the model that answers the row."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.serving.run import build_service
from tests.support.reason_shop import REASONS, reason_shop
from tests.support.refund_shop import REFUNDS, refund_shop
from tests.support.service import TICK, orders_of, post
from tests.support.trained_shop import Shop

LEARNER = ml.LightGBM(max_trees=20, min_data_in_leaf=20)
COUNTED = replace(LEARNER, objective="poisson")
GATES = {
    "binary": (ml.AtLeast("roc_auc", 0.5),),
    "regression": (ml.AtMost("mae", 60.0),),
    "multiclass": (ml.AtMost("log_loss", 9.0),),
}


def by_channel(pipeline: ml.Pipeline) -> ml.Pipeline:
    learner = COUNTED if pipeline.task == "regression" else LEARNER
    model = replace(pipeline.model, candidates=(learner,), segment_by="channel", least_segment_rows=300)
    return replace(pipeline, model=model, gates=GATES[pipeline.task], serving=ml.Serving())


@pytest.fixture(params=["binary", "regression", "multiclass"])
def segmented(request: pytest.FixtureRequest, filled_home: Path, shop: Shop, tmp_path: Path) -> Shop:
    """A shop whose champion has a model for each channel, and one for orders without a channel."""
    if request.param == "binary":
        made = Shop(by_channel(shop.pipeline), shop.platform)
    elif request.param == "regression":
        made = refund_shop(filled_home, tmp_path / "one", pipeline=by_channel(REFUNDS))
    else:
        made = reason_shop(filled_home, tmp_path / "one", pipeline=by_channel(REASONS))
    assert made.promoted("one").moved
    return made


def test_what_features_add_is_that_of_the_model_that_answers(segmented: Shop) -> None:
    sent, batch = orders_of(segmented, TICK)
    at = {row["channel"]: i for i, row in enumerate(sent)}
    assert set(at) == {"web", "app", "phone", None}
    body = {"rows": [sent[i] for i in at.values()], "moment": segmented.tick(TICK).start.isoformat()}
    service = build_service(segmented.platform, {"returns": segmented.pipeline}, keys_needed=False)
    version = service.loader.loaded["returns"].champion
    assert version is not None
    assert isinstance(version.model, SegmentedModel)
    told, scored = (post(service, body, verb=verb).json()["rows"] for verb in ("explain", "score"))
    assert [one.get("reason") for one in told] == [None] * 4
    for one, given, (channel, i) in zip(told, scored, at.items(), strict=True):
        assert {name: one[name] for name in given if name in one} == {name: given[name] for name in given if name in one}
        row = batch.slice(i, 1)
        own = version.model.parts.get(channel, version.model.overall) if channel else version.model.overall
        raw = own.raw(own.matrix(row))[0]
        added = one["base"] + sum(part["adds"] for part in one["features"])
        if segmented.pipeline.task == "multiclass":
            place = own.rule.classes.index(one["prediction"])  # type: ignore[union-attr]
            assert added == pytest.approx(np.log(raw)[place] - np.log(raw).mean(), abs=1e-9)
        elif segmented.pipeline.task == "binary":
            assert 1 / (1 + np.exp(-added)) == pytest.approx(raw, abs=1e-9)
        else:
            assert (one["link"], np.exp(added)) == ("log", pytest.approx(one["prediction"], rel=1e-9))
