"""`mlprod ramp`, `ramp-check` and `take-back` in a shell; a process that is killed leaves a ramp that another goes on with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlprod_tasks.cli import main
from mlprod_tasks.rollout import routing
from mlprod_tasks.rollout.steps import begin, take_step
from tests.support.paths import REPOSITORY
from tests.support.ramped_shop import Ramped

DECLARED = """
from dataclasses import replace

from mlprod_tasks import declaration as ml
from tests.support.shop import SHOP

pipeline = replace(
    SHOP, serving=ml.Serving(ramp=ml.Ramp(shares=(0.2, 0.5, 1.0), hold=ml.hours(0), at_most=ml.hours(1), rows=100))
)
"""
MLPROD = (sys.executable, "-c", "from mlprod_tasks.cli.main import run; run()")


@pytest.fixture
def shop(ramped_shop: Ramped) -> Ramped:
    return ramped_shop


@pytest.fixture
def environment(shop: Ramped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    (pipelines / "returns.py").write_text(DECLARED)
    given = {
        "MLPROD_HOME": str(shop.platform.settings.home),
        "MLPROD_PIPELINES": str(pipelines),
        "MLPROD_CONNECTION_SMTP": shop.platform.settings.connection("smtp"),
        "PYTHONPATH": str(REPOSITORY),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return os.environ | given


@pytest.fixture
def mlprod(environment: dict[str, str]) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main.app, list(words))


def test_a_person_looks_at_a_ramp_and_takes_it_back(shop: Ramped, mlprod: Callable[..., Result]) -> None:
    begin(shop.pipeline, 3, "Ada", "", shop.platform)
    take_step(shop.pipeline, 0.2, shop.platform)
    shop.answered(50)
    looked = mlprod("ramp-check", "returns")
    assert looked.exit_code == 0, looked.output
    assert "of 100 rows" in looked.output
    shop.answered(300, error=lambda _: True)
    looked = mlprod("ramp-check", "returns")
    assert looked.exit_code == 1
    assert "FAIL  errors" in looked.output
    assert shop.rollout().mode == "canary", "to look changes nothing"
    taken = mlprod("take-back", "returns", "--by", "Bo", "--reason", "enough seen")
    assert taken.output == "returns: taken back: version 3 at 20% of entities, enough seen\n"
    assert (shop.rollout().mode, len(shop.mails())) == ("champion", 1)


def running(shop: Ramped, environment: dict[str, str], tmp_path: Path) -> subprocess.Popen[bytes]:
    """`mlprod ramp` in a process of its own that has taken its first step, and waits for requests."""
    words = ["ramp", "returns", "--challenger", "3", "--by", "Ada", "--reason", "tried"]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([*MLPROD, *words], env=environment, stdout=said, stderr=said)
    until(lambda: share_of(shop) == 0.2, lambda: (tmp_path / "said").read_text())
    return process


def share_of(shop: Ramped) -> float:
    found = routing.current(shop.pipeline, shop.platform)
    return found.share if found else 0.0


def until(happened: Callable[[], bool], told: Callable[[], str]) -> None:
    ends = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < ends, told()
        time.sleep(0.1)


def test_ended_by_the_system_it_takes_the_challenger_back(shop: Ramped, environment: dict[str, str], tmp_path: Path) -> None:
    process = running(shop, environment, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    assert shop.rollout().mode == "champion"
    (mail,) = shop.mails()
    assert "the rollout that Ada started was ended before its end" in mail


def test_killed_it_leaves_a_ramp_that_another_process_goes_on_with(
    shop: Ramped, environment: dict[str, str], tmp_path: Path, mlprod: Callable[..., Result]
) -> None:
    process = running(shop, environment, tmp_path)
    process.kill()
    process.wait()
    assert shop.rollout().share == 0.2
    steps = len(shop.platform.ledger.all(type(shop.rollout())))
    shop.answered(1500)
    again = subprocess.Popen(
        [*MLPROD, "ramp", "returns", "--challenger", "3", "--by", "Bo"], env=environment, stdout=subprocess.PIPE
    )
    for share in (0.5, 1.0):
        until(lambda share=share: share_of(shop) == share, lambda: str(shop.rollout()))
        shop.answered(1000)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said.decode()
    assert shop.champion() == 3
    begun = [one for one in shop.platform.ledger.all(type(shop.rollout())) if one.mode == "shadow"]
    assert (len(begun), steps) == (1, 2)
