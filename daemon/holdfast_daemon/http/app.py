"""The HTTP interface as a Starlette application.

    POST /v1/tasks/{id}/trigger   a JSON object, at most 1 MiB  → 202 {"run": id}, once the journal has it
    GET  /v1/runs/{id}            an id, or its unique beginning or end
    POST /v1/tokens/{id}/complete any JSON, or nothing → 200 {"run": id}, once the run has been told
    GET  /healthz                 the process is up
    GET  /readyz                  the server answers and the history has caught up

Whatever goes wrong is answered as application/problem+json (RFC 9457). A refused request has changed nothing; only 503
with `outcome` "unknown" says that a run may have been created, or told.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from holdfast.errors import (
    BusError,
    ConfigError,
    ConnectError,
    EncodeError,
    PayloadError,
    Refused,
    RunStateError,
    TokenTaken,
    Unanswered,
    UnknownTask,
    UnknownToken,
)
from holdfast.wire.api import RunRef, RunView

log = logging.getLogger("holdfast.http")

BODY_MOST = 1 << 20
"""Bytes of a request's body."""

_STATUS = {
    "not_found": HTTPStatus.NOT_FOUND,
    "ambiguous": HTTPStatus.CONFLICT,
    "bad_request": HTTPStatus.BAD_REQUEST,
    "conflict": HTTPStatus.CONFLICT,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}


class Triggers(Protocol):
    """Creates runs."""

    async def trigger(self, task_id: str, payload: dict[str, object]) -> str:
        """Create a run and return its id once the journal has it.

        Raises:
            UnknownTask, ConfigError: nobody serves a task of this id, or nobody can.
            PayloadError: the payload does not fit it.
        """


class Tokens(Protocol):
    """Completes what runs wait for."""

    async def complete(self, token_id: str, value: object) -> str:
        """Complete a token and return its run's id once the journal has it.

        Raises:
            UnknownToken: no run has asked for it.
            TokenTaken, RunStateError: it was completed before, or its run has ended.
            EncodeError: the value can't be stored.
        """


class Runs(Protocol):
    """Knows runs; `query.service.QueryService` is one."""

    async def view(self, ref: RunRef) -> RunView:
        """Raises: Refused: no run, or more than one, is meant."""


Readiness = Callable[[], Awaitable[str]]
"""What is missing to serve, in words; empty when nothing is."""


class _Problem(Exception):
    """A refusal on its way to the client."""

    def __init__(self, status: HTTPStatus, detail: str, **more: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more


def build(triggers: Triggers, runs: Runs, readiness: Readiness, tokens: Tokens) -> Starlette:
    """The application."""

    async def trigger(request: Request) -> Response:
        _refuse_browsers(request)
        payload = _object(await _body(request))
        try:
            run = await triggers.trigger(request.path_params["id"], payload)
        except (UnknownTask, ConfigError) as error:  # or no task can have such an id
            raise _Problem(HTTPStatus.NOT_FOUND, str(error)) from error
        except (PayloadError, EncodeError) as error:
            raise _Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        except (BusError, ConnectError) as error:
            raise _unavailable(error) from error
        return JSONResponse({"run": run}, HTTPStatus.ACCEPTED, {"Location": f"/v1/runs/{run}"})

    async def complete(request: Request) -> Response:
        _refuse_browsers(request)
        body = await _body(request)
        value = _json(body, "JSON") if body.strip() else None
        try:
            run = await tokens.complete(request.path_params["id"], value)
        except UnknownToken as error:
            raise _Problem(HTTPStatus.NOT_FOUND, str(error)) from error
        except (TokenTaken, RunStateError) as error:
            raise _Problem(HTTPStatus.CONFLICT, str(error)) from error
        except EncodeError as error:
            raise _Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
        except (BusError, ConnectError) as error:
            raise _unavailable(error) from error
        return JSONResponse({"run": run})

    async def show(request: Request) -> Response:
        try:
            view = await runs.view(RunRef(request.path_params["id"]))
        except Refused as error:
            status = _STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise _Problem(status, str(error), code=error.code) from error
        except (BusError, ConnectError) as error:
            raise _Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        return JSONResponse(_shown(view))

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "up"})

    async def ready(request: Request) -> Response:
        if missing := await readiness():
            raise _Problem(HTTPStatus.SERVICE_UNAVAILABLE, missing)
        return JSONResponse({"status": "ready"})

    return Starlette(
        routes=[
            Route("/v1/tasks/{id}/trigger", trigger, methods=["POST"]),
            Route("/v1/runs/{id}", show, methods=["GET"]),
            Route("/v1/tokens/{id}/complete", complete, methods=["POST"]),
            Route("/healthz", health, methods=["GET"]),
            Route("/readyz", ready, methods=["GET"]),
        ],
        exception_handlers={_Problem: _answer, HTTPException: _answer_http, Exception: _answer_unexpected},
    )


def _refuse_browsers(request: Request) -> None:
    """A page in a browser on this machine could reach us; only browsers send `Origin`, and none is meant to write."""
    if "origin" in request.headers:
        raise _Problem(
            HTTPStatus.FORBIDDEN,
            "expected no Origin header: pages in a browser may not trigger tasks or complete tokens",
        )


def _unavailable(error: BusError | ConnectError) -> _Problem:
    more = {"outcome": "unknown"} if isinstance(error, Unanswered) else {}
    return _Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), **more)


async def _body(request: Request) -> bytes:
    """The body, of which no more is read than is allowed."""
    too_large = _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a body of at most {BODY_MOST:,} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > BODY_MOST:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_MOST:
                raise too_large
    except ClientDisconnect as error:
        raise _Problem(HTTPStatus.BAD_REQUEST, "the body ended before its end") from error
    return bytes(body)


def _object(body: bytes) -> dict[str, object]:
    payload = _json(body, "a JSON object")
    if not isinstance(payload, dict):
        found = {list: "an array", str: "a string", bool: "true or false"}.get(type(payload), "null or a number")
        raise _Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"expected a JSON object of the task's arguments by name, found {found}"
        )
    return payload


def _json(body: bytes, expected: str) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _Problem(HTTPStatus.BAD_REQUEST, f"expected {expected}, found what is no JSON: {error}") from error


def _shown(view: RunView) -> dict[str, object]:
    """A run as JSON: payload and result as values where they are whole, else as the text there is."""
    shown: dict[str, object] = msgspec.to_builtins(view.row)
    shown["payload"], shown["result"] = _value(view.payload), _value(view.result)
    shown["error"] = None
    if view.error is not None:
        told = view.error
        shown["error"] = {"type": told.type, "message": told.message, "traceback": told.traceback}
    shown["children"] = [{"id": child.id, "task": child.task, "state": child.state} for child in view.children]
    return shown


def _value(text: str) -> object:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


# --- problems -------------------------------------------------------------------------------------------------------


def _problem(status: int, detail: str, more: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": int(status), "detail": detail, **more}
    return JSONResponse(body, int(status), headers, media_type="application/problem+json")


def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, _Problem)
    # What is left of a body that was refused is not read: the connection can't be used again.
    unread = {"Connection": "close"} if error.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None
    return _problem(error.status, error.detail, error.more, unread)


def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(
        error.status_code, f"{request.method} {request.url.path}: {error.detail.lower()}", {}, error.headers
    )


def _answer_unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: see the daemon's log", {})
