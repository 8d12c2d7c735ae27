"""A client in an event loop of its own, for threads that do not await.

The loop runs in one thread, however many call. A fork leaves that thread behind: what was opened before it can't be
used after it, and says so instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from holdfast.client import Client
from holdfast.errors import ConnectError, HoldfastError
from holdfast.loops import loop_run

R = TypeVar("R")


class _Opened(NamedTuple):
    client: Client
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    stop: asyncio.Event
    """Ends it."""


class Portal:
    """A way into the event loop of a client. Opens when it is used first."""

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._opened: _Opened | None = None
        self._closed = False
        self._forked = False
        """Whether it was opened by the process that this one was forked from."""
        self._lock = threading.Lock()
        """Held while a call is handed over: none is, once the loop has been told to stop."""
        _PORTALS.add(self)

    def open(self) -> Client:
        """The client; it is connected, where that is not done yet.

        Raises:
            HoldfastError: this is async code, or a process that was forked after the connection was opened.
            ConnectError: no server answers, or it was closed.
        """
        _refuse_async()
        with self._lock:
            return self._ready().client

    def call(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """What comes of a coroutine that is run in the loop. Interrupted, it is cancelled there.

        Raises:
            ConnectError: it was closed meanwhile; besides, as `open`.
        """
        _refuse_async()
        with self._lock:
            opened, begun = self._ready(), work()
            try:
                future = asyncio.run_coroutine_threadsafe(begun, opened.loop)
            except BaseException:  # Ctrl-C
                begun.close()
                raise
        try:
            return future.result()
        except CancelledError:
            raise ConnectError("the connection was closed during this call: what came of it is not known") from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Disconnect and end the thread. Idempotent."""
        with self._lock:
            if self._forked or self._closed:
                return
            opened, self._opened, self._closed = self._opened, None, True
            if opened is not None:
                opened.loop.call_soon_threadsafe(opened.stop.set)
        if opened is not None:
            atexit.unregister(self.close)
            opened.thread.join()

    def _ready(self) -> _Opened:
        if self._forked:
            raise HoldfastError(
                f"expected a connection that process {os.getpid()} opened, found one from before it was forked: "
                "connect after the fork, e.g. in gunicorn's post_fork, or use `connect().blocking()` first after it"
            )
        if self._closed:
            raise ConnectError("the connection is closed: connect again")
        if self._opened is None:
            self._opened = self._begun()
            atexit.register(self.close)
        return self._opened

    def _begun(self) -> _Opened:
        opened: Future[_Opened] = Future()
        run = loop_run()
        threading.Thread(target=lambda: run(self._serve(opened)), name="holdfast-client", daemon=True).start()
        try:
            return opened.result()
        except BaseException:
            opened.cancel()
            raise

    async def _serve(self, opened: Future[_Opened]) -> None:
        """Connect and be there until told to stop; calls that are under way then are cancelled."""
        try:
            client = await self._connect()
        except BaseException as error:
            if opened.set_running_or_notify_cancel():
                opened.set_exception(error)
            return
        try:
            if opened.set_running_or_notify_cancel():
                stop = asyncio.Event()
                opened.set_result(_Opened(client, asyncio.get_running_loop(), threading.current_thread(), stop))
                await stop.wait()
        finally:
            await client.close()

    def _after_fork(self) -> None:
        """This process has neither the thread nor those that may have held the lock."""
        self._lock = threading.Lock()
        self._forked = self._forked or self._opened is not None


_PORTALS: WeakSet[Portal] = WeakSet()


def _forked() -> None:
    for portal in _PORTALS:
        portal._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _refuse_async() -> None:
    """Raises: HoldfastError: an event loop runs in this thread, which would stand still."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise HoldfastError(
        "expected blocking code, found async code, whose event loop would stand still: "
        "write `async with holdfast.connect() as hf: await hf.trigger(...)`"
    )
