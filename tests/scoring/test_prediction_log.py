"""The prediction log: nothing twice, nothing half, at most some seconds lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.scoring import prediction_log
from mlprod_tasks.scoring.log_row import ROW_COLUMNS, LoggedRow
from mlprod_tasks.scoring.prediction_log import PredictionLog
from tests.support.paths import REPOSITORY
from tests.support.request_log import SMALL, small_entry


def read(folder: Path) -> pa.Table:
    files = [file for file in folder.glob("*.parquet") if not file.name.startswith(".")]
    return pa.concat_tables([pq.read_table(file) for file in files])


def test_every_field_of_a_row_is_a_column_of_its_own_name_and_type(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log", SMALL)
    some = [small_entry(n, float(n), "web") for n in range(3)]
    for one in some:
        log.add(one)
    assert log.flush()
    written = read(tmp_path / "log")
    assert written.schema.equals(SMALL)
    several = ("key_values", "features", "of_task", "of_second", "of_bandit")
    names = [name for name in LoggedRow.__struct_fields__ if name not in several]
    assert [name for name, _ in ROW_COLUMNS] == names
    rows = written.to_pylist()
    assert [[row[name] for name in names] for row in rows] == [[getattr(one, name) for name in names] for one in some]
    assert [(row["key_customer"],) for row in rows] == [one.key_values for one in some]
    assert [(row["feature_amount"], row["feature_channel"]) for row in rows] == [one.features for one in some]


def test_rows_with_other_features_than_the_log_are_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = PredictionLog(tmp_path / "log", SMALL)
    for n in range(3):
        log.add(msgspec.structs.replace(small_entry(n, float(n), "web"), features=(float(n), "web", 1.0)))
    assert log.flush()
    assert (log.written, log.dropped, log.waiting) == (0, 3, 0)
    assert "3 predictions cannot be logged" in caplog.text


def test_every_entry_is_written_once(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log", SMALL, seconds=0.01)
    log.start()
    for n in range(1000):
        log.add(small_entry(n, float(n), None))
        if n % 250 == 0:
            time.sleep(0.02)
    log.close()
    written = read(tmp_path / "log").sort_by("feature_amount")
    assert written["feature_amount"].to_pylist() == [float(n) for n in range(1000)]
    assert (log.written, log.dropped, log.waiting) == (1000, 0, 0)


def test_what_cannot_be_written_waits_in_order_and_the_oldest_give_way(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    log = PredictionLog(tmp_path / "log", SMALL, most=10)
    for n in range(12):
        log.add(small_entry(n, float(n), "web"))
        log.flush()
    assert (log.waiting, log.dropped, log.written) == (10, 2, 0)
    (tmp_path / "log").unlink()
    log.flush()
    assert read(tmp_path / "log")["feature_amount"].to_pylist() == [float(n) for n in range(2, 12)]


def test_many_that_come_while_others_are_written_are_written_once_each(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log", SMALL, seconds=0.001)
    log.start()
    for n in range(20_000):
        log.add(small_entry(n, float(n), None))
    log.close()
    assert sorted(read(tmp_path / "log")["feature_amount"].to_pylist()) == [float(n) for n in range(20_000)]
    assert (log.written, log.dropped, log.waiting) == (20_000, 0, 0)


def test_a_value_that_cannot_be_written_takes_nothing_along(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = PredictionLog(tmp_path / "log", SMALL)
    for n in range(300):
        log.add(small_entry(n, float(n), "web" if n != 70 else 7))
    assert log.flush()
    written = read(tmp_path / "log").sort_by("feature_amount")
    assert written["feature_amount"].to_pylist() == [float(n) for n in range(300)]
    assert written["feature_channel"].to_pylist() == ["web" if n != 70 else None for n in range(300)]
    assert (log.written, log.dropped, log.waiting) == (300, 0, 0)
    assert "1 values of 'feature_channel' cannot be logged as string" in caplog.text


def test_a_fault_of_the_log_is_none_of_the_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = PredictionLog(tmp_path / "log", SMALL)
    log.add(msgspec.structs.replace(small_entry(0, 1.0, None), features=(1.0,)))
    for n in range(2 * prediction_log.ROWS_AT_ONCE - 1):
        log.add(small_entry(n, float(n), None))
    assert log.flush()
    assert (log.written, log.dropped, log.waiting) == (prediction_log.ROWS_AT_ONCE, prediction_log.ROWS_AT_ONCE, 0)
    assert f"{prediction_log.ROWS_AT_ONCE} predictions cannot be logged" in caplog.text


def test_killed_at_any_moment_at_most_the_declared_seconds_are_lost_and_no_file_is_broken(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from mlprod_tasks.scoring.log_row import ROW_COLUMNS, LoggedRow
from mlprod_tasks.scoring.prediction_log import PredictionLog
from tests.support.request_log import SMALL, small_entry
log = PredictionLog(Path(sys.argv[1]), SMALL, seconds=0.2)
log.start()
n = 0
while True:
    log.add(small_entry(n, time.time(), "web"))
    n += 1
    time.sleep(0.001)
"""
    folder = tmp_path / "log"
    writer = subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + 30
        while len(list(folder.glob("*.parquet"))) < 4:
            assert time.monotonic() < deadline, "nothing was written"
            time.sleep(0.01)
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        killed = time.time()
        writer.wait()
    kept = sorted(read(folder)["feature_amount"].to_pylist())
    assert killed - kept[-1] < 0.2 + 1.0  # the declared time, and that of one write on a busy machine
    assert len(kept) == len(set(kept)) > 100


def test_much_that_has_waited_is_written_in_files_of_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "ROWS_AT_ONCE", 50)
    monkeypatch.setattr(prediction_log, "MOST_IN_A_FILE", 100)
    log = PredictionLog(tmp_path / "log", SMALL)
    for n in range(250):
        log.add(small_entry(n, float(n), None))
    assert log.flush()
    assert sorted(pq.read_metadata(file).num_rows for file in (tmp_path / "log").iterdir()) == [50, 100, 100]
    assert (log.waiting, log.written) == (0, 250)


def test_a_folder_that_cannot_be_written_is_tried_ever_more_rarely(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    log = PredictionLog(tmp_path / "log", SMALL, seconds=0.05)
    log.add(small_entry(0, 1.0, None))
    log.start()
    time.sleep(1.0)
    tried = len([one for one in caplog.records if "cannot be written" in one.message])
    assert 2 <= tried <= 5, "after 0.05, 0.15, 0.35 and 0.75 seconds, not twenty times"
    (tmp_path / "log").unlink()
    log.close()
    assert read(tmp_path / "log").num_rows == 1
