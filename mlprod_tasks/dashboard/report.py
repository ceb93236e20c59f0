"""The page of one pipeline as of a tick, as one HTML file that opens from disk and loads nothing else."""

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
    """The ledger has no entries of that tick."""


def write_report(pipeline: Pipeline, tick: Tick, platform: Platform, out: Path | None = None) -> Path:
    """Write the report of a tick atomically, to `out` or else below `settings.home`.

    Raises: NothingToReport.
    """
    path = out or platform.settings.home / "reports" / pipeline.name / f"{tick}.html"
    content = html(pipeline, tick, platform)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, content)
    return path


def attached(pipeline: Pipeline, tick: Tick, platform: Platform) -> tuple[tuple[str, str], ...]:
    """Make the report for a mail, as (file name, HTML); empty if that fails, so that the mail is still sent."""
    try:
        content = write_report(pipeline, tick, platform).read_text(encoding="utf-8")
    except Exception as error:
        log.warning("%s: the report of %s was not written: %s: %s", pipeline.name, tick, type(error).__name__, error)
        return ()
    return ((f"{pipeline.name}-{tick}.html", content),)


def html(pipeline: Pipeline, tick: Tick, platform: Platform) -> str:
    """Write the report's HTML with styles, scripts and data; its security policy forbids every request.

    Raises: NothingToReport.
    """
    page_detail = detail(pipeline, platform, (None, tick.name), BY_FEATURE, as_of=tick)
    if all(row.tick != str(tick) for row in page_detail.by_tick):
        raise NothingToReport(
            f"{pipeline.name}: the ledger has no entries of tick {tick}: score and monitor it first "
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
    """Write JSON for an HTML script element; characters that could end the element are escaped."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
