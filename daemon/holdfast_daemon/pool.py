"""The worker processes of a project: started, watched, replaced; more or fewer as runs wait, new ones for new code.

A worker has its own process and session and dies with the daemon (see `child`). One that ends by itself is replaced at
once, and where that happens again soon after a pause that doubles, so that a module that crashes does not eat the
machine.

The first ones must serve everything, or the pool does not begin. Later a module that fails keeps nobody else from
serving: who begins then leaves it out and says so, and who serves goes on. New code comes as a new generation: all of
it must serve everything before the old one is let go; else the old one stays.

Who is let go drains: it takes up nothing more, what it runs may end for a while, and the rest goes on elsewhere behind
its last checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from holdfast.core.model import Seconds
from holdfast.errors import HoldfastError, WorkerError
from holdfast_daemon.scaling import Demand, Scaler
from holdfast_daemon.sources import Sources
from holdfast_daemon.worker import WRONG, Starter, WorkerProcess, how

log = logging.getLogger("holdfast.pool")

STEADY: Seconds = 5.0
"""A worker that served and lived so long is replaced at once, whatever happened before."""

LONGEST_PAUSE: Seconds = 10.0

LOOK: Seconds = 0.5
"""Between two looks at what is asked of the pool."""

AGAIN: Seconds = 2.0
"""Until a generation is begun again that did not begin for another reason than its code."""


class _Fault(NamedTuple):
    """What keeps a worker from serving everything."""

    text: str
    until: str
    """What is done about it, and when it is over."""


class _Post:
    """A place where there is always a worker, until it is given up."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scope = anyio.CancelScope()
        self.worker: WorkerProcess | None = None
        self.faults: tuple[_Fault, ...] = ()
        """What keeps a worker here from serving everything."""
        self.mute = 0
        """So many workers in a row ended before they served."""

    @property
    def serves(self) -> str:
        """The name of the worker here, once it serves; else empty."""
        return self.worker.name if self.worker is not None and self.worker.serves else ""


class _Failure(NamedTuple):
    """Why a generation did not begin."""

    text: str
    code: int


class WorkerPool:
    """Keeps the worker processes of a project running."""

    def __init__(
        self,
        *,
        size: int,
        modules: Sequence[str],
        station: str,
        cwd: Path,
        env: Mapping[str, str],
        output: Path,
        drain: Seconds,
        gone: Callable[[str, str], None],
        tell: Callable[[str], None] = lambda text: None,
        on_faults: Callable[[Sequence[str]], None] = lambda texts: None,
        scaler: Scaler | None = None,
        look: Callable[[Collection[str]], Awaitable[Demand]] | None = None,
        sources: Sources | None = None,
    ) -> None:
        """
        Args:
            size: how many workers it begins with.
            station: what the names of these workers begin with.
            env: what is added to this process's environment.
            output: the file that they write to.
            gone: told the name of each worker that has ended, and how.
            tell: told in words what an operator should know: once of each fault, of each worker that ended with an
                error after it had served, and of new code that is served.
            on_faults: told what keeps workers from serving everything, whenever that changes.
            scaler: decides how many there are, from what `look` sees; None: always `size`.
            look: what is asked of the pool; gets the names of the workers that serve.
            sources: where new code shows; None: nobody looks.
        """
        self._size = size
        self._starter = Starter(modules=modules, station=station, cwd=cwd, env=env, output=output, drain=drain)
        self._gone = gone
        self._tell = tell
        self._on_faults = on_faults
        self._scaler = scaler
        self._look = look
        self._sources = sources
        self._posts: list[_Post] = []
        """Of the current generation."""
        self._made = 0
        self._edited: set[str] = set()
        """Files with code that no generation has begun with yet."""
        self._refused: tuple[_Fault, ...] = ()
        """Why the newest code is not served."""
        self._shown: tuple[str, ...] = ()
        """The faults that are known."""
        self._tasks: TaskGroup
        self.pids: dict[str, int] = {}
        """Of the running workers, by name; those that begin or drain too."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep them running until cancelled; then they drain. Started once each has served.

        Raises:
            WorkerError: the first worker ended before it served anything: its modules are wrong.
        """
        begun = await self._begin(self._size)
        async with anyio.create_task_group() as self._tasks:
            if isinstance(begun, _Failure):
                raise WorkerError(begun.text)
            self._take_over(begun)
            task_status.started()
            if self._scaler is not None and self._look is not None:
                self._tasks.start_soon(self._scale, self._scaler, self._look)
            if self._sources is not None:
                self._tasks.start_soon(self._reload, self._sources)

    # --- posts ------------------------------------------------------------------------------------------------------

    def _take_over(self, posts: Sequence[_Post]) -> None:
        """Let a generation that serves take the place of the one before, which drains."""
        old, self._posts = self._posts, list(posts)
        for post in posts:
            self._tasks.start_soon(self._man, post)
        for post in old:
            post.scope.cancel()
        self._show_faults()

    def _fit(self, size: int, runs: Mapping[str, int]) -> None:
        """Add posts, or give up those that have the least to do, and of those the newest."""
        while len(self._posts) < size:
            post = self._post()
            self._posts.append(post)
            self._tasks.start_soon(self._man, post)
        by_use = sorted(self._posts, key=lambda post: (runs.get(post.serves, 0 if post.serves else -1), -post.number))
        for post in by_use[: len(self._posts) - size]:
            self._posts.remove(post)
            post.scope.cancel()
        self._show_faults()

    def _post(self) -> _Post:
        self._made += 1
        return _Post(self._made)

    async def _man(self, post: _Post) -> None:
        """Keep a worker at a post until it is given up."""
        failures = 0
        with post.scope:
            while True:
                begun, served = time.monotonic(), False
                ended = "told to stop"
                try:
                    worker = post.worker or await self._start_again(post)
                    served = worker.serves or await worker.served()
                    if served:
                        self._serves(post, worker)
                    code = await worker.exited()
                    ended = how(code)
                finally:
                    if post.worker is not None:
                        await self._end(post.worker, ended)
                        post.worker = None
                post.mute = 0 if served else post.mute + 1
                self._ended_by_itself(post, worker, code)
                steady = served and time.monotonic() - begun > STEADY
                failures = 0 if steady else failures + 1
                await anyio.sleep(pause_after(failures))

    async def _start_again(self, post: _Post) -> WorkerProcess:
        """Start another worker at a post, as soon as the system has room for one."""
        failures = 0
        while True:
            try:
                return self._start(post, tolerant=True)
            except OSError as error:
                failures += 1
                log.error("no worker can be started, next try in %.1f s: %s", pause_after(failures + 1), error)
                await anyio.sleep(pause_after(failures + 1))

    def _start(self, post: _Post, *, tolerant: bool) -> WorkerProcess:
        post.worker = worker = self._starter.start(tolerant=tolerant)
        self.pids[worker.name] = worker.pid
        return worker

    def _serves(self, post: _Post, worker: WorkerProcess) -> None:
        log.info("worker %s serves, pid %d", worker.name, worker.pid)
        post.faults = tuple(
            _Fault(text, "left out until it is mended and workers begin anew") for text in worker.left_out
        )
        self._show_faults()

    async def _end(self, worker: WorkerProcess, ended: str) -> None:
        await worker.stop()
        del self.pids[worker.name]
        self._gone(worker.name, ended)

    def _ended_by_itself(self, post: _Post, worker: WorkerProcess, code: int) -> None:
        """A worker ended though nobody asked it to."""
        log.log(logging.INFO if post.mute > 1 else logging.WARNING, "worker %s ended: %s", worker.name, how(code))
        if not post.mute:
            if code > 0:
                self._tell(f"a worker ended with {how(code)} and is started again: {worker.last_words()}")
        elif code > 0 or post.mute > 1:  # killed once it may have been by somebody
            post.faults = (_Fault(worker.why(code), "tried again until it is mended"),)
            self._show_faults()

    # --- generations ------------------------------------------------------------------------------------------------

    async def _begin(self, size: int) -> list[_Post] | _Failure:
        """Start so many workers that serve everything; where one can't, none of them is left."""
        posts = [self._post() for _ in range(size)]
        failures: list[_Failure] = []
        try:
            async with anyio.create_task_group() as tasks:
                for post in posts:
                    tasks.start_soon(self._first, post, failures, tasks.cancel_scope)
            if not failures:
                return posts
        except BaseException:
            await self._end_all(posts)
            raise
        await self._end_all(posts)
        return failures[0]

    async def _first(self, post: _Post, failures: list[_Failure], others: anyio.CancelScope) -> None:
        """Start the first worker of a post of a new generation, and wait until it serves."""
        try:
            worker = self._start(post, tolerant=False)
        except OSError as error:
            failures.append(_Failure(f"no worker can be started: {error}", 0))
            others.cancel()
            return
        if not await worker.served():
            code = await worker.exited()
            failures.append(_Failure(worker.why(code), code))
            others.cancel()

    async def _end_all(self, posts: Sequence[_Post]) -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for post in posts:
                    if post.worker is not None:
                        tasks.start_soon(self._end, post.worker, "told to stop")

    async def _reload(self, sources: Sources) -> None:
        """Begin a new generation for new code; where there is newer code before it serves, begin again with that."""
        attempt = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:

            def edited(files: Sequence[str]) -> None:
                nonlocal attempt
                self._edited |= set(files)
                attempt.cancel()
                attempt = anyio.CancelScope()
                tasks.start_soon(self._renew, attempt)

            await sources.watch(edited)

    async def _renew(self, attempt: anyio.CancelScope) -> None:
        with attempt:
            begun = time.monotonic()
            while isinstance(made := await self._begin(max(1, self._size)), _Failure):
                self._refuse(made)
                if made.code == WRONG:
                    return
                await anyio.sleep(AGAIN)
            took, files = time.monotonic() - begun, _named(self._edited)
            self._edited.clear()
            self._refused = ()
            if self._scaler is not None and self._size == 0:
                self._size = self._scaler.size = len(made)
            self._take_over(made)
            workers = "1 worker" if len(made) == 1 else f"{len(made)} workers"
            self._tell(f"reloaded {files} in {took:.1f} s: {workers}")

    def _refuse(self, failure: _Failure) -> None:
        """Go on with the code before."""
        self._refused = (_Fault(failure.text, "the code before is served until it is mended"),)
        self._show_faults()

    # --- how many ---------------------------------------------------------------------------------------------------

    async def _scale(self, scaler: Scaler, look: Callable[[Collection[str]], Awaitable[Demand]]) -> None:
        """Have as many posts as are wanted, until cancelled."""
        while True:
            await anyio.sleep(LOOK)
            try:
                demand = await look([post.serves for post in self._posts if post.serves])
            except HoldfastError as error:
                log.debug("what is asked of the workers can't be seen now: %s", error)
                continue
            size = scaler.decide(time.monotonic(), demand)
            if size != self._size:
                log.info("workers: %d -> %d: %s", self._size, size, scaler.why)
                self._size = size
            if size != len(self._posts):
                self._fit(size, demand.runs)

    # --- faults -----------------------------------------------------------------------------------------------------

    def _show_faults(self) -> None:
        """Say what is new among what keeps workers from serving everything."""
        found = dict([*self._refused, *(fault for post in self._posts for fault in post.faults)])
        for text, until in found.items():
            if text not in self._shown:
                self._tell(f"{text}; {until}")
        if tuple(found) != self._shown:
            self._shown = tuple(found)
            self._on_faults(self._shown)


def pause_after(failures: int) -> Seconds:
    """How long a worker that ended soon after its start waits to be replaced; the first time not at all."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE, 0.1 * 2.0 ** min(failures - 1, 20))


def _named(files: Collection[str]) -> str:
    first, *others = sorted(files)
    return f"{first} and {len(others)} more" if others else first
