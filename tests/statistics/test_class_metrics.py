"""Metrics of several classes, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, roc_auc_score, top_k_accuracy_score

from mlprod_tasks.statistics import class_metrics
from mlprod_tasks.statistics.class_scores import UNKNOWN, ClassScores, codes_of, in_order, joined, names_of
from mlprod_tasks.statistics.metrics import CannotBeMeasured

CLASSES = ("zu groß", "it's", "a b", "x" * 300)


def rows(n: int = 600, seed: int = 3) -> tuple[np.ndarray, ClassScores]:
    random = np.random.default_rng(seed)
    shares = random.dirichlet((3, 2, 1, 0.5), n)
    drawn = (shares.cumsum(axis=1) > random.random((n, 1))).argmax(axis=1)
    return names_of(drawn, CLASSES), ClassScores(CLASSES, shares)


def sorted_as_sklearn(score: ClassScores) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(score.classes)
    return score.shares[:, order], np.array(score.classes)[order]


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    outcome, score = rows()
    values = np.where(outcome == score.likeliest, 2.0, -1.0)
    return dict(class_metrics.sample(outcome, score, score.likeliest, values, resamples=0, top_k=3).points)


def test_every_metric_is_scikit_learns(found):
    outcome, score = rows()
    real, said = outcome.astype(str), score.likeliest.astype(str)
    shares, labels = sorted_as_sklearn(score)
    assert found["log_loss"] == pytest.approx(log_loss(real, shares, labels=labels))
    assert found["accuracy"] == pytest.approx(accuracy_score(real, said))
    assert found["macro_f1"] == pytest.approx(f1_score(real, said, average="macro"))
    assert found["weighted_f1"] == pytest.approx(f1_score(real, said, average="weighted"))
    assert found["macro_auc"] == pytest.approx(roc_auc_score(real, shares, multi_class="ovr", labels=labels))
    assert found["top_k_accuracy"] == pytest.approx(top_k_accuracy_score(real, shares, k=3, labels=labels))
    hot = (real[:, None] == labels).astype(float)
    assert found["brier"] == pytest.approx(((shares - hot) ** 2).sum(axis=1).mean())
    assert found["value_per_1000"] == pytest.approx(1000 * (3 * found["accuracy"] - 1))
    assert (
        class_metrics.confusion(outcome, score.likeliest, tuple(labels)) == confusion_matrix(real, said, labels=labels)
    ).all()


def test_a_resample_is_measured_as_its_rows_are():
    outcome, score = rows(80)
    values = np.arange(80.0)
    sampled = class_metrics.sample(outcome, score, score.likeliest, values, resamples=5, seed=9)
    random = np.random.default_rng(9)
    for i in range(5):
        at = random.integers(0, 80, 80)
        again = class_metrics.sample(outcome[at], score[at], score.likeliest[at], values[at], resamples=0).points
        for name in set(class_metrics.NAMES) - {"calibration_error"}:  # whose bins have equal numbers of the original rows
            assert sampled.draws[name][i] == pytest.approx(again[name]), name


def test_an_outcome_that_the_model_does_not_know_counts_as_wrong():
    outcome, score = rows()
    outcome = outcome.copy()
    outcome[:30] = "new"
    found = class_metrics.sample(outcome, score, score.likeliest, np.zeros(600), resamples=20).points
    assert found["accuracy"] == pytest.approx(accuracy_score(outcome.astype(str), score.likeliest.astype(str)))
    assert found["macro_f1"] == pytest.approx(f1_score(outcome.astype(str), score.likeliest.astype(str), average="macro"))
    assert class_metrics.row_losses(outcome, score)[:30] == pytest.approx(-np.log(np.finfo(float).eps))
    assert class_metrics.auc_by_class(outcome, score)["new"] == 0.5
    assert score.codes(["new", "it's"]).tolist() == [UNKNOWN, 1]


def test_outcomes_of_one_class_have_no_auc_but_a_log_loss():
    _, score = rows(50)
    outcome = names_of(np.zeros(50, int), CLASSES)
    found = class_metrics.sample(outcome, score, score.likeliest, np.zeros(50), resamples=3)
    assert np.isnan(found.points["macro_auc"])
    assert found.points["log_loss"] == pytest.approx(-np.log(score.shares[:, 0]).mean())
    with pytest.raises(CannotBeMeasured, match="all 50 outcomes are 'zu groß'"):
        class_metrics.macro_auc(outcome, score)


def test_no_rows_cannot_be_measured():
    _, score = rows(5)
    with pytest.raises(CannotBeMeasured, match="there are no rows"):
        class_metrics.log_loss(np.array([], object), score[:0])


def test_scores_of_other_classes_are_aligned_by_name():
    score = ClassScores(("b", "a"), np.array([[0.3, 0.7], [0.6, 0.4]]))
    assert score.aligned(("a", "new", "b")).tolist() == [[0.7, 0.0, 0.3], [0.4, 0.0, 0.6]]
    assert score.of(np.array(["a", "new"], object)).tolist() == [0.7, 0.0]
    assert joined([score, score[:1]]).shares.tolist() == [[0.3, 0.7], [0.6, 0.4], [0.3, 0.7]]
    assert codes_of(np.array([None, "b"], object), score.classes).tolist() == [UNKNOWN, 0]


def test_whole_numbers_are_shown_by_size():
    assert in_order(["10", "9", "-1", "b", "a", "", "9"]) == ("-1", "9", "10", "", "a", "b")
