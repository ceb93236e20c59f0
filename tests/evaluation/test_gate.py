"""Gates: every one named, with its value and bound; none passes by accident."""

import json
import math
import pickle
from dataclasses import replace
from datetime import date

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion, Stable, WorstSlice
from mlprod_tasks.evaluation.gate import GatesRefused, GateVerdict, Passed, Refused, evaluate_gates, name_of
from mlprod_tasks.evaluation.gates import names
from mlprod_tasks.evaluation.results import (
    BacktestResult,
    CheckResult,
    Comparison,
    Evaluation,
    EvaluationResults,
    Fold,
    ModelChecks,
    Slice,
    Slices,
)
from mlprod_tasks.models.model_facts import DateRange, PerWindow
from mlprod_tasks.platform.versioned import from_json, to_json
from mlprod_tasks.statistics.metrics import Difference, Estimate

DIGEST = "d" * 64
WINDOWS = PerWindow(*(DateRange(date(2013, month, 1), date(2013, month, 20)) for month in (1, 2, 3)))


def estimates(**values: float) -> dict[str, Estimate]:
    return {name: Estimate(value, value - 0.01, value + 0.01) for name, value in values.items()}


def measured(**values: float) -> dict[str, Estimate]:
    return {name: Estimate(value, value - 0.02, value + 0.02) for name, value in values.items()}


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
COMPARISON = Comparison(
    champion_version=4,
    rows=1000,
    differences={
        "roc_auc": Difference(-0.01, -0.03, 0.01, 0.4),
        "log_loss": Difference(0.01, -0.01, 0.04, 0.3),
        "brier": Difference(math.nan, math.nan, math.nan, math.nan),
    },
)


def a_slice(name: str, rows: int, **values: float) -> Slice:
    return Slice(name, "declared", rows, rows // 5, measured(**values))


SLICES = Slices(
    least_rows=300,
    left_out=2,
    slices=(
        a_slice("channel = 'web'", 600, roc_auc=0.72, log_loss=0.48, calibration=0.01),
        a_slice("channel = 'app'", 300, roc_auc=0.61, log_loss=0.60, calibration=-0.08),
    ),
)


def a_fold(as_of: str, auc: float, baseline: float = 0.5, champion: float | None = 0.7) -> Fold:
    of_champion = None if champion is None else measured(roc_auc=champion, log_loss=1 - champion)
    made = measured(roc_auc=auc, log_loss=1 - auc)
    return Fold(
        date.fromisoformat(as_of), WINDOWS, 200, 40, made, measured(roc_auc=baseline, log_loss=1 - baseline), of_champion
    )


BACKTEST = BacktestResult(
    folds=(a_fold("2013-03-25", 0.49), a_fold("2013-04-22", 0.6), a_fold("2013-05-20", 0.69), a_fold("2013-06-17", 0.8)),
    champion_version=4,
    champion_recipe="other",
    problem=None,
    correlation=0.4,
)
RESULTS = EvaluationResults(EVALUATION, COMPARISON, SLICES, BACKTEST, None)


def judged(gate: ml.gate.Gate, results: EvaluationResults = RESULTS) -> GateVerdict:
    verdict = evaluate_gates([gate], results, DIGEST)
    (one,) = verdict.gates
    assert isinstance(verdict, Passed) == one.passed
    return one


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
        # By the worse end of the difference's interval: -0.03 for the AUC, +0.04 for the log loss.
        (NotWorseThanChampion("roc_auc", tolerance=0.03, surely=True), True),
        (NotWorseThanChampion("roc_auc", tolerance=0.029, surely=True), False),
        (NotWorseThanChampion("log_loss", tolerance=0.04, surely=True), True),
        (NotWorseThanChampion("log_loss", tolerance=0.039, surely=True), False),
        (WorstSlice("roc_auc", 0.61, least_rows=300), True),
        (WorstSlice("roc_auc", 0.62, least_rows=300), False),
        (WorstSlice("log_loss", 0.60, least_rows=300), True),
        (WorstSlice("log_loss", 0.59, least_rows=300), False),
        (WorstSlice("calibration", 0.08, least_rows=300), True),  # 0.08 too low
        (WorstSlice("calibration", 0.07, least_rows=300), False),
        (Stable("roc_auc", bound=0.6, windows=3), True),
        (Stable("roc_auc", bound=0.6, windows=4), False),
        (Stable("log_loss", bound=0.4, windows=3), True),
        (Stable("log_loss", bound=0.39, windows=3), False),
        (Stable("roc_auc", than="baseline", windows=3), True),
        (Stable("roc_auc", than="baseline", windows=4), False),
        (Stable("log_loss", than="baseline", windows=3), True),
        (Stable("roc_auc", than="champion", windows=1), True),
        (Stable("roc_auc", than="champion", windows=2), False),
        (Stable("roc_auc", than="champion", tolerance=0.011, windows=2), True),
        (Stable("log_loss", than="champion", tolerance=0.011, windows=2), True),
        (Stable("log_loss", than="champion", tolerance=0.005, windows=2), False),
    ],
    ids=str,
)
def test_a_gate_compares_with_its_bound(gate, expected):
    assert judged(gate).passed is expected, judged(gate).sentence


def test_what_equals_the_baseline_is_not_better_than_it():
    level = replace(RESULTS, evaluation=replace(EVALUATION, model=estimates(roc_auc=0.5)))
    assert not judged(BetterThanBaseline("roc_auc"), level).passed
    assert judged(BetterThanBaseline("roc_auc")).passed
    nothing = replace(EVALUATION, model=estimates(value_per_1000=0.0), baseline=estimates(value_per_1000=0.0))
    assert not judged(BetterThanBaseline("value_per_1000", by=0.1), replace(RESULTS, evaluation=nothing)).passed
    everywhere = replace(RESULTS, backtest=replace(BACKTEST, folds=(a_fold("2013-03-25", 0.5),)))
    assert not judged(Stable("roc_auc", than="baseline", windows=1), everywhere).passed


def test_without_a_champion_there_is_none_to_be_worse_than():
    first = replace(RESULTS, evaluation=replace(EVALUATION, champion=None, champion_version=None), comparison=None)
    for surely in (False, True):
        assert judged(NotWorseThanChampion("roc_auc", surely=surely), first).passed
        assert not judged(NotWorseThanChampion("brier", surely=surely), first).passed, "but the model's own value must be there"
    none_yet = replace(first, backtest=replace(BACKTEST, champion_recipe="none", champion_version=None))
    assert judged(Stable("roc_auc", than="champion", windows=4), none_yet).passed
    assert not judged(Stable("roc_auc", than="champion", windows=5), none_yet).passed, "but the windows must be there"


def test_where_no_slice_is_worse_than_the_rest_none_breaks_the_bound():
    verdict = judged(WorstSlice("roc_auc", 0.9), replace(RESULTS, slices=Slices(500, 0, ())))
    assert verdict.passed
    assert verdict.sentence.startswith("no slice of at least 500 rows was found in which the model is worse than in the rest")


def test_a_champion_of_the_same_recipe_is_as_good_in_every_window():
    same = replace(RESULTS, backtest=replace(BACKTEST, champion_recipe="same"))
    assert "was made by the same recipe" in judged(Stable("roc_auc", than="champion", windows=4), same).sentence
    assert judged(Stable("roc_auc", than="champion", windows=4), same).passed


def sentence_of(gate: ml.gate.Gate) -> str:
    return judged(gate).sentence


def test_a_sentence_says_what_was_found_where_and_what_must_be():
    assert sentence_of(WorstSlice("roc_auc", 0.65, least_rows=300)) == (
        "roc_auc is worst where channel = 'app': 0.61 [0.59, 0.63] on 300 rows; it must be at least 0.65 in each of 2 slices "
        "of at least 300 rows"
    )
    assert "worst where channel = 'app': -0.08 [-0.1, -0.06] on 300 rows; it must be between -0.05 and 0.05" in sentence_of(
        WorstSlice("calibration", 0.05, least_rows=300)
    )
    assert sentence_of(Stable("roc_auc", than="baseline", windows=4)) == (
        "roc_auc is better than the baseline's in 3 of 4 windows; it must be in at least 4; worst as of 2013-03-25 with 0.49 "
        "against 0.5"
    )
    assert sentence_of(Stable("log_loss", than="champion", tolerance=0.02, windows=2)) == (
        "log_loss is not worse than that of champion version 4's recipe by more than 0.02 in 2 of 4 windows; it must be in at "
        "least 2; worst as of 2013-03-25 with 0.51 against 0.3"
    )
    assert sentence_of(NotWorseThanChampion("roc_auc", 0.02, surely=True)) == (
        "roc_auc is 0.7, a difference of -0.01 [-0.03, +0.01] from champion version 4 on the same 1,000 rows, drawn by row; "
        "the lower end of "
        "the interval must be at least -0.02"
    )


CHECKED_GATES = (
    ml.AvailableAtPrediction(),
    ml.NoLeakageSuspicion(),
    ml.Latency(5.0),
    ml.ModelSize(1.0),
    ml.SamePredictions(),
    ml.Invariance("the channel must not matter", {"channel": "'web'"}),
    ml.Monotonic("a higher amount must not lower the score", "amount", "up", by=10.0),
    ml.KpiAtLeast(0.0),
    ml.KpiAtMost(0.0),
)
EVERY_GATE = (
    AtLeast("roc_auc", 0.0),
    AtMost("log_loss", 10.0),
    BetterThanBaseline("roc_auc"),
    NotWorseThanChampion("roc_auc", 1.0),
    NotWorseThanChampion("roc_auc", 1.0, surely=True),
    WorstSlice("roc_auc", 0.0, least_rows=300),
    Stable("roc_auc", bound=0.0, windows=1),
    Stable("roc_auc", than="baseline", windows=1),
    Stable("roc_auc", than="champion", windows=1),
    *CHECKED_GATES,
)


def result(gate: ml.gate.Gate, value: float | None, sentence: str = "it was found") -> CheckResult:
    return CheckResult(*names.check_of(gate), value, 10, sentence)


# What lets each of them pass.
GOOD = (
    result(CHECKED_GATES[0], 0.0, "all as scoring had it"),
    CheckResult(names.NULLS_WHEN_FRESH, "amount", 0.05, 120, "amount is null in 7 %, before in 2 %"),
    CheckResult(names.POWER_ALONE, "amount", 0.7, 800, "feature 'amount' alone has a ROC AUC of 0.7"),
    CheckResult(names.POWER_ALONE, "", 0.6, 800, "feature '' alone has a ROC AUC of 0.6"),
    CheckResult(names.POWER_LOST, "amount", 0.5, 800, "without 'amount' 50 % are lost"),
    result(CHECKED_GATES[2], 4.9),
    result(CHECKED_GATES[3], 0.9),
    result(CHECKED_GATES[4], 0.0),
    result(CHECKED_GATES[5], 0.0),
    result(CHECKED_GATES[6], 0.0),
    result(CHECKED_GATES[7], 0.0),  # of both KPI gates
    CheckResult(names.KPI_BY_WEEK, "2024-01-26..2024-02-01", 2.0, 90, "the week before, 2"),
    CheckResult(names.KPI_BY_WEEK, "2024-02-02..2024-02-08", -1.0, 100, "the last week, -1"),
)
TRIED = replace(RESULTS, checks=ModelChecks(DIGEST, GOOD))


@pytest.mark.parametrize("gate", EVERY_GATE, ids=name_of)
def test_each_gate_passes_where_what_it_demands_was_found(gate):
    assert judged(gate, TRIED).passed, judged(gate, TRIED).sentence


@pytest.mark.parametrize(
    ("gate", "found", "value", "said"),
    [
        (CHECKED_GATES[0], result(CHECKED_GATES[0], 0.01, "3 rows differ"), 0.01, "3 rows differ"),
        (CHECKED_GATES[0], CheckResult(names.NULLS_WHEN_FRESH, "amount", 0.11, 120, "null in 13 %"), 0.11, "null in 13 %"),
        (
            CHECKED_GATES[1],
            CheckResult(names.POWER_ALONE, "items", 0.96, 9, "'items' alone has 0.96"),
            0.96,
            "'items' alone has 0.96",
        ),
        (
            CHECKED_GATES[1],
            CheckResult(names.POWER_LOST, "items", 0.91, 9, "without 'items' 91 %"),
            0.91,
            "without 'items' 91 %",
        ),
        (CHECKED_GATES[2], result(CHECKED_GATES[2], 5.1, "5.1 ms"), 5.1, "5.1 ms; it must be at most 5 ms"),
        (CHECKED_GATES[3], result(CHECKED_GATES[3], 1.1, "1.1 MB"), 1.1, "1.1 MB; it must be at most 1 MB"),
        (CHECKED_GATES[4], result(CHECKED_GATES[4], 0.001, "1 row differs"), 0.001, "1 row differs"),
        (
            CHECKED_GATES[5],
            result(CHECKED_GATES[5], 0.1, "3 rows break it"),
            0.1,
            "must not matter: 3 rows break it; at most 0.00%",
        ),
        (CHECKED_GATES[6], result(CHECKED_GATES[6], 0.1, "3 rows break it"), 0.1, "not lower the score: 3 rows break it"),
        (CHECKED_GATES[7], result(CHECKED_GATES[7], -0.1, "kpi is -0.1"), -0.1, "kpi is -0.1; it must be at least 0"),
        (CHECKED_GATES[8], result(CHECKED_GATES[8], 0.1, "kpi is 0.1"), 0.1, "kpi is 0.1; it must be at most 0"),
    ],
)
def test_a_gate_on_a_check_fails_where_its_bound_is_broken(gate, found, value, said):
    others = tuple(one for one in GOOD if (one.check, one.subject) != (found.check, found.subject))
    verdict = judged(
        gate, replace(RESULTS, checks=ModelChecks(DIGEST, (found, *(o for o in others if o.check != found.check))))
    )
    assert not verdict.passed
    assert verdict.value == value
    assert said in verdict.sentence


def test_the_worst_week_has_a_bound_of_its_own():
    assert judged(ml.KpiAtLeast(0.0, worst_week=-1.0), TRIED).passed
    verdict = judged(ml.KpiAtLeast(0.0, worst_week=-0.5), TRIED)
    assert (verdict.passed, verdict.value, verdict.bound) == (False, -1.0, -0.5)
    assert verdict.sentence.endswith("; the worst week: the last week, -1; it must be at least -0.5")
    assert judged(ml.KpiAtMost(0.0, worst_week=2.0), TRIED).passed
    assert "the week before, 2; it must be at most 1.5" in judged(ml.KpiAtMost(0.0, worst_week=1.5), TRIED).sentence
    without = ModelChecks(DIGEST, tuple(one for one in GOOD if one.check != names.KPI_BY_WEEK))
    assert "no whole week" in judged(ml.KpiAtLeast(0.0, worst_week=-5.0), replace(RESULTS, checks=without)).sentence


@pytest.mark.parametrize("gate", EVERY_GATE, ids=name_of)
def test_a_gate_fails_when_what_it_rests_on_is_missing(gate):
    nothing = EvaluationResults(replace(EVALUATION, model={}, baseline={}, champion=None, champion_problem="gone"))
    verdict = judged(gate, nothing)
    assert (verdict.passed, verdict.value, verdict.bound) == (False, None, None)
    assert verdict.sentence.startswith(f"{name_of(gate)} could not be evaluated: ")


@pytest.mark.parametrize("gate", EVERY_GATE, ids=name_of)
def test_a_gate_fails_through_any_exception(gate):
    broken = EvaluationResults(replace(EVALUATION, model=1), comparison=2, slices=3, backtest=4, checks=5)
    assert not judged(gate, broken).passed


@pytest.mark.parametrize("gate", CHECKED_GATES, ids=name_of)
def test_a_check_that_could_not_be_made_or_is_of_another_model_fails_its_gate(gate):
    impossible = tuple(replace(one, value=None, sentence="MemoryError: no more") for one in GOOD)
    verdict = judged(gate, replace(RESULTS, checks=ModelChecks(DIGEST, impossible)))
    assert not verdict.passed
    assert verdict.sentence.endswith("could not be evaluated: MemoryError: no more")
    assert "the checks are of another model" in judged(gate, replace(RESULTS, checks=ModelChecks("e" * 64, GOOD))).sentence
    assert "was not checked" in judged(gate, replace(RESULTS, checks=ModelChecks(DIGEST, ()))).sentence
    alone = replace(result(gate, None), sentence="MemoryError: at once")
    assert "MemoryError: at once" in judged(gate, replace(RESULTS, checks=ModelChecks(DIGEST, (alone,)))).sentence


def test_a_behaviour_that_was_declared_otherwise_since_is_evaluated_by_no_old_check():
    lax = ml.Invariance("the channel must not matter", {"channel": "'web'"}, tolerance=0.5)
    checked = replace(RESULTS, checks=ModelChecks(DIGEST, (result(lax, 0.0),)))
    assert judged(lax, checked).passed
    assert not judged(replace(lax, tolerance=0.0), checked).passed
    assert not judged(replace(lax, change={"channel": "'app'"}), checked).passed
    slow = replace(RESULTS, checks=ModelChecks(DIGEST, (result(ml.Latency(5.0), 1.0),)))
    assert not judged(ml.Latency(5.0, rows=1000), slow).passed


@pytest.mark.parametrize(
    ("gate", "results", "said"),
    [
        (AtLeast("brier", 0.0), RESULTS, "the model has no brier"),
        (AtLeast("precision_at_k", 0.0), RESULTS, "the model has no precision_at_k"),
        (BetterThanBaseline("calibration_error"), RESULTS, "the baseline has no calibration_error"),
        (
            NotWorseThanChampion("roc_auc", 1.0),
            replace(RESULTS, evaluation=replace(EVALUATION, champion=None, champion_problem="version 4: BrokenArtifact: gone")),
            "version 4: BrokenArtifact: gone",
        ),
        (NotWorseThanChampion("calibration_error", 1.0), RESULTS, "the champion has no calibration_error"),
        (
            NotWorseThanChampion("roc_auc", 1.0, surely=True),
            replace(RESULTS, comparison=None),
            "no comparison with champion version 4",
        ),
        (
            NotWorseThanChampion("roc_auc", 1.0, surely=True),
            replace(RESULTS, comparison=replace(COMPARISON, champion_version=3)),
            "the comparison is with champion version 3, the evaluation with 4",
        ),
        (NotWorseThanChampion("value_per_1000", 1e9, surely=True), RESULTS, "difference of value_per_1000"),
        (AtLeast("roc_auc", 0.0), replace(RESULTS, evaluation=replace(EVALUATION, model_digest="x")), "of another model"),
        (WorstSlice("roc_auc", 0.0), replace(RESULTS, slices=None), "slices were not measured"),
        (
            WorstSlice("roc_auc", 0.0, least_rows=50),
            RESULTS,
            "at least 300 rows were measured, but the gate is on those of at least 50",
        ),
        (
            WorstSlice("roc_auc", 0.0, least_rows=501),
            replace(RESULTS, slices=Slices(501, 0, ())),
            "rows of the test window are",
        ),
        (WorstSlice("value_per_1000", 0.0, least_rows=300), RESULTS, "the slice where channel = 'web'"),
        (Stable("roc_auc", bound=0.0), replace(RESULTS, backtest=None), "there is no backtest"),
        (Stable("roc_auc", bound=0.0, windows=5), RESULTS, "has 4 windows, fewer than the 5 that the gate demands"),
        (
            Stable("roc_auc", than="champion", windows=1),
            replace(RESULTS, backtest=replace(BACKTEST, champion_recipe="unknown", problem="champion version 4: no recipe")),
            "champion version 4: no recipe",
        ),
    ],
)
def test_what_cannot_be_evaluated_has_failed_and_says_why(gate, results, said):
    verdict = judged(gate, results)
    assert not verdict.passed
    assert said in verdict.sentence
    assert verdict.value is None


def test_a_window_without_a_number_has_not_kept_the_bound_and_is_the_worst():
    folds = (*BACKTEST.folds[1:], a_fold("2013-07-15", math.nan), a_fold("2013-08-12", 0.9, champion=None))
    verdict = judged(Stable("roc_auc", bound=0.5, windows=5), replace(RESULTS, backtest=replace(BACKTEST, folds=folds)))
    assert verdict.sentence.endswith("in 4 of 5 windows; it must be in at least 5; worst as of 2013-07-15 with no number")
    against = judged(Stable("roc_auc", than="champion", windows=2), replace(RESULTS, backtest=replace(BACKTEST, folds=folds)))
    assert not against.passed, "the champion's recipe has no number in the last window, so only one window counts"


def test_one_failed_gate_of_many_refuses_and_all_are_named():
    verdict = evaluate_gates([AtLeast("roc_auc", 0.9), AtMost("calibration_error", 0.1)], RESULTS, DIGEST)
    assert isinstance(verdict, Refused)
    assert [one.gate for one in verdict.gates] == ["roc_auc >= 0.9", "calibration_error <= 0.1"]
    assert [one.gate for one in verdict.failed] == ["roc_auc >= 0.9"]
    told = str(GatesRefused(verdict))
    assert "1 of 2 gates refuse" in told
    assert "roc_auc is 0.7 [0.69, 0.71] on 1,000 rows; it must be at least 0.9" in told


def test_no_gates_pass_nothing():
    assert isinstance(evaluate_gates([], RESULTS, DIGEST), Refused)


def test_every_gate_has_a_name_of_its_own_that_fits_the_ledger():
    called = [name_of(gate) for gate in EVERY_GATE]
    assert len(set(called)) == len(called)
    assert max(map(len, called)) <= 200
    assert len(name_of(ml.Monotonic("x" * 500, "amount", "up", by=1.0))) == 200


def test_nobody_but_the_judge_makes_a_pass():
    with pytest.raises(TypeError, match="evaluate_gates"):
        Passed("t", DIGEST, ())
    verdict = evaluate_gates([AtLeast("roc_auc", 0.5)], RESULTS, DIGEST)
    assert isinstance(verdict, Passed)
    with pytest.raises(TypeError, match="evaluate_gates"):
        Passed(verdict.training_id, "another", verdict.gates)


def test_a_refusal_survives_the_way_between_processes():
    refusal = GatesRefused(evaluate_gates([AtLeast("roc_auc", 0.9)], RESULTS, DIGEST))
    again = pickle.loads(pickle.dumps(refusal))
    assert (str(again), again.training_id, again.verdict) == (str(refusal), "t", refusal.verdict)


def test_an_evaluation_survives_json_and_keeps_its_unknowns():
    again = from_json(Evaluation, json.loads(json.dumps(to_json(EVALUATION), allow_nan=False)))
    assert math.isnan(again.model["brier"].value)
    assert again.champion == EVALUATION.champion
    assert again.model["roc_auc"] == EVALUATION.model["roc_auc"]


@pytest.mark.parametrize("recipe", ["other", "same", "none"])
def test_a_backtest_against_another_champion_than_the_evaluations_is_no_evidence(recipe):
    version = None if recipe == "none" else 3
    other = replace(RESULTS, backtest=replace(BACKTEST, champion_version=version, champion_recipe=recipe))
    verdict = judged(Stable("roc_auc", than="champion", windows=1), other)
    assert not verdict.passed
    assert "could not be evaluated: the backtest is against" in verdict.sentence
    assert judged(Stable("roc_auc", than="baseline", windows=3), other).passed
