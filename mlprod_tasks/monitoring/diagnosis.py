"""Name the kind of shift behind a tick's breaches, and its remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
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
    DATA_FAULT: "Fix the source, then ingest and score the tick again; a training on this data would learn the fault.",
    COVARIATE_SHIFT: "The model scores rows that it knows less well: watch its performance, and retrain once such rows have "
    "labels.",
    PRIOR_SHIFT: "The order of rows is still right, only their level is not: train on newer labels; of a yes or no, "
    "recalibrating or moving the decision threshold helps too.",
    CONCEPT_SHIFT: "The same rows have other outcomes than before: train on newer labels, and until then use the fallback "
    "or the previous version if that is worth more.",
    UPSTREAM_SHIFT: "Check the alarms of that use case first: its scores are features here.",
    PIPELINE_FAULT: "Check the runs, logs and versions of this use case: the data and the world may be unchanged.",
}

# Breaches that only a fault causes at once, not a change of the world.
DATA_FAULTS = frozenset(
    ("volume", "freshness", "null_share", "new_categories", "lost_categories", "out_of_range", "type_changes", "join_coverage",
     "known_fault",
     "data_delay", "label_coverage", "label_delay", "online_nulls", "changed_features", "unscored_rows")
)  # fmt: skip
_MOVED_ON_REQUEST = frozenset(("online_psi", "online_score_psi", "online_class_psi"))
_PERFORMANCE = frozenset(
    (
        "roc_auc",
        "roc_auc_change",
        "precision",
        "recall",
        "value",
        "kpi",
        "estimate_error",
        "mae",
        "rmse",
        "interval_coverage",
        "accuracy",
        "macro_f1",
        "log_loss",
    )
)
# Mean outcome minus mean score, over all rows and in the regions of features; the mean of outcomes alone.
_OFF, _OFF_BY_REGION = ("calibration", "bias"), ("residual_drift", "residual_shift")
_OF_LABELS = ("label_rate", "label_mean", "label_psi", "unknown_classes")
_RANKS = ("roc_auc", "accuracy")  # how well scores rank rows, or tell classes apart
# What has happened, by task.
_PRIOR = {
    "binary": "The ranking works as estimated, but there are more or fewer positives",
    "regression": "Outcomes are higher or lower than predicted by about the same everywhere",
    "multiclass": "Other classes come than before, by about the same everywhere",
}
_CONCEPT = {
    "binary": "scores{features}: {whats} differs from what calibrated scores predict",
    "regression": "predictions{features}: {whats} left the range of the reference",
    "multiclass": "probabilities{features}: {whats} differs from what calibrated probabilities predict",
}
# A region stands out if its mean residual is certainly this many times the mean over all rows. A shift that is the same
# everywhere in log odds moves middling scores more than extreme ones, but hardly by this factor.
REGIONAL = 1.5


@dataclass(frozen=True)
class Diagnosis:
    """One kind of shift at one tick, with the breached measurements that it explains."""

    kind: str
    sentence: str
    remedy: str
    measurements: tuple[Measurement, ...]


def diagnose(pipeline: Pipeline, measurements: Iterable[Measurement]) -> tuple[Diagnosis, ...]:
    """The kinds of shift at one tick, the most urgent first.

    Empty if nothing is breached. Pure. measurements: all of one tick, since those that are not breached count as evidence too.
    """
    rows = list(measurements)
    kinds = causes(pipeline, rows)
    breached = [row for row in rows if (row.what, row.slice) in kinds]
    order = [PIPELINE_FAULT, DATA_FAULT, UPSTREAM_SHIFT, CONCEPT_SHIFT, PRIOR_SHIFT, COVARIATE_SHIFT]

    def rank(row: Measurement) -> tuple[int, str]:
        kind = kinds[row.what, row.slice]
        return order.index(_base_kind(kind)), kind

    grouped = groupby(sorted(breached, key=rank), key=lambda row: kinds[row.what, row.slice])
    return tuple(_diagnosis(pipeline, kind, tuple(of_it), rows) for kind, of_it in grouped)


def causes(pipeline: Pipeline, measurements: Sequence[Measurement]) -> dict[tuple[str, str], str]:
    """The kind of shift behind each breached measurement, by what and slice.

    Inputs are explained by inputs alone, since nothing else is known at the tick; outcomes by inputs and outcomes.
    """
    breached = [row for row in measurements if row.breached]
    inputs = [row for row in breached if KINDS[row.what].family == "input"]
    named = {row.slice for row in measurements if row.what == "known_fault" and row.value is not None}
    kinds = _input_causes(pipeline, inputs, named)
    outcome = _outcome_cause(measurements, kinds)
    for row in breached:
        family = KINDS[row.what].family
        if row.what in DATA_FAULTS:
            kinds.setdefault((row.what, row.slice), DATA_FAULT)
        elif family == "outcome":
            kinds[row.what, row.slice] = outcome
        elif row.what == "upstream":
            kinds[row.what, row.slice] = f"{UPSTREAM_SHIFT} {row.slice}"
        elif row.what in _MOVED_ON_REQUEST:
            kinds[row.what, row.slice] = COVARIATE_SHIFT
        elif family in ("health", "check", "request"):
            kinds[row.what, row.slice] = PIPELINE_FAULT
    return kinds


def remedy(kind: str) -> str:
    """The remedy for a kind of shift, as named in `Measurement.cause`."""
    return REMEDIES[_base_kind(kind)]


def _input_causes(pipeline: Pipeline, breached: Sequence[Measurement], named: Set[str]) -> dict[tuple[str, str], str]:
    """The kind of shift behind each breached input.

    A feature that is another use case's score points to that use case; one with new nulls or unknown values points to its
    source, as does one with a known fault (`named`). Measurements over all features, or of scores, get the cause of the
    features that moved.
    """
    upstream = {name: other.pipeline for other in pipeline.monitoring.upstream for name in other.features}
    faulty = named | {row.slice for row in breached if row.what in DATA_FAULTS or row.value is None}
    kinds: dict[tuple[str, str], str] = {}
    for row in breached:
        if KINDS[row.what].by != "feature":
            continue
        if row.slice in upstream:
            kinds[row.what, row.slice] = f"{UPSTREAM_SHIFT} {upstream[row.slice]}"
        else:
            kinds[row.what, row.slice] = DATA_FAULT if row.slice in faulty else COVARIATE_SHIFT
    of_features = _most_urgent([*kinds.values(), *(DATA_FAULT for row in breached if row.what in DATA_FAULTS)])
    for row in breached:
        if row.what == "fallback_share":
            kinds[row.what, row.slice] = PIPELINE_FAULT
        elif row.what in DATA_FAULTS:
            kinds.setdefault((row.what, row.slice), DATA_FAULT)
        elif KINDS[row.what].by != "feature":
            kinds[row.what, row.slice] = of_features
    return kinds


def _outcome_cause(rows: Sequence[Measurement], inputs: Mapping[tuple[str, str], str]) -> str:
    """The kind of shift behind a tick's breached outcomes.

    Broken inputs explain any outcome. Otherwise outcomes are compared with what calibrated scores predict. If the scores rank
    worse than they predict, or miss the outcomes in some regions of the features only, the concept has shifted. If they miss
    them equally everywhere, or only the share of positives has moved, the prior has shifted. If the predictions hold, only the
    rows differ from before.
    """
    moved = _most_urgent(inputs.values(), none="")
    if moved and _base_kind(moved) in (DATA_FAULT, UPSTREAM_SHIFT):
        return moved
    breached = {row.what for row in rows if row.breached}
    if _ranks_worse_than_estimated(rows) or _is_regional(rows):
        return CONCEPT_SHIFT
    if breached.intersection((*_OFF, *_OFF_BY_REGION)):
        return PRIOR_SHIFT
    if moved:
        return COVARIATE_SHIFT
    return PRIOR_SHIFT if breached.intersection(_OF_LABELS) else CONCEPT_SHIFT


def _ranks_worse_than_estimated(rows: Sequence[Measurement]) -> bool:
    error = next((row for row in rows if row.what == "estimate_error" and row.slice in _RANKS and row.value is not None), None)
    if error is not None:  # the interval excludes zero
        return error.interval_high is not None and error.interval_high < 0
    return any(row.breached for row in rows if row.what in _RANKS)


def _is_regional(rows: Sequence[Measurement]) -> bool:
    """Whether the scores miss the outcomes far more in some region than overall."""
    overall = next((abs(row.value) for row in rows if row.what in _OFF and row.value is not None), 0.0)
    lower_ends = [
        row.interval_low for row in rows if row.what in _OFF_BY_REGION and row.breached and row.interval_low is not None
    ]
    return max(lower_ends, default=0.0) > REGIONAL * overall


def _most_urgent(kinds: Iterable[str], none: str = COVARIATE_SHIFT) -> str:
    """The kind of shift among inputs to look at first."""
    distinct = sorted(set(kinds))
    faults = [kind for kind in distinct if kind == DATA_FAULT]
    others = [kind for kind in distinct if _base_kind(kind) == UPSTREAM_SHIFT]
    rest = [kind for kind in distinct if kind == COVARIATE_SHIFT]
    return next(iter((*faults, *others, *rest)), none)


def _diagnosis(pipeline: Pipeline, kind: str, breaches: tuple[Measurement, ...], rows: Sequence[Measurement]) -> Diagnosis:
    names = dict.fromkeys(row.slice for row in breaches if KINDS[row.what].by == "feature")
    features = f" ({_list_few(list(names))})" if names else ""
    whats = _list_few(list(dict.fromkeys(row.what.replace("_", " ") for row in breaches)))
    sentences = {
        DATA_FAULT: f"The data itself looks wrong{features}: {whats} left the range of the reference.",
        COVARIATE_SHIFT: f"The rows differ from those of the reference{features}: {whats} moved"
        f"{', but outcomes still match the predictions' if _outcomes_hold(rows) else ''}."
        f"{' Only this feature moved, which can also mean a fault or a new unit in its source.' if len(names) == 1 else ''}",
        PRIOR_SHIFT: f"{_PRIOR[pipeline.task]}: {whats} moved.",
        CONCEPT_SHIFT: f"Outcomes no longer follow the {_CONCEPT[pipeline.task].format(features=features, whats=whats)}.",
        PIPELINE_FAULT: f"{pipeline.name} itself did not run as usual: {whats}.",
        UPSTREAM_SHIFT: f"Scores of {kind.removeprefix(UPSTREAM_SHIFT).strip()} are features here{features}: {whats} moved.",
    }
    return Diagnosis(kind, sentences[_base_kind(kind)], remedy(kind), breaches)


def _outcomes_hold(rows: Sequence[Measurement]) -> bool:
    known = [row for row in rows if row.what in _PERFORMANCE | set(_OFF) and row.value is not None]
    return bool(known) and not any(row.breached for row in known)


def _base_kind(kind: str) -> str:
    """The kind without the name of a pipeline: only a shift of an upstream pipeline has one."""
    return kind if kind in REMEDIES else UPSTREAM_SHIFT


def _list_few(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
