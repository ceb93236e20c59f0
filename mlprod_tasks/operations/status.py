"""The status of a use case: its champion, its last ticks, its open alarms."""

from __future__ import annotations

from datetime import date

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Audit, Decision, Measurement, PromotionKind, Publication, Scoring, Training
from mlprod_tasks.promotion.history import promotions
from mlprod_tasks.scoring.unscored_rows import unscored_rows

SHOWN_TICKS = 7


def status(pipeline: Pipeline, platform: Platform) -> str:
    """Write the status as text for a terminal."""
    return "\n".join(
        [
            f"{pipeline.name}: {pipeline.doc.strip()}",
            "",
            *_champion(pipeline, platform),
            "",
            *_ticks(pipeline, platform),
            "",
            *_alarms(pipeline, platform),
        ]
    )


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
        shown = ("roc_auc", "log_loss", "calibration_error", "value_per_1000")
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
    aucs = {m.tick: m.value for m in ledger.all(Measurement, pipeline=name, what="roc_auc")}
    published: dict[date, int] = {}
    for publication in ledger.all(Publication, pipeline=name):
        published[publication.tick] = published.get(publication.tick, 0) + publication.rows
    with ledger.session() as session:
        late = unscored_rows(session, [pipeline])[name]
    known = sorted({*scorings, *decisions, *refused, *published})[-SHOWN_TICKS:]
    if not known:
        return ["ticks     none yet: run `mlprod ingest`"]
    lines = ["tick        published  scored  version  AUC    decision"]
    for tick in known:
        scoring, auc, decision = scorings.get(tick), aucs.get(tick), decisions.get(tick)
        scored = f"{scoring.rows:6,}  {scoring.model_version:7}" if scoring else f"{'-':>6}  {'-':>7}"
        shown = f"{auc:.3f}" if auc is not None else "-    "
        lines.append(f"{tick}  {published.get(tick, 0):9,}  {scored}  {shown}  {decision.action if decision else '-'}")
        if tick in refused:
            lines[-1] += f"  REFUSED: {refused[tick]}"
        if scoring and scoring.fallback_rows:
            lines[-1] += "  FALLBACK"
        if tick in late:
            lines[-1] += f"  NOT SCORED: {late[tick]:,} rows that arrived later"
    return lines


def _alarms(pipeline: Pipeline, platform: Platform) -> list[str]:
    from mlprod_tasks.monitoring.alarms import open_alarms
    from mlprod_tasks.promotion.fallback_switch import sentence, switched

    switch = switched(pipeline, platform)
    answering = [f"fallback  answers: {sentence(switch)}", ""] if switch else []
    alarms = open_alarms(pipeline, platform)
    if not alarms:
        return [*answering, "open alarms  none"]
    return [*answering, "open alarms", *(f"  {alarm.line()}" for alarm in alarms)]
