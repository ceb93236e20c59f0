"""The page's HTML: a frame that loads the scripts, and for a report the scripts and styles as one text each."""

from __future__ import annotations

import hashlib
from html import escape
from pathlib import Path

STATIC = Path(__file__).parent / "static"
STYLE = "board.css"
# In this order: each uses those before it.
SCRIPTS = (
    "dom.js",
    "numbers.js",
    "cursor.js",
    "chart.js",
    "heat.js",
    "overview.js",
    "records.js",
    "rollout.js",
    "bandits.js",
    "experiments.js",
    "adaptation.js",
    "reviews.js",
    "prediction.js",
    "act.js",
    "detail.js",
    "board.js",
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)


def page(static: str = "static", api: str = "api") -> str:
    """Write the page, to be served with POLICY as its Content-Security-Policy.

    static: where the files of STATIC are served. api: where the addresses of schemas.py begin. Both are relative to the page.
    """
    version = digest()
    scripts = "\n".join(f'<script defer src="{escape(static)}/{name}?v={version}"></script>' for name in SCRIPTS)
    head = f'<link rel="stylesheet" href="{escape(static)}/{STYLE}?v={version}">\n{scripts}'
    return frame("mlprod", head, f' data-api="{escape(api)}"', "")


def frame(title: str, head: str, attributes: str, foot: str) -> str:
    """Write the HTML that page and report share. title is escaped here; the other arguments are markup."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
{head}
</head>
<body{attributes}>
<a class="skip" href="#board">Skip to the content</a>
<main id="board" tabindex="-1" aria-busy="true"><noscript>This page needs JavaScript: allow its scripts.</noscript></main>
<div id="status" role="status" aria-live="polite"></div>
{foot}</body>
</html>
"""


def style() -> str:
    return (STATIC / STYLE).read_text(encoding="utf-8")


def script() -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)


def digest() -> str:
    """Digest styles and scripts, so that a browser with an older version loads them again."""
    return hashlib.sha256((style() + script()).encode()).hexdigest()[:12]
