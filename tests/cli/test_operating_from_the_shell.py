"""Rolling back, reproducing and explaining, as a person types it."""

import json
import re

import duckdb
import pytest
from typer.testing import CliRunner, Result

from mlprod_tasks import declaration as ml
from mlprod_tasks.cli import main
from mlprod_tasks.declaration.recorded import text_of
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.scoring.score import score

DECLARED = "from pathlib import Path\n\nfrom mlprod_tasks.declaration.recorded import read\n\n"
DECLARED += "pipeline = read(Path(__file__).with_suffix('.json').read_text())\n"


@pytest.fixture
def mlprod(promoted_shop, tmp_path, monkeypatch):
    """Run a command on the shop with its champion, declared by a file of its own."""
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    (pipelines / "returns.json").write_text(text_of(promoted_shop.pipeline))
    (pipelines / "returns.py").write_text(DECLARED)
    monkeypatch.setenv("MLPROD_HOME", str(promoted_shop.platform.settings.home))
    monkeypatch.setenv("MLPROD_PIPELINES", str(pipelines))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main.app, arguments)

    return run


def test_reproduce_prints_a_table_and_ends_with_0_only_when_it_is_the_same(mlprod, monkeypatch):
    done = mlprod("reproduce", "returns", "--version", "1")
    assert done.exit_code == 0, done.output
    assert re.search(r"^data orders +version 1 +read at 1 +same$", done.stdout, re.M), done.stdout
    assert re.search(r"^scores +[\d,]+ rows +max \|difference\| 0 +same$", done.stdout, re.M), done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("identical: all ")
    assert mlprod("reproduce", "returns").stdout == done.stdout  # the champion
    from mlprod_tasks.promotion import reproduce

    monkeypatch.setattr(reproduce.Reproduced, "within", lambda made, tolerance: tolerance == 0.5)
    assert mlprod("reproduce", "returns").exit_code == 1
    assert mlprod("reproduce", "returns", "--tolerance", "0.5").exit_code == 0


def test_explain_prints_a_page_or_json(mlprod, promoted_shop):
    score(promoted_shop.pipeline, promoted_shop.tick("2024-02-11"), promoted_shop.platform)
    files = listed(promoted_shop.platform.lake.files("returns/predictions"))
    ((key, stored),) = duckdb.sql(f"SELECT order_id, score FROM read_parquet({files}) ORDER BY score DESC LIMIT 1").fetchall()
    done = mlprod("explain", "returns", "--key", key)
    assert done.exit_code == 0, done.output
    assert f"returns: order_id {key}" in done.stdout
    assert f"score      {stored:.4f}, decision: " in done.stdout
    assert re.search(r"^amount +[\d.]+ +[+-]\d\.\d{3} +[+-]\d\.\d{3}  price$", done.stdout, re.M), done.stdout
    assert "bit for bit" in done.stdout
    as_json = json.loads(mlprod("explain", "returns", "--key", key, "--tick", "2024-02-11", "--json").stdout)
    assert (as_json["score"], as_json["recomputed"]) == (stored, stored)


def test_explain_takes_a_key_with_a_comma_as_it_is(mlprod, promoted_shop):
    score(promoted_shop.pipeline, promoted_shop.tick("2024-02-11"), promoted_shop.platform)
    lake, ticks = promoted_shop.platform.lake, promoted_shop.pipeline.schedule.range("2024-02-11")
    table = lake.rows("returns/predictions")
    keys = [f'{key}, "the {i}th"/ü' for i, key in enumerate(table["order_id"].to_pylist())]
    changed = table.set_column(table.column_names.index("order_id"), "order_id", [keys]).cast(table.schema)
    lake.replace_ticks("returns/predictions", ticks, changed)
    done = mlprod("explain", "returns", "--key", keys[3])
    assert done.exit_code == 0, done.output
    assert f"returns: order_id {keys[3]}" in done.stdout
    twice = mlprod("explain", "returns", "--key", "a", "--key", "b")
    assert "has 1 column, order_id, but 2 values were given" in twice.output + str(twice.exception)
    assert "once for each key column" in " ".join(mlprod("explain", "--help").stdout.replace("│", " ").split())


def test_rollback_says_what_it_did(mlprod, promoted_shop):
    promoted_shop.promoted("two", "2024-02-12")
    done = mlprod("rollback", "returns", "--to", "1", "--reason", "complaints")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(
        r"version 1 of returns is champion again from tick \d{4}-\d\d-\d\d on, rolled back from version 2: complaints\n",
        done.stdout,
    )
    assert "is champion already: nothing changed" in mlprod("rollback", "returns", "--to", "1").stdout
    status = mlprod("status", "returns").stdout
    assert "champion  version 1, rolled back from version 2: complaints" in status


def test_a_training_of_the_past_does_not_call_itself_champion(mlprod, promoted_shop, tmp_path):
    lenient = promoted_shop.declared(gates=(ml.AtLeast("roc_auc", 0.5),))
    (tmp_path / "pipelines" / "returns.json").write_text(text_of(lenient.pipeline))
    done = mlprod("train", "returns", "--as-of", "2024-02-08")
    assert done.exit_code == 0, done.output
    assert done.stdout == "returns: version 2 is registered, but version 1 is champion by a newer decision\n"
