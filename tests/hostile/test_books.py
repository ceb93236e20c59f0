"""Whatever a source sends, the books balance: nothing is lost, doubled, altered or shown."""

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlprod_tasks.platform import Platform
from tests.hostile.books import PLANTED, Content, Row, check, ingest, lake_rows, pipeline_of, write
from tests.hostile.meanings import BATCH, FORMS, KINDS, ROW, SOURCES, Cell, Form
from tests.support.byte_search import forms, places

EXAMPLES = int(os.environ.get("MLPROD_HOSTILE_EXAMPLES", "12"))
FOLDERS = itertools.count()
NEEDLES = forms(PLANTED)


@pytest.fixture
def trial(make_platform: Callable[..., Platform], tmp_path: Path, request: pytest.FixtureRequest, caplog):
    """Ingest contents one after the other on one new platform, and check the books and what is shown after each."""
    caplog.set_level(logging.DEBUG)

    def run(*contents: Content) -> None:
        folder = f"var{next(FOLDERS)}"
        url = request.getfixturevalue("postgres_database") if contents[0].source == "postgresql" else ""
        pipeline, platform, before = pipeline_of(contents[0].source), None, None
        caplog.clear()
        for content in contents:
            connection = write(content, tmp_path / "source", url)
            platform = platform or make_platform(folder, shop=connection)
            error = ingest(pipeline, platform)
            check(content, pipeline, platform, error, before)
            before = lake_rows(pipeline, platform)
            seen = f"{caplog.text}{shown(error)}".lower()
            assert PLANTED not in seen
        assert places(tmp_path / folder, NEEDLES) == []
        shutil.rmtree(tmp_path / folder)

    return run


def shown(error: BaseException | None) -> str:
    """The text of an error and of all that led to it."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if one is not None:
            found.append(f"{type(one).__name__}: {one}")
            waiting += [one.__cause__, one.__context__, *getattr(one, "errors", {}).values()]
    return "\n".join(found)


def plain(form: Form) -> Cell:
    return next((cell for cell in form.cells if cell.meaning not in (ROW, BATCH)), form.cells[0])


def choices(source: str) -> Iterator[tuple[Form, ...]]:
    """Forms of the six columns, so that each form of the source is chosen once or more."""
    by_kind = [[form for form in FORMS[source] if form.kind == kind] for kind in KINDS]
    for turn in range(max(map(len, by_kind))):
        yield tuple(found[turn % len(found)] for found in by_kind)


def each_cell(source: str, chosen: tuple[Form, ...], batch: bool) -> Content:
    """A row for each cell of the forms that refuses its batch, or for each that does not; its other cells are harmless."""
    rows = [
        tuple(cell if i == place else plain(other) for i, other in enumerate(chosen))
        for place, form in enumerate(chosen)
        for cell in form.cells
        if (cell.meaning is BATCH) is batch
    ]
    return Content(source, chosen, tuple(Row(number, row) for number, row in enumerate(rows)))


@pytest.mark.parametrize("source", SOURCES)
def test_each_cell_means_what_it_means(source: str, trial) -> None:
    for chosen in choices(source):
        trial(each_cell(source, chosen, batch=False))
        trial(each_cell(source, chosen, batch=True))
