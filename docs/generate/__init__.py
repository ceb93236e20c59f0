"""A Sphinx extension that writes the reference from the code, each time the site is built.

A page says where a generated part goes by a line such as `<!-- generate: gates -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sphinx.application import Sphinx

from docs.generate import commands, dags, declarations, gates, rooms, watches

PLACE = re.compile(r"^<!-- generate: (?P<what>[\w ]+) -->$", re.MULTILINE)
PARTS: Mapping[str, Callable[[], str]] = {
    "commands": commands.reference,
    "list of decisions": lambda: "```{toctree}\n:hidden:\n:glob:\n\n0*\n```",  # an HTML comment does not show on a code host
    "dags": dags.reference,
    "gates": gates.reference,
    "search spaces": declarations.search_spaces,
    "watched values": watches.watched_values,
    "rules": watches.rules,
    "rooms": rooms.reference,
} | {f"declaration {group}": declarations.reference_of(group) for group in declarations.GROUPS}


def with_generated_parts(text: str) -> str:
    """Insert the generated parts into a page. Raises: KeyError for an unknown part."""
    return PLACE.sub(lambda found: PARTS[found["what"]](), text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the generator with Sphinx."""

    def on_source_read(_: Sphinx, __: str, source: list[str]) -> None:
        source[0] = with_generated_parts(source[0])

    app.connect("source-read", on_source_read)
    # The code may have changed although no page has, so generated pages are always read again.
    app.connect(
        "env-get-outdated",
        lambda _, env, *__: [doc for doc in env.found_docs if doc.startswith(("reference/", "architecture/"))],
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
