"""An endpoint: where it is, what it does, whom it lets in, and what the OpenAPI document says of it, in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.config import Http, Webhook
from holdfast.core.model import Instant
from holdfast.wire.api import Scope
from holdfast_daemon.http import bodies
from holdfast_daemon.http.auth import Caller, Gate
from holdfast_daemon.http.metrics import Requests
from holdfast_daemon.http.ports import Project, Projects
from holdfast_daemon.http.problems import Problem

Schema = Mapping[str, Any]
"""JSON Schema, or another part of an OpenAPI document."""

NAME_MOST = 200
"""Characters of a name in a path: it becomes part of a subject, and a server takes lines of 4,096 bytes."""


class Desk(NamedTuple):
    """What endpoints need."""

    projects: Projects
    gate: Gate
    settings: Http
    hooks: Mapping[str, Webhook]
    requests: Requests
    now: Callable[[], Instant]


class Visit:
    """One request at an endpoint."""

    def __init__(self, request: Request, desk: Desk, caller: Caller | None) -> None:
        self.request = request
        self.desk = desk
        self._caller = caller

    @property
    def project(self) -> Project:
        """The caller's; there is one where the endpoint has a scope."""
        assert self._caller is not None, "expected an endpoint with a scope"
        return self._caller.project

    def name(self, parameter: str) -> str:
        """A parameter of the path. Raises: Problem: it names nothing."""
        value: str = self.request.path_params[parameter]
        if len(value) > NAME_MOST:
            raise Problem(HTTPStatus.NOT_FOUND, f"expected a name of at most {NAME_MOST} characters in the path")
        return value

    async def body(self) -> bytes:
        """Raises: Problem: it is too large, too slow, or not whole."""
        return await bodies.body(self.request, self.desk.settings.timeout)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A method on a path."""

    method: str
    path: str
    """With `{parameters}`, whose schemas are in `parameters`."""
    handle: Callable[[Visit], Awaitable[Response]]
    id: str
    """Its operation's name in the document."""
    summary: str
    scope: Scope | None = None
    """Which scope a token must have; None: open, or it asks for something else itself."""
    parameters: tuple[Schema, ...] = ()
    body: Schema | None = None
    """The request's body, as the document has it."""
    answers: Mapping[str, Schema] = {}
    """By status, beside the refusals."""

    @property
    def writes(self) -> bool:
        return self.method == "POST"


def answered(value: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), int(status), headers, "application/json")


# --- for the document -----------------------------------------------------------------------------------------------


def in_path(name: str, description: str, pattern: str) -> Schema:
    """A parameter of the path."""
    schema = {"type": "string", "pattern": pattern, "maxLength": NAME_MOST}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def in_query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def in_header(name: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


def json_body(schema: Schema, *, required: bool = True) -> Schema:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def json_answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def object_schema(**properties: Schema) -> Schema:
    """An object with these members, all of them there."""
    return {"type": "object", "properties": properties, "required": list(properties)}


RUN_ID = "^[0-9A-Za-z]{1,26}$"
WORD = "^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
TEXT = {"type": "string"}
