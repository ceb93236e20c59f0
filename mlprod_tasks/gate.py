"""Whether a model is good enough: every gate, its value, its bound, its verdict. None passes through an exception."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlprod_tasks import evaluation as evaluations
from mlprod_tasks.declaration import AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion, Pipeline
from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER, Gate
from mlprod_tasks.evaluation import Evaluation
from mlprod_tasks.metrics import Estimate
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import GateResult
from mlprod_tasks.training_folder import TrainingFolder, failing, update

log = logging.getLogger(__name__)

_JUDGED = object()  # only `judge` hands it out


@dataclass(frozen=True)
class GateVerdict:
    """One gate's verdict. value and bound are None where they could not be had, and the gate has then failed."""

    gate: str
    passed: bool
    value: float | None
    bound: float | None
    n: int
    sentence: str


@dataclass(frozen=True)
class Refused:
    """At least one gate failed."""

    training_id: str
    model_digest: str
    gates: tuple[GateVerdict, ...]

    @property
    def failed(self) -> tuple[GateVerdict, ...]:
        return tuple(verdict for verdict in self.gates if not verdict.passed)


@dataclass(frozen=True)
class Passed:
    """Every gate passed, for the model of that digest and no other. Made by `judge` alone."""

    training_id: str
    model_digest: str
    gates: tuple[GateVerdict, ...]
    token: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.token is not _JUDGED:
            raise TypeError("Passed is made by judge(...) alone: a model is promoted after its gates, never beside them")


class GatesRefused(RuntimeError):
    """The model is not good enough. `verdict` names every gate."""

    def __init__(self, verdict: Refused) -> None:
        self.verdict = verdict
        self.training_id = verdict.training_id
        failed = "; ".join(one.sentence for one in verdict.failed)
        super().__init__(
            f"{len(verdict.failed)} of {len(verdict.gates)} gates refuse the model of training {verdict.training_id}: {failed}"
        )

    def __reduce__(self) -> tuple[type[GatesRefused], tuple[Refused]]:
        return GatesRefused, (self.verdict,)


def gate(pipeline: Pipeline, training_id: str, platform: Platform) -> Passed:
    """Judge the training's evaluation; record every gate in the ledger and on the MLflow run.

    Raises: GatesRefused, after everything is recorded.
    """
    with failing(training_id, platform):
        verdict, run_id = _verdict(pipeline, training_id, platform)
        now = platform.clock.now()
        rows = [
            GateResult(
                training_id=training_id,
                gate=one.gate,
                pipeline=pipeline.name,
                passed=one.passed,
                value=one.value,
                bound=one.bound,
                sentence=one.sentence,
                at=now,
            )
            for one in verdict.gates
        ]
        platform.ledger.put_instead(GateResult, rows, training_id=training_id)
        for one in verdict.gates:
            log.log(
                logging.INFO if one.passed else logging.ERROR, "%s %s", "passed:" if one.passed else "FAILED:", one.sentence
            )
        tags = {"gates": "passed" if isinstance(verdict, Passed) else "refused"}
        tags |= {f"gate.{_tag(one.gate)}": f"{'passed' if one.passed else 'FAILED'}: {one.sentence}" for one in verdict.gates}
        platform.registry.log(run_id, tags=tags)
        if isinstance(verdict, Refused):
            platform.registry.end_run(run_id)
    if isinstance(verdict, Refused):
        update(training_id, platform, state="refused")
        raise GatesRefused(verdict)
    return verdict


def passed(pipeline: Pipeline, training_id: str, platform: Platform) -> Passed:
    """The verdict once more, judged anew from the stored evaluation: for a step in another process than the gate's.

    Raises: GatesRefused.
    """
    verdict, _ = _verdict(pipeline, training_id, platform)
    if isinstance(verdict, Refused):
        raise GatesRefused(verdict)
    return verdict


def judge(gates: Sequence[Gate], evaluation: Evaluation, model_digest: str) -> Passed | Refused:
    """The verdict on one model. What cannot be evaluated has failed."""
    verdicts = tuple(_judge_one(gate, evaluation, model_digest) for gate in gates)
    if verdicts and all(verdict.passed for verdict in verdicts):
        return Passed(evaluation.training_id, model_digest, verdicts, _JUDGED)
    return Refused(evaluation.training_id, model_digest, verdicts)


def _verdict(pipeline: Pipeline, training_id: str, platform: Platform) -> tuple[Passed | Refused, str]:
    folder = TrainingFolder(platform, training_id)
    trained = folder.read("trained.json", "train")
    evaluation = evaluations.from_json(folder.read("evaluation.json", "evaluate"))
    return judge(pipeline.gates, evaluation, str(trained["digest"])), str(trained["run_id"])


def _judge_one(gate: Gate, evaluation: Evaluation, model_digest: str) -> GateVerdict:
    name = name_of(gate)
    try:
        if evaluation.model_digest != model_digest:
            raise ValueError("the evaluation is of another model")
        return _compare(gate, name, evaluation)
    except Exception as error:
        reason = str(error) or type(error).__name__
        return GateVerdict(name, False, None, None, evaluation.rows, f"{name} could not be evaluated: {reason}")


def _compare(gate: Gate, name: str, evaluation: Evaluation) -> GateVerdict:
    estimate = _finite(evaluation.model, gate.metric, "the model")
    value, n, higher = estimate.value, evaluation.rows, HIGHER_IS_BETTER[gate.metric]
    if isinstance(gate, NotWorseThanChampion) and evaluation.champion_version is None:
        return GateVerdict(
            name, True, value, None, n, f"{gate.metric} is {_told(value)} on {n:,} rows; there is no champion to beat"
        )
    match gate:
        case AtLeast():
            bound, higher, against = gate.bound, True, ""
        case AtMost():
            bound, higher, against = gate.bound, False, ""
        case BetterThanBaseline():
            baseline = _finite(evaluation.baseline, gate.metric, "the baseline").value
            bound = baseline + (1 if higher else -1) * gate.by * abs(baseline)
            share = f" by {gate.by:.1%} of it" if gate.by else ""
            against = f" (better than the constant baseline's {_told(baseline)}{share})"
        case NotWorseThanChampion():
            if evaluation.champion is None:
                raise ValueError(evaluation.champion_problem or "the champion was not evaluated")
            champion = _finite(evaluation.champion, gate.metric, "the champion").value
            bound = champion - (1 if higher else -1) * gate.tolerance
            against = f" (champion version {evaluation.champion_version} has {_told(champion)}, tolerance {gate.tolerance:g})"
    # The baseline itself is not better than the baseline.
    strict = isinstance(gate, BetterThanBaseline) and gate.by == 0
    passed = (value > bound if strict else value >= bound) if higher else (value < bound if strict else value <= bound)
    side = ("more than" if strict else "at least") if higher else ("less than" if strict else "at most")
    sentence = (
        f"{gate.metric} is {_told(value)} [{_told(estimate.low)}, {_told(estimate.high)}] on {n:,} rows; "
        f"it must be {side} {_told(bound)}{against}"
    )
    return GateVerdict(name, passed, value, bound, n, sentence)


def _finite(estimates: evaluations.Estimates, metric: str, whose: str) -> Estimate:
    estimate = estimates.get(metric)
    if estimate is None or not math.isfinite(estimate.value):
        raise ValueError(f"{whose} has no {metric}")
    return estimate


def name_of(gate: Gate) -> str:
    """How a gate is called in the ledger and in mails: what it demands, in short."""
    match gate:
        case AtLeast():
            return f"{gate.metric} >= {gate.bound:g}"
        case AtMost():
            return f"{gate.metric} <= {gate.bound:g}"
        case BetterThanBaseline():
            return f"{gate.metric} better than baseline" + (f" by {gate.by:.1%}" if gate.by else "")
        case NotWorseThanChampion():
            return f"{gate.metric} not worse than champion" + (f" by {gate.tolerance:g}" if gate.tolerance else "")


def _told(number: float) -> str:
    """Four digits that count; no powers of ten."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def _tag(name: str) -> str:
    return name.replace(">=", "at least").replace("<=", "at most").replace("%", " percent")
