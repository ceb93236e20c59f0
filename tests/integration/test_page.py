"""The page inside Airflow's UI, in a real browser: true numbers, Airflow's own rights, buttons that really do something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from demo.airflow_api import poll
from demo.local_airflow import LocalAirflow
from demo.mail_catcher import MailCatcher
from demo.stack import PRELOADED
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import (
    Decision,
    Intervention,
    Measurement,
    Promotion,
    Review,
    Rollout,
    Scoring,
    Training,
)
from mlprod_tasks.platform.settings import from_environment
from tests.support import returns_pipeline, seeded_experiment, seeded_ledger
from tests.support.paths import REPOSITORY
from tests.support.returns_lake import fill

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
pytestmark = pytest.mark.skipif(
    not (Path(CHROMIUM).exists() and Path(DRIVER).exists()),
    reason=f"THE PAGE IS NOT TESTED: there is no {CHROMIUM} or {DRIVER}; on Debian: apt-get install chromium chromium-driver",
)
PASSWORDS = {name: f"{name}s password" for name in ("ada", "viewer", "nobody")}
USERS = "ada:admin,viewer:viewer,nobody:"
TOKEN = "shown by the scraper"
LAST, TICKS = date(2024, 1, 28), 68  # the inputs of the last seeded ticks have moved
# A plain training, and the rules that the seeded ledger tells of.
DECLARED = {
    "schedule": "replace(shop.schedule, starts=date(2023, 11, 1))",
    "model": "replace(shop.model, segment_by=None, search=None)",
    "watches": "(ml.Watch('feature_psi', high=0.25), ml.Watch('kpi', low=0.0))",
    "rules": "(ml.Rule('inputs moved', 'feature_psi', 'alert'), ml.Rule('acting no longer pays', 'kpi', 'retrain'))",
    "approval": "None",
    "serving": "ml.Serving()",
}
SECONDS = 30
T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """A running Airflow with the page, and the ledger that the page is about."""

    airflow: LocalAirflow
    platform: Platform
    pipeline: Pipeline

    def asked(self, method: str, path: str, user: str = "", **rest: Any) -> httpx.Response:
        """Ask the page's server, with a user's token in the header."""
        headers = dict(rest.pop("headers", {}))
        if user:
            headers["authorization"] = f"Bearer {self.token(user)}"
        with httpx.Client(base_url=f"{self.airflow.url}/mlprod/", trust_env=False, timeout=120) as client:
            return client.request(method, path, headers=headers, **rest)

    def token(self, user: str) -> str:
        body = {"username": user, "password": PASSWORDS[user]}
        return str(httpx.post(f"{self.airflow.url}/auth/token", json=body, trust_env=False).json()["access_token"])

    def doings(self, kind: str) -> list[Intervention]:
        return self.platform.ledger.all(Intervention, pipeline=self.pipeline.name, kind=kind)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("page")
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    (home / "pipelines").mkdir()
    returns_pipeline.write(home / "pipelines", **DECLARED)
    with MailCatcher(home / "outbox") as catcher:
        variables = {
            "MLPROD_HOME": str(home / "var"),
            "MLPROD_PIPELINES": str(home / "pipelines"),
            "MLPROD_METRICS_TOKEN": TOKEN,
            "MLPROD_EXPECTATIONS": str(home / "great_expectations"),
            "MLPROD_MLFLOW_BASE_URL": "http://mlflow.example.com",
            "PYTHONPATH": str(REPOSITORY),
            # Else DAG files that no test changes would be read again twice a minute.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW_CONN_SMTP_DEFAULT": f"smtp://127.0.0.1:{catcher.smtp_port}?disable_ssl=true&disable_tls=true",
        }
        platform = Platform(from_environment(variables))
        pipeline = load(home / "pipelines" / "returns.py")
        airflow = LocalAirflow(
            home / "airflow",
            dags=REPOSITORY / "dags",
            plugins=REPOSITORY / "plugins",
            preload=PRELOADED,
            environment=variables,
            cores=2,
        )
        with airflow:
            seeded_ledger.fill(platform, pipeline, TICKS, LAST - timedelta(days=TICKS - 1))
            fill(platform, pipeline)
            airflow.api.log_in("ada", PASSWORDS["ada"])
            yield Site(airflow, platform, pipeline)


class Browser:
    """A real Chromium without a window, that looks at one site."""

    def __init__(self, url: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking",
            "--no-first-run", "--window-size=1400,1000",
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.url = url
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def close(self) -> None:
        self.driver.quit()

    def log_in(self, user: str) -> None:
        """As a person does: Airflow's own form."""
        self.driver.get(self.url)
        self.fill("[name=username]", user)
        self.fill("[name=password]", PASSWORDS[user])
        self.click("button[type=submit]")
        self.until(lambda: "/auth/" not in self.driver.current_url or None, f"{user} to be logged in")

    def enter(self) -> None:
        """Follow the navigation to the page, into the frame in which Airflow shows it."""
        self.driver.get(self.url)
        self.click("a[href$='plugin/mlprod']")
        self.driver.switch_to.frame(self.the("iframe"))
        self.drawn()

    def drawn(self) -> None:
        self.until(lambda: self.the("#board").get_attribute("aria-busy") is None or None, "the page to be drawn")

    def open_pipeline(self, name: str) -> None:
        self.click(f"a[href*='pipelines/{name}']")
        self.until(lambda: self.text("#board h1") == name or None, f"the page of {name}")

    def the(self, selector: str) -> WebElement:
        def found() -> WebElement | None:
            elements = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return elements[0] if elements else None

        return self.until(found, selector)

    def text(self, selector: str) -> str:
        return self.until(lambda: self.the(selector).text, selector)

    def click(self, selector: str) -> None:
        self.until(lambda: self.the(selector).click() or True, f"{selector} to be clicked")

    def fill(self, selector: str, text: str) -> None:
        self.until(lambda: self.the(selector).send_keys(text) or True, selector)

    def ask(self, action: str, reason: str, within: str = "", **chosen: str) -> str:
        """Press a button of the page, choose and give the reason, and return what the page then says."""
        told = self.try_to(action, reason, within, **chosen)
        assert self.driver.find_elements(By.CSS_SELECTOR, "dialog[open]") == [], told
        return told

    def try_to(self, action: str, reason: str, within: str = "", **chosen: str) -> str:
        """The same, or what the dialog says where it cannot be done."""
        self.seen(f"{within} button[data-action={action}]")
        self.driver.execute_script("document.getElementById('status').textContent = ''")
        self.click(f"{within} button[data-action={action}]")
        for name, value in chosen.items():
            field = self.the(f"dialog[open] [name={name}]")
            if field.tag_name == "select":
                Select(field).select_by_value(value)
            else:
                field.clear()
                field.send_keys(value)
        self.fill("dialog[open] textarea[name=reason]", reason)
        self.click("dialog[open] button[type=submit]")

        def told() -> str | None:
            failed = self.driver.find_elements(By.CSS_SELECTOR, "dialog[open] .bad")
            return (failed[0].text if failed else "") or self.the("#status").text or None

        return self.until(told, "what came of it")

    def seen(self, selector: str) -> None:
        """Scroll it to the middle, from under what stays on top of the page."""
        script = "arguments[0].scrollIntoView({block: 'center'})"
        self.until(lambda: self.driver.execute_script(script, self.the(selector)) or True, selector)

    def until(self, look: Callable[[], T | None], what: str) -> T:
        def steady() -> T | None:
            try:
                return look()
            except StaleElementReferenceException:  # drawn anew in this moment
                return None

        return poll(steady, seconds=SECONDS, waiting_for=lambda: what)

    def console(self) -> list[str]:
        """What the console complained about since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requested(self) -> set[str]:
        """Every address that was asked for since it was last asked, in all frames."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    os.environ["SE_OFFLINE"] = "true"  # the driver is there: nothing is to be fetched
    opened = Browser(site.airflow.url)
    opened.log_in("ada")
    yield opened
    opened.close()


def test_it_shows_the_numbers_of_the_ledger_inside_airflow_and_asks_no_other_host(site: Site, browser: Browser) -> None:
    browser.console()
    ledger, name = site.platform.ledger, site.pipeline.name
    browser.enter()
    shown = browser.text("#board")
    scored = max(ledger.all(Scoring, pipeline=name), key=lambda row: row.tick)
    version = max(ledger.all(Promotion, pipeline=name), key=lambda row: row.effective).model_version
    decided = max(ledger.all(Decision, pipeline=name), key=lambda row: row.tick)
    assert scored.tick == LAST
    assert {rule["rule"] for rule in decided.rules} == {"inputs moved"}
    for told in (name, str(scored.tick), f"{scored.rows:,} rows", f"v{version}", "1 open", "inputs moved"):
        assert told in shown, shown
    kpi = max((m for m in ledger.all(Measurement, pipeline=name, what="kpi") if m.value is not None), key=lambda m: m.tick)
    assert f"{kpi.value * kpi.reference:,.0f}".lstrip("-") in shown, shown  # type: ignore[operator]

    browser.open_pipeline(name)
    assert decided.rules[0]["measurements"][0]["sentence"].partition(": ")[2] in browser.text("#board")
    assert browser.the("svg").is_displayed()
    browser.driver.set_window_size(390, 844)  # a phone
    wide = browser.driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    browser.driver.set_window_size(1400, 1000)
    assert wide == 0

    hosts = {urlsplit(url).netloc for url in browser.requested() if urlsplit(url).scheme not in ("data", "blob")}
    assert hosts == {urlsplit(site.airflow.url).netloc}
    loaded = "return performance.getEntriesByType('resource').map(one => new URL(one.name).host)"
    assert set(browser.driver.execute_script(loaded)) == hosts
    complaints = browser.console()
    assert [one for one in complaints if "/ui/config" not in one] == [], complaints  # Airflow's own, before the log-in


def test_a_link_that_leads_elsewhere_opens_a_window_though_the_frame_may_not(site: Site, browser: Browser) -> None:
    browser.enter()
    browser.open_pipeline(site.pipeline.name)
    before = browser.driver.current_window_handle
    browser.click(f"a[href$='/dags/{site.pipeline.name}.train']")
    (opened,) = browser.until(lambda: set(browser.driver.window_handles) - {before} or None, "a window")
    browser.driver.switch_to.window(opened)
    browser.until(lambda: browser.driver.current_url.endswith(".train") or None, "Airflow's page of the DAG")
    browser.driver.close()
    browser.driver.switch_to.window(before)


def test_an_alarm_is_acknowledged_by_whoever_pressed_the_button(site: Site, browser: Browser) -> None:
    browser.enter()
    browser.open_pipeline(site.pipeline.name)
    told = browser.ask("acknowledge", "seen, the new supplier")
    assert "inputs moved" in told
    (done,) = site.doings("acknowledge")
    assert (done.by, done.subject, done.reason) == ("ada", "inputs moved", "seen, the new supplier")
    browser.until(lambda: "acknowledged by ada" in browser.text("#board") or None, "the page to say so")
    browser.enter()
    assert "1 acknowledged" in browser.text("#board")


def test_a_button_really_retrains(site: Site, browser: Browser) -> None:
    dag, api = f"{site.pipeline.name}.train", site.airflow.api
    api.wait_for_dags([dag])
    api.unpause(dag)
    browser.enter()
    browser.open_pipeline(site.pipeline.name)
    told = browser.ask("retrain", "a new season begins")
    assert str(LAST) in told
    (run,) = api.runs(dag)
    assert run["conf"] == {"as_of": str(LAST), "reason": "a new season begins"}
    assert run["note"] == "a new season begins (ada)"
    assert run["triggering_user_name"] == "ada"
    (asked,) = site.doings("retrain")
    assert (asked.by, asked.reason, asked.tick) == ("ada", "a new season begins", LAST)
    again = site.asked("POST", f"api/pipelines/{site.pipeline.name}/retrain", "ada", json={"reason": "twice"})
    assert again.status_code == 409, again.text
    assert "already" in again.json()["error"]

    ended = api.wait_for_run(dag, run["dag_run_id"], seconds=300)
    assert ended["state"] == "success", api.task_states(dag, run["dag_run_id"])
    training = site.platform.ledger.get(Training, asked.subject)
    assert training is not None
    assert (training.state, training.reason, training.as_of) == ("promoted", "a new season begins", LAST)
    browser.enter()
    browser.open_pipeline(site.pipeline.name)
    assert "a new season begins" in browser.text("#board")


def test_a_rollout_is_changed_by_a_click_and_what_makes_no_sense_of_it_is_said(site: Site, browser: Browser) -> None:
    ledger, name = site.platform.ledger, site.pipeline.name
    champion = max(ledger.all(Promotion, pipeline=name), key=lambda row: (row.effective, row.at)).model_version
    (other,) = {row.model_version for row in ledger.all(Training, pipeline=name)} - {None, champion}
    browser.enter()
    browser.open_pipeline(name)
    assert f"Version {champion} answers every request." in browser.text("#rollout")
    asked = {"mode": "canary", "challenger": str(other), "share": "25", "automation": "band", "low": "0.3", "high": "0.6"}
    refused = browser.try_to("rollout", "a first look", **asked)
    assert f"has no version {other} in" in refused, "the seeded ledger knows it, the registry does not"
    assert ledger.all(Rollout, pipeline=name) == []

    registry = site.platform.registry
    made = registry.register(name, registry.start_run(site.pipeline, "another"), "0" * 64, "model", {}, "")
    assert made.version == other
    browser.enter()
    browser.open_pipeline(name)
    assert "canary of version" in browser.ask("rollout", "a first look", **asked)
    (row,) = ledger.all(Rollout, pipeline=name)
    assert (row.mode, row.challenger, row.share, row.by, row.reason) == ("canary", other, 0.25, "ada", "a first look")
    assert (row.automation, row.band_low, row.band_high) == ("band", 0.3, 0.6)
    browser.until(lambda: f"Version {other} answers 25 %" in browser.text("#rollout") or None, "the page to say so")

    held = {"mode": "champion", "reason": "too late", "instead_of": (row.at - timedelta(seconds=1)).isoformat()}
    late = site.asked("POST", f"api/pipelines/{name}/rollout", "ada", json=held)
    assert (late.status_code, "somebody else changed the rollout at" in late.json()["error"]) == (409, True)
    of_the_champion = {"mode": "shadow", "challenger": champion, "reason": "why not"}
    answer = site.asked("POST", f"api/pipelines/{name}/rollout", "ada", json=of_the_champion)
    assert (answer.status_code, answer.json()["error"]) == (400, f"{name}: version {champion} is champion already")
    assert len(ledger.all(Rollout, pipeline=name)) == 1

    browser.click("#rollout .buttons button:nth-of-type(2)")  # switch back
    browser.fill("dialog[open] textarea[name=reason]", "seen enough")
    browser.click("dialog[open] button[type=submit]")
    browser.until(lambda: f"Version {champion} answers every" in browser.text("#rollout .lead") or None, "the champion")
    back = max(ledger.all(Rollout, pipeline=name), key=lambda row: row.at)
    assert (back.mode, back.challenger, back.by, back.automation, back.band_low) == ("champion", None, "ada", "band", 0.3)


def test_a_row_that_was_left_to_people_is_decided_by_a_click(site: Site, browser: Browser) -> None:
    ledger, name = site.platform.ledger, site.pipeline.name
    seeded_ledger.leave_to_people(site.platform, site.pipeline, datetime(2024, 1, 28, 9, tzinfo=UTC), 3)
    waiting = sorted(ledger.all(Review, pipeline=name), key=lambda one: one.row)
    browser.enter()
    assert "3 rows wait for review" in browser.text("#board")
    browser.open_pipeline(name)
    place = f"[data-review='{waiting[1].request_id}/1'] button:nth-of-type(2)"
    browser.seen(place)
    browser.click(place)
    browser.fill("dialog[open] textarea[name=reason]", "the customer called")
    browser.click("dialog[open] button[type=submit]")
    browser.until(lambda: "2 rows wait" in browser.text("#reviews .lead") or None, "the row to leave the queue")
    decided = ledger.get(Review, name, waiting[1].request_id, 1)
    assert decided is not None
    assert (decided.decision, decided.by, decided.reason) == (False, "ada", "the customer called")

    def decide(row: int, user: str, decision: bool = True) -> tuple[int, str]:
        body = {"request_id": waiting[0].request_id, "row": row, "decision": decision}
        answer = site.asked("POST", f"api/pipelines/{name}/review", user, json=body)
        return answer.status_code, answer.json().get("error", "")

    assert decide(1, "ada") == (409, f"{name}: ada has already decided row 1 of request {waiting[0].request_id!r}: no")
    assert decide(9, "ada")[0] == 404
    assert decide(0, "viewer")[0] == decide(0, "nobody")[0] == 403
    assert {one.row for one in ledger.all(Review, pipeline=name) if one.decision is None} == {0, 2}


def test_a_ramp_is_begun_by_the_rollout_dag_in_the_name_of_whoever_asked(site: Site) -> None:
    api, name = site.airflow.api, site.pipeline.name
    body = {"challenger": 2, "reason": "the new season"}
    api.wait_for_dags([f"{name}.rollout"])
    assert site.asked("POST", f"api/pipelines/{name}/ramp", "viewer", json=body).status_code == 403
    done = site.asked("POST", f"api/pipelines/{name}/ramp", "ada", json=body)
    assert done.status_code == 200, done.text
    assert f"The DAG {name}.rollout is paused" in done.json()["done"]
    (run,) = api.runs(f"{name}.rollout")
    assert {one: run["conf"][one] for one in ("challenger", "by", "reason")} == {**body, "by": "ada"}
    assert run["triggering_user_name"] == "ada"
    again = site.asked("POST", f"api/pipelines/{name}/ramp", "ada", json=body)
    assert (again.status_code, "already" in again.json()["error"]) == (409, True)


def test_an_experiment_is_ended_by_who_may_and_one_that_cannot_be_planned_says_why(site: Site) -> None:
    name, now = site.pipeline.name, datetime.now(UTC)
    starts = now.date() + timedelta(days=400)
    seeded_experiment.seed(site.platform, site.pipeline, starts, days=0, at=now)
    body = {"experiment": "cheaper", "reason": "not needed"}
    assert site.asked("POST", f"api/pipelines/{name}/end_experiment", "viewer", json=body).status_code == 403
    done = site.asked("POST", f"api/pipelines/{name}/end_experiment", "ada", json=body)
    assert (done.status_code, done.json()["done"]) == (
        200, f"cheaper of {name} is ended: {starts} is the first tick that it does not assign",
    )  # fmt: skip
    (run,) = site.platform.ledger.all(ExperimentRun, pipeline=name)
    assert (run.ended, run.ended_by, run.end_reason) == (starts, "ada", "not needed")
    (shown,) = site.asked("GET", f"api/pipelines/{name}", "viewer").json()["experiments"]["runs"]
    assert (shown["ended_by"], shown["may_end"]) == ("ada", False)
    unknown = site.asked("POST", f"api/pipelines/{name}/end_experiment", "ada", json={**body, "experiment": "other"})
    assert (unknown.status_code, "has no experiment 'other'" in unknown.json()["error"]) == (404, True)
    wanted = {"variants": "3, fallback=10%", "metric": "saved", "difference": 1.0}
    refused = site.asked("POST", f"api/pipelines/{name}/plan_experiment", "ada", json=wanted)
    assert (refused.status_code, f"{name} declares no `experiments`" in refused.json()["error"]) == (409, True), refused.text


def test_a_use_case_that_answers_no_requests_has_neither_rollout_nor_reviews(site: Site, browser: Browser) -> None:
    name, file = site.pipeline.name, site.platform.settings.pipelines / "returns.py"
    written = file.read_text()
    asked = {
        "rollout": {"mode": "champion", "reason": "let me"},
        "ramp": {"challenger": 2, "reason": "let me"},
        "review": {"request_id": "any", "row": 0, "decision": True},
    }
    try:
        file.write_text(written.replace("serving=ml.Serving(),", ""))
        for action, body in asked.items():
            answer = site.asked("POST", f"api/pipelines/{name}/{action}", "ada", json=body)
            assert (answer.status_code, "answers no requests" in answer.json()["error"]) == (409, True), action
        browser.enter()
        assert "for review" not in browser.text("#board")
        browser.open_pipeline(name)
        assert browser.driver.find_elements(By.CSS_SELECTOR, "#rollout, #reviews") == []
    finally:
        file.write_text(written)


def test_who_may_only_look_sees_all_and_can_do_nothing(site: Site, browser: Browser) -> None:
    log_in_instead(site, browser, "viewer")
    browser.enter()
    browser.open_pipeline(site.pipeline.name)
    assert browser.driver.find_elements(By.CSS_SELECTOR, "button[data-action]") == []
    before = len(site.platform.ledger.all(Intervention))
    asked = (
        "const done = arguments[0]; fetch('api/pipelines/returns/mute', {method: 'POST', body: "
        "JSON.stringify({rule: 'inputs moved', days: 1}), headers: {'Content-Type': 'application/json'}})"
        ".then(async answer => done([answer.status, (await answer.json()).error]))"
    )
    status, error = browser.driver.execute_async_script(asked)
    assert (status, error) == (403, "viewer has no right in Airflow to edit the DAG returns.monitor")
    refused = site.asked("POST", "api/pipelines/returns/retrain", "viewer", json={"reason": "let me"})
    assert (refused.status_code, "trigger the DAG returns.train" in refused.json()["error"]) == (403, True)
    assert len(site.platform.ledger.all(Intervention)) == before


def test_who_may_not_look_sees_nothing(site: Site, browser: Browser) -> None:
    log_in_instead(site, browser, "nobody")  # whom Airflow shows no navigation
    browser.driver.get(f"{site.airflow.url}/mlprod/")
    browser.drawn()
    assert "nobody has no right in Airflow" in browser.text("#board")
    for path in ("api/overview", "api/pipelines/returns", "api/pipelines/returns/predictions/1", "api/pipelines/unknown"):
        assert site.asked("GET", path, "nobody").status_code == 403, path


def log_in_instead(site: Site, browser: Browser, user: str) -> None:
    browser.driver.get(site.airflow.url)
    browser.driver.delete_all_cookies()
    browser.log_in(user)


def test_who_is_not_logged_in_is_sent_to_log_in(site: Site) -> None:
    for path in ("api/overview", "api/pipelines/returns", "api/pipelines/returns/predictions/1"):
        answer = site.asked("GET", path)
        assert (answer.status_code, answer.json()) == (401, {"error": "Not authenticated"}), path
    assert site.asked("POST", "api/pipelines/returns/mute", json={"rule": "inputs moved", "days": 1}).status_code == 401
    page = site.asked("GET", "")
    assert page.status_code == 307
    assert urlsplit(page.headers["location"]).path == "/auth/login"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_site_cannot_press_a_button_with_somebodys_cookie(site: Site, headers: dict[str, str]) -> None:
    mute = {"method": "POST", "path": "api/pipelines/returns/mute", "json": {"rule": "inputs moved", "days": 1}}
    cookie = {"Cookie": f"_token={site.token('ada')}"}
    before = len(site.doings("mute"))
    assert site.asked(**mute, headers={**cookie, **headers}).status_code == 403
    assert len(site.doings("mute")) == before
    assert site.asked(**mute, headers={**cookie, "Origin": site.airflow.url}).status_code == 200
    assert len(site.doings("mute")) == before + 1


def test_the_data_docs_are_for_whoever_may_read_every_pipeline_and_can_do_nothing_here(site: Site) -> None:
    folder = site.platform.settings.expectations / "uncommitted" / "data_docs" / "local_site"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("<h1>All suites</h1>")
    (folder.parent / "secret.txt").write_text("not a page")
    shown = site.asked("GET", "data-docs/index.html", "ada")
    assert (shown.status_code, shown.text) == (200, "<h1>All suites</h1>")
    policy = shown.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script" not in policy, "no script runs, wherever it comes from"
    assert site.asked("GET", "data-docs/index.html").status_code == 401
    assert site.asked("GET", "data-docs/index.html", "nobody").status_code == 403
    too_long = f"data-docs/{'a' * 5000}"
    for outside in ("data-docs/%2e%2e/secret.txt", "data-docs/..%2fsecret.txt", "data-docs/nothing.html", too_long):
        assert site.asked("GET", outside, "ada").status_code == 404
    links = site.asked("GET", "api/pipelines/returns", "ada").json()["links"]
    assert "/mlprod/data-docs/index.html" in {link["href"] for link in links}


def test_the_link_of_a_training_leads_to_its_run_in_mlflow(site: Site) -> None:
    run_id = site.platform.registry.start_run(site.pipeline, "a training")
    address = site.asked("GET", "api/pipelines/returns", "ada").json()["run_link"].removeprefix("/mlprod/")
    led = site.asked("GET", address.replace("{run_id}", run_id), "ada")
    assert led.status_code == 307
    assert led.headers["location"] == site.platform.registry.run_url(run_id, "http://mlflow.example.com")
    assert site.asked("GET", address.replace("{run_id}", "nonsense"), "ada").status_code == 422
    unknown = site.asked("GET", address.replace("{run_id}", "0" * 32), "ada")
    assert (unknown.status_code, unknown.json()) == (404, {"error": f"MLflow has no run '{'0' * 32}'"})


def test_what_is_wrong_is_said(site: Site) -> None:
    said = {
        ("GET", "api/pipelines/unknown"): (404, "unknown"),
        ("GET", "api/pipelines/returns?first=yesterday"): (422, "first"),
        ("GET", "api/pipelines/returns?heat=nonsense"): (422, "nonsense"),
        ("POST", "api/pipelines/returns/explode"): (404, "explode"),
        ("POST", "api/pipelines/returns/mute"): (422, "rule"),
        ("POST", "api/pipelines/returns/retrain"): (422, "reason"),
        ("POST", "api/pipelines/returns/rollout"): (422, "mode"),
        ("POST", "api/pipelines/returns/ramp"): (422, "challenger"),
        ("POST", "api/pipelines/returns/review"): (422, "request_id"),
        ("POST", "api/pipelines/returns/experiment"): (422, "experiment"),
        ("POST", "api/pipelines/returns/plan_experiment"): (422, "variants"),
        ("POST", "api/pipelines/returns/end_experiment"): (422, "experiment"),
        ("POST", "api/pipelines/returns/bandit"): (422, "experiment"),
        ("POST", "api/pipelines/returns/end_bandit"): (422, "experiment"),
        ("POST", "api/pipelines/returns/freeze_bandit"): (422, "experiment"),
        ("POST", "api/pipelines/returns/thaw_bandit"): (422, "experiment"),
        ("GET", "api/pipelines/returns/predictions/1"): (404, "no predictions yet"),
        ("GET", "api/pipelines/returns/predictions?key=a,b%2Fc"): (404, "no predictions yet"),
        ("GET", "api/pipelines/returns/predictions?key=a&key=b"): (404, "has 1 column, order_id, but 2 values were given"),
    }
    for (method, path), (status, word) in said.items():
        answer = site.asked(method, path, "ada", **({"json": {}} if method == "POST" else {}))
        assert answer.status_code == status, (path, answer.text)
        assert word in answer.json()["error"], path
    unknown = site.asked("POST", "api/pipelines/returns/mute", "ada", json={"rule": "no such rule", "days": 1})
    assert (unknown.status_code, "inputs moved" in unknown.json()["error"]) == (422, True)
    odd = site.asked(
        "POST", "api/pipelines/returns/mute", "ada", json={"rule": "inputs moved", "days": 1, "by": "somebody else"}
    )
    assert odd.status_code == 422


def test_an_edited_declaration_is_seen_without_a_restart_and_a_refused_one_is_told(site: Site) -> None:
    file = site.platform.settings.pipelines / "returns.py"
    written = file.read_text()
    try:
        file.write_text(written.replace("    shop,\n", '    shop,\n    doc="Will it be sent back?",\n'))
        (card,) = site.asked("GET", "api/overview", "viewer").json()["pipelines"]
        assert card["doc"] == "Will it be sent back?"
        file.write_text(written.replace("    shop,\n", "    shop,\n    owner=7,\n"))
        told = site.asked("GET", "api/overview", "viewer").json()
        assert told["pipelines"] == []
        ((name, why),) = told["broken"]
        assert name == "returns"
        assert "owner" in why
        assert site.asked("GET", "api/pipelines/returns", "viewer").status_code == 503
        assert site.asked("GET", "api/overview", "nobody").status_code == 403
    finally:
        file.write_text(written)
    assert site.asked("GET", "api/pipelines/returns", "viewer").status_code == 200


def test_the_page_is_only_framed_by_airflow_and_runs_nothing_but_its_own(site: Site) -> None:
    policy = site.asked("GET", "", headers={"Cookie": f"_token={site.token('ada')}"}).headers["content-security-policy"]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"] == parts["connect-src"] == parts["frame-ancestors"] == "'self'"


def test_metrics_are_for_whoever_shows_the_token(site: Site) -> None:
    assert site.asked("GET", "metrics", "ada").status_code == 401
    answer = site.asked("GET", "metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'mlprod_champion_version{pipeline="returns"}' in answer.text


def test_without_a_token_there_are_no_metrics_and_the_api_server_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, mlprod_plugin; assert 'mlprod_airflow' not in sys.modules, 'every Airflow process loads plugins';"
        "from fastapi.testclient import TestClient; from mlprod_airflow.page.app import app;"
        "answer = TestClient(app).get('/metrics', headers={'authorization': 'Bearer '});"
        "heavy = {'mlflow', 'lightgbm', 'sklearn', 'pandas', 'duckdb', 'great_expectations', 'matplotlib'} & {*sys.modules};"
        "assert not heavy, heavy;"
        "print(answer.status_code, answer.json()['error'])"
    )
    given = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLPROD"))}
    environment = {**given, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].startswith("403 metrics are not served"), done.stdout + done.stderr
