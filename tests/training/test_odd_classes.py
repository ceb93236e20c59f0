"""Classes with names that files, pages, pictures and numbers trip over, from training to a scored day and its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.dashboard.report import html
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.operations.explanation_text import text
from mlprod_tasks.reporting.write import report
from mlprod_tasks.scoring.score import score
from mlprod_tasks.statistics.class_scores import in_order
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.reason_shop import REASONS, reason_shop, reasons
from tests.support.trained_shop import raw_tables

ODD = (
    "", " kept", "kept", "line\nbreak", "tab\there", "<script>alert(1)</script>", "$\\frac{a}$", "NULL", "1e5", "-0", "007",
    "9" * 5000, "../../etc", "{name}", "100 %", "ünïcödé 😀", "(all others)", "prediction",
)  # fmt: skip


def test_whole_numbers_come_by_size_however_long_they_are():
    assert in_order(["10", "9", "b", "-1", "9" * 5000, "a"]) == ("-1", "9", "10", "9" * 5000, "a", "b")


def test_classes_with_odd_names_go_the_whole_way(filled_home: Path, tmp_path: Path):
    random = np.random.default_rng(3)
    returns = reasons(*raw_tables())
    drawn = pa.array(random.choice(np.array(ODD, object), returns.num_rows), pa.string())
    returns = returns.set_column(returns.column_names.index("reason"), "reason", drawn)
    model = ml.Model(candidates=(ml.LightGBM(max_trees=3),), threads=1)
    pipeline = replace(REASONS, value=ml.ClassValue(), model=model, gates=(ml.AtMost("log_loss", 99.0),))
    shop = reason_shop(filled_home, tmp_path, returns=returns, pipeline=pipeline)
    assert shop.promoted("one").moved
    made = load_model(TrainingFolder(shop.platform, "one").model)
    assert made.rule is not None
    assert set(made.rule.classes) == set(ODD)
    report(shop.pipeline, "one", shop.platform)
    page = (TrainingFolder(shop.platform, "one").path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    score(shop.pipeline, shop.tick(), shop.platform)
    measure(shop.pipeline, shop.tick(), shop.platform)
    stored = shop.platform.lake.rows("returns/predictions").to_pylist()
    assert {row["prediction"] for row in stored} <= set(ODD)
    told = explain(shop.pipeline, [stored[0]["order_id"]], shop.platform)
    assert told.predicted == stored[0]["prediction"]
    assert text(told)
    assert "<script>alert(1)" not in html(shop.pipeline, shop.tick(), shop.platform)
