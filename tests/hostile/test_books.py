"""Whatever a source sends, the books balance: nothing is lost, doubled, altered or shown."""

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.byte_search import forms, places
from mlprod_tasks import steps
from mlprod_tasks.platform import Platform
from tests.hostile.books import CUSTOMERS, PLANTED, TICKS, TIMES, Content, Row, check, ingest, lake_rows, pipeline_of, write
from tests.hostile.meanings import BATCH, FORMS, KINDS, ROW, SOURCES, Cell, Form

EXAMPLES = int(os.environ.get("MLPROD_HOSTILE_EXAMPLES", "3"))
# Each type of MariaDB is tried in tests of the platform, hostile rows in `make hostile`.
TRIED = SOURCES if "MLPROD_HOSTILE_EXAMPLES" in os.environ else tuple(one for one in SOURCES if one != "mariadb")
FOLDERS = itertools.count()
NEEDLES = forms(PLANTED)


@pytest.fixture
def trial(make_platform: Callable[..., Platform], tmp_path: Path, request: pytest.FixtureRequest, caplog):
    """Ingest contents one after the other on one new platform, and check the books and what is shown after each."""
    caplog.set_level(logging.DEBUG)

    def run(*contents: Content) -> None:
        folder = f"var{next(FOLDERS)}"
        server = {"postgresql": "postgres_database", "mariadb": "mariadb_database"}.get(contents[0].source)
        url = request.getfixturevalue(server) if server else ""
        one = contents[0]
        pipeline, platform, before = pipeline_of(one.source, one.by_tick, one.reference), None, None
        caplog.clear()
        for content in contents:
            connection = write(content, tmp_path / "source", url)
            platform = platform or make_platform(folder, shop=connection)
            error = ingest(pipeline, platform, content.table)
            check(content, pipeline, platform, error, before)
            before = lake_rows(pipeline, platform, content.table)
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


@pytest.mark.parametrize("source", TRIED)
def test_each_cell_means_what_it_means(source: str, trial) -> None:
    for chosen in choices(source):
        trial(each_cell(source, chosen, batch=False))
        trial(each_cell(source, chosen, batch=True))


@st.composite
def deliveries(draw: st.DrawFn, source: str, by_tick: bool, reference: bool) -> tuple[Content, Content]:
    """A source, and the same later: rows are corrected, moved to another tick, gone, doubled, or new."""
    chosen = tuple(draw(st.sampled_from([form for form in FORMS[source] if form.kind == kind])) for kind in KINDS)
    anchors = tuple(Row(1000 + day, tuple(anchor(source, form) for form in chosen), day) for day in (0, 1))
    first = draw(st.lists(rows(source, chosen), max_size=6))
    kept = [row for row in first if draw(st.booleans())]
    moved = [replace(row, day=(row.day + 1) % 3) if draw(st.booleans()) else row for row in kept]
    second = [*moved, *draw(st.lists(rows(source, chosen), max_size=4))]
    if reference:  # its time is a column like another
        first, second = ([replace(row, at=None) for row in found] for found in (first, second))
    found = [Content(source, chosen, (*anchors, *draw(st.permutations(one))), by_tick, reference) for one in (first, second)]
    return found[0], found[1]


def anchor(source: str, form: Form) -> Cell:
    """A missing value: each tick has a row that is accepted."""
    return next((cell for cell in form.cells if cell.meaning is None), plain(form))


def rows(source: str, chosen: tuple[Form, ...]) -> st.SearchStrategy[Row]:
    """Mostly harmless rows: a hostile cell is seldom alone in a real source, but most rows are good."""
    cells = st.tuples(*(st.just(plain(form)) | st.sampled_from(form.cells) for form in chosen))
    seldom = st.sampled_from([True, False, False, False]).flatmap
    at = seldom(lambda here: st.sampled_from(TIMES[source]) if here else st.none())
    who = seldom(lambda here: st.sampled_from(CUSTOMERS[source]) if here else st.none())
    numbers = st.none() | st.integers(0, 20)
    return st.builds(Row, numbers, cells, st.integers(0, 2), at, who)


DELIVERIES = {
    **{source: (source, False, False) for source in TRIED},
    **{f"{source} by tick": (source, True, False) for source in ("csv", "jsonl", "parquet")},
    **{f"{source} without time": (source, False, True) for source in TRIED},
}


@pytest.mark.parametrize("delivered", DELIVERIES.values(), ids=list(DELIVERIES))
def test_two_deliveries_of_anything_leave_balanced_books(delivered: tuple[str, bool, bool], trial) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(deliveries(*delivered))
    def hold(given_contents: tuple[Content, Content]) -> None:
        trial(*given_contents)

    hold()


def test_a_tick_read_together_with_a_refused_one_is_not_published_unchecked(make_platform, tmp_path: Path) -> None:
    chosen = next(choices("csv"))
    infinite, typed = (
        tuple(Cell(written, refusal) if form.kind == "float" else plain(form) for form in chosen)
        for written, refusal in ((b"inf", ROW), (b"much", BATCH))
    )
    content = Content("csv", chosen, (Row(1, infinite), Row(2, typed, 1), Row(3, tuple(map(plain, chosen)))))
    pipeline, platform = pipeline_of("csv"), make_platform(shop=write(content, tmp_path / "source"))
    assert ingest(pipeline, platform) is not None
    steps.publish(pipeline, pipeline.schedule.range(str(TICKS[0])), platform)
    assert [row[0] for row in lake_rows(pipeline, platform)[TICKS[0]]] == [3]
