"""A trial runs everything in a folder of its own, and its page says what came of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import Path

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import load
from mlprod_tasks.platform.files import DiskFull
from mlprod_tasks.platform.ledger import Decision, Scoring
from mlprod_tasks.platform.settings import Settings, from_environment
from mlprod_tasks.starting.history import NoHistory, history
from mlprod_tasks.starting.trial import Trial
from mlprod_tasks.starting.trial_folder import FolderTaken, emptied, platform_in
from mlprod_tasks.starting.try_pipeline import try_pipeline
from mlprod_tasks.training.split import HistoryTooShort
from tests.support.parcel_files import write_parcels


def settings_of(folder: Path) -> Settings:
    return from_environment(
        {
            "MLPROD_HOME": str(folder / "production"),
            "MLPROD_PIPELINES": str(folder / "pipelines"),
            "MLPROD_CONNECTION_PARCELS": str(folder / "data"),
        }
    )


def tried(folder: Path, **changes: object) -> tuple[Trial, Path]:
    settings = settings_of(folder)
    pipeline = replace(load(settings.pipelines / "late_parcels.py"), **changes)
    return try_pipeline(pipeline, settings, folder / "trial", lambda _: None, most_ticks=8)


def names_below(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trial, str]:
    """A trial with a corrupt day among its data, after one that was killed; its folder and the text of its page."""
    folder = tmp_path_factory.mktemp("first")
    write_parcels(folder, carriers_of_day={30: "swfit"}, without=(40,))
    with emptied(folder / "trial") as killed:  # in the middle
        killed.mkdir()
        (killed / "ledger.db").write_bytes(b"half a page")
    trial, page = tried(folder)
    return folder, trial, page.read_text(encoding="utf-8")


def test_a_trial_scores_and_monitors_the_last_ticks_with_a_model_of_the_time_before(first: tuple[Path, Trial, str]) -> None:
    _, trial, _ = first
    scored = {one.tick for one in trial.platform.ledger.all(Scoring, pipeline="late_parcels")}
    decided = {one.tick for one in trial.platform.ledger.all(Decision, pipeline="late_parcels")}
    assert scored == decided == {tick.name for tick in trial.history.replayed}
    assert str(trial.history.ticks) == "2024-01-02..2024-03-31"
    assert (str(trial.history.as_of), len(trial.history.replayed)) == ("2024-03-24", 8)
    assert trial.passed
    assert len(trial.decisions) == 8


def test_a_batch_that_the_audit_refuses_is_named_and_the_other_days_are_used(first: tuple[Path, Trial, str]) -> None:
    _, trial, page = first
    assert [(one.table, one.tick) for one in trial.refusals] == [("parcels", date(2024, 2, 1)), ("parcels", date(2024, 2, 11))]
    assert "carrier" in trial.refusals[0].reason
    assert trial.rows == {"parcels": 88 * 20}
    assert "2024-02-01" in page


def test_the_page_shows_data_model_gates_and_monitoring_and_says_what_is_left_out(first: tuple[Path, Trial, str]) -> None:
    folder, _, page = first
    for said in (
        "Data: parcels", "weight_kg", "roc_auc", "The model", "What monitoring would have said", "are the last 8 of 90 ticks",
        "Mails are not sent", "1,760",
    ):  # fmt: skip
        assert said in page
    for name in ("report.html", "2024-03-31.html"):
        assert list((folder / "trial").rglob(name)), name
        assert name in page
    assert "<script" not in page


def test_a_trial_leaves_a_production_home_and_the_folder_of_the_data_alone(first: tuple[Path, Trial, str]) -> None:
    folder, trial, _ = first
    assert names_below(folder) == {"data", "pipelines", "trial"}
    assert names_below(folder / "trial") == {".mlprod-try", "index.html", trial.platform.settings.home.name}
    assert names_below(folder / "data") == {"parcels.csv"}


def test_what_the_gates_refuse_is_scored_in_the_trial_alone_and_said(tmp_path: Path) -> None:
    write_parcels(tmp_path, gates='ml.AtLeast("roc_auc", 0.999), ml.AtMost("calibration_error", 1.0),', without=(40,))
    trial, page = tried(tmp_path, publish=ml.Publish("parcels", "predictions"), approval=ml.Approval())
    assert not trial.passed
    assert [one.passed for one in trial.gates] == [False, True]
    assert len(trial.platform.ledger.all(Scoring, pipeline="late_parcels")) == 8
    text = page.read_text(encoding="utf-8")
    assert "would have refused this model" in text
    assert "not written to table" in text
    assert "The approval by a person is taken as given" in text
    again, _ = tried(tmp_path)
    assert [one.value for one in again.gates] == [one.value for one in trial.gates]
    assert len(again.platform.ledger.all(Scoring, pipeline="late_parcels")) == 8


def test_a_folder_with_other_files_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderTaken, match=r"holds files that are no trial's.*--out"), emptied(tmp_path):
        pass
    assert names_below(tmp_path) == {"thesis.txt"}


def test_two_trials_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        emptied(tmp_path / "trial"),
        pytest.raises(FolderTaken, match="another trial is running"),
        emptied(tmp_path / "trial"),
    ):
        pass


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), sqlite3.OperationalError("database or disk is full")],
    ids=["file", "ledger"],
)
def test_a_full_disk_is_named_as_one(tmp_path: Path, error: Exception) -> None:
    @contextmanager
    def failing() -> Iterator[None]:
        with emptied(tmp_path / "trial"):
            raise error
        yield

    with pytest.raises(DiskFull, match=r"no space is left to write .*trial"), failing():
        pass


def test_a_history_that_is_too_short_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    write_parcels(tmp_path, days=30)
    with pytest.raises(HistoryTooShort, match=r"missing.*The data ends at 2024-01-31: declare shorter windows"):
        tried(tmp_path)


def test_data_before_the_schedule_starts_is_no_history(tmp_path: Path) -> None:
    write_parcels(tmp_path, days=3)
    settings = settings_of(tmp_path)
    pipeline = load(settings.pipelines / "late_parcels.py")
    late = replace(pipeline, schedule=replace(pipeline.schedule, starts=date(2024, 6, 1)))
    with pytest.raises(NoHistory, match=r"'parcels' has no row with 'sent_at' after the schedule's start, 2024-06-01"):
        history(late, platform_in(tmp_path / "trial", late, settings))
    future = replace(pipeline, schedule=replace(pipeline.schedule, starts=date(9000, 1, 1)))
    with pytest.raises(NoHistory, match="starts with tick 9000-01-01, which is not due yet"):
        history(future, platform_in(tmp_path / "trial", future, settings))


@pytest.mark.parametrize("at", [time(0), time(4), time(23)])
@pytest.mark.parametrize("zone", ["America/Los_Angeles", "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("ticks_ahead", [0, 1])
def test_where_ticks_have_files_the_last_file_ends_the_history(tmp_path: Path, at: time, zone: str, ticks_ahead: int) -> None:
    write_parcels(tmp_path, days=3)
    settings = settings_of(tmp_path)
    for day in range(90):
        (tmp_path / "data" / f"of-2023-01-01-{date(2024, 1, 2) + timedelta(days=day)}.csv").touch()
    (tmp_path / "data" / "of-2023-01-01-9000-01-01.csv").touch()  # not due
    pipeline = load(settings.pipelines / "late_parcels.py")
    files = ml.Files("parcels", "of-2023-01-01-{tick}.csv", "csv")
    tables = (replace(pipeline.tables[0], source=files, ticks_ahead=ticks_ahead),)
    by_tick = replace(pipeline, tables=tables, schedule=replace(pipeline.schedule, at=at, timezone=zone))
    assert str(history(by_tick, platform_in(tmp_path / "trial", by_tick, settings)).ticks) == "2024-01-02..2024-03-31"
    without = replace(by_tick, tables=(replace(tables[0], source=replace(files, path="{tick}.csv")),))
    with pytest.raises(NoHistory, match="'parcels' has no file of a tick from 2024-01-02 to"):
        history(without, platform_in(tmp_path / "trial", without, settings))
