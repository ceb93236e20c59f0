"""The weekly digest: numbers that add up, what happened in plain words, one mail a week."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from PIL import Image

from demo.mail_catcher import MailCatcher
from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.timeline import happenings
from mlprod_tasks.notifications import digest_classes
from mlprod_tasks.notifications.digest import digest, digest_mail, tell_digest, text
from mlprod_tasks.notifications.week import Day, Week
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import (
    Asker,
    Audit,
    Decision,
    Intervention,
    Mail,
    Measurement,
    Promotion,
    PromotionKind,
    Scoring,
    Training,
)
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock
from tests.support.refund_shop import REFUNDS

DAY = timedelta(days=1)
LAST = date(2024, 3, 18)  # a Monday; outcomes are known up to the 16th
NOW = datetime(2024, 3, 18, 5, tzinfo=UTC)
PIPELINE = replace(monitored.pipeline, monitoring=ml.Monitoring(digest_to=("owner@example.com",)))
TICK = PIPELINE.schedule.tick(LAST)
OF_NUMBERS = replace(REFUNDS, name="shop", watches=ml.WATCHES, rules=ml.RULES)


@pytest.fixture
def platform(mailing: Callable[[Any], Platform]) -> Platform:
    return mailing(SetClock(NOW))


def measured(platform: Platform, day: date, n: int, **values: float) -> None:
    references = {"value": 4000.0, "kpi": 2.0, "roc_auc": 0.8, "label_rate": 0.3, "calibration": 0.0}
    for what, value in values.items():
        platform.ledger.put(monitored.measurement(day, what, value, n=n, at=NOW, reference=references[what]))


@pytest.fixture
def weeks(platform: Platform) -> Platform:
    """Two weeks of 100 and 300 rows a day by turns; the second earned half of the first."""
    for n in range(14):
        rows = 300 if n % 2 else 100
        worth = 5000.0 if n < 7 else 2500.0
        measured(
            platform, LAST - (15 - n) * DAY, rows, value=worth, kpi=1.5, roc_auc=0.9 if n % 2 else 0.7, label_rate=1.0,
            calibration=0.1,
        )  # fmt: skip
    return platform


def test_a_week_sums_value_and_means_the_rest_by_rows(weeks: Platform) -> None:
    told = digest(PIPELINE, TICK, weeks)
    assert (told.this.first, told.this.last) == (date(2024, 3, 10), date(2024, 3, 16))
    rows = [300, 100, 300, 100, 300, 100, 300]
    assert (told.this.rows, told.before.rows) == (1500, 1300)
    assert told.this.total("value") == pytest.approx(2500 * 1500 / 1000)
    assert told.this.total("value_expected") == pytest.approx(4000 * 1500 / 1000)
    assert told.this.mean("roc_auc") == pytest.approx(sum(n * (0.9 if n == 300 else 0.7) for n in rows) / 1500)
    assert told.this.mean("realised") == pytest.approx(0.3)
    assert told.this.mean("promised") == pytest.approx(0.2)
    assert told.this.mean("kpi") == pytest.approx(3.0)


def test_the_mail_says_it_in_plain_words(weeks: Platform) -> None:
    said = " ".join(text(PIPELINE, TICK, weeks).split())
    assert "The week to Monday, 18 March 2024: 3,750 USD earned, nothing open." in said
    assert "earned by acting on scores: 3,750 USD (−42% compared with the week before)" in said  # 3,750 after 6,500
    assert "From 10 to 16 March, acting on 1,500 scores earned 3,750 USD." in said
    assert "the model earned 6,000 USD on as many rows" in said
    assert "30 of 100 outcomes were positive, the scores predicted 20 of 100. The scores were too low." in said
    assert "No alarm is open." in said


def test_weeks_with_other_numbers_of_days_are_compared_row_by_row(weeks: Platform) -> None:
    with weeks.ledger.session() as session:
        session.query(Measurement).filter(Measurement.tick == LAST - 2 * DAY).delete()
    said = " ".join(text(PIPELINE, TICK, weeks).split())
    assert "(6 of 7 days; the others have no outcomes of the model)" in said
    assert "−50% per row compared with the week before" in said


def test_days_that_the_fallback_answered_are_not_held_against_the_models_promise(platform: Platform) -> None:
    for n in range(7):
        day = LAST - (8 - n) * DAY
        if n < 4:
            measured(platform, day, 1000, value=1000.0, kpi=1.5, roc_auc=0.8, label_rate=2 / 3, calibration=0.0)
        else:  # nothing of the model to measure; the rate of outcomes is of all rows
            measured(platform, day, 1000, kpi=1.5, label_rate=1.0)
    told = digest(PIPELINE, TICK, platform)
    assert (told.this.measured, told.this.rows, told.this.total("value")) == (4, 4000, 4000.0)
    assert told.this.mean("realised") == pytest.approx(told.this.mean("promised")) == pytest.approx(0.2)


def test_a_week_without_outcomes_is_told_without_numbers(platform: Platform) -> None:
    content = digest_mail(PIPELINE, digest(PIPELINE, TICK, platform))
    assert content.plots == ()
    assert "no outcomes yet" in content.subject
    assert any("we cannot say what the scores earned" in one for one in content.paragraphs)


def test_a_week_that_lost_money_is_marked(platform: Platform) -> None:
    measured(platform, LAST - 2 * DAY, 1000, value=-300.0)
    (earned, *_) = digest_mail(PIPELINE, digest(PIPELINE, TICK, platform)).tiles
    assert (earned.number, earned.bad) == ("−300 USD", True)


def test_the_plots_are_pictures_with_words(weeks: Platform) -> None:
    plots = digest_mail(PIPELINE, digest(PIPELINE, TICK, weeks)).plots
    assert [told for told, _ in plots] == [
        "Earned each day, USD; this week in blue",
        "Share of positive outcomes, and what the scores predicted",
    ]
    for _, png in plots:
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        assert len({picture.getpixel((x, y)) for x in range(0, picture.width, 3) for y in range(0, picture.height, 3)}) > 5


def test_a_week_of_predicted_numbers_is_told_in_errors_and_what_they_were_worth(platform: Platform) -> None:
    references = {"mae": 8.0, "bias": 0.0, "value": -8000.0, "kpi": 8.0}
    for n in range(14):
        day, worse = LAST - (15 - n) * DAY, n >= 7
        for what, value in {"mae": 1.5 if worse else 1.0, "bias": -0.25, "value": -12000.0, "kpi": 1.5}.items():
            row = monitored.measurement(day, what, value, n=100, at=NOW, reference=references[what])
            platform.ledger.put(row)
    content = digest_mail(OF_NUMBERS, digest(OF_NUMBERS, TICK, platform))
    said = " ".join(text(OF_NUMBERS, TICK, platform).split())
    assert content.subject == "[shop] the week to 2024-03-18: off by 12 on average, nothing open"
    assert [(one.label, one.number, one.note) for one in content.tiles] == [
        ("off by, on average", "12", "8 when accepted, 8 the week before"),
        ("declared value", "−8,400 CHF", "700 predictions"),
        ("open alarms", "0", "all is well"),
    ]
    assert "From 10 to 16 March, 700 predictions, by the declared value, were worth −8,400 CHF." in said
    assert "In the test before its promotion, they were worth −5,600 CHF on as many rows." in said
    assert "Predictions were off by 12 on average (8 in the test before its promotion). On average they were too high." in said
    (numbers, *_) = content.grids
    assert numbers.rows[2:] == (
        ("declared value, CHF", "-8,400", "-8,400", "-5,600"),
        ("error_per_order", "12", "12", "8"),
        ("mean absolute error", "12", "8", "8"),
        ("outcome minus prediction, standard deviations", "-0.25", "-0.25", ""),
    )
    assert [title for title, _ in content.plots] == ["Mean absolute error of each day; this week in blue"]
    for word in ("positive", "AUC", "score", "earned"):
        assert word not in said


def test_a_week_of_numbers_without_outcomes_says_so(platform: Platform) -> None:
    content = digest_mail(OF_NUMBERS, digest(OF_NUMBERS, TICK, platform))
    assert "no outcomes yet" in content.subject
    assert any("we cannot say what the predictions were worth" in one for one in content.paragraphs)
    assert content.plots == ()


def test_a_month_of_predicted_classes_is_called_a_month() -> None:
    first, last = date(2024, 2, 1), date(2024, 2, 29)
    this, before = (
        Week("month", first, last, (Day(first, 100, accuracy=right, accuracy_expected=0.8, calibration=0.0),))
        for right in (0.75, 0.7)
    )
    (tile,) = digest_classes.tiles(PIPELINE, this, before)
    assert (tile.label, tile.number) == ("right predictions", "75.0%")
    assert tile.note == "80.0% when accepted, 70.0% the month before"
    nothing = Week("month", first, last, (Day(first),))
    assert digest_classes.quality(nothing) == "We cannot say yet how many predictions of this month were right."


def test_it_is_mailed_once_a_week_to_whom_it_is_for(weeks: Platform, catcher: MailCatcher) -> None:
    assert tell_digest(PIPELINE, TICK, weeks)
    assert not tell_digest(PIPELINE, TICK, weeks)
    assert tell_digest(replace(PIPELINE, monitoring=ml.Monitoring()), PIPELINE.schedule.tick(LAST + 7 * DAY), weeks)
    first, second = catcher.outbox.mails()
    assert (first["To"], second["To"]) == ("owner@example.com", "sales@example.com")
    assert [mail.kind for mail in weeks.ledger.all(Mail)] == ["digest", "digest"]
    html = first.get_body(("html",))
    assert html is not None
    assert {"plot0", "plot1"} == {part["Content-ID"].strip("<>") for part in first.walk() if part["Content-ID"]}
    assert html.get_content().count('src="cid:plot') == 2


def test_what_happened_is_told_in_the_order_of_time(platform: Platform) -> None:
    first = LAST - 6 * DAY
    rule = {"rule": "ranking is poor", "watch": "roc_auc", "action": "retrain", "cause": "concept shift", "measurements": []}
    platform.ledger.put(
        Decision(pipeline="shop", tick=first, action="retrain", reason="x", at=NOW, rules=[rule], retrain=True),
        Decision(pipeline="shop", tick=first + DAY, action="alert", reason="x", at=NOW, rules=[rule]),
        Decision(pipeline="shop", tick=first + 2 * DAY, action="nothing", reason="x", at=NOW),
        Training(
            id="t1", pipeline="shop", as_of=first, reason="x", state="promoted", model_version=4, at=NOW,
            asker=Asker.RULE, decided_at=first, rules=["ranking is poor"],
        ),
        Promotion(pipeline="shop", model_version=4, effective=first, training_id="t1", reason="x", at=NOW),
        Promotion(
            pipeline="shop", model_version=3, effective=first + 3 * DAY, training_id="t0", at=NOW,
            reason="rolled back from version 4: odd", rolled_back_from=4,
            kind=PromotionKind.ROLLBACK,
        ),
        Audit(
            pipeline="shop", table_name="orders", tick=first + 4 * DAY, passed=False, rows_read=9, rows_accepted=0,
            rows_refused=9, staging="", at=NOW, failures=[{}, {}],
        ),
        Scoring(
            pipeline="shop", tick=first + 5 * DAY, model_version=3, rows=9, fallback_rows=9, fallback_reason="KeyError: 'x'",
            features_digest="", delta_version=1, at=NOW,
        ),
        Intervention(id="1", pipeline="shop", kind="champion", by="ana", at=NOW, reason="looked at it"),
        Intervention(id="2", pipeline="shop", kind="mute", by="ana", at=NOW),
        Training(id="t9", pipeline="shop", as_of=first - DAY, reason="by hand", state="refused", at=NOW),
    )  # fmt: skip
    assert happenings(PIPELINE, first, LAST, platform) == [
        (first, "A new model was trained automatically (ranking is poor); it passed its gates and took over as version 4."),
        (first, "Alarm: ranking is poor (concept shift); over after 2 days."),
        (first + 3 * DAY, "Version 3 answers again, rolled back from version 4: odd."),
        (first + 4 * DAY, "The data of orders was refused: 2 expectations failed."),
        (first + 5 * DAY, "The fallback answered on 1 day, starting on this one: the model could not answer."),
        (LAST, "By ana: the model answers again, because looked at it."),
    ]


def test_an_open_alarm_is_told_with_who_is_on_it(weeks: Platform) -> None:
    rule = {
        "rule": "inputs moved", "watch": "feature_psi", "action": "alert", "cause": "covariate shift", "held": "",
        "measurements": [],
    }  # fmt: skip
    weeks.ledger.put(Decision(pipeline="shop", tick=LAST, action="alert", reason="x", at=NOW, rules=[rule]))
    weeks.ledger.put(
        Intervention(
            id="1",
            pipeline="shop",
            kind="acknowledge",
            by="ana",
            at=NOW,
            subject="inputs moved",
            rule="inputs moved",
            tick=LAST,
        )
    )
    said = " ".join(text(PIPELINE, TICK, weeks).split())
    assert "Open since Monday, 18 March: inputs moved, probably a covariate shift; ana is working on it." in said
    assert "1 open alarm." in said
