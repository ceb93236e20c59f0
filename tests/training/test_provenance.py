"""Which code made a model."""

import hashlib
import shutil
import subprocess

import pytest

from mlprod_tasks.training.provenance import PACKAGE, provenance


@pytest.fixture
def package(tmp_path):
    """A repository with one module and a lock."""
    folder = tmp_path / "repo" / "package"
    folder.mkdir(parents=True)
    (folder / "step.py").write_text("A = 1\n")
    (folder.parent / "requirements.lock").write_text("pinned==1\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", folder.parent, *command], check=True)
    return folder


def test_commit_lock_and_code_are_told(package):
    made = provenance(package)
    head = subprocess.run(
        ["git", "-C", package, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert made.git_commit == head
    assert made.lock_digest == hashlib.sha256(b"pinned==1\n").hexdigest()


def test_a_changed_line_changes_the_code_digest_and_marks_the_commit(package):
    before = provenance(package)
    (package / "step.py").write_text("A = 2\n")
    after = provenance(package)
    assert after.code_digest != before.code_digest
    assert after.git_commit == f"{before.git_commit}+changes"


def test_without_a_repository_the_commit_is_what_the_image_says(package, tmp_path, monkeypatch):
    copied = tmp_path / "image" / "package"
    shutil.copytree(package, copied)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert (provenance(copied).git_commit, provenance(copied).lock_digest) == ("", "")
    monkeypatch.setenv("MLPROD_GIT_COMMIT", "abc123")
    assert provenance(copied).git_commit == "abc123"
    assert provenance(copied).code_digest == provenance(package).code_digest


def test_this_packages_own_code_has_a_digest():
    assert len(provenance(PACKAGE).code_digest) == 64
