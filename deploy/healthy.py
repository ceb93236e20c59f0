"""Ask a server whether it is well: a container's health check, cheap enough to be run every few seconds.

    python -m deploy.healthy URL [COMPONENT ...]

Airflow's API server tells which of its components still send heartbeats; each one named must be 'healthy'.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from urllib.request import ProxyHandler, build_opener

SECONDS = 10


def sick(url: str, components: Sequence[str]) -> list[str]:
    """What is wrong, a line each; empty where all is well."""
    try:
        # No proxy: these are addresses inside of the installation.
        with build_opener(ProxyHandler({})).open(url, timeout=SECONDS) as answer:
            body = answer.read()
    except OSError as error:
        return [f"{url}: {error}"]
    told = json.loads(body) if components else {}
    found = {name: (told.get(name) or {}).get("status") for name in components}
    return [f"{name}: {status or 'not known'}" for name, status in found.items() if status != "healthy"]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit("\n".join(sick(sys.argv[1], sys.argv[2:])) or None)
