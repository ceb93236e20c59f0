"""The report in a real browser: it is drawn, tells its numbers to hand and ear, and is readable small and dark."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlprod_tasks.dashboard.report import write_report
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement
from tests.support.browser_look import look
from tests.support.seeded_ledger import DAY, FIRST, fill

HOSTILE = "<img src=x onerror=\"document.title='taken'\"></script><script>document.title='taken'</script>"
TICK = FIRST + 70 * DAY
CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def address(months: Platform, flights_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(flights_pipeline, flights_pipeline.schedule.tick(TICK), months, out).as_uri()


def keys(browser: Any, *pressed: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*pressed).perform()


def css(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def test_it_is_drawn_and_asks_for_nothing(browser: Any, address: str) -> None:
    look(browser, address)
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert css(browser, "h1")[0].text == f"flight_delays at {TICK}"
    assert [chart.get_attribute("data-chart") for chart in css(browser, "figure.chart")][:3] == ["roc_auc", "value", "kpi"]
    drawn = browser.execute_script("return document.querySelectorAll('.plot svg path.line').length")
    assert drawn >= 11
    assert len(css(browser, ".heat tbody td")) % 60 == 0
    assert css(browser, "[data-action]") == [], "a report has no buttons that do something"


def test_arrow_keys_tell_the_ledgers_numbers_of_a_chart(browser: Any, address: str, months: Platform) -> None:
    look(browser, address)
    plot = css(browser, '[data-chart="score_psi"] .plot')[0]
    browser.execute_script("arguments[0].focus()", plot)
    from selenium.webdriver.common.keys import Keys

    keys(browser, Keys.END, Keys.ARROW_LEFT)
    day = TICK - DAY
    row = months.ledger.get(Measurement, "flight_delays", day, "score_psi", "")
    assert row is not None
    assert row.breached
    assert row.value is not None
    told = plot.get_attribute("aria-valuetext")
    assert f"{row.value:.3g}" in told
    assert "outside the bound at most 0.25" in told
    assert row.sentence in told
    assert plot.get_attribute("aria-valuenow") == "59"
    tip = css(browser, ".tip")[0]
    assert f"{row.value:.3g}" in tip.text
    before = tip.rect["y"] - plot.rect["y"]
    browser.execute_async_script("scrollBy(0, 40); requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert tip.is_displayed(), "it goes with the chart that was reached by key"
    assert abs(tip.rect["y"] - plot.rect["y"] - before) <= 1
    keys(browser, Keys.ESCAPE)
    assert not tip.is_displayed()


def test_arrow_keys_walk_the_heat_map(browser: Any, address: str, months: Platform) -> None:
    look(browser, address)
    from selenium.webdriver.common.keys import Keys

    assert len(css(browser, '.heat td[tabindex="0"]')) == 1, "one stop for the Tab key"
    browser.execute_script("document.querySelector('.heat td[tabindex=\"0\"]').focus()")
    keys(browser, Keys.ARROW_DOWN, Keys.ARROW_LEFT)
    cell = browser.switch_to.active_element
    feature = css(browser, ".heat tbody tr")[1].find_element("css selector", ".feature").text
    row = months.ledger.get(Measurement, "flight_delays", TICK - DAY, "feature_psi", feature)
    assert row is not None
    assert row.value is not None
    label = cell.get_attribute("aria-label")
    assert label.startswith(f"{feature}, ")
    assert f"{row.value:.3g}" in label
    assert f"n = {row.n:,}" in label
    assert css(browser, ".tip")[0].is_displayed()
    wrong = browser.execute_script("return [...document.querySelectorAll('.heat td.b0, .heat td.b1, .heat td.b2')].length")
    shown = {one.text for one in css(browser, ".heat .feature")}
    breached = [
        m for m in months.ledger.all(Measurement, what="feature_psi", breached=True) if m.slice in shown and m.tick <= TICK
    ]
    assert wrong == len(breached) > 10


def test_every_chart_is_there_as_a_table_too(browser: Any, address: str, months: Platform) -> None:
    look(browser, address)
    browser.execute_script("document.querySelector('[data-chart=\"volume\"] details').open = true")
    rows = css(browser, '[data-chart="volume"] table tbody tr')
    assert len(rows) == 60
    tick, rows_scored, bound, verdict = (cell.text for cell in rows[0].find_elements("css selector", "th, td"))
    row = months.ledger.get(Measurement, "flight_delays", TICK, "volume", "")
    assert row is not None
    assert row.value is not None
    assert row.reference is not None
    assert (tick, verdict) == (str(TICK), "within")
    assert rows_scored == f"{round(row.value * row.reference):,} rows"
    assert bound == "450 to 1,350"


def test_it_has_landmarks_and_headings_and_every_control_a_name(browser: Any, address: str) -> None:
    look(browser, address)
    assert len(css(browser, "main")) == len(css(browser, "h1")) == 1
    levels = [int(one.tag_name[1]) for one in css(browser, "h1, h2, h3, h4")]
    assert all(after - before <= 1 for before, after in pairwise(levels)), "no level is left out"
    for section in css(browser, "main section"):
        assert section.accessible_name
    for control in css(browser, "button, select, input, [role=slider], [role=grid]"):
        assert control.accessible_name, control.get_attribute("outerHTML")[:200]


def test_the_rollout_and_what_waits_for_people_can_be_read_and_not_changed(browser: Any, address: str) -> None:
    look(browser, address)
    assert css(browser, "#rollout .lead")[0].text.startswith("Version 3 answers 25 % of the entities")
    bar = browser.execute_script("return document.querySelector('#rollout rect.n1').getAttribute('width')")
    assert float(bar) == 25
    (failed,) = css(browser, "#rollout tr.failed")
    shown = [cell.text.splitlines()[0] for cell in failed.find_elements("css selector", "th, td")]
    assert shown == ["25 %", "mean score", "0.28", "0.46", "± 0.1", "failed", "scores of version 3 beside the champion's"]
    assert len(css(browser, "#reviews .lead + .scroll tbody tr")) == 10, "the oldest; the others on request"
    (more,) = css(browser, "#reviews button")
    browser.execute_script("arguments[0].click()", more)
    assert len(css(browser, "#reviews .lead + .scroll tbody tr")) == 12
    assert css(browser, "#rollout button, #reviews button") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_what_lies_behind_it(browser: Any, address: str, scheme: str) -> None:
    look(browser, address, scheme=scheme)
    closed = ".training, .alarm details, #rollout details, #reviews details"
    browser.execute_script(f"document.querySelectorAll('{closed}').forEach((one) => (one.open = true))")
    found = browser.execute_script(CONTRASTS)
    assert len(found) > 200
    assert [one for one in found if one[0] < 4.5] == []


def test_it_fits_a_phone(browser: Any, address: str) -> None:
    look(browser, address, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    wide = browser.execute_script(
        "return [...document.querySelectorAll('.plot svg')].filter((e) => e.getBoundingClientRect().right > 391).length"
    )
    assert wide == 0


def test_text_from_data_is_shown_as_text(
    browser: Any, make_ledger: Callable[..., Platform], flights_pipeline: Pipeline, tmp_path: Path
) -> None:
    platform, pipeline = make_ledger(), replace(flights_pipeline, doc=HOSTILE, owner=HOSTILE)
    fill(platform, pipeline, 3)
    rows = platform.ledger.all(Measurement, what="feature_psi", tick=FIRST)
    for row in rows:
        row.slice, row.sentence, row.breached, row.cause = f"{HOSTILE}{row.slice}", HOSTILE, True, HOSTILE
    platform.ledger.put(*rows)
    look(browser, write_report(pipeline, pipeline.schedule.tick(FIRST + 2 * DAY), platform, tmp_path / "r.html").as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert "taken" not in browser.title
    assert css(browser, "img") == []
    assert css(browser, "header .doc")[0].text == HOSTILE
    over = "one.dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))"
    browser.execute_script(f"document.querySelectorAll('.heat td').forEach((one) => {over})")
    assert css(browser, "img") == []
    assert json.dumps(HOSTILE) not in json.dumps(browser.get_log("browser"))
