"""A dashboard of Grafana, as it is written in deploy/grafana."""

from collections.abc import Iterator


def queries(part: object) -> Iterator[str]:
    """Every PromQL expression in the dashboard."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "query") and isinstance(value, str) and value != "prometheus":
                yield value
            else:
                yield from queries(value)
    elif isinstance(part, list):
        for one in part:
            yield from queries(one)
