"""The tutorials work as they are written: their files are saved, their commands run in order, the output is what is shown."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlprod_tasks.cli import main
from tests.support.paths import REPOSITORY

TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
FIRST_MINUTES = REPOSITORY / "docs" / "first_fifteen_minutes.md"
FILE = re.compile(r"^```\{code-block\} python\n:caption: (?P<name>\S+)\n\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FAILED = re.compile(r"[A-Z]\w+: ")  # how the command line begins to tell an error


@dataclass(frozen=True)
class File:
    """A file that the reader is told to save."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that the reader is told to type, and the output shown below it."""

    line: str
    output: str


def steps_of(page: str) -> Iterator[File | Command]:
    """The files and commands of a page, in order."""
    for found in sorted([*FILE.finditer(page), *CONSOLE.finditer(page)], key=lambda found: found.start()):
        if found.re is FILE:
            yield File(found["name"], found["text"])
            continue
        for typed in found["text"].removeprefix("$ ").split("\n$ "):
            line, _, output = typed.strip("\n").partition("\n")
            yield Command(line, output)


def as_pattern(shown: str) -> str:
    """A regular expression for shown output: '...' stands for any text, and white space for any white space."""
    return r"\s+".join(".*".join(map(re.escape, word.split("..."))) for word in shown.split())


class Shell:
    """Run commands as a shell does, `mlprod` in this process, so that its libraries are imported once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capfd = monkeypatch, capfd

    def run(self, line: str) -> tuple[int, str]:
        """Exit status and output (of a command that failed, its errors too)."""
        words = shlex.split(line)
        if words[0] == "cd":
            self.patch.chdir(words[1])
            return 0, ""
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.patch.setenv(name, value.replace("$PWD", os.getcwd()))
            return 0, ""
        if words[0] == "mlprod":
            return self._mlprod(words)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def _mlprod(self, words: list[str]) -> tuple[int, str]:
        self.capfd.readouterr()
        self.patch.setattr(sys, "argv", words)
        try:
            main.run()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        told = self.capfd.readouterr()
        return status, told.out + (told.err if status else "")


@pytest.mark.parametrize("page", [TUTORIAL, FIRST_MINUTES], ids=lambda page: page.stem)
def test_a_tutorial_works_from_the_first_line_to_the_last(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(("MLPROD_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    shell = Shell(monkeypatch, capfd)
    for step in steps_of(page.read_text(encoding="utf-8")):
        if isinstance(step, File):
            Path(step.name).write_text(step.text, encoding="utf-8")
            continue
        status, output = shell.run(step.line)
        assert (status != 0) == bool(FAILED.match(step.output)), f"$ {step.line}\n{output}"
        assert re.search(as_pattern(step.output), output, re.DOTALL), f"$ {step.line}\nshown: {step.output}\nprinted: {output}"


def test_the_tutorial_shows_the_whole_way() -> None:
    typed = [step.line.split()[:2] for step in steps_of(TUTORIAL.read_text(encoding="utf-8")) if isinstance(step, Command)]
    for verb in ("pipelines", "ingest", "train", "score", "explain", "monitor", "status", "report"):
        assert ["mlprod", verb] in typed
