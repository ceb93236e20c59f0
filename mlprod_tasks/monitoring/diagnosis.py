"""What kind of shift a tick's breaches are, in words, and what helps: the remedy differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform.ledger import Measurement

DATA_FAULT = "data fault upstream"
COVARIATE_SHIFT = "covariate shift"
PRIOR_SHIFT = "prior shift"
CONCEPT_SHIFT = "concept shift"
PIPELINE_FAULT = "pipeline fault"
UPSTREAM_SHIFT = "shift of upstream pipeline"  # followed by its name

REMEDIES: Mapping[str, str] = {
    DATA_FAULT: "Mend the source and ingest and score the tick again; training on it would teach the fault.",
    COVARIATE_SHIFT: "The model answers for rows that it knows less well: watch its estimated and realised performance, and "
    "train again once the labels of such rows are there.",
    PRIOR_SHIFT: "Ranking holds, so calibrate again or move the decision threshold; a training on newer labels does both.",
    CONCEPT_SHIFT: "The same rows come out otherwise than they did: train on newer labels, and until then let the fallback "
    "or the version before answer if that is worth more.",
    UPSTREAM_SHIFT: "Look at the alarms of that use case first: its scores are features here.",
    PIPELINE_FAULT: "Look at the runs, logs and versions of this use case: data and world may be as ever.",
}

# What only a fault, and no change of the world, does to the data at once.
_FAULTS = frozenset(
    ("volume", "freshness", "null_share", "new_categories", "lost_categories", "out_of_range", "type_changes", "join_coverage",
     "data_delay", "label_coverage", "label_delay", "online_nulls")
)  # fmt: skip
_MOVED_ON_REQUEST = frozenset(("online_psi", "online_score_psi"))
_PERFORMANCE = frozenset(("roc_auc", "precision", "recall", "value", "kpi", "estimate_error"))
# A region whose mean residual is surely this many times the mean of all rows stands out: a shift that is the same everywhere
# in log odds moves scores in the middle more than those at the ends, though hardly that much more.
REGIONAL = 1.5


@dataclass(frozen=True)
class Diagnosis:
    """One kind of shift at one tick, with the breached measurements that it explains, the furthest first."""

    kind: str
    sentence: str
    remedy: str
    measurements: tuple[Measurement, ...]


def diagnose(pipeline: Pipeline, measurements: Iterable[Measurement]) -> tuple[Diagnosis, ...]:
    """The kinds of shift at one tick, the one that must be looked at first in front. Pure; empty where nothing is breached.

    measurements: all of one tick that there are; unbreached ones tell what holds.
    """
    rows = list(measurements)
    found = causes(pipeline, rows)
    breached = [row for row in rows if (row.what, row.slice) in found]
    order = [PIPELINE_FAULT, DATA_FAULT, UPSTREAM_SHIFT, CONCEPT_SHIFT, PRIOR_SHIFT, COVARIATE_SHIFT]

    def rank(row: Measurement) -> tuple[int, str]:
        kind = found[row.what, row.slice]
        return order.index(_remedied(kind)), kind

    grouped = groupby(sorted(breached, key=rank), key=lambda row: found[row.what, row.slice])
    return tuple(_diagnosis(pipeline, kind, tuple(of_it), rows) for kind, of_it in grouped)


def causes(pipeline: Pipeline, measurements: Sequence[Measurement]) -> dict[tuple[str, str], str]:
    """The kind of shift behind each breached measurement of one tick, by what and slice.

    Inputs are explained by inputs alone, which are all that is there at the tick; outcomes by inputs and outcomes.
    """
    breached = [row for row in measurements if row.breached]
    inputs = [row for row in breached if KINDS[row.what].family == "input"]
    found = _of_inputs(pipeline, inputs)
    outcome = _of_outcomes(measurements, found)
    for row in breached:
        family = KINDS[row.what].family
        if row.what in _FAULTS:
            found.setdefault((row.what, row.slice), DATA_FAULT)
        elif family == "outcome":
            found[row.what, row.slice] = outcome
        elif row.what == "upstream":
            found[row.what, row.slice] = f"{UPSTREAM_SHIFT} {row.slice}"
        elif row.what in _MOVED_ON_REQUEST:
            found[row.what, row.slice] = COVARIATE_SHIFT
        elif family in ("health", "check", "request"):
            found[row.what, row.slice] = PIPELINE_FAULT
    return found


def remedy(kind: str) -> str:
    """What helps against a kind of shift, as `Measurement.cause` names it."""
    return REMEDIES[_remedied(kind)]


def _of_inputs(pipeline: Pipeline, breached: Sequence[Measurement]) -> dict[tuple[str, str], str]:
    """A feature that is another use case's score points there; one with nulls or values never seen points to its source.

    What is about all features together, or about scores, has the cause of the features that moved.
    """
    upstream = {name: other.pipeline for other in pipeline.monitoring.upstream for name in other.features}
    faulty = {row.slice for row in breached if row.what in _FAULTS or row.value is None}
    found: dict[tuple[str, str], str] = {}
    for row in breached:
        if KINDS[row.what].by != "feature":
            continue
        if row.slice in upstream:
            found[row.what, row.slice] = f"{UPSTREAM_SHIFT} {upstream[row.slice]}"
        else:
            found[row.what, row.slice] = DATA_FAULT if row.slice in faulty else COVARIATE_SHIFT
    of_features = _first([*found.values(), *(DATA_FAULT for row in breached if row.what in _FAULTS)])
    for row in breached:
        if row.what == "fallback_share":
            found[row.what, row.slice] = PIPELINE_FAULT
        elif row.what in _FAULTS:
            found.setdefault((row.what, row.slice), DATA_FAULT)
        elif KINDS[row.what].by != "feature":
            found[row.what, row.slice] = of_features
    return found


def _of_outcomes(rows: Sequence[Measurement], inputs: Mapping[tuple[str, str], str]) -> str:
    """The kind of shift that a tick's outcomes show.

    Broken inputs explain any outcome. Else scores are held to what they promise: where they rank worse than they
    promised, or outcomes leave them in some regions of the features and not in others, the concept has moved; where
    outcomes leave them alike everywhere, or their share alone has moved, the prior has. Where the promise is kept, only the
    rows are others than before.
    """
    moved = _first(inputs.values(), none="")
    if moved == DATA_FAULT or moved.startswith(UPSTREAM_SHIFT):
        return moved
    breached = {row.what for row in rows if row.breached}
    if _ranks_worse_than_promised(rows) or _regional(rows):
        return CONCEPT_SHIFT
    if "calibration" in breached or "residual_drift" in breached:
        return PRIOR_SHIFT
    if moved:
        return COVARIATE_SHIFT
    return PRIOR_SHIFT if "label_rate" in breached else CONCEPT_SHIFT


def _ranks_worse_than_promised(rows: Sequence[Measurement]) -> bool:
    error = next(
        (row for row in rows if (row.what, row.slice) == ("estimate_error", "roc_auc") and row.value is not None), None
    )
    if error is not None:  # the interval leaves zero out
        return error.interval_high is not None and error.interval_high < 0
    return any(row.breached for row in rows if row.what == "roc_auc")


def _regional(rows: Sequence[Measurement]) -> bool:
    overall = next((abs(row.value) for row in rows if row.what == "calibration" and row.value is not None), 0.0)
    surely = [
        row.interval_low for row in rows if row.what == "residual_drift" and row.breached and row.interval_low is not None
    ]
    return max(surely, default=0.0) > REGIONAL * overall


def _first(kinds: Iterable[str], none: str = COVARIATE_SHIFT) -> str:
    """Of several kinds among inputs the one to look at first."""
    there = sorted(set(kinds))
    faults = [kind for kind in there if kind == DATA_FAULT]
    others = [kind for kind in there if kind.startswith(UPSTREAM_SHIFT)]
    rest = [kind for kind in there if kind == COVARIATE_SHIFT]
    return next(iter((*faults, *others, *rest)), none)


def _diagnosis(pipeline: Pipeline, kind: str, of_it: tuple[Measurement, ...], rows: Sequence[Measurement]) -> Diagnosis:
    names = dict.fromkeys(row.slice for row in of_it if KINDS[row.what].by == "feature")
    features = f" ({_few(list(names))})" if names else ""
    whats = _few(list(dict.fromkeys(row.what.replace("_", " ") for row in of_it)))
    said = {
        DATA_FAULT: f"The data itself is suspect{features}: {whats} left what the reference knows.",
        COVARIATE_SHIFT: f"The rows are others than those of the reference{features}: {whats} moved"
        f"{', though outcomes still are as scores promise' if _outcomes_hold(rows) else ''}."
        f"{' It alone moved, as a fault or a change of unit in its source would have it.' if len(names) == 1 else ''}",
        PRIOR_SHIFT: f"Positives are as well ranked as promised, and there are more or fewer of them: {whats} moved.",
        CONCEPT_SHIFT: f"Outcomes no longer follow the scores{features}: {whats} fell short of what calibrated scores promise.",
        PIPELINE_FAULT: f"{pipeline.name} itself did not work as it does: {whats}.",
        UPSTREAM_SHIFT: f"Scores of {kind.removeprefix(UPSTREAM_SHIFT).strip()} are features here{features}: {whats} moved.",
    }
    return Diagnosis(kind, said[_remedied(kind)], remedy(kind), of_it)


def _outcomes_hold(rows: Sequence[Measurement]) -> bool:
    known = [row for row in rows if row.what in _PERFORMANCE | {"calibration"} and row.value is not None]
    return bool(known) and not any(row.breached for row in known)


def _remedied(kind: str) -> str:
    return UPSTREAM_SHIFT if kind.startswith(UPSTREAM_SHIFT) else kind


def _few(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
