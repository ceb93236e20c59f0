"""What a collection leaves behind: older versions of the table, which go, and files that it cannot take, which are told of."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.notifications.uncollected import tell_uncollected
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.scoring import collect as step
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.prediction_log import log_folder
from tests.support.clock import SetClock
from tests.support.request_log import MONDAY, collected, entry, with_features, write_log


@pytest.fixture
def here(make_platform: Callable[..., Platform], catcher: MailCatcher) -> Platform:
    """A platform whose mails a real server receives."""
    return make_platform(smtp=f"smtp://127.0.0.1:{catcher.smtp_port}")


def tell(pipeline: Pipeline, here: Platform) -> list[str]:
    """Collect, and tell of what had to be left, as the requests DAG does."""
    return tell_uncollected(pipeline, collect(pipeline, here).causes, here)


def test_what_the_table_held_before_is_deleted_later_at_most_once_an_hour(
    use_case: Pipeline, here: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(here.lake.uri(names.requests(use_case))) / f"tick={MONDAY}"
    monkeypatch.setattr(step, "READ_WITHIN", timedelta(0))  # as if all before now were hours ago

    def left_by(n: int, *, tidy: bool) -> int:
        write_log(use_case, here, [entry(use_case, f"r-{n}")])
        collect(use_case, here, tidy=tidy)
        return len(list(folder.iterdir()))

    assert [left_by(n, tidy=False) for n in range(3)] == [1, 2, 3]
    assert [left_by(n, tidy=True) for n in (3, 4, 5)] == [1, 2, 3]
    monkeypatch.setattr(step, "TIDIED_EVERY", timedelta(0))
    assert left_by(6, tidy=True) == 1
    assert collected(use_case, here) == [f"r-{n}" for n in range(7)]


def test_some_time_is_left_to_those_who_read(use_case: Pipeline, here: Platform) -> None:
    write_log(use_case, here, [entry(use_case, "a")])
    collect(use_case, here)
    (read,) = here.lake.files(names.requests(use_case))
    write_log(use_case, here, [entry(use_case, "b")])
    collect(use_case, here, tidy=True)
    assert Path(read).exists()


def test_people_hear_once_of_files_that_wait_for_a_column_and_of_the_next(use_case: Pipeline, here: Platform) -> None:
    coloured = with_features(use_case, francs="float", colour="text")
    write_log(coloured, here, [entry(coloured, "a")])
    collect(coloured, here)
    changed = with_features(use_case, francs="text")
    for n in range(3):
        write_log(changed, here, [entry(changed, f"b-{n}", feature_francs="much")])
        told = tell(changed, here)
        assert told == (["[shop] answered requests wait: 1 files of the log do not fit the lake"] if n == 0 else [])
    other = with_features(use_case, colour="float")
    write_log(other, here, [entry(other, "c", feature_colour=3.0)])
    assert len(tell(other, here)) == 1
    assert tell(other, here) == []


def test_of_files_that_wait_on_people_hear_every_week(use_case: Pipeline, here: Platform) -> None:
    clock = SetClock(datetime(2024, 5, 12, 23, 55, tzinfo=UTC))
    here = replace(here, clock=clock)
    told = []
    for _ in range(16):
        told.append(len(tell_uncollected(use_case, {"column 'x' is string in it": 3}, here)))
        clock.at += timedelta(days=1)
    assert told == [1, *[0] * 6, 1, *[0] * 6, 1, 0]


def test_the_mail_names_the_column(use_case: Pipeline, here: Platform, catcher: MailCatcher) -> None:
    write_log(use_case, here, [entry(use_case, "a")])
    collect(use_case, here)
    changed = with_features(use_case, francs="text")
    write_log(changed, here, [entry(changed, "b", feature_francs="much")])
    tell(changed, here)
    (mail,) = catcher.outbox.mails()
    body = mail.get_body(("plain",))
    assert body is not None
    said = " ".join(body.get_content().split())
    assert "Reason: its column 'feature_francs' is string, but double in 'shop/requests': declare it under a new name" in said
    assert str(log_folder(use_case, here)) in said


def test_people_hear_once_of_a_broken_file_whoever_set_it_aside_and_of_the_next_one(use_case: Pipeline, here: Platform) -> None:
    folder = log_folder(use_case, here)
    write_log(use_case, here, [entry(use_case, "a")])
    for n in (1, 2):
        (folder / f"bad-{n}.parquet").write_bytes(b"no parquet")
        collect(use_case, here)  # by a ramp, which tells nobody
        expected = f"[shop] answered requests cannot be read: {n} files of the log are broken"
        assert tell(use_case, here) == [expected]
        assert tell(use_case, here) == []


def test_where_all_is_collected_nobody_is_told(use_case: Pipeline, here: Platform) -> None:
    assert tell(use_case, here) == []
    write_log(use_case, here, [entry(use_case, "a")])
    assert tell(use_case, here) == []
