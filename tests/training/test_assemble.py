"""The training set: the windows' rows, with what was known by then."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Asker, Decision, Publication, Training
from mlprod_tasks.training import train, workspace
from mlprod_tasks.training.assemble import DecisionMissing, NotTrainable, assemble
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.split import HistoryTooShort
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder

NOON = datetime(2024, 2, 10, 12, tzinfo=UTC)


def made(shop, training_id: str = "t") -> pa.Table:
    return pq.read_table(TrainingFolder(shop.platform, training_id).training_set)


def test_the_set_holds_each_windows_rows_and_counts_those_without_a_label(shop, tables):
    told = assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    orders, returns = (table.to_pandas() for table in tables)
    windows = {
        "train": ("2024-01-01", "2024-01-22"),
        "validation": ("2024-01-25", "2024-01-30"),
        "test": ("2024-02-02", "2024-02-08"),
    }
    rows = made(shop).to_pandas()
    for name, (first, last) in windows.items():
        inside = orders[(orders["tick"] >= date.fromisoformat(first)) & (orders["tick"] <= date.fromisoformat(last))]
        labels = inside.merge(returns[["order_id", "returned"]], on="order_id")
        assert told.rows[name] == len(labels), name
        assert told.positives[name] == labels["returned"].sum(), name
        assert told.unlabelled[name] == len(inside) - len(labels), name
        of_window = rows[rows["split"] == name]
        assert sorted(of_window["order_id"]) == sorted(inside["order_id"])
        by_id = of_window.dropna(subset="label").set_index("order_id")["label"].astype(bool)
        assert by_id.to_dict() == labels.set_index("order_id")["returned"].to_dict()


def test_a_training_says_who_asked_for_it_and_its_reason_says_nothing_of_that(shop):
    rules = [{"rule": "useless", "action": "rollback"}, {"rule": "a hint", "action": "note"}]
    decision = Decision(pipeline="returns", tick=shop.tick().name, action="rollback", reason="x", at=NOON, rules=rules)
    with pytest.raises(DecisionMissing, match="names the decision of 2024-02-10, which is not in the ledger"):
        assemble(shop.pipeline, shop.tick(), "t", "Retrain: useless.", shop.platform, decided_at=shop.tick())
    shop.platform.ledger.put(decision)
    assemble(shop.pipeline, shop.tick(), "by-rules", "because", shop.platform, by="airflow", decided_at=shop.tick())
    assemble(shop.pipeline, shop.tick(), "by-hand", "Retrain: useless.", shop.platform, by="rule useless")
    found = {one.id: (one.asker, one.by, one.decided_at, one.rules) for one in shop.platform.ledger.all(Training)}
    assert found == {
        "by-rules": (Asker.RULE, "", decision.tick, ["useless"]),
        "by-hand": (Asker.PERSON, "rule useless", None, []),
    }


def test_rows_without_a_label_are_read_only_when_asked_for(shop):
    told = assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    folder = TrainingFolder(shop.platform, "t")
    assert workspace.read_window(folder, "test").num_rows == told.rows["test"]
    assert workspace.read_window(folder, "test", labelled=False).num_rows == told.rows["test"] + told.unlabelled["test"]


def test_a_label_that_was_not_known_by_then_is_not_used(shop, tables):
    _, returns = tables
    # The last test tick's outcomes become known ten days later.
    late = pc.greater_equal(returns["settled_at"], pa.scalar(shop.tick("2024-02-08").start))
    moved = pc.if_else(
        late, pc.add(returns["settled_at"], pa.scalar(timedelta(days=10), pa.duration("us"))), returns["settled_at"]
    )
    ticks = pc.if_else(
        late, pc.add(returns["tick"], pa.scalar(timedelta(days=10), pa.duration("s"))).cast(pa.date32()), returns["tick"]
    )
    moved_returns = returns.set_column(1, "settled_at", moved).set_column(3, "tick", ticks)
    name = names.raw(shop.pipeline, "returns")
    shop.platform.lake.replace_ticks(name, shop.pipeline.schedule.range("2024-01-01", "2024-03-30"), moved_returns)
    assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    last = made(shop).filter(pc.field("tick") == date(2024, 2, 8))
    assert last.num_rows == 120
    assert last["label"].null_count == 120


def test_the_same_id_gives_the_same_set_although_the_lake_moved_on(shop, tables):
    before = assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    content = made(shop)
    orders, _ = tables
    day = orders.filter(pc.field("tick") == date(2024, 1, 5))
    changed = day.set_column(3, "amount", pc.add(day["amount"], 1000.0))
    shop.platform.lake.replace_ticks(names.raw(shop.pipeline, "orders"), shop.pipeline.schedule.range("2024-01-05"), changed)
    assert assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform) == before
    TrainingFolder(shop.platform, "t").training_set.unlink()  # lost: made again from the same versions
    assert assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform) == before
    assert made(shop).equals(content)
    other = assemble(shop.pipeline, shop.tick(), "u", "first", shop.platform)
    assert other.versions["orders"] == before.versions["orders"] + 1
    assert not made(shop, "u").equals(content)


def test_a_set_made_anew_takes_the_old_model_with_it(shop):
    assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    train.train(shop.pipeline, "t", shop.platform)
    assemble(shop.pipeline, shop.tick("2024-02-11"), "t", "again", shop.platform)
    with pytest.raises(StepMissing, match=r"has no trained\.json: run train first"):
        TrainingFolder(shop.platform, "t").read(Trained)


def test_the_ledger_knows_of_the_training_and_of_its_failure(shop):
    assemble(shop.pipeline, shop.tick(), "t", "drift", shop.platform)
    row = shop.platform.ledger.get(Training, "t")
    assert (row.state, row.reason, row.as_of) == ("running", "drift", date(2024, 2, 10))
    with pytest.raises(HistoryTooShort):
        assemble(shop.pipeline, shop.tick("2024-01-10"), "u", "early", shop.platform)
    assert shop.platform.ledger.get(Training, "u").state == "failed"


def test_ticks_that_were_not_ingested_are_named(shop):
    said = r"the test window 2024-02-17\.\.2024-02-23.* has no rows of table 'orders': ingest these ticks first"
    with pytest.raises(NotTrainable, match=said):
        assemble(shop.pipeline, shop.tick("2024-02-25"), "t", "late", shop.platform)


def test_single_ticks_without_rows_are_told(shop, caplog):
    assemble(shop.pipeline, shop.tick("2024-02-18"), "t", "late", shop.platform)
    assert "2 of 7 ticks of the test window have no rows: first 2024-02-15, last 2024-02-16" in caplog.text


def test_no_label_at_all_is_told_apart_from_no_rows(empty_shop, tables):
    orders, returns = tables
    shop = empty_shop(orders, returns.filter(pc.field("tick") > date(2024, 2, 9)))
    with pytest.raises(NotTrainable, match=r"the train window .* has 2,640 rows but no label from table 'returns'"):
        assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)


def test_outcomes_of_one_class_only_are_refused(empty_shop, tables):
    orders, returns = tables
    shop = empty_shop(orders, returns.set_column(2, "returned", pa.array([False] * returns.num_rows)))
    with pytest.raises(NotTrainable, match=r"one class only: all [\d,]+ are negative. Check label.sql 'returned'"):
        assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)


def test_too_few_rows_are_refused(empty_shop, tables):
    orders, returns = tables
    few = pc.field("order_id").isin([key for key in orders["order_id"].to_pylist() if key.endswith("77")])
    shop = empty_shop(orders.filter(few), returns.filter(few))
    with pytest.raises(NotTrainable, match="fewer than 100"):
        assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 64])
def test_a_training_id_that_cannot_name_a_folder_is_refused(shop, name):
    with pytest.raises(ValueError, match="names a folder"):
        assemble(shop.pipeline, shop.tick(), name, "first", shop.platform)


def test_label_partitions_that_are_not_there_are_named(shop, caplog) -> None:
    pipeline, platform = shop.pipeline, shop.platform
    gone = pipeline.schedule.range("2024-02-05")
    none = platform.lake.rows("returns/raw/returns").slice(0, 0)
    platform.lake.replace_ticks("returns/raw/returns", gone, none)
    assemble(pipeline, shop.tick(), "gap", "a test", platform)
    assert (
        "1 ticks of returns are not ingested, so their outcomes are missing: first 2024-02-05, last 2024-02-05" in caplog.text
    )


def test_label_partitions_that_were_ingested_without_rows_are_not_missing(shop, caplog) -> None:
    pipeline, platform = shop.pipeline, shop.platform
    none = platform.lake.rows("returns/raw/returns").slice(0, 0)
    platform.lake.replace_ticks("returns/raw/returns", pipeline.schedule.range("2024-02-05"), none)
    nothing = {"pipeline": "returns", "table_name": "returns", "tick": date(2024, 2, 5), "rows": 0, "delta_version": 0}
    platform.ledger.put(Publication(**nothing, at=platform.clock.now()))
    assemble(pipeline, shop.tick(), "gap", "a test", platform)
    assert "are not ingested" not in caplog.text


def test_ticks_that_may_be_empty_are_not_told(shop, caplog) -> None:
    entity = replace(shop.pipeline.entity_table, may_be_empty=("thursday", "friday"))
    tables = tuple(entity if table.name == entity.name else table for table in shop.pipeline.tables)
    assemble(replace(shop.pipeline, tables=tables), shop.tick("2024-02-18"), "t", "late", shop.platform)
    assert "have no rows" not in caplog.text


def test_labels_that_no_feature_reads_are_pinned_to_their_version_too(shop, tables) -> None:
    before = assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    content = made(shop)
    _, outcomes = tables
    name = names.raw(shop.pipeline, "returns")
    assert before.versions["returns"] == shop.platform.lake.version(name)
    day = outcomes.filter(pc.field("tick") == date(2024, 1, 9))
    turned = day.set_column(2, "returned", pc.invert(day["returned"]))
    shop.platform.lake.replace_ticks(name, shop.pipeline.schedule.range("2024-01-09"), turned)
    TrainingFolder(shop.platform, "t").training_set.unlink()
    assert assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform) == before
    assert made(shop).equals(content)


def test_a_key_that_comes_again_at_a_later_tick_is_another_row(shop, tables) -> None:
    orders, _ = tables
    first = orders.filter(pc.field("tick") == date(2024, 1, 5))
    later = orders.filter(pc.field("tick") == date(2024, 1, 6))
    again = pa.concat_tables([first.slice(0, 1).select(["order_id"]), later.slice(1).select(["order_id"])])
    days = shop.pipeline.schedule.range("2024-01-06")
    shop.platform.lake.replace_ticks(
        names.raw(shop.pipeline, "orders"), days, later.set_column(0, "order_id", again["order_id"].combine_chunks())
    )
    assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    twice = made(shop).filter(pc.field("order_id") == first["order_id"][0].as_py())
    assert sorted(twice["tick"].to_pylist()) == [date(2024, 1, 5), date(2024, 1, 6)]


COUNTED = ml.Split(train=ml.Ticks(10), validation=ml.Ticks(4), test=ml.Ticks(5), gap=ml.days(2))


def on_weekdays(orders: pa.Table) -> pa.Table:
    """The orders without those of weekends."""
    return orders.filter(pa.array([day.weekday() < 5 for day in orders["tick"].to_pylist()]))


def test_windows_count_the_ticks_that_have_rows_when_the_training_begins(empty_shop, tables) -> None:
    orders, returns = tables
    shop = empty_shop(on_weekdays(orders), returns).declared(split=COUNTED)
    told = assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
    ticks = sorted(set(on_weekdays(orders)["tick"].to_pylist()))
    # Complete are outcomes up to Thursday, 8 February; windows by hand, from the end.
    test = [day for day in ticks if day <= date(2024, 2, 8)][-5:]
    validation = [day for day in ticks if day < test[0] - timedelta(days=2)][-4:]
    train_on = [day for day in ticks if day < validation[0] - timedelta(days=2)][-10:]
    rows = made(shop).to_pandas()
    found = {name: sorted(rows["tick"][rows["split"] == name].unique()) for name in ("train", "validation", "test")}
    assert found == {"train": train_on, "validation": validation, "test": test}
    assert told.windows.test == (test[0], date(2024, 2, 8))
    # Rows of weekends that come later change nothing: the same versions are read, also if the set is lost.
    days = orders["tick"].to_pylist()
    shop.platform.lake.replace_ticks(
        names.raw(shop.pipeline, "orders"), shop.pipeline.schedule.range(min(days), max(days)), orders
    )
    TrainingFolder(shop.platform, "t").training_set.unlink()
    assert assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform) == told
    other = assemble(shop.pipeline, shop.tick(), "u", "first", shop.platform)
    assert other.windows.test == (date(2024, 2, 4), date(2024, 2, 8))


def test_too_few_ticks_with_rows_are_counted(empty_shop, tables) -> None:
    orders, returns = tables
    shop = empty_shop(on_weekdays(orders), returns).declared(split=replace(COUNTED, train=ml.Ticks(30)))
    with pytest.raises(
        HistoryTooShort, match=r"needs 30 ticks with rows for its train window up to 2024-01-\d\d, but there are 1\d"
    ):
        assemble(shop.pipeline, shop.tick(), "t", "first", shop.platform)
