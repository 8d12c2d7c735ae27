"""The OpenAPI 3.1 document: made of the endpoints that are served, and of the tasks that are declared.

Without a token it shows the endpoints. With one it shows a path of its own for each task of the token's project too,
with the JSON Schema of its arguments; it is served by the endpoint for all tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from holdfast import __version__
from holdfast.wire.api import RunRow, TaskCard
from holdfast_daemon.http.endpoint import Endpoint, Schema, Visit, answered
from holdfast_daemon.http.problems import MEDIA_TYPE
from holdfast_daemon.http.tasks import TRIGGER

_PROBLEM: Schema = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "outcome": {"type": "string", "description": '"unknown": it may have been done.'},
    },
    "required": ["type", "title", "status", "detail"],
}

_REFUSED: Schema = {
    "description": "Refused; nothing was changed.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_AWAY: Schema = {**_REFUSED, "description": "Not just now; only where `outcome` is unknown may it have been done."}


def serving(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that serves the document of these, and of itself."""

    async def show(visit: Visit) -> Response:
        caller = visit.desk.gate.look(visit.request)
        cards = () if caller is None else caller.project.cards()
        return answered(document((*endpoints, here), cards), headers={"Vary": "Authorization"})

    here = Endpoint(
        method="GET",
        path="/openapi.json",
        handle=show,
        id="openapi",
        summary="This document; with a token, with the tasks of its project.",
        answers={"200": {"description": "It.", "content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    return here


def document(endpoints: Iterable[Endpoint], cards: Iterable[TaskCard] = ()) -> dict[str, object]:
    """The document of these endpoints and tasks."""
    paths: dict[str, dict[str, object]] = {}
    _, schemas = msgspec.json.schema_components((RunRow,), ref_template="#/components/schemas/{name}")
    schemas["Problem"] = dict(_PROBLEM)
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    for card in sorted(cards, key=lambda card: card.id):
        paths[TRIGGER.path.replace("{id}", card.id)] = {TRIGGER.method.lower(): _of_task(card, schemas)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "holdfast", "version": __version__, "summary": "Durable background tasks."},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`holdfast tokens create` creates one."}
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    refusals = {"4XX": _REFUSED, "503": _AWAY}
    found: dict[str, Any] = {
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "responses": {**endpoint.answers, **refusals},
        "security": [] if endpoint.scope is None else [{"token": [endpoint.scope.value]}],
    }
    if endpoint.parameters:
        found["parameters"] = list(endpoint.parameters)
    if endpoint.body is not None:
        found["requestBody"] = endpoint.body
    return found


def _of_task(card: TaskCard, schemas: dict[str, Any]) -> dict[str, Any]:
    """The trigger of one task."""
    found = _operation(TRIGGER)
    found["operationId"] = f"trigger-{card.id}"
    found["summary"] = card.doc or f"Start a run of {card.id}."
    found["description"] = f"`{card.id}{card.parameters}`, in queue {card.queue}."
    found["parameters"] = [one for one in TRIGGER.parameters if one["in"] != "path"]
    found["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": _arguments(card, schemas)}},
    }
    return found


def _arguments(card: TaskCard, schemas: dict[str, Any]) -> Schema:
    """The schema of a task's arguments; what it refers to becomes a component under the task's name."""
    try:
        schema: object = msgspec.json.decode(card.schema) if card.schema else None
    except msgspec.DecodeError:
        schema = None
    if not isinstance(schema, dict):
        return {"type": "object"}
    definitions = schema.pop("$defs", {})
    if isinstance(definitions, dict):
        for name, definition in definitions.items():
            schemas[_component(card.id, name)] = _moved(definition, card.id)
    moved = _moved(schema, card.id)
    assert isinstance(moved, Mapping)
    return moved


def _moved(part: object, task: str) -> object:
    """A part of a schema whose references lead to the task's components."""
    match part:
        case dict():
            return {
                key: f"#/components/schemas/{_component(task, value.removeprefix('#/$defs/'))}"
                if key == "$ref" and isinstance(value, str) and value.startswith("#/$defs/")
                else _moved(value, task)
                for key, value in part.items()
            }
        case list():
            return [_moved(one, task) for one in part]
        case _:
            return part


def _component(task: str, name: str) -> str:
    """A name that a component may have."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{task}.{name}")
