"""`mlprod init` for classes, for keys that are scored at every tick, for hours: what is written runs with `mlprod try`."""

import csv
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlprod_tasks import declaration as ml
from mlprod_tasks.cli.main import app
from mlprod_tasks.declaration import Lookup, Outcome, Pipeline, Trailing
from mlprod_tasks.platform.settings import Settings, from_environment
from mlprod_tasks.starting.init_pipeline import Declared, init_pipeline
from mlprod_tasks.starting.samples import CannotStart
from mlprod_tasks.starting.trial import Trial
from mlprod_tasks.starting.try_pipeline import try_pipeline

STARTS = datetime(2024, 1, 1)  # noqa: DTZ001


def written(file: Path, header: str, rows: Iterable[Iterable[Any]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([header.split(), *rows])
    return file


def settings_of(folder: Path) -> Settings:
    return from_environment({"MLPROD_HOME": str(folder / "var"), "MLPROD_PIPELINES": str(folder / "pipelines")})


def started(folder: Path, *sources: Path, predict: str, each: str = "", within: int | None = None) -> Declared:
    def never(candidates: list[tuple[str, str]]) -> str:
        raise AssertionError(candidates)

    given = [str(source) for source in sources]
    return init_pipeline(given, predict, "tried", settings_of(folder), never, each=each, within=within)


def tried(pipeline: Pipeline, folder: Path) -> Trial:
    return try_pipeline(pipeline, settings_of(folder), folder / "trial", lambda _: None, most_ticks=2)[0]


def purchases(weeks: int = 52, customers: int = 60) -> list[tuple[Any, ...]]:
    """Purchases of customers of whom each third comes about every other day, every two weeks, or every two months."""
    chance = random.Random(4)
    found = [
        (STARTS + timedelta(days=day, seconds=chance.randrange(80_000)), customer, round(chance.lognormvariate(3, 0.5), 2))
        for customer in range(customers)
        for day in range(weeks * 7)
        if chance.random() < (0.5, 0.07, 0.015)[customer % 3]
    ]
    return [(number, *row) for number, row in enumerate(sorted(found))]


@pytest.fixture
def bought(tmp_path: Path) -> Path:
    return written(tmp_path / "purchases.csv", "receipt_no bought_at customer_id amount", purchases())


def test_a_text_with_a_few_values_is_one_of_several_classes(tmp_path: Path) -> None:
    chance = random.Random(5)
    rows = []
    for number in range(60 * 40):
        size, hurry = chance.randrange(100), chance.random() < 0.4
        likely = ("air", "road", "sea")[0 if hurry else 1 if size < 50 else 2]
        way = likely if chance.random() < 0.7 else chance.choice(("air", "road", "sea"))
        rows.append((number, STARTS + timedelta(days=number // 40, minutes=number % 40), size, hurry, way))
    file = written(tmp_path / "parcels.csv", "parcel_id sent_at size hurry way", rows)
    pipeline = started(tmp_path, file, predict="way").pipeline
    assert (pipeline.task, pipeline.label.kind, pipeline.label.sql) == ("multiclass", "class", "way")
    trial = tried(pipeline, tmp_path)
    assert trial.passed, [one.sentence for one in trial.gates]


def test_lines_of_a_log_need_no_key(tmp_path: Path) -> None:
    lines = [line for number, *line in purchases() for _ in range(2 if number % 10 == 0 else 1)]
    file = written(tmp_path / "visits.csv", "seen_at customer_id spent", lines)
    declared = started(tmp_path, file, predict="any", each="customer_id")
    assert "key=(),  # guess: no columns tell rows apart" in declared.path.read_text()
    table = declared.pipeline.table("visits")
    assert (table.keyed_by_row, table.key) == (True, ("row_key",))
    trial = tried(declared.pipeline, tmp_path)
    assert not trial.stopped
    assert trial.rows == {"visits": len(lines)}
    with pytest.raises(CannotStart, match=r"tell its rows apart: add one that numbers them"):
        started(tmp_path, file, predict="spent")
    late = [(*line, *((line[0], "cash") if number % 3 else ("", ""))) for number, line in enumerate(lines)]
    later = written(tmp_path / "later.csv", "seen_at customer_id spent paid_at paid_by", late)
    with pytest.raises(CannotStart, match=r"--each customer_id: later.csv: .* tell its rows apart"):
        started(tmp_path, later, predict="any", each="customer_id")


def test_a_log_is_counted_by_what_it_shares_with_the_scored_rows(bought: Path, tmp_path: Path) -> None:
    lines = [line for _, *line in purchases() for _ in range(2)]
    log = written(tmp_path / "clicks.csv", "clicked_at customer_id spent", lines)
    pipeline = started(tmp_path, bought, log, predict="amount").pipeline
    assert pipeline.table("clicks").keyed_by_row
    assert [one.table for one in pipeline.features if isinstance(one, Trailing) and one.name == "clicks"] == ["clicks"]


def test_each_customer_is_scored_every_week_by_what_comes_next(bought: Path, tmp_path: Path) -> None:
    people = written(tmp_path / "customers.csv", "customer_id segment", [(n, "abc"[n % 3] * 2) for n in range(60)])
    declared = started(tmp_path, bought, people, predict="any", each="customer_id")
    pipeline = declared.pipeline
    assert pipeline.schedule.every == "week"
    assert (pipeline.population.seen_in, pipeline.population.by) == ("purchases", ("customer_id",))
    assert isinstance(pipeline.label, Outcome)
    assert (type(pipeline.label.of), pipeline.label.within) == (ml.Any, ml.days(28))
    assert pipeline.split.gap >= pipeline.label.within
    looked_up = [feature for feature in pipeline.features if isinstance(feature, Lookup)]
    assert [feature.columns for feature in looked_up] == [{"segment": "segment"}]
    trial = tried(pipeline, tmp_path)
    assert trial.rows == {"purchases": len(purchases()), "customers": 60}
    assert trial.passed, [one.sentence for one in trial.gates]


@pytest.mark.parametrize(
    ("predict", "task", "of"),
    [
        ("count", "regression", ml.Count()),
        ("amount", "regression", ml.Sum("amount")),
        ("amount > 30", "binary", ml.Any(where="amount > 30")),
    ],
)
def test_of_each_key_a_count_a_sum_and_a_condition_may_be_predicted(
    bought: Path, tmp_path: Path, predict: str, task: str, of: Any
) -> None:
    pipeline = started(tmp_path, bought, predict=predict, each="customer_id", within=7).pipeline
    assert (pipeline.task, pipeline.label.of, pipeline.label.within) == (task, of, ml.days(7))
    trailing = [feature for feature in pipeline.features if isinstance(feature, Trailing)]
    assert all(feature.by == {"customer_id": "customer_id"} for feature in trailing)


def test_the_rows_in_each_window_are_about_those_that_the_declaration_says(bought: Path, tmp_path: Path) -> None:
    declared = started(tmp_path, bought, predict="any", each="customer_id")
    text = declared.path.read_text(encoding="utf-8")
    said = int(text.partition("guess: about ")[2].partition(" rows in each window")[0].replace(",", ""))
    weeks, seen = declared.pipeline.split.test // timedelta(days=7), defaultdict(set)
    for _, at, customer, _ in purchases():
        for week in range(52):
            moment = STARTS + timedelta(weeks=week)
            if moment - declared.pipeline.population.within <= at < moment:
                seen[week].add(customer)
    counted = sum(len(seen[week]) for week in range(40, 40 + weeks))
    assert said == pytest.approx(counted, rel=0.1)


def test_days_of_many_rows_get_hourly_ticks_and_run(tmp_path: Path) -> None:
    chance = random.Random(6)
    rows = []
    for number in range(10 * 24 * 20):
        at, load, route = STARTS + timedelta(minutes=3 * number), chance.random(), chance.choice("abc")
        slow = chance.random() < 0.1 + 0.4 * (load > 0.6) + 0.4 * (route == "a")
        rows.append((f"r{number}", at, round(load, 3), route, at + timedelta(minutes=10), slow))
    file = written(tmp_path / "calls.csv", "call_id begun_at load route ended_at slow", rows)
    pipeline = started(tmp_path, file, predict="slow").pipeline
    assert (pipeline.schedule.every, pipeline.schedule.hours) == ("hour", 1)
    assert pipeline.label_delay == ml.hours(1)
    trial = tried(pipeline, tmp_path)
    assert trial.passed, [one.sentence for one in trial.gates]
    assert sum(trial.rows.values()) == len(rows)


def test_rows_without_a_time_are_counted_and_said(tmp_path: Path) -> None:
    # Such rows belong to no tick: every extraction would find, and refuse them.
    rows = [
        (number, "" if number in (70, 900) else STARTS + timedelta(hours=number), number % 7, number % 3 == 0)
        for number in range(60 * 24)
    ]
    file = written(tmp_path / "visits.csv", "visit_id came_at x bought", rows)
    with pytest.raises(CannotStart, match="came_at is missing in 2 of 1,440 rows: complete it, or deliver the other"):
        started(tmp_path, file, predict="bought")


def test_windows_are_long_enough_for_rows_that_become_rarer(tmp_path: Path) -> None:
    chance = random.Random(8)
    days = [day for day in range(200) for _ in range(40)] + [day for day in range(200, 300) for _ in range(4)]
    rows = [(number, STARTS + timedelta(days=day), chance.random(), chance.random() < 0.5) for number, day in enumerate(days)]
    file = written(tmp_path / "visits.csv", "visit_id came_at x bought", rows)
    split = started(tmp_path, file, predict="bought").pipeline.split
    assert split.test >= timedelta(days=50)  # 200 rows at the end
    assert split.test <= timedelta(days=75)


@pytest.mark.parametrize(
    ("each", "predict", "within", "sentence"),
    [
        ("client", "any", None, "--each client: there is no such column; there are purchases.receipt_no, .*customer_id"),
        ("receipt_no", "any", None, "receipt_no has .* different values in .* most come once.*Without --each"),
        ("customer_id", "spend", None, "--predict spend: of each key, it may be any, count and amount, or a condition"),
        ("customer_id", "any", 200, "outcomes are known after 200 days: too few.*or a shorter --within"),
        ("amount", "any", None, "amount is a float"),
    ],
)
def test_what_cannot_be_asked_of_each_key_is_refused_with_what_can(
    bought: Path, tmp_path: Path, each: str, predict: str, within: int | None, sentence: str
) -> None:
    with pytest.raises(CannotStart, match=sentence):
        started(tmp_path, bought, predict=predict, each=each, within=within)


def test_a_span_without_keys_is_refused(bought: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(bought), "--predict", "amount", "--within", "7"])
    assert done.exit_code == 2
    assert "give --each too" in done.output
