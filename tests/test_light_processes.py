"""What a short command or task may load: most of its time would go into importing more."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mlprod_tasks import steps
from tests.support.paths import REPOSITORY
from tests.support.trained_shop import AS_OF, Shop

# What writes to MLflow, plots, migrates, audits or serves: no tick's scoring and monitoring needs it, nor a look at the state.
NEVER = {
    "mlflow", "great_expectations", "matplotlib", "alembic", "fastapi", "starlette", "optuna", "opentelemetry", "numba",
    "celery",
}  # fmt: skip
ROWS = {"numpy", "pandas", "pyarrow", "duckdb", "deltalake", "lightgbm", "sklearn", "scipy", "numba", "llvmlite"}
CODE = """
import json, sys
from pathlib import Path
from mlprod_tasks import steps
from tests.support.shop import SHOP
from tests.support.trained_shop import platform_at

def loaded():
    return sorted({name.split(".")[0] for name in sys.modules})

platform, tick = platform_at(Path(sys.argv[1])), SHOP.schedule.tick(sys.argv[2])
after = {}
steps.score(SHOP, tick, platform)
after["score"] = loaded()
steps.measure(SHOP, tick, platform)
after["measure"] = loaded()
steps.decide_and_act(SHOP, tick, platform)
after["decide"] = loaded()
print(json.dumps(after))
"""


@pytest.fixture
def shop(promoted_shop: Shop) -> Shop:
    """A shop whose champion this machine has a copy of, and with a scored tick."""
    steps.score(promoted_shop.pipeline, promoted_shop.tick(), promoted_shop.platform)
    return promoted_shop


def test_a_tick_is_scored_measured_and_decided_without_what_only_trainings_and_audits_need(shop: Shop) -> None:
    command = [sys.executable, "-c", CODE, str(shop.platform.settings.home), AS_OF]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for step, modules in json.loads(done.stdout.splitlines()[-1]).items():
        assert NEVER & set(modules) == set(), step


@pytest.mark.parametrize("command", [["status"], ["alarms"], ["pipelines"], ["why", AS_OF], ["--help"]], ids=lambda one: one[0])
def test_a_look_at_the_state_loads_no_library_for_rows(command: list[str], shop: Shop, tmp_path) -> None:
    (tmp_path / "pipelines").mkdir()
    declaration = "from tests.support.shop import SHOP\n\npipeline = SHOP\n"
    (tmp_path / "pipelines" / "returns.py").write_text(f'"""Returns."""\n\n{declaration}')
    steps.measure(shop.pipeline, shop.tick(), shop.platform)
    steps.decide_and_act(shop.pipeline, shop.tick(), shop.platform)
    first, *rest = command
    named = [] if first in ("--help", "pipelines") else ["returns"]
    code = (
        "import atexit, sys; from mlprod_tasks.cli.main import run\n"
        "atexit.register(lambda: print('LOADED', *{name.split('.')[0] for name in sys.modules}))\n"
        "sys.exit(run())"
    )
    home = shop.platform.settings.home
    environment = {
        "PATH": "", "MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(tmp_path / "pipelines"), "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    given = [sys.executable, "-c", code, first, *named, *rest]
    done = subprocess.run(given, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *said, line = done.stdout.splitlines()
    assert said, "the command ran"
    assert (NEVER | ROWS) & set(line.split()) == set()
