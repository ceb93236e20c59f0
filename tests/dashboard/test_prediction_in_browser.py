"""The form that explains a prediction asks for exactly the key that a person typed."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.dashboard.schemas import as_json
from mlprod_tasks.dashboard.shell import STATIC, page
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform

KINDS = {"css": "text/css", "js": "text/javascript"}


@dataclass
class PageServer:
    """Serves the page with one pipeline, and keeps which keys it was asked to explain."""

    name: str
    data: str
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def answer(self, address: str) -> tuple[int, str, bytes]:
        """Status, content type and body for an address."""
        path, query = urlsplit(address).path, urlsplit(address).query
        if path == "/":
            return 200, "text/html", page().encode()
        if path.startswith("/static/"):
            return 200, KINDS[path.rsplit(".")[-1]], (STATIC / path.removeprefix("/static/")).read_bytes()
        if path == f"/api/pipelines/{self.name}":
            return 200, "application/json", self.data.encode()
        if path == f"/api/pipelines/{self.name}/predictions":
            self.asked.append(parse_qs(query, keep_blank_values=True))
        return 404, "application/json", b'{"error": "nothing of that key"}'


@pytest.fixture
def opened(browser: Any, months: Platform, flights_pipeline: Pipeline) -> Iterator[PageServer]:
    """The page, open in the browser, of a pipeline whose key has two columns."""
    told = as_json(replace(detail(flights_pipeline, months), key=("flight_id", "carrier")))
    pages = PageServer(flights_pipeline.name, json.dumps(told))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = pages.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://127.0.0.1:{server.server_address[1]}/#/pipelines/{pages.name}")
        yield pages
        server.shutdown()


@pytest.mark.parametrize("key", ["plain", "a,b", 'it\'s "quoted"', " with spaces ", "Zürich/北京", "50%&key=x+#"])
def test_a_key_is_asked_for_as_it_was_typed_each_column_in_a_field_of_its_own(
    opened: PageServer, browser: Any, key: str
) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, 30)
    first, second = wait.until(lambda b: b.find_elements("css selector", "form.inline input[name=key]"))
    labels = [browser.find_element("css selector", f"label[for={one.get_attribute('id')}]").text for one in (first, second)]
    assert labels == ["Key, flight_id", "Key, carrier"]
    first.send_keys(key)
    second.send_keys("x,y")
    first.submit()
    wait.until(lambda b: "nothing of that key" in b.find_element("css selector", ".answer").text)
    assert opened.asked == [{"key": [key, "x,y"]}]
