"""Rows that the audit refuses are told with the file and the line where they stand."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.audit import audit
from mlprod_tasks.ingest.batch_verdict import MOST_TICKS, BatchRefused
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import Platform

HEADER = "order_id,ordered_at,amount,items,state,customer,email"
GOOD = '{},2024-03-14 12:00:00,9.5,2,paid,"Ann\nof the\nmill",a@b.ch'  # a row of three lines
NO_NUMBER, NO_KEY = "7,2024-03-14 12:00:00,cheap,2,paid,Bob,b@b.ch", ",2024-03-14 12:00:00,9.5,2,paid,Cid,c@b.ch"


def refused(pipeline: ml.Pipeline, platform: Platform, tick: str = "2024-03-15") -> BatchRefused:
    ticks = pipeline.schedule.range(tick)
    extract(pipeline, "orders", ticks, platform)
    with pytest.raises(BatchRefused) as error:
        audit(pipeline, "orders", ticks, platform)
    return error.value


def places(error: BatchRefused) -> dict[str | None, tuple[str, ...]]:
    (verdict,) = error.refused
    return {one.column: one.places for one in verdict.failures if one.sample}


def csv(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


def good(*numbers: int) -> list[str]:
    return [GOOD.format(number) for number in numbers]


def line_of(text: str, row: str) -> int:
    return text.splitlines().index(row) + 1


@pytest.fixture
def from_files(orders_pipeline, make_platform, tmp_path: Path) -> Callable[..., tuple[ml.Pipeline, Platform]]:
    """The use case over files that are in a folder; arguments change the table."""

    def make(path: str, kind: str = "csv", **changed: object) -> tuple[ml.Pipeline, Platform]:
        return orders_pipeline(source=ml.Files("shop", path, kind), **changed), make_platform(shop=str(tmp_path))

    return make


def test_a_line_is_told_of_the_right_one_of_many_files(from_files, tmp_path: Path) -> None:
    first, second = csv(*good(1, 2)), csv(*good(3), NO_NUMBER, *good(4, 5), NO_KEY)
    (tmp_path / "a.csv").write_text(first)
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write(second)
    error = refused(*from_files("*.csv*"))
    assert places(error) == {
        "amount": (f"b.csv.gz, line {line_of(second, NO_NUMBER)}",),
        "order_id": (f"b.csv.gz, line {line_of(second, NO_KEY)}",),
    }
    assert f'for example b.csv.gz, line {line_of(second, NO_NUMBER)}: {{"order_id": "7"' in str(error)
    assert "Bob" not in str(error)  # a name is hashed, and found by its hash


def test_equal_rows_are_told_each_with_its_line(from_files, tmp_path: Path) -> None:
    row = "7,2024-03-14 12:00:00,9.5,2,paid,Bob,b@b.ch"
    (tmp_path / "a.csv").write_text(csv(row, *good(1), row))
    assert sorted(*places(refused(*from_files("a.csv"))).values()) == ["a.csv, line 2", "a.csv, line 6"]


def test_of_a_tick_with_a_file_of_its_own_only_that_file_is_read(from_files, tmp_path: Path) -> None:
    for day in ("2024-03-14", "2024-03-15"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "orders.csv").write_text(csv(*good(1), NO_NUMBER))
    assert places(refused(*from_files("{tick}/orders.csv")))["amount"] == ("2024-03-15/orders.csv, line 5",)


def test_json_lines_are_counted_with_those_that_are_blank(from_files, tmp_path: Path) -> None:
    row = dict(zip(HEADER.split(","), (1, "2024-03-14 12:00:00", 9.5, 2, "paid", "Ann", "a@b.ch"), strict=True))
    rows = [json.dumps(row), "", json.dumps(row | {"order_id": 2, "amount": "cheap"}), json.dumps(row | {"order_id": 3})]
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    assert places(refused(*from_files("a.jsonl", "jsonl")))["amount"] == ("a.jsonl, line 3",)


def test_of_parquet_the_number_of_the_row_is_told(from_files, tmp_path: Path) -> None:
    rows = {name: [one] * 4 for name, one in zip(HEADER.split(","), (0, "", 9.5, 2, "paid", "Ann", "a@b.ch"), strict=True)}
    rows |= {"order_id": [1, 2, None, 4], "ordered_at": ["2024-03-14 12:00:00"] * 4}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", row_group_size=2)
    assert places(refused(*from_files("a.parquet", "parquet")))["order_id"] == ("a.parquet, row 3",)


def test_rows_without_a_key_and_with_a_day_for_a_time_are_found_too(from_files, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("day,note\n2024-03-14,fine\n2024-03-14,\n2024-03-14,\n")
    columns = (ml.Column("day", "date", "when"), ml.Column("note", "text", "what"))
    pipeline, platform = from_files("log.csv")
    log = ml.Table("orders", ml.Files("shop", "log.csv", "csv"), (), time="day", columns=columns).as_dated("Europe/Zurich")
    table = log.as_keyed()
    object.__setattr__(pipeline, "tables", (table,))
    assert places(refused(pipeline, platform))["note"] == ("log.csv, line 3", "log.csv, line 4")


def test_a_file_that_is_gone_meanwhile_takes_only_the_places_along(from_files, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv(NO_NUMBER))
    pipeline, platform = from_files("a.csv")
    ticks = pipeline.schedule.range("2024-03-15")
    extract(pipeline, "orders", ticks, platform)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(BatchRefused, match=r'for example \{"order_id": "7"') as error:
        audit(pipeline, "orders", ticks, platform)
    assert places(error.value)["amount"] == ("",)


def test_of_many_refused_ticks_the_files_are_read_again_for_those_that_are_told(from_files, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv(*(NO_NUMBER.replace("03-14", f"03-{day:02}") for day in range(1, 15))))
    pipeline, platform = from_files("a.csv")
    ticks = pipeline.schedule.range("2024-03-02", "2024-03-15")
    extract(pipeline, "orders", ticks, platform)
    with pytest.raises(BatchRefused) as error:
        audit(pipeline, "orders", ticks, platform)
    assert len(error.value.refused) == 14
    told = [{place for one in verdict.failures for place in one.places} for verdict in error.value.refused]
    assert told == [*({f"a.csv, line {line}"} for line in range(2, 2 + MOST_TICKS)), *[set[str]()] * (14 - MOST_TICKS)]
