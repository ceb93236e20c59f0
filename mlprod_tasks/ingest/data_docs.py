"""The data docs: the results of every audit as web pages of Great Expectations."""

from __future__ import annotations

import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

from mlprod_tasks.ingest.expectations import load_great_expectations
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import write_text

# Validations are kept by suite and ticks, so that running an audit again replaces its page.
VALIDATIONS = Path("uncommitted") / "validations"
SHARED = "validations"
LISTED = 20
KEPT = 60


def keep(result: Any, ticks: str, platform: Platform) -> None:
    """Store an audit's result where the data docs read it; long lists of values are cut."""
    result_json = _cut(result.to_json_dict())
    for one in result_json["results"]:
        # Great Expectations writes values into its pages as they are: a script that a source sends would run in the browser.
        one["result"] = _escaped(one["result"])
    # Great Expectations sorts its pages by this time: the date of the first tick.
    moment = ticks[:10].replace("-", "") + "T000000.000000Z"
    folder = platform.settings.expectations / VALIDATIONS
    path = folder / result.suite_name / ticks / moment / "staging-rows.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result_json))
    platform.shared.share(f"{SHARED}/{path.relative_to(folder)}", path)


def build_data_docs(platform: Platform) -> Path:
    """Render the pages of all suites and of the newest audits, and return the index page.

    It is separate from the audit, because a page takes some seconds.
    """
    folder = platform.settings.expectations
    with platform.shared.mirrored(SHARED, folder / VALIDATIONS):
        delete_old(folder)
    context = load_great_expectations().get_context(mode="file", context_root_dir=str(folder))
    pages = context.build_data_docs()
    return Path(next(iter(pages.values())).removeprefix("file://"))


def delete_old(folder: Path) -> None:
    """Delete all but the KEPT newest audits of each suite."""
    for suite in sorted((folder / VALIDATIONS).glob("*/")):
        audits = sorted(suite.iterdir(), key=_time_written)
        for old in audits[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def _time_written(audit: Path) -> float:
    return max((file.stat().st_mtime for file in audit.rglob("*.json")), default=audit.stat().st_mtime)


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(inner) for key, inner in value.items()}
    return [_cut(inner) for inner in value[:LISTED]] if isinstance(value, list) else value


def _escaped(value: Any) -> Any:
    """The value with every text in it, keys too, escaped for HTML."""
    match value:
        case dict():
            return {_escaped(key): _escaped(inner) for key, inner in value.items()}
        case list():
            return [_escaped(inner) for inner in value]
        case str():
            return escape(value)
    return value
