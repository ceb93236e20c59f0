"""The page's addresses below /mlprod: the data of mlprod_tasks/dashboard for users with rights in Airflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hmac import compare_digest
from pathlib import Path as Folder
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as HttpError

from mlprod_airflow.page import declarations
from mlprod_airflow.page.actions import ActionBody, act
from mlprod_airflow.page.apart import ActionRefused, apart
from mlprod_airflow.page.declarations import platform
from mlprod_airflow.page.links import data_docs, links, run_link
from mlprod_airflow.page.permissions import actor, allowed, may_read, reader
from mlprod_tasks.dashboard.data import detail, overview
from mlprod_tasks.dashboard.schemas import ActionResult, as_json
from mlprod_tasks.dashboard.shell import POLICY, STATIC, page
from mlprod_tasks.declaration import DeclarationError, Pipeline
from mlprod_tasks.declaration.rhythm import TickName, tick_named

log = logging.getLogger(__name__)

FRAME = Folder(__file__).with_name("frame")  # icons and a script for Airflow's UI around the page
RUN_ID = "[0-9a-f]{32}"
TOKEN = "MLPROD_METRICS_TOKEN"  # noqa: S105 the variable's name
# Great Expectations' pages hold what sources sent, and ask other hosts for scripts: here they run none and load only their own.
DATA_DOCS_POLICY = "sandbox allow-popups; default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"

app = FastAPI(title="mlprod", docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", StaticFiles(directory=STATIC), name="static")
app.mount("/frame", StaticFiles(directory=FRAME), name="frame")


def declared(name: str, _: Annotated[Any, Depends(reader)]) -> Pipeline:
    """The pipeline of the address, for users who may read it. Raises: HTTPException 401, 403, 404, 503."""
    try:
        return declarations.named(name)
    except KeyError:
        raise HTTPException(404, f"there is no pipeline {name!r}") from None
    except DeclarationError as error:
        raise HTTPException(503, str(error)) from error


@app.get("/")
async def shell(request: Request) -> Response:
    """The page itself, without data; users who are not logged in are sent to the login."""
    try:
        await get_user(request, None, None)
    except HTTPException:
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)))
    return HTMLResponse(page().replace("</head>", '<script defer src="frame/outside.js"></script>\n</head>', 1))


@app.get("/api/overview")
def read_overview(user: GetUserDep) -> Any:
    """All pipelines that the user may read."""
    declared, refused = declarations.declared(), declarations.refused()
    mine = [pipeline for pipeline in declared if may_read(user, pipeline.name)]
    broken = [(name, why) for name, why in refused if may_read(user, name)]
    if not mine and not broken and (declared or refused):
        raise HTTPException(403, f"{user.get_name()} has no right in Airflow to read the DAGs of any pipeline")
    return JSONResponse(as_json(overview(mine, platform(), broken)))


def _tick(parameter: str, text: str | None) -> TickName | None:
    """The tick that a parameter names. Raises: ValueError, which is answered with 422."""
    try:
        return tick_named(text) if text else None
    except ValueError as error:
        raise ValueError(f"{parameter}: {error}") from None


@app.get("/api/pipelines/{name}")
def read_pipeline(
    pipeline: Annotated[Pipeline, Depends(declared)],
    user: GetUserDep,
    first: str | None = None,
    last: str | None = None,
    heat: Annotated[list[str] | None, Query()] = None,
) -> Any:
    """One pipeline over a range of ticks."""
    page_detail = detail(pipeline, platform(), (_tick("first", first), _tick("last", last)), **({"heat": heat} if heat else {}))
    mine = replace(
        page_detail,
        may=allowed(user, pipeline.name),
        links=(*page_detail.links, *links(pipeline, platform())),
        run_link=run_link(pipeline, platform()),
    )
    return JSONResponse(as_json(mine))


@app.get("/api/pipelines/{name}/predictions")
def read_prediction(
    pipeline: Annotated[Pipeline, Depends(declared)], key: Annotated[list[str], Query(min_length=1)], tick: str | None = None
) -> Any:
    """One prediction with features, sources and effects. key: once for each column of the entity's key."""
    return JSONResponse(apart("explain", pipeline.name, key=key, tick=tick))


@app.get("/api/pipelines/{name}/predictions/{key:path}")
def read_prediction_of_path(pipeline: Annotated[Pipeline, Depends(declared)], key: str, tick: str | None = None) -> Any:
    """One prediction by a key in one text, values separated by commas: for links that people saved."""
    return JSONResponse(apart("explain", pipeline.name, key=[key], tick=tick))


@app.get("/api/pipelines/{name}/runs/{run_id}")
def go_to_run(pipeline: Annotated[Pipeline, Depends(declared)], run_id: Annotated[str, Path(pattern=RUN_ID)]) -> Response:
    """Redirect to the run's page in MLflow."""
    return RedirectResponse(apart("run", pipeline.name, run_id=run_id))


@app.get("/data-docs/{path:path}")
def read_data_docs(path: str, user: GetUserDep) -> Response:
    """Great Expectations' pages, which show rows of every pipeline: for users who may read all pipelines."""
    names = [*(pipeline.name for pipeline in declarations.declared()), *(name for name, _ in declarations.refused())]
    if not names or not all(may_read(user, name) for name in names):
        raise HTTPException(
            403, f"{user.get_name()} has no right in Airflow to read every pipeline, and the data docs show all"
        )
    folder = data_docs(platform()).resolve()
    try:
        file = (folder / path).resolve()
        exists = file.is_relative_to(folder) and file.is_file()
    except OSError:  # no file has such a long name
        exists = False
    if not exists:
        raise HTTPException(404, "there is no such page; the DAG mlprod.data_docs builds them")
    return FileResponse(file, headers={"Content-Security-Policy": DATA_DOCS_POLICY})


@app.post("/api/pipelines/{name}/{action}")
def do(
    action: str,
    body: ActionBody,
    request: Request,
    user: Annotated[Any, Depends(actor)],
    pipeline: Annotated[Any, Depends(declared)],
) -> Any:
    """Carry out an action as the user."""
    done = act(pipeline, action, body, user.get_name(), request, platform())
    log.info("%s: %s by %s: %s", pipeline.name, action, user.get_name(), done)
    return JSONResponse(as_json(ActionResult(done)))


@app.get("/metrics")
def metrics(request: Request) -> Response:
    """Metrics in Prometheus's format for clients with the installation's token; not served if no token is set."""
    from mlprod_tasks.operations.ledger_metrics import CONTENT_TYPE, exposition

    token, authorization = os.environ.get(TOKEN, ""), request.headers.get("authorization", "")
    if not token:
        raise HTTPException(403, f"metrics are not served: set {TOKEN} in the API server's environment")
    if not compare_digest(authorization.encode(), f"Bearer {token}".encode()):
        raise HTTPException(401, f"send the value of {TOKEN} as bearer token", {"WWW-Authenticate": "Bearer"})
    text = exposition(declarations.declared(), platform(), len(declarations.refused()))
    return PlainTextResponse(text, media_type=CONTENT_TYPE)


@app.middleware("http")
async def guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Set headers that forbid what the page does not need and keep browsers from caching answers."""
    answer = await call_next(request)
    answer.headers.setdefault("Content-Security-Policy", POLICY)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    static = request.url.path.rpartition("/")[0].endswith(("/static", "/frame"))
    answer.headers["Cache-Control"] = "no-cache" if static else "no-store"
    return answer


@app.exception_handler(HttpError)
def refused(_: Request, error: HttpError) -> Response:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


@app.exception_handler(ActionRefused)
def action_refused(_: Request, error: ActionRefused) -> Response:
    return JSONResponse({"error": str(error)}, error.status)


@app.exception_handler(ValueError)
def invalid_value(request: Request, error: ValueError) -> Response:
    log.info("%s %s", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": str(error)}, 422)


@app.exception_handler(RequestValidationError)
def invalid_request(_: Request, error: RequestValidationError) -> Response:
    problems = "; ".join(f"{'.'.join(map(str, problem['loc'][1:])) or 'body'}: {problem['msg']}" for problem in error.errors())
    return JSONResponse({"error": problems}, 422)


@app.exception_handler(Exception)
def broken(request: Request, error: Exception) -> Response:
    log.exception("%s %s", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": f"{type(error).__name__}: see the log of Airflow's API server"}, 500)
