"""The awaits and spawner calls of one function body, rebuilt as calls of placeholders.

Nothing is mutated: the parsed module is cached and shared, so `rebuilt` copies only the nodes above a change.

Positions decide what tracebacks, debuggers and coverage show. A placeholder is loaded at the position of whatever ran
first before, and the call stands where the original call stood, so no line is visited that was not visited before.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

SPAWNERS = frozenset({"gather", "create_task", "ensure_future", "wait_for", "shield", "start_soon", "as_completed"}) | {
    "timeout",
    "timeout_at",
    "fail_after",
    "move_on_after",
}
"""Last names of the callees that start awaitables, or the clock of a time limit, without being awaited themselves."""

CALL = "\0holdfast.rewrite\0call"
VALUE = "\0holdfast.rewrite\0value"
SPAWN = "\0holdfast.rewrite\0spawn"
SITE = "\0holdfast.rewrite\0site\0"
"""Prefix of a site's placeholder; its index in `Awaits.sites` follows."""

TEXT_LENGTH = 60
METHOD_CALL_ARGUMENTS = 30
"""From here on CPython compiles `a.b(...)` as an ordinary call (STACK_USE_GUIDELINE in compile.c)."""

_Node = TypeVar("_Node", bound=ast.AST)

_RUNS_HERE: dict[type[ast.AST], tuple[str, ...]] = {
    ast.FunctionDef: ("decorator_list", "args"),
    ast.AsyncFunctionDef: ("decorator_list", "args"),
    ast.Lambda: ("args",),
    ast.ClassDef: ("decorator_list", "bases", "keywords"),
    ast.arg: (),
}
"""What of a nested scope is evaluated in the enclosing body: all else of it is left alone."""


class Site(msgspec.Struct, frozen=True):
    """One place in the source where a task awaits or spawns."""

    name: str
    """Last name of the callee (`asyncio.sleep` gives `sleep`) or of the awaited variable; else `call` or `value`."""
    line: int
    """In the file, from 1."""
    text: str
    """The awaited expression, shortened to 60 characters."""


class Awaits:
    """Rebuilds a body and collects the sites it meets; use once."""

    def __init__(self) -> None:
        self.sites: list[Site] = []
        """In the order of the source, an outer expression before those inside it."""

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """The statements with each await and spawner call going through a placeholder."""
        return [self.visit(statement) for statement in statements]

    def visit(self, node: _Node) -> _Node:
        """The node rebuilt, or itself when nothing in it is awaited or spawned."""
        match node:
            case ast.Await(value=ast.Call() as call):
                return rebuilt(node, lambda _: self._through(CALL, call))
            case ast.Await(value=value):
                return rebuilt(node, lambda _: self._valued(node, value))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in SPAWNERS:
                return self._through(SPAWN, node)  # type: ignore[return-value]  # a Call for a Call
        return rebuilt(node, self.visit, _RUNS_HERE.get(type(node)))

    def _through(self, placeholder: str, call: ast.Call) -> ast.Call:
        """`f(a)` as `placeholder(site, f, a)`."""
        first = _first_to_run(call.func)
        site = self._site(call, default="call")
        function = self.visit(call.func)
        arguments = [self.visit(argument) for argument in call.args]
        keywords = [self.visit(keyword) for keyword in call.keywords]
        through = ast.Call(_constant(placeholder, first), [_constant(site, first), function, *arguments], keywords)
        return _positioned_as_call(through, call)

    def _valued(self, await_: ast.AST, value: ast.expr) -> ast.Call:
        """`x` as `placeholder(site, x)`, standing where the await stands."""
        first = _first_to_run(value)
        site = self._site(value, default="value")
        through = ast.Call(_constant(VALUE, first), [_constant(site, first), self.visit(value)], [])
        return ast.copy_location(through, await_)

    def _site(self, awaited: ast.expr, default: str) -> str:
        text = " ".join(ast.unparse(awaited).split())
        if len(text) > TEXT_LENGTH:
            text = text[: TEXT_LENGTH - 1] + "…"
        self.sites.append(Site(_last_name(awaited) or default, awaited.lineno, text))
        return f"{SITE}{len(self.sites) - 1}"


def rebuilt(node: _Node, visit: Callable[[Any], Any], fields: tuple[str, ...] | None = None) -> _Node:
    """A copy of the node with its children (those in `fields`, or all) visited; the node itself when none changed."""
    changed: dict[str, Any] = {}
    for field in node._fields if fields is None else fields:
        child = getattr(node, field, None)
        if isinstance(child, ast.AST):
            visited = visit(child)
            if visited is not child:
                changed[field] = visited
        elif isinstance(child, list):
            items = [visit(item) if isinstance(item, ast.AST) else item for item in child]
            if any(new is not old for new, old in zip(items, child, strict=True)):
                changed[field] = items
    return type(node)(**{**vars(node), **changed}) if changed else node


def _constant(text: str, at: ast.expr) -> ast.Constant:
    return ast.copy_location(ast.Constant(text), at)


def _positioned_as_call(through: ast.Call, call: ast.Call) -> ast.Call:
    """Gives the new call the position that CPython gives to the original's call instruction.

    A method call that spans lines is shown at the method's name (update_start_location_to_match_attr in compile.c), an
    ordinary call at its start. Ours is always an ordinary one, so its start has to be moved.
    """
    ast.copy_location(through, call)
    function = call.func
    if isinstance(function, ast.Attribute) and call.lineno != function.end_lineno and _is_method_call(call):
        assert function.end_lineno is not None
        assert function.end_col_offset is not None
        through.lineno = function.end_lineno
        through.col_offset = max(function.end_col_offset - len(function.attr), 0)
    return through


def _is_method_call(call: ast.Call) -> bool:
    """Whether CPython compiles `a.b(...)` to a method call: no stars, few arguments."""
    count = len(call.args) + len(call.keywords) + bool(call.keywords)
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    return not starred and all(keyword.arg for keyword in call.keywords) and count < METHOD_CALL_ARGUMENTS


def _first_to_run(node: ast.expr) -> ast.expr:
    """The part of an expression whose instruction comes first."""
    match node:
        case (
            ast.Attribute(value=inner)
            | ast.Subscript(value=inner)
            | ast.Await(value=inner)
            | ast.NamedExpr(value=inner)
            | ast.Call(func=inner)
            | ast.BinOp(left=inner)
            | ast.Compare(left=inner)
            | ast.UnaryOp(operand=inner)
            | ast.IfExp(test=inner)
            | ast.BoolOp(values=[inner, *_])
        ):
            return _first_to_run(inner)
    return node


def _last_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.Await(value=inner):
            return _last_name(inner)
        case ast.NamedExpr(target=ast.Name(id=name)):
            return name
    return None
