"""The verdicts on gates: of each gate, and whether the model passed all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlprod_tasks.declaration.gate import Gate
from mlprod_tasks.evaluation.gates.names import name_of

EVALUATED = object()  # only `evaluate_gates` uses it


@dataclass(frozen=True)
class GateVerdict:
    """One gate's verdict.

    value, bound: None if there is nothing to measure or compare with.
    """

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
    """Every gate passed, for the model with that digest.

    Only `evaluate_gates` makes it.
    """

    training_id: str
    model_digest: str
    gates: tuple[GateVerdict, ...]
    token: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.token is not EVALUATED:
            raise TypeError("only evaluate_gates(...) makes Passed: a model is promoted after its gates, never without them")


class GatesRefused(RuntimeError):
    """The model is not good enough. `verdict` has every gate."""

    def __init__(self, verdict: Refused) -> None:
        self.verdict = verdict
        self.training_id = verdict.training_id
        failed = "; ".join(one.sentence for one in verdict.failed)
        super().__init__(
            f"{len(verdict.failed)} of {len(verdict.gates)} gates refuse the model of training {verdict.training_id}: {failed}"
        )

    def __reduce__(self) -> tuple[type[GatesRefused], tuple[Refused]]:
        return GatesRefused, (self.verdict,)


class CannotBeEvaluated(LookupError):
    """What a gate needs is missing. The message says what, and which step makes it."""


def verdict(gate: Gate, passed: bool, value: float | None, bound: float | None, n: int, sentence: str) -> GateVerdict:
    """Make the verdict on `gate`, under its name."""
    return GateVerdict(name_of(gate), bool(passed), value, bound, n, sentence)
