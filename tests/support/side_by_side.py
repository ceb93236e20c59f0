"""How `pytest -n` shares files among workers: a file stays in one, and all with a real Airflow in one, which begins with it.

A real Airflow waits half of its time, so other files run beside it; two at once would wait for ports and cores of each other.
What takes longest alone comes before what is quick: at the end no worker waits for another.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

REAL_AIRFLOW = "tests/integration"
# Files whose first test takes as long as some hundred others: a training on all of a real table, or every benchmark once.
LONG = ("tests/benchmarks/", "tests/test_workflows", "tests/training/", "tests/serving/")


class OneAirflowAtATime(LoadFileScheduling):
    """One worker for everything that runs a real Airflow."""

    def _split_scope(self, nodeid: str) -> str:
        return REAL_AIRFLOW if nodeid.startswith(REAL_AIRFLOW) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneAirflowAtATime:
    return OneAirflowAtATime(config, log)


def pytest_configure(config: pytest.Config) -> None:
    # A thread of OpenMP that has nothing to do spins, on a core that another worker could use.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # the order is the one below, not the number of tests


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (not item.nodeid.startswith(REAL_AIRFLOW), not item.nodeid.startswith(LONG)))
