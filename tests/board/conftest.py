"""Ledgers to show, and a browser to look with."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import seeded_ledger

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory, flights_pipeline: Pipeline) -> Platform:
    """Eleven weeks of a pipeline whose inputs move near the end. Only to be read."""
    platform = seeded_ledger.opened(tmp_path_factory.mktemp("months"))
    seeded_ledger.fill(platform, flights_pipeline, seeded_ledger.TICKS)
    seeded_ledger.answer_requests(
        platform, flights_pipeline, seeded_ledger.moment(seeded_ledger.FIRST + 68 * seeded_ledger.DAY)
    )
    return platform


@pytest.fixture
def make_ledger(tmp_path: Path) -> Callable[..., Platform]:
    """Make an empty ledger; the clock stands at the evening of `day`."""
    return lambda day=seeded_ledger.LAST: seeded_ledger.opened(tmp_path / "home", day)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        reason = (
            "NOT LOOKED AT in a browser: chromium and chromedriver are not installed (apt-get install chromium chromium-driver)"
        )
        if os.environ.get("MLPROD_TEST_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1280,1000",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()
