"""What newcomers write as they would in Python, in other SQL or for other tools: refused at load, with what to write here."""

from pathlib import Path

import duckdb
import pytest

from mlprod_tasks.declaration import DeclarationError, load
from mlprod_tasks.declaration.duckdb_functions import FUNCTIONS, MEANT, SYNTAX

WRITTEN = '''\
"""Will it be late?"""
from datetime import date, time
from mlprod_tasks import declaration as ml

orders = ml.Table(
    "orders",
    ml.Files("shop", "orders.csv", "csv"),
    key=("order_id",),
    time="placed_at",
    columns=(
        ml.Column("order_id", "text"),
        ml.Column("placed_at", "timestamp"),
        ml.Column("channel", "text"),
        ml.Column("amount", "float"),
        ml.Column("settled_at", "timestamp", nullable=True),
        ml.Column("late", "bool", nullable=True, known_at="settled_at"),
    ),
)
pipeline = ml.Pipeline(
    name="late_orders",
    alert_to=("me@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=date(2024, 1, 1)),
    tables=(orders,),
    entity="orders",
    features=(
        ml.Expression("channel", "channel", "text", "how"),
        ml.Expression("size", "ln(amount)", "float", "price"),
        ml.Trailing("all", "orders", {"channel": "channel"}, (ml.days(7),), (ml.Count(),)),
    ),
    label=ml.Label("orders", {"order_id": "order_id"}, "late", delay=ml.days(3)),
    split=ml.Split(validation=ml.days(14), test=ml.days(14), gap=ml.days(3)),
    model=ml.Model(candidates=(ml.LightGBM(),)),
)
'''
# What is written, what instead of it, and what the refusal says, besides the line of the change.
MISTAKES = {
    "a function of Python": ("ln(amount)", "log1p(amount)", "calls 'log1p', which is no function of DuckDB: did you mean ln?"),
    "a function of numpy": ("ln(amount)", "np.ln(amount)", r"a function of a Python module: write SQL, as in ln\(...\)"),
    "a function of another database": ("ln(amount)", "nvl(amount, 0)", "no function of DuckDB: did you mean coalesce?"),
    "a misspelt function": ("ln(amount)", "rount(amount)", "calls 'rount', .*did you mean round?"),
    "the and of C": ('"late", delay', '"late && amount > 3", delay', "&& is for lists: write AND"),
    "a lambda": ('"ln(amount)"', "lambda row: row.amount", "write SQL, in quotes: it runs in the engine"),
    "a type of Python": ('"amount", "float"', '"amount", float', "did you mean 'float'?"),
    "a window in words": ("(ml.days(7),)", '("7d",)', r"write days\(7\)"),
    "weeks in words": ("(ml.days(7),)", '("2 weeks",)', r"write days\(14\)"),
    "shares of rows": ("test=ml.days(14)", "test=0.2", r"shares are for tables without a time, as in SplitByHash\(test=0.2\)"),
    "a table for its name": ('ml.Label("orders"', "ml.Label(orders", "write its name, 'orders'"),
    "a learner's name": ("(ml.LightGBM(),)", '"lightgbm"', r"write \(LightGBM\(\),\)"),
    "a method of pandas": ("ln(amount)", "(amount.isnull())::INT", "no function of DuckDB: did you mean IS NULL?"),
    "a city for its zone": ('"Europe/Zurich"', '"Zurich"', "no.* IANA time zone; did you mean 'Europe/Zurich'?"),
    "a day's short name": ("at=time(4)", 'at=time(4), every="week", on="Mon"', "did you mean 'monday'?"),
    "a rhythm's other name": ("at=time(4)", 'at=time(4), every="hourly"', "did you mean 'hour'?"),
    "a separator's name": ('"csv")', '"csv", separator="semicolon")', "did you mean ';'?"),
    "a workbook": ('"orders.csv", "csv"', '"orders.xlsx", "excel"', "save each sheet as CSV"),
    "a yes in quotes": ("nullable=True, known", 'nullable="yes", known', "write True or False, without quotes"),
    "no such time": ('known_at="settled_at"', 'known_at="closed_at"', "which has placed_at, settled_at"),
    "no import": ("from mlprod_tasks import declaration as ml\n", "\n", "Write at the top: from mlprod_tasks import"),
    "another variable": ("\npipeline = ", "\nmine = ", "call 'mine' pipeline"),
    "a name of the system": ('ml.Expression("size"', 'ml.Expression("tick"', "give another, such as 'orders_tick'"),
    "an estimator itself": (
        "(ml.LightGBM(),)", "(__import__('sklearn.dummy').dummy.DummyClassifier(),)", "where it is made, as in Estimator",
    ),
}  # fmt: skip
TABLES_LINE = {"a separator's name", "another variable", "no import"}  # which the refusal names by its part's first line


def load_written(text: str, folder: Path) -> None:
    path = folder / "late_orders.py"
    path.write_text(text, encoding="utf-8")
    load(path)


def test_the_declaration_without_a_mistake_loads(tmp_path: Path) -> None:
    load_written(WRITTEN, tmp_path)


def test_a_part_that_a_function_of_the_file_makes_is_named_by_its_call(tmp_path: Path) -> None:
    made = 'def own(name):\n    return ml.Trailing(name, "orders", {name: name}, (ml.days(7),), (ml.Mean(name),))\n\n\n'
    text = WRITTEN.replace("pipeline = ", f"{made}pipeline = ", 1).replace(
        "features=(", 'features=(\n        own("channel"),', 1
    )
    line = text[: text.index('own("channel")')].count("\n") + 1
    with pytest.raises(DeclarationError, match=f"late_orders.py:{line}: .*Mean of 'channel' needs a number"):
        load_written(text, tmp_path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_where_it_stands_with_what_to_write(mistake: str, tmp_path: Path) -> None:
    right, wrong, remedy = MISTAKES[mistake]
    assert WRITTEN.count(right) == 1
    with pytest.raises(DeclarationError, match=remedy) as refused:
        load_written(WRITTEN.replace(right, wrong), tmp_path)
    line = WRITTEN[: WRITTEN.index(right)].count("\n") + 1
    if mistake not in TABLES_LINE:
        assert f"late_orders.py:{line}: " in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "CAST(amount AS DECIMAL(10, 2))", "try_cast(channel AS INT)", "extract(hour FROM placed_at)", "coalesce(amount, 0)",
        "CASE WHEN (amount > 1) THEN (1) ELSE (2) END", "greatest(amount, ROUND(amount))", "len(channel)", "ifnull(amount, 0)",
        "date_diff('day', TIMESTAMP '2024-01-01', placed_at::TIMESTAMP)", "(channel) IN ('a') AND amount BETWEEN (1) AND (2)",
        "list_sum([amount, 1])", "substring(channel FROM 1 FOR 2) = 'ab'", "strftime(placed_at, '%H')::INT",
    ],
)  # fmt: skip
def test_what_the_engine_reads_is_not_refused(sql: str, tmp_path: Path) -> None:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t AS SELECT 'a' AS channel, 1.5 AS amount, TIMESTAMPTZ '2024-01-01' AS placed_at")
    connection.execute(f"SELECT {sql} FROM t")
    load_written(WRITTEN.replace("ln(amount)", sql), tmp_path)


def test_the_list_of_functions_is_that_of_the_installed_engine() -> None:
    query = (
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro', 'aggregate')"
    )
    installed = {name for (name,) in duckdb.connect().execute(query).fetchall()}
    assert {name for name in installed if name.isidentifier() and not name.startswith("_")} - FUNCTIONS == set()
    assert FUNCTIONS - installed == set()
    assert {meant for meant in MEANT.values() if meant not in FUNCTIONS | SYNTAX | {"IS NULL", "IS NOT NULL"}} == set()
