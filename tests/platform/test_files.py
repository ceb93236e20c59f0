"""Files and folders are whole, whoever writes them at once, is killed, or believes to have another writer's process id."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlprod_tasks.platform import files
from tests.support.paths import REPOSITORY

OLD = 2 * files.ABANDONED.total_seconds()


@pytest.fixture(autouse=True)
def same_process_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers on one volume, in each of which the first process is number 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)


def at_once(*tasks: Callable[[], None]) -> list[Exception]:
    """Run the tasks in threads of this process, which all have its id. What they raised."""
    errors: list[Exception] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_writer_does_not_touch_the_file_of_another_with_the_same_process_id(tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    with files.replacing(place) as first:
        first.write_text("first, ")
        with files.replacing(place) as second:
            second.write_text("second")
        with first.open("a") as more:
            more.write("finished later")
        assert place.read_text() == "second"
    assert place.read_text() == "first, finished later"
    assert list(tmp_path.iterdir()) == [place]


def test_writers_of_one_json_file_at_once_leave_one_of_them_whole(tmp_path: Path) -> None:
    place = tmp_path / "manifest.json"

    def write(who: str) -> None:
        for _ in range(200):
            files.write_json(place, {"who": who, "more": [who] * 500})

    assert at_once(lambda: write("one"), lambda: write("two")) == []
    told = json.loads(place.read_text())
    assert told["more"] == [told["who"]] * 500
    assert list(tmp_path.iterdir()) == [place]


def test_writers_of_one_folder_at_once_leave_one_of_them_whole(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "model"

    def write(who: str) -> None:
        for _ in range(150):
            with files.replacing_folder(place) as made:
                made.mkdir()
                for name in ("a", "b"):
                    (made / name).write_text(who)

    assert at_once(lambda: write("one"), lambda: write("two")) == []
    assert len({file.read_text() for file in place.iterdir()}) == 1
    assert list(place.parent.iterdir()) == [place]


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    files.write_text(tmp_path / "file", "before")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("before")

    def fail_with_a_file() -> None:
        with files.replacing(tmp_path / "file") as part:
            part.write_text("half")
            raise RuntimeError("disk full")

    def fail_with_a_folder() -> None:
        with files.replacing_folder(tmp_path / "folder") as made:
            made.mkdir()
            raise RuntimeError("disk full")

    for fail in (fail_with_a_file, fail_with_a_folder):
        with pytest.raises(RuntimeError, match="disk full"):
            fail()
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "file", {"loss": float("nan")})
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "a").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_good_folder_that_another_made_meanwhile_stays(tmp_path: Path) -> None:
    place = tmp_path / "copy"
    with files.replacing_folder(place, unless=(place / "good").exists) as made:
        made.mkdir()
        place.mkdir()
        (place / "good").touch()
    assert (place / "good").exists()
    with files.replacing_folder(place, unless=(place / "better").exists) as made:
        made.mkdir()
    assert list(place.iterdir()) == []
    assert list(tmp_path.iterdir()) == [place]


KILLED = """
import os, signal, sys
from pathlib import Path
from mlprod_tasks.platform import files

folder = Path(sys.argv[1])
with files.replacing(folder / "file") as part, files.replacing_folder(folder / "made") as made:
    part.write_text("half")
    made.mkdir()
    (made / "a").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_deleted_by_the_next_one_after_a_day(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=REPOSITORY, timeout=60)
    assert done.returncode == -signal.SIGKILL
    left = files.parts(tmp_path)
    assert len(left) == 2

    def write() -> None:
        files.write_text(tmp_path / "file", "whole")
        with files.replacing_folder(tmp_path / "made") as made:
            made.mkdir()

    write()
    assert sorted(files.parts(tmp_path)) == sorted(left), "their writers may still be at work"
    for path in (*left, *left[0].rglob("*"), *left[1].rglob("*")):
        age(path, OLD)
    files.write_text(tmp_path / "other", "another name")
    assert sorted(files.parts(tmp_path)) == sorted(left), "the writer of another name looks for its own"
    write()
    assert files.parts(tmp_path) == []
    assert (tmp_path / "file").read_text() == "whole"


def test_a_folder_of_which_a_file_is_new_is_not_taken_for_abandoned(tmp_path: Path) -> None:
    with files.replacing_folder(tmp_path / "made") as made:
        made.mkdir()
        (made / "a").write_text("long at work")
        age(made, OLD)
        age(made.parent, OLD)
        files.delete_abandoned(tmp_path)
        assert made.exists()
    assert (tmp_path / "made" / "a").exists()


@pytest.mark.parametrize("name", [".bashrc", "report.html", ".report.html.1", ".report.html.part", f".x.{'g' * 32}.part"])
def test_no_other_file_is_taken_for_a_left_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    age(tmp_path / name, OLD)
    files.delete_abandoned(tmp_path)
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("of", ["file", "folder"])
def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path, of: str) -> None:
    place = tmp_path if of == "folder" else tmp_path / "lock"
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(50):
            with files.locked(place):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    assert at_once(work, work, work) == []
    assert most == [1]
    with files.locked(place), pytest.raises(BlockingIOError), files.locked(place, wait=False):
        raise AssertionError("both hold it")
    with files.locked(place, wait=False):
        pass


def test_a_lock_does_not_outlive_its_killed_holder(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom mlprod_tasks.platform.files import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), files.locked(lock, wait=False):
            raise AssertionError("both hold it")
        holder.kill()
    with files.locked(lock, wait=False):
        pass


def fill_the_disk() -> None:
    with open("/dev/full", "wb") as full:
        full.write(b"x")


def test_a_full_disk_names_the_file_and_the_remedy_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "staged.parquet"
    path.write_text("old")
    with (
        pytest.raises(files.DiskFull, match=r"no space is left to write .*staged\.parquet: free some") as error,
        files.replacing(path),
    ):
        fill_the_disk()
    assert path.read_text() == "old"
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(files.DiskFull), files.replacing_folder(tmp_path / "folder"):
        fill_the_disk()


def test_another_error_while_writing_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), files.replacing(tmp_path / "x"):
        raise PermissionError(13, "no")
