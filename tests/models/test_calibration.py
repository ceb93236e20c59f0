"""Calibration against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mlprod_tasks.models import calibration

RANDOM = np.random.default_rng(0)
RAW = RANDOM.random(3000)
OUTCOME = RANDOM.random(3000) < RAW**2


def test_isotonic_agrees_with_scikit_learn_but_for_the_ends():
    fitted = calibration.fit_calibration("isotonic", RAW, OUTCOME)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(RAW, OUTCOME.astype(float))
    edge = 1 / 3002
    unseen = RANDOM.random(500)
    assert fitted(unseen) == pytest.approx(np.clip(oracle.predict(unseen), edge, 1 - edge), abs=1e-3)


def test_sigmoid_is_logistic_regression_on_the_logit():
    fitted = calibration.fit_calibration("sigmoid", RAW, OUTCOME)
    logit = np.log(RAW / (1 - RAW))[:, None]
    oracle = LogisticRegression(C=np.inf).fit(logit, OUTCOME).predict_proba(logit)[:, 1]
    assert fitted(RAW) == pytest.approx(oracle, abs=1e-4)  # where its solver stops


@pytest.mark.parametrize("way", ["isotonic", "sigmoid", "none"])
def test_it_is_monotone_stays_a_probability_and_survives_json_bit_for_bit(way):
    fitted = calibration.fit_calibration(way, RAW, OUTCOME)
    grid = np.concatenate([[0.0], np.sort(RANDOM.random(1000)), [1.0]])
    assert (np.diff(fitted(grid)) >= 0).all()
    assert fitted(grid).min() >= 0
    assert fitted(grid).max() <= 1
    again = calibration.from_json(json.loads(json.dumps(fitted.as_json())))
    assert np.array_equal(again(grid), fitted(grid))


def test_no_number_of_rows_proves_that_something_never_happens():
    fitted = calibration.fit_calibration("isotonic", np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert fitted(np.array([0.0, 1.0])).tolist() == pytest.approx([1 / 6, 5 / 6])


@pytest.mark.parametrize("way", ["isotonic", "sigmoid"])
def test_one_score_for_all_becomes_the_rate(way):
    outcome = np.arange(200) < 50
    fitted = calibration.fit_calibration(way, np.full(200, 0.9), outcome)
    assert fitted(np.full(3, 0.9)) == pytest.approx(np.full(3, 0.25))


@pytest.mark.parametrize("way", ["isotonic", "sigmoid", "none"])
@pytest.mark.parametrize("rows", [0, 1, 50])
def test_outcomes_of_one_class_calibrate_to_probabilities_all_the_same(way, rows):
    fitted = calibration.fit_calibration(way, RAW[:rows], np.zeros(rows, bool))
    calibrated = fitted(RAW)
    assert ((calibrated >= 0) & (calibrated <= 1)).all()
    if rows == 50 and way != "none":
        assert fitted(RAW[:rows]).mean() < 0.1


@pytest.mark.parametrize("way", ["isotonic", "sigmoid", "none"])
def test_one_score_alone_becomes_what_it_becomes_among_many_bit_for_bit(way):
    fitted = calibration.fit_calibration(way, RAW, OUTCOME)
    one = fitted.single()
    raw = np.concatenate([RANDOM.random(5000), [0.0, 1.0, 1e-300, 1 - 1e-16], RANDOM.random(500) * 1e-12])
    assert [one(value) for value in raw.tolist()] == fitted(raw).tolist()
