"""The production shape, as far as it can be proved without a container engine: nothing that it names is missing.

compose_spec.json is the Compose Specification's schema (Apache-2.0), as Docker Compose 5.6.1 carries it.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from jsonschema import Draft202012Validator

from deploy import new_env
from mlprod_tasks.platform import settings
from mlprod_tasks.training.provenance import GIVEN_COMMIT
from tests.support.compose_file import (
    COMPOSE,
    COMPOSE_TEXT,
    EXAMPLE,
    EXAMPLE_DEFAULTS,
    EXAMPLE_SECRETS,
    MODEL,
    SECRETS,
    SERVICES,
    VARIABLE,
    resolve,
)
from tests.support.paths import REPOSITORY

BIN = Path(sys.executable).parent
CODE = "/opt/mlprod"
DOCKERFILE = re.sub(r"\\\n", " ", (REPOSITORY / "Dockerfile").read_text())


OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ENVIRONMENT: dict[str, str] = {k: v for service in SERVICES.values() for k, v in service.get("environment", {}).items()}
MOUNTS = [(name, *mount.split(":")) for name, service in SERVICES.items() for mount in service.get("volumes", [])]
COPIED = {source for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()}


def words(command: list[str]) -> list[str]:
    return [part.replace("$$", "$") for part in command]


def in_the_image(path: str) -> bool:
    """Whether a path below the image's working folder is one of the repository that the Dockerfile copies."""
    inside = path.removeprefix(f"{CODE}/")
    return inside.split("/")[0] in COPIED and (REPOSITORY / inside).exists()


def test_the_file_is_valid_by_the_compose_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose_spec.json").read_text())
    wrong = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in Draft202012Validator(schema).iter_errors(MODEL)]
    assert not wrong, "\n".join(wrong)


def test_docker_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    ways = [["docker", "compose"], ["docker-compose"]]
    for way in ways:
        if shutil.which(way[0]) and subprocess.run([*way, "version"], capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("neither `docker compose` nor `docker-compose` is here: only the schema was checked")
    env_file = tmp_path / "env"
    env_file.write_text(new_env.filled(EXAMPLE))
    command = [*way, "--file", str(COMPOSE), "--env-file", str(env_file), "--profile", "demo", "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)


def test_every_variable_stands_in_the_example_with_the_same_default() -> None:
    used = {name: (kind, rest) for name, kind, rest in VARIABLE.findall(COMPOSE_TEXT)}
    nested = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*\$\{[^}]*\}[^}]*)\}", COMPOSE_TEXT))
    assert set(used) | set(nested) == EXAMPLE_SECRETS | set(EXAMPLE_DEFAULTS)
    placeholders = {"BUSINESS_DB_PASSWORD": "PASSWORD"}
    for name, default in EXAMPLE_DEFAULTS.items():
        given = nested.get(name, used.get(name, ("", ""))[1])
        while VARIABLE.search(given):
            given = VARIABLE.sub(lambda found: placeholders.get(found[1], found[3]), given)
        assert given == default, name


def test_no_secret_has_a_default() -> None:
    for name, kind, rest in VARIABLE.findall(COMPOSE_TEXT):
        if name in EXAMPLE_SECRETS:
            assert kind == "?", name
            assert "deploy/new_env.py" in rest, name
        else:
            assert kind == "-", name
    for name in EXAMPLE_SECRETS:
        with pytest.raises(LookupError, match=name):
            resolve(SECRETS | {name: ""})
    for name, value in ENVIRONMENT.items():
        if re.search("PASSWORD|SECRET|FERNET|PSEUDONYM", name) and not name.endswith("_FILE"):
            assert value in SECRETS.values(), f"{name} does not come from .env"


def test_new_env_fills_every_secret_and_never_touches_an_env_that_is_there(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    written = new_env.write(tmp_path)
    assert written.stat().st_mode & 0o777 == 0o600
    given = dict(re.findall(r"^([A-Z_]+)=(.+)$", written.read_text(), re.MULTILINE))
    assert set(given) == EXAMPLE_SECRETS
    assert len(set(given.values())) == len(given)
    assert all(len(value) >= 32 for value in given.values())
    assert all(value.isalnum() for name, value in given.items() if name.endswith("_PASSWORD"))
    Fernet(given["AIRFLOW_FERNET_KEY"])
    resolve(given)
    before = written.read_bytes()
    with pytest.raises(FileExistsError):
        new_env.write(tmp_path)
    assert written.read_bytes() == before


def test_secrets_stay_out_of_git_and_out_of_the_image() -> None:
    assert ".env" in (REPOSITORY / ".gitignore").read_text().splitlines()
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignored if line and not line.startswith("#")) == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == COPIED


def test_every_image_is_the_one_of_the_dockerfile_or_pinned_to_a_version() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert (service["build"]["context"], service["image"]) == (".", "mlprod:latest"), name
            for argument in service["build"]["args"]:
                assert re.search(rf"^ARG {argument}\b", DOCKERFILE, re.MULTILINE), argument
        else:
            assert re.fullmatch(r"postgres:\d+|redis:\d+|nginx:\d+\.\d+", service["image"]), name
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim-bookworm"]


def test_what_the_dockerfile_copies_is_there() -> None:
    missing = [source for source in COPIED if not (REPOSITORY / source).exists()]
    assert not missing


def test_the_image_installs_by_hash_and_runs_without_rights() -> None:
    installs = re.findall(r"pip install [^&\n]*", DOCKERFILE)
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes -r requirements" in install or "--no-deps --no-build-isolation -e ." in install
    for lock in (
        "requirements.lock",
        "requirements-catboost.lock",
        "requirements-chart.lock",
        "requirements-kubernetes.lock",
        "requirements-s3-server.lock",
        "requirements-snowflake-server.lock",
        "requirements-spark.lock",
        "requirements-warehouses.lock",
        "requirements-uv.lock",
    ):
        entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", (REPOSITORY / lock).read_text(), flags=re.MULTILINE).strip())
        assert all("--hash=sha256:" in entry for entry in entries), lock
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] == "mlprod"
    assert GIVEN_COMMIT in DOCKERFILE


def test_every_mounted_path_exists() -> None:
    folders = re.search(r"install --directory --owner mlprod .*?&&", DOCKERFILE)
    assert folders
    owned = {f"{CODE}/{f}" if not f.startswith("/") else f for f in folders[0].split() if "/" in f}
    for service, source, target, *_ in MOUNTS:
        if source.startswith("."):
            assert (REPOSITORY / source).is_dir() or target.endswith(".conf"), source  # Docker would make a folder of it
            assert (REPOSITORY / source).exists(), source
        else:
            assert source in MODEL["volumes"], source
            assert service not in OURS or target in owned, f"{target} would belong to root"
    assert {source for _, source, *_ in MOUNTS if not source.startswith(".")} == set(MODEL["volumes"])
    script = REPOSITORY / "deploy/postgres/databases.sh"
    assert os.access(script, os.X_OK), "PostgreSQL's image would read it into its own shell"


def test_every_path_in_the_settings_is_in_the_image_or_on_a_volume() -> None:
    for name, service in OURS.items():
        targets = [target for owner, _, target, *_ in MOUNTS if owner == name]
        for variable, value in service.get("environment", {}).items():
            if not str(value).startswith("/"):
                continue
            kept = any(f"{value}/".startswith(f"{target}/") for target in targets)
            assert kept or in_the_image(value) or value.startswith("/opt/airflow/"), f"{name}: {variable}={value}"
        for word in words(service["command"]):
            if word.startswith("/"):
                assert any(f"{word}/".startswith(f"{target}/") for target in targets), f"{name}: {word}"


def test_what_depends_on_a_service_can_know_that_it_is_ready() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            other = SERVICES[needed]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in other, f"{name} waits for {needed}"
            elif how["condition"] == "service_started":
                # Without a first model no replica is healthy, and waiting for one would keep a new installation from starting.
                assert (name, needed) == ("gateway", "serve")
            else:
                assert (how["condition"], other["restart"]) == ("service_completed_successfully", "no"), name
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (service["restart"] == "unless-stopped"), name


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port.split(":") for service in SERVICES.values() for port in service.get("ports", [])]
    assert {address for address, *_ in ports} == {"127.0.0.1"}
    assert len({port for _, port, _ in ports}) == len(ports) == 4


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    check = OURS[name].get("healthcheck", {}).get("test", [])
    for command in (words(OURS[name]["command"]), check[1:]):
        for program, *rest in [command] if command else []:
            if program == "sh" and rest[0] != "-c":
                assert in_the_image(f"{CODE}/{rest[0]}"), rest[0]
            elif program == "sh":
                for module in re.findall(r"python -m (\S+)", rest[1]):
                    assert importlib.util.find_spec(module), module
                    assert in_the_image(f"{CODE}/{module.replace('.', '/')}.py"), module
                assert set(re.findall(r"\$(\w+)", rest[1])) <= set(OURS[name]["environment"])
            elif program == "python":
                assert rest[0] == "-m"
                assert importlib.util.find_spec(rest[1]), rest[1]
                assert in_the_image(f"{CODE}/{rest[1].replace('.', '/')}.py"), rest[1]
            else:
                assert (BIN / program).exists(), program


def test_every_mlprod_variable_is_one_that_the_settings_read_and_none_is_left_out() -> None:
    given = {name: str(value) for name, value in SERVICES["scheduler"]["environment"].items()}
    default, configured = settings.from_environment({"MLPROD_HOME": given["MLPROD_HOME"]}), settings.from_environment(given)
    for name in given:
        if name.startswith("MLPROD_CONNECTION_"):
            assert configured.connection(name.removeprefix("MLPROD_CONNECTION_").lower()) == given[name]
        elif name.startswith("MLPROD_") or name == "MLFLOW_TRACKING_URI":
            assert settings.from_environment({name: "/elsewhere"}) != settings.from_environment({}), f"nothing reads {name}"
    for place in fields(settings.Settings):
        if place.compare and place.name not in (
            "home",
            "mail_from",
            "engine",
            "spark_master",
            "lake_copies_gb",
            "measure_rows",
            "score_rows",
            "event_rows",
            "pod_templates",
        ):  # one host
            assert getattr(configured, place.name) != getattr(default, place.name), f"{place.name} is not configured"


def test_the_page_has_what_it_shows_and_its_token_goes_nowhere_else() -> None:
    page, tasks = SERVICES["airflow-api"]["environment"], SERVICES["scheduler"]["environment"]
    for name in ("MLPROD_LEDGER_URL", "MLPROD_LAKE", "MLPROD_HOME", "MLPROD_PIPELINES", "MLFLOW_TRACKING_URI"):
        assert page[name] == tasks[name], name
    assert {place for name, _, place, *_ in MOUNTS if name == "airflow-api"} >= {page["MLPROD_LAKE"], page["MLPROD_HOME"]}
    given = resolve({**SECRETS, "MLPROD_METRICS_TOKEN": "shown"})["services"]
    assert [name for name, service in given.items() if "shown" in str(service)] == ["airflow-api"]
    assert given["airflow-api"]["environment"]["MLPROD_METRICS_TOKEN"] == "shown"


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


def airflow_environment(home: Path) -> dict[str, str]:
    """The scheduler's environment on this machine."""
    here = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLFLOW", "MLPROD"))}
    given = {k: str(v).replace(CODE, str(REPOSITORY)) for k, v in SERVICES["scheduler"]["environment"].items()}
    given = {k: v.replace("/var/", f"{home}/var/").replace("/opt/airflow", str(home)) for k, v in given.items()}
    given["AIRFLOW__CORE__FERNET_KEY"] = Fernet.generate_key().decode()
    return {**here, **given, "AIRFLOW_HOME": str(home), "NO_PROXY": "*"}


def test_airflow_knows_every_option_command_and_module_that_is_named(airflow_home: Path) -> None:
    # These two of [core] may stand in a component's section, too: what Airflow resolves them to is looked at instead.
    resolved = ("MP_START_METHOD", "MP_FORKSERVER_PRELOAD")
    named = [name.split("__")[1:] for name in ENVIRONMENT if name.startswith("AIRFLOW__") and not name.endswith(resolved)]
    commands = [words(s["command"])[1:] for s in OURS.values() if s["command"][0] == "airflow"]
    script = (REPOSITORY / "deploy/airflow-api.sh").read_text()
    commands += [line.split()[1:] for line in re.findall(r"^exec (airflow .*)$", script, re.MULTILINE)]
    assert len(commands) == 6
    asked = f"""
import importlib.util, json, os
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
from airflow.sdk import Connection
from airflow.utils.process_utils import resolve_mp_start_method

assert resolve_mp_start_method("scheduler") == "forkserver"
known = conf.configuration_description
unknown = [f"option {{s}}.{{k}}" for s, k in {named!r} if k.lower() not in known.get(s.lower(), {{}}).get("options", {{}})]
for command in {commands!r}:
    get_parser().parse_args(command)
modules = conf.get("scheduler", "mp_forkserver_preload").split(",")
unknown += [f"module {{m}}" for m in modules if importlib.util.find_spec(m) is None]
conf.getimport("core", "auth_manager")
mail = Connection.from_uri(os.environ["AIRFLOW_CONN_SMTP_DEFAULT"], conn_id="smtp_default")
print(json.dumps({{"unknown": unknown, "mail": [mail.host, mail.port, mail.extra_dejson]}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", asked], env=airflow_environment(airflow_home), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["unknown"] == []
    assert told["mail"] == ["mail", 1025, {"disable_ssl": "true", "disable_tls": "true"}]


def test_mlflow_knows_every_option_and_variable_that_is_named() -> None:
    from mlflow import cli, environment_variables

    program, *arguments = words(SERVICES["mlflow"]["command"])
    assert (program, arguments.pop(0)) == ("mlflow", "server")
    cli.server.make_context("server", arguments)
    known = {p.envvar for p in cli.server.params if isinstance(p.envvar, str)} | {
        variable.name for _, variable in inspect.getmembers(environment_variables) if hasattr(variable, "name")
    }
    given = {name for name in ENVIRONMENT if name.startswith("MLFLOW_")} - EXAMPLE_SECRETS
    assert given <= known


def test_mlflow_answers_to_the_name_that_the_other_services_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.server import security_utils

    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", ENVIRONMENT["MLFLOW_SERVER_ALLOWED_HOSTS"])
    allowed = security_utils.get_allowed_hosts_from_env()
    assert allowed
    called = ENVIRONMENT["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert called.split(":")[0] in SERVICES
    for host in (called, "localhost:5000", "127.0.0.1:5000"):
        assert security_utils.is_allowed_host_header(allowed, host), host
    assert not security_utils.is_allowed_host_header(allowed, "elsewhere.example:5000")


def test_every_server_that_is_called_is_a_service() -> None:
    text = json.dumps([[s.get("environment"), s.get("command"), s.get("healthcheck")] for s in SERVICES.values()])
    called = set(re.findall(r"(?:@|://)([a-z][a-z-]*):(\d+)", text)) - {("localhost", "8080"), ("localhost", "5000")}
    listening = {"postgres": "5432", "airflow-api": "8080", "mlflow": "5000", "mail": "1025", "broker": "6379"}
    assert called == set(listening.items())
    assert set(listening) <= set(SERVICES)
    assert ENVIRONMENT["AIRFLOW__API__PORT"] == listening["airflow-api"]
    assert {listening["mlflow"], listening["mail"]} <= {*SERVICES["mlflow"]["command"], *SERVICES["mail"]["command"]}


@pytest.fixture
def mail_catcher(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The mail service's command, started on free ports. What was replaced by what."""
    ports = {"1025": free_port(), "8025": free_port()}
    other = ports | {"0.0.0.0": "127.0.0.1", "/var/lib/outbox": str(tmp_path), "python": sys.executable}
    command = [other.get(word, word) for word in SERVICES["mail"]["command"]]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    yield ports
    process.terminate()
    assert process.wait(timeout=20) == 0


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_mail_catcher_starts_and_its_health_check_sees_it(mail_catcher: dict[str, str]) -> None:
    check = [sys.executable, *SERVICES["mail"]["healthcheck"]["test"][2:]]
    right, wrong = ([word.replace("8025", port) for word in check] for port in (mail_catcher["8025"], free_port()))
    deadline = time.monotonic() + 20
    while subprocess.run(right, cwd=REPOSITORY, capture_output=True).returncode:
        assert time.monotonic() < deadline, "the mail catcher does not answer"
    assert subprocess.run(wrong, cwd=REPOSITORY, capture_output=True).returncode == 1


def test_the_scheduler_preloads_what_the_demo_preloads() -> None:
    from demo.local_airflow import NEEDED_BY_EVERY_TASK
    from demo.stack import PRELOADED

    told = re.search(r"MP_FORKSERVER_PRELOAD: (\S+)", (REPOSITORY / "docker-compose.yaml").read_text())
    assert told is not None
    assert told[1].split(",") == [*NEEDED_BY_EVERY_TASK, *PRELOADED]
