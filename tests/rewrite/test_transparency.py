"""With a seam that passes everything on, a rewritten function can't be told from the original."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any

import anyio
import pytest

from holdfast.rewrite import Site, rewrite


class PassThrough:
    def call(self, site: Site, f: Any, /, *args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    def value(self, site: Site, x: Any, /) -> Any:
        return x

    def spawn(self, site: Site, f: Any, /, *args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)


async def echo(*values: Any, **named: Any) -> Any:
    await asyncio.sleep(0)
    if named:
        return (*values, named)
    return values[0] if len(values) == 1 else values


async def fail(message: str) -> None:
    await asyncio.sleep(0)
    raise LookupError(message)


async def stream(count: int) -> Any:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


class Context:
    def __init__(self, name: str) -> None:
        self.name = name

    async def __aenter__(self) -> str:
        return self.name

    async def __aexit__(self, *_: object) -> bool:
        return self.name == "swallow"


class Chain:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def step(self, *parts: Any, **named: Any) -> Chain:
        return Chain(*self.parts, *parts, *named.values())

    async def end(self, *parts: Any, **named: Any) -> Any:
        if "boom" in parts:
            raise LookupError("boom")
        return (*self.parts, *parts, *named.values())


# ruff: noqa: B008, B023, E501, PERF401, PIE804
# fmt: off


async def calls(order: str) -> Any:
    a = await echo(order)
    b = await echo(order, key=a)
    return a, b, await echo(a, b, await echo(await echo(1), two=await echo(2)))


async def values(order: str) -> Any:
    coroutine = echo(order)
    first = await coroutine
    future = asyncio.get_running_loop().create_future()
    future.set_result(2)
    return first, await future, await (echo(3) if order else echo(4)), await (x := echo(5)), type(x).__name__


async def loops(order: str) -> Any:
    found = []
    for number in range(3):
        if number == 1:
            continue
        found.append(await echo(number))
    else:
        found.append(await echo("else"))
    while len(found) < 5:
        found.append(await echo(len(found)))
    return found


async def comprehensions(order: str) -> Any:
    late = [lambda: number for number in range(3)]
    return (
        [await echo(n) for n in range(3) if await echo(n)],
        {await echo(n) for n in range(3)},
        {await echo(n): await echo(-n) for n in range(3)},
        [n async for n in (await echo(m) for m in range(3))],
        [await echo(n) async for n in stream(3)],
        [[await echo(n * m, order) for n in range(2)] for m in range(2)],
        [f() for f in late],
    )


async def exceptions(order: str) -> Any:
    seen = []
    try:
        await fail(order)
    except LookupError as error:
        seen.append(await echo(repr(error)))
    else:
        seen.append(await echo("never"))
    finally:
        seen.append(await echo("finally"))
    try:
        await echo(await fail("inner"))
    except* LookupError as group:
        seen.append([str(e) for e in group.exceptions])
    return seen


async def contexts(order: str) -> Any:
    async with Context(await echo("plain")) as plain, Context("swallow") as swallow:
        seen = await echo(plain, swallow)
        await fail("swallowed")
    return seen


def closures() -> Any:
    async def task(order: str) -> Any:
        def inner(value: str) -> str:
            return value + late

        async def left_alone() -> Any:
            return await echo(inner("nested"))

        class Local:
            text = late

        return await echo(inner(order)), await left_alone(), Local.text, await echo(late), [await echo(late) for _ in "ab"]

    late = "assigned after the def"
    return task


class Base:
    async def run(self, order: str) -> Any:
        return ("base", await echo(order))


class Service(Base):
    __secret = "mangled"

    async def run(self, order: str) -> Any:
        return await super().run(order), await self.__charge(order, kind="k"), __class__.__name__  # type: ignore[name-defined]

    async def __charge(self, order: str, *, kind: str) -> Any:
        return await echo(order, self.__secret, kind)


async def defaults(order: str, second: int = 2, /, third: int = 3, *rest: Any, keyword: str = "k", **named: Any) -> Any:
    return await echo(order, second, third, *rest, keyword=keyword, **named)


async def starred(order: str) -> Any:
    return await echo(*[1, 2], order, *(3,), **{"a": 1}, b=2, **await echo({"c": 3}))


async def expressions(order: str) -> Any:
    if (walrus := await echo(3)) > 2 and await echo(True):
        pass
    text = f"{await echo(order)!r:>10} {await echo(walrus)}"
    ternary = await echo(1) if await echo(0) else await echo(2)
    subscript = [1, 2, 3][await echo(1)]
    handlers = {"x": echo}
    pick = lambda: (echo,)  # noqa: E731
    both = await handlers["x"](1), await pick()[0](2), (await echo(3), *await echo([4]))
    chained = 0 < await echo(1) < await echo(2)
    assert await echo(True), await echo("message")
    return walrus, text, ternary, subscript, both, chained, -await echo(1), not await echo(1), await echo(2) ** await echo(3)


async def matches(order: str) -> Any:
    match await echo(order, 1):
        case [text, number] if await echo(number) == 2:
            return await echo("no")
        case [text, _] if await echo(True):
            return await echo(text)
    return None


async def evaluation_order(order: str) -> Any:
    seen: list[Any] = []

    def mark(value: Any) -> Any:
        seen.append(value)
        return value

    class Owner:
        @property
        def method(self) -> Any:
            seen.append("method")
            return echo

    async def owned() -> Any:
        seen.append("await")
        return Owner()

    await (await owned()).method(mark(1), *mark([2]), k=mark(3), **mark({"z": 4}))
    await mark(echo)(mark(5))
    return seen


async def spawns(order: str) -> Any:
    seen = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(echo(n), name=f"t{n}") for n in range(3)]
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(echo, 1)
    alias = asyncio
    seen.append(await alias.gather(*(echo(n) for n in range(2)), alias.create_task(echo("x"))))
    gathered = asyncio.gather(echo(1), echo(2))
    seen.append(await gathered)
    seen.append(await asyncio.wait_for(asyncio.shield(echo(1)), timeout=5))
    for done in asyncio.as_completed([echo("done")]):
        seen.append(await done)
    return seen, [task.result() for task in tasks], await tasks[0]


async def limits(order: str) -> Any:
    seen: list[Any] = []
    async with asyncio.timeout(5) as limit:
        seen.append(await echo(order))
    seen += [limit.expired(), limit.when() is not None]
    async with (
        asyncio.timeout(
            delay=None
        ) as none,
        asyncio.timeout_at(asyncio.get_running_loop().time() + 5) as at,
    ):
        at.reschedule(None)
        seen += [none.when(), at.when(), await echo(1)]
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(5)
    except TimeoutError:
        seen.append("late")
    with anyio.move_on_after(0.001) as scope:
        await anyio.sleep(5)
    seen.append(scope.cancelled_caught)
    try:
        with anyio.fail_after(0.001):
            await anyio.sleep(5)
    except TimeoutError:
        seen.append("too late")
    with anyio.move_on_after(5, shield=True) as shielded:
        seen.append(await echo(shielded.shield))
    timeout = dict
    seen.append(timeout(order=order))  # a function of the user's that happens to have such a name
    return seen


async def raises_within_a_limit(order: str) -> Any:
    async with asyncio.timeout(5):
        with anyio.fail_after(5):
            return await fail(order)


async def multi_line(order: str) -> Any:
    first = await (
        Chain(1)
        .step(
            2,
        )
        .end(
            3,
            await echo(
                order,
            ),
        )
    )
    second = await Chain(
        *first,
    ).step(
        4,
        named=await Chain()
        .end(),
    ).end()
    third = await echo(
        *second,
    )
    fourth = await (
        echo
    )(
        1
        if order
        else 2
    )
    return first, second, third, fourth, await (
        await echo(
            echo
        )
    )(5)


def nested_in_function() -> Any:
    class Inner:
        def __init__(self) -> None:
            self.name = "inner"

        async def task(self, order: str) -> Any:
            return await echo(self.name, order, __class__.__name__)  # type: ignore[name-defined]

    return Inner().task


async def nested_scopes(order: str, default: Any = None) -> Any:
    def inner(value: Any = await echo("default")) -> Any:
        return value

    @await echo(lambda cls: cls)
    class Decorated(await echo(Base)):  # type: ignore[misc]
        pass

    by_lambda = lambda value=await echo(1): [value, order]  # noqa: E731
    return inner(), issubclass(Decorated, Base), by_lambda()


async def statements(order: str) -> Any:
    await echo(order)
    items: dict[str, Any] = {"n": await echo(1)}
    items["n"] += await echo(2)
    items[await echo("key")] = await echo("value")
    del items[await echo("key")]
    if await echo(False):
        raise await echo(ValueError("never"))
    async for number in await echo(stream(2)):
        items["n"] += number
    with await echo(pytest.raises(LookupError)):
        await fail("expected")
    return items, await echo([]) or await echo("or")


async def raises_in_call(order: str) -> Any:
    return 1 + await fail(order) + 2


async def raises_in_chain(order: str) -> Any:
    return [
        await Chain(1)
        .step(2)
        .end(
            "boom",
        )
    ]


async def raises_in_value(order: str) -> Any:
    coroutine = fail(order)
    return (1, await coroutine)


async def raises_in_argument(order: str) -> Any:
    return await echo(1, {}["missing"], await echo(2))


async def raises_not_awaitable(order: str) -> Any:
    return await len(order)


async def raises_in_fstring(order: str) -> Any:
    return f"a {await fail(order)} b"


# fmt: on

CORPUS = [
    calls, values, loops, comprehensions, exceptions, contexts, closures(), Base().run, Service().run, defaults, starred,
    expressions, matches, evaluation_order, spawns, limits, multi_line, nested_in_function(), nested_scopes, statements,
]  # fmt: skip
FAILING = [
    raises_in_call, raises_in_chain, raises_in_value, raises_in_argument, raises_not_awaitable, raises_in_fstring,
    raises_within_a_limit,
]  # fmt: skip


def rewritten(original: Any) -> Callable[[str], Any]:
    """A rewritten twin of a function or bound method; the original stays as it is."""
    function = getattr(original, "__func__", original)
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__qualname__ = function.__qualname__
    assert rewrite(twin, PassThrough()).sites
    return twin.__get__(original.__self__) if hasattr(original, "__self__") else twin


def name(function: Any) -> str:
    return str(function.__qualname__)


@pytest.mark.parametrize("original", CORPUS, ids=name)
def test_results_are_the_same(original: Any) -> None:
    assert asyncio.run(rewritten(original)("ab")) == asyncio.run(original("ab"))


@pytest.mark.parametrize("original", CORPUS + FAILING, ids=name)
def test_the_same_lines_are_visited(original: Any) -> None:
    assert lines_of(rewritten(original)) == lines_of(original)


@pytest.mark.parametrize("original", FAILING, ids=name)
def test_tracebacks_are_the_same_to_the_caret(original: Any) -> None:
    assert frames_of(original, traceback_of(rewritten(original))) == frames_of(original, traceback_of(original))


@pytest.mark.parametrize("original", FAILING, ids=name)
def test_errors_stand_at_the_same_columns(original: Any) -> None:
    assert columns_of(rewritten(original)) == columns_of(original)


def test_carets_point_at_the_await() -> None:
    (frame,) = frames_of(raises_in_call, traceback_of(rewritten(raises_in_call)))
    source, carets = frame.splitlines()[1:3]
    assert source[carets.index("^") : carets.rindex("^") + 1] == "await fail(order)"


def columns_of(function: Any) -> tuple[int | None, ...]:
    """Where the instruction stands that raised: line, end line, column, end column."""
    with pytest.raises((LookupError, TypeError)) as caught:
        asyncio.run(function("ab"))
    (found,) = [frame for frame in walk(caught.value) if frame.tb_frame.f_code is function.__code__]
    return list(found.tb_frame.f_code.co_positions())[found.tb_lasti // 2]


def walk(error: BaseException) -> list[TracebackType]:
    frames, frame = [], error.__traceback__
    while frame:
        frames.append(frame)
        frame = frame.tb_next
    return frames


def lines_of(function: Any) -> list[tuple[str, int]]:
    """Each line event in the function, its comprehensions included, in the order of the run."""
    code = getattr(function, "__func__", function).__code__
    codes = {id(each) for each in nested(code)}
    visited: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if id(frame.f_code) not in codes:
            return None
        if event == "line":
            visited.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    async def traced() -> None:
        before = sys.gettrace()
        coroutine = function("ab")
        sys.settrace(trace)
        try:
            await coroutine
        except (LookupError, TypeError):
            pass
        finally:
            sys.settrace(before)

    asyncio.run(traced())
    assert visited
    return visited


def nested(code: CodeType) -> list[CodeType]:
    return [code, *(deep for const in code.co_consts if isinstance(const, CodeType) for deep in nested(const))]


def frames_of(function: Any, text: list[str]) -> list[str]:
    frames = [frame for frame in text if f"in {function.__name__}\n" in frame]
    assert frames
    return frames


def traceback_of(function: Any) -> list[str]:
    """One entry a frame, with source and carets, and the message."""
    with pytest.raises((LookupError, TypeError)) as caught:
        asyncio.run(function("ab"))
    return traceback.format_exception(caught.value)
