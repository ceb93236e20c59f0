"""Great Expectations is loaded where tasks are forked from, whatever else is installed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import REPOSITORY

# As pyspark does in a process without a main file, and that takes it for its doctests.
ENDS = "import sys\nsys.exit(0)\n"
CODE = """
import importlib, sys
import mlprod_tasks.ingest.loaded_expectations
assert "great_expectations" in sys.modules and "pyspark" not in sys.modules, "loaded"
try:
    importlib.import_module("pyspark.sql.connect")
except SystemExit:
    print("loaded, and pyspark can be imported")
"""


def test_an_installed_spark_does_not_end_the_process(tmp_path: Path) -> None:
    connect = tmp_path / "pyspark" / "sql" / "connect"
    connect.mkdir(parents=True)
    for folder in (connect.parent.parent, connect.parent):
        (folder / "__init__.py").touch()
    (connect / "__init__.py").write_text(ENDS)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "loaded, and pyspark can be imported\n"), done.stderr[-2000:]
