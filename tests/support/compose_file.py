"""The production shape as docker-compose.yaml declares it, its variables replaced."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.paths import REPOSITORY

COMPOSE = REPOSITORY / "docker-compose.yaml"
# ${NAME}, ${NAME:-default}, ${NAME:?what to do}; an inner one is replaced before the one around it.
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^${}]*))?\}")
COMPOSE_TEXT = COMPOSE.read_text()
EXAMPLE = (REPOSITORY / ".env.example").read_text()
EXAMPLE_SECRETS = set(re.findall(r"^([A-Z_]+)=$", EXAMPLE, re.MULTILINE))
EXAMPLE_DEFAULTS = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def resolve(given: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with its variables replaced, as Compose does it. Raises: LookupError for a secret that is missing."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if given.get(name):
            return given[name]
        if kind == "?":
            raise LookupError(f"{name}: {rest}")
        return rest or ""

    text = COMPOSE_TEXT
    while VARIABLE.search(text):
        text = VARIABLE.sub(value, text)
    return yaml.safe_load(text)


SECRETS = {name: name.lower().replace("_", "") for name in EXAMPLE_SECRETS}
MODEL = resolve(SECRETS)
SERVICES: dict[str, dict[str, Any]] = MODEL["services"]
