"""uvicorn's protocol, for clients that are slow, endless or malformed: each has its time, and no more.

    the head of a request   from the connection, or its first byte on one that is kept   408, closed
    its body                from its head; who reads it answers 408 before               closed
    an answer               from its end until the client has taken it                   closed
    nothing                 between two requests: uvicorn's own `timeout_keep_alive`     closed

What comes of a body after its answer is read and dropped, so that the answer arrives before the connection ends: to
close it at once, with unread bytes, would reset it. That too has its time and its size. (RFC 9112, 9.6)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from holdfast.core.model import Seconds
from holdfast_daemon.http.problems import MEDIA_TYPE, encoded

HEAD_MOST = 16 << 10
"""Bytes of a request's head."""

DROPPED_MOST = 16 << 20
"""Bytes of a body that are read after its answer."""

SLACK: Seconds = 1.0
"""How much later than whoever reads a body the protocol gives up on it."""


class Patience(NamedTuple):
    """How much a client is borne."""

    within: Seconds
    """For the head, for the body, and for taking the answer."""
    connections: int
    """At once; further ones are closed."""


class _Closing:
    """A transport whose `close` asks first."""

    def __init__(self, transport: asyncio.Transport, may_close: Callable[[], bool]) -> None:
        self._transport, self._may_close = transport, may_close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if self._may_close():
            self._transport.close()


class PatientProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any, patience: Patience, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._owed: tuple[str, int] | None = None
        """What the client has to send, and of which request."""
        self._late: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None
        self._dropped = 0
        self._half_closed = False
        """Whether nothing is sent any more: what still comes is dropped."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Closing(transport, self._may_close)))
        if len(self.connections) > self._patience.connections:
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._late, self._untaken, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._dropped = self._dropped + len(data) if self._answered else 0
        if self._dropped > DROPPED_MOST:
            self.transport.abort()
        elif not self._half_closed:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_closed:  # the rest of the body has its own time
            self._unset_keepalive_if_required()
        if self.transport.get_write_buffer_size() and self._untaken is None:
            self._untaken = self.loop.call_later(self._patience.within, self._check_taken)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, if an answer may still be given, and close."""
        error = sys.exc_info()[1]
        hint = getattr(error, "error_status_hint", 400)
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if hint == 431 else HTTPStatus.BAD_REQUEST
        self._refuse(status, f"expected HTTP/1.1 with a head of at most {HEAD_MOST:,} bytes: {error or msg}")

    def _may_close(self) -> bool:
        """Whether nothing comes any more, or nothing more is waited for; else close only what we send."""
        if self._half_closed or not self._answered:
            return True
        self._half_closed = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        return False

    # --- what the client owes ---------------------------------------------------------------------------------------

    @property
    def _answered(self) -> bool:
        """Whether what comes is of the body of a request that has had its answer."""
        done = self.cycle is not None and self.cycle.response_complete
        return done and self.conn.their_state is h11.SEND_BODY

    def _owes(self) -> tuple[str, int] | None:
        match self.conn.their_state:
            case h11.SEND_BODY:
                return "body", id(self.cycle)
            case h11.IDLE if self.cycle is None or self.conn.trailing_data[0]:
                return "head", id(self.cycle)
            case _:
                return None

    def _watch(self) -> None:
        """See to it that what the client owes now comes in time."""
        owed = None if self.transport.is_closing() else self._owes()
        if owed == self._owed:
            return
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._owed = owed
        if owed is not None:
            slack = SLACK if owed[0] == "body" else 0.0
            self._late = self.loop.call_later(self._patience.within + slack, self._give_up)

    def _give_up(self) -> None:
        assert self._owed is not None
        self._refuse(
            HTTPStatus.REQUEST_TIMEOUT,
            f"expected the {self._owed[0]} of a request within {self._patience.within:g} s, found it unfinished",
        )

    def _check_taken(self) -> None:
        self._untaken = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer instead of the application, unless it has begun to, and close."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not (under_way and self.cycle.response_started):
            body = encoded(status, detail)
            headers = [
                (b"content-type", MEDIA_TYPE.encode()),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=int(status), headers=headers, reason=status.phrase.encode()),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        if under_way:  # whoever reads the body learns that there is no more of it, and what he answers goes nowhere
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._half_closed = True
        self.transport.close()
        if self.transport.get_write_buffer_size() and self._untaken is None:
            self._untaken = self.loop.call_later(self._patience.within, self._check_taken)
