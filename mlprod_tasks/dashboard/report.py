"""The page of one pipeline as of one tick, as one HTML file that opens from disk and loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from pathlib import Path

from mlprod_tasks.dashboard import shell
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.dashboard.schemas import as_json
from mlprod_tasks.dashboard.series import BY_FEATURE
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import write_text

log = logging.getLogger(__name__)


class NothingToReport(LookupError):
    """The ledger has nothing of that tick."""


def write_report(pipeline: Pipeline, tick: Tick, platform: Platform, out: Path | None = None) -> Path:
    """Write the report of a tick atomically, to `out` or else below `settings.home`.

    Raises: NothingToReport.
    """
    place = out or platform.settings.home / "reports" / pipeline.name / f"{tick}.html"
    written = html(pipeline, tick, platform)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_text(place, written)
    return place


def attached(pipeline: Pipeline, tick: Tick, platform: Platform) -> tuple[tuple[str, str], ...]:
    """Make the report for a mail, as (file name, HTML); none where that fails, so that the mail still goes out."""
    try:
        written = write_report(pipeline, tick, platform).read_text(encoding="utf-8")
    except Exception as error:
        log.warning("%s: no report of %s: %s: %s", pipeline.name, tick, type(error).__name__, error)
        return ()
    return ((f"{pipeline.name}-{tick}.html", written),)


def html(pipeline: Pipeline, tick: Tick, platform: Platform) -> str:
    """Write the report's HTML with styles, scripts and data; its policy forbids every request.

    Raises: NothingToReport.
    """
    page_detail = detail(pipeline, platform, (None, tick.date), BY_FEATURE, as_of=tick)
    if all(row.tick != str(tick) for row in page_detail.by_tick):
        raise NothingToReport(
            f"{pipeline.name}: the ledger has nothing of tick {tick}: score and monitor it first "
            f"(`mlprod score {pipeline.name} --from {tick}`)"
        )
    style, script = shell.style(), shell.script()
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>'
    data = f'<script type="application/json" id="board-data">{embedded(as_json(page_detail))}</script>'
    return shell.frame(f"{pipeline.name} {tick}", head, "", f"{data}\n<script>{script}</script>\n")


def embedded(value: object) -> str:
    """Write JSON for an HTML script element, with the characters escaped that could end it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
