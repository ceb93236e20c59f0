"""Classes after and before their labels: estimates against constructed answers, and what a tick with new classes gives."""

from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceClasses, ReferenceProfile
from mlprod_tasks.monitoring.class_outcomes import explained_rows, macro_f1, of_labels, promised
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics.bins import Bins
from mlprod_tasks.statistics.class_scores import ClassScores, names_of

CLASSES = ("a", "b", "c")
QUIET = ReferenceProfile(
    first="2024-01-01", last="2024-01-02", rows_by_tick=(50, 50), features=(),
    score=ProfileColumn(Bins("score", edges=(0.5,)), (0, 0, 50, 50)), mean_score=0.6, outcomes=100, label_rate=None,
    roc_auc=None, kpi=1.0,
)  # fmt: skip
VALUE = ml.ClassValue(right=2, wrong=-1, pairs={"a": {"c": -7}})
WORTH = {(said, real): 2 if said == real else -7 if (said, real) == ("a", "c") else -1 for said in CLASSES for real in CLASSES}


def scores(n: int, seed: int = 1) -> ClassScores:
    return ClassScores(CLASSES, np.random.default_rng(seed).dirichlet((2, 1, 0.7), n))


def drawn(score: ClassScores, random: np.random.Generator) -> np.ndarray:
    return names_of((score.shares.cumsum(axis=1) > random.random((len(score), 1))).argmax(axis=1), CLASSES)


def test_accuracy_and_value_are_the_means_over_all_outcomes_that_can_come():
    score = scores(40)
    predicted = score.likeliest
    one = promised(score, predicted, VALUE)
    chances, right, worth = [], [], []
    for row, said in zip(score.shares[:4], predicted[:4], strict=True):
        chances.append(row)
        right.append([said == real for real in CLASSES])
        worth.append([WORTH[said, real] for real in CLASSES])
    expected = {"right": 0.0, "worth": 0.0, "loss": 0.0}
    for outcome in product(range(3), repeat=4):  # every outcome of four rows with its probability
        probability = np.prod([chances[i][k] for i, k in enumerate(outcome)])
        expected["right"] += probability * np.mean([right[i][k] for i, k in enumerate(outcome)])
        expected["worth"] += probability * 1000 * np.mean([worth[i][k] for i, k in enumerate(outcome)])
        expected["loss"] += probability * np.mean([-np.log(chances[i][k]) for i, k in enumerate(outcome)])
    few = promised(score[:4], predicted[:4], VALUE)
    assert few.loss.value == pytest.approx(expected["loss"])
    assert few.hits.value == pytest.approx(expected["right"])
    assert few.worth.value == pytest.approx(expected["worth"])
    assert one.estimate("accuracy").value == pytest.approx(score.shares.max(axis=1).mean())


def test_intervals_hold_what_comes_in_95_of_100_draws():
    score, random = scores(400), np.random.default_rng(7)
    predicted = score.likeliest
    one, n = promised(score, predicted, VALUE), 400
    held = {"accuracy": 0, "macro_f1": 0, "value": 0, "log_loss": 0}
    for _ in range(n):
        real = drawn(score, random)
        came = {
            "accuracy": (real == predicted).mean(),
            "macro_f1": f1_score(real.astype(str), predicted.astype(str), average="macro"),
            "value": 1000 * np.mean([WORTH[pair] for pair in zip(predicted, real, strict=True)]),
            "log_loss": -np.log(score.of(real)).mean(),
        }
        for name, value in came.items():
            estimate = one.estimate(name)
            held[name] += estimate.low <= value <= estimate.high
    assert all(0.92 < count / n < 0.98 for count in held.values()), held


def test_a_shift_of_the_concept_is_not_in_the_estimate_but_in_what_comes():
    score = scores(2000)
    predicted = score.likeliest
    shifted = drawn(ClassScores(CLASSES, score.shares[:, [1, 0, 2]]), np.random.default_rng(3))
    estimate = promised(score, predicted, VALUE).estimate("accuracy")
    assert (shifted == predicted).mean() < estimate.low - 0.1


def test_the_realised_f1_is_scikit_learns_with_an_interval_as_wide_as_resamples_vary():
    score, random = scores(600), np.random.default_rng(5)
    real, predicted = drawn(score, random), score.likeliest
    estimate = macro_f1(real, predicted)
    assert estimate.value == pytest.approx(f1_score(real.astype(str), predicted.astype(str), average="macro"))
    resampled = []
    for _ in range(300):
        at = random.integers(0, 600, 600)
        resampled.append(f1_score(real[at].astype(str), predicted[at].astype(str), average="macro"))
    assert (estimate.high - estimate.low) / 3.92 == pytest.approx(np.std(resampled), rel=0.15)


def test_features_explain_whether_the_predicted_class_came():
    rows = pa.table({"prediction": ["a", "b"], "label": ["a", "c"], "score": [0.5, 0.6], "amount": [1, 2]})
    assert explained_rows(rows)["label"].to_pylist() == [True, False]


def test_outcomes_of_a_class_that_the_model_does_not_know_are_counted_and_named():
    column = ProfileColumn(Bins("label", categories=("a", "b")), (0, 0, 60, 40))
    profile = replace(QUIET, classes=ReferenceClasses(("a", "b"), column, replace(column), 0.5, 0.8, 0.7))
    judged = pa.table({"label": ["a"] * 55 + ["b"] * 35 + ["it's new"] * 10})
    with engine() as con:
        found = {one.what: one for one in of_labels(con, profile, judged)}
        quiet = {one.what: one for one in of_labels(con, profile, pa.table({"label": ["a"] * 60 + ["b"] * 40}))}
    unknown = found["unknown_classes"]
    assert (unknown.value, unknown.n) == (0.1, 100)
    assert unknown.detail == '10 of 100 outcomes are "it\'s new", which the model does not know'
    assert found["label_psi"].value > 0.2 > 0.01 > quiet["label_psi"].value
    assert quiet["unknown_classes"].value == 0
