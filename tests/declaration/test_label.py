"""What a label, a rate and an expression may be: refused at load, before anything is cast or trained."""

from dataclasses import replace

import duckdb
import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Column
from mlprod_tasks.declaration.checks.expressions import WORDS_OF_SQL
from mlprod_tasks.operations.doctor import read_sql
from tests.support.refund_shop import REFUNDS
from tests.support.shop import ORDERS, RETURNS, SHOP, with_columns

SETTLED = with_columns(RETURNS, Column("answer", "text", "yes or no"), Column("pieces", "int", "returned pieces"))
OF_RETURNS = replace(SHOP, tables=(ORDERS, SETTLED))
OF_ORDERS = with_columns(ORDERS, Column("kept", "bool", "whether it was kept"))


def labelled(sql: str) -> ml.Pipeline:
    return replace(OF_RETURNS, label=replace(SHOP.label, sql=sql))


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("pieces", "label: sql 'pieces' is int, not a condition .* as in pieces > 0"),
        ("answer", "label: sql 'answer' is text, not a condition .* as in answer = 'yes'"),
        ("settled_at", "label: sql 'settled_at' is timestamp, not a condition"),
        ("max(pieces) > 0", r"label: sql 'max\(pieces\) > 0' aggregates rows by 'max'"),
        ("COUNT (*) > 1", "aggregates rows by 'COUNT'"),
        ("pieces > lag(pieces) OVER (ORDER BY settled_at)", "aggregates rows by 'lag'"),
    ],
)
def test_a_label_that_is_no_condition_on_one_row_is_refused(sql, told):
    with pytest.raises(ValidationError, match=told):
        labelled(sql)


@pytest.mark.parametrize("sql", ["returned", '"returned"', "answer = 'max(x)'", "pieces > 0", "NOT returned", "NULL"])
def test_a_condition_is_accepted_and_the_doctor_finds_nothing(sql):
    assert read_sql(labelled(sql))


@pytest.mark.parametrize("sql", ["pieces * 2", "pieces + 1", "lower(answer)"])
def test_a_number_or_text_that_only_the_engine_can_tell_is_found_by_the_doctor(sql):
    with pytest.raises(
        ValueError, match=r"label .* is (BIGINT|INTEGER|HUGEINT|VARCHAR), not a condition that is true or false"
    ):
        read_sql(labelled(sql))


def test_nor_is_a_number_the_condition_of_a_rate():
    trailing = ml.Trailing("all", "returns", {"order_id": "order_id"}, (ml.days(1),), (ml.Rate("many", "pieces"),))
    with pytest.raises(ValidationError, match="Rate 'many': sql 'pieces' is int, not a condition"):
        replace(OF_RETURNS, features=(*SHOP.features, trailing))


def test_an_expression_over_rows_is_refused():
    with pytest.raises(ValidationError, match="aggregates rows by 'avg'"):
        replace(SHOP, features=(*SHOP.features, ml.Expression("mean", "avg(amount)", "float", "x")))


@pytest.mark.parametrize("sql", ["kept", "CAST(kept AS INTEGER)", '"kept"'])
def test_a_feature_that_is_the_label_is_refused(sql):
    made = ml.Expression("told", sql, "int", "x")
    label = ml.Label("orders", {"order_id": "order_id"}, "NOT kept", delay=ml.days(2))
    with pytest.raises(ValidationError, match="feature 'told' reads column 'kept', which is the label"):
        replace(SHOP, tables=(replace(OF_ORDERS, ticks_ahead=0), RETURNS), label=label, features=(*SHOP.features, made))


def test_a_feature_of_the_same_condition_is_refused_and_one_of_a_number_it_reads_is_not():
    orders = replace(ORDERS, ticks_ahead=0)
    label = ml.Label("orders", {"order_id": "order_id"}, "amount > 10", delay=ml.days(2))
    assert replace(SHOP, tables=(orders, RETURNS), label=label)
    made = ml.Expression("told", "amount  > 10", "bool", "x")
    with pytest.raises(ValidationError, match="feature 'told' reads 'amount > 10', which is the label"):
        replace(SHOP, tables=(orders, RETURNS), label=label, features=(*SHOP.features, made))


def test_windows_that_hold_the_row_itself_with_its_outcome_are_refused():
    label = ml.Label("orders", {"order_id": "order_id"}, "amount", delay=ml.days(2), kind="number")
    tables = (replace(ORDERS, ticks_ahead=0), RETURNS)
    spent = ml.Trailing("spent", "orders", {"channel": "channel"}, (ml.days(7),), (ml.Count(), ml.Mean("amount")))

    def told(feature: ml.Trailing, **known: str) -> ml.Pipeline:
        columns = tuple(replace(one, **known) if one.name == "amount" else one for one in tables[0].columns)
        changed = (replace(tables[0], columns=columns), RETURNS)
        others = tuple(one for one in SHOP.features if ml.feature.names_of(one) != ("amount",))
        return replace(REFUNDS, tables=changed, label=label, features=(*others, feature))

    refused = (
        r"Trailing 'spent': 'mean_amount' reads amount, which is the label, and windows hold the scored row itself: "
        r"declare known_at of the column, or skip=ml.days\(1\) of the feature"
    )
    with pytest.raises(ValidationError, match=refused):
        told(spent)
    assert told(replace(spent, skip=ml.days(1)))
    assert told(spent, known_at="placed_at")
    assert told(replace(spent, aggregates=(ml.Count(),)))


def test_a_column_called_like_a_word_of_sql_is_read_in_quotes_and_refused_without():
    grouped = replace(SHOP, tables=(with_columns(ORDERS, Column("group", "text", "x")), RETURNS))
    assert replace(grouped, features=(*SHOP.features, ml.Expression("group", '"group"', "text", "x")))
    with pytest.raises(ValidationError, match=r"Expression 'group': sql 'group' is a word of SQL: .* in double quotes"):
        replace(grouped, features=(*SHOP.features, ml.Expression("group", "group", "text", "x")))


def test_the_words_of_sql_are_those_that_the_engine_does_not_read_as_a_column():
    def reads(word: str) -> bool:
        try:
            return bool(duckdb.sql(f"SELECT {word} = 'x' FROM (SELECT 'x' AS \"{word}\")").fetchall()[0][0])
        except duckdb.Error:
            return False

    words = {word for (word,) in duckdb.sql("SELECT keyword_name FROM duckdb_keywords()").fetchall()}
    assert {word for word in words if not reads(word)} == WORDS_OF_SQL


@pytest.mark.parametrize("name", ["partition_start", "partition_end"])
def test_a_column_that_the_audit_adds_is_refused_at_load(name):
    with pytest.raises(ValidationError, match=f"column '{name}': the name is used by the lake itself"):
        replace(SHOP, tables=(with_columns(ORDERS, Column(name, "timestamp", "x", nullable=True)), RETURNS))
