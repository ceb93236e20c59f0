"""What the service has seen: requests, latencies, answers and models, as Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlprod_tasks.serving.answer import Scorer
    from mlprod_tasks.serving.app import Service

# Upper bounds in seconds, from a fraction of a millisecond to what nobody waits for.
BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Seen:
    """Counts of one replica since it started; written by one thread."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self._latency: dict[tuple[str, str], list[int]] = {}
        self._seconds: Counter[tuple[str, str]] = Counter()

    def request(self, pipeline: str, kind: str, status: int, seconds: float) -> None:
        """Count a request; its time too where it was answered: a refusal is told early, or late on purpose."""
        self.requests[pipeline, kind, status] += 1
        if status >= 400:
            return
        counts = self._latency.get((pipeline, kind))
        if counts is None:
            counts = self._latency[pipeline, kind] = [0] * (len(BUCKETS) + 1)
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._seconds[pipeline, kind] += seconds  # type: ignore[assignment]

    def text(self, service: Service) -> bytes:
        """Everything in Prometheus' text format."""
        lines = ["# TYPE mlprod_requests_total counter"]
        for (pipeline, kind, status), n in sorted(self.requests.items()):
            lines.append(f'mlprod_requests_total{{pipeline="{pipeline}",kind="{kind}",status="{status}"}} {n}')
        lines.append("# TYPE mlprod_request_seconds histogram")
        for (pipeline, kind), counts in sorted(self._latency.items()):
            labels, total = f'pipeline="{pipeline}",kind="{kind}"', 0
            for bound, n in zip((*BUCKETS, "+Inf"), counts, strict=True):
                total += n
                lines.append(f'mlprod_request_seconds_bucket{{{labels},le="{bound}"}} {total}')
            lines.append(f"mlprod_request_seconds_sum{{{labels}}} {self._seconds[pipeline, kind]}")
            lines.append(f"mlprod_request_seconds_count{{{labels}}} {total}")
        lines += _gauges(service)
        return ("\n".join(lines) + "\n").encode()


def _gauges(service: Service) -> list[str]:
    lines = [
        "# TYPE mlprod_requests_under_way gauge",
        f"mlprod_requests_under_way {service.admission.under_way}",
        "# TYPE mlprod_requests_shed_total counter",
        f"mlprod_requests_shed_total {service.admission.refused}",
    ]
    counted: dict[str, Callable[[Scorer], float]] = {
        "rows_total": lambda one: one.counts.rows,
        "fallback_rows_total": lambda one: one.counts.fallback,
        "refused_rows_total": lambda one: one.counts.refused,
        "review_rows_total": lambda one: one.counts.review,
        "model_errors_total": lambda one: one.counts.errors,
        "cache_hits_total": lambda one: one.counts.hits,
        "cache_misses_total": lambda one: one.counts.misses,
        "store_hits_total": lambda one: one.online.looks[0],
        "store_misses_total": lambda one: one.online.looks[1],
        "shadow_errors_total": lambda one: one.counts.shadow_errors,
        "shadow_rows_total": lambda one: one.counts.shadow,
        "shadow_difference_total": lambda one: one.counts.shadow_difference,
        "log_written_total": lambda one: one.log.written,
        "log_dropped_total": lambda one: one.log.dropped,
    }
    for name, value in counted.items():
        lines.append(f"# TYPE mlprod_served_{name} counter")
        lines += [f'mlprod_served_{name}{{pipeline="{key}"}} {value(one)}' for key, one in service.scorers.items()]
    lines.append("# TYPE mlprod_log_waiting gauge")
    lines += [f'mlprod_log_waiting{{pipeline="{key}"}} {one.log.waiting}' for key, one in service.scorers.items()]
    lines.append("# TYPE mlprod_looked_seconds_ago gauge")
    lines.append(f"mlprod_looked_seconds_ago {service.shelf.looked_seconds_ago}")
    lines.append("# TYPE mlprod_served_trouble gauge")
    for key, standing in service.shelf.standing.items():
        lines.append(f'mlprod_served_trouble{{pipeline="{key}"}} {int(bool(standing.trouble))}')
    lines.append("# TYPE mlprod_served_version gauge")
    for key, standing in service.shelf.standing.items():
        for route in ("champion", "challenger"):
            version = getattr(standing, route)
            lines.append(f'mlprod_served_version{{pipeline="{key}",route="{route}"}} {version.number if version else 0}')
    return lines
