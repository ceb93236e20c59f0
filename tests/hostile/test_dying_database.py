"""A database that dies in the middle of an extraction: no row is lost or doubled, and the error names it."""

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from benchmarks.recovery.proxy import Proxy
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import Platform
from tests.hostile.books import PLANTED, TICKS, TIMES, Content, Row, check, ingest, pipeline_of, write
from tests.hostile.meanings import BATCH, FORMS, KINDS, ROW

DATABASE = {"postgresql": "postgres_database", "mariadb": "mariadb_database"}  # the fixtures
DEATHS = 120 if "MLPROD_HOSTILE_EXAMPLES" in os.environ else 6


# MariaDB's driver reads on from the dead connection when its cursor is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_what_a_dying_database_has_sent_is_never_taken_for_everything(
    make_platform: Callable[..., Platform],
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = request.getfixturevalue(DATABASE[kind])
    chosen = tuple(next(form for form in FORMS[kind] if form.kind == one) for one in KINDS)
    cells = tuple(next(cell for cell in form.cells if cell.meaning not in (ROW, BATCH)) for form in chosen)
    rows = [Row(number, cells, number % 3, TIMES[kind][0] if number % 50 == 0 else None) for number in range(400)]
    content = Content(kind, chosen, tuple(rows))
    url = make_url(write(content, tmp_path, database))
    pipeline = pipeline_of(kind)
    ticks = pipeline.schedule.range(str(TICKS[0]), str(TICKS[1]))
    with Proxy(url.port or Path(str(url.query["host"])) / ".s.PGSQL.5432") as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(hide_password=False)
        platform = make_platform(shop=through)
        extracted = extract(pipeline, "orders", ticks, platform)
        whole, all_bytes = extracted.path.read_bytes(), proxy.passed
        assert all_bytes > 20_000, "the rows come in many parts"
        for death in range(DEATHS):
            shutil.rmtree(platform.settings.staging, ignore_errors=True)
            proxy.break_after(death * all_bytes // DEATHS)
            with pytest.raises((RuntimeError, LookupError, OSError, ValueError)) as failed:
                extract(pipeline, "orders", ticks, platform)
            said = str(failed.value)
            assert all(name in said for name in ("'shop'", "'orders'", str(TICKS[0]))), said
            assert PLANTED not in f"{said}{caplog.text}".lower()
            assert [file for file in platform.settings.staging.rglob("*") if file.is_file()] == []
            assert proxy.heal(), "it died"
            del failed
            gc.collect()  # the cursors, while their warnings are expected
        assert extract(pipeline, "orders", ticks, platform).path.read_bytes() == whole
        check(content, pipeline, platform, ingest(pipeline, platform))
