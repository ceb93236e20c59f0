"""The OpenAPI document: schemas from messages.py, row fields from the use cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online import RequestFields
from mlprod_tasks.serving import messages
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.task_answers import answers_of

BODIES = (
    messages.ScoreRequest,
    messages.ReviewResponse,
    messages.ErrorResponse,
    messages.StatusResponse,
)
REFUSALS = {
    "400": "two Authorization headers",
    "401": "no valid key",
    "403": "this key is not for this use case",
    "404": "no row of this request is left to people, or its log is not collected yet",
    "405": "wrong method; see Allow",
    "408": "the body arrived too slowly",
    "413": "too large",
    "415": "the body is compressed",
    "422": "fields are wrong; each is listed with the reason",
    "429": "too many rows for this key; see Retry-After",
    "503": "too busy, or the ledger cannot be read; see Retry-After",
}


def document(pipelines: Mapping[str, Pipeline], fields: Mapping[str, RequestFields], limits: Limits) -> dict[str, Any]:
    """Make the document, OpenAPI 3.1."""
    answers = {name: answers_of(pipeline) for name, pipeline in pipelines.items()}
    of_tasks = [body for one in answers.values() for body in (one.score_response, one.explain_response)]
    _, schemas = msgspec.json.schema_components((*BODIES, *dict.fromkeys(of_tasks)), ref_template="#/components/schemas/{name}")
    request = schemas.pop("ScoreRequest")  # each path has its own, with the fields of its use case
    paths: dict[str, Any] = {}
    for name, pipeline in pipelines.items():
        row, doc, at = fields[name].json_schema(), pipeline.doc.strip(), f"/v1/pipelines/{name}"
        explained = min(limits.explained, limits.rows)
        paths[at] = {"get": _fields_operation()}
        score, explain = answers[name].score_response.__name__, answers[name].explain_response.__name__
        paths[f"{at}/score"] = {"post": _post("Score rows", doc, _with_rows(request, row, limits.rows), score)}
        paths[f"{at}/explain"] = {"post": _post("Explain scores", doc, _with_rows(request, row, explained), explain)}
        paths[f"{at}/reviews/{{request_id}}"] = {"get": _reviews_operation()}
    paths["/health"] = {"get": _status_operation("Whether the process is alive")}
    paths["/ready"] = {"get": _status_operation("Whether it can answer")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlprod", "version": "1"},
        "paths": paths,
        "security": [{"key": []}],
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": schemas},
    }


def _with_rows(request: Mapping[str, Any], row: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Return the schema of a request whose rows have these fields."""
    rows = {"type": "array", "minItems": 1, "maxItems": most, "items": row}
    return {**request, "properties": {**request["properties"], "rows": rows}}


def _fields_operation() -> dict[str, Any]:
    responses = {"200": _response("the fields", {"type": "object"}), **_refusals("400", "401", "403", "405")}
    return {"summary": "The fields of a request, as JSON Schema", "responses": responses}


def _post(summary: str, doc: str, body: Mapping[str, Any], answer: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": doc,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _response("one result per row, in order", _ref(answer)),
            **_refusals("400", "401", "403", "405", "408", "413", "415", "422", "429", "503"),
        },
    }


def _reviews_operation() -> dict[str, Any]:
    request_id = {
        "name": "request_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    }
    return {
        "summary": "What people decided on the rows of a request that were left to them",
        "parameters": [request_id],
        "responses": {
            "200": _response("those rows", _ref("ReviewResponse")),
            **_refusals("400", "401", "403", "404", "405", "429", "503"),
        },
    }


def _status_operation(summary: str) -> dict[str, Any]:
    status = _ref("StatusResponse")
    responses = {"200": _response("yes", status), "503": _response("not now", status), **_refusals("405")}
    return {"summary": summary, "security": [], "responses": responses}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _response(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: _response(REFUSALS[status], _ref("ErrorResponse")) for status in statuses}
