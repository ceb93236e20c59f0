"""Bandits on the page are those of the ledger: their arms, and how units were shared among them over time."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.bandits.told import told as in_the_shell
from mlprod_tasks.dashboard.bandit_schemas import BanditRow, DeclaredBandit
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.dashboard.report import write_report
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.pipeline import plain
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditFreeze, BanditRun, BanditState
from tests.support.browser_look import look
from tests.support.seeded_ledger import DAY, FIRST, fill, moment

STARTS = FIRST + 5 * DAY
ARMS = ("control", "3@0.4", "champion@1.0")
CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")
LATE = ml.UnitMetric("late", "outcome", "flights that were late", of="proportion", better="lower")


@pytest.fixture
def pipeline(flights_pipeline: Pipeline) -> Pipeline:
    return replace(flights_pipeline, experiments=ml.Experiments((LATE,), bandit=ml.Bandit("late")))


@pytest.fixture
def platform(make_ledger: Callable[..., Platform], pipeline: Pipeline) -> Platform:
    """Four weeks of ticks, with a bandit that knows ten ticks of rewards: 100 of the control each, 80 of them good."""
    platform = make_ledger(FIRST + 27 * DAY)
    fill(platform, pipeline, 28)
    assert pipeline.experiments is not None
    plan = {"bandit": plain(pipeline.experiments.bandit), "metric": plain(LATE), "arms": list(ARMS), "variants": []}
    run = BanditRun(
        pipeline=pipeline.name, name="sooner", at=moment(STARTS - DAY), by="ada", reason="which is best?", plan=plan,
        salt="1f2e3d4c5b6a7988", starts=STARTS, ends=None,
    )  # fmt: skip
    states = [
        BanditState(
            pipeline=pipeline.name, name="sooner", version=i + 1, through=STARTS + i * DAY, tick=STARTS + (i + 2) * DAY,
            at=moment(STARTS + (i + 2) * DAY), rewards=rewards((80, 100), (45, 50), (0, 0)),
            best=dict(zip(ARMS, (0.2, 0.79, 0.01), strict=True)),
            shares=dict(zip(ARMS, (0.5 - i / 30, 0.3 + i / 30, 0.2), strict=True)),
        )
        for i in range(10)
    ]  # fmt: skip
    platform.ledger.put(run, *states)
    return platform


def rewards(*good_of_all: tuple[int, int]) -> dict[str, Any]:
    """What a tick tells of each arm: how many rewards were good, of how many."""
    arm = np.repeat(np.arange(len(ARMS)), [every for _, every in good_of_all])
    good = [n < of_arm for of_arm, every in good_of_all for n in range(every)]
    return ArmRewards.of(len(ARMS), arm, np.array(good, float)).as_json()


def told(pipeline: Pipeline, platform: Platform, **how: Any) -> tuple[BanditRow, ...]:
    found = detail(pipeline, platform, **how).experiments
    assert found is not None
    return found.bandits


def test_what_is_shown_is_the_ledgers_own(platform: Platform, pipeline: Pipeline) -> None:
    (one,) = told(pipeline, platform)
    assert (one.name, one.policy, one.metric, one.version) == ("sooner", "ThompsonSampling", "late", 10)
    assert (one.starts, one.ends, one.ended, one.last) == (str(STARTS), None, None, str(STARTS + 9 * DAY))
    assert [(arm.name, arm.rewards, arm.best) for arm in one.arms] == [
        ("control", 1000, 0.2), ("3@0.4", 500, 0.79), ("champion@1.0", 0, 0.01),
    ]  # fmt: skip
    # Less is better: a reward is 1 for a flight that was not late.
    assert [arm.mean for arm in one.arms] == [pytest.approx(0.2), pytest.approx(0.1), None]
    assert one.ticks == tuple(str(STARTS + (i + 2) * DAY) for i in range(10))
    assert one.arms[1].shares == pytest.approx([0.3 + i / 30 for i in range(10)])


def test_what_choosing_cost_is_told_as_the_command_tells_it(platform: Platform, pipeline: Pipeline) -> None:
    (one,) = told(pipeline, platform)
    assert one.cost == "", "an arm has no reward yet"
    (run,) = platform.ledger.all(BanditRun)
    states = sorted(platform.ledger.all(BanditState), key=lambda state: state.version)
    for state in states:
        state.rewards = rewards((80, 100), (45, 50), (5, 10))
    platform.ledger.put(*states)
    (one,) = told(pipeline, platform)
    assert re.fullmatch(r"so far .+ \[.+\] less than the best arm alone, .+ \[.+\] more than an A/B test .+", one.cost)
    assert one.cost in in_the_shell(run, states)


def test_a_report_shows_it_as_it_stood_at_its_tick(platform: Platform, pipeline: Pipeline) -> None:
    (one,) = told(pipeline, platform, as_of=pipeline.schedule.tick(STARTS + 5 * DAY))
    assert (one.version, one.last) == (4, str(STARTS + 3 * DAY))
    assert told(pipeline, platform, as_of=pipeline.schedule.tick(FIRST)) == ()
    (run,) = platform.ledger.all(BanditRun)
    run.ended, run.ended_at, run.ended_by, run.end_reason = STARTS + 9 * DAY, moment(STARTS + 8 * DAY), "its rule", "it won"
    platform.ledger.put(run)
    (before,) = told(pipeline, platform, as_of=pipeline.schedule.tick(STARTS + 5 * DAY))
    (after,) = told(pipeline, platform)
    assert (before.ended, after.ended, after.ended_by) == (None, str(STARTS + 9 * DAY), "its rule")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=("screen", "phone in the dark"))
def test_it_can_be_read(browser: Any, platform: Platform, pipeline: Pipeline, tmp_path: Path, width: int, scheme: str) -> None:
    tick, since = pipeline.schedule.tick(STARTS + 21 * DAY), STARTS + 19 * DAY
    frozen = BanditFreeze(
        pipeline=pipeline.name, name="sooner", at=moment(since), by="ada", reason="a sale", version=9, since=since
    )
    platform.ledger.put(frozen)
    look(browser, write_report(pipeline, tick, platform, tmp_path / "report.html").as_uri(), width, scheme)
    (shown,) = browser.find_elements("css selector", "#experiments [data-bandit=sooner]")
    assert "There has been no experiment yet" not in browser.find_element("css selector", "#experiments").text
    assert f"ada froze it at {since}: a sale; shares stay those of version 9" in shown.text
    (row,) = shown.find_elements("css selector", '[data-arm="3@0.4"]')
    assert [cell.text for cell in row.find_elements("css selector", "th, td")][1:] == ["500 rewards", "0.1", "79 %", "60 %"]
    bands = shown.find_elements("css selector", "[data-shares] .cone svg rect")
    assert len(bands) == 10 * len(ARMS)
    heights = [float(one.get_attribute("height")) for one in bands[:30:10]]
    assert heights[0] / heights[2] == pytest.approx(0.5 / 0.2)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("document.querySelectorAll('#experiments details').forEach((one) => (one.open = true))")
    assert [one for one in browser.execute_script(CONTRASTS) if one[0] < 4.5] == []


def test_it_can_be_ended_as_long_as_it_gives_arms(platform: Platform, pipeline: Pipeline) -> None:
    (one,) = told(pipeline, platform)
    assert (one.rows, one.may_end) == ("batch", True)
    (run,) = platform.ledger.all(BanditRun)
    run.ended, run.ended_at, run.plan = STARTS + 9 * DAY, moment(STARTS + 8 * DAY), {**run.plan, "rows": "requests"}
    platform.ledger.put(run)
    (ended,) = told(pipeline, platform)
    assert (ended.rows, ended.may_end) == ("requests", False)
    declared = detail(pipeline, platform).experiments.bandit  # type: ignore[union-attr]
    assert declared == DeclaredBandit("ThompsonSampling", "late", ())


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_started_and_ended_in_a_dialog_that_asks_for_a_reason(
    browser: Any, platform: Platform, pipeline: Pipeline, tmp_path: Path, width: int
) -> None:
    tick = pipeline.schedule.tick(STARTS + 21 * DAY)
    look(browser, write_report(pipeline, tick, platform, tmp_path / "report.html").as_uri(), width)
    assert browser.find_elements("css selector", "#experiments button") == [], "a report changes nothing"
    browser.execute_script(
        """
        window.posted = [];
        const post = async (action, body) => { window.posted.push([action, body]); return "done"; };
        const ask = mlprod.asker({ name: "flights", may: ["bandit", "end_bandit", "freeze_bandit"] }, post, async () => {});
        const shown = mlprod.experiments(JSON.parse(document.querySelector("#board-data").textContent), ask);
        document.querySelector("#experiments").append(...shown.flat().filter(Boolean));
        """
    )

    def filled(action: str, **values: str) -> Any:
        browser.execute_script(f"document.querySelector('[data-action={action}]').click()")
        (dialog,) = browser.find_elements("css selector", "dialog[open]")
        for name, value in values.items():
            dialog.find_element("css selector", f'[name="{name}"]').send_keys(value)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        return dialog

    submit = "form button[type=submit]"
    dialog = filled("bandit", experiment="sooner_2", variants="3, champion@0.4")
    assert "ThompsonSampling on late, as declared." in dialog.text
    dialog.find_element("css selector", submit).click()
    assert browser.execute_script("return window.posted") == [], "a reason is missing"
    dialog.find_element("css selector", "[name=reason]").send_keys("what is best?")
    dialog.find_element("css selector", submit).click()
    filled("end_bandit", reason="enough").find_element("css selector", submit).click()
    filled("freeze_bandit", reason="a sale").find_element("css selector", submit).click()
    (started, ended, frozen) = browser.execute_script("return window.posted")
    assert started[0] == "bandit"
    assert {name: started[1][name] for name in ("experiment", "variants", "rows", "reason")} == {
        "experiment": "sooner_2", "variants": "3, champion@0.4", "rows": "batch", "reason": "what is best?",
    }  # fmt: skip
    assert (ended[0], ended[1]["experiment"], ended[1]["reason"]) == ("end_bandit", "sooner", "enough")
    assert (frozen[0], frozen[1]["experiment"], frozen[1]["reason"]) == ("freeze_bandit", "sooner", "a sale")
