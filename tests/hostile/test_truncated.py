"""A source that is cut off at any byte, or written in another encoding, is refused by name or told: never another row."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mlprod_tasks.ingest.extract import extract
from tests.hostile.books import PLANTED, Content, Row, pipeline_of, write
from tests.hostile.meanings import FORMS, KINDS, Form

# Every byte of the larger files only in long runs.
STRIDE = 1 if "MLPROD_HOSTILE_EXAMPLES" in os.environ else 23
FIRST = "2024-03-15"


def three_rows(source: str) -> Content:
    """Three rows of the first tick, whose values tell a cut."""
    chosen: tuple[Form, ...] = tuple(next(form for form in FORMS[source] if form.kind == kind) for kind in KINDS)
    return Content(source, chosen, tuple(Row(number, tuple(form.cells[0] for form in chosen)) for number in (1, 2, 3)))


@pytest.fixture
def read_cut(make_platform: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Extract a source whose file is replaced by a part of it: the staged rows and the notes, or the error's text."""

    def prepare(source: str):
        connection = write(three_rows(source), tmp_path / "source")
        (file,) = (tmp_path / "source").iterdir()
        pipeline, platform = pipeline_of(source), make_platform(shop=connection)
        ticks = pipeline.schedule.range(FIRST)

        def read(content: bytes) -> tuple[list[dict], tuple[str, ...]] | str:
            file.write_bytes(content)
            caplog.clear()
            try:
                done = extract(pipeline, "orders", ticks, platform)
            except (OSError, LookupError, RuntimeError, ValueError) as error:
                said = f"{error}"
                assert PLANTED not in f"{said}{caplog.text}".lower()
                assert all(
                    name in said for name in ("'shop'", "'orders'", FIRST, *([] if source == "sqlite" else [file.name]))
                ), said
                return said
            assert PLANTED not in caplog.text.lower()
            return pq.read_table(done.path).to_pylist(), done.notes

        return file.read_bytes(), read

    return prepare


def test_a_csv_file_cut_at_any_byte_has_no_other_row_without_a_word(read_cut) -> None:
    whole, read = read_cut("csv")
    rows, _ = read(whole)
    assert len(rows) == 3
    for length in range(len(whole)):
        found = read(whole[:length])
        if isinstance(found, str):
            continue
        assert found[0] == rows[: len(found[0])] or "does not end with a line break" in found[1][0], whole[:length]


@pytest.mark.parametrize("source", ["parquet", "sqlite"])
def test_another_file_cut_at_any_byte_is_whole_or_refused(source: str, read_cut) -> None:
    whole, read = read_cut(source)
    expected = read(whole)
    assert len(expected[0]) == 3
    for length in {*range(0, len(whole), STRIDE), *range(len(whole) - 12, len(whole))}:
        found = read(whole[:length])
        assert isinstance(found, str) or found == expected, length


def test_json_lines_cut_at_any_byte_have_no_other_row_or_are_refused(read_cut) -> None:
    whole, read = read_cut("jsonl")
    rows, _ = read(whole)
    assert len(rows) == 3
    for length in range(0, len(whole), STRIDE):
        found = read(whole[:length])
        assert isinstance(found, str) or found[0] == rows[: len(found[0])], whole[:length]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-7", "cp037"])
def test_a_csv_file_in_another_encoding_has_the_same_rows_or_is_refused(encoding: str, read_cut) -> None:
    whole, read = read_cut("csv")
    expected, found = read(whole), read(whole.decode().encode(encoding))
    assert isinstance(found, str) or found == expected


def test_a_mark_before_the_first_line_changes_nothing(read_cut) -> None:
    whole, read = read_cut("csv")
    assert read(b"\xef\xbb\xbf" + whole) == read(whole)


@pytest.mark.parametrize(
    "line",
    [
        "9,2024-03-14,1,1,Unmistakable",
        '9,2024-03-14,1,1,"Unmistakable,,,,',
        'Unmistakable,"a"Unmistakable,,,,,,,',
        "Unmistakable" * 9,
    ],
)
def test_a_malformed_line_is_refused_and_not_shown(line: str, read_cut) -> None:
    whole, read = read_cut("csv")
    assert isinstance(read(whole + line.encode() + b"\n"), str)
