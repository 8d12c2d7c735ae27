"""Programs for one task that interprets them, drawn at random; and by hand, without holdfast, what must come of them.

A program is a list of operations `[what, number, ...]`. `block` runs it as a run, as a part of one (inline), as a
branch or as a child, so that programs nest. `foreseen` says what its runs end with, under which keys its steps have
their effects, which of these must come about and which may, and which come before which.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

from hypothesis import strategies as st

from holdfast import Abort, Done, NotDone, Retry, WaitTimeout, run, step, task, wait
from holdfast.core.model import Seconds

Op: TypeAlias = list[Any]
Program: TypeAlias = list[Op]

ATTEMPTS = 3
"""Of each run, before it is dead."""

LONG: Seconds = 1_000_000.0
"""What takes so long never comes first."""


# --- the world outside ------------------------------------------------------------------------------------------------


class Effect(NamedTuple):
    """Something that was done to the world."""

    run: str
    label: str
    """Says which run of the program it is, whatever its id."""
    key: str
    what: str
    counts: bool
    """Whether the worker that did it had the run by then; else it is a zombie's."""


class Outside:
    """The world outside: remembers what was done to it, and does what it is asked for."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.undone: list[Effect] = []
        self.tries: Counter[tuple[str, str]] = Counter()
        self.shown: dict[tuple[str, str], list[Any]] = {}
        """By run and place: what code that counts got there."""
        self.asked: set[tuple[str, str]] = set()
        self.has: Callable[[str], bool] = lambda run: True
        """Whether the worker whose code runs just now has a run."""
        self.ask: Callable[[str, str, int, str, Seconds], None] = lambda *_: None

    def did(self, label: str, what: str) -> int:
        self.effects.append(Effect(run.id, label, key_here(), what, self.has(run.id)))
        return len(self.effects) - 1


outside: ContextVar[Outside] = ContextVar("outside")


def key_here() -> str:
    return run.idempotency_key.partition(":")[2]


async def done(label: str, n: int, takes: Seconds, what: str = "plain") -> list[Any]:
    """An effect in the middle of something that takes its time; its value is another one each time."""
    await asyncio.sleep(takes / 2)
    serial = outside.get().did(label, what)
    await asyncio.sleep(takes / 2)
    return ["ran", n, key_here(), serial]


async def plain(label: str, n: int, takes: Seconds) -> list[Any]:
    return await done(label, n, takes)


@step(retry=Retry(max_attempts=4, min_timeout=2, max_timeout=2, jitter=False))
async def flaky(label: str, n: int, takes: Seconds, fails: int) -> list[Any]:
    """Fails the first times that it is run, less often than its policy tries."""
    return await trying(label, n, takes, fails)


async def trying(label: str, n: int, takes: Seconds, fails: int) -> list[Any]:
    tries = outside.get().tries
    tries[run.id, key_here()] += 1
    value = await done(label, n, takes)
    if tries[run.id, key_here()] <= fails:
        raise ConnectionError(f"busy {n}")
    return value


@step(retry=Retry(max_attempts=2, min_timeout=3, max_timeout=3, jitter=False))
async def hopeless(label: str, n: int, takes: Seconds) -> None:
    await done(label, n, takes)
    raise ValueError(f"hopeless {n}")


async def early(label: str, n: int, takes: Seconds, fails: int) -> list[Any]:
    """Fails in the first attempts of the run."""
    value = await done(label, n, takes)
    if run.attempt <= fails:
        raise ConnectionError(f"too early {n}")
    return value


@step
async def note(label: str, n: int, takes: Seconds) -> list[Any]:
    return await done(label, n, takes)


@step(retry=Retry(max_attempts=4, min_timeout=2, max_timeout=2, jitter=False))
async def outer(label: str, n: int, takes: Seconds, fails: int) -> list[Any]:
    """A step with a step in it, which is not run again where this one is."""
    tries = outside.get().tries
    tries[run.id, key_here()] += 1
    within = await note(label, n, takes)
    if tries[run.id, key_here()] <= fails:
        raise ConnectionError(f"busy {n}")
    return within


async def helper(label: str, n: int, takes: Seconds) -> list[Any]:
    return [await note(label, n, takes), await note(label, n, takes)]


async def release(label: str, n: int, result: list[Any]) -> None:
    world = outside.get()
    await asyncio.sleep(1)
    world.tries[run.id, key_here()] += 1
    if n % 3 == 0 and world.tries[run.id, key_here()] == 1:
        raise ConnectionError("not yet")
    assert result[:2] == ["ran", n]
    world.undone.append(Effect(run.id, label, key_here(), "undo", world.has(run.id)))


@step(undo=release)
async def reserve(label: str, n: int, takes: Seconds) -> list[Any]:
    return await done(label, n, takes)


async def paid(label: str, n: int) -> Done | NotDone:
    await asyncio.sleep(0.5)
    for serial, effect in enumerate(outside.get().effects):
        if (effect.run, effect.key) == (run.id, key_here()):
            return Done(["ran", n, key_here(), serial])
    return NotDone()


@step(at_most_once=True, verify=paid)
async def pay(label: str, n: int, takes: Seconds) -> list[Any]:
    return await done(label, n, takes, "pay")


class Unstorable:
    """No value for a journal."""


async def volatile(label: str, n: int, takes: Seconds) -> Unstorable:
    await done(label, n, takes, "volatile")
    return Unstorable()


async def announce(label: str, kind: str, n: int, id: str, delay: Seconds) -> None:
    """Have the world complete a token, emit an event, send a signal: once, however often this is run."""
    world = outside.get()
    world.did(label, "announcement")
    if (run.id, key_here()) not in world.asked:
        world.asked.add((run.id, key_here()))
        world.ask(run.id, kind, n, id, delay)


async def echo(value: Any) -> None:
    """What the code took from outside is durable by now."""
    show(key_here(), value)


def show(place: str, value: Any) -> Any:
    """Tell the world what the code got."""
    world = outside.get()
    if world.has(run.id):
        world.shown.setdefault((run.id, place), []).append(value)
    return value


# --- the task ---------------------------------------------------------------------------------------------------------


@task(
    id="block",
    retry=Retry(max_attempts=ATTEMPTS, min_timeout=10, max_timeout=10, factor=1, jitter=False),
    max_interruptions=1000,
)
async def block(program: list[Any], label: str = "") -> list[Any]:
    """Run a program; what each of its operations gave."""
    got: list[Any] = []
    for what, n, *given in program:
        match what:
            case "plain":
                got.append(await plain(label, n, *given))
            case "flaky":
                got.append(await flaky(label, n, *given))
            case "hopeless":
                await hopeless(label, n, *given)
            case "caught":
                try:
                    await hopeless(label, n, *given)
                except ValueError as error:
                    got.append(str(error))
            case "early":
                got.append(await early(label, n, *given))
            case "outer":
                got.append(await outer(label, n, *given))
            case "helper":
                got.append(await helper(label, n, *given))
            case "reserve":
                got.append(await reserve(label, n, *given))
            case "pay":
                got.append(await pay(label, n, *given))
            case "volatile":
                kept = await volatile(label, n, *given)
                got.append(type(kept).__name__)
            case "abort":
                raise Abort(f"aborted {n}")
            case "sleep":
                await wait.for_(given[0])
            case "nap":
                await asyncio.sleep(given[0])
            case "token":
                token = wait.token(timeout=given[1])
                if given[0] is not None:
                    await announce(label, "token", n, token.id, given[0])
                try:
                    got.append(await token)
                except WaitTimeout:
                    got.append("no token")
            case "event":
                if given[0] is not None:
                    await announce(label, "event", n, f"ev.{n}", given[0])
                try:
                    got.append(await wait.event(f"ev.{n}", match={"run": run.id}, timeout=given[1], lookback=LONG))
                except WaitTimeout:
                    got.append("no event")
            case "signal":
                await announce(label, "signal", n, f"s{n}", given[0])
                async for value in run.signals(f"s{n}"):
                    got.append(value)
                    break
            case "child":
                got.append(await block.trigger_and_wait(given[0], f"{label}{key_here()}.{n}"))
            case "children":
                results = await block.batch_trigger_and_wait(
                    [{"program": each, "label": f"{label}{key_here()}.{n}.{i}"} for i, each in enumerate(given[0])]
                )
                got.append([type(one).__name__ if isinstance(one, Exception) else one for one in results])
            case "inline":
                got.append(await block(given[0], label))
            case "loop":
                for _ in range(given[0]):
                    got.append(await block(given[1], label))  # noqa: PERF401
            case "gather":
                got.append(await asyncio.gather(*[block(each, label) for each in given[0]]))
            case "settled":
                both = await asyncio.gather(*(block(each, label) for each in given[0]), return_exceptions=True)
                got.append([type(one).__name__ if isinstance(one, Exception) else one for one in both])
            case "group":
                async with asyncio.TaskGroup() as group:
                    begun = [group.create_task(block(each, label)) for each in given[0]]
                got.append([each.result() for each in begun])
            case "completed":
                came = asyncio.as_completed([block(each, label) for each in given[0]])
                got.append(["completed", [await each for each in came]])
            case "try":
                try:
                    got.append(await block(given[0], label))
                except Exception as error:
                    got.append(type(error).__name__)
            case "finally":
                try:
                    got.append(await block(given[0], label))
                finally:
                    await plain(label, n, 1)
            case "first":
                fast = asyncio.create_task(block(given[0], label))
                slow = asyncio.create_task(block(given[1], label))
                won, lost = await asyncio.wait([fast, slow], return_when=asyncio.FIRST_COMPLETED)
                for each in lost:
                    each.cancel()
                got.append([each.result() for each in won])
            case "within":
                try:
                    async with asyncio.timeout(given[0]):
                        got.append(await block(given[1], label))
                except TimeoutError:
                    got.append("timed out")
            case "wait_for":
                try:
                    got.append(await asyncio.wait_for(block(given[1], label), given[0]))
                except TimeoutError:
                    got.append("timed out")
            case "shield":
                got.append(await asyncio.shield(plain(label, n, *given)))
            case "taken":
                taken = ["taken", str(run.now()), run.random(), str(run.uuid())]
                await echo(taken)
                got.append(taken)
            case "meta":
                run.metadata[f"m{n}"] = given[0]
            case "progress":
                await run.progress(n, 100, "on")
                await run.heartbeat(n)
        show(f"{run.idempotency_key}|{len(got)}|{what}{n}", got[-1] if got else None)
    return got


# --- what must come of a program --------------------------------------------------------------------------------------


class Fails(Exception):
    """What a program raises."""

    def __init__(self, type: str, *, aborts: bool = False) -> None:
        super().__init__(type)
        self.type = type
        self.aborts = aborts


Place: TypeAlias = tuple[str, str]
"""An effect: label of the run and key of the step."""


class Foreseen:
    """What must come of one run of a program."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.state = ""
        self.result: Any = None
        self.error = ""
        self.must: set[Place] = set()
        self.may: set[Place] = set()
        self.before: list[tuple[frozenset[Place], frozenset[Place]]] = []
        self.metadata: dict[str, Any] = {}
        self.vague: set[str] = set()
        """Metadata of which it is not known whether it is set."""
        self.attempt = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._met: list[Place] = []
        self._sure = True

    def key(self, scope: str, name: str) -> str:
        self._counts[scope, name] += 1
        return f"{scope}/{name}#{self._counts[scope, name]}"

    def effect(self, key: str, *, ordered: bool = True) -> None:
        if self._sure and ordered:
            self._met.append((self.label, key))
        (self.must if self._sure else self.may).add((self.label, key))

    def attempts(self, program: Program, first: int = 1) -> None:
        """Go through the attempts of the run, from this one on."""
        for self.attempt in range(first, first + ATTEMPTS):
            self._counts.clear()
            try:
                self.result = self.block(program, "")
            except Fails as failed:
                self.error = failed.type
                if failed.aborts:
                    break
            else:
                self.state = "completed"
                return
        self.state = "dead"

    def block(self, program: Program, scope: str) -> list[Any]:
        got: list[Any] = []
        before: frozenset[Place] = frozenset()
        for op in program:
            begun = len(self._met)
            got += self.op(op, scope)
            after = frozenset(self._met[begun:])
            if before and after:
                self.before.append((before, after))
            before = after or before
        return got

    def op(self, op: Op, scope: str) -> Iterator[Any]:
        """What the operation adds to what its block gives."""
        what, n, *given = op
        match what:
            case "plain" | "flaky" | "early" | "reserve" | "pay" | "shield":
                if what == "shield":
                    scope, what = self.key(scope, "shield"), "plain"
                key = self.key(scope, what)
                self.effect(key)
                if what == "early" and self.attempt <= given[1]:
                    raise Fails("ConnectionError")
                yield ["ran", n, key]
            case "hopeless" | "caught":
                self.effect(self.key(scope, "hopeless"))
                if what == "hopeless":
                    raise Fails("ValueError")
                yield f"hopeless {n}"
            case "outer" | "helper":
                within = self.key(scope, what)
                keys = [f"{within}/note#1"] if what == "outer" else [f"{within}/note#1", f"{within}/note#2"]
                for key in keys:
                    self.effect(key)
                yield ["ran", n, keys[0]] if what == "outer" else [["ran", n, key] for key in keys]
            case "volatile":
                self.effect(self.key(scope, what), ordered=False)  # again on each resume
                yield "Unstorable"
            case "abort":
                raise Fails("Abort", aborts=True)
            case "token" | "event" | "signal":
                if given[0] is not None:
                    self.effect(self.key(scope, "announce"))
                yield f"no {what}" if given[0] is None else [what, n]
            case "child":
                self.key(scope, "block")
                yield self.child(given[0], f"{self.label}{scope or '/'}.{n}").value
            case "children":
                self.key(scope, "block")
                label = f"{self.label}{scope or '/'}.{n}"
                children = [self.child(each, f"{label}.{i}") for i, each in enumerate(given[0])]
                yield [child.result if child.state == "completed" else "ChildFailed" for child in children]
            case "inline":
                yield self.block(given[0], self.key(scope, "block"))
            case "loop":
                for _ in range(given[0]):
                    yield self.block(given[1], self.key(scope, "block"))
            case "gather" | "settled":
                within = self.key(scope, "gather")
                yield self.side_by_side(given[0], within, what)
            case "completed":
                within = self.key(scope, "as_completed")
                yield ["completed", sorted(self.side_by_side(given[0], within, what), key=str)]
            case "group":
                yield self.side_by_side(given[0], scope, what)
            case "try":
                try:
                    yield self.block(given[0], self.key(scope, "block"))
                except Fails as failed:
                    yield failed.type
            case "finally":
                try:
                    yield self.block(given[0], self.key(scope, "block"))
                finally:
                    self.effect(self.key(scope, "plain"), ordered=False)  # in an attempt that failed, too
            case "first":
                yield [self.block(given[0], self.key(scope, "block"))]
                self.maybe(lambda: self.block(given[1], self.key(scope, "block")))
            case "within" | "wait_for":
                within = scope if what == "within" else self.key(scope, "wait_for")
                key = self.key(within, "block")
                if given[0] < LONG:
                    self.maybe(lambda: self.block(given[1], key))
                    yield "timed out"
                else:
                    yield self.block(given[1], key)
            case "taken":
                yield ["taken"]
            case "meta":
                if self._sure:
                    self.metadata[f"m{n}"] = given[0]
                else:
                    self.vague.add(f"m{n}")

    def maybe(self, work: Callable[[], Any]) -> None:
        """What may come about, as it goes on until somebody ends it."""
        sure, self._sure = self._sure, False
        try:
            work()
        except Fails:
            pass
        finally:
            self._sure = sure

    def side_by_side(self, programs: list[Program], scope: str, what: str) -> list[Any]:
        """Branches, of which at most one raises; then it is not known how far the others come."""
        keys = [self.key(scope, "block") for _ in programs]
        failing = None
        for program in programs:
            try:
                self.trial().block(program, "")
            except Fails as failed:
                failing = failed
        results: list[Any] = []
        for program, key in zip(programs, keys, strict=True):
            try:
                if failing is None or what == "settled" or self.raises(program):
                    results.append(self.block(program, key))
                else:
                    self.maybe(lambda program=program, key=key: self.block(program, key))  # type: ignore[misc]
            except Fails as failed:
                results.append(failed.type)
        if failing is not None and what != "settled":
            raise Fails("ExceptionGroup") if what == "group" else failing
        return results

    def trial(self) -> Foreseen:
        tried = Foreseen(self.label)
        tried.attempt = self.attempt
        return tried

    def raises(self, program: Program) -> bool:
        try:
            self.trial().block(program, "")
        except Fails:
            return True
        return False

    def child(self, program: Program, label: str) -> Foreseen:
        child = Foreseen(label)
        child._sure = self._sure
        child.attempts(program)
        self.must |= child.must
        self.may |= child.may
        self._met += child._met
        return child

    @property
    def value(self) -> Any:
        if self.state != "completed":
            raise Fails("ChildFailed")
        return self.result


def foreseen(program: Program, *, first: int = 1) -> Foreseen:
    found = Foreseen("r")
    found.attempts(program, first)
    return found


def has(program: Program, *kinds: str) -> bool:
    """Whether such an operation is anywhere in it."""
    return any(kind in str(program) for kind in (f"'{kind}'" for kind in kinds))


# --- drawing ----------------------------------------------------------------------------------------------------------

TAKES = st.sampled_from([0, 0, 0.02, 1, 3])
FAILS = st.integers(0, 3)


def _numbered(program: Any, numbers: Iterator[int]) -> Any:
    """The program with its operations numbered."""
    if program and isinstance(program[0], str):
        return [program[0], next(numbers), *(_numbered(part, numbers) if isinstance(part, list) else part
                                            for part in program[1:])]  # fmt: skip
    return [_numbered(part, numbers) if isinstance(part, list) else part for part in program]


def _op(what: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Op]:
    return st.tuples(st.just(what), *parts).map(list)


LEAVES = st.one_of(
    _op("plain", TAKES),
    _op("flaky", TAKES, FAILS),
    _op("caught", TAKES),
    _op("outer", TAKES, FAILS),
    _op("helper", TAKES),
    _op("reserve", TAKES),
    _op("pay", TAKES),
    _op("volatile", TAKES),
    _op("sleep", st.sampled_from([0, 0.05, 5, 100])),
    _op("nap", st.sampled_from([0, 0.2, 5])),
    _op("token", st.sampled_from([0, 0.3, 20]), st.sampled_from([None, LONG])),
    _op("token", st.none(), st.just(40)),
    _op("event", st.sampled_from([0, 0.3, 20]), st.sampled_from([None, LONG])),
    _op("event", st.none(), st.just(40)),
    _op("signal", st.sampled_from([0, 0.3, 20])),
    _op("shield", TAKES),
    _op("taken"),
    _op("meta", st.integers(0, 2)),
    _op("progress"),
)

FAILING = st.one_of(_op("hopeless", TAKES), _op("hopeless", TAKES), _op("abort"))


def _larger(programs: st.SearchStrategy[Program]) -> st.SearchStrategy[Op]:
    """Operations of programs that do not fail."""
    branches = st.lists(programs, min_size=2, max_size=3)
    fails = st.tuples(programs, FAILING, programs).map(lambda parts: [*parts[0], parts[1], *parts[2][:1]])
    one_fails = st.tuples(branches, fails, st.booleans()).map(
        lambda parts: [parts[1], *parts[0][1:]] if parts[2] else [*parts[0][1:], parts[1]]
    )
    never = st.just([["sleep", LONG]])
    slow = st.sampled_from([[["sleep", 5000]], [["plain", 5000]], [["token", None, 9000]], [["nap", 5000]]])
    return st.one_of(
        _op("child", programs),
        _op("children", st.lists(st.one_of(programs, fails), min_size=1, max_size=3)),
        _op("inline", programs),
        _op("loop", st.integers(1, 3), programs),
        _op("gather", branches),
        _op("settled", st.lists(st.one_of(programs, fails), min_size=2, max_size=3)),
        _op("group", branches),
        _op("completed", branches),
        _op("try", fails),
        _op(
            "try",
            st.one_of(_op("gather", one_fails), _op("child", fails), _op("group", one_fails)).map(lambda op: [op]),
        ),
        _op("finally", programs),
        _op("first", programs, never),
        _op("within", st.just(50), slow),
        _op("within", st.just(10 * LONG), programs),
        _op("wait_for", st.just(50), slow),
        _op("wait_for", st.just(10 * LONG), programs),
    )


SOUND: st.SearchStrategy[Program] = st.recursive(
    st.lists(LEAVES, max_size=3),
    lambda programs: st.lists(st.booleans().flatmap(lambda leaf: LEAVES if leaf else _larger(programs)), max_size=3),
    max_leaves=8,
)
"""Programs that come to their end."""

EARLY = _op("early", TAKES, st.integers(1, 4))

_unsound = st.one_of(EARLY, EARLY, FAILING)

SPOILT = st.one_of(
    _unsound,
    st.tuples(SOUND, _unsound, SOUND).map(lambda parts: ["inline", [*parts[0], parts[1], *parts[2]]]),
    st.tuples(SOUND, _unsound, SOUND).map(lambda parts: ["gather", [parts[0], [parts[1], *parts[2]]]]),
    st.tuples(SOUND, _unsound, SOUND).map(lambda parts: ["group", [[*parts[0], parts[1]], parts[2]]]),
    st.tuples(SOUND, _unsound, SOUND).map(lambda parts: ["child", [*parts[0], parts[1], *parts[2]]]),
    st.tuples(SOUND, _unsound).map(lambda parts: ["finally", [*parts[0], parts[1]]]),
)
"""Operations that let an attempt fail: the first few, or all."""


def _whole(parts: tuple[Program, Op | None, Program]) -> Program:
    before, spoilt, after = parts
    whole: Program = _numbered([*before, *([] if spoilt is None else [spoilt]), *after], iter(range(1, 10_000)))
    return whole


PROGRAMS: st.SearchStrategy[Program] = st.tuples(SOUND, st.one_of(st.none(), st.none(), SPOILT), SOUND).map(_whole)
