"""A plain CSV without any time, through every step, against pandas, hashlib and scikit-learn."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mlprod_tasks import declaration as ml
from mlprod_tasks import steps, workflows
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.ingest.tables import TablesFailed
from mlprod_tasks.online.check import compared
from mlprod_tasks.operations.status import status
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Training
from mlprod_tasks.promotion.reproduce import reproduce
from mlprod_tasks.training.assemble import NotTrainable
from mlprod_tasks.training.row_split import PartsUnknown
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.timeless_customers import BY_PART, CHURN, DAY, FIRST, KNOWN, ROWS, calls, customers, deliver, new_platform

LATER, LAST = FIRST + 2 * DAY, FIRST + 4 * DAY  # all outcomes are delivered at LATER


@dataclass(frozen=True)
class Home:
    platform: Platform
    rows: pd.DataFrame

    def trainings(self) -> list[Training]:
        return sorted(self.platform.ledger.all(Training, pipeline="churn"), key=lambda one: one.at)

    def window(self, training: Training, part: str) -> pd.DataFrame:
        return read_window(TrainingFolder(self.platform, training.id), part).to_pandas()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Trained at the first tick, scored and monitored every day, trained again when all outcomes are there."""
    folder, rows = tmp_path_factory.mktemp("timeless"), customers()
    platform, schedule = new_platform(folder), CHURN.schedule
    calls().to_csv(folder / "calls.csv", index=False)
    deliver(rows, folder)
    workflows.ingest(CHURN, schedule.range(schedule.first, FIRST), platform)
    workflows.train(CHURN, schedule.tick(FIRST), "for the test", platform)
    for day in (FIRST, FIRST + DAY, LATER, LATER + DAY, LAST):
        if day == LATER:
            deliver(rows, folder, ROWS)
        if day != FIRST:
            workflows.ingest(CHURN, schedule.range(day), platform)
        workflows.score(CHURN, [schedule.tick(day)], platform)
        workflows.monitor(CHURN, [schedule.tick(day)], platform)
    workflows.train(CHURN, schedule.tick(LAST), "again", platform)
    return Home(platform, rows)


def part_of(customer: int) -> str:
    """The first 32 bits of the MD5 of seed and key, as the guide says."""
    place = int(hashlib.md5(f"7|{customer}".encode()).hexdigest()[:8], 16) / 2**32
    return "test" if place < 0.25 else "validation" if place < 0.5 else "train"


def test_only_customers_with_an_outcome_train_each_in_the_part_of_its_hash(home: Home) -> None:
    first, second = home.trainings()
    assert (first.state, second.state) == ("promoted", "promoted")
    for training, known in ((first, KNOWN), (second, ROWS)):
        seen = 0
        for part in ("train", "validation", "test"):
            rows = home.window(training, part).set_index("customer")
            assert sorted(rows.index) == [customer for customer in range(known) if part_of(customer) == part]
            truth = home.rows.set_index("customer").loc[rows.index]
            assert (rows["label"].astype(bool) == truth["churned"]).all()
            assert (rows["visits"] == truth["visits"]).all()
            seen += len(rows)
        assert seen == known


def test_features_of_other_tables_are_as_of_the_snapshot(home: Home) -> None:
    (first, _), made = home.trainings(), calls()
    start = pd.Timestamp(FIRST) + pd.Timedelta(hours=4)
    recent = made[(made["called_at"] < start) & (made["called_at"] >= start - pd.Timedelta(days=14))]
    counted = recent.groupby("customer").size()
    rows = home.window(first, "train").set_index("customer")
    assert rows["calls_count_14d"].to_dict() == {c: counted.get(c, 0) for c in rows.index}
    assert counted.max() > 2


def test_only_customers_without_an_outcome_are_scored(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(CHURN)).to_pandas()
    assert sorted(scored["tick"].unique()) == [FIRST, FIRST + DAY]
    for _, rows in scored.groupby("tick"):
        assert sorted(rows["customer"]) == list(range(KNOWN, ROWS))
        assert not rows["fallback"].any()
    measured = {(m.tick, m.what): m for m in home.platform.ledger.all(Measurement, pipeline="churn")}
    empty = measured[LATER, "volume"]
    assert (empty.value, empty.breached) == (None, False)
    assert "all rows of customers have an outcome" in empty.sentence


def test_what_came_true_is_measured_of_scored_customers_alone(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(CHURN), [FIRST]).to_pandas().set_index("customer")
    truth = home.rows.set_index("customer").loc[scored.index, "churned"]
    (auc,) = home.platform.ledger.all(Measurement, pipeline="churn", tick=FIRST, what="roc_auc")
    assert auc.n == ROWS - KNOWN
    assert auc.value == pytest.approx(roc_auc_score(truth, scored["score"]), abs=1e-9)
    assert not [m for m in home.platform.ledger.all(Measurement, pipeline="churn") if m.breached]


def test_the_champion_is_compared_on_rows_that_it_was_never_fitted_to(home: Home) -> None:
    first, second = home.trainings()
    evaluation = TrainingFolder(home.platform, second.id).read(Evaluation)
    assert evaluation.champion is not None, evaluation.champion_problem
    fitted = {*home.window(first, "train")["customer"], *home.window(first, "validation")["customer"]}
    assert not fitted & set(home.window(second, "test")["customer"])


def test_everything_that_is_shown_says_that_it_proves_less(home: Home) -> None:
    (first, _) = home.trainings()
    folder = TrainingFolder(home.platform, first.id).path
    assert PROVES_LESS in status(CHURN, home.platform)
    assert "by a hash of the key with seed 7" in status(CHURN, home.platform)
    for name in ("report.html", "model_card.md"):
        text = " ".join((folder / name).read_text().split())
        assert PROVES_LESS in text
        assert "later than all data used" not in text
    (_, second) = home.trainings()
    report = " ".join((TrainingFolder(home.platform, second.id).path / "report.html").read_text().split())
    assert "Of the 1,000 that the champion was made with, 0 have changed since and 0 are gone; 500 more of its rows" in report
    champion = detail(CHURN, home.platform).champion
    assert champion is not None
    assert PROVES_LESS in str(champion.caveat)


def test_a_second_run_and_a_replay_give_the_same(home: Home) -> None:
    schedule, lake, name = CHURN.schedule, home.platform.lake, names.raw(CHURN, "customers")
    before = lake.rows(name, [LAST])
    workflows.ingest(CHURN, schedule.range(LAST), home.platform)
    assert lake.rows(name, [LAST]).equals(before)
    assert lake.rows(name).num_rows == 5 * ROWS
    assert reproduce(CHURN, 1, home.platform).identical


def test_a_request_gets_what_the_batch_has(home: Home) -> None:
    tick = CHURN.schedule.tick(FIRST + DAY)
    steps.fill_online(CHURN, tick, home.platform)
    found = compared(CHURN, tick, home.platform)
    assert (found.rows, found.share) == (ROWS - KNOWN, 0.0)


@pytest.fixture
def fresh(tmp_path: Path) -> Home:
    calls().to_csv(tmp_path / "calls.csv", index=False)
    return Home(new_platform(tmp_path), customers())


def assembled(home: Home, pipeline=BY_PART) -> TrainingFolder:
    tick = pipeline.schedule.tick(FIRST)
    workflows.ingest(pipeline, pipeline.schedule.range(FIRST), home.platform)
    steps.assemble(pipeline, tick, "t", "for the test", home.platform)
    return TrainingFolder(home.platform, "t")


def test_rows_are_split_by_a_column(fresh: Home, tmp_path: Path) -> None:
    deliver(fresh.rows, tmp_path)
    folder = assembled(fresh)
    known = fresh.rows[fresh.rows["customer"] < KNOWN]
    for part, value in (("train", "train"), ("validation", "check"), ("test", "final")):
        found = read_window(folder, part).to_pandas()
        assert sorted(found["customer"]) == sorted(known[known["part"] == value]["customer"])


def test_a_value_of_no_part_is_refused_if_the_row_has_an_outcome(fresh: Home, tmp_path: Path) -> None:
    rows = fresh.rows.copy()
    rows.loc[rows["customer"] >= KNOWN, "part"] = "new"  # to be scored: of no part
    rows.loc[rows["customer"] < 3, "part"] = "tset"
    deliver(rows, tmp_path)
    with pytest.raises(PartsUnknown, match="'part' 'tset' in 3 rows, which is of no part"):
        assembled(fresh)


def test_a_part_without_rows_is_refused(fresh: Home, tmp_path: Path) -> None:
    deliver(fresh.rows.assign(part="train"), tmp_path)
    with pytest.raises(NotTrainable, match=r"the validation part of the snapshot 2024-03-01.* has no row with an outcome"):
        assembled(fresh)


def test_ten_rows_are_too_few_to_split(fresh: Home, tmp_path: Path) -> None:
    deliver(fresh.rows.head(10), tmp_path)
    with pytest.raises(NotTrainable, match="fewer than 100"):
        assembled(fresh, CHURN)


def test_rows_of_one_household_are_in_one_part(fresh: Home, tmp_path: Path) -> None:
    deliver(fresh.rows, tmp_path)
    folder = assembled(fresh, replace(CHURN, split=replace(CHURN.split, by=("plan", "visits"))))
    plans = fresh.rows.set_index("customer")
    seen: dict[tuple[str, int], str] = {}
    for part in ("train", "validation", "test"):
        for customer in read_window(folder, part)["customer"].to_pylist():
            group = (plans.loc[customer, "plan"], plans.loc[customer, "visits"])
            assert seen.setdefault(group, part) == part


def test_a_customer_in_two_files_is_refused_by_the_audit(fresh: Home, tmp_path: Path) -> None:
    deliver(fresh.rows, tmp_path)
    (tmp_path / "customers.csv").rename(tmp_path / "customers_1.csv")
    deliver(fresh.rows.tail(2), tmp_path)
    (tmp_path / "customers.csv").rename(tmp_path / "customers_2.csv")
    in_files = replace(BY_PART.tables[0].at_source, source=ml.Files("shop", "customers_*.csv", "csv"))
    with pytest.raises(TablesFailed, match="customer must be unique"):
        assembled(fresh, replace(BY_PART, tables=(in_files, BY_PART.tables[1])))


def test_an_empty_table_is_refused_by_the_audit(fresh: Home, tmp_path: Path) -> None:
    deliver(fresh.rows.head(0), tmp_path)
    with pytest.raises(Exception, match="customers"):
        assembled(fresh)
