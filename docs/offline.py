"""A Sphinx extension that warns when a built page loads anything from another host: the site must work offline."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\ssrc=["']((?:https?:)?//[^"']+)"""
    r"""|<link\b(?=[^>]*rel=["'](?:stylesheet|preload|icon|preconnect))[^>]*\shref=["']((?:https?:)?//[^"']+)"""
)
IMPORTED = re.compile(r"""(?:@import\s+(?:url\()?|url\()["']?((?:https?:)?//[^"')]+)""")


def loaded_from_elsewhere(text: str, *, css: bool = False) -> list[str]:
    """List the addresses of other hosts that a page, or a style sheet, loads when it is shown."""
    pattern = IMPORTED if css else LOADED
    return ["".join(found) if isinstance(found, tuple) else found for found in pattern.findall(text)]


def warn_of_other_hosts(app: Sphinx, error: Exception | None) -> None:
    """Warn of every built file that loads something from another host."""
    if error is not None or app.builder.name != "html":
        return
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in (".html", ".css"):
            for address in loaded_from_elsewhere(path.read_text(encoding="utf-8"), css=path.suffix == ".css"):
                log.warning("%s loads %s: the site must work offline", path.relative_to(app.outdir), address)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the check with Sphinx."""
    app.connect("build-finished", warn_of_other_hosts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
