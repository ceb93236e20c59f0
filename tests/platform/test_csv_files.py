"""CSV is read as the standard says; what is cut off or malformed is refused by file and line, and its values are not shown."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import csv_files
from mlprod_tasks.platform.csv_files import Malformed
from mlprod_tasks.platform.sources import SourceMissing, look

TICK = "2024-03-15"
HEADER = "order_id,ordered_at,amount,items,state,customer,email\n"
ROW = "{},2024-03-14 12:00:00,12345.67,1,paid,{},\n"
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=5) | st.sampled_from(
    ['"', "\n", "\r\n", ",", ""]
)


def read(path: Path, columns: tuple[str, ...] = ("a", "b")) -> list[tuple[str | bytes | None, ...]]:
    return [row for batch in csv_files.read(path, columns) for row in zip(*batch.to_pydict().values(), strict=True)]


@pytest.fixture
def extract_csv(orders_pipeline, make_platform, tmp_path: Path):
    """Extract the table of orders from one CSV file."""

    def run(content: str | bytes, name: str = "orders.csv"):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        pipeline = orders_pipeline(source=ml.Files("shop", "*.csv", "csv"))
        return extract(pipeline, "orders", pipeline.schedule.range(TICK), make_platform(shop=str(tmp_path)))

    return run


def test_a_quote_that_nothing_closes_is_refused_by_file_and_line_and_not_shown(extract_csv) -> None:
    rows = [ROW.format(i, '"Unmistakable' if i == 2 else "x") for i in range(1, 101)]
    with pytest.raises(SourceMissing, match=rf"'shop', tick {TICK}.*orders\.csv.*row of line 3 is never closed") as error:
        extract_csv(HEADER + "".join(rows))
    assert "Unmistakable" not in str(error.value)


def test_a_wrong_number_of_values_is_refused_by_line_and_counts_and_not_shown(extract_csv) -> None:
    rows = ROW.format(1, '"a\nb"') + "\n" + ROW.format(2, "Ann, Unmistakable")
    with pytest.raises(SourceMissing, match=r"orders\.csv.*line 5 has 8 values, but the header has 7") as error:
        extract_csv(HEADER + rows)
    assert error.value.__cause__ is not None
    chain: BaseException | None = error.value
    while chain is not None:
        assert "Unmistakable" not in str(chain)
        chain = chain.__cause__ or chain.__context__


def test_a_file_without_header_is_refused_and_its_first_row_is_not_shown(extract_csv) -> None:
    with pytest.raises(SourceMissing, match=r"has no column 'order_id'.*; it has 7 that are not declared") as error:
        extract_csv(ROW.format(1, "Unmistakable"))
    assert "Unmistakable" not in str(error.value)


def test_text_after_a_closing_quote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('a,b\n1,2\n3,"x"y\n')
    with pytest.raises(Malformed, match="line 3: a closing quote is followed by more text"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_header_that_names_a_declared_column_twice_is_refused(form: str, make_platform, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if form == "csv":
        (tmp_path / "x.csv").write_text("id,at,id\n1,2024-03-14,2\n")
    else:
        pq.write_table(pa.table([[1], ["2024-03-14"], [2]], names=["id", "at", "id"]), tmp_path / "x.parquet")
    columns = (ml.Column("id", "int", "number"), ml.Column("at", "timestamp", "when"))
    table = ml.Table("events", ml.Files("shop", f"x.{form}", form), key=("id",), columns=columns, time="at")
    with pytest.raises(SourceMissing, match=rf"x\.{form} has the column 'id' more than once"):
        look(table, make_platform(shop=str(tmp_path)).settings)


def test_columns_that_are_not_declared_may_have_one_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,,,b\n1,x,y,2\n")
    assert read(tmp_path / "x.csv") == [("1", "2")]


@pytest.mark.parametrize("lines", [20, 200_000])
def test_quoted_line_breaks_are_read_whatever_the_size(lines: int, tmp_path: Path) -> None:
    note = "a line\n" * lines
    (tmp_path / "x.csv").write_text("a,b\n" + f'1,"{note}"\n' * 3 + "2,x\n")
    assert read(tmp_path / "x.csv") == [("1", note)] * 3 + [("2", "x")]


def test_a_missing_last_line_break_is_told_because_the_last_value_may_be_cut_off(extract_csv, caplog) -> None:
    done = extract_csv((HEADER + ROW.format(1, "x"))[:-1])
    assert [note.split("/")[-1] for note in done.notes] == [
        "orders.csv does not end with a line break: its last value may be cut off. Compare it with what was sent"
    ]
    assert done.notes[0] in caplog.text


@pytest.mark.parametrize("content", [HEADER, HEADER.strip(), HEADER + ROW.format(1, "x")])
def test_a_whole_file_or_a_header_alone_is_nothing_to_tell(content: str, extract_csv) -> None:
    assert extract_csv(content).notes == ()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(VALUES, VALUES), max_size=6), st.booleans(), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_a_csv_writer_writes_is_read_again(tmp_path: Path, rows, quoted: bool, ending: str, mark: bool) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator=ending)
    writer.writerows([("a", "b"), *rows])
    (tmp_path / "x.csv").write_bytes(text.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    given_rows = rows if quoted else [tuple(value or None for value in row) for row in rows]
    assert read(tmp_path / "x.csv") == given_rows


def test_a_file_cut_at_any_byte_never_gives_another_row_without_a_word(tmp_path: Path) -> None:
    whole = 'a,b\n1,"x\ny"\n2,"say ""no"""\n3,12.5\n'
    path = tmp_path / "x.csv"
    path.write_text(whole)
    rows = read(path)
    for length in range(len("a,b"), len(whole)):
        path.write_text(whole[:length])
        try:
            found = read(path)
        except Malformed:
            continue
        assert found == rows[: len(found)] or not csv_files.ends_in_a_line(path), whole[:length]


def test_a_value_that_is_not_utf_8_leaves_the_other_rows_readable(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,Z\xfcrich\n2,Bern\n")
    assert read(tmp_path / "x.csv") == [("1", b"Z\xfcrich"), ("2", b"Bern")]


def test_words_for_missing_values_are_null_unless_they_are_quoted(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text('a,b\nNA,x\n1,"NA"\n,NAN\n')
    (batch,) = csv_files.read(file, ("a", "b"), csv_files.Dialect(missing=("NA",)))
    assert batch.to_pydict() == {"a": [None, "1", None], "b": ["x", "NA", "NAN"]}
