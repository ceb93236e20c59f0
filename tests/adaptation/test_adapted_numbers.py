"""A predicted number whose world moved: adapted in batch and on request, watched, reported and shown."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.adaptation import state
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.dashboard.report import write_report
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.verify import verify
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.run import build_service
from tests.support.browser_look import look
from tests.support.clock import SetClock
from tests.support.refund_shop import REFUNDS, refund_shop, refunds
from tests.support.service import orders_of, post
from tests.support.trained_shop import Shop, platform_at, raw_tables

FIRST, LAST = date(2024, 2, 8), date(2024, 2, 11)
MOVED, MORE, SPREAD = "2024-01-27", 40.0, 1.4  # from which day on outcomes are so much higher, and differ so much more
ADAPTED = replace(
    REFUNDS,
    adapt=ml.Adapt(half_life=(1.0, 7.0), fewest=3, window=30, most=9.0, prior=0.2),
    model=replace(REFUNDS.model, candidates=(ml.LinearRegression(),)),
    gates=(ml.AtMost("mae", 1000.0),),
    watches=(*ml.ADAPTATION_WATCHES, ml.Watch("bias", low=-0.5, high=0.5)),
    rules=ml.ADAPTATION_RULES,
    serving=ml.Serving(),
)


@pytest.fixture(scope="module")
def home(filled_home: Path, tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., None]) -> Path:
    """A champion whose test was still right; from then on half a year's worth of ticks were scored."""
    made, outcomes = raw_tables()
    paid = refunds(made, outcomes)
    late = pc.greater_equal(pc.utf8_slice_codeunits(paid["order_id"], 0, 10), MOVED)
    moved = pc.if_else(late, pc.add(pc.multiply(paid["refund"], SPREAD), MORE), paid["refund"])
    shop = refund_shop(filled_home, tmp_path_factory.mktemp("refunds"), returns=paid, pipeline=ADAPTED)
    assert shop.promoted("one").moved
    at = paid.column_names.index("refund")
    ticks = paid["tick"].to_pylist()
    shop.platform.lake.replace_ticks(
        names.raw(ADAPTED, "returns"), ADAPTED.schedule.range(min(ticks), max(ticks)), paid.set_column(at, "refund", moved)
    )
    publish(shop, *ADAPTED.schedule.names(date(2024, 1, 1), date(2024, 2, 20)))
    shop = at_noon(shop)
    for tick in ADAPTED.schedule.range(FIRST, LAST):
        score(shop.pipeline, tick, shop.platform)
        measure(shop.pipeline, tick, shop.platform)
    shop.platform.ledger.engine.dispose()
    return shop.platform.settings.home


def at_noon(shop: Shop) -> Shop:
    return replace(shop, platform=replace(shop.platform, clock=SetClock(datetime(2024, 2, 11, 12, tzinfo=UTC))))


@pytest.fixture
def shop(home: Path) -> Shop:
    return at_noon(Shop(ADAPTED, platform_at(home)))


def rows_of(shop: Shop) -> pa.Table:
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline))
    return rows.sort_by([("tick", "ascending"), ("order_id", "ascending")])


def test_bias_and_spread_are_mended(shop: Shop) -> None:
    rows = rows_of(shop)
    known = features.labels(shop.pipeline, ADAPTED.schedule.range(FIRST, LAST), shop.tick("2024-02-14"), shop.platform)
    judged = rows.join(known.select(["order_id", "label"]), "order_id", join_type="inner")
    outcome, adapted, raw = (judged[name].to_numpy() for name in ("label", "score", "raw_score"))
    assert abs((outcome - raw).mean()) > 30
    assert abs((outcome - adapted).mean()) < 0.1 * abs((outcome - raw).mean())
    assert ((outcome - adapted) ** 2).mean() < 0.5 * ((outcome - raw) ** 2).mean()
    slopes = [np.polyfit(said, outcome, 1)[0] for said in (raw, adapted)]
    assert abs(slopes[1] - 1) < 0.5 * abs(slopes[0] - 1)


def test_requests_explanations_and_verification_have_the_batchs_bits(shop: Shop) -> None:
    sent, _ = orders_of(shop, str(LAST))
    service = build_service(shop.platform, {ADAPTED.name: shop.pipeline}, keys_needed=False)
    answered = post(service, {"rows": sent, "moment": shop.tick(str(LAST)).start.isoformat()}).json()["rows"]
    batch = [row for row in rows_of(shop).to_pylist() if row["tick"] == LAST]
    assert [row["prediction"] for row in answered] == [row["score"] for row in batch]
    assert all(row["score"] != row["raw_score"] for row in batch)
    told = explain(shop.pipeline, [batch[0]["order_id"]], shop.platform)
    assert told.recomputed == told.score == batch[0]["score"]
    assert verify(shop.pipeline, shop.tick(str(LAST)), shop.platform).replayed == 0.0


def test_monitoring_tells_the_layers_part_in_standard_deviations_of_outcomes(shop: Shop) -> None:
    (found,) = [
        one for one in shop.platform.ledger.all(Measurement, pipeline=shop.pipeline.name, tick=LAST) if one.what == "adaptation"
    ]
    rows = rows_of(shop).filter(pc.field("tick") == pa.scalar(LAST))
    moved = float(np.mean(rows["score"].to_numpy()) - np.mean(rows["raw_score"].to_numpy()))
    assert found.value is not None
    assert 10 < moved / found.value < 60  # the outcomes' standard deviation, in CHF
    assert found.breached
    assert "a training is due" in found.sentence


def test_page_and_report_show_what_it_is_gains_and_answered(shop: Shop) -> None:
    shown = detail(shop.pipeline, shop.platform).adaptation
    newest = state.every(shop.pipeline, shop.platform)[-1]
    assert shown is not None
    assert shown.parameters == (("shift", newest.parameters[0]), ("slope", newest.parameters[1]))
    assert (shown.learned, shown.rows, shown.newest) == (newest.learned, newest.rows, str(newest.newest))
    assert [(one.tick, one.answers, one.by) for one in shown.by_tick] == [
        (f"2024-02-{day:02}", True, "half-life 7 days") for day in (11, 10, 9, 8)
    ]
    gain, moved = (chart.lines[0].column for chart in shown.charts)
    assert (gain.values[-1], gain.interval_low[-1]) == (newest.gain, newest.low)
    assert moved.values[-1] == newest.shift > 30
    assert detail(replace(shop.pipeline, adapt=None), shop.platform).adaptation is None


@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_in_a_browser(browser: Any, shop: Shop, tmp_path: Path, width: int) -> None:
    report = write_report(shop.pipeline, shop.tick(str(LAST)), shop.platform, tmp_path / "report.html")
    look(browser, report.as_uri(), width)
    (part,) = browser.find_elements("css selector", "#adaptation")
    assert part.find_element("css selector", ".chip").text == "answers"
    assert "half-life 7 days" in part.text
    assert "it changes the squared error by -" in part.text
    assert len(part.find_elements("css selector", ".plot svg")) == 2
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
