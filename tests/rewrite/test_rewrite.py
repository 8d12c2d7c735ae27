"""What is rewritten, what reaches the seam, and which sources are refused."""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from holdfast.errors import DefinitionError, SourceUnavailable
from holdfast.rewrite import Site, rewrite

PRELUDE = "import asyncio\nasync def echo(*a, **k):\n    return a\n\n"


class Recorder:
    """Passes everything on and remembers what went through."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = []
        self.sites: list[Site] = []

    def call(self, site: Site, f: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.remember("call", site, args, kwargs)
        return f(*args, **kwargs)

    def value(self, site: Site, x: Any, /) -> Any:
        self.remember("value", site, (), {})
        return x

    def spawn(self, site: Site, f: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.remember("spawn", site, args, kwargs)
        return f(*args, **kwargs)

    def remember(self, method: str, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.seen.append((method, site.name, args, kwargs))
        self.sites.append(site)


Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(source: str) -> ModuleType:
        path = tmp_path / f"tasks_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(PRELUDE + dedent(source))
        module = ModuleType(path.stem)
        module.__file__ = str(path)
        exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), module.__dict__)
        return module

    return load


def passed(function: Any) -> list[tuple[str, str]]:
    """Method and name of all that goes through the seam in one run of the rewritten function."""
    recorder = Recorder()
    rewrite(function, recorder)
    asyncio.run(function())
    return [(method, name) for method, name, _, _ in recorder.seen]


def test_a_call_reaches_the_seam_with_site_callee_and_evaluated_arguments(load: Load) -> None:
    module = load("async def task():\n    return await echo(1 + 1, *[3], k=b'4', **{'l': 5})\n")
    recorder = Recorder()
    (site,) = rewrite(module.task, recorder).sites
    assert asyncio.run(module.task()) == (2, 3)
    assert recorder.seen == [("call", "echo", (2, 3), {"k": b"4", "l": 5})]
    assert recorder.sites[0] is site
    assert site == Site("echo", 6, "echo(1 + 1, *[3], k=b'4', **{'l': 5})")


def test_the_function_object_keeps_all_but_its_code(load: Load) -> None:
    module = load(
        """
        def make(late):
            async def task(a: int = 1, *, b: str = "b") -> int:
                "Docs."
                return await echo(a, b, late)
            return task
        task = make("cell")
        """
    )
    task, code = module.task, module.task.__code__
    kept = (
        "__closure__",
        "__defaults__",
        "__kwdefaults__",
        "__globals__",
        "__annotations__",
        "__doc__",
        "__qualname__",
    )
    before = {name: getattr(task, name) for name in kept}
    rewrite(task, Recorder())
    assert task is module.task
    assert task.__code__ is not code
    assert {name: getattr(task, name) for name in kept} == before
    assert task.__code__.co_qualname == code.co_qualname
    assert asyncio.run(task()) == (1, "b", "cell")
    assert not [name for name in module.__dict__ if "holdfast" in name or "\0" in name]


def test_sites_are_named_by_the_last_name_of_what_is_awaited(load: Load) -> None:
    module = load(
        """
        async def task(job, obj):
            await obj.deep.method()
            await job
            await obj.job
            await (yielding := job)
            await obj["key"](1)
            await obj.factory()(2)
            await (lambda: job)()
            await (job or obj)
            await echo("a" * 3, "a text that is much longer than sixty characters, so it is cut")
        """
    )
    sites = rewrite(module.task, Recorder()).sites
    names = ["method", "job", "job", "yielding", "obj", "factory", "call", "value", "echo"]
    assert [site.name for site in sites] == names
    assert [site.line for site in sites] == list(range(7, 16))
    assert len(sites[-1].text) == 60
    assert sites[-1].text.endswith("…")


def test_calls_that_spawn_go_through_the_seam_unless_they_are_awaited(load: Load) -> None:
    module = load(
        """
        import asyncio as alias
        async def task():
            async with asyncio.TaskGroup() as group:
                group.create_task(echo(1))
            await asyncio.gather(echo(1), alias.shield(echo(2)))
            pending = alias.gather(*[echo(n) for n in range(2)])
            await pending
            for done in asyncio.as_completed([echo(3)]):
                await done
        """
    )
    assert passed(module.task) == [
        ("spawn", "create_task"),
        ("spawn", "shield"),
        ("call", "gather"),
        ("spawn", "gather"),
        ("value", "pending"),
        ("spawn", "as_completed"),
        ("value", "done"),
    ]


def test_time_limits_go_through_the_seam_which_keeps_their_clock(load: Load) -> None:
    module = load(
        """
        import anyio
        async def task():
            async with asyncio.timeout(1), asyncio.timeout_at(None):
                with anyio.fail_after(1), anyio.move_on_after(1):
                    await echo(1)
        """
    )
    assert passed(module.task) == [
        ("spawn", "timeout"),
        ("spawn", "timeout_at"),
        ("spawn", "fail_after"),
        ("spawn", "move_on_after"),
        ("call", "echo"),
    ]


def test_nested_functions_lambdas_and_classes_are_left_alone_but_their_defaults_are_not(load: Load) -> None:
    module = load(
        """
        async def task():
            async def inner(value=await echo(1)):
                await echo(value)
            class Local:
                async def method(self):
                    await inner()
            start = lambda: asyncio.gather(echo(2))
            await Local().method()
            await start()
        """
    )
    assert passed(module.task) == [("call", "echo"), ("call", "method"), ("call", "start")]


def test_decorators_above_and_below_see_the_rewritten_code(load: Load) -> None:
    module = load(
        """
        import functools, inspect
        seam = None
        def below(f):
            @functools.wraps(f)
            async def wrapper(*args):
                return ("below", await f(*args))
            return wrapper
        def task(f):
            from holdfast.rewrite import rewrite
            rewrite(inspect.unwrap(f), seam)
            return f
        def above(f):
            return f

        def make(seam_):
            global seam
            seam = seam_
            @above
            @task
            @below
            async def job():
                return await echo(1)
            return job
        """
    )
    recorder = Recorder()
    job = module.make(recorder)
    assert asyncio.run(job()) == ("below", (1,))
    assert [site.line for site in recorder.sites] == [27]


def test_functions_of_the_same_name_are_told_apart_by_line(load: Load) -> None:
    module = load(
        """
        if True:
            async def task():
                return await echo("first")
        first = task
        async def task():
            return await echo("second")
        """
    )
    for function, expected in ((module.first, "first"), (module.task, "second")):
        rewrite(function, Recorder())
        assert asyncio.run(function()) == (expected,)


def test_an_enclosing_task_does_not_rewrite_the_one_within(load: Load) -> None:
    module = load(
        """
        async def outer():
            async def inner():
                return await echo("inner")
            return await echo(inner)
        """
    )
    recorder, within = Recorder(), Recorder()
    rewrite(module.outer, recorder)
    (inner,) = asyncio.run(module.outer())
    rewrite(inner, within)
    rewrite(module.outer, recorder)
    asyncio.run(inner())
    (again,) = asyncio.run(module.outer())
    asyncio.run(again())
    assert [len(recorder.seen), len(within.seen)] == [2, 1]


def test_the_last_seam_wins(load: Load) -> None:
    module = load("async def task():\n    return await echo(1)\n")
    first, second = Recorder(), Recorder()
    rewrite(module.task, first)
    rewrite(module.task, second)
    asyncio.run(module.task())
    assert [len(first.seen), len(second.seen)] == [0, 1]


def test_no_placeholder_is_left_in_the_code(load: Load) -> None:
    module = load("async def task():\n    return [await echo(n) async for n in (await echo(m) for m in ())]\n")
    rewrite(module.task, Recorder())

    def texts(code: CodeType) -> list[str]:
        inner = [text for const in code.co_consts if isinstance(const, CodeType) for text in texts(const)]
        return [const for const in code.co_consts if isinstance(const, str)] + inner

    assert not [text for text in texts(module.task.__code__) if "holdfast" in text]
    assert isinstance(hash(module.task.__code__), int)


def test_future_flags_are_kept_and_not_inherited(load: Load) -> None:
    module = load("async def task():\n    return await echo(1)\n")
    rewrite(module.task, Recorder())
    assert module.task.__code__.co_flags & 0x1000000 == 0
    twin = FunctionType(rewrite_twin.__code__, rewrite_twin.__globals__)
    rewrite(twin, Recorder())
    assert twin.__code__.co_flags & 0x1000000


async def rewrite_twin() -> None:
    await asyncio.sleep(0)


def test_a_function_without_awaits_stays_as_it_is(load: Load) -> None:
    module = load("async def task():\n    return 1\n")
    assert rewrite(module.task, Recorder()).sites == ()
    assert asyncio.run(module.task()) == 1


def test_warnings_of_the_file_are_not_repeated(load: Load) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = load('async def task():\n    assert 1 is 1, "\\d"\n    return await echo(1)\n')
    filters = list(warnings.filters)
    rewrite(module.task, Recorder())
    assert warnings.filters == filters
    assert asyncio.run(module.task()) == (1,)


def test_source_that_only_linecache_has_is_enough() -> None:
    source = PRELUDE + "async def task():\n    return await echo(1)\n"
    name = "<ipython-input-1>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    namespace: dict[str, Any] = {}
    exec(compile(source, name, "exec"), namespace)
    assert len(rewrite(namespace["task"], Recorder()).sites) == 1


def test_without_source_the_error_names_the_way_out() -> None:
    namespace: dict[str, Any] = {}
    exec("async def task():\n    await other()\n", namespace)
    with pytest.raises(SourceUnavailable, match=r'(?s)<string>.*found none.*@step.*@task\(checkpoint="steps"\)'):
        rewrite(namespace["task"], Recorder())


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        ("\nasync def task(a):\n    await echo(a)\n", "in line 5"),
        ("async def other(a):\n    await echo(a)\n", "expected an `async def task` in line 5"),
        ("async def task(a, b):\n    await echo(a)\n", r"\(a, /, \*\).*found \(/, a, b, \*\)"),
        ("async def task(*a):\n    await echo(a)\n", r"found \(/, \*a\)"),
        ("async def task(a:\n", "expected valid Python"),
    ],
)
def test_a_file_that_changed_since_import_is_refused(load: Load, edited: str, message: str) -> None:
    module = load("async def task(a, /):\n    await echo(a)\n")
    code = module.task.__code__
    assert module.__file__
    Path(module.__file__).write_text(PRELUDE + edited)
    with pytest.raises(SourceUnavailable, match=message):
        rewrite(module.task, Recorder())
    assert module.task.__code__ is code


def test_closure_variables_that_changed_since_import_are_refused(load: Load) -> None:
    source = "def make(a, b):\n    async def task():\n        await echo({})\n    return task\n"
    module = load(source.format("a"))
    assert module.__file__
    Path(module.__file__).write_text(PRELUDE + source.format("a, b"))
    with pytest.raises(SourceUnavailable, match=r"closure variables \('a',\).*\('a', 'b'\)"):
        rewrite(module.make(1, 2), Recorder())


@pytest.mark.parametrize("body", ["async def task():\n    yield await echo(1)\n", "def task():\n    return 1\n"])
def test_only_coroutine_functions_are_taken(load: Load, body: str) -> None:
    with pytest.raises(DefinitionError, match="task: expected an `async def`"):
        rewrite(load(body).task, Recorder())


def test_threads_may_rewrite_at_once(load: Load) -> None:
    module = load("".join(f"async def task_{n}():\n    return await echo({n})\n" for n in range(20)))
    threads = [threading.Thread(target=rewrite, args=(getattr(module, f"task_{n}"), Recorder())) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [asyncio.run(getattr(module, f"task_{n}")()) for n in range(20)] == [(n,) for n in range(20)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters_are_kept(load: Load) -> None:
    module = load("class Box[T]:\n    async def task[S](self, s: S) -> S:\n        return await echo(s, T)\n")
    rewrite(module.Box.task, Recorder())
    assert asyncio.run(module.Box().task(1)) == (1, module.Box.__type_params__[0])
