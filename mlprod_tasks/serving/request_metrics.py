"""The metrics of one replica for Prometheus: requests, rows, models and log."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from mlprod_tasks.serving.admission import Admission
from mlprod_tasks.serving.model_loader import ModelLoader
from mlprod_tasks.serving.scorer import Scorer

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# Upper bounds in seconds, from half a millisecond to longer than a client waits.
BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# Per use case: the metric, its help text, and its value.
SCORER_COUNTERS: tuple[tuple[str, str, Callable[[Scorer], float]], ...] = (
    ("mlprod_served_rows", "Rows that were scored.", lambda one: one.counts.rows),
    ("mlprod_served_fallback_rows", "Rows that the fallback answered.", lambda one: one.counts.fallback),
    ("mlprod_served_refused_rows", "Rows that neither model nor fallback could answer.", lambda one: one.counts.refused),
    ("mlprod_served_absent_rows", "Rows whose key was not in the population.", lambda one: one.counts.absent),
    ("mlprod_served_review_rows", "Rows that were left to people.", lambda one: one.counts.review),
    ("mlprod_served_model_errors", "Rows on which a model failed.", lambda one: one.counts.errors),
    ("mlprod_served_cache_hits", "Rows whose score was cached.", lambda one: one.counts.hits),
    ("mlprod_served_cache_misses", "Rows that a model scored, as no score was cached.", lambda one: one.counts.misses),
    ("mlprod_served_store_hits", "Entries of the online store that were cached.", lambda one: one.online.looks[0]),
    ("mlprod_served_store_misses", "Entries that were read from the online store.", lambda one: one.online.looks[1]),
    ("mlprod_served_shadow_errors", "Rows on which a shadow failed.", lambda one: one.counts.shadow_errors),
    ("mlprod_served_shadow_rows", "Rows that a shadow scored.", lambda one: one.counts.shadow),
    ("mlprod_served_shadow_difference", "Sum of |shadow's score - score|.", lambda one: one.counts.shadow_difference),
    ("mlprod_served_log_written", "Rows that are in a file of the log.", lambda one: one.log.written),
    ("mlprod_served_log_dropped", "Rows that could not be logged.", lambda one: one.log.dropped),
)


class RequestMetrics:
    """Counts requests and their latencies; written by one thread.

    prometheus_client's Counter and Histogram lock and look up labels each time: 1.2 microseconds per request at best, 3.4 with
    labels, against 0.5 here (2 cores, Python 3.11); a whole request takes about 60. So requests are counted here, and
    prometheus_client only formats the counts.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.latencies: dict[tuple[str, str], list[int]] = {}  # requests per bucket; the last is above all bounds
        self.seconds: dict[tuple[str, str], float] = {}

    def count(self, pipeline: str, kind: str, status: int, seconds: float) -> None:
        """Count a request, and its latency if answered.

        A refusal is sent early, or late on purpose.
        """
        self.requests[pipeline, kind, status] += 1
        if status >= 400:
            return
        labels = (pipeline, kind)
        counts = self.latencies.get(labels)
        if counts is None:
            counts, self.seconds[labels] = [0] * (len(BUCKETS) + 1), 0.0
            self.latencies[labels] = counts
        counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds[labels] += seconds


@dataclass(frozen=True, eq=False)
class ServiceCollector(Collector):
    """Collects the metrics of a replica for prometheus_client."""

    requests: RequestMetrics
    admission: Admission
    scorers: Mapping[str, Scorer]
    loader: ModelLoader

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield GaugeMetricFamily("mlprod_requests_under_way", "Requests under way.", self.admission.under_way)
        yield CounterMetricFamily("mlprod_requests_shed", "Requests refused as too many.", self.admission.refused)
        for name, doc, read in SCORER_COUNTERS:
            counter = CounterMetricFamily(name, doc, labels=["pipeline"])
            for pipeline, scorer in self.scorers.items():
                counter.add_metric([pipeline], read(scorer))
            yield counter
        yield from self._models()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("mlprod_requests", "Requests by status.", labels=["pipeline", "kind", "status"])
        for (pipeline, kind, status), count in sorted(self.requests.requests.items()):
            requests.add_metric([pipeline, kind, str(status)], count)
        yield requests
        latency = HistogramMetricFamily("mlprod_request_seconds", "Seconds to an answer.", labels=["pipeline", "kind"])
        for (pipeline, kind), counts in sorted(self.requests.latencies.items()):
            buckets, total = [], 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                buckets.append((bound, total))
            latency.add_metric([pipeline, kind], buckets, self.requests.seconds[pipeline, kind])
        yield latency

    def _models(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("mlprod_log_waiting", "Rows that wait to be logged.", labels=["pipeline"])
        for pipeline, scorer in self.scorers.items():
            waiting.add_metric([pipeline], scorer.log.waiting)
        yield waiting
        ago = self.loader.ledger_read_seconds_ago
        yield GaugeMetricFamily("mlprod_looked_seconds_ago", "Seconds since the ledger was last read completely.", ago)
        trouble = GaugeMetricFamily("mlprod_served_trouble", "1 while a version cannot be loaded.", labels=["pipeline"])
        version = GaugeMetricFamily("mlprod_served_version", "The loaded version, 0 if none.", labels=["pipeline", "route"])
        for pipeline, loaded in self.loader.loaded.items():
            trouble.add_metric([pipeline], int(bool(loaded.trouble)))
            for route, one in (("champion", loaded.champion), ("challenger", loaded.challenger)):
                version.add_metric([pipeline, route], one.number if one else 0)
        yield trouble
        yield version


def exposition(collector: ServiceCollector) -> bytes:
    """Return the metrics in Prometheus's text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)
