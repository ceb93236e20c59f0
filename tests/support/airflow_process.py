"""A program that imports Airflow and our plugins, in a process of its own: importing Airflow sets up logging."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.support.paths import REPOSITORY


def told_by(program: str, home: Path, *arguments: str) -> dict[str, Any]:
    """Run it with an Airflow of its own in `home`; return what it printed behind TOLD, as JSON."""
    variables = os.environ | {
        "AIRFLOW_HOME": str(home),
        "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'plugins'}",
    }
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TOLD")]
    return dict(json.loads(line.removeprefix("TOLD")))
