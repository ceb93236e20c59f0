"""What reading an experiment costs: two weeks of scored rows with their outcomes, from the lake to the verdict, beside pandas.

pandas reads the same files into memory, joins and groups them, and computes the same difference; nothing is checked there.
Goals for 10 million rows: at most 20 s and 2 GB. Each way runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.features import peak_gb
from benchmarks.size import FLAG, sized
from mlprod_tasks import declaration as ml
from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.experiments.plan import Plan, Usual, Wanted
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import Publication, Scoring
from mlprod_tasks.platform.settings import from_environment

ROOT = Path(__file__).parents[1]
ROWS, DAYS, DELAY = sized(10_000_000, 28_000), 14, 2
MOST_SECONDS, MOST_GB = 20, 2
FIRST = date(2024, 1, 8)
ORDERS = ml.Table("orders", ml.Database("shop", "orders"), ("order_id",), time="placed_at", ticks_ahead=1, columns=(
    ml.Column("order_id", "int", "the order"), ml.Column("placed_at", "timestamp", "when"),
    ml.Column("customer", "int", "who"), ml.Column("amount", "float", "price"),
))  # fmt: skip
RETURNS = ml.Table("returns", ml.Database("shop", "returns"), ("order_id",), time="settled_at", columns=(
    ml.Column("order_id", "int", "the order"), ml.Column("settled_at", "timestamp", "when"),
    ml.Column("returned", "bool", "whether"),
))  # fmt: skip
PIPELINE = ml.Pipeline(
    name="orders", doc="Will an order come back?", owner="shop", alert_to=("shop@example.com",), tables=(ORDERS, RETURNS),
    schedule=ml.Schedule(at=datetime.min.time(), timezone="UTC", starts=date(2024, 1, 1)), entity="orders",
    features=(ml.Expression("customer", "customer", "int", "who"), ml.Expression("amount", "amount", "float", "price")),
    label=ml.Label("returns", {"order_id": "order_id"}, "returned", delay=ml.days(DELAY)),
    split=ml.Split(validation=ml.days(7), test=ml.days(7), gap=ml.days(DELAY)), fallback=ml.RateTable(by=()),
    value=ml.CostMatrix(true_positive=10, false_positive=-4), kpi=ml.Kpi("value", "avg(value)", "what acting saves"),
    experiments=ml.Experiments(
        unit=("customer",),
        metrics=(
            ml.UnitMetric("saved", "value", "what acting saved"),
            ml.UnitMetric("acted", "decision", "customers on whose order somebody acted", of="proportion"),
            ml.UnitMetric("per_order", "value", "saved an order", of="ratio", per="1"),
        ),
        guardrails=(ml.Guardrail("saved", 5),),
    ),
)  # fmt: skip
LAST = FIRST + timedelta(days=DAYS - 1)
NAMES = ("one", "two", "three")  # of experiments


def opened(home: Path) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home)}))


def fill(platform: Platform, experiments: int) -> None:
    """Write scored rows and outcomes of two weeks, and the experiments that assigned them: each has its own customers."""
    random, a_day = np.random.default_rng(1), ROWS // DAYS
    at = datetime(2024, 1, 1, tzinfo=UTC)
    for n in range(DAYS):
        day = FIRST + timedelta(days=n)
        keys = np.arange(n * a_day, (n + 1) * a_day)
        customer = random.integers(0, ROWS // 5, a_day)
        treated, score = customer % 2 == 1, random.random(a_day)
        ticks = pa.array([day] * a_day, pa.date32())
        moment = pa.array(np.full(a_day, np.datetime64(day, "us")), pa.timestamp("us", "UTC"))
        scored = {
            "order_id": keys, "placed_at": moment, "tick": ticks, "predict_at": moment, "score": score,
            "decision": score > np.where(treated, 0.7, 0.8), "fallback": np.zeros(a_day, bool),
            "model_version": np.ones(a_day, np.int32), "features_digest": [PIPELINE.digest] * a_day,
            "experiment": np.array(NAMES)[customer // 2 % experiments], "variant": np.where(treated, "champion@0.7", "control"),
            "propensity": np.full(a_day, 0.5), "customer": customer, "amount": random.gamma(2, 40, a_day),
        }  # fmt: skip
        platform.lake.replace_ticks(names.predictions(PIPELINE), PIPELINE.schedule.range(day), pa.table(scored))
        orders = {name: scored[name] for name in ("order_id", "placed_at", "customer", "amount", "tick")}
        platform.lake.replace_ticks(names.raw(PIPELINE, "orders"), PIPELINE.schedule.range(day), pa.table(orders))
        known = day + timedelta(days=1)
        settled = pa.array(np.full(a_day, np.datetime64(day, "us") + np.timedelta64(20, "h")), pa.timestamp("us", "UTC"))
        returned = pa.table({"order_id": keys, "settled_at": settled, "returned": random.random(a_day) < score,
                             "tick": pa.array([known] * a_day, pa.date32())})  # fmt: skip
        platform.lake.replace_ticks(names.raw(PIPELINE, "returns"), PIPELINE.schedule.range(known), returned)
        platform.ledger.put(
            Scoring(
                pipeline="orders", tick=day, model_version=1, rows=a_day, fallback_rows=0, features_digest=PIPELINE.digest,
                delta_version=n, at=at, fallback_reason=None,
            )
        )  # fmt: skip
    published = (FIRST + timedelta(days=n) for n in range(DAYS + DELAY))
    platform.ledger.put(
        *(Publication(pipeline="orders", table_name="returns", tick=day, rows=1, delta_version=0, at=at) for day in published)
    )
    variants = (Variant("control", 1, 0.5), Variant("champion@0.7", 1, 0.5, 0.7))
    plan = Plan(Wanted("saved", 0.5), variants, 2, 1000, ROWS // 10, 0.1, Usual(FIRST, LAST, ROWS // 5, 1.0, 1.0))
    for i, name in enumerate(NAMES[:experiments]):
        platform.ledger.put(
            ExperimentRun(
                pipeline="orders", name=name, at=at, by="a benchmark", reason="", plan=plan.as_json(), salt="0", starts=FIRST,
                ends=LAST, layer_salt="1", units_from=i / experiments, units_to=(i + 1) / experiments,
            )
        )  # fmt: skip


def read_ours(platform: Platform) -> str:
    tick, shown = PIPELINE.schedule.tick(LAST + timedelta(days=DELAY)), []
    for run in platform.ledger.all(ExperimentRun, pipeline="orders"):
        reading = read_out(PIPELINE, run, tick, platform)
        assert reading.final, reading.sentence
        shown.append(f"{reading.verdict}, {reading.compared[0].difference:.6f}")
    return "; ".join(shown)


def read_pandas(platform: Platform) -> str:
    import pandas as pd

    days = PIPELINE.schedule.names(FIRST, LAST + timedelta(days=DELAY))
    names_of = {"scored": names.predictions(PIPELINE), "returns": names.raw(PIPELINE, "returns")}
    columns = {"scored": ["order_id", "customer", "variant", "decision"], "returns": ["order_id", "returned"]}
    scored, returns = (platform.lake.rows(names_of[one], days, columns[one]).to_pandas() for one in names_of)
    rows = scored.merge(returns, on="order_id")
    rows["saved"] = np.where(rows["decision"], np.where(rows["returned"], 10.0, -4.0), 0.0)
    units = rows.groupby(["variant", "customer"]).agg(
        saved=("saved", "sum"), acted=("decision", "any"), orders=("saved", "size")
    )
    means: pd.Series = units["saved"].groupby("variant").mean()
    return f"{means['champion@0.7'] - means['control']:.6f}"


# What reads, and how many experiments assigned the rows.
WAYS: dict[str, tuple[Callable[[Platform], str], int]] = {
    "reading with all checks": (read_ours, 1),
    "pandas, the difference alone": (read_pandas, 1),
    "reading each of three experiments in the same rows": (read_ours, 3),
}


def measured(way: str, home: Path) -> dict[str, float | str]:
    command = [sys.executable, "-m", "benchmarks.experiment_reading", "--way", way, "--home", str(home), *FLAG]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    answer: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--small", action="store_true", help="few rows: only to see that it runs")
    given = parser.parse_args()
    if given.way:
        platform, began = opened(given.home), time.perf_counter()
        before = time.process_time()
        found = WAYS[given.way][0](platform)
        seconds, cpu = time.perf_counter() - began, time.process_time() - before
        print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": peak_gb(), "found": found}))
        return 0
    print(f"### Reading an experiment of {ROWS:,} rows\n\n| way | seconds | processor seconds | peak memory GB | found |")
    print("| --- | ---: | ---: | ---: | --- |")
    rows = {}
    for experiments in (1, 3):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "home"
            fill(opened(home), experiments)
            for way in (one for one, (_, n) in WAYS.items() if n == experiments):
                rows[way] = row = measured(way, home)
                told = f"{row['seconds']:.1f} | {row['cpu']:.1f} | {row['memory']:.1f} | {row['found']}"
                print(f"| {way} | {told} |", flush=True)
    ours = next(iter(rows.values()))
    met = float(ours["seconds"]) <= MOST_SECONDS and float(ours["memory"]) <= MOST_GB
    print(f"\nGoal: at most {MOST_SECONDS} s and {MOST_GB} GB; {'met' if met else 'MISSED'}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
