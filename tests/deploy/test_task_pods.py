"""The pods that KubernetesExecutor would create for our tasks, from our values and templates, sent to no cluster."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.airflow_process import told_by
from tests.support.paths import REPOSITORY

HELM, PODS = REPOSITORY / "deploy" / "helm", REPOSITORY / "deploy" / "pods"
AIRFLOW: dict[str, Any] = yaml.safe_load((HELM / "airflow.yaml").read_text())
OF_PODS: dict[str, Any] = yaml.safe_load((HELM / "airflow-pods.yaml").read_text())
IN_IMAGE = "/opt/mlprod"
OLDEST, NEWEST = "1.27", "1.37"  # of Kubernetes, as of the chart
USE_CASES = {
    "returns": ("", 'ml.Queues(training="training")'),
    "astray": (', name="astray"', 'ml.Queues(training="training", others="nowhere")'),
}
DECLARED = """from dataclasses import replace

from mlprod_tasks import declaration as ml
from tests.support.shop import SHOP

pipeline = replace(SHOP, queues={queues}{more})
"""


def rendered(folder: Path) -> dict[str, Any]:
    """What `task_pods` tells, with our settings of Airflow and the use cases above."""
    uses = folder / "pipelines"
    uses.mkdir()
    for name, (more, queues) in USE_CASES.items():
        (uses / f"{name}.py").write_text(DECLARED.format(queues=queues, more=more))
    values = {**AIRFLOW["config"]["core"], **OF_PODS["config"]["core"], "executor": OF_PODS["executor"]}
    config = {"core": values, "kubernetes_executor": dict(OF_PODS["config"]["kubernetes_executor"])}
    # The chart sets the image's name and the release's namespace.
    image = AIRFLOW["images"]["airflow"]
    config["kubernetes_executor"] |= {
        "namespace": "ml", "worker_container_repository": image["repository"], "worker_container_tag": image["tag"],
    }  # fmt: skip
    given = {
        f"AIRFLOW__{section}__{name}".upper(): str(value).replace(IN_IMAGE, str(REPOSITORY))
        for section, options in config.items()
        for name, value in options.items()
    }
    path = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "plugins", Path(sys.prefix) / "kubernetes")))
    given |= {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "MLPROD_PIPELINES": str(uses),
        "PYTHONPATH": path,
        "MLPROD_POD_TEMPLATES": str(PODS),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.task_pods"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **given},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TOLD")]
    return dict(json.loads(line.removeprefix("TOLD")))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return rendered(tmp_path_factory.mktemp("pods"))


@pytest.fixture(scope="module")
def pods(told: dict[str, Any]) -> list[dict[str, Any]]:
    """A pod for each task of the use case `returns`."""
    return [one for one in told["pods"] if one["metadata"]["annotations"]["dag_id"].startswith("returns.")]


def base(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return dict(container)


def test_each_pod_is_valid_by_the_schemas_of_kubernetes(pods: list[dict[str, Any]]) -> None:
    assert len(pods) > 20
    # But for names, command and the queue's resources they are alike.
    for queue in ("ingest", "train"):
        (pod, *_) = (one for one in pods if one["metadata"]["annotations"]["dag_id"] == f"returns.{queue}")
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(pod, version, strict=True)
    wrong = {**pods[0], "spec": {**pods[0]["spec"], "restartPolicies": "Never"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolicies"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_each_pod_runs_its_task_in_the_image_without_rights(pods: list[dict[str, Any]]) -> None:
    version = AIRFLOW["images"]["airflow"]
    for pod in pods:
        container, about = base(pod), pod["metadata"]["annotations"]
        assert container["image"] == f"{version['repository']}:{version['tag']}"
        assert pod["metadata"]["namespace"] == "ml"
        program, flag, module, option, workload = container["args"]
        assert (program, flag, option) == ("python", "-m", "--json-string")
        assert importlib.util.find_spec(module) is not None
        task = json.loads(workload)["ti"]
        assert (task["dag_id"], task["task_id"]) == (about["dag_id"], about["task_id"])
        assert pod["spec"]["restartPolicy"] == "Never", "Airflow tries again, not Kubernetes"
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["runAsUser"] == AIRFLOW["uid"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_each_pod_has_the_variables_and_secrets_of_airflows_other_pods(pods: list[dict[str, Any]]) -> None:
    of_pods = {one["name"]: one["value"] for one in OF_PODS["env"]}
    assert of_pods.pop("MLPROD_POD_TEMPLATES") == f"{IN_IMAGE}/{PODS.relative_to(REPOSITORY)}", "only who creates pods reads it"
    with_lake = of_pods | {"MLPROD_LAKE": "/var/lib/lake"}
    assert with_lake == {one["name"]: one["value"] for one in AIRFLOW["env"]}, "one host's, but for the lake"
    secrets = {one["envName"]: (one["secretName"], one["secretKey"]) for one in OF_PODS["secret"]}
    of_one_host = {one["envName"]: (one["secretName"], one["secretKey"]) for one in AIRFLOW["secret"]}
    lake = {name: ("mlprod", name) for name in ("MLPROD_LAKE", "MLPROD_CONNECTION_LAKE")}
    assert secrets == of_one_host | lake
    airflows = {"AIRFLOW__CORE__EXECUTOR": "LocalExecutor", "AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}
    for pod in pods:
        environment = base(pod)["env"]
        assert {one["name"]: one["value"] for one in environment if "value" in one} == of_pods | airflows
        asked = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in environment if "valueFrom" in one}
        assert {name: (one["name"], one["key"]) for name, one in asked.items()} == secrets


def test_each_pod_begins_with_an_empty_home(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        environment = {one["name"]: one.get("value") for one in base(pod)["env"]}
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        mounts = {one["mountPath"]: one["name"] for one in base(pod)["volumeMounts"]}
        assert set(mounts.values()) == set(volumes)
        for path in (environment["MLPROD_HOME"], f"{environment['MLPROD_EXPECTATIONS']}/uncommitted"):
            assert volumes[mounts[path]] == {"name": mounts[path], "emptyDir": {}}
        assert [name for name, one in volumes.items() if "persistentVolumeClaim" in one] == ["logs"]
    assert {one["mountPath"] for one in OF_PODS["volumeMounts"]} < set(mounts)


def test_the_tasks_of_a_training_have_the_pods_of_their_queue(pods: list[dict[str, Any]]) -> None:
    small, large = (yaml.safe_load((PODS / f"{name}.yaml").read_text()) for name in ("task", "training"))
    resources = [template["spec"]["containers"][0].pop("resources") for template in (small, large)]
    assert small == large, "they differ in nothing else"
    assert resources[0] != resources[1]
    found = Counter(
        (pod["metadata"]["annotations"]["dag_id"] == "returns.train", resources.index(base(pod)["resources"])) for pod in pods
    )
    assert set(found) == {(False, 0), (True, 1)}
    assert min(found.values()) > 9


def test_a_queue_without_a_pod_template_is_refused_and_the_other_use_cases_go_on(told: dict[str, Any]) -> None:
    assert len(told["import_errors"]) == 1
    assert f"pipelines/astray.py: queues: MLPROD_POD_TEMPLATES has no {PODS}/nowhere.yaml" in told["import_errors"][0]
    assert not any(one["metadata"]["annotations"]["dag_id"].startswith("astray.") for one in told["pods"])


def test_queues_that_would_change_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
        import json
        import os
        from dataclasses import replace

        from mlprod_airflow.queues import refused
        from mlprod_tasks.declaration import Queues
        from tests.support.shop import SHOP

        told = {}
        for executor in ("KubernetesExecutor", "CeleryExecutor,KubernetesExecutor", "LocalExecutor"):
            os.environ["AIRFLOW__CORE__EXECUTOR"] = executor
            told[executor] = [str(refused(replace(SHOP, queues=Queues(training=queue)))) for queue in ("large", "")]
        print("TOLD", json.dumps(told))
    """
    monkeypatch.delenv("MLPROD_POD_TEMPLATES", raising=False)
    told = told_by(program, tmp_path)
    problem, none = told.pop("KubernetesExecutor")
    assert problem.startswith(
        "pipelines/returns.py: queues: KubernetesExecutor has no queues, so 'large' would change nothing. Set MLPROD_POD_"
    )
    assert {none, *told.pop("LocalExecutor"), *told.pop("CeleryExecutor,KubernetesExecutor")} == {"None"}
