"""The Kubernetes shape, as far as it can be proved without a cluster: it is valid, and nothing that it names is missing."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmError, lint

from benchmarks.replicas import MOST_AT_ONCE, REPLICA
from mlprod_tasks.cli.main import app
from mlprod_tasks.platform import Platform, settings
from mlprod_tasks.serving.admission import Admission
from mlprod_tasks.serving.app import PLAIN_PATHS
from mlprod_tasks.serving.model_loader import ModelLoader
from mlprod_tasks.serving.request_metrics import RequestMetrics, ServiceCollector, exposition
from mlprod_tasks.serving.run import GRACE_SECONDS
from tests.support.compose_file import SERVICES
from tests.support.paths import REPOSITORY

HELM = REPOSITORY / "deploy" / "helm"
CHART = HELM / "mlprod"
AIRFLOW: dict[str, Any] = yaml.safe_load((HELM / "airflow.yaml").read_text())
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
DOCKERFILE = re.sub(r"\\\n", " ", (REPOSITORY / "Dockerfile").read_text())
OLDEST, NEWEST = "1.27", "1.37"  # of Kubernetes: the chart's kubeVersion, and the newest whose schemas are here
EVERYTHING = {
    "image": {"pullSecrets": ["registry"], "tag": "7"},
    "environment": {"MLPROD_SERVE_FAST_PATH": False},
    "home": {"storageClass": "shared"},
    "serve": {
        "pipelines": ["flight_delays"],
        "autoscaling": {"requestsUnderWay": 20},
        "nodeSelector": {"pool": "scoring"},
        "tolerations": [{"key": "scoring", "operator": "Exists"}],
        "podAnnotations": {"team": "ml"},
    },
    "gateway": {"replicas": 3},
    "ingress": {"enabled": True, "host": "scores.example", "tlsSecret": "certificate", "annotations": {"a": "b"}},
    "mlflow": {"storageClass": "fast", "allowedHosts": ["mlflow.example"], "allowedOrigins": ["https://mlflow.example"]},
    "networkPolicy": {"scrapers": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
}  # fmt: skip
FEWEST = {
    "home": {"existingClaim": "mine"},
    "serve": {"autoscaling": {"enabled": False}, "replicas": 3},
    "mlflow": {"enabled": False, "url": "http://mlflow.elsewhere:5000"},
    "networkPolicy": {"enabled": False},
}


def rendered(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The manifests of a release `shop` in the namespace `ml`."""
    with Chart.load(CHART) as chart:
        chart.validate_schema(values or {})
        texts = chart.render(values or {}, name="shop", namespace="ml")
    return [one for text in texts.values() for one in yaml.safe_load_all(text) if one]


def only(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


DEFAULT = rendered()
SERVE = only(DEFAULT, "Deployment", "shop-serve")["spec"]["template"]["spec"]
GATEWAY = only(DEFAULT, "Deployment", "shop-gateway")["spec"]["template"]["spec"]
MLFLOW = only(DEFAULT, "Deployment", "shop-mlflow")["spec"]["template"]["spec"]


def environment(pod: dict[str, Any]) -> dict[str, str | None]:
    """The variables of a pod's only container; None for one that a Secret or the cluster gives."""
    return {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}


def test_helm_finds_nothing_to_complain_of() -> None:
    for values in ({}, EVERYTHING, FEWEST):
        report = lint(CHART, values, strict=True)
        assert [message for message in report["messages"] if message["severity"] > 1] == []
        assert report["errors"] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("values", [{}, EVERYTHING, FEWEST], ids=["default", "everything", "fewest"])
def test_every_manifest_is_valid_by_the_schemas_of_kubernetes(values: dict[str, Any], version: str) -> None:
    for manifest in rendered(values):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_refuse_what_kubernetes_would_not_know() -> None:
    wrong = only(rendered(), "Deployment", "shop-serve")
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"serve": {"replica": 2}}, "replica"),
        ({"serve": {"replicas": 0}}, "replicas"),
        ({"serve": {"autoscaling": {"min": 4, "max": 3}}}, "max 3 is less than min 4"),
        ({"serve": {"autoscaling": {"cpu": 0}}}, "give cpu or requestsUnderWay"),
        ({"home": {"size": "lots"}}, "size"),
        ({"ingress": {"enabled": True, "host": "scores.example"}}, "without TLS"),
        ({"ingress": {"enabled": True, "tlsSecret": "certificate"}}, "ingress.host"),
        ({"mlflow": {"enabled": False}}, "mlflow.url"),
    ],
)
def test_values_that_would_not_work_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=re.escape(said)):
        rendered(values)


def test_the_chart_and_the_image_have_the_version_of_the_code() -> None:
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert told["appVersion"] == told["version"] == VERSION
    assert told["kubeVersion"] == f">={OLDEST}.0-0"
    image = f"mlprod:{VERSION}"
    assert SERVE["containers"][0]["image"] == MLFLOW["containers"][0]["image"] == image
    assert AIRFLOW["images"]["airflow"] == {"repository": "mlprod", "tag": VERSION}
    assert GATEWAY["containers"][0]["image"] == SERVICES["gateway"]["image"]


def pods() -> Iterator[dict[str, Any]]:
    for manifest in rendered(EVERYTHING):
        if manifest["kind"] == "Deployment":
            yield manifest["spec"]["template"]["spec"]


def test_no_pod_runs_as_root_or_may_become_it() -> None:
    uid = int(re.search(r"useradd --uid (\d+)", DOCKERFILE)[1])  # type: ignore[index]
    for pod in pods():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["securityContext"]["runAsUser"] == (uid if container["name"] != "nginx" else 101)
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"].get("readOnlyRootFilesystem", False) is (container["name"] != "mlflow")
    assert (AIRFLOW["uid"], AIRFLOW["gid"]) == (uid, uid)


def test_what_a_manifest_names_is_there() -> None:
    for values in ({}, EVERYTHING):
        manifests = rendered(values)
        kinds = {(one["kind"], one["metadata"]["name"]) for one in manifests}
        labels = [one["spec"]["template"]["metadata"]["labels"] for one in manifests if one["kind"] == "Deployment"]
        for one in manifests:
            if one["kind"] == "Deployment":
                spec = one["spec"]["template"]["spec"]
                assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
                volumes = {volume["name"] for volume in spec["volumes"]}
                assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == volumes
                for volume in spec["volumes"]:
                    if claim := volume.get("persistentVolumeClaim"):
                        assert ("PersistentVolumeClaim", claim["claimName"]) in kinds
                    if volume.get("configMap"):
                        assert ("ConfigMap", volume["configMap"]["name"]) in kinds
            if one["kind"] in ("Service", "PodDisruptionBudget"):
                selector = one["spec"]["selector"]
                selector = selector.get("matchLabels", selector)
                assert sum(selector.items() <= label.items() for label in labels) == 1, one["metadata"]["name"]
            if one["kind"] == "HorizontalPodAutoscaler":
                assert ("Deployment", one["spec"]["scaleTargetRef"]["name"]) in kinds
            if one["kind"] == "Ingress":
                backend = one["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
                assert [backend["port"]["name"]] == [
                    p["name"] for p in only(manifests, "Service", backend["name"])["spec"]["ports"]
                ]
    policy = only(DEFAULT, "NetworkPolicy", "shop-serve")["spec"]
    assert policy["podSelector"]["matchLabels"] == only(DEFAULT, "Deployment", "shop-serve")["spec"]["selector"]["matchLabels"]
    (peer,) = policy["ingress"][0]["from"]
    gateway = only(DEFAULT, "Deployment", "shop-gateway")["spec"]["selector"]["matchLabels"]
    assert peer["podSelector"]["matchLabels"] == gateway


def test_the_service_has_the_command_and_the_variables_of_the_compose_file() -> None:
    (container,) = SERVE["containers"]
    program, command, *arguments = container["args"]
    assert (program, command) == ("mlprod", "serve")
    import typer

    known = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    known.make_context(command, list(arguments))
    with_names = only(rendered(EVERYTHING), "Deployment", "shop-serve")["spec"]["template"]["spec"]["containers"][0]
    context = known.make_context(command, with_names["args"][2:])
    assert context.params["names"] == ["flight_delays"]
    compose = SERVICES["serve"]["environment"]
    given = environment(SERVE)
    assert given.keys() == compose.keys() - {"GX_ANALYTICS_ENABLED"}, "what the service reads there it reads here"
    assert {name for name, value in given.items() if value is None} == {
        "MLPROD_LEDGER_URL", "MLPROD_ONLINE_URL", "MLPROD_PSEUDONYM_KEY",
    }  # fmt: skip
    for name in ("MLPROD_HOME", "MLPROD_PIPELINES"):
        assert given[name] == compose[name]
    for name in given:
        if name.startswith("MLPROD_"):
            assert settings.from_environment({name: "/elsewhere"}) != settings.from_environment({}), f"nothing reads {name}"
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert given["MLPROD_HOME"] in mounts, "requests that are logged would be lost with the pod"


def test_a_replica_has_time_to_leave_to_answer_and_to_write_its_log() -> None:
    (container,) = SERVE["containers"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert SERVE["terminationGracePeriodSeconds"] >= int(seconds) + GRACE_SECONDS + 20
    refresh = re.search(r"valid=(\d+)s", only(DEFAULT, "ConfigMap", "shop-gateway")["data"]["serve.conf"])
    assert refresh is not None
    assert int(seconds) > int(refresh[1]) + 5, "nginx would ask a replica that has gone: a cluster's name server keeps 5 s"


def test_the_probes_ask_what_the_service_answers() -> None:
    for probe, path in (("readinessProbe", "/ready"), ("livenessProbe", "/health"), ("startupProbe", "/health")):
        asked = SERVE["containers"][0][probe]["httpGet"]
        assert asked == {"path": path, "port": "http"}
        assert path in PLAIN_PATHS
    annotations = only(DEFAULT, "Deployment", "shop-serve")["spec"]["template"]["metadata"]["annotations"]
    port = SERVE["containers"][0]["ports"][0]["containerPort"]
    assert annotations["prometheus.io/port"] == str(port) == SERVE["containers"][0]["args"][-3]


def test_the_autoscaler_reads_what_replicas_show() -> None:
    scaler = only(rendered(EVERYTHING), "HorizontalPodAutoscaler", "shop-serve")["spec"]
    cpu, under_way = scaler["metrics"]
    assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": 60}
    assert SERVE["containers"][0]["resources"]["requests"]["cpu"] == "1", "a share of nothing would never be reached"
    assert "cpu" not in SERVE["containers"][0]["resources"]["limits"], "the log and loading of models need a moment of more"
    name = under_way["pods"]["metric"]["name"]
    collector = ServiceCollector(RequestMetrics(), Admission(1), {}, ModelLoader({}, Platform(settings.from_environment({}))))
    assert f"\n{name} 0.0\n" in exposition(collector).decode()
    assert "replicas" not in only(DEFAULT, "Deployment", "shop-serve")["spec"], "an upgrade would undo what the autoscaler set"
    assert only(rendered(FEWEST), "Deployment", "shop-serve")["spec"]["replicas"] == 3
    assert [one for one in rendered(FEWEST) if one["kind"] == "HorizontalPodAutoscaler"] == []


def test_the_gateway_runs_what_the_compose_file_runs(tmp_path: Path) -> None:
    data = only(DEFAULT, "ConfigMap", "shop-gateway")["data"]
    nginx = REPOSITORY / "deploy" / "nginx"
    assert data["nginx.conf"].strip() == (nginx / "nginx.conf").read_text().strip()
    template = (nginx / "serve.conf.template").read_text()
    options = REPLICA.replace(f"max_conns={MOST_AT_ONCE}", f"max_conns={MOST_AT_ONCE // 2}")  # of each of two gateways
    servers = f"server shop-serve.ml.svc.cluster.local:8090 resolve {options}"
    resolver = "resolver kube-dns.kube-system.svc.cluster.local valid=2s ipv6=off;"
    expected = template.replace("${SERVE_LISTEN}", "8090").replace("${SERVE_REPLICAS}", f"{resolver} {servers}")
    assert data["serve.conf"].strip() == expected.strip()
    assert only(DEFAULT, "Service", "shop-serve")["spec"]["clusterIP"] == "None", "nginx would see one address alone"
    three = only(rendered(EVERYTHING), "ConfigMap", "shop-gateway")["data"]["serve.conf"]
    assert f"max_conns={MOST_AT_ONCE // 3} " in three
    # The image's nginx (1.27.3 or newer) asks for names again; an older one here reads the rest with an address.
    (folder,) = [v["configMap"]["items"] for v in GATEWAY["volumes"] if "configMap" in v]
    for item in folder:
        here = (
            data[item["key"]]
            .replace(f"{resolver} ", "")
            .replace("shop-serve.ml.svc.cluster.local:8090 resolve", "127.0.0.1:8090")
        )
        target = tmp_path / item["path"]
        target.parent.mkdir(exist_ok=True)
        target.write_text(here.replace("access_log /dev/stdout", f"access_log {tmp_path}/access"))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    asked = [program, "-t", "-c", f"{tmp_path}/nginx.conf", "-g", f"pid {tmp_path}/pid;"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mounts = {mount["mountPath"]: mount.get("subPath") for mount in GATEWAY["containers"][0]["volumeMounts"]}
    assert mounts["/etc/nginx/nginx.conf"] == "nginx.conf"
    assert mounts["/etc/nginx/conf.d"] == "conf.d", "the image's own default.conf would listen on a port of root's"


def test_mlflow_knows_its_options_and_answers_to_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import cli
    from mlflow.server import security_utils

    program, command, *arguments = MLFLOW["containers"][0]["args"]
    assert [program, command, *arguments] == [str(word) for word in SERVICES["mlflow"]["command"]]
    cli.server.make_context("server", arguments)
    hosts = environment(MLFLOW)["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert hosts is not None
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", hosts.replace("$(POD_IP)", "10.0.0.7"))
    allowed = security_utils.get_allowed_hosts_from_env()
    assert allowed
    called = str(environment(SERVE)["MLFLOW_TRACKING_URI"]).removeprefix("http://")
    for host in (called, "shop-mlflow.ml.svc:5000", "10.0.0.7:5000"):
        assert security_utils.is_allowed_host_header(allowed, host), host
    assert not security_utils.is_allowed_host_header(allowed, "elsewhere.example:5000")


def test_airflow_has_the_settings_of_the_compose_file() -> None:
    compose = SERVICES["scheduler"]["environment"]
    given = {one["name"]: one["value"] for one in AIRFLOW["env"]}
    secret = {one["envName"] for one in AIRFLOW["secret"]}
    ours = {name for name in compose if not name.startswith("AIRFLOW__")}
    # Where people reach MLflow, and who mails come from, are told by whoever installs it.
    assert given.keys() | secret == ours - {"MLPROD_MLFLOW_BASE_URL", "MLPROD_MAIL_FROM"}
    for name, value in given.items():
        expected = "http://mlprod-mlflow:5000" if name == "MLFLOW_TRACKING_URI" else compose[name]
        assert value == expected, name
    for section, options in AIRFLOW["config"].items():
        for option, value in options.items():
            assert str(compose[f"AIRFLOW__{section}__{option}".upper()]) == value, option
    claims = {one["persistentVolumeClaim"]["claimName"] for one in AIRFLOW["volumes"] if "persistentVolumeClaim" in one}
    assert "mlprod-home" in claims, "the release `mlprod` calls it so"
    assert {mount["mountPath"] for mount in AIRFLOW["volumeMounts"]} == {
        given["MLPROD_HOME"], given["MLPROD_LAKE"], f"{given['MLPROD_EXPECTATIONS']}/uncommitted",
    }  # fmt: skip
    assert importlib.util.find_spec(AIRFLOW["config"]["core"]["auth_manager"].rpartition(".")[0])
    script = Path(AIRFLOW["apiServer"]["args"][1]).relative_to("/opt/mlprod")
    assert (REPOSITORY / script).exists()
    asked = {one["name"] for one in AIRFLOW["apiServer"]["env"]}
    assert asked == set(re.findall(r"unset (.+)", (REPOSITORY / script).read_text())[0].split())
