"""The scoring service and its gateway in the production shape: what they may read, and that nginx runs what was tried."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.replicas import MOST_AT_ONCE, REPLICA, SHIPPED, configured
from mlprod_tasks.serving.limits import Limits
from tests.support.compose_file import SECRETS, SERVICES, resolve
from tests.support.paths import REPOSITORY


def test_the_service_reads_what_the_tasks_write_and_knows_no_secret_that_it_does_not_need() -> None:
    served, tasks = SERVICES["serve"]["environment"], SERVICES["scheduler"]["environment"]
    assert served.items() <= tasks.items()
    assert {"MLPROD_HOME", "MLPROD_LEDGER_URL", "MLPROD_ONLINE_URL", "MLPROD_PSEUDONYM_KEY", "MLFLOW_TRACKING_URI"} <= set(
        served
    )
    assert "home:/var/lib/mlprod" in SERVICES["serve"]["volumes"], "its log would be collected by nobody"
    given = {name for name, value in SECRETS.items() if value in str(served)}
    assert given == {"LEDGER_DB_PASSWORD", "MLPROD_PSEUDONYM_KEY"}


def test_the_service_and_what_stands_in_front_of_it_write_nowhere_but_where_they_must() -> None:
    for name in ("serve", "gateway"):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(mount.endswith(":ro") or mount == "home:/var/lib/mlprod" for mount in service["volumes"]), name
    assert "ports" not in SERVICES["serve"], "replicas are asked through the gateway"
    assert resolve(SECRETS | {"SERVICE_REPLICAS": "3"})["services"]["serve"]["deploy"]["replicas"] == 3


def test_the_gateway_fills_the_template_and_leads_to_where_the_service_listens(tmp_path: Path) -> None:
    gateway, command = SERVICES["gateway"], SERVICES["serve"]["command"]
    given = {name: value for name, value in gateway["environment"].items() if name.startswith("SERVE_")}
    templates = [REPOSITORY / mount.split(":")[0] for mount in gateway["volumes"] if "/etc/nginx/templates" in mount]
    (template,) = templates[0].glob("*.conf.template")
    text = template.read_text()
    stated = set(re.findall(r"^[^#]*\$\{(\w+)\}", text, re.MULTILINE))
    assert stated == set(given)
    assert all(re.search(gateway["environment"]["NGINX_ENVSUBST_FILTER"], name) for name in stated)
    port = command[command.index("--port") + 1]
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert f"server serve:{port} " in given["SERVE_REPLICAS"]
    assert gateway["ports"][0].endswith(f":{given['SERVE_LISTEN']}")
    for name in ("serve", "gateway"):
        assert re.search(rf"127\.0\.0\.1:{port}/", SERVICES[name]["healthcheck"]["test"][-1]), name
    # The image's nginx (1.27.3 or newer) asks for names again; an older one here reads the rest with an address.
    told = given["SERVE_REPLICAS"].split("resolve ")[1]
    options = configured(tmp_path, given["SERVE_LISTEN"], f"server 127.0.0.1:{port} {told}")
    config = tmp_path / "conf.d" / "serve.conf"
    config.write_text(config.read_text().replace("access_log /dev/stdout", f"access_log {tmp_path}/access"))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    done = subprocess.run([nginx, "-t", *options, "-g", f"pid {tmp_path}/pid;"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


def test_the_gateway_runs_what_was_tried_with_as_many_connections_as_it_needs() -> None:
    gateway = SERVICES["gateway"]
    assert "./deploy/nginx/nginx.conf:/etc/nginx/nginx.conf:ro" in gateway["volumes"], "the image's own has 1024 connections"
    assert gateway["environment"]["SERVE_REPLICAS"].endswith(f" resolve {REPLICA}")
    stated = {name: int(n) for name, n in re.findall(r"(worker_\w+) (\d+);", (SHIPPED / "nginx.conf").read_text())}
    most = int(SERVICES["serve"]["deploy"]["replicas"]) * MOST_AT_ONCE
    assert stated["worker_connections"] > 20 * most, "who is too many could not be told so"
    assert stated["worker_connections"] < stated["worker_rlimit_nofile"] == gateway["ulimits"]["nofile"]
    assert Limits().under_way > MOST_AT_ONCE, "a replica would refuse, slowly, what nginx refuses at once"
