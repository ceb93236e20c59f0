"""The OpenAPI document of the service, made from the declarations: what may be asked, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online import RequestFields

if TYPE_CHECKING:
    from mlprod_tasks.serving.app import Limits

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
    "additionalProperties": False,
}
EXPLANATION = {
    "type": "object",
    "required": ["key", "score", "version"],
    "properties": {
        "key": {"type": "object"},
        "score": {"type": ["number", "null"], "description": "calibrated probability; null where no model answers this row"},
        "version": {"type": ["integer", "null"]},
        "route": {"type": "string", "enum": ["champion", "challenger"]},
        "base": {"type": ["number", "null"], "description": "in log-odds, before calibration"},
        "features": {
            "type": "array",
            "description": "greatest first",
            "items": {
                "type": "object",
                "required": ["feature", "value", "adds"],
                "properties": {"feature": {"type": "string"}, "value": {}, "adds": {"type": ["number", "null"]}},
                "additionalProperties": False,
            },
        },
        "reason": {"type": "string"},
    },
    "additionalProperties": False,
}
REVIEWED = {
    "type": "object",
    "required": ["row", "key", "score", "decision", "reason", "decided_at"],
    "properties": {
        "row": {"type": "integer", "description": "its place in the request"},
        "key": {"type": "string"},
        "score": {"type": ["number", "null"]},
        "decision": {"type": ["boolean", "null"], "description": "null as long as nobody has decided"},
        "reason": {"type": "string"},
        "decided_at": {"type": ["string", "null"], "format": "date-time"},
    },
    "additionalProperties": False,
}


def document(pipelines: Mapping[str, Pipeline], fields: Mapping[str, RequestFields], limits: Limits) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for name, pipeline in pipelines.items():
        paths[f"/v1/pipelines/{name}"] = {"get": _get("The fields of a request, as JSON Schema", {"type": "object"})}
        paths[f"/v1/pipelines/{name}/score"] = {"post": _post(pipeline, fields[name], limits.rows, "Score rows", ANSWER)}
        paths[f"/v1/pipelines/{name}/explain"] = {
            "post": _post(pipeline, fields[name], min(limits.explained, limits.rows), "Explain scores", EXPLANATION)
        }
        paths[f"/v1/pipelines/{name}/reviews/{{request_id}}"] = {"get": _reviews()}
    for path, told in (("/health", "Whether the process lives"), ("/ready", "Whether it can answer")):
        status = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
        responses = {"200": _answer("yes", status), "503": _answer("not now", status), **_refusals("405")}
        paths[path] = {"get": {"summary": told, "security": [], "responses": responses}}
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


def _get(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _answer("as asked", schema), **_refusals("401", "403", "405")}}


def _reviews() -> dict[str, Any]:
    request_id = {
        "name": "request_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    }
    return {
        "summary": "What people decided of the rows of a request that were left to them",
        "parameters": [request_id],
        "responses": {"200": _answer("those rows", _rows(REVIEWED)), **_refusals("401", "403", "404", "405", "503")},
    }


def _post(pipeline: Pipeline, fields: RequestFields, most: int, summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {
            "rows": {"type": "array", "minItems": 1, "maxItems": most, "items": fields.json_schema()},
            "moment": {"type": ["string", "null"], "format": "date-time", "description": "as of when; now where left out"},
        },
    }
    moment = {"moment": {"type": "string", "format": "date-time"}}
    return {
        "summary": summary,
        "description": pipeline.doc.strip(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _answer("an answer for each row, in order", _rows(answer, moment)),
            **_refusals("401", "403", "405", "408", "413", "422", "429", "503"),
        },
    }


def _rows(row: dict[str, Any], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    properties = {
        "request_id": {"type": "string"},
        "pipeline": {"type": "string"},
        **(more or {}),
        "rows": {"type": "array", "items": row},
    }
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


def _answer(told: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": told, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: str) -> dict[str, Any]:
    told = {
        "401": "no valid key",
        "403": "this key may not ask this use case",
        "404": "nothing of this request was left to people, or the log was not collected since",
        "405": "another method is meant; see Allow",
        "408": "the body came too slowly",
        "413": "too large",
        "422": "fields are wrong: which, and why",
        "429": "too many rows for this key; see Retry-After",
        "503": "too busy, or the ledger cannot be read; see Retry-After",
    }
    return {one: _answer(told[one], {"$ref": "#/components/schemas/Error"}) for one in statuses}
