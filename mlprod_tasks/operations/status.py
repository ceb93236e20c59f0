"""The status of a use case: its champion, its last ticks, its open alarms."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline, Split
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Audit, Decision, Measurement, PromotionKind, Publication, Scoring, Training
from mlprod_tasks.promotion.history import promotions
from mlprod_tasks.scoring.unscored_rows import unscored_rows

SHOWN_TICKS = 7
# By task: the heading, and the measurement that is shown.
PERFORMANCE = {"binary": ("AUC", "roc_auc"), "regression": ("MAE", "mae"), "multiclass": ("right", "accuracy")}


def status(pipeline: Pipeline, platform: Platform) -> str:
    """Write the status as text for a terminal."""
    return "\n".join(
        [
            f"{pipeline.name}: {pipeline.doc.strip()}",
            "",
            *_split(pipeline),
            *_champion(pipeline, platform),
            "",
            *_ticks(pipeline, platform),
            "",
            *_alarms(pipeline, platform),
        ]
    )


def _split(pipeline: Pipeline) -> list[str]:
    """How rows are split, if that proves less than a later test does."""
    return [] if isinstance(pipeline.split, Split) else [f"split     {pipeline.split.words}, not by time. {PROVES_LESS}."]


def _champion(pipeline: Pipeline, platform: Platform) -> list[str]:
    champion = platform.registry.champion(pipeline)
    if champion is None:
        return ["champion  none: run `mlprod train`"]
    trained = [t for t in platform.ledger.all(Training, pipeline=pipeline.name) if t.model_version == champion.version]
    last = next(reversed(promotions(pipeline, platform)), None)
    back = last is not None and last.model_version == champion.version and last.kind is PromotionKind.ROLLBACK
    lines = [
        f"champion  version {champion.version}"
        + (f", {last.reason} (from tick {last.effective} on)" if last is not None and back else "")
    ]
    if trained:
        newest = max(trained, key=lambda training: training.at)
        lines.append(f"trained   as of {newest.as_of}, because: {newest.reason}")
        shown = pipeline.of_task.shown
        lines.append(
            "test      "
            + ", ".join(f"{name} {format_number(newest.metrics[name])}" for name in shown if name in newest.metrics)
        )
    return lines


def _ticks(pipeline: Pipeline, platform: Platform) -> list[str]:
    name, ledger = pipeline.name, platform.ledger
    scorings = {scoring.tick: scoring for scoring in ledger.all(Scoring, pipeline=name)}
    decisions = {decision.tick: decision for decision in ledger.all(Decision, pipeline=name)}
    refused = {audit.tick: audit.table_name for audit in ledger.all(Audit, pipeline=name, passed=False)}
    performance = _performance(pipeline, platform)
    published: dict[TickName, int] = {}
    for publication in ledger.all(Publication, pipeline=name):
        published[publication.tick] = published.get(publication.tick, 0) + publication.rows
    with ledger.session() as session:
        late = unscored_rows(session, [pipeline])[name]
    known = sorted({*scorings, *decisions, *refused, *published})[-SHOWN_TICKS:]
    if not known:
        return ["ticks     none yet: run `mlprod ingest`"]
    lines = [f"tick        published  scored  version  {PERFORMANCE[pipeline.task][0]:5}  decision"]
    for tick in known:
        scoring, shown, decision = scorings.get(tick), performance.get(tick, "-"), decisions.get(tick)
        scored = f"{scoring.rows:6,}  {scoring.model_version:7}" if scoring else f"{'-':>6}  {'-':>7}"
        lines.append(f"{tick}  {published.get(tick, 0):9,}  {scored}  {shown:5}  {decision.action if decision else '-'}")
        if tick in refused:
            lines[-1] += f"  REFUSED: {refused[tick]}"
        if scoring and scoring.fallback_rows:
            lines[-1] += "  FALLBACK"
        if tick in late:
            lines[-1] += f"  NOT SCORED: {late[tick]:,} rows that arrived later"
    return lines


def _performance(pipeline: Pipeline, platform: Platform) -> dict[TickName, str]:
    """The ROC AUC of each tick, the mean absolute error of predicted numbers, or the share of right classes."""
    what = PERFORMANCE[pipeline.task][1]
    rows = [one for one in platform.ledger.all(Measurement, pipeline=pipeline.name, what=what) if one.value is not None]
    if what != "mae":
        return {one.tick: f"{one.value:.3f}" for one in rows}
    return {one.tick: format_number((one.value or 0.0) * (one.reference or 0.0)) for one in rows}


def _alarms(pipeline: Pipeline, platform: Platform) -> list[str]:
    from mlprod_tasks.monitoring.alarms import open_alarms
    from mlprod_tasks.monitoring.incidents import incidents
    from mlprod_tasks.promotion.fallback_switch import sentence, switched

    switch = switched(pipeline, platform)
    answering = [f"fallback  answers: {sentence(switch)}", ""] if switch else []
    alarms = open_alarms(pipeline, platform)
    if not alarms:
        return [*answering, "open alarms  none"]
    shared = [f"  {one.sentence()}" for one in incidents(pipeline, platform)]
    return [*answering, "open alarms", *(f"  {alarm.line()}" for alarm in alarms), *shared]
