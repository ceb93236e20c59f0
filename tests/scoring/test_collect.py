"""What the service logs reaches the lake once, whoever is killed, comes twice or leaves something strange behind."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Review
from mlprod_tasks.scoring import collect as step
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.log_row import ROW_COLUMNS
from mlprod_tasks.scoring.prediction_log import log_folder
from mlprod_tasks.scoring.review_queue import decide_review
from tests.support.paths import REPOSITORY
from tests.support.request_log import MONDAY, collected, entry, with_features, write_log

TUESDAY = date(2024, 5, 7)


@pytest.fixture
def here(make_platform: Callable[..., Platform]) -> Platform:
    return make_platform()


def in_lake(pipeline: Pipeline, here: Platform) -> pa.Table:
    return here.lake.rows(names.requests(pipeline))


def test_rows_come_out_as_they_were_logged_each_with_its_file(use_case: Pipeline, here: Platform) -> None:
    (one,) = write_log(use_case, here, [entry(use_case, "a"), entry(use_case, "b", TUESDAY, score=None, feature_francs=None)])
    (two,) = write_log(use_case, here, [entry(use_case, "c", row=3)])
    done = collect(use_case, here)
    assert (done.rows, done.files, done.ticks) == (3, 2, ("2024-05-06", "2024-05-07"))
    assert done.sentence == "shop: 3 rows from 2 files of 2024-05-06 to 2024-05-07 collected"
    expected = pa.concat_tables([pq.read_table(one), pq.read_table(two)]).sort_by("request_id")
    got = in_lake(use_case, here).sort_by("request_id")
    assert got.select(expected.column_names).equals(expected)
    assert got["log_file"].to_pylist() == [one.stem, one.stem, two.stem]


def test_collected_again_nothing_changes_and_nothing_is_written(use_case: Pipeline, here: Platform) -> None:
    write_log(use_case, here, [entry(use_case, "a"), entry(use_case, "b", TUESDAY)])
    collect(use_case, here)
    version = here.lake.version(names.requests(use_case))
    again = collect(use_case, here)
    assert (again.rows, again.files, again.ticks) == (0, 0, ())
    assert here.lake.version(names.requests(use_case)) == version


def test_only_the_partition_that_got_something_is_written(use_case: Pipeline, here: Platform) -> None:
    write_log(use_case, here, [entry(use_case, "a"), entry(use_case, "b", TUESDAY)])
    collect(use_case, here)
    before = dict(here.lake.files_of(here.lake.table(names.requests(use_case))))
    write_log(use_case, here, [entry(use_case, "c", TUESDAY)])
    assert collect(use_case, here).ticks == ("2024-05-07",)
    after = dict(here.lake.files_of(here.lake.table(names.requests(use_case))))
    assert after["2024-05-06"] == before["2024-05-06"]
    assert after["2024-05-07"] != before["2024-05-07"]
    assert collected(use_case, here) == ["a", "b", "c"]


def test_a_file_is_deleted_when_it_is_old_and_was_collected_before(use_case: Pipeline, here: Platform) -> None:
    (old,) = write_log(use_case, here, [entry(use_case, "a"), entry(use_case, "b", TUESDAY)], aged=True)
    (new,) = write_log(use_case, here, [entry(use_case, "c")])
    assert collect(use_case, here).removed == 0
    assert old.exists()  # it came into the lake with this very collection
    assert collect(use_case, here).removed == 1
    assert (old.exists(), new.exists()) == (False, True)
    assert collect(use_case, here).rows == 0
    assert collected(use_case, here) == ["a", "b", "c"]


def test_a_file_of_which_one_tick_is_lacking_stays(use_case: Pipeline, here: Platform) -> None:
    (both,) = write_log(use_case, here, [entry(use_case, "a"), entry(use_case, "b", TUESDAY)], aged=True)
    collect(use_case, here)
    name = names.requests(use_case)
    monday = here.lake.rows(name, [MONDAY])
    here.lake.table(name).delete("tick = '2024-05-07'")  # as if killed between the two
    assert collect(use_case, here).ticks == ("2024-05-07",)
    assert both.exists()
    assert collected(use_case, here) == ["a", "b"]
    assert here.lake.rows(name, [MONDAY]).equals(monday)


SPOILT = {
    "empty": b"",
    "no parquet": b"request_id,row\n1,2\n",
    "cut": lambda sound: sound[: len(sound) // 2],
    "foreign": None,
    "spoilt within": lambda sound: sound[:4] + bytes(300) + sound[304:],
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_broken_file_is_set_aside_and_keeps_nobody_back(
    use_case: Pipeline, here: Platform, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    (sound,) = write_log(use_case, here, [entry(use_case, "a"), entry(use_case, "b", TUESDAY)])
    bad = sound.with_name(f"{uuid.uuid4().hex}.parquet")
    made = SPOILT[how]
    if made is None:
        pq.write_table(pa.table({"colour": ["red"]}), bad)
    else:
        bad.write_bytes(made(sound.read_bytes()) if callable(made) else made)
    done = collect(use_case, here)
    aside = bad.with_name(bad.name + ".broken")
    assert done.broken == (aside.name,)
    assert (bad.exists(), aside.exists()) == (False, True)
    assert any(bad.name in one.getMessage() and one.levelname == "ERROR" for one in caplog.records)
    assert collected(use_case, here) == ["a", "b"]
    assert collect(use_case, here).broken == ()


def test_a_file_that_cannot_be_reached_now_waits(use_case: Pipeline, here: Platform) -> None:
    write_log(use_case, here, [entry(use_case, "a")])
    folder = log_folder(use_case, here)
    (folder / "elsewhere.parquet").symlink_to(folder / "not there")
    (folder / "a folder.parquet").mkdir()
    done = collect(use_case, here)
    assert (done.rows, done.broken) == (1, ())
    assert (folder / "elsewhere.parquet").is_symlink()


def test_what_is_still_being_written_is_left_alone_until_its_writer_must_be_dead(use_case: Pipeline, here: Platform) -> None:
    folder = log_folder(use_case, here)
    folder.mkdir(parents=True)
    new, old, of_release_0_4 = (
        folder / name for name in (f".n.parquet.{'0' * 32}.part", f".o.parquet.{'1' * 32}.part", ".o.parquet")
    )
    then = time.time() - timedelta(days=2).total_seconds()
    for path in (new, old, of_release_0_4):
        path.write_bytes(b"PAR1")
        if path is not new:
            os.utime(path, (then, then))
    assert collect(use_case, here).broken == ()
    assert list(folder.iterdir()) == [new]


def test_files_of_an_older_declaration_are_taken_with_nulls_for_what_they_lack(use_case: Pipeline, here: Platform) -> None:
    older, newer = use_case, with_features(use_case, size="float", colour="text")
    write_log(older, here, [entry(older, "a")])
    write_log(newer, here, [entry(newer, "b", feature_size=3.0, feature_colour="red")])
    assert collect(newer, here).rows == 2
    write_log(older, here, [entry(older, "c", feature_francs=1.0)])
    assert collect(newer, here).rows == 1
    rows = {row["request_id"]: row for row in in_lake(newer, here).to_pylist()}
    told = {key: (row["feature_francs"], row["feature_size"], row["feature_colour"]) for key, row in rows.items()}
    assert told == {"a": (12.5, None, None), "b": (None, 3.0, "red"), "c": (1.0, None, None)}


def test_a_file_of_an_older_service_has_nulls_for_what_it_did_not_log(use_case: Pipeline, here: Platform) -> None:
    (made,) = write_log(use_case, here, [entry(use_case, "a")])
    pq.write_table(pq.read_table(made).drop_columns(["assigned", "error", "review", "shadow_milliseconds"]), made)
    write_log(use_case, here, [entry(use_case, "b", TUESDAY)])
    assert collect(use_case, here).rows == 2
    assert {name for name, _ in ROW_COLUMNS} <= set(in_lake(use_case, here).column_names)


def test_a_column_of_another_type_keeps_only_its_own_files_back(
    use_case: Pipeline, here: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    write_log(use_case, here, [entry(use_case, "a")])
    collect(use_case, here)
    changed = with_features(use_case, francs="text")
    (waits,) = write_log(changed, here, [entry(changed, "b", TUESDAY, feature_francs="much", review=True)], aged=True)
    write_log(use_case, here, [entry(use_case, "c"), entry(use_case, "d", TUESDAY)])
    for _ in range(2):
        done = collect(changed, here)
        assert done.refused == (waits.stem,)
    assert collected(use_case, here) == ["a", "c", "d"]
    assert waits.exists()
    assert "'feature_francs' is string, but double" in caplog.text
    # Who is to decide does not wait for a table.
    assert [one.request_id for one in here.ledger.all(Review)] == ["b"]


def test_rows_that_are_left_to_people_are_asked_for_once_and_a_decision_stays(use_case: Pipeline, here: Platform) -> None:
    some = [entry(use_case, "a", row=i, review=i != 1, decision=None, score=0.5 + i / 10) for i in range(3)]
    write_log(use_case, here, some)
    assert collect(use_case, here).reviews == 2
    decide_review(use_case, "a", 2, True, "ada", here, "known customer")
    here.lake.table(names.requests(use_case)).delete()
    assert collect(use_case, here).reviews == 0
    assert [(one.row, one.score, one.decision) for one in here.ledger.all(Review)] == [(0, 0.5, None), (2, 0.7, True)]


def test_thousands_of_small_files_are_collected_in_one_go(use_case: Pipeline, here: Platform) -> None:
    folder = log_folder(use_case, here)
    sound = pq.read_table(*write_log(use_case, here, [entry(use_case, "a"), entry(use_case, "b", TUESDAY)]))
    for _ in range(2000):
        pq.write_table(sound, folder / f"{uuid.uuid4().hex}.parquet")
    began = time.monotonic()
    done = collect(use_case, here)
    assert (done.rows, done.files) == (4002, 2001)
    assert time.monotonic() - began < 60
    assert here.lake.version(names.requests(use_case)) <= 2  # created, and a commit a tick


# In a process of its own: collect, and be killed before or after the n-th time that one of its parts is called.
COLLECTS = """
import logging, os, signal, sys
from pathlib import Path

from mlprod_tasks.scoring import collect as step
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.shop import shop_of_one_table

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
where, times, when = sys.argv[2], int(sys.argv[3]), sys.argv[4]
here = Platform(from_environment({"MLPROD_HOME": sys.argv[1], "MLPROD_PIPELINES": sys.argv[1]}))
left = times


def deadly(part):
    def run(*args, **kwargs):
        global left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = part(*args, **kwargs)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return run


if where == "replace_ticks":
    step_of = type(here.lake)
    step_of.replace_ticks = deadly(step_of.replace_ticks)
elif where:
    setattr(step, where, deadly(getattr(step, where)))
print(step.collect(shop_of_one_table(), here).rows)
"""


def process(here: Platform, where: str = "", times: int = 1, when: str = "before") -> subprocess.Popen[str]:
    given = [str(here.settings.home), where, str(times), when]
    return subprocess.Popen(
        [sys.executable, "-c", COLLECTS, *given], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("where", "times", "when"),
    [
        ("_queue_reviews", 1, "after"), ("replace_ticks", 1, "before"), ("replace_ticks", 1, "after"),
        ("replace_ticks", 2, "before"), ("replace_ticks", 2, "after"), ("_remove", 1, "after"),
    ],
)  # fmt: skip
def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    use_case: Pipeline, here: Platform, where: str, times: int, when: str
) -> None:
    write_log(use_case, here, [entry(use_case, "old"), entry(use_case, "old too", TUESDAY)], aged=True)
    collect(use_case, here)
    write_log(use_case, here, [entry(use_case, "a", review=True), entry(use_case, "b", TUESDAY)], aged=True)
    killed = process(here, where, times, when)
    _, told = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, told
    write_log(use_case, here, [entry(use_case, "c", TUESDAY)])
    for _ in range(3):
        collect(use_case, here)
    assert collected(use_case, here) == ["a", "b", "c", "old", "old too"]
    assert [one.request_id for one in here.ledger.all(Review)] == ["a"]


def test_many_at_once_while_the_service_writes_lose_and_double_nothing(use_case: Pipeline, here: Platform) -> None:
    here.ledger.answers()
    wanted: list[str] = []
    running: list[subprocess.Popen[str]] = []
    for turn in range(3):
        running += [process(here) for _ in range(2)]
        for i in range(20):
            some = [entry(use_case, f"{turn}-{i}-{j}", (MONDAY, TUESDAY)[j % 2], review=j == 0) for j in range(4)]
            write_log(use_case, here, some, aged=i % 2 == 0)
            wanted += [f"{turn}-{i}-{j}" for j in range(4)]
    for one in running:
        _, told = one.communicate(timeout=120)
        assert one.returncode == 0, told
    collect(use_case, here)
    assert Counter(collected(use_case, here)) == Counter(wanted)
    assert len(here.ledger.all(Review)) == 60


def test_a_second_collection_waits_for_the_first(use_case: Pipeline, here: Platform) -> None:
    import fcntl

    write_log(use_case, here, [entry(use_case, "a")])
    here.ledger.answers()
    lock = os.open(log_folder(use_case, here), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    waiting = process(here)
    assert waiting.stderr is not None
    assert any("another process collects" in line for line in waiting.stderr)  # until it says so, or ends
    assert waiting.poll() is None
    assert not here.lake.exists(names.requests(use_case))
    os.close(lock)
    told, _ = waiting.communicate(timeout=60)
    assert told.strip() == "1"


def test_who_collects_first_leaves_nothing_behind_that_another_user_cannot_open(use_case: Pipeline, here: Platform) -> None:
    (made,) = write_log(use_case, here, [entry(use_case, "a")])
    collect(use_case, here)
    assert list(made.parent.iterdir()) == [made]


def test_where_nothing_can_be_locked_two_at_once_double_nothing(
    use_case: Pipeline, here: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    write_log(use_case, here, [entry(use_case, "a")])
    held = step._collected_files

    def collected_meanwhile(*given: Any) -> Any:
        seen = held(*given)
        monkeypatch.setattr(step, "_collected_files", held)
        assert collect(use_case, here).rows == 1
        return seen

    monkeypatch.setattr(fcntl, "flock", without_locks)
    monkeypatch.setattr(step, "_collected_files", collected_meanwhile)
    assert collect(use_case, here).rows == 0
    assert collected(use_case, here) == ["a"]


def test_where_nothing_was_ever_logged_nothing_is_made(use_case: Pipeline, here: Platform) -> None:
    assert collect(use_case, here).sentence == "shop: 0 rows from 0 files collected"
    assert not log_folder(use_case, here).exists()
    assert not here.lake.exists(names.requests(use_case))
