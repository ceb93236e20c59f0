"""A report is one file: it asks for nothing, runs nothing but its own script, and shows data as text."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlprod_tasks.dashboard import shell
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.dashboard.report import NothingToReport, html, write_report
from mlprod_tasks.dashboard.schemas import as_json
from mlprod_tasks.dashboard.series import BY_FEATURE
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from tests.support.seeded_ledger import DAY, FIRST, fill

HOSTILE = "</script><script>alert('a')</script><!--<img src=x onerror=alert(1)>&amp;\u2028"
LOADING = {"src", "href", "srcset", "data", "action", "poster", "formaction", "background", "ping"}


class Read(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("script", "style") and self.scripts:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.lasttag = ""


@pytest.fixture(scope="module")
def tick(flights_pipeline: Pipeline) -> Any:
    return flights_pipeline.schedule.tick(FIRST + 70 * DAY)


@pytest.fixture(scope="module")
def page(months: Platform, flights_pipeline: Pipeline, tick: Any) -> str:
    return html(flights_pipeline, tick, months)


def half_of_it(self: Path, content: bytes) -> int:
    with self.open("wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError("disk full")


def data_of(page: str) -> str:
    (data,) = re.findall(r'<script type="application/json" id="board-data">(.*?)</script>', page, re.DOTALL)
    return str(data)


def inside(page: str) -> Any:
    return json.loads(data_of(page))


def test_nothing_in_it_is_loaded_from_anywhere(page: str) -> None:
    read = Read(page)
    loaded = [(tag, name, value) for tag, attributes in read.elements for name, value in attributes.items() if name in LOADING]
    assert [one for one in loaded if one != ("a", "href", "#board")] == []
    addresses = set(re.findall(r"https?://[^\s\"'`)<]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}, "the name of SVG's elements is no address"
    assert not re.search(r"@import|url\((?!#)", shell.style())


def test_its_policy_lets_nothing_but_its_own_script_and_style_run(page: str) -> None:
    read = Read(page)
    (policy,) = [a["content"] for tag, a in read.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    digests = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in read.scripts]
    assert len(digests) == 3, "a style, the data, a script"
    assert [digest in policy for digest in digests] == [True, False, True]
    assert not any(name.startswith("on") or name == "style" for _, attributes in read.elements for name in attributes)


def test_it_holds_what_the_page_shows_of_that_tick(page: str, months: Platform, flights_pipeline: Pipeline, tick: Any) -> None:
    told = inside(page)
    assert told == as_json(detail(flights_pipeline, months, (None, tick.name), BY_FEATURE, as_of=tick))
    assert told["last"] == str(tick) == told["ticks"][-1]
    assert told["may"] == []
    assert str(tick.name + DAY) not in json.dumps({name: told[name] for name in ("charts", "heat", "by_tick", "alarms")})


def test_text_from_data_ends_no_script(make_ledger: Callable[..., Platform], flights_pipeline: Pipeline) -> None:
    platform, pipeline = make_ledger(), replace(flights_pipeline, doc=HOSTILE, owner=HOSTILE)
    fill(platform, pipeline, 3)
    page = html(pipeline, pipeline.schedule.tick(FIRST + 2 * DAY), platform)
    read = Read(page)
    assert [tag for tag, _ in read.elements].count("script") == 2
    assert "img" not in {tag for tag, _ in read.elements}
    assert inside(page)["owner"] == HOSTILE
    assert not set("<>&") & set(data_of(page)), "nor does a comment or a script begin in it"


def test_it_is_written_whole_or_not_at_all(
    months: Platform, flights_pipeline: Pipeline, tick: Any, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "report.html"
    assert write_report(flights_pipeline, tick, months, out) == out
    written = out.read_bytes()
    assert written.decode() == page
    assert write_report(flights_pipeline, tick, months, out).read_bytes() == written
    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_bytes", half_of_it)
        with pytest.raises(OSError, match="disk full"):
            write_report(flights_pipeline, flights_pipeline.schedule.tick(FIRST), months, out)
    assert out.read_bytes() == written
    with pytest.raises(NothingToReport, match="the ledger has no entries of tick 2013-12-01: score and monitor it first"):
        write_report(flights_pipeline, flights_pipeline.schedule.tick("2013-12-01"), months, out)
    assert out.read_bytes() == written
    assert list(out.parent.iterdir()) == [out], "no half-written file is left"


def test_reports_lie_below_home_by_pipeline_and_tick(make_ledger: Callable[..., Platform], flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    fill(platform, flights_pipeline, 2)
    place = write_report(flights_pipeline, flights_pipeline.schedule.tick(FIRST), platform)
    assert place == platform.settings.home / "reports" / "flight_delays" / f"{FIRST}.html"


def test_the_shell_writes_one(months: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlprod_tasks.cli.main import app

    monkeypatch.setenv("MLPROD_HOME", str(months.settings.home))
    out = tmp_path / "out.html"
    done = CliRunner().invoke(app, ["report", "flight_delays", str(FIRST), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(out)
    assert inside(out.read_text())["last"] == str(FIRST)


def test_the_page_itself_holds_no_script_of_its_own() -> None:
    read = Read(shell.page())
    assert read.scripts == [""] * len(shell.SCRIPTS)
    assert [a["src"].split("?")[0] for tag, a in read.elements if tag == "script" and a["src"]] == [
        f"static/{name}" for name in shell.SCRIPTS
    ]
    assert {file.name for file in shell.STATIC.iterdir()} == {*shell.SCRIPTS, shell.STYLE}
    assert "unsafe" not in shell.POLICY
    assert "eval(" not in shell.script()
    assert "innerHTML" not in shell.script()
    assert "insertAdjacentHTML" not in shell.script()
