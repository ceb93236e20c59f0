"""Gates: every one named, with its value and bound; none passes by accident."""

import math
import pickle
from dataclasses import replace

import pytest

from mlprod_tasks.declaration import AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion
from mlprod_tasks.evaluation import Evaluation, from_json
from mlprod_tasks.gate import GatesRefused, Passed, Refused, judge
from mlprod_tasks.metrics import Estimate

DIGEST = "d" * 64


def estimates(**values: float) -> dict[str, Estimate]:
    return {name: Estimate(value, value - 0.01, value + 0.01) for name, value in values.items()}


EVALUATION = Evaluation(
    training_id="t",
    model_digest=DIGEST,
    rows=1000,
    positives=200,
    unlabelled=30,
    threshold=0.3,
    model=estimates(roc_auc=0.70, log_loss=0.50, value_per_1000=500.0, calibration_error=0.03, brier=math.nan),
    baseline=estimates(roc_auc=0.50, log_loss=0.55, value_per_1000=-100.0, brier=0.2),
    champion=estimates(roc_auc=0.71, log_loss=0.49),
    champion_version=4,
)


def passed(gate, evaluation: Evaluation = EVALUATION) -> bool:
    verdict = judge([gate], evaluation, DIGEST)
    assert isinstance(verdict, Passed) == verdict.gates[0].passed
    return verdict.gates[0].passed


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (AtLeast("roc_auc", 0.70), True),
        (AtLeast("roc_auc", 0.7001), False),
        (AtMost("calibration_error", 0.03), True),
        (AtMost("calibration_error", 0.0299), False),
        (BetterThanBaseline("log_loss", by=0.09), True),  # 0.55 less 9 % is 0.5005
        (BetterThanBaseline("log_loss", by=0.10), False),  # 0.495
        (BetterThanBaseline("value_per_1000", by=1.0), True),  # of a negative baseline: -100 + 100
        (BetterThanBaseline("value_per_1000", by=7.0), False),  # -100 + 700
        (NotWorseThanChampion("roc_auc", tolerance=0.011), True),
        (NotWorseThanChampion("roc_auc", tolerance=0.005), False),
        (NotWorseThanChampion("log_loss", tolerance=0.011), True),
        (NotWorseThanChampion("log_loss", tolerance=0.005), False),
    ],
)
def test_a_gate_compares_with_its_bound(gate, expected):
    assert passed(gate) is expected


def test_what_equals_the_baseline_is_not_better_than_it():
    level = replace(EVALUATION, model=estimates(roc_auc=0.5))
    assert not passed(BetterThanBaseline("roc_auc"), level)
    assert passed(BetterThanBaseline("roc_auc"))


def test_without_a_champion_there_is_none_to_be_worse_than():
    first = replace(EVALUATION, champion=None, champion_version=None)
    assert passed(NotWorseThanChampion("roc_auc"), first)
    assert not passed(NotWorseThanChampion("brier"), first), "but the model's own value must be there"


@pytest.mark.parametrize(
    ("gate", "evaluation", "said"),
    [
        (AtLeast("brier", 0.0), EVALUATION, "the model has no brier"),
        (AtLeast("precision_at_k", 0.0), EVALUATION, "the model has no precision_at_k"),
        (BetterThanBaseline("calibration_error"), EVALUATION, "the baseline has no calibration_error"),
        (
            NotWorseThanChampion("roc_auc", 1.0),
            replace(EVALUATION, champion=None, champion_problem="champion version 4: BrokenArtifact: gone"),
            "champion version 4: BrokenArtifact: gone",
        ),
        (NotWorseThanChampion("calibration_error", 1.0), EVALUATION, "the champion has no calibration_error"),
        (AtLeast("roc_auc", 0.0), replace(EVALUATION, model_digest="other"), "of another model"),
        (AtLeast("roc_auc", 0.0), replace(EVALUATION, model=None), "could not be evaluated"),
    ],
)
def test_what_cannot_be_evaluated_has_failed_and_says_why(gate, evaluation, said):
    verdict = judge([gate], evaluation, DIGEST)
    assert isinstance(verdict, Refused)
    assert said in verdict.gates[0].sentence
    assert verdict.gates[0].value is None


def test_one_failed_gate_of_many_refuses_and_all_are_named():
    verdict = judge([AtLeast("roc_auc", 0.9), AtMost("calibration_error", 0.1)], EVALUATION, DIGEST)
    assert isinstance(verdict, Refused)
    assert [one.gate for one in verdict.gates] == ["roc_auc >= 0.9", "calibration_error <= 0.1"]
    assert [one.gate for one in verdict.failed] == ["roc_auc >= 0.9"]
    told = str(GatesRefused(verdict))
    assert "1 of 2 gates refuse" in told
    assert "roc_auc is 0.7 [0.69, 0.71] on 1,000 rows; it must be at least 0.9" in told


def test_no_gates_pass_nothing():
    assert isinstance(judge([], EVALUATION, DIGEST), Refused)


def test_nobody_but_the_judge_makes_a_pass():
    with pytest.raises(TypeError, match="judge"):
        Passed("t", DIGEST, ())
    verdict = judge([AtLeast("roc_auc", 0.5)], EVALUATION, DIGEST)
    assert isinstance(verdict, Passed)
    with pytest.raises(TypeError, match="judge"):
        Passed(verdict.training_id, "another", verdict.gates)


def test_a_refusal_survives_the_way_between_processes():
    refusal = GatesRefused(judge([AtLeast("roc_auc", 0.9)], EVALUATION, DIGEST))
    again = pickle.loads(pickle.dumps(refusal))
    assert (str(again), again.training_id, again.verdict) == (str(refusal), "t", refusal.verdict)


def test_an_evaluation_survives_json_and_keeps_its_unknowns():
    again = from_json(EVALUATION.as_json())
    assert math.isnan(again.model["brier"].value)
    assert again.champion == EVALUATION.champion
    assert again.model["roc_auc"] == EVALUATION.model["roc_auc"]
