"""The service's dashboard asks for what the service shows."""

import json
import re

from prometheus_client.parser import text_string_to_metric_families

from mlprod_tasks.serving.run import build_service
from tests.support.grafana import queries
from tests.support.paths import REPOSITORY
from tests.support.service import ORDER, get, post
from tests.support.trained_shop import Shop

DASHBOARD = REPOSITORY / "deploy" / "grafana" / "mlprod_service.json"
SCRAPED = {"instance", "job"}  # labels that Prometheus adds
WANTED = {
    "mlprod_requests_total", "mlprod_request_seconds_bucket", "mlprod_served_fallback_rows_total", "mlprod_served_rows_total",
    "mlprod_served_cache_hits_total", "mlprod_served_version", "mlprod_requests_shed_total", "mlprod_served_log_dropped_total",
}  # fmt: skip


def test_the_dashboard_asks_for_metrics_and_labels_that_the_service_shows(promoted_shop: Shop) -> None:
    service = build_service(promoted_shop.platform, {"returns": promoted_shop.pipeline}, keys_needed=False)
    post(service, {"rows": [ORDER]})
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(get(service, "/metrics").text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    written = json.loads(DASHBOARD.read_text())
    asked = list(queries(written))
    assert len(asked) > 15
    used = set()
    for query in asked:
        names = set(re.findall(r"\bmlprod_\w+", query))
        assert names, query
        used |= names
        for name in names:
            assert name in labels, f"no metric {name}: {query}"
        wanted = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", query))
        wanted |= {label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r",\s*", group)}
        for name in names:
            assert wanted <= labels[name] | SCRAPED, query
    assert used >= WANTED
    for panel in written["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = {label for group in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in re.split(r",\s*", group)}
            there = set.union(*(labels[name] for name in re.findall(r"\bmlprod_\w+", target["expr"])))
            assert shown <= (kept or there | SCRAPED), target["expr"]
