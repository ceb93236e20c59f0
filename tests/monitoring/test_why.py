"""Why a tick was decided as it was, told from the ledger."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.monitoring import Breach
from mlprod_tasks.monitoring.act import NotDecided
from mlprod_tasks.monitoring.alarms import acknowledge
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.why import Why, why
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Mail, MailAbout, Measurement, Training
from mlprod_tasks.promotion.operator_actions import ByRule, intervene
from tests.support import monitored_shop as monitored

DAY = timedelta(days=1)
TICK = date(2024, 3, 10)
AT = datetime(2024, 3, 10, 5, tzinfo=UTC)
PIPELINE = replace(
    monitored.pipeline,
    rules=(
        ml.Rule("inputs moved", "feature_psi", "alert"),
        ml.Rule("ranking is poor", "roc_auc", "retrain", breaches=2, of=3),
        ml.Rule("moved and few", "feature_psi", "alert", also=(Breach("volume"),)),
        ml.Rule("no outcomes", "label_coverage", "alert"),
        ml.Rule("useless", "kpi", "rollback"),
    ),
)


def measured(platform: Platform, day: date, what: str, value: float | None, breached: bool, low: float, **more: object) -> None:
    given = {"slice": "", "cause": "", "high": None} | more
    row = Measurement(
        pipeline="shop", tick=day, what=what, value=value, n=400, breached=breached, model_version=3, low=low, at=AT,
        sentence=f"{day}: {what} is {value}", **given,
    )  # fmt: skip
    platform.ledger.put(row)


@pytest.fixture
def decided(make_shop: Callable[..., Platform]) -> Platform:
    """Inputs moved at the tick; of the last known outcomes one was poor."""
    platform = make_shop()
    measured(platform, TICK, "feature_psi", 0.1, True, 0.2, slice="price", cause="covariate shift")
    measured(platform, TICK, "feature_psi", 0.21, False, 0.2, slice="place")
    measured(platform, TICK, "volume", 0.8, False, 0.5)
    for n, value in ((4, 0.7), (3, 0.55), (2, 0.65)):
        measured(platform, TICK - n * DAY, "roc_auc", value, value < 0.6, 0.6)
    measured(platform, TICK - 2 * DAY, "kpi", None, False, 0.5)
    decide(PIPELINE, PIPELINE.schedule.tick(TICK), platform)
    return platform


def told(platform: Platform) -> Why:
    return why(PIPELINE, PIPELINE.schedule.tick(TICK), platform)


def test_a_rule_that_fired_is_told_by_what_caused_it_with_cause_and_remedy(decided: Platform) -> None:
    fired = [one for one in told(decided).rules if one.fired]
    assert [(one.rule, one.lines) for one in fired] == [("inputs moved", (f"{TICK}: feature_psi is 0.1",))]
    assert fired[0].cause == "covariate shift"
    assert fired[0].remedy.startswith("The model scores rows that it knows less well")


def test_a_rule_that_did_not_fire_is_told_by_how_far_it_was(decided: Platform) -> None:
    quiet = {one.rule: one.lines for one in told(decided).rules if not one.fired}
    assert quiet == {
        "ranking is poor": (
            f"roc_auc breached on 1 of the last 3 ticks, 2 of 3 are needed; nearest: {TICK - 2 * DAY}: roc_auc is 0.65; "
            "0.05 from its bound",
        ),
        "moved and few": (
            f"this condition holds: feature_psi breached; nearest: {TICK}: feature_psi is 0.1",
            f"volume not breached; nearest: {TICK}: volume is 0.8; 0.3 from its bound",
        ),
        "no outcomes": (f"label_coverage was not measured at {TICK - 2 * DAY}",),
        "useless": (f"{TICK - 2 * DAY}: kpi is None",),
    }


def mail(tick: date, subject: str) -> Mail:
    return Mail(
        key=subject, pipeline="shop", kind="alert", subject=subject, recipients="a@b.c", at=AT,
        about=MailAbout.DECISION, tick=tick,
    )  # fmt: skip


def test_what_was_done_since_is_told(decided: Platform) -> None:
    assert told(decided).since == ()
    acknowledge(PIPELINE, "inputs moved", "ana", decided, note="new prices")
    decided.ledger.put(
        mail(TICK, "alert!"),
        mail(TICK - DAY, "old"),
        Training(
            id="t9",
            pipeline="shop",
            as_of=TICK,
            reason="x",
            state="promoted",
            model_version=4,
            at=AT,
            asker=Asker.RULE,
            decided_at=TICK,
        ),
        Training(id="t8", pipeline="shop", as_of=TICK, reason="Retrain: me", state="promoted", model_version=5, at=AT),
    )
    intervene(PIPELINE, "not done", ByRule("useless"), decided, subject="rollback", reason="no champion before", tick=TICK)
    since = told(decided).since
    assert since[0] == "mail at 2024-03-10 05:00 UTC to a@b.c: alert!"
    assert since[1] == "training t9: promoted, version 4"
    assert since[2].startswith("rollback was not done by rule useless at ")
    assert since[3].startswith("inputs moved acknowledged by ana at ")
    assert len(since) == 4


def test_the_text_holds_all_of_it(decided: Platform) -> None:
    text = told(decided).text()
    assert text.startswith(f"shop at {TICK}: alert\n")
    for part in (
        "inputs moved fired and asks for: alert",
        "cause: covariate shift.",
        "ranking is poor (would ask for: retrain)",
    ):
        assert part in text
    assert text.endswith("done since\n  nothing")


def test_a_tick_without_decision_is_said_to_have_none(decided: Platform) -> None:
    with pytest.raises(NotDecided, match=f"tick {TICK - DAY} has no decision"):
        why(PIPELINE, PIPELINE.schedule.tick(TICK - DAY), decided)
