"""Experiments on the page are those of the ledger, and can be read in a browser and on a phone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.dashboard.experiment_schemas import ExperimentsDetail
from mlprod_tasks.dashboard.report import write_report
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun
from tests.support import seeded_experiment
from tests.support.browser_look import look
from tests.support.seeded_ledger import DAY, FIRST, fill, moment

STARTS = FIRST + 5 * DAY
MakeLedger = Callable[..., Platform]
CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")


@pytest.fixture
def pipeline(flights_pipeline: Pipeline) -> Pipeline:
    return seeded_experiment.declared(flights_pipeline)


@pytest.fixture
def platform(make_ledger: MakeLedger, pipeline: Pipeline) -> Platform:
    """Four weeks of ticks, with an experiment that has its verdict."""
    platform = make_ledger(FIRST + 27 * DAY)
    fill(platform, pipeline, 28)
    seeded_experiment.seed(platform, pipeline, STARTS)
    return platform


def told(pipeline: Pipeline, platform: Platform, **how: Any) -> ExperimentsDetail:
    found = detail(pipeline, platform, **how).experiments
    assert found is not None
    return found


def test_what_is_shown_is_the_ledgers_own(platform: Platform, pipeline: Pipeline) -> None:
    found = told(pipeline, platform)
    assert [name for name, *_ in found.metrics] == ["saved", "late"]
    (one,) = found.runs
    (run,) = platform.ledger.all(ExperimentRun)
    readings = sorted(platform.ledger.all(ExperimentReading), key=lambda row: row.tick)
    last = readings[-1].reading
    assert (one.name, one.by, one.starts, one.ends) == (run.name, run.by, str(run.starts), str(run.ends))
    assert (one.verdict, one.sentence, one.final, one.last) == ("better", last["sentence"], True, last["last"])
    assert [(v.name, v.units, v.waiting, v.held_out) for v in one.variants] == [
        ("control", 4620, 20, False), ("3@0.4", 4620, 31, False), ("fallback", 1155, 0, True),
    ]  # fmt: skip
    assert [(d.metric, d.variant, d.gain) for d in one.differences] == [
        ("saved", "3@0.4", True), ("late", "3@0.4", None), ("saved", "fallback", False),
    ]  # fmt: skip
    (path, held_out) = one.paths
    assert path.ticks == tuple(str(row.tick) for row in readings)
    assert path.low == tuple(row.reading["compared"][0]["low"] for row in readings)
    assert held_out.variant == "fallback"
    assert not one.may_end
    (exposure,) = one.exposure
    assert (exposure.variant, exposure.ages, exposure.later) == ("3@0.4", tuple(range(14)), pytest.approx((0.6, -0.9, 2.1)))
    assert [d.adjusted_p for d in one.differences] == [None, 0.9, None]


def test_a_report_shows_it_as_it_stood_at_its_tick(platform: Platform, pipeline: Pipeline) -> None:
    (one,) = told(pipeline, platform, as_of=pipeline.schedule.tick(STARTS + 6 * DAY)).runs
    assert (one.verdict, one.final, one.last) == ("running", False, str(STARTS + 4 * DAY))
    assert max(one.paths[0].ticks) == str(STARTS + 6 * DAY)
    assert told(pipeline, platform, as_of=pipeline.schedule.tick(FIRST)).runs == ()


def test_an_end_is_shown_from_its_moment_on(platform: Platform, pipeline: Pipeline) -> None:
    (run,) = platform.ledger.all(ExperimentRun)
    run.ended, run.ended_at, run.ended_by, run.end_reason = STARTS + 8 * DAY, moment(STARTS + 7 * DAY), "bob", "not needed"
    platform.ledger.put(run)
    (one,) = told(pipeline, platform).runs
    assert (one.ended, one.ended_by, one.end_reason, one.may_end) == (str(run.ended), "bob", "not needed", False)
    (before,) = told(pipeline, platform, as_of=pipeline.schedule.tick(STARTS + 2 * DAY)).runs
    assert (before.ended, before.ended_by, before.may_end) == (None, "", True)


def test_a_use_case_without_experiments_has_no_such_part(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    assert detail(replace(flights_pipeline, experiments=None), platform).experiments is None
    none = told(seeded_experiment.declared(flights_pipeline), platform)
    assert none.runs == ()


def test_what_was_shown_stays_if_the_declaration_loses_its_metrics(platform: Platform, pipeline: Pipeline) -> None:
    (one,) = told(replace(pipeline, experiments=None), platform).runs
    first = one.differences[0]
    assert (first.metric, first.unit, first.gain) == ("saved", "", None)


@pytest.fixture
def address(platform: Platform, pipeline: Pipeline, tmp_path: Path) -> str:
    seeded_experiment.seed(platform, pipeline, STARTS + 15 * DAY, name="warmer", days=5)
    tick = pipeline.schedule.tick(STARTS + 21 * DAY)
    return write_report(pipeline, tick, platform, tmp_path / "report.html").as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=("screen", "phone in the dark"))
def test_it_can_be_read(browser: Any, address: str, width: int, scheme: str) -> None:
    look(browser, address, width, scheme)
    shown = {one.get_attribute("data-experiment"): one for one in browser.find_elements("css selector", "#experiments article")}
    assert list(shown) == ["warmer", "cheaper"]
    assert [shown[name].find_element("css selector", ".chip").text for name in shown] == ["running", "better"]
    (row,) = shown["cheaper"].find_elements("css selector", '[data-metric="saved/3@0.4"]')
    cells = [cell.text.split("\n")[0] for cell in row.find_elements("css selector", "th, td")]
    assert cells[:7] == ["saved", "3@0.4", "8.1 USD", "9.49 USD", "1.39", "17.1 %", "0.004"]
    assert len(shown["cheaper"].find_elements("css selector", ".cone svg path.line")) == 3
    assert "so far from the planned shares with p = 0.432" in shown["cheaper"].find_element("css selector", ".progress").text
    assert "it may not last" in shown["cheaper"].find_element("css selector", "[data-exposure]").text
    width_of_bar = "return arguments[0].querySelector('rect.n2').getAttribute('width')"
    assert float(browser.execute_script(width_of_bar, shown["cheaper"])) == pytest.approx(100 * 1155 / 4200)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("document.querySelectorAll('#experiments details').forEach((one) => (one.open = true))")
    assert [one for one in browser.execute_script(CONTRASTS) if one[0] < 4.5] == []
    assert browser.find_elements("css selector", "#experiments button") == [], "a report changes nothing"


def test_a_plan_is_read_in_the_dialog_before_it_is_started(browser: Any, address: str) -> None:
    look(browser, address)
    browser.execute_script(
        """
        window.posted = [];
        const post = async (action, body) => {
          window.posted.push([action, body]);
          return action === "plan_experiment" ? "needs 1,030 units" : "begun";
        };
        const ask = mlprod.asker({ name: "flights", may: ["experiment"] }, post, async () => {});
        document.body.append(ask("experiment", "Start an experiment…", { metrics: [["saved", "what deciding saved", "USD"]] }));
        document.querySelector('[data-action="experiment"]').click();
        """
    )
    (dialog,) = browser.find_elements("css selector", "dialog[open]")

    def press(text: str) -> None:
        next(one for one in dialog.find_elements("css selector", "button") if one.text == text).click()

    for name, value in {"variants": "3, fallback=10%", "difference": "0.8", "alpha": "1", "traffic": "40"}.items():
        dialog.find_element("css selector", f'[name="{name}"]').send_keys(value)
    press("Only plan")
    assert dialog.find_element("css selector", ".plan").text == "needs 1,030 units"
    press("Start an experiment")
    assert len(browser.execute_script("return window.posted")) == 1, "a name and a reason are missing"
    dialog.find_element("css selector", '[name="experiment"]').send_keys("cheaper")
    dialog.find_element("css selector", '[name="reason"]').send_keys("is it worth it?")
    press("Start an experiment")
    (planned, started) = browser.execute_script("return window.posted")
    wanted = {
        "variants": "3, fallback=10%",
        "metric": "saved",
        "difference": 0.8,
        "alpha": 0.01,
        "power": 0.8,
        "design": "fixed",
        "periods": None,
        "rows": "batch",
        "then": "nothing",
        "fresh": False,
        "traffic": 0.4,
    }
    assert (planned[0], wanted.items() <= planned[1].items()) == ("plan_experiment", True), planned
    assert (started[0], {**wanted, "experiment": "cheaper", "reason": "is it worth it?"}.items() <= started[1].items()) == (
        "experiment", True,
    ), started  # fmt: skip
    assert browser.find_elements("css selector", "dialog[open]") == []
