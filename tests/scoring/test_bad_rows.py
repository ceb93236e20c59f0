"""One bad row or file of the service's log holds up no other, with both kinds of ledgers."""

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.notifications.uncollected import tell_uncollected
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Mail, Review
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.prediction_log import log_folder
from tests.support.request_log import MONDAY, age, collected, entry, write_log

LONG = "r" * 60  # PostgreSQL holds an id to its 40 characters, SQLite does not


@pytest.fixture(params=["sqlite", "postgresql"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    given = {"MLPROD_HOME": str(tmp_path / "var"), "MLPROD_PIPELINES": str(tmp_path)}
    if request.param == "postgresql":
        given["MLPROD_LEDGER_URL"] = request.getfixturevalue("postgres_database")
    return Platform(from_environment(given))


def test_a_key_with_a_nul_is_collected_and_asked_about_and_so_is_what_comes_after_it(
    use_case: Pipeline, here: Platform
) -> None:
    write_log(use_case, here, [entry(use_case, "a", key="o\0-1", review=True), entry(use_case, "b", review=True)])
    assert (collect(use_case, here).rows, collected(use_case, here)) == (2, ["a", "b"])
    write_log(use_case, here, [entry(use_case, "c", review=True)])
    done = collect(use_case, here)
    assert (done.rows, done.broken, done.refused) == (1, (), ())
    assert [(one.request_id, one.key) for one in here.ledger.all(Review)] == [("a", "o\\x00-1"), ("b", "7"), ("c", "7")]
    assert here.lake.rows(names.requests(use_case)).sort_by("request_id")["key"].to_pylist()[0] == "o\0-1"


def spoilt(column: str, value: Any, file: Path) -> None:
    """Put a value, or bytes that are no text, into the first row of a file."""
    rows = pq.read_table(file)
    place = rows.schema.get_field_index(column)
    kind = rows.schema.field(column).type
    values = [value, *rows[column].to_pylist()[1:]]
    if isinstance(value, bytes):
        encoded = pa.array([one if isinstance(one, bytes) else one.encode() for one in values], pa.binary())
        made = pa.StringArray.from_buffers(len(encoded), *encoded.buffers()[1:])
    else:
        made = pa.array(values, kind)
    pq.write_table(rows.set_column(place, rows.schema.field(place), made), file)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("request_id", None), ("row", None), ("at", None), ("predict_at", None), ("key", b"Ren\xe9"), ("reason", b"\xff"),
        ("request_id", LONG),
    ],
)  # fmt: skip
def test_a_bad_row_is_set_aside_and_told_and_the_rest_of_its_file_is_collected(
    use_case: Pipeline, here: Platform, column: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = write_log(use_case, here, [entry(use_case, name, review=True) for name in ("bad", "a", "b")])
    write_log(use_case, here, [entry(use_case, "c", review=True)])
    spoilt(column, value, file)
    age(file)
    taken = value == LONG and here.ledger.engine.dialect.name == "sqlite"
    first = collect(use_case, here)
    assert collected(use_case, here) == ["a", "b", "c", *([LONG] if taken else [])]
    assert {one.request_id for one in here.ledger.all(Review)} == {"a", "b", "c", *([LONG] if taken else [])}
    if taken:
        return
    assert (first.rows, first.broken) == (3, (f"{file.stem}-rows-{MONDAY}.parquet.broken",))
    sent: list[Any] = []
    monkeypatch.setattr(here.mailer, "send", sent.append)
    for _ in range(2):
        tell_uncollected(use_case, first.causes, here)
    assert [one.about.value for one in here.ledger.all(Mail)] == ["log"]
    assert first.broken[0] in sent[0].text
    assert collect(use_case, here).rows == 0
    assert not file.exists(), "it is done"
    aside = pq.read_table(log_folder(use_case, here) / first.broken[0])
    assert aside.num_rows == 1
    assert "log_file" not in aside.column_names


def test_a_set_aside_row_that_was_mended_is_collected(use_case: Pipeline, here: Platform) -> None:
    (file,) = write_log(use_case, here, [entry(use_case, name) for name in ("bad", "a")])
    spoilt("request_id", None, file)
    (name,) = collect(use_case, here).broken
    aside = log_folder(use_case, here) / name
    rows = pq.read_table(aside)
    place = rows.schema.get_field_index("request_id")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array(["mended"])), aside.with_suffix(""))
    aside.unlink()
    assert collect(use_case, here).rows == 1
    assert collected(use_case, here) == ["a", "mended"]


def test_a_file_of_bad_rows_alone_is_done_and_goes(use_case: Pipeline, here: Platform) -> None:
    (file,) = write_log(use_case, here, [entry(use_case, "bad")], aged=True)
    spoilt("at", None, file)
    age(file)
    done = collect(use_case, here)
    assert (done.rows, len(done.broken), done.removed, file.exists()) == (0, 1, 1, False)


def test_a_file_that_the_lake_does_not_take_waits_alone(use_case: Pipeline, here: Platform) -> None:
    files = write_log(use_case, here, [entry(use_case, "bad")])
    for i in range(4):
        files += write_log(use_case, here, [entry(use_case, f"r{i}", review=True)])
    rows = pq.read_table(files[0])
    pq.write_table(rows.append_column("lasted", pa.array([7] * rows.num_rows, pa.duration("s"))), files[0])
    for _ in range(2):
        done = collect(use_case, here)
        assert done.refused == (files[0].stem,)
        assert collected(use_case, here) == ["r0", "r1", "r2", "r3"]
    assert files[0].exists()
    assert len(here.ledger.all(Review)) == 4


def test_of_many_files_only_the_one_that_cannot_be_written_waits_and_its_values_are_not_told(
    use_case: Pipeline, here: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        write_log(use_case, here, [entry(use_case, f"r{i}")])
    (bad,) = write_log(use_case, here, [entry(use_case, "bad")])
    write = here.lake.replace_ticks

    def picky(name: str, ticks: Any, rows: pa.Table, **given: Any) -> Any:
        if "bad" in rows["request_id"].to_pylist():
            raise pa.ArrowInvalid("cannot convert 'Ann'")
        return write(name, ticks, rows, **given)

    monkeypatch.setattr(here.lake, "replace_ticks", picky)
    done = collect(use_case, here)
    assert (done.rows, done.refused, done.why) == (5, (bad.stem,), ("its rows cannot be written: ArrowInvalid",))
    assert collected(use_case, here) == [f"r{i}" for i in range(5)]
    monkeypatch.undo()
    assert collect(use_case, here).rows == 1


def test_a_broken_file_in_a_folder_of_somebody_else_stops_no_other(
    use_case: Pipeline, here: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sound,) = write_log(use_case, here, [entry(use_case, "a")])
    bad = sound.with_name(f"{uuid.uuid4().hex}.parquet")
    bad.write_bytes(b"PAR1")

    def not_yours(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", not_yours)
    done = collect(use_case, here)
    assert (done.rows, done.broken) == (1, (bad.name,))
