"""Permissions of the page: Airflow's login, and Airflow's rights on the DAGs of a pipeline."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from mlprod_tasks.dashboard.schemas import ACTIONS

# These actions need the right to trigger that DAG of the pipeline; all others need the right to edit `<name>.monitor`.
TRIGGERS = {"retrain": "train", "ramp": "rollout"}


def reader(name: str, user: GetUserDep) -> Any:
    """The user, if the user may read the pipeline. Raises: HTTPException 401, 403."""
    if not may_read(user, name):
        raise HTTPException(403, f"{user.get_name()} has no right in Airflow to read the DAG {name}.monitor")
    return user


def actor(name: str, action: str, request: Request, user: Annotated[Any, Depends(reader)]) -> Any:
    """The user, if the user may take this action and sent it from this page. Raises: HTTPException 401, 403, 404."""
    if action not in ACTIONS:
        raise HTTPException(404, f"there is no action {action!r}; the actions are {', '.join(ACTIONS)}")
    if not _from_here(request):
        raise HTTPException(403, "refused: the request comes from another site, or does not say where it comes from")
    if action not in allowed(user, name):
        dag = f"{name}.{TRIGGERS[action]}" if action in TRIGGERS else f"{name}.monitor"
        right = "trigger" if action in TRIGGERS else "edit"
        raise HTTPException(403, f"{user.get_name()} has no right in Airflow to {right} the DAG {dag}")
    return user


def may_read(user: Any, name: str) -> bool:
    return _may(user, f"{name}.monitor", "GET")


def allowed(user: Any, name: str) -> tuple[str, ...]:
    """The actions that the user may take."""
    edit = _may(user, f"{name}.monitor", "PUT")
    trigger = {action: _may(user, f"{name}.{workflow}", "POST", DagAccessEntity.RUN) for action, workflow in TRIGGERS.items()}
    return tuple(action for action in ACTIONS if trigger.get(action, edit))


def _may(user: Any, dag: str, method: Any, entity: DagAccessEntity | None = None) -> bool:
    details = DagDetails(id=dag, team_name=DagModel.get_team_name(dag))
    return bool(get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user))


def _from_here(request: Request) -> bool:
    """Whether this page sent the request: a browser adds the login cookie to requests of any site (cross-site forgery).

    The cookie is SameSite=Lax, which other sites of the same domain get around, but no script can hide its origin. Without
    an origin the request comes from no browser, and needs a token in its header instead of the cookie.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return COOKIE_NAME_JWT_TOKEN not in request.cookies
    here = {request.headers.get("host", ""), urlsplit(conf.get("api", "base_url", fallback="")).netloc}
    return urlsplit(origin).netloc in here - {""}
