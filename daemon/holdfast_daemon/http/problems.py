"""Refusals as application/problem+json (RFC 9457): what was expected, what was found, and whether anything was done.

A refused request has changed nothing; only a 503 whose `outcome` is "unknown" may have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from holdfast.errors import (
    BusError,
    ConfigError,
    ConnectError,
    EncodeError,
    HoldfastError,
    PayloadError,
    Refused,
    RunStateError,
    TokenTaken,
    TooLarge,
    Unanswered,
    UnknownRun,
    UnknownTask,
    UnknownToken,
)

log = logging.getLogger("holdfast.http")

MEDIA_TYPE = "application/problem+json"

_CODES = {
    "not_found": HTTPStatus.NOT_FOUND,
    "ambiguous": HTTPStatus.CONFLICT,
    "bad_request": HTTPStatus.BAD_REQUEST,
    "conflict": HTTPStatus.CONFLICT,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""By the code of a `Refused`."""


class Problem(Exception):
    """A refusal on its way to the client."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **more: str
    ) -> None:
        """
        Args:
            more: further members of the object.
        """
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.more = more


def problem_of(error: HoldfastError) -> Problem:
    """The refusal that an error of the rest of holdfast makes."""
    detail = str(error)
    match error:
        case UnknownTask() | UnknownRun() | UnknownToken():
            return Problem(HTTPStatus.NOT_FOUND, detail)
        case TokenTaken() | RunStateError():
            return Problem(HTTPStatus.CONFLICT, detail)
        case PayloadError() | EncodeError():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        case ConfigError():
            return Problem(HTTPStatus.BAD_REQUEST, detail)
        case TooLarge():
            return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        case Refused():
            return Problem(_CODES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR), detail, code=error.code)
        case Unanswered():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, outcome="unknown")
        case BusError() | ConnectError():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail)
        case _:
            raise error


def encoded(status: int, detail: str, more: Mapping[str, str] | None = None) -> bytes:
    """The body of a refusal."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode(
        {"type": "about:blank", "title": title, "status": int(status), "detail": detail, **(more or {})}
    )


def answer(problem: Problem) -> Response:
    """A refusal as a response."""
    body = encoded(problem.status, problem.detail, problem.more)
    return Response(body, int(problem.status), problem.headers, MEDIA_TYPE)


# --- as Starlette's exception handlers ------------------------------------------------------------------------------


def of_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(error)


def of_holdfast(request: Request, error: Exception) -> Response:
    assert isinstance(error, HoldfastError)
    try:
        problem = problem_of(error)
    except HoldfastError:
        return of_unexpected(request, error)
    return answer(problem)


def of_routing(request: Request, error: Exception) -> Response:
    """No such route, or not by this method."""
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail.lower()}; /openapi.json says what there is"
    return answer(Problem(HTTPStatus(error.status_code), detail, headers=error.headers))


def of_unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: see the daemon's log"))
