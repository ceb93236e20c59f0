"""How long the DAG processor takes for each DAG file, in a process that has Airflow loaded as the DAG processor has."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.size import sized

REPOSITORY = Path(__file__).parents[1]
GOAL_SECONDS = 0.5
ROUNDS = sized(5, 1)


def main() -> None:
    """Print a table: the slowest of several fresh parses of each file."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
            "MLPROD_HOME": home,
        }
        sys.path.insert(0, str(REPOSITORY / "plugins"))
        from airflow.dag_processing.dagbag import DagBag

        slowest: dict[str, float] = {}
        for _ in range(ROUNDS):
            # Each parse in the DAG processor is a fork of a process that has not seen our modules.
            for name in [name for name in sys.modules if name.startswith(("mlprod", "pydantic.dataclasses"))]:
                del sys.modules[name]
            for stats in DagBag(str(REPOSITORY / "dags")).dagbag_stats:
                slowest[stats.file] = max(slowest.get(stats.file, 0.0), stats.duration.total_seconds())
    print("### DAG files\n\n| file | parse | goal | |\n| --- | --- | --- | --- |")
    for file, seconds in sorted(slowest.items()):
        print(
            f"| {file.lstrip('/')} | {seconds:.2f} s | < {GOAL_SECONDS} s | {'met' if seconds < GOAL_SECONDS else 'MISSED'} |"
        )
    print()


if __name__ == "__main__":
    main()
