"""The fallback model: smoothed rates by hand, and an answer for every row."""

import json

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks.declaration import ClassValue, CostMatrix, MeanTable, RateTable, ShareTable
from mlprod_tasks.models import fallback
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import ModelInputError

ROWS = pa.table({"carrier": ["A", "A", "A", "B", None], "hour": pa.array([1, 1, 2, 1, None], pa.int64())})
OUTCOME = np.array([True, True, False, False, True])
FITTED = fallback.fit_fallback(RateTable(by=("carrier", "hour"), smoothing=2), CostMatrix(120, -40), ROWS, OUTCOME)


def test_a_group_has_its_smoothed_rate():
    # Overall 3 of 5; two rows of weight at that rate.
    score = FITTED.predict(ROWS).score
    assert score.tolist() == pytest.approx([(2 + 1.2) / 4, (2 + 1.2) / 4, 1.2 / 3, 1.2 / 3, 2.2 / 3])


def test_a_group_that_training_did_not_hold_has_the_overall_rate():
    assert FITTED.predict({"carrier": ["Z", "A"], "hour": [1, 9]}).score.tolist() == pytest.approx([0.6, 0.6])


def test_it_acts_where_the_rate_makes_acting_pay():
    assert FITTED.threshold == 0.25
    assert FITTED.predict(ROWS).decision.all()


def test_it_answers_the_same_from_the_ledgers_json_and_from_a_folder(tmp_path):
    again = FallbackModel.from_json(json.loads(json.dumps(FITTED.as_json())))
    assert np.array_equal(again.predict(ROWS).score, FITTED.predict(ROWS).score)
    FITTED.save(tmp_path)
    assert np.array_equal(fallback.load(tmp_path).predict(ROWS.to_pandas()).score, FITTED.predict(ROWS).score)


def test_the_order_of_training_rows_makes_no_other_model(tmp_path):
    backwards = np.arange(5)[::-1]
    again = fallback.fit_fallback(
        RateTable(("carrier", "hour"), 2), CostMatrix(120, -40), ROWS.take(backwards), OUTCOME[backwards]
    )
    assert again.save(tmp_path / "a") == FITTED.save(tmp_path / "b")


def test_it_reads_only_its_own_features_and_names_one_that_is_missing():
    with pytest.raises(ModelInputError, match="'hour' is missing"):
        FITTED.predict({"carrier": ["A"]})


def test_without_groups_every_row_has_the_overall_rate():
    made = fallback.fit_fallback(RateTable(by=()), CostMatrix(120, -40), ROWS, OUTCOME)
    again = FallbackModel.from_json(json.loads(json.dumps(made.as_json())))
    for frame in (ROWS, ROWS.to_pandas(), {"carrier": list("ABCDE")}, ROWS.select([])):
        answered = again.predict(frame)
        assert answered.score.tolist() == [0.6] * 5
        assert answered.decision.all()
    assert again.predict({"hour": 3}).score.tolist() == [0.6]


def test_without_groups_every_row_has_the_overall_mean_quantile_or_shares():
    amounts = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    mean, median = (fallback.fit_fallback(MeanTable(by=()), None, ROWS, amounts, (), q) for q in (None, 0.5))
    assert [one.predict(ROWS).score.tolist() for one in (mean, median)] == [[4.0] * 5, [3.0] * 5]
    reasons = np.array(["late", "late", "lost", "late", "fine"], object)
    shares = fallback.fit_fallback(ShareTable(by=()), ClassValue(), ROWS, reasons, ("fine", "late", "lost"))
    assert shares.predict(ROWS).score.shares.tolist() == [[0.2, 0.6, 0.2]] * 5
    assert shares.predict(ROWS).decision.tolist() == ["late"] * 5
