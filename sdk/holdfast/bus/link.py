"""The connection: nats-py's client with a shorter way in and out.

nats-py gives each subscription a queue and a task, and each publish a coroutine: three quarters of the cost of a
message (NATS.md 9). A `Link` hands a message to its ear, a plain function, as soon as it is parsed, and writes what was
emitted in one tick of the loop with one call. It differs from the client in three promises, too:

- Nothing that was emitted before a disconnection is sent after it. (The client keeps it and sends it on reconnect,
  when its publisher may long have given up.)
- Only `close` ends a link. (The client closes itself for good on most errors that a server can send.)
- Whoever waits is told of a disconnection in the same moment.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from nats import errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from holdfast.errors import ConnectError, TooLarge

_log = logging.getLogger("holdfast.bus")

Ear: TypeAlias = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Hears subject, reply, data and raw headers of each message, in order."""

_DENIED = re.compile(r"permissions violation for publish to \"(.+?)\"", re.IGNORECASE)


class Link(Client):
    """One connection to a server or cluster, kept up until it is closed."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = _without_secrets(url)
        """For messages; holds no password."""
        self.ups: list[Callable[[], None]] = []
        """Called after each reconnect."""
        self.downs: list[Callable[[], None]] = []
        """Called as soon as the connection is lost, and when it is closed."""
        self.denials: list[Callable[[str], None]] = []
        """Called with a subject that this user may not publish to."""
        self._ears: dict[int, Ear] = {}
        self._spilling = False
        self._settling: set[asyncio.Future[bool]] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._begun = False
        self._ending = False
        self._trouble = ""

    @property
    def up(self) -> bool:
        """Whether what is emitted now is sent."""
        return self._status == Client.CONNECTED

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ending

    @property
    def server_version(self) -> str:
        """As the connected server calls it."""
        return str(self._server_info.get("version", ""))

    async def begin(
        self,
        servers: list[str],
        *,
        name: str,
        user: str | None,
        password: str | None,
        creds: str | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        """Connect; from then on the connection is restored whenever it is lost.

        Raises:
            ConnectError: nobody answers there, or not to these credentials.
        """
        if not all(one.startswith(("nats://", "tls://")) for one in servers if "://" in one):
            raise ConnectError(f"expected nats:// or tls://, found {self.url}")
        if creds is not None and not Path(creds).is_file():  # noqa: ASYNC240  # a local file, once
            raise ConnectError(f"expected a NATS credentials file at {creds}, found none: correct nats.creds")
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            await self.connect(
                servers,
                name=name,
                user=user,
                password=password,
                user_credentials=creds,
                tls=tls,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,  # type: ignore[arg-type]  # annotated as int, used as seconds
                ping_interval=10,
                pending_size=-1,
                error_cb=self._on_error,
                disconnected_cb=self._on_lost,
                reconnected_cb=self._on_restored,
            )
        except (OSError, TimeoutError, errors.Error, ValueError) as error:
            await self.close()
            raise ConnectError(self._why(error)) from error
        except ImportError as error:
            raise ConnectError(f"a credentials file needs {error.name}: pip install {error.name}") from error
        if task and task.cancelling() > cancelled:  # on Python 3.11 the client may lose it (`asyncio.wait_for`)
            await self.close()
            raise asyncio.CancelledError
        self.options["allow_reconnect"] = True
        self.options["max_reconnect_attempts"] = -1
        self._begun = True

    def hear(self, subject: str, ear: Ear, *, queue: str = "") -> int:
        """Subscribe; the number returned is what `unhear` takes. Restored after each reconnect."""
        self._sid += 1
        sid = self._sid
        self._ears[sid] = ear
        # Known to the client, so that it subscribes again after a reconnect; never started, so that it has no task.
        self._subs[sid] = Subscription(self, sid, subject, queue)
        self._write(f"SUB {subject} {queue} {sid}\r\n".encode())
        return sid

    def unhear(self, sid: int, *, late: Ear | None = None) -> None:
        """Unsubscribe; `late` hears what was on its way, until `forget`."""
        self._subs.pop(sid, None)
        if late is None:
            self._ears.pop(sid, None)
        else:
            self._ears[sid] = late
        self._write(f"UNSUB {sid}\r\n".encode())

    def forget(self, sid: int) -> None:
        """Nothing more is on its way to an ear that was unsubscribed."""
        self._ears.pop(sid, None)

    def emit(self, subject: str, data: bytes = b"", *, reply: str = "", headers: bytes = b"") -> bool:
        """Send a message with the next tick of the loop; False where there is no connection.

        Raises:
            TooLarge: the server takes no message of that size.
        """
        if len(data) + len(headers) > self._max_payload:
            raise TooLarge(f"{subject}: {len(data)} bytes, the server takes {self._max_payload}: store it elsewhere")
        if self._status != Client.CONNECTED:
            return False
        if headers:
            size = len(headers)
            command = f"HPUB {subject} {reply} {size} {size + len(data)}\r\n".encode() + headers
        else:
            command = f"PUB {subject} {reply} {len(data)}\r\n".encode()
        self._write(command, data, b"\r\n")
        return True

    async def restored(self, patience: float) -> None:
        """Return when there is a connection.

        Raises:
            ConnectError: there was none for so many seconds, or the link was closed.
        """
        if self.up:
            return
        if not self._ending:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                async with asyncio.timeout(patience):
                    await waiting
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(waiting)
        if not self.up:
            raise ConnectError(
                "this bus was closed" if self._ending else f"no connection to {self.url} for {patience:g} s: is it up?"
            )

    async def settled(self, patience: float = 1.0) -> None:
        """Return when the server has read all that was emitted so far, or there is no connection."""
        if not self.up:
            return
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._settling.add(pong)
        self._write(b"PING\r\n")
        try:
            async with asyncio.timeout(patience):
                await pong
        except TimeoutError:
            return
        finally:
            self._settling.discard(pong)

    async def end(self) -> None:
        """Send what was emitted and disconnect. Idempotent."""
        if self._ending:
            return
        self._ending = True
        await self.settled()
        self._lost()
        await self.close()
        for waiting in list(self._waiting):
            _wake(waiting)

    def _write(self, *parts: bytes) -> None:
        if self._status != Client.CONNECTED:
            return
        self._pending.extend(parts)
        if not self._spilling:
            self._spilling = True
            asyncio.get_running_loop().call_soon(self._spill)

    def _spill(self) -> None:
        self._spilling = False
        if self._pending and self._status == Client.CONNECTED and self._transport is not None:
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            self._transport.write(b"".join(pending))

    def _lost(self) -> None:
        self._pending, self._pending_data_size = [], 0
        for pong in self._settling:
            if not pong.done():
                pong.set_result(False)
        _tell(self.downs)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        ear = self._ears.get(sid)
        if ear is None:
            return
        try:
            ear(subject, reply, data, headers)
        except Exception:  # an ear that raises must not end the client's reading
            _log.exception("bus.ear_failed subject=%s", subject.decode(errors="replace"))

    async def _process_pong(self) -> None:
        # The client's own raises, and thereby stops reading, when whoever waited for this pong has given up.
        self._pings_outstanding = 0
        if self._pongs:
            pong = self._pongs.pop(0)
            if not pong.done():
                pong.set_result(True)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.up and self._reading_task is asyncio.current_task():  # it ended by a bug: the client would sit there
            await self._process_op_err(errors.Error("nats: reading ended"))

    async def _process_op_err(self, e: Exception) -> None:
        if self.is_closed or self.is_reconnecting:
            return
        await super()._process_op_err(e)
        self._lost()

    async def _process_err(self, err_msg: str) -> None:
        denied = _DENIED.search(err_msg)
        if denied is not None:
            for call in list(self.denials):
                call(denied[1])
        if "permissions violation" in err_msg or self._ending:
            _log.error("bus.refused message=%s", err_msg)
            return
        await self._process_op_err(errors.Error(f"nats: {err_msg}"))

    async def _on_error(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._trouble:  # while a server is away the same error comes ten times a second
            self._trouble = text
            if self._begun:  # until then the error that is raised says it
                _log.info("bus.trouble url=%s error=%s", self.url, text)

    async def _on_lost(self) -> None:
        if self._begun and not self._ending:
            _log.warning("bus.disconnected url=%s", self.url)

    async def _on_restored(self) -> None:
        self._trouble = ""
        _log.info("bus.reconnected url=%s", self.url)
        for waiting in list(self._waiting):
            _wake(waiting)
        _tell(self.ups)

    def _why(self, error: Exception) -> str:
        text = str(error).lower()
        if "authorization" in text or "authentication" in text:
            return f"{self.url} refused the credentials: check user and password, or the creds file"
        why = self._trouble or error
        return f"no NATS server answers at {self.url} ({why}): start it (`holdfast up`), or name another"


def _tell(calls: list[Callable[[], None]]) -> None:
    for call in list(calls):
        try:
            call()
        except Exception:  # one that raises must not end the reconnecting
            _log.exception("bus.call_failed")


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _without_secrets(url: str) -> str:
    kept = []
    for one in url.split(","):
        parts = urlsplit(one.strip() if "://" in one else f"nats://{one.strip()}")
        kept.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    return ",".join(kept)
