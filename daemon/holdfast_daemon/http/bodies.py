"""Bodies of requests: read no further than is allowed and no longer than is patient, then as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

import anyio
import msgspec
from starlette.requests import ClientDisconnect, Request

from holdfast.core.model import Seconds
from holdfast_daemon.http.problems import Problem

MOST = 1 << 20
"""Bytes of a body."""

T = TypeVar("T", bound=msgspec.Struct)


async def body(request: Request, within: Seconds) -> bytes:
    """The whole body.

    Raises:
        Problem: it is too large, it ended before its end, or it did not come within so many seconds.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 15 or int(length) > MOST):
        raise _too_large()
    try:
        with anyio.fail_after(within):
            return await _read(request)
    except TimeoutError:
        detail = f"expected the body within {within:g} s, found it unfinished"
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body ended before its end, or was no HTTP") from None


async def _read(request: Request) -> bytes:
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > MOST:
            raise _too_large()
    return bytes(read)


def _too_large() -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a body of at most {MOST:,} bytes, found more")


def json_of(data: bytes, expected: str = "JSON") -> object:
    """What a body says. Raises: Problem: it is no JSON."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"expected {expected}, found what is no JSON: {error}") from error


def value_of(data: bytes) -> object:
    """What a body says; nothing is None. Raises: Problem: it is no JSON."""
    return json_of(data) if data.strip() else None


def object_of(data: bytes, of: str) -> dict[str, object]:
    """The object that a body is, `of` what by name. Raises: Problem: it is none."""
    value = json_of(data, f"a JSON object of {of}")
    if not isinstance(value, dict):
        found = {list: "an array", str: "a string", bool: "true or false"}.get(type(value), "null or a number")
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"expected a JSON object of {of}, found {found}")
    return value


def struct_of(data: bytes, kind: type[T]) -> T:
    """A body with known members; nothing leaves all of them at their defaults. Raises: Problem."""
    data = data if data.strip() else b"{}"
    json_of(data, "a JSON object")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        members = ", ".join(kind.__struct_fields__)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"expected an object with {members} at most: {error}") from None
