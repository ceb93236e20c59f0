"""The OpenAPI document of the service, made from the declarations: what may be asked, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online import RequestFields

if TYPE_CHECKING:
    from mlprod_tasks.serve.app import Limits

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": ["integer", "null"]},
                    "field": {"type": "string"},
                    "reason": {"type": "string"},
                },
            },
        },
    },
}
ANSWER = {
    "type": "object",
    "required": ["key", "score", "decision", "version", "route"],
    "properties": {
        "key": {"type": "object"},
        "score": {"type": ["number", "null"], "description": "calibrated probability"},
        "decision": {"type": ["boolean", "null"], "description": "whether to act; null where people decide"},
        "version": {"type": ["integer", "null"]},
        "route": {"type": "string", "enum": ["champion", "challenger", "fallback", "refused"]},
        "fallback": {"type": "boolean"},
        "review": {"type": "boolean", "description": "left to people"},
        "reason": {"type": "string"},
        "stale": {"type": "array", "items": {"type": "string"}},
        "missing": {"type": "array", "items": {"type": "string"}},
        "age_seconds": {"type": ["number", "null"], "description": "of the oldest feature from the online store"},
    },
}


def document(pipelines: Mapping[str, Pipeline], fields: Mapping[str, RequestFields], limits: Limits) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for name, pipeline in pipelines.items():
        paths[f"/v1/pipelines/{name}"] = {"get": _get("The fields of a request")}
        paths[f"/v1/pipelines/{name}/score"] = {"post": _post(pipeline, fields[name], limits, "Score rows", ANSWER)}
        paths[f"/v1/pipelines/{name}/explain"] = {
            "post": _post(pipeline, fields[name], limits, "Explain scores", {"type": "object"})
        }
    for path, told in (("/health", "Whether the process lives"), ("/ready", "Whether it can answer")):
        paths[path] = {
            "get": {"summary": told, "security": [], "responses": {"200": _answer("yes"), "503": _answer("not now")}}
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlprod", "version": "1"},
        "paths": paths,
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR},
        },
    }


def _get(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _answer("as asked"), **_refusals("401", "403")}}


def _post(pipeline: Pipeline, fields: RequestFields, limits: Limits, summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {
            "rows": {"type": "array", "minItems": 1, "maxItems": limits.rows, "items": fields.json_schema()},
            "moment": {"type": ["string", "null"], "format": "date-time", "description": "as of when; now where left out"},
        },
    }
    answered = {"type": "object", "properties": {"rows": {"type": "array", "items": answer}}}
    return {
        "summary": summary,
        "description": pipeline.doc.strip(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _answer("an answer for each row, in order", answered),
            **_refusals("401", "403", "408", "413", "422", "429", "503"),
        },
    }


def _answer(told: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": told, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


def _refusals(*statuses: str) -> dict[str, Any]:
    told = {
        "401": "no valid key",
        "403": "this key may not ask this use case",
        "408": "the body came too slowly",
        "413": "too large",
        "422": "fields are wrong: which, and why",
        "429": "too many rows for this key; see Retry-After",
        "503": "too busy or stopping; see Retry-After",
    }
    return {one: _answer(told[one], {"$ref": "#/components/schemas/Error"}) for one in statuses}
