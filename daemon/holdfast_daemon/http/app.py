"""The HTTP interface as a Starlette application.

    POST /v1/tasks/{id}/trigger         trigger  a JSON object, at most 1 MiB → 202 {"run", "cached"}, once the journal
                                                 has it; Idempotency-Key and Holdfast-* headers are its options
    POST /v1/events/{subject}           trigger  any bytes → 202 {"seq"}, once the stream has them
    POST /v1/hooks/{name}               signed   a webhook → 202 {"seq"}, once the stream has it
    GET  /v1/runs                       read     ?state= &task= &queue= &tag= &limit= &before=
    GET  /v1/runs/{id}                  read     an id, or its unique beginning or end
    POST /v1/runs/{id}/cancel           operate  {"reason"}
    POST /v1/runs/{id}/retry            operate  {"from_start", "payload"}
    POST /v1/runs/{id}/signals/{name}   operate  any JSON, or nothing
    POST /v1/tokens/{id}/complete       open     any JSON, or nothing → 200 {"run"}, once the run has been told
    GET  /healthz                       open     the process is up
    GET  /readyz                        open     the server answers and the history has caught up
    GET  /metrics                       read     the token's project, for Prometheus
    GET  /openapi.json                  open     what is served; with a token, its project's tasks too

In the middle stands which scope of an access token (`Authorization: Bearer hf_...`) is needed; the token says which
project is meant. Whatever goes wrong is answered as application/problem+json (RFC 9457). A refused request has changed
nothing; only 503 with `outcome` "unknown" says that it may have.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.auditing import Actor, acting_as
from holdfast.config import Http, Webhook
from holdfast.core.model import Instant, Seconds
from holdfast.errors import HoldfastError
from holdfast_daemon.http import completions, events, hooks, openapi, problems, runs, status, tasks
from holdfast_daemon.http.auth import ANONYMOUS, Caller, Gate, refuse_browsers
from holdfast_daemon.http.endpoint import Desk, Endpoint, Visit
from holdfast_daemon.http.metrics import Requests
from holdfast_daemon.http.ports import Projects
from holdfast_daemon.http.problems import Problem
from holdfast_daemon.http.protocol import HEAD_MOST

_ROUTE, _PROJECT = "holdfast.route", "holdfast.project"


def build(
    projects: Projects,
    settings: Http | None = None,
    hooks: Iterable[Webhook] = (),
    *,
    now: Callable[[], Instant] = time.time,
    clock: Callable[[], Seconds] = time.monotonic,
) -> ASGIApp:
    """The application.

    Args:
        projects: at least one; the first is the default one.
        clock: for rates; any that only goes forward.
    """
    settings = settings or Http()
    requests = Requests()
    named = {hook.name: hook for hook in hooks}
    desk = Desk(projects, Gate(projects, settings, clock), settings, named, requests, now)
    app = Starlette(
        routes=[Route(each.path, _route(each, desk), methods=[each.method]) for each in endpoints()],
        exception_handlers={
            Problem: problems.of_problem,
            HoldfastError: problems.of_holdfast,
            HTTPException: problems.of_routing,
            Exception: problems.of_unexpected,
        },
    )
    return _Door(app, requests)


def endpoints() -> tuple[Endpoint, ...]:
    """Everything that is served."""
    served = tuple(
        endpoint for noun in (tasks, events, hooks, runs, completions, status) for endpoint in noun.ENDPOINTS
    )
    return (*served, openapi.serving(served))


def _route(endpoint: Endpoint, desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for those who may."""

    async def serve(request: Request) -> Response:
        request.scope[_ROUTE] = endpoint.path
        if endpoint.writes:
            refuse_browsers(request)
        caller = None if endpoint.scope is None else desk.gate.admit(request, endpoint.scope)
        if caller is not None:
            request.scope[_PROJECT] = caller.project.name
        with acting_as(_actor(request, caller)):
            return await endpoint.handle(Visit(request, desk, caller))

    return serve


def _actor(request: Request, caller: Caller | None) -> Actor:
    """Who the audit says it was."""
    who = ANONYMOUS if caller is None else caller.name
    return Actor(who, address=request.client.host if request.client is not None else "")


class _Door:
    """Counts what was answered, and keeps out heads that are too large."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                project, route = scope.get(_PROJECT, ""), scope.get(_ROUTE, "(none)")
                self._requests.add(project, _method(scope["method"]), route, message["status"])
            await send(message)

        size = len(scope.get("raw_path", b"")) + len(scope["query_string"])
        if size + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > HEAD_MOST:
            detail = f"expected a head of at most {HEAD_MOST:,} bytes, found more"
            refusal = problems.answer(Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail))
            return await refusal(scope, receive, counted)
        return await self._app(scope, receive, counted)


def _method(method: str) -> str:
    """Anybody may make up methods, and each would be a series of its own."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "OTHER"
