"""Files that machines share: all see the same, nobody sees half, and of what was killed nobody sees anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.object_storage import shared_folder
from mlprod_tasks.platform.object_storage.shared import InBucket
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.shared_files import SharedFiles
from tests.support.object_storage import Bucket, FaultyProxy
from tests.support.paths import REPOSITORY

NAME = "trainings/one"


def machine(home: Path, bucket: Bucket, port: int | None = None) -> InBucket:
    given = {
        "MLPROD_HOME": str(home),
        "MLPROD_LAKE": f"{bucket.url}/lake",
        "MLPROD_CONNECTION_LAKE": bucket.connection(port),
    }
    made = Platform(from_environment(given)).shared
    assert isinstance(made, InBucket)
    return made


@pytest.fixture(params=["folder", "bucket"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], tuple[SharedFiles, SharedFiles]]:
    """Two processes: on one machine with a lake in a folder, or on two with a lake in a bucket."""
    if request.param == "folder":
        both = [Platform(from_environment({"MLPROD_HOME": str(tmp_path)})).shared for _ in range(2)]
        return lambda: (both[0], both[1])
    bucket = request.getfixturevalue("bucket")
    return lambda: (machine(tmp_path / "a", bucket), machine(tmp_path / "b", bucket))


def write(shared: SharedFiles, **texts: str | None) -> None:
    """Write or delete files in the folder, as a step does."""
    with shared.opened(NAME):
        folder = shared.folder(NAME).path
        for name, text in texts.items():
            path = folder / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True) if text is None else path.write_text(text)


def texts_of(shared: SharedFiles) -> dict[str, str]:
    opened = shared.folder(NAME)
    return {path.stem: path.read_text() for path in sorted(opened.path.rglob("*.txt"))}


def test_a_folder_is_the_same_everywhere(two: Callable[[], tuple[SharedFiles, SharedFiles]]) -> None:
    one, other = two()
    assert texts_of(other) == {}
    write(one, a="1", b="2", c="3")
    assert texts_of(other) == {"a": "1", "b": "2", "c": "3"}
    write(other, a="changed", b=None, d="")
    assert texts_of(one) == texts_of(other) == {"a": "changed", "c": "3", "d": ""}


def test_changes_made_at_the_same_time_are_all_kept(two: Callable[[], tuple[SharedFiles, SharedFiles]]) -> None:
    one, other = two()
    write(one, a="0", b="0", c="0")
    with one.opened(NAME), other.opened(NAME):
        (one.folder(NAME).path / "a.txt").write_text("1")
        (one.folder(NAME).path / "c.txt").unlink()
        (other.folder(NAME).path / "b.txt").write_text("2")
        other.folder(NAME).save()
        (other.folder(NAME).path / "d.txt").write_text("3")
    assert texts_of(one) == texts_of(other) == {"a": "1", "b": "2", "d": "3"}


def test_what_was_done_before_an_error_is_kept(two: Callable[[], tuple[SharedFiles, SharedFiles]]) -> None:
    one, other = two()

    def fail() -> None:
        with one.opened(NAME):
            write(one, a="1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert texts_of(other) == {"a": "1"}


KILLED = """
import sys, time
from pathlib import Path
from mlprod_tasks.platform import platform
shared = platform().shared
with shared.opened("trainings/one"):
    for name in ("a", "b"):
        (shared.folder("trainings/one").path / f"{name}.txt").write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_step_changes_nothing(tmp_path: Path, bucket: Bucket) -> None:
    one = machine(tmp_path / "a", bucket)
    write(one, a="1")
    given = {
        "MLPROD_HOME": str(tmp_path / "b"), "MLPROD_LAKE": f"{bucket.url}/lake", "MLPROD_CONNECTION_LAKE": bucket.connection(),
        "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    killed = subprocess.Popen([sys.executable, "-c", KILLED], env=os.environ | given, stdout=subprocess.PIPE, text=True)
    assert killed.stdout
    assert killed.stdout.readline() == "written\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    killed.stdout.close()
    assert texts_of(one) == {"a": "1"}
    leftovers = list((tmp_path / "b" / "work").iterdir())
    assert len(leftovers) == 1
    for path in [*leftovers[0].rglob("*"), *leftovers]:
        os.utime(path, (0, 0))
    assert texts_of(machine(tmp_path / "b", bucket)) == {"a": "1"}
    assert list((tmp_path / "b" / "work").iterdir()) == [], "what a killed process leaves is deleted when it is a day old"


@pytest.mark.parametrize(("fault", "times"), [("lost", 1), ("dropped", 1), ("busy", 3)])
def test_a_change_is_made_once_whatever_befalls_its_request(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy, fault: str, times: int
) -> None:
    one = machine(tmp_path / "a", bucket, proxy.port)
    write(one, a="1")
    proxy.befall(fault, "PUT", r"log/\d+\.json", times)
    write(one, a="2", b="3")
    assert proxy.befallen()
    assert texts_of(machine(tmp_path / "b", bucket)) == {"a": "2", "b": "3"}
    assert list(one.names(f"{NAME}/log")) == ["00000001.json", "00000002.json"]


def test_contents_that_no_state_has_are_deleted_once_they_have_settled(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine(tmp_path, bucket)
    for i in range(4):
        write(one, a=f"text {i}", kept="the same")
    assert len(one.names(f"{NAME}/files")) == 5
    later = time.time() + shared_folder.SETTLED.total_seconds() + 60
    monkeypatch.setattr(shared_folder.time, "time", lambda: later)
    write(one, a="text 4")
    assert len(one.names(f"{NAME}/log")) == 1
    assert len(one.names(f"{NAME}/files")) == 2
    assert texts_of(one) == {"a": "text 4", "kept": "the same"}


def test_single_files_and_a_mirrored_folder_follow(tmp_path: Path, bucket: Bucket) -> None:
    one, other = machine(tmp_path / "a", bucket), machine(tmp_path / "b", bucket)
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_text("rows")
    one.share("staging/x", here)
    other.fetch("staging/x", there)
    assert there.read_text() == "rows"
    one.forget("staging/x", here)
    other.fetch("staging/x", there)
    assert not there.exists()

    outbox = one.outbox("online_log/shop")
    outbox.mkdir(parents=True)
    for name in ("1", "2", ".3.part"):
        (outbox / name).write_text(name)
    one.send("online_log/shop")
    assert [path.name for path in outbox.iterdir()] == [".3.part"]
    with other.mirrored("online_log/shop", tmp_path / "mirror"):
        assert sorted(path.name for path in (tmp_path / "mirror").iterdir()) == ["1", "2"]
        (tmp_path / "mirror" / "1").rename(tmp_path / "mirror" / "1.broken")
    assert sorted(one.names("online_log/shop")) == ["1.broken", "2"]
    with one.mirrored("online_log/shop", tmp_path / "mirror"):
        assert sorted(path.name for path in (tmp_path / "mirror").iterdir()) == ["1.broken", "2"]
    one.forget_old("online_log/shop", shared_folder.SETTLED)
    assert len(one.names("online_log/shop")) == 2
