"""A ledger of months of ticks, as the monitor leaves it: made up, but of the right form and of a plausible course."""

import math
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import (
    Asker,
    Audit,
    Decision,
    GateResult,
    Intervention,
    Measurement,
    Promotion,
    PromotionKind,
    Publication,
    RampStep,
    Review,
    Rollout,
    RolloutCheck,
    Row,
    Scoring,
    Training,
)
from mlprod_tasks.platform.settings import from_environment
from tests.support.clock import SetClock
from tests.support.new_home import new_home

FIRST = date(2013, 5, 1)
DAY = timedelta(days=1)
DELAY = 2
TICKS = 76
LAST = FIRST + (TICKS - 1) * DAY


def opened(home: Path, day: date = LAST) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(new_home(home))}), clock=SetClock(evening(day)))


def moment(day: date, hour: int = 8) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def evening(day: date) -> datetime:
    """When all of a tick is done."""
    return moment(day, 20)


def fill(
    platform: Platform, pipeline: Pipeline, ticks: int = 90, first: date = FIRST, seed: int = 1, quiet: bool = False
) -> None:
    """Write `ticks` ticks of everything. If not quiet, the inputs move from the 59th to the 75th, and the outcomes follow."""
    rng = random.Random(seed)
    rows: list[Row] = []
    days = [first + n * DAY for n in range(ticks)]
    changes = [n for n in (0, 66) if n < ticks and not (quiet and n)]
    for n, day in enumerate(days):
        version = sum(1 for change in changes if change <= n)
        moved = 0.0 if quiet else max(0.0, math.sin((n - 58) / 17 * math.pi)) if 58 <= n <= 75 else 0.0
        rows += _tick(pipeline, day, version, moved, rng, complete=n < ticks - DELAY)
    for number, n in enumerate(changes, start=1):
        rows += _training(pipeline, days[n], number, "promoted")
    if not quiet and ticks > 70:
        rows += _training(pipeline, days[70], None, "refused")
    with platform.ledger.session() as session:
        session.add_all(rows)


def _tick(pipeline: Pipeline, day: date, version: int, moved: float, rng: random.Random, complete: bool) -> list[Row]:
    n = int(900 + 90 * math.sin(day.toordinal() / 7 * 2 * math.pi) + rng.gauss(0, 20))
    at, name = moment(day), pipeline.name
    found: list[Row] = [
        scoring(pipeline, day, rows=n, model_version=version),
        *(
            Publication(pipeline=name, table_name=table.name, tick=day, rows=n, delta_version=1, at=at)
            for table in pipeline.tables
        ),
    ]  # fmt: skip

    def measured(
        what: str,
        value: float | None,
        *,
        slice: str = "",
        low: float | None = None,
        high: float | None = None,
        reference: float | None = None,
        half: float | None = None,
        important: bool = False,
    ) -> Measurement:
        breached = value is not None and ((low is not None and value < low) or (high is not None and value > high))
        words = KINDS[what].words.format(slice=slice, kpi=pipeline.kpi.name)
        told = "could not be measured: its labels are not there" if value is None else f"is {value:.4g}"
        row = Measurement(
            pipeline=name,
            tick=day,
            what=what,
            slice=slice,
            value=value,
            n=n,
            breached=breached,
            model_version=version,
            low=low,
            high=high,
            reference=reference,
            interval_low=None if half is None or value is None else value - half,
            interval_high=None if half is None or value is None else value + half,
            cause=("covariate shift" if moved else "data fault upstream") if breached else "",
            important=important,
            sentence=f"{day}: {words} {told}; n = {n:,}",
            at=at,
        )
        found.append(row)
        return row

    measured("volume", n / 900, reference=900.0, low=0.5, high=1.5)
    measured("fallback_share", 0.0, high=0.0)
    measured("score_psi", 0.02 + abs(rng.gauss(0, 0.02)) + 0.3 * moved, high=0.25, reference=0.03)
    for i, feature in enumerate(pipeline.feature_names):
        strong = i % 4 == 0
        psi = abs(rng.gauss(0, 0.03)) + (0.7 * moved * (1 if i % 3 == 0 else 0.2)) * rng.uniform(0.7, 1.1)
        measured("feature_psi", psi, slice=feature, high=0.25 if strong else None, important=strong)
        measured("null_share", max(0.0, rng.gauss(0, 0.01)), slice=feature, high=0.1, important=strong)
    auc = 0.69 + rng.gauss(0, 0.015)
    measured("estimated_roc_auc", auc - 0.02 * moved, half=0.025, low=0.58)
    measured("estimated_value", 8600 + rng.gauss(0, 900) - 1000 * moved, half=1400)
    for step in ("ingest", "score", "measure"):
        measured("duration", {"ingest": 14.0, "score": 4.0, "measure": 2.5}[step] * rng.uniform(0.9, 1.2), slice=step)
    measured("model_age", float((day - FIRST).days % 66), high=60.0)
    value: float | None = 8400 + rng.gauss(0, 1600) - 9500 * moved if complete else None
    measured("roc_auc", auc - 0.13 * moved + rng.gauss(0, 0.01) if complete else None, low=0.58, reference=0.688, half=0.03)
    measured("value", value, half=1500)
    kpi = measured("kpi", None if value is None else value / 9377, low=0.0, reference=9377.0)
    measured("label_rate", 0.9 + rng.gauss(0, 0.1) + moved if complete else None, low=0.5, high=2.0, reference=0.27)
    measured("label_coverage", 0.97 + rng.uniform(-0.02, 0.02) if complete else None, low=0.5)
    measured("calibration", 0.01 + rng.gauss(0, 0.02) + 0.2 * moved if complete else None, low=-0.15, high=0.15)
    worst = [row for row in found if isinstance(row, Measurement) and row.breached and row.what == "feature_psi"]
    rules = []
    if worst:
        rules.append(_fired("inputs moved", "feature_psi", "alert", day, worst[:3]))
    if kpi.breached:
        rules.append(_fired("acting no longer pays", "kpi", "retrain", day, [kpi]))
    action = "retrain" if kpi.breached else "alert" if worst else "nothing"
    reason = f"{action.capitalize()}: {'; '.join(rule['rule'] for rule in rules)}." if rules else "No rule fired."
    found.append(Decision(pipeline=name, tick=day, action=action, reason=reason, at=at, rules=rules))
    return found


def _fired(rule: str, watch: str, action: str, day: date, rows: list[Measurement]) -> dict[str, object]:
    measurements = [
        {"tick": str(row.tick), "what": row.what, "slice": row.slice, "value": row.value, "low": row.low, "high": row.high,
         "reference": row.reference, "n": row.n, "model_version": row.model_version, "sentence": row.sentence}
        for row in rows
    ]  # fmt: skip
    said = {"rule": rule, "watch": watch, "action": action, "breaches": 1, "of": 1, "cause": rows[0].cause}
    return said | {"ticks": [str(day)], "measurements": measurements}


def _training(pipeline: Pipeline, day: date, version: int | None, state: str) -> list[Row]:
    training, at = f"{pipeline.name}-{day}-0a1b2c3d4e5f", moment(day, 12)
    passed = state == "promoted"
    first = version == 1
    why = "first model" if first else "Retrain: acting no longer pays."
    metrics = {"roc_auc": 0.688, "roc_auc_low": 0.681, "roc_auc_high": 0.695, "log_loss": 0.5581, "value_per_1000": 9377.2}
    rows: list[Row] = [
        Training(
            id=training, pipeline=pipeline.name, as_of=day, reason=why, state=state, at=at, run_id="0" * 32,
            model_version=version, metrics=metrics, asker=Asker.PERSON if first else Asker.RULE,
            decided_at=None if first else day, rules=[] if first else ["acting no longer pays"],
        ),
        GateResult(
            training_id=training, gate="roc_auc >= 0.65", pipeline=pipeline.name, passed=True, value=0.688, bound=0.65,
            sentence="roc_auc is 0.688 [0.681, 0.695] on 25,146 rows; it must be at least 0.65", at=at,
        ),
        GateResult(
            training_id=training, gate="log_loss better than baseline by 2.0%", pipeline=pipeline.name, passed=passed,
            value=0.5581, bound=0.5731, sentence="log_loss is 0.5581 on 25,146 rows; it must be at most 0.5731", at=at,
        ),
    ]  # fmt: skip
    if version is not None:
        rows.append(
            Promotion(
                pipeline=pipeline.name,
                model_version=version,
                effective=day,
                training_id=training,
                reason=why,
                at=at,
                kind=PromotionKind.FIRST if first else PromotionKind.BETTER,
                decided_at=None if first else day,
            )
        )
    return rows


def scoring(pipeline: Pipeline, day: date, rows: int = 900, fallback_rows: int = 0, model_version: int = 1) -> Scoring:
    """A tick was scored in the morning."""
    return Scoring(
        pipeline=pipeline.name, tick=day, model_version=model_version, rows=rows, fallback_rows=fallback_rows,
        fallback_reason=None, features_digest=pipeline.digest, delta_version=1, at=moment(day),
    )  # fmt: skip


def refuse(platform: Platform, pipeline: Pipeline, day: date, table: str) -> None:
    """A batch of that tick was refused."""
    platform.ledger.put(
        Audit(
            pipeline=pipeline.name,
            table_name=table,
            tick=day,
            passed=False,
            rows_read=10,
            rows_accepted=0,
            rows_refused=10,
            staging="",
            at=moment(day),
        )
    )


def doing(platform: Platform, pipeline: Pipeline, kind: str, at: datetime, **more: object) -> None:
    """Something that a person did."""
    given = {"by": "ada", "reason": "looked at it"} | more
    platform.ledger.put(Intervention(id=f"{kind}/{at.isoformat()}", pipeline=pipeline.name, kind=kind, at=at, **given))  # type: ignore[arg-type]


def roll(platform: Platform, pipeline: Pipeline, at: datetime, mode: str = "canary", **more: object) -> None:
    """A rollout that somebody asked for, of version 3 where it is none of the champion alone."""
    given = {"by": "ada", "reason": "a first look", "challenger": None if mode == "champion" else 3} | more
    platform.ledger.put(Rollout(pipeline=pipeline.name, at=at, mode=mode, **given))  # type: ignore[arg-type]


def check(platform: Platform, pipeline: Pipeline, at: datetime, what: str, share: float, **more: object) -> None:
    """What was found of version 3 at one share of a ramp."""
    given = {
        "challenger": 3, "passed": True, "champion_value": 0.27, "challenger_value": 0.28, "bound": 0.1,
        "champion_rows": 5700, "challenger_rows": 312, "sentence": f"{what} of version 3 beside the champion's",
    } | more  # fmt: skip
    platform.ledger.put(RolloutCheck(pipeline=pipeline.name, at=at, what=what, share=share, **given))  # type: ignore[arg-type]


def leave_to_people(platform: Platform, pipeline: Pipeline, at: datetime, n: int, **more: object) -> None:
    """Some rows of one request that wait for somebody to decide."""
    platform.ledger.put(
        *(
            Review(
                pipeline=pipeline.name, request_id=f"{at:%Y%m%dT%H%M}", row=row, key=f"UA/{1500 + row}/EWR/{at:%Y-%m-%dT%H:%M}",
                score=0.31 + 0.0123 * row, model_version=2, predict_at=at, at=at, **more,
            )
            for row in range(n)
        )
    )  # fmt: skip


def answer_requests(platform: Platform, pipeline: Pipeline, at: datetime) -> None:
    """A look in the shadow, then a ramp whose second share fails; and rows that are left to people, some of them decided."""
    hour = timedelta(hours=1)
    band = {"automation": "band", "band_low": 0.3, "band_high": 0.45}
    roll(platform, pipeline, at, "shadow")
    roll(platform, pipeline, at + hour, "champion", reason="seen enough", **band)
    by = {"by": "ramp for ada", "ramp_for": "ada"}
    roll(platform, pipeline, at + 2 * hour, "shadow", ramp=RampStep.BEGUN, **by, **band)
    for step, share in enumerate((0.05, 0.25)):
        begun = at + (3 + 2 * step) * hour
        roll(platform, pipeline, begun, "canary", share=share, ramp=RampStep.SHARE, **by, **band)
        for what, value, bound in (("errors", 0.0, 0.01), ("latency", 4.1, 1.5), ("scores", 0.28, 0.1)):
            worse = {"passed": False, "challenger_value": 0.46} if (what, step) == ("scores", 1) else {}
            given = {"champion_value": value, "challenger_value": value * 1.05, "bound": bound} | worse
            check(platform, pipeline, begun + hour, what, share, **given)
        check(
            platform, pipeline, begun + hour, "quality", share, passed=None, champion_value=None, challenger_value=None,
            bound=0.0, champion_rows=0, challenger_rows=0, sentence="its quality cannot be measured: no outcomes are known yet",
        )  # fmt: skip
    leave_to_people(platform, pipeline, at + hour, 3, decision=True, by="grace", reason="called", decided_at=at + 2 * hour)
    leave_to_people(platform, pipeline, at + 3 * hour, 12)
