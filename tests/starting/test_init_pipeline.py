"""`mlprod init` looks at data of which nothing is declared, and writes a declaration that loads and says what it guessed."""

import gzip
import json
import random
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from mlprod_tasks import declaration as ml
from mlprod_tasks.cli.main import app
from mlprod_tasks.declaration import Lookup, Trailing
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.settings import Settings, from_environment
from mlprod_tasks.starting.guess_personal import is_card, is_iban
from mlprod_tasks.starting.init_pipeline import Declared, init_pipeline
from mlprod_tasks.starting.samples import SAMPLED_ROWS, CannotStart
from mlprod_tasks.starting.try_pipeline import try_pipeline

Row = dict[str, Any]
STARTS = datetime(2024, 1, 1)  # noqa: DTZ001
CITIES = ("Zürich", "Basel", "Genf")


def orders(days: int = 60, a_day: int = 20) -> list[Row]:
    """Orders that are returned or not; what is returned is known at `settled_at`, and of the last ones not yet."""
    chance = random.Random(3)
    rows = []
    for number in range(days * a_day):
        placed = STARTS + timedelta(days=number // a_day, seconds=chance.randrange(80_000))
        amount, city = round(chance.lognormvariate(3, 1), 2), chance.choice(CITIES)
        settled = placed + timedelta(hours=chance.randrange(20, 70))
        known = settled < STARTS + timedelta(days=days - 1)
        rows.append(
            {
                "Order ID": f"A{number:05}",
                "placed_at": str(placed),
                "city": city,
                "customer_id": 100 + number % 150,
                "amount": amount,
                "e_mail": f"someone{number % 150}@example.org",
                "zip": f"0{chance.randrange(1000, 9999)}",
                "settled_at": str(settled) if known else None,
                "returned": ("yes" if chance.random() < 0.1 + 0.4 * (amount > 20) + 0.4 * (city == "Genf") else "no")
                if known
                else None,
            }
        )
    return rows


def text_of(value: Any, decimal: str = ".") -> str:
    return "" if value is None else str(value).replace(".", decimal) if isinstance(value, float) else str(value)


def as_csv(rows: list[Row], separator: str = ",", decimal: str = ".") -> str:
    lines = [list(rows[0]), *([text_of(value, decimal) for value in row.values()] for row in rows)]
    return "".join(f"{separator.join(line)}\n" for line in lines)


def settings_of(folder: Path) -> Settings:
    return from_environment({"MLPROD_HOME": str(folder / "var"), "MLPROD_PIPELINES": str(folder / "pipelines")})


def first(candidates: list[tuple[str, str]]) -> str:
    return candidates[0][0]


def started(folder: Path, *sources: str | Path, predict: str = "returned", name: str = "returns") -> Declared:
    return init_pipeline([str(source) for source in sources], predict, name, settings_of(folder), first)


def kinds(declared: Declared, table: int = 0) -> dict[str, str]:
    return {column.name: column.kind for column in declared.pipeline.tables[table].columns}


KINDS = {
    "order_id": "text", "placed_at": "timestamp", "city": "text", "customer_id": "int", "amount": "float", "e_mail": "text",
    "zip": "text", "settled_at": "timestamp", "returned": "text",
}  # fmt: skip


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    file = tmp_path / "orders.csv"
    file.write_text(as_csv(orders()), encoding="utf-8")
    return file


def test_types_key_time_late_and_personal_columns_are_found(plain: Path, tmp_path: Path) -> None:
    declared = started(tmp_path, plain)
    table = declared.pipeline.tables[0]
    assert kinds(declared) == KINDS
    assert (table.key, table.time, table.refresh_ticks) == (("order_id",), "placed_at", 4)
    assert table.column("order_id").source == "Order ID"
    assert table.column("city").values == ("Basel", "Genf", "Zürich")
    assert table.column("returned").known_at == "settled_at"
    assert [column.name for column in table.columns if column.nullable] == ["settled_at", "returned"]
    assert [(column.name, column.personal) for column in table.columns if column.personal] == [("e_mail", "drop")]
    assert (declared.pipeline.label.sql, declared.pipeline.label_delay) == ("returned = 'yes'", ml.days(3))


def test_the_first_features_are_columns_of_the_row_and_the_past_of_its_keys(plain: Path, tmp_path: Path) -> None:
    features = started(tmp_path, plain).pipeline.features
    trailing = [feature for feature in features if isinstance(feature, Trailing)]
    assert [feature.name for feature in features if not isinstance(feature, Trailing)] == ["city", "amount", "weekday", "hour"]
    assert [feature.by for feature in trailing] == [{"customer_id": "customer_id"}, {"city": "city"}]


def test_every_guess_is_marked_and_no_value_of_a_personal_column_is_written(plain: Path, tmp_path: Path) -> None:
    declared = started(tmp_path, plain)
    text = declared.path.read_text(encoding="utf-8")
    assert declared.guesses == sum("# guess:" in line for line in text.splitlines())
    for guessed in ("key=", "time=", "schedule=", "label=", "split="):
        before, _, after = text.partition(guessed)
        assert "# guess:" in before.splitlines()[-2] or "# guess:" in after.splitlines()[0], guessed
    assert "someone" not in text
    assert max(map(len, text.splitlines())) <= 160


def test_what_was_written_runs_at_once_and_finds_its_data_without_settings(plain: Path, tmp_path: Path) -> None:
    declared = started(tmp_path, plain)
    trial, page = try_pipeline(declared.pipeline, settings_of(tmp_path), tmp_path / "trial", lambda _: None, most_ticks=3)
    assert trial.rows == {"orders": 1200}
    assert trial.refusals == ()
    assert trial.passed, [one.sentence for one in trial.gates]
    assert page.is_file()


def written_gz(file: Path, text: str) -> None:
    file.write_bytes(gzip.compress(text.encode()))


def written_parquet(file: Path, text: str) -> None:
    rows = orders()
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    for name in ("placed_at", "settled_at"):
        columns[name] = pa.array([None if v is None else datetime.fromisoformat(v) for v in columns[name]], pa.timestamp("ms"))
    columns["city"] = pa.array(columns["city"]).dictionary_encode()
    pq.write_table(pa.table(columns), file)


def written_jsonl(file: Path, text: str) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in orders()), encoding="utf-8")


def with_na(file: Path, text: str) -> None:
    """As R writes it: NA for a missing value, in every column."""
    rows = [{name: "NA" if value is None else value for name, value in row.items()} for row in orders()]
    rows[7]["amount"] = "NA"
    file.write_text(as_csv(rows), encoding="utf-8")


Write = Callable[[Path, str], None]
DIALECTS: dict[str, tuple[str, Write, dict[str, Any]]] = {
    "semicolon and decimal comma": (
        "orders.csv", lambda file, _: file.write_bytes(as_csv(orders(), ";", ",").encode("cp1252")) and None,
        {"separator": ";", "decimal": ",", "encoding": "cp1252"},
    ),
    "tab": ("orders.tsv", lambda file, _: file.write_text(as_csv(orders(), "\t")) and None, {"separator": "\t"}),
    "utf-16": ("orders.csv", lambda file, text: file.write_text(text, encoding="utf-16") and None, {"encoding": "utf-16"}),
    "byte order mark": ("orders.csv", lambda file, text: file.write_text(text, encoding="utf-8-sig") and None, {}),
    "gzip": ("orders.csv.gz", written_gz, {}),
    "NA": ("orders.csv", with_na, {"missing": ("NA",)}),
    "JSON Lines": ("orders.jsonl", written_jsonl, {"format": "jsonl"}),
    "Parquet": ("orders.parquet", written_parquet, {"format": "parquet"}),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_files_are_understood_in_every_dialect_that_sources_are_read_in(tmp_path: Path, dialect: str) -> None:
    name, write, expected = DIALECTS[dialect]
    write(tmp_path / name, as_csv(orders()))
    declared = started(tmp_path, tmp_path / name)
    source = declared.pipeline.tables[0].source
    assert kinds(declared) == KINDS
    assert {field: getattr(source, field) for field in expected} == expected
    assert declared.pipeline.tables[0].name == "orders"


def test_headers_that_are_sql_words_or_words_of_the_system_get_names_that_work(tmp_path: Path) -> None:
    rows = [
        {"select": i, "Order": str(STARTS + timedelta(hours=i)), "group": "ab"[i % 2], "value": i % 7 + 0.5, "tick": i % 2 == 0}
        for i in range(1500)
    ]
    (tmp_path / "t.csv").write_text(as_csv(rows))
    declared = started(tmp_path, tmp_path / "t.csv", predict="tick")
    assert kinds(declared) == {"select": "int", "order": "timestamp", "group": "text", "value": "float", "t_tick": "bool"}
    assert declared.pipeline.label.sql == "t_tick"


def test_a_column_whose_name_stands_twice_is_left_out_and_said(tmp_path: Path) -> None:
    text = as_csv(orders()).replace("city", "zip", 1)
    (tmp_path / "orders.csv").write_text(text)
    declared = started(tmp_path, tmp_path / "orders.csv")
    assert "zip" not in kinds(declared)
    assert "'zip' is not declared: the header has this name more than once" in declared.path.read_text()


def test_a_column_that_tells_the_outcome_alone_is_left_out_of_the_features(tmp_path: Path) -> None:
    rows = [{**row, "returned": row["returned"] or "no"} for row in orders()]
    with_refund = [{**row, "refund": 1.0 + i if row["returned"] == "yes" else 0.0} for i, row in enumerate(rows)]
    (tmp_path / "orders.csv").write_text(as_csv(with_refund))
    declared = started(tmp_path, tmp_path / "orders.csv")
    assert "refund" not in declared.pipeline.feature_names
    assert "guess: refund is left out: alone it has a ROC AUC of" in declared.path.read_text()


def test_a_condition_may_be_predicted(plain: Path, tmp_path: Path) -> None:
    assert started(tmp_path, plain, predict="amount > 20").pipeline.label.sql == "amount > 20"


def test_a_number_is_predicted_as_one(plain: Path, tmp_path: Path) -> None:
    pipeline = started(tmp_path, plain, predict="amount").pipeline
    assert (pipeline.task, pipeline.label.kind) == ("regression", "number")


def test_tables_of_a_database_are_joined_by_its_keys(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, segment TEXT, last_name TEXT)")
        connection.execute(
            "CREATE TABLE orders (no TEXT PRIMARY KEY, placed_at TEXT, buyer INT REFERENCES customers(id), "
            "amount REAL, back INT)"
        )
        customers = [(i, "ab"[i % 2], f"Muster{i}") for i in range(100, 250)]
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", customers)
        connection.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?)",
            [(r["Order ID"], r["placed_at"], r["customer_id"], r["amount"], int(r["returned"] == "yes")) for r in orders()],
        )
    declared = started(tmp_path, f"sqlite:///{tmp_path / 'shop.db'}", predict="back")
    found = {table.name: (table.key, table.time) for table in declared.pipeline.tables}
    assert found == {"orders": (("no",), "placed_at"), "customers": (("id",), None)}
    (lookup,) = (feature for feature in declared.pipeline.features if isinstance(feature, Lookup))
    assert (lookup.on, lookup.columns) == ({"buyer": "id"}, {"segment": "segment"})
    assert declared.pipeline.table("customers").column("last_name").personal == "drop"


def test_what_mariadb_keeps_as_tinyint_1_is_a_boolean_if_it_holds_nothing_else(tmp_path: Path, mariadb_database: str) -> None:
    with open_database(mariadb_database, writes=True).begin() as connection:
        made = "no varchar(9) PRIMARY KEY, placed_at datetime, back bool, gift bool, stars tinyint(1), level tinyint"
        connection.execute(text(f"CREATE TABLE orders ({made})"))
        rows = [
            {"no": r["Order ID"], "at": r["placed_at"], "back": r["returned"] == "yes", "gift": None if i % 7 == 0 else i % 2,
             "stars": i % 6, "level": i % 2}
            for i, r in enumerate(orders())
        ]  # fmt: skip
        connection.execute(text("INSERT INTO orders VALUES (:no, :at, :back, :gift, :stars, :level)"), rows)
    declared = started(tmp_path, mariadb_database, predict="back")
    found = kinds(declared)
    assert {name: found[name] for name in ("back", "gift", "stars", "level")} == {
        "back": "bool", "gift": "bool", "stars": "int", "level": "int",
    }  # fmt: skip


def test_a_large_file_is_read_in_part_and_that_is_said(tmp_path: Path) -> None:
    with (tmp_path / "many.csv").open("w") as file:
        file.write("id,at,bad\n")
        file.writelines(f"{i},{STARTS + timedelta(minutes=i)},{i % 3 // 2}\n" for i in range(SAMPLED_ROWS + 200_000))
    declared = started(tmp_path, tmp_path / "many.csv", predict="bad")
    assert any("many.csv was read only in part (the first 3" in note for note in declared.notes)
    assert declared.pipeline.schedule.ends is None


def test_few_rows_over_years_get_weekly_ticks_and_run(tmp_path: Path) -> None:
    chance = random.Random(2)
    days = [STARTS - timedelta(days=i) for i in range(1400, 0, -1) if i % 7 < 5]
    rows = [{"day": f"{day:%Y-%m-%d}", "x": round(chance.random(), 3)} for day in days]
    (tmp_path / "prices.csv").write_text(as_csv([{**row, "up": row["x"] + chance.random() > 1} for row in rows]))
    pipeline = started(tmp_path, tmp_path / "prices.csv", predict="up").pipeline
    assert (pipeline.schedule.every, pipeline.schedule.starts.weekday(), pipeline.split.gap) == ("week", 0, ml.days(7))
    trial, _ = try_pipeline(pipeline, settings_of(tmp_path), tmp_path / "trial", lambda _: None, most_ticks=2)
    assert (trial.rows, len(trial.history.ticks)) == ({"prices": 1000}, 200)


def test_files_of_another_folder_of_the_same_name_get_a_connection_of_their_own(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "data").mkdir(parents=True)
        (tmp_path / parent / "data" / "orders.csv").write_text(as_csv(orders()))
    found = [started(tmp_path, tmp_path / parent / "data" / "orders.csv", name=f"returns_{parent}") for parent in ("a", "b")]
    assert [one.pipeline.tables[0].source.connection for one in found] == ["data", "data2"]
    assert [settings_of(tmp_path).connection(name) for name in ("data", "data2")] == [
        str(tmp_path / p / "data") for p in ("a", "b")
    ]


def test_dates_as_people_write_them_are_a_time(tmp_path: Path) -> None:
    days = [STARTS + timedelta(days=i // 30) for i in range(3000)]
    rows = [{"id": i, "day": f"{day.day}.{day.month}.{day.year}", "y": i % 3 == 0} for i, day in enumerate(days)]
    (tmp_path / "t.csv").write_text(as_csv(rows))
    table = started(tmp_path, tmp_path / "t.csv", predict="y").pipeline.tables[0]
    assert (table.time, table.source.dates) == ("day", "31.12.2024")


def test_columns_of_a_key_of_several_are_no_features(tmp_path: Path) -> None:
    rows = [{"shop": i % 3, "at": str(STARTS + timedelta(hours=i // 3)), "sold": i // 7 % 5} for i in range(3000)]
    (tmp_path / "sales.csv").write_text(as_csv(rows))
    pipeline = started(tmp_path, tmp_path / "sales.csv", predict="sold > 2").pipeline
    assert pipeline.tables[0].key == ("shop", "at")
    assert "shop" not in pipeline.feature_names


CONSTANT = [{**row, "returned": "no"} for row in orders()]
REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "returned", "orders.csv: it is empty"),
    "header alone": (b"a,b\n", "b", "has 0 rows: too few to learn from"),
    "one row": (as_csv(orders()[:1]).encode(), "returned", "has 1 row: too few to learn from"),
    "binary": (bytes(range(256)) * 40, "returned", "it is binary, neither CSV, JSON Lines"),
    "Excel": (b"PK\x03\x04" + bytes(100), "returned", "a zip archive or an Excel workbook: save each sheet as CSV"),
    "no time": (b"id,y\n" + b"".join(b"%d,%d\n" % (i, i % 2) for i in range(999)), "y", "has no column that could tell y"),
    "other dates": (
        b"id,day,y\n" + b"".join(b"%d,%d-Mar-2024,%d\n" % (i, i % 28 + 1, i % 2) for i in range(999)), "y",
        "day looks like a date, but is written in no way that is read: deliver it as 2024-03-31",
    ),
    "rows twice": (as_csv([row for row in orders()[:400] for _ in (1, 2)]).encode(), "returned", "no one to four columns"),
    "no such column": (as_csv(orders()).encode(), "profit", "no such column; those that could be predicted: orders.returned"),
    "constant": (as_csv(CONSTANT).encode(), "returned", "has only one value: there is nothing to predict"),
    "short": (as_csv(orders(days=12, a_day=30)).encode(), "returned", "too few to train on the first"),
    "malformed": (as_csv(orders()).encode() + b'"never closed\n', "returned", "a quote that opens in the row of line 1202"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_nothing_can_be_declared_from_is_refused_with_a_reason(tmp_path: Path, what: str) -> None:
    content, predict, reason = REFUSED[what]
    (tmp_path / "orders.csv").write_bytes(content)
    with pytest.raises(CannotStart, match=reason):
        started(tmp_path, tmp_path / "orders.csv", predict=predict)
    assert not (tmp_path / "pipelines").exists()


def test_a_file_is_never_replaced(plain: Path, tmp_path: Path) -> None:
    path = started(tmp_path, plain).path
    path.write_text("mine")
    with pytest.raises(CannotStart, match=r"returns\.py exists, and is not replaced: give another --name"):
        started(tmp_path, plain)
    assert path.read_text() == "mine"


def test_without_a_terminal_the_candidates_are_listed_and_the_column_is_demanded(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROD_PIPELINES", str(tmp_path / "pipelines"))
    done = CliRunner().invoke(app, ["init", str(plain)])
    assert done.exit_code == 2
    assert done.stderr.index("orders.returned  yes or no") < done.stderr.index("orders.amount  a number")
    assert "--predict" in done.stderr
    again = CliRunner().invoke(app, ["init", str(plain), "--predict", "returned"])
    assert again.exit_code == 0, again.output
    assert "then run `mlprod try orders_returned`" in again.stdout


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("DE89 3704 0044 0532 0130 00", True), ("GB82WEST12345698765432", True), ("DE89370400440532013001", False),
        ("hello", False),
    ],
    ids=["german", "british", "one digit off", "no IBAN"],
)  # fmt: skip
def test_check_digits_of_an_iban_are_checked(text: str, right: bool) -> None:
    assert is_iban(text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [("4111 1111 1111 1111", True), ("378282246310005", True), ("4111111111111112", False), ("1", False)],
    ids=["sixteen digits", "fifteen digits", "one digit off", "too short"],
)
def test_the_check_digit_of_a_card_is_checked(text: str, right: bool) -> None:
    assert is_card(text) is right
